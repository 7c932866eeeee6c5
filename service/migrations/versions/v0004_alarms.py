"""Who decided about a window, what an incident is known by, and what operators have said."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("windows", sa.Column("decided_by", sa.Text))
    op.add_column("windows", sa.Column("rules", sa.Text))
    op.add_column("windows", sa.Column("pattern", sa.LargeBinary))
    op.add_column("incidents", sa.Column("bundle", sa.Text, nullable=False, server_default=""))
    op.add_column("incidents", sa.Column("decided_by", sa.Text))
    op.add_column("incidents", sa.Column("severity", sa.Text, nullable=False, server_default="warning"))
    op.add_column("incidents", sa.Column("events", sa.Integer, nullable=False, server_default="0"))
    for name in ("first_event", "worst_event"):
        op.add_column("incidents", sa.Column(name, sa.Text, nullable=False, server_default="{}"))
    op.add_column("incidents", sa.Column("shapes", sa.Text, nullable=False, server_default="[]"))
    op.create_index("incidents_by_start", "incidents", ["start"])
    op.create_table(
        "feedback",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("said", sa.Float, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("bundle", sa.Text, nullable=False),
        sa.Column("about", sa.Text, nullable=False),
        sa.Column("until", sa.Float),
        sa.Column("start", sa.Float),
        sa.Column("end", sa.Float),
        sa.Column("windows", sa.Text, nullable=False),
        sa.Column("patterns", sa.LargeBinary, nullable=False),
        sa.Column("undoes", sa.BigInteger, unique=True),
        sqlite_autoincrement=True,
    )
    op.create_index("feedback_by_source", "feedback", ["source", "id"])
    op.create_index("feedback_by_about", "feedback", ["about"])
    # States of before know no budget: as with another bundle, sources begin anew and keep their counts of lines.
    op.execute("UPDATE sources SET bundle = ''")
