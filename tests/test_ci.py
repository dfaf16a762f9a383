"""A home in CI: what docs/ci.md says to type is typed, on platforms that are played; see platforms.py."""
from __future__ import annotations

import collections
import html
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import FIXTURES, LIMIT_S, NOTE, Command, Finished, wait_until
from failing_runs import AS_ROOT
from platforms import PLATFORMS, GitHub, Platform, Slurm
from test_flame_failing import FIRST_SCREEN, TELEPHONE

NIGHTLY = NOTE + """
import signal, subprocess

@app.task(returns="parts")
def build():
    note("build")
    return ["radio", "sensors"]

@app.task(returns="checked")
def check(parts):
    note("check")
    print("checking", *parts)
    mode = open(os.environ["MODE"]).read()
    if mode == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if mode == "commands":
        subprocess.run(["sleep", "60"], check=True)
    while mode in ("waits", "deaf"):
        time.sleep(0.01)
    assert mode == "passes", f"{parts[1]} answered late"
    return len(parts)

@app.task(bind=True, returns="report")
def nightly(self):
    note("nightly")
    parts = self.enqueue_child_and_get_results(build.s())["parts"]
    checked = self.enqueue_child_and_get_results(check.s(parts=parts))["checked"]
    return f"{checked} parts"
"""
THE_LINE = next(number for number, line in enumerate(NIGHTLY.splitlines(), start=1) if "answered late" in line)


class Shop:
    """A project whose job runs on a platform. mode: what its check does, from now on."""

    def __init__(self, folder: Path, kind: type[Platform]) -> None:
        project = folder / "project"
        project.mkdir()
        (project / "nightly.py").write_text(NIGHTLY)
        self._mode, self._effects = folder / "mode", folder / "effects"
        self._effects.touch()
        self.mode("passes")
        self.platform = kind(folder / "platform", project,
                             {"MODE": str(self._mode), "EFFECT_LOG": str(self._effects), "FIREXLITE_WORKERS": "2"})

    def mode(self, mode: str) -> None:
        self._mode.write_text(mode)

    def effects(self) -> collections.Counter[str]:
        return collections.Counter(self._effects.read_text().splitlines())

    def checks(self, times: int) -> None:
        """Wait until the check is under way for so many times."""
        wait_until(lambda: self.effects()["check"] == times, what="check that is under way")

    @property
    def home(self) -> Path:
        """Of the last attempt."""
        tree = self.platform.machine.tree
        return next(one for one in (tree / ".firexlite", tree.parent / "work@firexlite") if one.exists())

    @property
    def run_json(self) -> dict:
        [run] = self.home.glob("FireX-*")
        return json.loads((run / "run.json").read_text())

    @property
    def report(self) -> str:
        return (self.platform.artifacts / "flame.html").read_text()

    def has_stopped(self) -> bool:
        """Whether nothing of the last attempt is left but its home, with an interrupted run, and a report that says so."""
        title = re.search("<title>(.*?)</title>", self.report)
        assert title and "interrupted" in title[1].lower(), title
        return not self.run_json["completed"] and not list(self.platform.own_processes())


@pytest.fixture
def shop() -> Iterator:
    """Makes a shop, in a folder into which others than its owner may look."""
    made: list[Shop] = []
    with tempfile.TemporaryDirectory(prefix="firexlite-ci-") as folder:
        os.chmod(folder, 0o755)

        def make(kind: type[Platform]) -> Shop:
            made.append(Shop(Path(folder), kind))
            return made[0]

        yield make
        for one in made:
            one.platform.close()


every_platform = pytest.mark.parametrize("kind", PLATFORMS, ids=lambda kind: kind.__name__)
# Those whose rhythm takes long: one platform each time, the others in `./dev large`.
one_platform = pytest.mark.parametrize("kind", [
    kind if kind is GitHub else pytest.param(kind, marks=pytest.mark.long) for kind in PLATFORMS],
    ids=lambda kind: kind.__name__)


@every_platform
def test_a_green_job_keeps_its_report_and_given_again_runs_nothing(shop, kind):
    at = shop(kind)

    assert at.platform.run() == 0, at.platform.log
    assert "2 parts" in at.platform.log and "<html" in at.report

    assert at.platform.run() == 0, at.platform.log
    assert "2 parts" in at.platform.log and "<html" in at.report
    assert at.effects() == {"nightly": 1, "build": 1, "check": 1}


@one_platform
def test_a_red_job_keeps_a_report_that_names_the_line_and_goes_on_with_the_corrected_code(shop, kind):
    at = shop(kind)
    at.mode("fails")

    assert at.platform.run() == 1
    assert f"nightly.py:{THE_LINE}" in at.platform.log
    assert f"nightly.py:{THE_LINE}" in at.report and "sensors answered late" in at.report

    at.mode("passes")
    assert at.platform.run() == 0, at.platform.log
    assert at.effects() == {"nightly": 2, "build": 1, "check": 2}


@one_platform
def test_a_job_that_is_called_off_leaves_its_report_and_goes_on_with_the_next_attempt(shop, kind):
    at = shop(kind)
    at.mode("waits")
    at.platform.start()
    at.checks(1)

    assert at.platform.cancel(), at.platform.log
    assert at.platform.end() in (130, 143)
    assert at.has_stopped()

    at.mode("passes")
    assert at.platform.run() == 0, at.platform.log
    assert at.effects() == {"nightly": 2, "build": 1, "check": 2}


@pytest.mark.long
@every_platform
def test_so_does_one_with_a_body_that_heeds_no_signal_before_its_platform_would_kill_it(shop, kind):
    at = shop(kind)
    at.mode("deaf")
    at.platform.start()
    at.checks(1)

    assert at.platform.cancel(), at.platform.log
    assert at.platform.end() in (130, 143)
    assert at.has_stopped()

    at.mode("passes")
    assert at.platform.run() == 0, at.platform.log
    assert at.effects() == {"nightly": 2, "build": 1, "check": 2}


@one_platform
def test_a_platform_that_also_tells_the_commands_of_services_does_no_harm(shop, kind):
    at = shop(kind)
    at.mode("commands")
    at.platform.start()
    at.checks(1)

    assert at.platform.cancel(), at.platform.log
    assert at.platform.end() in (130, 143), at.platform.log  # not 1, also where the command was told before firexlite was
    assert "nightly.py" in at.report

    at.mode("passes")
    assert at.platform.run() == 0, at.platform.log
    assert at.effects() == {"nightly": 2, "build": 1, "check": 2}


def test_where_only_the_command_itself_is_killed_the_rest_of_the_run_ends_before_it_is_saved(shop):
    at = shop(GitHub)
    at.mode("deaf")
    process = at.platform.start()
    at.checks(1)

    process.kill()
    assert at.platform.end() == 137

    assert at.has_stopped()
    at.mode("passes")
    assert at.platform.run() == 0, at.platform.log
    assert at.effects() == {"nightly": 2, "build": 1, "check": 2}


@one_platform
def test_a_job_of_which_all_is_killed_at_once_goes_on_and_its_report_is_made_by_what_follows(shop, kind):
    at = shop(kind)
    at.mode("waits")
    at.platform.start()
    at.checks(1)

    at.platform.kill()
    assert at.platform.end() == 137
    if kind.always_reports:
        assert at.has_stopped()

    at.mode("passes")
    assert at.platform.run() == 0, at.platform.log
    assert "<html" in at.report
    assert at.effects() == {"nightly": 2, "build": 1, "check": 2}


def test_a_job_that_reaches_its_time_limit_goes_back_into_the_queue_and_finishes(shop):
    at = shop(Slurm)
    at.mode("waits")
    at.platform.start()
    at.checks(1)

    assert at.platform.reach_time_limit()
    assert at.platform.end() == 130
    assert at.platform.requeued == ["requeue 815"] and at.has_stopped()

    at.mode("passes")
    assert at.platform.run() == 0, at.platform.log
    assert at.platform.requeued == ["requeue 815"]
    assert at.effects() == {"nightly": 2, "build": 1, "check": 2}


def test_a_job_that_was_called_off_is_not_put_back_into_the_queue(shop):
    at = shop(Slurm)
    at.mode("waits")
    at.platform.start()
    at.checks(1)

    at.platform.cancel()

    assert at.platform.end() == 143
    assert at.platform.requeued == []


def test_a_job_of_github_says_what_failed_beside_the_change_and_on_its_own_page(shop):
    at = shop(GitHub)
    at.mode("fails")

    at.platform.run()

    assert f"\n::error file=nightly.py,line={THE_LINE},title=check (task 3) failed::AssertionError: sensors answered late\n" \
        in at.platform.log
    assert at.platform.summary.startswith("### ❌ nightly: failed in ")
    assert f"**check** (task 3) failed at `nightly.py:{THE_LINE} in check`" in at.platform.summary


def test_the_one_artifact_of_a_red_job_names_the_line_on_the_first_screen_of_a_telephone(shop, browser):
    at = shop(GitHub)
    at.mode("fails")
    at.platform.run()

    [artifact] = at.platform.artifacts.iterdir()
    page = browser.open(artifact, *TELEPHONE)
    seen = page.evaluate(FIRST_SCREEN)

    for words in ("AssertionError: sensors answered late", f"nightly.py:{THE_LINE}", "assert mode == \"passes\"",
                  '["radio", "sensors"]', "checking radio sensors"):
        assert words in seen, seen
    assert page.errors == []
    page.close()


# --- another machine -----------------------------------------------------------------------------------------------

STRANGER = 12345  # no user of this machine


def no_other_user() -> str:
    """Why no process can be made that is another user's, on a host of another name; empty if one can."""
    if missing := [name for name in ("unshare", "setpriv", "hostname") if not shutil.which(name)]:
        return f"{', '.join(missing)} is not in PATH"
    if os.getuid():
        return "only root can become another user"
    return subprocess.run([*as_stranger("elsewhere"), "true"], capture_output=True, text=True, timeout=20).stderr


def as_host(name: str) -> tuple[str, ...]:
    return "unshare", "--uts", "sh", "-c", f'hostname {name} && exec "$@"', "sh"


def as_stranger(host: str) -> tuple[str, ...]:
    """Another user, who has neither a name nor a HOME here, and may look into folders: this Python may lie in root's own."""
    return (*as_host(host), "setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups",
            "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")


as_another = pytest.mark.skipif(bool(no_other_user()), reason=no_other_user())


@as_another
@one_platform
def test_a_killed_job_goes_on_on_another_path_of_another_host_as_another_user(shop, kind):
    at = shop(kind)
    at.mode("waits")
    at.platform.start(*as_host("one"))
    at.checks(1)
    first = at.home
    at.platform.kill()
    at.platform.end()

    at.mode("passes")
    for shared in (at.platform.folder.parent / "effects", at.platform.folder.parent / "mode"):
        shared.chmod(0o666)
    assert at.platform.run(*as_stranger("another"), uid=STRANGER) == 0, at.platform.log

    assert kind is Slurm or at.home != first
    assert at.home.stat().st_uid == STRANGER
    assert ">one<" in at.report and ">another<" in at.report
    assert at.effects() == {"nightly": 2, "build": 1, "check": 2}


# --- a bare machine ------------------------------------------------------------------------------------------------

def no_read_only_root() -> str:
    """Why the root cannot be made read-only for one command; empty if it can."""
    if not shutil.which("unshare"):
        return "unshare is not in PATH"
    return subprocess.run([*AS_ROOT, "sh", "-c", READ_ONLY, "sh", "/tmp", "true"], capture_output=True, text=True,
                          timeout=20).stderr


# All is read-only but for one folder, in which the command is given. Not even /tmp can be written to.
READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,ro,bind / && cd "$1" && shift && exec "$@"'
on_a_read_only_root = pytest.mark.skipif(bool(no_read_only_root()), reason=no_read_only_root())


def bare(firexlite: Command, *words: object, prefix: tuple[str, ...] = (), **env: str) -> Finished:
    """A command in an environment that has nothing but what a test gives it: no HOME, no locale, no terminal, no input."""
    kept = {name: os.environ[name] for name in ("PYTHONPATH", "PATH") if name in os.environ}
    done = subprocess.run([*prefix, sys.executable, "-m", "firexlite", *map(str, words)], cwd=firexlite.folder,
                          env={**kept, "PYTHONDONTWRITEBYTECODE": "1", **env}, stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=LIMIT_S, start_new_session=True)
    return Finished(done.returncode, done.stdout.decode(), done.stderr.decode())


GREET = ("--plugins", FIXTURES / "guests.py", "--chain", "greet", "--name")


@on_a_read_only_root
def test_a_run_needs_no_place_to_write_to_but_its_home_and_that_of_its_report(firexlite):
    writable = (*AS_ROOT, "sh", "-c", READ_ONLY, "sh", str(firexlite.folder))

    done = bare(firexlite, "submit", *GREET, "Li", "--key", "k", "--flame", "flame.html", prefix=writable,
                FIREXLITE_HOME=str(firexlite.folder / "home"))

    assert done.code == 0, done.err
    assert "<html" in (firexlite.folder / "flame.html").read_text()


@on_a_read_only_root
@pytest.mark.parametrize("key", [(), ("--key", "k")], ids=["without a key", "with a key"])
def test_a_home_that_is_read_only_is_refused_by_the_name_of_the_variable(firexlite, key):
    writable = (*AS_ROOT, "sh", "-c", READ_ONLY, "sh", str(firexlite.folder))

    done = bare(firexlite, "submit", *GREET, "Li", *key, prefix=writable, HOME="/nobody")

    assert done.code == 2
    assert done.err.startswith("firexlite: ") and "/nobody/.local/state/firexlite" in done.err
    assert done.err.endswith(": Read-only file system; set FIREXLITE_HOME to a directory that you may write to\n")


@as_another
@pytest.mark.parametrize("words", [("submit", *GREET, "Li"), ("submit", *GREET, "Li", "--key", "k"), ("runs",)],
                         ids=["submit", "with a key", "runs"])
def test_who_has_neither_a_home_nor_a_name_is_told_of_the_variable_in_one_sentence(firexlite, words):
    done = bare(firexlite, *words, prefix=as_stranger("elsewhere"))

    assert (done.code, done.out) == (2, "")
    assert done.err == (f"firexlite: user {STRANGER} has no home directory to keep runs in; "
                        "set FIREXLITE_HOME to a directory that you may write to\n")


@pytest.mark.parametrize("locale", ["C", "POSIX"])
@pytest.mark.parametrize("variable", ["LANG", "LC_ALL"])
def test_letters_beyond_ascii_come_through_in_any_locale(firexlite, variable, locale):
    (firexlite.folder / "bäckerei.py").write_text(
        "from firexlite import app\n\n@app.task(returns='gruß')\ndef grüße(name):\n"
        "    print('grüße', name)\n    assert name != '' , 'für niemanden'\n    return f'Grüße, {name}!'\n")
    env = {variable: locale, "FIREXLITE_HOME": str(firexlite.folder / "läufe"), "FIREXLITE_SUMMARY": "übersicht.md",
           "GITHUB_ACTIONS": "true"}
    words = ("submit", "--plugins", "bäckerei.py", "--chain", "grüße", "--flame", "bericht-ü.html")

    done = bare(firexlite, *words, "--name", "Zoë", "--key", "nächtlich", **env)
    again = bare(firexlite, *words, "--name", "Zoë", "--key", "nächtlich", **env)
    failed = bare(firexlite, *words, "--name", "", **env)

    assert done.code == again.code == 0, done.err
    assert "gruß  Grüße, Zoë!" in done.out and "gruß  Grüße, Zoë!" in again.out
    assert "grüße Zoë" in bare(firexlite, "logs", "nächtlich", **env).out
    assert failed.code == 1 and "FAILED: grüße (task 1): AssertionError: für niemanden" in failed.err
    assert "::error file=bäckerei.py,line=6,title=grüße (task 1) failed::AssertionError: für niemanden" in failed.out
    assert "### ❌ grüße: failed" in (firexlite.folder / "übersicht.md").read_text(encoding="utf-8")
    assert "für niemanden" in html.unescape((firexlite.folder / "bericht-ü.html").read_text(encoding="utf-8"))
