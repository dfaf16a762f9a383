"""`firexlite events`: what happened in a run, as lines of JSON for programs."""
from __future__ import annotations

import json
import subprocess
import sys

import pytest
from conftest import FIXTURES, LIMIT_S, Command, kill_all, query, wait_until
from telling import FAMILY, HOLDING, events_in

from firexlite import outbox
from firexlite.history import History
from firexlite.home import task_uuid
from firexlite.outbox import Records

GUESTS = FIXTURES / "guests.py"
LIBRARIES = ("confluent_kafka", "opentelemetry", "google.protobuf", "requests")


def told(done) -> list[dict]:
    assert done.code == 0, done.err
    return [json.loads(line) for line in done.out.splitlines()]


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    """A run that has succeeded, though not everything in it did; and the command that made it."""
    folder = tmp_path_factory.mktemp("family")
    command = Command(folder / "home", folder)
    (folder / "bakery.py").write_text(FAMILY)
    done = command("submit", "--plugins", "bakery.py", "--chain", "bakery", "--flours", "rye,wheat", "--workers", "3",
                   "--key", "daily")
    assert done.code == 0, done.err
    yield command, command.only_run()
    command.close()


def test_each_event_of_the_journal_is_a_line(family):
    firexlite, run = family

    lines = told(firexlite("events", run.firex_id))

    assert [(line["seq"], line["ts"], line["task"], line["attempt"], line["type"], line["state"]) for line in lines] \
        == events_in(run)
    assert {(line["v"], line["run"]) for line in lines} == {(1, run.firex_id)}
    assert all(line["uuid"] == task_uuid(run.firex_id, line["task"]) for line in lines)
    parents = dict(query(run, "SELECT id, parent FROM task"))
    assert all(line["parent"] == parents[line["task"]] for line in lines)
    assert list(lines[0]) == ["v", "seq", "ts", "run", "task", "uuid", "parent", "name", "type", "state", "attempt", "host",
                              "data"]


def test_a_claim_tells_what_reaches_the_task(family):
    firexlite, run = family

    claims = [line for line in told(firexlite("events", run.firex_id)) if line["type"] == "claim"]

    given = {line["name"].rpartition(".")[2]: line["data"] for line in claims}
    assert given["bakery"] == {"arguments": {"flours": "rye,wheat"}, "defaults": {}}
    assert given["bake"] == {"arguments": {"flour": "wheat"}, "defaults": {"minutes": 30}}
    assert given["slice_up"] == {"arguments": {"loaf": "wheat loaf", "slices": 2}, "defaults": {}}


def test_an_end_tells_what_came_of_the_task(family):
    firexlite, run = family

    by_move = {}
    for line in told(firexlite("events", run.firex_id)):
        by_move.setdefault((line["name"].rpartition(".")[2], line["type"]), line["data"])

    sliced = by_move["slice_up", "succeed"]
    assert sliced["results"] == {"crumbs": ["rye loaf", "rye loaf"]}
    assert 0 < sliced["runtime"] < LIMIT_S
    retried, failed = by_move["preheat", "retry"]["exception"], by_move["burn", "fail"]["exception"]
    assert (retried["type"], retried["text"]) == ("bakery:OvenCold", "only 180 degrees")
    assert (failed["repr"], failed["where"]["function"]) == ("OvenCold('no heat for oat')", "burn")
    assert 'raise OvenCold(f"no heat for {flour}")' in failed["traceback"]
    assert "reason" in by_move["hold", "revoke"]


def test_a_failure_names_the_task_that_it_failed_of(firexlite, plugin):
    plugin(FAMILY)
    done = firexlite("submit", "--plugins", "services.py", "--chain", "bad_day,nop")

    lines = told(firexlite("events", done.firex_id))

    burnt, failed = (next(line for line in lines if line["type"] == "fail" and line["name"].endswith(name))
                     for name in ("burn", "bad_day"))
    assert failed["data"]["exception"]["cause"] == burnt["uuid"]
    assert [line["data"] for line in lines if line["type"] == "skip"] == [{}]


def test_since_leaves_out_what_is_known(family):
    firexlite, run = family
    every = firexlite("events", "daily").out.splitlines()

    assert firexlite("events", run.firex_id, "--since", "7").out.splitlines() == every[7:]
    assert firexlite("events", "last", "--since", str(len(every))).out == ""
    assert firexlite("events", "last", "--since", "0").out.splitlines() == every


def test_pages_make_no_difference(family, monkeypatch):
    _, run = family

    def records(page: int) -> list:
        monkeypatch.setattr(outbox, "PAGE", page)
        reader, found = Records(), []
        while True:
            with History(run) as history:
                more = reader.page(history, found[-1].seq if found else 0)
            if not more:
                return [record.plain() for record in found]
            assert len(more) <= page
            found += more

    assert records(1) == records(7) == records(10_000)


def test_no_page_reads_a_whole_table(family):
    _, run = family

    plan = [detail for *_, detail in query(run, f"EXPLAIN QUERY PLAN {outbox._EVENTS}", 0, 1)]

    assert len(plan) >= 5
    assert [step for step in plan if step.startswith("SCAN") and "CONSTANT" not in step] == []


def test_follow_ends_with_the_run_and_misses_nothing(firexlite, plugin):
    plugin(HOLDING)
    run = firexlite.start("submit", "--plugins", "services.py", "--chain", "begin,hold")
    firex_id = run.stdout.readline().split(": ")[1].strip()

    following = firexlite.start("events", firex_id, "--follow")
    first = following.stdout.readline()
    (firexlite.folder / "now").touch()
    rest, err = following.stdout.readlines(), following.stderr.read()

    assert (following.wait(timeout=LIMIT_S), err) == (0, "")
    assert run.wait(timeout=LIMIT_S) == 0
    assert [json.loads(line)["seq"] for line in [first, *rest]] == [event[0] for event in events_in(firexlite.only_run())]


def test_follow_of_a_killed_run_ends_too(firexlite, plugin):
    plugin(HOLDING)
    run = firexlite.start("submit", "--plugins", "services.py", "--chain", "begin,hold")
    firex_id = run.stdout.readline().split(": ")[1].strip()
    wait_until(lambda: firexlite.runs() and query(firexlite.only_run(), "SELECT 1 FROM event WHERE id = 5"), what="event")
    kill_all(run)

    assert len(told(firexlite("events", firex_id, "--follow"))) == 5


@pytest.mark.parametrize("follow", [[], ["--follow"]])
def test_a_reader_who_has_read_enough_ends_it_quietly(family, follow):
    firexlite, run = family
    code = ("import sys; from firexlite import outbox; outbox.PAGE = 1; from firexlite.cli import run; run(sys.argv[1:])")
    reading = subprocess.Popen([sys.executable, "-c", code, "events", run.firex_id, *follow], cwd=firexlite.folder,
                               env=firexlite.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               bufsize=0)
    reading.stdout.read(1)
    reading.stdout.close()

    _, err = reading.communicate(timeout=LIMIT_S)

    assert (reading.returncode, err) == (0, b"")


@pytest.mark.parametrize("words, sentence", [
    (["no-such-run"], "'no-such-run' is not a FireX ID"),
    (["last", "--since", "-1"], "--since takes the number of an event, or 0, not '-1'"),
    (["last", "--since", "x"], "--since takes the number of an event, or 0, not 'x'"),
    (["last", "--format", "xml"], "'xml' is not one of 'jsonl', 'blaze'"),
    (["last", "--sink", "mail:me"], "--sink takes kafka:HOST:PORT/TOPIC or otlp:http://HOST:PORT, not 'mail:me'"),
    (["last", "--sink", "kafka:localhost:9092"], "--sink kafka: takes brokers and a topic, as in"),
    (["last", "--sink", "kafka:a b:9092/t"], "--sink kafka: takes brokers and a topic, as in"),
    (["last", "--sink", "kafka:host:99999/t"], "--sink kafka: takes brokers and a topic, as in"),
    (["last", "--sink", "kafka:host/to/pic"], "--sink kafka: takes brokers and a topic, as in"),
    (["last", "--sink", "otlp:localhost"], "--sink otlp: takes the address of a collector, as in otlp:http://host:4318"),
    (["last", "--sink", "otlp:ftp://host"], "--sink otlp: takes the address of a collector, as in otlp:http://host:4318"),
    (["last", "--sink", "otlp:http://me:secret@host"], "--sink otlp: takes an address without a password"),
    (["last", "--sink", "kafka:h/t", "--format", "blaze"], "--format says how events are printed, and --sink sends them"),
])
def test_what_cannot_be_done_is_refused_in_one_sentence(family, words, sentence):
    firexlite, _ = family

    refused = firexlite("events", *words)

    assert (refused.code, refused.out) == (2, "")
    assert sentence in refused.err and "Traceback" not in refused.err
    assert len(refused.err.splitlines()) == 1


def test_a_wrong_time_to_wait_is_refused(family):
    firexlite, _ = family

    refused = firexlite("events", "last", "--sink", "kafka:host/t", FIREXLITE_SINK_WAIT="long")

    assert (refused.code, refused.out) == (2, "")
    assert refused.err == "firexlite: FIREXLITE_SINK_WAIT takes a number of seconds from 0 on, not 'long'\n"


@pytest.mark.parametrize("kind, sink, extra", [("confluent_kafka", "kafka:host:9092/t", "kafka"),
                                               ("opentelemetry", "otlp:http://host:4318", "otel")])
@pytest.mark.parametrize("words", [["events", "last"], ["submit", "--chain", "nop"]])
def test_a_library_that_is_missing_is_named_with_the_way_to_it(family, kind, sink, extra, words):
    firexlite, _ = family
    hidden = f"import sys; sys.modules[{kind!r}] = None; from firexlite.cli import run; run(sys.argv[1:])"
    before = len(firexlite.runs())

    refused = subprocess.run([sys.executable, "-c", hidden, *words, "--sink", sink], cwd=firexlite.folder, env=firexlite.env,
                             stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S)

    assert refused.returncode == 2
    assert refused.stderr == (f"firexlite: --sink {sink.partition(':')[0]}: needs a library that is not installed; "
                              f"`pip install 'firexlite[{extra}]'` installs it\n")
    assert len(firexlite.runs()) == before


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["runs"], ["show", "last"], ["events", "last"],
                                   ["events", "last", "--format", "blaze"], ["doctor", "last"], ["flame", "last", "--json"],
                                   ["submit", "--chain", "nop"], ["resume", "last"]])
def test_no_command_that_sends_nothing_imports_what_sends(family, words):
    firexlite, _ = family
    look = (f"import sys, atexit\natexit.register(lambda: print([name for name in {LIBRARIES} if name in sys.modules], "
            "file=sys.stderr))\nfrom firexlite.__main__ import main\nmain()")

    done = subprocess.run([sys.executable, "-c", look, *words], cwd=firexlite.folder, env=firexlite.env,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S)

    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "[]"


def test_a_secret_is_masked_in_every_form(firexlite, plugin):
    plugin("""
from firexlite import app

@app.task(returns="said")
def log_in(token, name):
    print(token)
    return f"{name} with {token}"

@app.task
def fail(said, token):
    raise ValueError(f"{token} was refused")
""")
    secret = "c0rrect-horse-battery"
    done = firexlite("submit", "--plugins", "services.py", "--chain", "log_in,fail", "--name", "Li", "--token",
                     "Secret(env:TOKEN)", TOKEN=secret)
    assert done.code == 1

    for form in ("jsonl", "blaze"):
        printed = firexlite("events", done.firex_id, "--format", form)
        assert printed.code == 0 and "was refused" in printed.out and "[secret env:TOKEN]" in printed.out
        assert secret not in printed.out
