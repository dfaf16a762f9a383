#!/usr/bin/env python3
"""Run the service files beside this script under firexlite, and hold what comes of it against what FireX did.

EXPECTED.json has what firexapp 5.7.236 did with each: ``{case: {file, args, rc, hung, run_json, tasks}}``, the tasks of a
run as a tree in the order of their calls. A case differs at the first of:

    exit     whether it succeeded, and a code of its own exactly
    results  the results of the chain in run.json
    tree     the tasks that began: depth, name, state
    values   of each task: arguments, defaults, result, exception, flame data

What must differ from run to run is taken out first, and what was refused before a run began is not compared further: the
words are firexlite's own. Prints a line for each case that differs, then how many passed.
"""
from __future__ import annotations

import argparse
import getpass
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LIMIT_S = 90
OWN_CODES = (0, 1, 255)  # others a service has chosen
STATES = {"task-succeeded": "succeeded", "task-failed": "failed", "task-revoked": "revoked", "task-revoke-completed": "revoked",
          "task-incomplete": "incomplete", "task-started": "running", "task-blocked": "blocked", "task-unblocked": "running"}

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}")
FIREX_ID = re.compile(r"FireX-[\w.-]+?-\d{6}-\d{6}-\d+")
USER = re.compile(rf"(?<!<)\b{re.escape(getpass.getuser())}\b")
HOME_OF_CLASS = re.compile(r"\b(?:firexkit|firexapp|firexlite|celery|kombu|billiard)(?:\.\w+)*\.(?=[A-Z])")
INTERNAL = ("chain_depth", "__task_return_keys", "__auto_inject_registry", "promise_type")
OWN_TRACEBACK = re.compile(
    r'Traceback [^\n]*\n(?:  .*\n)*  File "[^"]*/firexlite/(?:cli|runner|submission|journal)[^\n]*\n(?:    .*\n)*\w')

Command = Callable[[Sequence[str], Mapping[str, str]], "tuple[int, str, str]"]


@dataclass(frozen=True)
class Seen:
    """What became of a case. results: None without a --json_file. tasks: None without a report."""

    code: int
    err: str
    results: Any = None
    tasks: list[dict] | None = None


@dataclass(frozen=True)
class Difference:
    """Where a case differs from FireX, and how."""

    level: str
    text: str

    def __str__(self) -> str:
        return f"{self.level:8} {self.text}"


def observe(name: str, case: Mapping, folder: Path, command: Command) -> Seen:
    """Run a case. command: gives words to firexlite, in an environment: ``(exit code, stdout, stderr)``."""
    with tempfile.TemporaryDirectory() as home:
        env = {**os.environ, "FIREXLITE_HOME": os.path.join(home, "runs")}
        out = Path(home) / "run.json"
        code, stdout, stderr = command(["submit", *_words(name, case, folder), "--sync", "--json_file", str(out)], env)
        results = json.loads(out.read_text())["results"]["chain_results"] if out.exists() else None
        firex_id = FIREX_ID.search(stdout + stderr)
        if case["hung"] or not case["tasks"] or firex_id is None:
            return Seen(code, stderr, results)
        report_code, report, report_err = command(["flame", firex_id.group(), "--json"], env)
        return Seen(code, stderr + report_err, results, json.loads(report)["tasks"] if report_code == 0 else None)


def difference(case: Mapping, seen: Seen) -> Difference | None:
    """Where the two differ; None if they agree."""
    tail = seen.err.strip()[-200:]
    if seen.code and OWN_TRACEBACK.search(seen.err):
        return Difference("exit", f"a traceback: {tail}")
    if case["hung"]:  # which firexlite never does
        return Difference("exit", f"FireX hangs here; expected 0, got {seen.code}: {tail}") if seen.code else None
    chosen = case["rc"] not in OWN_CODES
    if (seen.code == 0) != (case["rc"] == 0) or (chosen and seen.code != case["rc"]):
        return Difference("exit", f"FireX {case['rc']}, firexlite {seen.code}: {tail}")
    if case["rc"] and not case["tasks"]:
        return None
    wanted, got = plain(case["run_json"]["results"]["chain_results"]), plain(seen.results)
    if wanted != got:
        return Difference("results", f"FireX {json.dumps(wanted)[:1500]}\n      firexlite {json.dumps(got)[:1500]}")
    if seen.tasks is None:
        return Difference("tree", f"no report: {tail}")
    return _difference_of_tasks(case["tasks"], _rows(seen.tasks))


def _difference_of_tasks(wanted: list[dict], got: list[dict]) -> Difference | None:
    wanted_tree = sorted((task["depth"], task["name"], STATES.get(task["state"], task["state"])) for task in wanted)
    got_tree = sorted((task["depth"], task["name"], task["state"]) for task in got)
    if wanted_tree != got_tree:
        return Difference("tree", f"FireX {wanted_tree}\n      firexlite {got_tree}")
    for field in ("args", "defaults", "result", "exception", "flame_data"):
        wanted_values, got_values = (sorted(json.dumps(_shown(field, task.get(field) or {}), sort_keys=True) for task in tasks)
                                     for tasks in (wanted, got))
        if wanted_values != got_values:
            only = [[one for one in mine if one not in other][:2]
                    for mine, other in ((wanted_values, got_values), (got_values, wanted_values))]
            return Difference("values", f"{field}: FireX {str(only[0])[:900]}\n      firexlite {str(only[1])[:900]}")
    return None


def plain(value: Any) -> Any:
    """A value without what differs from run to run, ids, addresses and times, and without the module of an exception."""
    if isinstance(value, dict):
        return {plain(key): plain(one.split("\n")[0] if key == "bad_get" else one)
                for key, one in value.items() if key not in INTERNAL}
    if isinstance(value, list):
        return [plain(one) for one in value if one not in INTERNAL]
    if isinstance(value, float):
        return "<float>"
    if not isinstance(value, str):
        return value
    if len(value) > 20_000:
        return f"<str of {len(value)} chars>"
    value = FIREX_ID.sub("<firex_id>", UUID.sub("<uuid>", value))
    value = re.sub(r"'__auto_inject_registry': AutoInjectRegistry\([^)]*\),? ?", "", value)
    value = re.sub(r",? ?'__task_return_keys': \([^)]*\)", "", value)
    value = re.sub(r"\S*/<firex_id>\S*", "<in the run's directory>", value)
    value = USER.sub("<user>", value)
    return HOME_OF_CLASS.sub("", re.sub(r"\b1[0-9]{9}\.[0-9]+", "<epoch>", re.sub(r"0x[0-9a-f]{6,}", "0x..", value)))


def _shown(field: str, value: Any) -> Any:
    """As `plain`; flame data as ``[(key, type, value)]`` in their order, of rules of collapsing what they do and to whom."""
    if field != "flame_data":
        return plain(value)
    rows = sorted(value.items(), key=lambda item: (isinstance(item[1].get("order"), str), item[1].get("order") or 0, item[0]))
    return [(key, one["type"], plain(one["value"]) if one["type"] == "html"
             else [(rule["operation"], rule["targets"]) for rule in one["value"]]) for key, one in rows]


def _rows(tasks: list[dict]) -> list[dict]:
    """The tasks of a report that began, each with its depth; a task is below the one before it in its chain."""
    parents = {task["num"]: task["parent"] for task in tasks}

    def depth(num: int) -> int:
        return 0 if parents[num] is None else 1 + depth(parents[num])

    return [{**task, "depth": depth(task["num"])} for task in tasks if task.get("started") is not None]


def _words(name: str, case: Mapping, folder: Path) -> list[str]:
    """The arguments of a case, its own file first among the plugins, except where the plugins are what it is about."""
    words = shlex.split(case["args"].replace("$CASES", str(folder)))
    plugins = str(folder / case["file"])
    if "--plugins" in words:
        at = words.index("--plugins")
        others = words[at + 1]
        del words[at:at + 2]
        plugins = others if name.startswith("37") else f"{plugins},{others}"
    return [*words, "--plugins", plugins]


def in_a_process(words: Sequence[str], env: Mapping[str, str]) -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, "-m", "firexlite", *words], env=env, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=LIMIT_S)
    return done.returncode, done.stdout, done.stderr


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=Path, default=HERE, help="the folder of the service files and of EXPECTED.json")
    parser.add_argument("--only", nargs="*", default=[], metavar="PREFIX")
    parser.add_argument("--deviations", type=Path, help="JSON with the cases that differ on purpose, by name")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    deliberate = json.loads(options.deviations.read_text()) if options.deviations else {}
    passed = failed = deviating = 0
    for name, case in json.loads((options.cases / "EXPECTED.json").read_text()).items():
        if options.only and not name.startswith(tuple(options.only)):
            continue
        found = difference(case, observe(name, case, options.cases.resolve(), in_a_process))
        passed += found is None
        deviating += found is not None and name in deliberate
        if found is not None and name not in deliberate:
            failed += 1
            print(f"{name:22} {found if options.verbose else str(found).splitlines()[0][:160]}")
    print(f"{deviating} deliberate deviations\n" * bool(deviating) + f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
