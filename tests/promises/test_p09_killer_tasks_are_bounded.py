"""A task that kills its worker, or the whole run, is not tried for ever."""
from __future__ import annotations

import pytest
from conftest import NOTE, kill_all, query, wait_until

from firexlite.takeover import INCARNATION_DEATHS

ENDS = {
    "SIGKILL": "os.kill(os.getpid(), 9)",
    "a segmentation fault": "import ctypes; ctypes.string_at(0)",
    "os._exit(0)": "os._exit(0)",
    "os._exit(3)": "os._exit(3)",
}


@pytest.mark.parametrize("end", ENDS)
def test_a_task_that_kills_its_worker_is_given_up_after_three_more_tries(end, firexlite, plugin, effects):
    plugin(NOTE + f"""
@app.task
def killer():
    note("killer")
    {ENDS[end]}
""")
    done = firexlite("submit", "--plugins", "services.py", "--chain", "killer")

    assert done.code == 1
    assert "WorkerLost: the worker of this task died 4 times, at last by " in done.err
    assert effects() == {"killer": 4}
    [run] = firexlite.runs()
    assert query(run, "SELECT outcome FROM attempt ORDER BY number") == [("lost",)] * 3 + [("failed",)]


def test_a_body_that_runs_out_of_memory_fails_as_one_that_raises(firexlite, plugin, effects):
    plugin(NOTE + """
import resource

@app.task
def greedy():
    note("greedy")
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, resource.RLIM_INFINITY))
    bytearray(1 << 31)
""")
    done = firexlite("submit", "--plugins", "services.py", "--chain", "greedy")

    assert done.code == 1
    assert "MemoryError" in done.err
    assert effects() == {"greedy": 1}


def test_a_task_with_which_the_whole_run_dies_again_and_again_fails_at_last(firexlite, plugin, effects):
    plugin(NOTE + """
@app.task(bind=True)
def killer(self):
    note("killer")
    wait_for_file("go")
""")
    words = ["submit", "--plugins", "services.py", "--chain", "killer"]
    for died_before in range(INCARNATION_DEATHS):
        process = firexlite.start(*words)
        wait_until(lambda n=died_before: effects()["killer"] == n + 1, what="body that begins")
        kill_all(process)
        words = ["resume", firexlite.only_run().firex_id]

    given_up = firexlite(*words)

    assert given_up.code == 1
    assert f"the worker of this task died {INCARNATION_DEATHS} times, at last by the end of all processes of the run, " \
           f"{INCARNATION_DEATHS} times in a row without a success" in " ".join(given_up.err.split())
    assert effects() == {"killer": INCARNATION_DEATHS}
    (firexlite.folder / "go").touch()
    assert firexlite(*words).code == 0  # a person may have it tried again


def test_runs_that_were_killed_as_often_but_came_on_in_between_go_on(firexlite, plugin, effects):
    plugin(NOTE + f"""
@app.task
def step(number):
    note(f"step {{number}}")

@app.task(bind=True)
def climb(self):
    for number in range({INCARNATION_DEATHS + 2}):
        self.enqueue_child(step.s(number=number), block=True)
        wait_for_file(f"go{{number}}")
""")
    words = ["submit", "--plugins", "services.py", "--chain", "climb"]
    for number in range(INCARNATION_DEATHS + 2):
        process = firexlite.start(*words)
        wait_until(lambda n=number: query(firexlite.only_run(), "SELECT count(*) FROM task WHERE state = 'succeeded'")
                   == [(n + 1,)] if firexlite.runs() else False, what="next step")
        kill_all(process)
        (firexlite.folder / f"go{number}").touch()
        words = ["resume", firexlite.only_run().firex_id]

    done = firexlite(*words)

    assert done.code == 0, done.err
    assert set(effects().values()) == {1}
