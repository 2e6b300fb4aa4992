"""Notifications with their deliveries, the lease of the process that runs the cameras, and events without end."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

COUNTER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "leases",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("holder", sa.String(64), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "sinks",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("event_id", COUNTER, nullable=False),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", COUNTER, primary_key=True, autoincrement=True),
        sa.Column("event_id", COUNTER, nullable=False),
        sa.Column("event", sa.JSON, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("problem", sa.String(1000)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        # Never hands out a number again, so that a page cursor stays valid after deletions.
        sqlite_autoincrement=True,
    )
    op.create_index("ix_deliveries_state_next_at", "deliveries", ["state", "next_at"])
    if op.get_bind().dialect.name == "postgresql":
        # Half a year of busy cameras would use up 31 bits. SQLite has 64 in any case.
        op.alter_column("events", "id", type_=sa.BigInteger)
        op.execute("ALTER SEQUENCE events_id_seq AS bigint")


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER SEQUENCE events_id_seq AS integer")
        op.alter_column("events", "id", type_=sa.Integer)
    for table in ("deliveries", "sinks", "leases"):
        op.drop_table(table)
