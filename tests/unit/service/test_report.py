"""The one-file report: safe, self-contained, bounded, and its sums can be checked."""

import re
from typing import Any

import pytest

from service.report import FULL_ENTRIES, render_report
from tests.browser import examples

TAGS = re.compile(r"<[^>]+>")


def text_of(page: str) -> str:
    return " ".join(TAGS.sub(" ", page.split("<body", 1)[1]).split())


def emptied(value: Any) -> Any:
    """The same shape with None for every plain value."""
    if isinstance(value, dict):
        return {key: None if key == "spans" else emptied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [emptied(item) for item in value]
    return None


def test_both_sums_are_shown_and_add_up() -> None:
    text = text_of(render_report(examples.report()))
    assert "168,320 lines read = 80,000 trained on + 88,320 scored adds up" in text
    assert "88,308 parsed + 8 unparsed + 3 dropped (blank) + 1 dropped (too long) adds up" in text


def test_of_less_than_a_day_there_are_counts_and_no_rates() -> None:
    data = examples.report()
    data["budget"] |= {"days": 0.067, "incidents": 5, "realised_per_day": None}
    data["budget"]["curve"] = [point | {"alarms_per_day": None} for point in data["budget"]["curve"]]
    text = text_of(render_report(data))
    assert "Alarms 5 in 1 h 36 min; 2.0 a day allowed" in text
    assert "this file gives 5 alarms over 1 h 36 min" in text
    assert "covers less than a day" in text


def test_a_sum_that_fails_says_by_how_much() -> None:
    data = examples.report()
    data["accounting"]["outcomes"]["parsed"] -= 5
    text = text_of(render_report(data))
    assert "does not add up: 5 unaccounted for" in text


def test_hostile_lines_are_escaped_and_made_visible() -> None:
    data = examples.report(entries=1)
    line = data["entries"][0]["window"]["lines"][41]
    line["text"] = "<script>alert(1)</script> \u202egnp.exe \x1b[31m"
    line["spans"] = None
    line["template"] = "<img src=x onerror=alert(1)> \u202e"
    data["entries"][0]["title"] = data["verdict"] = '</style><script>"\u2066\x07'
    data["file"] = "</title><script>x</script>"
    data["templates"][0]["example"] = "\u200b<b>"
    page = render_report(data)
    assert page.count("<script>") == 1
    assert page.count("<style>") == 1
    assert "<img" not in page
    assert not re.search(r"[\u202a-\u202e\u2066-\u2069\u200b\x07\x1b]", page)
    assert "‹U+202E›gnp.exe ␛[31m" in text_of(page)


@pytest.mark.parametrize("japanese", [False, True])
def test_nothing_outside_the_file_is_named(japanese: bool) -> None:
    page = render_report(examples.report(japanese=japanese))
    assert not re.search(r"https?://|xmlns|@import|url\((?!#)", page)
    assert not re.search(r'(?:src|href)="(?!#|data:,)', page)


@pytest.mark.parametrize("entries", [0, 3, 14, 40])
def test_every_anchor_leads_somewhere_and_ids_are_unique(entries: int) -> None:
    page = render_report(examples.report(entries=entries))
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)
    assert all(f"entry-{number}" in ids for number in range(1, entries + 1))


def test_anomalous_bins_lead_to_their_entries() -> None:
    page = render_report(examples.report(entries=3))
    timeline = page.split('class="timeline"')[1].split("</svg>")[0]
    assert set(re.findall(r'href="#([^"]+)"', timeline)) == {"entry-1", "entry-2", "entry-3"}


def test_size_is_bounded_with_500_entries_and_20000_windows() -> None:
    data = examples.report(windows=20_000, entries=24)
    hostile = '<&">\u202e' * 4000
    strong = data["entries"][0]
    for line in strong["window"]["lines"]:
        line["text"] = hostile
    data["entries"] = [strong] * 500
    data["templates"] = data["templates"] * 100
    page = render_report(data)
    assert len(page.encode()) < 2_000_000
    assert page.count('<details class="entry"') == FULL_ENTRIES
    assert 'id="entry-500"' in page


def test_a_calm_file_gives_a_calm_report() -> None:
    text = text_of(render_report(examples.report(entries=0)))
    assert "Nothing in this file stood out against its first part. Calm" in text
    assert "Nothing reached the threshold. The highest score was 1.85, 1 in 71 windows." in text


def test_nothing_but_empty_parts_still_renders() -> None:
    assert "What stood out" in render_report({})
    data = emptied(examples.report(windows=30, entries=12))
    data["verdict"] = "Nothing is known."
    assert "Nothing is known." in render_report(data)


def test_windows_without_times_are_laid_out_by_order() -> None:
    data = examples.report(windows=600)
    for item in data["timeline"]:
        item["start"] = item["end"] = None
    text = text_of(render_report(data))
    assert "Score over the file" in text
    assert "in the order of the file" in text


def test_times_are_shown_in_the_zone_of_the_source() -> None:
    page = render_report(examples.report(japanese=True))
    assert '<time datetime="2017-06-21T07:30:05.173Z">2017-06-21 16:30:05</time>' in page
    assert "JST" in page


def test_an_unknown_zone_falls_back_to_utc() -> None:
    data = examples.report()
    data["accounting"]["zone"] = "Mars/Olympus"
    assert "shown in UTC" in text_of(render_report(data))


def test_japanese_lines_carry_their_language() -> None:
    page = render_report(examples.report(japanese=True))
    assert re.search(r'<code class="raw" translate="no" lang="ja">[^\n]*主軸温度異常', page)
