"""How much memory and processor time a command takes: `python -m benchmarks.peak COMMAND ARGUMENT ...`.

Prints seconds, processor seconds and the peak of its memory in bytes as JSON, and ends as it did. This is a small
program on purpose: the kernel counts to a new process also what the one that started it had at that moment.
"""
from __future__ import annotations

import json
import os
import sys
from time import perf_counter

KIB = 1024  # the unit of ru_maxrss on Linux

if __name__ == "__main__":
    began = perf_counter()
    pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
    _, status, usage = os.wait4(pid, 0)
    seconds = perf_counter() - began
    print(json.dumps({"seconds": seconds, "cpu": usage.ru_utime + usage.ru_stime, "peak": usage.ru_maxrss * KIB}))
    sys.exit(abs(os.waitstatus_to_exitcode(status)))
