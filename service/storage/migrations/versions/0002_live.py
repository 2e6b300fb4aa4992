"""Live cameras: their configuration, calibrations, incidents and the log of events."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "cameras",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("config", sa.JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "calibrations",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("camera_id", sa.String(64), sa.ForeignKey("cameras.id", ondelete="CASCADE"), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("withdrawn", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("report", sa.JSON, nullable=False),
        sa.Column("calibration", sa.JSON),
        sa.Column("checkpoint", sa.String(255)),
        sa.UniqueConstraint("camera_id", "version"),
    )
    op.create_table(
        "incidents",
        sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(32), nullable=False, unique=True),
        sa.Column("camera_id", sa.String(64), nullable=False),
        sa.Column("severity", sa.String(16), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False, index=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), index=True),
        sa.Column("end_reason", sa.String(32)),
        sa.Column("peak_level", sa.Double, nullable=False),
        sa.Column("peak_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("people", sa.JSON, nullable=False),
        sa.Column("suppressed", sa.Integer, nullable=False),
        sa.Column("snapshot", sa.String(16), nullable=False),
        sa.Column("clip", sa.String(16), nullable=False),
        sa.Column("evidence_problem", sa.String(1000)),
        sa.Column("acknowledged_at", sa.DateTime(timezone=True)),
        sa.Column("false_alarm", sa.Boolean, nullable=False),
        # Never hands out a number again, so that a page cursor stays valid after deletions.
        sqlite_autoincrement=True,
    )
    op.create_index("ix_incidents_camera_id_sequence", "incidents", ["camera_id", "sequence"])
    op.create_table(
        "events",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, index=True),
        sa.Column("camera_id", sa.String(64), nullable=False),
        sa.Column("incident_id", sa.String(32), index=True),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("payload", sa.JSON, nullable=False),
        # A subscriber resumes after the last number it saw, which must never stand for another event.
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_camera_id_id", "events", ["camera_id", "id"])


def downgrade() -> None:
    for table in ("events", "incidents", "calibrations", "cameras"):
        op.drop_table(table)
