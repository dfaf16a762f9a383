"""Values that JSON cannot hold: refused with the ways out, or pickled where the user asks for it."""
from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import types
from pathlib import Path

import numpy
import pytest
from conftest import NOTE, Command, kill_all, query, wait_until

from firexlite import codec, pickled
from firexlite.codec import canonical, decode, digest, display, encode
from firexlite.errors import BadInput, NotReadable, NotStorable, SecretUnavailable
from firexlite.pickled import KEY_FILE, SHOWN_LIMIT, pickles
from firexlite.secrets import Secret, vault

FIREX_ID = "FireX-li-261123-101500-4711"


class Frame:
    """Looks like a DataFrame: columns of numbers, of no class that JSON knows."""

    def __init__(self, **columns):
        self.columns = {name: numpy.array(column) for name, column in columns.items()}

    def total(self, name):
        return int(self.columns[name].sum())

    def __eq__(self, other):
        return type(other) is Frame and repr(self) == repr(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self):
        return f"Frame({', '.join(f'{name}: {list(map(int, column))}' for name, column in self.columns.items())})"


class Node:
    def __init__(self, name, *children):
        self.name, self.children, self.parent = name, list(children), None
        for child in children:
            child.parent = self


class Tags(set):
    pass


class Untold:
    def __repr__(self):
        raise RuntimeError("no words")


class NeedsALock:
    def __init__(self):
        self.lock = threading.Lock()


class LeavesItsLockOut(NeedsALock):
    def __getstate__(self):
        return {}


class Raises:
    def __reduce__(self):
        raise RuntimeError("not today")


def grow(amount):
    return amount + 1


FILE = open(os.devnull)  # noqa: SIM115 - it is only looked at


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FIREXLITE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def pickling(home, monkeypatch):
    """This process is a worker of a run that stores pickled values."""
    monkeypatch.setattr(pickles, "may_load", True)
    pickles.begin_run(FIREX_ID)
    yield
    pickles.begin_run(None)


# --- there and back --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("value", [
    Frame, grow, Frame(a=[1, 2]), Tags("ab"), numpy.float64(1.5), types.SimpleNamespace, len, slice(1, 2),
    [1, {"deep": (Frame(a=[1]), "plain")}], numpy.int64(7)], ids=lambda value: type(value).__name__)
def test_what_json_cannot_hold_comes_back(value, pickling):
    text = encode(value)

    assert decode(text) == value
    assert type(decode(text)) is type(value)
    assert text.isascii()


def test_an_array_comes_back(pickling):
    array = numpy.arange(6).reshape(2, 3)

    assert numpy.array_equal(decode(encode({"array": array}))["array"], array)


def test_only_the_part_that_json_cannot_hold_is_pickled(pickling):
    text = encode({"guests": ["Li", Frame(a=[1])]})

    assert json.loads(text)["guests"][0] == "Li"
    assert json.loads(text)["guests"][1]["class"] == f"{__name__}:Frame"


def test_a_value_that_contains_itself_comes_back(pickling):
    ring: list = [1]
    ring.append(ring)

    [one, itself] = decode(encode(ring))

    assert one == 1
    assert itself[1] is itself


def test_plain_values_are_stored_as_ever(pickling):
    assert encode({"a": (1, {2})}) == '{"a":{"$type":"tuple","value":[1,{"$type":"set","value":[2]}]}}'


def test_a_codec_comes_before_a_pickle(pickling, monkeypatch):
    monkeypatch.setattr(codec, "CODECS", dict(codec.CODECS))
    monkeypatch.setattr(codec, "CODEC_OF", dict(codec.CODEC_OF))
    codec.register_codec(Untold, lambda value: "a form", lambda plain: Untold(), name="untold")

    assert encode(Untold()) == '{"$type":"untold","value":"a form"}'


# --- shown -------------------------------------------------------------------------------------------------------------

def test_a_reader_is_shown_the_repr(pickling, monkeypatch):
    text = encode({"frame": Frame(a=[1, 2]), "cls": Frame})
    monkeypatch.setattr(pickles, "may_load", False)

    assert display(text) == {"frame": "Frame(a: [1, 2])", "cls": f"<class '{__name__}.Frame'>"}


def test_a_long_repr_is_cut(pickling):
    shown = display(encode(numpy.str_("x" * SHOWN_LIMIT)))

    assert len(shown) == SHOWN_LIMIT
    assert shown.endswith("xx ... (cut)")


def test_a_value_whose_repr_fails_is_told_of_by_its_class(pickling):
    assert display(encode(Untold())) == f"<{__name__}:Untold whose repr() fails>"


@pytest.mark.parametrize("record", [{}, {"shown": 5}, {"shown": {"a": 1}, "value": "gAWVBQ=="}])
def test_whatever_is_called_a_pickle_is_shown(record):
    assert isinstance(display(json.dumps({"$type": "pickle", **record})), str)


# --- refused -----------------------------------------------------------------------------------------------------------

def test_without_pickling_the_ways_out_are_told():
    with pytest.raises(NotStorable) as caught:
        encode([Frame(a=[1])], "what weigh returned as frames")

    assert str(caught.value) == (
        f"what weigh returned as frames[0] is a {__name__}.Frame, which the journal cannot store; pass plain data or a "
        "File, register a codec (firexlite.register_codec), or use --pickle (FIREXLITE_PICKLE=1)")


@pytest.mark.parametrize("value, part, why", [
    (lambda: 1, "", "a function, which the journal cannot store, nor can it be pickled: .*lambda"),
    ({"lock": threading.Lock()}, "['lock']",
     "a _thread.lock, which the journal cannot store, nor can it be pickled: cannot pickle '_thread.lock' object"),
    (FILE, "", "a _io.TextIOWrapper, .* nor can it be pickled: cannot pickle '_io.TextIOWrapper' object"),
    (NeedsALock(), "", "a test_pickled.NeedsALock, .* nor can it be pickled: cannot pickle '_thread.lock' object"),
    (Raises(), "", "a test_pickled.Raises, .* nor can it be pickled: not today"),
    ((x for x in "a"), "", "a generator, .* nor can it be pickled: cannot pickle 'generator' object")],
    ids=["lambda", "lock", "file", "object with a lock", "refusing", "generator"])
def test_what_cannot_be_pickled_is_refused_with_the_reason(value, part, why, pickling):
    with pytest.raises(NotStorable, match=why) as caught:
        encode(value, "what weigh returned as it")

    assert caught.value.path == "what weigh returned as it" + part
    assert str(caught.value).endswith(
        "; pass plain data or a File, or register a codec (firexlite.register_codec)")


def test_a_class_may_leave_out_what_cannot_be_pickled(pickling):
    assert type(decode(encode(LeavesItsLockOut()))) is LeavesItsLockOut


def test_an_error_is_told_without_what_json_cannot_hold(pickling):
    error = ValueError("bad", Frame(a=[1]))
    error.frame = Frame(a=[2])  # type: ignore[attr-defined]

    text = codec.encode_error(error)

    assert pickled.MARK not in text
    assert codec.decode_error(text).args == ("('bad', Frame(a: [1]))",)


# --- loaded only where it may be --------------------------------------------------------------------------------------------

def test_readers_and_runs_without_pickling_load_nothing(pickling, monkeypatch):
    text = encode(Frame(a=[1]))
    sentence = (f"a pickled {__name__}:Frame is loaded only by the workers of a run that stores pickled values, which "
                "`submit --pickle` and `resume --pickle` ask for")

    monkeypatch.setattr(pickles, "may_load", False)
    with pytest.raises(NotReadable) as as_reader:
        decode(text)
    monkeypatch.setattr(pickles, "may_load", True)
    pickles.begin_run(None)
    with pytest.raises(NotReadable) as without:
        decode(text)

    assert str(as_reader.value) == str(without.value) == sentence


@pytest.mark.parametrize("change", [
    lambda record: {**record, "seal": "0" * 32}, lambda record: {**record, "seal": ""}, lambda record: {**record, "seal": None},
    lambda record: {**record, "seal": "ü"}, lambda record: {**record, "value": record["value"][:-4] + "AAA="}],
    ids=["another seal", "empty", "none", "not ASCII", "another value"])
def test_what_does_not_carry_its_seal_is_not_loaded(change, pickling, home):
    record = json.loads(encode(Frame(a=[1])))

    with pytest.raises(NotReadable) as caught:
        decode(json.dumps(change(record)))

    assert str(caught.value) == (
        f"a pickled {__name__}:Frame was not written for this run with the key in {home}, or was changed since: to load it "
        "would be to run whatever its writer chose")


def test_a_value_of_another_run_is_not_loaded(pickling):
    text = encode(Frame(a=[1]))
    pickles.begin_run(FIREX_ID.replace("4711", "4712"))

    with pytest.raises(NotReadable, match="was not written for this run"):
        decode(text)


def test_a_value_of_another_home_is_not_loaded(pickling, tmp_path, monkeypatch):
    text = encode(Frame(a=[1]))
    monkeypatch.setenv("FIREXLITE_HOME", str(tmp_path / "another"))
    pickles.begin_run(FIREX_ID)

    with pytest.raises(NotReadable, match="was not written for this run"):
        decode(text)


def test_a_value_that_cannot_be_loaded_is_not_readable(pickling, monkeypatch):
    text = encode(Frame(a=[1]))
    monkeypatch.delattr(sys.modules[__name__], "Frame")

    with pytest.raises(NotReadable, match=r"a stored pickle cannot be rebuilt: AttributeError: .*Frame"):
        decode(text)


# --- the key ---------------------------------------------------------------------------------------------------------------

def test_the_key_is_for_its_owner_alone_and_stays(pickling, home):
    first = pickles.fingerprint()
    pickles.begin_run(FIREX_ID)

    assert pickles.fingerprint() == first
    assert [path.name for path in home.iterdir()] == [KEY_FILE]
    assert stat.S_IMODE((home / KEY_FILE).stat().st_mode) == 0o600
    assert (home / KEY_FILE).stat().st_size == 32


def test_a_run_that_pickles_nothing_needs_no_key(home):
    pickles.begin_run(None)

    assert pickles.fingerprint() is None
    assert not home.exists()


@pytest.mark.parametrize("spoil, sentence", [
    (lambda key: key.chmod(0o640), "may be used by others, so what was pickled before cannot be trusted; remove it: rm {key}"),
    (lambda key: key.write_bytes(b"short"), "has not its 32 bytes; bring it back, or remove it, after which what was pickled "
                                            "before cannot be loaded: rm {key}"),
    (lambda key: (key.unlink(), key.symlink_to("/etc/passwd")), "cannot be had: Too many levels of symbolic links"),
    (lambda key: (key.unlink(), os.mkfifo(key, 0o600)), "cannot be had: not a regular file")],
    ids=["open to others", "cut off", "a link", "a pipe"])
def test_a_key_that_may_be_another_persons_is_not_used(spoil, sentence, pickling, home):
    pickles.fingerprint()
    key = home / KEY_FILE
    spoil(key)
    pickles.begin_run(FIREX_ID)

    with pytest.raises(BadInput) as caught:
        encode(Frame(a=[1]))

    assert str(caught.value) == f"{key}, with which pickled values are sealed, {sentence.format(key=key)}"


@pytest.mark.parametrize("chosen, is_set", [("", False), ("0", False), ("1", True)])
def test_the_setting(chosen, is_set, monkeypatch):
    monkeypatch.setenv("FIREXLITE_PICKLE", chosen)

    assert pickled.is_set() is is_set


def test_a_setting_that_is_not_known_is_refused(monkeypatch):
    monkeypatch.setenv("FIREXLITE_PICKLE", "maybe")

    with pytest.raises(BadInput) as caught:
        pickled.is_set()

    assert str(caught.value) == ("FIREXLITE_PICKLE is 'maybe'; it takes 1, to store pickled what JSON cannot hold, or 0, "
                                 "the default")


# --- secrets -----------------------------------------------------------------------------------------------------------------

@pytest.fixture
def token(monkeypatch):
    monkeypatch.setenv("TOKEN", "hunter2-hunter2")
    yield Secret("env:TOKEN")
    vault.forget()


class Holder:
    def __init__(self, it):
        self.it = it

    def __repr__(self):
        return "Holder"


@pytest.mark.parametrize("form", [str, str.encode, lambda text: numpy.array([text]), lambda text: [{"deep": text}]],
                         ids=["str", "bytes", "array", "deep"])
def test_the_value_of_a_secret_is_not_pickled(form, token, pickling):
    value = Holder(form(token.reveal()))

    with pytest.raises(NotStorable) as caught:
        encode(value, "what ask returned as it")

    assert str(caught.value).startswith(
        f"what ask returned as it is a {__name__}.Holder, which the journal cannot store, nor can it be pickled: it holds the "
        "value of a secret, which could not be masked in a pickle; ")


def test_a_secret_within_a_value_is_pickled_as_its_reference_and_arrives_as_its_value(token, pickling):
    text = encode(Holder(token))

    assert "hunter2" not in text
    assert b"hunter2" not in pickled.base64.b64decode(json.loads(text)["value"])
    assert decode(text).it == "hunter2-hunter2"


def test_a_secret_that_cannot_be_had_is_refused(pickling):
    with pytest.raises(SecretUnavailable):
        encode(Holder(Secret("env:NOT_THERE")))


# --- known again by a replay ----------------------------------------------------------------------------------------------

DIGEST = """
import sys
sys.path.insert(0, sys.argv[1])
from test_pickled import *
pickles.begin_run(FIREX_ID)
tags = Tags("abcdefgh")
tags.note = {"b", "a"}
print(digest(canonical([Frame(b=[1], a=[2.5]), tags, grow, Frame, numpy.arange(3), Node("a", Node("b")), len])))
"""


def test_equal_values_have_one_digest_in_every_process(home):
    found = {subprocess.run([sys.executable, "-c", DIGEST, str(Path(__file__).parent)], check=True, capture_output=True,
                            timeout=60, env={**os.environ, "PYTHONHASHSEED": seed}).stdout for seed in ("1", "2", "3")}

    assert len(found) == 1


def test_other_values_have_another_digest(pickling):
    values = [Frame(a=[1]), Frame(a=[2]), Frame(b=[1]), Frame, grow, Tags("a"), Tags("b"), Node("a"), Node("a", Node("b")),
              numpy.array([1]), numpy.array([1.0]), numpy.array([2])]

    assert len({digest(canonical(value)) for value in values}) == len(values)


def test_which_equal_parts_are_one_object_has_no_say_in_the_digest(pickling):
    one, another = "".join(["a", "b"]), "".join(["a", "b"])

    assert canonical(Holder([one, one])) == canonical(Holder([one, another]))
    assert one is not another


def test_a_value_that_went_through_the_journal_has_the_same_digest(pickling):
    value = [Frame(a=[1]), Node("a", Node("b")), Tags("abc")]

    assert canonical(decode(encode(value))) == canonical(value)


def test_what_is_too_deep_to_be_taken_apart_is_known_by_its_class(pickling):
    node = Node("last")
    for _ in range(120):
        node = Node("above", node)

    assert canonical(node) == canonical(node)
    assert decode(encode(node)).name == "above"


# --- whole runs ---------------------------------------------------------------------------------------------------------

SERVICES = NOTE + """
import numpy, threading
from firexlite import InjectArgs

class Frame:
    def __init__(self, **columns): self.columns = {name: numpy.array(column) for name, column in columns.items()}
    def __repr__(self): return f"Frame of {', '.join(self.columns)}"

def grow(frame): return Frame(**{name: column + 1 for name, column in frame.columns.items()})

@app.task(returns=["frame", "how", "kind"])
def measure(size=3):
    note("measured")
    return Frame(a=range(int(size))), grow, Frame

@app.task(returns="grown")
def change(frame, how, kind):
    assert type(frame) is kind
    return [how(frame)]

@app.task(returns="total")
def add_up(grown): return int(grown[0].columns["a"].sum())

@app.task(bind=True, returns="total")
def top(self):
    frame = self.enqueue_child_and_get_results(measure.s())["frame"]
    note("asks")
    if os.path.exists("wait"):
        os.unlink("wait")
        open("waiting", "w").close()
        wait_for_file("never")
    return self.enqueue_child_and_get_results(add_up.s(grown=[grow(frame)]))["total"]

@app.task(returns="lock")
def locked(): return threading.Lock()
"""
CHAIN = ("--plugins", "services.py", "--chain", "measure,change,add_up")


def test_a_class_a_function_and_a_frame_pass_through_a_chain(firexlite: Command, plugin, effects):
    plugin(SERVICES)

    done = firexlite("submit", *CHAIN, "--pickle")
    shown = firexlite.flame(done.firex_id)["tasks"]

    assert done.code == 0, done.err
    assert "  frame  Frame of a" in done.out.splitlines()
    assert shown[0]["result"] == {"frame": "Frame of a", "kind": "<class 'services.Frame'>", "how": shown[0]["result"]["how"]}
    assert shown[0]["result"]["how"].startswith("<function grow at 0x")
    assert shown[1]["args"]["frame"] == "Frame of a"
    assert shown[1]["result"] == {"grown": ["Frame of a"]}
    assert json.loads(firexlite.only_run().run_json.read_text())["results"]["chain_results"]["total"] == 6


def test_the_setting_does_as_the_option_does(firexlite: Command, plugin, effects):
    plugin(SERVICES)

    assert firexlite("submit", *CHAIN, FIREXLITE_PICKLE="1").code == 0


def test_a_large_pickle_lies_in_a_blob(firexlite: Command, plugin, effects):
    plugin(SERVICES)

    done = firexlite("submit", *CHAIN, "--pickle", "--size", "50000")

    assert done.code == 0, done.err
    assert "total  1250025000" in done.out
    assert any(path.stat().st_size > 400_000 for path in firexlite.only_run().blobs.iterdir())


def test_a_run_without_it_names_service_value_and_ways_out_and_a_resume_turns_it_on(firexlite: Command, plugin, effects):
    plugin(SERVICES)

    failed = firexlite("submit", *CHAIN)
    resumed = firexlite("resume", failed.firex_id, "--pickle")
    [(options,)] = query(firexlite.only_run(), "SELECT options FROM run")

    assert failed.code == 1
    told = " ".join((failed.err + failed.out).split())
    assert ("NotStorable: what measure returned as frame is a services.Frame, which the journal cannot store; pass plain data "
            "or a File, register a codec (firexlite.register_codec), or use --pickle (FIREXLITE_PICKLE=1)") in told
    assert resumed.code == 0, resumed.err
    assert len(json.loads(options)["pickle"]) == 16


def test_a_resume_goes_on_as_recorded(firexlite: Command, plugin, effects):
    plugin(SERVICES)
    (firexlite.folder / "wait").touch()
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "top", "--pickle")
    wait_until((firexlite.folder / "waiting").exists)
    kill_all(process)

    done = firexlite("resume", firexlite.only_run().firex_id)

    assert (done.code, done.out.splitlines()[-1]) == (0, "  total  6"), done.err
    assert effects() == {"measured": 1, "asks": 2}


def test_a_parent_that_was_killed_gets_the_child_again_that_it_gave_a_pickled_value(firexlite: Command, plugin, effects):
    plugin(SERVICES + """
class Tags(set): pass

@app.task(returns="n")
def count(tags, frame):
    note("counted")
    open("waiting", "w").close()
    return len(tags)

@app.task(bind=True, returns="n")
def parent(self):
    child = self.enqueue_child(count.s(tags=Tags(["a", "b", "c", "d"]), frame=Frame(a=[1])))
    self.wait_for_children()
    if os.path.exists("wait"):
        os.unlink("wait")
        wait_for_file("never")
    return child.result["n"]
""")
    (firexlite.folder / "wait").touch()
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "parent", "--pickle", PYTHONHASHSEED="1")
    wait_until(lambda: (firexlite.folder / "waiting").exists() and not (firexlite.folder / "wait").exists())
    kill_all(process)

    done = firexlite("resume", firexlite.only_run().firex_id, PYTHONHASHSEED="2")

    assert (done.code, done.out.splitlines()[-1]) == (0, "  n  4"), done.err
    assert effects() == {"counted": 1}


def test_a_lock_is_refused_all_the_same(firexlite: Command, plugin, effects):
    plugin(SERVICES)

    done = firexlite("submit", "--plugins", "services.py", "--chain", "locked", "--pickle")

    assert done.code == 1
    assert ("what locked returned as lock is a _thread.lock, which the journal cannot store, nor can it be pickled: cannot "
            "pickle '_thread.lock' object; ") in " ".join((done.err + done.out).split())


def test_workers_that_import_the_services_themselves_pickle_too(firexlite: Command, plugin, effects):
    plugin(SERVICES + "\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n")

    done = firexlite("submit", *CHAIN, "--pickle")

    assert (done.code, done.out.splitlines()[-1]) == (0, "  total  6"), done.err


def test_a_setting_that_is_not_known_begins_nothing(firexlite: Command, plugin, effects):
    plugin(SERVICES)

    done = firexlite("submit", *CHAIN, FIREXLITE_PICKLE="maybe")

    assert (done.code, firexlite.runs()) == (2, [])
    assert done.err.startswith("firexlite: FIREXLITE_PICKLE is 'maybe'; it takes 1, ")


def test_a_default_that_json_cannot_hold_is_shown_and_used(firexlite: Command, plugin, effects):
    plugin(SERVICES + "\n@app.task(returns='n')\ndef size(frame=Frame(a=[1, 2])): return len(frame.columns['a'])\n")

    done = firexlite("submit", "--plugins", "services.py", "--chain", "size", "--pickle")

    assert done.out.splitlines()[-1] == "  n  2"
    assert firexlite.flame(done.firex_id)["tasks"][0]["defaults"] == {"frame": "Frame of a"}
    with sqlite3.connect(f"file:{firexlite.only_run().journal}?mode=ro", uri=True) as db:
        assert pickled.MARK not in "".join(str(row) for row in db.execute("SELECT about FROM service"))
