"""What each calibration was made of: address, resolution, settings and the view of its camera."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("calibrations", sa.Column("premises", sa.JSON()))


def downgrade() -> None:
    with op.batch_alter_table("calibrations") as calibrations:
        calibrations.drop_column("premises")
