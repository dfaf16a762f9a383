"""`firexapp.testing`: FireX's flow tests, each of which gives one command line and says what has to come of it.

    python -m firexlite.compat.flow_tests --tests example_flow_tests.py,more_tests
"""
from __future__ import annotations

import argparse
import importlib
import inspect
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import BadInput
from ..home import find_run
from .run_data import FireXRunData
from .submit_output import get_firex_id_from_output

LIMIT_S = 30 * 60
FLAME_OPTIONS = ("--flame_", "--blaze_", "--disable_blaze", "--logs_link")
_PROGRESS = re.compile(r"\d+ of \d+ tasks? ended(, \d+ failed)?, \d+:\d\d\Z")


class FlowTestConfiguration:
    """One flow test: subclasses give the command line, and judge what came of it by assertions."""

    run_data: FireXRunData | None = None
    sync = True
    timeout: float = LIMIT_S
    results_folder = ""
    filepath = ""

    @property
    def name(self) -> str:
        return type(self).__name__

    @property
    def completed_run(self) -> FireXRunData:
        """The run, when it has ended."""
        assert self.run_data, "there is no run"
        return self.run_data if self.run_data.completed else self.run_data.reload()

    def initial_firex_options(self) -> list[str]:
        """The words of the command line."""
        raise NotImplementedError

    def assert_expected_firex_output(self, cmd_output: str, cmd_err: str) -> None:
        assert not cmd_err, f"Unexpected stderr: {cmd_err}"

    def assert_expected_return_code(self, ret_value: int) -> None:
        assert_is_good_run(ret_value)

    def cleanup(self) -> None:
        """Called at the end, whatever came of the test."""

    @staticmethod
    def get_extra_run_env() -> dict[str, str]:
        """Environment variables for the command."""
        return {}


def assert_is_bad_run(ret_value: int) -> None:
    assert ret_value != 0, "This test should have a FAILURE return code, but returned 0"


def assert_is_good_run(ret_value: int) -> None:
    assert ret_value == 0, f"Test expects a CLEAN run, but returned {ret_value}. Check the err output to see what went wrong."


def skip_test(cls: type[FlowTestConfiguration]) -> type[FlowTestConfiguration]:
    """Decorator of a flow test that is not to be run."""
    cls.skip_test = True  # type: ignore[attr-defined]
    return cls


# --- finding them --------------------------------------------------------------------------------------------------------

def discover_tests(tests: str, config_filter: str = "") -> list[FlowTestConfiguration]:
    """The flow tests of files and folders, separated by commas. config_filter: names of those to be run, likewise; else all.

    Raises FileNotFoundError for a path where nothing is, ValueError if there is no test.
    """
    wanted = [name.strip() for name in config_filter.split(",") if name.strip()]
    found = [one for path in tests.split(",") for one in import_test_configs(path) if not wanted or one.name in wanted]
    if not found:
        raise ValueError(f"No test configs found in {tests}")
    return [one for one in found if not hasattr(one, "skip_test")]


def import_test_configs(path: str) -> list[FlowTestConfiguration]:
    """The flow tests of a file, or of all files below a folder but for those below a `data` folder."""
    if not os.path.exists(path):
        raise FileNotFoundError(path)
    if os.path.isdir(path):
        return [one for entry in sorted(os.listdir(path)) if entry != "data" and not entry.startswith((".", "__"))
                for one in import_test_configs(os.path.join(path, entry))]
    if not path.endswith(".py"):
        return []
    file = Path(path).resolve()
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
    module = importlib.import_module(file.stem)
    found = []
    for _, cls in inspect.getmembers(module, inspect.isclass):
        if issubclass(cls, FlowTestConfiguration) and cls.__module__ == module.__name__ and not inspect.isabstract(cls) \
                and "__metaclass__" not in vars(cls):
            one = cls()
            one.filepath = str(file)
            found.append(one)
    return found


# --- running them --------------------------------------------------------------------------------------------------------

def command_of(test: FlowTestConfiguration) -> list[str]:
    """The command line of a test: its own words, without options for FireX's servers, and its file as a plugin."""
    words = [str(word) for word in test.initial_firex_options()]
    kept: list[str] = []
    while words:
        word = words.pop(0)
        if not word.startswith(FLAME_OPTIONS):
            kept.append(word)
        elif words and not words[0].startswith("-"):
            words.pop(0)
    if kept[:1] == ["submit"]:
        kept.append("--sync" if test.sync else "--detach")
    return [sys.executable, "-m", "firexlite", *kept, "--plugins", test.filepath]


def run_flow_test(test: FlowTestConfiguration) -> None:
    """Run one test. Raises what its assertions do, and subprocess.TimeoutExpired."""
    try:
        done = subprocess.run(command_of(test), capture_output=True, text=True, timeout=test.timeout, stdin=subprocess.DEVNULL,
                              env={**os.environ, **test.get_extra_run_env()})
        if firex_id := get_firex_id_from_output(done.stdout):
            try:
                test.run_data = FireXRunData.load_from_logs_dir(find_run(firex_id).path)
            except (BadInput, OSError):
                test.run_data = None
        test.assert_expected_return_code(done.returncode)
        test.assert_expected_firex_output(done.stdout, "\n".join(_of_interest(done.stderr.splitlines())))
    except AssertionError as error:
        said = f"{done.stdout}{done.stderr}".strip()
        raise AssertionError(f"{error}\n--- firexlite said\n{said}") from error
    finally:
        test.cleanup()


def _of_interest(lines: Iterable[str]) -> list[str]:
    """What is on stderr but for lines that only tell how far the run is."""
    return [line for line in lines if line and not _PROGRESS.match(line)]


def run_flow_tests(tests: Sequence[FlowTestConfiguration]) -> list[str]:
    """Run all, one after the other, and print what came of each; returns the names of those that failed."""
    failed = []
    for test in tests:
        try:
            run_flow_test(test)
        except Exception:  # a stranger's assertions
            failed.append(test.name)
            print(f"FAILED {test.name}\n{traceback.format_exc()}", flush=True)
        else:
            print(f"passed {test.name}", flush=True)
    print(f"{len(tests) - len(failed)} of {len(tests)} passed")
    return failed


def main() -> None:
    """The command: exits with 1 if a test failed."""
    from . import install

    install()
    parser = argparse.ArgumentParser(prog="python -m firexlite.compat.flow_tests", description="Run FireX's flow tests.")
    parser.add_argument("--tests", required=True, help="files and folders, separated by commas")
    parser.add_argument("--config", default="", help="the names of those to be run; else all")
    words = parser.parse_args()
    # The configurations must be subclasses of the class that the file imports, and that is not `__main__`'s.
    from . import flow_tests
    sys.exit(bool(flow_tests.run_flow_tests(flow_tests.discover_tests(words.tests, words.config))))


if __name__ == "__main__":
    main()
