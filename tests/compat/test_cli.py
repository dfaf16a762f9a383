"""The command line as FireX's users and programs know it; each test runs the command itself.

Where FireX ends with code 255, firexlite ends with 1 for a run that failed and with 2 for what it refuses.
"""
from __future__ import annotations

import json
import re

import pytest
from conftest import Command, Finished, wait_until

from .flows import HEAD

BAKERY = HEAD + '''
from firexapp.submit.arguments import whitelist_arguments
from firexapp.submit.submit import FireXReturnCodeException

whitelist_arguments("but_not")

@app.task(bind=True, returns=["bread", "bog"])
def bake(self, flour, salt=1):
    """Bake a loaf.

    Arguments:
        flour: of which grain it is made.
    """
    return f"{flour} bread", sorted(self.abog)

@app.task
def burn(): raise ValueError("burnt")

@app.task
def seven(): raise FireXReturnCodeException("seven it is", 7)

@app.task
def hold(): wait_for_file("go")
'''
# `whitelist_arguments` is asked for where it is needed alone.
PLAIN = BAKERY.replace("from firexapp.submit.arguments import whitelist_arguments\n", "").replace(
    'whitelist_arguments("but_not")\n', "")


@pytest.fixture
def bakery(firexlite: Command) -> Command:
    (firexlite.folder / "bakery.py").write_text(PLAIN)
    return firexlite


def submit(firexlite: Command, chain: str, *words: object) -> Finished:
    return firexlite("submit", "--plugins", "bakery.py", "--chain", chain, *words)


def summary(firexlite: Command) -> dict:
    return json.loads(firexlite.only_run().run_json.read_text())


# --- what is refused -------------------------------------------------------------------------------------------------

def test_c20_a_missing_argument_is_named_before_any_task_begins(bakery: Command) -> None:
    """In a sentence of our own, where FireX has `Missing mandatory arguments:` and a list."""
    done = submit(bakery, "burn,bake")

    assert done.code == 2
    assert done.err == "firexlite: bakery.bake needs --flour, and nothing supplies it\n"
    assert bakery.runs() == []


def test_c23_an_argument_that_no_service_has_is_refused_with_the_nearest_one(bakery: Command) -> None:
    unlike = submit(bakery, "bake", "--flour", "rye", "--but_not", "this")
    alike = submit(bakery, "bake", "--flour", "rye", "--sallt", "2")

    assert (unlike.code, alike.code) == (2, 2)
    assert "but_not" in unlike.err and "Did you mean" not in unlike.err
    assert "sallt" in alike.err and "Did you mean 'salt'?" in alike.err
    assert bakery.runs() == []


def test_c24_an_argument_that_a_service_file_allows_is_accepted_and_flows(bakery: Command) -> None:
    (bakery.folder / "bakery.py").write_text(BAKERY)

    done = submit(bakery, "bake", "--flour", "rye", "--but_not", "this")

    assert done.code == 0, done.err
    assert {"but_not", "flour", "salt"} <= set(summary(bakery)["results"]["chain_results"]["bog"])


def test_c59_an_unknown_service_is_named(bakery: Command) -> None:
    done = submit(bakery, "bakee", "--flour", "rye")

    assert done.code == 2
    assert done.err.startswith("firexlite: there is no service 'bakee'. Did you mean 'bake'?")


def test_c60_a_service_is_found_by_its_short_name_in_other_letter_case(bakery: Command) -> None:
    done = submit(bakery, "BaKe", "--flour", "rye")

    assert done.code == 0, done.err


# --- how it ends -----------------------------------------------------------------------------------------------------

def test_c55_the_exit_code_tells_of_success_failure_or_what_a_service_chose(bakery: Command) -> None:
    good, bad, chosen = (submit(bakery, *words, "--sync") for words in (("bake", "--flour", "rye"), ("burn",), ("seven",)))

    assert (good.code, bad.code, chosen.code) == (0, 1, 7)
    assert "All tasks succeeded" in good.out and re.search(r"Returned values:\n(  .*\n)*  bread +rye bread\n", good.out)
    assert "Returned values" not in bad.out and "burnt" in bad.err


def test_c56_a_run_goes_on_behind_the_command_where_that_is_asked_for(bakery: Command) -> None:
    """FireX does so unless --sync is given; here --detach asks for it, and without it submit waits."""
    done = submit(bakery, "hold", "--detach")
    run = bakery.only_run()
    try:
        assert done.code == 0, done.err
        assert not summary(bakery)["completed"]
    finally:
        (bakery.folder / "go").touch()
        wait_until(lambda: not run.is_alive(), what="end of the run")

    assert summary(bakery)["completed"]
    assert submit(bakery, "hold").out.splitlines()[-1] == "All tasks succeeded"


def test_c57_a_failure_leaves_what_was_returned_before_it(bakery: Command) -> None:
    done = submit(bakery, "bake,burn", "--flour", "rye")

    assert done.code == 1
    results = summary(bakery)["results"]
    assert results["unsuccessful_services"] == {"failed": ["burn failed: burnt"]}
    assert results["chain_results"]["bread"] == "rye bread"


def test_c58_what_stands_behind_a_failure_was_not_run(bakery: Command) -> None:
    done = submit(bakery, "burn,bake", "--flour", "rye")

    assert done.code == 1
    assert summary(bakery)["results"] == {
        "chain_results": {}, "unsuccessful_services": {"failed": ["burn failed: burnt"], "not_run": ["bake"]}}


# --- what services there are -----------------------------------------------------------------------------------------

def test_c83_info_shows_what_a_service_takes_and_returns(bakery: Command) -> None:
    done = bakery("info", "bake", "--plugins", "bakery.py")

    assert done.code == 0, done.err
    assert "Name: bake (bakery" in done.out and "Bake a loaf." in done.out
    arguments, returned = re.findall(r"^(?:Arguments|Returns).*\n-+\n((?: +.*\n)+)", done.out, re.MULTILINE)
    assert re.search(r"^ +flour", arguments, re.MULTILINE) and re.search(r"^ +salt ?\(default=1\)", arguments, re.MULTILINE)
    assert "self" not in arguments
    assert returned.split() == ["bread", "bog"]


def test_c83_info_shows_all_services_that_fit_a_pattern(bakery: Command) -> None:
    done = bakery("info", r"bakery\.b.*", "--plugins", "bakery.py")

    assert done.code == 0, done.err
    assert sorted(re.findall(r"^Name: (\w+)", done.out, re.MULTILINE)) == ["bake", "burn"]


def test_c83_info_shows_the_services_that_take_an_argument(bakery: Command) -> None:
    done = bakery("info", "flour", "--plugins", "bakery.py")

    assert done.code == 0, done.err
    assert "bake" in done.out and "burn" not in done.out


def test_c83_info_says_that_it_knows_nothing_of_a_name(bakery: Command) -> None:
    done = bakery("info", "nothing_of_that_name", "--plugins", "bakery.py")

    assert done.code == 2
    assert "nothing_of_that_name" in done.err and done.out == ""


def test_c83_list_shows_the_services_and_the_arguments(bakery: Command) -> None:
    services = bakery("list", "--microservices", "--plugins", "bakery.py")
    arguments = bakery("list", "--arguments", "--plugins", "bakery.py")

    assert (services.code, arguments.code) == (0, 0), services.err + arguments.err
    assert {"bakery.bake", "bakery.burn", "bakery.seven"} <= set(services.out.split())
    words = arguments.out.split()
    assert {"flour", "salt"} <= set(words) and "self" not in words


# --- files of a run --------------------------------------------------------------------------------------------------

def test_c84_more_arguments_are_read_from_a_file(bakery: Command) -> None:
    (bakery.folder / "more.json").write_text(json.dumps(["--flour", "rye", "--salt", "2"]))

    done = submit(bakery, "bake", "--json_args_path", "more.json")

    assert done.code == 0, done.err
    assert summary(bakery)["inputs"] == {"flour": "rye", "salt": "2"}


def test_c84_the_summary_of_a_run_is_found_where_it_was_asked_for(bakery: Command) -> None:
    done = submit(bakery, "bake", "--flour", "rye", "--json_file", "out.json")

    assert done.code == 0, done.err
    assert json.loads((bakery.folder / "out.json").read_text()) == summary(bakery)


def test_c84_a_link_leads_to_the_logs_of_a_run(bakery: Command) -> None:
    done = submit(bakery, "bake", "--flour", "rye", "--logs_link", "latest")

    assert done.code == 0, done.err
    assert (bakery.folder / "latest").resolve() == bakery.only_run().path.resolve()
