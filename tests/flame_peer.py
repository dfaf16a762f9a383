"""FireX's own Flame, as PyPI has it: an environment that holds it, its page on a server of ours, and its server."""
from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from conftest import ROOT

# Alone: what is called firex-flame is older, and does not work beside it. It does not name all that it needs.
PACKAGES = ["firexapp[flame]==5.7.236", "packaging", "setuptools"]
PLACE = ROOT / ".venv" / "flame-peer"
INSTALL_S = 300
READY_S = 30
FONTS = "*fonts.googleapis.com*"  # which its page asks for
CONFIG = {
    "access_mode": "webserver-file", "is_central": True, "central_server": None, "linkify_prefixes": [],
    "model_path_template": "/runs/<%- firex_id %>/firex_internal/flame/model/run-metadata.json",
    "logs_serving": {"serve_mode": "local-webserver", "url_format": None},
}
# Its server listens to the whole network, so it gets a socket that does not.
ON_LOOPBACK = """
import runpy
from gevent import monkey
monkey.patch_all()
from gevent import pywsgi

class OnLoopback(pywsgi.WSGIServer):
    def __init__(self, listener, *args, **options):
        super().__init__(("127.0.0.1", listener[1]), *args, **options)

pywsgi.WSGIServer = OnLoopback
runpy.run_module("firex_flame", run_name="__main__", alter_sys=True)
"""
# What its server makes of events, before it forgets of a task that has ended what it expects to be in a file.
REPLAY = """
import json, sys
from firex_flame.flame_task_graph import FlameTaskGraph
graph = FlameTaskGraph()
for line in sys.stdin:
    graph.update_graph_from_celery_events([json.loads(line)])
json.dump({"full": graph.get_full_tasks_by_uuid(), "slim": graph.get_slim_tasks_by_uuid(), "root": graph.root_uuid,
           "has ended": graph.all_tasks_complete()}, sys.stdout)
"""


class NotInstallable(Exception):
    """The package cannot be had here; says why."""


class Peer:
    """An environment with FireX's Flame. Making it takes half a minute, so it is kept."""

    def __init__(self, place: Path = PLACE) -> None:
        self.python = place / "bin" / "python"
        place.parent.mkdir(exist_ok=True)
        with (place.parent / f"{place.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            holds = place / "holds"
            if not holds.exists() or holds.read_text() != repr(PACKAGES):
                shutil.rmtree(place, ignore_errors=True)
                _run([sys.executable, "-m", "venv", str(place)])
                _run([str(self.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input",
                      "--retries", "1", "--timeout", "15", *PACKAGES])
                holds.write_text(repr(PACKAGES))
        [self.page] = place.glob("lib/python3*/site-packages/firex_flame_ui")

    def replay(self, recording: Path) -> dict:
        """``{"full": {uuid: task}, "slim": {uuid: task}, "root": uuid, "has ended": bool}`` of the events of a file."""
        with recording.open() as events:
            done = subprocess.run([self.python, "-c", REPLAY], stdin=events, capture_output=True, text=True, timeout=READY_S,
                                  env=_environment())
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @contextlib.contextmanager
    def server(self, firex_id: str, logs_dir: Path, recording: Path) -> Iterator[str]:
        """Its server, which replays a recording; gives its address. It writes into logs_dir."""
        process = subprocess.Popen(
            ["timeout", "120", self.python, "-u", "-c", ON_LOOPBACK, "--port", "0", "--uid", firex_id, "--logs_dir",
             str(logs_dir), "--recording", str(recording), "--serve_logs_dir", "False"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=_environment())
        try:
            assert process.stdout is not None and process.stderr is not None
            for line in process.stdout:  # up to its end, which `timeout` brings about if need be
                if found := re.search(r"running on: \S+:(\d+)", line):
                    break
            else:
                raise AssertionError(process.stderr.read())
            yield f"http://127.0.0.1:{found[1]}"
        finally:
            process.terminate()
            process.communicate(timeout=READY_S)

    @contextlib.contextmanager
    def files(self, runs: Path) -> Iterator[str]:
        """Its page over the dumps in a folder, without a server of FireX's; gives the address below which runs are."""
        class Handler(SimpleHTTPRequestHandler):
            page = self.page

            def translate_path(self, path: str) -> str:
                # Dumps are also where they lie, as FireX's web servers have the runs.
                if path.startswith(f"{runs}/"):
                    return path
                if path.startswith("/runs/"):
                    return str(runs / path.removeprefix("/runs/"))
                file = self.page / path.removeprefix("/flame/")
                return str(file if file.is_file() else self.page / "index.html")

            def do_GET(self) -> None:
                if self.path == "/flame/flame-ui-config.json":
                    text = json.dumps(CONFIG).encode()
                    self.send_response(HTTPStatus.OK)
                    self.send_header("Content-Length", str(len(text)))
                    self.end_headers()
                    self.wfile.write(text)
                else:
                    super().do_GET()

            def log_message(self, format: str, *args: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            try:
                yield f"http://127.0.0.1:{server.server_port}/flame"
            finally:
                server.shutdown()


def _run(words: list[str]) -> None:
    try:
        subprocess.run(words, check=True, capture_output=True, text=True, timeout=INSTALL_S, env=_environment())
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout or "nothing").strip().splitlines()
        raise NotInstallable(f"{' '.join(words[1:4])}: {said[-1]}") from error
    except subprocess.TimeoutExpired as error:
        raise NotInstallable(f"{' '.join(words[1:4])} took more than {INSTALL_S} s") from error


def _environment() -> dict[str, str]:
    """Ours without what would have its interpreter import from here."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
