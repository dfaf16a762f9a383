"""The tutorial, typed into a terminal as it stands, where there is a Python with nothing installed and the single file."""
from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import wait_until
from pages import index_of
from test_docs import BLOCK, FIREX_ID, TUTORIAL, Example, examples_in, normal

from release import pythons
from release.dist import build

FIRST_RESULT_S = 60
COMMAND_S = 60
WIDTH, HEIGHT = 200, 50


@dataclass(frozen=True)
class Machine:
    """Where the tutorial is followed. shell: the words that start a shell there. folder: where that begins, and the single
    file lies."""

    shell: list[str]
    folder: Path


class Terminal:
    """A shell in a terminal of tmux, whose prompt counts the commands."""

    def __init__(self, machine: Machine, socket: Path) -> None:
        self._tmux = ["tmux", "-S", str(socket), "-f", "/dev/null"]
        self._given = 0
        self._call("new-session", "-d", "-x", str(WIDTH), "-y", str(HEIGHT), *machine.shell)
        self._await_prompt(COMMAND_S)

    def type(self, command: str, limit_s: float = COMMAND_S) -> list[str]:
        """Type a command, which may have several lines, wait for the next prompt, and return what the screen shows between."""
        for line in command.split("\n"):
            self._call("send-keys", "-l", "--", line)
            self._call("send-keys", "Enter")
        self._given += 1
        self._await_prompt(limit_s)
        screen = self._screen()
        begin = next(i for i, line in enumerate(screen) if line.startswith(f"{self._given}$ "))
        return screen[begin + command.count("\n") + 1:-1]

    def close(self) -> None:
        self._call("kill-server")

    def _await_prompt(self, limit_s: float) -> None:
        prompt = f"{self._given + 1}$"
        wait_until(lambda: self._screen()[-1:] == [prompt], limit_s, f"prompt {prompt} on:\n" + "\n".join(self._screen()))

    def _screen(self) -> list[str]:
        """All lines since the terminal was opened, long ones as one, without the empty ones below the last."""
        shown = self._call("capture-pane", "-p", "-J", "-S", "-")
        return [line.rstrip() for line in shown.rstrip().splitlines()]

    def _call(self, *words: str) -> str:
        done = subprocess.run([*self._tmux, *words], capture_output=True, text=True, timeout=COMMAND_S)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout


def clean_shell(home: Path | str, path: str) -> list[str]:
    """The words that start a shell in a home, where nothing is set but what a terminal sets."""
    return ["env", "-i", "-C", str(home), f"HOME={home}", f"PATH={path}", "LANG=C.UTF-8", "TERM=screen", r"PS1=\#$ ",
            "bash", "--norc", "--noprofile", "-i"]


@pytest.fixture(scope="module")
def single_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build(folder, filter(None, pythons.found().values()))
    return folder / "firexlite.pyz"


@pytest.fixture
def here(tmp_path: Path, single_file: Path) -> Machine:
    """This machine, with a home of its own and a Python that has its standard library and nothing else."""
    home, python = tmp_path / "home", tmp_path / "python"
    home.mkdir()
    base = getattr(sys, "_base_executable", "") or sys.executable
    subprocess.run([base, "-m", "venv", "--without-pip", python], check=True, timeout=COMMAND_S)
    shutil.copy(single_file, home)
    return Machine(clean_shell(home, f"{python / 'bin'}:/usr/bin:/bin"), home)


@pytest.fixture
def bare_debian(tmp_path: Path, single_file: Path) -> Iterator[Machine]:
    """The smallest Debian there is, and python3."""
    if os.geteuid() or not shutil.which("debootstrap") or subprocess.run(["unshare", "--mount", "--pid", "true"]).returncode:
        pytest.skip("a bare Debian is made by debootstrap, and entered by root")
    root = tmp_path / "debian"
    made = subprocess.run(["debootstrap", "--variant=minbase", "--include=python3", "stable", root], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
    assert made.returncode == 0, made.stdout[-2000:]
    shutil.copy(single_file, root / "root")
    enter = ["unshare", "--mount", "--pid", "--fork", f"--mount-proc={root / 'proc'}", "chroot", str(root)]
    yield Machine([*enter, *clean_shell("/root", "/usr/bin:/bin")], root / "root")
    shutil.rmtree(root)  # a quarter of a gigabyte


@pytest.fixture(params=["here", pytest.param("bare_debian", marks=pytest.mark.long)])
def machine(request: pytest.FixtureRequest) -> Machine:
    return request.getfixturevalue(request.param)


@pytest.fixture
def terminal(machine: Machine, tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(machine, tmp_path / "tmux")
    yield terminal
    terminal.close()


def commands_of(page: Path) -> list[Example]:
    """All that is to be typed, in its order: each block of `sh` as one command, of which nothing is said to be printed, and
    the commands of `console` blocks."""
    found: list[Example] = []
    for kind, text in BLOCK.findall(page.read_text()):
        if kind == "sh":
            found.append(Example(text.rstrip("\n")))
        elif kind == "console":
            found += examples_in(text)
    return found


def shown(lines: list[str], ids: dict[str, str]) -> list[str]:
    """Lines without what differs from one terminal or time to the next: ids, times, progress that a kill left there, a failure
    told as it comes and at the end, and the marks below a line that newer Pythons make."""
    lines = [FIREX_ID.sub(lambda found: ids.get(found[0], found[0]), line) for line in lines if set(line) - {" "} != {"^"}]
    lines = [re.sub(r"^\d+ of \d+ tasks? ended.*(?=Killed$)", "", line) for line in lines]
    return normal([line for i, line in enumerate(lines) if not (line.startswith("FAILED: ") and lines[i + 1:i + 2] == [line])])


@pytest.mark.long
@pytest.mark.timeout(900)  # a bare Debian is downloaded, and the single file built
def test_what_the_tutorial_has_one_type_shows_what_it_says(machine, terminal):
    began = time.monotonic()
    ids: dict[str, str] = {}  # of this run of it -> of the page
    screens = []
    for example in commands_of(TUTORIAL):
        screen = terminal.type(example.command, COMMAND_S if screens else FIRST_RESULT_S)
        for line, expected in zip(screen, example.lines, strict=False):
            if line.startswith("FireX ID: "):
                ids.setdefault(FIREX_ID.findall(line)[0], FIREX_ID.findall(expected)[0])
        assert shown(screen, ids) == shown(example.lines, {}), example.command
        screens.append("\n".join(screen))
        if first_command_that_shows("Returned values:", screens) == len(screens):
            assert time.monotonic() - began < FIRST_RESULT_S

    assert first_command_that_shows("Returned values:", screens) <= 2
    assert first_command_that_shows("Resuming: ", screens) <= 5
    assert index_of((machine.folder / "today.html").read_text())


def first_command_that_shows(text: str, screens: list[str]) -> int:
    """Its number, counted from 1; more than there are commands if none does."""
    return next((number for number, screen in enumerate(screens, 1) if text in screen), len(screens) + 1)
