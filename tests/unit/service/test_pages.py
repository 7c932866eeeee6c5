"""Pages of the service: hostile text, marks, missing values, charts and accounting."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape

from service import pages
from service.pages import charts, formatting
from service.pages.evidence import GapRow, LineRow, line_rows
from service.pages.text import clip, marked, placeholders, visible
from tests.browser import examples

HIDDEN = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def test_control_and_direction_characters_are_shown() -> None:
    assert visible("a\x1b[0m\u202eb\x7f\x85\ufeff\ud800") == "a␛[0m‹U+202E›b␡‹U+0085›‹U+FEFF›‹U+D800›"


def test_japanese_text_is_left_alone() -> None:
    text = "プレス07号機　ﾄｰｸ過大 ℃ ㈱髙 ①〜"
    assert visible(text) == text


@given(st.text(alphabet=st.characters(), max_size=60))
def test_nothing_hidden_remains(text: str) -> None:
    assert not HIDDEN.search(visible(text).replace("\n", ""))


@given(
    st.text(alphabet=st.characters(), max_size=40),
    st.lists(st.tuples(st.integers(-3, 50), st.integers(-3, 50)), max_size=5),
)
def test_marks_never_change_what_a_line_says(text: str, spans: list[tuple[int, int]]) -> None:
    bare = re.sub(r"</?mark>", "", marked(text, spans, 100))
    assert bare.replace("␊\n", "␊") == str(escape(visible(text)))


def test_marks_follow_the_original_positions_behind_hidden_characters() -> None:
    assert marked("\u202e\x1b<b> 42 nats", [[6, 8]], 100) == "‹U+202E›␛&lt;b&gt; <mark>42</mark> nats"


def test_overlapping_and_impossible_spans_are_cut_to_what_fits() -> None:
    assert marked("abcdef", [[2, 4], [1, 3], [5, 99], [4, 4], [-2, 0]], 9) == (
        "a<mark>bc</mark><mark>d</mark>e<mark>f</mark>"
    )


def test_long_lines_say_how_much_is_missing() -> None:
    assert clip("x" * 1500, 3) == "xxx … (1,497 more characters)"
    assert "1,497 more characters" in marked("x" * 1500, None, 3)


def test_placeholders_are_set_apart_and_markup_is_not_taken_for_markup() -> None:
    assert placeholders("a <NUM> <b>") == "a <var>&lt;NUM&gt;</var> <var>&lt;b&gt;</var>"


@pytest.mark.parametrize(
    ("score", "said"),
    [(0, "1 in 1"), (0.31, "1 in 2"), (1.85, "1 in 71"), (2.31, "1 in 200"), (4, "1 in 10,000"), (None, "–")],
)
def test_scores_are_said_in_words(score: float | None, said: str) -> None:
    assert formatting.one_in(score) == said


@pytest.mark.parametrize(
    ("share", "said"),
    [(0.83, "83 %"), (0.012, "1.2 %"), (0.0002, "0.02 %"), (1e-9, "< 0.01 %"), (0, "0.0 %"), (float("nan"), "–")],
)
def test_shares_stay_readable_at_both_ends(share: float, said: str) -> None:
    assert formatting.percent(share) == said


def test_one_date_is_said_once() -> None:
    shown = re.sub("<[^>]+>", "", formatting.period("2017-06-01T08:00:00Z", "2017-06-01T08:05:00Z"))
    assert shown == "2017-06-01 08:00:00 to 08:05:00 UTC"


def test_the_timeline_keeps_the_highest_score_of_each_bar() -> None:
    items = [
        {"id": f"w-{k}", "start": None, "score": 2.4 if k == 777 else 0.1, "anomalous": k == 777} for k in range(9000)
    ]
    chart = charts.timeline(items, 1.9, {"w-777": 3})
    assert len(chart.bins) == charts.TIMELINE_BINS
    assert sum(item.windows for item in chart.bins) == 9000
    hit = [item for item in chart.bins if item.anomalous]
    assert [(item.score, item.entry) for item in hit] == [(2.4, 3)]
    assert [label.label for label in chart.labels] == ["3"]


def test_a_stray_year_does_not_squeeze_the_timeline() -> None:
    items = examples.report(windows=400)["timeline"]
    items[3]["start"] = "1970-01-01T00:00:00Z"
    assert not charts.timeline(items, 1.9, {}).by_time


def test_the_curve_needs_two_thresholds() -> None:
    assert charts.curve([{"threshold": 1.0, "alarms_per_day": 2}], 1.0, 2.0) is None
    assert charts.curve([{"threshold": 1.0, "alarms_per_day": None}, {}], None, None) is None


def test_an_excerpt_keeps_the_worst_lines_and_counts_the_rest() -> None:
    lines = examples.window()["lines"]
    rows = line_rows(lines, 6.0, limit=12)
    shown = [row.index for row in rows if isinstance(row, LineRow)]
    assert {41, 42, 43} <= set(shown)
    assert len(shown) == 12
    assert len(shown) + sum(row.lines for row in rows if isinstance(row, GapRow)) == len(lines)


def test_a_window_page_says_what_its_codes_cannot() -> None:
    window = examples.window()
    page = pages.render_window(window, {"normal_window": examples.window(11, anomalous=False), "zone": "Asia/Tokyo"})
    assert "Codes show association, not cause" in page
    assert "16:30:05" in page
    assert f"/api/v1/windows/{window['id']}" in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)


def test_an_alarm_is_shown_beside_what_is_normal_and_with_what_would_end_it() -> None:
    window = examples.window()
    for page in (pages.render_window(window, None), pages.render_incident(examples.incident(), window)):
        shown = re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", page))
        assert (
            "With 2 more line| &lt;NUM&gt; before line 120809 this window would have a strength of 1.31, and be no "
            "alarm" in shown
        )
        assert "7.2 nats away" in shown
        assert re.search(r"fewer line\| &lt;NUM&gt; 0 2 more servo_alarm", shown)
        assert "too few here" in shown
        assert "other lines just before 9.0 %" in shown


def test_codes_that_carry_nothing_are_said_to_and_those_that_do_as_well() -> None:
    window = examples.window()
    assert "these codes do not carry the alarm" in pages.render_window(window, None)
    assert "be no alarm: these codes carry it" in pages.render_window(window | {"without_codes": 0.4}, None)
    assert "these codes" not in pages.render_window(window | {"without_codes": None}, None)


def test_a_window_page_says_which_lines_the_alarm_does_not_stand_without_or_that_nobody_looked() -> None:
    alarm = examples.window(12) | {"strength": 3.1, "threshold": 2.0}
    uncited = pages.render_window(alarm, None)
    assert "Without which of them there would be no alarm was looked for" in uncited
    assert "weighs most" in uncited
    lines = [dict(line) | {"cited": line["rank"] == 1} for line in alarm["lines"]]
    cited = pages.render_window(alarm | {"lines": lines, "without_cited": 1.2}, None)
    assert "Without the line that carries the alarm this window would have a strength of 1.20" in cited
    assert cited.count("carries the alarm") == 2
    still = pages.render_window(alarm | {"lines": lines, "without_cited": 2.6}, None)
    assert "would have a strength of 2.60, and still be an alarm: no line by itself carries it" in still
    assert "carries the alarm" not in still
    assert "part of the alarm" in still
    none = [dict(line) | {"cited": False} for line in alarm["lines"]]
    nothing = pages.render_window(alarm | {"lines": none, "without_cited": 3.1}, None)
    assert "No line by itself carries the alarm" in nothing
    assert not any("was looked for" in page for page in (cited, still, nothing))
    assert "was looked for" not in pages.render_window(examples.window(11, anomalous=False), None)


def test_pages_are_fit_for_a_content_policy_without_inline_code() -> None:
    window = examples.window()
    made = [
        pages.render_home([examples.source()], [examples.incident()], [window], "0.1.0"),
        pages.render_window(window, None),
        pages.render_incident(examples.incident(), window),
        pages.render_problem(404, "No such window", "w-1"),
    ]
    for page in made:
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?! src=\"/ui/static/)|https?://", page)


def test_hostile_values_are_escaped_wherever_they_come() -> None:
    evil = "<script>alert(1)</script>\u202e"
    window = examples.window() | {"sentence": evil, "source": evil, "stream": evil, "bundle": evil}
    window["reasons"][0] |= {"text": evil, "expected": evil, "seen": evil, "kind": evil}
    window["surprises"][0]["recent"][0]["text"] = evil
    window["codes"][0]["usual_templates"] = [evil]
    window["codes"][0]["nearest"][0] |= {"text": evil, "before": evil}
    window["surprises"][0]["codes"][0]["usual_templates"] = [evil]
    window["restored"][0]["template"] = evil
    window["nearest"][0]["file"] = evil
    window["nearest"][0]["lines"][0]["text"] = window["nearest"][0]["differences"][0]["template"] = evil
    incident = examples.incident() | {"title": evil, "signature": evil, "reason": evil}
    source = examples.source(evil)
    source["lines"]["dropped"] = {evil: 3}
    for page in (
        pages.render_home([source], [incident], [window], evil),
        pages.render_window(window, {"version": evil}),
        pages.render_incident(incident, window),
        pages.render_problem(400, evil, evil),
    ):
        assert "<script>" not in page
        assert "\u202e" not in page
        assert "‹U+202E›" in page


def test_missing_values_show_as_dashes() -> None:
    empty = {"id": "w-1", "source": None, "lines": [{"text": None, "time": None, "position": None}], "surprises": [{}]}
    assert "–" in pages.render_window(empty, {"normal_window": {}, "before": [{}]})
    assert "w-1" in pages.render_window({"id": "w-1", "codes": [{}], "reasons": [{}]}, None)
    assert "–" in pages.render_incident({"id": "i-1"}, {})
    assert "–" in pages.render_home([{"id": "a", "lines": None}], [{"id": "i"}], [{"id": "w"}], "0.1.0")
    assert "No source has sent a line yet." in pages.render_home([], [], [], "0.1.0")


def test_a_source_whose_lines_do_not_add_up_says_so() -> None:
    source = examples.source()
    assert "adds up" in pages.render_home([source], [], [], "0.1.0")
    source["lines"]["consumed"] += 2
    assert "2 not accounted for" in pages.render_home([source], [], [], "0.1.0")


@pytest.mark.parametrize("name", ["../report.py", "views.py", "window.html", "nothing.css", "", ".", "a\x00.css"])
def test_only_styles_and_scripts_are_static(name: str) -> None:
    assert pages.static_file(name) is None


def test_the_style_is_served_with_its_type() -> None:
    found = pages.static_file("logvq.css")
    assert found is not None
    assert found[1].startswith("text/css")


def test_a_threshold_beyond_all_scores_does_not_press_them_flat() -> None:
    items = [{"id": f"w-{k}", "start": None, "score": 1.9 if k == 7 else 0.4, "anomalous": k == 7} for k in range(20)]
    chart = charts.timeline(items, 32.2, {})
    assert chart.threshold_beyond
    assert len(chart.grid) <= 3
    assert max(bar.height for bar in chart.bins) > 0.5 * charts.TIMELINE_HEIGHT
    assert not charts.timeline(items, 1.5, {}).threshold_beyond


def test_lines_that_are_excused_are_named_as_that() -> None:
    alarm = examples.window(12)
    lines = [dict(line) | {"excused": line["rank"] is None} for line in alarm["lines"]]
    said = {"by": ["rule door", "feedback 3"], "strength": 7.25}
    page = pages.render_window(alarm | {"lines": lines, "excused": said}, None)
    count = sum(line["excused"] for line in lines)
    assert count > 1
    assert f"without the {count} lines that rule door and feedback 3 excuse; with them it would have a" in page
    assert "strength of 7.25" in page
    assert page.count('<span class="note">excused</span>') == count
    assert "excuse" not in pages.render_window(alarm, None)


def test_a_window_that_is_not_complete_is_shown_with_the_threshold_that_it_will_be_judged_by() -> None:
    known = examples.window(12, anomalous=False) | {"source": "plc08", "strength": 11.82, "threshold": 2.09}
    window = known | {"status": "provisional"}
    page = pages.render_window(window, {"threshold": 7.69})
    assert "Not decided yet" in page
    assert "Provisional" in page
    assert "when it is complete the source's threshold counts, now <b>7.69</b>" in page
    home = pages.render_home([{"id": "plc08", "threshold": 7.69}], [], [window], "1")
    assert "provisional: decided when it is complete" in home
    assert "<b>11.82</b> / 7.69" in home
    assert not any("2.09" in each for each in (page, home))
    final = pages.render_window(known, {"threshold": 7.69})
    assert "Not anomalous" in final
    assert "against a threshold of <b>2.09</b>" in final
