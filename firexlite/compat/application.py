"""`firexapp.application`: FireX's command line as an object, over the commands of firexlite."""
from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..cli import run
from ..plugins import load
from .arguments import ChainArgException, get_chain_args
from .celery_app import get_app_task, get_app_tasks

JSON_ARGS_PATH_ARG_NAME = "--json_args_path"


class JsonContentNotList(Exception):
    """A file that should hold a list of arguments holds something else."""


def get_args_from_json(json_file: str) -> list[str]:
    """The words that a JSON file lists. Raises OSError, ValueError for what is no JSON, JsonContentNotList."""
    words = json.loads(Path(json_file).read_text())
    if not isinstance(words, list):
        raise JsonContentNotList(f"{json_file} must contain a list of arguments")
    return words


def get_args_from_json_from_all_args(all_args: Sequence[str]) -> list[str]:
    """The words of the file that ``--json_args_path`` names; none without that. Raises ValueError if it names none."""
    if JSON_ARGS_PATH_ARG_NAME not in all_args:
        return []
    place = all_args.index(JSON_ARGS_PATH_ARG_NAME) + 1
    if place == len(all_args):
        raise ValueError(f"The {JSON_ARGS_PATH_ARG_NAME} argument is not followed by a value.")
    return get_args_from_json(all_args[place])


class SubmitArguments:
    """What of FireX's submission concerns the words of its command line."""

    def process_other_chain_args(self, args: Namespace | None, other_args: Sequence[str]) -> dict[str, str]:
        """``{argument: value}``; exits with a sentence if the words are no such pairs."""
        try:
            return get_chain_args(other_args)
        except ChainArgException as error:
            sys.exit(f"{error}\nAborting...")


class FireXBaseApp:
    """The command line; `run` hands it to firexlite."""

    def __init__(self, submit_app: SubmitArguments | None = None, info_app: object = None) -> None:
        self.submit_app = submit_app or SubmitArguments()
        self.info_app = info_app
        self.arg_parser = self.create_arg_parser()

    def create_arg_parser(self, description: str | None = None) -> ArgumentParser:
        """A parser that says what is wrong with a command line as a whole; each command of firexlite reads its own words."""
        self.arg_parser = ArgumentParser(prog="firexlite", description=description)
        return self.arg_parser

    def run(self, sys_argv: list[str] | None = None) -> None:
        """Run a command, and exit. Raises OSError and ValueError for a file of arguments that cannot be read."""
        words = sys.argv[1:] if sys_argv is None else sys_argv
        if not all(word.isascii() for word in words):
            self.arg_parser.error("You entered a non-ascii character at the command line.")
        further = get_args_from_json_from_all_args(words)
        if further:
            place = words.index(JSON_ARGS_PATH_ARG_NAME)
            words = [*words[:place], *words[place + 2:], *further]
        run(words)


def import_microservices(plugins_files: str | Iterable[str] = (), imports: Iterable[str] = ()) -> list[str]:
    """Import plugins, and modules by name; returns the paths of the plugins. Raises BadInput for a plugin that cannot be."""
    from importlib import import_module

    for module in imports:
        import_module(module)
    files = plugins_files.split(",") if isinstance(plugins_files, str) else plugins_files
    return [plugin.path for plugin in load([file for file in files if file])]


def main() -> None:
    """FireX's command, in whose place firexlite's runs."""
    run()


__all__ = ["JSON_ARGS_PATH_ARG_NAME", "FireXBaseApp", "JsonContentNotList", "get_app_task", "get_app_tasks",
           "get_args_from_json", "get_args_from_json_from_all_args", "import_microservices", "main"]
