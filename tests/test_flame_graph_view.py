"""The graph of the HTML report: its boxes and links, collapsing, and how one moves about in it."""
from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser import Browser, Page
from test_flame_page import failing_run, many, model, task

from firexlite.flame_export import render_html

DIES = {"state": "failed", "result": None, "exception": "ChainInterruptedException('x')"}
NOT_RUN = {"started": None, "runtime": None, "states": [], "attempts": []}


def varied_run() -> dict:
    """Every look a box can have; `gather` asks for what it calls to be collapsed."""
    here = {"type": "task_num", "value": 9}
    asked = [{"operation": "collapse", "targets": ["descendants"], "relative_to_nodes": here, "source_node": here}]
    attempts = [{"n": n, "started": 1.0, "ended": 2.0, "state": "failed", "exc": None} for n in (1, 2, 3)]
    return model(
        task(1, "nightly", cause=4, **DIES),
        task(2, "build", parent=1, enqueued_by=1, attempts=attempts),
        task(3, "suite", parent=2, enqueued_by=1, chain_depth=1, cause=4, **DIES),
        task(4, "checkout", parent=3, enqueued_by=3, state="failed", exception="KeyError('cents')"),
        task(5, "refund", parent=3, enqueued_by=3, state="revoked", **NOT_RUN),
        task(6, "publish", parent=3, enqueued_by=1, chain_depth=2, state="skipped", **NOT_RUN),
        task(7, "coverage", parent=1, enqueued_by=1, plugin=True),
        task(8, "earlier", parent=1, enqueued_by=1, state="failed", aside=True, exception="OSError()"),
        task(9, "gather", parent=1, enqueued_by=1, extra_parents=[7],
             flame_data={"_default_display": {"value": asked, "type": "object", "order": 1}}),
        *(task(num, f"gather_{num}", parent=9, enqueued_by=9) for num in range(10, 14)), state="failed")


def alike(size: int, failed: tuple[int, ...] = ()) -> dict:
    """`size` tasks of one service, called by one."""
    return model(task(1, "suite"), *(
        task(num, "case", parent=1, enqueued_by=1, state="failed" if num in failed else "succeeded")
        for num in range(2, size + 2)))


@pytest.fixture
def graph(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """A maker of pages that show the graph; none may complain."""
    pages: list[Page] = []

    def open_graph(given: dict, address: str = "", **how: object) -> Page:
        path = tmp_path / f"graph-{len(pages)}.html"
        path.write_text(render_html(given), encoding="ascii")
        pages.append(browser.open(path, fragment=f"#/graph{address}", **how))  # type: ignore[arg-type]
        pages[-1].evaluate("document.querySelector('#bar').scrollIntoView()")
        return pages[-1]

    yield open_graph
    for page in pages:
        page.evaluate("0")
        assert page.errors == []
        page.close()


def names(page: Page) -> list[str]:
    return page.each(".box .name")


def box(name: str) -> str:
    """The element of the first box of this name, in a script."""
    return ("Array.from(document.querySelectorAll('.box')).find("
            f"(box) => box.querySelector('.name').textContent === {json.dumps(name)})")


def where(page: Page, name: str) -> list[float]:
    return page.evaluate(f"(({{ x, y, width }}) => [x, y, width])({box(name)}.getBoundingClientRect())")


def mouse(page: Page, kind: str, x: float, y: float, **more: object) -> None:
    page.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)


def drag(page: Page, *points: tuple[float, float]) -> None:
    mouse(page, "mousePressed", *points[0], button="left", clickCount=1)
    for point in points[1:]:
        mouse(page, "mouseMoved", *point, button="left", buttons=1)
    mouse(page, "mouseReleased", *points[-1], button="left", clickCount=1)


def links(page: Page, kind: str) -> int:
    return page.evaluate(f"document.querySelector('{kind}').getAttribute('d').split('M').length - 1")


# --- boxes and links -------------------------------------------------------------------------------------------

def test_every_task_is_a_box_below_the_one_that_called_it_or_came_before_it_in_its_chain(graph):
    page = graph(failing_run())

    assert names(page) == ["nightly", "suite", "login", "checkout", "publish"]
    above = {"suite": "nightly", "login": "suite", "checkout": "suite", "publish": "nightly"}
    for name, over in above.items():
        assert where(page, name)[1] > where(page, over)[1] + 50
    middle = (where(page, "login")[0] + where(page, "checkout")[0]) / 2
    assert where(page, "suite")[0] == pytest.approx(middle, abs=1)


def test_boxes_do_not_overlap(graph):
    page = graph(varied_run())
    page.click(".graph-tools button:nth-child(2)")

    places = page.evaluate("Array.from(document.querySelectorAll('.box'), (box) => (({x, y, right, bottom}) => "
                           "[x, y, right, bottom])(box.getBoundingClientRect()))")
    assert len(places) == 13
    for n, (x, y, right, bottom) in enumerate(places):
        for x2, y2, right2, bottom2 in places[:n]:
            assert right <= x2 or right2 <= x or bottom <= y2 or bottom2 <= y


def test_a_link_leads_to_every_box_and_those_to_failures_stand_out(graph):
    page = graph(varied_run())

    assert len(names(page)) == 9
    assert links(page, ".link") == 6
    assert links(page, ".link.failed") == 2
    assert links(page, ".link.extra") == 1


def test_a_box_tells_number_name_state_time_and_attempts(graph):
    page = graph(varied_run())

    assert page.each(".box", "ariaLabel") == [
        "#1 nightly, failed because of #4, 500 ms", "#2 build, 3 attempts, 500 ms", "#3 suite, failed because of #4, 500 ms",
        "#4 checkout, failed, 500 ms", "#5 refund, revoked", "#6 publish, skipped", "#7 coverage, succeeded, 500 ms",
        "#8 earlier, failed, set aside, 500 ms", "#9 gather, succeeded, 500 ms, stands for 4 tasks"]
    assert page.evaluate(f"{box('build')}.querySelector('.retries').textContent") == "3\u00d7"


@pytest.mark.parametrize(("name", "classes"), [
    ("nightly", "failed because"), ("suite", "failed because chained"), ("checkout", "failed"), ("refund", "revoked"),
    ("publish", "skipped chained"), ("coverage", "succeeded plugin"), ("earlier", "failed set-aside"), ("build", "succeeded"),
])
def test_a_box_looks_as_its_task_ended(graph, name, classes):
    page = graph(varied_run())

    found = page.evaluate(f"{box(name)}.className").split()
    assert set(found) - {"box", "current"} == set(classes.split())


def test_called_tasks_are_round_and_chained_ones_square(graph):
    page = graph(varied_run())

    radius = "getComputedStyle({}.querySelector('.face')).borderRadius"
    assert page.evaluate(radius.format(box("build"))) != "0px"
    assert page.evaluate(radius.format(box("suite"))) == "0px"


# --- collapsing ------------------------------------------------------------------------------------------------

def test_what_a_service_wants_collapsed_is_a_stack_that_opens(graph):
    page = graph(varied_run())
    assert page.text(".stack") == "4 tasks"

    page.click(".stack")

    assert len(names(page)) == 13
    assert page.count(".stack") == 0


def test_collapsing_hides_all_that_stands_below_and_tells_how_many_failed(graph):
    page = graph(varied_run())

    page.click(f"#{page.evaluate(box('build') + '.id')} .shut")

    assert names(page) == ["nightly", "build", "coverage", "earlier", "gather"]
    assert page.text(".stack") == "4 tasks, 2 failed"
    assert "failed" in page.each(".stack", "className")[0]
    page.click(".stack")
    assert "checkout" in names(page)


def test_a_box_stays_where_it_is_while_what_is_below_it_opens_and_closes(graph):
    page = graph(varied_run())
    before = where(page, "build")

    page.click(f"#{page.evaluate(box('build') + '.id')} .shut")
    assert where(page, "build") == pytest.approx(before, abs=1)

    page.click(".stack")
    assert where(page, "build") == pytest.approx(before, abs=1)


def test_the_buttons_show_all_the_root_and_what_services_want(graph):
    page = graph(varied_run())
    choose = {page.evaluate(f"document.querySelectorAll('.graph-tools button')[{n}].textContent"): n + 1 for n in range(3)}

    def shown(words: str) -> list[str]:
        page.click(f".graph-tools button:nth-child({choose[words]})")
        assert page.each(".graph-tools [aria-pressed=true]") == [words]
        return names(page)

    assert len(shown("expand all")) == 13
    assert shown("collapse all") == ["nightly"]
    assert len(shown("default")) == 9


def test_many_tasks_of_one_name_are_one_box_with_the_failures_beside_it(graph):
    page = graph(alike(1000, failed=(500, 700)))

    assert page.each(".box", "ariaLabel") == [
        "#1 suite, succeeded, 500 ms", "#2 case \u00d7 998, succeeded, 500 ms, stands for 997 tasks",
        "#500 case, failed, 500 ms", "#700 case, failed, 500 ms"]

    page.click(".stack")

    assert page.text(".graph-tools [role=status]") == "400 of 1,001 tasks"
    page.press("0")
    assert "case \u00d7 602" in names(page)


def test_ten_thousand_tasks_are_400_boxes_of_which_those_in_view_are_elements(graph):
    page = graph(many(10_000))

    assert page.text(".graph-tools [role=status]") == "400 of 10,000 tasks"
    assert 5 < page.count(".box") < 100
    page.press("0")
    assert page.count(".box") == 400
    assert page.evaluate("document.querySelectorAll('*').length") < 8000


def test_failures_only_among_ten_thousand_leaves_the_failures_and_what_is_above_them(graph):
    given = many(10_000)
    for num in (77, 4321, 9999):
        given["tasks"][num - 1] |= {"state": "failed", "exception": "OSError()"}
    page = graph(given)

    page.click("#failures-only")
    page.press("0")

    above = {num // 10 ** n for num in (77, 4321, 9999) for n in range(4)} - {0}
    assert set(page.each(".box .num")) == {f"#{num}" for num in above}


def test_a_filter_of_the_page_holds_for_the_graph(graph):
    page = graph(varied_run(), "?q=name%3Arefund&only=1")

    assert names(page) == ["nightly", "suite", "refund"]
    assert page.each(".box.hit .name") == ["refund"]
    assert links(page, ".link") == 1


def test_a_filter_that_leaves_nothing_leaves_an_empty_graph(graph):
    page = graph(varied_run(), "?q=name%3Anobody&only=1")

    assert page.count(".box") == 0
    for key in ("c", "0", "+", "E"):
        page.press(key)
    assert page.text(".graph-tools [role=status]") == "0 of 13 tasks"


# --- moving about ----------------------------------------------------------------------------------------------

def test_dragging_moves_all_and_opens_nothing(graph):
    page = graph(failing_run())
    x, y, _ = before = where(page, "suite")

    drag(page, (x + 90, y + 12), (x + 100, y + 30), (x + 150, y + 112))

    assert where(page, "suite") == pytest.approx([x + 60, y + 100, before[2]], abs=1)
    assert page.evaluate("document.querySelector('#drawer').hidden")


def test_the_wheel_zooms_at_the_pointer(graph):
    page = graph(failing_run())
    x, y, width = where(page, "login")

    mouse(page, "mouseWheel", x, y, deltaX=0, deltaY=-200)

    page.wait_for(f"{box('login')}.getBoundingClientRect().width > {width * 1.2}")
    assert where(page, "login")[:2] == pytest.approx([x, y], abs=1)


def test_a_click_opens_the_task_and_a_click_with_shift_makes_it_the_root(graph):
    page = graph(varied_run())

    page.click(f"#{page.evaluate(box('checkout') + '.id')} .face")
    page.wait_for("!document.querySelector('#drawer').hidden")
    assert "#4 checkout" in page.text("#drawer h2")
    page.press("Escape")

    x, y, _ = where(page, "suite")
    for kind in ("mousePressed", "mouseReleased"):
        mouse(page, kind, x + 60, y + 12, button="left", clickCount=1, modifiers=8)
    page.wait_for("location.hash.includes('root=3')")
    assert names(page) == ["suite", "checkout", "refund"]


def test_an_address_may_name_a_root_and_a_task(graph):
    page = graph(many(3000), "?root=7&task=788")

    assert page.text(".graph-tools [role=status]").endswith("of 111 tasks")
    assert page.each(".box[aria-selected=true] .num") == ["#788"]


def test_an_address_of_a_collapsed_task_shows_it(graph):
    page = graph(varied_run(), "?task=12")

    assert "gather_12" in names(page)
    assert "gather_11" not in names(page)


def test_an_address_of_a_task_among_many_alike_takes_it_out(graph):
    cases = [task(num, "case" if num % 2 == 0 else "part", parent=num - 1 if num % 2 else 1,
                  enqueued_by=num - 1 if num % 2 else 1) for num in range(2, 202)]
    page = graph(model(task(1, "suite"), *cases), "?task=101")

    assert page.each(".box .num") == ["#1", "#2", "#100", "#101"]
    assert page.each(".box", "ariaLevel") == ["1", "2", "2", "3"]


def test_where_one_looked_is_kept_when_a_newer_report_is_loaded(graph):
    page = graph(failing_run())
    x, y, _ = where(page, "suite")
    drag(page, (x + 90, y + 12), (x + 190, y + 82))
    moved = where(page, "suite")

    page.evaluate("window.isOld = true; kept.save(); location.reload()")
    page.wait_for("!window.isOld && document.documentElement.dataset.readyMs && document.querySelectorAll('.box').length")
    page.evaluate("document.querySelector('#bar').scrollIntoView()")

    assert where(page, "suite") == pytest.approx(moved, abs=1)


def test_the_keyboard_walks_from_box_to_box_collapses_and_opens(graph):
    page = graph(varied_run())
    page.evaluate("document.querySelector('.graph').focus({ preventScroll: true })")
    active = "document.getElementById(document.activeElement.getAttribute('aria-activedescendant'))"
    focused = f"{active}.querySelector('.name').textContent"
    assert page.evaluate(focused) == "nightly"

    for key, name in (("ArrowDown", "build"), ("ArrowRight", "coverage"), ("ArrowLeft", "build"), ("ArrowDown", "suite"),
                      ("ArrowDown", "checkout"), ("ArrowDown", "checkout"), ("ArrowUp", "suite")):
        page.press(key)
        assert page.evaluate(focused) == name
    page.press(" ")
    assert page.evaluate(focused) == "suite"
    assert "checkout" not in names(page)
    assert page.evaluate(f"{active}.ariaExpanded") == "false"
    page.press("Enter")
    assert "#3 suite" in page.wait_for("document.querySelector('#drawer h2')?.textContent")


def test_c_brings_the_current_box_to_the_middle(graph):
    page = graph(failing_run())
    page.press("+")
    x, y, width = where(page, "suite")
    assert width == pytest.approx(180 * 1.25, abs=1)
    drag(page, (x + 90, y + 12), (x + 190, y + 82))

    page.press("c")

    assert where(page, "nightly")[0] == pytest.approx(700 - 90 * 1.25, abs=2)


@pytest.mark.parametrize("width", [1400, 400])
def test_the_first_look_shows_the_first_failure(graph, width):
    page = graph(alike(300, failed=(200,)), width=width)

    x, _, box_width = where(page, "case")
    assert 0 <= x <= width - box_width
    assert page.evaluate("document.documentElement.scrollWidth") <= width
