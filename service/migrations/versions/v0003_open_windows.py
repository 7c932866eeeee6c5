"""Windows by key, events of open windows apart from their source's state, pushes that may be repeated, replays."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("windows", sa.Column("key", sa.Text))
    op.add_column("positions", sa.Column("mark", sa.LargeBinary))
    op.create_table(
        "open_events",
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("chunk", sa.BigInteger, primary_key=True),
        sa.Column("events", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "pushes",
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("accepted", sa.Integer, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("received", sa.Float, nullable=False),
    )
    op.create_index("pushes_by_time", "pushes", ["received"])
    op.create_table(
        "replays",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("bundle", sa.Text, nullable=False),
        sa.Column("range", sa.Text, nullable=False),
        sa.Column("started", sa.Float, nullable=False),
        sa.Column("finished", sa.Float),
    )
    # States of before hold their open windows in another form: sources begin anew, their counts stay with the windows.
    op.execute("DELETE FROM sources")
