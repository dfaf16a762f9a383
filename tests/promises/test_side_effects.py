"""What a body does outside: keys that stay the same, and services that are not to run twice by themselves."""
from __future__ import annotations

import os
import signal

import pytest
from conftest import NOTE, kill_all, query, states, wait_until

FLASH = NOTE + """
@app.task(bind=True, on_interrupt=%r, returns="version")
def flash(self, board):
    note(f"flash {board}")
    open("begun", "w").write(str(os.getpid()))
    wait_for_file("go")
    return f"{board} 1.0"

@app.task(bind=True, returns="flashed")
def bench(self, careful=False):
    promise = self.enqueue_child(flash.s(board="A1"))
    self.wait_for_children(raise_exception_on_failure=not careful)
    return promise.result["version"] if promise.successful() else "spare board"

@app.task(returns="sticker")
def label(flashed): return f"[{flashed}]"
"""


@pytest.fixture
def flashing(firexlite, plugin, effects):
    """Starts a run whose body of `flash` has begun."""

    def start(on_interrupt, *words):
        plugin(FLASH % on_interrupt)
        process = firexlite.start("submit", "--plugins", "services.py", "--chain", "bench,label", "--workers", "2", *words)
        wait_until(lambda: (firexlite.folder / "begun").exists() and (firexlite.folder / "begun").read_text())
        return process, firexlite.only_run()

    return start


def kill_worker(firexlite):
    os.kill(int((firexlite.folder / "begun").read_text()), signal.SIGKILL)


def number_of(run, service):
    return query(run, "SELECT max(id) FROM task WHERE service LIKE ?", f"%{service}")[0][0]


def test_a_task_keeps_its_key_over_attempts_and_resumes_and_knows_which_attempt_it_is(firexlite, plugin, effects):
    plugin(NOTE + """
import signal

@app.task(bind=True)
def pay(self):
    note(f"{self.attempt} {self.task_key}")
    if self.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    open(f"begun{self.attempt}", "w").close()
    wait_for_file("go")

@app.task(bind=True)
def both(self):
    self.enqueue_child(pay.s())
    self.enqueue_child(pay.s())
""")
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "both", "--workers", "2")
    wait_until(lambda: len(effects()) == 4)
    kill_all(process)
    (firexlite.folder / "go").touch()
    run = firexlite.only_run()

    done = firexlite("resume", run.firex_id)

    assert done.code == 0, done.err
    assert effects() == {f"{attempt} {run.firex_id}.{task}": 1 for attempt in (1, 2, 3) for task in (2, 3)}


def test_a_key_is_durable_before_the_body_has_it(firexlite, plugin):
    plugin(NOTE + """
@app.task(bind=True, returns="key")
def pay(self): return self.task_key
""")
    run = firexlite("submit", "--plugins", "services.py", "--chain", "pay")

    directory = firexlite.only_run()
    assert query(directory, "SELECT task, name, value FROM noted") == [(1, "key", f'"{run.firex_id}.1"')]


def test_a_body_that_is_not_to_be_repeated_fails_when_its_worker_dies(firexlite, flashing, effects):
    process, run = flashing("fail")

    kill_worker(firexlite)
    process.communicate(timeout=30)

    assert process.returncode == 1
    assert effects() == {"flash A1": 1}
    resumed = firexlite("resume", run.firex_id)  # a resume is no leave to run it again
    assert resumed.code == 1
    assert "WorkerLost: the worker of this task died once, by signal 9 (SIGKILL); "\
           "it may have done its work" in resumed.err
    assert f"  If it has not: firexlite resume {run.firex_id} --restart-task {number_of(run, 'flash')}\n" in resumed.err
    assert effects() == {"flash A1": 1}


def test_its_parent_can_go_another_way(firexlite, flashing, effects):
    process, _ = flashing("fail", "--careful", "true")

    kill_worker(firexlite)
    out, _ = process.communicate(timeout=30)

    assert process.returncode == 0
    assert "[spare board]" in out
    assert effects() == {"flash A1": 1}


def test_it_fails_too_when_all_processes_were_killed(firexlite, flashing, effects):
    process, run = flashing("fail")
    kill_all(process)
    (firexlite.folder / "go").touch()

    done = firexlite("resume", run.firex_id)

    assert done.code == 1
    assert "the end of all processes of the run; it may have done its work" in done.err
    assert effects() == {"flash A1": 1}
    assert states(run) == {"failed": 2, "skipped": 1}


@pytest.mark.parametrize("how", ["worker", "all", "SIGTERM"])
def test_a_run_asks_a_person_about_a_body_that_may_have_done_its_work(firexlite, flashing, effects, how):
    process, run = flashing("ask")
    if how == "worker":
        kill_worker(firexlite)
        _, told = process.communicate(timeout=30)
        assert process.returncode == 5
    else:
        if how == "all":
            kill_all(process)
        process.terminate()
        process.communicate(timeout=30)
        done = firexlite("resume", run.firex_id)
        told = done.err
        assert done.code == 5
    task = number_of(run, "flash")

    assert effects() == {"flash A1": 1}
    assert f"UNDECIDED: flash (task {task}, attempt 1) was cut off and may have done its work; " \
           "on_interrupt='ask' leaves it to you." in told
    assert f"  If it has not: firexlite resume {run.firex_id} --restart-task {task}\n" in told
    assert f"""  If it has:     firexlite resume {run.firex_id} --mark-done {task} '{{"version": VALUE}}'\n""" in told
    assert firexlite("resume", run.firex_id).code == 5  # and asks again
    assert effects() == {"flash A1": 1}


@pytest.mark.parametrize("on_interrupt", ["ask", "fail"])
def test_a_person_has_it_run_again(firexlite, flashing, effects, on_interrupt):
    process, run = flashing(on_interrupt)
    kill_all(process)
    firexlite("resume", run.firex_id)
    (firexlite.folder / "go").touch()

    done = firexlite("resume", run.firex_id, "--restart-task", number_of(run, "flash"))

    assert done.code == 0, done.err
    assert effects() == {"flash A1": 2}
    assert "[A1 1.0]" in done.out


@pytest.mark.parametrize("asked_before", [True, False])
@pytest.mark.parametrize("on_interrupt", ["ask", "fail"])
def test_a_person_says_that_it_is_done(firexlite, flashing, effects, on_interrupt, asked_before):
    process, run = flashing(on_interrupt)
    kill_all(process)
    if asked_before:
        firexlite("resume", run.firex_id)

    done = firexlite("resume", run.firex_id, "--mark-done", number_of(run, "flash"), '{"version": "A1 by hand"}')

    assert done.code == 0, done.err
    assert effects() == {"flash A1": 1}
    assert "[A1 by hand]" in done.out
    assert [task["state"] for task in firexlite.flame(run.firex_id)["tasks"]] == ["succeeded"] * 3


def test_a_failure_that_the_body_raised_itself_is_tried_again_by_resume(firexlite, plugin, effects):
    plugin(NOTE + """
@app.task(on_interrupt="fail")
def flash():
    note("flash")
    assert os.path.exists("go")
""")
    firex_id = firexlite("submit", "--plugins", "services.py", "--chain", "flash").firex_id
    (firexlite.folder / "go").touch()

    assert firexlite("resume", firex_id).code == 0
    assert effects() == {"flash": 2}


def test_another_word_for_on_interrupt_is_refused_where_it_stands(firexlite, plugin):
    plugin("from firexlite import app\n\n@app.task(on_interrupt='never')\ndef flash(): ...\n")

    done = firexlite("submit", "--plugins", "services.py", "--chain", "flash")

    assert (done.code, done.err) == (2, "firexlite: plugin 'services.py' failed to import at line 3 "
                                        "(`@app.task(on_interrupt='never')`): ValueError: on_interrupt takes retry, fail, ask, "
                                        "not 'never'\n")


def test_a_body_that_was_revoked_while_it_ran_is_not_run_again_by_itself_either(firexlite, plugin, effects):
    plugin(NOTE + """
@app.task(on_interrupt="fail", returns="paid")
def pay():
    note("pay")
    wait_for_file("never" if not os.path.exists("go") else "go")
    return 1

@app.task(bind=True, returns="bill")
def shop(self):
    promise = self.enqueue_child(pay.s())
    wait_for_file("effects")
    if not os.path.exists("go"):
        raise RuntimeError("the shop burns")
    self.wait_for_children()
    return promise.result["paid"]
""")
    words = ["--plugins", "services.py", "--chain", "shop", "--workers", "2"]
    failed = firexlite("submit", *words)
    (firexlite.folder / "go").touch()
    task = number_of(firexlite.only_run(), "pay")

    told = firexlite("resume", failed.firex_id)

    assert (failed.code, told.code, effects()) == (1, 1, {"pay": 1})
    assert f"CUT OFF: pay (task {task}, attempt 1) was revoked in its body" in failed.err
    done = firexlite("resume", failed.firex_id, "--mark-done", task, '{"paid": 7}')
    assert (done.code, effects()) == (0, {"pay": 1}), done.err
    assert "bill  7" in done.out


def test_a_person_who_knows_already_need_not_be_asked_first(firexlite, flashing, effects):
    process, run = flashing("fail")
    kill_all(process)
    (firexlite.folder / "go").touch()

    done = firexlite("resume", run.firex_id, "--restart-task", number_of(run, "flash"))

    assert (done.code, effects()) == (0, {"flash A1": 2}), done.err


def test_what_a_service_returns_without_naming_it_can_be_told_by_a_person(firexlite, plugin, effects):
    plugin(NOTE + """
@app.task(on_interrupt="ask", returns="__DYNAMIC_RETURN__")
def flash(): note("flash"); wait_for_file("never")

@app.task(returns="y")
def after(x): return x + 1
""")
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "flash,after", "--x", "1")
    wait_until(lambda: effects()["flash"] == 1)
    kill_all(process)
    run = firexlite.only_run()

    asked = firexlite("resume", run.firex_id)
    done = firexlite("resume", run.firex_id, "--mark-done", "1", '{"x": 5}')

    assert "--mark-done 1 '{}'\n" in asked.err
    assert (done.code, effects()) == (0, {"flash": 1}), done.err
    assert "y  6" in done.out


def test_nothing_below_a_task_that_stays_as_it_is_can_be_decided_alone(firexlite, plugin, effects):
    plugin(NOTE + """
@app.task(returns="x")
def child(): note("child"); wait_for_file("go"); return 1

@app.task(bind=True, on_interrupt="fail", returns="z")
def top(self): return self.enqueue_child_and_get_results(child.s())["x"]
""")
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "top", "--workers", "2")
    wait_until(lambda: effects()["child"] == 1)
    kill_all(process)
    (firexlite.folder / "go").touch()
    run = firexlite.only_run()
    firexlite("resume", run.firex_id)

    alone = firexlite("resume", run.firex_id, "--restart-task", "2")
    above = firexlite("resume", run.firex_id, "--restart-task", "1")

    assert (alone.code, alone.err) == (2, (
        "firexlite: task 2 (child) cannot be restarted: task 1, which enqueued it, was cut off itself and is not run again; "
        "decide about that too, with --restart-task 1 or --mark-done 1\n"))
    assert above.code == 0, above.err
