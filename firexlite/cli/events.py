"""`firexlite events`: the moves of a run, as lines of JSON for programs, or sent to a sink."""
from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import click

from .. import blaze, outbox
from ..errors import BadInput, FirexliteError
from ..history import History
from ..home import RunDirectory, find_run
from ..outbox import Record, Records
from ..sinks import Sink, sink_for, wait_s
from ..sinks.pump import LAST_PAUSE_S, LONGEST_PAUSE_S, Pump, retrying
from ..watcher import Watcher
from .options import LAST_TASK, Number, run_argument, sink_option
from .printing import say, write_out

QUIT = 130


@click.command("events")
@run_argument
@click.option("-f", "--follow", is_flag=True, help="Go on until the run has ended.")
@click.option("--since", metavar="N", type=Number("the number of an event, or 0", int, lambda n: 0 <= n <= LAST_TASK),
              help="Only events after the one with this number.")
@click.option("--format", "form", type=click.Choice(["jsonl", "blaze"]),
              help="jsonl: an object for each event. blaze: the messages that firex-blaze sends.  [default: jsonl]")
@sink_option("Send there what it has not acknowledged yet, instead of printing")
@click.pass_context
def events_command(context: click.Context, firex_id: str, follow: bool, since: int | None, form: str | None,
                   sinks: tuple[str, ...]) -> None:
    """Print what happened to the tasks of a run, in order: each change of a task's state is an event, a line of JSON.

    With --sink they are sent instead, from the first that was not acknowledged, or after --since N; --since 0 sends all again.

    \b
    firexlite events last --follow
    firexlite events last --since 1204 --format blaze
    firexlite events last --sink kafka:localhost:9092/firex
    """
    if sinks and form:
        raise BadInput("--format says how events are printed, and --sink sends them in a form of its own; give one of them")
    teller: Printer | Sender = Sender(firex_id, [*map(sink_for, dict.fromkeys(sinks))], since, wait_s()) if sinks else \
        Printer(blaze.lines if form == "blaze" else outbox.lines, since or 0)
    try:
        if not follow:
            teller.tell(find_run(firex_id), True)
        else:
            with closing(Watcher(firex_id).moments()) as moments:
                for directory, has_ended in moments:
                    if not teller.tell(directory, has_ended):
                        break
    except KeyboardInterrupt:
        context.exit(QUIT)
    if isinstance(teller, Sender):
        teller.report()


class Printer:
    """Prints the events of a run, each once."""

    def __init__(self, form: Callable[[list[Record]], Iterator[str]], since: int) -> None:
        self._form, self._seq = form, since
        self._records = Records()

    def tell(self, directory: RunDirectory, is_last: bool) -> bool:
        """Print what has come since the last time; whether anybody still reads."""
        with History(directory) as history:
            while page := self._records.page(history, self._seq):
                if not write_out("".join(f"{line}\n" for line in self._form(page))):
                    return False
                self._seq = page[-1].seq
        return True


class Sender:
    """Sends the events of a run to sinks, each from its own place on."""

    def __init__(self, firex_id: str, sinks: Sequence[Sink], since: int | None, patience_s: float) -> None:
        self._pumps = [Pump(firex_id, sink, since) for sink in sinks]
        self._patience_s = patience_s
        self._failures: dict[str, FirexliteError] = {}

    def tell(self, directory: RunDirectory, is_last: bool) -> bool:
        """Send what is there. One that cannot be reached is tried again for a while at last, and else at the next time."""
        give_up = time.monotonic() + self._patience_s

        def wait(pause_s: float) -> bool:
            if not is_last or time.monotonic() + pause_s > give_up:
                return False
            time.sleep(pause_s)  # a sink that comes back tells nobody
            return True

        for pump in self._pumps:
            self._failures.pop(pump.sink.name, None)
            if error := retrying(pump.send_all, wait, lambda: LAST_PAUSE_S if is_last else LONGEST_PAUSE_S):
                self._failures[pump.sink.name] = error
        return True

    def report(self) -> None:
        """Say what was sent. Raises SinkUnavailable if something was not."""
        for pump in self._pumps:
            pump.sink.close()
            events = "1 event" if pump.sent == 1 else f"{pump.sent:,} events"
            up_to = f", up to event {pump.place.seq}" if pump.sent else ""
            say(f"{events} sent to {pump.sink.name}{up_to}", err=True)
            if pump.unstored:
                say(f"How far it is could not be stored ({pump.unstored}), so the next time the same is sent again.", err=True)
        for error in self._failures.values():
            raise error
