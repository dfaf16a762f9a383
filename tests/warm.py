"""Commands without their start-up time: a process that has imported firexlite forks one child for each, many at once.

A child may also be another user, have another umask, or report what it does to the system (an audit hook); as another
user it could not import anything, since a checkout and an interpreter may lie where others cannot look.
"""
from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import CodeType

STRANGER = 54321  # a uid that no user has


@dataclass
class Call:
    """One command. env: the whole environment. uid: None for that of the tests."""

    words: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    folder: str = "/"
    uid: int | None = None
    umask: int = 0o022
    is_audited: bool = False


@dataclass
class Ended:
    """How it ended. did: of an audited command, `[event, argument, ...]` of all that Python told."""

    code: int
    out: str
    err: str
    did: list[list[str]] = field(default_factory=list)


class Warm:
    """The forking process. A call that lasts longer than the limit is killed, and its code is -9."""

    def __init__(self, limit_s: float = 30) -> None:
        self._process = subprocess.Popen([sys.executable, __file__, str(limit_s)], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent)

    def __call__(self, *words: object, **how: object) -> Ended:
        return self.all([Call([str(word) for word in words], **how)])[0]  # type: ignore[arg-type]

    def all(self, calls: Sequence[Call]) -> list[Ended]:
        """The calls, all at the same time."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps([asdict(call) for call in calls]) + "\n")
        self._process.stdin.flush()
        return [Ended(**ended) for ended in json.loads(self._process.stdout.readline())]

    def close(self) -> None:
        self._process.communicate(timeout=60)


# --- in the forking process -----------------------------------------------------------------------------------------

def _import_all() -> None:
    """Whatever a command may import later."""
    import _strptime
    import calendar
    import encodings.idna
    import fractions
    import getpass
    import importlib.resources
    import pkgutil
    import pwd
    import shutil
    import tempfile
    import traceback
    import zoneinfo

    import tabulate

    import firexlite

    for module in pkgutil.walk_packages(firexlite.__path__, "firexlite."):
        if ".compat." not in module.name:
            importlib.import_module(module.name)
    from firexlite.flame_export import render_html
    from firexlite.host import _libc
    render_html({})
    _libc()
    "".encode("idna")
    del _strptime, calendar, encodings, fractions, getpass, pwd, shutil, tempfile, traceback, zoneinfo, tabulate


def _serve(limit_s: float) -> None:
    _import_all()
    for line in sys.stdin:
        started = []
        for call in json.loads(line):
            outputs = [os.memfd_create(name) for name in ("out", "err", "did")]
            pid = os.fork()
            if not pid:
                _run(call, *outputs)
            started.append((pid, outputs))
        answers = []
        for pid, outputs in started:
            code = _await(pid, limit_s)
            out, err, did = (_read(fd) for fd in outputs)
            answers.append({"code": code, "out": out, "err": err, "did": [json.loads(one) for one in did.splitlines()]})
        print(json.dumps(answers), flush=True)


def _await(pid: int, limit_s: float) -> int:
    import select
    import signal

    pidfd = os.pidfd_open(pid)
    if not select.select([pidfd], [], [], limit_s)[0]:
        os.killpg(pid, signal.SIGKILL)
    os.close(pidfd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _read(fd: int) -> str:
    with os.fdopen(fd, "rb") as file:
        file.seek(0)
        return file.read().decode("utf-8", "replace")


def _run(call: dict, out: int, err: int, did: int) -> None:
    """The child: be who is asked for, and give the command."""
    code = 1
    try:
        os.setsid()
        nowhere = os.open(os.devnull, os.O_RDONLY)
        for fd, standard in ((nowhere, 0), (out, 1), (err, 2)):
            os.dup2(fd, standard)
        sys.stdin, sys.stdout, sys.stderr = (os.fdopen(fd, mode, closefd=False) for fd, mode in ((0, "r"), (1, "w"), (2, "w")))
        os.chdir(call["folder"])
        os.environ.clear()
        os.environ.update(call["env"])
        os.umask(call["umask"])
        if call["uid"] is not None:
            os.setgroups([])
            os.setresgid(call["uid"], call["uid"], call["uid"])
            os.setresuid(call["uid"], call["uid"], call["uid"])
        sys.argv = ["firexlite", *call["words"]]
        if call["is_audited"]:
            _tell_all_to(did)
        from firexlite.__main__ import main

        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        import traceback
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def _tell_all_to(did: int) -> None:
    def hook(event: str, arguments: tuple) -> None:
        os.write(did, json.dumps([event, *map(_told, arguments[:4])]).encode() + b"\n")

    sys.addaudithook(hook)


def _told(argument: object) -> str:
    """An argument of an event; no code of its own is called, which would only be another event."""
    if type(argument) is CodeType:
        return argument.co_filename
    return str(argument) if type(argument) in (str, int, bytes) else type(argument).__name__


if __name__ == "__main__":
    _serve(float(sys.argv[1]))
