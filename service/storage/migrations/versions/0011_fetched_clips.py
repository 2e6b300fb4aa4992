"""Clips that are fetched from an address, and callbacks of clips."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("clips", sa.Column("url", sa.Text))
    op.add_column("clips", sa.Column("address", sa.Text))
    op.create_table(
        "callbacks",
        sa.Column("clip_id", sa.String(32), sa.ForeignKey("clips.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("problem", sa.String(1000)),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_callbacks_state_next_at", "callbacks", ["state", "next_at"])


def downgrade() -> None:
    op.drop_table("callbacks")
    # An older version cannot read a clip that was never fetched. It has no files.
    op.execute("DELETE FROM clips WHERE CAST(video AS TEXT) = 'null'")
    with op.batch_alter_table("clips", table_kwargs={"sqlite_autoincrement": True}) as clips:
        clips.drop_column("address")
        clips.drop_column("url")
