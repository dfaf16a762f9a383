"""The three moments that firexlite is built for, each typed as README.md has it."""
from __future__ import annotations

import json
import re

from conftest import ROOT, query
from test_docs import Example, Reader, examples_of

from firexlite.home import RunDirectory

README = ROOT / "README.md"


def moment(title: str) -> list[Example]:
    """The commands of README.md below a title in bold letters."""
    text = README.read_text()
    block = re.search(rf"^\*\*{re.escape(title)}.*?^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert block, title
    commands = [line.removeprefix("$ ") for line in block[1].splitlines() if line.startswith("$ ")]
    return [example for example in examples_of(README) if example.command in commands][-len(commands):]


def play(reader: Reader, title: str) -> None:
    for example in moment(title):
        reader.follow(example)


def test_killed_corrected_and_the_same_command_again(firexlite):
    reader = Reader(firexlite, README)

    killed, edit, again = moment("Killed, corrected, and the same command again.")
    reader.follow(killed)
    run = firexlite.only_run()
    attempts = "SELECT task, number, started, ended, outcome FROM attempt WHERE task <= 6 ORDER BY task, number"
    before = query(run, attempts)
    for example in (edit, again):
        reader.follow(example)

    assert firexlite.only_run().path == run.path
    assert [(task, outcome) for task, *_, outcome in before] == [(task, "succeeded") for task in range(1, 7)]
    assert query(run, attempts) == before
    assert query(run, "SELECT id, attempt FROM task WHERE id >= 7 ORDER BY id") == [(7, 2), (8, 1), (9, 1), (10, 1)]
    returned = json.loads(run.run_json.read_text())["results"]["chain_results"]
    assert returned["rounded"] == {"rye": 2.25, "spelt": 3.65, "wheat": 2.05}


def test_the_one_artifact_of_a_red_ci_job_names_the_users_line(firexlite):
    reader = Reader(firexlite, README)

    play(reader, "The red CI job.")

    page = (firexlite.folder / "flame.html").read_text()
    first_screen = re.sub(r"<[^>]+>", "", page[page.index("<header"):page.index("</section>")])
    [line] = [n for n, text in enumerate((firexlite.folder / "firmware.py").read_text().splitlines(), 1)
              if "raise SectionOverflow" in text]
    assert f"firmware.py:{line} in check_sections" in first_screen
    assert ".text needs 145,648 bytes, and the flash of kestrel has 131,072" in first_screen


def test_a_colleagues_run_stops_at_the_line_that_raised(firexlite):
    reader = Reader(firexlite, README)

    play(reader, "A colleague's run of last night.")

    [run] = firexlite.home.glob("FireX-mohamed-*")
    assert not (run / "journal.sqlite3-wal").exists() and RunDirectory(run).is_there()
