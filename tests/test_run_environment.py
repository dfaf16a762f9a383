"""What a body finds around it: the uid, loggers, logs that stay small, `run.json`, built-in services, and what it cost."""
from __future__ import annotations

import datetime
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import query

from firexlite import get_task_logger, host, measure, trimming
from firexlite.codec import decode, display, encode
from firexlite.logs import read_stretch
from firexlite.uid import FireXIdParts, Uid, be_in, find_all_firex_ids_from_str, is_firex_id

ID = "FireX-li-261123-101500-4711"


# --- the uid ----------------------------------------------------------------------------------------------------

def test_a_uid_is_its_text_and_knows_its_parts() -> None:
    uid = Uid(ID)

    assert uid == ID and repr(uid) == str(uid) == f"{uid}" == uid.identifier == ID and {uid: 1}[ID] == 1
    assert (uid.user, uid.timestamp) == ("li", datetime.datetime(2026, 11, 23, 10, 15, tzinfo=datetime.timezone.utc))
    uid.add_viewers(logs_url="https://logs.example", other="https://other.example")
    assert uid.logs_url == "https://logs.example"
    assert is_firex_id(Uid()) and not is_firex_id("FireX-li-261323-101500-4711") and not is_firex_id("nothing")
    assert FireXIdParts.from_str(ID).firex_id() == ID
    assert find_all_firex_ids_from_str(f"{ID}, {ID}/logs and FireX-mo-261123-101500-1") == [ID, "FireX-mo-261123-101500-1"]


def test_the_journal_holds_no_path_of_a_uid_and_a_reader_gets_that_of_now(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("FIREXLITE_HOME", str(tmp_path / "home"))
    be_in(tmp_path / "elsewhere" / ID)
    uid = Uid(ID)
    uid.add_viewers(page="https://example.com")
    text = encode({"uid": uid, "plain": Uid(ID)})

    assert str(tmp_path) not in text and display(text) == {"uid": ID, "plain": ID}
    again = decode(text)["uid"]
    assert type(again) is Uid and again.viewers == {"page": "https://example.com"}
    assert again.logs_dir == str(tmp_path / "elsewhere" / ID) and again.base_logging_dir == str(tmp_path / "elsewhere")
    be_in(None)
    assert again.logs_dir == str(tmp_path / "home" / ID)


@pytest.mark.parametrize("text", ['"../../etc"', '["x", {}]', f'["{ID}", {{"a": 1}}]', "7"])
def test_what_is_no_firex_id_becomes_no_uid(text: str) -> None:
    from firexlite.errors import NotReadable
    with pytest.raises(NotReadable):
        decode(f'{{"$type": "Uid", "value": {text}}}')


ENVIRONMENT = """
import os
from firexlite import app, get_task_logger, InjectArgs
logger = get_task_logger(__name__)

@app.task(bind=True, returns=["same", "paths", "debug_dir"])
def where(self, uid):
    run = uid.logs_dir
    paths = [self.task_logfile, self.worker_log_file, self.task_log_url, self.logs_dir_for_worker, self.task_logging_dirpath]
    return (uid == self.uid == self.abog["uid"], [os.path.relpath(path, run) for path in paths],
            [os.path.isdir(uid.debug_dir), os.path.relpath(uid.resources_dir, run)])

@app.task(bind=True, returns="below")
def parent(self):
    assert self.uid is None, "as in FireX, if the service does not take it"
    return self.enqueue_child_and_get_results(InjectArgs(**self.abog) | where.s())
"""


def test_a_body_finds_its_run_and_its_log(firexlite, plugin) -> None:
    plugin(ENVIRONMENT)
    done = firexlite("submit", "--plugins", "services.py", "--chain", "parent")
    assert done.code == 0, done.err

    below = json.loads(firexlite.only_run().run_json.read_text())["results"]["chain_results"]["below"]
    assert below["same"] and below["debug_dir"] == [True, "firex_internal/resources"]
    log, *others = below["paths"]
    assert others == [log, log, "logs", "logs"] and "1-" in log
    [(arguments,)] = query(firexlite.only_run(), "SELECT arguments FROM task WHERE id = 1")
    assert str(firexlite.home) not in json.dumps(json.loads(arguments)["uid"])


# --- loggers ----------------------------------------------------------------------------------------------------

LOGS = """
import logging, sys
from firexlite import app, get_task_logger
logger = get_task_logger("kitchen")

@app.task(bind=True)
def cook(self):
    print("printed"); sys.stderr.write("to stderr\\n")
    logger.debug("a %s", "detail"); logger.info("a step"); logger.print("for %s", "people"); logger.raw("<b>raw</b>")
    logging.getLogger("library").debug("noise"); logging.getLogger("library").info("news")
    get_task_logger("late").debug("late")
    if self.attempt == 1:
        import os
        os.kill(os.getpid(), 9)

@app.task
def serve():
    print("\\033[31mserved\\033[0m")
"""


def test_all_a_task_prints_and_logs_is_in_its_log_and_can_be_read_in_the_terminal(firexlite, plugin) -> None:
    plugin(LOGS)
    done = firexlite("submit", "--plugins", "services.py", "--chain", "cook,serve", "--workers", "1")
    assert done.code == 0, done.err

    whole = firexlite("logs", done.firex_id).out.splitlines()
    heads = [line for line in whole if line.startswith("--- ")]
    assert heads[0] == "--- the run" and [head.partition(",")[0] for head in heads[1:]] == [
        "--- #1 cook", "--- #1 cook", "--- #2 serve"]
    assert ["attempt 1" in heads[1] and heads[1].endswith("lost"), "attempt 2" in heads[2]] == [True, True]
    run_log = "\n".join(whole[1:whole.index(heads[1])])
    assert "incarnation 1 begins: process " in run_log and "died of signal 9 (SIGKILL)" in run_log
    assert "incarnation 1 ends, the run is succeeded" in run_log
    assert whole[-1] == "served"

    cooked = firexlite("logs", done.firex_id, "cook").out.splitlines()
    said = [line if line[2:3] != ":" else line.partition(" ")[2] for line in cooked if not line.startswith("---")]
    once = ["printed", "to stderr", "DEBUG kitchen: a detail", "INFO kitchen: a step", "PRINT kitchen: for people",
            "<b>raw</b>", "INFO library: news", "DEBUG late: late"]
    assert said == once * 2
    assert firexlite("logs", done.firex_id, "2").out.splitlines()[1:] == ["served"]


@pytest.mark.parametrize("asked, told", [
    ("cok", "has no task 'cok'. Did you mean 'cook'?"), ("7", "has no task '7'"),
    ("rest", "has not begun, so it has no output")])
def test_a_task_that_is_not_there_has_no_log(firexlite, plugin, asked: str, told: str) -> None:
    plugin("from firexlite import app\n@app.task\ndef cook(): raise ValueError\n@app.task\ndef rest(): pass\n")
    done = firexlite("submit", "--plugins", "services.py", "--chain", "cook,rest")

    refused = firexlite("logs", done.firex_id, asked)
    assert (refused.code, refused.out) == (2, "") and told in refused.err


def test_importing_firexlite_changes_nothing_of_logging() -> None:
    script = "import firexlite, logging; print(hasattr(logging.Logger, 'print'), logging.getLevelName(35)); "
    script += "firexlite.get_task_logger('x'); print(hasattr(logging.Logger, 'print'), logging.getLevelName(35))"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True).stdout
    assert out == "False Level 35\nTrue PRINT\n"


def test_a_record_of_print_names_the_line_that_logged_it(caplog: pytest.LogCaptureFixture) -> None:
    get_task_logger("place").print("here")  # type: ignore[attr-defined]

    [record] = caplog.records
    assert (record.levelname, record.filename, record.levelno) == ("PRINT", Path(__file__).name, logging.WARNING + 5)


# --- logs stay small ----------------------------------------------------------------------------------------------

FLOOD = """
import os, time
from firexlite import app

@app.task(bind=True)
def flood(self, megabytes):
    print("the first line")
    os.system(f"yes 'and on and on it goes' 2>/dev/null | head -c {int(megabytes) * 1_100_000}")
    print("the last line")
    while os.stat(self.task_logfile).st_blocks * 512 > 3_000_000:
        time.sleep(0.01)  # until the front has given back what nobody needs
    if self.attempt == 1 and os.path.exists("die"):
        os.kill(os.getpid(), 9)

@app.task
def before(): print("said before")

@app.task
def after(): print("said after")
"""
NOTE_OF_GAP = "[firexlite: "


@pytest.mark.parametrize("secret", [{}, {"MINE": "sesame42"}])
def test_of_too_much_output_the_first_and_the_last_part_stay(firexlite, plugin, secret: dict[str, str]) -> None:
    plugin(FLOOD)
    done = firexlite("submit", "--plugins", "services.py", "--chain", "before,flood,after", "--megabytes", "60", "--workers",
                     "1", *(["--redact", "MINE"] if secret else []), FIREXLITE_LOG_LIMIT="1M", **secret)
    assert done.code == 0, done.err

    before, flood, after = firexlite.flame(done.firex_id)["tasks"]
    lines = flood["log"]["lines"]
    assert (lines[0], lines[-1]) == ("the first line", "the last line")
    [gap] = [line for line in lines if line.startswith(NOTE_OF_GAP)]
    left_out = int(gap.split()[1].replace(",", ""))
    run = firexlite.only_run()
    [(start, end)] = query(run, "SELECT log_start, log_end FROM attempt WHERE task = 2")
    assert end - start - len(gap) - 2 == 1 << 20
    assert left_out + (1 << 20) == 66_000_000 + len("the first line\nthe last line\n")
    assert before["log"]["lines"] == ["said before"] and after["log"]["lines"] == ["said after"]
    assert sum(path.stat().st_size for path in run.logs.iterdir()) < 1_200_000


def test_what_a_killed_worker_left_is_shortened_too(firexlite, plugin) -> None:
    plugin(FLOOD)
    (firexlite.folder / "die").touch()
    done = firexlite("submit", "--plugins", "services.py", "--chain", "flood,after", "--megabytes", "8", "--workers", "1",
                     FIREXLITE_LOG_LIMIT="1M", timeout=60)
    assert done.code == 0, done.err

    out = firexlite("logs", done.firex_id).out
    assert out.count("the first line") == out.count("the last line") == out.count(NOTE_OF_GAP) == 2
    assert out.endswith("said after\n")
    run = firexlite.only_run()
    assert sum(path.stat().st_size for path in run.logs.iterdir()) < 4_000_000


@pytest.mark.parametrize("limit", ["many", "-1", "100", "1T"])
def test_a_limit_that_is_none_is_refused_before_anything_is_there(firexlite, limit: str) -> None:
    refused = firexlite("submit", "--chain", "nop", FIREXLITE_LOG_LIMIT=limit)

    assert refused.code == 2 and f"FIREXLITE_LOG_LIMIT is '{limit}'; it takes a number of bytes from 4096 on" in refused.err
    assert firexlite.runs() == []


def test_limits_have_units(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for text in ("", "0", "5000", "64k", "2M", "1G"):
        monkeypatch.setenv("FIREXLITE_LOG_LIMIT", text)
        found.append(trimming.log_limit())
    assert found == [16 << 20, 0, 5000, 64 << 10, 2 << 20, 1 << 30]


LIMIT = 256 << 10


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log with a stretch of 1,000 bytes, and one of 4 MiB that has begun behind it."""
    path = tmp_path / "1-0.log"
    path.write_bytes(b"o" * 1000 + b"".join(b"%9d\n" % n for n in range(400_000))[:4 << 20])
    return path


def test_a_hole_keeps_every_byte_in_its_place_and_is_closed_later(log: Path) -> None:
    whole = log.read_bytes()
    trimming.relieve(log, LIMIT, lambda: 1000)
    holed = log.read_bytes()

    assert len(holed) == len(whole) and log.stat().st_blocks * 512 < LIMIT + 4 * trimming.BLOCK
    assert holed[:1000 + LIMIT // 2] == whole[:1000 + LIMIT // 2] and holed[-LIMIT // 2:] == whole[-LIMIT // 2:]
    text, before = read_stretch(log, 1000, None, None)
    assert before == 0 and text.count(NOTE_OF_GAP) == 1 and "\0" not in text
    with open(log, "ab") as more:
        more.write(b"more")
    trimming.shorten(log, 1000, LIMIT)
    assert log.read_bytes()[:1000] == b"o" * 1000 and log.read_bytes().endswith(whole[-100:] + b"more")
    assert log.stat().st_size == 1000 + LIMIT + len(trimming.note(len(whole) + 4 - 1000 - LIMIT))


def test_where_no_hole_can_be_made_the_middle_is_cut_at_once(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = log.read_bytes()
    monkeypatch.setattr(host, "punch_hole", lambda fd, start, length: False)
    trimming.relieve(log, LIMIT, lambda: 1000)

    assert log.read_bytes() == (whole[:1000 + LIMIT // 2] + trimming.note(len(whole) - 1000 - LIMIT).encode()
                                + whole[-LIMIT // 2:])


def test_no_hole_is_made_in_what_has_begun_after_the_look(log: Path) -> None:
    whole = log.read_bytes()

    def start_of() -> int:
        with open(log, "ab") as file:
            file.write(b"n" * (4 << 20))
        return len(whole)  # the attempt ended meanwhile, and another began

    trimming.relieve(log, LIMIT, start_of)
    assert log.read_bytes() == whole + b"n" * (4 << 20)


def test_a_hole_behind_which_a_stretch_begins_stays(log: Path) -> None:
    trimming.relieve(log, LIMIT, lambda: 1000)
    before = log.read_bytes()

    trimming.close_holes(log, since=len(before))
    assert log.read_bytes() == before
    trimming.close_holes(log, since=1000)
    assert NOTE_OF_GAP.encode() in log.read_bytes() and b"\0" not in log.read_bytes()


def test_a_watch_asks_nobody_as_long_as_logs_are_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIREXLITE_LOG_LIMIT", str(LIMIT))
    asked: list[tuple[int, int]] = []
    watch = trimming.Watch(tmp_path, lambda *of: asked.append(of) or 0)
    log = tmp_path / "3-7.log"
    log.write_bytes(b"x" * LIMIT)
    (tmp_path / "run.log").write_bytes(b"x" * 10 * LIMIT)

    watch.look()
    assert asked == []
    with open(log, "ab") as file:
        file.write(b"x" * (4 << 20))
    watch.look()
    watch.look()
    assert asked == [(3, 7)] and log.stat().st_blocks * 512 < 1 << 20


# --- what a service shows while it runs -----------------------------------------------------------------------------

SHOWS = """
import re, time
from firexlite import app, flame, flame_collapse

@app.task(bind=True, flame=["given", "status"])
@flame("once", lambda *words, task: f"{task.short_name}: {' '.join(words)}", bind=True, on_next=True, on_next_args=("a", "b"))
@flame_collapse({"nop": ["self", "descendants"], re.compile("n.*"): {"targets": ["self"], "operation": "expand"}})
def show(self, given):
    self.send_firex_html(status="<b>half</b>", later="<i>x</i>")
    time.sleep(0.001)
    self.send_flame_html(later="<i>y</i>")
    self.send_flame({"given": "changed"})

@app.task(bind=True)
def fold(self):
    self.send_display_collapse()
"""


def test_a_service_shows_what_it_likes_while_it_runs(firexlite, plugin) -> None:
    plugin(SHOWS)
    done = firexlite("submit", "--plugins", "services.py", "--chain", "show,fold", "--given", "x")
    assert done.code == 0, done.err
    show, fold = firexlite.flame(done.firex_id)["tasks"]

    shown = show["flame_data"]
    here = {"type": "task_uuid", "value": show["uuid"]}
    assert {key: shown[key]["value"] for key in ("given", "status", "later", "once")} == {
        "given": "x", "status": "<b>half</b>", "later": "<i>y</i>", "once": "show: a b"}
    assert shown["_default_display"]["value"] == [
        {"relative_to_nodes": {"type": "task_name", "value": "nop"}, "source_node": here, "operation": "collapse",
         "targets": ["self", "descendants"]},
        {"relative_to_nodes": {"type": "task_name_regex", "value": "n.*"}, "source_node": here, "operation": "expand",
         "targets": ["self"]}]
    assert (shown["given"]["order"], shown["_default_display"]["order"], shown["once"]["order"]) == (0, 0, 1)
    assert show["started"] <= shown["status"]["order"] < shown["later"]["order"] <= show["started"] + show["runtime"]
    [operation] = fold["flame_data"]["_default_display"]["value"]
    assert operation["targets"] == ["self"] and operation["source_node"]["value"] == fold["uuid"]
    assert firexlite("doctor", done.firex_id).code == 0


# --- run.json, and services that every run has ------------------------------------------------------------------------

def test_a_run_json_has_firexs_fields_and_a_resume_replaces_it(firexlite, plugin) -> None:
    plugin("import os\nfrom firexlite import app\n@app.task(returns='x')\ndef once(): return os.stat('there').st_size\n")
    failed = firexlite("submit", "--plugins", "services.py", "--chain", "once")
    run_json = firexlite.only_run().run_json
    first = json.loads(run_json.read_text())
    (firexlite.folder / "there").touch()
    assert firexlite("resume", failed.firex_id).code == 0
    second = json.loads(run_json.read_text())

    assert (first["completed"], first["state"], second["state"]) == (True, "failed", "succeeded")
    assert second["results"] == {"chain_results": {"x": 0}, "unsuccessful_services": {}}
    assert {"firex_id", "logs_path", "chain", "submission_host", "submission_dir", "submission_cmd", "viewers", "inputs",
            "revoked", "revoked_details", "run_soft_time_limit", "max_completion_timestamp",
            "submit_proc_start_timestamp", "completed_timestamp"} <= second.keys()


BUILT_IN = """
from firexlite import app, CopyBogKeys, InjectArgs, ScheduleSubChain

@app.task(returns="greeting")
def greet(name): return f"Hello {name}!"

@app.task(returns="loud")
def shout(greeting): return greeting.upper()

@app.task(bind=True, returns=["copied", "kept"])
def copies(self):
    chain = greet.s(name="Lee") | CopyBogKeys.s({"greeting": "first", "nothing": "x"}) | greet.s(name="Tom")
    got = self.enqueue_child_and_get_results(chain)
    return [got["first"], got["greeting"]], "x" in got

@app.task(bind=True)
def strictly(self):
    self.enqueue_child(CopyBogKeys.s({"nothing": "x"}, strict=True), block=True)

@app.task
def fails(name): raise ValueError(name)

@app.task(bind=True, returns="got")
def sub(self, name):
    below = lambda **more: self.enqueue_child_and_get_results(InjectArgs(**self.abog) | ScheduleSubChain.s(**more))
    return [below(chain=greet.s() | shout.s()), below(chain=shout.s(greeting="hey"), inject_abog=False),
            below(chain=fails.s(), catch_errors=True), below(chain=greet.s(), enqueue_args={"return_keys_only": True})]
"""


@pytest.fixture
def results(firexlite, plugin) -> Callable[..., tuple[int, dict, str]]:
    def run(*args: str) -> tuple[int, dict, str]:
        plugin(BUILT_IN)
        done = firexlite("submit", "--plugins", "services.py", "--chain", *args)
        return done.code, json.loads(firexlite.only_run().run_json.read_text())["results"]["chain_results"], done.err

    return run


def test_copies_of_values_survive_the_next_of_the_same_name(results) -> None:
    assert results("copies")[:2] == (0, {"copied": ["Hello Lee!", "Hello Tom!"], "kept": False})


def test_a_strict_copy_of_nothing_fails(results) -> None:
    code, _, err = results("strictly")
    assert code == 1 and "AssertionError: The bog has no nothing" in err


def test_a_chain_is_run_below_a_service_and_its_values_are_returned(results) -> None:
    assert results("sub", "--name", "Lee")[:2] == (0, {"got": [
        {"greeting": "Hello Lee!", "loud": "HELLO LEE!"}, {"loud": "HEY"}, {}, {"greeting": "Hello Lee!"}]})


# --- what an attempt takes --------------------------------------------------------------------------------------------

def test_the_peak_of_an_attempt_is_its_own_if_the_system_forgets() -> None:
    first = measure.begin()
    bytearray(b"x") * (64 << 20)
    peak, cpu_s = first.end()
    second = measure.begin()
    later, _ = second.end()

    assert peak > 64 << 20 and cpu_s > 0
    assert not second.is_fresh or later < peak - (32 << 20)


def test_children_count_too() -> None:
    measurement = measure.begin()
    subprocess.run([sys.executable, "-c", "x = b'x' * (600 << 20); sum(range(3_000_000))"], check=True, timeout=60)
    peak, cpu_s = measurement.end()

    assert peak > 600 << 20 and cpu_s > 0.02


def test_where_nothing_is_forgotten_the_memory_of_the_end_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    bytearray(b"x") * (64 << 20)
    monkeypatch.setattr(host, "forget_peak", lambda: False)
    measurement = measure.begin()
    peak, _ = measurement.end()

    assert not measurement.is_fresh and 0 < peak <= measurement.peak
