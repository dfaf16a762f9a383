"""A parent that runs again must ask for the children it asked for before; if it does not, a person decides how to go on."""
from __future__ import annotations

import pytest
from conftest import NOTE, kill_all, query, states, wait_until

FORGETFUL = NOTE + """
@app.task(returns="got")
def fetch(what, pieces=1):
    note(f"fetch {what}")
    return f"{pieces} {what}"

@app.task(bind=True, returns="all")
def parent(self):
    name = open("name").read()
    got = self.enqueue_child_and_get_results(fetch.s(what=name, pieces=2))
    open("asked", "w").close()
    wait_for_file("go")
    return got["got"]

@app.task(returns="other")
def bystander(): note("bystander"); return 1

@app.task(bind=True, returns="both")
def both(self):
    promises = [self.enqueue_child(parent.s()), self.enqueue_child(bystander.s())]
    self.wait_for_children()
    return [promise.result.get("all") for promise in promises]
"""


@pytest.fixture
def killed(firexlite, plugin, effects):
    """A run that was killed when `parent` had its apples; now it would ask for pears."""
    plugin(FORGETFUL)
    (firexlite.folder / "name").write_text("apples")
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "both")
    wait_until(lambda: (firexlite.folder / "asked").exists())
    run = firexlite.only_run()
    wait_until(lambda: states(run)["succeeded"] == 2)  # what was fetched, and the bystander
    kill_all(process)
    (firexlite.folder / "go").touch()
    (firexlite.folder / "name").write_text("pears")
    return run


@pytest.fixture
def stopped(firexlite, killed):
    assert firexlite("resume", killed.firex_id).code == 5
    return killed


def children_of_the_parent(run):
    return query(run, "SELECT arguments, state, aside FROM task WHERE service LIKE '%fetch' ORDER BY id")


APPLES, PEARS = '{"what":"apples","pieces":2}', '{"what":"pears","pieces":2}'


def test_it_stops_and_shows_both_calls_and_the_ways_on(firexlite, killed, effects):
    done = firexlite("resume", killed.firex_id)

    [(parent,)] = query(killed, "SELECT id FROM task WHERE service LIKE '%parent'")
    [(apples,)] = query(killed, "SELECT id FROM task WHERE arguments = ?", APPLES)
    assert done.code == 5
    told = done.err[done.err.index("STOPPED"):].splitlines()
    assert told[:8] == [
        f"STOPPED: parent (task {parent}, attempt 2) ran again after an interruption and asked for other children than before.",
        f"  before: fetch(what='apples', pieces=2)   (task {apples}, succeeded, its result is kept)",
        "  now:    fetch(what='pears', pieces=2)",
        "          differs in what: 'apples' before, 'pears' now",
        "  The code of parent, and of what is imported with it, is the same: look for the clock, chance or surroundings;",
        "  firexlite.now(), random() and uuid() give the same again.",
        "  Correct the service so that it asks for the same again, and resume; or else:",
        f"    firexlite resume {killed.firex_id} --accept-new         keeps the children that match, runs the new ones",
    ]
    assert told[8] == f"    firexlite resume {killed.firex_id} --restart-task {parent}      runs parent afresh; " \
                      "its old children stay visible"
    assert effects() == {"fetch apples": 1, "bystander": 1}  # what is new was held, other branches finished
    assert "INTERRUPTED" in firexlite("runs").out


def test_it_goes_on_when_it_asks_for_the_same_again(firexlite, stopped, effects):
    (firexlite.folder / "name").write_text("apples")

    done = firexlite("resume", stopped.firex_id)

    assert done.code == 0, done.err
    assert effects() == {"fetch apples": 1, "bystander": 1}


def test_accept_new_runs_what_is_new_and_sets_the_old_aside(firexlite, stopped, effects):
    done = firexlite("resume", stopped.firex_id, "--accept-new")

    assert done.code == 0, done.err
    assert effects() == {"fetch apples": 1, "bystander": 1, "fetch pears": 1}
    assert children_of_the_parent(stopped) == [(APPLES, "succeeded", 1), (PEARS, "succeeded", 0)]
    assert "['2 pears', None]" in done.out


def test_restart_task_runs_it_afresh_and_its_old_children_stay_visible(firexlite, stopped, effects):
    [(parent,)] = query(stopped, "SELECT id FROM task WHERE service LIKE '%parent'")
    (firexlite.folder / "name").write_text("apples")

    done = firexlite("resume", stopped.firex_id, "--restart-task", parent)

    assert done.code == 0, done.err
    assert effects() == {"fetch apples": 2, "bystander": 1}
    assert [(arguments, aside) for arguments, _, aside in children_of_the_parent(stopped)] == [
        (APPLES, 1), (PEARS, 1), (APPLES, 0)]
    assert firexlite.flame(stopped.firex_id)


def test_what_it_gets_from_the_recorded_helpers_is_the_same_again(firexlite, plugin, effects):
    plugin(NOTE + """
import firexlite

@app.task
def child(at, dice, key): note(f"child {at} {dice} {key}")

@app.task(bind=True, returns="seen")
def parent(self):
    seen = [(firexlite.now(), firexlite.random(), firexlite.uuid()) for _ in range(2)]
    for at, dice, key in seen:
        self.enqueue_child(child.s(at=at, dice=dice, key=key))
    self.wait_for_children()
    open("asked", "w").close()
    wait_for_file("go")
    return repr(seen)
""")
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "parent")
    wait_until(lambda: (firexlite.folder / "asked").exists())
    kill_all(process)
    (firexlite.folder / "go").touch()
    run = firexlite.only_run()

    done = firexlite("resume", run.firex_id)

    assert done.code == 0, done.err
    assert set(effects().values()) == {1} and len(effects()) == 2
    assert query(run, "SELECT name, number FROM noted ORDER BY name, number") == [
        (name, number) for name in ("now", "random", "uuid") for number in (0, 1)]
    assert query(run, "SELECT count(*) FROM task") == [(3,)]


def test_outside_of_a_task_the_recorded_helpers_are_the_plain_ones():
    import firexlite

    assert firexlite.now().tzinfo is not None and 0 <= firexlite.random() < 1 and firexlite.uuid() != firexlite.uuid()


def test_a_parent_whose_code_changed_may_take_another_path(firexlite, killed, plugin, effects):
    plugin(FORGETFUL.replace('open("name").read()', '"pears"'))

    done = firexlite("resume", killed.firex_id)

    assert done.code == 0, done.err
    assert "changed since: services.py" in done.err
    assert effects() == {"fetch apples": 1, "bystander": 1, "fetch pears": 1}
    assert children_of_the_parent(killed) == [(APPLES, "succeeded", 1), (PEARS, "succeeded", 0)]


def test_a_parent_that_stopped_goes_on_with_changed_code(firexlite, stopped, plugin, effects):
    plugin(FORGETFUL.replace('open("name").read()', '"pears"'))

    done = firexlite("resume", stopped.firex_id)

    assert done.code == 0, done.err
    assert effects() == {"fetch apples": 1, "bystander": 1, "fetch pears": 1}


REFUSED = {
    "a task that is not there": (("--restart-task", 99),
                                 "there is no task 99 to be restarted; `firexlite flame ID` shows the tasks of a run"),
    "a task that succeeded": (("--restart-task", "apples"),
                              "task {apples} (fetch) cannot be restarted: it succeeded, and success is for ever"),
    "a result of other names": (("--mark-done", "parent", '{"some": 1}'),
                                "task {parent} cannot be marked done with some: services.parent returns all"),
    "a result that is no object": (("--mark-done", "parent", "[1]"),
                                   "--mark-done takes the number of a task and a JSON object of what it returns, by name; "
                                   "'[1]' is no object, as in '{{\"greeting\": \"Hello\"}}'"),
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_a_decision_that_does_not_fit_is_refused_and_changes_nothing(wrong, firexlite, stopped):
    words, sentence = REFUSED[wrong]
    nums = {"parent": query(stopped, "SELECT id FROM task WHERE service LIKE '%parent'")[0][0],
            "apples": query(stopped, "SELECT id FROM task WHERE arguments = ?", APPLES)[0][0]}
    before = query(stopped, "SELECT * FROM task"), query(stopped, "SELECT * FROM incarnation")

    done = firexlite("resume", stopped.firex_id, *(nums.get(word, word) for word in words))

    assert (done.code, done.out, done.err) == (2, "", f"firexlite: {sentence.format(**nums)}\n")
    assert (query(stopped, "SELECT * FROM task"), query(stopped, "SELECT * FROM incarnation")) == before


def test_of_a_run_that_succeeded_there_is_nothing_to_decide(firexlite):
    firex_id = firexlite("submit", "--chain", "nop").firex_id

    done = firexlite("resume", firex_id, "--restart-task", 1)

    assert (done.code, done.err) == (2, f"firexlite: {firex_id} has succeeded, so there is nothing to decide\n")


PIECES = NOTE + """
import threading

@app.task(returns="x")
def piece(name): note(name); return name

@app.task(bind=True, returns="got")
def top(self):
    got, threads = [], []
    def wait_for(promise):
        self.wait_for_specific_children([promise])
        got.append(promise.result["x"])
    for name in ["b", "a"] if os.path.exists("go") else ["a", "b"]:
        if name == "b" and not os.path.exists("go"):
            wait_for_file("go")
        promise = self.enqueue_child(piece.s(name=name))
        threads.append(threading.Thread(target=wait_for, args=(promise,)))
        threads[-1].start()
        if name == "b":
            threads[-1].join(0.5)  # it is told meanwhile that it cannot go on
    for thread in threads:
        thread.join()
    return sorted(got)
"""


def test_a_thread_that_waits_for_what_is_held_does_not_end_in_a_wrong_result(firexlite, plugin, effects):
    plugin(PIECES)
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "top", "--workers", "2")
    wait_until(lambda: effects()["a"] == 1 and states(firexlite.only_run()).get("succeeded") == 1)
    kill_all(process)
    (firexlite.folder / "go").touch()

    done = firexlite("resume", firexlite.only_run().firex_id)

    assert done.code == 0, done.err
    assert "got  ['a', 'b']" in done.out
    assert effects() == {"a": 1, "b": 1}


def test_a_wait_that_ran_out_of_time_runs_out_again(firexlite, plugin, effects):
    plugin(NOTE + """
from firexlite import WaitOnChainTimeoutError

@app.task(returns="x")
def slow(): wait_for_file("late"); return "slow"

@app.task(returns="x")
def quick(): note("quick"); return "quick"

@app.task(bind=True, returns="got")
def top(self):
    try:
        return self.enqueue_child_and_get_results(slow.s(), max_wait=0.2)["x"]
    except WaitOnChainTimeoutError:
        got = self.enqueue_child_and_get_results(quick.s())["x"]
        open("late", "w").close()
        wait_for_file("go")
        return got
""")
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "top", "--workers", "3")
    wait_until(lambda: firexlite.runs() and states(firexlite.only_run()).get("succeeded") == 2)  # both, the slow one too late
    kill_all(process)
    (firexlite.folder / "go").touch()

    done = firexlite("resume", firexlite.only_run().firex_id)

    assert done.code == 0, done.err
    assert "got  quick" in done.out
    assert effects() == {"quick": 1}


def test_below_what_a_person_restarted_other_failures_are_tried_again_too(firexlite, plugin):
    plugin(NOTE + """
@app.task(returns="x")
def one(): assert os.path.exists("water"); return 1

@app.task(returns="y")
def two(): assert os.path.exists("water"); return 2

@app.task(bind=True, returns="z")
def top(self):
    for child in one.s(), two.s():
        self.enqueue_child(child)
    self.wait_for_children()
    return 3
""")
    failed = firexlite("submit", "--plugins", "services.py", "--chain", "top")
    (firexlite.folder / "water").touch()

    done = firexlite("resume", failed.firex_id, "--restart-task", "2")

    assert (failed.code, done.code) == (1, 0), done.err
