"""What people say of incidents: verdicts, kinds, notes and assignments, each change of them, and who read what."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def _columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("acknowledged_by", sa.String(100)),
        sa.Column("verdict", sa.String(16)),
        sa.Column("corrected_kind", sa.String(16)),
        sa.Column("assigned_to", sa.String(100)),
        sa.Column("note", sa.String(2000), nullable=False, server_default=""),
        sa.Column("reviewed_by", sa.String(100)),
        sa.Column("reviewed_at", sa.DateTime(timezone=True)),
        sa.Column("revision", sa.Integer, nullable=False, server_default="0"),
    ]


def upgrade() -> None:
    for column in _columns():
        op.add_column("incidents", column)
    op.execute("UPDATE incidents SET verdict = 'false_alarm' WHERE false_alarm")
    # Not in a batch, which would make the table anew, and no more keep SQLite from handing out a number again.
    op.drop_column("incidents", "false_alarm")
    op.create_table(
        "incident_reviews",
        sa.Column("incident_id", sa.String(32), primary_key=True),
        sa.Column("revision", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("by", sa.String(100), nullable=False),
        sa.Column("key_id", sa.String(12)),
        sa.Column("undoes", sa.Integer),
        sa.Column("before", sa.JSON, nullable=False),
        sa.Column("after", sa.JSON, nullable=False),
    )
    op.create_table(
        "incident_reads",
        sa.Column("incident_id", sa.String(32), primary_key=True),
        sa.Column("key_id", sa.String(12), primary_key=True, index=True),
    )
    # What happened before the upgrade is nobody's news. The empty id stands for a service that requires no keys.
    op.execute(
        "INSERT INTO incident_reads (incident_id, key_id) SELECT incidents.id, readers.id FROM incidents, "
        "(SELECT id FROM api_keys WHERE revoked_at IS NULL UNION ALL SELECT '') AS readers"
    )


def downgrade() -> None:
    op.drop_table("incident_reads")
    op.drop_table("incident_reviews")
    op.add_column("incidents", sa.Column("false_alarm", sa.Boolean, nullable=False, server_default=sa.false()))
    op.execute(sa.text("UPDATE incidents SET false_alarm = :yes WHERE verdict = 'false_alarm'").bindparams(yes=True))
    for column in _columns():
        op.drop_column("incidents", column.name)
