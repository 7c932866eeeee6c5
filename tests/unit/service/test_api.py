"""The API over a store that a worker has filled."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from ingestion import Input, Record
from service import inbox_table
from service.alarms.budget import Budget
from service.alarms.policy import AlarmPolicy
from service.app import Context, create_app
from service.bundle import Bundle, save_bundle
from service.cli import main
from service.explained_text import incident_text, window_text
from service.inbox import InboxInput
from service.inbox_table import Once
from service.metrics import CATALOGUE, MAX_SOURCES, OTHER, Metrics
from service.packing import unpack
from service.routes.incidents import with_lines
from service.shown_windows import expand
from service.store import Batch, Store
from service.whole_files import score_records
from service.worker import Worker

TOKEN = "a token of enough characters"
SOURCE = "mazak01"
POLICY = AlarmPolicy(Budget(20, stated=True))


@pytest.fixture(scope="module")
def context(bundle: Bundle, machine_lines: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    store = Store(tmp_path_factory.mktemp("api") / "logvq.sqlite")
    lines = [*machine_lines, b"", b"x" * 70_000]
    records = (Record(SOURCE, "file:x", n, n + 1, line, None) for n, line in enumerate(lines))
    score_records(bundle, store, records, POLICY, lambda _: None)
    inbox = InboxInput(store)
    metrics = Metrics()
    worker = Worker(bundle, store, [inbox], metrics, AlarmPolicy())
    yield Context(store, metrics, inbox, worker, None)
    store.close()


@pytest.fixture(scope="module")
def client(context: Context) -> TestClient:
    return TestClient(create_app(context), raise_server_exceptions=False)


@pytest.mark.parametrize(
    ("path", "status", "slug"),
    [
        ("/api/v1/windows/w-none", 404, "not-found"),
        ("/api/v1/incidents/i-none", 404, "not-found"),
        ("/api/v1/nothing", 404, "not-found"),
        ("/api/v1/windows?limit=0", 422, "bad-request"),
        ("/api/v1/windows?limit=9999", 422, "bad-request"),
        ("/api/v1/windows?from=yesterday", 422, "bad-request"),
        ("/api/v1/windows?cursor=AAAA", 400, "bad-request"),
    ],
)
def test_errors_are_problem_details(client: TestClient, path: str, status: int, slug: str) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == f"/errors/{slug}"
    assert answer.json()["detail"]


def test_pages_walk_every_window_once(client: TestClient, context: Context) -> None:
    for order in ("time", "strength"):
        seen, cursor = [], ""
        while True:
            page = client.get(f"/api/v1/windows?order={order}&limit=7{cursor}").json()
            seen += [item["id"] for item in page["items"]]
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        assert len(seen) == len(set(seen)) == len(context.store.find_windows(limit=None))


def test_windows_are_found_by_score_and_time(client: TestClient) -> None:
    items = client.get("/api/v1/windows?limit=500").json()["items"]
    middle = sorted(item["start"] for item in items)[len(items) // 2]
    later = client.get(f"/api/v1/windows?limit=500&from={middle}").json()["items"]
    assert {i["id"] for i in later} == {i["id"] for i in items if i["end"] >= middle}
    # A bound that is a shown score finds the windows that show it.
    bound = sorted({item["score"] for item in items})[-2]
    strong = client.get(f"/api/v1/windows?limit=500&min_score={bound}").json()["items"]
    assert strong
    assert {i["id"] for i in strong} == {i["id"] for i in items if i["score"] >= bound}


def test_an_explanation_adds_up(client: TestClient, machine_lines: list[bytes]) -> None:
    best = client.get("/api/v1/windows?order=strength&limit=1").json()["items"][0]
    window = client.get(f"/api/v1/windows/{best['id']}").json()
    assert window["reasons"][0]["strength"] == max(reason["strength"] for reason in window["reasons"])
    first = window["first_position"]
    assert [line["text"].encode() for line in window["lines"]] == machine_lines[first : first + window["events"]]
    for surprise in window["surprises"]:
        attended = [item["mass"] for item in (*surprise["recent"], *surprise["codes"])]
        assert sum(attended) + surprise["other_recent_mass"] + surprise["other_codes_mass"] == pytest.approx(1)
        assert sum(item["probability"] for item in surprise["expected"]) <= 1.001
        assert surprise["surprisal_nats"] == window["lines"][surprise["line"]]["surprisal_nats"]
    assert any(code["hits"] for code in window["codes"])
    for code in window["codes"]:
        assert 0 <= code["hits"] <= window["events"]
        assert code["hits"] or code["attention_mass"]
        assert all(near["time"].endswith("Z") for near in code["nearest"])
    assert window["nearest"][0]["first"]["time"] < window["start"]


def test_every_line_of_a_source_is_accounted_for(client: TestClient, machine_lines: list[bytes]) -> None:
    (source,) = client.get("/api/v1/sources").json()["items"]
    lines = source["lines"]
    assert lines["consumed"] == len(machine_lines) + 2
    assert lines["dropped"] == {"blank": 1, "too-long": 1}
    assert lines["parsed"] + lines["unparsed"] + 2 == lines["consumed"]


def test_masks_that_make_parsing_slow_are_named_once_at_load_and_by_the_api(
    client: TestClient, bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (source,) = client.get("/api/v1/sources").json()["items"]
    assert source["digit_sensitive_masks"] == []
    masks = ((r"LOT7[0-9]+", "LOT"), (r"BAY\d", "BAY"))
    slow = save_bundle(replace(bundle, source_format=replace(bundle.source_format, masks=masks)), tmp_path / "slow")
    assert [record.getMessage() for record in caplog.records if "a slower way" in record.getMessage()] == [
        f"{tmp_path / 'slow'}: lines are looked up a slower way, for the mask LOT tells one digit from another; "
        r"where any digit will do, write \d for it"
    ]
    store = Store(tmp_path / "slow.sqlite")
    score_records(slow, store, iter([Record("x", "file:x", 0, 1, b"LOT71", None)]), AlarmPolicy(), lambda _: None)
    assert store.source_summaries()[0]["digit_sensitive_masks"] == ["LOT"]
    store.close()


def test_a_dead_letter_keeps_its_bytes(context: Context) -> None:
    with context.store.engine.connect() as connection:
        (row,) = connection.execute(sa.text("SELECT reason, value, length FROM dead_letters")).all()
    assert (row.reason, row.value, row.length) == ("too-long", b"x" * 70_000, 70_000)


def test_dead_letters_can_be_looked_at(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path / "a.sqlite")
    values = [b"\xff\x83" * 9, "\x1b[31m\\温度\u202e".encode() + b"\xff" * 60, b"x" * 70_000]
    for name in ("line/3", "other"):
        records = (Record(name, f"kafka:{name}:0", n, n + 1, value, 1.767e9) for n, value in enumerate(values))
        score_records(bundle, store, records, POLICY, lambda _: None)
    client = TestClient(create_app(Context(store, Metrics(), InboxInput(store), None, None)))  # type: ignore[arg-type]
    items, cursor = [], ""
    while cursor is not None:
        page = client.get(f"/api/v1/sources/line%2F3/dead-letters?limit=1&cursor={cursor}").json()
        items += page["items"]
        cursor = page["next_cursor"]
    assert [(item["position"], item["reason"], item["length"]) for item in items] == [
        (2, "too-long", 70_000), (1, "undecodable", len(values[1])), (0, "undecodable", 18)
    ]  # fmt: skip
    assert {(item["source"], item["stream"], item["received"]) for item in items} == {
        ("line/3", "kafka:line/3:0", "2025-12-29T09:20:00.000Z")
    }
    assert items[0]["value"] == "x" * 4096
    assert items[1]["value"] == r"\x1b[31m\\温度\xe2\x80\xae" + r"\xff" * 60
    assert items[2]["value"] == r"\xff\x83" * 9
    for key in ("NaN", "Infinity", "-1e300", "9" * 330):
        forged = base64.urlsafe_b64encode(f'[{key}, "1"]'.encode()).decode().rstrip("=")
        assert client.get(f"/api/v1/sources/line%2F3/dead-letters?cursor={forged}").status_code == 400, key
    whole = client.get(f"/api/v1/sources/line%2F3/dead-letters/{items[0]['id']}")
    assert (whole.content, whole.headers["content-type"]) == (values[2], "application/octet-stream")
    beyond = f"/sources/other/dead-letters/{10**20}"
    for path in ("/sources/none/dead-letters", f"/sources/other/dead-letters/{items[0]['id']}", beyond):
        assert client.get(f"/api/v1{path}").json()["type"] == "/errors/not-found"
    store.close()
    database = ["--database", str(tmp_path / "a.sqlite")]
    assert main(["dead-letters", *database, "--source", "line/3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == items
    assert main(["dead-letters", *database, "--limit", "2"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "other  kafka:other:0 2  too-long  70,000 bytes  xxx" in first
    assert r"undecodable  75 bytes  \x1b[31m" in second
    assert main(["dead-letters", *database, "--source", "none"]) == 2
    assert main(["dead-letters", "--database", str(tmp_path / "no.sqlite")]) == 2
    assert not (tmp_path / "no.sqlite").exists()


def test_incidents_name_their_windows_and_lines(client: TestClient) -> None:
    items = client.get("/api/v1/incidents").json()["items"]
    assert items
    for item in items:
        opening = client.get(f"/api/v1/windows/{item['first_window']}").json()
        lines = opening["lines"]
        first = ([line for line in lines if line["cited"]] or [line for line in lines if line["share"]])[0]
        assert {name: item["first_event"][name] for name in ("position", "time")} == {
            name: first[name] for name in ("position", "time")
        }
        assert item["worst_event"]["time"] in {line["time"] for line in lines} or item["windows"] > 1
    incident = client.get(f"/api/v1/incidents/{items[0]['id']}").json()
    assert incident["worst_window"] in incident["window_ids"]
    assert incident["top_lines"][0]["rank"] == 1
    for window_id in incident["window_ids"]:
        assert client.get(f"/api/v1/windows/{window_id}").json()["incident"] == incident["id"]


@pytest.mark.parametrize(
    ("accept", "is_text"),
    [
        (None, False),
        ("*/*", False),
        ("application/json", False),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", False),
        ("text/plain, application/json", False),
        ("text/plain;q=0.5, application/json", False),
        ("text/plain;q=0, */*", False),
        ("text/plain;q=0.4, */*;q=0.5", False),
        ("text/plain;q=none", False),
        ("image/png", False),
        ("text/plain", True),
        ("Text/Plain; charset=UTF-8", True),
        ("text/*", True),
        ("text/plain, */*;q=0.1", True),
        ("application/json; q=0.8, text/plain; q = 0.9", True),
        ("application/json;q=0, */*", True),
    ],
)
def test_an_explanation_is_text_where_a_client_would_rather_have_that(
    context: Context, accept: str | None, is_text: bool
) -> None:
    client = TestClient(create_app(context))
    # It would send one of its own.
    del client.headers["accept"]
    incident, worst = with_lines(context.store, context.store.find_incidents()[0]["id"])
    for path, item, text in (
        (f"/api/v1/windows/{worst['id']}", worst, window_text(worst)),
        (f"/api/v1/incidents/{incident['id']}", incident, incident_text(incident, worst)),
    ):
        answer = client.get(path, headers={} if accept is None else {"Accept": accept})
        assert answer.headers["vary"] == "Accept"
        assert answer.headers["content-type"] == ("text/plain; charset=utf-8" if is_text else "application/json")
        assert (answer.text if is_text else answer.json()) == (text if is_text else json.loads(json.dumps(item)))


def test_a_client_that_wants_text_is_told_of_errors_as_everybody_is(client: TestClient) -> None:
    answer = client.get("/api/v1/windows/w-none", headers={"Accept": "text/plain"})
    assert (answer.status_code, answer.json()["type"]) == (404, "/errors/not-found")


@pytest.mark.parametrize(
    ("body", "media", "accepted"),
    [
        (b"one\ntwo\n", "text/plain", 2),
        (b'{"lines": ["one", "two\\nthree\\n"]}', "application/json", 3),
        (b"one", "application/x-www-form-urlencoded", 1),
    ],
)
def test_a_push_is_stored_before_it_is_answered(
    client: TestClient, context: Context, body: bytes, media: str, accepted: int
) -> None:
    before = context.store.inbox_size()
    answer = client.post("/api/v1/sources/press07/lines", content=body, headers={"Content-Type": media})
    assert answer.status_code == 202
    assert answer.json()["accepted"] == accepted
    assert context.store.inbox_size() == before + accepted


@pytest.mark.parametrize(
    ("path", "body", "media", "status"),
    [
        ("press07", b"", "text/plain", 400),
        ("press07", b"[1]", "application/json", 400),
        ("press07", b"x", "image/png", 415),
        ("press07", b"x", "text/plain; charset=cp932", 415),
        ("press07", b"x", "text/plain; charset=klingon", 415),
        ("press07", b'{"lines": ["x"]}', "application/json; charset=cp932", 415),
        ("press07", b"x" * ((16 << 20) + 1), "text/plain", 413),
        ("x" * 129, b"x", "text/plain", 422),
    ],
)
def test_a_bad_push_is_refused_whole(
    client: TestClient, context: Context, path: str, body: bytes, media: str, status: int
) -> None:
    before = context.store.inbox_size()
    answer = client.post(f"/api/v1/sources/{path}/lines", content=body, headers={"Content-Type": media})
    assert answer.status_code == status
    assert context.store.inbox_size() == before


def push(client: TestClient, body: bytes, key: str | None = None, source: str = "press07", **headers: str) -> Any:
    named = {"Idempotency-Key": key} if key is not None else {}
    headers = {"Content-Type": "text/plain"} | headers | named
    return client.post(f"/api/v1/sources/{source}/lines", content=body, headers=headers)


def test_a_line_feed_ends_a_line_in_json_as_in_text(client: TestClient, context: Context) -> None:
    first = push(client, b"one\n\ntwo\r\n").json()["position"]
    push(client, rb'{"lines": ["one\n", "\ntwo\r"]}', **{"Content-Type": "application/json"})
    values = [row.value for row in context.store.read_inbox(first - 2, 10)]
    assert values == [b"one", b"", b"two\r"] * 2


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "no JSON, see line 1, column 2"),
        (b'{"lines": ["\xff"]}', "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[1]", "no list `lines`"),
        (b'{"lines": "x"}', "no list `lines`"),
        (b'{"lines": ["x"], "key": 1}', "'key' beside `lines`"),
        (b'{"lines": ["x", 2]}', r"lines\[1\] of the push is no text"),
    ],
)
def test_a_bad_json_push_is_told_what_is_wrong_in_our_words(client: TestClient, body: bytes, says: str) -> None:
    answer = push(client, body, **{"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert re.search(says, answer.json()["detail"])
    assert not re.search("http|pydantic", answer.json()["detail"])


def test_half_a_surrogate_pair_refuses_no_push(client: TestClient, context: Context) -> None:
    first = push(client, rb'{"lines": ["\ud800 door", "ok"]}', **{"Content-Type": "application/json"})
    values = [row.value for row in context.store.read_inbox(first.json()["position"] - 1, 2)]
    assert values == [rb"\ud800 door", b"ok"]


def test_a_push_may_be_gzipped_and_say_its_charset(client: TestClient, context: Context) -> None:
    plain = "one\n二\n".encode()
    zipped = gzip.compress(plain[:4]) + gzip.compress(plain[4:])
    said = {"Content-Type": 'Text/Plain; Charset="UTF8"'}
    for body, headers in (
        (plain, {}),
        (zipped, {"Content-Encoding": "gzip"}),
        (plain, {"Content-Encoding": "identity"}),
    ):
        position = push(client, body, **headers, **said).json()["position"]
        values = [row.value for row in context.store.read_inbox(position - 1, 2)]
        assert values == [b"one", "二".encode()]
    # The lines, not their form, are what a repeated push repeats.
    first = push(client, plain, "zipped")
    assert push(client, zipped, "zipped", **{"Content-Encoding": "gzip"}).json() == first.json()


@pytest.mark.parametrize(
    ("body", "coding", "status", "says"),
    [
        (gzip.compress(b"\n" * (17 << 20)), "gzip", 413, "16 MiB"),
        (b"one\ntwo", "gzip", 400, "gzip and is none"),
        (gzip.compress(b"one\ntwo")[:-9], "gzip", 400, "too early"),
        (b"one\ntwo", "br", 415, "Content-Encoding br"),
        (b"one\ntwo", "gzip, gzip", 415, "Content-Encoding gzip, gzip"),
    ],
)
def test_a_push_whose_compression_is_not_to_be_undone_is_refused(
    client: TestClient, context: Context, body: bytes, coding: str, status: int, says: str
) -> None:
    before = context.store.inbox_size()
    answer = push(client, body, **{"Content-Encoding": coding})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert says in answer.json()["detail"]
    assert context.store.inbox_size() == before


def test_a_charset_that_is_not_the_sources_is_refused_by_both_names(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Worker, "encoding", "cp932")
    client = TestClient(create_app(context))
    answer = push(client, b"x", **{"Content-Type": "text/plain; charset=utf-8"})
    assert (answer.status_code, answer.json()["type"]) == (415, "/errors/unsupported-media-type")
    assert "utf-8" in answer.json()["detail"]
    assert "cp932" in answer.json()["detail"]
    assert push(client, b"x", **{"Content-Type": "text/plain; charset=Shift_JIS"}).status_code == 202


def test_what_the_source_cannot_have_written_is_refused(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Worker, "encoding", "cp932")
    client = TestClient(create_app(context))
    body = json.dumps({"lines": ["温度異常", "tall 😀"]}).encode()
    answer = push(client, body, **{"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert "cp932" in answer.json()["detail"]
    assert "text/plain" in answer.json()["detail"]


def test_a_repeated_push_appends_nothing_and_gets_the_same_answer(client: TestClient, context: Context) -> None:
    first = push(client, b"one\ntwo\n", "k-1")
    size = context.store.inbox_size()
    again = push(client, b"one\ntwo\n", "k-1")
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert (first.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (None, "true")
    assert context.store.inbox_size() == size
    assert push(client, b"one\ntwo\n", "k-2").json() != first.json()
    assert push(client, b"one\ntwo\n", "k-1", source="press08").json() != first.json()
    assert context.store.inbox_size() == size + 4


def test_a_key_given_to_other_lines_is_refused(client: TestClient, context: Context) -> None:
    push(client, b"one\ntwo", "k-3")
    size = context.store.inbox_size()
    for body in (b"one two", b"one", b"two\none"):
        answer = push(client, body, "k-3")
        assert (answer.status_code, answer.json()["type"]) == (422, "/errors/idempotency-key-reused")
    assert context.store.inbox_size() == size


@pytest.mark.parametrize("key", ["", "with space", "x" * 256])
def test_a_key_that_is_none_is_refused(client: TestClient, key: str) -> None:
    assert push(client, b"one", key).status_code == 422


def test_a_push_that_was_refused_may_be_repeated(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as full:
        full.setattr(inbox_table, "INBOX_LIMIT", 0)
        assert push(client, b"one", "k-4").status_code == 429
    assert push(client, b"one", "k-4").status_code == 202


def test_a_key_is_forgotten_after_its_time(
    client: TestClient, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = push(client, b"one", "k-5").json()
    now = time.time()
    monkeypatch.setattr(inbox_table.time, "time", lambda: now + inbox_table.KEEP_PUSHES_SECONDS + 1)
    assert push(client, b"other", "k-5").json()["position"] > first["position"]
    with context.store.engine.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM pushes")).scalar_one() == 1


def test_two_pushes_with_one_key_at_once_append_once(context: Context) -> None:
    size = context.store.inbox_size()
    once = Once("k-6", b"same")
    with ThreadPoolExecutor(8) as threads:
        pushed = list(threads.map(lambda _: context.store.push("press07", [b"one"], once), range(8)))
    assert len({(item.accepted, item.position) for item in pushed if item}) == 1
    assert [item.repeated for item in pushed if item].count(False) == 1
    assert context.store.inbox_size() == size + 1


def test_a_full_inbox_says_so(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_table, "INBOX_LIMIT", 0)
    answer = client.post("/api/v1/sources/press07/lines", content=b"x", headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.json()["type"]) == (429, "/errors/inbox-full")
    assert answer.headers["retry-after"]


def test_a_token_is_asked_for_where_one_is_set(context: Context) -> None:
    guarded = Context(
        context.store, context.metrics, context.inbox, context.worker, hashlib.sha256(TOKEN.encode()).digest()
    )
    client = TestClient(create_app(guarded))
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic !"}, {"Authorization": TOKEN}):
        answer = client.get("/api/v1/sources", headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (401, "/errors/unauthorized")
    basic = base64.b64encode(f"anyone:{TOKEN}".encode()).decode()
    for header in (f"Bearer {TOKEN}", f"Basic {basic}"):
        assert client.get("/api/v1/sources", headers={"Authorization": header}).status_code == 200
    assert client.get("/metrics").status_code == client.get("/healthz").status_code == 200


def test_pages_answer_and_may_load_nothing_from_elsewhere(client: TestClient) -> None:
    incident = client.get("/api/v1/incidents").json()["items"][0]
    for path in ("/", "/ui/", f"/ui/incidents/{incident['id']}", f"/ui/windows/{incident['worst_window']}"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert not re.search(r"https?://", answer.text)
    missing = client.get("/ui/windows/w-none")
    assert missing.status_code == 404
    assert "text/html" in missing.headers["content-type"]


def test_ready_only_while_the_worker_works(client: TestClient) -> None:
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 503


def test_a_batch_is_stored_whole_or_not_at_all(tmp_path: Path) -> None:
    store = Store(tmp_path / "a.sqlite")
    store.push("s", [b"one", b"two"])
    bad = Batch(positions={"http": 3}, windows=[{"id": "w-1", "source": "s"}])
    with pytest.raises(sa.exc.IntegrityError):
        store.commit(bad)
    assert store.next_position("http") is None
    assert store.inbox_size() == 2
    store.commit(Batch(positions={"http": 2}))
    assert (store.next_position("http"), store.inbox_size()) == (2, 1)
    store.close()


def test_a_window_that_was_complete_at_a_crash_is_judged_without_another_line(
    bundle: Bundle, machine_lines: list[bytes], tmp_path: Path
) -> None:
    store = Store(tmp_path / "a.sqlite")
    lines = machine_lines[: 3 * bundle.window.events]
    store.push(SOURCE, lines)
    inbox = InboxInput(store)
    Worker(bundle, store, [inbox], Metrics(), AlarmPolicy()).process(inbox, inbox.poll(0.0))
    waiting = store.source_summaries()[0]["unjudged"]
    assert len(store.find_windows()) + waiting == 3
    Worker(bundle, store, [inbox], Metrics(), AlarmPolicy()).resume()
    assert [window["status"] for window in store.find_windows()] == ["final"] * 3
    assert store.source_summaries()[0]["unjudged"] == 0
    store.close()


def test_an_open_window_nobody_had_shown_at_a_crash_is_shown_without_another_line(
    bundle: Bundle, machine_lines: list[bytes], tmp_path: Path
) -> None:
    store = Store(tmp_path / "a.sqlite")
    store.push(SOURCE, machine_lines[:20])
    inbox = InboxInput(store)
    Worker(bundle, store, [inbox], Metrics(), AlarmPolicy()).process(inbox, inbox.poll(0.0))
    assert store.find_windows() == []
    Worker(bundle, store, [inbox], Metrics(), AlarmPolicy()).resume()
    assert [(window["status"], window["events"]) for window in store.find_windows()] == [("provisional", 20)]
    version = store.load_source(SOURCE).version
    Worker(bundle, store, [inbox], Metrics(), AlarmPolicy()).resume()
    assert store.load_source(SOURCE).version == version
    store.close()


def test_metrics_count_every_line_and_bound_their_labels(
    bundle: Bundle, machine_lines: list[bytes], tmp_path: Path
) -> None:
    store, metrics = Store(tmp_path / "a.sqlite"), Metrics()
    store.push(SOURCE, [*machine_lines[:1500], b""])
    inbox = InboxInput(store)
    worker = Worker(bundle, store, [inbox], metrics, AlarmPolicy())
    worker.process(inbox, inbox.poll(0.0))

    def value(name: str, **labels: str) -> float:
        return metrics.registry.get_sample_value(name, labels) or 0.0

    outcomes = [value("logvq_lines_total", source=SOURCE, outcome=o) for o in ("parsed", "unparsed", "dropped")]
    assert sum(outcomes) == value("logvq_records_consumed_total", topic="http") == 1501
    assert outcomes[2] == 1
    assert value("logvq_windows_total", source=SOURCE) == 1500 // bundle.window.events
    assert {metrics.source(f"s{n}") for n in range(MAX_SOURCES + 50)} - {OTHER} <= {f"s{n}" for n in range(MAX_SOURCES)}
    assert all(name.startswith("logvq_") and metric.meaning for name, metric in CATALOGUE.items())
    store.close()


def test_what_a_machine_wrote_last_is_shown_while_others_keep_the_worker_busy(
    bundle: Bundle, machine_lines: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "a.sqlite")
    inbox = InboxInput(store)
    worker = Worker(bundle, store, [inbox], Metrics(), AlarmPolicy())
    store.push(SOURCE, machine_lines[:20])
    worker._round()
    for at in range(3):
        store.push("another", machine_lines[at : at + 1])
        worker._round()
    assert store.find_windows() == []
    monkeypatch.setattr("service.held_sources.REST_SECONDS", 0.0)
    monkeypatch.setattr("service.worker._FLUSH_EVERY_SECONDS", 0.0)
    worker._flush_due = 0.0
    store.push("another", machine_lines[3:4])
    worker._round()
    shown = {window["source"]: window for window in store.find_windows()}
    assert (shown[SOURCE]["status"], shown[SOURCE]["events"]) == ("provisional", 20)
    version = store.load_source(SOURCE).version
    store.push("another", machine_lines[4:5])
    worker._round()
    assert store.load_source(SOURCE).version == version
    store.close()


class _Asked(Input):
    """An input that notes how long it may wait, and hands over what it is told."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.next: list[Record] = []

    def poll(self, timeout_seconds: float) -> list[Record]:
        self.waits.append(timeout_seconds)
        found, self.next = self.next, []
        return found

    def committed(self, positions: object) -> None:
        pass

    def lag(self) -> dict[str, int]:
        return {}


def test_a_worker_waits_for_the_last_of_its_inputs_only(
    bundle: Bundle, machine_lines: list[bytes], tmp_path: Path
) -> None:
    store = Store(tmp_path / "a.sqlite")
    first, last = _Asked(), _Asked()
    worker = Worker(bundle, store, [first, last], Metrics(), AlarmPolicy())
    last.next = [Record(SOURCE, "file:x", 0, 1, machine_lines[0], None)]
    worker._round()
    worker._round()
    assert first.waits == [0.0, 0.0]
    assert min(last.waits) > 0
    store.close()


def test_windows_that_an_earlier_version_stored_are_shown(context: Context) -> None:
    """It kept where the time of a line stands, in place of where the message does, and knew nothing of excuses."""
    (row,) = context.store.find_windows(by_strength=True, limit=1)
    record = unpack(context.store.window(row["id"])["record"])
    earlier = {name: value for name, value in record.items() if name not in ("excused", "delimiter", "masks")}
    earlier["lines"] = [[*line[:4], 0, line[4]] for line in record["lines"]]
    assert expand(row, earlier | {"delimiter": record["delimiter"]}) == expand(row, record)
    assert any(line["spans"] for line in expand(row, earlier)["lines"])


def test_pages_and_text_show_the_times_of_the_plant(
    bundle: Bundle, machine_lines: list[bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokyo = save_bundle(replace(bundle, source_format=replace(bundle.source_format, zone="Asia/Tokyo")), tmp_path / "b")
    store = Store(tmp_path / "a.sqlite")
    lines = [line.replace(b"Z|", b"|", 1) for line in machine_lines]
    score_records(
        tokyo, store, (Record(SOURCE, "file:x", n, n + 1, line, None) for n, line in enumerate(lines)), POLICY,
        lambda _: None,
    )  # fmt: skip
    incident, worst = with_lines(store, store.find_incidents()[0]["id"])
    written = worst["lines"][0]["text"][:19].replace("T", " ")
    client = TestClient(create_app(Context(store, Metrics(), InboxInput(store), None, None)))  # type: ignore[arg-type]
    assert written.replace(" ", "T") not in worst["start"]
    for path in (f"windows/{worst['id']}", f"incidents/{incident['id']}"):
        assert "JST" in client.get(f"/ui/{path}").text
        assert written in client.get(f"/api/v1/{path}", headers={"Accept": "text/plain"}).text
        assert client.get(f"/api/v1/{path}").json()["start"].endswith("Z")
    assert f">{written}<" in client.get(f"/ui/windows/{worst['id']}").text
    home = client.get("/ui/").text
    assert "UTC" not in home
    assert home.count("JST") > 2
    store.close()
    assert main(["explain", worst["id"], "--database", str(tmp_path / "a.sqlite")]) == 0
    assert f"{written}" in capsys.readouterr().out
