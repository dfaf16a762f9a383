"""The report of a run as a page on loopback that follows the run: made once for all who look, in one thread.

Only this machine can connect, and only who knows the token in the address gets an answer: neither another user of the machine
nor a page from elsewhere in the same browser. A page from elsewhere that has its own name lead here (DNS rebinding) is known
by that name.
"""
from __future__ import annotations

import hmac
import io
import json
import secrets
import sys
import threading
from dataclasses import dataclass, replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from urllib.parse import parse_qs, urlsplit

from .errors import FirexliteError
from .flame_export import Settings, export
from .home import RunDirectory
from .version import __version__
from .watcher import Watcher

LOOPBACK = "127.0.0.1"
NAMES = (LOOPBACK, "localhost", "[::1]")  # by which a browser may know this machine; a tunnel may have another port
ANSWER_S = 20.0   # how long a page that asks for the next report is kept waiting; then it asks again
SILENT_S = 30.0   # how long somebody may take to say what he wants
JOIN_S = 1.0      # for a report that is just being made when the server ends

_HEADERS = {
    "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@dataclass(frozen=True)
class Report:
    """The page as it stands. number: of the reports made of this run, from 1. is_last: the run has ended."""

    number: int
    page: bytes
    is_last: bool


class LiveReport:
    """The newest report of a run, renewed in a thread of its own from `start` to the end of the run, or to `stop`."""

    def __init__(self, firex_id: str, settings: Settings) -> None:
        # In a thread no process is to be forked.
        self._watcher, self._settings = Watcher(firex_id), replace(settings, processes=1)
        self._thread = threading.Thread(target=self._follow, name="report", daemon=True)
        self._changed = threading.Condition()
        self._newest: Report | None = None
        self._failure: BaseException | None = None
        self._has_stopped = False

    def start(self) -> None:
        """Returns when there is a first report. Raises what keeps it from being made."""
        self._thread.start()
        self._after(0)

    def stop(self) -> None:
        self._watcher.stop()
        with self._changed:
            self._has_stopped = True
            self._changed.notify_all()
        self._thread.join(JOIN_S)

    @property
    def newest(self) -> Report:
        """What is to be shown, once `start` has returned."""
        assert self._newest is not None
        return self._newest

    @property
    def has_ended(self) -> bool:
        """Whether the newest report is that of how the run ended."""
        return self._newest is not None and self._newest.is_last

    def wait_for_last(self) -> None:
        """Returns when the run has ended and its last report is there. Raises what keeps that from being made."""
        while not self.has_ended:
            self._after(self.newest.number)

    def wait_for_newer(self, number: int, patience_s: float) -> Report | None:
        """A report with a higher number, or after a while the one that there is; None if none will come any more."""
        self._wait(number, patience_s)
        return None if self._failure or self._has_stopped else self.newest

    def _after(self, number: int) -> None:
        self._wait(number, None)
        if self._failure is not None:
            raise self._failure

    def _wait(self, number: int, patience_s: float | None) -> None:
        def is_answered() -> bool:
            newest = self._newest
            return bool(self._failure or self._has_stopped or (newest and newest.number > number))

        with self._changed:
            self._changed.wait_for(is_answered, patience_s)

    def _follow(self) -> None:
        try:
            for number, (directory, has_ended) in enumerate(self._watcher.moments(), 1):
                try:
                    report = self._made(number, directory, has_ended)
                except FirexliteError:  # the disk is full, say: what is shown is older for a while
                    if self._newest is None or has_ended:
                        raise
                    continue
                with self._changed:
                    self._newest = report
                    self._changed.notify_all()
        except BaseException as error:  # whoever waits for the next report has to know that none will come
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    def _made(self, number: int, directory: RunDirectory, has_ended: bool) -> Report:
        out = io.StringIO()
        export(directory, out, replace(self._settings, live=None if has_ended else number))
        return Report(number, out.getvalue().encode("utf-8", "backslashreplace"), has_ended)


class ReportServer(ThreadingHTTPServer):
    """Serves a live report; ``with ReportServer(report, port) as server: ... server.url``. port 0: any that is free.

    Raises OSError if the port cannot be had.
    """

    daemon_threads = True      # who waits for the next report does not keep the command from ending
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, report: LiveReport, port: int) -> None:
        self.report, self.token = report, secrets.token_urlsafe(16)
        super().__init__((LOOPBACK, port), _Answers)
        self._thread = threading.Thread(target=self.serve_forever, name="server", daemon=True)

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.server_port}/{self.token}/"

    def server_bind(self) -> None:
        """Without a look for this machine's full name, for which a network may be asked."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def __enter__(self) -> ReportServer:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """A reader who goes away in the middle of an answer is no error; what is one is told with its traceback."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Answers(BaseHTTPRequestHandler):
    server: ReportServer
    server_version, sys_version = f"firexlite/{__version__}", ""
    timeout = SILENT_S

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        head, is_folder, asked = address.path.removeprefix("/").partition("/")
        if not self._is_from_here():
            self._refuse(HTTPStatus.FORBIDDEN, "This is answered only to who asks for 127.0.0.1 or localhost.")
        elif not hmac.compare_digest(head.encode(), self.server.token.encode()):
            self._refuse(HTTPStatus.NOT_FOUND, "There is nothing here; firexlite printed the whole address.")
        elif not is_folder:
            self._refuse(HTTPStatus.MOVED_PERMANENTLY, "The address ends with a slash.", ("Location", f"/{head}/"))
        elif asked == "":
            self._answer(HTTPStatus.OK, "text/html; charset=utf-8", self.server.report.newest.page)
        elif asked == "changes":
            self._tell_of_changes(parse_qs(address.query))
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "There is nothing here but the report.")

    do_HEAD = do_GET

    def _refuse_method(self) -> None:
        self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "A report is only looked at.", ("Allow", "GET, HEAD"))

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = do_CONNECT = _refuse_method

    def _is_from_here(self) -> bool:
        host = self.headers.get("Host", "").lower()
        return host in NAMES or host.rpartition(":")[0] in NAMES

    def _tell_of_changes(self, query: dict[str, list[str]]) -> None:
        """Answer as soon as there is a newer report than the one of that number, or after a while that there is none."""
        given = query.get("since", [""])[0]
        if not (given.isascii() and given.isdigit() and len(given) < 10):
            self._refuse(HTTPStatus.BAD_REQUEST, "changes takes since=NUMBER.")
            return
        report = self.server.report.wait_for_newer(int(given), ANSWER_S)
        if report is None:  # the command says why, and ends
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "The report is not renewed any more.")
            return
        about = {"report": report.number, "is_last": report.is_last}
        self._answer(HTTPStatus.OK, "application/json", json.dumps(about).encode())

    def _refuse(self, status: HTTPStatus, sentence: str, *more: tuple[str, str]) -> None:
        self._answer(status, "text/plain; charset=utf-8", f"{sentence}\n".encode(), *more)

    def _answer(self, status: HTTPStatus, kind: str, body: bytes, *more: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (*_HEADERS.items(), ("Content-Type", kind), ("Content-Length", str(len(body))), *more):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody asked for a line about each request."""
