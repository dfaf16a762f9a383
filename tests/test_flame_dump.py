"""A run given to FireX's own Flame: to its page as files, and to its server as a recording of events."""
from __future__ import annotations

import json
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser import Browser, Page
from conftest import Command, kill_all, states, wait_until
from flame_peer import FONTS, NotInstallable, Peer

from firexlite.errors import BadInput
from firexlite.flame_dump import write_dump

# One run, killed when it holds a task in each state.
SERVICES = """
import os, time
from firexlite import app, flame
from firexlite.commands import check_output

@app.task(returns="flour")
@flame("flour", lambda flour: f"<b>{flour} g</b>")
def weigh(grams, scale="old"):
    print("weighed on the", scale, "scale", check_output("echo twice").strip())
    return int(grams)

@app.task(bind=True)
def bakery(self, flour):
    self.enqueue_child(knead.s(flour=flour) | rise.s())
    self.enqueue_child(oven.s() | serve.s())
    self.enqueue_child(hesitate.s())
    self.enqueue_child(decorate.s())
    self.enqueue_child(postpone.s())
    called_off = self.enqueue_child(wait_for_ever.s(touch="begun"))
    while not os.path.exists("begun"):
        time.sleep(0.01)
    self.revoke_child(called_off)
    self.enqueue_child(hold.s())
    self.enqueue_child(wait_for_ever.s() | serve.s())
    self.wait_for_children()

@app.task(bind=True, returns="dough")
def knead(self, flour):
    self.enqueue_child(wash.s(), enqueue_once_key="wash", block=True)
    return flour * 1.6

@app.task(bind=True)
def rise(self, dough):
    self.enqueue_child(wash.s(), enqueue_once_key="wash", block=True)

@app.task
def wash(): pass

@app.task(bind=True)
def oven(self):
    self.enqueue_child(heat.s(), block=True)

@app.task
def heat(): raise ValueError("the fuse blew")

@app.task
def serve(): pass

@app.task(bind=True)
def hesitate(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0)

@app.task
def decorate(): pass

@app.task(bind=True)
def postpone(self):
    raise self.retry(countdown=3600)

@app.task(bind=True)
def hold(self):
    self.enqueue_child(wait_for_ever.s(), block=True)

@app.task
def wait_for_ever(touch=None):
    if touch:
        open(touch, "w").close()
    while True:
        time.sleep(0.05)
"""
PLUGIN = """
from firexlite import app

@app.task(bind=True)
def decorate(self):
    self.enqueue_child(self.orig.s(), block=True)
"""
SMALL = """
from firexlite import app, flame_collapse

@app.task(bind=True, returns="text")
@flame_collapse("descendants")
def read(self, pages):
    print("reading")
    self.enqueue_child(turn.s(page=1) | turn.s(page=2), block=True)
    return "x" * int(pages)

@app.task
def turn(page): pass
"""
GREEN, RED, ORANGE = [(34, 170, 34)], [(187, 0, 0)], [(255, 68, 0)]
GREY_STRIPES = [(136, 136, 136), (136, 136, 136), (68, 68, 68), (68, 68, 68)]
RED_STRIPES = [(136, 136, 136), (136, 136, 136), (137, 60, 60), (247, 24, 24)]
# What each task of the run that was killed looks like: name, colour, whether it is chained and from a plugin, retries.
IN_ORDER = [
    ("RootTask", GREY_STRIPES, False, False, 0),       # running
    ("weigh", GREEN, False, False, 0),
    ("bakery", GREY_STRIPES, True, False, 0),          # blocked
    ("serve", GREY_STRIPES, True, False, 0),           # waiting
    ("knead", GREEN, False, False, 0),
    ("rise", GREEN, True, False, 0),
    ("oven", RED_STRIPES, False, False, 0),            # failed because of another
    ("serve", GREY_STRIPES, True, False, 0),           # skipped
    ("hesitate", GREEN, False, False, 2),
    ("decorate", GREEN, False, True, 0),
    ("postpone", GREY_STRIPES, False, False, 1),       # ready
    ("wait_for_ever", ORANGE, False, False, 0),        # revoked
    ("hold", GREY_STRIPES, False, False, 0),           # blocked
    ("wait_for_ever", GREY_STRIPES, False, False, 0),  # running
    ("serve", GREY_STRIPES, True, False, 0),           # waiting
]
BETWEEN = [  # the children of those, which are enqueued while their parent's parent goes on
    ("wash", GREEN, False, False, 0),
    ("heat", RED, False, False, 0),
    ("decorate", GREEN, False, False, 0),
    ("wait_for_ever", GREY_STRIPES, False, False, 0),  # running
]
LOOKS = IN_ORDER + BETWEEN
EVERY_STATE = {"succeeded": 7, "failed": 2, "skipped": 1, "revoked": 1, "running": 2, "blocked": 2, "ready": 1, "waiting": 2}

pytestmark = pytest.mark.timeout(400)  # with the half minute, or more, in which FireX is installed


# With FireX's own page or server, whose installation takes half a minute.
with_peer = pytest.mark.long


@pytest.fixture(scope="module")
def peer() -> Peer:
    try:
        return Peer()
    except NotInstallable as error:
        pytest.skip(f"FireX's Flame cannot be installed here: {error}")


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict]:
    """The model of a run that was killed with tasks in every state."""
    place = tmp_path_factory.mktemp("killed")
    for path, source in ((place / "work" / "decorations.py", PLUGIN), (place / "found" / "services.py", SERVICES)):
        path.parent.mkdir()
        path.write_text(source)
    firexlite = Command(place / "home", place / "work")
    firexlite.env["FIREXLITE_SERVICES"] = str(place / "found")
    try:
        process = firexlite.start("submit", "--plugins", "decorations.py", "--chain", "weigh,bakery,serve", "--grams", "500",
                                  "--workers", "4")
        wait_until(lambda: firexlite.runs() or process.poll() is not None, what="run")
        assert process.poll() is None, process.communicate()
        wait_until(lambda: states(firexlite.only_run()) == EVERY_STATE, what="run in all states")
        kill_all(process)
        yield firexlite.flame(firexlite.only_run().firex_id)
    finally:
        firexlite.close()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The model of a run that succeeded."""
    place = tmp_path_factory.mktemp("small")
    (place / "work").mkdir()
    (place / "work" / "services.py").write_text(SMALL)
    firexlite = Command(place / "home", place / "work")
    done = firexlite("submit", "--plugins", "services.py", "--chain", "read", "--pages", "300000")
    assert done.code == 0, done.err
    return firexlite.flame(done.firex_id)


@pytest.fixture(scope="module")
def dumps(tmp_path_factory: pytest.TempPathFactory, killed: dict, small: dict) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("dumps")
    revoked = {**small, "run": {**small["run"], "state": "revoked", "firex_id": "FireX-li-261123-101500-4711"}}
    last = small["tasks"][-1]["states"][-1][1]
    revoked["tasks"] = [{**small["tasks"][0], "state": "revoked", "states": [["ready", last], ["revoked", last]],
                         "log": None, "revoke_reason": "the shop is closed"}]
    return {name: write_dump({**model, "tasks": iter(model["tasks"])}, folder)
            for name, model in (("killed", killed), ("small", small), ("revoked", revoked))}


@pytest.fixture(scope="module")
def opened(peer: Peer, browser: Browser, dumps: dict[str, Path]) -> Iterator[Callable[..., Page]]:
    """Opens a view of FireX's page: ``opened("killed", "time-chart")``."""
    [folder] = {path.parent for path in dumps.values()}
    with peer.files(folder) as address:
        yield lambda run, view="": browser.visit(f"{address}/{dumps[run].name}/{view}".rstrip("/"), blocked=[FONTS])


def looks(page: Page, wanted: int) -> list[tuple]:
    """Of each task that the graph draws its number and what `LOOKS` has, in the order of their numbers."""
    page.wait_for(f"document.querySelectorAll('.node-container').length >= {wanted}")
    nodes = page.evaluate("""Array.from(document.querySelectorAll(".node-container"), (node) => ({
        num: Number(node.querySelector(".task-num").textContent),
        name: node.querySelector(".task-name").textContent.trim(),
        colour: (node.style.background.match(/rgb\\([^)]*\\)/g) || []).map((one) => one.match(/\\d+/g).map(Number)),
        isChained: getComputedStyle(node).borderTopLeftRadius === "0px",
        isDashed: getComputedStyle(node).borderTopStyle === "dashed",
        retried: Number((node.querySelector("[title^=retried]")?.title.match(/\\d+/) || [0])[0]),
    }))""")
    assert [node["name"].endswith(" (plugin)") for node in nodes] == [node["isDashed"] for node in nodes]
    return sorted((node["num"], node["name"].removesuffix(" (plugin)"), [tuple(one) for one in node["colour"]],
                   node["isChained"], node["isDashed"], node["retried"]) for node in nodes)


def slim_of(dump: Path) -> dict[str, dict]:
    return json.loads((dump / "firex_internal/flame/model/slim-tasks.json").read_text())


def full_of(dump: Path, which: str) -> dict:
    """A task by its uuid, or the first of a name."""
    uuid = next(task["uuid"] for task in slim_of(dump).values() if which in (task["uuid"], task["name"]))
    return json.loads((dump / f"firex_internal/flame/model/full-tasks/{uuid}.json").read_text())


def assert_looks(found: list[tuple]) -> None:
    assert [num for num, *_ in found] == list(range(1, len(LOOKS) + 1))
    looks = [tuple(look) for _, *look in found]
    assert sorted(looks) == sorted(LOOKS)
    left = iter(looks)
    assert [look for look in IN_ORDER if look not in left] == []  # each stands behind the one before it
    assert looks[:6] == IN_ORDER[:6]


# --- its page -------------------------------------------------------------------------------------------------------

@with_peer
def test_the_page_of_firex_draws_every_task_in_the_colour_of_its_state(opened, killed):
    page = opened("killed")

    assert_looks(looks(page, len(LOOKS)))
    assert "500 g" in page.each(".node-container b")
    assert killed["run"]["firex_id"] in page.text() and "weigh,bakery,serve" in page.text()


@with_peer
def test_it_draws_who_called_whom(opened, dumps):
    oven = full_of(dumps["killed"], "oven")

    assert [look[1] for look in looks(opened("killed", f"root/{oven['uuid']}"), 3)] == ["oven", "serve", "heat"]


@with_peer
def test_its_time_chart_has_a_row_for_each_task_and_a_bar_for_each_of_its_states(opened, dumps):
    page = opened("killed", "time-chart")
    page.wait_for("document.querySelectorAll('.state-rect').length > 0")

    rows = page.evaluate("""Array.from(document.querySelectorAll("tbody tr"), (row) => ({
        num: Number(row.cells[0].textContent), name: row.cells[1].textContent.trim(),
        bars: row.querySelectorAll(".state-rect").length,
    }))""")

    tasks = slim_of(dumps["killed"]).values()
    assert sorted((row["num"], row["name"]) for row in rows) == sorted((task["task_num"], task["name"]) for task in tasks)
    assert {row["num"]: row["bars"] for row in rows} == {
        task["task_num"]: len(full_of(dumps["killed"], task["uuid"])["states"]) for task in tasks}


@with_peer
def test_its_page_of_a_task_shows_what_it_was_given_gave_and_ran(opened, dumps):
    weigh = full_of(dumps["killed"], "weigh")
    page = opened("killed", f"tasks/{weigh['uuid']}")
    page.wait_for("document.body.innerText.includes('External Commands')")

    text = page.text()
    assert all(part in text for part in ("grams:500", "(default) scale:old", "flour:500", "echo twice"))
    log = page.evaluate("fetch(Array.from(document.links).find((link) => link.textContent.includes('weigh Log')).href)"
                        ".then((answer) => answer.text())")
    assert log.endswith("weighed on the old scale twice\n")


@with_peer
def test_its_page_of_a_failure_leads_to_the_cause(opened, dumps):
    oven, heat = full_of(dumps["killed"], "oven"), full_of(dumps["killed"], "heat")
    page = opened("killed", f"tasks/{oven['uuid']}")
    page.wait_for("document.body.innerText.includes('Causing Failure Task')")

    page.evaluate("Array.from(document.links).find((link) => link.textContent.includes('Causing Failure')).click()")
    page.wait_for(f"location.pathname.endsWith('{heat['uuid']}') && document.body.innerText.includes('the fuse blew')")

    assert "exception:ValueError('the fuse blew')" in page.text()
    assert [name.strip() for name in page.each(".task-name")] == ["oven", "heat"]


@with_peer
def test_its_table_of_errors_names_the_cause_alone(opened):
    page = opened("killed", "errors-table")
    page.wait_for("document.body.innerText.includes('the fuse blew')")

    assert [row.split()[0] for row in page.each("tbody tr", "innerText")] == ["heat"]


@with_peer
def test_its_page_of_a_task_shows_who_else_asked_for_it(opened, dumps):
    wash = full_of(dumps["killed"], "wash")
    page = opened("killed", f"tasks/{wash['uuid']}")
    page.wait_for("document.querySelectorAll('.task-num').length >= 3")

    assert sorted(name.strip() for name in page.each(".task-name")) == ["knead", "rise", "wash"]


@with_peer
def test_a_run_that_succeeded_is_green_and_collapsed_as_its_services_say(opened):
    page = opened("small")

    assert looks(page, 2) == [(1, "RootTask", GREEN, False, False, 0), (2, "read", GREEN, False, True, 0)]
    assert page.text(".stacks-count").strip() == "2 Tasks"


@with_peer
def test_its_page_of_the_inputs_shows_those_of_the_run(opened, small):
    page = opened("small", "inputs")
    page.wait_for("document.body.innerText.includes('300000')")

    assert "submit --plugins services.py --chain read --pages 300000" in re.sub(r"['\\\s]+", " ", page.text())
    assert page.errors == []


@with_peer
def test_it_tells_why_a_run_was_revoked(opened):
    page = opened("revoked")

    assert looks(page, 2) == [(1, "RootTask", ORANGE, False, False, 0), (2, "read", ORANGE, False, True, 0)]
    assert "with reason:" in page.text(".revoked-reason") and "the shop is closed" in page.text(".revoked-reason")


# --- its server -----------------------------------------------------------------------------------------------------

@with_peer
def test_the_server_of_firex_replays_the_recording(peer, browser, dumps, tmp_path):
    copy = tmp_path / dumps["killed"].name
    shutil.copytree(dumps["killed"], copy)

    with peer.server(copy.name, copy, dumps["killed"] / "firex_internal/flame/flame.rec") as address:
        page = browser.visit(address, blocked=[FONTS])
        assert_looks(looks(page, len(LOOKS)))
        heat = full_of(copy, "heat")
        page = browser.visit(f"{address}/#/tasks/{heat['uuid']}", blocked=[FONTS])
        page.wait_for("document.body.innerText.includes('the fuse blew')")


@with_peer
@pytest.mark.parametrize("run", ["killed", "small", "revoked"])
def test_what_firex_makes_of_the_events_is_what_the_files_hold(peer, dumps, run):
    """Field by field, of every task: so the files have no field that FireX does not know, and lack none that it has."""
    made = peer.replay(dumps[run] / "firex_internal/flame/flame.rec")

    assert made["slim"] == slim_of(dumps[run])
    for uuid, task in made["full"].items():
        assert json.loads((dumps[run] / f"firex_internal/flame/model/full-tasks/{uuid}.json").read_text()) == task
    assert made["has ended"] and made["root"] == full_of(dumps[run], "RootTask")["uuid"]


# --- the files ------------------------------------------------------------------------------------------------------

def test_the_states_of_a_task_are_told_in_the_words_of_firex(dumps):
    def told(name: str) -> list[str]:
        return [state["state"].removeprefix("task-") for state in full_of(dumps["killed"], name)["states"]]

    assert told("weigh") == ["received", "started", "succeeded"]
    assert told("knead") == ["received", "started", "blocked", "unblocked", "succeeded"]
    assert told("rise") == ["received", "received", "started", "succeeded"]
    assert told("hesitate") == ["received", "started"] * 3 + ["succeeded"]
    assert told("oven")[-2:] == ["unblocked", "failed"]
    assert told("postpone") == ["received", "started", "received", "incomplete"]
    assert told("hold") == ["received", "started", "blocked", "incomplete"]
    assert told("serve") == ["received", "incomplete"]
    assert told("wait_for_ever") == ["received", "started", "revoked", "revoke-completed"]


def test_a_task_that_has_not_ended_is_left_at_the_last_sign_of_its_run(dumps, killed):
    last_sign = killed["run"]["incarnations"][-1]["ended"]

    assert killed["generated_at"] > last_sign
    for name in ("RootTask", "hold", "postpone"):
        task = full_of(dumps["killed"], name)
        assert task["latest_timestamp"] == last_sign == task["states"][-1]["timestamp"]
        assert task["actual_runtime"] == pytest.approx(last_sign - task["first_started"])


def test_the_root_of_a_failed_run_has_failed_of_the_first_submitted_task_that_did(small, tmp_path):
    first, *others = small["tasks"]
    failed = [first, *({**task, "state": "failed", "enqueued_by": None} for task in others)]

    dump = write_dump({**small, "run": {**small["run"], "state": "failed"}, "tasks": failed}, tmp_path)

    root = full_of(dump, "RootTask")
    assert (root["state"], root["exception_cause_uuid"]) == ("task-failed", others[0]["uuid"])
    assert root["firex_bound_args"] == {"pages": "300000", "chain": "read", "uid": dump.name}


def test_no_value_is_cut_and_what_is_not_known_is_left_out(dumps):
    task = full_of(dumps["small"], "read")

    assert task["firex_result"] == {"text": "x" * 300_000}
    assert None not in task.values() and not {"exception", "traceback", "external_commands", "revoke_reason"} & set(task)
    assert [key for run in dumps.values() for slim in slim_of(run).values() for key, value in slim.items()
            if value is None] == ["parent_id"] * 3


def test_the_events_are_in_the_order_of_time(dumps):
    lines = (dumps["killed"] / "firex_internal/flame/flame.rec").read_text().splitlines()
    times = [json.loads(line)["local_received"] for line in lines]

    assert times == sorted(times) and len(times) > 60


def test_the_archive_holds_the_files(dumps):
    model = dumps["killed"] / "firex_internal/flame/model"

    with tarfile.open(model / "full-run-state.tar.gz") as archive:
        held = {member.name: archive.extractfile(member).read() for member in archive}

    assert held == {str(path.relative_to(model)): path.read_bytes()
                    for path in [*model.glob("full-tasks/*.json"), model / "slim-tasks.json", model / "run-metadata.json"]}
    assert (model / "model-complete").read_bytes() == b""


def test_a_dump_is_the_same_whenever_it_is_made(killed, dumps, tmp_path):
    again = write_dump(killed, tmp_path)

    moved = {str(path.relative_to(again)): path.read_text().replace(str(again), str(dumps["killed"])).encode()
             for path in again.rglob("*") if path.is_file() and path.suffix != ".gz"}
    assert moved == {name: (dumps["killed"] / name).read_bytes() for name in moved} and len(moved) > 20
    assert again.stat().st_mode & 0o777 == 0o700


# --- where it is written --------------------------------------------------------------------------------------------

def test_a_run_with_an_id_that_flame_would_not_know_gets_one_that_it_knows(small, tmp_path):
    run = {**small["run"], "firex_id": "../my run", "user": "l/i", "started": 1795428900.0}

    dump = write_dump({**small, "run": run}, tmp_path)

    assert dump.parent == tmp_path and dump.name == "FireX-l_i-261123-101500-916338776"
    assert json.loads((dump / "run.json").read_text())["inputs"] == {"pages": "300000", "firexlite_id": "../my run"}
    assert len(slim_of(dump)) == 4


def test_what_is_there_already_stays(small, tmp_path):
    there = tmp_path / small["run"]["firex_id"]
    there.mkdir()

    with pytest.raises(BadInput) as refused:
        write_dump(small, tmp_path)

    assert str(refused.value) == (
        f"the dump would be written to '{there}', which is there already; remove it or name another folder")
    assert list(tmp_path.rglob("*")) == [there]


def test_no_half_dump_is_left(small, tmp_path):
    def breaks() -> Iterator[dict]:
        yield small["tasks"][0]
        raise ValueError("the journal ends here")

    with pytest.raises(ValueError, match="ends here"):
        write_dump({**small, "tasks": breaks()}, tmp_path / "new")

    assert list(tmp_path.rglob("*")) == [tmp_path / "new"]


def test_a_folder_that_is_none_is_refused(small, tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(BadInput) as refused:
        write_dump(small, tmp_path / "file")

    assert str(refused.value) == (f"the dump cannot be written to '{tmp_path / 'file' / small['run']['firex_id']}': "
                                  "File exists")
