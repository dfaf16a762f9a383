"""firexlite as a library: `run` a chain from a script, a notebook or a test, and `resume` a run.

The run is one like any other: journaled in the home, shown and resumed by every command. Its processes are below a front in
a fresh process (see `library_front`), which imports the files in which the services are defined.
"""
from __future__ import annotations

import codecs
import contextlib
import dataclasses
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

from . import codec_errors, host, pickled
from .application import Service, app, file_digest
from .configuration import IMPORT_TIMEOUT_S, configure
from .errors import BadInput, FirexliteError, JournalUnusable, ReplayMismatch, RunActive, RunWaits, StorageFailure
from .executors import LOCAL, place_of
from .home import find_run, new_firex_id, refuse_unwritable
from .host import GRACE_S
from .in_process import run_here
from .keys import refuse_unfit
from .last_acts import LastActs
from .launch import ResumeRequest
from .library_front import Order
from .outcome import Result, as_of
from .plugins import Plugin
from .signatures import Chain, Signature, as_chain
from .submission import Prepared, Request, compose, prepare_composed

LAST_OUTPUT = 4096  # bytes of what a front printed that ended unexpectedly
LOOK_S = 0.05       # how often it is looked whether a process has ended, where nobody tells
MOST = 1000         # workers, and places of a queue

_ERRORS = {error.exit_code: error for error in (BadInput, RunActive, JournalUnusable, ReplayMismatch, StorageFailure, RunWaits)}


class Attendant(Protocol):
    """Who has a part in a run from the process that began it; entered before that begins, and left when it has ended."""

    def __enter__(self) -> object: ...

    def __exit__(self, *_: object) -> None: ...

    @property
    def env(self) -> Mapping[str, str]:
        """Of the run's processes, besides that of this process."""

    def fileno(self) -> int:
        """Readable when somebody asks for something."""

    def answer(self) -> None:
        """Do what was asked for."""


def run(chain: Chain | Signature, *, workers: int | None = None, plugins: str | Sequence[str | Path] = (),
        key: str | None = None, queues: Mapping[str, int] | None = None, soft_time_limit: float | None = None,
        exit_when_waiting: bool = False, pickle: bool = False, redact: Sequence[str] = (), json_file: str | Path | None = None,
        flame: str | Path | None = None, on_end: str | None = None, full_wait: float | None = None,
        import_timeout: float = IMPORT_TIMEOUT_S, executor: str = LOCAL, insecure: bool = False,
        timeout: float | None = None, quiet: bool = True, check: bool = True, in_process: bool = False,
        attendant: Attendant | None = None) -> Result:
    """Run a chain to its end, in processes of its own; returns what became of it.

    workers: how many tasks run at once; the number of cores, if not given. plugins: more files with services, beside those
    in which the services of the chain are defined; later ones override earlier ones. key: a name of your own, under which the
    same call does what is left to do: it begins the run, resumes it, waits for it while it goes on elsewhere, or gives what
    became of it. queues, soft_time_limit, pickle, redact, exit_when_waiting, json_file, flame, on_end, full_wait,
    import_timeout, executor, insecure: as the options of `firexlite submit`.
    timeout: seconds, after which the run is stopped, to be resumed. quiet: False has progress shown on stderr. check: False
    returns the result of a run that did not succeed, too. in_process: everything is done in the calling thread instead, one
    task after the other, so that a debugger stops in each; there are no time limits then. attendant: see `rehearsal`.

    Raises RunFailed if the run did not succeed; InvalidChainArgsException, TypeError and NotStorable as `enqueue_child`, and
    BadInput for what else cannot be done, all of them before anything is created; TimeoutError after ``timeout``.
    KeyboardInterrupt stops the run, as Ctrl-C stops `firexlite submit`, and is raised when it has ended.
    """
    _refuse_strange(workers, queues, soft_time_limit, timeout, full_wait, import_timeout)
    if place_of(executor, insecure).engine != LOCAL and in_process:
        raise BadInput("in_process=True does everything in this thread, so it does not go together with executor=")
    if key is not None:
        refuse_unfit(key, "key=")
    work = as_chain(chain)
    firex_id = new_firex_id(time.time())
    services = [level for signature in work for level in _with_overridden(app.service(signature.service))]
    homes = [_home_of(service) for service in services if not in_process or _is_in_a_file(service)]
    files = [home.plugin for home in homes if home.plugin]
    request = Request(
        chain=",".join(signature.service.rpartition(".")[2] for signature in work), arguments={},
        plugins=_each_once([*files, *_as_list(plugins)]), workers=1 if in_process else workers,
        argv=list(sys.argv), json_file=_path(json_file, "json_file"), full_wait_s=full_wait, redact=list(redact),
        queues=dict(queues or {}), soft_time_limit=soft_time_limit, exit_when_waiting=exit_when_waiting, pickle=pickle,
        flame=_path(flame, "flame"), on_end=on_end, key=key, firex_id=firex_id, executor=executor, insecure=insecure,
        import_timeout_s=import_timeout)
    of_run = firex_id if pickle or pickled.is_set() else None
    if in_process:
        _refuse_in_process(key, timeout, soft_time_limit)
        with as_of(of_run):
            code, raised = run_here(request, lambda: _prepared_here(work, request, files))
        LastActs(request.flame, on_end, tells_ci=not quiet).do(find_run(firex_id), code)
        result = Result(firex_id, code, resume, raised)
        return _checked(result, check, exit_when_waiting)
    with as_of(of_run):
        request.composed = compose(work, request, lambda name: _home_of(app.service(name)).name)
    order = _order(dataclasses.asdict(request), False, import_timeout, request.flame, on_end, quiet)
    return _conducted(firex_id, order, timeout, check, exit_when_waiting, attendant)


def resume(firex_id: str, *, workers: int | None = None, plugins: str | Sequence[str | Path] | None = None,
           accept_new: bool = False, restart: Sequence[int] = (), done: Mapping[int, Mapping[str, object]] | None = None,
           rerun_missing: bool = False, queues: Mapping[str, int] | None = None, soft_time_limit: float | None = None,
           exit_when_waiting: bool = False, pickle: bool = False, redact: Sequence[str] = (),
           json_file: str | Path | None = None, flame: str | Path | None = None, on_end: str | None = None,
           full_wait: float | None = None, executor: str | None = None, insecure: bool = False,
           import_timeout: float = IMPORT_TIMEOUT_S, timeout: float | None = None, quiet: bool = True, check: bool = True,
           attendant: Attendant | None = None) -> Result:
    """Carry on with a run that was killed, stopped, or failed, as `firexlite resume` does; returns what became of it.

    workers, plugins, executor: as before, if not given. accept_new, restart, done, rerun_missing: as the options --accept-new,
    --restart-task, --mark-done (``{task: returned values by name}``) and --rerun-missing. The others: as of `run`.
    Raises as `run`, and RunActive if the run is alive in another process.
    """
    _refuse_strange(workers, queues, soft_time_limit, timeout, full_wait, import_timeout)
    request = ResumeRequest(
        firex_id, workers, None if plugins is None else _each_once(_as_list(plugins)), _path(json_file, "json_file"), full_wait,
        accept_new, list(restart), {task: dict(values) for task, values in (done or {}).items()}, rerun_missing, list(redact),
        dict(queues or {}), soft_time_limit, exit_when_waiting, list(sys.argv), pickle, executor, insecure, import_timeout)
    if executor is not None:
        place_of(executor, insecure)
    order = _order(dataclasses.asdict(request), True, import_timeout, _path(flame, "flame"), on_end, quiet)
    return _conducted(firex_id, order, timeout, check, exit_when_waiting, attendant)


# --- what was asked for ------------------------------------------------------------------------------------------------

def _refuse_strange(workers: int | None, queues: Mapping[str, int] | None, *seconds: float | None) -> None:
    """Raise BadInput for what cannot be meant, and if this is no place for a run."""
    if app.is_loading:
        raise BadInput("firexlite.run was called by a file whose services are being imported, so each process of the run would "
                       "do it again; put the call under `if __name__ == '__main__':`")
    configure()  # where runs are kept, if the project says so
    for what, number in (("workers", workers), *((f"the limit of queue {name!r}", n) for name, n in (queues or {}).items())):
        if number is not None and (not isinstance(number, int) or not 1 <= number <= MOST):
            raise BadInput(f"{what} takes a whole number from 1 to {MOST}, not {number!r}")
    for limit in seconds:
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, (int, float)) or not 0 <= limit < 1e9):
            raise BadInput(f"a limit takes a number of seconds, not {limit!r}")


def _path(file: str | Path | None, option: str) -> str | None:
    if file is not None:
        refuse_unwritable(f"{option}=", str(file))
    return None if file is None else str(file)


def _as_list(plugins: str | Sequence[str | Path]) -> list[str]:
    return [plugins] if isinstance(plugins, str) else [str(name) for name in plugins]


def _each_once(plugins: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(plugins))


# --- where the services are -----------------------------------------------------------------------------------------------

@dataclasses.dataclass(frozen=True)
class _Home:
    """Where another process finds a service. plugin: its file, empty for one of firexlite's own. name: its name there."""

    plugin: str
    name: str


def _with_overridden(service: Service) -> list[Service]:
    """A service with those that it overrides, which come first, as plugins are listed."""
    return [*(_with_overridden(service.orig) if service.orig is not None else []), service]


def _home_of(service: Service) -> _Home:
    """Raises BadInput for a service that no other process could import."""
    function = service.undecorated
    module_name = function.__module__
    if service.is_builtin:
        return _Home("", service.name)
    where = getattr(function, "__qualname__", "")
    ways_out = "or have it run here, with in_process=True"
    if "<locals>" in where:
        raise BadInput(f"{service.short_name} is defined within {where.partition('.<locals>')[0]}, where no other process can "
                       f"find it; define it at the top of a file, {ways_out}")
    module = sys.modules.get(module_name)
    file = getattr(module, "__file__", None)
    if file is None or not os.path.isfile(file):
        raise BadInput(f"{service.short_name} stands in no file that another process could import, but in a notebook or at a "
                       f"prompt; put it into a file and import it from there (in a notebook: %%writefile services.py), "
                       f"{ways_out}")
    file = os.path.abspath(file)
    if module_name == "__main__":
        spec = getattr(module, "__spec__", None)
        name = _name_that_fits(spec.name if spec else "", file)
        codec_errors.main_is = name
    else:
        name = _name_that_fits(module_name, file)
    root = Path(file).parents[name.count(".")]
    plugin = file if "." not in name else f"{root}/./{Path(file).relative_to(root)}"
    at = service.name.removeprefix(f"{module_name}.")
    return _Home(plugin, service.name if at == service.name else f"{name}.{at}")


def _name_that_fits(module: str, file: str) -> str:
    """The name of a module if its file lies where that says, else that of the file."""
    parts = Path(file).with_suffix("").parts
    wanted = tuple(module.split("."))
    return module if module and parts[-len(wanted):] == wanted else parts[-1]


def _is_in_a_file(service: Service) -> bool:
    try:
        return bool(_home_of(service))
    except BadInput:
        return False


# --- in this process -----------------------------------------------------------------------------------------------------

def _refuse_in_process(key: str | None, *limits: float | None) -> None:
    if key is not None:
        raise BadInput("with in_process=True each call begins a run, so it goes without key=")
    if any(limit is not None for limit in limits):
        raise BadInput("with in_process=True nobody keeps time, so it goes with neither timeout= nor soft_time_limit=")


def _prepared_here(chain: Chain, request: Request, files: Sequence[str]) -> Prepared:
    """The chain, ready to be run in this process. files: those of its services, which are loaded here already."""
    request.composed = compose(chain, request)
    others = [name for name in request.plugins if name not in files]
    prepared = prepare_composed(dataclasses.replace(request, plugins=others))
    loaded = [Plugin(file, file_digest(file)) for file in files]
    return dataclasses.replace(prepared, plugins=[*loaded, *prepared.plugins])


# --- the process ------------------------------------------------------------------------------------------------------------

def _order(request: dict, is_resume: bool, import_timeout: float, flame: str | None, on_end: str | None,
           quiet: bool) -> Order:
    try:
        here = os.getcwd()
    except FileNotFoundError as error:
        raise BadInput("the working directory is not there any more; change to one that is") from error
    path = [os.path.join(here, place) for place in sys.path]
    return Order(is_resume, request, os.getpid(), path, os.environ.get("PYTHONPATH"), import_timeout, flame, on_end,
                 quiet)


def _conducted(firex_id: str, order: Order, timeout: float | None, check: bool, may_wait: bool,
               attendant: Attendant | None) -> Result:
    with attendant or contextlib.nullcontext(), _Process(firex_id, order, attendant) as process:
        code = process.wait(timeout)

    def again(firex_id: str, **options: Any) -> Result:
        return resume(firex_id, **{"attendant": attendant, **options})

    return _checked(Result(process.firex_id, code, again), check, may_wait)


def _checked(result: Result, check: bool, may_wait: bool) -> Result:
    if check and not (may_wait and result.waits):
        result.raise_for_failure()
    return result


class _Process:
    """The process with the front of a run, and what it tells."""

    def __init__(self, firex_id: str, order: Order, attendant: Attendant | None) -> None:
        self.firex_id, self._order, self._attendant = firex_id, order, attendant
        self._told: dict[str, dict] = {}   # by what it was
        self._unread = b""
        ours, theirs = socket.socketpair()
        self._answers = ours
        self._relayed, output = self._output(order.is_quiet)
        env = {**os.environ, **(attendant.env if attendant else {}), "PYTHONPATH": os.pathsep.join(order.sys_path)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "firexlite.library_front", str(theirs.fileno())], stdin=subprocess.DEVNULL, stdout=output,
            stderr=output, env=env, pass_fds=[theirs.fileno()], start_new_session=True)
        theirs.close()
        if self._relayed is not None:
            os.close(output)
        self._pidfd = host.pidfd(self._process.pid)

    def _output(self, is_quiet: bool) -> tuple[int | None, int]:
        """Where it prints to: ``(what is to be relayed from there, the file descriptor for it)``."""
        self._kept: IO[bytes] | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        if is_quiet:
            self._kept = tempfile.TemporaryFile()  # noqa: SIM115 (closed in `__exit__`)
            return None, self._kept.fileno()
        with contextlib.suppress(Exception):  # what stands in for stderr in a notebook or a test need not know of files
            if sys.stderr.fileno() == 2:
                return None, 2
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        return reading, writing

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in (self._relayed, self._pidfd):
            if fd is not None:
                os.close(fd)
        self._answers.close()
        if self._kept is not None:
            self._kept.close()

    def wait(self, timeout: float | None) -> int:
        """The exit code of the run. Raises as `run`."""
        give_up = None if timeout is None else time.monotonic() + timeout
        try:
            self._give_order()
            if not self._has_ended(give_up):
                self._stop(signal.SIGTERM)
                raise TimeoutError(f"{self._where_it_stands(f'had not ended after {timeout:g} s and was stopped')}")
        except TimeoutError:
            raise
        except KeyboardInterrupt as error:
            self._stop(signal.SIGINT)
            error.args = error.args or (self._where_it_stands("was stopped"),)
            raise
        except BaseException:
            self._stop(signal.SIGTERM)
            raise
        return self._outcome()

    def _give_order(self) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it could not start, and of that we hear
            self._answers.sendall(json.dumps(dataclasses.asdict(self._order)).encode() + b"\n")
        self._answers.setblocking(False)

    def _where_it_stands(self, what: str) -> str:
        if "started" not in self._told:
            return f"the run {what} before it began"
        if self._told["started"]["elsewhere"]:
            return f"{self.firex_id} goes on in other processes; the same call comes back to it"
        return f"{self.firex_id} {what}; firexlite.resume('{self.firex_id}') goes on"

    def _stop(self, number: int) -> None:
        """Have the run stopped, and stay until it is; a Ctrl-C meanwhile is one more for the run, which ends bodies at once."""
        while True:
            try:
                self._process.send_signal(number)
                self._has_ended(None)
                return
            except KeyboardInterrupt:
                number = signal.SIGINT

    def _outcome(self) -> int:
        if refused := self._told.get("refused"):
            raise _ERRORS.get(refused["code"], FirexliteError)(refused["sentence"])
        if ended := self._told.get("ended"):
            return ended["code"]
        code = self._process.returncode
        if "started" not in self._told:
            how = f"signal {-code}" if code < 0 else f"exit status {code}"
            raise FirexliteError(f"the front of {self.firex_id} ended by {how} before the run began{self._last_output()}")
        self._await_the_others()
        return 128 - code if code < 0 else code or 1

    def _await_the_others(self) -> None:
        """The front was killed: stay until the other processes of the run have ended, which they do by themselves."""
        give_up = time.monotonic() + GRACE_S
        while find_run(self.firex_id).is_alive() and time.monotonic() < give_up:
            time.sleep(LOOK_S)  # nobody is left to tell

    def _last_output(self) -> str:
        if self._kept is None:
            return ""
        self._kept.seek(max(0, self._kept.seek(0, os.SEEK_END) - LAST_OUTPUT))
        printed = self._kept.read().decode(errors="replace").strip()
        return f"; it said:\n{printed}" if printed else "; it said nothing"

    # --- what it tells ------------------------------------------------------------------------------------------------

    def _has_ended(self, give_up: float | None) -> bool:
        """Stay until the process has ended; False if that is not so at a time of the monotonic clock."""
        poll = select.poll()
        for fd in (self._answers.fileno(), self._relayed, self._pidfd, self._attendant.fileno() if self._attendant else None):
            if fd is not None:
                poll.register(fd, select.POLLIN)
        while self._process.poll() is None:
            left = None if give_up is None else give_up - time.monotonic()
            if left is not None and left <= 0:
                return False
            pause = left if self._pidfd is not None else min(LOOK_S, LOOK_S if left is None else left)
            found = dict(poll.poll(None if pause is None else pause * 1000))
            if self._answers.fileno() in found and not self._hear():
                poll.unregister(self._answers)
            self._relay()
            if self._attendant is not None and self._attendant.fileno() in found:
                self._attendant.answer()
        self._hear()
        self._relay()
        return True

    def _hear(self) -> bool:
        """Take note of what it has told; False if it tells no more."""
        while True:
            try:
                read = self._answers.recv(1 << 16)
            except BlockingIOError:
                return True
            except ConnectionResetError:
                return False
            if not read:
                return False
            *lines, self._unread = (self._unread + read).split(b"\n")
            for line in lines:
                message = json.loads(line)
                self._told[message.pop("what")] = message
                self.firex_id = message.get("firex_id", self.firex_id)  # another one, if there was a run of this key

    def _relay(self) -> None:
        if self._relayed is not None:
            with contextlib.suppress(BlockingIOError):
                while read := os.read(self._relayed, 1 << 16):
                    sys.stderr.write(self._decoder.decode(read))
            sys.stderr.flush()
