"""What TAB offers on a command line, asked of the library and of real shells."""
from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from conftest import FIXTURES, Command, Finished, kill_all, query, wait_until

from firexlite import completing
from firexlite.cli import COMMANDS, cli, completion
from firexlite.completing import FILE, Candidate

BAKERY = '''
"""Never imported: that would tell."""
import os
from firexlite import app

open(os.environ["TOLD"], "w").close()


@app.task(returns="dough")
def knead(flour, salt=1):
    """Make dough.

    Of flour."""


@app.task(bind=True, name="shop.bakery.bake")
def _bake(self, dough, /, oven, *, minutes=40, crust):
    pass


@app.task
def sell(loaf): ...


def no_service(water): ...
'''
SHELLS = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"], "fish": ["--no-config", "-i"]}
BEFORE = {"bash": 'eval "$(firexlite completion bash)"', "fish": "firexlite completion fish | source",
          "zsh": 'autoload -U compinit; compinit -u -D; eval "$(firexlite completion zsh)"'}


def offered(*words: str) -> list[str]:
    """The values that may stand for the last word."""
    return [one.value for one in completion.candidates(words[:-1], words[-1])]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a plugin that must not be imported."""
    work = tmp_path / "bench"
    work.mkdir()
    (work / "bakery.py").write_text(BAKERY)
    monkeypatch.chdir(work)
    monkeypatch.setenv("TOLD", str(work / "told"))
    return work


@pytest.fixture
def ended_runs(firexlite: Command, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """``{state: FireX ID}``: runs of which the oldest was killed, the second failed, and the newest two succeeded."""
    monkeypatch.setenv("FIREXLITE_HOME", str(firexlite.home))
    found = {}
    sleeping = firexlite.start("submit", "--chain", "nop,sleep", "--sleep", "60")
    sleeps = "SELECT 1 FROM task WHERE id = 2 AND state IN ('running', 'blocked')"
    wait_until(lambda: firexlite.runs() and query(firexlite.only_run(), sleeps), what="task that sleeps")
    kill_all(sleeping)
    found["interrupted"] = firexlite.only_run().firex_id
    guests = ("--plugins", FIXTURES / "guests.py", "--chain")
    found["failed"] = firexlite("submit", *guests, "greet", "--name", "L").firex_id
    found["succeeded"] = firexlite("submit", *guests, "greet_guests", "--guests", "Li,Mohamed").firex_id
    found["the last"] = firexlite("submit", "--chain", "nop").firex_id
    return found


# --- commands and options ------------------------------------------------------------------------------------------

def test_the_first_word_is_a_command() -> None:
    assert offered("") == [*COMMANDS]
    assert completion.candidates([], "fl") == [Candidate("flame", COMMANDS["flame"])]
    assert offered("--v") == ["--version"]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_offered_by_its_first_name(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    options = [one for one in command.get_params(click.Context(command)) if isinstance(one, click.Option) and not one.hidden]

    assert offered(name, "--") == [next(text for text in one.opts if text.startswith("--")) for one in options]


@pytest.mark.parametrize("words, expected", [
    (("resume", "ID", "--wo"), ["--workers"]),
    (("resume", "ID", "--celery_w"), ["--celery_work_slots"]),
    (("resume", "ID", "--detach", "--det"), []),
    (("resume", "ID", "--redact", "TOKEN", "--reda"), ["--redact"]),
    (("flame", "ID", "--format", "h"), ["html"]),
    (("flame", "ID", "--format=h"), ["--format=html"]),
    (("flame", "ID", "--format", "=", "h"), ["html"]),
    (("completion", ""), ["bash", "zsh", "fish"]),
    (("no_such_command", ""), []),
])
def test_options_and_their_values(words: tuple[str, ...], expected: list[str]) -> None:
    assert offered(*words) == expected


@pytest.mark.parametrize("words", [("flame", "ID", "-o", ""), ("submit", "--flame", "o"), ("import", ""),
                                   ("submit", "--plugins", "b"), ("submit", "--chain", "nop", "--whatever", "b")])
def test_where_a_file_is_wanted_the_shell_looks_for_one(words: tuple[str, ...]) -> None:
    assert completion.candidates(words[:-1], words[-1]) == [FILE]


def test_commands_whose_first_argument_is_a_run_are_known_without_importing_them() -> None:
    commands = {name: cli.get_command(click.Context(cli), name) for name in COMMANDS}
    first = {name: [one.type.name for one in command.params if isinstance(one, click.Argument)][:1]
             for name, command in commands.items()}

    assert {name for name, kinds in first.items() if kinds == ["run"]} == {*completion.TAKE_A_RUN}


# --- runs and tasks ------------------------------------------------------------------------------------------------

def test_a_resume_is_offered_first_what_it_can_resume_each_with_its_state(ended_runs: dict[str, str]) -> None:
    assert completion.candidates(["resume"], "FireX-") == [
        Candidate(ended_runs["failed"], "failed: greet"),
        Candidate(ended_runs["interrupted"], "interrupted: nop,sleep"),
        Candidate(ended_runs["the last"], "succeeded: nop"),
        Candidate(ended_runs["succeeded"], "succeeded: greet_guests"),
    ]
    newest_first = [*ended_runs.values()][::-1]
    assert offered("flame", "") == newest_first
    assert offered("cancel", "")[0] == ended_runs["interrupted"]
    assert offered("resume", "--workers", "2", "") == offered("resume", "")
    assert offered("resume", ended_runs["failed"], "") == []
    assert offered("logs", ended_runs["failed"]) == [ended_runs["failed"]]

    succeeded = ended_runs["succeeded"]
    assert completion.candidates(["logs", succeeded], "gr") == [
        Candidate("greet_guests", "all of this service"), Candidate("greet", "all of this service")]
    assert completion.candidates(["cancel", succeeded], "") == [
        Candidate("1", "greet_guests: succeeded"), Candidate("2", "greet: succeeded"), Candidate("3", "greet: succeeded")]
    assert offered("cancel", ended_runs["interrupted"], "") == ["2", "1"]
    assert offered("resume", ended_runs["failed"], "--restart-task", "") == ["1"]
    assert offered("resume", "--mark-done", "1", "{}", ended_runs["failed"], "--restart-task", "") == ["1"]


def test_a_run_that_goes_on_is_the_first_to_be_cancelled(firexlite: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIREXLITE_HOME", str(firexlite.home))
    firexlite.start("submit", "--chain", "sleep", "--sleep", "60")
    wait_until(firexlite.runs, what="run")
    firex_id = firexlite.only_run().firex_id
    firexlite("submit", "--chain", "nop")

    assert completion.candidates(["cancel"], "")[0] == Candidate(firex_id, "running: sleep")


def test_a_run_may_be_named_by_its_key_or_as_the_last(firexlite: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIREXLITE_HOME", str(firexlite.home))
    assert offered("resume", "la") == []
    firexlite("submit", "--chain", "nop", "--key", "nightly-23")

    assert completion.candidates(["flame"], "ni") == [Candidate("nightly-23", "succeeded: nop")]
    assert offered("why", "la") == ["last"]
    assert completion.candidates(["show", "nightly-23"], "n") == [Candidate("nop", "all of this service")]
    assert offered("submit", "--like", "ni") == offered("diff", "last", "ni") == ["nightly-23"]


def test_plugins_and_the_home_are_those_of_the_settings(folder: Path, firexlite: Command, monkeypatch: pytest.MonkeyPatch,
                                                       ) -> None:
    firex_id = firexlite("submit", "--chain", "nop").firex_id
    monkeypatch.setenv("FIREXLITE_HOME", "")  # to be as it was afterwards
    monkeypatch.delenv("FIREXLITE_HOME")
    (folder / "firexlite.toml").write_text(f'plugins = "bakery.py"\nhome = "{firexlite.home}"\n')

    assert offered("submit", "--chain", "kn") == ["knead"]
    assert offered("resume", "") == [firex_id]


def test_what_cannot_be_read_is_offered_without_a_state_and_nothing_goes_wrong(
        firexlite: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIREXLITE_HOME", str(firexlite.home))
    firex_id = firexlite("submit", "--chain", "nop").firex_id
    for strange in ("{", "[]", '{"state": 7, "chain": {}}'):
        firexlite.only_run().run_json.write_text(strange)

        assert completion.candidates(["resume"], "") == [Candidate(firex_id, "")]

    asked = {"COMP_WORDS": "firexlite logs FireX-no-260101-000000-1 ", "COMP_CWORD": "3"}
    assert firexlite(_FIREXLITE_COMPLETE="bash_complete", **asked) == Finished(0, "\n", "")
    assert firexlite(_FIREXLITE_COMPLETE="elvish_complete", **asked) == Finished(0, "", "")


# --- services ------------------------------------------------------------------------------------------------------

def test_services_are_read_from_plugins_which_are_not_imported(folder: Path) -> None:
    found = completing.services(["bakery.py"])

    assert (folder / "told").exists() is False
    assert {name: found[name].arguments for name in ("knead", "bake", "sell")} == {
        "knead": {"flour": True, "salt": False},
        "bake": {"dough": True, "oven": True, "minutes": False, "crust": True},
        "sell": {"loaf": True}}
    assert found["knead"].doc.startswith("Make dough.")
    assert "no_service" not in found


@pytest.mark.parametrize("plugins", [["--plugins", "bakery.py"], ["--plugins=bakery.py"], ["--external", "."],
                                     ["--plugins", "no_such.py,bakery.py"]])
def test_a_chain_goes_on_with_services(folder: Path, plugins: list[str]) -> None:
    assert completion.candidates(["submit", *plugins, "--chain"], "kn") == [Candidate("knead", "Make dough.")]
    assert offered("submit", *plugins, "--chain", "knead,b") == ["knead,bake"]
    assert offered("submit", *plugins, "--chain=knead,b") == ["--chain=knead,bake"]
    assert offered("info", *plugins, "sel") == ["sell"]
    assert {"sell", "nop", "sleep"} < {*offered("submit", *plugins, "--chain", "")}


def test_services_in_folders_that_the_environment_names_are_offered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIREXLITE_SERVICES", str(folder))

    assert offered("submit", "--chain", "kn") == ["knead"]


def test_arguments_of_the_chosen_services_are_options_what_must_be_given_first(folder: Path) -> None:
    words = ["submit", "--plugins", "bakery.py", "--chain", "knead,bake"]

    assert completion.candidates(words, "--")[:5] == [  # without the dough, which is returned before
        Candidate("--flour", "of knead"), Candidate("--oven", "of bake"), Candidate("--crust", "of bake"),
        Candidate("--salt", "of knead, which can do without"),
        Candidate("--minutes", "of bake, which can do without")]
    assert offered(*words, "--flour", "rye", "-minutes", "3", "--fl") == ["--flame"]
    assert offered(*words, "--mi") == ["--minutes"]


def test_a_plugin_that_is_just_being_written_offers_what_there_is_else(folder: Path) -> None:
    (folder / "half.py").write_text("@app.task\ndef knead(")

    assert offered("submit", "--plugins", "half.py,bakery.py", "--chain", "sel") == ["sell"]


def test_a_list_of_plugins_goes_on_after_a_comma(folder: Path) -> None:
    (folder / "more").mkdir()
    (folder / "more" / "cakes.py").touch()
    (folder / "notes.txt").touch()

    assert offered("submit", "--plugins", "bakery.py,") == ["bakery.py,bakery.py", "bakery.py,more/"]
    assert offered("submit", "--plugins", "bakery.py,more/c") == ["bakery.py,more/cakes.py"]


# --- real shells ---------------------------------------------------------------------------------------------------

class Typed:
    """A shell in a terminal, in which somebody types."""

    def __init__(self, shell: str, folder: Path, env: dict[str, str]) -> None:
        self.said = ""
        self.pid, self._terminal = pty.fork()
        if not self.pid:
            os.chdir(folder)
            os.execvpe(shell, [shell, *SHELLS[shell]], {**env, "TERM": "xterm", "COLUMNS": "200", "LINES": "40"})

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def shows(self, pattern: str, limit_s: float = 20) -> str:
        """Wait for something to be shown; whatever was shown before counts no more."""
        give_up = time.monotonic() + limit_s
        while not (found := re.search(pattern, self._plain(), re.DOTALL)):
            assert time.monotonic() < give_up, f"no {pattern} within {limit_s} s, but:\n{self._plain()}"
            if select.select([self._terminal], [], [], 0.1)[0]:
                self.said += os.read(self._terminal, 65536).decode("utf-8", "replace")
        self.said = ""
        return found[0]

    def _plain(self) -> str:
        """Without the words by which a terminal is told where to write."""
        return re.sub(r"\x1b\[[0-9;?>=]*[a-zA-Z]|\x1b[()][A-Z0-9]|\x1b[=>]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)|[\x07\r\n\x0f]", "",
                      self.said)

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._terminal)


@pytest.fixture
def shell(firexlite: Command, folder: Path) -> Iterator[Callable[[str], Typed]]:
    """Starts a shell that completes, in the folder with the plugin."""
    started: list[Typed] = []

    def start(name: str) -> Typed:
        if not shutil.which(name):
            pytest.skip(f"there is no {name} in PATH")
        env = {**firexlite.env, "PATH": f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}",
               "HOME": str(folder), "ZDOTDIR": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder),
               "XDG_RUNTIME_DIR": str(folder)}
        typed = Typed(name, folder, env)
        started.append(typed)
        typed.type(f"{BEFORE[name]}; echo ready to $((40 + 2))\n" if name != "fish"
                   else f"{BEFORE[name]}; echo ready to (math 40 + 2)\n")
        typed.shows("ready to 42")
        return typed

    yield start
    for typed in started:
        typed.close()


@pytest.mark.parametrize("name", SHELLS)
def test_a_real_shell_completes(name: str, shell: Callable[[str], Typed], firexlite: Command) -> None:
    firex_id = firexlite("submit", "--chain", "nop").firex_id
    typed = shell(name)

    for begun, completed in (("firexlite resu\t", "firexlite resume "),
                             ("FireX-\t", f"{re.escape(firex_id)} "),
                             ("--acc\t", "--accept-new "),
                             ("\x15firexlite submit --plugins bakery.py --chain knead,ba\t", "--chain knead,bake "),
                             ("--ov\t", "--oven "),
                             ("bake\t", "bakery.py ")):
        typed.type(begun)
        typed.shows(completed)


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_one_that_it_can_read(name: str, firexlite: Command, tmp_path: Path) -> None:
    printed = firexlite("completion", name)
    (tmp_path / "script").write_text(printed.out)

    assert (printed.code, printed.err) == (0, "")
    assert "_FIREXLITE_COMPLETE" in printed.out
    if shutil.which(name):
        subprocess.run([name, "-n", tmp_path / "script"], check=True, timeout=60)


def test_an_unknown_shell_is_refused(firexlite: Command) -> None:
    assert firexlite("completion", "elvish").err == "firexlite: completion knows bash, zsh and fish, not 'elvish'\n"


def test_little_is_imported_to_complete_a_run_or_an_option(firexlite: Command) -> None:
    """It must be there at once: what runs services, and what opens a journal, takes longer than all else."""
    for words in ("firexlite resume ", "firexlite submit --", "firexlite submit --chain "):
        asked = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "firexlite"], text=True, capture_output=True, timeout=60,
            env={**firexlite.env, "_FIREXLITE_COMPLETE": "bash_complete", "COMP_WORDS": words,
                 "COMP_CWORD": str(len(words.split(" ")) - 1)})

        assert asked.stdout.startswith("plain,") or "resume" in words
        imported = {line.rpartition("|")[2].strip() for line in asked.stderr.splitlines()}
        assert "firexlite.completing" in imported
        assert not imported & {"peewee", "firexlite.application", "firexlite.runner", "tabulate", "asyncio"}
