"""`firexlite debug`: one task of a run once more, answered from the journal, under a debugger if asked."""
from __future__ import annotations

import hashlib
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import LIMIT_S, NOTE, Command, Finished, kill_all, query, states, wait_until

from firexlite.home import RunDirectory, task_uuid

BAKERY = NOTE + """
import firexlite

@app.task(returns="loaf")
def bake(bread, degrees=200):
    note(f"bakes {bread}")
    if bread == "oat":
        dough = bread * 2
        raise ValueError(f"{bread} burnt at {degrees} degrees")
    return f"{bread} loaf"

@app.task(bind=True, returns="shelf")
def bake_all(self, breads):
    note("bakes all")
    print("it is", firexlite.now(), firexlite.uuid())
    promises = [self.enqueue_child(bake.s(bread=bread)) for bread in breads.split(",")]
    self.wait_for_children()
    return [promise.result["loaf"] for promise in promises]
"""


def everything_in(run: RunDirectory) -> dict[str, str]:
    """``{path: digest}`` of all files of a run, and its folders; of what all have in memory, the -shm, that it is there."""
    return {str(path.relative_to(run.path)): hashlib.sha256(path.read_bytes()).hexdigest()
            if path.is_file() and path.suffix != ".sqlite3-shm" else "" for path in sorted(run.path.rglob("*"))}


def with_input(firexlite: Command, text: str, *args: object, **env: str) -> Finished:
    """Run a command whose stdin is a pipe with this text."""
    done = subprocess.run([sys.executable, "-m", "firexlite", *map(str, args)], cwd=firexlite.folder,
                          env={**firexlite.env, **env}, input=text, capture_output=True, text=True, timeout=LIMIT_S)
    return Finished(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def failed_run(firexlite, plugin, effects) -> RunDirectory:
    """A run of bake_all (task 1), whose second child (task 3) failed."""
    plugin(BAKERY)
    done = firexlite("submit", "--plugins", "services.py", "--chain", "bake_all", "--breads", "rye,oat,spelt")
    assert done.code == 1, done.err
    return firexlite.only_run()


# --- what the body gets -----------------------------------------------------------------------------------------

def test_a_task_with_a_failed_child_raises_the_same_and_nothing_is_written(firexlite, failed_run, effects):
    before, did = everything_in(failed_run), effects()
    [(error,)] = query(failed_run, "SELECT error FROM attempt WHERE task = 1")
    uuid = task_uuid(failed_run.firex_id, 3)

    done = firexlite("debug", failed_run.firex_id, 1)

    assert done.code == 1
    assert uuid in error
    assert (f"firexlite.errors.ChainInterruptedException: The chain has been interrupted by a failure in microservice "
            f"services.bake[{uuid}]\n") in done.err
    assert done.err.splitlines()[-1] == ("It raised the same as in attempt 1: ChainInterruptedException for a child's "
                                         "ValueError: oat burnt at 200 degrees")
    assert "  children, from the journal: 2 succeeded, 1 failed\n" in done.err
    assert everything_in(failed_run) == before
    assert effects() - did == {"bakes all": 1}  # and no child


def test_the_body_prints_to_this_terminal_what_it_printed_then(firexlite, failed_run):
    log = firexlite("logs", failed_run.firex_id, "bake_all").out

    done = firexlite("debug", failed_run.firex_id, "bake_all")

    assert done.out.startswith("it is ")
    assert done.out in log  # the same time, and the same uuid


def test_without_a_task_it_is_the_one_at_which_the_run_failed(firexlite, failed_run):
    done = firexlite("debug", failed_run.firex_id)

    assert (done.code, done.out) == (1, "")
    assert done.err == f"""\
Running bake (task 3) of {failed_run.firex_id} again: services.py:16
  in attempt 1 it raised ValueError: oat burnt at 200 degrees
  arguments: bread='oat'
Traceback (most recent call last):
  File "{firexlite.folder}/services.py", line 21, in bake
    raise ValueError(f"{{bread}} burnt at {{degrees}} degrees")
ValueError: oat burnt at 200 degrees
It raised the same as in attempt 1: ValueError: oat burnt at 200 degrees
"""


def test_a_body_that_returns_the_same_again_says_so_and_ends_with_0(firexlite, failed_run):
    done = firexlite("debug", failed_run.firex_id, 2)

    assert done.code == 0
    assert done.err.splitlines()[-1] == "It returned the same as in attempt 1: loaf='rye loaf'"


def test_what_differs_in_the_result_is_told_by_name(firexlite, failed_run, plugin):
    plugin(BAKERY.replace('return f"{bread} loaf"', 'return f"{bread} bun"'))

    done = firexlite("debug", failed_run.firex_id, task_uuid(failed_run.firex_id, 2))

    assert done.code == 0
    assert "  changed since: services.py\n" in done.err
    assert done.err.splitlines()[-2:] == ["It returned loaf='rye bun'", "  loaf differs; in attempt 1 it was 'rye loaf'"]


def test_a_corrected_service_is_told_how_the_run_goes_on(firexlite, failed_run, plugin):
    plugin(BAKERY.replace('if bread == "oat"', 'if bread == "mud"'))

    done = firexlite("debug", failed_run.firex_id, "bake", timeout=LIMIT_S)

    assert done.code == 0
    assert done.err.splitlines()[-3:] == [
        "It returned loaf='oat loaf'", "In attempt 1 it raised ValueError: oat burnt at 200 degrees",
        f"To carry on with the run: firexlite resume {failed_run.firex_id}"]


def test_a_child_that_is_not_recorded_ends_the_body_with_what_was_recorded_in_its_place(firexlite, failed_run, plugin, effects):
    plugin(BAKERY.replace("bake.s(bread=bread)", "bake.s(bread=bread.upper())"))
    before = everything_in(failed_run)

    done = firexlite("debug", failed_run.firex_id, 1)

    assert done.code == 5
    assert done.err.splitlines()[-7:] == [
        "bake_all (task 1) asks for a child that is not in the journal, so nothing can answer it (services.py:28).",
        "  before: bake(bread='rye')   (task 2, succeeded, its result is kept)",
        "  now:    bake(bread='RYE')",
        "          differs in bread: 'rye' before, 'RYE' now",
        "  recorded and not asked for yet: task 3, bake",
        "  recorded and not asked for yet: task 4, bake",
        "  Changed since the run began: services.py."]
    assert everything_in(failed_run) == before
    assert effects()["bakes RYE"] == 0


def test_a_child_that_is_left_out_is_told(firexlite, failed_run, plugin):
    plugin(BAKERY.replace('breads.split(",")', '["rye", "spelt"]'))

    done = firexlite("debug", failed_run.firex_id, 1)

    assert done.code == 0
    assert "It returned shelf=['rye loaf', 'spelt loaf']" in done.err
    assert done.err.splitlines()[-1] == "It did not ask for 1 of the children that it asked for before."


def test_a_body_that_swallows_the_missing_answer_is_told_of_all_the_same(firexlite, failed_run, plugin):
    plugin(BAKERY.replace("promises = [", "try: self.enqueue_child(bake.s(bread='mud'))\n    except BaseException: pass\n"
                                          "    return 1\n    promises = ["))

    done = firexlite("debug", failed_run.firex_id, 1)

    assert done.code == 5
    assert "  asked for now, not before: bake(bread='mud')\n" not in done.err  # a twin is recorded
    assert "  now:    bake(bread='mud')\n" in done.err


def test_an_argument_can_be_given_in_place_of_the_recorded_one(firexlite, failed_run):
    done = firexlite("debug", failed_run.firex_id, 3, "--set", "degrees=180", "--set", "bread=oat")
    wrong = firexlite("debug", failed_run.firex_id, 3, "--set", "degres=180")

    assert "  arguments: bread='oat', degrees=180\n" in done.err
    assert done.err.splitlines()[-2:] == ["It raised ValueError: oat burnt at 180 degrees",
                                          "In attempt 1 it raised ValueError: oat burnt at 200 degrees"]
    assert (wrong.code, wrong.err) == (2, "firexlite: bake takes no argument 'degres'. Did you mean 'degrees'?\n")


def test_threads_of_the_body_are_answered_too(firexlite, plugin):
    plugin("""
from concurrent.futures import ThreadPoolExecutor
from firexlite import app

@app.task(returns="loaf")
def bake(bread):
    return f"{bread} loaf"

@app.task(bind=True, returns="shelf")
def bake_all(self):
    def loaf_of(bread):
        return self.enqueue_child(bake.s(bread=bread), block=True).result["loaf"]

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(loaf_of, ["rye", "oat", "spelt"]))
""")
    run = firexlite("submit", "--plugins", "services.py", "--chain", "bake_all", "--workers", 3)
    assert run.code == 0, run.err

    done = firexlite("debug", run.firex_id, 1)

    assert done.err.splitlines()[-1] == \
        "It returned the same as in attempt 1: shelf=['rye loaf', 'oat loaf', 'spelt loaf']"


FLOW = """
import asyncio, functools
from firexlite import app

def loud(function):
    @functools.wraps(function)
    def call(*args, **kwargs):
        return function(*args, **kwargs)
    return call

@app.task(returns=("flour", "salt"))
def buy(grain):
    return grain + " flour", {"grams": 7}

@app.task(bind=True, returns="dough")
@loud
def knead(self, flour, salt, water="@grain"):
    assert self.abog["grain"] == "rye"
    return [flour, salt["grams"], water, str(self.abog["uid"])]

@app.task(returns="loaf")
async def bake(dough):
    await asyncio.sleep(0)
    return len(dough)
"""


def test_what_flows_along_the_chain_reaches_the_body(firexlite, plugin):
    plugin(FLOW)
    run = firexlite("submit", "--plugins", "services.py", "--chain", "buy,knead,bake", "--grain", "rye")
    assert run.code == 0, run.err

    done = firexlite("debug", run.firex_id, "knead")

    assert done.code == 0
    assert done.err.splitlines()[-1] == \
        f"It returned the same as in attempt 1: dough=['rye flour', 7, 'rye', '{run.firex_id}']"


@pytest.mark.parametrize("task, line", [("knead", 18), ("bake", 23)])
def test_step_stops_at_the_first_line_of_a_decorated_body_and_of_a_coroutine(firexlite, plugin, task, line):
    plugin(FLOW)
    run = firexlite("submit", "--plugins", "services.py", "--chain", "buy,knead,bake", "--grain", "rye")

    done = with_input(firexlite, "c\n", "debug", run.firex_id, task, "--step")

    assert done.code == 0, done.err
    assert done.out.startswith(f"> {firexlite.folder}/services.py({line}){task}()\n")
    assert "It returned the same as in attempt 1" in done.err


WAITS = """
import firexlite
from firexlite import app, WaitOnChainTimeoutError

@app.task(bind=True, returns=("word", "late", "once", "task_key"))
def wait(self):
    self.sleep(0.01)
    try:
        self.wait_for_event("never", timeout=0.01)
        late = False
    except TimeoutError:
        late = True
    word = self.wait_for_event("word")
    once = self.enqueue_child(echo.s(said="once"), enqueue_once_key="k", block=True).result["echoed"]
    return word, late, [once, firexlite.random()], self.task_key

@app.task(returns="echoed")
def echo(said):
    return said
"""


def test_waits_and_what_is_recorded_are_answered_from_the_journal(firexlite, plugin):
    plugin(WAITS)
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "wait")
    wait_until(lambda: firexlite.runs() and states(firexlite.only_run()).get("blocked"))
    assert firexlite("send", firexlite.only_run().firex_id, "word", '"go"').code == 0
    assert process.wait(timeout=LIMIT_S) == 0
    run = firexlite.only_run()
    before = everything_in(run)

    done = firexlite("debug", run.firex_id, 1)

    assert done.code == 0, done.err
    assert "It returned the same as in attempt" in done.err
    assert everything_in(run) == before


def test_of_a_run_that_was_killed_the_body_comes_as_far_as_it_came(firexlite, plugin):
    plugin(WAITS.replace('timeout=0.01', 'timeout=0.5'))
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "wait")
    wait_until(lambda: firexlite.runs() and query(firexlite.only_run(), "SELECT 1 FROM awaited WHERE event = 'word'"))
    kill_all(process)
    run = firexlite.only_run()
    before = everything_in(run)

    done = firexlite("debug", run.firex_id, 1)

    assert done.code == 5
    assert done.err.splitlines()[-1] == "wait (task 1) waits for an event 'word' that is not in the journal (services.py:13)."
    assert everything_in(run) == before


def test_a_child_that_has_not_ended_has_no_answer_yet(firexlite, plugin, effects):
    plugin(NOTE + """
@app.task(bind=True)
def above(self):
    self.enqueue_child(below.s(), block=True)

@app.task
def below():
    note("begun")
    wait_for_file("never")
""")
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "above", "--workers", 2)
    wait_until(lambda: effects())
    kill_all(process)

    done = firexlite("debug", firexlite.only_run().firex_id, 1)

    assert done.code == 5
    assert done.err.splitlines()[-1] == ("above (task 1) waits for below (task 2), which has not ended: in the journal it is "
                                         "running (services.py:16).")


def test_a_wait_that_ran_out_of_time_has_run_out(firexlite, plugin):
    plugin("""
import time
from firexlite import app, WaitOnChainTimeoutError

@app.task(bind=True, returns="late")
def above(self):
    promise = self.enqueue_child(below.s())
    try:
        self.wait_for_children(max_wait=0.01)
    except WaitOnChainTimeoutError:
        return True

@app.task
def below():
    time.sleep(0.2)
""")
    run = firexlite("submit", "--plugins", "services.py", "--chain", "above", "--workers", 2)
    assert run.code == 0, run.err

    done = firexlite("debug", run.firex_id, 1)

    assert done.err.splitlines()[-1] == "It returned the same as in attempt 1: late=True"


def test_the_last_try_gets_the_children_of_that_try(firexlite, plugin):
    plugin("""
from firexlite import app

@app.task(bind=True, returns="got", autoretry_for=(ValueError,), max_retries=1, retry_backoff=False, default_retry_delay=0)
def above(self):
    got = self.enqueue_child(below.s(number=self.request.retries), block=True).result["got"]
    raise ValueError(f"try {self.request.retries} got {got}")

@app.task(returns="got")
def below(number):
    return number * 10
""")
    run = firexlite("submit", "--plugins", "services.py", "--chain", "above")
    assert run.code == 1

    done = firexlite("debug", run.firex_id, "above")

    assert done.err.splitlines()[-1] == "It raised the same as in attempt 2: ValueError: try 1 got 10"


# --- under a debugger -------------------------------------------------------------------------------------------

def test_pdb_stops_at_the_raising_line(firexlite, failed_run):
    before = everything_in(failed_run)

    done = with_input(firexlite, "p dough, degrees\nq\n", "debug", failed_run.firex_id, 3, "--pdb")

    assert done.code == 1
    assert done.out == f"""\
> {firexlite.folder}/services.py(21)bake()
-> raise ValueError(f"{{bread}} burnt at {{degrees}} degrees")
(Pdb) ('oatoat', 200)
(Pdb) """
    assert everything_in(failed_run) == before


def test_pdb_stops_in_the_body_where_firexlite_or_a_library_raises(firexlite, failed_run, plugin):
    done = with_input(firexlite, "p breads\nq\n", "debug", failed_run.firex_id, 1, "--pdb")

    assert f"> {firexlite.folder}/services.py(29)bake_all()\n-> self.wait_for_children()\n(Pdb) 'rye,oat,spelt'" in done.out

    plugin(BAKERY.replace('return f"{bread} loaf"', 'import json; return json.loads(bread)'))
    done = with_input(firexlite, "p bread\ndown\nq\n", "debug", failed_run.firex_id, 2, "--pdb")

    assert "services.py(22)bake()" in done.out
    assert "json/__init__.py" in done.out  # one step further down
    assert "'rye'" in done.out


def test_step_goes_through_the_body_and_past_firexlite(firexlite, failed_run):
    done = with_input(firexlite, "n\nn\ns\ns\nq\n", "debug", failed_run.firex_id, 1, "--step")

    lines = [line.removeprefix("(Pdb) ") for line in done.out.splitlines() if re.match(r"(\(Pdb\) )?> ", line)]
    assert lines[0] == f"> {firexlite.folder}/services.py(26)bake_all()"
    assert all(f"{firexlite.folder}/services.py" in line for line in lines)
    assert done.code == 1
    assert done.err.splitlines()[-1] == "The debugger was left, and the body with it."


def test_a_breakpoint_of_the_service_just_works(firexlite, failed_run, plugin):
    plugin(BAKERY.replace("    dough = bread * 2\n", "    breakpoint()\n        dough = bread * 2\n"))

    done = with_input(firexlite, "p bread * 3\nc\n", "debug", failed_run.firex_id, 3)

    assert done.code == 1
    assert "(Pdb) 'oatoatoat'" in done.out
    assert "It raised the same as in attempt 1" in done.err


def test_a_colleagues_run_is_imported_and_debugged_at_a_terminal(firexlite, failed_run, tmp_path):
    other = Command(tmp_path / "other", firexlite.folder)
    other.env["EFFECT_LOG"] = firexlite.env["EFFECT_LOG"]
    shutil.copy(failed_run.journal, firexlite.folder / "run.sqlite3")
    assert other("import", "run.sqlite3").code == 0
    refused = other("debug", failed_run.firex_id, 3, "--pdb")

    terminal = Terminal(other, "debug", "last", 3, "--pdb")
    try:
        asked = terminal.read_until("[y/N]: ")
        terminal.write("y\n")
        shown = terminal.read_until("(Pdb) ")
        terminal.write("p dough\n")
        answered = terminal.read_until("(Pdb) ")
        terminal.write("q\n")
        rest = terminal.read_to_end()
    finally:
        terminal.close()

    assert (refused.code, refused.out, refused.err) == (
        2, "", f"firexlite: {failed_run.firex_id} was imported, and the plugins that it names are another person's choice "
               f"(services.py); look at them and say which to load: firexlite debug {failed_run.firex_id} 3 --plugins "
               "services.py\n")
    assert asked == (f"{failed_run.firex_id} was imported, and the plugins that it names are another person's choice: "
                     "services.py (the same here).\r\nLoad what lies here, and run the task with it? [y/N]: ")
    assert "services.py(21)bake()\r\n-> raise ValueError(" in shown
    assert "'oatoat'" in answered
    assert "It raised the same as in attempt 1: ValueError: oat burnt at 200 degrees" in rest


class Terminal:
    """A command at a terminal of its own."""

    def __init__(self, firexlite: Command, *args: object) -> None:
        self._fd, theirs = pty.openpty()
        self._process = subprocess.Popen([sys.executable, "-m", "firexlite", *map(str, args)], cwd=firexlite.folder,
                                         env={**firexlite.env, "TERM": "dumb"}, stdin=theirs, stdout=theirs, stderr=theirs,
                                         start_new_session=True)
        os.close(theirs)

    def write(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def read_until(self, end: str) -> str:
        """What it shows up to and with ``end``."""
        shown, give_up = "", time.monotonic() + LIMIT_S
        while not shown.endswith(end):
            if not (more := self._read(give_up)):
                pytest.fail(f"there is no {end!r} in: {shown}")
            shown += more
        return shown

    def read_to_end(self) -> str:
        shown, give_up = "", time.monotonic() + LIMIT_S
        while more := self._read(give_up):
            shown += more
        return shown

    def _read(self, give_up: float) -> str:
        if not select.select([self._fd], [], [], max(0, give_up - time.monotonic()))[0]:
            return ""
        try:
            return os.read(self._fd, 1).decode()
        except OSError:  # the other end is closed
            return ""

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._fd)


def test_an_editor_is_waited_for_at_a_port(firexlite, failed_run, tmp_path):
    lies = tmp_path / "debugpy.py"
    lies.write_text("def listen(address): print('listens', address)\ndef wait_for_client(): print('waited')\n")

    done = firexlite("debug", failed_run.firex_id, 3, "--port", 5678, PYTHONPATH=with_path(firexlite, tmp_path))

    assert done.out == "listens ('127.0.0.1', 5678)\nwaited\n"
    assert "Waiting for an editor to attach to port 5678 of 127.0.0.1.\n" in done.err
    assert done.code == 1


def with_path(firexlite: Command, folder: Path) -> str:
    return os.pathsep.join(filter(None, (str(folder), firexlite.env.get("PYTHONPATH"))))


def test_a_port_without_debugpy_is_refused_with_how_to_get_it(firexlite, failed_run, tmp_path):
    (tmp_path / "debugpy.py").write_text("raise ImportError")

    done = firexlite("debug", failed_run.firex_id, 3, "--port", 5678, PYTHONPATH=with_path(firexlite, tmp_path))

    assert (done.code, done.err) == (2, "firexlite: --port waits for an editor to attach by debugpy, which is not installed "
                                        "here: pip install debugpy\n")


# --- what is refused --------------------------------------------------------------------------------------------

@pytest.fixture
def strange_run(firexlite, plugin) -> RunDirectory:
    """bakes (task 1) enqueues three of bake (3 to 5), asks for two prices (6, and 7 from the cache), and fails of pay (8)."""
    plugin("""
from firexlite import app

@app.task(bind=True)
def bakes(self):
    for number in range(3):
        self.enqueue_child(bake.s(number=number), block=True)
    self.enqueue_child(price.s(), block=True)
    self.enqueue_child(price.s(), block=True)
    self.enqueue_child(pay.s(), block=True)

@app.task
def bake(number):
    pass

@app.task(use_cache=True, returns="euros")
def price():
    return 3

@app.task(on_interrupt="ask")
def pay():
    raise OSError("no money")

@app.task
def pack():
    pass
""")
    firexlite("submit", "--plugins", "services.py", "--chain", "bakes,pack")
    return firexlite.only_run()


@pytest.mark.parametrize("task, sentence", [
    ("bake", "{id} has 3 tasks 'bake' (3, 4, 5); give the number of one"),
    ("bakr", "{id} has no task 'bakr'. Did you mean 'bake'?"),
    (17, "{id} has no task '17'. `firexlite show {id}` lists them."),
    ("pack", "task 2 of {id} has not begun, so there is nothing to run again"),
    (7, "task 7 took over the result of task 6, so its body never ran; run that one again: firexlite debug {id} 6"),
    ("pay", "task 8 is not to run twice by itself (on_interrupt='ask'), and here its body would really run; if that does no "
            "harm: firexlite debug {id} 8 --twice"),
])
def test_a_task_that_cannot_be_run_again_is_refused_in_a_sentence(firexlite, strange_run, task, sentence):
    done = firexlite("debug", strange_run.firex_id, task)

    assert done.err == f"firexlite: {sentence.format(id=strange_run.firex_id)}\n"
    assert (done.code, done.out) == (2, "")


def test_what_is_not_to_run_twice_runs_if_that_is_asked_for(firexlite, strange_run):
    done = firexlite("debug", strange_run.firex_id, "pay", "--twice")

    assert done.code == 1
    assert done.err.splitlines()[-1] == "It raised the same as in attempt 1: OSError: no money"


def test_a_service_that_is_gone_is_refused(firexlite, failed_run, plugin):
    plugin(BAKERY.replace("def bake(", "def toast(").replace("bake.s", "toast.s"))

    done = firexlite("debug", failed_run.firex_id, 3)

    assert (done.code, done.err) == (
        2, "firexlite: task 3 is one of bake of services.py, which services.py does not have; pass its file with --plugins: "
           f"firexlite debug {failed_run.firex_id} 3 --plugins FILES\n")


# --- secrets and pickles ----------------------------------------------------------------------------------------

LEDGER = """
from firexlite import app

class Ledger:
    def __init__(self, guests): self.guests = guests
    def __eq__(self, other): return self.guests == other.guests

@app.task(returns="ledger")
def open_ledger():
    return Ledger(3)

@app.task(returns="count")
def count(ledger, token):
    raise ValueError(f"{ledger.guests} guests, {token}")
"""


def test_a_secret_is_read_here_and_masked_in_what_is_told(firexlite, plugin):
    plugin(LEDGER)
    run = firexlite("submit", "--plugins", "services.py", "--chain", "open_ledger,count", "--token", "Secret(env:TOKEN)",
                    "--pickle", TOKEN="canary-4711")
    assert "ValueError: 3 guests, [secret env:TOKEN]" in run.err

    done = firexlite("debug", run.firex_id, TOKEN="canary-4711")
    without = firexlite("debug", run.firex_id)

    assert "It raised the same as in attempt 1: ValueError: 3 guests, [secret env:TOKEN]" in done.err
    assert "canary" not in done.err
    assert (without.code, without.err) == (2, "firexlite: task 2 cannot be run again here: the secret env:TOKEN cannot be had: "
                                              "the environment variable TOKEN is not set\n")


def test_what_another_home_pickled_is_not_loaded_and_no_key_is_made(firexlite, plugin, tmp_path):
    plugin(LEDGER)
    run = firexlite("submit", "--plugins", "services.py", "--chain", "open_ledger,count", "--token", "abc", "--pickle")
    other = Command(tmp_path / "other", firexlite.folder)
    assert other("import", firexlite.only_run().path).code == 0

    done = other("debug", run.firex_id, "--plugins", "services.py")

    assert done.code == 2
    assert done.err.startswith(f"firexlite: {run.firex_id} cannot be debugged: the result of task 1 was pickled by somebody")
    assert [path.name for path in other.home.iterdir()] == [run.firex_id]
