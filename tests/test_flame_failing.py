"""Whoever sees only the first screen of a report, on a desk or a telephone, knows why the run failed."""
from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Command
from failing_runs import AS_ROOT, RUNS, page_of

DESK, TELEPHONE = (1400, 900), (400, 800)

# What of a page lies within the window before anybody has scrolled: its texts, each line of them whole.
FIRST_SCREEN = """(() => {
    const seen = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const range = document.createRange();
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        range.selectNodeContents(node);
        const boxes = Array.from(range.getClientRects()).filter((box) => box.width);
        const isSeen = boxes.length && boxes.every((box) => box.top >= 0 && box.left >= 0
            && box.bottom <= innerHeight && box.right <= innerWidth);
        if (isSeen && node.parentElement.checkVisibility({visibilityProperty: true})) seen.push(node.textContent);
    }
    return seen.join("\\n").replaceAll("\\u00a0", " ");
})()"""
WIDEST = """Math.max(...Array.from(document.querySelectorAll("header.run *, .failures *"),
                     (element) => element.getBoundingClientRect().right))"""

# Of each failure: the root cause in words, the user's place and line, what it was given, what it said last, who called it,
# and what is other than in the last good run.
TOLD = {
    "deep_cause": ("SectionOverflow: .text needs 145,648 bytes, and the flash of kestrel has 131,072", "firmware.py:45",
                   "raise SectionOverflow(f\"{section} needs {needed:,} bytes, and the flash of {board} has {room:,}\")",
                   '{".text": 145648, ".rodata": 9120, ".bss": 20480}', ".text     145,648 of 131,072 bytes",
                   "nightly", "build_product", "build_firmware", "link_image", "since the last good run", "hawk",
                   "1 task failed, and 4 more because of it"),
    "killed_worker": ("Its worker died 4 times, at last of SIGSEGV (signal 11)", "native code touched memory",
                      "spectra.py:20", "return list((ctypes.c_ubyte * 3).from_address(at))",
                      "f3-damaged", "S7: decoding f3-damaged", "measure", "f1,f2"),
    "time_limit": ("It ran longer than its time_limit of 1.5 s, and was killed", "oven.py:20", "time.sleep(0.2)", "celsius",
                   " of 85 degrees", "calibrate", "since the last good run", "not given"),
    "failed_retry": ("ConnectionError: snb.example: 503 Service Unavailable", "rates.py:18",
                     'raise ConnectionError(f"{source}.example: 503 Service Unavailable")', "try 3 of 3: each failed",
                     "GET https://snb.example/rates/CHF", "price_report", "ecb", "snb"),
    "mismatch": ("It ran again after an interruption and asked for other children than before.", "boards.py:13",
                 'self.enqueue_child_and_get_results(flash.s(board=f"{rack}-{board}", revision=revision))',
                 "before: flash(board='R3-b1', revision='r41')", "now:    flash(board='R3-b1', revision='r42')",
                 "differs in revision: 'r41' before, 'r42' now", "R3", "Nothing that is recorded: the same code"),
    "disk_full": ("There was no space in ", " for 0.5 s", "Nothing that was done is lost", "archive.py:15",
                  "def record(channel, samples):",
                  "1 task was under way", "record", "mic-4: recording to mic-4.raw", "mic-4: kept "),
}


def no_small_disk() -> str:
    """Why no small file system can be mounted here; empty if one can."""
    try:
        return subprocess.run([*AS_ROOT, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, text=True,
                              timeout=20).stderr
    except OSError as error:
        return str(error)


@pytest.fixture(scope="module", params=RUNS)
def report(request, tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """``(kind of failure, page)``."""
    if request.param == "disk_full" and (why := no_small_disk()):
        pytest.skip(why)
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "work").mkdir()
    firexlite = Command(folder / "home", folder / "work")
    yield request.param, page_of(firexlite, request.param)
    firexlite.close()


@pytest.mark.parametrize("script", [True, False], ids=["scripts", "no-scripts"])
@pytest.mark.parametrize("size", [DESK, TELEPHONE], ids=["desk", "telephone"])
def test_the_first_screen_tells_why_the_run_failed(browser, report, size, script):
    kind, path = report
    page = browser.open(path, *size, script=script)

    seen = page.evaluate(FIRST_SCREEN)

    assert [words for words in TOLD[kind] if words not in seen] == [], seen
    assert page.evaluate(WIDEST) <= size[0]
    assert page.errors == []
    page.close()


def test_the_root_cause_is_the_largest_text_of_all(browser, report):
    kind, path = report
    page = browser.open(path)

    largest = page.evaluate("""(() => {
        const size = (element) => parseFloat(getComputedStyle(element).fontSize);
        return Array.from(document.querySelectorAll("#page *"))
            .filter((element) => element.childElementCount === 0 && element.checkVisibility())
            .sort((one, other) => size(other) - size(one))[0].textContent;
    })()""")

    assert largest.startswith(TOLD[kind][0])
    page.close()


def test_the_way_on_is_a_command_to_be_copied(browser, report):
    kind, path = report
    page = browser.open(path)

    commands = page.each(".way", "textContent")

    assert any(command.startswith("firexlite resume FireX-") and command.endswith(" copy") for command in commands)
    assert any(command.startswith("firexlite logs FireX-") for command in commands)
    assert ("--accept-new" in " ".join(commands)) == (kind == "mismatch")
    page.close()
