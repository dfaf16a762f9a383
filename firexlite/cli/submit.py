"""`firexlite submit`: run a chain of services."""
from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from ..errors import BadInput
from ..executors import LOCAL, place_of
from ..keys import refuse_unfit
from .options import (
    RUN,
    executor_option,
    exit_when_waiting_option,
    flame_option,
    free_for_a_link,
    full_wait_option,
    import_timeout_option,
    insecure_option,
    json_file_option,
    on_end_option,
    pickle_option,
    plugins_option,
    queue_option,
    quiet_option,
    redact_option,
    sink_option,
    soft_time_limit_option,
    split_plugins,
    workers_option,
)
from .printing import answer

FROM_FILE = "--json_args_path"  # FireX's name for it


class ServiceArguments(click.Command):
    """Takes its own options, and every other `--name value` as an argument of the services."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        from ..submission import split_arguments  # here, as below: who asks which options there are needs none of this

        words = _with_those_of_a_file(args)
        own_options = {name: not getattr(parameter, "is_flag", False)
                       for parameter in self.get_params(context) for name in parameter.opts}
        if not {"dry-run", "dry_run"} & {word.partition("=")[0].lstrip("-") for word in words}:
            del own_options["--json"]  # then it may be an argument of a service
        own, context.meta["firexlite.arguments"] = split_arguments(words, own_options)
        context.meta["firexlite.own_options"] = [name.lstrip("-") for name in own_options]
        return super().parse_args(context, own)

    def format_usage(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(context.command_path, "--chain A,B [OPTIONS] [--ARGUMENT VALUE]... [-- --ARGUMENT VALUE...]")


def _with_those_of_a_file(args: list[str]) -> list[str]:
    """The words of a command line, with those in the file that --json_args_path names in its place, at the end."""
    words = iter(args)
    kept, path = [], None
    for word in words:
        option, equals, value = word.partition("=")
        if option.lstrip("-") == FROM_FILE.lstrip("-") and option != FROM_FILE.lstrip("-"):
            path = value if equals else next(words, "")
        else:
            kept.append(word)
    return kept if path is None else [*kept, *_words_in(path)]


def _words_in(path: str) -> list[str]:
    try:
        words = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{FROM_FILE} '{path}' could not be read: {error.strerror}") from error
    except ValueError as error:
        raise BadInput(f"{FROM_FILE} takes a file with a list of words in JSON, and '{path}' holds none: {error}") from error
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise BadInput(f"{FROM_FILE} takes a file with a list of words in JSON, such as [\"--name\", \"Li\"], and '{path}' "
                       "holds something else")
    return words


@click.command("submit", cls=ServiceArguments)
@click.option("--chain", metavar="A,B", help="The services to run, one after the other.")
@click.option("--key", metavar="NAME", help="A name of your own for the run. The same command again resumes it, attaches to it "
              "while it goes on, or prints its results when it is done.")
@click.option("--no-wait", is_flag=True, help="With --key: exit with 3 if the run goes on in other processes, instead of "
              "waiting for its end.")
@click.option("--like", metavar="ID", type=RUN,
              help="Take chain, arguments and plugins of a run, as far as others are not given.")
@plugins_option
@workers_option(default="the number of cores, or what the cluster has room for")
@executor_option
@insecure_option
@json_file_option
@flame_option
@on_end_option
@quiet_option
@full_wait_option
@redact_option
@queue_option
@soft_time_limit_option
@exit_when_waiting_option
@pickle_option
@sink_option("Send the events of the run there as it goes on")
@click.option(FROM_FILE, metavar="FILE", expose_value=False,
              help="Take more words of the command line from a file, which holds a list of them in JSON.")
@click.option("--logs_link", metavar="PATH", callback=free_for_a_link,
              help="Make PATH a link to the directory of the run, where a link may be already.")
@click.option("--sync", is_flag=True, help="Wait for the run to end: what submit does unless --detach is given.")
@click.option("--detach", is_flag=True, help="Return as soon as the run is durable; it goes on in the background.")
@click.option("--dry-run", "--dry_run", is_flag=True,
              help="Create nothing, and run nothing: show the chain, and of each argument the value and where it comes from.")
@click.option("--json", "as_json", is_flag=True, help="With --dry-run: show that as JSON.")
@import_timeout_option
@click.pass_context
def submit_command(context: click.Context, chain: str | None, key: str | None, no_wait: bool, like: str | None,
                   plugins: tuple[str, ...], workers: int | None, executor: str | None, insecure: bool,
                   json_file: str | None, flame: str | None, on_end: str | None,
                   quiet: bool, full_wait: float | None, redact: tuple[str, ...], queues: dict[str, int],
                   soft_time_limit: float | None, exit_when_waiting: bool, pickle: bool, logs_link: str | None, sync: bool,
                   detach: bool, dry_run: bool, as_json: bool, import_timeout: float, sinks: tuple[str, ...]) -> None:
    """Run a chain of services.

    Every argument of any service is an option: `--guests Li,Mohamed`. One that is called as an option of submit is given
    behind a bare --, as `-- --key VALUE`. One that must not be written down is given as `--token 'Secret(env:TOKEN)'` or
    'Secret(file:PATH)'.

    \b
    firexlite submit --plugins guests.py --chain greet_guests --guests Li,Mohamed
    """
    from ..last_acts import LastActs
    from ..launch import submit
    from ..submission import Request, like_run
    from .jobs import run_job, telling, told_below

    if not chain and not like:
        raise click.UsageError("submit needs --chain, the services to run; `firexlite list` shows them")
    told = telling(sinks)
    request = Request(chain or "", context.meta["firexlite.arguments"], split_plugins(plugins), workers,
                      argv=sys.argv, json_file=json_file, sync=not detach, full_wait_s=full_wait,
                      own_options=context.meta["firexlite.own_options"], redact=list(redact), queues=queues,
                      soft_time_limit=soft_time_limit, exit_when_waiting=exit_when_waiting, pickle=pickle, logs_link=logs_link,
                      flame=flame, on_end=on_end, key=key, executor=executor or LOCAL, insecure=insecure,
                      import_timeout_s=import_timeout, sinks=told.names)
    place_of(request.executor, insecure)
    if like:
        like_run(like, request)
    if key is not None:
        refuse_unfit(key)
    elif no_wait:
        raise BadInput("--no-wait says what to do about a run that goes on already, which --key names; give it too")
    if dry_run:
        from ..outlook import look_ahead
        from . import outlook

        show = outlook.as_json if as_json else outlook.as_text
        answer(told_below(lambda announce: show(look_ahead(request, announce)), import_timeout))
        return
    run_job(lambda board, channel: submit(request, board, channel), LastActs(flame, on_end), import_timeout, detach, no_wait,
            quiet, told)
