"""What a front forks: beginning a run and taking over a run, both of which end in a runner. Services are imported here.

It tells the front, over a channel, how far it is.
"""
from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from . import discovery, faults, host, lodging, missing, packets, pickled
from .application import app
from .board import NO_SPACE, Board, Counter
from .configuration import FULL_WAIT_S, IMPORT_TIMEOUT_S
from .ending import leave_tidy, off_the_network, write_run_json
from .errors import BadInput, DiskFull, RunActive, SecretUnavailable, StorageFailure
from .executors import LOCAL, lease_s, place_of
from .history import History, RunRecord
from .home import RunDirectory, batches, durability, find_run, home, new_firex_id, record_holder, user_name
from .incarnation import Incarnation
from .interrupts import take_back_signals
from .journal import Journal
from .journal_file import wait_for_space
from .keys import HeldKey
from .logs import terminal
from .pickled import pickles
from .plugins import Plugin, helpers, load
from .runner import Runner
from .secrets import masked_data, vault
from .soundness import pickled_in
from .states import RUN_SUCCEEDED
from .submission import Prepared, Request, plugins_of, prepare, prepare_composed, present, redacted, refuse_other_inputs
from .takeover import Decisions, take_over
from .trimming import log_limit
from .version import __version__

if TYPE_CHECKING:
    from .executors.engine import Engine

LONGEST = 8000  # characters of a sentence; twelve bytes each at most


class Channel:
    """What a forked job tells its front: short messages, sometimes with a file descriptor."""

    def __init__(self, end: packets.Packets) -> None:
        self._end = end
        self.front = os.getpid()  # of the process that made it

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        ours, theirs = packets.pair()
        return cls(ours), cls(theirs)

    def tell(self, what: str, fd: int | None = None, **details: object) -> None:
        if what == "refused":
            details = masked_data(details)
        message = json.dumps({"what": what, **{name: _cut(detail) for name, detail in details.items()}}).encode()
        terminal.settle()
        with suppress(BrokenPipeError):  # the front is dead, so we soon are
            packets.send(self._end, message, [] if fd is None else [fd])

    def hear(self) -> tuple[dict, list[int]] | None:
        """The next message with its file descriptors; None at the end."""
        message, fds = packets.receive(self._end, 1 << 18)
        for fd in fds:
            os.set_inheritable(fd, False)  # as received, every command of a service would inherit the run's lock
        return (json.loads(message), fds) if message else None

    def fileno(self) -> int:
        return self._end.fileno()

    def close(self) -> None:
        self._end.close()


def _cut(detail: object) -> object:
    """A text without its middle if it is so long that a message could not hold it: what users gave may be in it."""
    if isinstance(detail, str) and len(detail) > LONGEST:
        return f"{detail[:LONGEST // 2]} ... {detail[-LONGEST // 2:]}"
    return detail


Job = Callable[[Board, Channel], int]  # what a front forks; gives the exit code


@dataclass
class ResumeRequest:
    """What was asked for by `resume`, or by `submit` under the key of a run that is there; None means what the run recorded."""

    firex_id: str
    workers: int | None = None
    plugins: list[str] | None = None
    json_file: str | None = None
    full_wait_s: float | None = None
    accept_new: bool = False
    restart: list[int] = field(default_factory=list)
    done: dict[int, dict[str, object]] = field(default_factory=dict)
    rerun_missing: bool = False
    redact: list[str] = field(default_factory=list)
    queues: dict[str, int] = field(default_factory=dict)
    soft_time_limit: float | None = None
    exit_when_waiting: bool = False
    argv: list[str] = field(default_factory=list)
    pickle: bool = False                        # also if the run recorded otherwise
    executor: str | None = None
    insecure: bool = False                      # also if the run recorded otherwise
    import_timeout_s: float = IMPORT_TIMEOUT_S
    sinks: list[str] = field(default_factory=list)  # those to be recorded beside those that were

    @classmethod
    def of(cls, firex_id: str, request: Request) -> ResumeRequest:
        """What `submit` asks for of a run that has begun already: whatever is no input of it."""
        return cls(firex_id, request.workers, request.plugins or None, request.json_file, request.full_wait_s,
                   redact=request.redact, queues=request.queues, soft_time_limit=request.soft_time_limit,
                   exit_when_waiting=request.exit_when_waiting, argv=request.argv, pickle=request.pickle,
                   executor=request.executor, insecure=request.insecure, import_timeout_s=request.import_timeout_s,
                   sinks=request.sinks)

    def afterwards(self) -> dict:
        """What is to be asked for when lost files have been made again, as JSON."""
        return {"firex_id": self.firex_id, "workers": self.workers, "plugins": self.plugins, "json_file": self.json_file,
                "full_wait_s": self.full_wait_s, "accept_new": self.accept_new, "redact": self.redact,
                "queues": self.queues, "soft_time_limit": self.soft_time_limit, "exit_when_waiting": self.exit_when_waiting,
                "pickle": self.pickle, "executor": self.executor, "insecure": self.insecure,
                "import_timeout_s": self.import_timeout_s}

    @property
    def decides(self) -> bool:
        """Whether it asks for more than going on."""
        return bool(self.accept_new or self.restart or self.done or self.rerun_missing)


def submit(request: Request, board: Board, channel: Channel) -> int:
    """Begin a run and drive it; or, under a key of which there is a run, go on with that. Returns the exit code.

    A run that succeeded is left as it is. One that lives in other processes is told to the front, as ``active``.
    Raises BadInput for other inputs than that run has, and what `begin` and `resume` raise.
    """
    if request.key is None:
        return begin(request, board, channel)
    _refuse_unknown_settings()  # before anything is there
    held = HeldKey(request.key)
    directory = held.run()
    if directory is None:
        return begin(request, board, channel, held)
    with History(directory) as history:
        refuse_other_inputs(history, request)
    if directory.is_alive():
        channel.tell("active", path=str(directory.path))
        return RunActive.exit_code
    return resume(ResumeRequest.of(directory.firex_id, request), board, channel, held=held)


def _refuse_unknown_settings() -> None:
    durability()
    batches()
    log_limit()


def begin(request: Request, board: Board, channel: Channel, held: HeldKey | None = None) -> int:
    """Submit a run and drive it. Returns the exit code. Raises KeyboardInterrupt if it is stopped before the run is there.

    held: the key that the run is to have.
    """
    def announce(path: str) -> None:
        channel.tell("importing", path=path)

    request = completed(request)
    vault.when_learned = terminal.mask
    prepared = prepare(request, str(request.firex_id), announce) if request.composed is None else \
        prepare_composed(request, announce)
    _imported(board, channel)
    with _engine_for(request.executor, request.insecure, request.import_timeout_s, request.workers, prepared.plugins) as engine:
        request = replace(request, workers=_slots(request.workers, engine), queues=_queues(request.queues, engine))
        return _begin(request, prepared, board, channel, held, engine)


def _begin(request: Request, prepared: Prepared, board: Board, channel: Channel, held: HeldKey | None, engine: Engine | None
           ) -> int:
    directory, alive = journal_run(request, prepared, board, held)
    if engine is not None:
        engine.begin(directory, 1)
    if request.logs_link is not None:
        _link(Path(request.logs_link), directory.path)
    assert request.workers is not None and request.full_wait_s is not None
    return _drive(Incarnation(directory, 1, request.workers, _paths(prepared.plugins, is_found=False), request.json_file,
                              request.full_wait_s, alive=alive, front=channel.front,
                              found=_paths(prepared.plugins, is_found=True), queues=request.queues,
                              soft_time_limit=request.soft_time_limit, ends_when_waiting=request.exit_when_waiting,
                              executor=engine),
                  board, channel)


@contextlib.contextmanager
def _engine_for(executor: str, is_insecure: bool, import_timeout_s: float, workers: int | None, plugins: Sequence[Plugin]
                ) -> Iterator[Engine | None]:
    """What brings workers from elsewhere; None if they are forked here. Raises BadInput if there is no such cluster.

    workers: how many tasks are to run at once, if that was said.
    """
    place = place_of(executor, is_insecure)
    if place.engine == LOCAL:
        yield None
        return
    from .executors.engine import Engine
    from .executors.shipment import pack

    lease_s()
    shipment = pack(plugins)
    engine = Engine(place, {
        "slots": workers or host.cores(), "cwd": os.getcwd(), "code": shipment.code, "shipment": shipment.name,
        "secrets": vault.of_run, "values": vault.values, "pickles": pickles.key_of_run, "import_timeout_s": import_timeout_s,
        "services": {service.name: (service.about, service.digest) for service in app.every}}, shipment.archive)
    try:
        engine.wait_until_connected()
        yield engine
    finally:
        engine.end()


def _slots(workers: int | None, engine: Engine | None) -> int:
    """How many tasks run at once: as was said, else as many as there is room for. Raises BadInput if nobody can tell."""
    if workers is None and engine is not None and not engine.slots:
        raise BadInput(f"{engine.place} has no workers yet, so say with --workers how many tasks are to run at once")
    return workers or (host.cores() if engine is None else engine.slots)


def _queues(limits: dict[str, int], engine: Engine | None) -> dict[str, int]:
    """How many tasks of a queue may be under way at once: as was said, and no more than those run who are there for it."""
    rooms = {} if engine is None else engine.queues
    return {**limits, **{queue: min(room, limits.get(queue, room)) for queue, room in rooms.items()}}


def completed(request: Request) -> Request:
    """A request that leaves nothing open: which run it is, how many tasks run at once here, how long a full disk is waited for.

    Raises BadInput for settings that are none, before anything is there.
    """
    _refuse_unknown_settings()
    firex_id = request.firex_id or new_firex_id(time.time())
    pickles.begin_run(firex_id if request.pickle or pickled.is_set() else None)
    is_here = place_of(request.executor, is_insecure=True).engine == LOCAL
    return replace(request, firex_id=firex_id, workers=request.workers or (host.cores() if is_here else None),
                   full_wait_s=FULL_WAIT_S if request.full_wait_s is None else request.full_wait_s)


def journal_run(request: Request, prepared: Prepared, board: Board, held: HeldKey | None = None) -> tuple[RunDirectory, int]:
    """Make a run durable, of a request that was `completed`; returns its directory and what holds its lock.

    Raises StorageFailure, and nothing of it is left then; KeyboardInterrupt if it is stopped while it waits for space.
    """
    firex_id, full_wait_s = request.firex_id, request.full_wait_s
    assert firex_id is not None and full_wait_s is not None
    options = {
        "plugins": _recorded(prepared.plugins), "helpers": _recorded(helpers()),
        "arguments": request.arguments if request.composed is None else None, "key": request.key,
        "asked": None if request.composed is None else request.composed.asked,
        "workers": request.workers, "queues": request.queues, "soft_time_limit": request.soft_time_limit,
        "executor": request.executor, "insecure": request.insecure,
        "full_wait_s": full_wait_s, "cwd": os.getcwd(), "argv": request.argv,
        "json_file": request.json_file, "flame": request.flame, "on_end": request.on_end, "sinks": request.sinks,
        "user": user_name(), "host": platform.node(), "sqlite": sqlite3.sqlite_version,
        "secrets": prepared.secrets, **software(),
    }
    try:
        with _unless_stopped(board):
            directory, alive = wait_for_space(lambda: _journal_run(firex_id, request, prepared, options, board, held),
                                              full_wait_s, Counter(board))
    except StorageFailure as error:
        why = f"there was no space for it on the disk for {full_wait_s:g} s" if board.broken == NO_SPACE else error
        raise StorageFailure(f"no run was begun: {why}; nothing of it is left in {home()}") from error
    faults.reach("published")
    if held is not None:
        held.release()
    write_run_json(directory)
    return directory, alive


@contextlib.contextmanager
def _unless_stopped(board: Board) -> Iterator[None]:
    """Raise KeyboardInterrupt for a disk that is full, and not waited for because the run is to stop."""
    try:
        yield
    except DiskFull as error:
        if board.stopping:
            raise KeyboardInterrupt from error
        raise


def _imported(board: Board, channel: Channel) -> None:
    """The services are there. Raises KeyboardInterrupt if we are to stop: an import may have caught what told us."""
    take_back_signals()
    if board.stopping or os.getppid() != channel.front:
        raise KeyboardInterrupt
    channel.tell("imported")


def _journal_run(firex_id: str, request: Request, prepared: Prepared, options: dict, board: Board,
                 held: HeldKey | None) -> tuple[RunDirectory, int]:
    """Make a run durable; returns its directory and what holds its lock. Raises DiskFull, and leaves nothing then."""
    draft = RunDirectory.draft(firex_id)
    try:
        faults.reach("draft made")
        alive = draft.take_alive_lock(host.start_time)
        if held is not None:
            held.note(firex_id)  # before there is such a run: else it could be there, and its key unknown
        with Journal(draft, options["workers"], Counter(board), full_wait_s=options["full_wait_s"],
                     queues=request.queues) as journal:
            options = {**options, "pickle": pickles.fingerprint()}
            journal.submit(firex_id=firex_id, chain=request.chain, inputs=prepared.inputs,
                           options=json.dumps(masked_data(options)), digest=prepared.digest, members=prepared.members,
                           pid=os.getpid(), host=platform.node())
        return draft.publish(), alive
    except BaseException:
        lodging.remove_pointer(home(), firex_id)
        for path in (draft.path, draft.path.with_name(firex_id)):  # it may have got its name, and not durably
            shutil.rmtree(path, ignore_errors=True)
        raise


def software() -> dict[str, str]:
    """The versions that a run goes with."""
    return {"python": platform.python_version(), "firexlite": __version__}


def resume(request: ResumeRequest, board: Board, channel: Channel, alive: int | None = None,
           held: HeldKey | None = None) -> int:
    """Take over a run and drive it to its end. Returns the exit code.

    alive: what holds the run's lock, if this process was given it. held: its key, if nobody else is to come first.
    """
    _refuse_unknown_settings()
    directory = find_run(request.firex_id)
    directory.refuse_unsafe()
    if alive is None:
        alive = directory.take_alive_lock(host.start_time)
    if held is not None:
        held.release()
    faults.reach("alive lock taken")
    if lodging.is_unfolded(directory.path):  # or it would be read, in that state, over a network
        directory, alive = off_the_network(directory, alive)
    with History(directory) as history:
        history.refuse_damaged()
        run = history.run()
    if run.state == RUN_SUCCEEDED:
        if request.decides:
            raise BadInput(f"{directory.firex_id} has succeeded, so there is nothing to decide")
        if request.json_file or not _is_tidy(directory):
            directory = leave_tidy(directory, request.json_file)
        channel.tell("resumed", done=None, again=0, reopened=0, changed=[], decided=[])
        channel.tell("started", path=str(directory.path), fd=alive)
        return 0
    _may_pickle(run, request)
    _read_secrets(run, request)
    plugins = plugins_of(run, "resume") if request.plugins is None else request.plugins
    loaded = load(plugins, lambda path: channel.tell("importing", path=path), found_before(run))
    _imported(board, channel)
    with History(directory) as history:
        _refuse_without_services(history, request, loaded)
        producers = _producers_of_missing_files(history, request)
    faults.reach("services loaded")
    directory, alive = off_the_network(directory, alive)
    executor = request.executor or run.options.get("executor", LOCAL)
    is_insecure = request.insecure or run.options.get("insecure", False)
    with _engine_for(executor, is_insecure, request.import_timeout_s, request.workers, loaded) as engine:
        return _take_over(request, run, loaded, producers, directory, alive, board, channel, engine)


def _take_over(request: ResumeRequest, run: RunRecord, loaded: Sequence[Plugin], producers: list[int],
               directory: RunDirectory, alive: int, board: Board, channel: Channel, engine: Engine | None) -> int:
    """Go on with a run of which all is known, and that can go on."""
    slots = request.workers or run.options["workers"]
    full_wait_s = run.options.get("full_wait_s", FULL_WAIT_S) if request.full_wait_s is None else request.full_wait_s
    decisions = Decisions(request.accept_new, request.restart, request.done, producers)
    changed = changed_files(run, loaded)
    queues = _queues({**run.options.get("queues", {}), **request.queues}, engine)
    with _unless_stopped(board), Journal(directory, slots, Counter(board), full_wait_s=full_wait_s, queues=queues) as journal:
        found = take_over(journal, os.getpid(), platform.node(),
                          {service.name: (service.about, service.digest) for service in app.every}, decisions,
                          {**software(), "files": changed}, None if request.plugins is None else _recorded(loaded),
                          pickles.fingerprint(), request.sinks)
    board.begin_with(found.counts)
    write_run_json(directory)
    if engine is not None:
        engine.begin(directory, found.epoch)
    channel.tell("resumed", done=found.succeeded, again=found.interrupted, reopened=found.reopened,
                 changed=changed + _changed_versions(run), decided=_told(decisions))
    return _drive(Incarnation(directory, found.epoch, slots, _paths(loaded, is_found=False),
                              request.json_file or run.options["json_file"], full_wait_s,
                              request.afterwards() if producers else None, alive, channel.front,
                              found=_paths(loaded, is_found=True), queues=queues,
                              soft_time_limit=request.soft_time_limit or run.options.get("soft_time_limit"),
                              ends_when_waiting=request.exit_when_waiting, executor=engine), board, channel)


def _read_secrets(run: RunRecord, request: ResumeRequest) -> None:
    """Know again the secrets that the run knew from its beginning. Raises BadInput if one is not to be had."""
    vault.when_learned = terminal.mask
    try:
        vault.begin_run(run.options.get("secrets", ()), redacted(request.redact))
    except SecretUnavailable as error:
        raise BadInput(f"{request.firex_id} was not resumed: {error}") from error
    vault.refuse_in(request.argv)


def _may_pickle(run: RunRecord, request: ResumeRequest) -> None:
    """Go on pickling, or begin with it. Raises BadInput for a run that holds what was pickled with another key than ours."""
    recorded = run.options.get("pickle")
    pickles.begin_run(run.firex_id if recorded or request.pickle or pickled.is_set() else None)
    if recorded and recorded != pickles.fingerprint():
        with History(find_run(request.firex_id)) as history:
            refuse_strange_pickles(history, "was not resumed")


def refuse_strange_pickles(history: History, refusal: str) -> None:
    """Raise BadInput if a run, which was pickled with another key than ours, holds anything that was."""
    if (strange := pickled_in(history)) is not None:
        raise BadInput(f"{history.directory.firex_id} {refusal}: {strange} was pickled by somebody else, or in another home "
                       f"than {home()}, and to load it would be to run whatever its writer chose; look at the run freely, or "
                       "have its work done anew with `firexlite submit`")


def _producers_of_missing_files(history: History, request: ResumeRequest) -> list[int]:
    """The tasks to run again, in order, since files are missing. Raises BadInput unless that was asked for and can be done."""
    digests = {service.name: service.digest for service in app.every}
    changed = {name for name, digest in history.execute("SELECT name, digest FROM service")
               if digests.get(name, digest) != digest}
    prospect = missing.Prospect(request.restart, request.done, changed)
    found = missing.check(history, prospect)
    if found and not request.rerun_missing:
        raise BadInput(missing.refusal(history, found))
    return missing.to_run_again(history, found, prospect) if found else []


def _recorded(files: Sequence[Plugin]) -> list[dict[str, str | bool]]:
    return [{"path": file.path, "digest": file.digest, **({"found": True} if file.is_found else {})} for file in files]


def _paths(files: Sequence[Plugin], is_found: bool) -> list[str]:
    return [file.path for file in files if file.is_found is is_found]


def found_before(run: RunRecord) -> list[str] | None:
    """The files with services that were found for the run, as far as they are there; None where they are to be looked for
    anew: the environment names directories now, or it was another person's that did."""
    recorded = [plugin for plugin in run.options["plugins"] if plugin.get("found")]
    if discovery.directories() or any(plugin.get("foreign") for plugin in recorded):
        return None
    paths = [present(plugin["path"], run.options["cwd"]) for plugin in recorded]
    return [path for path in paths if os.path.exists(path)]


def _refuse_without_services(history: History, request: ResumeRequest, loaded: Sequence[Plugin]) -> None:
    """Raise BadInput if the submitted chain needs a service that no plugin has any more."""
    for task in history.submitted_tasks():
        if task.state == "succeeded" or task.num in request.done or task.service in app:
            continue
        module, _, name = task.service.rpartition(".")
        files = ", ".join(plugin.path for plugin in loaded) or "firexlite itself"
        raise BadInput(f"{history.directory.firex_id} cannot go on, and nothing was changed: its task {task.num} needs the "
                       f"service {name} of {module}.py, which {files} does not have; bring it back, under the same names, "
                       "or pass its file with --plugins")


def _told(decisions: Decisions) -> list[str]:
    """What a person decided, in words."""
    def tasks(numbers: Iterable[int]) -> str:
        numbers = list(numbers)
        return f"task{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"

    return [f"{tasks(numbers)} {what}" for numbers, what in (
        (decisions.redo, "to run once more first, for the files that are missing"),
        (decisions.restart, "to run afresh"), (decisions.done, "taken for done")) if numbers]


def changed_files(run: RunRecord, loaded: Sequence[Plugin]) -> list[str]:
    """Plugins, and modules that they import, which are other than when the run was submitted; by their paths."""
    def by_name(what: str) -> dict[str, str]:
        return {os.path.basename(file["path"]): file["digest"] for file in run.options.get(what, [])}

    plugins, modules = by_name("plugins"), by_name("helpers")
    return ([plugin.path for plugin in loaded if plugins.get(os.path.basename(plugin.path)) != plugin.digest]
            + [helper.path for helper in helpers()
               if modules.get(os.path.basename(helper.path), helper.digest) != helper.digest])


def _changed_versions(run: RunRecord) -> list[str]:
    return [f"{name} {run.options.get(name)} -> {version}" for name, version in software().items()
            if run.options.get(name) != version]


def _link(link: Path, target: Path) -> None:
    """Make a link, in the place of one that is there. That it cannot be made is no reason to end a run that has begun."""
    try:
        with suppress(FileNotFoundError):
            if link.is_symlink():
                link.unlink()
        link.symlink_to(target)
    except OSError as error:
        print(f"firexlite: {link} could not be made a link to {target}: {error.strerror}", file=sys.stderr)


def _is_tidy(directory: RunDirectory) -> bool:
    """Whether all was done after the end of a run that succeeded."""
    with suppress(OSError, ValueError):
        at_rest = not directory.wake.exists() and lodging.token_in(directory.path) is None
        return at_rest and json.loads(directory.run_json.read_text())["completed"]
    return False


def _drive(incarnation: Incarnation, board: Board, channel: Channel) -> int:
    """Run workers to the end of the incarnation, here; or, if importing services left threads, in a fresh process.

    A fork would copy the locks that such threads hold at that instant, and nobody would ever release them.
    """
    directory = incarnation.directory
    if host.thread_count() > 1 and incarnation.executor is None:  # elsewhere none is forked that runs services
        channel.tell("threads", fd=incarnation.alive, path=str(directory.path), epoch=incarnation.epoch,
                     slots=incarnation.slots, plugins=incarnation.plugins, json_file=incarnation.json_file,
                     full_wait_s=incarnation.full_wait_s, again=incarnation.again, secrets=vault.of_run,
                     queues=incarnation.queues, soft_time_limit=incarnation.soft_time_limit,
                     ends_when_waiting=incarnation.ends_when_waiting, pickles_of=pickles.of_run, found=incarnation.found)
        return 0
    channel.tell("started", path=str(directory.path), fd=incarnation.alive)
    return _supervise(incarnation, board, channel, load_services=None)


def _supervise(incarnation: Incarnation, board: Board, channel: Channel, load_services: Callable[[], object] | None) -> int:
    code = Runner(incarnation, board, load_services).supervise()
    if incarnation.again is not None:
        with History(incarnation.directory) as history:
            if history.failed_again():
                return 1
        channel.tell("again", request=incarnation.again)
    return code


def drive_without_services(incarnation: Incarnation, board: Board, channel: Channel) -> int:
    """Drive a run in a process that has imported no service; each worker imports them after its fork."""
    assert incarnation.alive is not None
    record_holder(incarnation.alive, host.start_time)
    vault.when_learned = terminal.mask
    vault.begin_run(*incarnation.secrets)
    pickles.begin_run(incarnation.pickles_of)
    incarnation.front = channel.front
    channel.tell("started", path=str(incarnation.directory.path))
    return _supervise(incarnation, board, channel, load_services=lambda: load(incarnation.plugins, found=incarnation.found))
