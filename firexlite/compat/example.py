"""`firexapp.tasks.example`: the services of FireX's programming guide, by which it shows how services are composed.

They are known to a run that names them, or a file that imports them; `nop`, `sleep` and `getusername` to every run.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..application import app, flame, flame_collapse
from ..builtin import CopyBogKeys
from ..converters import InputConverter, SingleArgDecorator
from ..home import user_name
from ..results import returns
from ..services import Task
from ..signatures import InjectArgs

MODULE = "firexapp.tasks.example"
JOBS = {"Charles Montgomery Burns": "OWNER", "Waylon Smithers": "EXECUTIVE ASSISTANT", "Lenny Leonard": "DIRECTOR",
        "Homer Simpson": "SUPERVISOR"}


@InputConverter.register
@SingleArgDecorator("guests")
def to_list(guests: str) -> list[str]:
    return guests.split(",")


@InputConverter.register
@SingleArgDecorator("employee_names")
def employee_names_to_list(employee_names: str) -> list[str]:
    return employee_names.split(",")


@app.task(name=f"{MODULE}.greet", returns=["greeting"], flame=["greeting"])
def greet(name: str = user_name()) -> str:
    assert len(name) > 1, "Cannot greet a name with 1 or fewer characters."
    return f"Hello {name}!"


@app.task(name=f"{MODULE}.greet_guests", bind=True, returns=["guests_greeting"], flame=["guests_greeting"])
def greet_guests(self: Task, guests: Sequence[str]) -> str:
    """Greet each guest in a task of its own, all at once, and apologise if one cannot be greeted."""
    promises = [self.enqueue_child(greet.s(name=guest)) for guest in guests]
    self.wait_for_children(raise_exception_on_failure=False)
    results: list[Any] = [promise.result for promise in promises if promise.successful()]
    greetings = [result["greeting"] for result in results]
    if len(greetings) < len(promises):
        greetings.append("And apologies to those not mentioned.")
    return " ".join(greetings)


@app.task(name=f"{MODULE}.amplify", returns=["amplified_message"])
def amplify(to_amplify: str, upper: bool = True, surround_str: str | None = None, underline_char: str | None = None,
            overline_char: str | None = None) -> str:
    line = (surround_str or "") + (to_amplify.upper() if upper else to_amplify) + (surround_str or "")
    above, below = ((char or "") * len(line) for char in (overline_char, underline_char))
    return "\n".join(part for part in (above, line, below) if part)


def _as_heading(values: Mapping[str, Any]) -> str:
    """What Flame shows: the plan as long as there is no result, then that."""
    if "amplified_greeting" not in values:
        return f"Planning to greet: {','.join(values['guests'])}"
    lines = values["amplified_greeting"].replace("\n", "<br>")
    return f'<h1 style="font-family: monospace;">{lines}</h1>'


@app.task(name=f"{MODULE}.amplified_greet_guests", bind=True, returns=["amplified_greeting"])
@flame("*", _as_heading)
@flame_collapse({"greet_guests": "descendants"})
def amplified_greet_guests(self: Task, guests: Sequence[str]) -> str:
    """Greet guests, at least two of them, and amplify that, in a chain that gets all values this task has."""
    assert len(guests) > 1, "Only willing to amplify greeting for more than one guest."
    chain = InjectArgs(**self.abog) | greet_guests.s() | amplify.s(to_amplify="@guests_greeting")
    return self.enqueue_child_and_get_results(chain)["amplified_message"]


@app.task(name=f"{MODULE}.get_springfield_power_plant_job_title")
@returns("job_title")
def get_springfield_power_plant_job_title(name: str) -> str:
    return JOBS.get(name, "UNKNOWN")


@app.task(name=f"{MODULE}.greet_springfield_power_plant_employees", bind=True, returns=["amplified_greeting"])
def greet_springfield_power_plant_employees(self: Task, employee_names: Sequence[str]) -> str:
    """Greet employees, each by title and name; a plugin may give them other titles."""
    def titled(name: str) -> str:
        found = self.enqueue_child_and_get_results(get_springfield_power_plant_job_title.s(name=name))
        return f"{found['job_title']} {name}"

    chain = amplified_greet_guests.s(guests=[titled(name) for name in employee_names])
    return self.enqueue_child_and_get_results(chain)["amplified_greeting"]


@app.task(name=f"{MODULE}.greet_lee_and_tom", bind=True, returns=["lee_greeting", "tom_greeting"])
def greet_lee_and_tom(self: Task) -> tuple[str, str]:
    """Call one service twice in a chain: its first result is copied to another name before the second takes its place."""
    chain = greet.s("Lee") | CopyBogKeys.s({"greeting": "lee_greeting"}) | greet.s("Tom")
    results = self.enqueue_child_and_get_results(chain)
    return results["lee_greeting"], results["greeting"]
