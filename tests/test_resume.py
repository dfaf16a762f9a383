"""Resume: replay of what was interrupted, reopening of what failed, and one incarnation at a time."""
from __future__ import annotations

import json

import pytest
from conftest import NOTE, kill_all, query, states, wait_until

GOLDEN = NOTE + """
@app.task(returns="grown")
def grow(kind):
    note(f"grow {kind}")
    if kind == "fig":
        %s
    return f"{kind} tree"

@app.task
def cleanup():
    note("cleanup")

@app.task(bind=True, returns="garden")
def plant(self):
    note("plant")
    promises = [self.enqueue_child(grow.s(kind=kind)) for kind in ("ash", "fig", "oak")]
    self.wait_for_children(raise_exception_on_failure=False)
    if any(promise.failed() for promise in promises):
        self.enqueue_child(cleanup.s(), block=True)
        raise RuntimeError("a tree did not grow")
    return [promise.result["grown"] for promise in promises]
"""


def test_a_corrected_child_runs_again_and_its_finished_siblings_do_not(firexlite, plugin, effects):
    plugin(GOLDEN % "raise ValueError('no water')")
    failed = firexlite("submit", "--plugins", "services.py", "--chain", "plant")
    assert failed.code == 1
    plugin(GOLDEN % "pass")

    resumed = firexlite("resume", failed.firex_id)

    assert resumed.code == 0, resumed.err
    assert "['ash tree', 'fig tree', 'oak tree']" in resumed.out
    assert "services.py" in resumed.err  # names the file that changed
    assert effects() == {"plant": 2, "grow ash": 1, "grow fig": 2, "grow oak": 1, "cleanup": 1}
    shown = {task["name"]: task for task in firexlite.flame(failed.firex_id)["tasks"]}
    assert shown["cleanup"]["state"] == "succeeded" and shown["cleanup"]["aside"]


def test_what_failed_without_a_reason_that_the_code_shows_runs_again_too(firexlite, plugin, effects):
    plugin(GOLDEN % "assert os.path.exists('water')")
    failed = firexlite("submit", "--plugins", "services.py", "--chain", "plant")
    (firexlite.folder / "water").touch()

    assert firexlite("resume", failed.firex_id).code == 0
    assert effects() == {"plant": 2, "grow ash": 1, "grow fig": 2, "grow oak": 1, "cleanup": 1}


def test_a_run_that_fails_again_can_be_resumed_again(firexlite, plugin, effects):
    plugin(GOLDEN % "assert os.path.exists('water')")
    failed = firexlite("submit", "--plugins", "services.py", "--chain", "plant")

    assert firexlite("resume", failed.firex_id).code == 1
    assert firexlite("resume", failed.firex_id).code == 1
    (firexlite.folder / "water").touch()
    assert firexlite("resume", failed.firex_id).code == 0

    # The parent fails alike in the second and third life: it asks for the cleanup that is journaled already.
    assert effects() == {"plant": 4, "grow ash": 1, "grow fig": 4, "grow oak": 1, "cleanup": 1}


TOLERANT = NOTE + """
@app.task
def fragile():
    note("fragile")
    raise ValueError("broken")

@app.task(bind=True, returns="said")
def tolerant(self):
    note("tolerant")
    promise = self.enqueue_child(fragile.s(), block=True, raise_exception_on_failure=False)
    %s
"""


def test_a_run_that_succeeded_with_an_apology_is_left_alone(firexlite, plugin, effects):
    plugin(TOLERANT % 'return "sorry"')
    done = firexlite("submit", "--plugins", "services.py", "--chain", "tolerant")
    assert done.code == 0, done.err
    journal = firexlite.only_run().journal
    before = journal.read_bytes()

    again = firexlite("resume", done.firex_id)

    assert again.code == 0 and "sorry" in again.out
    assert effects() == {"tolerant": 1, "fragile": 1}
    assert journal.read_bytes() == before


def test_a_failed_chain_goes_on_where_it_failed(firexlite, plugin, effects):
    plugin(NOTE + """
@app.task(returns="a")
def one(): note("one"); return 1

@app.task(returns="b")
def two(a):
    note("two")
    assert os.path.exists("key")
    return a + 1

@app.task(returns="c")
def three(b): note("three"); return b + 1
""")
    failed = firexlite("submit", "--plugins", "services.py", "--chain", "one,two,three")
    assert failed.code == 1
    assert states(firexlite.only_run()) == {"succeeded": 1, "failed": 1, "skipped": 1}
    (firexlite.folder / "key").touch()

    resumed = firexlite("resume", failed.firex_id)

    assert resumed.code == 0, resumed.err
    assert effects() == {"one": 1, "two": 2, "three": 1}
    report = json.loads(firexlite.only_run().run_json.read_text())
    assert report["results"]["chain_results"] == {"a": 1, "b": 2, "c": 3}


def test_below_a_parent_that_was_merely_interrupted_a_failure_stands(firexlite, plugin, effects):
    plugin(TOLERANT % """wait_for_file("go")
    return f"{type(promise.result).__name__}: {promise.result}\"""")
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "tolerant")
    run = wait_until(lambda: firexlite.runs() and firexlite.only_run())
    wait_until(lambda: states(run).get("failed") == 1 and states(run).get("running") == 1)
    kill_all(process)
    (firexlite.folder / "go").touch()

    resumed = firexlite("resume", run.firex_id)

    assert resumed.code == 0 and "ValueError: broken" in resumed.out
    assert effects() == {"tolerant": 2, "fragile": 1}


UNORDERED = NOTE + """
import random, threading

@app.task(returns="done")
def piece(name):
    note(f"piece {name}")
    time.sleep(0.02)
    return name

NAMES = {f"n{i}" for i in range(12)}

def ask(self, names):
    return [self.enqueue_child(piece.s(name=name)) for name in names]

@app.task(bind=True, returns="all")
def parent(self):
    note("parent")
    %s
    self.wait_for_children()
    wait_for_file("go")
    return sorted(promise.result["done"] for promise in promises)
"""
BY_SET = "promises = ask(self, NAMES)"
BY_SHUFFLE = "names = list(NAMES); random.shuffle(names); promises = ask(self, names)"
BY_THREADS = """promises, lock = [], threading.Lock()
    def enqueue_and_wait(name):
        promise = self.enqueue_child(piece.s(name=name), block=True)
        with lock:
            promises.append(promise)
    threads = [threading.Thread(target=enqueue_and_wait, args=(name,)) for name in NAMES]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]"""


@pytest.mark.parametrize("way", [BY_SET, BY_SHUFFLE, BY_THREADS], ids=["set", "shuffle", "threads"])
@pytest.mark.parametrize("done_before", [1, 5, 12])
def test_children_asked_for_in_another_order_are_known_again(firexlite, plugin, effects, way, done_before):
    plugin(UNORDERED % way)
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "parent", "--workers", "2",
                              PYTHONHASHSEED="1")
    run = wait_until(lambda: firexlite.runs() and firexlite.only_run())
    wait_until(lambda: states(run).get("succeeded", 0) >= done_before)
    kill_all(process)
    finished = {json.loads(arguments)["name"] for arguments, in
                query(run, "SELECT arguments FROM task WHERE state = 'succeeded'")}
    in_flight = query(run, "SELECT (SELECT count(*) FROM attempt WHERE ended IS NULL AND task > 1) "
                           "+ (SELECT count(*) FROM task WHERE reserved IS NOT NULL)")[0][0]
    (firexlite.folder / "go").touch()

    resumed = firexlite("resume", run.firex_id, PYTHONHASHSEED="2")

    assert resumed.code == 0, resumed.err
    counts = effects()
    assert {name: counts[f"piece {name}"] for name in finished} == dict.fromkeys(finished, 1)
    assert sum(counts.values()) <= 12 + 2 + in_flight
    assert sum(states(run).values()) == 13  # no child was journaled twice


def test_a_moved_run_is_resumed_where_it_is_now(firexlite, plugin, effects):
    plugin(GOLDEN % "assert os.path.exists('water')")
    failed = firexlite("submit", "--plugins", "services.py", "--chain", "plant")
    new_home, new_folder = firexlite.home.with_name("other home"), firexlite.folder.with_name("other work")
    firexlite.home.rename(new_home)
    firexlite.folder.rename(new_folder)
    firexlite.env.update(FIREXLITE_HOME=str(new_home), EFFECT_LOG=str(new_folder / "effects"))
    firexlite.home, firexlite.folder = new_home, new_folder
    (new_folder / "water").touch()

    resumed = firexlite("resume", failed.firex_id)

    assert resumed.code == 0, resumed.err
    assert firexlite.only_run().run_json.exists()


def test_a_run_whose_services_leave_threads_is_resumed_like_any_other(firexlite, plugin, effects):
    plugin("import threading, time\nthreading.Thread(target=time.sleep, args=(300,), daemon=True).start()\n" + NOTE + """
@app.task(returns="x")
def first(): note("first"); return 1

@app.task
def second(x): note("second"); wait_for_file("go")
""")
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "first,second")
    wait_until(lambda: effects()["second"] == 1)
    run = firexlite.only_run()
    kill_all(process)
    (firexlite.folder / "go").touch()

    resumed = firexlite("resume", run.firex_id)

    assert resumed.code == 0, resumed.err
    assert effects() == {"first": 1, "second": 2}


SLIPPING = NOTE + """
@app.task(returns="x")
def costly(n): note(f"costly {n}"); return n

@app.task(bind=True, returns="sum")
def top(self):
    %s
    got = [self.enqueue_child_and_get_results(costly.s(n=n))["x"] for n in range(6)]
    note("seventh")
    %s
    return sum(got)
"""


def test_a_slip_in_the_corrected_code_costs_nothing_that_was_done(firexlite, plugin, effects):
    plugin(SLIPPING % ("pass", "wait_for_file('never')"))
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "top")
    wait_until(lambda: effects()["seventh"] == 1)
    kill_all(process)
    firex_id = firexlite.only_run().firex_id

    plugin(SLIPPING % ("nmae = name", "pass"))
    assert firexlite("resume", firex_id).code == 1
    plugin(SLIPPING % ("pass", "pass"))
    done = firexlite("resume", firex_id)

    assert done.code == 0, done.err
    assert effects() == {**{f"costly {n}": 1 for n in range(6)}, "seventh": 2}


BREEDS = """
from firexlite import app
import breeds

@app.task(returns="name")
def name(of): return of

@app.task(bind=True, returns="all")
def dogs(self):
    got = self.enqueue_child_and_get_results(name.s(of=breeds.FIRST))["name"]
    if not os.path.exists("go"):
        open("asked", "w").close()
        wait_for_file("go")
    return got
"""


def test_a_module_that_a_plugin_imports_is_part_of_its_code(firexlite, plugin):
    plugin("FIRST = 'pug'\n", "breeds.py")
    plugin(NOTE + BREEDS)
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "dogs")
    wait_until(lambda: (firexlite.folder / "asked").exists())
    kill_all(process)
    plugin("FIRST = 'poodle'\n", "breeds.py")
    (firexlite.folder / "go").touch()

    done = firexlite("resume", firexlite.only_run().firex_id)

    assert done.code == 0, done.err
    assert "changed since: breeds.py" in done.err
    assert "all  poodle" in done.out


def test_a_plugin_that_was_given_another_place_is_found_there_from_then_on(firexlite, plugin):
    source = "import os\nfrom firexlite import app\n\n@app.task\ndef work():\n    assert os.path.exists('go')\n"
    plugin(source)
    firex_id = firexlite("submit", "--plugins", "services.py", "--chain", "work").firex_id
    (firexlite.folder / "moved").mkdir()
    (firexlite.folder / "services.py").rename(firexlite.folder / "moved/services.py")
    assert firexlite("resume", firex_id, "--plugins", "moved/services.py").code == 1
    (firexlite.folder / "go").touch()

    assert firexlite("resume", firex_id).code == 0


def test_a_service_that_is_gone_is_told_of_before_anything_changes(firexlite, plugin):
    plugin("from firexlite import app\n\n@app.task\ndef work(): raise ValueError\n")
    firex_id = firexlite("submit", "--plugins", "services.py", "--chain", "work").firex_id
    plugin("from firexlite import app\n\n@app.task\ndef play(): ...\n")

    done = firexlite("resume", firex_id)

    assert (done.code, done.err) == (2, (
        f"firexlite: {firex_id} cannot go on, and nothing was changed: its task 1 needs the service work of services.py, "
        "which services.py does not have; bring it back, under the same names, or pass its file with --plugins\n"))
    assert query(firexlite.only_run(), "SELECT epoch FROM run") == [(1,)]
