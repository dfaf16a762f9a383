"""The checks of firexlite itself, side by side: ruff, mypy, and the tests in groups. `./dev check` gives the command

    firexlite submit --plugins examples/checks.py --chain check --workers 2 --flame check.html

and `--files tests/test_errors.py,tests/test_states.py` with it, if it is given files.

What to notice:

- `plan` deals the files out to groups once. A resume after a fix has the same groups, though files have grown since, so it
  runs those checks again that failed. Begin anew for a verdict on the code as it is at last.
- What fails is told by `check` alone, in one message for all groups: its exception is not raised `from` that of a child.
- Each group leaves a JUnit file in the run's own folder, `uid.resources_dir`, also if tests of it failed.
- A test that hangs has its own limit, by pytest; a group that hangs as a whole is ended, with all that it has started.
"""
import sys
from html import escape
from pathlib import Path
from xml.etree import ElementTree

from firexlite import File, InputConverter, SingleArgDecorator, app, flame
from firexlite.commands import check_call, run

GROUP_S = 3600


@InputConverter.register
@SingleArgDecorator("files")
def files_to_list(files):
    """Raises ValueError for what is not there, before the run begins. A name may have a test behind it, `file::test`."""
    names = files.split(",")
    for name in names:
        if not Path(name.partition("::")[0]).exists():
            raise ValueError(f"there is no {name} here")
    return names


@app.task(returns="dealt")
@flame("dealt", lambda groups: "".join(f"<p>tests {number}: {escape(', '.join(group))}</p>"
                                       for number, group in enumerate(groups, start=1)))
def plan(files=None, groups="8"):
    """The files in groups that take about as long, going by their size: the largest first, each to the smallest group."""
    found = files or [str(path) for path in Path("tests").rglob("test_*.py") if "large" not in path.parts]
    dealt = [[] for _ in range(min(int(groups), len(found)))]
    sizes = {name: Path(name.partition("::")[0]).stat().st_size for name in found}
    for name in sorted(found, key=lambda name: (-sizes[name], name)):
        min(dealt, key=lambda group: sum(sizes[other] for other in group)).append(name)
    return dealt


@app.task(bind=True, returns=["passed", "junit"])
def check(self, uid, files=None, groups="8", package="firexlite"):
    """All checks; those that fail stop no other."""
    dealt = self.enqueue_child_and_get_results(plan.s(files=files, groups=groups))["dealt"]
    tests = {f"tests {number}": run_tests.s(files=files, junit=f"{uid.resources_dir}/junit-{number}.xml")
             for number, files in enumerate(dealt, start=1)}
    checks = {"lint": lint.s(), "types": check_types.s(package=package), **tests}
    promises = self.enqueue_many(checks, max_parallel_chains=len(checks)).as_dict()
    self.wait_for_children(raise_exception_on_failure=False)
    failed = [f"{name}: {str(promise.result).splitlines()[0]}" for name, promise in promises.items() if promise.failed()]
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(checks)} checks failed\n" + "\n".join(failed))
    return sum(promises[name].result["passed"] for name in tests), uid.resources_dir


@app.task
def lint():
    check_call([sys.executable, "-m", "ruff", "check"], remove_firex_pythonpath=False)


@app.task
def check_types(package):
    check_call([sys.executable, "-m", "mypy", package], remove_firex_pythonpath=False)


@app.task(returns=["passed", "junit_file"])
def run_tests(files, junit):
    """One group. Raises RuntimeError, naming the tests that failed."""
    Path(junit).unlink(missing_ok=True)
    ended = run([sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-o", "junit_family=xunit1",
                 f"--junitxml={junit}", *files], timeout=GROUP_S, remove_firex_pythonpath=False)
    if not Path(junit).exists():
        raise RuntimeError(f"pytest ended with exit code {ended.returncode} before it had run a test")
    cases = list(ElementTree.parse(junit).iter("testcase"))
    failed = [f"{case.get('file') or case.get('classname')}::{case.get('name')}" for case in cases
              if case.find("failure") is not None or case.find("error") is not None]
    if failed:
        raise RuntimeError(", ".join(failed))
    if ended.returncode not in (0, 5):  # 5: all tests of these files are left out
        raise RuntimeError(f"pytest ended with exit code {ended.returncode}")
    return sum(case.find("skipped") is None for case in cases), File(junit)
