"""The front: the process that a person started. It forks the job, shows how far it is, passes on signals, ends what
is left over, and gives the exit code. It imports no service, so none can hang or crash it."""
from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from . import guard, host
from .board import FAILED, KNOWN, REVOKED, SKIPPED, SUCCEEDED, Board
from .configuration import IMPORT_TIMEOUT_S
from .errors import BadInput, FirexliteError
from .following import Progress, Screen
from .history import History
from .home import RunDirectory
from .host import GRACE_S, STOPPING
from .interrupts import take_back_signals, wakeups
from .launch import Channel, Incarnation, Job, ResumeRequest, drive_without_services, resume
from .logs import flush_output, terminal
from .runner import SAME_REQUEST_S
from .trimming import Watch

if TYPE_CHECKING:
    from .sinks import Sink  # few runs have any
    from .sinks.pumps import Pumps

REFRESH_S = 0.2
CALM_S = 2.0       # the same when nobody has worked for as long; what ends is told at once
STOPPED = 130      # how a job ends that is stopped before it has begun a run
SILENT_S = 1.0     # that sinks are waited for before that is said
PATIENCE_S = 4.0   # that a runner has to end after its workers had to


AtEnd = Callable[[RunDirectory, int, bool], None]  # the exit code, and whether there was anything to do


class Telling(NamedTuple):
    """To whom the events of a run are sent, beside those whom it recorded, and how long they are waited for at its end."""

    sinks: tuple[Sink, ...] = ()
    wait_s: float | None = None  # None: what the environment says, or ten

    @property
    def names(self) -> list[str]:
        return [sink.name for sink in self.sinks]


TO_NOBODY = Telling()  # else


def _progress(board: Board) -> Progress:
    """As the processes of the run count."""
    cells = board.cells
    return Progress(cells[SUCCEEDED] + cells[FAILED] + cells[SKIPPED] + cells[REVOKED], cells[KNOWN], cells[FAILED])


class Front:
    """Runs one job in a child process and looks after it."""

    def __init__(self, screen: Screen, import_timeout_s: float = IMPORT_TIMEOUT_S,
                 at_end: AtEnd = lambda directory, code, was_over: None, telling: Telling = TO_NOBODY) -> None:
        """at_end: done last, however the run ended, when nothing of it lives any more; not where there was none."""
        self.screen, self.import_timeout_s, self._at_end = screen, import_timeout_s, at_end
        self.board = Board()
        self.directory: RunDirectory | None = None
        self.active: RunDirectory | None = None  # a run that is there already, and goes on in other processes
        self._importing: str | None = None
        self._import_by = 0.0
        self._alive: int | None = None         # the run's lock, so that nobody resumes while we still clean up
        self._next_job: Job | None = None
        self._resumed: dict | None = None      # told after the run's id
        self._was_over = False                 # all of the run had succeeded before
        self._refusal: tuple[str, int] | None = None
        self._signal: int | None = None
        self._signals = 0
        self._asked = self._kill_at = 0.0      # monotonic
        self._has_said_stopping = False
        self._watch: Watch | None = None
        self._next_look = 0.0                  # monotonic
        self._pid = self._last_job = 0
        self.told: list[str] = []              # what became of the events that were to be sent, where it is worth a sentence
        self._telling = telling
        self._pumps: Pumps | None = None
        self._not_ours: set[int] = set()       # children of the shell script that became this process by `exec`

    def run(self, job: Job) -> int:
        """Fork the job and stay with it to its end; returns the exit code.

        Raises FirexliteError as the job raised it, and BadInput for an import that hangs or crashes.
        """
        if os.getpid() != 1:  # there they are orphans, which are ours to end
            self._not_ours = set(host.children(os.getpid()))
        host.adopt_orphans()
        self._listen_to_signals()
        status = self._run_one(job)
        while self._next_job is not None and self._signal is None:
            job, self._next_job = self._next_job, None
            status = self._run_one(job)
        host.end_descendants(self._not_ours | (self._pumps.pids if self._pumps else set()),
                             [self._last_job, *self.board.sessions()])
        if self._alive is not None:
            os.close(self._alive)  # nothing of the run lives any more
        code = os.waitstatus_to_exitcode(status)
        was_obeyed = self._signal is not None and (code < 0 or code == STOPPED or self._next_job is not None)
        if self._signal is not None and was_obeyed:
            code = 128 + self._signal  # however the job ended: it was the signal that was obeyed
        if self.directory is not None:
            told = 128 - code if code < 0 else self._refusal[1] if self._refusal else code
            if self._pumps is not None:
                self._pumps.run_has_ended()
            self._at_end(self.directory, told, self._was_over)
            if self._pumps is not None:
                self._wait_for(self._pumps)
        if was_obeyed:
            return code
        if self._refusal is not None:
            raise _Refused(*self._refusal)
        if self._importing is not None and self._signal is None:
            raise BadInput(f"importing '{self._importing}' ended the process by {host.how_it_died(status)}")
        if code < 0:
            print(f"firexlite: the runner died of {host.how_it_died(status)}", file=sys.stderr)
        return 128 - code if code < 0 else code

    def _wait_for(self, pumps: Pumps) -> None:
        """Give the sinks their time; a person who has had enough ends it with one more signal."""
        before, tell_at = self._signals, time.monotonic() + SILENT_S
        poll = select.poll()
        poll.register(self._wakeups, select.POLLIN)

        def reap(seconds: float) -> bool:
            nonlocal tell_at
            if time.monotonic() > tell_at:
                tell_at = float("inf")
                self.screen.sending(pumps.names)
            poll.poll(min(seconds, REFRESH_S) * 1000)
            with suppress(BlockingIOError):
                self._wakeups.recv(4096)
            for pid, how in host.ended_children():
                pumps.note_end_of(pid, how)
            return self._signals == before

        pumps.wait(reap)
        self.told += pumps.told

    def _listen_to_signals(self) -> None:
        self._wakeups, self._wakeup = wakeups()
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a closed terminal does not end a run
        for stopping in STOPPING:
            signal.signal(stopping, self._pass_on)

    def _pass_on(self, number: int, frame: object) -> None:
        """Note a signal, and tell the job. Nothing is printed here: the signal may have come in the midst of printing."""
        now = time.monotonic()
        self._signals += 1
        if self._signal is None:
            self._signal, self._asked, self._kill_at = number, now, now + GRACE_S + PATIENCE_S
            self.board.stop()  # also for a job that does not hear of it, since what it imports catches signals
        elif now - self._asked > SAME_REQUEST_S:
            self._kill_at = now + PATIENCE_S
        if self._pid:
            with suppress(ProcessLookupError):
                os.kill(self._pid, number)

    def _run_one(self, job: Job) -> int:
        ours, theirs = Channel.pair()
        sys.stdout.flush()
        sys.stderr.flush()
        front = os.getpid()
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)  # or one between fork and assignment would reach nobody
        self._pid = os.fork()
        if not self._pid:
            ours.close()
            _be_the_job(job, self.board, theirs, front)
        self._last_job = self._pid
        if self._signal is not None:  # it came before the job was there
            os.kill(self._pid, self._signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        theirs.close()
        try:
            return self._stay_with_it(ours)
        finally:
            self._pid = 0
            ours.close()

    def _stay_with_it(self, channel: Channel) -> int:
        poll = select.poll()
        poll.register(channel, select.POLLIN)
        poll.register(self._wakeups, select.POLLIN)
        listening = True
        ended = status = at_rest = 0
        while True:
            at_rest = 0 if self.board.is_at_work or self._signal is not None or self._importing is not None else at_rest + 1
            poll.poll((CALM_S if at_rest * REFRESH_S > CALM_S else REFRESH_S) * 1000)
            with suppress(BlockingIOError):
                self._wakeups.recv(4096)
            if self._signal is not None and not self._has_said_stopping:
                self._has_said_stopping = True
                self.screen.stopping(self._signal)
            while listening and select.select([channel], [], [], 0)[0]:
                heard = channel.hear()
                if heard is None:
                    listening = False
                    poll.unregister(channel)
                else:
                    self._take_note(*heard)
            for pid, how in host.ended_children():  # orphans among them
                self._not_ours.discard(pid)
                if self._pumps is not None:
                    self._pumps.note_end_of(pid, how)
                if pid == self._pid:
                    ended, status = pid, how
            if ended and not (listening and select.select([channel], [], [], 0)[0]):
                return status
            if self._signal is not None and not ended and time.monotonic() > self._kill_at:
                os.kill(self._pid, signal.SIGKILL)  # it is stuck, behind a stopped worker say
            if self._importing is not None and not ended and time.monotonic() > self._import_by:
                os.kill(self._pid, signal.SIGKILL)
                self._refusal = (
                    f"importing '{self._importing}' has not finished after {self.import_timeout_s:g} s; look for what it "
                    "waits for, or give it longer with --import_timeout SECONDS", BadInput.exit_code)
                self._importing = None
            if self.directory is not None:
                self.screen.progress(_progress(self.board))
                self._look_after_logs(self.directory)

    def _look_after_logs(self, directory: RunDirectory) -> None:
        """Keep what tasks print from filling the disk."""
        if time.monotonic() < self._next_look:
            return

        def start_of(epoch: int, worker: int) -> int:
            with History(directory) as history:
                return history.output_begins(epoch, worker)

        if self._watch is None:
            self._watch = Watch(directory.logs, start_of)
        with suppress(FirexliteError):  # the journal is locked, or lies elsewhere by now: the next look will do
            self._watch.look()
        self._next_look = time.monotonic() + REFRESH_S

    def _take_note(self, message: dict, fds: list[int]) -> None:
        what = message.pop("what")
        if fds:
            if self._alive is not None:
                os.close(self._alive)
            self._alive = fds[0]
        if what == "importing":
            self._importing, self._import_by = message["path"], time.monotonic() + self.import_timeout_s
            return
        self._importing = None
        if what == "started":
            self._has_begun(message["path"])
        elif what == "resumed":
            self._resumed, self._was_over = message, message["done"] is None
        elif what == "active":
            self.active = RunDirectory(Path(message["path"]))
        elif what == "threads":
            self._has_begun(path := message.pop("path"))
            incarnation = Incarnation(RunDirectory(Path(path)), **message, alive=fds[0], import_timeout_s=self.import_timeout_s)
            self._next_job = lambda board, channel: drive_without_services(incarnation, board, channel)
        elif what == "again":
            request, held = ResumeRequest(**message["request"]), self._alive
            self._next_job = lambda board, channel: resume(request, board, channel, held)
            self.board = Board()  # the one before says that the run is to stop
        elif what == "refused":
            self._refusal = (message["sentence"], message["code"])

    def _has_begun(self, path: str) -> None:
        if self.directory is None:
            self.directory, self._watch = RunDirectory(Path(path)), None
            self.screen.started(self.directory)
            if self._telling.sinks or self._resumed is not None:
                self._begin_telling(self.directory, is_resumed=self._resumed is not None)
        if self._resumed is not None:
            self.screen.resumed(**self._resumed)
            self._resumed = None

    def _begin_telling(self, directory: RunDirectory, is_resumed: bool) -> None:
        """Have the events of the run sent. What a run recorded, and cannot be any more, is no reason not to resume it."""
        recorded: list[str] = []
        if is_resumed:
            with suppress(FirexliteError), History(directory) as history:
                recorded = history.run().options.get("sinks") or []
            if not recorded and not self._telling.sinks:
                return
        from .sinks import wait_s  # here: few runs have any
        from .sinks.pumps import Pumps, all_sinks

        try:
            wait = wait_s() if self._telling.wait_s is None else self._telling.wait_s
            self._pumps = Pumps(directory.firex_id, all_sinks(self._telling.sinks, recorded), wait)
        except (FirexliteError, OSError) as error:  # there may be no more processes
            self.told.append(f"firexlite: no events are sent: {error}")


def run_detached(job: Job, import_timeout_s: float, at_end: AtEnd, telling: Telling = TO_NOBODY) -> RunDirectory:
    """Run a job below a front of its own in the background; returns as soon as its run is durable and has begun.

    at_end, telling: as of a `Front`.

    Raises FirexliteError as the job raised it before that, or if a signal stopped it.
    """
    ours, theirs = Channel.pair()
    sys.stdout.flush()
    sys.stderr.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)  # the front below opens them when it listens
    if pid := os.fork():
        theirs.close()
        signals: list[int] = []

        def pass_on(number: int, frame: object) -> None:
            signals.append(number)
            with suppress(ProcessLookupError):
                os.kill(pid, number)

        before = [signal.signal(stopping, pass_on) for stopping in STOPPING]
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        heard = ours.hear()
        if signals:
            os.waitpid(pid, 0)
            raise _Refused(_how_it_was_stopped(heard[0] if heard else {}), 128 + signals[0])
        for stopping, handler in zip(STOPPING, before, strict=True):
            signal.signal(stopping, handler)
        message: dict = heard[0] if heard else {"sentence": "the run ended before it began", "code": 1}
        if "path" not in message:
            raise _Refused(message["sentence"], message["code"])
        return RunDirectory(Path(message["path"]))
    code = 1
    try:
        ours.close()
        os.setsid()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(nowhere, standard)
        front = Front(_Herald(theirs), import_timeout_s, at_end, telling)
        code = front.run(job)
        if front.active is not None:
            theirs.tell("started", path=str(front.active.path))
    except FirexliteError as error:
        theirs.tell("refused", sentence=str(error), code=error.exit_code)
    finally:
        os._exit(code)


def _how_it_was_stopped(message: dict) -> str:
    if "path" not in message:
        return "stopped before the run began; nothing was created"
    firex_id = RunDirectory(Path(message["path"])).firex_id
    return f"{firex_id} was stopped; `firexlite resume {firex_id}` goes on"


class _Herald(Screen):
    """The screen of a detached front: it announces the start, and is silent then."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def started(self, directory: RunDirectory) -> None:
        self._channel.tell("started", path=str(directory.path))


class _Refused(FirexliteError):
    """Something that the job refused, told by the front."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.exit_code = code


def _be_the_job(job: Job, board: Board, channel: Channel, front: int) -> None:
    """The forked side; does not return. What services print at import goes to stderr."""
    code = 1
    try:
        take_back_signals()  # else shell commands would inherit what we ignore
        os.setsid()  # the terminal's Ctrl-C reaches the front alone, which passes it on
        host.die_with_parent(front, signal.SIGTERM)
        guard.stand(channel.fileno(), board)
        os.dup2(2, 1)
        code = job(board, channel)
    except FirexliteError as error:
        channel.tell("refused", sentence=str(error), code=error.exit_code)
        code = error.exit_code
    except KeyboardInterrupt:
        code = STOPPED
    except BaseException:
        import traceback
        traceback.print_exc()
    finally:
        flush_output()
        terminal.end()
        os._exit(code)
