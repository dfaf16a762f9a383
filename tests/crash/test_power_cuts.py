"""A power cut at any moment leaves a whole journal, with all that was promised to be durable, that a resume completes."""
from __future__ import annotations

import random

import pytest

from firexlite import home, journal

from . import power
from .power import Entry, Platter, Program, inspect, record

FEW = Program("plan|big box", {"plan": [("enqueue", "part"), ("enqueue", "part"), ("wait",)]})
BATCH = Program("plan|big box", {"plan": [*[("enqueue", f"part {i}") for i in range(4)], ("wait",)]}, slots=1, batch=3)


def test_a_power_cut_loses_nothing_that_was_promised_and_breaks_nothing():
    recording = record()

    tally = inspect(recording, every=10, resume_every=10)

    assert tally.is_clean, tally.failures
    assert tally.trials > 150
    assert len(recording.ending[1]) == 50
    assert {"write of the log, torn", "write of the journal, dropped"} <= tally.points


def test_every_power_cut_in_a_small_run_with_blobs_is_survived():
    tally = inspect(record(program=FEW, is_disturbed=False), resume_every=1000)

    assert tally.is_clean, tally.failures
    assert "rename of a blob, dropped" in tally.points


def test_every_power_cut_in_a_batch_is_survived():
    tally = inspect(record(program=BATCH, is_disturbed=False), resume_every=20)

    assert tally.is_clean, tally.failures
    assert tally.trials > 100


# --- what the lab must notice -------------------------------------------------------------------------------------

def test_commits_without_a_sync_are_found_to_lose_what_was_promised():
    tally = inspect(record(program=FEW, is_full=False, is_disturbed=False), every=3, resume_every=1000)

    assert tally.lost, "without a sync nothing was lost"
    assert not tally.corrupt


def test_a_blob_whose_directory_is_not_synced_is_found_to_be_lost(monkeypatch):
    monkeypatch.setattr(home, "fsync_directory", lambda path: None)

    tally = inspect(record(program=FEW, is_disturbed=False), resume_every=1000)

    assert any("payload" in failure for failure in tally.failures)


def test_a_journal_that_is_never_synced_is_found_to_be_corrupt(monkeypatch):
    connect = journal.Journal._connect
    monkeypatch.setattr(journal.Journal, "_connect", lambda self: (connect(self), self.execute("PRAGMA synchronous = OFF")))
    monkeypatch.setattr(power._RecordedOs, "fdatasync", lambda self, fd: None)

    assert inspect(record(program=FEW, is_disturbed=False, checkpoint_pages=10), resume_every=1000).corrupt


# --- the disk ------------------------------------------------------------------------------------------------------

@pytest.fixture
def platter():
    found = Platter()
    found.files["kept"] = Entry(data=b"old")
    return found


def image(platter: Platter, fate: str) -> dict[str, bytes]:
    return platter.image(fate, random.Random(1))


def test_what_was_written_is_sure_only_after_a_sync(platter):
    platter.apply("write", "kept", 1, b"ew!")
    assert image(platter, "dropped") == {"kept": b"old"}
    assert image(platter, "kept") == {"kept": b"oew!"}

    platter.apply("sync", "kept")
    assert image(platter, "dropped") == {"kept": b"oew!"}


def test_a_write_is_torn_by_sectors(platter):
    platter.apply("write", "kept", 0, b"n" * 5120)

    torn = image(platter, "torn")["kept"]

    assert {torn[at:at + 512] for at in range(512, len(torn), 512)} == {b"n" * 512, bytes(512)}


def test_a_new_or_deleted_name_is_sure_only_after_a_sync_of_its_folder(platter):
    platter.apply("create", "new")
    platter.apply("delete", "kept")
    assert image(platter, "dropped") == {"kept": b"old"}
    assert image(platter, "kept") == {"new": b""}

    platter.apply("sync entry", "new")
    platter.apply("sync directory", "")
    assert image(platter, "dropped") == {"new": b""}


