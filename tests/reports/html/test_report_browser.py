"""The report in a real browser, without a window: Chromium, driven by playwright."""

import shutil

import pytest
from report_runs import BOLD, write_everything

from dense_ssl.reports.html import write_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDTHS = (390, 1440)
THEMES = ("light", "dark")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser is installed: one of {', '.join(BROWSERS)}")
    with playwright.sync_playwright() as driver:
        # root may not start its sandbox; the page is our own
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return write_report([write_everything(tmp_path_factory.mktemp("browser") / "runs")])


class Opened:
    """The report in a window of its own, and what went wrong in it."""

    def __init__(self, browser, report, width):
        phone = width < 500
        self.system_theme = "light" if phone else "dark"
        self.problems = []
        self.page = browser.new_context(
            viewport={"width": width, "height": 844}, color_scheme=self.system_theme,
            has_touch=phone, is_mobile=phone,
        ).new_page()  # fmt: skip
        self.page.set_default_timeout(240_000)  # on a busy machine
        for event in ("console", "pageerror", "dialog", "request"):
            self.page.on(event, getattr(self, f"_{event}"))
        self.page.goto(report.as_uri())
        wait_for_charts(self.page)
        self.first_theme = self.page.evaluate("document.documentElement.dataset.theme")

    def _console(self, message):
        if message.type in ("error", "warning"):
            self.problems.append(message.text)

    def _pageerror(self, error):
        self.problems.append(str(error))

    def _dialog(self, dialog):
        self.problems.append(f"dialog {dialog.message}")
        dialog.dismiss()

    def _request(self, request):
        if not request.url.startswith(("file:", "data:", "blob:")):
            self.problems.append(request.url)


def wait_for_charts(page):
    page.wait_for_function("document.documentElement.dataset.ready === 'charts'")


@pytest.fixture(scope="module")
def windows(browser, report):
    """{width: :class:`Opened`}: loading takes longer than the tests."""
    return {width: Opened(browser, report, width) for width in WIDTHS}


@pytest.fixture
def pages(windows):
    """{width: page}; a test fails if anything went wrong in its pages."""
    yield {width: x.page for width, x in windows.items()}
    assert [x.problems for x in windows.values()] == [[], []]


@pytest.fixture
def page(pages):
    return pages[1440]


def open_folds(page):
    page.evaluate("document.querySelectorAll('details').forEach((x) => { x.open = true; })")
    page.wait_for_function(
        "[...document.querySelectorAll('.chart .plot')].every((x) => x.querySelector('.main-svg'))"
    )


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_everything_is_there_and_nothing_overflows(pages, width, theme):
    page = pages[width]
    if page.evaluate("document.documentElement.dataset.theme") != theme:
        page.locator("#theme").click()
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    open_folds(page)
    # images
    broken = "[...document.images].filter((x) => x.src && !x.naturalWidth).map((x) => x.alt)"
    assert page.evaluate(broken) == []
    assert page.locator(".picture img").count() == 9
    # charts, with their lines, bars and intervals
    assert page.locator(".chart .main-svg").count() >= page.locator(".chart").count() > 20
    empty = """[...document.querySelectorAll('.chart')]
        .filter((x) => !x.querySelector('.trace')).map((x) => x.innerText)"""
    assert page.evaluate(empty) == []
    # widths: of the page, and of everything that does not scroll by itself
    assert page.evaluate("document.documentElement.scrollWidth") == width
    outside = """(width) => [...document.querySelectorAll('main *')]
        .filter((x) => !x.closest('.scroll, pre, svg'))
        .filter((x) => x.getBoundingClientRect().right > width + 1)
        .map((x) => x.tagName + ' ' + x.className)"""
    assert page.evaluate(outside, width) == []


def test_the_first_theme_is_that_of_the_system(windows):
    assert {x.first_theme for x in windows.values()} == {"light", "dark"}
    assert all(x.first_theme == x.system_theme for x in windows.values())


def test_tables_are_sorted_by_a_click(page):
    table = page.locator("#results table").first
    column = table.locator("thead th").all_inner_texts().index("AP")
    names = lambda: table.locator("tbody th").all_inner_texts()  # noqa: E731
    head = table.locator("thead th").nth(column)
    before = names()
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert names() == ["detectors/scrl", "detectors/random"]
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert names() == ["detectors/random", "detectors/scrl"] == before
    first = table.locator("thead th").first
    first.locator("button").click()
    assert first.get_attribute("aria-sort") == "ascending" and not head.get_attribute("aria-sort")


def test_cells_without_a_value_stay_last(page):
    order = """() => {
        const table = document.querySelector('#runs table');
        const [first, second] = table.tBodies[0].rows;
        first.cells[6].dataset.sort = '';
        const name = first.cells[0].innerText, last = () => [...table.tBodies[0].rows].pop();
        const button = table.tHead.rows[0].cells[6].querySelector('button');
        return [1, 2].map(() => { button.click(); return last().cells[0].innerText === name; });
    }"""
    assert page.evaluate(order) == [True, True]


def range_of(page, chart):
    return chart.locator(".plot").evaluate("(x) => x.layout.xaxis.range.map(Number)")


def test_charts_zoom_and_go_back(page):
    chart = page.locator("#curves .chart").first
    chart.scroll_into_view_if_needed()
    before = range_of(page, chart)
    box = chart.locator(".nsewdrag").bounding_box()
    x, y = box["x"], box["y"] + box["height"] / 2
    page.mouse.move(x + 0.3 * box["width"], y)
    page.mouse.down()
    page.mouse.move(x + 0.6 * box["width"], y, steps=5)
    page.mouse.up()
    page.wait_for_timeout(300)
    low, high = range_of(page, chart)
    assert before[0] < low < high < before[1]
    page.wait_for_timeout(400)  # else it counts as a third click
    page.mouse.dblclick(x + 0.5 * box["width"], y)
    page.wait_for_timeout(300)
    assert range_of(page, chart) == pytest.approx(before)


def test_a_phone_zooms_by_buttons_and_scrolls_over_charts(pages):
    page = pages[390]
    chart = page.locator("#curves .chart").first
    chart.scroll_into_view_if_needed()
    before = range_of(page, chart)
    chart.locator("[data-attr=zoom][data-val=in]").tap()
    page.wait_for_timeout(500)
    low, high = range_of(page, chart)
    assert before[0] < low < high < before[1]
    assert chart.locator(".plot").evaluate("(x) => x.layout.dragmode") is False


def test_a_run_is_hidden_and_shown(page):
    group = page.locator("#curves .group").nth(1)
    lines = group.locator(".chart").first.locator(".scatterlayer .trace")
    assert lines.count() == 2
    chip = group.locator("[data-run='0']")
    chip.click()
    page.wait_for_timeout(200)
    assert lines.count() == 1 and chip.get_attribute("aria-pressed") == "false"
    chip.click()
    page.wait_for_timeout(200)
    assert lines.count() == 2


def test_a_logarithmic_axis(page):
    chart = page.locator("#curves .chart").first
    chart.locator("[data-log]").click()
    page.wait_for_timeout(200)
    assert chart.locator(".plot").evaluate("(x) => x.layout.yaxis.type") == "log"


def test_the_theme_changes_with_its_charts_and_is_kept(page):
    colour = "getComputedStyle(document.querySelector('.chart .xtick text')).fill"
    ground = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(colour), page.evaluate(ground)
    page.locator("#theme").click()
    page.wait_for_timeout(300)
    after = page.evaluate(colour), page.evaluate(ground)
    assert before[0] != after[0] and before[1] != after[1]
    page.reload()
    wait_for_charts(page)
    assert page.evaluate(ground) == after[1]


def test_a_picture_is_enlarged(page):
    page.locator(".zoom").first.click()
    dialog = page.locator("dialog[open]")
    assert dialog.count() == 1 and dialog.locator("img").evaluate("(x) => x.naturalWidth") > 0
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0


def test_names_are_drawn_as_they_are_in_charts(page):
    texts = page.locator("#comparison .ytick text").all_text_contents()
    assert [x.strip() for x in texts] == [BOLD, "random"]
