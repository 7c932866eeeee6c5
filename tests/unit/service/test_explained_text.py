"""Explanations as text: everything the API says of a window, and nothing that a terminal would obey."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ingestion import Record
from service.alarms.budget import Budget
from service.alarms.policy import AlarmPolicy
from service.bundle import Bundle
from service.cli import main
from service.detection.counts import EXACT
from service.explained_text import incident_text, window_text
from service.pages.formatting import fixed, percent, reason_name
from service.routes.incidents import with_lines
from service.routes.windows import explained
from service.store import Store
from service.whole_files import score_records

SOURCE = "mazak01"
HOSTILE = "\x1b[31m\x1b]0;owned\x07\n\nbundle b-forged\r\x85\u2028\u202e\u061c\ud800 "


@pytest.fixture(scope="module")
def store(bundle: Bundle, machine_lines: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store(tmp_path_factory.mktemp("explained") / "logvq.sqlite")
    records = (Record(SOURCE, "file:x", n, n + 1, line, None) for n, line in enumerate(machine_lines))
    score_records(bundle, store, records, AlarmPolicy(Budget(20, stated=True)), lambda _: None)
    yield store
    store.close()


@pytest.fixture(scope="module")
def window(store: Store) -> dict[str, Any]:
    """The strongest window."""
    return explained(store, store.find_windows(by_strength=True, limit=1)[0]["id"])


def told_time(moment: str) -> str:
    return moment.removesuffix("Z").replace("T", " ")


def section(text: str, title: str) -> list[str]:
    """Return the lines of one section."""
    return next(part for part in text.split("\n\n") if part.startswith(title)).splitlines()[1:]


def test_a_window_is_told_with_all_that_explains_it(window: dict[str, Any]) -> None:
    text = window_text(window)
    assert text == window_text(json.loads(json.dumps(window)))
    assert text.splitlines()[0] == window["sentence"]
    assert f"{window['id']}: anomalous" in text
    assert f"bundle {window['bundle']}, calibrated on {window['calibration_windows']} windows" in text
    offsets = f"{window['first_position']} to before {window['next_position']}"
    assert text.endswith(f"\nstream {window['stream']}, offsets {offsets}\n")
    reasons = "\n".join(section(text, "Reasons"))
    for reason in window["reasons"]:
        said = f"{percent(reason['share'])}  {reason_name(reason['kind'])}, strength {fixed(reason['strength'])}"
        for words in (said, reason["text"], f"expected  {reason['expected']}", f"seen      {reason['seen']}"):
            assert words in reasons
    for left, alarm in ((window["threshold"] - 0.01, "be no alarm"), (window["threshold"], "still be an alarm")):
        lacking = [{"template": "door <*>", "count": 2, "line": 3}]
        carried = window | {"without_cited": left, "restored": lacking, "with_restored": left, "without_codes": left}
        text = window_text(carried)
        for said in ("cited lines it", "with what it lacks it", "attended to most it"):
            assert f"{said} would have a strength of {fixed(left)}, and {alarm}" in text
        assert f"lacking 2 before position {window['lines'][3]['position']}, " in text


def test_a_window_that_is_not_complete_is_not_decided(window: dict[str, Any]) -> None:
    text = window_text(window | {"status": "provisional", "anomalous": False, "threshold": 98.76})
    assert f"{window['id']}: not decided yet, provisional" in text
    assert "when it is complete, the threshold that the source has then counts" in text
    assert "98.76" not in text.partition("\nReasons")[0]


def test_lines_that_are_excused_are_told_as_that(window: dict[str, Any]) -> None:
    lines = [
        line | {"excused": line["position"] == window["lines"][0]["position"], "rank": 1} for line in window["lines"]
    ]
    said = {"by": ["rule door", "feedback 3"], "strength": 7.25}
    text = window_text(window | {"lines": lines[:3], "excused": said, "surprises": [], "restored": []})
    assert "without 1 line excused by rule door and feedback 3; with all lines it would have a strength of 7.25" in text
    assert text.count("excused") == 2


def test_that_no_line_is_cited_is_said_with_what_that_means(window: dict[str, Any]) -> None:
    uncited = [line | {"cited": False} for line in window["lines"]]
    text = window_text(window | {"lines": uncited, "without_cited": window["strength"]})
    assert "no line by itself carries the alarm: without those that weigh most it would be no weaker" in text


def test_lines_are_ranked_by_what_they_contribute_with_their_variable_parts(window: dict[str, Any]) -> None:
    ranked = [line for line in window["lines"] if line["rank"]]
    told = section(window_text(window), "Lines")
    heads = [line for line in told if "; surprisal" in line]
    shares = sorted((line["share"] for line in ranked), reverse=True)
    assert len(set(shares)) > 2
    assert [head.split("  position")[0].strip() for head in heads] == [percent(share) for share in shares[:12]]
    for line in ranked[:12]:
        place = next(n for n, head in enumerate(told) if f"position {line['position']}," in head)
        assert ("cited" in told[place]) == bool(line["cited"])
        assert ("new template" in told[place]) == line["unseen"]
        assert told[place + 1].strip() == line["text"]
        rest = [text.strip() for text in told[place + 2 : place + 4]]
        if line["spans"]:
            assert f"variable  {' '.join(line['text'][a:b] for a, b in line['spans'])}" in rest
        if line["template"] not in line["text"]:
            assert f"template  {line['template']}" in rest


def test_what_was_expected_and_where_attention_went_stand_at_the_point_of_surprise(window: dict[str, Any]) -> None:
    told = "\n".join(section(window_text(window), "Expected next"))
    parts = re.split(r"^  at ", told, flags=re.MULTILINE)[1:]
    assert len(parts) == len(window["surprises"])
    for part, surprise in zip(parts, window["surprises"], strict=True):
        line = window["lines"][surprise["line"]]
        assert part.startswith(f"position {line['position']}, {told_time(line['time'])}\n")
        assert f"came: {line['template']}" in part
        for option in surprise["expected"]:
            assert f"{percent(option['probability'])}  {option['template']}" in part
        for earlier in surprise["recent"]:
            assert f"{percent(earlier['mass'])}  position {earlier['position']}: {earlier['text']}" in part
        for code in surprise["codes"]:
            assert f"{percent(code['mass'])}  older lines through code {code['code']}" in part


def test_codes_and_the_nearest_known_good_windows_are_told_with_their_lines(window: dict[str, Any]) -> None:
    text = window_text(window)
    codes, nearest = ("\n".join(section(text, title)) for title in ("Codes", "Nearest known-good"))
    assert window["codes"]
    for code in window["codes"]:
        head = next(line for line in codes.splitlines() if f"code {code['code']}: " in line)
        assert f"{percent(code['share'])} of events here, usually {percent(code['usual_share'])}" in head
        if code["distance_percentile"] is not None:
            assert f"distance percentile {fixed(code['distance_percentile'], 1)}" in head
        assert f"usually   {'; '.join(code['usual_templates'])}" in codes
        assert all(near["text"] in codes for near in code["nearest"])
    assert window["nearest"]
    for near in window["nearest"]:
        assert f"{near['file']}, position {near['first']['position']}, {told_time(near['first']['time'])} to" in nearest
        assert all(line["text"] in nearest for line in near["lines"])
        for item in near["differences"]:
            at_least = "at least " if item["expected"] > EXACT else ""
            assert f"{item['seen']} here, {at_least}{item['expected']} there: {item['template']}" in nearest


def test_an_incident_is_told_with_its_head_and_its_worst_window(store: Store) -> None:
    row = store.find_incidents(limit=None)[-1]
    incident, worst = with_lines(store, row["id"])
    text = incident_text(incident | {"verdict": "known"}, worst)
    head, _, rest = text.partition("its worst window:\n\n")
    assert rest == window_text(worst)
    assert head.startswith(f"{row['id']}: {row['title']}\n")
    for words in (
        row["status"],
        row["severity"],
        reason_name(row["reason"]).lower(),
        told_time(incident["start"]),
        SOURCE,
    ):
        assert words in head
    assert incident["first_event"]["text"] in head
    assert "somebody said: known" in head
    other = {"id": "i-other", "source": "oven", "title": "Missing: door"}
    joined = incident_text(incident | {"joined_with": [other]}, worst)
    assert "i-other of oven: Missing: door" in joined


def test_times_are_those_of_the_plant_and_its_zone_is_named(store: Store) -> None:
    incident, worst = with_lines(store, store.find_incidents(limit=None)[-1]["id"])
    incident, worst = (each | {"start": "2016-12-30T20:00:01.500Z"} for each in (incident, worst))
    lines = [line | {"time": "2016-12-30T20:00:02.250Z"} for line in worst["lines"]]
    text = incident_text(incident, worst | {"lines": lines}, "Asia/Tokyo")
    assert text.count("2016-12-31 05:00:01.500 to ") == 2
    assert len(re.findall(r"2016-12-31 05:00:01\.500 to \S+ \S+ Asia/Tokyo", text)) == 2
    assert f"position {lines[0]['position']}, 2016-12-31 05:00:02.250" in text


def poisoned(value: Any) -> Any:
    """Return JSON values with every text begun by what a hostile line may hold, but for those that name kinds."""
    if isinstance(value, dict):
        kept = ("kind", "reason", "status")
        return {name: each if name in kept else poisoned(each) for name, each in value.items()}
    if isinstance(value, list):
        return [poisoned(each) for each in value]
    return HOSTILE + value if isinstance(value, str) else value


def test_no_control_character_and_no_line_of_its_own_comes_out_of_a_hostile_line(store: Store) -> None:
    incident, worst = with_lines(store, store.find_incidents(limit=None)[0]["id"])
    plain = incident_text(incident, worst)
    text = incident_text(poisoned(incident), poisoned(worst))
    assert {unicodedata.category(character) for character in text.replace("\n", "")}.isdisjoint(
        {"Cc", "Cf", "Cs", "Zl", "Zp"}
    )
    assert "[31m" not in text
    assert "bundle b-forged" in text
    # A template that its line holds word for word is left out, and these do no more.
    templates = text.count("         template  ") - plain.count("         template  ")
    assert text.count("\n") == plain.count("\n") + templates
    text.encode()


def test_json_of_a_hostile_line_is_what_it_was_and_nothing_that_a_terminal_obeys(
    bundle: Bundle, machine_lines: list[bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database, hostile = tmp_path / "a.sqlite", "\x9b2J\x7f\u2028\u202e\U000e0001温度"
    lines = [*machine_lines[:10], machine_lines[10] + hostile.encode(), *machine_lines[10:100]]
    store = Store(database)
    records = (Record(SOURCE, "file:x", n, n + 1, line, None) for n, line in enumerate(lines))
    score_records(bundle, store, records, AlarmPolicy(), lambda _: None)
    first = min(store.find_windows(limit=None), key=lambda row: row["index"])["id"]
    found = explained(store, first)
    store.close()
    assert main(["explain", first, "--database", str(database), "--json"]) == 0
    said = capsys.readouterr().out
    assert json.loads(said) == json.loads(json.dumps(found))
    assert found["lines"][10]["text"].endswith(hostile)
    assert "温度" in said
    assert not [each for each in said if each != "\n" and unicodedata.category(each) in {"Cc", "Cf", "Zl", "Zp"}]


def test_long_lines_and_many_of_them_are_cut_and_that_is_said(window: dict[str, Any]) -> None:
    line = window["lines"][0] | {"text": "door " + "7 " * 5000, "rank": 1, "share": 0.5, "template": "<*>"}
    line["spans"] = [[5 + 2 * n, 6 + 2 * n] for n in range(5000)]
    many = [line | {"rank": rank, "position": rank} for rank in range(1, 61)]
    text = window_text(window | {"lines": many, "surprises": [], "restored": []})
    told = section(text, "Lines")
    assert max(map(len, told)) < 400
    assert told[1].endswith("… (9,705 more characters)")
    assert told[3].strip() == f"variable  {'7 ' * 16}and 4,984 more"
    assert told[-1].strip() == "and 48 lines more, which carry less"


def test_a_window_whose_lines_have_been_dropped_says_so_and_what_is_known(
    bundle: Bundle, machine_lines: list[bytes], tmp_path: Path
) -> None:
    store = Store(tmp_path / "a.sqlite")
    records = (Record(SOURCE, "file:x", n, n + 1, line, None) for n, line in enumerate(machine_lines[:200]))
    score_records(bundle, store, records, AlarmPolicy(), lambda _: None)
    quiet = next(row["id"] for row in store.find_windows() if not row["anomalous"])
    kept = window_text(explained(store, quiet))
    store.forget_lines(SOURCE, 1000)
    window = explained(store, quiet)
    store.close()
    text = window_text(window)
    assert "no longer stored" in text
    assert "no longer stored" not in kept
    assert text.splitlines()[0] == window["sentence"]
    assert f"bundle {window['bundle']}\nstream file:x, offsets {window['first_position']} to before" in text


def test_the_command_prints_what_the_api_answers(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    row = store.find_incidents(limit=None)[0]
    database = ["--database", str(store.engine.url.database)]
    incident, worst = with_lines(store, row["id"])
    assert main(["explain", row["id"], *database]) == 0
    assert capsys.readouterr().out == incident_text(incident, worst)
    assert main(["explain", row["worst_window"], *database]) == 0
    assert capsys.readouterr().out == window_text(worst)
    assert main(["explain", row["id"], *database, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(incident))


@pytest.mark.parametrize(
    ("about", "says"),
    [
        ("w-none", "no window w-none"),
        ("i-none", "no incident i-none"),
        ("none", "none names nothing; give the id of a window"),
    ],
)
def test_what_is_not_there_is_named(store: Store, capsys: pytest.CaptureFixture[str], about: str, says: str) -> None:
    assert main(["explain", about, "--database", str(store.engine.url.database)]) == 2
    assert says in capsys.readouterr().err


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "w-1", "--database", str(tmp_path / "none.sqlite")]) == 2
    assert "no database" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
