"""Whatever texts a run has, its page shows them as texts, runs none of them, and asks nobody for anything."""
from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from browser import Browser, Page
from hostile import PAYLOADS, as_shown, hostile_run, texts_of

from firexlite.flame_export import render_html, render_json

# What depends on the page: where its views are, how a task is opened, and where its texts are then.
VIEWS = [""]
TASK = "task={num}"
DRAWER = "#drawer"
OPENED = "document.querySelector('#drawer h2')?.textContent.startsWith(`#${num} `)"
MORE = "button.more"  # shows what is folded
IN_TOOLTIPS = frozenset({"cwd", "output_file"})  # which the browser draws, so that what is invisible remains so
IN_THE_DRAWER = frozenset(texts_of("")) - {
    "worker", "flame_object", "command_host", "stderr", "cached_from"}
OF_THE_PAGE = "#fx-run, #fx-index, [id^=fx-d], #fx-end"  # scripts that may have an id
# Nothing on the page is one of these but what a text has made.
FORBIDDEN = ("img, svg, picture, iframe, frame, object, embed, applet, portal, video, audio, source, track, base, form, math, "
             "link, marquee, textarea, select, dialog, template, slot, noembed, xmp, plaintext, listing, x, custom-element, "
             "body style, body meta, body title, script[src], [srcdoc], [formaction], [ping], [contenteditable], [autofocus]")
AT_ONCE = 40  # tasks; a call of the browser has a time limit

# Opens tasks and tells what of their texts is not to be read. wanted: [[num, {field: text}], ...]
UNREADABLE = """(async (wanted) => {
    const unreadable = [];
    for (const [num, texts] of wanted) {
        location.hash = TASK.replace("{num}", num);
        const limit = performance.now() + 5000;
        while (!(OPENED) && performance.now() < limit) await new Promise((done) => setTimeout(done));
        const drawer = document.querySelector(DRAWER);
        drawer.querySelectorAll(MORE).forEach((button) => button.click());
        const titles = Array.from(drawer.querySelectorAll("[title]"), (element) => element.title);
        const all = [drawer.textContent, ...titles].join("\\n").toWellFormed();
        for (const [field, text] of Object.entries(texts))
            if (!all.includes(text.toWellFormed())) unreadable.push(`#${num} ${field}: ${text.slice(0, 80).toWellFormed()}`);
    }
    return unreadable;
})"""

# What a text may have made of itself.
WHAT_WAS_MADE = """(forbidden, ours) => {
    const all = (selector) => Array.from(document.querySelectorAll(selector));
    const elements = all("body, body *"), ids = elements.map((element) => element.id).filter(Boolean);
    return {
        forbidden: all(forbidden).map((element) => element.outerHTML.slice(0, 200)),
        handlers: elements.flatMap((element) => element.getAttributeNames()).filter((name) => name.startsWith("on")),
        addresses: all("[href], [src], [action], [background]")
            .map((element) => element.getAttribute("href") ?? element.outerHTML).filter((address) => !/^(https?:|#)/.test(address)),
        scripts: all("script[id]").filter((script) => !script.matches(ours)).length,
        ids: ids.filter((id, n) => ids.indexOf(id) !== n),
        fixed: all(".markup *").filter((element) => getComputedStyle(element).position !== "static").length,
    };
}"""


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("hostile") / "flame.html"
    path.write_text(render_html(hostile_run()), encoding="ascii")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


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
    found = page.evaluate(f"({WHAT_WAS_MADE})({json.dumps(FORBIDDEN)}, {json.dumps(OF_THE_PAGE)})")
    assert found == {"forbidden": [], "handlers": [], "addresses": [], "scripts": 0, "ids": [], "fixed": 0}


def wanted_of(payload: str) -> dict[str, str]:
    """What must be readable of a task."""
    texts = {field: text if field in IN_TOOLTIPS else as_shown(text)
             for field, text in texts_of(payload).items() if field in IN_THE_DRAWER}
    if re.search("[<&]", payload):
        del texts["flame"]  # markup is allowed there, and made of what is allowed
    return texts


def test_there_are_payloads_of_every_kind():
    assert len(PAYLOADS) == len(set(PAYLOADS)) >= 150


def test_every_task_shows_its_texts_as_they_are(opened):
    page = opened()
    tasks = [[num, wanted_of(payload)] for num, payload in enumerate(PAYLOADS, 1)]
    script = UNREADABLE
    for name, value in (("TASK", TASK), ("DRAWER", DRAWER), ("MORE", MORE)):
        script = script.replace(name, json.dumps(value))
    script = script.replace("OPENED", OPENED)

    unreadable: list[str] = []
    for first in range(0, len(tasks), AT_ONCE):
        unreadable += page.evaluate(f"{script}({json.dumps(tasks[first:first + AT_ONCE])})")
        assert_only_texts_were_made(page)

    assert unreadable == []


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
