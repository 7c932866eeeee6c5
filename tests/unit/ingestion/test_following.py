"""A followed file: every line once, whatever rotation, a crash or a careless program does to it."""

from __future__ import annotations

import gzip
import itertools
import os
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion import (
    BadFormat,
    BadInput,
    Dropped,
    FileInput,
    ReadFile,
    Record,
    SourceFormat,
    SourceParser,
    StandardInput,
    Vocabulary,
    read_records,
    split_lines,
)
from ingestion import following as following_module
from ingestion.decoding import line_ending
from ingestion.format import MOST_LINE_BYTES
from ingestion.lines import MAX_KEPT_BYTES, LineSplitter
from ingestion.rotation import MARK_BYTES, rotated

HEADER = b"#Software: the same in every file\n#Fields: time key value\n"


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following_module, "ROTATION_GRACE_SECONDS", 0.0)


class Owner:
    """Does with a file what the service does: keeps next positions and marks, and dies now and then."""

    def __init__(self, path: Path, *, backfill: bool = False) -> None:
        self.path, self.backfill = path, backfill
        self.stored: dict[str, tuple[int, bytes]] = {}
        self.got: list[bytes] = []
        self.said: list[str] = []
        self.start()

    def start(self) -> None:
        self.input = FileInput(
            self.path, "press07", "utf-8", self.known, backfill=self.backfill, report=self.said.append
        )

    def known(self) -> list[ReadFile]:
        prefix = f"file:{self.path.name}:"
        return [
            ReadFile(int(stream.removeprefix(prefix)), position, mark)
            for stream, (position, mark) in self.stored.items()
        ]

    def die(self) -> None:
        """Read something that is never stored, then start again from what is."""
        self.input.poll(0.0)
        self.input.close()
        self.start()

    def rewind(self) -> None:
        """Read something that the store refuses."""
        self.input.rewind({record.stream for record in self.input.poll(0.0)})

    def take(self) -> list[Record]:
        records = self.input.poll(0.0)
        self.got += [record.value for record in records]
        if records:
            assert len({record.stream for record in records}) == 1
            assert records[-1].mark is not None
            self.stored[records[-1].stream] = (records[-1].next_position, records[-1].mark)
        return records

    def take_all(self) -> list[bytes]:
        """Return the lines that are there to be read."""
        before = len(self.got)
        # Turning from one file to the next takes a round without lines.
        for _ in range(3):
            while self.take():
                pass
        return self.got[before:]


Follow = Callable[..., Owner]


@pytest.fixture
def follow() -> Iterator[Follow]:
    """Return a function that follows a file, until the end of the test."""
    owners: list[Owner] = []

    def start(path: Path, *, backfill: bool = False) -> Owner:
        owners.append(Owner(path, backfill=backfill))
        return owners[-1]

    yield start
    for owner in owners:
        owner.input.close()


def lines(first: int, last: int) -> list[bytes]:
    return [b"2026-01-01 00:00:%02d line %d" % (n % 60, n) for n in range(first, last)]


def text(first: int, last: int) -> bytes:
    return b"".join(line + b"\n" for line in lines(first, last))


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "press07.log"
    path.write_bytes(text(0, 10))
    return path


def make_room(path: Path) -> Path:
    """Move the rotated files on by one number; return the name of the next."""
    for number in range(8, 0, -1):
        for end in ("", ".gz"):
            old = path.with_name(f"{path.name}.{number}{end}")
            if old.exists():
                old.rename(path.with_name(f"{path.name}.{number + 1}{end}"))
    return path.with_name(f"{path.name}.1")


def rotate(path: Path, new: bytes = HEADER, *, compress: bool = False) -> None:
    """Rename and create, as logrotate does."""
    old = make_room(path)
    path.rename(old)
    if compress:
        pack(old)
    path.write_bytes(new)


def rotate_and_compress(path: Path) -> None:
    rotate(path, compress=True)


def copy_and_truncate(path: Path, new: bytes = HEADER) -> None:
    shutil.copy(path, make_room(path))
    with path.open("r+b") as same_inode:
        same_inode.truncate(0)
        same_inode.write(new)


def pack(path: Path) -> None:
    with gzip.open(f"{path}.gz", "wb") as packed:
        packed.write(path.read_bytes())
    path.unlink()


def test_a_line_is_handed_over_when_it_is_complete(log: Path, follow: Follow) -> None:
    owner = follow(log)
    append(log, b"half a li")
    assert owner.take_all() == lines(0, 10)
    append(log, b"ne\nnext\n")
    assert owner.take_all() == [b"half a line", b"next"]
    assert owner.input.lag() == {"file:press07.log:0": 0}


def test_a_restart_goes_on_where_the_last_stored_line_ended(log: Path, follow: Follow) -> None:
    owner = follow(log)
    owner.take_all()
    append(log, text(10, 20))
    owner.die()
    assert owner.take_all() == lines(10, 20)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("running", [False, True])
def test_what_was_written_before_a_rotation_is_read_after_it(
    log: Path, running: bool, compress: bool, follow: Follow
) -> None:
    owner = follow(log)
    owner.take_all()
    append(log, text(10, 15) + b"no line feed at the end")
    rotate(log, text(20, 25), compress=compress)
    if not running:
        owner.die()
    expected = [*lines(10, 15), b"no line feed at the end", *lines(20, 25)]
    assert owner.take_all() == expected
    owner.die()
    assert owner.take_all() == []


@pytest.mark.parametrize("running", [False, True])
def test_several_rotations_at_once_are_followed_one_by_one(log: Path, running: bool, follow: Follow) -> None:
    owner = follow(log)
    owner.take_all()
    append(log, text(10, 12))
    rotate(log, text(12, 14), compress=True)
    rotate(log, text(14, 16))
    rotate(log, text(16, 18), compress=True)
    if not running:
        owner.die()
    assert owner.take_all() == lines(10, 18)


@pytest.mark.parametrize("running", [False, True])
def test_files_that_all_begin_with_the_same_header_are_told_apart(log: Path, running: bool, follow: Follow) -> None:
    log.write_bytes(HEADER)
    owner = follow(log)
    owner.take_all()
    for start in (0, 3, 6):
        append(log, text(start, start + 3))
        rotate(log, HEADER)
        if not running:
            owner.die()
    append(log, text(9, 12))
    found = owner.take_all()
    assert [line for line in found if not line.startswith(b"#")] == lines(0, 12)


def test_a_program_that_keeps_writing_to_the_renamed_file_loses_nothing(
    log: Path,
    monkeypatch: pytest.MonkeyPatch,
    follow: Follow,
) -> None:
    monkeypatch.setattr(following_module, "ROTATION_GRACE_SECONDS", 60.0)
    owner = follow(log)
    owner.take_all()
    with log.open("ab") as still_open:
        rotate(log, b"")
        assert owner.take_all() == []
        still_open.write(text(10, 12))
        still_open.flush()
        append(log, text(12, 14))
        assert owner.take_all() == lines(10, 12)
    monkeypatch.setattr(following_module, "ROTATION_GRACE_SECONDS", 0.0)
    assert owner.take_all() == lines(12, 14)


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("longer", [False, True])
def test_copy_and_truncate_loses_no_line_that_is_in_the_copy(
    log: Path, running: bool, longer: bool, follow: Follow
) -> None:
    owner = follow(log)
    owner.take_all()
    append(log, text(10, 15))
    copy_and_truncate(log, text(20, 60 if longer else 22))
    if not running:
        owner.die()
    assert owner.take_all() == [*lines(10, 15), *lines(20, 60 if longer else 22)]


def test_a_cut_file_without_a_copy_begins_again_and_says_so(log: Path, follow: Follow) -> None:
    owner = follow(log)
    owner.take_all()
    log.write_bytes(text(20, 22))
    assert owner.take_all() == lines(20, 22)
    assert "was cut" in owner.said[0]


def test_an_inode_used_again_is_no_sign_of_the_same_file(log: Path, follow: Follow) -> None:
    owner = follow(log)
    owner.take_all()
    owner.input.close()
    with log.open("r+b") as same_inode:
        same_inode.truncate(0)
        same_inode.write(text(100, 140))
    owner.start()
    assert owner.take_all() == lines(100, 140)
    assert "has not been read" in owner.said[0]


def test_rotated_files_are_read_oldest_first_when_asked_for(tmp_path: Path, follow: Follow) -> None:
    path = tmp_path / "press.log"
    for number, packed in ((3, True), (2, True), (1, False)):
        old = path.with_name(f"press.log.{number}")
        old.write_bytes(text(30 - 10 * number, 40 - 10 * number))
        if packed:
            pack(old)
    # Being compressed at this moment: the plain file is the whole one.
    path.with_name("press.log.1.gz").write_bytes(b"\x1f\x8b half")
    path.with_name("press.log.bak").write_bytes(b"not rotated\n")
    path.with_name("press.log.old.gz").write_bytes(b"nor this\n")
    path.write_bytes(text(30, 35))
    owner = follow(path, backfill=True)
    assert owner.take_all() == lines(0, 35)
    owner.die()
    append(path, text(35, 36))
    assert owner.take_all() == lines(35, 36)
    assert follow(path).take_all() == lines(30, 36), "without being asked, history is left alone"


@pytest.mark.parametrize("running", [False, True])
def test_history_that_begins_alike_is_left_alone_unless_asked_for(
    tmp_path: Path, follow: Follow, running: bool
) -> None:
    path = tmp_path / "press.log"
    for number in (1, 2):
        old = path.with_name(f"press.log.{number}")
        old.write_bytes(HEADER + text(0, 10))
        os.utime(old, (1e9, 1e9))
    path.write_bytes(HEADER)
    owner = follow(path)
    owner.take_all()
    if not running:
        owner.die()
    append(path, text(10, 12))
    assert owner.take_all() == lines(10, 12)


def test_files_named_by_date_are_in_order(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    names = ["a.log-20260102.gz", "a.log-20260101", "a.log.2026-01-03", "a.log.2", "a.log.10"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    found = [item.name for item in rotated(path)]
    assert found.index("a.log-20260101") < found.index("a.log-20260102.gz")
    assert found[-2:] == ["a.log.10", "a.log.2"]
    assert len(found) == len(names)


def test_a_damaged_rotated_file_is_named(tmp_path: Path, follow: Follow) -> None:
    path = tmp_path / "press.log"
    path.write_bytes(b"")
    whole = gzip.compress(text(0, 1000))
    path.with_name("press.log.1.gz").write_bytes(whole[: len(whole) // 2])
    owner = follow(path, backfill=True)
    with pytest.raises(BadInput, match=r"press\.log\.1\.gz is damaged"):
        owner.take_all()


def test_what_cannot_be_followed_is_refused(tmp_path: Path, follow: Follow) -> None:
    with pytest.raises(BadInput, match="no such file"):
        follow(tmp_path / "missing.log")
    (tmp_path / "a.log.gz").write_bytes(gzip.compress(b"one\n"))
    with pytest.raises(BadInput, match="compressed and cannot grow"):
        follow(tmp_path / "a.log.gz")


@pytest.mark.parametrize("seed", range(20))
def test_no_line_is_lost_or_doubled_whatever_happens(tmp_path: Path, seed: int, follow: Follow) -> None:
    draw = random.Random(seed)
    path = tmp_path / "press.log"
    path.write_bytes(HEADER)
    owner, written = follow(path), 0
    # Of a file that was rotated away before anything was stored of it nobody knows that it was to be read.
    owner.take()
    for _ in range(60):
        step = draw.choice(["write", "write", "take", "take all", "die", "rewind", "rotate"])
        if step == "write":
            count = draw.randint(1, 60)
            data = text(written, written + count)
            cut = draw.randrange(len(data))
            append(path, data[:cut])
            if draw.random() < 0.5:
                owner.take()
            append(path, data[cut:])
            written += count
        elif step == "rotate":
            if path.stat().st_size > len(HEADER):
                draw.choice((rotate, rotate_and_compress, copy_and_truncate))(path)
        else:
            {"take": owner.take, "take all": owner.take_all, "die": owner.die, "rewind": owner.rewind}[step]()
        for old in tmp_path.glob("press.log.9*"):
            old.unlink()
            owner.take_all()
        if len(list(tmp_path.glob("press.log.*"))) > 5:
            owner.take_all()
    owner.take_all()
    assert [line for line in owner.got if not line.startswith(b"#")] == lines(0, written)


@given(
    data=st.binary(max_size=300),
    cuts=st.lists(st.integers(0, 300), max_size=6),
    encoding=st.sampled_from(["utf-8", "utf-16-le"]),
)
def test_lines_do_not_depend_on_the_blocks_they_came_in(data: bytes, cuts: list[int], encoding: str) -> None:
    data = data.replace(b"7", b"\n").replace(b"8", b"\n\x00")
    splitter = LineSplitter(encoding)
    found = []
    stops = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for start, end in itertools.pairwise(stops):
        found += splitter.feed(data[start:end])
        assert splitter.end == end
    found += splitter.last()
    assert [line for _, line, _, _ in found] == (split_lines(data, line_ending(encoding)) if data else [])
    assert [position for position, _, _, _ in found] == [0, *(end for _, _, end, _ in found)][: len(found)]
    ending = b"\n" if encoding == "utf-8" else b"\n\x00"
    for position, line, end, length in found:
        assert data[position:end] in {line, line + ending}
        assert length is None
    assert splitter.position == len(data)


def test_a_line_without_end_costs_bounded_memory() -> None:
    splitter = LineSplitter("utf-8")
    size = 0
    for _ in range(40):
        assert not list(splitter.feed(b"x" * (1 << 18)))
        size += 1 << 18
        assert len(splitter._rest) <= MAX_KEPT_BYTES + 1
    (position, line, end, length), (_, after, _, whole) = splitter.feed(b"y\nafter\n")
    assert (position, len(line), end, length) == (0, MAX_KEPT_BYTES, size + 2, size + 1)
    assert (after, whole) == (b"after", None)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
@pytest.mark.parametrize("ended", [True, False])
def test_a_line_of_which_only_the_beginning_is_kept_says_how_long_it_is(
    tmp_path: Path, encoding: str, ended: bool
) -> None:
    long = ("x" * MAX_KEPT_BYTES + " END").encode(encoding)
    path = tmp_path / "a.log"
    path.write_bytes("before\n".encode(encoding) + long + "\n".encode(encoding) * ended)
    _, record = read_records(path, "press07", encoding)
    assert (len(record.value), record.length) == (MAX_KEPT_BYTES, len(long))
    # Whatever cap a format declares, such a line is a dead letter and never an event that lacks its end.
    parser = SourceParser(SourceFormat(encoding=encoding, max_line_bytes=MOST_LINE_BYTES), Vocabulary([]))
    (dropped,) = parser.feed(record)
    assert isinstance(dropped, Dropped)
    assert (dropped.reason, dropped.length) == ("too-long", len(long))
    with pytest.raises(BadFormat, match="max_line_bytes"):
        SourceFormat(max_line_bytes=MOST_LINE_BYTES + 1)


def test_a_mark_is_small_whatever_the_file(log: Path, follow: Follow) -> None:
    log.write_bytes(text(0, 50_000))
    owner = follow(log)
    owner.take_all()
    ((_, mark),) = owner.stored.values()
    assert len(mark) < 200
    assert MARK_BYTES <= 4096


def test_a_pipe_is_read_to_its_end() -> None:
    read, write = os.pipe()
    source = StandardInput("press07", "utf-8", read)
    assert source.poll(0.0) == []
    writer = threading.Thread(target=lambda: (os.write(write, b"one\ntwo\nlast"), os.close(write)))
    writer.start()
    found = []
    while len(found) < 3:
        found += source.poll(1.0)
    writer.join()
    assert [record.value for record in found] == [b"one", b"two", b"last"]
    assert [record.next_position for record in found] == [4, 8, 12]
    (stream,) = {record.stream for record in found}
    source.committed({stream: 4})
    source.rewind({stream})
    assert source.poll(0.0) == found[1:]
    source.committed({stream: 12})
    source.rewind({stream})
    assert source.poll(0.0) == []
    os.close(read)
