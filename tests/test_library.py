"""`firexlite.run` and `firexlite.resume`, from scripts and from this very process."""
from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from conftest import NOTE, kill_all, query, states, wait_until

import firexlite as fx
from firexlite import host
from firexlite.errors import BadInput

SERVICES = '''
import dataclasses
from firexlite import app

@dataclasses.dataclass
class Guest:
    name: str

@app.task(returns="greeting")
def greet(name, word="Hello"):
    return f"{word} {name}!"

@app.task(returns=["loud", "length"])
def amplify(greeting):
    return greeting.upper(), len(greeting)

@app.task(bind=True, returns="greetings")
def greet_all(self, names):
    print("they come")
    return [self.enqueue_child_and_extract(greet.s(name=name))["greeting"] for name in names]

@app.task(returns="guest")
def invite(guest):
    return Guest(guest.name.upper())

@app.task(returns="whose")
def tell(uid):
    return str(uid)

@app.task(bind=True)
def turn_away(self, name):
    self.enqueue_child(refuse.s(name=name), block=True)

@app.task
def refuse(name):
    raise KeyError(f"no {name}")

@app.task(returns="at_the_door")
def count_hidden(token):
    return len(token)

@app.task(bind=True, returns="attempts")
def wait_for_a_word(self):
    self.wait_for_event("word")
'''


@pytest.fixture
def services(firexlite, monkeypatch):
    """A module with services, which lies in a file and is imported here; the home is that of the test."""
    monkeypatch.setenv("FIREXLITE_HOME", str(firexlite.home))
    name = f"services_of_{firexlite.folder.parent.name}".replace("-", "_")
    (firexlite.folder / f"{name}.py").write_text(SERVICES)
    monkeypatch.syspath_prepend(firexlite.folder)
    yield __import__(name)
    del sys.modules[name]


@pytest.fixture
def script(firexlite):
    """Starts a script in the working directory: ``script(source)``."""
    started = []

    def start(source: str, name: str = "party.py", command: tuple = (), **env: str) -> subprocess.Popen:
        (firexlite.folder / name).write_text(source)
        started.append(subprocess.Popen(
            [sys.executable, *(command or (name,))], cwd=firexlite.folder, env={**firexlite.env, **env},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            kill_all(process)
        process.communicate()


def ended(process: subprocess.Popen, given: str | None = None) -> tuple[int, str, str]:
    out, err = process.communicate(given, timeout=60)
    return process.returncode, out, err


# --- a run that succeeds -----------------------------------------------------------------------------------------------

def test_a_run_gives_its_returned_values_by_name(services):
    result = fx.run(services.greet.s(name="Li") | services.amplify.s())

    assert result.ok
    assert result.state == "succeeded"
    assert result["loud"] == "HELLO LI!"
    assert result.values == {"greeting": "Hello Li!", "loud": "HELLO LI!", "length": 9}


def test_values_go_in_and_come_back_as_the_objects_that_they_are(services):
    result = fx.run(services.invite.s(guest=services.Guest("li")))

    assert result["guest"] == services.Guest("LI")
    assert result.task("invite").arguments == {"guest": services.Guest("li")}


def test_a_result_has_the_tree_of_its_tasks(services):
    result = fx.run(services.greet_all.s(names=["Li", "Bo"], word="Hi") | services.greet.s(name="you"))

    assert result.tree == "greet_all\n  greet\n  greet\ngreet"
    assert [task.values for task in result.chain[0].children] == [{"greeting": "Hello Li!"}, {"greeting": "Hello Bo!"}]
    assert result.tasks_of("greet")[1].arguments == {"name": "Bo", "word": "Hello"}
    assert result.tasks_of("greet")[2].arguments == {"name": "you", "word": "Hi"}
    assert result.task("greet_all").output.strip() == "they come"
    with pytest.raises(LookupError, match="has 3 tasks of greet; `tasks_of"):
        result.task("greet")
    result.assert_ran_once("greet")


def test_a_run_is_one_like_any_other(services, firexlite):
    result = fx.run(services.greet_all.s(names=["Li"]))

    assert result.firex_id in firexlite("runs").out
    assert firexlite.flame(result.firex_id)["run"]["state"] == "succeeded"
    assert result.path == firexlite.only_run().path
    assert [name for name in os.listdir(result.path) if name.startswith("journal")] == ["journal.sqlite3"]


def test_what_firexlite_supplies_is_there(services):
    result = fx.run(services.tell.s())

    assert result["whose"] == result.firex_id


def test_a_value_that_was_not_returned_is_told_of(services):
    result = fx.run(services.greet.s(name="Li"))

    with pytest.raises(KeyError) as caught:
        result["greting"]
    assert str(caught.value) == (f"{result.firex_id} succeeded and returned no 'greting'; it returned greeting. "
                                 "Did you mean 'greeting'?")


def test_the_report_of_a_run_can_be_written(services, tmp_path):
    result = fx.run(services.greet.s(name="Li"), flame=tmp_path / "at_its_end.html")
    result.write_report(tmp_path / "later.html")

    assert "<html" in (tmp_path / "at_its_end.html").read_text()
    assert "<html" in (tmp_path / "later.html").read_text()


def test_a_run_may_be_begun_by_any_thread_beside_others(services):
    hold, results = threading.Event(), []
    beside = threading.Thread(target=hold.wait)
    beside.start()
    begins = [threading.Thread(target=lambda name=name: results.append(fx.run(services.greet.s(name=name)))) for name in "ab"]
    for thread in begins:
        thread.start()
    for thread in begins:
        thread.join()
    hold.set()
    beside.join()

    assert sorted(result["greeting"] for result in results) == ["Hello a!", "Hello b!"]


def test_progress_is_shown_on_stderr_if_asked_for(services, capsys):
    result = fx.run(services.greet.s(name="Li"), quiet=False)

    shown = capsys.readouterr()
    assert shown.out == ""
    assert f"FireX ID: {result.firex_id}" in shown.err
    assert "greeting  Hello Li!" in shown.err


def test_nothing_is_shown_otherwise(services, capfd):
    fx.run(services.greet.s(name="Li"))

    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("in_process", [False, True])
def test_a_ci_system_is_told_only_of_what_is_shown(services, monkeypatch, tmp_path, in_process):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))

    fx.run(services.refuse.s(name="Bo"), check=False, in_process=in_process)
    assert not (tmp_path / "summary.md").exists()

    fx.run(services.refuse.s(name="Bo"), check=False, in_process=in_process, quiet=False)
    assert "no Bo" in (tmp_path / "summary.md").read_text()


def test_a_secret_is_not_written_down(services, firexlite, monkeypatch):
    monkeypatch.setenv("DOOR_TOKEN", "open-sesame-now")

    result = fx.run(services.count_hidden.s(token=fx.Secret("env:DOOR_TOKEN")))

    assert result["at_the_door"] == len("open-sesame-now")
    assert "open-sesame-now" not in str(query(firexlite.only_run(), "SELECT arguments, changes, result FROM task"))


def test_values_may_be_pickled_if_asked_for(services):
    with pytest.raises(fx.FirexliteError, match="name is a type, which the journal cannot store"):
        fx.run(services.greet.s(name=threading.Barrier))

    result = fx.run(services.greet.s(name=Path), pickle=True)

    assert result["greeting"] == f"Hello {Path}!"
    assert result.task("greet").arguments["name"] is Path


# --- a run that does not -------------------------------------------------------------------------------------------------

def test_a_run_that_fails_raises_with_the_line_of_the_users_code(services):
    with pytest.raises(fx.RunFailed) as caught:
        fx.run(services.turn_away.s(name="Bo"))

    result = caught.value.result
    line = 1 + SERVICES.splitlines().index('    raise KeyError(f"no {name}")')
    assert str(caught.value) == (
        f"{result.firex_id} failed:\n  refuse (task 2): KeyError: 'no Bo' at {services.__file__}:{line} in refuse\n"
        f"It goes on with firexlite.resume('{result.firex_id}')")
    assert isinstance(caught.value.__cause__, KeyError)
    assert result.state == "failed"
    [why] = result.failures
    assert (why.name, why.line, why.arguments, why.through) == ("refuse", line, {"name": "Bo"}, ("turn_away",))
    assert result.tree == "turn_away (failed)\n  refuse (failed)"


def test_the_result_of_a_failure_is_had_without_raising_too(services):
    result = fx.run(services.greet.s(name="Li") | services.refuse.s(), check=False)

    assert not result.ok
    assert result["greeting"] == "Hello Li!"
    assert isinstance(result.task("refuse").error, KeyError)
    with pytest.raises(fx.RunFailed):
        result.raise_for_failure()
    with pytest.raises(AssertionError, match="refuse did not run once: task 2 failed, after 1 attempts"):
        result.assert_ran_once("refuse")


def test_a_corrected_run_is_resumed_by_its_result(services, firexlite):
    result = fx.run(services.greet.s(name="Li") | services.refuse.s(), check=False)
    file = Path(services.__file__)
    file.write_text(file.read_text().replace('raise KeyError(f"no {name}")', "return"))

    resumed = result.resume()

    assert resumed.ok
    assert [task.attempts for task in resumed.tasks] == [1, 2]


def test_a_run_is_resumed_by_the_command_from_another_folder(services, firexlite, tmp_path):
    result = fx.run(services.refuse.s(name="Bo"), check=False)
    file = Path(services.__file__)
    file.write_text(file.read_text().replace('raise KeyError(f"no {name}")', "return"))

    resumed = subprocess.run([sys.executable, "-m", "firexlite", "resume", result.firex_id], cwd="/", env=firexlite.env,
                             capture_output=True, text=True, timeout=60)

    assert resumed.returncode == 0, resumed.stderr


def test_a_run_that_only_waits_is_told_of_as_such(services):
    result = fx.run(services.wait_for_a_word.s(), exit_when_waiting=True)

    assert (result.state, result.waits, result.exit_code) == ("interrupted", True, 7)
    with pytest.raises(fx.RunFailed, match=r"^FireX-\S+ waits for a time or an event\n"):
        result.raise_for_failure()


# --- what is refused -------------------------------------------------------------------------------------------------------

def test_a_chain_that_lacks_an_argument_is_refused_before_anything_begins(services, firexlite):
    with pytest.raises(fx.InvalidChainArgsException, match="name"):
        fx.run(services.greet.s(word="Hi"))

    assert firexlite.runs() == []


@pytest.mark.parametrize("options, sentence", [
    ({"workers": 0}, "workers takes a whole number from 1 to 1000, not 0"),
    ({"queues": {"gpu": 0}}, "the limit of queue 'gpu' takes a whole number from 1 to 1000, not 0"),
    ({"soft_time_limit": "long"}, "a limit takes a number of seconds, not 'long'"),
    ({"executor": "ray"}, "--executor takes local, dask:local or dask:tls://HOST:PORT, not 'ray'"),
    ({"executor": "dask:local", "in_process": True},
     "in_process=True does everything in this thread, so it does not go together with executor="),
    ({"flame": "/no/such/folder/report.html"},
     "flame= '/no/such/folder/report.html' could not be written: /no/such/folder is no folder that you may write to"),
])
def test_an_option_that_cannot_be_meant_is_refused(services, firexlite, options, sentence):
    with pytest.raises(fx.FirexliteError) as caught:
        fx.run(services.greet.s(name="Li"), **options)

    assert str(caught.value) == sentence
    assert firexlite.runs() == []


def test_what_the_runs_own_process_refuses_is_raised_here(services, firexlite):
    with pytest.raises(fx.FirexliteError) as caught:
        fx.run(services.greet.s(name="Li"), plugins=["nowhere.py"])

    assert str(caught.value).startswith("plugin 'nowhere.py' is not there")
    assert caught.value.exit_code == 2
    assert firexlite.runs() == []


def test_a_process_that_cannot_start_is_told_of_with_what_it_said(services, firexlite, monkeypatch, tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'no python here' >&2\nexit 3\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))

    with pytest.raises(fx.FirexliteError) as caught:
        fx.run(services.greet.s(name="Li" * 200_000))

    assert str(caught.value).endswith(" ended by exit status 3 before the run began; it said:\nno python here")
    assert firexlite.runs() == []


def test_something_that_is_no_chain_is_refused():
    with pytest.raises(TypeError, match=r"'greet' is neither a signature nor a chain; write service.s\(...\)"):
        fx.run("greet")


def test_a_service_that_nobody_else_can_import_is_refused(firexlite):
    @fx.app.task
    def bake():
        """It has no name of its own."""

    with pytest.raises(fx.FirexliteError) as caught:
        fx.run(bake.s())

    assert str(caught.value) == (
        "bake is defined within test_a_service_that_nobody_else_can_import_is_refused, where no other process can find it; "
        "define it at the top of a file, or have it run here, with in_process=True")
    assert firexlite.runs() == []


def test_a_service_at_a_prompt_is_refused_with_the_way_out(script, firexlite):
    code, _, err = ended(script("", command=("-",)), "import firexlite\nfrom firexlite import app\n"
                         "@app.task\ndef bake(): pass\nfirexlite.run(bake.s())\n")

    assert code == 1
    assert err.splitlines()[-1].removeprefix("firexlite.errors.BadInput: ") == (
        "bake stands in no file that another process could import, but in a notebook or at a prompt; "
        "put it into a file and import it from there (in a notebook: %%writefile services.py), or have it run here, with "
        "in_process=True")
    assert firexlite.runs() == []


# --- scripts --------------------------------------------------------------------------------------------------------

PARTY = NOTE + '''
import dataclasses
import firexlite

@dataclasses.dataclass
class Guest:
    name: str

class Uninvited(Exception):
    """Not on the list."""

@app.task(returns="guest")
def invite(guest):
    if guest.name == "Bo":
        raise Uninvited(guest.name)
    return Guest(guest.name.upper())

@app.task
def close():
    note("begun")
    wait_for_file("open")
    note("closed")
'''
CLOSES = PARTY + "\nif __name__ == '__main__':\n    firexlite.run(close.s())\n"


def test_a_script_runs_its_own_services_and_has_its_own_classes(script):
    code, out, err = ended(script(PARTY + '''
if __name__ == "__main__":
    print(firexlite.run(invite.s(guest=Guest("li")))["guest"] == Guest("LI"))
    try:
        firexlite.run(invite.s(guest=Guest("Bo")))
    except firexlite.RunFailed as error:
        print(isinstance(error.__cause__, Uninvited), error.__cause__)
'''))

    assert (code, out) == (0, "True\nTrue Bo\n"), err


def test_a_module_of_a_package_keeps_its_name(script, firexlite):
    package = firexlite.folder / "hotel" / "desk"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text("")
    (package / "__init__.py").write_text("from . import words\n")
    (package / "words.py").write_text("HELLO = 'Hello'\n")
    (package / "services.py").write_text("from firexlite import app\nfrom .words import HELLO\n\n"
                                         "@app.task(returns='greeting')\ndef greet():\n    return HELLO\n")

    code, out, err = ended(script("import firexlite\nfrom hotel.desk.services import greet\nresult = firexlite.run(greet.s())\n"
                                  "print(result.task('greet').service, result['greeting'])\n"))

    assert (code, out) == (0, "hotel.desk.services.greet Hello\n"), err


def test_a_module_that_is_run_by_its_name_keeps_that(script, firexlite):
    package = firexlite.folder / "hotel"
    package.mkdir()
    (package / "words.py").write_text("HELLO = 'Hello'\n")
    (package / "desk.py").write_text(
        "import firexlite\nfrom .words import HELLO\n\n@firexlite.app.task(returns='greeting')\ndef greet():\n"
        "    return HELLO\n\nif __name__ == '__main__':\n    result = firexlite.run(greet.s())\n"
        "    print(result.task('greet').service, result['greeting'])\n")

    code, out, err = ended(script("", command=("-m", "hotel.desk")))

    assert (code, out) == (0, "hotel.desk.greet Hello\n"), err


def test_a_script_without_a_guard_is_told_of_it(script, firexlite):
    code, _, err = ended(script(PARTY + "\nfirexlite.run(close.s())\n"))

    assert code == 1
    assert err.splitlines()[-1] == (
        "firexlite.errors.BadInput: firexlite.run was called by a file whose services are being imported, so each process of "
        "the run would do it again; put the call under `if __name__ == '__main__':`")
    assert firexlite.runs() == []


def test_a_plugin_overrides_a_service_of_the_chain(script, firexlite):
    (firexlite.folder / "base.py").write_text("from firexlite import app\n\n@app.task(returns='word')\ndef say():\n"
                                              "    return 'base'\n")
    (firexlite.folder / "over.py").write_text("from firexlite import app\n\n@app.task(bind=True, returns='word')\n"
                                              "def say(self):\n    return 'over ' + self.orig()\n")

    code, out, err = ended(script("import firexlite, base\nprint(firexlite.run(base.say.s())['word'])\n"
                                  "print(firexlite.run(base.say.s(), plugins=['over.py'])['word'])\n"))

    assert (code, out) == (0, "base\nover base\n"), err


def test_modules_that_a_script_merely_imports_do_not_override_each_other(script, firexlite):
    for name in ("rye", "spelt"):
        (firexlite.folder / f"{name}.py").write_text("from firexlite import app\n\n@app.task(returns='bread')\ndef bake():\n"
                                                     f"    return '{name}'\n")

    code, out, err = ended(script("import firexlite, rye, spelt\n"
                                  "print(firexlite.run(rye.bake.s())['bread'], firexlite.run(spelt.bake.s())['bread'])\n"))

    assert (code, out) == (0, "rye spelt\n"), err


def test_a_run_is_kept_where_the_project_says(script, firexlite):
    (firexlite.folder / "firexlite.toml").write_text('home = "runs"\n')

    process = script("import firexlite\nfrom firexlite.builtin import getusername\n"
                     "print(firexlite.run(getusername.s()).path.parent)\n",
                     command=("-c", "import os; del os.environ['FIREXLITE_HOME']; import party"))
    code, out, err = ended(process)

    assert (code, out) == (0, f"{firexlite.folder / 'runs'}\n"), err


def test_a_command_cannot_repeat_what_python_code_gave(services, firexlite):
    result = fx.run(services.greet.s(name="Li"))

    refused = firexlite("submit", "--like", result.firex_id)

    assert refused.code == 2
    assert refused.err == (f"firexlite: {result.firex_id} was not begun by a command, or by one of an older firexlite, so what "
                           "was given then is not recorded; give the inputs themselves\n")


# --- the same call again -----------------------------------------------------------------------------------------------

CLOSES_UNDER_A_KEY = """
import firexlite, sys
from shop import close

if __name__ == "__main__":
    result = firexlite.run(close.s(), key="today")
    print(result.firex_id, result["shop"])
"""
SHOP = NOTE + """
@app.task(returns="shop")
def close():
    note("begun")
    wait_for_file("open")
    note("closed")
    return "closed"
"""


def test_the_same_call_goes_on_after_a_kill_and_then_gives_what_is_there(script, firexlite, effects):
    (firexlite.folder / "shop.py").write_text(SHOP)
    process = script(CLOSES_UNDER_A_KEY)
    wait_until(lambda: effects()["begun"], what="body that began")
    kill_all(process)
    ended(process)
    run = firexlite.only_run()
    wait_until(lambda: not run.is_alive())
    (firexlite.folder / "open").touch()

    calls = [ended(script(CLOSES_UNDER_A_KEY)) for _ in range(2)]

    assert [(code, out) for code, out, _ in calls] == [(0, f"{run.firex_id} closed\n")] * 2, calls
    assert effects() == {"begun": 2, "closed": 1}


def test_the_same_call_waits_for_a_run_that_goes_on_elsewhere(script, firexlite, effects):
    first, second = one_that_runs_and_one_that_waits(script, firexlite, effects)
    (firexlite.folder / "open").touch()

    assert ended(first)[:2] == ended(second)[:2] == (0, f"{firexlite.only_run().firex_id} closed\n")
    assert effects() == {"begun": 1, "closed": 1}


def one_that_runs_and_one_that_waits(script, firexlite, effects) -> tuple[subprocess.Popen, subprocess.Popen]:
    """Two scripts with the same call: a run goes on below the first, and the second has begun to wait for its end."""
    (firexlite.folder / "shop.py").write_text(SHOP)
    first = script(CLOSES_UNDER_A_KEY)
    wait_until(lambda: effects()["begun"], what="body that began")
    second = script(CLOSES_UNDER_A_KEY, "other.py")
    [front] = wait_until(lambda: [pid for pid in host.descendants(second.pid) if "library_front" in host.command_line(pid)])
    wait_until(lambda: is_watching(front, firexlite.only_run()), what="look at the run that goes on")
    return first, second


def is_watching(pid: int, run) -> bool:
    """Whether a process has inotify watch the directory of a run."""
    inode, about = f"ino:{os.stat(run.path).st_ino:x} ", ""
    for info in Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it is closed again
            about += info.read_text()
    return inode in about


def test_who_only_waits_leaves_a_run_alone(script, firexlite, effects):
    first, second = one_that_runs_and_one_that_waits(script, firexlite, effects)
    second.send_signal(signal.SIGINT)

    told = f"{firexlite.only_run().firex_id} goes on in other processes; the same call comes back to it"
    assert ended(second)[2].splitlines()[-1] == f"KeyboardInterrupt: {told}"
    (firexlite.folder / "open").touch()
    assert ended(first)[0] == 0
    assert effects() == {"begun": 1, "closed": 1}


@pytest.mark.parametrize("other, told", [
    (lambda services: services.greet.s(name="Bo"), "name='Li' before, name='Bo' now"),
    (lambda services: services.greet.s(name="Li", word="Hi"), "no word= before, word='Hi' now"),
    (lambda services: services.greet.s(name="Li") | services.amplify.s(),
     "the chain greet before, the chain greet,amplify now"),
], ids=["another value", "one more", "another chain"])
def test_other_inputs_under_a_key_are_refused_with_the_difference(services, other, told):
    first = fx.run(services.greet.s(name="Li"), key="greeting")

    with pytest.raises(BadInput) as refused:
        fx.run(other(services), key="greeting")

    assert str(refused.value) == (f"the key 'greeting' is that of {first.firex_id}, which has other inputs: {told}; "
                                  "give the same again, or another key")


def test_what_is_given_to_a_later_task_of_the_same_name_counts_too(services):
    fx.run(services.greet.s(name="Li") | services.greet.s(name="Bo"), key="two")

    with pytest.raises(BadInput, match="other inputs: other arguments of its tasks;"):
        fx.run(services.greet.s(name="Li") | services.greet.s(name="Wu"), key="two")


def test_a_key_of_python_code_is_none_of_a_command_and_the_other_way_round(services, firexlite):
    file = services.__file__
    fx.run(services.greet.s(name="Li"), key="python")
    assert firexlite("submit", "--plugins", file, "--chain", "greet", "--name", "Li", "--key", "command").code == 0

    refused = firexlite("submit", "--plugins", file, "--chain", "greet", "--name", "Li", "--key", "python")
    assert refused.code == 2 and "other inputs: begun by Python code before, by a command now;" in refused.err
    with pytest.raises(BadInput, match="other inputs: begun by a command before, by Python code now;"):
        fx.run(services.greet.s(name="Li"), key="command")


def test_a_key_that_cannot_be_one_or_goes_with_nothing_that_is_kept_is_refused(services, firexlite):
    with pytest.raises(BadInput, match=r"^key= takes a name of your own for the run, which is not 'last'"):
        fx.run(services.greet.s(name="Li"), key="last")
    with pytest.raises(BadInput, match=r"^with in_process=True each call begins a run, so it goes without key="):
        fx.run(services.greet.s(name="Li"), key="mine", in_process=True)
    assert firexlite.runs() == []


# --- how it ends ---------------------------------------------------------------------------------------------------------

def test_ctrl_c_stops_the_run_which_can_be_resumed(script, firexlite, effects):
    process = script(CLOSES)
    wait_until(lambda: effects()["begun"], what="body that began")

    process.send_signal(signal.SIGINT)  # to this process alone: the run has a session of its own
    code, _, err = ended(process)

    run = firexlite.only_run()
    assert code in (1, 130, -signal.SIGINT)
    told = f"{run.firex_id} was stopped; firexlite.resume('{run.firex_id}') goes on"
    assert err.splitlines()[-1] == f"KeyboardInterrupt: {told}"
    assert not run.is_alive()
    (firexlite.folder / "open").touch()
    assert firexlite("resume", run.firex_id).code == 0
    assert effects() == {"begun": 2, "closed": 1}


def test_a_run_ends_with_the_process_that_began_it(script, firexlite, effects):
    process = script(CLOSES)
    wait_until(lambda: effects()["begun"], what="body that began")
    run = firexlite.only_run()
    below = list(host.descendants(process.pid))

    process.kill()

    wait_until(lambda: not run.is_alive(), what="end of the run")
    wait_until(lambda: all(host.start_time(pid) is None for pid in below), what="end of its processes")
    (firexlite.folder / "open").touch()
    assert firexlite("resume", run.firex_id).code == 0


def test_a_run_that_takes_too_long_is_stopped(services, firexlite):
    with pytest.raises(TimeoutError) as caught:
        fx.run(services.wait_for_a_word.s(), timeout=2)

    run = firexlite.only_run()
    assert str(caught.value) == (f"{run.firex_id} had not ended after 2 s and was stopped; "
                                 f"firexlite.resume('{run.firex_id}') goes on")
    assert not run.is_alive()
    assert firexlite("send", run.firex_id, "word").code == 0
    assert fx.resume(run.firex_id).ok


def test_a_run_whose_processes_were_killed_was_interrupted(services, firexlite):
    def kill() -> None:
        run = wait_until(lambda: [run for run in firexlite.runs() if states(run).get("blocked")], what="task that waits")
        assert run
        [front] = [pid for pid in host.children(os.getpid()) if b"firexlite.library_front" in cmdline(pid)]
        os.kill(front, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    result = fx.run(services.wait_for_a_word.s(), check=False)
    killer.join()

    assert (result.state, result.exit_code) == ("interrupted", 128 + signal.SIGKILL)
    assert result.tree in ("wait_for_a_word (blocked)", "wait_for_a_word (ready)")


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
