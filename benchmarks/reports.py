"""Services whose run makes a report of any size: nested callers, chains, retries, failures with a traceback, logs, results."""
from __future__ import annotations

from firexlite import app

GROUP = 500   # tasks below one suite
BOARDS = ("hawk", "heron", "ibis", "kestrel", "merlin", "osprey", "petrel", "swift")


@app.task(bind=True, returns="verdicts")
def qualify(self, tasks: int) -> dict[str, int]:
    """Exactly ``tasks`` tasks in all, itself among them."""
    left = int(tasks) - 1
    promises = []
    number = 0
    while left > 0:
        size = min(GROUP, left)
        promises.append(self.enqueue_child(run_suite.s(suite=number, cases=size - 1, board=BOARDS[number % len(BOARDS)])))
        left -= size
        number += 1
    self.wait_for_children(raise_exception_on_failure=False)
    return {"suites": number, "passed": sum(promise.successful() for promise in promises)}


@app.task(bind=True, returns="passed")
def run_suite(self, suite: int, cases: int, board: str) -> int:
    """``cases`` tasks: pairs of a flash and the case that follows it, and single cases."""
    promises = []
    for case in range(cases // 3):
        promises.append(self.enqueue_child(flash.s(board=board, image=f"image-{suite}.{case}.bin") | run_case.s(case=case)))
        promises.append(self.enqueue_child(measure.s(board=board, case=case, limits={"low": case % 7, "high": 90 + case % 11})))
    for case in range(cases % 3):
        promises.append(self.enqueue_child(measure.s(board=board, case=case, limits={"low": 1, "high": 99})))
    self.wait_for_children(raise_exception_on_failure=False)
    return sum(promise.successful() for promise in promises)


@app.task(returns=("slot", "checksum"))
def flash(board: str, image: str, verify: bool = True) -> tuple[int, str]:
    return len(image) % 4, f"{sum(image.encode()) * 2654435761 % 2 ** 32:08x}"


@app.task(returns="verdict", autoretry_for=ValueError, max_retries=1, default_retry_delay=0.01)
def run_case(case: int, board: str, slot: int, checksum: str) -> str:
    if case % 20 == 3:
        for line in range(25):
            print(f"{board} slot {slot} line {line}: read {case * 31 + line:05d} of {checksum}, waiting for the next")
    if case % 160 == 7:
        raise ValueError(f"case {case} on {board}: expected {checksum}, read {case:08x} from slot {slot}")
    return f"case {case} passed on {board}"


@app.task(returns="values")
def measure(board: str, case: int, limits: dict[str, int]) -> dict[str, float]:
    return {"mean": (case * 37 % 1000) / 10, "spread": (case * 13 % 100) / 10, "low": limits["low"], "high": limits["high"]}
