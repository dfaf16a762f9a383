"""FireX's bag of goodies, and its rules for the arguments on a command line."""
from __future__ import annotations

import inspect

import pytest

from firexlite.compat.application import FireXBaseApp
from firexlite.compat.arguments import ChainArgException, edits, find_unused_arguments, get_chain_args, whitelist_arguments
from firexlite.compat.bag_of_goodies import BagOfGoodies
from firexlite.compat.celery_app import Celery


def bag(function, *args, in_chain=False, **kwargs) -> BagOfGoodies:
    return BagOfGoodies(inspect.signature(function), args, {**kwargs, **({"chain_depth": 1} if in_chain else {})})


def bake(flour, hours=1, *more, oven="@place", **rest): pass


@pytest.mark.parametrize("bag, args, kwargs, flows", [
    (bag(bake, "rye", 2, 3, salt=1), ("rye", 2, 3), {"salt": 1}, {"flour": "rye", "hours": 2, "more": (3,), "salt": 1}),
    (bag(bake, {"flour": "rye", "place": "yard"}, in_chain=True), (), {"flour": "rye", "place": "yard", "oven": "yard"},
     {"flour": "rye", "place": "yard", "oven": "yard"}),
    (bag(bake, {"flour": "rye"}), ({"flour": "rye"},), {}, {"flour": {"flour": "rye"}}),
    (bag(bake, {"flour": "rye"}, "@flour", in_chain=True), ("rye",), {}, {"flour": "rye"}),
    (bag(lambda flour: None, flour="rye", salt=1), (), {"flour": "rye"}, {"flour": "rye", "salt": 1}),
], ids=["by position", "from the task before, and a default that refers to it", "a dict outside of a chain",
        "what flows under the same name", "what is not accepted flows on"])
def test_a_bag_parts_what_is_handed_over_from_what_flows_on(bag, args, kwargs, flows):
    assert (bag.args, bag.kwargs, bag.return_args) == (args, kwargs, flows)


def test_a_bag_takes_updates_by_name_whatever_they_were_given_by():
    mixed = bag(bake, "rye", 2, 3)

    mixed.update({"flour": "@salt", "salt": "sea", "more": (4, 5), "rest": {"milk": 1}})

    assert (mixed.args, mixed.kwargs) == (("sea", 2, 4, 5), {"salt": "sea", "milk": 1})
    assert mixed.get_unsupplied_default_args() == {"oven": "@place"}
    with pytest.raises(ValueError, match="rest collects keywords, so its value must be a mapping, not 1"):
        mixed.update({"rest": 1})


def test_more_positional_arguments_than_an_override_has_get_the_names_of_what_it_overrides():
    override, overridden = inspect.signature(lambda flour: None), inspect.signature(bake)

    assert BagOfGoodies(override, ("rye", 2), {}, overridden).return_args == {"flour": "rye", "hours": 2}
    with pytest.raises(TypeError, match="too many positional arguments"):
        BagOfGoodies(override, ("rye", 2), {})


# --- the command line ----------------------------------------------------------------------------------------------------

def test_words_are_pairs_of_arguments_and_values():
    assert get_chain_args(["--one", "1", "-two", "-2", "--three", "="]) == {"one": "1", "two": "-2", "three": "="}


@pytest.mark.parametrize("words, sentence", [
    ("--one 1 --two", "Error: Arguments must have an accompanying value\n--two"),
    ("--one 1 --two --three 3", "Error: Arguments must have an accompanying value\n--two"),
    ("--one 1 two", "Error: Argument should start with a proper dash (- or --)\ntwo"),
    ("--1one 1", "Error: Argument should start with a letter\n1one"),
])
def test_other_words_are_refused(words, sentence):
    with pytest.raises(ChainArgException) as refused:
        get_chain_args(words.split())
    assert str(refused.value) == sentence


@pytest.mark.parametrize("one, other, replacing, distance", [
    ("short", "sgort", 1, 1), ("short", "sgort", 2, 2), ("", "ab", 1, 2), ("kitten", "sitting", 1, 3), ("same", "same", 2, 0)])
def test_the_distance_of_two_words(one, other, replacing, distance):
    assert edits(one, other, replacing) == distance


def test_arguments_that_no_service_has_are_told_with_what_was_probably_meant():
    apart = Celery()

    @apart.task(bind=True)
    def service(self, bypass_reason, short, ignored=True): pass

    whitelist_arguments("allowed_elsewhere")
    given = {"byepass_reason": 1, "sgort": 2, "bogus_and_long": 3, "short": 4, "ignored": 5, "uid": 6, "allowed_elsewhere": 7}

    unused, meant = find_unused_arguments(given, ["chain"], apart.tasks)

    assert unused == {"byepass_reason": 1, "sgort": 2, "bogus_and_long": 3}
    assert meant == {"byepass_reason": "bypass_reason", "sgort": "short"}


def test_firex_own_command_line_reads_further_words_from_a_file(tmp_path, capsys):
    file = tmp_path / "words.json"
    file.write_text('["--microservices", "--arguments"]')

    with pytest.raises(SystemExit) as ended:
        FireXBaseApp().run(["list", "--json_args_path", str(file)])

    assert ended.value.code == 2
    assert capsys.readouterr().err == "firexlite: list shows either --microservices or --arguments\n"


def test_firex_own_command_line_refuses_what_is_not_ascii(capsys):
    with pytest.raises(SystemExit):
        FireXBaseApp().run(["submit", "--pound", "£"])
    assert "You entered a non-ascii character at the command line." in capsys.readouterr().err
