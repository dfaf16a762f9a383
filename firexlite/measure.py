"""What an attempt takes: its peak of memory and its CPU time, for a few microseconds.

Linux can forget the peak of a process, so that what is read at the end is that of the attempt; it is asked to when an
attempt before has raised the peak. Elsewhere, or where that is forbidden, a peak that an earlier attempt of the same worker
has reached hides a lower one: then it is what the process holds at the end. Of shell commands and other children the largest
one counts, if it was larger than all before it.
"""
from __future__ import annotations

import os
import resource
from dataclasses import dataclass

from . import host

_UNIT = host.RSS_UNIT


@dataclass(frozen=True)
class Measurement:
    """One that goes on. is_fresh: the peak of the process was forgotten when it began."""

    is_fresh: bool
    peak: int
    peak_of_children: int
    cpu_s: float

    def end(self) -> tuple[int, float]:
        """``(peak in bytes, CPU time in seconds)`` since it began, children that were waited for included."""
        ours, theirs = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        peak = ours.ru_maxrss * _UNIT
        if not self.is_fresh and peak <= self.peak:
            peak = host.memory_held() or peak
        if theirs.ru_maxrss > self.peak_of_children:
            peak = max(peak, theirs.ru_maxrss * _UNIT)
        return peak, max(0.0, _cpu_s(ours) + _cpu_s(theirs) - self.cpu_s)


_lowest: tuple[int, int] | None = None  # (process, its peak when it was last forgotten)


def begin() -> Measurement:
    """Begin to measure this process; of two that overlap the later one makes the earlier forget its peak."""
    global _lowest
    ours, theirs = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    is_fresh = _lowest == (os.getpid(), ours.ru_maxrss)
    if not is_fresh and (is_fresh := host.forget_peak()):
        ours = resource.getrusage(resource.RUSAGE_SELF)
        _lowest = os.getpid(), ours.ru_maxrss
    return Measurement(is_fresh, ours.ru_maxrss * _UNIT, theirs.ru_maxrss, _cpu_s(ours) + _cpu_s(theirs))


def _cpu_s(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime
