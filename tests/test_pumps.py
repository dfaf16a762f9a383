"""What a front does about the sinks of its run: it waits a little, says what was not sent, and is changed by nothing of it."""
from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from conftest import Command, query, wait_until
from telling import HOLDING, consumed, events_in, free_port, offsets, pumps_of, sequence

from firexlite import host

confluent_kafka = pytest.importorskip("confluent_kafka")


@pytest.fixture(scope="module")
def kafka() -> Iterator[str]:
    """The address of librdkafka's own mock cluster, which lives as long as what made it."""
    maker = confluent_kafka.Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 1, "log_level": 0})
    [broker] = maker.list_topics(timeout=10).brokers.values()
    yield f"{broker.host}:{broker.port}"
    del maker


@pytest.fixture
def silent() -> Iterator[str]:
    """A sink that can be connected to, and never says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(20)
        yield f"otlp:http://127.0.0.1:{listening.getsockname()[1]}"


def begun(firexlite: Command, plugin, *more: str, **env: str) -> subprocess.Popen:
    """A run whose second task holds it."""
    plugin(HOLDING)
    run = firexlite.start("submit", "--plugins", "services.py", "--chain", "begin,hold", *more, **env)
    run.stdout.readline()
    wait_until(lambda: query(firexlite.only_run(), "SELECT 1 FROM event WHERE id = 5"), what="second task")
    return run


@pytest.mark.long
def test_ctrl_c_ends_the_waiting_and_changes_nothing(firexlite, silent):
    run = firexlite.start("submit", "--chain", "nop", "--sink", silent, FIREXLITE_SINK_WAIT="600")

    assert run.stderr.readline() == f"The run has ended; its last events are being sent to {silent}. Ctrl-C ends that.\n"
    run.send_signal(signal.SIGINT)
    out, err = run.stdout.read(), run.stderr.read()

    assert run.wait(timeout=60) == 0
    assert out.splitlines()[-1] == "All tasks succeeded"
    assert f"not sent to {silent}" in err


@pytest.mark.long
def test_nothing_is_said_of_it_to_who_wants_quiet(firexlite, silent):
    done = firexlite("submit", "--chain", "nop", "--quiet", "--sink", silent, FIREXLITE_SINK_WAIT="2")

    assert done.code == 0
    [sentence] = done.err.splitlines()
    assert sentence.startswith("firexlite: ") and f"not sent to {silent}" in sentence


@pytest.mark.long
def test_a_run_that_is_stopped_is_sent_as_far_as_it_came(firexlite, plugin, kafka):
    run = begun(firexlite, plugin, "--sink", f"kafka:{kafka}/stopped")

    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=60)

    assert (run.returncode, "not sent" in err) == (130, False)
    every = [seq for seq, *_ in events_in(firexlite.only_run())]
    assert sorted(set(sequence(consumed(kafka, "stopped", len(every))))) == every
    assert offsets(firexlite.only_run())[0]["ended"] is None
    (firexlite.folder / "now").touch()
    assert firexlite("resume", firexlite.only_run().firex_id).code == 0
    assert offsets(firexlite.only_run())[0]["ended"]


@pytest.mark.long
def test_each_of_several_sinks_is_told_by_itself(firexlite, plugin, kafka):
    dead = f"kafka:127.0.0.1:{free_port()}/dead"

    done = firexlite("submit", "--chain", "nop", "--sink", f"kafka:{kafka}/one", "--sink", dead, "--sink", f"kafka:{kafka}/two",
                     "--sink", f"kafka:{kafka}/one", FIREXLITE_SINK_WAIT="3")

    assert done.code == 0
    assert [line for line in done.err.splitlines() if "not sent" in line] == [
        line for line in done.err.splitlines() if line.startswith(f"firexlite: 3 events were not sent to {dead} (")] != []
    for topic in ("one", "two"):
        assert set(sequence(consumed(kafka, topic, 3))) == {1, 2, 3}


@pytest.mark.long
def test_a_run_that_had_succeeded_sends_what_was_left(firexlite, kafka):
    port = free_port()
    done = firexlite("submit", "--chain", "nop", "--sink", f"kafka:127.0.0.1:{port}/late", FIREXLITE_SINK_WAIT="0")
    assert "not sent" in done.err

    again = firexlite("resume", done.firex_id, "--sink", f"kafka:{kafka}/late", FIREXLITE_SINK_WAIT="3")

    assert again.code == 0
    assert set(sequence(consumed(kafka, "late", 3))) == {1, 2, 3}


def test_a_sink_that_a_run_recorded_and_that_cannot_be_any_more_does_not_keep_it_from_being_resumed(firexlite, plugin):
    run = begun(firexlite, plugin, "--sink", "kafka:127.0.0.1:1/t", FIREXLITE_SINK_WAIT="0")
    run.send_signal(signal.SIGTERM)
    assert run.wait(timeout=60) == 143
    (firexlite.folder / "now").touch()

    resumed = firexlite("resume", "last", FIREXLITE_KAFKA_CONFIG="nowhere.conf")

    assert resumed.code == 0
    assert "firexlite: no events are sent: FIREXLITE_KAFKA_CONFIG names 'nowhere.conf', which cannot be read" in resumed.err


def test_a_wrong_sink_is_refused_before_anything_is_created(firexlite):
    refused = firexlite("submit", "--chain", "nop", "--sink", "carrier-pigeon")

    assert (refused.code, firexlite.runs()) == (2, [])
    assert refused.err == "firexlite: --sink takes kafka:HOST:PORT/TOPIC or otlp:http://HOST:PORT, not 'carrier-pigeon'\n"


def test_the_lock_of_the_run_is_not_held_by_who_sends(firexlite, plugin, silent):
    run = begun(firexlite, plugin, "--sink", silent)
    job = set(host.children(run.pid))

    run.kill()

    wait_until(lambda: not firexlite.only_run().is_alive(), what="free lock")
    wait_until(lambda: all(host.start_time(pid) is None for pid in job), what="end of all")


@pytest.mark.long
@pytest.mark.skipif(host.IS_PORTABLE, reason="the looks of this test at processes are those of Linux")
def test_where_there_is_no_subreaper_it_is_the_same(firexlite, plugin, kafka):
    firexlite.env["FIREXLITE_PORTABLE"] = "1"
    done = firexlite("submit", "--chain", "nop", "--sink", f"kafka:{kafka}/portable")
    assert (done.code, "not sent" in done.err) == (0, False)
    assert set(sequence(consumed(kafka, "portable", 3))) == {1, 2, 3}

    firexlite("prune", "--older-than", "0", "--yes")
    run = begun(firexlite, plugin, "--sink", f"kafka:127.0.0.1:{free_port()}/portable")
    below = set(host.children(run.pid))
    run.kill()

    wait_until(lambda: all(host.start_time(pid) is None for pid in below), limit_s=30, what="end of all below a killed front")


@pytest.mark.long
def test_a_run_that_python_resumes_is_sent_too(firexlite, plugin, kafka):
    run = begun(firexlite, plugin, "--sink", f"kafka:{kafka}/python")
    run.send_signal(signal.SIGINT)
    assert run.wait(timeout=60) == 130
    (firexlite.folder / "now").touch()

    code = f"import firexlite; firexlite.resume('{firexlite.only_run().firex_id}')"
    done = subprocess.run([sys.executable, "-c", code], cwd=firexlite.folder, env=firexlite.env, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    every = [seq for seq, *_ in events_in(firexlite.only_run())]
    assert offsets(firexlite.only_run())[0]["seq"] == every[-1]
    assert sorted(set(sequence(consumed(kafka, "python", len(every))))) == every


def test_who_sends_has_neither_the_terminal_nor_the_files_of_the_front(firexlite, plugin, silent):
    run = begun(firexlite, plugin, "--sink", silent)
    [pump] = wait_until(lambda: pumps_of(run.pid), what="pump")

    assert os.getsid(pump) == pump
    assert {os.readlink(f"/proc/{pump}/fd/{fd}") for fd in (0, 1, 2)} == {"/dev/null"}
    run.kill()
