"""Settings: from a file of the project, the environment and the command line, each before the one that stands before it."""
from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from conftest import FIXTURES, Finished

from firexlite.configuration import _OPTIONS, _VARIABLES
from firexlite.history import History

GUESTS = FIXTURES / "guests.py"


def options_of(firexlite) -> dict:
    with History(firexlite.only_run()) as history:
        return history.run().options


def settings(firexlite, text: str, name: str = "firexlite.toml") -> None:
    (firexlite.folder / name).write_text(text)


@pytest.mark.parametrize("name, table", [("firexlite.toml", ""), ("pyproject.toml", "[tool.firexlite]\n")])
def test_a_file_of_the_project_holds_what_nobody_wants_to_say_again(firexlite, name, table):
    settings(firexlite, f'{table}plugins = ["{GUESTS}"]\nworkers = 3\nqueues = {{ gpu = 2 }}\nfull-wait = 7\n', name)

    assert firexlite("submit", "--chain", "greet", "--name", "Li").code == 0

    found = options_of(firexlite)
    assert (found["workers"], found["queues"], found["full_wait_s"]) == (3, {"gpu": 2}, 7)


def test_the_environment_goes_before_the_file_and_the_command_line_before_both(firexlite):
    settings(firexlite, "workers = 3\nsoft-time-limit = 100\nfull-wait = 7\n")

    firexlite("submit", "--chain", "nop", "--full-wait", "9", FIREXLITE_FULL_WAIT="8", FIREXLITE_WORKERS="2")

    found = options_of(firexlite)
    assert (found["workers"], found["soft_time_limit"], found["full_wait_s"]) == (2, 100, 9)


def test_the_nearest_file_counts_up_to_the_root_of_the_repository(firexlite):
    inner = firexlite.folder / "repo" / "inner"
    inner.mkdir(parents=True)
    settings(firexlite, "workers = 3\n")
    (inner.parent / "pyproject.toml").write_text("[project]\nname = 'none of ours'\n")
    firexlite.folder = inner

    firexlite("submit", "--chain", "nop")
    assert options_of(firexlite)["workers"] == 3

    (inner.parent / ".git").mkdir()
    firexlite("submit", "--chain", "nop", FIREXLITE_HOME=str(inner / "home"))
    text = subprocess.run([sys.executable, "-m", "firexlite", "runs", "--json"], cwd=inner, capture_output=True, text=True,
                          timeout=60, env={**firexlite.env, "FIREXLITE_HOME": str(inner / "home")}).stdout
    run_json = json.loads((inner / "home" / json.loads(text)[0]["firex_id"] / "run.json").read_text())
    assert run_json["state"] == "succeeded"
    with History(type(firexlite.only_run())(inner / "home" / run_json["firex_id"])) as history:
        assert history.run().options["workers"] == len(os.sched_getaffinity(0))


def test_paths_are_looked_for_from_the_file(firexlite):
    inner = firexlite.folder / "inner"
    inner.mkdir()
    (firexlite.folder / "guests.py").write_text(GUESTS.read_text())
    settings(firexlite, 'plugins = "guests.py"\nhome = "runs-of-ours"\n')
    firexlite.folder = inner
    del firexlite.env["FIREXLITE_HOME"]

    done = firexlite("submit", "--chain", "greet", "--name", "Li")

    assert done.code == 0, done.err
    assert (inner.parent / "runs-of-ours" / done.firex_id).is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_what_another_user_could_have_written_is_no_settings(firexlite):
    settings(firexlite, 'plugins = ["nowhere.py"]\n')
    file = firexlite.folder / "firexlite.toml"

    os.chown(file, 12345, 12345)
    assert firexlite("submit", "--chain", "nop").code == 0
    os.chown(file, 0, 0)
    file.chmod(0o666)
    assert firexlite("submit", "--chain", "nop").code == 0
    file.chmod(0o644)
    assert firexlite("submit", "--chain", "nop").code == 2


@pytest.mark.parametrize("text, sentence", [
    ("worker = 3", "{file}: there is no setting 'worker'. Did you mean 'workers'?"),
    ("workers = 'three'", "{file}: workers takes a number, not 'three'"),
    ("plugins = 3", "{file}: plugins takes a list of strings, not 3"),
    ("queues = { gpu = 'one' }", "{file}: queues takes a table of numbers, as in queues = {{ gpu = 1 }}, not {{'gpu': 'one'}}"),
    ("quiet = 'yes'", "{file}: quiet takes true or false, not 'yes'"),
    ("workers", "{file} cannot be read as TOML: "),
])
def test_what_is_no_setting_is_refused(firexlite, text, sentence):
    settings(firexlite, text)

    refused = firexlite("submit", "--chain", "nop")

    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith(f"firexlite: {sentence.format(file=firexlite.folder / 'firexlite.toml')}")
    assert not firexlite.home.exists()


def test_a_variable_that_says_what_no_setting_is_is_refused(firexlite):
    assert firexlite("submit", "--chain", "nop", FIREXLITE_WORKERS="many") == Finished(
        2, "", "firexlite: FIREXLITE_WORKERS takes a number, not 'many'\n")


def test_a_resume_goes_on_with_what_the_run_recorded(firexlite, plugin):
    services = plugin("""

import os
from firexlite import app

@app.task
def fail_once():
    if not os.path.exists("again"):
        open("again", "w").close()
        raise ValueError("once")
""")
    failed = firexlite("submit", "--plugins", services, "--chain", "fail_once", "--workers", "1")
    settings(firexlite, 'plugins = ["nowhere.py"]\nworkers = 3\n')

    resumed = firexlite("resume", failed.firex_id)

    assert resumed.code == 0, resumed.err


def test_the_page_has_every_setting():
    page = (FIXTURES.parent / "docs" / "configuration.md").read_text()
    for name in (*_OPTIONS, *_VARIABLES):
        assert f"| `{name.replace('_', '-')}` |" in page
