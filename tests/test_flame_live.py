"""The report of a run while it goes on, and the one that it leaves behind: real runs, a real browser, real signals."""
from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from browser import Page
from conftest import NOTE, Command, Finished, kill_all, states, wait_until

from firexlite import host, watcher
from firexlite.errors import BadInput
from firexlite.flame_export import Settings
from firexlite.flame_server import LiveReport
from firexlite.home import RunDirectory
from firexlite.last_acts import LastActs
from firexlite.watcher import Watcher

END = "</html>\n"
# `hold` waits for the file `go`; `show` adds a child for each file `more N`.
SERVICES = NOTE + """
@app.task(returns="x")
def quick(): return 1

@app.task(returns="held")
def hold(): wait_for_file("go")

@app.task(bind=True, returns="made")
def show(self):
    made = 0
    while not os.path.exists("go"):
        if os.path.exists(f"more {made}"):
            self.enqueue_child(quick.s())
            made += 1
        time.sleep(0.01)
    return made

@app.task(bind=True)
def busy(self):
    while not os.path.exists("go"):
        self.enqueue_child(quick.s(), block=True)

@app.task
def fail(): raise ValueError("no oven")

@app.task
def heeds_nothing():
    open("begun", "w").close()
    while not os.path.exists("go"):
        try:
            time.sleep(0.01)
        except BaseException:
            pass
"""


@pytest.fixture
def services(firexlite: Command, plugin: Callable[..., Path]) -> Path:
    return plugin(SERVICES)


@pytest.fixture
def go(firexlite: Command) -> Iterator[Path]:
    """The file for which services wait; whatever happens, it is there in the end, and no run lives any more."""
    path = firexlite.folder / "go"
    yield path
    path.touch()
    wait_until(lambda: not any(run.is_alive() for run in firexlite.runs()), what="end of all runs")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """A home with one run that goes on, for the tests that change nothing."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "work").mkdir()
    (folder / "work" / "services.py").write_text(SERVICES)
    command = Command(folder / "home", folder / "work")
    assert command("submit", "--plugins", "services.py", "--chain", "quick,hold", "--detach").code == 0
    yield command
    (command.folder / "go").touch()
    wait_until(lambda: not command.only_run().is_alive(), what="end of the shared run")
    command.close()


@pytest.fixture
def running(firexlite: Command, services: Path, go: Path) -> Callable[[str], RunDirectory]:
    """Begins a run in the background: ``running("quick,hold")``; returns when its last service runs."""

    def begin(chain: str) -> RunDirectory:
        assert firexlite("submit", "--plugins", services, "--chain", chain, "--detach").code == 0
        run = firexlite.only_run()
        wait_until(lambda: states(run).get("running"), what="running service")
        return run

    return begin


def title(page: str) -> str:
    """The state that a report tells."""
    return re.search(r"<title>(\w+)", page)[1]


def but_for_the_time(page: str) -> str:
    return re.sub(r'"generated_at":[\d.]+|made at <time.*?</time>', "", page)


def drafts(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


# --- a file that is rewritten ----------------------------------------------------------------------------------------------

def test_a_watched_file_tells_how_far_the_run_is_and_is_the_plain_report_in_the_end(firexlite, running, go):
    run = running("quick,hold")
    file = firexlite.folder / "out.html"
    watch = firexlite.start("flame", run.firex_id, "--watch", "-o", "out.html")

    wait_until(lambda: file.exists() and title(file.read_text()) == "running")
    go.touch()
    out, err = watch.communicate(timeout=20)

    assert (watch.returncode, out) == (0, "")
    assert err == f"{run.firex_id} has succeeded; its report is in out.html\n"
    assert title(file.read_text()) == "succeeded"
    assert but_for_the_time(file.read_text()) == but_for_the_time(firexlite("flame", run.firex_id).out)
    assert drafts(firexlite.folder) == []


def test_a_watched_file_is_whole_at_every_moment(firexlite, running, go):
    run = running("busy")
    file = firexlite.folder / "out.html"
    watch = firexlite.start("flame", run.firex_id, "--watch", "-o", "out.html")
    wait_until(file.exists)
    seen = {file.stat().st_ino}

    def read() -> bool:
        assert file.read_text().endswith(END)
        seen.add(file.stat().st_ino)
        if len(seen) > 3:
            go.touch()
        return watch.poll() is not None

    wait_until(read, limit_s=40, what="end of the watching")
    assert watch.returncode == 0 and title(file.read_text()) == "succeeded"


def test_a_watched_file_may_be_json(firexlite, running, go):
    run = running("hold")
    go.touch()

    assert firexlite("flame", run.firex_id, "--watch", "--json", "-o", "out.json").code == 0

    assert json.loads((firexlite.folder / "out.json").read_text())["run"]["state"] == "succeeded"


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
def test_watching_ends_quietly_at_a_signal_and_leaves_a_whole_file_and_the_run_alone(firexlite, running, number, code):
    run = running("busy")
    file = firexlite.folder / "out.html"
    watch = firexlite.start("flame", run.firex_id, "--watch", "-o", "out.html")
    wait_until(file.exists)

    watch.send_signal(number)
    out, err = watch.communicate(timeout=20)

    assert (watch.returncode, out, err) == (code, "", "")
    assert file.read_text().endswith(END) and drafts(firexlite.folder) == []
    assert run.is_alive()


def test_watching_a_run_whose_processes_are_killed_ends_with_what_is_left_of_it(firexlite, services, go):
    submit = firexlite.start("submit", "--plugins", services, "--chain", "quick,hold")
    run = wait_until(lambda: firexlite.runs() and firexlite.only_run())
    wait_until(lambda: states(run) == {"succeeded": 1, "running": 1})
    watch = firexlite.start("flame", run.firex_id, "--watch", "-o", "out.html")
    wait_until((firexlite.folder / "out.html").exists)

    kill_all(submit)
    _, err = watch.communicate(timeout=20)

    assert (watch.returncode, err) == (0, f"{run.firex_id} was interrupted; its report is in out.html\n")
    assert title((firexlite.folder / "out.html").read_text()) == "interrupted"


def test_a_run_that_is_watched_is_left_as_a_single_file(firexlite, running, go):
    run = running("hold")
    watch = firexlite.start("flame", run.firex_id, "--watch", "-o", "out.html")
    wait_until((firexlite.folder / "out.html").exists)

    go.touch()
    watch.communicate(timeout=20)

    assert [path.name for path in run.path.glob("journal*")] == ["journal.sqlite3"]


@pytest.mark.parametrize("words, sentence", [
    ("--watch", "--watch rewrites a file as the run goes on, so it needs the name of one: -o FILE"),
    ("--watch -o .", "--watch rewrites a file as the run goes on, and '.' is none"),
    ("--watch -o /dev/null", "--watch rewrites a file as the run goes on, and '/dev/null' is none"),
    ("--watch -o gone/out.html", "the report cannot be written to 'gone/out.html': No such file or directory"),
    ("--watch --serve", "--watch rewrites a file and --serve shows a page; give one of them"),
    ("--serve -o out.html", "--serve shows the page in the browser, so it takes no -o FILE"),
    ("--serve --json", "--serve shows the page in the browser, so it takes no --format json"),
    ("--port 8000", "--port is the port of --serve, which was not given"),
    ("--serve --port x", "--port takes a whole number from 0 to 65535, not 'x'"),
    ("--serve --port 65536", "--port takes a whole number from 0 to 65535, not '65536'"),
])
def test_what_makes_no_sense_is_refused(shared, words, sentence):
    before = sorted(shared.folder.iterdir())

    refused = shared("flame", shared.only_run().firex_id, *words.split())

    assert refused == Finished(2, "", f"firexlite: {sentence}\n")
    assert sorted(shared.folder.iterdir()) == before


@pytest.mark.parametrize("words", [("--watch", "-o", "out.html"), ("--serve",)], ids=["watch", "serve"])
def test_a_run_that_is_not_there_is_refused_at_once(firexlite, words):
    refused = firexlite("flame", "FireX-li-261123-101500-4711", *words, timeout=10)

    assert (refused.code, refused.out) == (2, "") and "there is no run 'FireX-li-261123-101500-4711'" in refused.err
    assert list(firexlite.folder.iterdir()) == []


# --- when a report is due --------------------------------------------------------------------------------------------------

@pytest.fixture
def moments(firexlite: Command, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Iterator]]:
    """The moments of a run at which a report is due, in this process."""
    monkeypatch.setenv("FIREXLITE_HOME", str(firexlite.home))
    threads = threading.enumerate()
    with contextlib.ExitStack() as opened:
        yield lambda run, *options: opened.enter_context(contextlib.closing(Watcher(run.firex_id).moments(*options)))
    assert threading.enumerate() == threads, "an observer was left behind"


def later(action: Callable[[], None], seconds: float = 0.5) -> None:
    threading.Timer(seconds, action).start()


def test_a_move_of_the_run_is_told_by_its_directory_without_a_further_look(running, go, moments, monkeypatch):
    monkeypatch.setattr(watcher, "POLL_S", 100)
    monkeypatch.setattr(watcher, "OLDEST_S", 100)
    following = moments(running("show"))
    assert next(following)[1] is False

    later(go.with_name("more 0").touch, 1.5)

    assert next(following)[1] is False


@pytest.mark.parametrize("failure", [OSError(28, "inotify watch limit reached"), RuntimeError("no such thing here")])
def test_a_run_is_followed_where_nothing_tells_of_its_moves(running, go, moments, monkeypatch, failure):
    def refuse(*_: object) -> None:
        raise failure

    monkeypatch.setattr("watchdog.observers.Observer.schedule", refuse)
    monkeypatch.setattr(watcher, "OLDEST_S", 100)
    following = moments(running("show"))
    assert next(following)[1] is False

    later(go.with_name("more 0").touch, 1.5)
    assert next(following)[1] is False
    later(go.touch, 1.5)
    assert [has_ended for _, has_ended in following][-1] is True


def test_where_nothing_moves_a_report_is_renewed_all_the_same_after_a_while(running, go, moments):
    following = moments(running("hold"), 1.5)

    assert [next(following)[1] for _ in range(3)] == [False] * 3


def test_reports_that_take_long_are_made_more_seldom(running, go, moments):
    following = moments(running("busy"))
    next(following)
    began = time.monotonic()
    next(following)
    time.sleep(0.4)  # what the report takes

    between = time.monotonic()
    next(following)

    assert between - began >= watcher.PAUSE_S
    assert time.monotonic() - between >= (watcher.SHARE - 1) * 0.4


def test_the_end_of_a_run_is_told_at_once_however_long_reports_take(running, go, moments, monkeypatch):
    monkeypatch.setattr(watcher, "PAUSE_S", 100)
    run = running("busy")
    following = moments(run)
    assert next(following)[1] is False

    later(go.touch)

    assert next(following)[1] is True and not run.is_alive()


def test_a_run_that_has_ended_is_told_of_once(running, go, moments):
    run = running("hold")
    go.touch()
    wait_until(lambda: not run.is_alive())

    assert [has_ended for _, has_ended in moments(run)] == [True]


def test_watching_may_be_ended_from_another_thread(firexlite, running, monkeypatch):
    monkeypatch.setenv("FIREXLITE_HOME", str(firexlite.home))
    run_watcher = Watcher(running("hold").firex_id)
    later(run_watcher.stop, 1.5)

    assert not any(has_ended for _, has_ended in run_watcher.moments())


# --- a page that follows ---------------------------------------------------------------------------------------------------

@dataclass
class Served:
    """A command that serves a page, and what it has said so far."""

    process: subprocess.Popen
    url: str

    @property
    def port(self) -> int:
        return urlsplit(self.url).port

    def ask(self, path: str = "", method: str = "GET", **headers: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path if path.startswith("/") else urlsplit(self.url).path + path, headers=headers)
        return connection.getresponse()

    def page(self) -> str:
        return self.ask().read().decode()

    def says(self) -> str:
        """The next line on its stderr."""
        return self.process.stderr.readline()

    def end(self, number: int = signal.SIGINT) -> str:
        """End it; returns what it said of which nobody has taken note."""
        self.process.send_signal(number)
        return self.process.communicate(timeout=20)[1]


def served_by(command: Command, run: RunDirectory, *words: str) -> Served:
    process = command.start("flame", run.firex_id, "--serve", *words)
    line = process.stdout.readline()
    assert line, process.communicate(timeout=20)[1]
    return Served(process, line.strip())


@pytest.fixture
def serve(firexlite: Command) -> Callable[..., Served]:
    return lambda run, *words: served_by(firexlite, run, *words)


def state_shown(page: Page, state: str) -> None:
    page.wait_for(f"document.title.startsWith('{state}') && document.documentElement.dataset.readyMs")


def test_a_served_page_follows_the_run_and_is_the_plain_report_when_it_ends(firexlite, running, go, serve, browser):
    run = running("quick,hold")
    served = serve(run)
    page = browser.open_url(served.url)
    state_shown(page, "running")
    assert "live.js" not in page.text() and page.count("script[data-report]") == 1

    go.touch()
    state_shown(page, "succeeded")
    page.wait_for("document.querySelectorAll('script[data-report]').length === 0")

    plain = firexlite("flame", run.firex_id).out
    assert but_for_the_time(served.page()) == but_for_the_time(plain)
    assert "connect-src" not in plain and "data-report" not in plain
    assert page.errors == []
    assert {urlsplit(request).netloc for request in page.requests} == {f"127.0.0.1:{served.port}"}
    page.close()
    assert served.says() == "It shows the run as it goes on, to this user of this machine only; Ctrl-C ends it.\n"
    assert served.says() == f"{run.firex_id} has succeeded; its report stays at this address until Ctrl-C.\n"
    assert served.end() == "" and served.process.returncode == 0


def test_a_served_page_shows_a_new_task_by_itself(running, go, serve, browser):
    served = serve(running("show"))
    page = browser.open_url(served.url + "#/tree")
    page.wait_for("document.querySelectorAll('[role=treeitem]').length === 1")

    for made in range(2):
        go.with_name(f"more {made}").touch()
        page.wait_for(f"document.querySelectorAll('[role=treeitem]').length === {made + 2}")

    assert page.errors == []
    page.close()
    served.end()


def test_a_served_page_differs_from_the_exported_one_only_in_what_asks_for_the_next(firexlite, running, serve):
    run = running("hold")
    served = serve(run)
    live, plain = served.page(), firexlite("flame", run.firex_id).out
    served.end()

    [script] = re.findall(r'<script data-report="\d+">.*?</script>\n', live, re.DOTALL)
    policy = re.search(r"script-src '[^']*'( '[^']*'; connect-src 'self')", live)[1]
    less = live.replace(script, "").replace(policy, "")
    assert re.search(r"<style>.*?</style>", less, re.DOTALL)[0] in plain
    assert plain.partition("<title>")[0] == less.partition("<title>")[0]
    assert re.findall(r"<script>.*?</script>", plain, re.DOTALL) == re.findall(r"<script>.*?</script>", less, re.DOTALL)


def test_what_a_reader_did_to_the_page_is_there_after_it_was_renewed(running, go, serve, browser):
    served = serve(running("show"))
    for made in range(40):
        go.with_name(f"more {made}").touch()
    page = browser.open_url(served.url + "#/tree?task=3", height=400)
    page.wait_for("document.documentElement.scrollHeight > 900")
    page.wait_for("!document.getElementById('drawer').hidden")
    page.evaluate("(byId('search').focus(), document.execCommand('insertText', false, 'quic'))")
    page.evaluate("scrollTo(0, 300)")
    page.evaluate("window.isTheOldOne = true")

    go.with_name("more 40").touch()
    page.wait_for("window.isTheOldOne === undefined && document.documentElement.dataset.readyMs")

    page.wait_for("scrollY === 300")
    assert page.evaluate("byId('search').value") == "quic"
    assert page.evaluate("document.activeElement.id") == "search"
    assert page.evaluate("location.hash") == "#/tree?q=quic&task=3" and page.evaluate("!byId('drawer').hidden")
    page.close()
    served.end()


def test_what_was_folded_stays_folded_when_the_page_is_renewed_to_the_last_one_too(running, go, serve, browser):
    served = serve(running("show"))
    for made in range(3):
        go.with_name(f"more {made}").touch()
    page = browser.open_url(served.url + "#/tree")
    page.wait_for("document.querySelectorAll('[role=treeitem]').length === 4")
    page.click("#collapse")
    page.wait_for("document.querySelectorAll('[role=treeitem]').length === 1")

    go.with_name("more 3").touch()
    page.wait_for("document.body.textContent.includes('+4 tasks')")
    go.touch()
    state_shown(page, "succeeded")

    assert page.count("[role=treeitem]") == 1
    page.close()
    served.end()


def test_nobody_is_disturbed_whose_hand_is_on_the_page(running, go, serve, browser):
    served = serve(running("show"))
    page = browser.open_url(served.url)
    page.call("Input.dispatchMouseEvent", type="mousePressed", x=700, y=500, button="left", clickCount=1)
    page.evaluate("window.isTheOldOne = true")

    go.with_name("more 0").touch()
    number = int(re.search(r'data-report="(\d+)"', served.page())[1])
    served.ask(f"changes?since={number}").read()
    held = page.evaluate("live.after(2 * live.REST_MS).then(() => window.isTheOldOne)")
    page.call("Input.dispatchMouseEvent", type="mouseReleased", x=700, y=500, button="left", clickCount=1)

    assert held is True
    page.wait_for("window.isTheOldOne === undefined")
    page.close()
    served.end()


def test_a_page_says_when_it_is_no_longer_renewed(running, serve, browser):
    served = serve(running("hold"))
    page = browser.open_url(served.url)
    assert page.count("#live") == 0

    served.end()

    page.wait_for("document.getElementById('live')?.textContent === 'No longer live: firexlite does not answer.'")
    page.close()


# --- who is answered -------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def served(shared: Command) -> Iterator[Served]:
    served = served_by(shared, shared.only_run())
    yield served
    served.end()


def test_only_this_machine_can_connect(served):
    listening = {tuple(line.split()[1].split(":")) for table in ("tcp", "tcp6")
                 for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:] if line.split()[3] == "0A"}

    assert {address for address, port in listening if int(port, 16) == served.port} == {"0100007F"}
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", served.port), timeout=5)


@pytest.mark.parametrize("name, status", [
    ("127.0.0.1:{port}", 200), ("localhost:{port}", 200), ("LOCALHOST", 200), ("localhost:9999", 200), ("[::1]:{port}", 200),
    ("evil.example:{port}", 403), ("evil.example", 403), ("127.0.0.1.evil.example:{port}", 403), ("", 403), ("0.0.0.0", 403),
])
def test_only_who_asks_for_this_machine_by_name_is_answered(served, name, status):
    for path in ("", "changes?since=0"):
        answer = served.ask(path, Host=name.format(port=served.port))

        assert (answer.status, b"FireX-" in answer.read()) == (status, status == 200 and path == "")


@pytest.mark.parametrize("path, status", [
    ("/", 404), ("/changes?since=0", 404), ("/x/", 404), ("/%2e%2e/", 404), ("nothing", 404), ("../", 404), ("changes", 400),
    ("changes?since=-1", 400), ("changes?since=x", 400), ("changes?since=99999999999999999999", 400),
])
def test_nothing_is_told_without_the_whole_address(served, path, status):
    answer = served.ask(path)

    assert answer.status == status and b"FireX-" not in answer.read()


def test_tokens_differ_and_cannot_be_guessed(served, shared):
    other = served_by(shared, shared.only_run())
    tokens = {urlsplit(one.url).path.strip("/") for one in (served, other)}

    assert len(tokens) == 2 and min(map(len, tokens)) >= 22
    other.end()


def test_an_address_without_its_last_slash_leads_to_the_report(served):
    answer = served.ask(urlsplit(served.url).path.rstrip("/"))

    assert (answer.status, answer.headers["Location"]) == (301, urlsplit(served.url).path)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_a_report_is_only_looked_at(served, method):
    answer = served.ask(method=method)

    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


def test_a_head_has_the_length_and_no_page(served):
    answer = served.ask(method="HEAD")

    assert answer.status == 200 and int(answer.headers["Content-Length"]) > 10_000 and answer.read() == b""


def test_no_other_page_may_frame_keep_or_guess_at_the_report(served):
    headers = served.ask().headers

    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert {name: headers[name] for name in (
        "Cache-Control", "X-Content-Type-Options", "X-Frame-Options", "Cross-Origin-Resource-Policy", "Referrer-Policy")} == {
        "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
        "Cross-Origin-Resource-Policy": "same-origin", "Referrer-Policy": "no-referrer"}
    assert "Access-Control-Allow-Origin" not in headers


def test_who_goes_away_in_the_middle_is_no_trouble(served):
    long_poll = f"GET {urlsplit(served.url).path}changes?since=999 HTTP/1.0\r\nHost: localhost\r\n\r\n"
    for what in (b"GET ", b"", long_poll.encode()):
        with socket.create_connection(("127.0.0.1", served.port), timeout=5) as connection:
            connection.sendall(what)

    assert title(served.page()) == "running"
    served.says()  # at its beginning
    assert select.select([served.process.stderr], [], [], 0.5)[0] == []


def test_a_report_is_made_once_for_all_who_ask(served):
    number = int(re.search(r'data-report="(\d+)"', served.page())[1])

    answers = [served.page() for _ in range(5)]

    assert len(set(answers)) == 1 or number < int(re.search(r'data-report="(\d+)"', answers[-1])[1])


# --- its end ---------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
def test_a_server_that_is_ended_before_the_run_leaves_nothing_behind(firexlite, running, serve, tmp_path, number, code):
    run = running("hold")
    served = serve(run)
    served.page()
    served.says()  # after the address, at which the page is to be had already

    err = served.end(number)

    assert (served.process.returncode, err) == (code, "")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", served.port), timeout=5)
    assert run.is_alive() and drafts(firexlite.folder) == []


def test_a_run_that_has_ended_is_served_until_ctrl_c(firexlite, serve):
    firexlite("submit", "--chain", "nop")
    served = serve(firexlite.only_run())

    assert "data-report" not in served.page() and title(served.page()) == "succeeded"
    served.says()
    assert "has succeeded; its report stays at this address until Ctrl-C." in served.says()
    assert served.end() == "" and served.process.returncode == 0


def test_a_port_that_is_taken_is_told_in_a_sentence(served, shared):
    refused = shared("flame", shared.only_run().firex_id, "--serve", "--port", str(served.port))

    assert refused == Finished(2, "", f"firexlite: --port {served.port} cannot be had: Address already in use; without --port "
                                      "any that is free is taken\n")


def test_a_port_that_is_chosen_is_used(firexlite, running, serve):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    served = serve(running("hold"), "--port", str(port))

    assert served.port == port
    served.end()


def test_a_run_that_is_gone_for_long_ends_its_report(firexlite, running, go, monkeypatch):
    monkeypatch.setenv("FIREXLITE_HOME", str(firexlite.home))
    monkeypatch.setattr(watcher, "PATIENCE_S", 0.5)
    report = LiveReport(running("hold").firex_id, Settings())
    report.start()

    monkeypatch.setenv("FIREXLITE_HOME", str(firexlite.home / "nowhere"))

    with pytest.raises(BadInput, match="there is no run"):
        report.wait_for_last()
    assert report.wait_for_newer(report.newest.number, 0) is None and not report.has_ended


# --- the report that a run leaves behind -------------------------------------------------------------------------------------

def left_behind(firexlite: Command, name: str = "out.html") -> str:
    """The state in the report, which is whole."""
    text = (firexlite.folder / name).read_text()
    assert text.endswith(END) and drafts(firexlite.folder) == []
    return title(text)


@pytest.mark.parametrize("chain, code, state", [("quick", 0, "succeeded"), ("quick,fail", 1, "failed")])
def test_a_run_leaves_its_report(firexlite, services, chain, code, state):
    done = firexlite("submit", "--plugins", services, "--chain", chain, "--flame", "out.html")

    assert done.code == code and left_behind(firexlite) == state
    assert done.err.splitlines()[-1] == "Report: out.html"
    plain = firexlite("flame", done.firex_id).out
    assert but_for_the_time((firexlite.folder / "out.html").read_text()) == but_for_the_time(plain)


def test_a_detached_run_leaves_its_report(firexlite, services, go):
    firexlite("submit", "--plugins", services, "--chain", "hold", "--flame", "out.html", "--detach")
    assert not (firexlite.folder / "out.html").exists()

    go.touch()

    wait_until((firexlite.folder / "out.html").exists)
    assert left_behind(firexlite) == "succeeded"


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
def test_a_run_that_is_stopped_leaves_a_report_of_the_interruption(firexlite, services, number, code):
    submit = firexlite.start("submit", "--plugins", services, "--chain", "quick,hold", "--flame", "out.html")
    run = wait_until(lambda: firexlite.runs() and firexlite.only_run())
    wait_until(lambda: states(run) == {"succeeded": 1, "running": 1})

    submit.send_signal(number)
    _, err = submit.communicate(timeout=20)

    assert submit.returncode == code and left_behind(firexlite) == "interrupted"
    assert err.splitlines()[-1] == "Report: out.html"


@pytest.mark.long
def test_the_report_is_there_before_a_ci_system_loses_its_patience_with_a_body_that_heeds_nothing(firexlite, services):
    submit = firexlite.start("submit", "--plugins", services, "--chain", "quick,heeds_nothing", "--flame", "out.html")
    wait_until((firexlite.folder / "begun").exists)

    submit.terminate()
    asked = time.time()
    submit.communicate(timeout=20)

    assert submit.returncode == 143 and left_behind(firexlite) == "interrupted"
    assert (firexlite.folder / "out.html").stat().st_mtime - asked < 10


def test_a_run_whose_runner_is_killed_leaves_its_report(firexlite, services):
    submit = firexlite.start("submit", "--plugins", services, "--chain", "quick,hold", "--flame", "out.html")
    run = wait_until(lambda: firexlite.runs() and firexlite.only_run())
    wait_until(lambda: states(run) == {"succeeded": 1, "running": 1})
    [runner] = host.children(submit.pid)

    os.kill(runner, signal.SIGKILL)
    _, err = submit.communicate(timeout=20)

    assert submit.returncode == 137 and left_behind(firexlite) == "interrupted"
    assert err.splitlines()[-1] == "Report: out.html"


def test_a_run_that_no_worker_can_import_leaves_its_report(firexlite, plugin):
    plugin("import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n" + NOTE + """
if os.path.exists("once"):
    wait_for_file("never")
open("once", "w").close()

@app.task
def never(): pass
""")
    refused = firexlite("submit", "--plugins", "services.py", "--chain", "never", "--import_timeout", "1",
                        "--flame", "out.html")

    assert refused.code == 2 and left_behind(firexlite) == "interrupted"
    assert refused.err.splitlines()[-2] == "Report: out.html"


def test_a_run_whose_disk_fails_leaves_its_report_where_there_is_another(firexlite, plugin):
    plugin("""
import resource
from firexlite import app

@app.task(returns="x")
def grows():
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    return "x" * 50_000
""")
    failed = firexlite("submit", "--plugins", "services.py", "--chain", "grows", "--full_wait", "0", "--flame", "out.html")

    assert failed.code == 6 and left_behind(firexlite) == "interrupted"
    assert failed.err.splitlines()[-2] == "Report: out.html"


def test_a_report_that_cannot_be_written_changes_nothing_of_how_the_run_ended(firexlite, services, go):
    folder = firexlite.folder / "reports"
    folder.mkdir()
    submit = firexlite.start("submit", "--plugins", services, "--chain", "hold", "--flame", "reports/out.html")
    wait_until(lambda: firexlite.runs() and states(firexlite.only_run()).get("running"))

    folder.rmdir()
    go.touch()
    out, err = submit.communicate(timeout=20)

    assert submit.returncode == 0 and "All tasks succeeded" in out
    sentence = "the report cannot be written to 'reports/out.html': No such file or directory"
    assert err.splitlines()[-1] == f"firexlite: {sentence}"
    assert sentence in firexlite("logs", firexlite.only_run().firex_id).out


def test_nor_does_a_fault_of_the_report_itself(firexlite, monkeypatch):
    firexlite("submit", "--chain", "nop")
    monkeypatch.setenv("FIREXLITE_HOME", str(firexlite.home))

    def fail(*args: object) -> None:
        raise ZeroDivisionError("no tasks")

    monkeypatch.setattr("firexlite.flame_export.write_report", fail)
    last = LastActs("out.html", None)
    last.do(firexlite.only_run(), 0)

    assert last.told == ["firexlite: the report could not be written: ZeroDivisionError: no tasks"]


@pytest.mark.parametrize("command", ["submit --chain nop", "resume {id}"])
@pytest.mark.parametrize("file, sentence", [
    ("gone/out.html", "--flame 'gone/out.html' could not be written: {folder}/gone is no folder that you may write to"),
    (".", "--flame takes the name of a file, and '.' is a folder"),
])
def test_where_no_report_could_be_written_hours_later_is_refused_at_once(firexlite, command, file, sentence):
    firex_id = firexlite("submit", "--chain", "nop").firex_id

    refused = firexlite(*command.format(id=firex_id).split(), "--flame", file)

    assert refused == Finished(2, "", f"firexlite: {sentence.format(folder=firexlite.folder)}\n")
    assert len(firexlite.runs()) == 1


def test_a_resume_writes_the_report_that_the_run_was_to_leave(firexlite, services, go):
    submit = firexlite.start("submit", "--plugins", services, "--chain", "quick,hold", "--flame", "out.html")
    run = wait_until(lambda: firexlite.runs() and firexlite.only_run())
    wait_until(lambda: states(run) == {"succeeded": 1, "running": 1})
    kill_all(submit)
    assert not (firexlite.folder / "out.html").exists()

    go.touch()
    resumed = firexlite("resume", run.firex_id)

    assert resumed.code == 0 and left_behind(firexlite) == "succeeded"
    assert resumed.err.splitlines()[-1] == "Report: out.html"


def test_a_resume_may_name_another_file_for_the_report(firexlite, services):
    failed = firexlite("submit", "--plugins", services, "--chain", "fail", "--flame", "out.html")
    (firexlite.folder / "out.html").unlink()

    firexlite("resume", failed.firex_id, "--flame", "again.html")

    assert left_behind(firexlite, "again.html") == "failed" and not (firexlite.folder / "out.html").exists()


def test_a_run_that_was_not_to_leave_a_report_leaves_none(firexlite, services):
    failed = firexlite("submit", "--plugins", services, "--chain", "fail")

    resumed = firexlite("resume", failed.firex_id)

    assert "Report" not in failed.err + resumed.err
    assert [path.name for path in firexlite.folder.glob("*.html")] == []
