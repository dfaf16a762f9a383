"""A small run that is killed, carried on and drawn: what a firexlite must be able to do wherever it is installed."""
from __future__ import annotations

import collections
from pathlib import Path

from conftest import NOTE, Command, kill_all, wait_until

BAKERY = NOTE + """
os.chdir("/")  # what is imported later must be found all the same


@app.task(returns="dough")
def knead(flour):
    note("kneaded")
    return f"dough of {flour}"


@app.task(bind=True, returns="loaf")
def bake(self, dough, oven):
    note("baking")
    wait_for_file(oven)
    return self.enqueue_child_and_get_results(crust.s(dough=dough))["crusted"]


@app.task(returns="crusted")
def crust(dough):
    note("crusted")
    return f"loaf from {dough}"
"""
CHAIN = "knead,bake"


def killed_and_carried_on(firexlite: Command, tmp_path: Path, by: Command | None = None) -> str:
    """Submit, kill, resume: each body must have run as often as it should. Returns the FireX ID.

    by: the firexlite that carries on, if it is another one, in the same home and folder.
    """
    effects, oven = tmp_path / "effects", tmp_path / "oven"
    firexlite.env["EFFECT_LOG"] = str(effects)
    (firexlite.folder / "bakery.py").write_text(BAKERY)
    (firexlite.folder / "firexlite.toml").write_text('plugins = "bakery.py"\n')

    begun = firexlite.start("submit", "--chain", CHAIN, "--flour", "rye", "--oven", oven)
    wait_until(lambda: begun.poll() is not None or (effects.exists() and "baking" in effects.read_text()),
               what="loaf in the oven")
    assert begun.poll() is None, begun.communicate()
    kill_all(begun)
    firex_id = firexlite.only_run().firex_id
    oven.touch()
    resumed = (by or firexlite)("resume", firex_id, EFFECT_LOG=str(effects))

    assert (resumed.code, resumed.out) == (0, f"FireX ID: {firex_id}\nAll tasks succeeded\n\nReturned values:\n"
                                              "  dough  dough of rye\n  loaf   loaf from dough of rye\n"), resumed.err
    assert resumed.err.startswith("Resuming: 1 task done; 1 task in flight, to run again from the top")
    assert collections.Counter(effects.read_text().splitlines()) == {"kneaded": 1, "baking": 2, "crusted": 1}
    return firex_id
