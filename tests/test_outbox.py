"""How far a sink has been told: what is stored, when, and what becomes of it when a file is lost, foreign or in the way."""
from __future__ import annotations

import json
import shutil
import stat

import pytest
from conftest import FIXTURES, Command
from telling import events_in, offsets

from firexlite import outbox
from firexlite.errors import SinkUnavailable
from firexlite.outbox import Offset, Place
from firexlite.sinks import Sink
from firexlite.sinks.pump import Pump, not_sent, retrying

GUESTS = FIXTURES / "guests.py"


class Memory(Sink):
    """Keeps what it is sent. fails_at: of what is sent, the batches that it takes without saying so, from 1."""

    name = "memory:here"

    def __init__(self, *fails_at: int) -> None:
        self.seen, self.ends, self.batches, self.fails_at = [], [], 0, fails_at

    def send(self, records):
        self.seen += [record.seq for record in records]
        self.batches += 1
        if self.batches in self.fails_at:
            raise SinkUnavailable(self.name, "it is asleep")

    def end(self, run, end):
        self.ends.append(end)


@pytest.fixture
def run(firexlite: Command, monkeypatch):
    done = firexlite("submit", "--plugins", GUESTS, "--chain", "greet_guests", "--guests", "Li,Mohamed,Ana")
    assert done.code == 0, done.err
    monkeypatch.setenv("FIREXLITE_HOME", str(firexlite.home))
    return firexlite.only_run()


def test_all_is_sent_once_and_the_place_is_stored_for_its_owner_alone(run):
    sink = Memory()

    Pump(run.firex_id, sink).send_all()
    Pump(run.firex_id, sink).send_all()

    last = events_in(run)[-1][0]
    assert sink.seen == [seq for seq, *_ in events_in(run)]
    assert [(end.seq, end.state, end.results) for end in sink.ends] == [
        (last, "succeeded", {"guests_greeting": "Hello Li! Hello Mohamed! Hello Ana!"})]
    assert [(told["sink"], told["seq"]) for told in offsets(run)] == [("memory:here", last)]
    [path] = (run.path / "sinks").iterdir()
    assert [stat.S_IMODE(place.stat().st_mode) for place in (path.parent, path)] == [0o700, 0o600]
    assert not_sent(run, sink) == 0


def test_what_is_not_acknowledged_is_sent_again_from_the_last_place(run, monkeypatch):
    monkeypatch.setattr(outbox, "PAGE", 4)
    sink = Memory(2)

    with pytest.raises(SinkUnavailable, match=r"^memory:here has not acknowledged what it was sent: it is asleep$"):
        Pump(run.firex_id, sink).send_all()

    assert sink.seen == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [told["seq"] for told in offsets(run)] == [4]
    assert not_sent(run, sink) == len(events_in(run)) - 4
    Pump(run.firex_id, sink).send_all()
    assert sink.seen[8:] == [seq for seq, *_ in events_in(run)][4:]


def test_a_sink_that_wakes_up_gets_all(run):
    sink = Memory(1, 2)
    pauses = []

    assert retrying(Pump(run.firex_id, sink).send_all, lambda pause_s: pauses.append(pause_s) or True, lambda: 0.4) is None

    assert pauses == [0.25, 0.4]
    assert sorted(set(sink.seen)) == [seq for seq, *_ in events_in(run)]


def test_a_number_beyond_the_last_move_is_no_place(run):
    Pump(run.firex_id, sink := Memory(), since=10_000).send_all()

    assert (sink.seen, len(sink.ends)) == ([], 1)
    assert offsets(run)[0]["seq"] == events_in(run)[-1][0]


def test_who_waits_no_longer_is_told_why(run):
    error = retrying(Pump(run.firex_id, Memory(1)).send_all, lambda pause_s: False, lambda: 1)

    assert (error.sink, error.why) == ("memory:here", "it is asleep")


def test_since_sends_again_and_forgets_nothing(run):
    Pump(run.firex_id, Memory()).send_all()
    before = offsets(run)
    sink = Memory()

    Pump(run.firex_id, sink, since=0).send_all()

    assert sink.seen == [seq for seq, *_ in events_in(run)]
    assert len(sink.ends) == 1
    assert offsets(run) == before


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"seq": -1}', '{"seq": "7"}', '{"seq": true}', "\x00" * 100])
def test_a_place_that_tells_nothing_is_the_beginning(run, text):
    Pump(run.firex_id, Memory()).send_all()
    [path] = (run.path / "sinks").iterdir()
    path.write_text(text)

    assert Offset(run, Memory.name).read() == Place()


def test_a_place_behind_a_link_is_none_of_the_runs(run, tmp_path):
    Pump(run.firex_id, Memory()).send_all()
    [path] = (run.path / "sinks").iterdir()
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")

    assert Offset(run, Memory.name).read() == Place()


def test_each_sink_has_a_place_of_its_own(run):
    Offset(run, "kafka:a/t").store(Place(1))
    Offset(run, "kafka:b/t").store(Place(2, 3.5))

    assert Offset(run, "kafka:a/t").read() == Place(1)
    assert Offset(run, "kafka:b/t").read() == Place(2, 3.5)


def test_where_the_place_cannot_be_stored_all_is_sent_all_the_same(run):
    (run.path / "sinks").write_text("in the way")
    pump = Pump(run.firex_id, sink := Memory())

    pump.send_all()

    assert len(sink.seen) == len(events_in(run))
    assert pump.unstored == "Not a directory"


def test_a_run_with_places_is_sound_and_is_resumed_and_pruned(firexlite, run):
    Pump(run.firex_id, Memory()).send_all()

    examined = firexlite("doctor", run.firex_id)
    assert examined.code == 0, examined.out
    assert "open to others" not in examined.out
    assert firexlite("resume", run.firex_id).code == 0
    assert firexlite("prune", "--older-than", "0", "--yes").code == 0
    assert not run.path.exists()


def test_a_run_whose_places_lead_elsewhere_is_not_resumed(firexlite, run, tmp_path):
    (run.path / "sinks").symlink_to(tmp_path)

    refused = firexlite("resume", run.firex_id)

    assert refused.code == 4
    assert f"{run.path}/sinks is a symbolic link" in refused.err


@pytest.mark.long
def test_whoever_imports_a_run_sends_nothing_to_the_sinks_of_its_maker(firexlite, tmp_path):
    sent = firexlite("submit", "--chain", "nop", "--sink", "otlp:http://127.0.0.1:1", FIREXLITE_SINK_WAIT="0")
    copy = shutil.copytree(firexlite.only_run().path, tmp_path / sent.firex_id)
    firexlite.env["FIREXLITE_HOME"] = str(tmp_path / "other")
    firexlite.home = tmp_path / "other"

    assert firexlite("import", copy).code == 0

    from firexlite.history import History
    with History(firexlite.only_run()) as history:
        assert history.run().options["sinks"] == []
    resumed = firexlite("resume", sent.firex_id)
    assert (resumed.code, resumed.err) == (0, "Nothing is left to do: the run had succeeded.\n")
    assert not (firexlite.only_run().path / "sinks").exists()


def test_records_are_lines_of_ascii(firexlite, plugin):
    plugin("from firexlite import app\n\n@app.task(returns='said')\ndef say():\n    return 'Grüße \\x1b[31m\\ud800'\n")
    done = firexlite("submit", "--plugins", "services.py", "--chain", "say")

    printed = firexlite("events", done.firex_id).out

    assert printed.isascii() and "\x1b" not in printed
    assert json.loads(printed.splitlines()[-1])["data"]["results"] == {"said": "Grüße \x1b[31m\ud800"}
