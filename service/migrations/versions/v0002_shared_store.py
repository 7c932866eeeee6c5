"""Several workers share the store: sources carry a version; row numbers have 64 bits everywhere."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sources", sa.Column("version", sa.BigInteger, nullable=False, server_default="1"))
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("inbox", "position", type_=sa.BigInteger)
        op.alter_column("dead_letters", "id", type_=sa.BigInteger)
        op.execute("ALTER SEQUENCE inbox_position_seq AS BIGINT")
        op.execute("ALTER SEQUENCE dead_letters_id_seq AS BIGINT")
