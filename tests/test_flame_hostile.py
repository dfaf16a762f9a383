"""Whatever texts a run has, its page shows them as texts, runs none of them, and asks nobody for anything."""
from __future__ import annotations

import json
import re

import pytest
from browser import Page
from hostile import PAYLOADS, as_shown, hostile_run, texts_of

from firexlite.flame_export import render_html, render_json

# What depends on the page: where its views are, how a task is opened, and where its texts are then.
VIEWS = [f"#/{view}" for view in ("overview", "tree", "graph", "failures", "table", "table?rows=tasks", "logs", "run")]
TASK = "#/tree?task={num}"
DRAWER = "#drawer"
OPENED = "document.querySelector('#drawer h2')?.textContent.startsWith(`#${num} `) && document.querySelector('#drawer section')"
MORE = "button.more"  # shows what is folded
IN_TOOLTIPS = frozenset({"cwd"})  # which the browser draws, so that what is invisible remains so
IN_THE_DRAWER = frozenset(texts_of("")) - {
    "worker", "flame_object", "command_host", "stderr", "cached_from", "output_file"}
OF_THE_PAGE = "#fx-run, #fx-index, [id^=fx-d], #fx-end"  # scripts that may have an id
# Nothing on the page is one of these but what a text has made.
FORBIDDEN = ("img, picture, iframe, frame, object, embed, applet, portal, video, audio, source, track, base, form, math, "
             "link, marquee, textarea, select, dialog, template, slot, noembed, xmp, plaintext, listing, x, custom-element, "
             "style, meta, title, script[src], [srcdoc], [formaction], [ping], [contenteditable], [autofocus]")
AT_ONCE = 40  # tasks; a call of the browser has a time limit

NOTHING_MADE = {"forbidden": [], "handlers": [], "addresses": [], "scripts": 0, "ids": [], "fixed": 0}

# What a text may have made of itself within an element.
WHAT_WAS_MADE = """(root) => {
    const all = (selector) => Array.from(root.querySelectorAll(selector));
    const elements = all("*"), ids = elements.map((element) => element.id).filter(Boolean);
    const addresses = all("[href], [src], [action], [background]")
        .map((element) => element.getAttribute("href") ?? element.outerHTML);
    return {
        forbidden: all(FORBIDDEN).map((element) => element.outerHTML.slice(0, 200)),
        handlers: elements.flatMap((element) => element.getAttributeNames()).filter((name) => name.startsWith("on")),
        addresses: addresses.filter((address) => !/^(https?:|#)/.test(address)),
        scripts: all("script[id]").filter((script) => !script.matches(OF_THE_PAGE)).length,
        ids: ids.filter((id, n) => ids.indexOf(id) !== n),
        fixed: all(".markup *").filter((element) => getComputedStyle(element).position !== "static").length,
    };
}"""
# Opens tasks; tells what of their texts is not to be read, and what else they became. wanted: [[num, {field: text}], ...]
WHAT_IS_WRONG = """async (wanted) => {
    const wrong = [];
    for (const [num, texts] of wanted) {
        location.hash = TASK.replace("{num}", num);
        const limit = performance.now() + 5000;
        while (!(OPENED) && performance.now() < limit) await new Promise((done) => setTimeout(done));
        const drawer = document.querySelector(DRAWER);
        drawer.querySelectorAll(MORE).forEach((button) => button.click());
        const titles = Array.from(drawer.querySelectorAll("[title]"), (element) => element.title);
        const all = [drawer.textContent, ...titles].join("\\n").toWellFormed();
        for (const [field, text] of Object.entries(texts))
            if (!all.includes(text.toWellFormed())) wrong.push(`#${num} ${field}: ${text.slice(0, 80).toWellFormed()}`);
        const made = JSON.stringify((WHAT_WAS_MADE)(drawer));
        if (made !== NOTHING_MADE) wrong.push(`#${num} made ${made.toWellFormed()}`);
    }
    return wrong;
}"""


def script_of(text: str) -> str:
    """A script with what it names by capitals put in."""
    text = text.replace("WHAT_WAS_MADE", WHAT_WAS_MADE).replace("OPENED", OPENED)
    nothing = json.dumps(NOTHING_MADE, separators=(",", ":"))
    for name, value in (("FORBIDDEN", FORBIDDEN), ("OF_THE_PAGE", OF_THE_PAGE), ("TASK", TASK), ("DRAWER", DRAWER),
                        ("MORE", MORE), ("NOTHING_MADE", nothing)):
        text = text.replace(name, json.dumps(value))
    return text


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("hostile") / "flame.html"
    path.write_text(render_html(hostile_run()), encoding="ascii")
    return path


@pytest.fixture
def opened(browser, page_file):
    """A maker of pages: ``opened()``; at the end none has run a text, complained, or asked the network."""
    pages: list[Page] = []

    def open_page(**how: object) -> Page:
        pages.append(browser.open(page_file, **how))
        return pages[-1]

    yield open_page
    for page in pages:
        assert page.evaluate("window.PWN") is None
        assert page.evaluate("Object.prototype.PWN") is None
        assert page.errors == []
        assert [address for address in page.requests if not address.startswith(page_file.as_uri())] == []
        page.close()


def assert_only_texts_were_made(page: Page) -> None:
    """No element, no attribute and no address is on the page that a text has brought with it."""
    assert page.evaluate(f"({script_of(WHAT_WAS_MADE)})(document.body)") == NOTHING_MADE


def wanted_of(payload: str) -> dict[str, str]:
    """What must be readable of a task."""
    texts = {field: text if field in IN_TOOLTIPS else as_shown(text)
             for field, text in texts_of(payload).items() if field in IN_THE_DRAWER}
    if re.search("[<&]", payload):
        del texts["flame"]  # markup is allowed there, and made of what is allowed
    return texts


def test_there_are_payloads_of_every_kind():
    assert len(PAYLOADS) == len(set(PAYLOADS)) >= 150


@pytest.mark.long
def test_every_task_shows_its_texts_as_they_are(opened):
    page = opened()
    tasks = [[num, wanted_of(payload)] for num, payload in enumerate(PAYLOADS, 1)]

    wrong: list[str] = []
    for first in range(0, len(tasks), AT_ONCE):
        wrong += page.evaluate(f"({script_of(WHAT_IS_WRONG)})({json.dumps(tasks[first:first + AT_ONCE])})")

    assert wrong == []
    assert_only_texts_were_made(page)


@pytest.mark.parametrize("address", VIEWS)
@pytest.mark.parametrize("how", [{"width": 1400}, {"width": 400, "dark": True}], ids=["wide", "narrow"])
def test_no_view_makes_anything_of_a_text(opened, address, how):
    page = opened(fragment=address, **how)

    assert_only_texts_were_made(page)
    assert as_shown(PAYLOADS[0]) in page.text()


def test_a_search_for_a_payload_is_a_search(opened):
    page = opened()

    for payload in PAYLOADS[::12]:
        page.evaluate(f"""(() => {{
            const input = document.querySelector("input");
            input.value = {json.dumps(payload)};
            input.dispatchEvent(new Event("input", {{bubbles: true}}));
        }})()""")
    page.evaluate("new Promise((done) => setTimeout(done, 100))")

    assert_only_texts_were_made(page)


@pytest.mark.parametrize("address", [
    "#task=<img src=x onerror=window.PWN=1>", "#task=__proto__", "#%", "#task=1&task=constructor", "#task=%E0%A4%A",
    "#/<script>window.PWN=1</script>?q=<b>", "#javascript:window.PWN=1"])
def test_an_address_is_a_text_too(opened, address):
    assert_only_texts_were_made(opened(fragment=address))


def test_without_script_they_are_texts_too(opened):
    page = opened(script=False)

    assert_only_texts_were_made(page)
    assert "<script>window.PWN=1</script>" in page.text()


def test_the_file_itself_has_one_script_and_one_style():
    html = render_html(hostile_run())

    assert len(re.findall(r"<script>", html)) == len(re.findall(r"<style>", html)) == 1
    assert html.count("<script") == html.count("</script>")
    assert "<!--" not in html and html.isascii()


def test_json_of_hostile_texts_can_be_read_again():
    model = hostile_run()

    assert json.loads(render_json(model)) == model
