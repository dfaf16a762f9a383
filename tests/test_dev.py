"""What ``./dev`` promises a newcomer, shown in a folder where python, pip and firexlite are stand-ins."""
from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
TARGETS = re.findall(r"^    ([a-z]+)\) ", (PROJECT / "dev").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture
def folder(tmp_path):
    """A folder with ``dev`` in it and nothing else."""
    shutil.copy(PROJECT / "dev", tmp_path / "dev")
    return tmp_path


@pytest.fixture
def environment(folder):
    """``folder`` with an environment whose python and firexlite write their arguments into ``calls``."""
    for name in ("setup.py", "pyproject.toml"):
        (folder / name).write_text("# as it was\n")
    (folder / ".venv" / "bin").mkdir(parents=True)
    stand_in(folder, "python", "")
    stand_in(folder, "firexlite", 'if [ "$1" = submit ]; then echo "FireX ID: FireX-li-1"; else echo "<html>"; fi')
    return folder


def stand_in(folder: Path, command: str, script: str) -> None:
    path = folder / ".venv" / "bin" / command
    path.write_text(f'#!/bin/sh\necho "{command} $*" >> "{folder}/calls"\n{script}\n')
    path.chmod(0o755)


def dev(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([folder / "dev", *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL)


def calls(folder: Path, beginning: str) -> list[str]:
    return [line for line in (folder / "calls").read_text().splitlines() if line.startswith(beginning)]


def test_dev_alone_prints_its_targets_and_changes_nothing(folder):
    shown = dev(folder)

    assert shown.returncode == 0
    assert re.findall(r"^  (\w+) ", shown.stdout, re.MULTILINE) == TARGETS
    assert {"run", "test", "check", "large", "bench", "profile", "crash", "pictures", "reference", "lint", "dist", "matrix",
            "clean"} == set(TARGETS)
    assert [path.name for path in folder.iterdir()] == ["dev"]


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_has_a_phrase(folder, target):
    assert re.search(rf"^  {target} +\w+ \S+", dev(folder).stdout, re.MULTILINE)


def test_an_unknown_target_is_refused_with_the_list(folder):
    refused = dev(folder, "tset")

    assert refused.returncode == 2
    assert refused.stdout == ""
    assert refused.stderr.startswith("dev: there is no target tset\n")
    assert "  test " in refused.stderr


def test_run_writes_the_flame_of_the_run_it_submitted(environment):
    ended = dev(environment, "run")

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("FireX ID: FireX-li-1\n")
    assert calls(environment, "firexlite") == [
        "firexlite submit --plugins fixtures/guests.py --chain greet_guests --guests Li,Mohamed",
        "firexlite flame FireX-li-1",
    ]
    assert (environment / "flame.html").read_text() == "<html>\n"


def test_run_ends_with_the_exit_code_of_submit(environment):
    stand_in(environment, "firexlite", 'echo "FireX ID: FireX-li-1"; exit 7')

    assert dev(environment, "run").returncode == 7
    assert not (environment / "flame.html").exists()


def test_run_leaves_no_half_written_flame(environment):
    stand_in(environment, "firexlite", 'echo "FireX ID: FireX-li-1"; [ "$1" = submit ]')

    assert dev(environment, "run").returncode == 1
    assert not (environment / "flame.html").exists()


@pytest.mark.parametrize("files, options", [([], ""), (["a.py", "b.py"], " --files a.py,b.py")])
def test_check_submits_the_checks_as_a_workflow_with_the_files_it_was_given(environment, files, options):
    stand_in(environment, "chromium", "")
    stand_in(environment, "strace", "")
    stand_in(environment, "firexlite", "exit 1")

    ended = dev(environment, "check", *files)

    assert ended.returncode == 1
    assert calls(environment, "firexlite") == [
        f"firexlite submit --plugins examples/checks.py --chain check --workers 2 --flame check.html{options}"]


def test_set_up_installs_again_only_when_the_project_files_changed(environment):
    for _ in range(2):
        dev(environment, "bench")
    assert len(calls(environment, "python -m pip install")) == 1

    (environment / "setup.py").write_text("# another dependency\n")
    dev(environment, "bench", "--quick")

    assert len(calls(environment, "python -m pip install")) == 2
    assert calls(environment, "python -m benchmarks")[-1] == "python -m benchmarks --quick"


def test_the_benchmark_of_reports_gets_its_arguments_where_there_is_a_browser(environment):
    stand_in(environment, "chromium", "")

    ended = dev(environment, "bench", "--reports", "--quick")

    assert ended.returncode == 0, ended.stderr
    assert calls(environment, "python -m benchmarks") == ["python -m benchmarks --reports --quick"]


def test_the_benchmark_of_peers_gets_its_arguments_where_there_is_a_redis(environment):
    stand_in(environment, "redis-server", "")

    ended = dev(environment, "bench", "--peers", "--only", "chain")

    assert ended.returncode == 0, ended.stderr
    assert calls(environment, "python -m benchmarks") == ["python -m benchmarks --peers --only chain"]


@pytest.mark.parametrize("arguments, is_installed", [([], True), (["--peers"], True), (["--quick"], False),
                                                     (["--only", "chain"], False)])
def test_what_draws_plots_is_installed_for_figures_that_are_published(environment, arguments, is_installed):
    stand_in(environment, "redis-server", "")
    stand_in(environment, "python", '[ "$2" != "import matplotlib" ]')

    dev(environment, "bench", *arguments)

    installs = calls(environment, "python -m pip install --quiet --disable-pip-version-check -e .[bench]")
    assert bool(installs) is is_installed
