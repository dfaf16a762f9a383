"""What a person or a program sees of each command."""
from __future__ import annotations

import contextlib
import errno
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import FIXTURES, Command, Finished, kill_all, query, states, wait_until, without_rich

from firexlite.cli import COMMANDS
from firexlite.home import RunDirectory

GUESTS = FIXTURES / "guests.py"

# A service that runs until a file appears, but never longer than a test may take.
HOLDING = """
import os, time
from firexlite import app

@app.task(returns="held")
def hold(until):
    give_up = time.monotonic() + 30
    while not os.path.exists(until) and time.monotonic() < give_up:
        time.sleep(0.01)
    return "done"
"""


def values(firexlite: Command) -> dict:
    """The returned values of the only run, as programs read them."""
    return run_json(firexlite.only_run())["results"]["chain_results"]


def run_json(run: RunDirectory) -> dict:
    return json.loads(run.run_json.read_text())


def runs_table(firexlite: Command, *words: str) -> dict[str, list[str]]:
    """``{FireX ID: [state, age, chain, tasks]}`` as `runs` prints it."""
    lines = firexlite("runs", *words).out.splitlines()[2:]
    rows = [re.split(r"\s{2,}", line.strip()) for line in lines]
    return {row[0]: row[1:] for row in rows}


# --- submit --------------------------------------------------------------------------------------------------------

def test_submit_prints_the_firex_id_first_and_then_a_table_of_returned_values(firexlite: Command) -> None:
    done = firexlite("submit", "--plugins", GUESTS, "--chain", "greet,amplify",
                     "--name", "Li", "--to_amplify", "@greeting")

    assert re.match(r"FireX ID: FireX-[\w.+-]+-\d{6}-\d{6}-\d{1,5}\n", done.out)
    assert done == Finished(0, f"""FireX ID: {done.firex_id}
All tasks succeeded

Returned values:
  amplified_message  *** HELLO LI! ***
  greeting           Hello Li!
""", "")


def test_a_run_without_returned_values_prints_no_table(firexlite: Command) -> None:
    done = firexlite("submit", "--chain", "nop")

    assert done == Finished(0, f"FireX ID: {done.firex_id}\nAll tasks succeeded\n", "")


FAILING = '''
import json

from firexlite import app


@app.task(bind=True)
def load(self, text, depth=1):
    self.enqueue_child(parse.s(text=text), block=True)


@app.task
def parse(text):
    for number in range(40):
        print("line", number)
    print("\\033[31mred\\033[0m and \\a bell")
    return json.loads(text)
'''


def test_a_failure_is_told_in_full_and_in_few_lines(firexlite: Command, plugin) -> None:
    plugin(FAILING)

    done = firexlite("submit", "--plugins", "services.py", "--chain", "nop,load,nop,getusername", "--text", "{]")

    assert done.code == 1
    assert done.out == f"FireX ID: {done.firex_id}\n"
    assert done.err == f"""\
FAILED: parse (task 5): JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)
  at services.py:17 in parse
      return json.loads(text)
  arguments: text='{{]'
  its last output:
    | line 36
    | line 37
    | line 38
    | line 39
    | red and \\x07 bell
  called by: load (task 2)
The run failed. 5 tasks: 1 succeeded, 2 failed, 2 skipped.
Done: nop
Still to run: nop, getusername
Look at it with: firexlite flame {done.firex_id} > out.html
Resume it with: firexlite resume {done.firex_id}
"""


def test_a_failure_report_stays_within_25_lines_of_160_characters(firexlite: Command, plugin) -> None:
    plugin("""
from firexlite import app

@app.task(bind=True)
def deep(self, level, text):
    if level:
        self.enqueue_child(deep.s(level=level - 1, text=text), block=True)
    for number in range(99):
        print(number, text)
    raise ValueError(text + "\\n" + text)

@app.task(bind=True)
def start(self):
    self.enqueue_child(deep.s(level=9, text="long " * 99), block=True)
""")

    done = firexlite("submit", "--plugins", "services.py", "--chain", ",".join(["start", *["nop"] * 99]))

    lines = done.err.splitlines()
    assert done.code == 1
    assert len(lines) <= 25
    assert max(map(len, lines)) <= 160


def test_the_place_of_a_failure_outside_the_working_directory_is_an_absolute_path(firexlite: Command) -> None:
    done = firexlite("submit", "--plugins", GUESTS, "--chain", "greet", "--name", "A")

    assert f"  at {GUESTS}:14 in greet\n" in done.err


@pytest.mark.parametrize("chain, code", [("direct", 7), ("by_a_child", 1)])
def test_a_service_of_the_chain_may_choose_the_exit_code(chain, code, firexlite: Command, plugin) -> None:
    plugin("""
from firexlite import ReturnCodeError, app

@app.task
def direct():
    raise ReturnCodeError("seven it is", 7)

@app.task(bind=True)
def by_a_child(self):
    self.enqueue_child(direct.s(), block=True)
""")

    done = firexlite("submit", "--plugins", "services.py", "--chain", chain)

    assert done.code == code
    assert "ReturnCodeError: seven it is" in done.err


@pytest.mark.parametrize("words, expected", [
    ("--name Li", "Li"),
    ("-name Li", "Li"),
    ("--name=Li", "Li"),
    ("-name=Li", "Li"),
    ("--name=", ""),
    ("--name=a=b", "a=b"),
    ("--name -5", "-5"),
    ("--name --Li --other x", "--Li"),
    ("--name=--chain", "--chain"),
    ("--name 'Li Wu'", "Li Wu"),
    ("--name Li --name Wu", "Wu"),
    ("--name true", True),
    ("--name False", False),
    ("--name NONE", None),
    ("--name @@at", "@at"),
    ("--name @other --other '@more' --more end", "end"),
    ("--name grüß", "grüß"),
])
def test_an_argument_reaches_its_service_however_it_is_written(words, expected, firexlite: Command, plugin) -> None:
    plugin("""
from firexlite import app

@app.task(returns="got")
def take(name, other=None, more=None):
    return name
""")

    done = firexlite("submit", "--plugins", "services.py", "--chain", "take", *shlex.split(words))

    assert done.code == 0, done.err
    assert values(firexlite) == {"got": expected}


def test_options_of_submit_take_one_dash_and_an_equals_sign_too(firexlite: Command, plugin) -> None:
    plugin(HOLDING)

    done = firexlite("submit", "-plugins=services.py", "-chain", "hold", "--until=.", "-workers=1", "--sync", "true")

    assert done.code == 0, done.err
    assert values(firexlite) == {"held": "done"}


@pytest.mark.parametrize("chain", ["greet,nop", "greet, nop", " greet ,nop ", "GREET,Nop",
                                   "guests.greet,firexlite.builtin.nop"])
def test_a_chain_is_read_with_spaces_in_any_letter_case_and_with_long_names(chain, firexlite: Command) -> None:
    done = firexlite("submit", "--plugins", GUESTS, "--chain", chain, "--name", "Li")

    assert done.code == 0, done.err
    assert values(firexlite) == {"greeting": "Hello Li!"}


@pytest.mark.parametrize("words", [("--plugins", "plain.py,royal.py"), ("--plugins", "plain.py", "--plugin", "royal.py"),
                                   ("--external=plain.py, royal.py",)])
def test_a_later_plugin_overrides_an_earlier_one_and_can_call_it(words, firexlite: Command, plugin) -> None:
    plugin("""
from firexlite import app

@app.task(returns="greeting")
def greet(name):
    return f"Hello {name}!"
""", "plain.py")
    plugin("""
from firexlite import app

@app.task(bind=True, returns="greeting")
def greet(self, name):
    return self.enqueue_child_and_get_results(self.orig.s(name=f"King {name}"))["greeting"]
""", "royal.py")

    done = firexlite("submit", *words, "--chain", "greet", "--name", "Li")

    assert done.code == 0, done.err
    assert values(firexlite) == {"greeting": "Hello King Li!"}


def test_what_submit_itself_takes_reaches_the_services(firexlite: Command, plugin) -> None:
    plugin("""
from firexlite import app

@app.task(bind=True, returns="seen")
def look(self, chain, plugins, sync, json_file, submission_dir, submitter, uid, argv):
    return {name: self.abog[name] for name in self.bound_args}
""")

    done = firexlite("submit", "--plugins", "services.py", "--chain", "look", "--json_file", "copy.json")

    seen = values(firexlite)["seen"]
    assert seen.pop("argv")[1:] == ["submit", "--plugins", "services.py", "--chain", "look", "--json_file", "copy.json"]
    assert seen.pop("submitter") in done.firex_id
    assert seen == {"chain": "look", "plugins": "services.py", "sync": True, "json_file": "copy.json",
                    "submission_dir": str(firexlite.folder), "uid": done.firex_id}


def test_what_services_print_at_import_and_while_they_run_stays_off_stdout(firexlite: Command, plugin) -> None:
    plugin("""
import os
from firexlite import app

print("importing")
os.system("echo importing, says the shell")

@app.task
def talk():
    print("running")
""")

    done = firexlite("submit", "--plugins", "services.py", "--chain", "talk")

    assert done == Finished(0, f"FireX ID: {done.firex_id}\nAll tasks succeeded\n",
                            "importing\nimporting, says the shell\n")


@pytest.mark.parametrize("command", [("list",), ("info", "nop")])
def test_what_services_print_at_import_stays_out_of_list_and_info(command, firexlite: Command, plugin) -> None:
    plugin("print('importing')\n")

    done = firexlite(*command, "--plugins", "services.py")

    assert done.code == 0
    assert (done.err, "importing" in done.out) == ("importing\n", False)


@pytest.mark.parametrize("command, told", [(("submit", "--chain", "nop"), "Stopping.\n"), (("list",), "")])
def test_ctrl_c_while_a_plugin_is_imported_ends_at_once(command, told, firexlite: Command, plugin) -> None:
    plugin("import threading\nprint('importing', flush=True)\nthreading.Event().wait()\n")
    process = firexlite.start(*command, "--plugins", "services.py")
    assert process.stderr and process.stderr.readline() == "importing\n"

    process.send_signal(signal.SIGINT)

    assert process.communicate(timeout=20) == ("", told)
    assert process.returncode == 130
    assert not firexlite.home.exists()


KEYHOLE = """
from firexlite import app

@app.task(returns="opened")
def unlock(key, quiet="no"):
    return f"{key}, {quiet}"
"""


def test_an_argument_that_is_called_as_an_option_of_submit_is_given_behind_two_dashes(firexlite: Command, plugin) -> None:
    done = firexlite("submit", "--plugins", plugin(KEYHOLE), "--chain", "unlock", "--key", "of-the-run", "--",
                     "--key", "7", "--quiet=yes")

    assert done.code == 0, done.err
    assert values(firexlite)["opened"] == "7, yes"
    assert run_json(firexlite.only_run())["key"] == "of-the-run"


def test_who_gives_such_an_argument_as_an_option_is_told_how(firexlite: Command, plugin) -> None:
    assert firexlite("submit", "--plugins", plugin(KEYHOLE), "--chain", "unlock", "--key", "7") == Finished(
        2, "", "firexlite: services.unlock needs --key, and nothing supplies it; what is called as an option of submit is "
               "given behind a --, as in: -- --key VALUE\n")


# --- run.json ------------------------------------------------------------------------------------------------------

RUN_JSON_FIELDS = {
    "firex_id", "logs_path", "completed", "chain", "submission_host", "submission_dir", "submission_cmd", "viewers",
    "inputs", "results", "revoked", "revoked_details", "submit_proc_start_timestamp", "completed_timestamp",
}


def test_run_json_tells_of_a_success_and_json_file_is_a_copy_of_it(firexlite: Command) -> None:
    done = firexlite("submit", "--plugins", GUESTS, "--chain", "greet, amplify", "--name", "Li",
                     "--to_amplify", "@greeting", "--surround", "none", "--json_file", "copy.json")

    run = firexlite.only_run()
    told = run_json(run)
    assert json.loads((firexlite.folder / "copy.json").read_text()) == told
    assert set(told) >= RUN_JSON_FIELDS
    assert told["firex_id"] == done.firex_id
    assert told["logs_path"] == str(run.path)
    assert told["chain"] == ["greet", "amplify"]
    assert told["inputs"] == {"name": "Li", "to_amplify": "@greeting", "surround": None}
    assert told["submission_dir"] == str(firexlite.folder)
    assert told["submission_cmd"][1:3] == ["submit", "--plugins"]
    assert (told["completed"], told["revoked"], told["viewers"]) == (True, False, {})
    assert told["submit_proc_start_timestamp"] <= told["completed_timestamp"] <= time.time()
    assert told["results"] == {
        "chain_results": {"greeting": "Hello Li!", "amplified_message": "None HELLO LI! None"},
        "unsuccessful_services": {},
    }


def test_run_json_tells_of_a_failure_with_the_values_up_to_it(firexlite: Command) -> None:
    done = firexlite("submit", "--plugins", GUESTS, "--chain", "getusername,greet,amplify,nop", "--name", "A",
                     "--to_amplify", "@greeting", "--json_file", "copy.json")

    told = json.loads((firexlite.folder / "copy.json").read_text())
    assert done.code == 1
    assert told["completed"] is True
    assert list(told["results"]["chain_results"]) == ["username"]
    assert told["results"]["unsuccessful_services"] == {
        "failed": ["greet failed: 'A' is too short for a name"],
        "not_run": ["amplify", "nop"],
    }


def test_run_json_of_a_run_under_way_is_not_completed(firexlite: Command, plugin) -> None:
    with held(firexlite, plugin) as (run, _):
        told = run_json(run)

    assert set(told) >= RUN_JSON_FIELDS
    assert (told["completed"], told["results"], told["completed_timestamp"]) == (False, None, None)


# --- detach, runs, resume ------------------------------------------------------------------------------------------

@contextlib.contextmanager
def held(firexlite: Command, plugin: Callable[..., Path], *words: str) -> Iterator[tuple[RunDirectory, Path]]:
    """A detached run whose service is running, and the file that lets it end; it has ended after the block."""
    until = firexlite.folder / "until"
    plugin(HOLDING)
    done = firexlite("submit", "--plugins", "services.py", "--chain", "hold,nop", "--until", until, "--detach", *words)
    assert done.code == 0, done.err
    run = firexlite.only_run()
    assert done == Finished(0, f"FireX ID: {run.firex_id}\n",
                            "It goes on in the background; `firexlite attach` comes back to it.\n")
    try:
        wait_until(lambda: states(run).get("running"), what="running service")
        yield run, until
    finally:
        until.touch()
        wait_until(lambda: not run.is_alive(), what="end of the detached run")


def test_a_detached_run_goes_on_by_itself_and_ends(firexlite: Command, plugin) -> None:
    with held(firexlite, plugin, "--json_file", "copy.json") as (run, _):
        assert runs_table(firexlite)[run.firex_id][0] == "RUNNING"

    assert runs_table(firexlite)[run.firex_id][0] == "SUCCEEDED"
    assert values(firexlite) == {"held": "done"}
    assert json.loads((firexlite.folder / "copy.json").read_text())["completed"] is True


def test_a_resume_can_be_detached_too(firexlite: Command, plugin) -> None:
    plugin("import os\nfrom firexlite import app\n\n@app.task\ndef check():\n    assert os.path.exists('there')\n")
    firex_id = firexlite("submit", "--plugins", "services.py", "--chain", "check").firex_id
    (firexlite.folder / "there").touch()

    done = firexlite("resume", firex_id, "--detach")

    run = firexlite.only_run()
    assert (done.code, done.out) == (0, f"FireX ID: {firex_id}\n")
    wait_until(lambda: not run.is_alive(), what="end of the detached run")
    assert states(run) == {"succeeded": 1}


def test_runs_shows_each_run_with_its_state_age_and_progress_the_newest_first(firexlite: Command) -> None:
    good = firexlite("submit", "--plugins", GUESTS, "--chain", "greet_guests", "--guests", "Li,Wu").firex_id
    wait_until(lambda: time.gmtime()[5] != int(good.split("-")[-2][-2:]), what="next second, by which ids are told apart")
    bad = firexlite("submit", "--plugins", GUESTS, "--chain", "greet,nop", "--name", "A").firex_id

    table = runs_table(firexlite)
    assert list(table) == [bad, good]
    assert [table[bad][i] for i in (0, 2, 3)] == ["FAILED", "greet,nop", "0 of 2 succeeded"]
    assert [table[good][i] for i in (0, 2, 3)] == ["SUCCEEDED", "greet_guests", "3 of 3 succeeded"]
    assert re.fullmatch(r"\d+ s", table[good][1])
    assert list(runs_table(firexlite, "-n", "1")) == [bad]
    assert firexlite("runs").out.splitlines()[0].split() == ["FireX", "ID", "state", "age", "chain", "tasks"]


def test_runs_of_an_empty_home_says_where_it_looked(firexlite: Command) -> None:
    assert firexlite("runs") == Finished(0, f"There are no runs in {firexlite.home} yet.\n", "")
    assert not firexlite.home.exists()


def test_a_killed_run_is_shown_as_interrupted(firexlite: Command, plugin) -> None:
    plugin(HOLDING)
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "hold", "--until", "never")
    wait_until(lambda: firexlite.runs() and states(firexlite.only_run()).get("running"), what="running service")

    kill_all(process)

    run = firexlite.only_run()
    assert runs_table(firexlite)[run.firex_id][0] == "INTERRUPTED"
    assert run_json(run)["completed"] is False


def test_an_unreadable_journal_does_not_hide_the_other_runs(firexlite: Command) -> None:
    good, bad = (firexlite("submit", "--chain", "nop").firex_id for _ in range(2))
    (firexlite.home / bad / "journal.sqlite3").write_text("no database")

    table = runs_table(firexlite)

    assert {firex_id: row[0] for firex_id, row in table.items()} == {good: "SUCCEEDED", bad: "UNREADABLE"}


def test_a_stopped_run_tells_what_is_left_and_how_to_go_on(firexlite: Command, plugin) -> None:
    plugin(HOLDING)
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "nop,hold,nop", "--until", "never")
    wait_until(lambda: firexlite.runs() and states(firexlite.only_run()) == {"succeeded": 1, "running": 1, "waiting": 1},
               what="hold to run")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=20)

    firex_id = firexlite.only_run().firex_id
    assert (process.returncode, out) == (143, f"FireX ID: {firex_id}\n")
    assert err.splitlines()[0] == "Stopping: running services have 8 seconds to end; once more stops them at once."
    assert err.splitlines()[-5:] == ["The run was interrupted. 3 tasks: 1 succeeded, 2 unfinished.",
                                     "Done: nop",
                                     "Still to run: hold, nop",
                                     f"Look at it with: firexlite flame {firex_id} > out.html",
                                     f"Resume it with: firexlite resume {firex_id}"]


def test_resuming_a_run_that_succeeded_runs_nothing_and_prints_its_values(firexlite: Command) -> None:
    first = firexlite("submit", "--plugins", GUESTS, "--chain", "greet_guests", "--guests", "Li,A")
    before = query(firexlite.only_run(), "SELECT * FROM attempt")

    again = firexlite("resume", first.firex_id)

    assert again == Finished(0, first.out, "Nothing is left to do: the run had succeeded.\n")
    assert "Hello Li! And apologies to those not mentioned." in again.out
    assert query(firexlite.only_run(), "SELECT * FROM attempt") == before


def test_a_resume_tells_what_it_found_and_reports_as_submit_does(firexlite: Command, plugin) -> None:
    path = firexlite.folder / plugin("""
from firexlite import app

@app.task(returns="second")
def second():
    assert False, "not yet"
""")
    firex_id = firexlite("submit", "--plugins", "services.py", "--chain", "getusername,second,nop").firex_id
    path.write_text(path.read_text().replace('assert False, "not yet"', 'return "now"'))

    done = firexlite("resume", firex_id, "--json_file", "copy.json")

    assert done.err == "Resuming: 1 task done; 2 tasks reopened; changed since: services.py.\n"
    assert done.out.startswith(f"FireX ID: {firex_id}\nAll tasks succeeded\n\nReturned values:\n  second    now\n")
    assert json.loads((firexlite.folder / "copy.json").read_text())["results"]["chain_results"]["second"] == "now"


# --- list, info, help, version -------------------------------------------------------------------------------------

def test_list_shows_every_service_with_its_first_line(firexlite: Command) -> None:
    done = firexlite("list", "--plugins", GUESTS)

    rows = dict(line.split(None, 1) for line in done.out.splitlines())
    assert done.code == 0
    assert list(rows) == sorted(rows)
    assert rows["guests.greet"] == "Greet one person by name."
    assert [name for name in rows if name.startswith("firexlite.builtin.")] == [
        f"firexlite.builtin.{name}" for name in ("CopyBogKeys", "Pause", "ScheduleSubChain", "getusername", "nop", "sleep")]


def test_info_shows_what_a_service_takes_and_returns(firexlite: Command, plugin) -> None:
    plugin('''
from firexlite import app

@app.task(bind=True, returns=("one", "two"))
def greet(self, name, *more, loudly=False, title="Ms", **rest):
    """Greet one person.

    And be kind.
    """
''')

    done = firexlite("info", "GREET", "--plugins", "services.py")

    assert done == Finished(0, """\
Name: greet (services)
services.py:4

  Greet one person.

  And be kind.

Arguments
---------
  name
  loudly (default=False)
  title (default='Ms')
  *more
  **rest

Returns
-------
  one
  two
""", "")


def test_info_of_a_service_that_takes_and_returns_nothing(firexlite: Command) -> None:
    assert firexlite("info", "nop").out.endswith(
        "  Do nothing.\n\nArguments\n---------\n  None\n\nReturns\n-------\n  None\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_has_text_and_an_example(command, firexlite: Command) -> None:
    done = firexlite(command, "--help")

    assert done.code == 0
    assert COMMANDS[command].split()[0] in done.out
    assert re.search(rf"^  firexlite {command}\b(?!.*\[OPTIONS\])", done.out, re.MULTILINE), done.out
    described = re.findall(r"^  (-.*)", done.out, re.MULTILINE)
    assert described and all(len(line) < 80 for line in done.out.splitlines())


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_firexlite_alone_shows_its_commands(words, firexlite: Command) -> None:
    done = firexlite(*words)

    assert (done.code, done.err) == (0, "")
    for name, phrase in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(phrase)}$", done.out, re.MULTILINE)


def test_version_imports_neither_peewee_nor_any_command(firexlite: Command) -> None:
    source = """
import sys
from firexlite.__main__ import main
sys.argv = ["firexlite", "--version"]
try:
    main()
finally:
    print([name for name in sys.modules if name in ("peewee", "sqlite3") or name.startswith("firexlite.cli.")])
"""

    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=20)

    from firexlite import __version__
    assert done.stdout == f"firexlite {__version__}\n[]\n"


# --- built-in services ---------------------------------------------------------------------------------------------

def test_getusername_returns_who_runs_it(firexlite: Command) -> None:
    done = firexlite("submit", "--chain", "getusername", "--sync", "true")

    assert done.out.endswith(f"\nReturned values:\n  username  {values(firexlite)['username']}\n")
    assert values(firexlite)["username"] in done.firex_id


def test_sleep_sleeps_for_its_seconds(firexlite: Command) -> None:
    done = firexlite("submit", "--chain", "sleep", "--sleep", "0.2")

    assert done.code == 0
    [(seconds,)] = query(firexlite.only_run(), "SELECT ended - started FROM attempt")
    assert seconds >= 0.2


COPYING = """
import json
from firexlite import InputConverter, SingleArgDecorator, app

@InputConverter.register
@SingleArgDecorator("bog_key_map")
def to_map(value):
    return json.loads(value)

@app.task(returns="greeting")
def greet(name):
    return f"Hello {name}!"
"""
KEYS = '{"greeting": "first_greeting", "nothere": "copy"}'


def test_copy_bog_keys_copies_what_is_there(firexlite: Command, plugin) -> None:
    plugin(COPYING)

    done = firexlite("submit", "--plugins", "services.py", "--chain", "greet,CopyBogKeys", "--name", "Li",
                     "--bog_key_map", KEYS)

    assert done.code == 0, done.err
    assert values(firexlite) == {"greeting": "Hello Li!", "first_greeting": "Hello Li!"}


def test_strict_copy_bog_keys_fails_for_what_is_not_there(firexlite: Command, plugin) -> None:
    plugin(COPYING)

    done = firexlite("submit", "--plugins", "services.py", "--chain", "greet,CopyBogKeys", "--name", "Li",
                     "--bog_key_map", KEYS, "--strict", "true")

    assert done.code == 1
    assert "FAILED: CopyBogKeys (task 2): AssertionError: The bog has no nothere\n" in done.err


# --- terminals, pipes and files ------------------------------------------------------------------------------------

@pytest.fixture
def terminal(firexlite: Command) -> Iterator[Callable[..., tuple[int, str]]]:
    """Runs a command with a terminal as stdin, stdout and stderr: ``terminal(words..) -> (exit code, screen)``."""
    ours, theirs = pty.openpty()

    def run(*words: object, **env: str) -> tuple[int, str]:
        process = subprocess.Popen([sys.executable, "-m", "firexlite", *map(str, words)], cwd=firexlite.folder,
                                   env={**firexlite.env, "TERM": "xterm", **env}, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        screen = b""
        try:
            while part := read_terminal(ours):
                screen += part
            return process.wait(timeout=20), screen.decode().replace("\r\n", "\n")
        finally:
            if process.poll() is None:
                kill_all(process)
                process.wait()

    yield run
    os.close(ours)


def read_terminal(fd: int) -> bytes:
    try:
        return os.read(fd, 4096)
    except OSError as error:  # nobody has the other end open any more
        assert error.errno == errno.EIO
        return b""


def test_a_terminal_shows_one_live_line_and_nothing_of_it_remains(terminal, tmp_path) -> None:
    code, screen = terminal("submit", "--chain", "sleep", "--sleep", "0.8", **without_rich(tmp_path))

    assert code == 0
    first, rest = screen.split("\n", 1)
    assert first.startswith("FireX ID: FireX-")
    assert re.match(r"\r\x1b\[K0 of 1 task ended, 0:\d\d", rest)
    assert rest.endswith("\r\x1b[KAll tasks succeeded\n")
    assert "\n" not in rest[:-1]


def test_a_terminal_shows_a_bar_and_what_runs_where_rich_is_installed(terminal, plugin) -> None:
    services = plugin("import time\nfrom firexlite import app\n\n@app.task\ndef rest():\n    time.sleep(3)\n")
    code, screen = terminal("submit", "--plugins", services, "--chain", "rest")

    assert code == 0
    assert re.search(r"\u2501{30}\S* 0 of 1 task ended, 0:0\d\n\S*  rest\S*  [1-9] s", screen)
    assert "\x1b[?25l" not in screen  # the cursor stays: whoever is killed could not give it back
    assert screen.endswith("\x1b[1A\x1b[2KAll tasks succeeded\n")


def test_a_terminal_without_control_codes_gets_plain_lines(terminal) -> None:
    code, screen = terminal("submit", "--chain", "sleep", "--sleep", "1.3", TERM="dumb")

    assert code == 0
    assert re.fullmatch(r"FireX ID: \S+\n(0 of 1 task ended, 0:\d\d\n)+All tasks succeeded\n", screen)


def test_a_pipe_gets_plain_lines(firexlite: Command) -> None:
    done = firexlite("submit", "--chain", "nop,sleep", "--sleep", "1.3")

    assert (done.code, done.out) == (0, f"FireX ID: {done.firex_id}\nAll tasks succeeded\n")
    assert re.fullmatch(r"([01] of 2 tasks ended, 0:\d\d\n)+", done.err)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_goes_away_does_not_hurt_the_run(stream, firexlite: Command) -> None:
    process = firexlite.start("submit", "--plugins", GUESTS, "--chain", "sleep,greet", "--name", "Li", "--sleep", "1.3")
    getattr(process, stream).close()

    assert process.wait(timeout=20) == 0
    assert states(firexlite.only_run()) == {"succeeded": 2}


@pytest.mark.parametrize("closing", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full 2>&1"])
def test_a_run_needs_no_open_stdin_stdout_or_stderr(closing, firexlite: Command) -> None:
    done = subprocess.run(["sh", "-c", f'exec "$@" {closing}', "sh", sys.executable, "-m", "firexlite", "submit",
                           "--plugins", str(GUESTS), "--chain", "greet_guests", "--guests", "Li,Wu"],
                          cwd=firexlite.folder, env=firexlite.env, timeout=20)

    assert done.returncode == 0
    assert values(firexlite) == {"guests_greeting": "Hello Li! Hello Wu!"}


def test_head_may_take_only_the_first_line(firexlite: Command) -> None:
    done = subprocess.run(["sh", "-c", '"$@" | head -n 1', "sh", sys.executable, "-m", "firexlite", "submit",
                           "--chain", "nop"], cwd=firexlite.folder, env=firexlite.env, timeout=20,
                          capture_output=True, text=True)

    run = firexlite.only_run()
    assert (done.stdout, done.stderr) == (f"FireX ID: {run.firex_id}\n", "")
    assert states(run) == {"succeeded": 1}


def test_a_run_is_its_owners_alone_whatever_the_umask(firexlite: Command) -> None:
    done = subprocess.run(["sh", "-c", 'umask 000; exec "$@"', "sh", sys.executable, "-m", "firexlite", "submit",
                           "--plugins", str(GUESTS), "--chain", "greet", "--name", "Li" * 40_000],  # a blob, too
                          cwd=firexlite.folder, env=firexlite.env, timeout=20, capture_output=True)

    assert done.returncode == 0, done.stderr
    run = firexlite.only_run()
    found = [firexlite.home, run.path, *run.path.rglob("*")]
    assert any(path.parent == run.blobs for path in found)
    assert any(path.parent == run.logs for path in found)
    assert {str(path): oct(path.stat().st_mode & 0o777) for path in found} == {
        str(path): "0o700" if path.is_dir() else "0o600" for path in found}


def test_the_report_goes_into_a_pipe_and_replaces_no_device(firexlite: Command) -> None:
    firex_id = firexlite("submit", "--chain", "nop").firex_id
    pipe = firexlite.folder / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)

    done = firexlite("flame", firex_id, "--json", "-o", "pipe")

    assert done == Finished(0, "", "")
    assert os.read(reader, 10).startswith(b"{") and pipe.is_fifo()
    os.close(reader)


def test_a_report_is_written_where_a_link_leads(firexlite: Command) -> None:
    firex_id = firexlite("submit", "--chain", "nop").firex_id
    (firexlite.folder / "shown").mkdir()
    (firexlite.folder / "out.html").symlink_to("shown/out.html")

    assert firexlite("flame", firex_id, "-o", "out.html").code == 0

    assert (firexlite.folder / "out.html").is_symlink()
    assert (firexlite.folder / "shown/out.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("words, code, sentence", [
    (["flame", "{id}", "-o", "."], 2, "the report cannot be written to '.': Is a directory"),
    (["flame", "{id}", "-o", "nowhere/out.html"], 2, "the report cannot be written to 'nowhere/out.html': "
                                                    "No such file or directory"),
    (["flame", "{id}", "-o", "/dev/full"], 6, "the report could not be written to '/dev/full': No space left on device"),
])
def test_where_no_report_can_be_written_is_told_in_a_sentence(words, code, sentence, firexlite: Command) -> None:
    firex_id = firexlite("submit", "--chain", "nop").firex_id

    done = firexlite(*(word.format(id=firex_id) for word in words))

    assert done == Finished(code, "", f"firexlite: {sentence}\n")
    assert sorted(path.name for path in firexlite.folder.iterdir() if path.name.startswith(".")) == []


@pytest.mark.parametrize("words", ["flame {id}", "runs", "doctor {id}", "list", "info nop"])
def test_what_was_asked_for_and_cannot_be_written_is_no_success(words, firexlite: Command) -> None:
    firex_id = firexlite("submit", "--chain", "nop").firex_id
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "firexlite", *words.format(id=firex_id).split()], stdout=full,
                              stderr=subprocess.PIPE, cwd=firexlite.folder, env=firexlite.env, text=True, timeout=30)

    assert (done.returncode, done.stderr) == (6, "firexlite: the output could not be written: No space left on device\n")


def test_what_was_set_aside_counts_no_more(firexlite: Command, plugin) -> None:
    plugin("""
import os
from firexlite import app

@app.task(returns="x")
def child(): return 1

@app.task(bind=True, returns="x")
def parent(self):
    self.enqueue_child(child.s(), block=True)
    assert os.path.exists("go")
    return 1
""")
    firex_id = firexlite("submit", "--plugins", "services.py", "--chain", "parent").firex_id
    (firexlite.folder / "go").touch()

    done = firexlite("resume", firex_id, "--restart-task", "1")

    assert "Resuming: 0 tasks done; task 1 to run afresh; 1 task reopened." in done.err
    assert runs_table(firexlite)[firex_id][-1] == "2 of 2 succeeded"


def test_a_long_message_keeps_the_word_that_matters(firexlite: Command, plugin) -> None:
    plugin("""
from firexlite import app

@app.task
def child(needed): ...

@app.task(bind=True)
def parent(self):
    self.enqueue_child(child.s())

@app.task(returns="thing")
def odd():
    return object()
""")
    missing = firexlite("submit", "--plugins", "services.py", "--chain", "parent").err
    odd = firexlite("submit", "--plugins", "services.py", "--chain", "odd").err

    assert "needed" in missing.partition("The run failed")[0]
    assert "register_codec" in odd and "at services.py:11 in odd\n" in odd


SOME = """
from firexlite import app

@app.task(bind=True)
def bake(self, flour, hours=1): pass

@app.task
def weigh(flour): pass
"""


def test_list_names_services_or_their_arguments_alone(firexlite: Command, plugin) -> None:
    plugin(SOME)

    names = firexlite("list", "--microservices", "--plugins", "services.py").out.splitlines()
    arguments = firexlite("list", "--arguments", "--plugins", "services.py").out.splitlines()

    assert names[:2] == ["", "The following microservices are available:"]
    assert names[2:-2] == sorted(names[2:-2]) and {"services.bake", "services.weigh"} < {*names}
    assert arguments[:2] == ["", "The following arguments are used by microservices:"]
    assert arguments[2:] == sorted(arguments[2:]) and {"flour", "hours"} < {*arguments} and "self" not in arguments
    both = firexlite("list", "--arguments", "--microservices")
    assert (both.code, both.err) == (2, "firexlite: list shows either --microservices or --arguments\n")


@pytest.mark.parametrize("asked, told", [
    ("services.bake", ["Name: bake (services)"]),
    ("flour", ["Argument name: flour", "Used in the following microservices:", "services.bake", "services.weigh"]),
    ("services.*", ["Name: bake (services)", "Name: weigh (services)"]),
], ids=lambda value: value if isinstance(value, str) else "")
def test_info_tells_of_a_long_name_of_an_argument_and_of_all_that_match(asked, told, firexlite: Command, plugin) -> None:
    plugin(SOME)

    done = firexlite("info", asked, "--plugins", "services.py")

    assert done.code == 0, done.err
    assert [line for line in done.out.splitlines() if line in told] == told


def test_a_name_of_the_number_of_workers_that_firex_has_is_taken_too(firexlite: Command) -> None:
    firexlite("submit", "--chain", "nop", "--celery_concurrency", "7")

    [(options,)] = query(firexlite.only_run(), "SELECT options FROM run")
    assert json.loads(options)["workers"] == 7
