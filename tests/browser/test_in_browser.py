"""Report and pages in real Chromium: quiet console, no sideways scrolling, readable without JavaScript."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service import pages
from service.report import render_report
from tests.browser import examples

pytestmark = pytest.mark.browser

ORIGIN = "http://logvq.test"
POLICY = {"Content-Security-Policy": "default-src 'self'"}
LONG = "<script>" + "0xdeadbeef" * 90 + "長" * 300


def long_window() -> dict[str, Any]:
    window = examples.window(12)
    window["lines"][41] |= {"text": LONG, "template": LONG}
    window["surprises"][0]["recent"][0]["text"] = LONG
    window["codes"][0]["usual_templates"][0] = LONG
    window["reasons"][0] |= {"seen": LONG, "expected": LONG}
    window["codes"][0]["nearest"][0] |= {"text": LONG, "before": LONG}
    window["nearest"][0]["lines"][0]["text"] = window["nearest"][0]["differences"][0]["template"] = LONG
    window["restored"][0]["template"] = LONG
    return window | {"sentence": "x" * 300, "source": "s" * 90, "bundle": "b" * 200}


def long_report() -> dict[str, Any]:
    data = examples.report(japanese=True, entries=30)
    data["entries"][0]["window"] = long_window()
    data["entries"][29]["window"] = long_window()
    data["entries"][1]["title"] = data["file"] = "t" * 300
    data["templates"][0] |= {"template": LONG, "example": LONG}
    return data


DOCUMENTS = {
    "/report": lambda: render_report(examples.report()),
    "/report-long": lambda: render_report(long_report()),
    "/window": lambda: pages.render_window(examples.window(9, japanese=True), {"zone": "Asia/Tokyo"}),
    "/window-long": lambda: pages.render_window(long_window(), {"before": long_window()["lines"]}),
    "/incident": lambda: pages.render_incident(examples.incident(), examples.window()),
    "/home": lambda: pages.render_home(
        [examples.source(), examples.source("s" * 90, score=2.2, opened=1)],
        [examples.incident()],
        [examples.window(), long_window()],
        "0.1.0",
    ),
    "/problem": lambda: pages.render_problem(404, "No such window", "w-1 is not stored."),
}


def chromium() -> str | None:
    return next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = chromium()
    if path is None:
        reason = "Chromium is not installed; apt-get install chromium"
        if os.environ.get("LOGVQ_REQUIRE_ALL") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    playwright = pytest.importorskip("playwright.sync_api")
    switches = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=path, args=switches)
        yield launched
        launched.close()


class Visit:
    """One open page, and everything it complained about or asked for."""

    def __init__(self, browser: Any, path: str, *, width: int = 1280, scripts: bool = True, scheme: str = "light"):
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self._context = browser.new_context(
            viewport={"width": width, "height": 900}, java_script_enabled=scripts, color_scheme=scheme
        )
        self.page = self._context.new_page()
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.route("**/*", self._answer)
        self.page.goto(ORIGIN + path)

    def _answer(self, route: Any) -> None:
        path = route.request.url.removeprefix(ORIGIN)
        self.asked.append(path)
        if path in DOCUMENTS:
            headers = {} if path.startswith("/report") else POLICY
            route.fulfill(body=DOCUMENTS[path](), content_type="text/html; charset=utf-8", headers=headers)
        elif path.startswith("/ui/static/") and (found := pages.static_file(Path(path).name)):
            route.fulfill(body=found[0], content_type=found[1], headers=POLICY)
        else:
            route.fulfill(status=404, body="")

    def __enter__(self) -> "Visit":
        return self

    def __exit__(self, *_: object) -> None:
        self._context.close()


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("path", DOCUMENTS)
def test_pages_are_quiet_and_never_scroll_sideways(browser: Any, path: str, width: int) -> None:
    with Visit(browser, path, width=width) as visit:
        visit.page.evaluate("document.querySelectorAll('details').forEach((item) => { item.open = true; })")
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        assert visit.complaints == []
        assert all(asked in DOCUMENTS or asked.startswith("/ui/static/") for asked in visit.asked)


@pytest.mark.parametrize("path", DOCUMENTS)
def test_pages_read_in_full_without_scripts(browser: Any, path: str) -> None:
    with Visit(browser, path, width=400, scripts=False) as visit:
        assert visit.page.locator("h1").is_visible()
        assert visit.page.locator("input:visible, button:visible").count() == 0


def test_entries_open_without_scripts(browser: Any) -> None:
    with Visit(browser, "/report", scripts=False) as visit:
        lines = visit.page.locator("#entry-5 table.lines")
        assert not lines.is_visible()
        visit.page.locator("#entry-5 > summary").click()
        assert lines.is_visible()


def test_the_timeline_leads_to_entries_inside_the_closed_list(browser: Any) -> None:
    with Visit(browser, "/report") as visit:
        visit.page.evaluate("location.hash = '#entry-12'")
        visit.page.locator("#entry-12 table.lines").wait_for(state="visible")


def test_the_threshold_slider_says_what_changes(browser: Any) -> None:
    with Visit(browser, "/report") as visit:
        slider = visit.page.locator("#threshold")
        before = visit.page.locator("#curve-threshold").get_attribute("x1")
        slider.focus()
        slider.press("End")
        said = visit.page.locator("#threshold-said").inner_text()
        assert re.match(r"2\.45: 0 alarms a day \(0 in 90\.2 days\); \d+ of 14 listed entries remain", said)
        assert visit.page.locator("#curve-threshold").get_attribute("x1") != before
        assert visit.page.locator(".entry.below").count() > 0


def test_the_template_filter_keeps_what_matches(browser: Any) -> None:
    with Visit(browser, "/report") as visit:
        visit.page.locator("#filter").fill("TOOL_suffix")
        shown = visit.page.locator(".templates-table tbody tr:visible")
        assert shown.count() == 5
        assert visit.page.locator("#filter-said").inner_text() == "5 of 64"


def test_j_and_k_step_through_surprising_lines(browser: Any) -> None:
    with Visit(browser, "/window") as visit:
        visit.page.keyboard.press("j")
        visit.page.keyboard.press("j")
        assert visit.page.evaluate("document.activeElement.id") == "line-42"
        visit.page.keyboard.press("k")
        assert visit.page.evaluate("document.activeElement.id") == "line-41"


CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (color) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const luminance = (c) => c.slice(0, 3).map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => { for (let at = element; at; at = at.parentElement) {
    const c = rgb(getComputedStyle(at).backgroundColor); if (c[3] === 255) return c; } return [255, 255, 255, 255]; };
  const low = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || element.closest("svg, script") || !element.checkVisibility()) continue;
    const [a, b] = [luminance(rgb(getComputedStyle(element).color)), luminance(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) low.push(`${element.className} ${ratio.toFixed(2)}`);
  }
  return [...new Set(low)];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/report", "/window", "/home"])
def test_text_has_the_contrast_of_wcag_aa(browser: Any, path: str, scheme: str) -> None:
    with Visit(browser, path, scheme=scheme) as visit:
        assert visit.page.evaluate(CONTRAST) == []


def test_the_report_prints_on_pages(browser: Any, tmp_path: Path) -> None:
    with Visit(browser, "/report", scripts=False) as visit:
        printed = visit.page.pdf(format="A4", print_background=True, prefer_css_page_size=True)
        assert printed.startswith(b"%PDF")
