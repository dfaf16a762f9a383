"""What the HTML report shows, and what it refuses to run: seen through a real browser, from a `file://` page."""
from __future__ import annotations

import base64
import hashlib
import json
import re
from importlib.resources import files
from pathlib import Path

import pytest
from browser import Browser, ScriptFailed

from firexlite.flame_columns import OUTCOMES, RAN, Columns
from firexlite.flame_export import render_html, render_json
from firexlite.flame_markup import safe_tree
from firexlite.flame_page import SCRIPTS

START = 1_795_500_000.0


# --- models ----------------------------------------------------------------------------------------------

def task(num: int, name: str = "greet", **fields: object) -> dict:
    started, state = START + num, fields.get("state", "succeeded")
    return {
        "num": num, "uuid": f"uuid-{num}", "parent": None, "enqueued_by": None,
        "name": name, "long_name": f"services.{name}", "state": state, "chain_depth": 0, "plugin": False,
        "host": "here", "started": started, "runtime": 0.5,
        "states": [["ready", started - 0.1], ["running", started], [state, started + 0.5]],
        "attempts": [
            {"n": 1, "incarnation": 1, "started": started, "ended": started + 0.5, "state": state, "exc": None}],
        "args": {"name": "Li"}, "defaults": {"loud": False}, "result": {"greeting": "Hello Li"},
        "exception": None, "traceback": None, "cause": None, "error_context": None,
        "flame_data": {}, "aside": False, "log": None, **fields}


def model(*tasks: dict, **run: object) -> dict:
    return {
        "schema": "firexlite.flame/1", "generated_at": START + 100, "firexlite": "0.1.0", "tasks": list(tasks),
        "run": {"id": "r1", "firex_id": "FireX-li-261123-101503-17", "chain": "greet,amplify", "state": "succeeded",
                "started": START, "ended": START + 90, "host": "here", "user": "li", "snapshot": False,
                "resume": None, **run}}


def index_of(given: dict) -> dict:
    """The columns of a model; times in tenths of a millisecond."""
    columns = Columns(given["run"], given.get("generated_at"))
    for one in given["tasks"]:
        columns.add(one)
    return columns.index([0])


def failing_run() -> dict:
    """`nightly` calls `suite`, which calls `login` and `checkout`; `checkout` fails, and `publish` is skipped."""
    traceback = ('Traceback (most recent call last):\n  File "/services/checkout.py", line 88, in total\n'
                 "    return order['cents']\nKeyError: 'cents'")
    because = {"state": "failed", "result": None, "cause": 4, "exception": "ChainInterruptedException('checkout')"}
    return model(
        task(1, "nightly", **because),
        task(2, "suite", parent=1, enqueued_by=1, **because),
        task(3, "login", parent=2, enqueued_by=2),
        task(4, "checkout", parent=2, enqueued_by=2, state="failed", result=None, args={"order": 991},
             exception="KeyError('cents')", traceback=traceback, error_context="/services/checkout.py:88 in total",
             log={"lines": ["POST /cart 201", "no cents in sight"], "total": 2, "truncated": False}),
        task(5, "publish", parent=1, chain_depth=1, state="skipped", started=None, runtime=None, states=[],
             attempts=[]),
        state="failed", resume="firexlite resume FireX-li-261123-101503-17")


def many(size: int) -> dict:
    """Every task calls ten."""
    callers = ((num, num // 10 or None) for num in range(1, size + 1))
    return model(*(task(num, f"service_{num % 40}", parent=caller, enqueued_by=caller) for num, caller in callers))


@pytest.fixture
def opened(browser, tmp_path):
    """A maker of pages: ``opened(model)``, at its tree; whatever they do, no page may complain or ask the network."""
    pages = []

    def open_page(model: dict, **how: object):
        path = tmp_path / f"flame-{len(pages)}.html"
        path.write_text(render_html(model), encoding="ascii")
        pages.append(browser.open(path, **{"fragment": "#/tree", **how}))
        return pages[-1]

    yield open_page
    for page in pages:
        page.evaluate("0")  # so that what it had to say has arrived
        assert page.errors == []
        assert [address for address in page.requests if not address.startswith("file:")] == []
        page.close()


# --- what is shown -----------------------------------------------------------------------------------------

def test_every_task_is_a_row_with_number_name_state_and_duration(opened):
    page = opened(failing_run())

    assert page.count("[role=treeitem]") == 5
    assert page.each("[role=treeitem]", "ariaLabel") == [
        "#1 nightly, failed because of #4, 500 ms", "#2 suite, failed because of #4, 500 ms",
        "#3 login, succeeded, 500 ms", "#4 checkout, failed, 500 ms", "#5 publish, skipped"]
    assert page.each("[role=treeitem]", "ariaLevel") == ["1", "2", "3", "3", "1"]


def test_the_header_says_what_ran_and_how_it_ended(opened):
    header = opened(failing_run()).text("header.run")

    for words in ("failed", "FireX-li-261123-101503-17", "greet,amplify", "1 min 30 s", "li@here",
                  "1 succeeded", "3 failed", "1 skipped", "firexlite resume FireX-li-261123-101503-17"):
        assert words in header.replace("\u00a0", " ")


def test_an_unfinished_run_is_called_a_snapshot(opened):
    page = opened(model(task(1, state="running", runtime=None), state="running", ended=None, snapshot=True))

    assert re.search(r"Snapshot of .*: the run has not finished\.", page.text("header.run"))


def test_the_failure_panel_names_the_root_cause_first(opened):
    panel = opened(failing_run()).text(".failures")

    said = [panel.index(words) for words in (
        "1 task failed, and 2 more because of it", "#4 checkout", "KeyError: 'cents'", "checkout.py:88 in total",
        "return order['cents']", "order", "991", "no cents in sight")]
    assert said == sorted(said)


def test_failures_alike_are_told_once(opened):
    page = opened(model(*(task(num, "ping", state="failed", exception="OSError()") for num in range(1, 31))))

    assert page.count(".failure") == 1
    assert "and 29 alike" in page.text(".failures")


def test_the_link_of_a_failure_opens_its_task(opened):
    page = opened(failing_run(), fragment="#/overview")

    page.click(".failure h3 a")
    page.press("2")

    page.wait_for("!document.querySelector('#drawer').hidden")
    assert "#4 checkout" in page.text("#drawer")
    assert page.each(".row[aria-selected=true]", "id") == ["row-3"]


def test_an_address_opens_its_task_with_everything_known_of_it(opened):
    drawer = opened(failing_run(), fragment="#task=4").text("#drawer")

    for words in ("#4 checkout", "KeyError('cents')", "return order['cents']", "order\t991", "loud default\tfalse",
                  "no cents in sight", "services.checkout", "#2 suite", "uuid-4"):
        assert words in drawer


def test_an_address_of_no_task_says_so(opened):
    assert "There is no task #99 in this run" in opened(failing_run(), fragment="#task=99").text("#drawer")


def test_going_back_closes_the_task(opened):
    page = opened(failing_run())
    page.click("#row-2 .name")
    page.wait_for("!document.querySelector('#drawer').hidden")

    page.evaluate("history.back()")

    page.wait_for("document.querySelector('#drawer').hidden")


def test_search_finds_names_and_numbers_and_goes_round(opened):
    page = opened(failing_run())

    page.press("/")
    page.type("name:CHECK")
    assert page.text("#hits") == "1"
    page.press("Enter")
    assert page.text("#hits") == "1 of 1"
    assert page.each(".row[aria-selected=true]", "id") == ["row-3"]

    page.evaluate("document.querySelector('#search').select()")
    page.type("#5")
    page.press("Enter")
    assert page.each(".row[aria-selected=true]", "id") == ["row-4"]


def test_a_hit_inside_a_folded_task_unfolds_it(opened):
    page = opened(failing_run())
    page.click("#collapse")
    page.press("/")
    page.type("login")

    page.press("Enter")

    assert page.count("[role=treeitem]") == 5


def test_folding_hides_what_a_task_enqueued_but_not_what_follows_it(opened):
    page = opened(failing_run())

    page.click("#row-0 .fold")
    assert page.each(".row .name") == ["nightly", "publish"]
    assert "+3 tasks, 2 failed" in page.text("#row-0")

    page.click("#expand")
    assert page.count("[role=treeitem]") == 5


def test_failed_only_leaves_the_failed_and_their_callers(opened):
    page = opened(failing_run())

    page.press("x")

    assert page.each(".row .name") == ["nightly", "suite", "checkout"]


def test_the_keyboard_walks_folds_opens_and_closes(opened):
    page = opened(failing_run())
    page.evaluate("document.querySelector('#tree').focus()")

    for key in ("ArrowDown", "ArrowDown", "ArrowLeft"):  # to login, and up to its caller
        page.press(key)
    assert page.evaluate("document.querySelector('#tree').getAttribute('aria-activedescendant')") == "row-1"
    page.press("ArrowLeft")
    assert page.evaluate("document.querySelector('#row-1').ariaExpanded") == "false"
    page.press("Enter")
    assert "#2 suite" in page.wait_for("document.querySelector('#drawer h2')?.textContent")
    page.press("Escape")
    page.wait_for("document.querySelector('#drawer').hidden")


def test_bars_lie_where_their_times_are(opened):
    busy = task(2, started=START, runtime=90, states=[], attempts=[])  # or the time in which nothing ran would be folded
    page = opened(model(task(1, started=START + 30, runtime=45, states=[], attempts=[]), busy))

    left, width = page.evaluate("""(() => {
        const [bars, bar] = [".bars", ".bars .ran"].map((one) => document.querySelector(one).getBoundingClientRect());
        return [(bar.left - bars.left) / bars.width, bar.width / bars.width];
    })()""")
    assert left == pytest.approx(30 / 90, abs=0.002)
    assert width == pytest.approx(45 / 90, abs=0.002)


def test_each_attempt_has_a_bar_of_its_own(opened):
    moves = (("ready", 0), ("running", 1), ("ready", 10), ("running", 20), ("succeeded", 40))
    states = [[state, START + seconds] for state, seconds in moves]
    attempts = [{"n": 1, "started": START + 1, "ended": START + 10, "state": "failed", "exc": "OSError()"},
                {"n": 2, "started": START + 20, "ended": START + 40, "state": "succeeded", "exc": None}]

    page = opened(model(task(1, started=START + 1, runtime=39, states=states, attempts=attempts)), fragment="#task=1")

    assert page.each(".bars i", "className") == ["queued", "ran failed", "queued", "ran succeeded"]
    assert "2 attempts" in page.text("#row-0")
    assert "OSError()" in page.text("#drawer")


def test_the_time_between_two_incarnations_is_marked(opened):
    page = opened(model(task(1), incarnations=[{"n": 1, "started": START, "ended": START + 30, "end": "crash"},
                                               {"n": 2, "started": START + 40, "ended": START + 90, "end": "clean"}]))

    assert page.count(".down") == 1
    assert "2, 1 crashed" in page.text("header.run")


def test_flame_data_is_drawn_with_its_harmless_markup(opened):
    html = "<b style='color: red; position: fixed'>14 MB</b> <a href='https://example.com/a'>artifact</a>"
    data = {"size": {"value": html, "type": "html", "order": 1}, "_default_display": {"value": [], "type": "object"}}

    page = opened(model(task(1, flame_data=data)), fragment="#task=1")

    assert page.text(".markup b") == "14 MB"
    assert page.evaluate("document.querySelector('.markup b').style.cssText") == "color: red;"
    assert page.evaluate("document.querySelector('.markup a').rel") == "noopener noreferrer"
    assert "_default_display" not in page.text("#drawer")


def test_a_page_fits_a_telephone(opened):
    page = opened(failing_run(), width=400, height=800)

    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert page.count("[role=treeitem]") == 5


def test_without_script_the_summary_is_there(opened):
    page = opened(failing_run(), script=False)

    assert "KeyError: 'cents'" in page.text()
    assert "FireX-li-261123-101503-17" in page.text()
    assert "Scripts are off here" in page.text()


def test_a_file_that_ends_in_the_middle_says_so(browser, tmp_path):
    html, path = render_html(failing_run()), tmp_path / "cut.html"
    path.write_text(html[:html.index('id="fx-d0"') + 100])

    page = browser.open(path, fragment="#task=4")

    assert "This file is not complete" in page.text("#trouble")
    page.close()


def test_ten_thousand_tasks_are_ready_soon_with_a_small_page(opened):
    page = opened(many(10_000))

    assert page.evaluate("document.querySelector('#tree').offsetHeight") == 260_000
    assert page.count("*") < 3_000
    assert int(page.evaluate("document.documentElement.dataset.readyMs")) < 5_000  # 0.3 s where it was measured
    page.press("End")
    page.evaluate("document.querySelector('#tree').focus()")
    page.press("End")
    page.press("Enter")
    assert page.wait_for("document.querySelector('#drawer h2')?.textContent.startsWith('#')")
    assert page.count("*") < 3_000


@pytest.mark.parametrize("broken", [
    {}, {"run": None, "tasks": None}, model(), model({}), model({"num": 1}, {"num": 1}),
    model({"name": None, "parent": 7, "state": "odd"}), model({"num": 1, "parent": 2}, {"num": 2, "parent": 1}),
    model({"num": 1, "parent": 1, "enqueued_by": 1, "cause": 1, "state": "failed"}),
    model(task(1, log={"lines": "one\ntwo"}, result=float("nan"), args={"big": 2 ** 60 + 1, "raw": b"\xff"})),
], ids=range(9))
def test_missing_and_odd_values_are_borne(opened, broken):
    opened(broken, fragment="#task=1")


# --- what is refused -----------------------------------------------------------------------------------------

def test_the_policy_lets_only_the_named_style_and_script_in():
    html = render_html(failing_run())
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', html)[1]
    directives = dict(one.strip().split(" ", 1) for one in policy.split(";"))
    blocks = {kind: re.findall(rf"<{kind}>(.*?)</{kind}>", html, re.S) for kind in ("style", "script")}

    assert directives["default-src"] == "'none'"
    assert directives["require-trusted-types-for"] == "'script'"
    assert html.index("Content-Security-Policy") < html.index("<title>")
    for kind, texts in blocks.items():
        hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in texts]
        assert directives[f"{kind}-src"].split() == hashes


def test_the_page_itself_cannot_write_markup_or_run_strings(browser, tmp_path):
    path = tmp_path / "flame.html"
    path.write_text(render_html(failing_run()))
    page = browser.open(path)

    for attempt in ("body.innerHTML = '<b>'", "body.insertAdjacentHTML('beforeend', '<b>')", "write('<b>')"):
        with pytest.raises(ScriptFailed, match="TrustedHTML"):
            page.evaluate(f"document.{attempt}")
    page.evaluate("fetch('https://example.com/').catch(() => 0)")
    assert [address for address in page.requests if not address.startswith("file:")] == []
    page.close()


def test_the_scripts_use_no_sink_of_markup_and_are_small():
    scripts = {name: files("firexlite").joinpath("flame", "assets", name).read_text() for name in SCRIPTS}

    for name, script in scripts.items():
        assert script.isascii(), name
        assert not re.search(r"(inner|outer)HTML|insertAdjacent|\.write\(|\beval\b|Function\(|</|<!--", script), name
    assert sum(map(len, scripts.values())) < 112_000


@pytest.mark.parametrize("html, tree", [
    ("plain", ["plain"]),
    ("<b>bold <i>both</i></b> rest", [["b", {}, ["bold ", ["i", {}, ["both"]]]], " rest"]),
    ("a<br>b<br/>c", ["a", ["br", {}, []], "b", ["br", {}, []], "c"]),
    ("<a href='https://x.org/?a=1&amp;b=2'>x</a>", [["a", {"href": "https://x.org/?a=1&b=2"}, ["x"]]]),
    ("<a href='javascript:alert(1)'>x</a>y", [["span", {}, ["x"]], "y"]),
    ("<p onclick=x style='color:#f00;background:url(x)'>z", [["p", {"style": {"color": "#f00"}}, ["z"]]]),
    ("<b style='color:url(//x);font-family:a, b'>z</b>", [["b", {"style": {"font-family": "a, b"}}, ["z"]]]),
    ("<img src=x>&lt;b&gt;<!-- c --><?pi?>", ["<img src=x><b><!-- c --><?pi?>"]),
    ("<script>if (a<b) x()</script>", ["<script>if (a<b) x()</script>"]),
    ("</b>text</div>", ["text"]),
])
def test_markup_keeps_what_is_allowed_and_shows_the_rest(html, tree):
    assert safe_tree(html) == tree


# --- data --------------------------------------------------------------------------------------------------

def test_json_round_trips_with_its_schema_first():
    given = failing_run()

    text = render_json(given)

    assert json.loads(text) == given
    assert next(iter(json.loads(text))) == "schema"
    assert render_json(dict(reversed(given.items()))).startswith('{\n "schema": "firexlite.flame/1"')
    assert list(json.loads(text)["tasks"][0])[:3] == ["num", "uuid", "parent"]


def test_json_says_what_json_cannot():
    odd = {"nan": float("nan"), "big": 2 ** 60 + 1, "raw": b"ab", "deep": (1, {2}), "low": -float("inf")}
    odd["self"] = odd

    args = json.loads(render_json(model(task(1, args=odd))))["tasks"][0]["args"]

    assert args == {"nan": {"$num": "NaN"}, "low": {"$num": "-Infinity"}, "big": {"$int": str(2 ** 60 + 1)},
                    "raw": {"$bytes": 2, "b64": "YWI="}, "deep": [1, [2]], "self": {"$cut": "a circle"}}


def test_rows_list_what_a_task_enqueued_before_the_next_of_its_chain(opened):
    tasks = [task(1, "a"), task(2, "b", parent=1, enqueued_by=None), task(3, "c", parent=1, enqueued_by=1),
             task(4, "d", parent=3, enqueued_by=1), task(5, "e", parent=3, enqueued_by=3),
             task(6, "f", parent=1, enqueued_by=1)]

    page = opened(model(*tasks))

    assert page.each(".row .name") == ["a", "c", "e", "d", "f", "b"]
    assert page.each(".row", "ariaLevel") == ["1", "2", "3", "2", "2", "1"]
    assert page.each(".row.chained .name") == ["d", "b"]


def test_a_simple_bar_costs_no_span():
    given = model(task(1), task(2, state="failed"))

    index = index_of(given)

    assert index["spans"] == {}
    assert (index["released"], index["runtime"], index["queue"]) == ([9000, 10_000], [5000, 5000], [1000, 0])


def test_what_an_interrupted_run_left_running_ends_with_its_last_process():
    left = task(1, state="running", runtime=80_000, states=[["ready", START], ["running", START + 1]],
                attempts=[{"n": 1, "started": START + 1, "ended": None, "state": "running"}])
    run = {"state": "interrupted", "started": START, "snapshot": True,
           "incarnations": [{"started": START, "ended": START + 30}]}

    index = index_of({"run": run, "tasks": [left], "generated_at": START + 86_400})

    assert (index["span"], index["runtime"], index["spans"]) == (300_000, [290_000], {})


def test_the_bar_of_a_killed_worker_ends_where_its_attempt_did():
    killed = task(1, runtime=59, states=[[state, START + at] for state, at in (
        ("running", 1), ("ready", 40), ("running", 40), ("succeeded", 60))],
        attempts=[{"n": 1, "started": START + 1, "ended": START + 9, "state": "lost"},
                  {"n": 2, "started": START + 40, "ended": START + 60, "state": "succeeded"}])

    index = index_of({"run": {"started": START, "ended": START + 60}, "tasks": [killed]})

    lost, succeeded = OUTCOMES.index("lost"), OUTCOMES.index("succeeded")
    assert index["spans"] == {0: [RAN, lost, 10_000, 80_000, RAN, succeeded, 400_000, 200_000]}


def test_the_same_model_gives_the_same_bytes():
    assert render_html(failing_run()) == render_html(failing_run())


def test_a_browser_leaves_nothing_behind():
    with Browser() as browser:
        profile, process = Path(browser.profile), browser.process

    assert process.poll() is not None
    assert not profile.exists()
