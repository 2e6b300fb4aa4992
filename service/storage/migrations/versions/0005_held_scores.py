"""How unusual each incident was, so that false alarms can be calibrated with."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("incidents", sa.Column("held_score", sa.Double))
    op.add_column("incidents", sa.Column("scored_by", sa.String(64)))


def downgrade() -> None:
    with op.batch_alter_table("incidents") as incidents:
        incidents.drop_column("scored_by")
        incidents.drop_column("held_score")
