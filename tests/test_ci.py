"""A home in CI: what docs/ci.md says to type is typed, on platforms that are played; see platforms.py."""
from __future__ import annotations

import collections
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import FIXTURES, LIMIT_S, NOTE, wait_until
from platforms import PLATFORMS, GitHub, Platform, Slurm, workflow_file

from firexlite.home import RunDirectory

NIGHTLY = NOTE + """
import signal

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


@pytest.fixture
def shop(tmp_path: Path) -> Iterator:
    made: list[Shop] = []

    def make(kind: type[Platform]) -> Shop:
        made.append(Shop(tmp_path, kind))
        return made[0]

    yield make
    for one in made:
        one.platform.close()


every_platform = pytest.mark.parametrize("kind", PLATFORMS, ids=lambda kind: kind.__name__)


@every_platform
def test_a_green_job_keeps_its_report_and_given_again_runs_nothing(shop, kind):
    at = shop(kind)

    assert at.platform.run() == 0, at.platform.log
    assert "2 parts" in at.platform.log and "<html" in at.report

    assert at.platform.run() == 0, at.platform.log
    assert "2 parts" in at.platform.log and "<html" in at.report
    assert at.effects() == {"nightly": 1, "build": 1, "check": 1}


@every_platform
def test_a_red_job_keeps_a_report_that_names_the_line_and_goes_on_with_the_corrected_code(shop, kind):
    at = shop(kind)
    at.mode("fails")

    assert at.platform.run() == 1
    assert f"nightly.py:{THE_LINE}" in at.platform.log
    assert f"nightly.py:{THE_LINE}" in at.report and "sensors answered late" in at.report

    at.mode("passes")
    assert at.platform.run() == 0, at.platform.log
    assert at.effects() == {"nightly": 2, "build": 1, "check": 2}


@every_platform
def test_a_job_that_is_called_off_leaves_its_report_and_goes_on_with_the_next_attempt(shop, kind):
    at = shop(kind)
    at.mode("waits")
    at.platform.start()
    at.checks(1)

    assert at.platform.cancel(), at.platform.log
    assert at.platform.end() in (130, 143)
    assert at.run_json["completed"] is False
    assert "interrupted" in at.report

    at.mode("passes")
    assert at.platform.run() == 0, at.platform.log
    assert at.effects() == {"nightly": 2, "build": 1, "check": 2}


@every_platform
def test_so_does_one_with_a_body_that_heeds_no_signal_before_its_platform_would_kill_it(shop, kind):
    at = shop(kind)
    at.mode("deaf")
    at.platform.start()
    at.checks(1)

    assert at.platform.cancel(), at.platform.log
    assert at.platform.end() in (130, 143)
    assert "interrupted" in at.report

    at.mode("passes")
    assert at.platform.run() == 0, at.platform.log
    assert at.effects() == {"nightly": 2, "build": 1, "check": 2}


@every_platform
def test_a_job_of_which_all_is_killed_at_once_goes_on_and_its_report_is_made_by_what_follows(shop, kind):
    at = shop(kind)
    at.mode("waits")
    at.platform.start()
    at.checks(1)

    at.platform.kill()
    assert at.platform.end() == 137
    if kind.always_reports:
        assert "interrupted" in at.report

    at.mode("passes")
    assert at.platform.run() == 0, at.platform.log
    assert "<html" in at.report
    assert at.effects() == {"nightly": 2, "build": 1, "check": 2}
