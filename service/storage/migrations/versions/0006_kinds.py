"""What each incident was: its kind, and every kind that was seen."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Until now every incident was a level at or above the threshold.
    op.add_column("incidents", sa.Column("kind", sa.String(16), nullable=False, server_default="unusual"))
    op.add_column("incidents", sa.Column("kinds", sa.JSON, nullable=False, server_default="{}"))


def downgrade() -> None:
    with op.batch_alter_table("incidents") as incidents:
        incidents.drop_column("kinds")
        incidents.drop_column("kind")
