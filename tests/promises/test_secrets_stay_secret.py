"""A secret's value is nowhere in what firexlite writes and shows, whatever services do with it, and they get the true one.

Next to each secret the same services get a `plain` value, and do the same with it: the search that finds no secret finds that.
"""
from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import random
import re
import shlex
import signal
import socket
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree
from xml.sax import saxutils

import pytest
from conftest import Command, kill_all, query, states, wait_until
from spoilt import digest_of
from warm import Warm

from firexlite import Secret, host
from firexlite.codec import canonical, decode, decode_error, display, display_error, encode, encode_error
from firexlite.errors import BadInput, NotStorable
from firexlite.home import RunDirectory
from firexlite.logs import _Masking
from firexlite.secrets import LONGEST, Needles, masked, vault

pytest_plugins = ["sound_runs"]

# Between these marks each value has what libraries write in other ways; the marks themselves they leave as they are.
CANARY = 'Xq7vK9wZ "/é<&+%\\\U0001f600 Bm4tR8pL'
SECRETS = {"CANARY": CANARY, "LATE": "@Lk2jH5gF", "REDACTED": "Tr6yU3iO pQ1zE4cV"}
KEY = "739184625017"  # in a file
PLAIN = "Hn3xW6cJ sD8bN2mY"

MARKS = ["Xq7vK9wZ", "Bm4tR8pL", "Lk2jH5gF", "Tr6yU3iO", "pQ1zE4cV", KEY]


def traces(mark: str) -> list[bytes]:
    """How a mark looks in a file: itself, and the part of a base64 that depends on nothing else."""
    found = [mark.encode()]
    for before in range(3):
        data = bytes(before) + mark.encode()
        found.append(base64.b64encode(data)[(0, 2, 3)[before]:len(data) * 8 // 6])
    return found


ALL_TRACES = [trace for mark in MARKS for trace in traces(mark)]


def traces_in(data: bytes | str) -> list[bytes]:
    data = data.encode(errors="surrogateescape") if isinstance(data, str) else data
    return [trace for trace in ALL_TRACES if trace in data]


def leaks(folder: Path) -> dict[str, list[bytes]]:
    """Where below a folder a secret is found, in the contents and names of all files."""
    found = {}
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        if traces_found := traces_in(content + os.fsencode(path)):
            found[str(path.relative_to(folder))] = traces_found
    return found


def test_the_search_finds_a_secret_in_every_form(tmp_path: Path) -> None:
    for name, text in {"json": json.dumps(CANARY), "repr": repr(CANARY), "plain": CANARY, "key": f"no. {KEY}",
                       "base64": base64.b64encode(f"user:{CANARY}".encode()).decode()}.items():
        (tmp_path / name).write_text(text)

    assert sorted(leaks(tmp_path)) == ["base64", "json", "key", "plain", "repr"]


COMMON = """
import base64, html, json, logging, multiprocessing, os, subprocess, threading, time, urllib.parse
from hashlib import sha256
from pathlib import Path
from firexlite import Secret, app, flame

def spread(value):
    print("printed", value, repr(value), json.dumps(value), html.escape(value))
    print(urllib.parse.quote(value), urllib.parse.quote(value, ""), urllib.parse.quote_plus(value))
    logging.getLogger("service").warning("logged %s", value)
    for before in ("", "x", "user:"):
        print(base64.b64encode((before + value).encode()).decode(), base64.urlsafe_b64encode((before + value + ".").encode()))
    subprocess.run(["sh", "-c", 'echo "by a command" "$0"; echo "$0" >&2', value], check=True)
    if not (pid := os.fork()):
        os.write(1, f"by a fork {value}\\n".encode())
        os._exit(0)
    os.waitpid(pid, 0)
    forked = multiprocessing.get_context("fork").Process(target=print, args=("by a process", value))
    forked.start()
    forked.join()
    for part in value[:4], value[4:7], value[7:]:
        os.write(2, part.encode())
    os.write(2, b"\\n")

def everything(value):
    data = value.encode()
    return {value: [f"Bearer {value}!", data, bytearray(b"\\0" + data), json.dumps({"token": value}), (value, {value}),
                    base64.b64encode(b"x" + data).decode(), base64.b64encode(b"user:" + data), urllib.parse.quote(value, ""),
                    Path("/folder") / value, html.escape(value), repr(value), value * 3, {"$type": value}, {1: value}]}

@app.task(returns="heard")
def whisper(heard):
    print("whispered", heard)
    return heard

@app.task(bind=True, returns="heard")
def echo(self, heard, **others):
    print("heard", heard, others)
    return self.enqueue_child_and_get_results(whisper.s(heard=heard, **others), return_keys="heard")[0]

def wait_for_file(path):
    while not os.path.exists(path):
        time.sleep(0.01)

def wrong(value):
    raise ValueError(value)
"""

USE = COMMON + """
@app.task(bind=True, returns=["spoils", "number", "heard"])
@flame("token", formatter=lambda value: f"<b>{html.escape(value)}</b>")
@flame("plain", formatter=lambda value: f"<b>{value}</b>")
@flame("key", formatter=wrong)
@flame("*")
def use(self, token, key, plain, late=Secret("env:LATE")):
    values = [token, key, plain, late, os.environ["REDACTED"]]
    for value in values:
        spread(value)
    to_a_child = echo.s(heard=f"to a child {token} {plain}", key=int(key), again=Secret("env:CANARY"), all=values)
    heard = self.enqueue_child_and_get_results(to_a_child, return_keys="heard")[0]
    wait_for_file("go on")
    return [everything(value) for value in values], int(key), heard

@app.task(returns=["is_same", "number_is_same", "heard_is_same", "digests"])
def check(spoils, number, heard, token, key, plain, late=Secret("env:LATE")):
    values = [token, key, plain, late, os.environ["REDACTED"]]
    print("checked", token)
    return (spoils == [everything(value) for value in values], number == int(key), heard == f"to a child {token} {plain}",
            [sha256(value.encode()).hexdigest() for value in values])
"""


def test_a_secret_is_found_nowhere_after_a_kill_and_a_resume_either(firexlite: Command, plugin) -> None:
    plugin(USE)
    (firexlite.folder / "key").write_text(KEY + "\n")
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "use,check", "--token", "Secret(env:CANARY)",
                              "--plain", PLAIN, "--redact", "REDACTED", "--workers", "2", "--", "--key", "Secret('file:key')",
                              **SECRETS)
    wait_until(lambda: firexlite.runs() and states(firexlite.only_run()).get("succeeded") == 2, what="child that is done")
    kill_all(process)
    run = firexlite.only_run()
    out, err = process.communicate()
    assert leaks(firexlite.home) == {}
    assert traces_in(out + err) == []
    wal, log = Path(f"{run.journal}-wal").read_bytes(), b"".join(path.read_bytes() for path in run.path.glob("logs/*-*.log"))
    assert PLAIN.encode() in wal
    assert [mark for mark in PLAIN.split() for trace in traces(mark) if trace not in log] == []

    (firexlite.folder / "go on").touch()
    without = {name: value for name, value in SECRETS.items() if name != "CANARY"}
    before = digest_of(firexlite.home)
    refused = firexlite("resume", run.firex_id, **without)
    assert (refused.code, refused.out, refused.err) == (
        2, "", f"firexlite: {run.firex_id} was not resumed: the secret env:CANARY cannot be had: "
               "the environment variable CANARY is not set\n")
    assert digest_of(firexlite.home) == before

    done = firexlite("resume", run.firex_id, "--json_file", "copy.json", **SECRETS)
    assert done.code == 0, done.err
    shown = firexlite.flame(run.firex_id)  # reading needs no secret
    said = {"resume": done.out + done.err, "copy.json": (firexlite.folder / "copy.json").read_text(),
            "flame --json": json.dumps(shown), "run.json": run.run_json.read_text(),
            "flame": firexlite("flame", run.firex_id).out}
    said_of_others = [firexlite(command, *ids).out for command, *ids in (("runs",), ("doctor", run.firex_id))]

    assert leaks(firexlite.home) == {}
    assert {where: traces_in(text) for where, text in said.items() if traces_in(text)} == {}
    assert {where for where, text in said.items() if PLAIN not in text} == set()
    assert all(said_of_others) and not any(map(traces_in, said_of_others))
    assert PLAIN.encode() in run.journal.read_bytes()
    returned = json.loads(said["run.json"])["results"]["chain_results"]
    assert [returned[name] for name in ("is_same", "number_is_same", "heard_is_same")] == [True] * 3
    assert returned["digests"] == [hashlib.sha256(value.encode()).hexdigest()
                                   for value in (CANARY, KEY, PLAIN, SECRETS["LATE"], SECRETS["REDACTED"])]
    assert returned["heard"] == f"to a child [secret env:CANARY] {PLAIN}"
    assert returned["number"] == "[secret file:key]"
    assert shown["tasks"][1]["log"]["lines"] == ["checked [secret env:CANARY]"]  # each task has its own stretch


TURNCOAT = COMMON + """
print("at import", os.environ["CANARY"], os.environ["PLAIN"])
threading.Thread(target=threading.Event().wait, daemon=True).start()  # so workers import this file themselves

class Refused(Exception):
    def __str__(self):
        return f"refused: {self.args}"

@app.task(bind=True)
def turncoat(self, token, plain):
    self.enqueue_child(whisper.s(heard=f"{token} {plain} {self.attempt}"), block=self.attempt != 2)
    if self.attempt == 2:
        raise ValueError(f"another path: {token}")
    wait_for_file("go on")
    spread(token)
    spread(plain)
    error = Refused(plain, token, {token: [token]}, int("12" + os.environ["DIGITS"]))
    error.token, error.plain = token, plain
    raise error from KeyError(token, plain)
"""


def test_a_run_that_goes_wrong_tells_no_secret_either(firexlite: Command, plugin) -> None:
    plugin(TURNCOAT)
    known = {"CANARY": CANARY, "DIGITS": KEY, "PLAIN": PLAIN}
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "turncoat", "--token=Secret(env:CANARY)",
                              "--plain", PLAIN, "--redact", "DIGITS", "--workers", "1", **known)
    wait_until(lambda: firexlite.runs() and states(firexlite.only_run()).get("succeeded"), what="child that is done")
    kill_all(process)
    run = firexlite.only_run()
    out, err = process.communicate()
    said = {"submit": out + err}

    (firexlite.folder / "go on").touch()
    stopped = firexlite("resume", run.firex_id, **known)
    failed = firexlite("resume", run.firex_id, "--accept-new", **known)
    said |= {"stopped": stopped.out + stopped.err, "failed": failed.out + failed.err,
             "flame": firexlite("flame", run.firex_id).out, "flame --json": firexlite("flame", run.firex_id, "--json").out}

    assert (stopped.code, failed.code) == (5, 1), said
    assert f"[secret env:CANARY] {PLAIN} 1" in stopped.err and f"[secret env:CANARY] {PLAIN} 2" in stopped.err
    assert "another path: [secret env:CANARY]" in stopped.err
    assert f"refused: ('{PLAIN}', '[secret " in failed.err
    assert {where: traces_in(text) for where, text in said.items() if traces_in(text)} == {}
    assert {where for where, text in said.items() if PLAIN not in text} == set()
    assert leaks(firexlite.home) == {}
    [(error,)] = query(run, "SELECT error FROM attempt WHERE task = 1 AND outcome = 'failed'")
    assert PLAIN in error and "env:DIGITS" in error
    assert f"by a command {PLAIN}".encode() in b"".join(path.read_bytes() for path in run.path.glob("logs/*-*.log"))


# --- the filter ---------------------------------------------------------------------------------------------------------

FAMILY = COMMON + """
import signal
from firexlite import host

def session(pid):
    try:
        return os.getsid(pid)
    except ProcessLookupError:  # it has ended since it was seen
        return pid

def filters():  # none leads its session, as a worker does, of which another may come at any time
    return [pid for pid in host.descendants(os.getppid()) if session(pid) not in (pid, os.getsid(os.getppid()))]

@app.task(returns="count")
def family(token="none"):
    print("before", token)
    return len(filters())

@app.task(returns="count")
def murder(token):
    [pid] = filters()
    os.kill(pid, signal.SIGKILL)
    while host.start_time(pid) is not None:
        time.sleep(0.01)
    print("lost", token)

@app.task(returns="count")
def after(token):
    print("after", token)
    os.system("echo $CANARY")
    return len(filters())

@app.task
def close_all():
    for standard in 0, 1, 2:
        os.close(standard)
    value = Secret("env:CANARY").reveal()  # the first that its worker hears of it
    os.write(1, f"written to what was closed {value}".encode())

@app.task
def forks(plain):
    before = filters()
    if not (pid := os.fork()):
        print("in a fork", Secret("env:CANARY").reveal(), plain)
        os.system("echo $CANARY")
        print("and then", Secret("env:REDACTED").reveal(), flush=True)
        os.system("echo $CANARY $REDACTED")
        os._exit(0)
    os.waitpid(pid, 0)
    while set(filters()) - set(before):  # what the fork has had written
        time.sleep(0.01)

@app.task
def is_alone(plain):
    from firexlite import logs
    fork = logs._fork
    logs._fork = lambda: os.kill(-(2 ** 22 + 1), 0)  # raises OSError, as a fork does that finds no room
    print("without a filter", plain, Secret("env:CANARY").reveal())
    logs._fork = fork

@app.task(bind=True)
def dies(self, token):
    if self.attempt == 1:
        [its_filter] = filters()
        Path("filter").write_text(str(its_filter))
        os.kill(its_filter, signal.SIGSTOP)
        print("its last words", token)
        os.kill(os.getpid(), signal.SIGKILL)
    its_filter = int(Path("filter").read_text())
    os.kill(its_filter, signal.SIGCONT)
    while host.start_time(its_filter) is not None:
        time.sleep(0.01)

@app.task
def floods(token):
    for _ in range(40):
        print((token + "x" * 5000) * 20)

@app.task(bind=True)
def lingers(self, token):
    [its_filter] = filters()
    if not (daemon := os.fork()):
        os.setsid()
        time.sleep(60)
        os._exit(0)
    Path("pids").write_text(f"{os.getpid()} {os.getppid()} {daemon} {its_filter}")
    threading.Event().wait()
"""


below_the_runner = pytest.mark.skipif(host.IS_PORTABLE, reason="filters are found below the runner, which adopts them on Linux")


def log_of(run: RunDirectory) -> str:
    return "".join(path.read_text() for path in run.path.glob("logs/*-*.log"))


@below_the_runner
def test_only_a_worker_that_knows_a_secret_has_a_filter_and_it_gets_another_if_it_is_killed(firexlite: Command, plugin) -> None:
    plugin(FAMILY)
    words = ("submit", "--plugins", "services.py", "--workers", "1", "--chain")

    without = firexlite(*words, "family", **SECRETS)
    killed = firexlite(*words, "family,murder,after", "--token", "Secret(env:CANARY)", **SECRETS)

    assert (without.code, killed.code) == (0, 0), killed.err
    assert ("count  0" in without.out, "count  1" in killed.out) == (True, True)
    assert [task["log"]["lines"] for task in firexlite.flame(killed.firex_id)["tasks"] if task["log"]] == [
        ["before [secret env:CANARY]"], ["after [secret env:CANARY]", "[secret env:CANARY]"]]
    assert leaks(firexlite.home) == {}


@below_the_runner
def test_a_filter_outlives_its_worker_until_all_is_written(firexlite: Command, plugin) -> None:
    plugin(FAMILY)

    ended = firexlite("submit", "--plugins", "services.py", "--chain", "dies", "--token", "Secret(env:CANARY)", **SECRETS)

    assert ended.code == 0, ended.err
    assert log_of(RunDirectory(firexlite.home / ended.firex_id)) == "its last words [secret env:CANARY]\n"


@below_the_runner
def test_signals_for_others_do_not_end_a_filter(firexlite: Command, plugin) -> None:
    plugin(FAMILY + """
[its_filter] = filters()
for number in signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM:
    os.kill(its_filter, number)
print("written after all", os.environ["CANARY"])
""")

    ended = firexlite("submit", "--plugins", "services.py", "--chain", "family", "--token", "Secret(env:CANARY)", **SECRETS)

    assert (ended.code, ended.err) == (0, "written after all [secret env:CANARY]\n")


LAST_WORDS = COMMON + """
import signal, sys
from firexlite import host

threading.Thread(target=threading.Event().wait, daemon=True).start()  # so workers import this file themselves
if os.path.exists("imported"):
    filters = [pid for pid in host.descendants(os.getppid()) if pid != os.getpid()]
    for pid in filters:
        os.kill(pid, signal.SIGSTOP)
    # It goes on when this worker waits for it; or, if it never does, far too late.
    subprocess.Popen(["sh", "-c", 'sleep 0.3; kill -CONT "$@"', "sh", *map(str, filters)], start_new_session=True)
    raise RuntimeError("these are the last words")
Path("imported").touch()

@app.task
def use(token): pass
"""


def test_the_last_words_of_a_worker_are_in_its_log_when_it_has_ended(firexlite: Command, plugin) -> None:
    plugin(LAST_WORDS)

    ended = firexlite("submit", "--plugins", "services.py", "--chain", "use", "--token", "Secret(env:CANARY)", **SECRETS)

    assert ended.code != 0
    assert "these are the last words" in ended.err


def test_a_service_may_close_its_streams_fork_and_flood(firexlite: Command, plugin) -> None:
    plugin(FAMILY)
    words = ("submit", "--plugins", "services.py", "--workers", "1", "--plain", PLAIN, "--chain")

    closed = firexlite(*words, "close_all,forks", **SECRETS)
    alone = firexlite(*words, "is_alone,after", "--token=x", **SECRETS)
    forked = firexlite(*words, "forks", **SECRETS)
    flooded = firexlite(*words, "floods,after", "--token", "Secret(env:CANARY)", **SECRETS)

    runs = [firexlite.flame(ended.firex_id)["tasks"] for ended in (closed, forked, flooded, alone)]
    assert [ended.code for ended in (closed, forked, flooded, alone)] == [0] * 4, closed.err + forked.err + alone.err
    assert leaks(firexlite.home) == {}
    assert runs[0][0]["log"]["lines"] == ["written to what was closed [secret env:CANARY]"]
    assert f"in a fork [secret env:CANARY] {PLAIN}" in log_of(RunDirectory(firexlite.home / forked.firex_id))
    assert log_of(RunDirectory(firexlite.home / flooded.firex_id)).count("[secret env:CANARY]x") == 800
    assert runs[2][1]["log"]["lines"] == ["after [secret env:CANARY]", "[secret env:CANARY]"]
    assert [task["log"]["lines"] for task in runs[3]] == [
        ["[firexlite: the output that follows is left out: no process could be started to mask the secrets in it]"],
        ["after x", "[secret env:CANARY]"]]


@pytest.mark.parametrize("output", ["WorkerLog(pathlib.Path('log'))", "terminal"])
def test_what_a_filter_holds_back_is_there_when_its_process_ends(output: str, tmp_path: Path) -> None:
    code = f"""
import os, pathlib, time
from firexlite.logs import WorkerLog, terminal
from firexlite.secrets import Secret, vault

os.dup2(os.open("log", os.O_CREAT | os.O_WRONLY | os.O_APPEND), 2)
output = {output}
vault.when_learned = output.mask
os.write(1, b"It is: " + Secret("env:CANARY").reveal().encode()[:-1])
output.end()
pathlib.Path("seen").write_bytes(pathlib.Path("log").read_bytes())
while output._filter.is_alive():
    time.sleep(0.01)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env={**os.environ, "CANARY": CANARY}, timeout=20)

    assert (tmp_path / "seen").read_text() == "It is: [secret env:CANARY, cut off]"
    assert (tmp_path / "log").read_text() == "It is: [secret env:CANARY, cut off]"


@below_the_runner
def test_the_filter_ends_with_its_worker_even_if_a_daemon_holds_the_pipe(firexlite: Command, plugin) -> None:
    plugin(FAMILY)
    process = firexlite.start("submit", "--plugins", "services.py", "--workers", "1", "--chain", "lingers", "--token",
                              "Secret(env:CANARY)", **SECRETS)
    pids = firexlite.folder / "pids"
    wait_until(lambda: pids.exists() and len(pids.read_text().split()) == 4, what="body under way")
    worker, runner, daemon, its_filter = map(int, pids.read_text().split())

    try:
        os.kill(worker, signal.SIGSTOP)
        for pid in (process.pid, runner):  # the front first: it would end the daemon when the runner dies
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: host.start_time(its_filter) is None, limit_s=2.0, what="end of the filter")
        assert host.start_time(daemon) is not None
    finally:
        os.kill(daemon, signal.SIGKILL)


@pytest.mark.parametrize("cut", [1, 3, 4, len(CANARY.encode()) - 1])
def test_a_value_is_known_again_though_its_body_ends_in_the_midst_of_it(cut: int, firexlite: Command, plugin) -> None:
    plugin(COMMON + f"""
import sys

@app.task(returns="rest")
def begin(token):
    data = os.fsencode(token)
    os.write(1, b"It is: " + data[:{cut}])
    waits = "import os, sys, time\\nwhile not os.path.exists('go on'): time.sleep(0.01)\\nos.write(1, sys.stdin.buffer.read())"
    waits += "\\nopen('done', 'w')"
    rest = subprocess.Popen([sys.executable, "-c", waits], stdin=subprocess.PIPE)
    rest.stdin.write(data[{cut}:] + b"!\\n")
    rest.stdin.close()

@app.task
def end(plain):
    Path("go on").touch()
    wait_for_file("done")
""")

    ended = firexlite("submit", "--plugins", "services.py", "--workers", "1", "--chain", "begin,end", "--token",
                      "Secret(env:CANARY)", "--plain", PLAIN, **SECRETS)

    run = RunDirectory(firexlite.home / ended.firex_id)
    assert ended.code == 0, ended.err
    shown = "" if cut >= 4 else CANARY[:cut]
    assert log_of(run) == f"It is: {shown}[secret env:CANARY]!\n"
    first, second = firexlite.flame(ended.firex_id)["tasks"]
    assert (first["log"]["lines"], second["log"]["lines"]) == (
        [f"It is: {shown}"], ["[secret env:CANARY]!"])


def test_a_value_that_is_cut_off_by_the_end_of_its_run_is_masked_too(firexlite: Command, plugin) -> None:
    plugin(COMMON + """
@app.task
def breaks_off(token):
    os.write(1, b"It is: " + token.encode()[:-1])
""")

    ended = firexlite("submit", "--plugins", "services.py", "--chain", "breaks_off", "--token", "Secret(env:CANARY)", **SECRETS)

    assert log_of(RunDirectory(firexlite.home / ended.firex_id)) == "It is: [secret env:CANARY, cut off]"


@pytest.mark.parametrize("seed", range(20))
def test_no_value_gets_through_the_filter_whenever_it_is_asked_for_all_it_has(
        seed: int, tmp_path: Path, monkeypatch) -> None:
    chance = random.Random(seed)
    vault.forget()
    for name, value in {"A": "abcdef", "B": "bcdefabcx", "C": "aaaaaab"}.items():
        monkeypatch.setenv(name, value)
        Secret(f"env:{name}").reveal()
    data = "".join(chance.choice(["abcdef", "bcdefabcx", "aaaaaab", "a", "ab", "abc", "xyz"]) for _ in range(60)).encode()
    source, into = os.pipe()
    asks, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    log = os.open(tmp_path / "log", os.O_CREAT | os.O_WRONLY)
    at_work = _Masking(source, control, log)

    for i in range(0, len(data), 4):
        os.write(into, data[i:i + 4])
        if chance.random() < 0.5:
            at_work._drain()
    os.close(into)
    at_work.run()

    written = (tmp_path / "log").read_text()
    assert not any(value in written for value in ("abcdef", "bcdefabcx", "aaaaaab"))
    assert "[secret env:" in written and "xyz" in written
    for fd in (source, log):
        os.close(fd)
    control.close()
    asks.close()
    vault.forget()


def test_a_value_beyond_ascii_is_masked_where_the_locale_has_nothing_else(firexlite: Command, plugin) -> None:
    plugin(COMMON + """
@app.task
def tell(token, key):
    print("printed", token, key, "\\ud83d \\udcff", os.environ["PLAIN"])
    logging.getLogger("service").warning("logged %s %r %s", token, token, json.dumps(token))
    os.system("echo $CANARY")
""")

    (firexlite.folder / "key").write_text(f"é{KEY}é", "utf-8")

    ended = firexlite("submit", "--plugins", "services.py", "--chain", "tell", "--token", "Secret(env:CANARY)",
                      "--", "--key", "Secret(file:key)", **SECRETS, PLAIN="é",
                      LC_ALL="POSIX", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0")

    assert ended.code == 0, ended.err
    assert leaks(firexlite.home) == {}
    [log] = RunDirectory(firexlite.home / ended.firex_id).path.glob("logs/*-*.log")
    first, second, third = log.read_bytes().splitlines()
    assert first == "printed [secret env:CANARY] [secret file:key] \\ud83d \udcff é".encode("utf-8", "surrogateescape")
    assert second.count(b"[secret ") == 3 and third == b"[secret env:CANARY]"


AT_IMPORT = COMMON + """
import sys
from firexlite import InputConverter

def tell(where):
    for value in os.environ["CANARY"], os.environ["PLAIN"]:
        print(where, value, file=sys.__stderr__)
        sys.stdout.buffer.write(f"{where} {value}\\n".encode())
        sys.stdout.flush()
        for part in value[:4], value[4:]:
            os.write(1, part.encode())
        os.write(2, b"\\n")
    subprocess.run(["sh", "-c", 'echo "$0" "$CANARY" "$PLAIN"; sleep 0.01; echo "$0" "$CANARY" >&2', where], check=True)
    if not os.fork():
        print(where, os.environ["CANARY"], flush=True)
        os._exit(0)
    os.wait()

tell("at import")

@InputConverter.register
def convert(kwargs):
    tell("in a converter")

@app.task
def use(token, late=Secret("env:REDACTED")): pass
"""


def test_what_is_printed_at_import_is_masked_and_stands_where_it_belongs(firexlite: Command, plugin) -> None:
    plugin(AT_IMPORT)
    known = {"CANARY": CANARY, "REDACTED": SECRETS["REDACTED"], "PLAIN": PLAIN}
    words = ("submit", "--plugins", "services.py", "--token", "Secret(env:CANARY)")

    done = firexlite(*words, "--chain", "use", **known)
    refused = firexlite(*words, "--chain", "no_such", **known)
    plugin(AT_IMPORT + "threading.Thread(target=threading.Event().wait, daemon=True).start()")
    with_threads = firexlite(*words, "--chain", "use", **known)
    plugin(AT_IMPORT + "raise RuntimeError(os.environ['CANARY'])")
    broken = firexlite(*words, "--chain", "use", **known)

    assert [ended.code for ended in (done, refused, with_threads, broken)] == [0, 2, 0, 2]
    for ended in (done, refused, with_threads, broken):
        assert traces_in(ended.out + ended.err) == []
        assert ended.err.count("at import [secret env:CANARY]") == 5
        assert ended.err.count("\n[secret env:CANARY]\n") == (2 if ended in (done, with_threads) else 1)
    assert done.err.count(f"in a converter {PLAIN}") == 2
    assert refused.err.splitlines()[-1].startswith("firexlite: ")
    assert "FireX ID" in done.out.splitlines()[0] and "import" not in done.out


# --- what is refused ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("words, said", [
    (["--token", "Secret(env:NONE)"], "the secret env:NONE cannot be had: the environment variable NONE is not set"),
    (["--redact", "NONE", "--token", "x"], "the secret env:NONE cannot be had: the environment variable NONE is not set"),
    (["--token", "x", "--late", "Secret(file:none)"],
     "the secret file:none cannot be had: the file none cannot be read (No such file or directory)"),
    (["--token", "x"], "the secret env:LATE cannot be had: the environment variable LATE is not set"),  # a default
    (["--token", "Secret(file:.)"], "the secret file:. cannot be had: the file . cannot be read (Is a directory)"),
    (["--token", "Secret(file:/dev/zero)"], "the secret file:/dev/zero cannot be had: /dev/zero is no file"),
    (["--token", "Secret(file:pipe)"], "the secret file:pipe cannot be had: pipe is no file"),
    (["--token", "Secret(file:binary)"], "the secret file:binary cannot be had: the file binary is no text"),
    (["--token", "Secret(file:long)"], "the secret file:long cannot be had: it is longer than 32 KiB"),
    (["--token", "Secret(env:SHORT)"], "the secret env:SHORT cannot be had: it has fewer than 6 characters, "
                                       "too few to be masked wherever it stands"),
    (["--token", "Secret(Xq7vK9wZ)"], "a Secret refers to its value as 'env:NAME' or 'file:PATH'"),
    (["--token", f"Bearer {CANARY}", "--redact", "CANARY"],
     "the value of env:CANARY stands in the command line, which the journal keeps and other users can see; "
     "pass --token 'Secret(env:CANARY)' in its place"),
    (["--redact", "CANARY", "--plugins", "broken.py", "--token", "x"],
     "plugin 'broken.py' failed to import at line 2 (`raise RuntimeError('no ' + os.environ['CANARY'])`): "
     "RuntimeError: no [secret env:CANARY]"),
    (["--redact", "CANARY", "--plugins", "strict.py", "--token", "x"],
     "the arguments were refused: Converter refuse failed: no [secret env:CANARY]"),
])
def test_what_cannot_be_kept_secret_is_refused_in_a_sentence_and_nothing_is_made(
        words: list[str], said: str, tmp_path: Path, warm: Warm) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "binary").write_bytes(b"\xff" * 20)
    (tmp_path / "long").write_text("x" * (LONGEST + 1))
    (tmp_path / "broken.py").write_text("import os\nraise RuntimeError('no ' + os.environ['CANARY'])")
    (tmp_path / "strict.py").write_text("""
import os
from firexlite import ArgumentConversionException, InputConverter

@InputConverter.register
def refuse(kwargs): raise ArgumentConversionException("no " + os.environ["CANARY"])
""")
    (tmp_path / "services.py").write_text("""
from firexlite import Secret, app

@app.task
def use(token, late=Secret("env:LATE")): raise SystemExit("it ran")
""")
    env = {"FIREXLITE_HOME": str(tmp_path / "home"), "CANARY": CANARY, "SHORT": " 12345 "}

    ended = warm("submit", "--plugins", "services.py", "--chain", "use", *words, env=env, folder=str(tmp_path))

    assert (ended.code, ended.out, ended.err) == (2, "", f"firexlite: {said}\n")
    assert not (tmp_path / "home").exists()


def test_the_value_of_a_default_may_not_stand_in_the_command_line_either(tmp_path: Path, warm: Warm) -> None:
    (tmp_path / "services.py").write_text("""
from firexlite import Secret, app

@app.task
def use(token, late=Secret("env:LATE")): raise SystemExit("it ran")
""")

    ended = warm("submit", "--plugins", "services.py", "--chain", "use", "--token", f"x{KEY}",
                 env={"FIREXLITE_HOME": str(tmp_path / "home"), "LATE": KEY}, folder=str(tmp_path))

    assert (ended.code, ended.out) == (2, "")
    assert ended.err == ("firexlite: the value of env:LATE stands in the command line, which the journal keeps and other users "
                         "can see; pass --token 'Secret(env:LATE)' in its place\n")
    assert not (tmp_path / "home").exists()


def test_a_folder_may_have_the_name_of_a_secret_and_a_resume_is_refused_that_tells_one(
        firexlite: Command, monkeypatch) -> None:
    folder = firexlite.folder / KEY
    folder.mkdir()
    (folder / "services.py").write_text("""
from firexlite import app

@app.task
def fail(): raise ValueError
""")
    monkeypatch.setattr(firexlite, "folder", folder)

    failed = firexlite("submit", "--plugins", "services.py", "--chain", "fail", "--redact", "DIGITS", DIGITS=KEY)
    before = digest_of(firexlite.home)
    refused = firexlite("resume", failed.firex_id, "--json_file", f"{KEY}.json", DIGITS=KEY)

    assert failed.code == 1, failed.err
    assert leaks(firexlite.home) == {}
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith("firexlite: the value of env:DIGITS stands in the command line, ")
    assert digest_of(firexlite.home) == before


# --- values of the journal ----------------------------------------------------------------------------------------------

@pytest.fixture
def canary(monkeypatch) -> Iterator[str]:
    """The value of a secret that this process has read."""
    monkeypatch.setenv("CANARY", CANARY)
    vault.forget()
    yield Secret("env:CANARY").reveal()
    vault.forget()


DATA = CANARY.encode()
VALUES = [CANARY, f"<{CANARY}>{CANARY}", {CANARY: 1}, {"a": [CANARY]}, (CANARY,), {CANARY}, DATA, bytearray(DATA),
          b"\xff" + DATA + b"\0", {1: CANARY}, {"$type": CANARY}, Path("/x") / CANARY, json.dumps(CANARY), repr(CANARY),
          repr({"it's": json.dumps({"x": CANARY})}), str(DATA), json.dumps([json.dumps([CANARY])]),
          base64.b64encode(b"user:" + DATA).decode(), f"\ud83d{CANARY}\ude00"]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_what_is_stored_holds_no_secret_and_comes_back_as_it_was(value: object, canary: str) -> None:
    text = encode(value)

    assert traces_in(text) == []
    assert decode(text) == value and type(decode(text)) is type(value)
    assert "[secret " in str(display(text)) and traces_in(repr(display(text))) == []
    vault.forget()
    assert traces_in(encode(value)) != [] or isinstance(value, (bytes, bytearray))  # which are stored as base64


@pytest.mark.parametrize("value, stored", [
    (739184625017, True), (5739184625017, True), (7391.84625017, False), (Decimal("739184625017.5"), True)])
def test_a_number_may_be_a_secret(value: object, stored: bool, monkeypatch, canary: str) -> None:
    monkeypatch.setenv("DIGITS", KEY)
    Secret("env:DIGITS").reveal()

    text = encode([value])

    assert ("env:DIGITS" in text) == stored
    assert decode(text) == [value] and type(decode(text)[0]) is type(value)
    assert traces_in(text + repr(display(text))) == []


def test_a_secret_that_is_learnt_while_a_value_is_written_is_masked_in_all_of_it(canary: str, monkeypatch) -> None:
    vault.forget()

    text = encode([CANARY, Secret("env:CANARY"), ValueError(CANARY)])

    assert traces_in(text) == []
    assert decode(text)[:2] == [CANARY, CANARY]


# All that some library writes in another way, between marks that each leaves alone.
MARKED = "Xq7vK9wZ \"/é\U0001f600<&>+%'\\\n~*!(x)[];:$Bm4tR8pL"

LIBRARIES = {
    "json.dumps": json.dumps(MARKED),
    "json.dumps, not ascii": json.dumps(MARKED, ensure_ascii=False),
    "encoding/json of Go": json.dumps(MARKED, ensure_ascii=False).replace("<", r"\u003c").replace(">", r"\u003e")
                                                                 .replace("&", r"\u0026"),
    "json_encode of PHP": json.dumps(MARKED).replace("/", r"\/"),
    "json_encode of PHP, not ascii": json.dumps(MARKED, ensure_ascii=False).replace("/", r"\/"),
    "repr": repr(MARKED), "ascii": ascii(MARKED), "repr of bytes": repr(MARKED.encode()),
    "ascii of a longer text": ascii(f"{MARKED}'\""), "an ASCII stream": MARKED.encode("ascii", "backslashreplace").decode(),
    "html.escape": html.escape(MARKED), "html.escape, no quotes": html.escape(MARKED, quote=False),
    "markupsafe": html.escape(MARKED, quote=False).replace('"', "&#34;").replace("'", "&#39;"),
    "htmlspecialchars of PHP": html.escape(MARKED, quote=False).replace('"', "&quot;").replace("'", "&#039;"),
    "xml.sax.saxutils": saxutils.escape(MARKED, {'"': "&quot;", "'": "&apos;"}),
    "ElementTree": ElementTree.tostring(ElementTree.Element("x", {"y": MARKED})).decode().replace("&#10;", "\n"),
    "numeric entities": html.escape(MARKED).encode("ascii", "xmlcharrefreplace").decode(),
    "quote": urllib.parse.quote(MARKED), "quote_plus": urllib.parse.quote_plus(MARKED),
    "quote, nothing safe": urllib.parse.quote(MARKED, ""),
    "encodeURIComponent": urllib.parse.quote(MARKED, "!'()*"), "encodeURI": urllib.parse.quote(MARKED, "!'()*;,/?:@&=+$#"),
    "lower case": re.sub("%..", lambda found: found[0].lower(), urllib.parse.quote(MARKED, "")),
    "a form of a browser": urllib.parse.quote_plus(MARKED, "*").replace("~", "%7E"),
    "requests": urllib.parse.quote(MARKED, "!#$&'()*+,/:;=?@[]~"),
    "requests, if each % could be one of a URL": urllib.parse.quote(MARKED, "!#$%&'()*+,/:;=?@[]~"),
    "shlex.quote": shlex.quote(MARKED), "sh -x": MARKED.replace("'", r"'\''"),
    "base64": base64.b64encode(f"user:{MARKED}".encode()).decode(),
}


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_value_is_known_again_in_what_libraries_make_of_it(library: str, monkeypatch) -> None:
    monkeypatch.setenv("CANARY", MARKED)
    vault.forget()
    text = f"[{LIBRARIES[library]}]"
    assert traces_in(masked(text)) != []

    Secret("env:CANARY").reveal()

    assert "[secret " in masked(text) and traces_in(masked(text)) == []
    assert traces_in(vault.known.mask_bytes(text.encode())) == []  # type: ignore[union-attr]
    assert traces_in(encode([text])) == [] and decode(encode([text])) == [text]
    assert traces_in(masked(json.dumps([text]))) == [] and traces_in(masked(repr(text))) == []
    vault.forget()


def test_the_place_and_the_class_of_an_exception_hold_no_secret(canary: str, firexlite: Command, plugin, monkeypatch) -> None:
    monkeypatch.setenv("NAME", "identifier")
    Secret("env:NAME").reveal()
    plugin(COMMON + """
@app.task
def raises(token):
    names = {"Wrong": type(f"Wrong_{token}", (Exception,), {})}
    exec(compile("def identifier(): raise Wrong('on purpose')", f"/{token}/x.py", "exec"), names)
    names["identifier"]()
""")

    failed = firexlite("submit", "--plugins", "services.py", "--chain", "raises", "--token", "Secret(env:CANARY)", **SECRETS)
    code = compile("def identifier(): raise ValueError", f"/{CANARY}/x.py", "exec")
    functions: dict = {}
    exec(code, functions)
    with pytest.raises(ValueError) as caught:
        functions["identifier"]()
    stored = encode_error(caught.value)

    assert failed.code == 1
    assert "Wrong_[secret env:CANARY]: on purpose\n  at /[secret env:CANARY]/x.py:1 in identifier\n" in failed.err
    assert leaks(firexlite.home) == {} and traces_in(failed.err + json.dumps(firexlite.flame(failed.firex_id))) == []
    assert display_error(stored)["where"] == {"file": "/[secret env:CANARY]/x.py", "line": 1, "function": "[secret env:NAME]"}
    assert traces_in(encode_error(decode_error(stored))) == []


class Stubborn(Exception):
    """Fails if it is to be shown."""

    def __str__(self) -> str:
        raise ValueError(CANARY)


def test_what_is_told_of_values_that_cannot_be_stored_holds_no_secret(canary: str, monkeypatch) -> None:
    with pytest.raises(NotStorable) as refused:
        encode({"x" * 70 + CANARY: object()})
    assert traces_in(str(refused.value)) == [] and "x" * 20 in str(refused.value)
    monkeypatch.setenv("NAME", "identifier")
    Secret("env:NAME").reveal()
    with pytest.raises(NotStorable, match="the name of an attribute is a secret"):
        encode(SimpleNamespace(an_identifier=1))

    for error in (ValueError(CANARY, object()), Stubborn(CANARY), KeyError(CANARY)):
        setattr(error, CANARY, 1)
        error.__dict__["kept"] = [CANARY]
        error.__cause__ = OSError(2, CANARY, CANARY)
        text = encode_error(error)
        assert traces_in(text + repr(display_error(text))) == []
        assert decode_error(text).kept == [CANARY]  # type: ignore[attr-defined]
        assert traces_in(encode_error(decode_error(text))) == []


def test_a_chain_is_known_again_by_what_its_secret_refers_to_and_not_by_its_value(canary: str, monkeypatch) -> None:
    before = canonical([f"Bearer {canary}"])
    vault.forget()
    monkeypatch.setenv("CANARY", "another value")
    renewed = Secret("env:CANARY").reveal()

    assert canonical([f"Bearer {renewed}"]) == before
    assert canonical([f"Bearer {CANARY}"]) != before
    assert decode('{"$type": "secret", "value": ["Bearer ", "env:CANARY", ""]}') == f"Bearer {renewed}"


@pytest.mark.parametrize("seed", range(20))
def test_a_stream_is_masked_however_it_is_cut(seed: int, canary: str) -> None:
    chance = random.Random(seed)
    needles = Needles({"env:A": "abcdef", "env:B": "abcdefghi", "env:C": "fghijk", "env:D": "aaaaaab"})
    parts = ["abcdef", "abcdefghi", "fghijk", "aaaaaab", "a", "abc", "ghi", "x", "aaaa", "YWJjZGVm"]
    data = "".join(chance.choice(parts) for _ in range(60)).encode()

    written, held = b"", b""
    rest = data
    while rest:
        size = chance.randint(1, 9)
        out, held = needles.mask_stream(held + rest[:size])
        assert len(held) < 20
        written, rest = written + out, rest[size:]

    assert written + needles.mask_bytes(held) == needles.mask_bytes(data)


def test_texts_without_a_secret_are_left_alone(canary: str) -> None:
    for text in ("", "Xq7vK9wZ", CANARY[:-1], PLAIN):
        assert masked(text) == text
        assert encode(text) == json.dumps(text)
    assert masked(f"{PLAIN} {CANARY}") == f"{PLAIN} [secret env:CANARY]"


def test_of_several_values_the_longest_is_masked_and_none_needs_the_space_around_it() -> None:
    needles = Needles({"env:A": "abcdef", "env:B": "abcdefghi", "env:C": "  padded by space\t"})

    assert needles.mask("abcdefghi") == "[secret env:B]"
    assert needles.mask("xabcdefgh") == "x[secret env:A]gh"
    assert needles.mask("(padded by space)") == "([secret stripped(env:C)])"


def test_a_secret_is_no_argument_of_any_other_form() -> None:
    for reference in ("NAME", "env:", "file:", "pipe:x", "", "env:\0"):
        with pytest.raises(BadInput, match=r"^a Secret refers to its value as 'env:NAME' or 'file:PATH'$"):
            Secret(reference)
    assert Secret.in_argument("Secret(env:A)") == Secret.in_argument(" Secret( 'env:A' ) ") == Secret("env:A")
    assert Secret.in_argument("a Secret(env:A)") is None
