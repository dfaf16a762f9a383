"""What surrounds a task: its run's identity, its log, commands that it gives, and values that only Python can hold."""
from __future__ import annotations

from .flows import Flows


def test_c86_what_a_service_logs_and_prints_is_in_the_log_of_its_task(flow: Flows) -> None:
    done = flow("""
import logging, sys
from celery.utils.log import get_task_logger
logger = get_task_logger(__name__)

@app.task
def bake():
    logger.print("by the logger")
    logger.info("for information")
    logging.getLogger("another").print("by another logger")
    print("by print")
    print("to stderr", file=sys.stderr)

@app.task
def other(): logger.print("elsewhere")
""", "bake,other")

    log = "\n".join(done.only("bake")["log"]["lines"])
    assert [text for text in ("by the logger", "for information", "by another logger", "by print", "to stderr")
            if text not in log] == []
    assert "elsewhere" not in log and "elsewhere" in "\n".join(done.only("other")["log"]["lines"])


# --- commands --------------------------------------------------------------------------------------------------------

COMMANDS = """
import subprocess
from firexapp.firex_subprocess import check_output
"""


def test_c85_a_command_gives_its_output_or_says_how_it_failed(flow: Flows) -> None:
    done = flow(COMMANDS + """
from firexapp.firex_subprocess import CommandFailed

@app.task(returns="seen")
def top():
    error = raised_by(lambda: check_output("sh -c 'echo burnt; exit 3'"))
    return [check_output("echo 'two words'"), check_output("echo one | tr o O", shell=True), isinstance(error, CommandFailed),
            isinstance(error, subprocess.CalledProcessError), error.returncode, "burnt" in str(error)]
""")

    two_words, one, *failed = done.seen
    assert (two_words.strip(), one.strip()) == ("two words", "One")
    assert failed == [True, True, 3, True]
    commands = commands_of(done.only("top"))
    assert [command["result"]["returncode"] for command in commands] == [3, 0, 0]
    assert "burnt" in commands[0]["result"]["output"] and "exit 3" in str(commands[0]["cmd"])


def commands_of(task: dict) -> list[dict]:
    """The commands that a task gave, in their order."""
    return sorted(task["external_commands"].values(), key=lambda command: command["start_time"])


def test_c85_a_command_that_takes_too_long_or_falls_silent_is_ended(flow: Flows) -> None:
    done = flow(COMMANDS + """
import signal

@app.task(returns="seen")
def top():
    seen = []
    for limit in ({"timeout": 0.5}, {"inactivity_timeout": 0.5}):
        began = time.monotonic()
        error = raised_by(lambda: check_output("sh -c 'echo $$ >> pids; exec sleep 30'", **limit))
        seen.append([type(error).__name__, time.monotonic() - began < 10])
    alive = [pid for pid in open("pids").read().split() if os.path.exists(f"/proc/{pid}")]
    return [*seen, alive]
""")

    assert done.seen == [["TimeoutExpired", True], ["InactivityTimeoutExpired", True], []]
    timed_out, inactive = (command["result"] for command in commands_of(done.only("top")))
    assert timed_out["timeout"] and inactive["inactive"]


# --- the run ---------------------------------------------------------------------------------------------------------

def test_a_service_knows_the_identity_and_the_folders_of_its_run(flow: Flows) -> None:
    done = flow("""
from firexapp.submit.uid import Uid, is_firex_id

@app.task(bind=True, returns="seen")
def top(self, uid):
    return {"is": isinstance(uid, Uid), "id": str(uid), "identifier": uid.identifier, "equal": uid == str(uid),
            "in the bog": str(self.abog["uid"]), "known": is_firex_id(uid.identifier), "user": uid.user,
            "logs": uid.logs_dir, "folders": [os.path.isdir(path) for path in (uid.logs_dir, uid.debug_dir, uid.resources_dir)]}
""")

    firex_id = done.run.firex_id
    seen = dict(done.seen)
    assert seen.pop("logs").startswith(str(done.run.path.parent))
    assert seen == {"is": True, "id": firex_id, "identifier": firex_id, "equal": True, "in the bog": firex_id, "known": True,
                    "user": firex_id.split("-")[1], "folders": [True, True, True]}


def test_a_chain_that_is_an_argument_is_run_by_a_service_which_returns_what_it_returned(flow: Flows) -> None:
    done = flow("""
from firexapp.tasks.core_tasks import ScheduleSubChain

@app.task(returns="bread")
def bake(flour): return f"{flour} bread"

@app.task
def burn(): raise ValueError("burnt")

@app.task(bind=True, returns="seen")
def top(self):
    get = self.enqueue_child_and_get_results
    return [get(InjectArgs(flour="rye") | ScheduleSubChain.s(chain=bake.s())),
            get(ScheduleSubChain.s(burn.s(), catch_errors=True)),
            type(raised_by(lambda: get(ScheduleSubChain.s(burn.s())))).__name__]
""")

    assert done.seen == [{"bread": "rye bread"}, {}, "ChainInterruptedException"]


def test_a_program_reads_how_a_run_ended(flow: Flows) -> None:
    bread = """
@app.task(returns="bread")
def bake(): return "rye"

@app.task
def burn(): raise ValueError("burnt")

@app.task(returns="seen")
def top(runs):
    from firexapp.reporters.json_reporter import FireXRunData, FireXRunStatus
    found = [FireXRunData.load_from_logs_dir(path) for path in runs.split(",")]
    return [[one.firex_id, one.get_status().name, isinstance(one.get_status(), FireXRunStatus), one.completed, one.chain,
             one.get_result("bread")] for one in found]
"""
    good, bad = flow(bread, "bake"), flow(bread, "bake,burn", code=1)

    done = flow(bread, "top", "--runs", f"{good.run.path},{bad.run.path}")

    assert done.seen == [[good.run.firex_id, "SUCCESS", True, True, ["bake"], "rye"],
                         [bad.run.firex_id, "SOME_FAILED", True, True, ["bake", "burn"], "rye"]]


# --- values ----------------------------------------------------------------------------------------------------------

OVEN = """
class Oven:
    def __init__(self, degrees): self.degrees = degrees
    def __repr__(self): return f"<oven at {self.degrees}>"

@app.task(returns="oven")
def heat(): return Oven(200)

@app.task(returns=["seen", "again"])
def top(oven):
    oven.degrees += 20
    return [type(oven).__name__, oven.degrees], oven
"""


def test_c89_a_value_that_json_cannot_hold_passes_through_a_chain_pickled_and_is_shown_by_its_repr(flow: Flows) -> None:
    done = flow(OVEN, "heat,top", "--pickle")

    assert done.seen == ["Oven", 220]
    assert done.values["again"] == "<oven at 220>"
    assert "<oven at 200>" in str(done.only("heat")["result"]) + str(done.only("top")["args"])


def test_such_a_value_is_refused_by_name_unless_that_is_asked_for(flow: Flows) -> None:
    """FireX pickles everything."""
    done = flow(OVEN, "heat,top", code=1)

    assert done.states == [("heat", "failed"), ("top", "skipped")]
    assert "what heat returned as oven is a services.Oven" in done.err
