"""Services that are called directly, and arguments that only type checkers need."""
from __future__ import annotations

import pytest

from firexlite import app, at, flows


def test_a_bound_service_that_is_called_directly_gets_a_task_without_a_run():
    @app.task(bind=True, returns="names")
    def introduce(self, name):
        return self.short_name, name

    @app.task(bind=True)
    def call_others(self):
        self.enqueue_child(introduce.s(name="Li"))

    assert introduce("Li") == introduce(name="Li") == ("introduce", "Li")
    with pytest.raises(RuntimeError, match=r"^call_others was called directly, outside of a run, .* firexlite\.run\(call_"):
        call_others()


def test_a_bound_service_that_a_body_calls_has_its_task(firexlite, plugin):
    services = plugin("""
from firexlite import app

@app.task(bind=True)
def label(self, text):
    return f"{text} {self.short_name}"

@app.task(bind=True, returns="labels")
def top(self):
    return [label("of"), label(self, "by hand"), label(text="by name")]
""")

    done = firexlite("submit", "--plugins", services, "--chain", "top")

    assert done.code == 0, done.err
    assert "['of top', 'by hand top', 'by name top']" in done.out


def test_an_argument_that_flows_is_as_if_it_were_not_given():
    @app.task
    def mix(flour, water, *more, salt=0):
        """It mixes nothing."""

    assert mix.s(flour=flows, water=2) == mix.s(water=2)
    assert mix.s(flows, 2, salt=1) == mix.s(water=2, salt=1)
    assert mix.s(1, flows) == mix.s(flour=1)
    assert mix.s(1, 2, salt=flows) == mix.s(flour=1, water=2)
    assert mix.s(at("rye"), 2) == mix.s("@rye", 2)
