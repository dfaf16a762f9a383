"""A stand-in, and the far worker that it serves played by the test: what that may ask for, and when it is let go."""
from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Callable, Iterator

import pytest
from conftest import wait_until

from firexlite.board import RESTS, Board
from firexlite.claims import Claim, Ended, Success
from firexlite.codec import decode_error
from firexlite.errors import FirexliteError
from firexlite.executors import stand_in, wire
from firexlite.incarnation import Incarnation
from firexlite.journal import Journal

LIMIT_S = 30


class Far:
    """The far side of a stand-in, which is a process of its own."""

    def __init__(self, journal: Journal, board: Board) -> None:
        ours, theirs = socket.socketpair()
        incarnation = Incarnation(journal.directory, 1, 1, [])
        board.forked(0)
        if not (pid := os.fork()):
            ours.close()
            stand_in.stand_in(incarnation, 0, board, theirs, "lab2", None)
        theirs.close()
        self.pid, self.link, self.board = pid, wire.Link(ours), board

    def asks(self, *call: object) -> object:
        """What a call gives. Raises what it raised there."""
        self.link.send(wire.CALL, wire.packed(list(call)))
        while True:
            kind, payload = self.hears()
            if kind == wire.ANSWER:
                value, raised, *_ = wire.unpacked(payload)
                if raised is not None:
                    raise decode_error(raised)
                return value

    def hears(self) -> tuple[bytes, bytes]:
        assert select.select([self.link], [], [], LIMIT_S)[0], "nothing was heard"
        frame = self.link.receive()
        assert frame is not None, "the stand-in has ended"
        return frame

    def facts(self) -> list:
        """What it is told next without having asked: ``[whether it is interrupted, what has changed]``."""
        while (frame := self.hears())[0] != wire.FACTS:
            pass
        return wire.unpacked(frame[1])

    def close(self) -> int:
        """How the stand-in ends when the far side is gone."""
        self.link.close()
        return os.waitpid(self.pid, 0)[1]


@pytest.fixture
def far(new_run: Callable[..., Journal]) -> Iterator[tuple[Far, Journal]]:
    journal = new_run("bake", "eat")
    journal.directory.wake.mkdir()
    far = Far(journal, Board())
    yield far, journal
    try:
        os.kill(far.pid, signal.SIGKILL)
        os.waitpid(far.pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass
    far.link.close()


def test_it_claims_and_settles_for_the_far_worker_and_its_output_is_in_a_log_of_its_host(far):
    worker, journal = far

    claim = worker.asks("claim")
    assert isinstance(claim, Claim) and (claim.task, claim.attempt) == (1, 1)
    worker.link.send(wire.LOG, b"it is in the oven\n")
    after = worker.asks("settle_all", [Ended(claim, Success('{"loaf":"rye"}', "{}"), 4711, False)], True)
    assert isinstance(after, Claim) and after.task == 2

    rows = journal.execute("SELECT task, outcome, host, log_start, log_end FROM attempt ORDER BY task")
    assert rows == [(1, "succeeded", "lab2", 0, 18), (2, None, "lab2", 18, None)]
    assert journal.directory.log_file(1, 0, "lab2").read_text() == "it is in the oven\n"


@pytest.mark.parametrize("call", [
    ("execute", "DROP TABLE task"), ("finish",), ("function", "firexlite.waiting", "send", "go", "1"),
    ("function", "os", "system", "true"), ("function", "firexlite.host", "cores"), ("function", "firexlite.nowhere", "x")])
def test_it_does_nothing_of_the_journal_that_no_body_needs(far, call):
    worker, _ = far

    with pytest.raises((FirexliteError, ImportError)):
        worker.asks(*call)
    assert isinstance(worker.asks("claim"), Claim)


def test_a_soft_limit_is_told_once(far):
    worker, _ = far
    claim = worker.asks("claim")
    assert isinstance(claim, Claim)
    worker.board.mark_spent(0, claim.task, claim.attempt)

    os.kill(worker.pid, signal.SIGTERM)
    interrupts, facts = worker.facts()
    assert (interrupts, facts[-2:]) == (True, (claim.task, claim.attempt))
    os.kill(worker.pid, signal.SIGTERM)
    interrupts, facts = worker.facts()
    assert (interrupts, facts[-2:]) == (True, (0, 0))


def test_a_far_worker_with_nothing_to_do_is_let_go_and_can_be_called_no_more(far):
    worker, _ = far
    claim = worker.asks("claim")
    while isinstance(claim, Claim):
        claim = worker.asks("settle_all", [Ended(claim, Success("{}", "{}"), 0, False)], True)
    assert claim is None and worker.board.status(0) == RESTS

    _, (is_to_stop, *_) = worker.facts()
    assert is_to_stop
    assert worker.board.call_resting(1) == []
    worker.link.send(wire.END, wire.packed({"status": 0, "stack": ""}))
    assert os.waitpid(worker.pid, 0)[1] == 0


def test_it_dies_as_the_far_worker_died_and_leaves_its_stack(far):
    worker, journal = far
    worker.asks("claim")
    worker.link.send(wire.END, wire.packed({"status": int(signal.SIGSEGV), "stack": "where it was\n"}))

    assert os.waitpid(worker.pid, 0)[1] & 0x7f == signal.SIGSEGV
    assert (journal.directory.wake / "0.stack").read_text() == "where it was\n"


def test_of_one_that_is_lost_it_says_so(far):
    worker, journal = far
    worker.asks("claim")

    assert worker.close() == 1 << 8
    path = stand_in.path_of_how(journal.directory.wake, 0)
    wait_until(path.exists, what="word of how")
    assert path.read_text() == "its connection was lost (lab2)"
