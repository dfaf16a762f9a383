"""The report's tables of services and tasks, its logs, and its view of the run with the data to take along."""
from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from conftest import wait_until
from hostile import hostile_run
from test_flame_page import START, failing_run, many, model, task

from firexlite.flame_about import NOTHING
from firexlite.flame_export import TASK_KEYS, render_html

FRAMES = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


@pytest.fixture
def opened(browser, tmp_path):
    """A maker of pages: ``opened(model, "#/table")``; no page may complain or ask the network."""
    pages = []

    def open_page(model: dict, fragment: str, **how: object):
        path = tmp_path / f"flame-{len(pages)}.html"
        path.write_text(render_html(model), encoding="ascii")
        pages.append(browser.open(path, fragment=fragment, **how))
        return pages[-1]

    yield open_page
    for page in pages:
        page.evaluate("0")  # so that what it had to say has arrived
        assert page.errors == []
        assert [address for address in page.requests if not address.startswith(("file:", "blob:"))] == []
        page.close()


def cells(page, column: str) -> list[str]:
    return page.each(f".sheet tbody .in-{column}", "innerText.trim()")


def sort_by(page, column: str) -> None:
    page.click(f".sheet .in-{column} button")
    page.evaluate(FRAMES)


def attempt(n: int, **fields: object) -> dict:
    return {"n": n, "incarnation": 1, "started": START + n, "ended": START + n + 1, "state": "succeeded", "exc": None, **fields}


def log(*lines: str, **fields: object) -> dict:
    return {"lines": list(lines), "total": len(lines), "bytes_before": 0, "truncated": False, **fields}


def ran(num: int, name: str, seconds: float, at: float | None = None, state: str = "succeeded", **fields: object) -> dict:
    """A task that waited a quarter of a second, began `at` seconds after the run, and ran so long."""
    started = START + (num if at is None else at)
    return task(num, name, started=started, runtime=seconds, self=seconds, state=state,
                states=[["ready", started - 0.25], ["running", started], [state, started + seconds]],
                **{"attempts": [attempt(1, started=started, ended=started + seconds)], **fields})


def three_services() -> dict:
    """`slow` takes 8 of 10 seconds in one task; `quick` the rest in four, of which one fails; `never` did not run."""
    mib = 2 ** 20
    return model(
        ran(1, "slow", 8.0, attempts=[
            attempt(1, state="retried", cpu=0.5, peak=30 * mib), attempt(2, cpu=1.0, peak=2000 * mib)]),
        ran(2, "quick", 0.2), ran(3, "quick", 0.3), ran(4, "quick", 0.5),
        ran(5, "quick", 1.0, state="failed", exception="OSError('no space')"),
        task(6, "never", state="skipped", started=None, runtime=None, states=[], attempts=[]),
        ran(7, "quick", 60.0, aside=True))


# --- services ----------------------------------------------------------------------------------------------

def test_services_are_told_by_how_much_they_cost(opened):
    page = opened(three_services(), "#/table")

    assert page.each(".sheet tbody tr[id]", "innerText.replaceAll('\\t', '|').replaceAll('\\u00a0', ' ')") == [
        "slow|1||8.0 s|80 %|8.0 s|8.0 s|8.0 s|250 ms|1.5 s|2.0 GiB|1",
        "quick|4|1|2.0 s|20 %|300 ms|1.0 s|1.0 s|250 ms|||",
        "never|1||0 ms|0.0 %|||||||"]
    assert "3 services" in page.text("#view-table .above")


def test_a_service_leads_to_its_tasks(opened):
    page = opened(three_services(), "#/table")

    page.click(".sheet tbody tr:nth-of-type(2)")

    page.wait_for("document.querySelector('.above').innerText.includes('5 tasks')")
    assert set(cells(page, "name")) == {"quick"}
    assert page.evaluate("location.hash") == "#/table?q=name%3A%22quick%22&only=1&rows=tasks"
    page.evaluate("history.back()")
    page.wait_for("document.querySelector('.above').innerText.includes('3 services')")


def test_services_count_what_the_filter_leaves(opened):
    page = opened(three_services(), "#/table?q=state:failed&only=1")

    assert (cells(page, "name"), cells(page, "size")) == (["quick"], ["1"])


# --- tasks -------------------------------------------------------------------------------------------------

def test_a_task_is_a_row_of_all_that_is_measured(opened):
    page = opened(three_services(), "#/table?rows=tasks")

    rows = page.each(".sheet tbody tr[id]", "innerText.replaceAll('\\t', '|').replaceAll('\\u00a0', ' ')")
    assert rows[0] == "1|slow|succeeded|1.0 s|250 ms|8.0 s|8.0 s|2|1.5 s|2.0 GiB|"
    assert rows[4].startswith("5|quick|failed|") and rows[4].endswith("|OSError('no space')")
    assert rows[5] == "6|never|skipped||||||||"


def test_tasks_are_sorted_by_any_column_both_ways_and_say_so(opened):
    page = opened(three_services(), "#/table?rows=tasks")

    def order(column: str) -> list:
        return page.each("[aria-sort]:not([aria-sort=none])", "className + ' ' + element.ariaSort")

    assert order("num") == ["in-num ascending"]
    sort_by(page, "runtime")
    assert cells(page, "num") == ["7", "1", "5", "4", "3", "2", "6"] and order("runtime") == ["in-runtime descending"]
    sort_by(page, "runtime")
    assert cells(page, "num") == ["2", "3", "4", "5", "1", "7", "6"]  # what never ran stays last
    sort_by(page, "name")
    assert cells(page, "name") == ["never"] + ["quick"] * 5 + ["slow"] and order("name") == ["in-name ascending"]
    sort_by(page, "error")
    assert cells(page, "num")[0] == "5"
    assert "by=error" in page.evaluate("location.hash")


def test_rows_are_those_that_the_filter_leaves_and_what_was_found_is_marked(opened):
    page = opened(failing_run(), "#/table?rows=tasks&q=checkout")

    page.wait_for("document.querySelectorAll('tr.hit').length === 3")  # by name, and by what is said
    page.press("x")
    page.wait_for("document.querySelectorAll('.sheet tbody tr[id]').length === 3")
    assert set(cells(page, "state")) == {"failed"}


def test_a_row_opens_its_task_and_the_keyboard_walks_in_the_order_shown(opened):
    page = opened(three_services(), "#/table?rows=tasks&by=-runtime")

    page.click(".sheet tbody tr:nth-of-type(2) .in-name")
    assert page.wait_for("document.querySelector('#drawer h2')?.textContent") == "#1 slow"
    page.press("Escape")
    page.wait_for("document.querySelector('#drawer').hidden")
    page.evaluate("document.querySelector('.sheet').focus()")
    page.press("ArrowDown")
    assert page.each("tr[aria-selected=true]", "id") == ["line-4"]
    assert page.evaluate("document.querySelector('.sheet').getAttribute('aria-activedescendant')") == "line-4"
    page.press("End")
    page.press("Enter")
    assert page.wait_for("document.querySelector('#drawer h2')?.textContent") == "#6 never"


def test_the_columns_of_a_telephone_are_those_that_matter(opened):
    page = opened(three_services(), "#/table?rows=tasks", width=400, height=800)

    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    shown = page.evaluate("Array.from(document.querySelectorAll('.sheet thead th'))"
                          ".filter((one) => one.offsetWidth).map((one) => one.className)")
    assert shown == ["in-num", "in-name", "in-state", "in-runtime", "in-error"]


def test_ten_thousand_tasks_scroll_by_with_few_rows_in_the_page(opened):
    page = opened(many(10_000), "#/table?rows=tasks&by=-num")
    page.evaluate("document.querySelector('.sheet').scrollIntoView()")

    for share in (0, 0.3, 0.7, 1):
        page.evaluate(f"scrollTo(0, {share} * document.documentElement.scrollHeight)")
        page.evaluate(FRAMES)
        rows = page.evaluate("""Array.from(document.querySelectorAll(".sheet tbody tr[id]"), (row) =>
            [Number(row.cells[0].textContent), row.getBoundingClientRect().top, row.ariaRowIndex])""")
        in_view = [num for num, top, _ in rows if 0 <= top < 900]
        assert len(rows) <= 80 and len(in_view) >= 20
        assert in_view == list(range(in_view[0], in_view[0] - len(in_view), -1))
        assert all(int(index) == 10_000 - num + 2 for num, _, index in rows)
    assert in_view[-1] == 1
    assert page.evaluate("document.querySelector('.sheet').ariaRowCount") == "10001"


def test_items_of_one_number_keep_their_order_and_what_is_not_known_comes_last(opened):
    page = opened(model(task(1)), "#/table")

    assert page.evaluate("Array.from(sortItems([4, 5, 6, 7], (item) => (item === 5 ? -1 : item % 3), true))") == [4, 7, 6, 5]
    assert page.evaluate("Array.from(sortItems([4, 5, 6, 7], (item) => (item === 5 ? -1 : item % 3), false))") == [6, 4, 7, 5]


# --- logs --------------------------------------------------------------------------------------------------

def talking_run() -> dict:
    return model(ran(1, "late", 1.0, at=50, log=log("last words of late")),
                 ran(2, "mute", 1.0),
                 ran(3, "early", 1.0, at=10, state="failed", log=log(*(f"line {n}" for n in range(1, 101)), "Disk FULL")),
                 ran(4, "cut", 1.0, at=20, log=log("the end", bytes_before=1_234_567, truncated=True)))


def test_logs_stand_in_the_order_in_which_the_tasks_began(opened):
    page = opened(talking_run(), "#/logs")

    page.wait_for("document.querySelectorAll('.logs article').length === 3")
    assert page.each(".logs h3 a") == [" #3 early", " #4 cut", " #1 late"]
    assert "3 tasks with output" in page.text("#view-logs")
    assert page.text(".logs article").endswith("line 100\nDisk FULL\n")
    assert "line 50" not in page.text(".logs article")
    page.click(".logs article .end .more")
    assert "line 1\nline 2\n" in page.text(".logs article")
    page.click(".logs article:nth-of-type(2) h3 a")
    assert "#4 cut" in page.wait_for("document.querySelector('#drawer h2')?.textContent")


def test_a_log_that_was_cut_says_how_much_is_missing(opened):
    page = opened(talking_run(), "#/logs")

    assert "The last 1 line after 1.2 MB more;" in page.wait_for("document.querySelector('.logs p.aside')?.textContent")


def test_the_logs_of_failed_tasks_alone_are_shown_on_demand(opened):
    page = opened(talking_run(), "#/logs")
    page.press("x")

    page.wait_for("document.querySelectorAll('.logs article').length === 1")
    assert page.each(".logs h3 a") == [" #3 early"]


def test_lines_with_a_text_are_shown_and_counted(opened):
    page = opened(talking_run(), "#/logs")
    said = "document.querySelector('#view-logs [role=status]').textContent"
    page.click("#view-logs input[type=search]")

    page.type("full")
    page.wait_for(f"{said} === '1 task with such lines'")
    page.wait_for("document.querySelectorAll('.logs pre').length === 1")
    assert page.each(".logs pre") == ["Disk FULL\n"]
    page.type(" of nothing")
    page.wait_for(f"{said} === '0 tasks with such lines'")
    assert page.count(".logs article") == 0


def test_of_many_logs_few_are_in_the_page_and_the_next_come_as_one_scrolls(opened):
    page = opened(model(*(task(num, log=log(*[f"task {num} says"] * 30)) for num in range(1, 501))), "#/logs")

    page.wait_for("document.querySelectorAll('.logs article').length >= 2")
    assert page.count(".logs article") < 20
    seen = 0
    while seen < 500:
        page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        seen = page.wait_for(f"""(() => {{
            const last = Number(document.querySelector(".logs article:last-of-type .num").textContent.replace("#", ""));
            return last > {seen} && last;
        }})()""")


# --- the run -----------------------------------------------------------------------------------------------

def described_run() -> dict:
    return model(task(1), argv=["/opt/bin/firexlite", "submit", "--chain", "greet|amplify", "--name", "it's Li"],
                 inputs={"name": "it's <Li>", "deep": {"list": list(range(40))}, "long": "x" * 9000, "longest": "y" * 70_000},
                 python="3.12.1", redacted=3, state="failed", resume="firexlite resume FireX-li-261123-101503-17",
                 options={"workers": 4, "queues": {"board": 2}, "soft_time_limit": 90, "cwd": "/home/li",
                          "plugins": [{"path": "services.py", "digest": "0123abcd"}], "helpers": []},
                 since_last_good={"firex_id": "FireX-li-261122-1-1", "created": START - 7200, "differences": [
                     {"what": "input", "name": "name", "was": '"Bo"', "now": '"it\'s <Li>"'}]},
                 incarnations=[
                     {"n": 1, "pid": 71, "host": "here", "started": START, "ended": START + 30, "end": "crash"},
                     {"n": 2, "pid": 72, "host": "there", "started": START + 40, "ended": START + 90, "end": "clean"}])


@pytest.mark.parametrize("script", [True, False], ids=["with script", "without script"])
def test_the_run_tells_what_was_asked_for_and_its_lives(opened, script):
    given = described_run()
    page = opened(given, "#/run", script=script)

    said = page.text("#view-run")
    for words in ("FireX ID\tFireX-li-261123-101503-17", "state\tfailed", "took\t1 min 30 s", "workers\t4", '{"board":2}',
                  "soft time limit\t1 min 30 s", "directory\t/home/li", "services.py\t0123abcd", "3.12.1", "firexlite\t0.1.0",
                  "it's <Li>", "9,000 characters", "70,000 characters, of which these are the first 65,536",
                  "1\t71\there", "30.0 s\tkilled", "2\t72\tthere", "50.0 s\tby itself",
                  "3 values that looked like secrets", "FireX-li-261122-1-1, 2 hours before",
                  "firexlite resume FireX-li-261123-101503-17", "firexlite logs FireX-li-261123-101503-17",
                  "firexlite flame FireX-li-261123-101503-17 --json"):
        assert words in said
    [command] = [line for line in page.each("#view-run code") if " submit " in line]
    assert shlex.split(command) == ["firexlite", *given["run"]["argv"][1:]]
    assert page.count("#view-run button:not([hidden])") == (5 if script else 0)


def test_data_that_are_not_whole_are_not_offered(opened):
    page = opened(model(task(1), truncated={"values": 2}), "#/run")

    assert page.count("#view-run button:not(.copy)") == 0
    assert "values\t2" in page.text("#view-run")
    assert "This file does not hold everything" in page.text("#view-run")


def test_the_end_of_a_log_is_not_given_for_the_whole(opened):
    page = opened(model(task(1, log=log("end", truncated=True, bytes_before=9))), "#/run")

    page.click("#download")

    page.wait_for("document.querySelector('#view-run').innerText.includes('This file does not hold everything')")


def test_what_details_leave_out_is_listed_in_the_order_of_the_data():
    assert list(NOTHING)[:len(TASK_KEYS)] == list(TASK_KEYS)


SERVICES = """
from firexlite import app, flame

@app.task(bind=True, returns="text", max_retries=2, autoretry_for=(ConnectionError,), default_retry_delay=0)
@flame("text", lambda text: f"<b>{text}</b> <i onclick=x>and more</i>")
def flaky(self, given, factor=0.5):
    print("given", given)
    if self.request.retries == 0:
        raise ConnectionError("not at first")
    return f"{given} \\u2028 {factor}"

@app.task
def nothing(text): pass

@app.task(returns=("big", "small"))
def odd():
    return 2 ** 70, float("-inf")

@app.task
def fails(given):
    print("\\x1b[31mabout to fail\\x1b[0m")
    raise ValueError({"given": given})

@app.task(bind=True)
def top(self):
    self.enqueue_child(flaky.s(given="a \\"quoted\\" <word>") | nothing.s())
    self.enqueue_child(odd.s())
    self.enqueue_child(fails.s(given=[1, 2.5, None, {}]))
    self.wait_for_children()
"""


def test_the_data_to_take_along_are_those_of_the_command(firexlite, plugin, browser, tmp_path):
    plugin(SERVICES)
    done = firexlite("submit", "--plugins", "services.py", "--chain", "top")
    assert done.code == 1, done.err
    expected = firexlite.flame(done.firex_id)
    assert len(expected["tasks"]) == 5 and {one["state"] for one in expected["tasks"]} == {"succeeded", "failed"}
    assert any(len(one["attempts"]) > 1 for one in expected["tasks"]) and any(one["flame_data"] for one in expected["tasks"])
    page_file = firexlite.folder / "out.html"
    page_file.write_text(firexlite("flame", done.firex_id).out)
    downloads = tmp_path / "downloads"
    downloads.mkdir()

    page = browser.open(page_file, fragment="#/run")
    browser.call("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)})
    page.click("#download")
    file = downloads / f"{done.firex_id}.json"
    wait_until(file.exists, what="downloaded file")

    found = json.loads(Path(file).read_text())
    for one in (found, expected):
        one["generated_at"] = None
    assert found == expected
    assert list(found["tasks"][0]) == list(expected["tasks"][0])
    assert page.errors == []
    page.close()


def test_hostile_texts_stay_texts_in_every_view(opened):
    given = hostile_run()
    page = opened(given, "#/table?rows=tasks")

    for view in ("table?rows=tasks", "table", "logs", "run"):
        page.evaluate(f"location.hash = '#/{view}'")
        page.wait_for(f"!document.querySelector('#view-{view.partition('?')[0]}').hidden")
        page.evaluate(FRAMES)
    assert page.evaluate("window.PWN") is None
    assert page.count("img, svg, iframe, object, embed, video, base, form, math, link") == 0
