"""A simulated device: a process that answers `measure CASE` with millivolts, if it answers.

    python3 device.py NAME SEED TRY

Its faults are the same each time for the same name, seed and try: at times it does not answer, or hangs. A dodo is dead.
Of two who talk to a device at the same time one is told that it is busy.
"""
import fcntl
import random
import signal
import sys

name, seed, attempt = sys.argv[1:]
with open(f"{name}.lock", "w") as lock:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit("busy")
    for line in sys.stdin:
        _, case = line.split()
        fault = random.Random(f"{seed} {name} {case} {attempt}").random()
        if name == "dodo" or fault < 0.25:
            sys.exit("no answer")
        if fault < 0.35:
            signal.pause()
        print(3300 + random.Random(f"{seed} {name} {case}").randint(-40, 40), flush=True)
