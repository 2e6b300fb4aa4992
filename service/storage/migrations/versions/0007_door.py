"""The session of each ticket, and 64 bits for the numbers that clients send back as cursors."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_NUMBERS = (("clips", "sequence"), ("incidents", "sequence"), ("audit", "id"), ("calibrations", "id"))


def upgrade() -> None:
    # Tickets of the old version live for 30 seconds, without a session.
    with op.batch_alter_table("api_tokens") as tokens:
        tokens.add_column(sa.Column("session", sa.String(64), nullable=True))
        tokens.create_index("ix_api_tokens_session", ["session"])
    _resize(sa.Integer(), sa.BigInteger())


def downgrade() -> None:
    _resize(sa.BigInteger(), sa.Integer())
    with op.batch_alter_table("api_tokens") as tokens:
        tokens.drop_index("ix_api_tokens_session")
        tokens.drop_column("session")


def _resize(before: sa.Integer, after: sa.Integer) -> None:
    # In SQLite every integer has 64 bits.
    if op.get_bind().dialect.name != "postgresql":
        return
    for table, column in _NUMBERS:
        op.alter_column(table, column, existing_type=before, type_=after, existing_nullable=False)
        op.execute(
            f"ALTER SEQUENCE {table}_{column}_seq AS {'bigint' if isinstance(after, sa.BigInteger) else 'integer'}"
        )
