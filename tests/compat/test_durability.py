"""A run whose processes are all killed goes on where it was."""
from __future__ import annotations

import json

from conftest import Command, kill_all, states, wait_until

from .flows import Flows


def test_c72_a_killed_run_is_resumed_and_what_was_finished_does_not_run_again(flow: Flows, firexlite: Command) -> None:
    """FireX has no such command."""
    plugins = flow.write(services="""
@app.task(returns="flour")
def grind():
    note("grind")
    return "rye"

@app.task(returns="dough")
def knead(flour):
    note("knead")
    touch("kneading")
    wait_for_file("go")
    return flour + " dough"

@app.task(bind=True, returns="bread")
def top(self):
    return self.enqueue_child_and_get_results(grind.s() | knead.s())["dough"] + ", baked"
""")
    process = firexlite.start("submit", "--plugins", plugins, "--chain", "top", "--workers", 2)
    wait_until(lambda: (flow.folder / "kneading").exists(), what="task in the middle")
    run = firexlite.only_run()
    kill_all(process)
    assert states(run)["succeeded"] == 1
    (flow.folder / "go").touch()

    resumed = firexlite("resume", run.firex_id)

    assert resumed.code == 0, resumed.err
    assert json.loads(run.run_json.read_text())["results"]["chain_results"] == {"bread": "rye dough, baked"}
    assert flow.notes() == ["grind", "knead", "knead"]
