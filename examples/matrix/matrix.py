"""Builds and tests git repositories for several targets, side by side.

    sh make_repositories.sh
    firexlite submit --plugins matrix.py --chain check_all --repos repos/lexer,repos/parser,repos/solver --queue builds=1

What to notice:

- Each cell of the matrix is a chain of its own, `build | run_tests`. One that fails stops no other; `check_all` waits for all
  of them and shows a table in the report before it fails.
- What is printed then, and stands first in the report, is the failure at the bottom: `raise .. from interruption` leads there.
- The commits are looked up in the body of `check_all`, and are arguments of the cells. So a `resume` after a fix was committed
  builds and tests that repository anew, and has the results of the others.
- What is built is a `firexlite.File`. If it is gone when a run goes on, `resume` says so, and who made it.
- `build` takes a place in the queue `builds`; `--queue` says how many there are.
"""
import shutil
from html import escape
from pathlib import Path

from firexlite import ChainInterruptedException, File, InputConverter, SingleArgDecorator, app, flame
from firexlite.commands import check_call, check_output


@InputConverter.register
@SingleArgDecorator("repos", "targets")
def to_list(text):
    return text.split(",")


@app.task(bind=True, returns="passed")
def check_all(self, repos, targets=("debug", "release"), out="out", browse="https://git.example"):
    """Build and test each repository for each target."""
    cells = {}
    for repo in repos:
        commit = check_output(["git", "rev-parse", "HEAD"], cwd=repo).strip()
        for target in targets:
            cells[Path(repo).name, target] = build.s(repo, commit, target, out, browse) | run_tests.s()
    promises = self.enqueue_many(cells).as_dict()
    try:
        self.wait_for_children()
    except ChainInterruptedException as interruption:
        failed = [f"{repo} for {target}" for (repo, target), promise in promises.items() if promise.failed()]
        raise RuntimeError(f"{len(failed)} of {len(cells)} cells failed: {', '.join(failed)}") from interruption
    finally:
        self.send_flame_html(matrix=table(promises, targets))
    return [f"{repo} for {target}" for repo, target in cells]


@app.task(queue="builds", returns="program")
@flame("*", lambda values: '<a href="{browse}/{0}/commit/{commit}">{0} at {commit:.8}</a>'.format(
    escape(Path(values["repo"]).name), **values))
def build(repo, commit, target, out, browse):
    """Check out a commit, into a folder that no other cell uses, and build it for a target."""
    tree = Path(out, f"{Path(repo).name}-{commit[:8]}-{target}")
    shutil.rmtree(tree, ignore_errors=True)  # what an attempt left that was cut off
    check_call(["git", "clone", "--quiet", repo, tree])
    check_call(["git", "checkout", "--quiet", commit], cwd=tree)
    check_call(["sh", "build.sh", target], cwd=tree, timeout=600)
    return File(tree / "app")


@app.task(returns="verdict")
def run_tests(program):
    """Run the tests of the repository with the program that was built from it."""
    return check_output(["sh", "test.sh"], cwd=Path(program).parent, timeout=600).splitlines()[-1]


def table(promises, targets):
    """HTML: a row for each repository, a column for each target."""
    def cell(promise):
        return "<td>passed</td>" if promise.successful() else "<td><b>failed</b></td>" if promise.failed() else "<td></td>"

    head = "".join(f"<th>{escape(target)}</th>" for target in targets)
    rows = [f"<tr><th>{escape(repo)}</th>{''.join(cell(promises[repo, target]) for target in targets)}</tr>"
            for repo in dict.fromkeys(repo for repo, _ in promises)]
    return f"<table><tr><th></th>{head}</tr>{''.join(rows)}</table>"
