"""Nothing is built upon, and nothing is told, that a power cut could take back."""
from __future__ import annotations

import re
import subprocess
import sys

import pytest
from conftest import LIMIT_S, NOTE, query

TWO = NOTE + """
@app.task(returns="x")
def first():
    note("first ends")
    return 1

@app.task(returns="y")
def second(x):
    note("second begins")
    note("second ends")
    return x + 1

@app.task(bind=True, returns="z")
def parent(self, y):
    x = self.enqueue_child_and_get_results(first.s())["x"]
    note("parent goes on")
    return x + y
"""
SUBMIT = ("submit", "--plugins", "services.py", "--chain", "first,second,parent", "--workers", "1")


def traced(firexlite) -> tuple[list[str], str]:
    """The writes and syncs of all processes of a run, in their order, and what it printed."""
    log = firexlite.folder.parent / "calls"
    done = subprocess.run(
        ["strace", "-f", "-y", "-s", "200", "-o", str(log), "-e", "trace=write,pwrite64,fdatasync,fsync,rename",
         sys.executable, "-m", "firexlite", *SUBMIT],
        cwd=firexlite.folder, env=firexlite.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stderr
    return log.read_text().splitlines(), done.stdout


def place(calls: list[str], pattern: str, after: int = 0) -> int:
    return next(n for n, call in enumerate(calls) if n >= after and re.search(pattern, call))


def test_the_disk_has_a_result_before_anyone_builds_upon_it_or_is_told(firexlite, plugin, effects):
    plugin(TWO)
    calls, out = traced(firexlite)

    synced = r"(fdatasync|fsync)\(\d+<.*journal\.sqlite3(-wal)?>.* = 0|<\.\.\. (fdatasync|fsync) resumed>.* = 0"
    for ended, seen in (("first ends", "second begins"), ("second ends", "first ends"), ("first ends", "parent goes on")):
        at = place(calls, ended)
        written = place(calls, r"pwrite64\(.*journal\.sqlite3-wal>", after=at)
        told = place(calls, seen, after=at + 1)
        assert written < place(calls, synced, after=written) < told, (ended, seen)
    last = place(calls, "parent goes on")
    assert place(calls, synced, after=place(calls, r"pwrite64\(.*journal\.sqlite3-wal>", after=last)) < place(
        calls, r"write\(1<.*z", after=last)
    assert "z" in out


def test_the_id_is_printed_when_the_run_would_survive_a_power_cut(firexlite, plugin, effects):
    plugin(TWO)
    calls, _ = traced(firexlite)

    home = re.escape(str(firexlite.home))
    named = place(calls, rf"rename\(.*{home}")
    durable = place(calls, rf"fsync\(\d+<{home}>\) += 0", after=named)
    assert place(calls, r"fdatasync\(\d+<.*journal\.sqlite3(-wal)?>.* = 0") < named < durable < place(calls, "FireX ID: FireX-")


@pytest.mark.parametrize("moment", ["submit written", "submit committed", "draft made", "published"])
def test_of_a_submission_that_is_killed_the_id_is_printed_only_if_the_run_is_there(moment, firexlite, plugin, effects, struck):
    plugin(TWO)

    done = firexlite(*SUBMIT, **struck(f"{moment}#1=all"))

    assert done.code != 0
    if "FireX ID" in done.out:
        assert [run.firex_id for run in firexlite.runs()] == [done.firex_id]
    else:
        assert len(firexlite.runs()) == (moment == "published")
    assert not effects()


@pytest.mark.parametrize("number, begun", [
    (1, {"first ends": 1}),
    (3, {"first ends": 2, "second begins": 1, "second ends": 1}),
])
def test_what_was_not_committed_was_seen_by_nobody(number, begun, firexlite, plugin, effects, struck):
    plugin(TWO)

    done = firexlite(*SUBMIT, **struck(f"settle written#{number}=all"))

    assert done.code != 0 and "z" not in done.out.replace(done.firex_id, "")
    assert effects() == begun
    run = firexlite.only_run()
    assert query(run, "SELECT count(*) FROM task WHERE state = 'succeeded'") == [(number - 1,)]
