"""Runs that fail, each in its own way: made for real, for tests of what their reports tell."""
from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from conftest import FIXTURES, Command, kill_all, states, wait_until

SERVICES = FIXTURES / "failing"
AS_ROOT = ["unshare", "-m"] if os.getuid() == 0 else ["unshare", "-rm"]
LIMIT_S = 90


def services(firexlite: Command, name: str) -> None:
    """Have a service file of the fixtures lie where commands are given, as a user's would."""
    (firexlite.folder / name).write_text((SERVICES / name).read_text())


def deep_cause(firexlite: Command) -> str:
    """The build for one board succeeds, that for another fails."""
    services(firexlite, "firmware.py")
    submit(firexlite, 0, "firmware.py", "nightly", "--board", "hawk")
    return submit(firexlite, 1, "firmware.py", "nightly", "--board", "kestrel")


def killed_worker(firexlite: Command) -> str:
    services(firexlite, "spectra.py")
    submit(firexlite, 0, "spectra.py", "measure", "--instrument", "S7", "--frames", "f1,f2")
    return submit(firexlite, 1, "spectra.py", "measure", "--instrument", "S7", "--frames", "f1,f2,f3-damaged")


def time_limit(firexlite: Command) -> str:
    services(firexlite, "oven.py")
    submit(firexlite, 0, "oven.py", "calibrate", "--sensors", "t1,t2", "--celsius", "20")
    return submit(firexlite, 1, "oven.py", "calibrate", "--sensors", "t1,t2")


def failed_retry(firexlite: Command) -> str:
    services(firexlite, "rates.py")
    submit(firexlite, 0, "rates.py", "price_report", "--source", "ecb")
    return submit(firexlite, 1, "rates.py", "price_report", "--source", "snb")


def mismatch(firexlite: Command) -> str:
    """A run is killed, and when it is resumed its parent reads another revision than before."""
    services(firexlite, "boards.py")
    revision, writing, plugged_in = (firexlite.folder / name for name in ("revision.txt", "writing", "plugged-in"))
    revision.write_text("r41\n")
    plugged_in.touch()
    submit(firexlite, 0, "boards.py", "flash_all", "--rack", "R3")
    for file in (writing, plugged_in):
        file.unlink()
    process = firexlite.start("submit", "--plugins", "boards.py", "--chain", "flash_all", "--rack", "R3")
    wait_until(writing.exists, what="second board")
    kill_all(process)
    firex_id = process.communicate()[0].partition("FireX ID: ")[2].split()[0]
    revision.write_text("r42\n")
    plugged_in.touch()
    resumed = firexlite("resume", firex_id)
    assert resumed.code == 5, resumed.err
    return firex_id


def disk_full(firexlite: Command) -> str:
    """A home of 1 MiB, mounted for it alone, is filled by a service; whatever tells of it is written while it is full."""
    services(firexlite, "archive.py")
    firexlite.home.mkdir()
    submit = "python -m firexlite submit --plugins archive.py --chain sample,record,report --channel mic-4 --full-wait 0.5"
    script = f"""
        mount -t tmpfs -o size=1m tmpfs "$FIREXLITE_HOME"
        {submit} || test $? = 6
        id=$(basename "$FIREXLITE_HOME"/FireX-*)
        python -m firexlite flame "$id" > disk_full.html
        python -m firexlite why "$id" > why.txt
        python -m firexlite why "$id" --json > why.json
        python -m firexlite show "$id" > show.txt
        echo "$id" > id"""
    done = subprocess.run([*AS_ROOT, "sh", "-euc", script], cwd=firexlite.folder, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=LIMIT_S, env={**firexlite.env, "ARCHIVE": str(firexlite.home),
                                                           "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"})
    assert done.returncode == 0, done.stdout + done.stderr
    return (firexlite.folder / "id").read_text().strip()


def cut_off_file(firexlite: Command) -> str:
    """A library raises, of a file that is not whole."""
    services(firexlite, "inventory.py")
    (firexlite.folder / "parts.json").write_text('{"parts": [{"name"')
    return submit(firexlite, 1, "inventory.py", "count_stock", "--parts_file", "parts.json")


def raised_from_another(firexlite: Command) -> str:
    services(firexlite, "tides.py")
    return submit(firexlite, 1, "tides.py", "forecast", "--harbour", "Emden")


def converter(firexlite: Command) -> str:
    services(firexlite, "recipe.py")
    return submit(firexlite, 1, "recipe.py", "cook", "--flour", "3 cups")


def not_storable(firexlite: Command) -> str:
    services(firexlite, "logger.py")
    return submit(firexlite, 1, "logger.py", "open_channels,read_channels", "--names", "a,b")


def several_children(firexlite: Command) -> str:
    """Two of four, five services below the third of a chain."""
    services(firexlite, "fleet.py")
    return submit(firexlite, 1, "fleet.py", "build,sign,roll_out", "--version", "7", "--workers", "1")


def called_off(firexlite: Command) -> str:
    services(firexlite, "survey.py")
    process = firexlite.start("submit", "--plugins", "survey.py", "--chain", "survey", "--area", "moor")
    wait_until(lambda: firexlite.runs() and states(firexlite.only_run()) == {"blocked": 1, "running": 1}, what="flight")
    firex_id = firexlite.only_run().firex_id
    assert firexlite("cancel", firex_id).code == 0
    process.communicate(timeout=LIMIT_S)
    return firex_id


def missing_module(firexlite: Command) -> str:
    services(firexlite, "probes.py")
    return submit(firexlite, 1, "probes.py", "draw", "--values", "1")


def chosen_code(firexlite: Command) -> str:
    services(firexlite, "probes.py")
    return submit(firexlite, 75, "probes.py", "simulate", "--circuit", "adder")


def no_retry_left(firexlite: Command) -> str:
    services(firexlite, "probes.py")
    return submit(firexlite, 1, "probes.py", "dial", "--number", "110")


def submit(firexlite: Command, code: int, plugin: str, chain: str, *arguments: str) -> str:
    done = firexlite("submit", "--plugins", plugin, "--chain", chain, *arguments)
    assert done.code == code, done.err
    return done.firex_id


RUNS: dict[str, Callable[[Command], str]] = {
    made.__name__: made for made in (deep_cause, killed_worker, time_limit, failed_retry, mismatch, disk_full)}
MORE_RUNS: dict[str, Callable[[Command], str]] = {
    made.__name__: made for made in (cut_off_file, raised_from_another, converter, not_storable, several_children, called_off,
                                     missing_module, chosen_code, no_retry_left)}


def page_of(firexlite: Command, kind: str) -> Path:
    """The report of a run that failed in this way, as one HTML file."""
    firex_id = (RUNS | MORE_RUNS)[kind](firexlite)
    page = firexlite.folder / f"{kind}.html"
    if not page.exists():
        page.write_text(firexlite("flame", firex_id).out)
    return page
