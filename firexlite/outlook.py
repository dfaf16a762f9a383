"""What a submission would run: its chain, and of each argument the value and where it comes from. Nothing is created."""
from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from .application import Service
from .binding import target_of
from .codec import display
from .converters import ConverterRegister
from .home import batches, durability, new_firex_id
from .pickled import is_set, pickles
from .results import DYNAMIC_RETURN
from .secrets import masked
from .submission import Request, find_service, prepare
from .task_options import ValidateArgs
from .trimming import log_limit

# Where a value comes from.
COMMAND_LINE, CONVERTER, FIREXLITE, DEFAULT = "command line", "converter", "firexlite", "default"
RETURNED, UNKNOWN = "returned", "unknown until it runs"
UNTIL_SUBMITTED = frozenset({"uid"})  # of the values of firexlite itself, those that a run has alone


@dataclass(frozen=True)
class Argument:
    """One value that reaches a task, or a run. value: in display form; None unless it is known.

    source: of the constants above. given: as it stands on the command line. converter: that changed or added it.
    task, returned: of a value that is returned, by which task and under which name. through: the references by which it is
    found, `@other` and so on, from the first.
    """

    name: str
    source: str
    is_known: bool = False
    value: Any = None
    given: str | None = None
    converter: str | None = None
    task: int | None = None
    returned: str | None = None
    through: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    """One task of the chain. overrides: file and line of the service in whose place it stands.

    others: the names that reach it by its `**kwargs`. converters: of its arguments, which run in the task. is_validated: its
    arguments are then made what its annotations say. returns: the names that it declares; None: it declares none, so that a
    dict names its values itself. is_dynamic: it returns names that are known only when it has run.
    """

    task: int
    service: str
    name: str
    file: str
    line: int
    overrides: str | None
    arguments: tuple[Argument, ...]
    others: tuple[str, ...]
    converters: tuple[str, ...]
    is_validated: bool
    returns: tuple[str, ...] | None
    is_dynamic: bool


@dataclass(frozen=True)
class Outlook:
    """A chain that could be submitted. without_taker: the arguments that were given and that no service of it takes."""

    chain: str
    plugins: tuple[str, ...]
    steps: tuple[Step, ...]
    without_taker: tuple[Argument, ...]

    def as_data(self) -> dict[str, Any]:
        return asdict(self)


def look_ahead(request: Request, announce: Callable[[str], None] = lambda path: None) -> Outlook:
    """What `launch.begin` would journal for this request. Raises BadInput as that does.

    announce: told the path of each plugin before its import, which may hang or crash.
    """
    durability()
    batches()
    log_limit()
    firex_id = new_firex_id(time.time())
    if request.pickle or is_set():
        pickles.begin_trial(firex_id)
    prepared = prepare(request, firex_id, announce)
    given = display(prepared.members[0].arguments)
    reach = {name: _own(request, prepared.converted_by, name, value) for name, value in given.items()}
    steps: list[Step] = []
    for task, member in enumerate(prepared.members, 1):
        service = find_service(member.service)
        steps.append(_step(task, service, reach))
        reach.update((name, Argument(name, RETURNED, task=task, returned=name))
                     for name in service.return_names or () if name != DYNAMIC_RETURN)
    inputs = display(prepared.inputs)
    used = {name for step in steps for argument in step.arguments for name in (argument.name, *argument.through)}
    used |= {name for step in steps for name in step.others}
    return Outlook(", ".join(step.name for step in steps), tuple(plugin.path for plugin in prepared.plugins), tuple(steps),
                   tuple(_own(request, prepared.converted_by, name, value) for name, value in given.items()
                         if name in inputs and name not in used))


def _own(request: Request, converted_by: Mapping[str, str], name: str, value: Any) -> Argument:
    """One of the values with which the chain begins."""
    text, converter = request.arguments.get(name), converted_by.get(name)
    if text is None and converter is None:
        is_known = name not in UNTIL_SUBMITTED
        return Argument(name, FIREXLITE, is_known, value if is_known else None)
    return Argument(name, COMMAND_LINE if converter is None else CONVERTER, True, value,
                    None if text is None else masked(text), converter)


def _step(task: int, service: Service, reach: Mapping[str, Argument]) -> Step:
    about = json.loads(service.about)
    defaults = {name: Argument(name, DEFAULT, True, display(text)) for name, text in about["defaults"].items()}
    names = service.parameters.names
    taken = tuple(_resolved(reach.get(name) or defaults.get(name) or Argument(name, UNKNOWN), reach) for name in names)
    others = tuple(name for name in reach if name not in names) if service.parameters.var_keyword else ()
    returns = service.return_names
    orig = service.orig
    return Step(
        task, service.name, service.short_name, about["file"], service.line,
        None if orig is None else f"{masked(orig.file)}:{orig.line}", taken, others,
        tuple(ConverterRegister.list_converters(service.short_name)), service.validate is not ValidateArgs.DISABLED,
        None if returns is None else tuple(name for name in returns if name != DYNAMIC_RETURN),
        returns is None or DYNAMIC_RETURN in returns)


def _resolved(argument: Argument, reach: Mapping[str, Argument]) -> Argument:
    """Where a parameter has its value from, by way of the references that lead there, as `binding.Bog` follows them."""
    name, through = argument.name, []
    while (target := target_of(argument.value)) is not None and target in reach and target not in through:
        through.append(target)
        argument = reach[target]
    if isinstance(argument.value, str) and argument.value[:2] == "@@":
        argument = replace(argument, value=argument.value[1:])
    return replace(argument, name=name, through=tuple(through))
