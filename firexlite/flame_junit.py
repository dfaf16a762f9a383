"""A run as JUnit XML, which CI servers show by themselves: each task is a test case of one suite.

A CI server lists what failed, and it should list what somebody has to look at. So of the tasks that failed only the
root causes are failures; a task that merely failed because another did is skipped, and says because of which.
"""
from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import IO, TYPE_CHECKING, Any
from xml.sax.saxutils import escape, quoteattr

from .states import FAILED, FINAL, REVOKED, RUN_INTERRUPTED, SKIPPED, SUCCEEDED

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

IN_MEMORY = 8 * 1024 * 1024  # bytes of test cases, before they go to a temporary file
AT_ONCE = 64 * 1024
SUITES = ("tests", "failures", "errors", "skipped")  # the tallies, as attributes
# All that XML 1.0 does not allow, not even as a character reference.
ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_junit(model: Mapping[str, Any], out: SupportsWrite[str]) -> None:
    """Write the model as JUnit XML, in ASCII; goes through its tasks once. What was set aside is left out.

    failure: a task that failed by itself. error: one that was not over, or whose worker died too often. skipped: one
    that was revoked, that never started, or that failed because of another.
    """
    # How many failed stands in the head, and is known at the end.
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as spool:
        cases = _Cases(spool, model.get("run") or {})
        aside = set()
        for task in model.get("tasks") or ():  # who enqueued a task comes before it
            if task.get("aside") or task.get("enqueued_by") in aside:
                aside.add(task["num"])
            else:
                cases.add(task)
        cases.find_root_causes()
        out.write("<?xml version='1.0' encoding='us-ascii'?>\n" + _ascii(_head(model, cases.tally)))
        for text in cases.read():
            out.write(text)
        out.write("</testsuite>\n</testsuites>\n")


def _head(model: Mapping[str, Any], tally: Mapping[str, int]) -> str:
    run = model.get("run") or {}
    started = run.get("started")
    ended = run.get("ended") or model.get("generated_at")
    both = {"name": run.get("id", "firexlite"), **tally,
            "time": _seconds(None if started is None or ended is None else ended - started)}
    suite = {**both, "hostname": run.get("host") or "",
             "timestamp": "" if started is None else f"{datetime.fromtimestamp(started, timezone.utc):%Y-%m-%dT%H:%M:%S}"}
    told = {"chain": run.get("chain"), "state": run.get("state"), "firexlite": model.get("firexlite")}
    properties = "".join(f"<property{_attributes(name=name, value=value)}/>" for name, value in told.items() if value)
    return (f"<testsuites{_attributes(**both)}>\n<testsuite{_attributes(**suite)}>\n"
            f"<properties>{properties}</properties>\n")


class _Cases:
    """The test cases, in a temporary file, with their tally."""

    def __init__(self, spool: IO[bytes], run: Mapping[str, Any]) -> None:
        self.spool, self.run = spool, run
        self.size = 0                           # of the file, in bytes
        self.tally = dict.fromkeys(SUITES, 0)
        self.failed: dict[int, str] = {}        # names by number of task: all that failed or were not over
        self.caused: list[tuple[str, int, int, int]] = []  # (verdict, because of which task, from byte, to byte)
        self.replaced: list[tuple[int, int, str]] = []      # (from byte, to byte, what stands there instead)

    def add(self, task: Mapping[str, Any]) -> None:
        name, service = str(task.get("name") or "?"), str(task.get("long_name") or task.get("name") or "?")
        # Some CI servers show only one of several cases with the same names.
        attributes = _attributes(classname=service, name=f"{name} #{task['num']}", time=_seconds(task.get("runtime")))
        verdict, element = _verdict(task, self.run)
        output = _output(task.get("log"))
        self.tally["tests"] += 1
        if verdict:
            self.tally[verdict] += 1
        if not (element or output):
            self._put(f"<testcase{attributes}/>\n")
            return
        self._put(f"<testcase{attributes}>")
        begin = self.size
        self._put(element)
        if verdict in ("failures", "errors"):
            self.failed[task["num"]] = name
            if task.get("cause") not in (None, task["num"]):
                self.caused.append((verdict, task["cause"], begin, self.size))
        self._put(f"{output}</testcase>\n")

    def find_root_causes(self) -> None:
        """Of the failed tasks, turn those into skipped ones that failed because of another; a child has the higher number,
        so what became of it is known only now."""
        if len(self.caused) == len(self.failed):
            return  # they name each other: none may be left out, or the run would look as if nothing had failed
        for verdict, cause, begin, end in self.caused:
            # A cause that did not fail, or is not in the report, explains nothing.
            if cause in self.failed:
                self.tally[verdict] -= 1
                self.tally["skipped"] += 1
                self.replaced.append((begin, end, _skipped(f"failed because of {self.failed[cause]} #{cause}")))

    def read(self) -> Iterator[str]:
        """All cases as text, in pieces."""
        place = 0
        self.spool.seek(0)
        for begin, end, instead in (*self.replaced, (self.size, self.size, "")):
            while place < begin:
                piece = self.spool.read(min(AT_ONCE, begin - place))
                place += len(piece)
                yield piece.decode("ascii")
            yield _ascii(instead)
            place = self.spool.seek(end)

    def _put(self, text: str) -> None:
        self.size += self.spool.write(_ascii(text).encode("ascii"))


# --- what became of a task --------------------------------------------------------------------------------------

def _verdict(task: Mapping[str, Any], run: Mapping[str, Any]) -> tuple[str, str]:
    """``(which tally it counts in, element)``, as if no task could be to blame for another's failure."""
    state = task.get("state")
    if state == SUCCEEDED:
        return "", ""
    if state == REVOKED:
        reason = task.get("revoke_reason")
        return "skipped", _skipped(f"revoked: {reason}" if reason else "revoked")
    if state == SKIPPED:
        return "skipped", _skipped("a task before it in its chain did not succeed")
    if state not in FINAL and task.get("started") is None:
        return "skipped", _skipped("never started")
    if state != FAILED:
        when = "the run was interrupted" if run.get("state") == RUN_INTERRUPTED else "this was written"
        return "errors", f"<error{_attributes(type='incomplete', message=f'{state} when {when}')}/>"
    exception = str(task.get("exception") or "failed")
    kind = exception.partition("(")[0]
    verdict, tag = ("errors", "error") if kind == "WorkerLost" else ("failures", "failure")
    where = task.get("error_context")
    text = "\n".join(filter(None, (task.get("traceback") or exception, where and f"at {where}")))
    return verdict, f"<{tag}{_attributes(type=kind, message=exception)}>{_text(text)}</{tag}>"


def _skipped(message: str) -> str:
    return f"<skipped{_attributes(message=message)}/>"


def _output(log: Mapping[str, Any] | None) -> str:
    if not log or not log.get("lines"):
        return ""
    left_out = log.get("bytes_before")
    lines = [f"[the first {left_out:,} bytes are left out]"] if left_out else []
    return f"<system-out>{_text(chr(10).join((*lines, *log['lines'])))}</system-out>"


# --- text -------------------------------------------------------------------------------------------------------

def _seconds(seconds: float | None) -> str:
    return f"{max(0.0, seconds or 0.0):.3f}"


def _attributes(**attributes: object) -> str:
    return "".join(f" {name}={quoteattr(_legal(str(value)))}" for name, value in attributes.items())


def _text(text: str) -> str:
    return escape(_legal(text), {"\r": "&#13;"})  # a bare one would be read as a line feed


def _legal(text: str) -> str:
    """With characters that XML cannot hold as Python writes them: ``\\x1b``."""
    return ILLEGAL.sub(lambda char: char[0].encode("unicode_escape").decode(), text)


def _ascii(text: str) -> str:
    return text.encode("ascii", "xmlcharrefreplace").decode("ascii")
