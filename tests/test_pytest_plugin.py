"""The fixture `firexlite_run`, in a pytest of its own, and what it gives, with services that are real files."""
from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from unittest.mock import Mock

import pytest
from conftest import ROOT
from test_docs import files_to_paste

import firexlite as fx
from firexlite import host
from firexlite.rehearsal import Rehearsal

SERVICES = '''
from firexlite import Task, app

class Burnt(Exception):
    """It was in the oven for too long."""

@app.task(returns="dough")
def mix(flour, water=2):
    return flour * water

@app.task(bind=True, returns=["loaf", "crumbs"])
def bake(self, dough, *, heat=200):
    raise NotImplementedError

@app.task(autoretry_for=(Burnt,), default_retry_delay=0, returns="toast")
def toast(loaf):
    raise NotImplementedError

@app.task(returns="eaten")
async def eat(toast):
    return f"{toast}, eaten"

@app.task
def note(what):
    return {"noted": what}

@app.task(bind=True, returns="all")
def breakfast(self):
    return self.enqueue_child_and_extract(mix.s(flour=1) | bake.s() | toast.s())["toast"]
'''


@pytest.fixture
def bakery(tmp_path, monkeypatch):
    """A module with services that lies in a file."""
    name = f"bakery_of_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(SERVICES)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module(name)
    del sys.modules[name]


@pytest.fixture
def rehearse(tmp_path, monkeypatch):
    monkeypatch.setenv("FIREXLITE_HOME", str(tmp_path / "home"))
    return Rehearsal(tmp_path / "home")


# --- in a pytest of its own ------------------------------------------------------------------------------------------

def pytest_in(folder, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "firexlite.pytest_plugin", *arguments], cwd=folder,
                          env=env, capture_output=True, text=True, timeout=110)


def test_the_tests_of_the_page_pass(tmp_path):
    pasted = dict(files_to_paste(ROOT / "docs" / "testing.md"))
    assert pasted.keys() == {"flashing.py", "test_flashing.py"}
    for name, source in pasted.items():
        (tmp_path / name).write_text(source)

    done = pytest_in(tmp_path)

    tests = len(re.findall(r"^def test_", pasted["test_flashing.py"], re.MULTILINE))
    assert done.stdout.splitlines()[-1].startswith(f"{tests} passed"), done.stdout


def test_the_plugin_is_declared_and_imports_nothing_before_it_is_used(tmp_path):
    (tmp_path / "test_nothing.py").write_text(
        "import sys\n\ndef test_it():\n    assert {name for name in sys.modules if name.startswith('firexlite')} == "
        "{'firexlite', 'firexlite.version', 'firexlite.pytest_plugin'}\n")

    done = pytest_in(tmp_path)

    assert done.returncode == 0, done.stdout
    assert '"pytest11": ["firexlite = firexlite.pytest_plugin"]' in (ROOT / "setup.py").read_text()


def test_each_test_has_a_home_of_its_own_and_nothing_is_left_running(tmp_path):
    (tmp_path / "services.py").write_text("from firexlite import app\n\n@app.task(returns='pid')\ndef pid():\n"
                                          "    import os\n    return os.getppid()\n")
    (tmp_path / "test_homes.py").write_text('''
import os
from services import pid

def test_one(firexlite_run, tmp_path):
    result = firexlite_run(pid.s())
    assert [path.name for path in firexlite_run.home.glob("FireX-*")] == [result.firex_id]
    assert result.path.is_relative_to(tmp_path)
    print("pid", result["pid"])

test_two = test_one
''')

    done = pytest_in(tmp_path, "-s")

    assert "2 passed" in done.stdout, done.stdout
    pids = [int(pid) for pid in re.findall(r"pid (\d+)", done.stdout)]
    assert len(pids) == 2
    assert [pid for pid in pids if host.start_time(pid) is not None] == []


# --- fakes ----------------------------------------------------------------------------------------------------------

def test_a_fake_is_called_here_with_the_arguments_that_it_takes(bakery, rehearse):
    seen = {}

    def bake(dough, heat, **others):
        seen.update(dough=dough, heat=heat, others=others, pid=os.getpid())
        return "a loaf", 3

    result = rehearse(bakery.mix.s(flour=3) | bakery.bake.s(heat=250), fakes={"bake": bake})

    assert seen == {"dough": 6, "heat": 250, "others": {}, "pid": os.getpid()}
    assert result.values == {"dough": 6, "loaf": "a loaf", "crumbs": 3}
    assert result.task("bake").arguments == {"dough": 6, "heat": 250}


def test_a_fake_may_be_a_mock(bakery, rehearse):
    bake = Mock(return_value=("a loaf", 0))

    rehearse(bakery.bake.s(dough=1), fakes={"bake": bake})

    bake.assert_called_once_with(dough=1, heat=200)


@pytest.mark.parametrize("service, fake, values", [
    ("bake", {"crumbs": 1, "loaf": "rye"}, {"loaf": "rye", "crumbs": 1}),
    ("bake", ("rye", 1), {"loaf": "rye", "crumbs": 1}),
    ("mix", {"dough": 5}, {"dough": 5}),
    ("mix", {"flour": 5}, {"dough": {"flour": 5}}),
    ("mix", [1, 2], {"dough": [1, 2]}),
    ("eat", "crumbs", {"eaten": "crumbs"}),
    ("note", {"noted": 1, "twice": 2}, {"noted": 1, "twice": 2}),
    ("note", lambda: None, {}),
])
def test_what_a_fake_returns_is_named_as_the_service_declares(bakery, rehearse, service, fake, values):
    chain = getattr(bakery, service).s(**{"bake": {"dough": 1}, "mix": {"flour": 1}, "eat": {"toast": "t"}, "note": {"what": 1}}
                                       [service])

    assert rehearse(chain, fakes={service: fake}).values == values


def test_what_a_fake_raises_fails_the_task_with_the_line_of_the_test(bakery, rehearse):
    def bake():
        raise bakery.Burnt("black")

    result = rehearse(bakery.breakfast.s(), fakes={"bake": bake}, check=False)

    [why] = result.failures
    assert (why.name, why.text, why.function) == ("bake", "Burnt: black", "bake")
    assert why.file == __file__
    assert isinstance(why.error, bakery.Burnt)


def test_a_fake_that_fails_is_tried_again_as_the_service_says(bakery, rehearse):
    toast = Mock(side_effect=[bakery.Burnt("black"), bakery.Burnt("brown"), "golden"])

    result = rehearse(bakery.toast.s(loaf="rye"), fakes={"toast": toast})

    assert result["toast"] == "golden"
    assert result.task("toast").retries == 2


def test_a_result_is_resumed_with_the_same_fakes(bakery, rehearse):
    toast = Mock(side_effect=[KeyError("no toaster"), "golden"])

    with pytest.raises(fx.RunFailed) as caught:
        rehearse(bakery.toast.s(loaf="rye"), fakes={"toast": toast})
    resumed = caught.value.result.resume()

    assert resumed["toast"] == "golden"
    assert rehearse.resume(resumed.firex_id, fakes={"toast": None})["toast"] == "golden"


def test_a_fake_of_no_service_is_refused(bakery, rehearse):
    with pytest.raises(fx.FirexliteError, match="^nothing can be faked under the name 'baek': there is no service 'baek'. "
                                                r"Did you mean 'bake'\?"):
        rehearse(bakery.breakfast.s(), fakes={"baek": None})

    assert list(rehearse.home.glob("*")) == []


def test_what_ends_a_test_in_a_fake_ends_the_run(bakery, rehearse):
    def bake():
        pytest.fail("not today")

    with pytest.raises(pytest.fail.Exception, match="not today"):
        rehearse(bakery.breakfast.s(), fakes={"bake": bake})

    [run] = rehearse.home.glob("FireX-*")
    assert not fx.resume(run.name, check=False, timeout=20).ok


# --- crashes --------------------------------------------------------------------------------------------------------

def test_a_crash_after_a_service_has_it_run_once(bakery, rehearse):
    bake = Mock(return_value=("a loaf", 0))

    result = rehearse(bakery.breakfast.s(), fakes={"bake": bake, "toast": "golden"}, crash_after="bake")

    assert result["all"] == "golden"
    assert bake.call_count == 1
    assert result.killed.state == "interrupted"
    assert result.killed.task("bake").ok
    assert not result.killed.task("toast").ok
    assert result.task("breakfast").attempts == 2
    result.assert_ran_once("bake")
    with pytest.raises(AssertionError, match=r"^breakfast did not run once: task 1 succeeded, after 2 attempts$"):
        result.assert_ran_once("breakfast")


def test_a_crash_in_a_service_has_it_run_twice(bakery, rehearse):
    bake = Mock(return_value=("a loaf", 0))

    result = rehearse(bakery.breakfast.s(), fakes={"bake": bake, "toast": "golden"}, crash_in="bake")

    assert bake.call_count == 2
    assert result.task("bake").attempts == 2
    assert not result.killed.task("bake").ok


def test_a_run_that_fails_after_the_crash_tells_what_the_kill_had_left(bakery, rehearse):
    with pytest.raises(fx.RunFailed) as caught:
        rehearse(bakery.mix.s(flour=1) | bakery.bake.s(), fakes={"bake": KeyError("no oven")}, crash_after="mix")

    assert [task.name for task in caught.value.result.killed.tasks if task.ok] == ["mix"]
    caught.value.result.assert_ran_once("mix")


def test_the_second_task_of_a_service_can_be_meant(bakery, rehearse):
    result = rehearse(bakery.mix.s(flour=1) | bakery.mix.s(flour=2) | bakery.mix.s(flour=3), crash_after="mix#2", workers=1)

    assert [task.ok for task in result.killed.tasks] == [True, True, False]
    assert [task.attempts for task in result.tasks] == [1, 1, 2]  # the third was claimed along with the success of the second


def test_a_crash_that_never_comes_fails_the_test(bakery, rehearse):
    with pytest.raises(AssertionError) as caught:
        rehearse(bakery.mix.s(flour=1), crash_after="bake")

    [run] = rehearse.home.glob("FireX-*")
    assert str(caught.value) == f"nothing was killed, since bake never succeeded; {run.name} succeeded:\nmix"


def test_a_run_crashes_once(bakery, rehearse):
    with pytest.raises(fx.FirexliteError, match="give crash_after or crash_in"):
        rehearse(bakery.mix.s(flour=1), crash_after="mix", crash_in="mix")
