"""`firexlite why` names what ended a run: the task, the line in the user's own file, and what was said there; `show` and the
first screen of the report tell the same."""
from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pytest
from conftest import Command
from failing_runs import MORE_RUNS, RUNS
from test_flame_failing import no_small_disk

# Of each run that failed: the task, the user's file and line, what happened, the line of code, and who called it.
TOLD = {
    "deep_cause": ("check_sections", 6, "firmware.py:45", "SectionOverflow: .text needs 145,648 bytes, and the flash of ",
                   "raise SectionOverflow(",
                   "nightly (task 1) > build_product (task 2) > build_firmware (task 4) > link_image (task 5)"),
    "killed_worker": ("decode", 4, "spectra.py:20", "Its worker died 4 times, at last of SIGSEGV (signal 11)",
                      "from_address(at)", "measure (task 1)"),
    "time_limit": ("heat_up", 2, "oven.py:20", "It ran longer than its time_limit of 1.5 s, and was killed", "time.sleep(0.2)",
                   "calibrate (task 1)"),
    "failed_retry": ("fetch_rate", 2, "rates.py:18", "ConnectionError: snb.example: 503 Service Unavailable",
                     "raise ConnectionError(", "price_report (task 1)"),
    "cut_off_file": ("count_stock", 1, "inventory.py:16", "JSONDecodeError: Expecting ':' delimiter", "return json.loads(", ""),
    "raised_from_another": ("high_water", 2, "tides.py:22", "NoForecast: no tide gauge at Emden", "raise NoForecast(",
                            "forecast (task 1)"),
    "converter": ("weigh", 2, "recipe.py:21", "ArgumentConversionException: Converter in_grams failed: an amount is given in",
                  "raise ValueError(", "cook (task 1)"),
    "not_storable": ("open_channels", 1, "logger.py:5", "NotStorable: what open_channels returned as channels['a'] is a",
                     "def open_channels(names):", ""),
    "several_children": ("update_vehicle", 8, "fleet.py:44", "RuntimeError: v2 has 12 % left, and an update takes 20",
                         "raise RuntimeError(",
                         "roll_out (task 3) > update_region (task 4) > update_depot (task 5) > update_fleet (task 6)"),
    "missing_module": ("draw", 1, "probes.py:8", "ModuleNotFoundError: No module named 'plotting_library_of_the_lab'",
                       "import plotting_library_of_the_lab", ""),
    "chosen_code": ("simulate", 1, "probes.py:16", "ReturnCodeError: 8 of 8 licences are in use", "raise ReturnCodeError(", ""),
    "no_retry_left": ("dial", 1, "probes.py:22", "MaxRetriesExceededError: it was tried again 2 times, which is all",
                      "self.retry()", ""),
}
# Of each that ended otherwise: what is said of its end, and the task that was under way with its place, if one is named.
ENDED_OTHERWISE = {
    "mismatch": ("asked for other children than before", "boards.py:13"),
    "disk_full": ("There was no space in ", "archive.py:15"),
    "called_off": ("cancelled by ", None),
}


@dataclass
class Failed:
    """A run that failed in a way, and what its tellers say. page: the text of the static part of its report."""

    kind: str
    firex_id: str
    why: str
    why_json: dict
    show: str
    page: str


@pytest.fixture(scope="module")
def failed(request, tmp_path_factory) -> Iterator[Failed]:
    if request.param == "disk_full" and (why := no_small_disk()):
        pytest.skip(why)
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "work").mkdir()
    firexlite = Command(folder / "home", folder / "work")
    firex_id = (RUNS | MORE_RUNS)[request.param](firexlite)
    if request.param == "disk_full":  # its disk is gone
        why, as_json, show, page = ((firexlite.folder / name).read_text()
                                    for name in ("why.txt", "why.json", "show.txt", "disk_full.html"))
    else:
        done = [firexlite(*words.split(), firex_id) for words in ("why", "why --json", "show", "flame")]
        assert [(one.code, one.err) for one in done] == [(0, "")] * 4
        why, as_json, show, page = (one.out for one in done)
    static = page[page.index("<body"):page.index("<script", page.index("<body"))]
    yield Failed(request.param, firex_id, why, json.loads(as_json), show, html.unescape(re.sub("<[^>]*>", "", static)))
    firexlite.close()


def each(kinds: Iterable[str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("failed", kinds, indirect=True, scope="module")


@each(TOLD)
def test_the_root_cause_of_a_failure_is_named_everywhere(failed: Failed) -> None:
    name, num, place, what, code, path = TOLD[failed.kind]

    lines = failed.why.splitlines()
    [first] = [n for n, line in enumerate(lines) if line.startswith(f"{name} (task {num}) failed")]
    assert lines[first + 1].startswith(f"  {what}"), lines
    [at] = [n for n, line in enumerate(lines) if line.startswith("  at ")]
    assert lines[at].startswith(f"  at {place} in ")
    assert any(code in line for line in lines[at + 1:at + 3])
    assert [line for line in lines if line.startswith("  called by: ")] == ([f"  called by: {path}"] if path else [])
    assert f"  firexlite resume {failed.firex_id}" in lines

    [cause] = failed.why_json["causes"]
    assert (cause["name"], cause["task"]) == (name, num)
    assert cause["what"].startswith(what)
    assert cause["place"].startswith(f"{place} in ")
    assert " > ".join(f"{step['name']} (task {step['task']})" for step in cause["path"]) == path

    assert f"\n{name} (task {num}) failed: {what}" in failed.show
    assert f"\n  at {cause['place']}\n" in failed.show

    assert what in failed.page
    assert re.search(rf"#{num}\s+{name}", failed.page)
    assert place in failed.page

    if failed.kind == "several_children":
        what = "RuntimeError: v4 has 7 % left, and an update takes 20"
        assert f"\nFailed too:\n  update_vehicle (task 10): {what}\n" in failed.why
        assert failed.why_json["others"] == [{"task": 10, "name": "update_vehicle", "what": what}]
    if failed.kind == "deep_cause":
        assert "\n  input    board: hawk before, kestrel now\n" in failed.why
        [difference] = failed.why_json["since_last_good"]["differences"]
        assert difference == {"what": "input", "name": "board", "was": "hawk", "now": "kestrel"}


@each(ENDED_OTHERWISE)
def test_it_is_told_how_else_a_run_ended(failed: Failed) -> None:
    what, place = ENDED_OTHERWISE[failed.kind]

    assert failed.why_json["causes"] == []
    for told in (failed.why, json.dumps(failed.why_json), failed.page):
        assert what in told
        assert not place or place in told


def test_why_of_a_run_that_succeeded_says_so(firexlite: Command) -> None:
    firex_id = firexlite("submit", "--chain", "nop").firex_id

    done = firexlite("why", "last")

    assert done.out.splitlines()[3] == "Nothing went wrong: all tasks that count succeeded."
    assert done.out.splitlines()[-1] == f"  firexlite flame {firex_id} > out.html"


def test_many_failures_are_counted(firexlite: Command, plugin) -> None:
    plugin("""
from firexlite import app

@app.task
def probe(n):
    raise ValueError(f"probe {n}")

@app.task(bind=True)
def all_of_them(self):
    for n in range(8):
        self.enqueue_child(probe.s(n=n))
    self.wait_for_children()
""")
    done = firexlite("submit", "--plugins", "services.py", "--chain", "all_of_them", "--workers", "1")

    lines = firexlite("why", "last").out.splitlines()

    assert "probe (task 2) failed:" in lines
    assert lines[lines.index("Failed too:") + 1:][:6] == [
        *(f"  probe (task {n + 2}): ValueError: probe {n}" for n in range(1, 6)),
        f"  ... and more: firexlite show {done.firex_id} --state failed"]
