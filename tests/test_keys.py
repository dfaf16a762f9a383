"""`submit --key`: the same command again starts a run, resumes it, attaches to it while it goes on, or finds it done."""
from __future__ import annotations

import json
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import NOTE, Command, Finished, kill_all, states, wait_until

from firexlite import keys
from firexlite.errors import BadInput

KEY = "nightly-2026-11-23"
STEPS = NOTE + """
@app.task(returns="first")
def one(name="Li"):
    note("one")
    return f"of {name}"

@app.task(returns="second")
def two(first, until=""):
    note("two")
    if until:
        wait_for_file(until)
    return f"second {first}"
"""
BROKEN = STEPS.replace('return f"second {first}"', 'raise ValueError("not yet")')
SUBMIT = ("submit", "--plugins", "services.py", "--chain", "one,two", "--key", KEY)
RESULTS = "All tasks succeeded\n\nReturned values:\n  first   of Li\n  second  second of Li\n"


@pytest.fixture(autouse=True)
def effects(effects: Callable[[], Counter]) -> Callable[[], Counter]:
    """Of every test here, since all services note what they did."""
    return effects


def is_running_two(firexlite: Command) -> bool:
    return bool(firexlite.runs()) and states(firexlite.only_run()) == {"succeeded": 1, "running": 1}


def test_a_key_without_a_run_starts_one(firexlite: Command, plugin, effects) -> None:
    plugin(STEPS)

    done = firexlite(*SUBMIT)

    assert (done.code, done.out) == (0, f"FireX ID: {done.firex_id}\n{RESULTS}")
    assert effects() == {"one": 1, "two": 1}
    [listed] = json.loads(firexlite("runs", "--json").out)
    assert listed["key"] == KEY
    assert json.loads(firexlite.only_run().run_json.read_text())["key"] == KEY


def test_a_run_that_is_done_is_told_again_and_not_run_again(firexlite: Command, plugin, effects) -> None:
    plugin(STEPS)
    first = firexlite(*SUBMIT)

    again = firexlite(*SUBMIT)

    assert (again.code, again.out) == (first.code, first.out)
    assert again.err == "Nothing is left to do: the run had succeeded.\n"
    assert effects() == {"one": 1, "two": 1}


def test_a_run_that_failed_is_resumed_with_corrected_code(firexlite: Command, plugin, effects) -> None:
    plugin(BROKEN)
    failed = firexlite(*SUBMIT)
    assert failed.code == 1
    assert "ValueError: not yet" in failed.err
    plugin(STEPS)

    done = firexlite(*SUBMIT)

    assert (done.code, done.out) == (0, f"FireX ID: {failed.firex_id}\n{RESULTS}"), done.err
    assert "changed since: services.py" in done.err.replace(f"{firexlite.folder}/", "")
    assert effects() == {"one": 1, "two": 2}


def test_a_run_that_was_killed_is_resumed(firexlite: Command, plugin, effects) -> None:
    plugin(STEPS)
    process = firexlite.start(*SUBMIT, "--until", "now")
    wait_until(lambda: effects()["two"] == 1, what="second step")
    kill_all(process)
    (firexlite.folder / "now").touch()

    done = firexlite(*SUBMIT, "--until", "now")

    assert (done.code, done.out) == (0, f"FireX ID: {firexlite.only_run().firex_id}\n{RESULTS}"), done.err
    assert "Resuming: 1 task done; 1 task in flight, to run again from the top" in done.err
    assert effects() == {"one": 1, "two": 2}


def test_a_run_that_was_cancelled_is_resumed(firexlite: Command, plugin, effects) -> None:
    plugin(STEPS)
    process = firexlite.start(*SUBMIT, "--until", "now")
    wait_until(lambda: is_running_two(firexlite), what="second step")
    assert firexlite("cancel", KEY).code == 0
    assert process.wait(timeout=30) == 1
    (firexlite.folder / "now").touch()

    done = firexlite(*SUBMIT, "--until", "now")

    assert done.code == 0, done.err
    assert effects()["one"] == 1
    assert len(firexlite.runs()) == 1


def test_a_run_that_goes_on_is_attached_to_and_its_end_awaited(firexlite: Command, plugin, effects) -> None:
    plugin(STEPS)
    first = firexlite.start(*SUBMIT, "--until", "now")
    wait_until(lambda: is_running_two(firexlite), what="second step")

    second = firexlite.start(*SUBMIT, "--until", "now")
    said = second.stderr.readline()
    (firexlite.folder / "now").touch()
    out, _ = second.communicate(timeout=30)

    assert said == "It goes on in other processes: Ctrl-C leaves it alone, Ctrl-C twice cancels it.\n"
    assert (second.returncode, out) == (0, f"FireX ID: {firexlite.only_run().firex_id}\n{RESULTS}")
    assert (first.wait(timeout=30), first.stdout.read()) == (0, out)
    assert effects() == {"one": 1, "two": 1}


def test_who_attached_ends_as_the_run_failed(firexlite: Command, plugin) -> None:
    plugin(BROKEN)
    firexlite.start(*SUBMIT, "--until", "now")
    wait_until(lambda: is_running_two(firexlite), what="second step")

    second = firexlite.start(*SUBMIT, "--until", "now")
    second.stderr.readline()
    (firexlite.folder / "now").touch()
    _, err = second.communicate(timeout=30)

    assert second.returncode == 1
    assert "FAILED: two (task 2): ValueError: not yet" in err


def test_no_wait_says_that_it_goes_on(firexlite: Command, plugin) -> None:
    plugin(STEPS)
    firexlite.start(*SUBMIT, "--until", "now")
    wait_until(lambda: is_running_two(firexlite), what="second step")
    firex_id = firexlite.only_run().firex_id

    done = firexlite(*SUBMIT, "--until", "now", "--no-wait")

    assert done == Finished(3, f"FireX ID: {firex_id}\n",
                            f"firexlite: {firex_id} is running in other processes; `firexlite attach {firex_id}` follows it\n")
    assert is_running_two(firexlite)
    (firexlite.folder / "now").touch()


def test_no_wait_is_no_hindrance_where_nothing_runs(firexlite: Command, plugin) -> None:
    plugin(STEPS)

    assert [firexlite(*SUBMIT, "--no-wait").code for _ in range(2)] == [0, 0]


def test_in_the_background_a_run_that_goes_on_is_only_named(firexlite: Command, plugin, effects) -> None:
    plugin(STEPS)
    first = firexlite(*SUBMIT, "--until", "now", "--detach")
    wait_until(lambda: is_running_two(firexlite), what="second step")

    second = firexlite(*SUBMIT, "--until", "now", "--detach")
    (firexlite.folder / "now").touch()

    assert (second.code, second.out) == (0, first.out)
    assert second.err == "It goes on in the background; `firexlite attach` comes back to it.\n"
    assert firexlite("wait", KEY).code == 0
    third = firexlite(*SUBMIT, "--until", "now", "--detach")
    assert third == Finished(0, first.out, "It has succeeded; `firexlite wait` prints the results.\n")
    assert effects() == {"one": 1, "two": 1}


# --- other inputs ---------------------------------------------------------------------------------------------------

OTHERS = {
    "another value": (("--name", "Wu"), "--name Li before, --name Wu now"),
    "a value with spaces": (("--name", "Wu Li"), "--name Li before, --name 'Wu Li' now"),
    "one more": (("--name", "Li", "--until", "now"), "no --until before, --until now now"),
    "one less": ((), "--name Li before, no --name now"),
    "several": (("--until", "now"), "--name Li before, no --name now; no --until before, --until now now"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_inputs_under_the_same_key_are_refused_with_the_difference(kind, firexlite: Command, plugin, effects) -> None:
    plugin(STEPS)
    first = firexlite(*SUBMIT, "--name", "Li")
    words, difference = OTHERS[kind]

    done = firexlite(*SUBMIT, *words)

    assert done == Finished(2, "", f"firexlite: the key '{KEY}' is that of {first.firex_id}, which has other inputs: "
                                   f"{difference}; give the same again, or another key\n")
    assert effects() == {"one": 1, "two": 1}


def test_another_chain_under_the_same_key_is_refused(firexlite: Command, plugin) -> None:
    plugin(STEPS)
    first = firexlite(*SUBMIT)

    done = firexlite("submit", "--plugins", "services.py", "--chain", "one", "--key", KEY)

    assert done == Finished(2, "", f"firexlite: the key '{KEY}' is that of {first.firex_id}, which has other inputs: "
                                   "--chain one,two before, --chain one now; give the same again, or another key\n")


def test_spaces_in_the_chain_and_the_way_in_which_arguments_are_written_are_no_difference(firexlite: Command, plugin) -> None:
    plugin(STEPS)
    first = firexlite(*SUBMIT, "--name", "Li")

    again = firexlite("submit", "--name=Li", "--key", KEY, "--workers", "1", "--chain", "one, two", "--plugin", "services.py")

    assert (again.code, again.out) == (0, first.out)


def test_other_inputs_are_refused_while_the_run_goes_on_too(firexlite: Command, plugin) -> None:
    plugin(STEPS)
    firexlite.start(*SUBMIT, "--until", "now")
    wait_until(lambda: is_running_two(firexlite), what="second step")

    assert firexlite(*SUBMIT).code == 2
    (firexlite.folder / "now").touch()


# --- kills and races ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("moment", "runs_then"), [
    ("draft made", 0), ("key noted", 0), ("published", 1), ("run.json written", 1)])
def test_whenever_it_is_killed_the_same_command_brings_it_to_its_end_once(moment, runs_then, firexlite: Command, plugin,
                                                                          effects, struck) -> None:
    plugin(STEPS)
    killed = firexlite(*SUBMIT, **struck(f"{moment}#1=all"))
    assert killed.code == -9
    assert len(firexlite.runs()) == runs_then

    done = firexlite(*SUBMIT)

    assert (done.code, done.out) == (0, f"FireX ID: {firexlite.only_run().firex_id}\n{RESULTS}"), done.err
    assert effects() == {"one": 1, "two": 1}
    assert (firexlite.home / "keys" / KEY).read_text() == f"{done.firex_id}\n"


def test_a_command_that_was_stopped_while_it_holds_the_key_has_the_other_wait(firexlite: Command, plugin, struck) -> None:
    """Two at once: the second meets the first at the worst moment, when the key is noted and the run is not there yet."""
    plugin(STEPS)
    first = firexlite.start(*SUBMIT, **struck("key noted#1=stop"))
    wait_until((firexlite.home / "keys" / KEY).exists, what="key")
    wait_until(lambda: (firexlite.home / "keys" / KEY).read_text(), what="note")

    second = firexlite.start(*SUBMIT)
    wait_until(lambda: _waits_for_a_lock(second.pid), what="second command that waits for the key")
    assert firexlite.runs() == []
    kill_all(first)
    out, err = second.communicate(timeout=30)

    assert (second.returncode, out) == (0, f"FireX ID: {firexlite.only_run().firex_id}\n{RESULTS}"), err


def _waits_for_a_lock(pid: int) -> bool:
    """Whether a process below this one waits for a lock of a file."""
    from firexlite import host

    waiting = [line.split() for line in Path("/proc/locks").read_text().splitlines() if "->" in line]
    return any(str(below) in words for words in waiting for below in host.descendants(pid))


def test_many_commands_at_once_start_one_run(firexlite: Command, plugin, effects) -> None:
    plugin(STEPS)

    started = [firexlite.start(*SUBMIT, "--until", "now") for _ in range(4)]
    wait_until(lambda: is_running_two(firexlite), what="second step")
    (firexlite.folder / "now").touch()
    ended = [(process.communicate(timeout=60)[0], process.returncode) for process in started]

    assert ended == [(f"FireX ID: {firexlite.only_run().firex_id}\n{RESULTS}", 0)] * 4
    assert effects() == {"one": 1, "two": 1}


def test_different_keys_do_not_wait_for_each_other(firexlite: Command, plugin) -> None:
    plugin(STEPS)
    firexlite.start(*SUBMIT, "--until", "now")
    wait_until(lambda: is_running_two(firexlite), what="second step")

    other = firexlite(*SUBMIT[:-1], "other")

    assert other.code == 0, other.err
    (firexlite.folder / "now").touch()


def test_ctrl_c_ends_a_command_that_waits_for_a_key(firexlite: Command, plugin) -> None:
    import fcntl
    import signal

    plugin(STEPS)
    folder = firexlite.home / "keys"
    folder.mkdir(parents=True)
    with open(folder / KEY, "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        process = firexlite.start(*SUBMIT)
        wait_until(lambda: _waits_for_a_lock(process.pid), what="command that waits")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)

    assert process.returncode == 130
    assert firexlite.runs() == []


# --- other places ---------------------------------------------------------------------------------------------------

def test_a_home_that_was_restored_without_the_notes_knows_the_key_by_the_run(firexlite: Command, plugin, effects) -> None:
    plugin(BROKEN)
    failed = firexlite(*SUBMIT)
    restored = firexlite.home.with_name("restored")
    shutil.copytree(firexlite.home, restored)
    shutil.rmtree(restored / "keys")
    plugin(STEPS)

    done = firexlite(*SUBMIT, FIREXLITE_HOME=str(restored))

    assert (done.code, done.firex_id) == (0, failed.firex_id), done.err
    assert effects() == {"one": 1, "two": 2}
    assert firexlite("show", KEY, FIREXLITE_HOME=str(restored)).code == 0


def test_the_same_command_given_elsewhere_with_the_code_elsewhere_is_the_same(firexlite: Command, plugin, effects) -> None:
    plugin(BROKEN)
    failed = firexlite(*SUBMIT)
    checkout = firexlite.folder.with_name("checkout of another job")
    checkout.mkdir()
    (checkout / "services.py").write_text(STEPS)
    shutil.rmtree(firexlite.folder / "services.py", ignore_errors=True)
    os.unlink(firexlite.folder / "services.py")
    firexlite.folder = checkout

    done = firexlite(*SUBMIT)

    assert (done.code, done.firex_id) == (0, failed.firex_id), done.err
    assert effects() == {"one": 1, "two": 2}


def test_a_key_whose_run_was_removed_starts_anew(firexlite: Command, plugin, effects) -> None:
    plugin(STEPS)
    first = firexlite(*SUBMIT)
    shutil.rmtree(firexlite.only_run().path)

    again = firexlite(*SUBMIT)

    assert again.code == 0
    assert again.firex_id != first.firex_id
    assert effects() == {"one": 2, "two": 2}


@pytest.mark.parametrize("key", ["build 7", "a/b", "../up", "ü", ".", "..", "100%", "*", "k" * 200])
def test_a_key_may_be_any_name(key, firexlite: Command) -> None:
    first = firexlite("submit", "--chain", "nop", "--key", key)
    assert first.code == 0, first.err

    again = firexlite("submit", "--chain", "nop", "--key", key)

    assert again.out == first.out
    assert firexlite("show", key).out.startswith(first.firex_id)
    assert {path.name[:6] for path in firexlite.home.iterdir()} == {"keys", "FireX-"}
    assert sorted(firexlite.home.parent.iterdir()) == sorted([firexlite.home, firexlite.folder])


UNFIT = {
    "": "is printable, and neither begins nor ends with a space", " a": "is printable", "a ": "is printable",
    "a\nb": "is printable",
    "last": "is not 'last'", "FireX-x": "begins neither with 'FireX-' nor with a dash", "k" * 201: "is no longer than some 200",
    "ü" * 40: "is no longer than some 200",
}


@pytest.mark.parametrize("key", UNFIT)
def test_a_key_that_could_be_something_else_is_refused(key, firexlite: Command) -> None:
    done = firexlite("submit", "--chain", "nop", f"--key={key}")

    assert (done.code, done.out) == (2, "")
    assert UNFIT[key] in done.err
    assert done.err.startswith("firexlite: --key takes a name of your own for the run, which ")
    assert not firexlite.home.exists()


@pytest.mark.parametrize("spoil", [
    lambda note: note.write_text("FireX-li-261123-101500-4711\n"), lambda note: note.write_text("../../etc\n"),
    lambda note: note.write_bytes(b"\xff" * 10), lambda note: note.write_text("x" * 5000), lambda note: note.write_text(""),
    lambda note: note.unlink()], ids=["of a run that is none", "a path", "no text", "long", "empty", "gone"])
def test_a_note_that_says_nothing_leaves_the_run_to_be_found_by_itself(spoil, firexlite: Command) -> None:
    first = firexlite("submit", "--chain", "nop", "--key", KEY)
    spoil(firexlite.home / "keys" / KEY)

    assert firexlite("submit", "--chain", "nop", "--key", KEY).out == first.out
    assert firexlite("show", KEY).code == 0


def test_a_link_in_the_place_of_a_note_is_not_followed(firexlite: Command, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("kept")
    (firexlite.home / "keys").mkdir(parents=True)
    (firexlite.home / "keys" / KEY).symlink_to(precious)

    done = firexlite("submit", "--chain", "nop", "--key", KEY)

    assert (done.code, precious.read_text()) == (2, "kept")
    assert done.err.startswith(f"firexlite: keys cannot be kept in {firexlite.home}/keys: ")


def test_a_file_in_the_place_of_the_notes_is_told_in_a_sentence(firexlite: Command) -> None:
    firexlite.home.mkdir()
    (firexlite.home / "keys").touch()

    done = firexlite("submit", "--chain", "nop", "--key", KEY)

    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "keys cannot be kept in" in done.err


def test_notes_are_private_to_their_owner(firexlite: Command) -> None:
    firexlite("submit", "--chain", "nop", "--key", KEY)

    assert [path.stat().st_mode & 0o777 for path in (firexlite.home / "keys", firexlite.home / "keys" / KEY)] == [0o700, 0o600]


def test_what_is_refused_leaves_the_key_free(firexlite: Command, plugin) -> None:
    plugin(STEPS)
    refused = firexlite("submit", "--plugins", "services.py", "--chain", "one,tow", "--key", KEY)
    assert refused.code == 2

    done = firexlite(*SUBMIT)

    assert done.code == 0, done.err


def test_a_secret_that_is_given_by_reference_is_the_same_again(firexlite: Command, plugin) -> None:
    plugin(STEPS)
    words = (*SUBMIT, "--name", "Secret(env:TOKEN)")
    first = firexlite(*words, TOKEN="tulip-4711-x")
    assert first.code == 0, first.err

    again = firexlite(*words, TOKEN="tulip-4711-x")

    assert (again.code, again.out) == (0, first.out)
    assert "tulip-4711-x" not in again.out + again.err


def test_a_key_is_forgotten_with_its_run(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FIREXLITE_HOME", str(tmp_path))
    held = keys.HeldKey(KEY)
    held.note("FireX-li-261123-101500-4711")
    held.release()

    keys.forget("FireX-li-261123-101500-4711")

    assert list((tmp_path / "keys").iterdir()) == []
    with pytest.raises(BadInput):
        keys.refuse_unfit("last")


# --- --like ---------------------------------------------------------------------------------------------------------

def test_like_takes_the_inputs_of_a_run(firexlite: Command, plugin) -> None:
    plugin(STEPS)
    first = firexlite(*SUBMIT, "--name", "Wu")

    second = firexlite("submit", "--like", KEY)

    assert second.code == 0, second.err
    assert second.firex_id != first.firex_id
    assert "second  second of Wu" in second.out
    assert json.loads(firexlite("runs", "--json", "-n", "1").out)[0]["key"] is None


def test_like_is_overridden_by_what_is_given(firexlite: Command, plugin) -> None:
    plugin(STEPS)
    firexlite(*SUBMIT, "--name", "Wu")

    second = firexlite("submit", "--like", "last", "--chain", "one", "--name", "Mo")

    assert second.out == f"FireX ID: {second.firex_id}\nAll tasks succeeded\n\nReturned values:\n  first  of Mo\n"


def test_like_from_another_folder_finds_the_plugins(firexlite: Command, plugin) -> None:
    plugin(STEPS)
    firexlite(*SUBMIT)
    (elsewhere := firexlite.folder.with_name("elsewhere")).mkdir()
    firexlite.folder = elsewhere

    done = firexlite("submit", "--like", "last")

    assert done.code == 0, done.err


def test_like_of_a_run_whose_plugins_are_gone_says_what_to_do(firexlite: Command, plugin) -> None:
    plugin(STEPS)
    first = firexlite(*SUBMIT)
    place = firexlite.folder / "services.py"
    place.unlink()

    done = firexlite("submit", "--like", "last")

    assert done == Finished(2, "", f"firexlite: {first.firex_id} recorded the plugin '{place}', which is not there any more; "
                                   f"give it another place with `firexlite submit --like {first.firex_id} --plugins FILES`\n")


def test_a_run_like_another_is_said_to_differ_in_nothing(firexlite: Command, plugin) -> None:
    plugin(STEPS)
    firexlite(*SUBMIT, "--name", "Wu")
    plugin(STEPS.replace('note("two")', 'raise ValueError("broken")'))
    failed = firexlite("submit", "--like", "last")

    since = json.loads(firexlite("why", failed.firex_id, "--json").out)["since_last_good"]

    assert [one["what"] for one in since["differences"]] == ["code"]


def test_who_waited_for_a_key_holds_the_file_that_others_find(tmp_path, monkeypatch):
    monkeypatch.setenv("FIREXLITE_HOME", str(tmp_path))
    path, firex_id = tmp_path / "keys" / "nightly", "FireX-li-261123-101500-4711"
    first, second = keys.HeldKey("nightly"), []
    first.note(firex_id)
    waiter = threading.Thread(target=lambda: second.append(keys.HeldKey("nightly")), daemon=True)
    waiter.start()
    wait_until(lambda: sum(os.path.realpath(fd) == str(path) for fd in Path("/proc/self/fd").iterdir()) == 2)

    keys.forget(firex_id)
    first.release()
    waiter.join(20)

    assert os.path.samestat(os.fstat(second[0]._fd), path.stat())
    second[0].release()
