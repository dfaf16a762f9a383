"""Bad input ends in one sentence and the exit code of the table, and leaves nothing behind."""
from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import Command, Finished, query
from spoilt import UNUSABLE, LockedJournals, copy_of, digest_of, killed_run, sound_run, warm  # noqa: F401

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

TAKES_PYTHON_FILES = "; --plugins takes Python files, looked for from {folder}"
LIST_SHOWS = "`firexlite list` shows all."
LOOKS_LIKE = "is not a FireX ID; they look like FireX-li-261123-101500-4711"
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
    "an unknown service to be shown": ("info nopp", f"there is no service 'nopp'. Did you mean 'nop'? {LIST_SHOWS}"),
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
    "an option that is no name": ("submit --chain nop -- 1",
                                  "'--' cannot be an argument: names begin with a letter and are plain ASCII"),
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
    "a plugin that is a folder": ("submit --chain nop --plugins ..", f"plugin '..' is a folder{TAKES_PYTHON_FILES}"),
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
    "no run id": ("resume", "Missing argument 'FIREX_ID'."),
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
    assert done == Finished(2, "", f"firexlite: plugin '{place}' is not there; "
                                   f"--plugins takes Python files, looked for from {firexlite.folder}\n")
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

ID, PATH = "{id}", "{path}"

# The forms of commands, in groups that a kind of bad input applies to, or not.
RESUMES = {
    "resume": f"resume {ID}",
    "resume --detach": f"resume --detach {ID}",
    "resume --workers": f"resume {ID} --workers 2",
    "resume --accept-new": f"resume --accept-new {ID}",
    "resume --restart-task": f"resume {ID} --restart-task 1",
    "resume --mark-done": f"resume {ID} --mark-done 1 {{}}",
    "resume --rerun-missing": f"resume {ID} --rerun-missing",
}
LOOKS = {
    "flame": f"flame {ID}",
    "flame --json": f"flame --json {ID}",
    "flame -o": f"flame {ID} -o out.html",
    "doctor": f"doctor {ID}",
    "doctor --json": f"doctor {ID} --json",
}
IMPORTS = {"import": f"import {PATH}"}
OTHERS = {"submit": "submit --chain nop", "submit --detach": "submit --detach --chain nop", "runs": "runs", "list": "list",
          "info": "info nop"}
NAME_A_RUN = {**RESUMES, **LOOKS}
ALL = {**NAME_A_RUN, **IMPORTS, **OTHERS}
OUT_OF_ORDER = {**ALL, **{name: ALL[name] for name in ()}}
