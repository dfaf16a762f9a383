"""Reports of runs of several sizes: how long `firexlite flame` takes, and how the page does in a browser."""
from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from .document import Marks
from .references import WORKERS
from .report import circumstances
from .scratch import PROJECT, CannotMeasure, Scratch, firexlite_command
from .text import MB, shown_count, shown_s, table

SERVICES = str(Path(__file__).with_name("reports.py"))
FULL = (10, 1_000, 10_000, 100_000)
QUICK = (10, 60)
FRAMES = 120
AT_ONCE = 30               # frames in one call of the browser, which has to answer in time
MARKS = Marks("<!-- reports: written by `python -m benchmarks --reports`, which replaces all up to the end of reports -->",
              "<!-- end of reports -->")

# All that is known here of the page: the address of the tree, and where things are to be found.
TREE_ADDRESS = "#/tree"
TREE = "#tree"
AXIS = "#ticks"            # over which the wheel zooms
EXPAND = "#expand"         # shows all rows


@dataclass(frozen=True)
class Sample:
    """One export and one opening of what it wrote. scroll_s, zoom_s: of each frame."""

    export_s: float
    cpu_s: float           # of the export
    peak: int              # bytes of memory, the most that the export had
    size: int              # of the file, in bytes
    paint_s: float
    ready_s: float
    heap: int              # bytes of JavaScript objects and array buffers, when the page is ready
    elements: int
    scroll_s: Sequence[float]
    zoom_s: Sequence[float]


@dataclass
class Report:
    """The report of one run, and its samples, one a round."""

    tasks: int
    firex_id: str
    samples: list[Sample] = field(default_factory=list)


def measure_reports(sizes: Sequence[int], scratch: Scratch, rounds: int, say: Callable[[str], None]) -> list[Report]:
    """Make a run of each size, once; then measure their reports in turn, after a round that does not count."""
    browser = browser_of_the_tests()
    reports = []
    for tasks in sizes:
        say(f"making a run of {tasks:,} tasks")
        reports.append(Report(tasks, _run_of(tasks, scratch)))
    for number in range(rounds + 1):
        say(f"round {number} of {rounds}" if number else "a first round that does not count")
        for report in reports:
            sample = _measure(report, scratch, browser)
            if number:
                report.samples.append(sample)
    return reports


def _run_of(tasks: int, scratch: Scratch) -> str:
    known = set(scratch.runs())
    scratch.run(*firexlite_command(), "submit", "--plugins", SERVICES, "--workers", str(WORKERS),
                "--chain", "qualify", "--tasks", str(tasks), keeps_home=True)
    [firex_id] = set(scratch.runs()) - known
    return firex_id


def _measure(report: Report, scratch: Scratch, browser: ModuleType) -> Sample:
    path = scratch.folder / "report.html"
    ended = scratch.run(sys.executable, "-m", "benchmarks.peak", *firexlite_command(), "flame", report.firex_id,
                        "-o", str(path), keeps_home=True)
    export = json.loads(ended.out)
    try:
        # A browser for each, so that none finds what another left in its memory.
        with browser.Browser() as program:
            in_browser = _look_at(program.open(path))
    except (browser.ScriptFailed, TimeoutError, RuntimeError) as error:
        raise CannotMeasure(f"the report of {report.tasks:,} tasks cannot be measured: {error}") from error
    return Sample(export["seconds"], export["cpu"], export["peak"], path.stat().st_size, **in_browser)


def browser_of_the_tests() -> ModuleType:
    """The module; the tests are no package."""
    if (tests := str(PROJECT / "tests")) not in sys.path:
        sys.path.append(tests)
    import browser
    return browser


def browser_version() -> str:
    """Raises CannotMeasure if there is none."""
    browser = browser_of_the_tests()
    try:
        with browser.Browser() as program:
            return program.call("Browser.getVersion")["product"]
    except browser.BrowserMissing:
        raise CannotMeasure("reports are opened in Chromium, which is not here: apt-get install chromium") from None


# --- in the browser ---------------------------------------------------------------------------------------------

PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
SCROLL = """
  let scroller = document.querySelector(TREE);
  const top = document.documentElement;
  while (scroller !== top && scroller.scrollHeight <= scroller.clientHeight) scroller = scroller.parentElement;
  const range = scroller.scrollHeight - scroller.clientHeight;
  const move = (n) => scroller.scrollTo({ top: range * n / FRAMES, behavior: "instant" });
"""
ZOOM = """
  const axis = document.querySelector(AXIS), box = axis.getBoundingClientRect();
  const move = (n) => axis.dispatchEvent(new WheelEvent("wheel", {
    clientX: box.left + box.width / 3, clientY: box.top + box.height / 2, deltaY: n <= FRAMES / 2 ? -120 : 120,
    bubbles: true, cancelable: true,
  }));
"""
FRAME_BY_FRAME = """(async () => {
  MOVEMENT
  const frame = () => new Promise(requestAnimationFrame), took = [];
  let before = await frame();
  for (let n = FIRST; n <= LAST; n++) {
    move(n);
    const now = await frame();
    took.push(now - before);
    before = now;
  }
  return took;
})()"""


def _look_at(page) -> dict:
    paint_ms = page.wait_for(PAINT)
    ready_ms = float(page.evaluate("document.documentElement.dataset.readyMs"))
    page.call("HeapProfiler.collectGarbage")
    heap = page.call("Runtime.getHeapUsage")  # the columns are typed arrays, whose bytes lie outside of the heap proper
    page.evaluate(f"location.hash = {json.dumps(TREE_ADDRESS)}")
    page.wait_for(f"document.querySelector({json.dumps(TREE)}).getClientRects().length")
    page.evaluate(f"document.querySelector({json.dumps(EXPAND)}).click()")
    elements = page.count("*")
    scroll_ms, zoom_ms = frames(page, SCROLL), frames(page, ZOOM)
    if page.errors:
        raise CannotMeasure(f"the page of a report has trouble: {page.errors[0]}")
    return {"paint_s": paint_ms / 1000, "ready_s": ready_ms / 1000, "heap": heap["usedSize"] + heap["backingStorageSize"],
            "elements": max(elements, page.count("*")),
            "scroll_s": [ms / 1000 for ms in scroll_ms], "zoom_s": [ms / 1000 for ms in zoom_ms]}


def frames(page, movement: str) -> list[float]:
    """How long each frame took, in milliseconds, when ``movement`` was made in each."""
    took = []
    for first in range(1, FRAMES, AT_ONCE):
        script = FRAME_BY_FRAME.replace("MOVEMENT", movement.strip()).replace("FRAMES", str(FRAMES))
        script = script.replace("FIRST", str(first)).replace("LAST", str(first + AT_ONCE - 1))
        took += page.evaluate(script.replace("TREE", json.dumps(TREE)).replace("AXIS", json.dumps(AXIS)))
    return took


# --- the figures ------------------------------------------------------------------------------------------------

def _shown_mb(size: float) -> str:
    return f"{size / MB:.2f} MB" if size < 10 * MB else f"{size / MB:.1f} MB"


@dataclass(frozen=True)
class Row:
    """A row of the table. goal: what the report of ``GOALS_FOR`` tasks should not exceed. over: one value for all rounds."""

    name: str
    value: Callable[[Sample], float]
    shown: Callable[[float], str]
    goal: float | None
    over: Callable[[Sequence[float]], float] = statistics.median


GOALS_FOR = 100_000
ROWS = (
    Row("`firexlite flame ID -o FILE`", lambda sample: sample.export_s, shown_s, 4.0),
    Row("its processor time", lambda sample: sample.cpu_s, shown_s, None),
    Row("its memory at the most", lambda sample: sample.peak, _shown_mb, 300 * MB),
    Row("size of the file", lambda sample: sample.size, _shown_mb, 12 * MB),
    Row("first contentful paint", lambda sample: sample.paint_s, shown_s, 0.4),
    Row("ready", lambda sample: sample.ready_s, shown_s, 0.7),
    Row("JavaScript heap", lambda sample: sample.heap, _shown_mb, 100 * MB),
    Row("elements", lambda sample: sample.elements, shown_count, 1500),
    Row("a frame while scrolling", lambda sample: statistics.median(sample.scroll_s), shown_s, 0.020),
    Row("the longest of all these", lambda sample: max(sample.scroll_s), shown_s, 0.120, max),
    Row("a frame while zooming", lambda sample: statistics.median(sample.zoom_s), shown_s, 0.020),
    Row("the longest of those", lambda sample: max(sample.zoom_s), shown_s, 0.120, max),
)


def report_figures(reports: Sequence[Report], version: str, scratch: Scratch, rounds: int, load: float) -> str:
    """The table, as Markdown. version: of the browser. load: of the machine when measuring began."""
    head = ["tasks", *(f"{report.tasks:,}" for report in reports), f"goal for {GOALS_FOR:,}"]
    rows = []
    for row in ROWS:
        values = {report.tasks: row.over([row.value(sample) for sample in report.samples]) for report in reports}
        goal = "" if row.goal is None else row.shown(row.goal)
        if row.goal is not None and GOALS_FOR in values:
            goal += ", met" if values[GOALS_FOR] <= row.goal else ", missed"
        rows.append([row.name, *map(row.shown, values.values()), goal])
    return f"{circumstances(scratch, rounds, load)}\n- Browser: {version}, headless.\n\n{table(head, rows)}"
