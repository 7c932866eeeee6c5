"""Opening the database: a SQLite file, or PostgreSQL as soon as several workers share it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, InterfaceError, OperationalError, SQLAlchemyError

from service.errors import BadSetting, CannotWrite, StoreUnavailable

POSTGRESQL = "postgresql://"
_MIGRATIONS = Path(__file__).with_name("migrations")
# Advisory locks of PostgreSQL are numbers that all programs of a database share; these spell "logvq" and what for.
MIGRATION_LOCK, INBOX_WRITE_LOCK, INBOX_READ_LOCK, FEEDBACK_LOCK = (0x6C6F_6776_7100 + number for number in range(4))
# A worker that froze in the middle of a transaction must not hold up the one that took its partitions over: the server
# ends its transaction after half a minute, and its connection when its machine is gone.
_SESSION = {
    "idle_in_transaction_session_timeout": "30s",
    "lock_timeout": "30s",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}
_CONNECT_TIMEOUT_SECONDS = 5
_MAX_ROW_NUMBER = 2**63 - 1


class Database:
    """A database and its transactions.

    Every method of it and of its kinds raises `StoreUnavailable` where the database is away, busy or full; trying again
    later can succeed.

    Args:
        database: path of a SQLite file, or `postgresql://USER@HOST:PORT/NAME`.
        password_file: file that holds PostgreSQL's password.

    Attributes:
        engine: the SQLAlchemy engine; its connections are per thread.
    """

    def __init__(self, database: Path | str, password_file: Path | None = None) -> None:
        self.engine = open_database(database, password_file)

    @property
    def is_shared(self) -> bool:
        """Whether other processes may write to the database, too."""
        return self.engine.dialect.name == "postgresql"

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    def _write(self) -> AbstractContextManager[sa.Connection]:
        return answering(self.engine.begin)

    def _read(self) -> AbstractContextManager[sa.Connection]:
        return answering(self.engine.connect)


def open_database(database: Path | str, password_file: Path | None = None) -> sa.Engine:
    """Open a database and bring its tables up to date.

    Args:
        database: path of a SQLite file, or `postgresql://USER@HOST:PORT/NAME`.
        password_file: file that holds PostgreSQL's password; without one, libpq looks where `PGPASSFILE` says.

    Raises:
        BadSetting: the URL or the password file is not usable.
        CannotWrite: the database cannot be opened, or belongs to a newer version of this program.
    """
    if isinstance(database, str) and database.startswith(POSTGRESQL):
        engine = sa.create_engine(
            _url(database, password_file),
            pool_pre_ping=True,
            connect_args={
                "connect_timeout": _CONNECT_TIMEOUT_SECONDS,
                "application_name": "logvq",
                "options": " ".join(f"-c {name}={value}" for name, value in _SESSION.items()),
            },
        )
    elif isinstance(database, str) and "://" in database:
        # Its scheme alone: the rest may hold a password.
        scheme = database.partition("://")[0]
        raise BadSetting(f"no database is {scheme}://…; name a SQLite file or {POSTGRESQL}USER@HOST:PORT/NAME")
    elif password_file is not None:
        raise BadSetting("a password file has no effect with a SQLite file; name the database as postgresql://…")
    else:
        path = Path(database)
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(f"sqlite:///{path}")
        sa.event.listen(engine, "connect", _configure_sqlite)
    try:
        _migrate(engine)
    except (SQLAlchemyError, CommandError, OSError) as error:
        engine.dispose()
        raise CannotWrite(f"cannot open the database {database}: {getattr(error, 'orig', None) or error}") from error
    return engine


def existing(database: Path | str) -> Path | str:
    """Return a database that is to be read: a SQLite file that is not there would be made, and found empty.

    Raises:
        BadSetting: there is no such file.
    """
    if isinstance(database, Path) and not database.exists():
        raise BadSetting(f"no database {database}; name the one that `logvq serve` writes with --database")
    return database


def _url(database: str, password_file: Path | None) -> sa.URL:
    try:
        url = sa.make_url(database)
    except ArgumentError as error:
        raise BadSetting("cannot read the database's URL; write postgresql://USER@HOST:PORT/NAME") from error
    if url.password is not None:
        raise BadSetting(
            "the database's URL holds a password, which every process list shows; put it into a file and name that "
            "with --database-password-file or PGPASSFILE"
        )
    if password_file is not None:
        try:
            password = password_file.read_text("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise BadSetting(f"cannot read the database's password file {password_file}: {error}") from error
        if not password:
            raise BadSetting(f"the database's password file {password_file} is empty")
        url = url.set(password=password)
    return url.set(drivername="postgresql+psycopg")


def _configure_sqlite(connection: Any, _: Any) -> None:
    # NORMAL with WAL may lose the last commits in a power cut, but whole transactions only: positions and results go
    # back together and the input is read again from there.
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=10000", "foreign_keys=ON"):
        with suppress(Exception):
            connection.execute(f"PRAGMA {pragma}")


def _migrate(engine: sa.Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    with engine.begin() as connection:
        # Several workers may start at once.
        lock(connection, MIGRATION_LOCK)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def lock(connection: sa.Connection, number: int) -> None:
    """Let one transaction at a time go on from here, until it ends; SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(number)))


@contextmanager
def answering(opened: Callable[[], Any]) -> Iterator[sa.Connection]:
    """Use a connection; what a restart of the database or a free disk would cure becomes `StoreUnavailable`."""
    try:
        with opened() as connection:
            yield connection
    except (OperationalError, InterfaceError) as error:
        raise StoreUnavailable(f"the database does not take this: {error.orig}".strip()) from error


def is_row_number(number: int) -> bool:
    """Whether a row can have this number: a query for one that is larger fails, instead of finding nothing."""
    return 0 < number <= _MAX_ROW_NUMBER


def upsert(
    connection: sa.Connection,
    table: sa.Table,
    rows: Sequence[Mapping[str, Any]],
    *key: str,
    keep: Sequence[str] = (),
    only_if: Callable[[Any], sa.ColumnElement[bool]] | None = None,
) -> int:
    """Insert rows of equal columns, or update those that exist.

    Args:
        connection: in a transaction.
        table: where.
        rows: at least one.
        key: the columns that tell rows apart.
        keep: columns that keep their value where a row brings None.
        only_if: given the row as it would be, whether one that exists may become so.

    Returns:
        How many rows were inserted or updated.
    """
    # Rows are locked in the order of their keys, or two workers could wait for each other.
    ordered = sorted(map(storable, rows), key=lambda row: [row[name] for name in key])
    insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)
    new = {name: insert.excluded[name] for name in ordered[0] if name not in key}
    new |= {name: sa.func.coalesce(new[name], table.c[name]) for name in keep}
    where = None if only_if is None else only_if(insert.excluded)
    statement = insert.on_conflict_do_update(index_elements=key, set_=new, where=where)
    done = connection.execute(statement.execution_options(preserve_rowcount=True), ordered)
    return int(done.rowcount)


def storable(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as every database takes it: PostgreSQL's text holds no NUL, and none half a surrogate pair."""
    return {name: _clean(value) if isinstance(value, str) else value for name, value in row.items()}


def _clean(text: str) -> str:
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
