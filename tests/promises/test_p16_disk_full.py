"""A full disk holds a run up, and loses nothing: it goes on when there is space, or stops to be resumed."""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import pytest
from conftest import NOTE

AS_ROOT = ["unshare", "-m"] if os.getuid() == 0 else ["unshare", "-rm"]


def _no_small_disk() -> str:
    """Why no small file system can be mounted here; empty if one can."""
    if not shutil.which("unshare"):
        return "unshare is not in PATH"
    done = subprocess.run([*AS_ROOT, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, text=True, timeout=20)
    return done.stderr


pytestmark = pytest.mark.skipif(bool(_no_small_disk()), reason=_no_small_disk())

FILLS = NOTE + """
import errno, subprocess

def fill_the_disk():
    with open(os.environ["FIREXLITE_HOME"] + "/ballast", "wb", buffering=0) as ballast:
        size = 1 << 16
        while size:
            try:
                ballast.write(bytes(size))
            except OSError as error:
                assert error.errno == errno.ENOSPC
                size //= 2

@app.task(returns="x")
def before(): note("before"); return 1

@app.task(returns="y")
def fills(x):
    note("fills")
    if not os.path.exists("filled"):
        open("filled", "w").close()
        fill_the_disk()
        if os.environ.get("FREED_AFTER_S"):
            subprocess.Popen(["sh", "-c", "sleep $FREED_AFTER_S; rm $FIREXLITE_HOME/ballast"], start_new_session=True)
    return "y" * 100_000

@app.task(returns="z")
def after(y): note("after"); print("after"); return len(y)
"""
SUBMIT = "python -m firexlite submit --plugins services.py --chain before,fills,after --workers 2"


@pytest.fixture
def on_a_small_disk(firexlite):
    """Runs a shell script with a home of 1 MiB, mounted for it alone; gives what it printed."""

    def run(script: str, **env: str) -> str:
        firexlite.home.mkdir()
        done = subprocess.run(
            [*AS_ROOT, "sh", "-euc", f'mount -t tmpfs -o size=1m tmpfs "$FIREXLITE_HOME"\n{script}'],
            cwd=firexlite.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
            env={**firexlite.env, "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}", **env})
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


def test_space_that_is_freed_in_time_lets_the_run_end_as_if_nothing_had_been(on_a_small_disk, plugin, effects):
    plugin(FILLS)

    told = on_a_small_disk(f'{SUBMIT}\nfirexlite runs', FREED_AFTER_S="0.7")

    assert "z  100000" in told and "SUCCEEDED" in told
    assert effects() == {"before": 1, "fills": 1, "after": 1}  # what was done was kept in memory


def test_space_that_is_never_freed_stops_the_run_to_be_resumed(on_a_small_disk, plugin, effects):
    plugin(FILLS)

    told = on_a_small_disk(f"""
        {SUBMIT} --full-wait 1 || echo "exit $?"
        firexlite runs
        id=$(basename "$FIREXLITE_HOME"/FireX-*)
        rm "$FIREXLITE_HOME/ballast"
        firexlite doctor "$id" > /dev/null && echo "the doctor finds nothing"
        firexlite resume "$id" && firexlite runs""")

    assert "exit 6" in told
    assert "there was no space" in told and "nothing that was done is lost" in told
    assert "INTERRUPTED" in told and "the doctor finds nothing" in told
    assert "z  100000" in told and "SUCCEEDED" in told
    assert effects() == {"before": 1, "fills": 2, "after": 1}


def test_a_submission_to_a_full_disk_leaves_nothing_behind(on_a_small_disk, plugin, effects):
    plugin(FILLS)

    told = on_a_small_disk(f"""
        dd if=/dev/zero of="$FIREXLITE_HOME/ballast" bs=4k 2> /dev/null || true
        {SUBMIT} --full-wait 0 || echo "exit $?"
        echo "left: $(ls -A "$FIREXLITE_HOME")" """)

    assert "exit 6\nleft: ballast\n" in told
    assert "firexlite: no run was begun: there was no space for it on the disk for 0 s; nothing of it is left in " in told
    assert "FireX ID" not in told and effects() == {}


def test_a_submission_waits_for_space_too(on_a_small_disk, plugin, effects):
    plugin(FILLS)

    told = on_a_small_disk(f"""
        dd if=/dev/zero of="$FIREXLITE_HOME/ballast" bs=4k 2> /dev/null || true
        touch filled
        {SUBMIT} --full-wait 30 &
        until ls -A "$FIREXLITE_HOME" | grep -q draft; do sleep 0.02; done
        rm "$FIREXLITE_HOME/ballast"
        wait $!""")

    assert "z  100000" in told
    assert effects() == {"before": 1, "fills": 1, "after": 1}


def test_a_run_on_a_file_system_that_cannot_be_written_is_shown_and_not_resumed(on_a_small_disk, plugin):
    plugin("from firexlite import app\n\n@app.task\ndef fails(): raise ValueError\n")

    told = on_a_small_disk("""
        python -m firexlite submit --plugins services.py --chain fails 2> /dev/null || true
        id=$(basename "$FIREXLITE_HOME"/FireX-*)
        mount -o remount,ro "$FIREXLITE_HOME"
        python -m firexlite runs
        python -m firexlite resume "$id" || echo "exit $?" """)

    assert "FAILED" in told
    assert "exit 4" in told and "Traceback" not in told
    assert " cannot be written to: Read-only file system; look at it freely, or resume a copy of your own: " in told


DIES = FILLS + """
@app.task
def dies():
    fill_the_disk()
    with open("worker.part", "w") as file:
        file.write(str(os.getpid()))
    os.rename("worker.part", "worker")
    os.kill(os.getpid(), 9)  # the runner cannot journal that
"""
UNTIL_THE_RUNNER_WAITS = """
python -m firexlite submit --plugins services.py --chain dies --workers 1 & front=$!
until [ -e worker ]; do sleep 0.02; done
while [ -d /proc/$(cat worker) ]; do sleep 0.02; done
runner=$(cat /proc/$front/task/$front/children)
"""


@pytest.mark.parametrize("name, code", [("INT", 130), ("TERM", 143)])
def test_a_run_that_waits_for_space_can_be_stopped(on_a_small_disk, plugin, name, code):
    plugin(DIES)

    began = time.monotonic()
    said = on_a_small_disk(UNTIL_THE_RUNNER_WAITS + f"kill -{name} $front; wait $front || echo ended with $?")

    assert f"ended with {code}" in said and "Resume it with: firexlite resume" in said
    assert time.monotonic() - began < 20  # of the 60 s for which it would have waited


def test_a_run_that_waits_for_space_ends_with_its_front(on_a_small_disk, plugin):
    plugin(DIES)

    began = time.monotonic()
    on_a_small_disk(UNTIL_THE_RUNNER_WAITS + """
        kill -KILL $front
        while [ -d /proc/$runner ] && ! grep -q "State:.Z" /proc/$runner/status; do sleep 0.02; done
        """)

    assert time.monotonic() - began < 20


def test_a_submission_that_waits_for_space_can_be_stopped(on_a_small_disk, plugin, effects):
    plugin(FILLS)

    told = on_a_small_disk(f"""
        dd if=/dev/zero of="$FIREXLITE_HOME/ballast" bs=4k 2> /dev/null || true
        {SUBMIT} & front=$!
        until ls -A "$FIREXLITE_HOME" | grep -q draft; do sleep 0.02; done
        kill -INT $front
        wait $front || echo "exit $?"
        echo "left: $(ls -A "$FIREXLITE_HOME")" """)

    assert "exit 130\nleft: ballast\n" in told
    assert "FireX ID" not in told and effects() == {}
