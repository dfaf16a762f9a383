"""From the command line to a verified chain: parsing, conversion, verification. Nothing is created here."""
from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from .application import Service, app
from .binding import EXTRA, Member, as_argument, verify
from .claims import NewTask
from .codec import canonical, canonical_of_named, digest, display, encode, encode_named
from .configuration import IMPORT_TIMEOUT_S
from .converters import InputConverter
from .errors import (
    ArgumentConversionException,
    BadInput,
    ConverterRegistrationException,
    InvalidChainArgsException,
    NotRegistered,
    NotStorable,
    nearest,
)
from .history import History, RunRecord
from .home import find_run, user_name
from .plugins import Plugin, load
from .results import DYNAMIC_RETURN
from .secrets import Secret, masked_data, vault
from .signatures import Chain, InjectArgs, Signature, as_chain
from .task_options import of_signature
from .uid import Uid

# Values that firexlite itself supplies to the first task, as FireX does; any service may take them.
OWN_VALUES = ("argv", "chain", "json_file", "plugins", "submission_dir", "submitter", "sync", "uid")


@dataclass
class Request:
    """What was asked for on the command line."""

    chain: str
    arguments: dict[str, str]                     # of the services, as given
    plugins: list[str]
    workers: int | None = None                    # None: as many as there are cores
    argv: list[str] = field(default_factory=list)
    json_file: str | None = None
    full_wait_s: float | None = None              # how long a full disk is waited for; None: `FULL_WAIT_S`
    sync: bool = True
    own_options: list[str] = field(default_factory=list)  # what `submit` itself takes, to be offered for a typing error
    redact: list[str] = field(default_factory=list)       # environment variables whose values are masked
    queues: dict[str, int] = field(default_factory=dict)  # how many tasks of a queue may be under way at once
    soft_time_limit: float | None = None         # seconds that the run may take
    exit_when_waiting: bool = False              # when all that is left waits for a time or an event
    logs_link: str | None = None                  # where a link to the run's directory is to be
    pickle: bool = False                          # what JSON cannot hold is stored pickled
    flame: str | None = None                      # the file to which the report is written when the run ends
    on_end: str | None = None                     # the shell command that is run when the run ends
    sinks: list[str] = field(default_factory=list)  # where its events are sent
    key: str | None = None                        # the name under which the same command finds the run again
    composed: Composed | None = None              # the chain with its arguments, if Python code composed it
    firex_id: str | None = None                   # of the run, if that has been chosen
    executor: str = "local"                       # where its workers are, as `executors.place_of` takes it
    insecure: bool = False                        # also over a connection that nobody checks
    import_timeout_s: float = IMPORT_TIMEOUT_S    # how long the import of a plugin may take


@dataclass(frozen=True)
class Composed:
    """A chain that Python code composed, verified there, on its way to the process that runs it.

    members: ``(service, JSON text of its arguments, JSON text of its options or None)`` of each task. inputs: JSON text.
    secrets: references to those among the arguments. asked: digest of its services and arguments, without what firexlite
    itself supplies; the same whenever the same is composed.
    """

    members: list[tuple[str, str, str | None]]
    inputs: str
    digest: str
    secrets: list[str]
    asked: str


@dataclass
class Prepared:
    """A verified submission, ready for the journal."""

    inputs: str                                   # converted arguments of the services, as JSON text
    members: list[NewTask]
    digest: str
    plugins: list[Plugin]
    secrets: list[str]                            # references to what the run knows from its beginning
    converted_by: dict[str, str] = field(default_factory=dict)  # of the inputs, those that a converter changed or added


def split_arguments(argv: Sequence[str], own_options: Mapping[str, bool]) -> tuple[list[str], dict[str, str]]:
    """Part the words of `submit` into its own options, left as they are, and ``{argument: value}`` of services.

    own_options: ``{option with its dashes: whether it takes a value}``; after one that takes none, a word such as
        `true` is left out (FireX's `--sync true`).
    `--name value`, `-name value` and `--name=value` are the same. A value may itself begin with a dash if an option,
    or nothing, follows it. Behind a bare `--` all are arguments of services, whatever they are called. Raises BadInput for a
    value without option and an option without value.
    """
    own: list[str] = []
    arguments: dict[str, str] = {}
    words = list(argv)
    while words:
        word = words.pop(0)
        if word == "--":
            own_options = {}
            continue
        option, equals, value = word.partition("=")
        if own_option := _own_option(option, own_options):
            if own_options[own_option]:
                own += [own_option, value if equals else _take_value(option, words, own_options)]
            else:
                if not equals:
                    value = words.pop(0) if words and words[0].lower() in _BOOLEANS else "true"
                own += [own_option] * _is_wanted(value, option)
            continue
        name = option.lstrip("-")
        if option == name:
            raise BadInput(f"'{word}' is a value without an option; arguments are given as --name value")
        if not name[:1].isalpha() or not name.isascii():
            raise BadInput(f"'{option}' cannot be an argument: names begin with a letter and are plain ASCII")
        arguments[name] = value if equals else _take_value(option, words, own_options)
    return own, arguments


_BOOLEANS = {"true": True, "false": False}


def _own_option(option: str, own_options: Mapping[str, bool]) -> str | None:
    """The option of `submit` that a word names, with one dash or two."""
    return next((name for name in (option, "-" + option) if name in own_options), None)


def _is_wanted(value: str, option: str) -> bool:
    if value.lower() not in _BOOLEANS:
        raise BadInput(f"the option {option} takes true or false, or no value, not '{value}'")
    return _BOOLEANS[value.lower()]


def _take_value(option: str, words: list[str], own_options: Mapping[str, bool]) -> str:
    has_value = bool(words) and not (
        words[0].startswith("-") and (_own_option(words[0].partition("=")[0], own_options)
                                      or (len(words) > 1 and not words[1].startswith("-"))))
    if not has_value:
        if not words:
            flags = [name for name, takes_value in own_options.items() if not takes_value and name != "--help"]
            close = "" if _own_option(option, own_options) else nearest(option, flags)
            raise BadInput(f"the option {option} has no value: nothing follows it.{close}")
        raise BadInput(f"the option {option} has no value: what follows is '{words[0]}'; "
                       f"write {option}=VALUE for one that looks like an option")
    return words.pop(0)


def prepare(request: Request, firex_id: str, announce: Callable[[str], None] = lambda path: None) -> Prepared:
    """Load the plugins, convert the arguments and verify the chain. Raises BadInput, in one sentence, for any fault.

    An argument `Secret(env:NAME)` is none for converters: it only stands for a value, as `@name` does.
    """
    secrets = {name: secret for name, text in request.arguments.items() if (secret := Secret.in_argument(text))}
    references = list(dict.fromkeys([*redacted(request.redact), *(secret.reference for secret in secrets.values())]))
    vault.begin_run(references)
    vault.refuse_in(request.argv)
    InputConverter.start_over()
    own_values = _own_values(request, firex_id)
    converted_by: dict[str, str] = {}
    try:
        plain = {name: text for name, text in request.arguments.items() if name not in secrets}
        arguments = InputConverter.converted(plain, True, converted_by)
        plugins = load(request.plugins, announce)
        services = [find_service(name) for name in _names_in(request.chain)]
        _refuse_unused(request.arguments, request.own_options)
        converted = InputConverter.converted({**own_values, **arguments}, False, converted_by)
        arguments = {**{name: value for name, value in converted.items()
                        if name in arguments or value is not own_values.get(name, converted)}, **secrets}
    except ArgumentConversionException as error:
        raise BadInput(f"the arguments were refused: {error}") from error
    except ConverterRegistrationException as error:
        raise BadInput(f"the converters cannot run: {error}") from error
    except SystemExit as error:  # of a converter; `load` tells of a plugin's
        raise BadInput(f"the arguments were refused: a converter raised SystemExit: {error}") from error
    supplied = {**own_values, **arguments}
    references += [reference for reference in _secret_defaults(services, supplied) if reference not in references]
    vault.begin_run(references)
    vault.refuse_in(request.argv)
    head, *rest = services
    chain = Chain((Signature(head.name, (), supplied), *(Signature(s.name) for s in rest)))
    try:
        members, of_chain = new_tasks(chain)
        inputs = encode(arguments, "inputs")
    except InvalidChainArgsException as error:
        raise BadInput(_one_sentence(error, request.own_options)) from error
    except NotStorable as error:
        raise BadInput(str(error)) from error
    return Prepared(inputs, members, of_chain, plugins, references, converted_by)


def compose(chain: Chain, request: Request, rename: Callable[[str], str] = lambda service: service) -> Composed:
    """A chain that Python code composed, for a request with an id; what firexlite itself supplies is added. No converter has
    a look at its arguments, which are no text.

    rename: how a service is called where it will run. Raises as `new_tasks`.
    """
    assert request.firex_id is not None
    own = {name: value for signature in reversed(chain.signatures) for name, value in _by_name(signature).items()}
    secrets = [value.reference for value in own.values() if isinstance(value, Secret)]
    members, of_chain = new_tasks(as_chain(InjectArgs(**_own_values(request, request.firex_id)) | chain))  # type: ignore[arg-type]
    inputs = encode({name: as_argument(value) for name, value in own.items() if name != EXTRA}, "inputs")
    asked = _digest(_call_of(app.service(one.service), _by_name(one))[1] for one in chain.signatures)
    return Composed([(rename(one.service), one.arguments, one.options) for one in members], inputs, of_chain, secrets, asked)


def _by_name(signature: Signature) -> dict[str, object]:
    return app.service(signature.service).parameters.by_name(signature.args, signature.kwargs)


def prepare_composed(request: Request, announce: Callable[[str], None] = lambda path: None) -> Prepared:
    """As `prepare`, for a chain that was composed elsewhere: its services are loaded, and it is verified against them."""
    composed = request.composed
    assert composed is not None
    references = list(dict.fromkeys([*redacted(request.redact), *composed.secrets]))
    vault.begin_run(references)
    plugins = load(request.plugins, announce)
    found = [(find_service(name), text, json.loads(options or "{}")) for name, text, options in composed.members]
    own = [display(text) for _, text, _ in found]
    try:
        verify(Member(service.name, service.parameters, service.return_names, mine)
               for (service, _, _), mine in zip(found, own, strict=True))
    except InvalidChainArgsException as error:
        raise BadInput(_one_sentence(error, request.own_options)) from error
    supplied = {name for mine in own for name in mine}
    references += [reference for reference in _secret_defaults([service for service, _, _ in found], supplied)
                   if reference not in references]
    vault.begin_run(references)
    return Prepared(composed.inputs, [_new_task(*one) for one in found], composed.digest, plugins, references)


def refuse_other_inputs(history: History, request: Request) -> None:
    """Raise BadInput, with the difference, unless a run has the inputs that are asked for: its chain, and the arguments."""
    run = history.run()
    if differences := list(_differences(run, request)):
        raise BadInput(f"the key '{request.key}' is that of {run.firex_id}, which has other inputs: {'; '.join(differences)}; "
                       "give the same again, or another key")


def _differences(run: RunRecord, request: Request) -> Iterator[str]:
    """What is asked for otherwise than a run has it, in the words of a command or of Python."""
    given, asked, composed = run.options.get("arguments"), run.options.get("asked"), request.composed
    if _names_in(run.chain) != _names_in(request.chain):
        option = "--chain " if composed is None else "the chain "
        yield f"{option}{run.chain} before, {option}{request.chain} now"
    elif composed is None and given is not None:
        yield from _in_pairs(_given, given, masked_data(request.arguments))
    elif composed is None:
        yield "begun by Python code before, by a command now"
    elif asked is None:
        yield "begun by a command before, by Python code now"
    elif asked != composed.asked:
        yield from list(_in_pairs(_as_keyword, run.inputs, display(composed.inputs))) or ["other arguments of its tasks"]


def _in_pairs(word: Callable[[Mapping[str, Any], str], str], was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for before, after in ((word(was, name), word(now, name)) for name in sorted({*was, *now})):
        if before != after:
            yield f"{before} before, {after} now"


def _given(arguments: Mapping[str, str], name: str) -> str:
    return f"--{name} {shlex.quote(arguments[name])}" if name in arguments else f"no --{name}"


def _as_keyword(arguments: Mapping[str, Any], name: str) -> str:
    return f"{name}={arguments[name]!r}" if name in arguments else f"no {name}="


def like_run(firex_id: str, request: Request) -> None:
    """Fill a request up with the inputs of a run: its chain, its arguments and its plugins, as far as it says nothing of them.

    Raises BadInput for a run that cannot be repeated.
    """
    with History(find_run(firex_id)) as history:
        run = history.run()
    if run.options.get("arguments") is None:
        raise BadInput(f"{run.firex_id} was not begun by a command, or by one of an older firexlite, so what was given then is "
                       "not recorded; give the inputs themselves")
    if not request.chain:
        request.chain = run.chain
    request.arguments = {**run.options["arguments"], **request.arguments}
    if not request.plugins:
        request.plugins = plugins_of(run, "submit --like")


def plugins_of(run: RunRecord, command: str, words: str = "") -> list[str]:
    """Paths of the plugins that a run recorded. command, words: that which is to be given them if they are not to be had.

    Raises BadInput if one is not there, or is a stranger's choice.
    """
    recorded, again = run.options["plugins"], f"firexlite {command} {run.firex_id}{words} --plugins"
    if foreign := [plugin["path"] for plugin in recorded if plugin.get("foreign")]:
        names = ",".join(shlex.quote(beside(path)) for path in foreign)
        raise BadInput(f"{run.firex_id} was imported, and the plugins that it names are another person's choice "
                       f"({', '.join(map(os.path.basename, foreign))}); look at them and say which to load: {again} {names}")
    paths = [present(plugin["path"], run.options["cwd"]) for plugin in recorded if not plugin.get("found")]
    if gone := [path for path in paths if not os.path.exists(path)]:
        raise BadInput(f"{run.firex_id} recorded the plugin '{gone[0]}', which is not there any more; give it another "
                       f"place with `{again} FILES`")
    return paths


def beside(path: str) -> str:
    """How to name a stranger's file: as it was named there, if a file of that name lies below this folder too."""
    return path if not os.path.isabs(path) and os.path.exists(path) else os.path.basename(path)


def present(path: str, recorded_cwd: str) -> str:
    """Where a recorded plugin lies now: below the working directory of today, else below that of the submission."""
    return path if os.path.exists(path) else os.path.join(recorded_cwd, path)


def _secret_defaults(services: Sequence[Service], supplied: Iterable[str]) -> Iterator[str]:
    """References to the secrets that a chain is sure to need since nothing supplies others."""
    reachable = set(supplied)
    for service in services:
        for name, value in service.parameters.defaults.items():
            if isinstance(value, Secret) and name not in reachable:
                yield value.reference
        reachable.update(service.return_names or ())
        if DYNAMIC_RETURN in reachable:
            return


def redacted(names: Sequence[str]) -> list[str]:
    """References to the environment variables that `--redact` names."""
    return [f"env:{name}" for name in names]


def _own_values(request: Request, firex_id: str) -> dict[str, object]:
    return {"argv": request.argv, "chain": request.chain, "json_file": request.json_file,
            "plugins": ",".join(request.plugins), "submission_dir": os.getcwd(), "submitter": user_name(),
            "sync": request.sync, "uid": Uid.recorded(firex_id)}


def _names_in(chain: str) -> list[str]:
    names = [name.strip() for name in chain.split(",")]
    if not all(names):
        raise BadInput(f"--chain '{chain}' lacks a service beside a comma; `firexlite list` shows all.")
    return names


def find_service(name: str) -> Service:
    """The service of a name that a person gave. Raises BadInput, with the nearest name."""
    try:
        return app.service(name)
    except NotRegistered as error:
        raise BadInput(f"{error} `firexlite list` shows all.") from error


_expected: set[str] = set(OWN_VALUES)


def whitelist_arguments(names: str | Iterable[str]) -> None:
    """Let these arguments be given to a run though no service has them: a converter, or `self.abog`, makes use of them."""
    _expected.update([names] if isinstance(names, str) else names)


def whitelisted() -> frozenset[str]:
    """Arguments that are no typing error though no service has them."""
    return frozenset(_expected)


def _refuse_unused(arguments: Mapping[str, str], own_options: Sequence[str]) -> None:
    """An argument that no loaded service has, and none whitelisted, is a typing error."""
    known = app.argument_names | _expected
    for name in arguments:
        if name not in known:
            close = nearest(name, [*known, *own_options])
            raise BadInput(f"no service has an argument '{name}' (given as --{name}).{close}")


def _one_sentence(error: InvalidChainArgsException, own_options: Sequence[str]) -> str:
    text = str(error)
    if text.startswith("Missing"):
        taken = sorted({name for names in error.wrong_args.values() for name in cast(set, names)} & {*own_options})
        way_out = f"; what is called as an option of submit is given behind a --, as in: -- --{taken[0]} VALUE" if taken else ""
        parts = [f"{service} needs {', '.join('--' + name for name in sorted(cast(set, names)))}"
                 for service, names in error.wrong_args.items()]
        return f"{'; '.join(parts)}, and nothing supplies it{way_out}"
    if text.startswith("Service"):
        service = text.split()[1]
        parts = [f"'@{target}' for {name}" for name, target in error.wrong_args.items()]
        return f"{service} refers to {' and '.join(parts)}, but nothing of that name reaches it"
    return text


def new_tasks(chain: Chain) -> tuple[list[NewTask], str]:
    """The tasks of a chain, ready to be journaled, and the digest by which a replay knows the chain again.

    Raises InvalidChainArgsException if arguments are missing, TypeError for too many positional ones, NotRegistered
    for an unknown service, NotStorable for an argument that the journal cannot hold.
    """
    found = [(app.service(signature.service), signature) for signature in chain]
    own = [service.parameters.by_name(signature.args, signature.kwargs) for service, signature in found]
    verify(Member(service.name, service.parameters, service.return_names, mine)
           for (service, _), mine in zip(found, own, strict=True))
    for mine in own:
        for value in mine.values():
            if isinstance(value, Secret):
                value.reveal()  # first of all: its value may stand in other arguments too
    members, calls = [], []
    for (service, signature), mine in zip(found, own, strict=True):
        text, call = _call_of(service, mine)
        members.append(_new_task(service, text, of_signature(signature.options)))
        calls.append(call)
    return members, _digest(calls)


def _call_of(service: Service, own: Mapping[str, object]) -> tuple[str, str]:
    """JSON text of what is given to a service, and the call in the form in which two that are the same are the same."""
    written = {name: as_argument(value) for name, value in own.items()}
    text = encode_named(written, f"arguments of {service.short_name}: ")
    return text, f"[{canonical(service.short_name)},{canonical_of_named(written, text)}]"


def _digest(calls: Iterable[str]) -> str:
    return digest(f"[{','.join(calls)}]")


def _new_task(service: Service, arguments: str, own: Mapping[str, Any]) -> NewTask:
    """own: what the signature sets other than its service."""
    options = service.options
    return NewTask(
        service.name, arguments, options.worker_deaths, service.about, service.digest, options.on_interrupt,
        own.get("queue", options.queue), own.get("slots", options.slots), own.get("priority", options.priority),
        options.keeps_children, json.dumps(own) if own else None)
