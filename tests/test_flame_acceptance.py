"""The thirty things by which the report of a run is judged, and the test that holds each: `HELD_BY`.

Those that the tests of one part of the report hold are named there; the others are here, most of them on real runs. What
needs 100,000 tasks is in `large/`, for `./dev large`. Formats that are not written (CSV, Mermaid, DOT, OTLP) are not judged.
"""
from __future__ import annotations

import ast
import random
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from browser import Browser, Page
from conftest import NOTE, ROOT, Command, kill_all, states, wait_until
from reading_order import in_reading_order
from test_flame_page import START, failing_run, many, model, task

from firexlite.flame_export import render_html

HERE = Path(__file__).parent
OWN = "test_flame_acceptance.py"
LARGE = "large/test_large_report.py"
HELD_BY: dict[int, tuple[str, ...]] = {
    # A page is a file that needs nothing else, and is there at once.
    1: (f"{OWN}::test_a_page_asks_for_nothing_and_complains_of_nothing",),
    2: (f"{OWN}::test_a_page_asks_for_nothing_and_complains_of_nothing",),
    3: (f"{OWN}::test_a_thousand_tasks_are_a_small_file", f"{LARGE}::test_the_page_is_ready_soon"),
    4: (f"{LARGE}::test_the_file_is_small", f"{LARGE}::test_the_page_is_ready_soon",
        f"{LARGE}::test_the_page_needs_little_memory"),
    5: (f"{LARGE}::test_every_view_has_few_elements", f"{LARGE}::test_scrolling_and_zooming_are_smooth"),
    6: (f"{OWN}::test_what_is_painted_first_tells_which_run_and_how_it_ended", f"{LARGE}::test_the_page_is_ready_soon"),
    # What is drawn is what was journaled.
    7: (f"{OWN}::test_the_tree_is_that_of_the_journal", f"{LARGE}::test_the_tree_is_that_of_the_journal"),
    8: (f"{OWN}::test_bars_lie_where_their_times_are_at_every_zoom",),
    9: (f"{OWN}::test_where_the_time_of_each_task_went_sums_to_all_of_it",),
    10: ("test_flame_critical.py::test_the_path_is_the_chain_of_moments_that_led_to_the_last_end",
         "test_flame_critical.py::test_the_path_of_a_real_run_is_the_same_and_its_tasks_are_underlined"),
    11: (f"{OWN}::test_a_task_that_was_tried_again_has_a_bar_for_each_attempt_and_each_pause",),
    12: (f"{OWN}::test_a_run_that_was_killed_and_resumed_shows_when_and_what_was_run_again",),
    13: (f"{OWN}::test_an_unfinished_run_is_a_snapshot_that_stands_still", f"{OWN}::test_the_report_of_the_ended_run_is_none"),
    14: ("test_flame_page.py::test_the_failure_panel_names_the_root_cause_first",
         "test_flame_overview.py::test_failures_are_told_by_kind_the_first_in_time_before_the_others",
         "test_flame_page.py::test_failures_alike_are_told_once",
         f"{OWN}::test_what_failed_because_of_another_task_is_striped_and_leads_to_it"),
    15: ("test_flame_collapse.py::test_what_collapses",
         "test_flame_graph_view.py::test_what_a_service_wants_collapsed_is_a_stack_that_opens"),
    16: (f"{OWN}::test_only_failed_of_ten_thousand_leaves_the_failures_and_their_callers",),
    # One finds one's way.
    17: (f"{OWN}::test_a_search_finds_tasks_by_all_that_is_known_of_them", f"{OWN}::test_hits_are_walked_and_counted",
         "test_flame_page.py::test_a_hit_inside_a_folded_task_unfolds_it"),
    18: (f"{OWN}::test_an_address_opens_a_task_that_is_far_down_and_back_returns_to_it",),
    19: (f"{OWN}::test_an_address_by_uuid_opens_a_task_or_says_that_there_is_none",),
    # Nothing in a run can do harm.
    20: ("test_flame_hostile.py::test_every_task_shows_its_texts_as_they_are",
         "test_flame_hostile.py::test_no_view_makes_anything_of_a_text",
         "test_flame_hostile.py::test_without_script_they_are_texts_too"),
    21: ("test_flame_page.py::test_the_page_itself_cannot_write_markup_or_run_strings",),
    22: (f"{OWN}::test_a_page_can_neither_reach_out_nor_run_what_was_not_in_the_file",
         f"{OWN}::test_a_script_that_was_not_in_the_file_does_not_run_in_the_page"),
    23: (f"{OWN}::test_values_that_json_has_no_words_for_are_shown",
         f"{OWN}::test_what_a_model_may_not_hold_is_shown_with_a_mark"),
    24: ("test_flame_secrets.py::test_no_report_shows_a_planted_secret_and_all_show_the_rest",),
    # Whoever reads it, and however.
    25: ("test_flame_access.py::test_tab_goes_through_all_of_every_view_and_one_always_sees_where_one_is",
         "test_flame_access.py::test_arrows_and_digits_reach_every_view",
         "test_flame_access.py::test_enter_goes_into_a_task_and_escape_comes_back",
         "test_flame_access.py::test_the_tree_folds_by_keys_and_says_so"),
    26: ("test_flame_access.py::test_a_checker_of_pages_finds_nothing_serious",
         "test_flame_access.py::test_every_text_stands_out_from_what_is_behind_it"),
    27: ("test_flame_access.py::test_who_wants_no_motion_gets_none",
         "test_flame_access.py::test_in_forced_colours_states_and_choices_are_still_to_be_told"),
    28: ("test_flame_failing.py::test_the_first_screen_tells_why_the_run_failed",
         "test_flame_page.py::test_without_script_the_summary_is_there",
         "test_flame_access.py::test_on_paper_failures_are_told_and_nothing_is_cut_off"),
    # Whatever else reads it.
    29: ("test_flame_export.py::test_two_exports_of_a_run_at_one_moment_have_the_same_bytes",
         "test_flame_page.py::test_a_file_that_ends_in_the_middle_says_so"),
    30: ("test_flame_dump.py::test_the_page_of_firex_draws_every_task_in_the_colour_of_its_state",
         "test_flame_dump.py::test_its_time_chart_has_a_row_for_each_task_and_a_bar_for_each_of_its_states",
         "test_flame_trace.py::test_no_bars_cross_whatever_the_run",
         "test_flame_junit.py::test_a_failed_run_shows_its_root_causes",
         "test_flame_tables.py::test_the_data_to_take_along_are_those_of_the_command"),
}
VIEWS = ("overview", "tree", "graph", "failures", "table", "logs", "run")
FRAMES = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


def test_each_of_the_thirty_is_held_by_tests_that_exist():
    assert list(HELD_BY) == list(range(1, 31)) and all(HELD_BY.values())

    for name, test in (held.split("::") for all_of_one in HELD_BY.values() for held in all_of_one):
        functions = {node.name for node in ast.parse((HERE / name).read_text()).body if isinstance(node, ast.FunctionDef)}
        assert test in functions, f"{name} has no {test}"


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """A maker of pages, of a model or of a file: ``opened(model, fragment="#/tree")``; no page may complain."""
    pages = []

    def open_page(given: dict | Path, **how: object) -> Page:
        path = given
        if isinstance(given, dict):
            path = tmp_path / f"flame-{len(pages)}.html"
            path.write_text(render_html(given), encoding="ascii")
        pages.append(browser.open(path, **{"fragment": "#/tree", **how}))
        return pages[-1]

    yield open_page
    for page in pages:
        page.evaluate("0")  # so that what it had to say has arrived
        assert page.errors == []
        page.close()


# --- runs ------------------------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Report:
    """A report as a page and as data, of one state of a run."""

    page: Path
    data: dict

    def task(self, name: str) -> dict:
        return next(task for task in self.data["tasks"] if task["name"] == name)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    folder = tmp_path_factory.mktemp("accepted")
    (folder / "work").mkdir()
    command = Command(folder / "home", folder / "work")
    yield command
    command.close()


def report_of(home: Command, firex_id: str, name: str) -> Report:
    assert home("flame", firex_id, "-o", f"{name}.html").code == 0
    return Report(home.folder / f"{name}.html", home.flame(firex_id))


@pytest.fixture(scope="module")
def sized(home: Command) -> Callable[[int], Report]:
    """The report of a run of so many tasks: nested callers, chains, retries, failures, logs."""
    made: dict[int, Report] = {}

    def make(tasks: int) -> Report:
        if tasks not in made:
            done = home("submit", "--plugins", ROOT / "benchmarks/reports.py", "--chain", "qualify", "--tasks", tasks)
            assert done.code == 0, done.err
            made[tasks] = report_of(home, done.firex_id, f"of-{tasks}")
        return made[tasks]

    return make


LIVES = NOTE + """
@app.task(bind=True, returns="word", max_retries=2, default_retry_delay=0.2, autoretry_for=OSError)
def flaky(self, word):
    time.sleep(0.05)
    if self.request.retries < 2:
        raise OSError("busy")
    return word

@app.task
def quick(word):
    open("flaky is over", "w").close()

@app.task
def busy():
    wait_for_file("flaky is over")  # a time in which nothing runs would be folded in the page

@app.task(bind=True)
def dozes(self):
    self.sleep(0.3)

@app.task(bind=True)
def sleeps(self):
    self.sleep(2.2)  # for so long it keeps no process

@app.task(bind=True)
def suite(self):
    for child in (busy.s(), flaky.s(word="hawk") | quick.s(), dozes.s(), sleeps.s()):
        self.enqueue_child(child)
    self.wait_for_children()

@app.task
def held():
    wait_for_file("go")

@app.task(bind=True)
def outer(self):
    self.enqueue_child(held.s(), block=True)

@app.task
def last(): pass
"""


@pytest.fixture(scope="module")
def lives(home: Command) -> dict[str, Report]:
    """A run while it goes on, when all its processes have been killed, and when it has been resumed."""
    (home.folder / "services.py").write_text(LIVES)
    known = {run.firex_id for run in home.runs()}
    submit = home.start("submit", "--plugins", "services.py", "--chain", "suite,outer,last", "--workers", "3")
    [run] = wait_until(lambda: [one for one in home.runs() if one.firex_id not in known], what="run")
    wait_until(lambda: states(run) == {"succeeded": 6, "blocked": 1, "running": 1, "waiting": 1}, what="held task")
    reports = {"live": report_of(home, run.firex_id, "live")}
    kill_all(submit)
    reports["dead"] = report_of(home, run.firex_id, "dead")
    (home.folder / "go").touch()
    assert home("resume", run.firex_id).code == 0
    return {**reports, "whole": report_of(home, run.firex_id, "whole")}


# --- 1-3, 6: a file that needs nothing else --------------------------------------------------------------------------------

@pytest.mark.parametrize("is_offline", [False, True], ids=["online", "offline"])
def test_a_page_asks_for_nothing_and_complains_of_nothing(browser, sized, is_offline):
    report = sized(10)
    page = browser.new_page(1400, 900)
    page.call("Network.emulateNetworkConditions", offline=is_offline, latency=0, downloadThroughput=-1, uploadThroughput=-1)
    page.call("Page.navigate", url=f"{report.page.as_uri()}#/overview")
    page.wait_for("document.documentElement.dataset.readyMs")
    assert page.evaluate("navigator.onLine") is not is_offline

    for view in VIEWS:
        page.evaluate(f"location.hash = '#/{view}'")
        page.wait_for(f"!document.querySelector('#view-{view}').hidden")
        page.evaluate(FRAMES)
    page.evaluate("location.hash = '#/tree?task=3'")
    page.wait_for("document.querySelector('#drawer').textContent.includes('Arguments')")

    assert page.count("#tree .row") == 10
    assert page.errors == []
    assert {request.partition("#")[0] for request in page.requests} == {report.page.as_uri()}
    page.close()


def test_a_thousand_tasks_are_a_small_file(sized):
    report = sized(1000)

    assert len(report.data["tasks"]) == 1000
    assert report.page.stat().st_size <= 400_000


def test_what_is_painted_first_tells_which_run_and_how_it_ended(opened, sized):
    report = sized(10)
    text = report.page.read_text()
    header = text[text.index('<header class="run"'):text.index("</header>")]

    shown = opened(report.page, script=False).text("header.run")  # so it is before any script has run

    assert report.data["run"]["firex_id"] in shown and report.data["run"]["state"] in shown
    assert text.index(header) < text.index("<script")


# --- 7: the tree -----------------------------------------------------------------------------------------------------------

def test_the_tree_is_that_of_the_journal(opened, sized, lives):
    for report in (sized(1000), lives["whole"]):
        page = opened(report.page, height=30_000)

        expected = [(task["num"], depth, task["name"]) for task, depth in in_reading_order(report.data["tasks"])]
        rows = zip(page.each(".row .num"), page.each(".row", "ariaLevel"), page.each(".row .name"), strict=True)
        assert [(int(num), int(level) - 1, name) for num, level, name in rows] == expected
        header = page.text("header.run").replace("\u00a0", " ")
        assert all(f"{count:,} {state}" in header for state, count in report.data["run"]["counts"].items())
        assert sum(report.data["run"]["counts"].values()) == len(expected)


# --- 8, 9, 11: time --------------------------------------------------------------------------------------------------------

BARS = """Array.from(document.querySelectorAll(".row"), (row) => {
  const { left, width } = row.querySelector(".bars").getBoundingClientRect();
  const boxes = Array.from(row.querySelectorAll(".bars i"), (bar) => [bar.className, bar.getBoundingClientRect()]);
  return [Number(row.querySelector(".num").textContent), width, boxes.map(([name, box]) => [name, box.left - left, box.width])];
})"""
LEAST_PX = 2  # a bar is not drawn narrower, so that it is seen


@pytest.mark.parametrize("shown", [(0, 90), (20, 45), (31.5, 32.75)], ids=["all", "a quarter", "a second"])
def test_bars_lie_where_their_times_are_at_every_zoom(opened, shown):
    chance = random.Random(8)
    spans = {1: (0.0, 90.0)}  # someone is always at work: where nothing runs for long, time is folded
    for num in range(2, 31):
        began = chance.uniform(0, 80)
        spans[num] = began, began + chance.uniform(0.01, 10)
    page = opened(model(*(task(num, started=START + began, runtime=ended - began, states=[
        ["ready", START + began], ["running", START + began], ["succeeded", START + ended]], attempts=[
        {"n": 1, "started": START + began, "ended": START + ended, "state": "succeeded"}])
        for num, (began, ended) in spans.items())), fragment=f"#/tree?t={shown[0]}-{shown[1]}")

    from_s, to_s = shown
    seen = 0
    for num, width, bars in page.evaluate(BARS):
        began, ended = (min(to_s, max(from_s, at)) for at in spans[num])
        if spans[num][1] < from_s or spans[num][0] > to_s:
            assert bars == []
            continue
        seen += 1
        [(_, left_px, width_px)] = bars
        assert left_px == pytest.approx((began - from_s) / (to_s - from_s) * width, abs=1)
        assert width_px == pytest.approx(max(LEAST_PX, (ended - began) / (to_s - from_s) * width), abs=1)
    assert seen > 2


PARTS = ("queue", "self", "child_wait", "backoff", "asleep", "down")


@pytest.mark.parametrize("when", ["live", "dead", "whole"])
def test_where_the_time_of_each_task_went_sums_to_all_of_it(lives, when):
    report = lives[when]

    for one in report.data["tasks"]:
        is_over = one["state"] == "succeeded"
        ends = one["states"][-1][1] if is_over else report.data["generated_at"]
        wall = ends - one["states"][0][1] if one["states"] else 0
        assert sum(one[part] for part in PARTS) == pytest.approx(wall, abs=0.001), one["name"]
        assert min(one[part] for part in PARTS) >= 0


def test_every_kind_of_time_is_told_of_the_task_that_spent_it(lives):
    whole = lives["whole"]

    assert whole.task("flaky")["backoff"] == pytest.approx(0.4, abs=0.3) and whole.task("flaky")["self"] >= 0.15
    assert whole.task("dozes")["asleep"] >= 0.2 and whole.task("sleeps")["asleep"] >= 2
    assert whole.task("suite")["child_wait"] >= 2 and whole.task("suite")["down"] == 0
    fell, rose = (whole.data["run"]["incarnations"][n][name] for n, name in ((0, "ended"), (1, "started")))
    for name in ("held", "outer"):
        assert whole.task(name)["down"] == pytest.approx(rose - fell, abs=0.001)


def test_a_sleep_is_drawn_as_one_however_short(opened, lives):
    report, zero = lives["whole"], lives["whole"].data["run"]["started"]
    fell = report.data["run"]["incarnations"][0]["ended"]
    page = opened(report.page)

    for name, kind in (("dozes", "asleep"), ("sleeps", "asleep"), ("suite", "waited"), ("outer", "waited")):
        task = report.task(name)
        begins, ends = next((since, until) for (state, since), (_, until) in pairwise(task["states"]) if state == "blocked")
        if begins < fell:
            ends = min(ends, fell)  # how long the run then lay dead is no part of the wait
        # Near enough to see it, however short.
        page.evaluate(f"location.hash = '#/tree?t={begins - zero:.6f}-{ends - zero:.6f}'")
        page.wait_for(f"""{BARS}.some(([num, , bars]) =>
            num === {task["num"]} && bars.some(([name]) => name.startsWith("{kind}")))""")
        [bars] = [bars for num, _, bars in page.evaluate(BARS) if num == task["num"]]
        assert {name.split()[0] for name, _, _ in bars} & {"asleep", "waited"} == {kind}


def test_a_task_that_was_tried_again_has_a_bar_for_each_attempt_and_each_pause(opened, lives):
    report = lives["whole"]
    flaky, zero = report.task("flaky"), report.data["run"]["started"]
    page = opened(report.page, fragment=f"#/tree?t={flaky['started'] - zero}-{flaky['started'] + flaky['runtime'] - zero}")

    [(width, bars)] = [(width, bars) for num, width, bars in page.evaluate(BARS) if num == flaky["num"]]

    tried = [bar for bar in bars if bar[0].startswith("ran ")]
    paused = [bar for bar in bars if bar[0].startswith("backoff ")]
    assert [name for name, _, _ in tried] == ["ran retried", "ran retried", "ran succeeded"]
    assert len(flaky["attempts"]) == 3 and len(paused) == 2
    for (_, left_px, width_px), attempt in zip(tried, flaky["attempts"], strict=True):
        assert left_px == pytest.approx((attempt["started"] - flaky["started"]) / flaky["runtime"] * width, abs=2)
        assert width_px == pytest.approx((attempt["ended"] - attempt["started"]) / flaky["runtime"] * width, abs=2)
    assert sum(width_px for _, _, width_px in paused) == pytest.approx(flaky["backoff"] / flaky["runtime"] * width, abs=4)


# --- 12, 13: a run that was killed -----------------------------------------------------------------------------------------

def test_a_run_that_was_killed_and_resumed_shows_when_and_what_was_run_again(opened, lives):
    report = lives["whole"]
    page = opened(report.page)

    assert [life["end"] for life in report.data["run"]["incarnations"]] == ["crash", "clean"]
    assert "2, 1 crashed" in page.text("header.run")
    assert page.count("#grid .down.crash") == page.count("#grid .down") == 1
    assert page.each("#grid .down", "title")[0].startswith("killed; incarnation 2 came")
    labels = page.each(".row", "ariaLabel")
    assert {label.split()[1].rstrip(",") for label in labels if "run again after a crash" in label} == {"held", "outer"}
    assert [one["name"] for one in report.data["tasks"] if one["replayed_in"]] == ["outer", "held"]
    band, axis, lost = page.evaluate("""["#grid .down", "#ticks", ".row .lost"].map((one) => {
      const { left, right } = document.querySelector(one).getBoundingClientRect();
      return [left, right];
    })""")
    assert axis[0] < lost[0] < lost[1] <= band[0] + LEAST_PX < band[1] < axis[1]


@pytest.mark.parametrize("when, state", [("live", "running"), ("dead", "interrupted")])
def test_an_unfinished_run_is_a_snapshot_that_stands_still(opened, lives, when, state):
    page = opened(lives[when].page)
    assert re.search(r"Snapshot of .*: the run has not finished\.", page.text("header.run"))
    assert page.evaluate("document.title").startswith(state)
    before = page.text()

    page.call("Emulation.setVirtualTimePolicy", policy="advance", budget=60_000)
    page.wait_for("performance.now() > 60_000")

    assert page.text() == before


def test_the_report_of_the_ended_run_is_none(opened, lives):
    page = opened(lives["whole"].page)

    assert "Snapshot" not in page.text()
    assert page.evaluate("document.title").startswith("succeeded")


# --- 14, 16: failures ------------------------------------------------------------------------------------------------------

def test_what_failed_because_of_another_task_is_striped_and_leads_to_it(opened):
    page = opened(failing_run(), fragment="#/tree?task=1")
    drawn = {name: (look, colour) for name, look, colour in page.evaluate("""
      Array.from(document.querySelectorAll(".row:has(.bars .ran)"), (row) => {
        const style = getComputedStyle(row.querySelector(".bars .ran"));
        return [row.querySelector(".name").textContent, style.backgroundImage.split("(")[0], style.backgroundColor];
      })""")}

    assert {name: look for name, (look, _) in drawn.items()} == {
        "nightly": "repeating-linear-gradient", "suite": "repeating-linear-gradient", "login": "none", "checkout": "none"}
    assert drawn["checkout"][1] != drawn["login"][1]

    page.wait_for("document.querySelector('#drawer').textContent.includes('because of')")
    page.click("#drawer a[href='#task=4']")
    page.wait_for("document.querySelector('#drawer h2').textContent.startsWith('#4 ')")
    assert "because of" not in page.text("#drawer") and "KeyError('cents')" in page.text("#drawer")


def test_only_failed_of_ten_thousand_leaves_the_failures_and_their_callers(opened):
    run = many(10_000)
    failed = (77, 5_432, 9_999)
    for num in failed:
        run["tasks"][num - 1].update(state="failed", exception="OSError()")
    expected = set(failed)
    for num in failed:
        while num := num // 10:
            expected.add(num)
    page = opened(run)

    page.press("x")

    page.wait_for(f"document.querySelectorAll('.row').length === {len(expected)}")
    assert {int(num) for num in page.each(".row .num")} == expected


# --- 17-19: finding one's way ----------------------------------------------------------------------------------------------

def found_by(page: Page, query: str) -> list[int]:
    """The tasks that are marked, once all has been looked through."""
    page.evaluate("byId('search').focus()")
    page.evaluate("byId('search').select()")
    page.type(query)
    page.evaluate(FRAMES)
    return [int(num) for num in page.each(".row.hit .num")]


def of_length(seconds: float) -> dict:
    """Fields of a task that took so long."""
    began, ended = START + 1, START + 1 + seconds
    return {"started": began, "runtime": seconds, "states": [["ready", START], ["running", began], ["succeeded", ended]],
            "attempts": [{"n": 1, "incarnation": 1, "started": began, "ended": ended, "state": "succeeded", "exc": None}]}


@pytest.fixture
def several(opened: Callable[..., Page]) -> Page:
    """A caller and nine tasks; each is alone with something."""
    others = [
        task(2, "login"), task(3, "checkout", state="failed", exception="KeyError('cents')"), task(4, host="board-7"),
        task(5, **of_length(7)), task(6, args={"image": "Kernel-6.1"}),
        task(7, log={"lines": ["booting", "panic: no root device"], "total": 2, "truncated": False}),
        task(8, result={"slot": "north-west"}), task(9, traceback="Traceback\n  File \"wide.py\", line 3, in reach\n"),
        task(10, "login", **of_length(6))]
    return opened(model(task(1, "nightly"), *({**one, "parent": 1, "enqueued_by": 1} for one in others)))


@pytest.mark.parametrize("query, nums", [
    ("name:check", [3]), ("name:LOGIN", [2, 10]), ("state:failed", [3]), ("host:board", [4]), (">5s", [5, 10]),
    ("<6.5s >5s", [10]), ("name:login >5s", [10]), ("#4", [4]), ("checkout", [3]), ("kernel-6", [6]),
    ('"no root device"', [7]), ("north-west", [8]), ("wide.py", [9]), ("nowhere-to-be-found", []),
])
def test_a_search_finds_tasks_by_all_that_is_known_of_them(several, query, nums):
    found_by(several, query)

    several.wait_for(f"document.querySelectorAll('.row.hit').length === {len(nums)}")
    assert [int(num) for num in several.each(".row.hit .num")] == nums
    assert several.text("#hits") == (str(len(nums)) if nums else "none")


def test_hits_are_walked_and_counted(several):
    several.click("#collapse")
    found_by(several, "panic:")
    several.wait_for("byId('hits').textContent === '1'")
    assert several.count(".row") == 1

    several.press("Enter")

    assert several.text("#hits") == "1 of 1"
    assert several.each(".row[aria-selected=true] .num") == ["7"]
    found_by(several, "name:login")
    walked = []
    for _ in range(3):
        several.press("Enter")
        walked.append((several.text("#hits"), *several.each(".row[aria-selected=true] .num")))
    assert walked == [("2 of 2", "10"), ("1 of 2", "2"), ("2 of 2", "10")]


IN_VIEW = """(() => {
  const row = document.querySelector(".row[aria-selected=true]")?.getBoundingClientRect();
  return Boolean(row) && row.top >= byId("bar").getBoundingClientRect().bottom && row.bottom <= innerHeight;
})()"""


def test_an_address_opens_a_task_that_is_far_down_and_back_returns_to_it(opened):
    page = opened(many(900), fragment="#/tree?task=842")
    assert page.text("#drawer h2").startswith("#842 ")
    assert page.each(".row[aria-selected=true] .num") == ["842"] and page.evaluate("scrollY") > 0
    assert page.evaluate(IN_VIEW)

    page.click("#drawer a[href='#task=84']")
    page.wait_for("document.querySelector('#drawer h2').textContent.startsWith('#84 ')")
    page.evaluate("history.back()")

    page.wait_for("document.querySelector('#drawer h2').textContent.startsWith('#842 ')")
    assert page.evaluate("location.hash") == "#/tree?task=842"
    assert page.each(".row[aria-selected=true] .num") == ["842"] and page.evaluate(IN_VIEW)


def test_an_address_by_uuid_opens_a_task_or_says_that_there_is_none(opened, sized):
    report = sized(1000)
    wanted = report.data["tasks"][700]

    page = opened(report.page, fragment=f"#/tree?task={wanted['uuid']}")
    page.wait_for(f"document.querySelector('#drawer h2')?.textContent === '#{wanted['num']} {wanted['name']}'")
    assert wanted["uuid"] in page.text("#drawer") and page.evaluate(IN_VIEW)

    page.evaluate("location.hash = '#/tree?task=01234567-89ab-cdef-0123-456789abcdef'")
    page.wait_for("document.querySelector('#drawer').textContent.includes('There is no task')")
    assert "01234567-89ab-cdef-0123-456789abcdef" in page.text("#drawer")


# --- 22, 23: no harm, no loss ----------------------------------------------------------------------------------------------

@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """A place on this machine that a page could reach."""
    with socket.create_server(("127.0.0.1", 0)) as place:
        place.setblocking(False)
        yield place


@pytest.mark.parametrize("attempt", [
    "fetch('http://PLACE/')",
    "new Promise((done, fail) => { Object.assign(new Image(), { onload: done, onerror: fail, src: 'http://PLACE/a.png' }); })",
    "new Promise((done, fail) => { Object.assign(new WebSocket('ws://PLACE/'), { onopen: done, onerror: fail }); })",
    "new Promise((done, fail) => { const made = document.createElement('link'); made.onload = done; made.onerror = fail;"
    " made.rel = 'stylesheet'; made.href = 'http://PLACE/a.css'; document.head.append(made); })",
    "eval('window.PWN = 1')",
    "new Function('window.PWN = 1')()",
    "setTimeout('window.PWN = 1')",
    "Object.assign(document.createElement('script'), { text: 'window.PWN = 1' })",
    "Object.assign(document.createElement('script'), { src: 'data:text/javascript,window.PWN=1' })",
    "new Worker(URL.createObjectURL(new Blob(['postMessage(1)'])))",
    "document.body.setAttribute('onclick', 'window.PWN = 1')",
    "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=window.PWN=1>')",
])
def test_a_page_can_neither_reach_out_nor_run_what_was_not_in_the_file(browser, tmp_path, listening, attempt):
    path = tmp_path / "flame.html"
    path.write_text(render_html(failing_run()))
    page = browser.open(path)

    # Where the tools of a developer run a text, they may do what the page itself may not, unless told otherwise.
    refused = page.call("Runtime.evaluate", expression=attempt.replace("PLACE", f"127.0.0.1:{listening.getsockname()[1]}"),
                        awaitPromise=True, allowUnsafeEvalBlockedByCSP=False)

    assert "exceptionDetails" in refused
    with pytest.raises(BlockingIOError):
        listening.accept()
    assert page.evaluate("window.PWN") is None
    page.close()


def test_a_script_that_was_not_in_the_file_does_not_run_in_the_page(browser, tmp_path):
    path = tmp_path / "flame.html"
    path.write_text(render_html(failing_run()))
    page = browser.open(path)

    page.evaluate("""(() => {
      document.addEventListener("securitypolicyviolation", ({ violatedDirective }) => { window.violated = violatedDirective; });
      const made = document.createElement("script");
      made.append("window.PWN = 1");
      document.body.append(made);
    })()""")

    assert page.wait_for("window.violated") in ("require-trusted-types-for", "script-src-elem")
    assert page.evaluate("window.PWN") is None
    page.close()


ODD = """
from firexlite import app

@app.task(returns=("nan", "high", "low", "large", "raw", "text"))
def odd(long):
    return (float("nan"), float("inf"), -float("inf"), 2 ** 63, b"\\xff\\x00ab",
            "\\ud800 alone \\x00 \\x1b[2J \\u202e turned \\u2066")

@app.task(returns="long")
def long():
    return "begun " + "x" * 10_485_760 + " ended"
"""
TEXTS = "\ufffd alone \\u0000 \\u001b[2J \\u202e turned \\u2066"  # the first is how half a pair is written


def drawer(page: Page) -> str:
    page.wait_for("document.querySelector('#drawer').textContent.includes('long name')")
    page.evaluate("document.querySelectorAll('#drawer button.more').forEach((button) => button.click())")
    return page.evaluate("document.querySelector('#drawer').textContent.toWellFormed()")


def test_values_that_json_has_no_words_for_are_shown(opened, home):
    (home.folder / "odd.py").write_text(ODD)
    done = home("submit", "--plugins", "odd.py", "--chain", "long,odd")
    assert done.code == 0, done.err
    report = report_of(home, done.firex_id, "odd")

    shown = drawer(opened(report.page, fragment="#/tree?task=2"))

    for words in ("nannan", "highinf", "low-inf", f"large{2 ** 63}", r"rawb'\xff\x00ab'", f"text{TEXTS}"):
        assert words in shown
    assert len(report.data["tasks"][0]["result"]["long"]) == 10_485_772  # data are never cut
    assert "of 10,485,772 characters left out" in shown and "begun xxx" in shown and "xxx ended" in shown
    assert report.page.stat().st_size < 1_000_000


def test_what_a_model_may_not_hold_is_shown_with_a_mark(opened):
    circle: dict = {"name": "round"}
    circle["self"] = circle
    deep: list = []
    for _ in range(200):
        deep = [deep]
    values = {"nan": float("nan"), "low": -float("inf"), "large": 2 ** 63, "raw": b"\xff\x00ab", "circle": circle, "deep": deep,
              "text": "\ud800 alone \x00 \x1b[2J \u202e turned \u2066"}

    shown = drawer(opened(model(task(1, args=values)), fragment="#/tree?task=1"))

    for words in ("nanNaN", "low-Infinity", f"large{2 ** 63}", "raw4 bytes, base64 /wBhYg==", "a circle", "deeper than 100",
                  f"text{TEXTS}"):
        assert words in shown
