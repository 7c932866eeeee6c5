"""The tables of the store, as the newest migration leaves them."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()
# SQLite numbers rows by itself only where the column is declared INTEGER, which there holds 64 bits.
_ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")

# Where reading each stream goes on; `mark` knows the content before it, where a stream's name is not enough.
positions = sa.Table(
    "positions",
    metadata,
    sa.Column("stream", sa.Text, primary_key=True),
    sa.Column("next_position", sa.BigInteger, nullable=False),
    sa.Column("mark", sa.LargeBinary),
)

# One row a source: its checkpoint, the summary the API shows, and how often it was stored.
sources = sa.Table(
    "sources",
    metadata,
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("bundle", sa.Text, nullable=False),
    sa.Column("state", sa.LargeBinary, nullable=False),
    sa.Column("snapshot", sa.LargeBinary),
    sa.Column("summary", sa.Text, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
)

# Events of open windows that have been scored, packed; a source's checkpoint says which windows are open.
open_events = sa.Table(
    "open_events",
    metadata,
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("chunk", sa.BigInteger, primary_key=True),
    sa.Column("events", sa.LargeBinary, nullable=False),
)

# `key` is that of a window by session.
# `sequence` orders windows of all sources by when their last event happened, or by index where events have no time.
# `decided_by` is None where the model decided whether it is an alarm; `rules` names the rules that fit; `pattern` is
# what it looked like, where the model would have raised it.
windows = sa.Table(
    "windows",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("index", sa.BigInteger, nullable=False),
    sa.Column("key", sa.Text),
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
    sa.Column("decided_by", sa.Text),
    sa.Column("rules", sa.Text),
    sa.Column("pattern", sa.LargeBinary),
    sa.UniqueConstraint("source", "bundle", "index"),
    sa.Index("windows_by_source", "source", "sequence"),
    sa.Index("windows_by_sequence", "sequence"),
    sa.Index("windows_by_strength", "strength"),
)

# Columns of an incident that hold JSON.
JSON_COLUMNS = ("window_ids", "first_event", "worst_event", "shapes")
incidents = sa.Table(
    "incidents",
    metadata,
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
    sa.Column("bundle", sa.Text, nullable=False),
    sa.Column("decided_by", sa.Text),
    sa.Column("severity", sa.Text, nullable=False),
    sa.Column("events", sa.Integer, nullable=False),
    sa.Column("first_event", sa.Text, nullable=False),
    sa.Column("worst_event", sa.Text, nullable=False),
    sa.Column("shapes", sa.Text, nullable=False),
    sa.Index("incidents_by_source", "source", "sequence"),
    sa.Index("incidents_by_start", "start"),
)

# What operators have said, for good: an entry is never changed, and taken back by another that `undoes` it. `about` is
# the id of an incident or a window, `windows` the indexes of its windows, `patterns` what those looked like.
feedback = sa.Table(
    "feedback",
    metadata,
    sa.Column("id", _ROW_NUMBER, primary_key=True, autoincrement=True),
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
    sa.Index("feedback_by_source", "source", "id"),
    sa.Index("feedback_by_about", "about"),
    sqlite_autoincrement=True,
)

# Pushed lines that wait for the worker.
inbox = sa.Table(
    "inbox",
    metadata,
    sa.Column("position", _ROW_NUMBER, primary_key=True, autoincrement=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("value", sa.LargeBinary, nullable=False),
    sa.Column("received", sa.Float, nullable=False),
    sqlite_autoincrement=True,
)

# Pushes that named an idempotency key, with the answer that a repeat gets.
pushes = sa.Table(
    "pushes",
    metadata,
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.Column("accepted", sa.Integer, nullable=False),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("received", sa.Float, nullable=False),
    sa.Index("pushes_by_time", "received"),
)

# What was replayed into this database; a database that serves has none.
replays = sa.Table(
    "replays",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("bundle", sa.Text, nullable=False),
    sa.Column("range", sa.Text, nullable=False),
    sa.Column("started", sa.Float, nullable=False),
    sa.Column("finished", sa.Float),
)

# Lines that became no event, with the reason and their original bytes; `length` is how many they had, of which `value`
# may hold only the first. `received` is None for files that were read whole.
dead_letters = sa.Table(
    "dead_letters",
    metadata,
    sa.Column("id", _ROW_NUMBER, primary_key=True, autoincrement=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("stream", sa.Text, nullable=False),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("value", sa.LargeBinary, nullable=False),
    sa.Column("length", sa.BigInteger, nullable=False),
    sa.Column("received", sa.Float),
    sa.Index("dead_letters_by_source", "source", "id"),
)
