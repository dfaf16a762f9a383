"""Writes the run that tests/upgrade keeps of a schema: `python tests/upgrade/make.py [CHECKOUT]`.

It is made by the firexlite that lies in CHECKOUT, or by this one: a run of pages.py, which is killed when two of its tasks
are under way and one has not begun. What is left of it is written to `schemaN/`: the journal as SQL text, without what
tells of this machine, its logs and its blobs. When firexlite gets another schema, test_upgrade.py asks for the run of that:
give this command, and once more whenever the schema changes before it is released. What is released stays as it is.
"""
from __future__ import annotations

import os
import platform
import re
import shutil
import sqlite3
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

from conftest import Command, kill_all, query, wait_until  # noqa: E402 - they lie with the tests

CHAIN = ("submit", "--plugins", "pages.py", "--chain", "prepare,write,bind", "--sheets", 12000, "--workers", 2)
TWO_WRITTEN = "SELECT count(*) FROM task WHERE service = 'pages.write_page' AND state = 'succeeded'"
FOLDER, HOST, USER = "/home/li/book", "here", "li"  # what stands for those of this machine


def main() -> None:
    checkout = Path(sys.argv[1] if len(sys.argv) > 1 else HERE.parent.parent).resolve()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch).resolve() / "book"
        folder.mkdir()
        shutil.copy(HERE / "pages.py", folder)
        command = Command(Path(scratch) / "home", folder)
        command.env |= {"PYTHONPATH": str(checkout), "INK": str(folder / "ink"), "LOGNAME": USER}
        try:
            target = keep(command, folder, checkout)
        finally:
            command.close()
    print(f"{target.relative_to(HERE.parent.parent)}: {sorted(path.name for path in target.rglob('*') if path.is_file())}")


def keep(command: Command, folder: Path, checkout: Path) -> Path:
    """Make the run, kill it, and write down what is left. Returns the folder."""
    process = command.start(*CHAIN)
    wait_until(lambda: command.runs() and query(command.only_run(), TWO_WRITTEN) == [(2,)], what="two pages that are written")
    run = command.only_run()
    wait_until(lambda: all(f"page {number} is begun" in "".join(log.read_text() for log in run.logs.glob("1-*.log"))
                           for number in (2, 3)), what="two pages under way")
    kill_all(process)
    journal = sqlite3.connect(run.journal)
    [(schema,)] = journal.execute("PRAGMA user_version")
    [(application,)] = journal.execute("PRAGMA application_id")
    text = "\n".join([f"PRAGMA user_version = {schema};", f"PRAGMA application_id = {application};", *journal.iterdump()])
    journal.close()
    target = HERE / f"schema{schema}"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for name in ("logs", "blobs"):
        shutil.copytree(run.path / name, target / name)
    for file, said in [(target / "journal.sql", text + "\n"), *((log, log.read_text()) for log in target.glob("logs/*"))]:
        file.write_text(_of_no_machine(said, folder, checkout))
    return target


def _of_no_machine(text: str, folder: Path, checkout: Path) -> str:
    text = text.replace(f"{checkout}/firexlite/__main__.py", "firexlite").replace(str(folder), FOLDER)
    return re.sub(rf"(?<=[\"' ]){re.escape(platform.node())}(?=[\"',])", HOST, text)


if __name__ == "__main__":
    os.umask(0o077)
    main()
