"""The report of 60 runs in a real browser: size, loading time, pictures, controls, phone, print, keyboard, names."""

import os
import shutil

import pytest
from omarl.report.report import ReportConfig, report
from studies import write_crossplay, write_film, write_study

playwright = pytest.importorskip("playwright.sync_api")
BROWSER = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(not BROWSER, reason="no chromium: apt-get install chromium, or CHROMIUM=PATH")

MOST_SECONDS, MOST_BYTES = 2.0, 10_000_000
NAMES, TASKS = ["iql", "omg_vae", "place_prediction"], ["simple_tag", "rps", "pursuit", "foraging"]
CHARTS = len(TASKS) + 1  # and the performance profiles

NAMELESS = """() =>
    [...document.querySelectorAll("a, button, input, select, summary, video, img, canvas, [tabindex]")]
    .filter((e) => !(e.getAttribute("aria-label") || e.alt || e.textContent.trim() || (e.labels && e.labels.length)))
    .map((e) => e.outerHTML.slice(0, 100))"""
# Elements that reach beyond the right edge, except in what scrolls by itself.
WIDER = """() => [...document.querySelectorAll("body *")].filter((e) => !e.closest(".scroll, pre, .skip, svg"))
    .filter((e) => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
    .map((e) => e.outerHTML.slice(0, 100))"""
LOADED = (
    """() => { const [timing] = performance.getEntriesByType("navigation"); return timing.loadEventEnd / 1000; }"""
)
BLANK = """() => [...document.querySelectorAll(".chart canvas")].filter((canvas) => {
    const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    return new Set(data.filter((_, i) => i % 4 === 0)).size < 5;
}).length"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    root = write_study(tmp_path_factory.mktemp("sixty"), NAMES, TASKS, 5)
    write_crossplay(root / "crossplay", NAMES, ["runner", "hunter", "ippo_1", "all"])
    has_mp4 = True
    try:
        import imageio_ffmpeg  # noqa: F401
    except ImportError:
        has_mp4 = False
    for name in NAMES:
        run = root / "sacred" / name / "simple_tag" / "1"
        write_film(run, ".mp4" if has_mp4 and name != "iql" else ".gif")
    report(ReportConfig(runs=str(root), out=str(root / "report.html"), title="Sixty runs"))
    return root / "report.html"


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture
def opened(browser, file):
    """A page that is opened in a window, and what it complains about; every complaint fails the test."""
    contexts, complaints = [], []

    def open_page(width=1280, height=900, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.extend(
            [request.url] if not request.url.startswith(("file:", "data:", "blob:")) else []))  # fmt: skip
        page.goto(file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def test_it_opens_in_under_two_seconds_and_is_small(opened, file, capsys):
    seconds = []
    for _ in range(3):
        page = opened()
        seconds.append(page.evaluate(LOADED))
        page.close()
    with capsys.disabled():
        print(f"\n60 runs: {file.stat().st_size / 1e6:.2f} MB, loaded in {min(seconds):.2f} s", end=" ")
    assert min(seconds) < MOST_SECONDS and file.stat().st_size < MOST_BYTES


def test_charts_films_and_names_are_there(opened):
    page = opened()
    assert page.locator("html").get_attribute("data-drawn") == str(CHARTS)
    assert page.locator(".chart canvas").count() == CHARTS and page.evaluate(BLANK) == 0
    for video in page.locator("video").all():
        video.scroll_into_view_if_needed()
        page.wait_for_function("(video) => video.readyState >= 1", arg=video.element_handle())
        assert video.get_attribute("controls") is not None and video.evaluate("(v) => v.videoWidth") == 100
    film = page.locator(".films details img").first
    assert not film.is_visible()
    page.locator(".films summary", has_text="Show the film").first.click()
    page.wait_for_function("(image) => image.complete && image.naturalWidth === 100", arg=film.element_handle())
    assert film.is_visible() and film.get_attribute("alt").startswith(
        "A test episode of iql on simple_tag_v3, seed 1"
    )
    assert page.evaluate(NAMELESS) == []
    headings = [int(each.evaluate("(h) => h.tagName[1]")) for each in page.locator("h1, h2, h3").all()]
    assert headings[0] == 1 and all(b - a <= 1 for a, b in zip(headings, headings[1:], strict=False))


def test_controls_work_by_mouse(opened):
    page = opened()
    chart = page.locator(".chart").first
    name = chart.locator("canvas").first.get_attribute
    assert name("aria-label").startswith("test return against environment steps; last values: iql (5)")
    metric, axis = chart.locator("select").all()
    metric.select_option("vae_kl_loss")
    axis.select_option("seconds")
    assert name("aria-label").startswith("vae_kl_loss against seconds; last values: omg_vae (5)")
    metric.select_option("test return")
    before = chart.locator("canvas").first.evaluate("(c) => c.toDataURL()")
    chart.get_by_role("checkbox", name="iql (5)").uncheck()
    assert chart.locator("canvas").first.evaluate("(c) => c.toDataURL()") != before
    place = chart.locator(".u-over").bounding_box()
    page.mouse.move(place["x"] + place["width"] / 2, place["y"] + 40)
    assert "omg_vae (5)" in chart.locator(".readout").inner_text()
    assert "iql (5)" not in chart.locator(".readout").inner_text()


def test_controls_work_by_keyboard(opened):
    page = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the summary"
    assert page.locator(".skip").bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    assert page.url.endswith("#part-0")
    chart = page.locator(".chart").first
    chart.locator("select").first.focus()
    page.keyboard.press("ArrowDown")
    assert not chart.locator("canvas").first.get_attribute("aria-label").startswith("test return")
    box = chart.get_by_role("checkbox", name="omg_vae (5)")
    box.focus()
    page.keyboard.press("Space")
    assert not box.is_checked()
    numbers = chart.locator("details.numbers")
    numbers.locator("summary").focus()
    page.keyboard.press("Enter")
    assert numbers.locator("tbody tr").count() > 5 and numbers.locator("table").is_visible()


@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing_that_keeps_anyone_from_reading_it(opened, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = opened(width)
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    found = axe.Axe().run(page)
    assert not found.violations_count, found.generate_report()


def test_a_phone_scrolls_only_downwards(opened):
    page = opened(390, 844, is_mobile=True, has_touch=True, device_scale_factor=2)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    for closed in page.locator("details > summary").all():
        closed.tap()
    assert page.evaluate("document.documentElement.scrollWidth") == 390 and page.evaluate(WIDER) == []
    small = (
        "(e) => [...document.querySelectorAll('select, .controls label, summary')].filter((e) => e.clientHeight < 24)"
    )
    assert page.evaluate(f"({small})().length") == 0  # WCAG 2.5.8


def test_print_has_every_part_open_and_no_controls(opened, tmp_path):
    page = opened(1000, 1400)
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.locator("details:not([open]):not(.numbers)").count() == 0
    assert not page.locator("select").first.is_visible() and not page.locator("nav").is_visible()
    page.evaluate("for (const e of document.querySelectorAll('.uplot, .u-wrap, canvas')) e.style.width = '2000px'")
    assert page.evaluate(WIDER) == []  # paper may be narrower than the screen for which a chart was drawn
    pdf = page.pdf(path=tmp_path / "report.pdf", format="A4", print_background=True)
    assert pdf.count(b"/Type /Page\n") > 3 or len(pdf) > 100_000
