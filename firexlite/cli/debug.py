"""`firexlite debug`: one task of a run once more, in this terminal."""
from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import click

from ..debuggers import Debugger, Port, PostMortem, Step
from ..debugging import Again, Ended, Told, strange_plugins, task_asked_for
from ..errors import BadInput
from ..history import History, RunRecord, innermost
from ..home import find_run
from ..stopped import arguments_of
from .options import Number, plugins_option, run_argument, split_plugins
from .printing import cut, say, shown_path


def _by_name(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, object]:
    given: dict[str, object] = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not name or not equals:
            raise BadInput(f"--set takes the name of an argument and its value, as in --set degrees=220, not '{value}'")
        try:
            given[name] = json.loads(text)
        except ValueError:
            given[name] = text
    return given


@click.command("debug")
@run_argument
@click.argument("task", required=False)
@click.option("--pdb", is_flag=True, help="Stop in pdb where the body raises.")
@click.option("--step", is_flag=True, help="Stop in pdb at the first line of the body; and where it raises.")
@click.option("--port", type=Number("a port from 1 to 65535", int, lambda n: 1 <= n <= 65535), metavar="N",
              help="Wait for an editor to attach by debugpy at port N of 127.0.0.1.")
@plugins_option
@click.option("--set", "given", metavar="NAME=VALUE", multiple=True, callback=_by_name,
              help="Give the task this argument in place of the recorded one; VALUE is JSON, or else a text. May be repeated.")
@click.option("--twice", is_flag=True, help="Run also what is said not to run twice by itself, with on_interrupt= fail or ask.")
@click.pass_context
def debug_command(context: click.Context, firex_id: str, task: str | None, pdb: bool, step: bool, port: int | None,
                  plugins: tuple[str, ...], given: dict[str, object], twice: bool) -> None:
    """Run one task of a run again, here: with its recorded arguments, its children answered from the journal.

    TASK is its number, its uuid or the name of its service; without it, it is the one at which the run failed. Nothing is
    written to the run, and no child is run. But the body really runs: what it does to files, or to the world, it does again.

    Exit code 0: the body returned. 1: it raised. 5: it asked for what the journal has no answer for.

    \b
    firexlite debug last 17 --pdb
    """
    if port is not None and (pdb or step):
        raise click.UsageError("debug takes either --port, for an editor, or --pdb and --step, for this terminal")
    debugger = Port(port) if port is not None else Step() if step else PostMortem() if pdb else Debugger()
    with History(find_run(firex_id)) as history:
        chosen = task_asked_for(history, task)
        again = Again(history, chosen, split_plugins(plugins) or _plugins_agreed_to(history.run()), twice, given)
        say("\n".join(_before(again)), err=True)
        if isinstance(debugger, Port):
            say(f"Waiting for an editor to attach to port {port} of 127.0.0.1.", err=True)
            debugger.wait()
        ended = again.run(debugger, cut)
        say("\n".join(_after(again, ended)), err=True)
    context.exit(ended.exit_code)


def _plugins_agreed_to(run: RunRecord) -> list[str] | None:
    """Those of an imported run, if a person at a terminal says that they may be loaded; else None."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()) or not (found := strange_plugins(run)):
        return None
    told = ", ".join(f"{path} ({'the same here' if is_same else 'not the same here'})" for path, is_same in found.items())
    say(f"{run.firex_id} was imported, and the plugins that it names are another person's choice: {told}.", err=True)
    return [*found] if click.confirm("Load what lies here, and run the task with it?", err=True) else None


def _before(again: Again) -> Iterator[str]:
    service, attempt, recorded = again.service, again.attempt, again.recorded
    yield cut(f"Running {again.name} (task {again.task.num}) of {again.directory.firex_id} again: "
              f"{shown_path(service.file)}:{service.line}")
    yield cut(f"  in attempt {attempt.number} it {_how(recorded)}")
    if arguments := again.arguments():
        yield cut(f"  arguments: {arguments_of(arguments)}")
    if children := again.children():
        yield cut(f"  children, from the journal: {', '.join(f'{n} {state}' for state, n in children.items())}")
    if again.changed:
        yield cut(f"  changed since: {', '.join(again.changed)}")


def _how(told: Told) -> str:
    if told.error is not None:
        return f"raised {_error(told)}"
    if told.result is not None:
        return f"returned {_result(told)}"
    return f"was {told.outcome}" if told.outcome is not None else "goes on"


def _after(again: Again, ended: Ended) -> Iterator[str]:
    if ended.traceback:
        yield ended.traceback.rstrip("\n")
    if ended.was_quit:
        yield "The debugger was left, and the body with it."
    elif ended.lines:
        yield from ended.lines
    else:
        yield from _compared(again, ended.told)
        if ended.unasked:
            yield f"It did not ask for {ended.unasked} of the children that it asked for before."


def _compared(again: Again, now: Told) -> Iterator[str]:
    before, attempt = again.recorded, f"attempt {again.attempt.number}"
    does = "raised" if now.error is not None else "returned"
    what = _error(now) if now.error is not None else _result(now)
    if before.error is not None and now.error is not None:
        same = (before.error["name"], before.error["text"]) == (now.error["name"], now.error["text"])
        yield cut(f"It raised the same as in {attempt}: {what}" if same else f"It raised {what}")
        if not same:
            yield cut(f"In {attempt} it raised {_error(before)}")
    elif before.result is not None and now.result is not None:
        names = [name for name in {**before.result, **now.result} if before.result.get(name) != now.result.get(name)]
        yield cut(f"It returned {what}" if names else f"It returned the same as in {attempt}: {what}")
        for name in names:
            yield cut(f"  {name} differs; in {attempt} it was {before.result.get(name)!r}")
    else:
        yield cut(f"It {does} {what}")
        yield cut(f"In {attempt} it {_how(before)}")
        if before.error is not None and again.task.state == "failed":
            yield f"To carry on with the run: firexlite resume {again.directory.firex_id}"


def _error(told: Told) -> str:
    """An error in a line; of one that tells of a child's failure, what that was."""
    assert told.error is not None
    bottom = innermost(told.error)
    what = ": ".join(filter(None, (bottom["name"], " ".join(bottom["text"].split()))))
    return what if bottom is told.error else f"{told.error['name']} for a child's {what}"


def _result(told: Told) -> str:
    return arguments_of(told.result) if told.result else "nothing that has a name"
