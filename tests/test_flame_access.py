"""The report without a mouse, without colours, without motion, on paper, and read aloud."""
from __future__ import annotations

import base64
import re
import shutil
import subprocess
import zlib
from pathlib import Path

import pytest
from test_flame_page import START, failing_run, model, task

from firexlite.flame_export import render_html

FRAMES = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
VIEWS = "Array.from(document.querySelectorAll('#tabs [role=tab]'), (tab) => tab.id.slice(4))"
LEAST_CONTRAST = 4.5
NPM_S = 20
PAPER_PX = 718  # the width of A4 within its margins

# Every text that is shown, with its contrast to what is painted behind it: [[contrast, text, where], ...].
CONTRASTS = """(() => {
    const colour = (text) => {
        const [, kind, parts] = /^(rgba?|color)\\((.*)\\)$/.exec(text) ?? [];
        const numbers = (parts ?? "0 0 0 0").replace("srgb", "").match(/-?[\\d.e-]+/g).map(Number);
        const scale = kind === "color" ? 255 : 1;
        return [numbers[0] * scale, numbers[1] * scale, numbers[2] * scale, numbers[3] ?? 1];
    };
    const over = ([r, g, b, a], below) => [r, g, b].map((one, n) => one * a + below[n] * (1 - a));
    const linear = (one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
    const light = (rgb) => rgb.reduce((sum, one, n) => sum + linear(one / 255) * [0.2126, 0.7152, 0.0722][n], 0);
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement, text = walker.currentNode.textContent.trim();
        if (!text || element.closest("script, noscript, style, :disabled")) continue;
        if (!element.checkVisibility({ visibilityProperty: true })) continue;
        const range = document.createRange();
        range.selectNodeContents(walker.currentNode);
        const box = range.getBoundingClientRect();
        if (!box.width || !box.height) continue;
        const chain = [];
        for (let one = element; one; one = one.parentElement) chain.unshift(one);
        let below = [255, 255, 255], opacity = 1;
        for (const one of chain) {
            const style = getComputedStyle(one);
            opacity *= Number(style.opacity);
            below = over(colour(style.backgroundColor), below);
        }
        const ink = colour(getComputedStyle(element).color);
        const shown = over([ink[0], ink[1], ink[2], ink[3] * opacity], below);
        const [a, b] = [light(shown), light(below)];
        found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), text.slice(0, 40), element.outerHTML.slice(0, 80)]);
    }
    return found;
})()"""

# Whether one sees where the focus is: an outline on it or on its active descendant, in the window.
SEEN = """(() => {
    const focused = document.activeElement;
    const active = document.getElementById(focused.getAttribute("aria-activedescendant") ?? "") ?? focused;
    const shows = [focused, active].map((one) => getComputedStyle(one)).some(({ outlineStyle, outlineWidth }) =>
        outlineStyle !== "none" && parseFloat(outlineWidth) >= 1);
    const box = active.getBoundingClientRect();
    const inside = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
    return shows && inside;
})()"""
FOCUSED = """(() => {
    const { activeElement } = document;
    return activeElement.id || activeElement.className || activeElement.tagName + " " + activeElement.textContent.slice(0, 20);
})()"""


@pytest.fixture
def opened(browser, tmp_path):
    """A maker of pages: ``opened(model, "#/tree")``; no page may complain."""
    pages = []

    def open_page(model: dict, fragment: str = "", **how: object):
        path = tmp_path / f"flame-{len(pages)}.html"
        path.write_text(render_html(model), encoding="ascii")
        pages.append(browser.open(path, fragment=fragment, **how))
        return pages[-1]

    yield open_page
    for page in pages:
        page.evaluate("0")
        assert page.errors == []
        page.close()


def rich_run() -> dict:
    """Failures, retries, a log, arguments and defaults, flame data, something set aside, two lives."""
    run = failing_run()
    attempts = [{"n": n, "incarnation": 1, "started": START + 6 + n, "ended": START + 6.5 + n, "state": state, "exc": exc,
                 "cpu": 0.1, "peak": 30_000_000} for n, state, exc in ((1, "retried", "OSError('no')"), (2, "succeeded", None))]
    run["tasks"] += [
        task(6, "again", attempts=attempts, flame_data={"note": {"value": "<b>14 MB</b>", "type": "html", "order": 1}}),
        task(7, "old", aside=True), task(8, "stopped", state="revoked", revoke_reason="by hand"),
        task(9, "goes on", state="running", runtime=1.0)]
    run["run"].update(argv=["firexlite", "submit"], inputs={"board": "hawk"}, incarnations=[
        {"n": 1, "pid": 7, "host": "here", "started": START, "ended": START + 30, "end": "crash"},
        {"n": 2, "pid": 8, "host": "here", "started": START + 40, "ended": START + 90, "end": "clean"}])
    return run


def press(page, *keys: str) -> None:
    for key in keys:
        shifted = key.startswith("Shift-")
        name = key.removeprefix("Shift-")
        code = {"Tab": 9, "Enter": 13, " ": 32}.get(name, 0)
        text = {"Enter": "\r"}.get(name, name if len(name) == 1 else "")
        for kind in ("keyDown", "keyUp"):
            page.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code,
                      modifiers=8 if shifted else 0, **({"text": text} if kind == "keyDown" and text else {}))
    page.evaluate(FRAMES)


def show(page, view: str) -> None:
    page.evaluate(f"location.hash = '#/{view}'")
    page.wait_for(f"!document.querySelector('#view-{view.partition('?')[0]}').hidden")
    page.evaluate(FRAMES)


def views_of(page) -> list[str]:
    return list(page.evaluate(VIEWS))


# --- the keyboard ------------------------------------------------------------------------------------------

def test_tab_goes_through_all_of_every_view_and_one_always_sees_where_one_is(opened):
    page = opened(rich_run())

    for view in views_of(page):
        show(page, view)
        page.evaluate("document.activeElement.blur()")
        seen = []
        for _ in range(80):
            press(page, "Tab")
            if page.evaluate("document.activeElement === document.body"):
                break  # out of the page again: no trap
            assert page.evaluate(SEEN), f"{view}: {page.evaluate(FOCUSED)}"
            seen.append(page.evaluate(FOCUSED))
        else:
            pytest.fail(f"{view}: the focus never leaves the page: {seen}")
        assert f"tab-{view}" in seen and "search" in seen


def test_arrows_and_digits_reach_every_view(opened):
    page = opened(rich_run())
    views = views_of(page)
    page.evaluate(f"document.querySelector('#tab-{views[0]}').focus()")

    for view in [*views[1:], views[0]]:
        press(page, "ArrowRight")
        assert page.each("[role=tab][aria-selected=true]", "id") == [f"tab-{view}"] == [page.evaluate(FOCUSED)]
        assert page.each("[role=tabpanel]:not([hidden])", "id") == [f"view-{view}"]
    for number, view in enumerate(views, 1):
        press(page, str(number))
        assert page.each("[role=tabpanel]:not([hidden])", "id") == [f"view-{view}"]


@pytest.mark.parametrize("view, focusable", [("tree", "tree"), ("table?rows=tasks", "sheet")])
def test_enter_goes_into_a_task_and_escape_comes_back(opened, view, focusable):
    page = opened(rich_run(), f"#/{view}")
    page.evaluate("document.querySelector('#search').focus()")
    while page.evaluate(FOCUSED) != focusable:
        press(page, "Tab")
    press(page, "Home", "ArrowDown", "ArrowDown")

    press(page, "Enter")
    page.wait_for("document.querySelector('#drawer').contains(document.activeElement)")
    assert page.evaluate("document.querySelector('#drawer').ariaLabel") == "Task #3 login"
    press(page, "Tab")
    assert page.evaluate(FOCUSED) == "close" and page.evaluate(SEEN)
    press(page, "Escape")
    page.wait_for("document.querySelector('#drawer').hidden")
    assert page.evaluate(FOCUSED) == focusable
    press(page, "ArrowDown", "Enter")
    assert page.wait_for("document.querySelector('#drawer h2')?.textContent") == "#4 checkout"


def test_a_link_within_a_task_keeps_the_focus_in_it(opened):
    page = opened(rich_run(), "#/overview")
    page.evaluate("document.querySelector('.failure h3 a').focus({ focusVisible: true })")
    press(page, "Enter")
    page.wait_for("document.querySelector('#drawer').innerText.includes('enqueued by')")

    page.evaluate("document.querySelector('#drawer a[href=\"#task=2\"]').focus()")
    press(page, "Enter")

    page.wait_for("document.querySelector('#drawer h2').textContent === '#2 suite'")
    assert page.evaluate("document.querySelector('#drawer').contains(document.activeElement)")
    press(page, "Escape")
    page.wait_for("document.querySelector('#drawer').hidden")
    assert page.evaluate("document.activeElement.closest('.failure') !== null")


def test_a_pointer_leaves_the_keys_with_the_tree(opened):
    page = opened(rich_run(), "#/tree")

    page.click("#row-2 .name")
    page.wait_for("!document.querySelector('#drawer').hidden")

    assert page.evaluate(FOCUSED) == "tree"
    press(page, "ArrowDown")
    assert page.wait_for("document.querySelector('#drawer h2')?.textContent === '#4 checkout'")


def test_the_tree_folds_by_keys_and_says_so(opened):
    page = opened(rich_run(), "#/tree")
    page.evaluate("document.querySelector('#tree').focus({ focusVisible: true })")

    press(page, "Home", "ArrowLeft")
    assert page.evaluate("document.querySelector('#row-0').ariaExpanded") == "false"
    press(page, "ArrowRight")
    assert page.evaluate("document.querySelector('#row-0').ariaExpanded") == "true"


@pytest.mark.parametrize("view, focusable", [("tree", "tree"), ("table?rows=tasks", "sheet")])
def test_the_keyboards_place_is_in_view_however_far_the_page_was_scrolled(opened, view, focusable):
    page = opened(model(*(task(num) for num in range(1, 301))), f"#/{view}")
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    page.evaluate(FRAMES)
    page.evaluate("document.querySelector('#failures-only').focus({ preventScroll: true })")

    while page.evaluate(FOCUSED) != focusable:
        press(page, "Tab")

    assert page.evaluate(SEEN)


# --- read aloud --------------------------------------------------------------------------------------------

def test_rows_say_what_they_are(opened):
    page = opened(rich_run(), "#/tree")

    rows = page.evaluate("""Array.from(document.querySelectorAll("#tree > [role=treeitem]"), (row) =>
        [row.ariaLabel, row.ariaLevel, row.ariaPosInSet + "/" + row.ariaSetSize, row.ariaExpanded])""")
    assert rows[:5] == [
        ["#1 nightly, failed because of #4, 500 ms", "1", "1/6", "true"],
        ["#2 suite, failed because of #4, 500 ms", "2", "1/1", "true"],
        ["#3 login, succeeded, 500 ms", "3", "1/2", None], ["#4 checkout, failed, 500 ms", "3", "2/2", None],
        ["#5 publish, skipped", "1", "2/6", None]]
    assert page.count("#tree > [aria-selected=true]") == 1


def test_everything_that_can_be_used_has_a_role_and_a_name(opened):
    page = opened(rich_run(), "#/tree?task=4")
    page.wait_for("document.querySelector('#drawer section') !== null")

    for view in views_of(page):
        show(page, f"{view}?task=4")
        page.call("Accessibility.enable")
        nodes = page.call("Accessibility.getFullAXTree")["nodes"]
        used = [(node["role"]["value"], node.get("name", {}).get("value")) for node in nodes if not node.get("ignored")
                and any(one["name"] == "focusable" and one["value"]["value"] for one in node.get("properties", ()))]
        assert len(used) > 10
        assert [one for one in used if one[0] in ("generic", "none") or not one[1]] == [], view


def axe_core() -> str:
    """The source of axe-core; skips the test where it cannot be had."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("there is no npm on this machine")
    return npm


@pytest.mark.parametrize("dark", [False, pytest.param(True, marks=pytest.mark.long)], ids=["light", "dark"])
def test_a_checker_of_pages_finds_nothing_serious(opened, tmp_path, dark):
    npm = axe_core()
    try:
        subprocess.run([npm, "pack", "axe-core@4", "--silent"], cwd=tmp_path, timeout=NPM_S, check=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
        pytest.skip("axe-core could not be fetched")
    [archive] = tmp_path.glob("*.tgz")
    shutil.unpack_archive(archive, tmp_path / "axe")
    script = (tmp_path / "axe" / "package" / "axe.min.js").read_text()
    page = opened(rich_run(), "#/tree?task=4", dark=dark)

    page.evaluate(script + "; 0")  # evaluated from outside, which the page's policy does not reach
    for view in views_of(page):
        show(page, f"{view}?task=4")
        # A row says more in its label than it shows, and shows it in other words.
        found = page.evaluate("""axe.run(document, { rules: { "label-content-name-mismatch": { enabled: false } } })
            .then(({ violations }) => violations.filter(({ impact }) => ["serious", "critical"].includes(impact))
                .map(({ id, nodes }) => [id, nodes.slice(0, 3).map(({ html }) => html.slice(0, 120))]))""")
        assert found == [], view


# --- colours, motion, paper --------------------------------------------------------------------------------

@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1400, 400])
def test_every_text_stands_out_from_what_is_behind_it(opened, dark, width):
    page = opened(rich_run(), "#/tree", dark=dark, width=width, height=900)

    for view in [f"{name}{part}" for name in views_of(page) for part in ("", "?task=4", "?task=6", "?q=checkout")] + [
            "table?rows=tasks", "table?rows=tasks&q=checkout"]:
        show(page, view)
        found = page.evaluate(CONTRASTS)
        assert len(found) > 20
        assert [one for one in found if one[0] < LEAST_CONTRAST] == [], view


def test_t_changes_between_light_and_dark_and_back(opened):
    page = opened(rich_run())
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)

    press(page, "t")
    dark = page.evaluate(paper)
    press(page, "t")

    assert light == page.evaluate(paper) == "rgb(255, 255, 255)" and dark != light


def test_in_forced_colours_states_and_choices_are_still_to_be_told(opened):
    page = opened(rich_run(), "#/tree?task=4")
    page.call("Emulation.setEmulatedMedia", features=[{"name": "forced-colors", "value": "active"}])
    page.evaluate(FRAMES)

    assert page.evaluate("matchMedia('(forced-colors: active)').matches")
    assert [one for one in page.evaluate(CONTRASTS) if one[0] < LEAST_CONTRAST] == []
    outline = "getComputedStyle(document.querySelector('{}')).outlineStyle"
    assert page.evaluate(outline.format(".row.current")) == "solid"
    lines = page.evaluate("""Object.fromEntries(Array.from(document.querySelectorAll("[role=tab]"), (tab) =>
        [tab.ariaSelected, getComputedStyle(tab).borderBottomColor]))""")
    assert lines["true"] != lines["false"]
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    dots = page.evaluate("""Array.from(document.querySelectorAll("#tree .dot"), (dot) => getComputedStyle(dot))
        .map(({ backgroundColor, maskImage }) => [backgroundColor, maskImage])""")
    assert len(dots) == 9
    assert all(colour not in ("rgba(0, 0, 0, 0)", paper) and shape != "none" for colour, shape in dots)


def test_who_wants_no_motion_gets_none(opened):
    page = opened(rich_run(), "#/tree?task=4")
    moving = """Array.from(document.querySelectorAll("*")).filter((one) => {
        const style = getComputedStyle(one);
        return parseFloat(style.transitionDuration) > 0 || style.animationName !== "none";
    }).length"""
    assert page.evaluate(moving) > 0  # else this test could not fail

    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])

    assert page.evaluate(moving) == 0
    assert page.evaluate("document.getAnimations().length") == 0


@pytest.mark.parametrize("view", ["tree", "table?rows=tasks", "logs", "run"])
def test_on_paper_failures_are_told_and_nothing_is_cut_off(opened, view):
    page = opened(rich_run(), f"#/{view}", dark=True)
    page.evaluate(FRAMES)

    data = base64.b64decode(page.call("Page.printToPDF", printBackground=False)["data"])
    text = re.sub(r"\s+", "", text_of_pdf(data))

    for words in ("#4 checkout", "KeyError: 'cents'", "/services/checkout.py:88 in total", "return order['cents']",
                  "no cents in sight", "firexlite resume FireX-li-261123-101503-17"):
        assert words.replace(" ", "") in text
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.call("Emulation.setEmulatedMedia", media="print")
    page.call("Emulation.setDeviceMetricsOverride", width=PAPER_PX, height=1000, deviceScaleFactor=1, mobile=False)
    page.evaluate(FRAMES)
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 32, 38)"  # for paper is white
    assert page.evaluate("document.documentElement.scrollWidth") <= PAPER_PX
    cut_off = page.evaluate("""Array.from(document.querySelectorAll(
            "header *, .failures *, :is(#view-table, #view-logs, #view-run) *"))
        .filter((one) => one.checkVisibility() && getComputedStyle(one).overflow !== "visible")
        .filter((one) => one.scrollWidth > one.clientWidth + 1 || one.scrollHeight > one.clientHeight + 1)
        .map((one) => one.outerHTML.slice(0, 80))""")
    assert cut_off == []


@pytest.mark.parametrize("view", ["tree", "table?rows=tasks"])
def test_a_long_run_fills_no_more_paper_than_it_has_rows(opened, view):
    page = opened(model(*(task(num) for num in range(1, 5001))), f"#/{view}")

    data = base64.b64decode(page.call("Page.printToPDF")["data"])

    assert 8 <= len(re.findall(rb"/Type ?/Page\b", data)) <= 25


def text_of_pdf(data: bytes) -> str:
    """The text of a PDF as Chromium writes it: glyphs by the table of their font."""
    objects = {int(number): body for number, body in re.findall(rb"(?:^|\n)(\d+) 0 obj\n?(.*?)\nendobj", data, re.S)}

    def stream(body: bytes) -> bytes:
        raw = body.partition(b"stream\n")[2].rpartition(b"\nendstream")[0]
        return zlib.decompress(raw) if b"FlateDecode" in body else raw

    letters: dict[int, dict[int, str]] = {}  # by font object: glyph -> text
    for number, body in objects.items():
        if table := re.search(rb"/ToUnicode (\d+) 0 R", body):
            letters[number] = glyphs(stream(objects[int(table[1])]).decode("latin-1"))
    text = ""
    for body in objects.values():
        if b"/Type /Page\n" not in body and b"/Type/Page\n" not in body and b"/Contents" not in body:
            continue
        fonts = {name: int(number) for name, number in re.findall(rb"/(F\d+) (\d+) 0 R", body)}
        [content] = re.findall(rb"/Contents (\d+) 0 R", body)
        font: dict[int, str] = {}
        for name, shown in re.findall(rb"/(F\d+) [\d.]+ Tf|<([0-9A-Fa-f]+)>", stream(objects[int(content)])):
            if name:
                font = letters.get(fonts[name], {})
            else:
                codes = [int(shown[at:at + 4], 16) for at in range(0, len(shown), 4)]
                text += "".join(font.get(code, "") for code in codes)
    return text


def glyphs(table: str) -> dict[int, str]:
    """A font's table of glyphs, ``{glyph: text}``."""
    def text(digits: str) -> str:
        return bytes.fromhex(digits).decode("utf-16-be")

    found = {}
    for block in re.findall(r"beginbfchar(.*?)endbfchar", table, re.S):
        for glyph, digits in re.findall(r"<(\w+)> <(\w+)>", block):
            found[int(glyph, 16)] = text(digits)
    for block in re.findall(r"beginbfrange(.*?)endbfrange", table, re.S):
        for first, last, digits in re.findall(r"<(\w+)> <(\w+)> <(\w+)>", block):
            for n in range(int(last, 16) - int(first, 16) + 1):
                found[int(first, 16) + n] = chr(ord(text(digits)) + n)
    return found


@pytest.fixture(autouse=True)
def nothing_left_behind(tmp_path: Path):
    yield
    assert not list(Path.cwd().glob("axe-core-*.tgz"))
