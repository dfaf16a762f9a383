"""Bad input ends in one sentence and the exit code of the table, and leaves nothing behind."""
from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Command, Finished, query
from spoilt import UNUSABLE, LockedJournals, alter, copy_of, digest_of
from warm import Call, Ended, Warm

from firexlite.home import RunDirectory

pytest_plugins = ["sound_runs"]

# The service files that the command lines below name.
SOURCES = {
    "greet.py": """
from firexlite import app

@app.task(returns="greeting")
def greet(name, title="Ms"):
    return f"Hello {title} {name}!"
""",
    "unparsable.py": "x = = 1\n",
    "parsed_later.py": "import unparsable\n",
    "failing.py": "import os\n\n\ndef wrong():\n    import no_such_module\n\n\nwrong()\n",
    "empty_error.py": "raise ValueError\n",
    "long_error.py": "raise ValueError('two\\nlines')\n",
    "leaving.py": "import sys\nsys.exit(3)\n",
    "sub/json.py": "",
    "click.py": "",
    "services.txt": "",
    "_texts/_private.py": "",
    "injecting.py": """
from firexlite import InjectArgs, app

@app.task
def first(): ...

CHAIN = first.s() | InjectArgs(name="Li")
""",
    "twice.py": """
from firexlite import app, returns

@app.task
@returns("same", "same")
def twice(): ...
""",
    "both.py": """
from firexlite import app, returns

@app.task(returns="one")
@returns("two")
def both(): ...
""",
    "upside_down.py": """
from firexlite import app, returns

@returns("one")
@app.task
def upside_down(): ...
""",
    "orig.py": """
from firexlite import app

@app.task
def greet_orig(): ...
""",
    "refusing.py": """
from firexlite import InputConverter, SingleArgDecorator, app

@InputConverter.register
@SingleArgDecorator("number")
def to_number(value):
    return int(value)

@app.task
def count(number): ...
""",
    "converter_leaves.py": """
from firexlite import InputConverter

@InputConverter.register
def leave(arguments):
    raise SystemExit(4)
""",
    "missing_dependency.py": """
from firexlite import InputConverter

@InputConverter.register("nowhere")
def lonely(arguments): ...
""",
    "circular.py": """
from firexlite import InputConverter

@InputConverter.register("hen")
def egg(arguments): ...

@InputConverter.register("egg")
def hen(arguments): ...
""",
    "too_late.py": """
from firexlite import InputConverter

@InputConverter.register(True)
def early(arguments): ...
""",
    "hanging.py": "import threading\nthreading.Event().wait()\n",
    "crashing.py": "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n",
    "vanishing.py": "import os\nos._exit(0)\n",
}

TAKES_PYTHON_FILES = "; --plugins takes Python files and folders of them, looked for from {folder}"
LIST_SHOWS = "`firexlite list` shows all."
LOOKS_LIKE = ("is not a FireX ID; they look like FireX-li-261123-101500-4711, and may be given by how they begin or end, by "
              "the key of the run, or as 'last'; `firexlite runs` lists them")
NOWHERE = "FireX-li-261123-101500-4711"
NO_RUN = f"there is no run '{NOWHERE}' in {{home}}; `firexlite runs` lists them."
LONGER = "look for what it waits for, or give it longer with --import_timeout SECONDS"

# what is wrong -> the words, and the sentence
REFUSED = {
    # commands and their own options
    "an unknown command": ("submitt --chain nop", "there is no command 'submitt'. Did you mean 'submit'? "
                                                  "`firexlite --help` lists them."),
    "an unknown option before the command": ("--frob", "No such option '--frob'."),
    "an unknown option of a command": ("runs --limits 3", "No such option '--limits'. Did you mean '--limit'?"),
    "no chain": ("submit", "submit needs --chain, the services to run; `firexlite list` shows them"),
    "an empty chain": ("submit --chain=", "submit needs --chain, the services to run; `firexlite list` shows them"),
    "a chain with an empty place": ("submit --chain nop,,sleep",
                                    f"--chain 'nop,,sleep' lacks a service beside a comma; {LIST_SHOWS}"),
    "no workers": ("submit --chain nop --workers 0", "--workers takes a whole number from 1 to 1000, not '0'"),
    "too many workers": ("submit --chain nop --workers 1001", "--workers takes a whole number from 1 to 1000, not '1001'"),
    "workers that are no number": ("submit --chain nop --workers x",
                                   "--workers takes a whole number from 1 to 1000, not 'x'"),
    "workers of a resume that are no number": (f"resume {NOWHERE} --workers 1.5",
                                               "--workers takes a whole number from 1 to 1000, not '1.5'"),
    "an import timeout of nothing": ("submit --chain nop --import_timeout 0",
                                     "--import_timeout takes a number of seconds above 0, not '0'"),
    "a full wait without end": ("submit --chain nop --full-wait inf",
                                "--full-wait takes a number of seconds from 0 on, below 1e9, not 'inf'"),
    "a full wait that no journal may hold": ("submit --chain nop --full-wait 1e9",
                                             "--full-wait takes a number of seconds from 0 on, below 1e9, not '1e9'"),
    "a number of runs that is none": ("runs -n x", "--limit takes a whole number from 1 on, not 'x'"),
    "a secret by value": ("submit --chain nop --redact A=B",
                          "--redact takes the NAME of an environment variable, whose value it looks up itself, not 'A=B'"),
    "a secret without a name": ("submit --chain nop --redact=",
                                "--redact takes the NAME of an environment variable, whose value it looks up itself, not ''"),
    "a task beyond all numbers to restart": (f"resume {NOWHERE} --restart-task {2 ** 63}",
                                             f"--restart-task takes the number of a task, not '{2 ** 63}'"),
    "a task beyond all numbers that is done": (
        f"resume {NOWHERE} --mark-done {2 ** 63} {{}}",
        "--mark-done takes the number of a task and a JSON object of what it returns, by name, "
        f"not '{2 ** 63}' for a number"),
    "returned values that nest without end": (
        f"resume {NOWHERE} --mark-done 2 {'[' * 100_000}",
        "--mark-done takes the number of a task and a JSON object of what it returns, by name; "
        f"'{'[' * 200}...' is no JSON: it is nested too deeply"),
    "a json_file of a name that no file can have": (
        f"submit --chain nop --json_file {'a' * 300}",
        f"--json_file '{'a' * 200}...' could not be written: File name too long"),
    "a service of a name without end": (f"submit --chain {'a' * 100_000}",
                                        f"there is no service '{'a' * 200}...'. {LIST_SHOWS}"),
    "a flag that is neither true nor false": ("submit --chain nop --sync=maybe",
                                              "the option --sync takes true or false, or no value, not 'maybe'"),
    "a json_file in a folder that is not there": (
        "submit --chain nop --json_file gone/run.json",
        "--json_file 'gone/run.json' could not be written: {folder}/gone is no folder that you may write to"),
    "a json_file that is a folder": ("submit --chain nop --json_file .",
                                     "--json_file takes the name of a file, and '.' is a folder"),

    # services and their arguments
    "an unknown service": ("submit --chain nopp", f"there is no service 'nopp'. Did you mean 'nop'? {LIST_SHOWS}"),
    "an unknown service like no other": ("submit --chain zebra", f"there is no service 'zebra'. {LIST_SHOWS}"),
    "an unknown service to be shown": ("info nopp", f"Microservice nopp was not found! Did you mean 'nop'? {LIST_SHOWS}"),
    "a missing argument": ("submit --plugins greet.py --chain nop,greet",
                           "greet.greet needs --name, and nothing supplies it"),
    "an option that no service uses": ("submit --plugins greet.py --chain greet --nam Li",
                                       "no service has an argument 'nam' (given as --nam). Did you mean 'name'?"),
    "an option that is nearly one of submit": ("submit --chain nop --worker 2",
                                               "no service has an argument 'worker' (given as --worker). "
                                               "Did you mean 'workers'?"),
    "an option that is like no other": ("submit --chain nop --zebra 1",
                                        "no service has an argument 'zebra' (given as --zebra)."),
    "an option without value at the end": ("submit --chain sleep --sleep",
                                           "the option --sleep has no value: nothing follows it."),
    "a flag that is misspelt": ("submit --chain nop --detatch",
                                "the option --detatch has no value: nothing follows it. Did you mean '--detach'?"),
    "an option without value before another": (
        "submit --sleep --chain sleep",
        "the option --sleep has no value: what follows is '--chain'; write --sleep=VALUE for one that looks like an option"),
    "an option of submit without value": (
        "submit --chain --name Li",
        "the option --chain has no value: what follows is '--name'; write --chain=VALUE for one that looks like an option"),
    "a value without option": ("submit --chain sleep --sleep 1 2",
                               "'2' is a value without an option; arguments are given as --name value"),
    "an option that is no name": ("submit --chain nop --- 1",
                                  "'---' cannot be an argument: names begin with a letter and are plain ASCII"),
    "a value behind two dashes": ("submit --chain nop -- 1",
                                  "'1' is a value without an option; arguments are given as --name value"),
    "an option beyond ASCII": ("submit --chain nop --größe 3",
                               "'--größe' cannot be an argument: names begin with a letter and are plain ASCII"),
    "a reference to nothing": ("submit --plugins greet.py --chain greet --name @nothere",
                               "greet.greet refers to '@nothere' for name, but nothing of that name reaches it"),
    "a circle of references": ("submit --plugins greet.py --chain greet --name @title --title @name",
                               "@name -> @title -> @name is a circle of references"),
    "a reference to itself": ("submit --plugins greet.py --chain greet --name @name",
                              "greet.greet refers to '@name' for name, but nothing of that name reaches it"),

    # plugins
    "a plugin that is missing": ("submit --chain nop --plugins gone.py", f"plugin 'gone.py' is not there{TAKES_PYTHON_FILES}"),
    "a plugin that is missing after one that is there": ("list --plugins greet.py,gone.py",
                                                         f"plugin 'gone.py' is not there{TAKES_PYTHON_FILES}"),
    "a plugin that is a folder without services": (
        "submit --chain nop --plugins _texts/_private.py,.", "plugin '.' is a folder without services: none of the "
        "files below it is a Python file whose name begins otherwise than with _"),
    "a plugin that is no Python file": ("submit --chain nop --plugins services.txt",
                                        "plugin 'services.txt' is no Python file; its name must end in .py"),
    "a plugin that does not parse": ("submit --chain nop --plugins unparsable.py",
                                     "plugin 'unparsable.py' does not parse: unparsable.py, line 1: invalid syntax"),
    "a plugin that imports what does not parse": (
        "submit --chain nop --plugins parsed_later.py",
        "plugin 'parsed_later.py' does not parse: unparsable.py, line 1: invalid syntax"),
    "a plugin that fails to import": (
        "submit --chain nop --plugins failing.py",
        "plugin 'failing.py' failed to import at line 5 (`import no_such_module`): "
        "ModuleNotFoundError: No module named 'no_such_module'"),
    "a plugin that fails to import for info": (
        "info nop --plugins failing.py",
        "plugin 'failing.py' failed to import at line 5 (`import no_such_module`): "
        "ModuleNotFoundError: No module named 'no_such_module'"),
    "a plugin that fails without a text": (
        "submit --chain nop --plugins empty_error.py",
        "plugin 'empty_error.py' failed to import at line 1 (`raise ValueError`): ValueError"),
    "a plugin that fails with lines": (
        "submit --chain nop --plugins long_error.py",
        "plugin 'long_error.py' failed to import at line 1 (`raise ValueError('two\\nlines')`): ValueError: two lines"),
    "a plugin that exits": ("submit --chain nop --plugins leaving.py",
                            "plugin 'leaving.py' failed to import at line 2 (`sys.exit(3)`): SystemExit: 3"),
    "a plugin with the name of a module of Python": (
        "submit --chain nop --plugins sub/json.py",
        "plugin 'sub/json.py' has the name of another module, 'json' (Python's own); rename the file"),
    "a plugin that joins InjectArgs to the end of a chain": (
        "submit --chain nop --plugins injecting.py",
        "plugin 'injecting.py' failed to import at line 7 (`CHAIN = first.s() | InjectArgs(name=\"Li\")`): "
        "InvalidChainArgsException: InjectArgs(name) stands in the middle of a chain, where nothing can receive it; "
        "put it at the head"),
    "a plugin that returns one name twice": (
        "submit --chain nop --plugins twice.py",
        "plugin 'twice.py' failed to import at line 5 (`@returns(\"same\", \"same\")`): "
        "ReturnsCodingException: @returns declares a return name twice: same, same"),
    "a plugin that declares returns twice": (
        "submit --chain nop --plugins both.py",
        "plugin 'both.py' failed to import at line 4 (`@app.task(returns=\"one\")`): "
        "ReturnsCodingException: both declares its returns twice, by @returns and by returns="),
    "a plugin with @returns above @app.task": (
        "submit --chain nop --plugins upside_down.py",
        "plugin 'upside_down.py' failed to import at line 4 (`@returns(\"one\")`): "
        "ReturnsCodingException: @returns must stand below @app.task"),
    "a plugin with a service named like an overridden one": (
        "submit --chain nop --plugins orig.py",
        "plugin 'orig.py' failed to import at line 4 (`@app.task`): IllegalTaskNameException: "
        "the name of orig.greet_orig ends in _orig, which is kept for overridden services"),
    "a plugin that hangs": ("submit --chain nop --import_timeout 0.5 --plugins hanging.py",
                            f"importing 'hanging.py' has not finished after 0.5 s; {LONGER}"),
    "a plugin that hangs in the background": ("submit --detach --chain nop --import_timeout 0.5 --plugins hanging.py",
                                              f"importing 'hanging.py' has not finished after 0.5 s; {LONGER}"),
    "a plugin that hangs for list": ("list --import_timeout 0.5 --plugins hanging.py",
                                     f"importing 'hanging.py' has not finished after 0.5 s; {LONGER}"),
    "a plugin that crashes": ("submit --chain nop --plugins crashing.py",
                              "importing 'crashing.py' ended the process by signal 11 (SIGSEGV)"),
    "a plugin that crashes in the background": ("submit --detach --chain nop --plugins crashing.py",
                                                "importing 'crashing.py' ended the process by signal 11 (SIGSEGV)"),
    "a plugin that crashes for info": ("info nop --plugins crashing.py",
                                       "importing 'crashing.py' ended the process by signal 11 (SIGSEGV)"),
    "a plugin that ends the process": ("submit --chain nop --plugins vanishing.py",
                                       "importing 'vanishing.py' ended the process by exit status 0"),

    # converters
    "a value that a converter refuses": (
        "submit --plugins refusing.py --chain count --number many",
        "the arguments were refused: Converter to_number failed: number: invalid literal for int() with base 10: 'many'"),
    "a value that a converter refuses in the background": (
        "submit --detach --plugins refusing.py --chain count --number many",
        "the arguments were refused: Converter to_number failed: number: invalid literal for int() with base 10: 'many'"),
    "a converter that exits": ("submit --plugins converter_leaves.py --chain nop",
                               "the arguments were refused: a converter raised SystemExit: 4"),
    "a converter without its dependency": (
        "submit --plugins missing_dependency.py --chain nop",
        "the converters cannot run: Converter lonely depends on nowhere, which is not registered"),
    "converters in a circle": (
        "submit --plugins circular.py --chain nop",
        "the converters cannot run: Converters depend on each other in a circle: egg -> hen -> egg"),
    "a converter that comes too late": (
        "submit --plugins too_late.py --chain nop",
        "plugin 'too_late.py' failed to import at line 4 (`@InputConverter.register(True)`): "
        "ConverterRegistrationException: The converters that run before the services are loaded have run already; "
        "register with False"),

    # run ids
    "no run id": ("resume", "Missing argument 'ID'."),
    "an unknown run to resume": (f"resume {NOWHERE}", NO_RUN),
    "an unknown run to resume in the background": (f"resume --detach {NOWHERE}", NO_RUN),
    "an unknown run to draw": (f"flame {NOWHERE}", NO_RUN),
    "a malformed run id to resume": ("resume nonsense", f"'nonsense' {LOOKS_LIKE}"),
    "a malformed run id to draw": ("flame nonsense", f"'nonsense' {LOOKS_LIKE}"),
    "a path to resume": ("resume ../../etc", f"'../../etc' {LOOKS_LIKE}"),
    "a path to draw": ("flame ../../etc", f"'../../etc' {LOOKS_LIKE}"),
    "a path dressed as a run id": ("resume FireX-../../li-261123-101500-4711",
                                   f"'FireX-../../li-261123-101500-4711' {LOOKS_LIKE}"),
}


def write_what_is_named(words: str, folder: Path) -> None:
    """Write the service files that a command line names; `parsed_later.py` needs the other one beside it."""
    for name, source in SOURCES.items():
        if name in words or (name == "unparsable.py" and "parsed_later.py" in words):
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(source)


@pytest.mark.parametrize("wrong", REFUSED)
def test_bad_input_is_told_in_one_sentence_and_makes_no_run(wrong: str, firexlite: Command) -> None:
    words, sentence = REFUSED[wrong]
    write_what_is_named(words, firexlite.folder)

    done = firexlite(*words.split())

    sentence = sentence.replace("{folder}", str(firexlite.folder)).replace("{home}", str(firexlite.home))
    assert done == Finished(2, "", f"firexlite: {sentence}\n")
    assert not firexlite.home.exists()


def test_a_plugin_cannot_take_the_name_of_an_installed_module(firexlite: Command) -> None:
    (firexlite.folder / "sub").mkdir()
    (firexlite.folder / "sub" / "click.py").write_text("")

    done = firexlite("submit", "--chain", "nop", "--plugins", "sub/click.py")

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("firexlite: plugin 'sub/click.py' has the name of another module, 'click' (/")
    assert done.err.endswith("/click/__init__.py); rename the file\n")


def test_a_mistyped_run_id_is_answered_with_the_nearest(firexlite: Command) -> None:
    firex_id = firexlite("submit", "--chain", "nop").firex_id
    nearly = f"{firex_id}0"

    done = firexlite("resume", nearly)

    assert done == Finished(2, "", f"firexlite: there is no run '{nearly}' in {firexlite.home}; "
                                   f"`firexlite runs` lists them. Did you mean '{firex_id}'?\n")


def test_inject_args_in_the_middle_of_a_chain_fail_the_task_that_composes_it(firexlite: Command, plugin) -> None:
    plugin("""
from firexlite import InjectArgs, app

@app.task
def child(): ...

@app.task(bind=True)
def parent(self):
    self.enqueue_child(child.s() | InjectArgs(name="Li") | child.s())
""")

    done = firexlite("submit", "--plugins", "services.py", "--chain", "parent")

    assert done.code == 1
    assert done.err.splitlines()[:3] == [
        "FAILED: parent (task 1): InvalidChainArgsException: InjectArgs(name) stands in the middle of a chain, "
        "where nothing can receive it; put it at the head",
        "  at services.py:9 in parent",
        '      self.enqueue_child(child.s() | InjectArgs(name="Li") | child.s())',
    ]
    assert query(firexlite.only_run(), "SELECT count(*) FROM task") == [(1,)]


@pytest.mark.parametrize("more", [(), ("--detach",)])
def test_a_resume_whose_recorded_plugin_is_gone_says_so_and_changes_nothing(more, firexlite: Command, plugin) -> None:
    plugin("from firexlite import app\n\n@app.task\ndef fail():\n    raise ValueError('no')\n")
    firex_id = firexlite("submit", "--plugins", "services.py", "--chain", "fail").firex_id
    (firexlite.folder / "services.py").unlink()

    done = firexlite("resume", firex_id, *more)

    place = firexlite.folder / "services.py"
    assert done == Finished(2, "", f"firexlite: {firex_id} recorded the plugin '{place}', which is not there any more; "
                                   f"give it another place with `firexlite resume {firex_id} --plugins FILES`\n")
    assert query(firexlite.only_run(), "SELECT count(*) FROM incarnation") == [(1,)]


def test_a_run_whose_plugin_is_gone_can_be_resumed_with_another(firexlite: Command, plugin) -> None:
    plugin("from firexlite import app\n\n@app.task\ndef fail():\n    raise ValueError('no')\n")
    firex_id = firexlite("submit", "--plugins", "services.py", "--chain", "fail").firex_id
    (firexlite.folder / "elsewhere").mkdir()
    shutil.move(firexlite.folder / "services.py", firexlite.folder / "elsewhere")
    moved = firexlite.folder / "elsewhere" / "services.py"
    moved.write_text(moved.read_text().replace("raise ValueError('no')", "pass"))

    done = firexlite("resume", firex_id, "--plugins", "elsewhere/services.py")

    assert (done.code, done.out) == (0, f"FireX ID: {firex_id}\nAll tasks succeeded\n")


# --- every command with every kind of bad input ---------------------------------------------------------------------

# The forms of commands. A kind of bad input names the groups that it applies to; for others it is no bad input.
RESUMES = ("resume {id}", "resume --detach {id}", "resume {id} --workers 2", "resume --accept-new {id}",
           "resume {id} --restart-task 1", "resume {id} --mark-done 1 {}", "resume {id} --rerun-missing")
LOOKS = ("flame {id}", "flame --json {id}", "flame {id} -o out.html", "doctor {id}", "doctor --json {id}", "why {id}",
         "why --json {id}")
PARTS = ("show {id}", "show --json {id}", "attach {id}", "wait {id}")  # which look at a part of a run, or say its id first
IMPORT = ("import {path}",)
OTHERS = ("submit --chain nop", "submit --detach --chain nop", "runs", "list", "info nop")
DOCTOR = tuple(form for form in LOOKS if form.startswith("doctor"))

# The id of a run that is none, or of no run here: for all that take one. The others take none.
NO_IDS = {
    "malformed": "nonsense",
    "empty": "",
    "a path": "../../etc",
    "an absolute path": "/etc/passwd",
    "a path dressed as an id": "FireX-../../li-261123-101500-4711",
    "with two dots": "FireX-l..i-261123-101500-4711",
    "with a line after it": f"{NOWHERE}\n",
    "with a space after it": f"{NOWHERE} ",
    "with a NUL": f"{NOWHERE}\0",
    "with an escaped slash": "FireX-%2e%2e%2fli-261123-101500-4711",
    "with digits of another script": "FireX-li-261123-101500-\u0664\u0667\u0661\u0661",
    "with a mark that turns the text": "FireX-\u202eli-261123-101500-4711",
    "with an escape sequence": "FireX-\x1b[2Jli-261123-101500-4711",
    "longer than any": "FireX-" + "li" * 2000 + "-261123-101500-4711",
}

# Words that a command does not take, and what it says (a pattern).
WRONG_WORDS = {
    "an unknown option": (RESUMES + LOOKS + IMPORT + OTHERS, "{form} --zebra",
                          "No such option '--zebra'.*|the option --zebra has no value: nothing follows it[.].*"),
    "one word more": (RESUMES + LOOKS + IMPORT + OTHERS, "{form} more",
                      "Got unexpected extra argument \\(more\\)|'more' is a value without an option;.*"),
    "no argument": (tuple({form.partition(" ")[0]: "" for form in RESUMES + LOOKS + IMPORT + OTHERS
                           if "{" in form or form.startswith("info")}), "{form}",
                    "Missing argument '(ID|PATH|SERVICE)'[.]"),
    "an option without its value": (("resume {id} --workers", "resume {id} --mark-done 1", "flame {id} -o", "runs --limit",
                                     "submit --chain", "info nop --plugins", "list --plugins"), "{form}",
                                    "Option '.*' requires (an argument|2 arguments)[.]|the option --chain has no value.*"),
    "a value that is none": (("resume {id} --workers x", "resume {id} --restart-task x", "resume {id} --mark-done x y",
                              "resume {id} --full-wait x", "runs --limit 0", "submit --chain nop --workers x",
                              "list --import_timeout x", "info nop --import_timeout 0"), "{form}",
                             ".*(takes .*, not|Invalid value for) '.*'.*"),
    "a path where nothing is": (("import gone", "import /dev/null/x", "list --plugins gone.py", "info nop --plugins gone.py",
                                 "submit --chain nop --plugins gone.py", "flame {id} -o gone/out.html"), "{form}", ".*"),
}


def _a_link(run: RunDirectory) -> None:
    run.path.rename(run.path.with_name("really"))
    run.path.symlink_to("really")


def _linked_out(name: str) -> Callable[[RunDirectory], None]:
    """A link to a file or a folder of who resumes."""
    def spoil(run: RunDirectory) -> None:
        outside = run.path.parent / "outside"
        (outside / "folder").mkdir(parents=True)
        (outside / "folder" / "precious.txt").write_text("kept")
        path = run.path / name
        path.unlink(missing_ok=True)
        path.symlink_to(outside / "folder" if name == "wake" else outside / "folder" / "precious.txt")

    return spoil


# A run that another could have changed, or that is not whole: it may be looked at and imported, and is not resumed.
UNSAFE: dict[str, tuple[Callable[[RunDirectory], object], str]] = {
    "a link": (_a_link, "{run} is a symbolic link, and a run is resumed only where it really lies: .*/really"),
    "open to the group": (lambda run: run.path.chmod(0o770), "others may write to {run}; if you trust what is there: "
                                                             "chmod go-w {run}"),
    "with a journal open to all": (lambda run: run.journal.chmod(0o606), "others may write to {journal}; .*"),
    "with a log folder that is a link": (lambda run: [shutil.rmtree(run.logs), run.logs.symlink_to("/tmp")],
                                         "{run}/logs is a symbolic link, .*"),
    "with a link for the wake folder": (_linked_out("wake"), "{run}/wake is a symbolic link, .*"),
    "with a link for run.json": (_linked_out("run.json"), "{run}/run.json is a symbolic link, .*"),
    "with a link for the next log": (_linked_out("logs/2-0.log"), "{run}/logs/2-0.log is no regular file, .*"),
    "with a link among its payloads": (_linked_out("blobs/more"), "{run}/blobs/more is no regular file, .*"),
    "with a payload folder open to the group": (lambda run: run.blobs.chmod(0o770), "others may write to {run}/blobs; .*"),
    "with a file for a log folder": (lambda run: [shutil.rmtree(run.logs), run.logs.touch()],
                                     "{run}/logs should be a directory, as in every run that firexlite made, and is none"),
    "without alive.lock": (lambda run: run.alive_lock.unlink(),
                           "{run}/alive.lock is missing .*make it again with `touch {run}/alive.lock`"),
    "without write.lock": (lambda run: run.write_lock.unlink(), "{run}/write.lock is missing .*"),
    "without a folder for logs": (lambda run: shutil.rmtree(run.logs), "{run}/logs is missing .*`mkdir -m 700 {run}/logs`"),
}


def told(ended: Ended, form: str, code: int, pattern: str) -> str | None:
    """What is wrong with the answer to bad input; None if it is as it should be."""
    if ended.code != code:
        return f"{form}: exit {ended.code} instead of {code}: {ended.err}"
    if not re.fullmatch(f"firexlite: (?:{pattern})\n", ended.err) or ended.err.count("\n") != 1:
        return f"{form}: said {ended.err!r} instead of {pattern}"
    if ended.out and not form.startswith("doctor"):
        return f"{form}: wrote {ended.out[:200]!r} to stdout"
    return None


def answers(warm: Warm, place: Path, forms: dict[str, list[str]]) -> dict[str, Ended]:
    """The commands, each in a home of its own below ``place``, all at once; that nothing changed there is seen to."""
    before = digest_of(place)
    calls = [Call(words, {"FIREXLITE_HOME": str(place / str(n)), "PATH": os.environ["PATH"]}, str(place))
             for n, words in enumerate(forms.values())]
    ended = dict(zip(forms, warm.all(calls), strict=True))
    assert digest_of(place) == before
    return ended


def wrong_answers(ended: dict[str, Ended], code: int, pattern: str) -> list[str]:
    assert ended
    return [wrong for form, one in ended.items() if (wrong := told(one, form, code, pattern))]


@pytest.mark.parametrize("kind", NO_IDS)
def test_an_id_of_no_run_is_refused_by_every_command(kind: str, warm: Warm, tmp_path: Path) -> None:
    firex_id = NO_IDS[kind]

    ended = answers(warm, tmp_path, {form: [word.replace("{id}", firex_id) for word in form.split()]
                                     for form in RESUMES + LOOKS + PARTS})

    assert wrong_answers(ended, 2, f".*{LOOKS_LIKE}") == []
    assert not any(char in one.err for one in ended.values() for char in "\x1b\u202e\0")


def test_the_id_of_an_unknown_run_is_refused_by_every_command(warm: Warm, tmp_path: Path) -> None:
    ended = answers(warm, tmp_path, {form: form.replace("{id}", NOWHERE).split()
                                     for form in RESUMES + LOOKS + PARTS})

    assert wrong_answers(ended, 2, f"there is no run '{NOWHERE}' in {tmp_path}/[0-9]+; `firexlite runs` lists them[.]") == []


@pytest.mark.parametrize("kind", WRONG_WORDS)
def test_wrong_words_are_refused_by_every_command(kind: str, warm: Warm, sound_run: RunDirectory, tmp_path: Path) -> None:
    forms, change, pattern = WRONG_WORDS[kind]
    for n, _ in enumerate(forms):
        copy_of(sound_run, tmp_path / str(n))
    fill = {"{id}": sound_run.firex_id, "{path}": str(sound_run.path)}

    ended = answers(warm, tmp_path, {form: [fill.get(word, word) for word in change.replace("{form}", form).split()]
                                     for form in forms})

    assert wrong_answers(ended, 2, pattern) == []


def in_spoilt_homes(place: Path, sound: RunDirectory, spoil: Callable[[RunDirectory], object],
                    forms: tuple[str, ...]) -> dict[str, list[str]]:
    """A home with a spoilt run for each form; returns the words. What is imported lies beside, its home is not there."""
    words = {}
    for n, form in enumerate(forms):
        run = copy_of(sound, place / ("sent" if form in IMPORT else str(n)))
        spoil(run)
        fill = {"{id}": run.firex_id, "{path}": str(run.path)}
        words[form] = [fill.get(word, word) for word in form.split()]
    return words


def as_pattern(sentence: str, place: Path, firex_id: str) -> str:
    run = f"{place}/(?:[0-9]+|sent)/{firex_id}"
    pattern = sentence.replace("{journal}", f"{run}/journal.sqlite3").replace("{run}", run)
    return f"(?:[0-9]+ things are wrong with {firex_id}|{pattern})"  # the doctor may find more


@pytest.mark.parametrize("kind", UNUSABLE)
def test_an_unusable_journal_is_refused_by_every_command(kind: str, warm: Warm, sound_run: RunDirectory,
                                                         tmp_path: Path) -> None:
    spoil, sentence = UNUSABLE[kind]

    ended = answers(warm, tmp_path, in_spoilt_homes(tmp_path, sound_run, spoil, RESUMES + LOOKS + IMPORT))

    assert wrong_answers(ended, 4, as_pattern(sentence, tmp_path, sound_run.firex_id)) == []


def test_a_locked_journal_is_refused_by_every_command_which_names_the_holder(warm: Warm, sound_run: RunDirectory,
                                                                             tmp_path: Path) -> None:
    words = in_spoilt_homes(tmp_path, sound_run, lambda run: None, RESUMES + LOOKS + IMPORT)

    with LockedJournals(*tmp_path.glob("*/*/journal.sqlite3")) as others:
        ended = answers(warm, tmp_path, words)

    sentence = f"{{journal}} is locked by process {others.pid} [(].*python.* -c import sqlite3, .*[)]; wait for it, or end it"
    assert wrong_answers(ended, 4, as_pattern(sentence, tmp_path, sound_run.firex_id)) == []


def test_a_missing_payload_is_told_by_every_command(warm: Warm, sound_run: RunDirectory, tmp_path: Path) -> None:
    def spoil(run: RunDirectory) -> None:
        for blob in run.blobs.iterdir():
            blob.unlink()

    ended = answers(warm, tmp_path, in_spoilt_homes(tmp_path, sound_run, spoil, RESUMES + LOOKS + IMPORT))

    assert wrong_answers(ended, 4, ".*the payload blobs/[0-9a-f]{64} (is missing|cannot be read).*") == []


@pytest.mark.parametrize("kind", UNSAFE)
def test_a_run_that_is_not_safely_ones_own_is_not_resumed(kind: str, warm: Warm, sound_run: RunDirectory,
                                                         tmp_path: Path) -> None:
    spoil, sentence = UNSAFE[kind]

    ended = answers(warm, tmp_path, in_spoilt_homes(tmp_path, sound_run, spoil, RESUMES + DOCTOR))

    assert wrong_answers(ended, 4, as_pattern(sentence, tmp_path, sound_run.firex_id)) == []


@pytest.mark.parametrize("kind", UNSAFE)
def test_a_run_that_is_not_safely_ones_own_is_shown(kind: str, warm: Warm, sound_run: RunDirectory, tmp_path: Path) -> None:
    forms = tuple(form for form in LOOKS if form.startswith("flame") and "-o" not in form)

    ended = answers(warm, tmp_path, in_spoilt_homes(tmp_path, sound_run, UNSAFE[kind][0], forms))

    assert {(one.code, one.err) for one in ended.values()} == {(0, "")}


def test_runs_lists_a_run_that_cannot_be_read_as_such(warm: Warm, sound_run: RunDirectory, tmp_path: Path) -> None:
    kinds = UNUSABLE.keys() - {"with options of other types"}  # of which it shows nothing
    for kind in kinds:
        UNUSABLE[kind][0](copy_of(sound_run, tmp_path / kind))

    ended = [warm("runs", env={"FIREXLITE_HOME": str(tmp_path / kind)}) for kind in kinds]

    row = f"{sound_run.firex_id}  UNREADABLE                  `firexlite doctor {sound_run.firex_id}` says why"
    assert {(one.code, one.err, one.out.splitlines()[-1]) for one in ended} == {(0, "", row)}


def test_runs_passes_over_a_file_that_has_the_name_of_a_run(warm: Warm, tmp_path: Path) -> None:
    (tmp_path / NOWHERE).write_text("no run")

    listed = warm("runs", env={"FIREXLITE_HOME": str(tmp_path)})

    assert (listed.code, listed.out) == (0, f"There are no runs in {tmp_path} yet.\n")


def test_a_journal_cannot_add_a_row_to_the_list_of_runs(warm: Warm, sound_run: RunDirectory, tmp_path: Path) -> None:
    run = copy_of(sound_run, tmp_path / "home")
    alter(run, "UPDATE run SET chain = 'nop' || char(10) || 'FireX-li-261123-101500-4711  SUCCEEDED'")

    listed = warm("runs", env={"FIREXLITE_HOME": str(tmp_path / "home")})

    assert "nop\\x0aFireX-li" in listed.out
    assert len(listed.out.splitlines()) == 3
