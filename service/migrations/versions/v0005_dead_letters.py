"""Dead letters say how long they were and when they came, and are found by source."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("dead_letters", sa.Column("length", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("dead_letters", sa.Column("received", sa.Float))
    # Of one that was cut before, nobody knows.
    op.execute("UPDATE dead_letters SET length = length(value)")
    op.create_index("dead_letters_by_source", "dead_letters", ["source", "id"])
