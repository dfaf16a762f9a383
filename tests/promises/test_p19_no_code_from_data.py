"""No code comes from data: what a journal names is never imported or called to show it, and services come only from
files that were named and that nobody else could have written."""
from __future__ import annotations

import base64
import json
import os
import pickle
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Command, query
from spoilt import copy_of, falsify
from warm import STRANGER, Ended, Warm

from firexlite import host
from firexlite.home import RunDirectory

pytest_plugins = ["sound_runs"]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")

EVIL = "import os\nos.mkdir('was here')\n\nclass Boom:\n    def __reduce__(self):\n        return os.mkdir, ('was here',)\n"
# What Python tells of code that is made, started or let out of the process.
STARTS = ("compile", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "os.fork", "os.forkpty",
          "pty.spawn", "ctypes.dlopen", "marshal.loads", "pickle.find_class", "socket.connect", "code.__new__")


class Boom:
    """To load it is to make a folder."""

    def __reduce__(self):
        return os.mkdir, ("was here",)


PLANTED = {"$type": "pickle", "class": "services:Frame", "shown": "Frame of a",
           "value": base64.b64encode(pickle.dumps(Boom())).decode(), "seal": "0" * 32}


@pytest.fixture
def hostile(sound_run: RunDirectory, tmp_path: Path) -> RunDirectory:
    """A run whose payloads, services and plugins name a module that lies in the working directory."""
    run = copy_of(sound_run, tmp_path / "home")
    (tmp_path / "evil.py").write_text(EVIL)
    (tmp_path / "tabulate.py").write_text(EVIL)
    values = [{"$type": "dataclass", "class": "evil:Boom", "value": {}}, {"$type": "enum", "class": "evil:Boom", "name": "X"},
              {"$type": "evil:Boom", "value": 1}, {"$type": "pickle", "value": "Y29zCnN5c3RlbQo="},
              PLANTED,
              {"$type": "ZoneInfo", "value": "evil"}, {"$type": "Path", "value": "/etc/passwd"},
              {"$type": "File", "value": ["/etc/passwd", 1, "0" * 64]}, "__import__('evil')", "{0.__class__}", "blob:evil"]
    arguments = json.dumps({f"a{n}": value for n, value in enumerate(values)})
    error = json.dumps({"$type": "exceptions", "table": [{
        "$type": "raised", "type": "evil:Boom", "name": "Boom", "text": "text", "args": ["a"], "attributes": {"a": values[0]},
        "traceback": "", "where": {"file": str(tmp_path / "evil.py"), "line": 1, "function": "evil"}, "explicit": False,
        "cause": None}], "value": {"$type": "exception", "value": 0}})
    about = json.dumps({"positional": ["a0"], "keyword_only": [], "positional_only": [], "var_positional": None,
                        "var_keyword": "more", "defaults": {"d": json.dumps(values[0])}, "returns": None,
                        "file": str(tmp_path / "evil.py"), "line": 1, "plugin": True, "short_name": "evil"})
    options = json.loads(_only(run, "SELECT options FROM run"))
    options["plugins"] = [{"path": "evil.py", "digest": "0"}, {"path": str(tmp_path / "evil.py"), "digest": "0"}]
    options["cwd"] = str(tmp_path)
    falsify(run, f"UPDATE task SET service = 'evil.Boom', arguments = '{_quoted(arguments)}'",
            f"INSERT INTO service VALUES ('evil.Boom', '{_quoted(about)}', '0')",
            f"UPDATE run SET inputs = '{_quoted(arguments)}', options = '{_quoted(json.dumps(options))}'",
            f"UPDATE attempt SET error = '{_quoted(error)}'",
            f"INSERT INTO flame VALUES (1, 'k', 'html', '{_quoted(json.dumps(values))}', 1)",
            "UPDATE task SET state = 'failed', move = 'fail' WHERE id = 2",
            "INSERT INTO event (at, task, attempt, move, state) VALUES (1e9, 2, 1, 'fail', 'failed')",
            "UPDATE attempt SET ended = 1e9, outcome = 'failed' WHERE task = 2")
    return run


def _quoted(text: str) -> str:
    return text.replace("'", "''")


def _only(run: RunDirectory, sql: str) -> str:
    [(value,)] = query(run, sql)
    return value


def started(ended: Ended) -> list[list[str]]:
    """What a command imported, compiled or started that is not of Python, of an installed package, or of firexlite."""
    paths = {os.path.realpath(path) for name in ("stdlib", "platstdlib", "purelib", "platlib")
             if (path := sysconfig.get_path(name))} | {str(Path(__file__).parent.parent.parent / "firexlite")}
    own = tuple(os.path.join(path, "") for path in paths)
    found = []
    for event, *arguments in ended.did:
        is_code = event == "exec" and not os.path.realpath(arguments[0]).startswith((*own, "<frozen", os.path.realpath("<")))
        is_strange = event == "import" and arguments[0].partition(".")[0] in ("evil", "services")
        is_a_look = host.IS_PORTABLE and event == "subprocess.Popen" and arguments[0] in ("ps", "mount")
        if is_code or is_strange or (event.startswith(STARTS) and not is_a_look):
            found.append([event, *arguments])
    return found


@pytest.mark.parametrize("words", ["runs", "flame {id}", "flame --json {id}", "doctor {id}", "doctor --json {id}",
                                   "import {path}"])
def test_to_look_at_a_hostile_journal_starts_nothing(words: str, hostile: RunDirectory, tmp_path: Path, warm: Warm) -> None:
    is_import = words.startswith("import")
    home = tmp_path / ("another" if is_import else "home")

    ended = warm(*(word.format(id=hostile.firex_id, path=hostile.path) for word in words.split()),
                 env={"FIREXLITE_HOME": str(home)}, folder=str(tmp_path), is_audited=True)

    assert ended.did, "nothing was recorded"
    assert started(ended) == []
    assert not (tmp_path / "was here").exists()
    assert "Traceback" not in ended.err
    assert ended.code == (0 if words == "runs" or words.startswith("flame") else ended.code)


def test_the_record_would_show_an_import(tmp_path: Path, warm: Warm) -> None:
    (tmp_path / "evil.py").write_text(EVIL)

    ended = warm("list", "--plugins", "evil.py", folder=str(tmp_path), is_audited=True)
    (tmp_path / "was here").rmdir()

    assert ended.code == 0
    assert ["exec", str(tmp_path / "evil.py")] in started(ended)


def test_a_module_beside_the_user_takes_no_part_in_a_command(sound_run: RunDirectory, firexlite: Command) -> None:
    for name in ("click", "peewee", "tabulate", "json", "sqlite3", "services"):
        (firexlite.folder / f"{name}.py").write_text(EVIL)
    copy_of(sound_run, firexlite.home)
    script = Path(sysconfig.get_path("scripts")) / "firexlite"

    done = subprocess.run([script, "flame", sound_run.firex_id], cwd=firexlite.folder, env=firexlite.env, timeout=60,
                          capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")
    assert not (firexlite.folder / "was here").exists()


# --- pickled values -------------------------------------------------------------------------------------------------

SERVICES = """
from firexlite import app

@app.task(returns="text")
def write(size): raise RuntimeError("it is done already")

@app.task(returns="length")
def wait(text): return len(str(text))
"""


@pytest.fixture
def planted(sound_run: RunDirectory, tmp_path: Path):
    """A run of a stranger in which the first task returned what runs code when it is loaded. fingerprint: as it is recorded."""
    def planted(fingerprint: str | None) -> RunDirectory:
        run = copy_of(sound_run, tmp_path / "sent")
        options = {**json.loads(_only(run, "SELECT options FROM run")), "pickle": fingerprint}
        falsify(run, f"UPDATE task SET result = '{_quoted(json.dumps({'text': PLANTED}, separators=(',', ':')))}' WHERE id = 1",
                f"UPDATE run SET options = '{_quoted(json.dumps(options))}'")
        return run

    return planted


@pytest.fixture
def go_on(firexlite: Command):
    (firexlite.folder / "services.py").write_text(SERVICES)

    def go_on(run: RunDirectory, *options: str):
        """Resume a run, with services that are the user's own; nothing that was planted has run."""
        done = firexlite("resume", run.firex_id, "--plugins", "services.py", *options)
        shown = firexlite.flame(run.firex_id)["tasks"]
        assert list(firexlite.folder.parent.rglob("was here")) == []
        assert shown[0]["result"] == {"text": "Frame of a"}
        return done

    return go_on


@pytest.mark.parametrize("options", [(), ("--pickle",)])
def test_an_imported_run_with_pickled_values_is_not_resumed(options, planted, go_on, firexlite: Command) -> None:
    run = planted("0123456789abcdef")
    imported = firexlite("import", run.path)

    done = go_on(run, *options)

    assert imported.code == 0, imported.err
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"firexlite: {run.firex_id} was not resumed: the result of task 1 was pickled by somebody else, or in another home "
        f"than {firexlite.home}, and to load it would be to run whatever its writer chose; look at the run freely, or have its "
        "work done anew with `firexlite submit`\n")


def test_a_run_that_was_merely_copied_into_the_home_is_not_resumed_with_them_either(planted, go_on,
                                                                                   firexlite: Command) -> None:
    done = go_on(copy_of(planted("0123456789abcdef"), firexlite.home))

    assert (done.code, "was pickled by somebody else" in done.err) == (2, True)


@pytest.mark.parametrize("options, sentence", [
    ((), "a pickled services:Frame is loaded only by the workers of a run that stores pickled values, which `submit --pickle` "
         "and `resume --pickle` ask for"),
    (("--pickle",), "a pickled services:Frame was not written for this run with the key in {home}, or was changed since: to "
                    "load it would be to run whatever its writer chose")])
def test_a_value_that_no_record_announces_is_not_loaded(options, sentence, planted, go_on, firexlite: Command) -> None:
    run = planted(None)
    firexlite("import", run.path)

    done = go_on(run, *options)

    assert done.code == 1
    assert firexlite.flame(run.firex_id)["tasks"][1]["exception"] == f"NotReadable({sentence.format(home=firexlite.home)!r})"


def test_an_imported_run_that_merely_might_have_pickled_is_resumed(sound_run: RunDirectory, tmp_path: Path,
                                                                  firexlite: Command) -> None:
    run = copy_of(sound_run, tmp_path / "sent")
    options = {**json.loads(_only(run, "SELECT options FROM run")), "pickle": "0123456789abcdef"}
    falsify(run, f"UPDATE run SET options = '{_quoted(json.dumps(options))}'")
    (firexlite.folder / "services.py").write_text(SERVICES)
    firexlite("import", run.path)

    assert firexlite("resume", run.firex_id, "--plugins", "services.py").code == 0


# --- plugins --------------------------------------------------------------------------------------------------------

GREET = "from firexlite import app\n\n@app.task(returns='greeting')\ndef greet():\n    return 'Hello'\n"
ASK = ("submit", "--chain", "greet", "--plugins", "greet.py")


@pytest.fixture
def tree() -> Iterator[Path]:
    """A work tree that others may look into, with a plugin in it."""
    place = Path(tempfile.mkdtemp(prefix="firexlite-test-"))
    place.chmod(0o755)
    (place / "greet.py").write_text(GREET)
    yield place
    shutil.rmtree(place)


def submitted(tree: Path, warm: Warm, **how: object) -> Ended:
    return warm(*ASK, folder=str(tree), env={"FIREXLITE_HOME": str(tree / "home")}, **how)


def test_a_plugin_that_any_user_may_write_is_refused(tree: Path, warm: Warm) -> None:
    (tree / "greet.py").chmod(0o646)

    ended = submitted(tree, warm)

    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (f"firexlite: plugin 'greet.py' is not loaded, since any user may write to {tree}/greet.py; "
                         f"if you trust what is there: chmod o-w {tree}/greet.py\n")


def test_a_plugin_in_a_folder_that_any_user_may_write_is_refused(tree: Path, warm: Warm) -> None:
    tree.chmod(0o777)

    ended = submitted(tree, warm)

    assert (ended.code, ended.err) == (2, f"firexlite: plugin 'greet.py' is not loaded, since any user may write to {tree}; "
                                          f"if you trust what is there: chmod o-w {tree}\n")
    assert not (tree / "home").exists()


def test_a_link_is_judged_by_every_folder_that_it_leads_through(tree: Path, warm: Warm) -> None:
    (tree / "open").mkdir()
    (tree / "open").chmod(0o777)
    (tree / "open" / "greet.py").symlink_to(tree / "greet.py")
    (tree / "through.py").symlink_to("open/greet.py")
    (tree / "link.py").symlink_to("greet.py")

    ended = {name: warm("list", "--plugins", name, folder=str(tree)).code
             for name in ("open/greet.py", "through.py", "link.py")}

    assert ended == {"open/greet.py": 2, "through.py": 2, "link.py": 0}


def test_a_plugin_is_judged_by_every_folder_above_it(tree: Path, warm: Warm) -> None:
    (tree / "open" / "below").mkdir(parents=True)
    (tree / "open").chmod(0o777)
    (tree / "greet.py").rename(tree / "open" / "below" / "greet.py")

    ended = warm("list", "--plugins", "open/below/greet.py", folder=str(tree))

    assert (ended.code, ended.err) == (2, "firexlite: plugin 'open/below/greet.py' is not loaded, since any user may write to "
                                          f"{tree}/open; if you trust what is there: chmod o-w {tree}/open\n")


def test_a_folder_on_the_way_that_is_a_link_is_judged_too(tree: Path, warm: Warm) -> None:
    for name in ("open", "safe"):
        (tree / name).mkdir()
    (tree / "open").chmod(0o777)
    (tree / "greet.py").rename(tree / "safe" / "greet.py")
    (tree / "open" / "link").symlink_to("../safe")
    (tree / "link").symlink_to(tree / "safe")

    ended = {name: warm("list", "--plugins", name, folder=str(tree)).code for name in ("open/link/greet.py", "link/greet.py")}

    assert ended == {"open/link/greet.py": 2, "link/greet.py": 0}


def test_a_plugin_in_a_sticky_folder_is_loaded(tree: Path, warm: Warm) -> None:
    tree.chmod(0o1777)

    assert submitted(tree, warm).code == 0


def test_a_plugin_that_its_group_may_write_is_loaded(tree: Path, warm: Warm) -> None:
    tree.chmod(0o775)
    (tree / "greet.py").chmod(0o664)

    assert submitted(tree, warm, umask=0o002).code == 0


@as_root
def test_root_works_in_the_tree_of_another_user(tree: Path, warm: Warm) -> None:
    for path in (tree, *tree.rglob("*")):
        os.chown(path, STRANGER, STRANGER)

    ended = submitted(tree, warm)

    assert ended.code == 0, ended.err


@as_root
def test_a_user_without_a_name_works_in_the_tree_of_another(tree: Path, warm: Warm) -> None:
    (tree / "home").mkdir()
    os.chown(tree / "home", STRANGER, STRANGER)

    ended = submitted(tree, warm, uid=STRANGER)

    assert ended.code == 0, ended.err


def test_a_user_without_a_home_can_name_a_plugin_with_a_tilde(tree: Path, warm: Warm) -> None:
    ended = warm("list", "--plugins", "~nobody-of-this-name/x.py", folder=str(tree))

    assert (ended.code, ended.err) == (2, "firexlite: plugin '~nobody-of-this-name/x.py' is not there; "
                                          f"--plugins takes Python files and folders of them, looked for from {tree}\n")
