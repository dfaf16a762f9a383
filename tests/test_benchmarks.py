"""`python -m benchmarks`: that measuring works and what it writes. How fast anything is, is no matter for a test."""
from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import wait_until

from benchmarks import contest, far, flame, goals, plots, profiling, report, scaling, scratch, text, workloads
from benchmarks.document import BEGIN, END, split_document
from benchmarks.peers import contenders

PROJECT = Path(__file__).parent.parent
SPAN = r"\d+(\.\d+)? m?s"


def bench(*arguments: object, limit_s: float = 100) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "benchmarks", *map(str, arguments)], cwd=PROJECT, text=True,
                          capture_output=True, stdin=subprocess.DEVNULL, timeout=limit_s)


def rows(figures: str, table: str) -> dict[str, list[str]]:
    """The rows of the table under a heading: their cells, by the first one."""
    section = figures.split(f"### {table}\n")[1].split("\n### ")[0]
    lines = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
    return {first.strip(): [cell.strip() for cell in cells] for first, *cells in lines[2:]}


@pytest.fixture
def document(tmp_path):
    """A document with prose before and after the place for the figures."""
    path = tmp_path / "performance.md"
    path.write_text(f"# Ours\n\n{BEGIN}\nold figures\n{END}\n\nThe last word.\n")
    return path


@pytest.mark.long
def test_a_quick_run_measures_everything_and_leaves_nothing_behind(document, tmp_path):
    place = tmp_path / "scratch"
    place.mkdir()
    if scratch.filesystem_of(place) in scratch.MEMORY:
        pytest.skip("temporary files lie in memory here")

    ended = bench("--quick", "--output", document, "--scratch", place)

    assert ended.returncode == 0, ended.stderr
    figures = document.read_text()
    assert figures.startswith(f"# Ours\n\n{BEGIN}\n\n- Measured on ") and figures.endswith(f"{END}\n\nThe last word.\n")
    assert "old figures" not in figures
    assert ended.stdout.strip() in figures
    assert re.findall(r"^### (.*)$", figures, re.MULTILINE) == tables(workloads.QUICK)
    assert "`synchronous=FULL`" in figures and f"home on {scratch.filesystem_of(place)};" in figures
    assert all(re.fullmatch(SPAN, cell) for cells in rows(figures, "disk").values() for cell in cells)
    compared = {
        "startup": ['`python -c "import click, peewee"`'],
        "fanout 20, 2 workers": ["ProcessPoolExecutor", "ProcessPoolExecutor and one fdatasync a child (computed)",
                                 "firexlite with FIREXLITE_DURABILITY=normal"],
        "fanout 40, 4 workers": ["ProcessPoolExecutor", "ProcessPoolExecutor and one fdatasync a child (computed)"],
        "chain 10": ["ProcessPoolExecutor", "ProcessPoolExecutor and one fdatasync a hop (computed)", "raw sqlite3"],
        "sequential 10": ["raw sqlite3"], "replay 20": ["`firexlite submit --chain nop`"], "cpu": ["ProcessPoolExecutor"],
        "round trip": ["ProcessPoolExecutor and two commits"],
    }
    for table, others in compared.items():
        found = rows(figures, table)
        assert list(found)[:1 + len(others)] == ["firexlite", *others]
        for each in ("firexlite", *others):
            assert all(re.fullmatch(SPAN, cell) for cell in found[each][:3])
        assert all(re.match(r"\d+(\.\d+)? times \(", found[other][-1]) for other in others)
    # What holds however slow the machine is.
    assert rows(figures, "resume 40")["firexlite"][3] == "0"  # never ran
    assert rows(figures, "batch_hold")["other tasks that ran again"] == ["0", "0", "0"]
    assert int(rows(figures, "sequential 10")["processes forked"][0]) > 1
    assert list(rows(figures, "growth")) == ["20", "40", "80"]
    assert {line.split("|")[-2].strip() for line in figures.split("### disk")[0].splitlines() if line.startswith("| ")} >= {
        "reached", "not measured"}
    assert list(place.iterdir()) == []


def tables(sizes: workloads.Sizes) -> list[str]:
    return ["goals", "disk", *(workload.name for workload in workloads.workloads(sizes)), "growth"]


def published(million: bool) -> list[str]:
    sizes = replace(workloads.FULL, most=1_000_000) if million else workloads.FULL
    return ["goals", "plots", *tables(sizes)[1:]]


def test_every_kind_of_work_is_explained_in_the_published_document():
    prose, _ = split_document(PROJECT / "docs" / "performance.md")

    for workload in workloads.workloads(workloads.FULL):
        assert f"- **{workload.name.split(',')[0].rstrip('0123456789 ')}**" in prose


@pytest.mark.long
@pytest.mark.timeout(300)
def test_peers_do_the_same_work(tmp_path):
    """Those that are installed already: to install them takes a network and a minute."""
    if scratch.filesystem_of(tmp_path) in scratch.MEMORY:
        pytest.skip("temporary files lie in memory here")
    there = [peer for peer in contenders.PEERS
             if peer.is_installed and (peer.adapter != "celery" or shutil.which("redis-server"))]
    if not there:
        pytest.skip("no peer is installed; ./dev bench --peers does it")
    place = scratch.Scratch(tmp_path)

    for found in contenders.contenders(workloads.QUICK).values():
        for contender in found:
            if contender.name in {peer.name for peer in there}:
                sample = contender.measure(place)
                assert 0 < sample["seconds"] < 60
                assert sample.get("lost", 0) <= 2  # of huey, what its two workers did when they were killed

    assert [path.name for path in tmp_path.iterdir()] == ["compiled"]


def test_what_becomes_of_a_peer_stops_nobody_else(tmp_path):
    def fail(_):
        raise scratch.CannotMeasure("it said nothing")

    work = contest.Workload("chain 7", "a chain", [contest.Contender("firexlite", lambda _: {"seconds": 1.0}),
                                                   contest.Contender("huey", fail, may_fail=True)])
    said = []

    [found] = contest.measure([work], [], scratch.Scratch(tmp_path), 1, said.append)

    assert list(found.samples) == [("chain 7", "firexlite")]
    assert said[-1] == "chain 7: huey is left out of this round: it said nothing"
    with pytest.raises(scratch.CannotMeasure):
        contest.measure([replace(work, contenders=[contest.Contender("firexlite", fail)])], [], scratch.Scratch(tmp_path), 1,
                        said.append)


def test_what_takes_minutes_is_measured_in_the_first_round_only(tmp_path):
    work = contest.Workload("chain 7", "a chain", [contest.Contender("firexlite", lambda _: {"seconds": 1.0}),
                                                   contest.Contender("DBOS", lambda _: {"seconds": 9.0}, is_once=True)])

    found = contest.measure([work], [work], scratch.Scratch(tmp_path), 2, lambda _: None)

    assert [("chain 7", "DBOS") in each.samples for each in found] == [True, False]


def test_every_peer_says_what_it_makes_durable():
    assert len(contenders.settings()) == len(contenders.PEERS)
    assert all(re.search(r"durable|synchronous", sentence) for sentence in contenders.settings())


def test_plots_show_how_time_and_cost_grow(tmp_path):
    pytest.importorskip("matplotlib")
    fanned = [work for work in workloads.workloads(workloads.QUICK) if work.name.startswith(("fanout 20, 2", "fanout 80"))]
    samples = {(work.name, "firexlite"): {"seconds": work.units / 1000} for work in fanned}

    words = plots.draw_plots(fanned, [contest.Round(0.0001, 0.0002, samples)], tmp_path / "img")

    assert plots.series(fanned, [contest.Round(0.0001, 0.0002, samples)]) == {"firexlite": [(20, 0.02), (80, 0.08)]}
    for name in ("speed-time.svg", "speed-cost.svg"):
        assert f"](img/{name})" in words
        assert (tmp_path / "img" / name).read_text().startswith("<?xml")


def test_workloads_can_be_chosen_by_how_their_names_begin(tmp_path):
    refused = bench("--quick", "--only", "fan in")

    assert refused.returncode == 1
    assert "benchmarks: no workload begins with fan in; there are startup, commands, fanout 20, 2 workers" in refused.stderr


def test_every_goal_is_for_a_workload_that_is_measured():
    for sizes in (workloads.QUICK, workloads.FULL):
        names = {workload.name for workload in workloads.workloads(sizes)}
        assert {goal.workload for goal in goals.goals(sizes)} <= names


def test_a_goal_is_reached_by_the_median_of_the_rounds_that_have_it():
    raw = {("chain 7", "raw"): {"seconds": 1.0}}
    rounds = [contest.Round(0.0001, 0.0002, {("chain 7", "firexlite"): {"seconds": seconds}, **raw})
              for seconds in (0.5, 2.0, 4.0)]
    rounds.append(contest.Round(0.0001, 0.0002))

    for limit, verdict in ((0.5, "reached"), (0.51, "missed")):
        goal = goals.rate("chain 7", "raw", "raw", limit)
        assert (goal.found(rounds), goal.verdict(rounds)) == (0.5, verdict)
    assert goals.rate("chain 8", "raw", "raw", 1.0).verdict(rounds) == "not measured"
    assert goals.time("chain 7", "raw", 2.0).verdict(rounds) == "reached"


def test_what_may_not_happen_may_happen_in_no_round():
    rounds = [contest.Round(0.0001, 0.0002, {("resume 7", "firexlite"): {"lost": lost}}) for lost in (0, 0, 1)]

    assert goals.none_of("resume 7", "steps that never ran", "lost").verdict(rounds) == "missed"


def test_a_slow_disk_is_granted_to_a_reference_that_makes_nothing_durable():
    samples = {("fanout 7", "firexlite"): {"seconds": 4.0}, ("fanout 7", "pool"): {"seconds": 1.0}}
    goal = goals.rate("fanout 7", "pool", "pool", 0.8, commits=1000)

    assert goal.found([contest.Round(0.0002, 0.001, samples)]) == 0.25
    assert goal.found([contest.Round(0.0030, 0.001, samples)]) == 1.0


def test_the_published_document_has_all_tables_and_five_rounds():
    before, after = split_document(PROJECT / "docs" / "performance.md")
    figures = (PROJECT / "docs" / "performance.md").read_text().split(BEGIN)[1].split(END)[0]

    assert before.startswith("# Performance\n") and after.startswith("\n\n## Reports\n")
    assert re.findall(r"^### (.*)$", figures, re.MULTILINE) in (published(million=False), published(million=True))
    assert int(re.search(r"(\d+) rounds after one that does not count", figures)[1]) >= 5


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_quick_run_measures_reports_and_writes_only_their_table(tmp_path):
    place = tmp_path / "scratch"
    place.mkdir()
    if scratch.filesystem_of(place) in scratch.MEMORY:
        pytest.skip("temporary files lie in memory here")
    document = tmp_path / "performance.md"
    document.write_text(f"# Ours\n\n{BEGIN}\nold figures\n{END}\n\n{flame.MARKS.begin}\nold table\n{flame.MARKS.end}\n")

    ended = bench("--reports", "--quick", "--tasks", 12, "--output", document, "--scratch", place,
                  limit_s=240)

    assert ended.returncode == 0, ended.stderr
    assert document.read_text().startswith(f"# Ours\n\n{BEGIN}\nold figures\n{END}\n\n{flame.MARKS.begin}\n\n- Measured on ")
    assert "old table" not in document.read_text() and ended.stdout.strip() in document.read_text()
    head, _, *lines = [line.strip("| ").split(" | ") for line in ended.stdout.splitlines() if line.startswith("|")]
    assert [cell.strip() for cell in head] == ["tasks", "12", "goal for 100,000"]
    assert [cells[0].strip() for cells in lines] == [row.name for row in flame.ROWS]
    for _, *figures, _ in lines:
        assert all(re.fullmatch(rf"{SPAN}|[\d.]+ MB|[\d,]+", figure.strip()) for figure in figures)
        assert all(float(re.match(r"[\d.]+", figure.strip())[0]) > 0 for figure in figures)
    assert list(place.iterdir()) == []


def test_the_published_documents_have_places_for_the_other_figures():
    before, after = split_document(PROJECT / "docs" / "performance.md", flame.MARKS)
    assert before.rstrip() and after.startswith("\n\n## On a Dask cluster\n")

    assert split_document(PROJECT / "docs" / "performance.md", far.MARKS)[1] == "\n"
    assert split_document(PROJECT / "docs" / "scaling.md", scaling.MARKS)[1].startswith("\n\n## What was not measured")


def test_every_kind_of_work_on_a_cluster_is_explained_and_has_a_goal_that_is_measured():
    prose, _ = split_document(PROJECT / "docs" / "performance.md", far.MARKS)
    far_workloads = far.far_workloads(workloads.FULL)

    for workload in far_workloads:
        assert f"**{workload.name.split(',')[0].rstrip('0123456789 ')}**" in prose
    assert {goal.workload for goal in far.far_goals(workloads.FULL)} <= {workload.name for workload in far_workloads}


def test_what_a_task_costs_on_a_cluster_is_the_difference_within_each_round():
    pytest.importorskip("distributed")
    sizes, taken = replace(workloads.QUICK, far=(4,)), ((1.0, 1.04), (2.0, 2.02), (1.0, 1.06))
    rounds = [contest.Round(0.0001, 0.0002, {
        ("dask fanout 4", who): {"seconds": seconds, "cpu": seconds / 2, "driver": seconds / 4}
        for who, seconds in (("firexlite", here), (far.DASK, there))}) for here, there in taken]

    tables = far.far_figures(far.far_workloads(sizes)[:1], sizes, rounds, scratch.Scratch(PROJECT), 0.1)

    assert rows(tables, "dask: the overhead of a task")["4"][2] == "10.0 ms"
    assert [line.split("|")[-2].strip() for line in tables.splitlines() if line.startswith("| dask fanout 4 ")] == [
        "reached", "missed"]


def test_figures_of_their_own_are_measured_by_themselves():
    refused = bench("--only", "dask", "--only", "chain")

    assert refused.returncode == 2
    assert "dask and scaling have figures of their own; choose nothing beside them" in refused.stderr


def test_the_slowest_part_limits_a_run():
    model = scaling.Model(transaction_s=0.0005, running_s=0.0000005, bridge_s=0.001, driver_s=0.004, between_s=0.01, cores=2,
                          task_bytes=400, worker_bytes=6e6, fixed_bytes=50e6)

    assert model.limits(1000, 0.99) == {"workers": pytest.approx(1000), "journal": pytest.approx(1000),
                                        "bridge": pytest.approx(1000), "driver's cores": pytest.approx(500)}
    table = [[cell.strip() for cell in line.strip("| ").split("|")] for line in model.table().splitlines()]
    assert table[2:][4] == ["1,000", "1 s", "500 a second", "5.56 h", "driver's cores", "100%", "4.0 GB", "6.05 GB"]
    assert table[2:][3][:5] == ["100", "10 min", "0.17 a second", "694 days", "workers"]


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind, tables", [
    ("dask", ["dask: goals", "dask: the overhead of a task", "dask fanout 4", "dask fanout 8", "dask fanout 12", "dask chain 4",
              "dask nested child 4", "dask call back, read", "dask call back, note", "dask start"]),
    ("scaling", ["One writer at a time", "While others run", "For each task, and for each worker", "As the run grows",
                 "The model, held against a run", "10,000,000 tasks in one run, computed"])])
def test_a_quick_run_measures_what_a_cluster_costs_and_leaves_nothing_behind(tmp_path, kind, tables):
    pytest.importorskip("distributed")
    place = tmp_path / "scratch"
    place.mkdir()
    if scratch.filesystem_of(place) in scratch.MEMORY:
        pytest.skip("temporary files lie in memory here")
    marks = {"dask": far.MARKS, "scaling": scaling.MARKS}[kind]
    document = tmp_path / "figures.md"
    document.write_text(f"# Ours\n\n{BEGIN}\nold figures\n{END}\n\n{marks.begin}\nold table\n{marks.end}\n")

    ended = bench("--only", kind, "--quick", "--output", document, "--scratch", place, limit_s=240)

    assert ended.returncode == 0, ended.stderr
    written = document.read_text()
    assert "old figures" in written and "old table" not in written and ended.stdout.strip() in written
    assert re.findall(r"^### (.*)$", written, re.MULTILINE) == tables
    assert list(place.iterdir()) == []


def test_goals_are_for_the_largest_run():
    place = scratch.Scratch(PROJECT)
    good = flame.Sample(3.9, 3.0, 299_000_000, 11_900_000, 0.3, 0.7, 40_000_000, 1400, [0.017, 0.017, 0.1], [0.017] * 3)
    slow = flame.Sample(4.1, 4.0, 300_000_001, 12_000_001, 0.5, 0.71, 10**9, 1501, [0.021] * 3, [0.017, 0.017, 0.2])
    both = [flame.Report(1000, "one", [slow] * 3), flame.Report(100_000, "other", [good, good, slow])]

    table = flame.report_figures(both, "Chrome/1.2", place, 3, 0.1)

    assert "- Browser: Chrome/1.2, headless.\n" in table
    goals = [line.split("|")[-2].strip() for line in table.splitlines() if line.startswith("|")][2:]
    assert goals[:3] == ["4.00 s, met", "", "300.0 MB, met"]
    # By medians; but a longest frame is the longest of all rounds.
    assert [goal.partition(", ")[2] for goal in goals if goal] == ["met"] * 10 + ["missed"]
    assert "missed" not in flame.report_figures(both[:1], "Chrome/1.2", place, 3, 0.1)


def test_the_sizes_of_reports_are_chosen_in_quick_runs_only():
    refused = bench("--reports", "--tasks", 5)

    assert refused.returncode == 2
    assert "--tasks goes with --reports and --quick only" in refused.stderr


def test_the_memory_of_a_command_is_its_own(tmp_path):
    peaks = []
    for size in (1, 100_000_000):
        ended = subprocess.run([sys.executable, "-m", "benchmarks.peak", sys.executable, "-c", f"b'x' * {size}; exit(3)"],
                               cwd=PROJECT, text=True, capture_output=True, timeout=30)
        assert ended.returncode == 3
        peaks.append(json.loads(ended.stdout)["peak"])

    assert 2_000_000 < peaks[0] < 40_000_000 and 100_000_000 < peaks[1] < 140_000_000


@pytest.mark.slow
def test_a_profile_says_what_each_kind_of_process_did(tmp_path):
    if scratch.filesystem_of(tmp_path) in scratch.MEMORY:
        pytest.skip("temporary files lie in memory here")

    ended = subprocess.run([sys.executable, "-m", "benchmarks.profiling", "sequential", "--size", "20", "--top", "40",
                            "--scratch", tmp_path], cwd=PROJECT, text=True, capture_output=True, timeout=100)

    assert ended.returncode == 0, ended.stderr
    cpu, statements, front, runner, parent, others = ended.stdout.split("\n\n|")[1:]
    assert {first: cells[0] for first, *cells in table_of(cpu)}.keys() == {
        "front", "runner", "the parent's worker", "the other workers", "all"}
    counts = {first: float(cells[0]) for first, *cells in table_of(statements)}
    assert counts["commits"] >= counts["syncs of the log"] > 0
    assert counts["all statements"] > counts["BEGIN IMMEDIATE"] > 0
    assert any("'poll'" in first for first, *_ in table_of(front))
    for found in (runner, parent, others):
        assert any(first.startswith("firexlite/") for first, *_ in table_of(found))
    assert list(tmp_path.iterdir()) == []


def table_of(text: str) -> list[list[str]]:
    """The rows of a table that begins the text."""
    lines = text.split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]


def test_a_profile_tells_the_processes_apart_by_who_forked_whom():
    processes = [{"pid": pid, "parent": parent, "cpu": pid / 10, "commits": 0, "syncs": 0, "statements": {},
                  "functions": [["f", 1, 0.5]]} for pid, parent in ((2, 1), (3, 2), (4, 3), (5, 3), (6, 3))]

    kinds = profiling.gather(processes, parent=5)

    assert {name: (kind.processes, round(kind.cpu_s, 1)) for name, kind in kinds.items()} == {
        "front": (1, 0.2), "runner": (1, 0.3), "the parent's worker": (1, 0.5), "the other workers": (2, 1.0)}
    assert kinds["the other workers"].functions == {"f": [2, 1.0]}


def test_few_rounds_are_for_quick_runs_only():
    refused = bench("--rounds", 4)

    assert refused.returncode == 2
    assert "figures to be published need 5 rounds; fewer go with --quick or --only" in refused.stderr


def test_a_document_without_a_place_for_figures_is_left_alone(tmp_path):
    path = tmp_path / "notes.md"
    path.write_text("# My notes\n")

    refused = bench("--quick", "--output", path)

    assert refused.returncode == 1
    assert refused.stderr.startswith(f"benchmarks: {path} has no place for the figures; it needs the lines\n")
    assert path.read_text() == "# My notes\n"


def test_memory_is_no_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "filesystem_of", lambda path: "tmpfs")

    with pytest.raises(scratch.CannotMeasure) as refused, scratch.scratch_folder(tmp_path):
        pass

    assert str(refused.value) == f"{tmp_path} lie in memory or are not there; name a folder on a disk with --scratch FOLDER"


def test_a_command_that_does_not_end_is_stopped_with_all_it_started(tmp_path):
    program = tmp_path / "hang.py"
    program.write_text("import os, time\n"
                       "child = os.fork()\n"
                       "if child:\n"
                       f"    open({str(tmp_path / 'pids')!r}, 'w').write(f'{{os.getpid()}} {{child}}')\n"
                       "time.sleep(600)\n")
    place = scratch.Scratch(tmp_path, limit_s=2.0)

    with pytest.raises(scratch.CannotMeasure, match=r"^`python\S* \S*hang.py` did not end within 2 s$"):
        place.run(sys.executable, str(program))

    pids = (tmp_path / "pids").read_text().split()
    wait_until(lambda: not any(is_running(pid) for pid in pids), what="end of all that was started")


def is_running(pid: str) -> bool:
    """Whether a process is there and not merely waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_command_that_fails_is_told_with_its_last_words(tmp_path):
    with pytest.raises(scratch.CannotMeasure) as failed:
        scratch.Scratch(tmp_path).run("sh", "-c", "echo first >&2; echo last >&2; exit 7")

    assert str(failed.value) == "`sh -c echo first >&2; echo last >&2; exit 7` ended with 7: last"


def test_a_ratio_is_the_median_of_the_ratios_of_the_rounds():
    assert report.ratio([2.0, 30.0, 4.0], [1.0, 10.0, 1.0]) == "3.00 times (2.00 to 4.00)"


@pytest.mark.parametrize("seconds, shown", [(12.34, "12.3 s"), (0.5, "0.50 s"), (0.4996, "500 ms"), (0.00012, "0.12 ms")])
def test_a_span_of_time_has_its_unit(seconds, shown):
    assert text.shown_s(seconds) == shown
