"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "positions",
        sa.Column("stream", sa.Text, primary_key=True),
        sa.Column("next_position", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "sources",
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("bundle", sa.Text, nullable=False),
        sa.Column("state", sa.LargeBinary, nullable=False),
        sa.Column("snapshot", sa.LargeBinary),
        sa.Column("summary", sa.Text, nullable=False),
    )
    op.create_table(
        "windows",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("index", sa.BigInteger, nullable=False),
        sa.Column("sequence", sa.Float, nullable=False),
        sa.Column("bundle", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("start", sa.Float),
        sa.Column("end", sa.Float),
        sa.Column("stream", sa.Text, nullable=False),
        sa.Column("first_position", sa.BigInteger, nullable=False),
        sa.Column("next_position", sa.BigInteger, nullable=False),
        sa.Column("events", sa.Integer, nullable=False),
        sa.Column("score", sa.Float, nullable=False),
        sa.Column("strength", sa.Float, nullable=False),
        sa.Column("threshold", sa.Float, nullable=False),
        sa.Column("anomalous", sa.Boolean, nullable=False),
        sa.Column("incident", sa.Text),
        sa.Column("sentence", sa.Text, nullable=False),
        sa.Column("record", sa.LargeBinary),
        sa.UniqueConstraint("source", "bundle", "index"),
    )
    op.create_index("windows_by_sequence", "windows", ["sequence"])
    op.create_index("windows_by_source", "windows", ["source", "sequence"])
    op.create_index("windows_by_strength", "windows", ["strength"])
    op.create_table(
        "incidents",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("sequence", sa.Float, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("start", sa.Float),
        sa.Column("end", sa.Float),
        sa.Column("windows", sa.Integer, nullable=False),
        sa.Column("score", sa.Float, nullable=False),
        sa.Column("strength", sa.Float, nullable=False),
        sa.Column("first_window", sa.Text, nullable=False),
        sa.Column("worst_window", sa.Text, nullable=False),
        sa.Column("window_ids", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("signature", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
    )
    op.create_index("incidents_by_source", "incidents", ["source", "sequence"])
    op.create_table(
        "inbox",
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("value", sa.LargeBinary, nullable=False),
        sa.Column("received", sa.Float, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("stream", sa.Text, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("value", sa.LargeBinary, nullable=False),
    )
