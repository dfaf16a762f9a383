"""Who only looks at runs needs neither locks of files nor forks: a report can be made wherever Python runs."""
from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import FIXTURES, LIMIT_S

GUESTS = FIXTURES / "guests.py"
# As on a host that has none of it.
BARE = """
import os, sys
sys.modules["fcntl"] = sys.modules["termios"] = sys.modules["resource"] = None
for name in ("fork", "forkpty", "pidfd_open", "eventfd", "register_at_fork"):
    if hasattr(os, name):
        delattr(os, name)
from firexlite.cli import run
run(sys.argv[1:])
"""
COMMANDS = ["runs --json", "show {id}", "show {id} --json", "show {id} 2", "why {id}", "logs {id}", "logs {id} greet",
            "logs {id} --follow", "events {id}", "events {id} --follow",
            "events {id} --format blaze", "flame {id} --json --now 1", "flame {id} --now 1", "doctor {id}", "wait {id}",
            "prune --older-than 9d --dry-run", "diff {id} {id}", "--version"]


@pytest.fixture(scope="module")
def one_run(tmp_path_factory):
    from conftest import Command

    folder = tmp_path_factory.mktemp("one_run")
    command = Command(folder / "home", folder)
    yield command, command("submit", "--plugins", GUESTS, "--chain", "greet_guests", "--guests", "Li,Mohamed").firex_id
    command.close()


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_that_only_looks_needs_neither_locks_nor_forks(one_run, words):
    firexlite, firex_id = one_run
    words = words.format(id=firex_id).split()

    with_all = firexlite(*words)
    with_little = subprocess.run([sys.executable, "-c", BARE, *words], cwd=firexlite.folder, env=firexlite.env, text=True,
                                 capture_output=True, stdin=subprocess.DEVNULL, timeout=LIMIT_S)

    assert (with_little.returncode, with_little.stdout) == (with_all.code, with_all.out), with_little.stderr
    assert with_all.code == 0
