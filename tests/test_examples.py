"""The examples as their users have them: run to the end, with what goes wrong in them, and killed half-way and resumed."""
from __future__ import annotations

import csv
import os
import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from conftest import LIMIT_S, ROOT, Command, Finished, kill_all, query, wait_until

from firexlite.home import RunDirectory

EXAMPLES = ROOT / "examples"
FOLDERS = sorted(path.name for path in EXAMPLES.iterdir() if (path / "README.md").exists())

pytestmark = pytest.mark.timeout(LIMIT_S)


@pytest.fixture
def example(firexlite: Command) -> Iterator[Callable[..., Path]]:
    """Copies an example into the working directory and gives the commands that prepare it: ``example("lab", *commands)``."""

    def prepared(name: str, *commands: str) -> Path:
        shutil.copytree(EXAMPLES / name, firexlite.folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        for command in commands:
            subprocess.run(["sh", "-c", command], cwd=firexlite.folder, check=True, timeout=LIMIT_S, stdout=subprocess.DEVNULL)
        return firexlite.folder

    yield prepared
    wait_until(lambda: not at_work_in(firexlite.folder), what="end of all processes of the example")


def at_work_in(folder: Path) -> list[str]:
    """The processes whose working directory lies below a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve(strict=True).is_relative_to(folder):
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:  # it has ended, or is none of ours
            pass
    return found


def attempts(run: RunDirectory) -> list[tuple[int, int, float]]:
    """``(task, number, started)`` of all attempts at tasks that have succeeded."""
    return query(run, "SELECT task, number, started FROM attempt WHERE task IN (SELECT id FROM task WHERE state = 'succeeded') "
                      "ORDER BY task, number")


def killed(firexlite: Command, process: subprocess.Popen, moment: Callable[[], object]) -> RunDirectory:
    """Kill all processes of the only run at a moment at which some of its tasks are done and others are not."""
    wait_until(moment, what="moment to kill the run")
    kill_all(process)
    run = firexlite.only_run()
    assert attempts(run) and query(run, "SELECT count(*) FROM task WHERE state <> 'succeeded'") != [(0,)]
    return run


def resumed(firexlite: Command, run: RunDirectory, *options: str) -> Finished:
    """Resume a run that was killed; it succeeds, and what had succeeded before was not run again."""
    done = attempts(run)
    ended = firexlite("resume", run.firex_id, *options)
    assert ended.code == 0, ended.err
    assert [attempt for attempt in attempts(run) if attempt[0] in {task for task, *_ in done}] == done
    return ended


def succeeded(run: RunDirectory, service: str) -> int:
    [(number,)] = query(run, "SELECT count(*) FROM task WHERE state = 'succeeded' AND service LIKE '%.' || ?", service)
    return number


def named(report: dict, name: str) -> list[dict]:
    return [task for task in report["tasks"] if task["name"] == name and not task["aside"]]


def test_each_example_can_be_read_in_one_sitting_and_says_what_to_notice():
    assert FOLDERS == ["lab", "matrix", "pipeline"]
    for folder in FOLDERS:
        source = (EXAMPLES / folder / f"{folder}.py").read_text()
        assert len(source.splitlines()) < 150
        assert "What to notice:" in source


# --- the matrix ------------------------------------------------------------------------------------------------------

MATRIX = ("submit", "--plugins", "matrix.py", "--chain", "check_all", "--repos", "repos/lexer,repos/parser,repos/solver",
          "--queue", "builds=1", "--workers", "2")
CORRECT = "cd repos/solver && sed -i '/release/s/-/+/' app.in && git commit --quiet --all --message 'Add for the release, too'"
CELLS = [f"{repo} for {target}" for repo in ("lexer", "parser", "solver") for target in ("debug", "release")]


def test_a_matrix_without_faults_is_green(firexlite, example):
    example("matrix", "sh make_repositories.sh", CORRECT)

    ended = firexlite(*MATRIX)

    assert ended.code == 0, ended.err
    assert str(CELLS) in ended.out
    report = firexlite.flame(ended.firex_id)
    assert report["tasks"][0]["flame_data"]["matrix"]["value"].count("<td>passed</td>") == 6
    assert [build["queue_name"] for build in named(report, "build")] == ["builds"] * 6
    assert all("https://git.example/" in build["flame_data"]["*"]["value"] for build in named(report, "build"))


def test_a_cell_that_fails_stops_no_other_and_a_resume_after_a_fix_builds_its_repository_alone(firexlite, example):
    folder = example("matrix", "sh make_repositories.sh")

    ended = firexlite(*MATRIX)

    assert ended.code == 1
    assert "FAILED: run_tests (task 13): CommandFailed: the command 'sh test.sh' ended with exit code 1; its output:\n" \
           "    test.sh: 1 and 2 gave -1, not 3\n" in ended.err
    assert "called by: check_all (task 1)" in ended.err
    run = firexlite.only_run()
    assert (succeeded(run, "build"), succeeded(run, "run_tests")) == (6, 5)
    report = firexlite.flame(run.firex_id)
    assert report["tasks"][0]["exception"] == "RuntimeError('1 of 6 cells failed: solver for release')"
    assert report["tasks"][0]["flame_data"]["matrix"]["value"].count("<b>failed</b>") == 1

    subprocess.run(["sh", "-c", CORRECT], cwd=folder, check=True, timeout=LIMIT_S)
    after = resumed(firexlite, run)

    assert str(CELLS) in after.out
    again = [task for task in firexlite.flame(run.firex_id)["tasks"] if task["num"] > 13]
    assert Counter(task["name"] for task in again) == {"build": 2, "run_tests": 2}
    assert {task["args"]["repo"] for task in again if task["name"] == "build"} == {"repos/solver"}


def test_a_matrix_that_is_killed_half_way_goes_on_where_it_was(firexlite, example):
    folder = example("matrix", "sh make_repositories.sh", CORRECT, f"""cd repos/solver &&
        echo 'while [ ! -e "{firexlite.folder}/gate" ]; do sleep 0.01; done' >> build.sh &&
        git commit --quiet --all --message 'Take your time'""")
    process = firexlite.start(*MATRIX)

    run = killed(firexlite, process, lambda: firexlite.runs() and succeeded(firexlite.only_run(), "run_tests") == 4)
    (folder / "gate").touch()
    ended = resumed(firexlite, run)

    assert str(CELLS) in ended.out
    assert Counter(task["name"] for task in firexlite.flame(run.firex_id)["tasks"]) == {
        "check_all": 1, "build": 6, "run_tests": 6}


# --- the pipeline ----------------------------------------------------------------------------------------------------

PIPELINE = ("submit", "--plugins", "pipeline.py,gate.py", "--chain", "discover,digest,merge,publish", "--inbox", "inbox",
            "--report", "report.csv", "--workers", "2")
NO_GATE = "touch gate.py"
# The check of one shop waits, so that the run can be killed when the others are done.
GATE = """
import os, time
from firexlite import app

@app.task(bind=True)
def check(self, sales):
    while sales.path.endswith("porto.csv") and not os.path.exists("gate"):
        time.sleep(0.01)
    self.enqueue_child_and_get_results(self.orig.s(sales=sales))
"""


def right_report(folder: Path) -> str:
    """What the report must be, computed in another way."""
    rates = {"EUR": Decimal(1), "CHF": Decimal("1.04"), "NOK": Decimal("0.086")}
    sums: Counter = Counter()
    for path in (folder / "inbox").iterdir():
        seen = set()
        for receipt, product, amount, currency in list(csv.reader(path.read_text().splitlines()))[1:]:
            if receipt not in seen:
                sums[product.strip().lower()] += round(Decimal(amount) * rates[currency], 2)
            seen.add(receipt)
    return "product,amount\n" + "".join(f"{product},{amount}\n" for product, amount in sorted(sums.items()))


def test_a_pipeline_without_faults_publishes_the_report_and_does_so_again(firexlite, example):
    folder = example("pipeline", "python3 make_sales.py", NO_GATE)

    for _ in range(2):
        ended = firexlite(*PIPELINE)

        assert ended.code == 0, ended.err
        assert (folder / "report.csv").read_text() == right_report(folder)
        assert len(named(firexlite.flame(ended.firex_id), "ask_for_rates")) == 1
    assert sorted(path.name for path in (folder / "work").iterdir()) == sorted(
        ["merged.csv", *(f"{shop}.{kind}.csv" for shop in ("basel", "lyon", "oslo", "porto") for kind in ("clean", "sum"))])


@pytest.mark.parametrize("spoil, mend, complaint", [
    ("17s/,[0-9]/,x/", "17s/x/7/", "inbox/oslo.csv, line 17: the amount 'x{}' is no number"),
    ("40s/,NOK//", "40s/$/,NOK/", "inbox/oslo.csv, line 40: 4 columns are expected: receipt, product, amount, currency"),
])
def test_a_corrupt_file_is_named_with_its_line_and_once_it_is_mended_digested_alone(firexlite, example, spoil, mend, complaint):
    folder = example("pipeline", "python3 make_sales.py", NO_GATE)
    rest = (folder / "inbox" / "oslo.csv").read_text().splitlines()[16].split(",")[2][1:]  # of the amount in line 17
    (folder / "report.csv").write_text("of yesterday\n")
    subprocess.run(["sed", "-i", spoil, "inbox/oslo.csv"], cwd=folder, check=True, timeout=LIMIT_S)

    ended = firexlite(*PIPELINE)

    assert ended.code == 1
    assert f": ValueError: {complaint.format(rest)}\n" in ended.err
    assert (folder / "report.csv").read_text() == "of yesterday\n"
    run = firexlite.only_run()
    assert succeeded(run, "add_up") == 3

    subprocess.run(["sed", "-i", mend, "inbox/oslo.csv"], cwd=folder, check=True, timeout=LIMIT_S)
    refused = firexlite("resume", run.firex_id)
    assert refused.code == 2
    assert "inbox/oslo.csv was changed: made by discover (task 1)" in refused.err
    before = query(run, "SELECT max(id) FROM task")[0][0]
    resumed(firexlite, run, "--rerun-missing")

    assert (folder / "report.csv").read_text() == right_report(folder)
    again = [task["name"] for task in firexlite.flame(run.firex_id)["tasks"] if task["num"] > before]
    assert Counter(again) == {"discover": 1, "check": 1, "clean": 1, "add_up": 1}


@pytest.fixture
def stopped_pipeline(firexlite, example):
    """A pipeline that was killed when it had digested three of four shops."""
    folder = example("pipeline", "python3 make_sales.py")
    (folder / "gate.py").write_text(GATE)
    process = firexlite.start(*PIPELINE)
    run = killed(firexlite, process, lambda: firexlite.runs() and succeeded(firexlite.only_run(), "add_up") == 3)
    (folder / "gate").touch()
    return run


def test_a_pipeline_that_is_killed_half_way_goes_on_where_it_was(firexlite, stopped_pipeline):
    resumed(firexlite, stopped_pipeline)

    assert (firexlite.folder / "report.csv").read_text() == right_report(firexlite.folder)
    assert len(named(firexlite.flame(stopped_pipeline.firex_id), "ask_for_rates")) == 1


def test_a_part_that_is_gone_when_the_pipeline_goes_on_is_made_again_and_no_other(firexlite, stopped_pipeline):
    (firexlite.folder / "work" / "lyon.sum.csv").unlink()
    before = query(stopped_pipeline, "SELECT max(id) FROM task")[0][0]

    refused = firexlite("resume", stopped_pipeline.firex_id)

    assert refused.code == 2
    assert "work/lyon.sum.csv is missing: made by add_up (task " in refused.err
    resumed(firexlite, stopped_pipeline, "--rerun-missing")
    assert (firexlite.folder / "report.csv").read_text() == right_report(firexlite.folder)
    again = [task for task in firexlite.flame(stopped_pipeline.firex_id)["tasks"] if task["num"] > before]
    assert [task["result"]["part"].split()[0] for task in again if task["name"] == "add_up"] == ["work/lyon.sum.csv"]


# --- the lab ---------------------------------------------------------------------------------------------------------

LAB = ("submit", "--plugins", "lab.py", "--chain", "campaign,write_report", "--images", "r1,r2", "--workers", "3",
       "--queue", "hawk=1", "--queue", "heron=1", "--queue", "dodo=1")


def operated(firexlite: Command, *args: str) -> subprocess.Popen:
    """A campaign in the lab, whose operator has said go."""
    process = firexlite.start(*LAB, *args)
    wait_until(lambda: firexlite.runs() and query(firexlite.only_run(), "SELECT 1 FROM task WHERE state = 'blocked'"),
               what="campaign that waits for its operator")
    assert firexlite("send", firexlite.only_run().firex_id, "go", '"Ada"').code == 0
    return process


def right_readings(*devices: str) -> dict[str, list[int]]:
    return {f"{image} on {device}": [3300 + random.Random(f"{image} 23 {device} {case}").randint(-40, 40)
                                     for case in range(1, 5)] for image in ("r1", "r2") for device in devices}


def errors_of(report: dict) -> list[str]:
    """What the tries of all cases failed of."""
    return [attempt["exc"] for task in named(report, "measure") for attempt in task["attempts"] if attempt["exc"]]


def test_a_campaign_tries_again_what_failed_and_leaves_every_device_off(firexlite, example):
    folder = example("lab")
    process = operated(firexlite, "--devices", "hawk,heron")

    out, err = process.communicate(timeout=LIMIT_S)

    assert process.returncode == 0, err
    assert f"readings  {right_readings('hawk', 'heron')}" in out
    report = firexlite.flame(firexlite.only_run().firex_id)
    failures = errors_of(report)
    assert any("no answer" in failure for failure in failures)
    assert any("SoftTimeLimitExceeded" in failure for failure in failures)
    assert not any("busy" in failure for failure in failures)
    assert {path.name: path.read_text() for path in folder.glob("*.power")} == {"hawk.power": "off", "heron.power": "off"}
    assert "3261" in (folder / "report.html").read_text()
    assert all(" mV in try " in case["flame_data"]["telemetry"]["value"] for case in named(report, "measure"))
    assert report["tasks"][0]["flame_data"]["readings"]["value"].count("<tr>") == 4


def test_a_dead_device_fails_the_campaign_when_the_others_are_done(firexlite, example):
    folder = example("lab")
    process = operated(firexlite, "--devices", "dodo,hawk")

    _, err = process.communicate(timeout=LIMIT_S)

    assert process.returncode == 1
    assert ": ConnectionError: dodo: no answer to 'measure 1'\n" in err
    assert "  its last output:\n    | dodo: measure 1, try 5\n  called by: qualify (task 3) <- campaign (task 1)\n" in err
    run = firexlite.only_run()
    assert (succeeded(run, "qualify"), succeeded(run, "measure")) == (2, 8)
    readings = firexlite.flame(run.firex_id)["tasks"][0]["flame_data"]["readings"]["value"]
    assert "r1 on hawk" in readings and "r2 on hawk" in readings and "dodo" not in readings
    assert {path.read_text() for path in folder.glob("*.power")} == {"off"}


def test_a_campaign_that_is_killed_half_way_goes_on_with_the_case_that_was_under_way(firexlite, example):
    folder = example("lab")
    device = folder / "device.py"
    device.write_text(device.read_text().replace("        _, case = line.split()\n", """        _, case = line.split()
        import os, time
        if name == 'heron' and case == '3':
            open('reached', 'w').close()
            while not os.path.exists('gate'):
                time.sleep(0.01)
"""))
    process = operated(firexlite, "--devices", "hawk,heron")

    run = killed(firexlite, process, lambda: (folder / "reached").exists())
    assert (folder / "heron.power").read_text() == "on"
    (folder / "gate").touch()
    ended = resumed(firexlite, run)

    assert f"readings  {right_readings('hawk', 'heron')}" in ended.out
    assert {path.read_text() for path in folder.glob("*.power")} == {"off"}
    assert not any("busy" in failure for failure in errors_of(firexlite.flame(run.firex_id)))


# --- the checks of the project ---------------------------------------------------------------------------------------

CHECKS = ("submit", "--plugins", EXAMPLES / "checks.py", "--chain", "check", "--groups", "2", "--package", "toy",
          "--workers", "2", "--flame", "check.html")


@pytest.fixture
def toy(firexlite):
    """A small project, of whose tests two fail."""
    (firexlite.folder / "toy").mkdir()
    (firexlite.folder / "toy" / "__init__.py").write_text("answer: int = 42\n")
    (firexlite.folder / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    (firexlite.folder / "tests").mkdir()
    (firexlite.folder / "tests" / "test_good.py").write_text("def test_a():\n    pass\n\n\ndef test_b():\n    pass\n")
    (firexlite.folder / "tests" / "test_bad.py").write_text(
        "import pytest\n\n\n@pytest.mark.parametrize('n', [1, 2, 3])\ndef test_odd(n):\n    assert n % 2 == 0\n")
    return firexlite.folder


def test_the_checks_name_the_tests_that_fail_and_a_resume_runs_their_group_alone(firexlite, toy):
    ended = firexlite(*CHECKS)

    assert ended.code == 1
    assert "FAILED: check (task 1): RuntimeError: 1 of 4 checks failed\n" \
           "    tests 1: tests/test_bad.py::test_odd[1], tests/test_bad.py::test_odd[3]\n" in ended.err
    assert "1 of 4 checks failed" in (toy / "check.html").read_text()
    run = firexlite.only_run()
    assert succeeded(run, "lint") == succeeded(run, "check_types") == succeeded(run, "run_tests") == 1
    assert len(list(firexlite.home.rglob("junit-?.xml"))) == 2

    source = (toy / "tests" / "test_bad.py").read_text()
    (toy / "tests" / "test_bad.py").write_text(source.replace("n % 2 == 0", "n in (1, 2, 3)"))
    after = resumed(firexlite, run)

    assert "  passed  5\n" in after.out
    assert len(firexlite.flame(run.firex_id)["tasks"]) == 6


def test_the_checks_refuse_a_file_that_is_not_there(firexlite, toy):
    refused = firexlite(*CHECKS, "--files", "tests/test_good.py,tests/test_nix.py")

    assert (refused.code, firexlite.runs()) == (2, [])
    assert refused.err.endswith("files: there is no tests/test_nix.py here\n")


@pytest.mark.parametrize("files, dealt", [
    ((), [["tests/test_bad.py"], ["tests/test_good.py"]]),
    (("--files", "tests/test_good.py::test_b"), [["tests/test_good.py::test_b"]]),
])
def test_the_checks_are_of_all_files_with_tests_or_of_those_that_are_given(firexlite, toy, files, dealt):
    (toy / "tests" / "large").mkdir()
    (toy / "tests" / "large" / "test_that_takes_minutes.py").touch()

    ended = firexlite("submit", "--plugins", EXAMPLES / "checks.py", "--chain", "plan", *files)

    assert f"  dealt  {dealt}\n" in ended.out


def test_no_process_is_overlooked_that_an_example_left_behind(tmp_path):
    process = subprocess.Popen(["sleep", "60"], cwd=tmp_path)
    try:
        assert at_work_in(tmp_path) == ["sleep 60 "]
    finally:
        process.kill()
        process.wait()
    assert at_work_in(tmp_path) == [] and os.path.isdir(tmp_path)
