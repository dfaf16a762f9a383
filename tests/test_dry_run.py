"""`firexlite submit --dry-run`: the chain, each argument, and where it comes from; nothing is created."""
from __future__ import annotations

import json
import os

import pytest

SHOP = """
from firexlite import app, ConverterRegister, InputConverter, SingleArgDecorator
from firexlite.results import DYNAMIC_RETURN

print("imported")

@InputConverter.register
@SingleArgDecorator("loaves")
def to_number(text):
    return int(text)

@InputConverter.register
def add_currency(arguments):
    arguments["currency"] = "EUR"

@app.task(returns="shelf")
def fill_shelf(loaves, kind="rye", oven=None):
    return [kind] * loaves

@app.task(returns=("sold", DYNAMIC_RETURN))
def sell(shelf, price="@cost", cost=3, currency="USD"):
    return len(shelf), {"tip": 1}

@app.task(bind=True, returns="told")
def tell(self, goods, sold, tip, uid, **more):
    return {"goods": goods, "sold": sold, "tip": tip, **{name: more[name] for name in ("loaves", "currency")}}

@ConverterRegister.register_for_task(tell)
def in_words(arguments):
    pass
"""
ALL = ("submit", "--plugins", "services.py", "--chain", "fill_shelf,sell,tell", "--loaves", 3, "--goods", "@shelf")


@pytest.fixture
def shop(plugin) -> None:
    plugin(SHOP)


def test_each_argument_is_shown_with_where_it_comes_from(firexlite, shop):
    done = firexlite(*ALL, "--oven", "true", "--dry-run")

    assert done.code == 0, done.err
    assert done.out == """\
1. fill_shelf (services.py:16)
     loaves  3      the converter to_number, of --loaves '3'
     kind    'rye'  its default
     oven    True   the converter convert_booleans, of --oven 'true'
     -> shelf
2. sell (services.py:20)
     shelf     ?        the return value `shelf` of fill_shelf (task 1)
     price     '@cost'  its default
     cost      3        its default
     currency  'EUR'    the converter add_currency
     -> sold, names that are known when it has run
3. tell (services.py:24)
     goods  ?             @shelf: the return value `shelf` of fill_shelf (task 1)
     sold   ?             the return value `sold` of sell (task 2)
     tip    ?             a return value of a task before, or else it fails
     uid    the FireX ID  firexlite itself
     **                   all else that reaches it: argv, chain, json_file, plugins, submission_dir, submitter, sync, loaves, \
oven, currency, shelf
     its converters run first: in_words
     what sell (task 2) may return under one of these names goes before it
     -> told
Nothing was created. 3 tasks would be submitted.
"""


def test_nothing_is_created(firexlite, shop):
    done = firexlite(*ALL, "--dry-run", "--pickle")

    assert done.code == 0, done.err
    assert not firexlite.home.exists()
    assert sorted(os.listdir(firexlite.folder)) == ["services.py"]
    assert "imported" in done.err
    assert "imported" not in done.out


def test_what_is_known_is_what_the_run_then_gets(firexlite, shop):
    shown = json.loads(firexlite(*ALL, "--dry-run", "--json").out)
    run = firexlite(*ALL)
    assert run.code == 0, run.err

    for step, task in zip(shown["steps"], firexlite.flame(run.firex_id)["tasks"], strict=True):
        got = {**task["args"], **task["defaults"]}
        known = {argument["name"]: argument["value"] for argument in step["arguments"] if argument["is_known"]}
        assert known == {name: got[name] for name in known}
        assert {argument["name"] for argument in step["arguments"]} <= got.keys()


def test_all_of_it_is_to_be_had_as_json(firexlite, shop):
    done = firexlite(*ALL, "--dry-run", "--json")

    found = json.loads(done.out)
    assert (found["chain"], found["plugins"], found["without_taker"]) == ("fill_shelf, sell, tell", ["services.py"], [])
    step = found["steps"][2]
    assert step["arguments"][0] == {
        "name": "goods", "source": "returned", "is_known": False, "value": None, "given": None, "converter": None, "task": 1,
        "returned": "shelf", "through": ["shelf"]}
    assert [argument["source"] for argument in step["arguments"]] == \
        ["returned", "returned", "unknown until it runs", "firexlite"]
    assert found["steps"][0]["arguments"][0] == {
        "name": "loaves", "source": "converter", "is_known": True, "value": 3, "given": "3", "converter": "to_number",
        "task": None, "returned": None, "through": []}
    assert (step["service"], step["line"], step["returns"], step["is_dynamic"]) == ("services.tell", 24, ["told"], False)


def test_a_secret_is_masked_and_what_nobody_takes_is_named(firexlite, shop):
    done = firexlite("submit", "--plugins", "services.py", "--chain", "fill_shelf", "--loaves", 3, "--kind", "@cost",
                     "--cost", "Secret(env:TOKEN)", "--price", 8, "--dry-run", TOKEN="canary-4711")

    assert "     kind    '[secret env:TOKEN]'  @cost: --cost on the command line\n" in done.out
    assert "No service of the chain takes: --currency 'EUR', --price '8'\n" in done.out.replace(
        "--price '8', --currency 'EUR'", "--currency 'EUR', --price '8'")
    assert "canary" not in done.out + done.err


def test_a_service_in_the_place_of_another_is_told(firexlite, shop, plugin):
    plugin("""
from firexlite import app

@app.task
def fill_shelf(loaves, floor=1):
    return {"shelf": []}
""", "mine.py")

    done = firexlite("submit", "--plugins", "services.py,mine.py", "--chain", "fill_shelf", "--loaves", 3, "--dry-run")

    assert done.out.startswith("1. fill_shelf (mine.py:4), in the place of services.py:16\n")


@pytest.mark.parametrize("words, sentence", [
    (("--loaves", "x"), "the arguments were refused: Converter to_number failed: loaves: invalid literal for int() with base "
                        "10: 'x'"),
    (("--loafs", "3"), "no service has an argument 'loafs' (given as --loafs). Did you mean 'loaves'?"),
    ((), "services.fill_shelf needs --loaves, and nothing supplies it"),
    (("--loaves", "3", "--kind", "@no"), "services.fill_shelf refers to '@no' for kind, but nothing of that name reaches it"),
])
def test_what_submit_would_refuse_is_refused(firexlite, shop, words, sentence):
    chain = ("submit", "--plugins", "services.py", "--chain", "fill_shelf")

    dry, wet = firexlite(*chain, *words, "--dry-run"), firexlite(*chain, *words)

    assert (dry.code, dry.out, dry.err) == (2, "", f"imported\nfirexlite: {sentence}\n")
    assert (wet.code, wet.err) == (dry.code, dry.err)


def test_an_import_that_hangs_or_dies_is_told(firexlite, plugin):
    plugin("import os; os.kill(os.getpid(), 9)")

    done = firexlite("submit", "--plugins", "services.py", "--chain", "nop", "--dry-run")

    assert (done.code, done.err) == (2, "firexlite: importing 'services.py' ended the process by signal 9 (SIGKILL)\n")


def test_an_argument_called_json_is_still_the_services_own(firexlite, plugin):
    plugin("from firexlite import app\n\n@app.task(returns='got')\ndef parse(json):\n    return json\n")

    done = firexlite("submit", "--plugins", "services.py", "--chain", "parse", "--json", "{}")

    assert done.code == 0, done.err
    assert "got  {}" in done.out
