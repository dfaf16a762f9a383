"""The steps of the guide, some tests for each file of fixtures/guide: the command of its docstring, and what comes of it."""
from __future__ import annotations

import ast
import itertools
import json
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from conftest import FIXTURES, Command, Finished

GUIDE = FIXTURES / "guide"


@dataclass
class Run:
    """A finished command of the guide, and the report of its run."""

    ended: Finished
    values: dict          # results.chain_results of run.json
    tasks: list[dict]     # of the report

    def named(self, name: str) -> list[dict]:
        return [task for task in self.tasks if task["name"] == name]

    def only(self, name: str) -> dict:
        [task] = self.named(name)
        return task

    def states_of(self, name: str) -> list[str]:
        return [state for state, _ in self.only(name)["states"]]

    def edges(self) -> list[tuple[str | None, str]]:
        """``(parent, task)`` by name, in the order of enqueuing."""
        name_of = {task["num"]: task["name"] for task in self.tasks}
        return [(name_of.get(task["parent"]), task["name"]) for task in self.tasks]


def commands_of(source: str) -> list[str]:
    """The commands that the docstring of a file of the guide gives."""
    docstring = ast.get_docstring(ast.parse(source), clean=False) or ""
    return [line.strip() for line in docstring.splitlines() if line.startswith("    firexlite ")]


@pytest.fixture
def kitchen(firexlite: Command) -> Command:
    """The command, with the files of the guide beside it."""
    shutil.copytree(GUIDE, firexlite.folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    return firexlite


@pytest.fixture
def guide(kitchen: Command) -> Callable[..., Run]:
    """Runs a command of the guide, which must stand in the docstring of one of its files."""

    def run(command: str, code: int = 0) -> Run:
        assert any(command in commands_of(path.read_text()) for path in GUIDE.glob("*.py")), "the guide has no such command"
        ended = kitchen(*shlex.split(command)[1:])
        assert ended.code == code, ended.err
        summary = json.loads((kitchen.home / ended.firex_id / "run.json").read_text())
        results = summary["results"] or {}  # None, as long as the run has not ended
        return Run(ended, results.get("chain_results", {}), kitchen.flame(ended.firex_id)["tasks"])

    return run


@pytest.mark.parametrize("path", sorted(GUIDE.glob("*.py")), ids=lambda path: path.stem)
def test_each_file_says_what_it_shows_and_which_command_runs_it(path):
    commands = commands_of(path.read_text())

    assert commands
    assert all(path.name in command for command in commands)


# --- one service -----------------------------------------------------------------------------------------------------

def test_a_return_value_without_a_name_is_not_kept_and_the_log_says_so(guide):
    run = guide("firexlite submit --plugins sweep.py --chain sweep")

    assert run.values == {}
    assert "Returned values" not in run.ended.out
    sweep = run.only("sweep")
    assert (sweep["state"], sweep["result"]) == ("succeeded", {})
    [warning] = sweep["log"]["lines"]
    assert warning.endswith("WARNING firexlite: sweep returned a value without a name; declare returns= to keep it")


@pytest.mark.parametrize("options, portion, defaults", [
    ("", "500 g of spelt flour", {"grams": "500"}),
    (" --grams 750", "750 g of spelt flour", {}),
])
def test_a_named_return_value_is_the_result_of_the_run(guide, options, portion, defaults):
    run = guide("firexlite submit --plugins weigh.py --chain weigh --flour spelt" + options)

    assert run.values == {"portion": portion}
    assert run.only("weigh")["defaults"] == defaults


def test_a_converter_turns_the_text_of_the_command_line_into_a_list(guide):
    run = guide("firexlite submit --plugins order.py --chain add_up --prices 3.20,4.50,0.80")

    assert run.values == {"total": 8.5}
    assert run.only("add_up")["args"] == {"prices": [3.2, 4.5, 0.8]}


def test_what_a_converter_refuses_creates_no_run(kitchen):
    refused = kitchen("submit", "--plugins", "order.py", "--chain", "add_up", "--prices", "3.20,free")

    assert refused.code == 2
    assert refused.err == ("firexlite: the arguments were refused: Converter prices_to_numbers failed: "
                           "prices: could not convert string to float: 'free'\n")
    assert kitchen.runs() == []


def test_a_service_names_several_values(guide):
    run = guide("firexlite submit --plugins several_returns.py --chain divide --dough_g 1300")

    assert run.values == {"loaves": 2, "left_over_g": 300}


def test_a_service_names_values_when_it_runs(guide):
    run = guide("firexlite submit --plugins several_returns.py --chain take_stock")

    assert run.values == {"counted": 8, "rye": 3, "spelt": 5}


# --- children ----------------------------------------------------------------------------------------------------------

def test_children_one_by_one_are_children_of_the_one_who_waits(guide):
    run = guide("firexlite submit --plugins one_by_one.py --chain bake_loaf --flour rye")

    assert run.values == {"breakfast": "a loaf of rye bread with butter"}
    assert run.edges() == [(None, "bake_loaf"), ("bake_loaf", "knead"), ("bake_loaf", "bake")]
    assert run.only("bake")["started"] > run.only("knead")["started"] + run.only("knead")["runtime"]


def test_children_side_by_side_run_at_the_same_time(guide):
    run = guide("firexlite submit --plugins side_by_side.py --chain bake_batch --breads rye,spelt,wheat --workers 3")

    assert run.values == {"batch": ["rye loaf", "spelt loaf", "wheat loaf"]}
    assert run.edges() == [(None, "bake_batch"), *[("bake_batch", "bake")] * 3]
    assert run.states_of("bake_batch") == ["ready", "running", "blocked", "running", "succeeded"]
    bakes = run.named("bake")
    assert max(task["started"] for task in bakes) < min(task["started"] + task["runtime"] for task in bakes)


def test_a_failed_child_can_be_apologised_for(guide):
    run = guide("firexlite submit --plugins burnt.py --chain open_shop --ovens 180,400,220")

    assert run.values == {"shelf": ["loaf baked at 180", "loaf baked at 220", "our apologies: burnt at 400 degrees"]}
    assert [task["state"] for task in run.named("bake")] == ["succeeded", "failed", "succeeded"]
    assert run.only("open_shop")["state"] == "succeeded"


def test_a_failed_child_interrupts_the_parent_that_waits_for_it(guide):
    run = guide("firexlite submit --plugins burnt.py --chain open_shop_or_not --ovens 180,400,220", code=1)

    parent, burnt = run.only("open_shop_or_not"), run.named("bake")[1]
    assert run.values == {}
    assert (parent["state"], burnt["state"]) == ("failed", "failed")
    assert parent["cause"] == burnt["num"]
    assert parent["exception"].startswith("ChainInterruptedException(")
    assert "ValueError: burnt at 400 degrees" in parent["traceback"]
    assert "FAILED: bake (task 3): ValueError: burnt at 400 degrees" in run.ended.err


def test_a_parent_that_catches_the_interruption_finds_its_cause(guide):
    run = guide("firexlite submit --plugins burnt.py --chain report_to_the_boss --ovens 180,400,220")

    assert run.values == {"note": "burnt.bake failed: burnt at 400 degrees"}


@pytest.mark.parametrize("chain, picked", [
    ("pick_some", {"picked": ["loaf of dough of rye flour", "dough of rye flour", None]}),
    ("pick_all", {"returned": ["crumbs", "dough", "loaf"],
                  "with_inputs": ["bread", "chain_depth", "crumbs", "dough", "loaf"],
                  "with_grandchildren": ["crumbs", "dough", "flour", "loaf"],
                  "of_the_last": ["crumbs", "loaf"]}),
])
def test_a_parent_picks_what_it_gets_from_a_chain(guide, chain, picked):
    run = guide(f"firexlite submit --plugins picking.py --chain {chain} --bread rye")

    assert run.values == picked


# --- chains ------------------------------------------------------------------------------------------------------------

def test_values_find_their_way_down_a_chain_by_name(guide):
    run = guide("firexlite submit --plugins assembly.py --chain make_label --bread rye")

    assert run.values == {"sticker": "RYE: a bag of 3 slices"}
    assert run.edges() == [(None, "make_label"), ("make_label", "slice_up"), ("slice_up", "wrap"), ("wrap", "label")]
    assert [task["enqueued_by"] for task in run.tasks] == [None, 1, 1, 1]
    assert run.states_of("label") == ["ready", "running", "succeeded"]
    assert run.only("label")["args"] == {"parcel": "a bag of 3 slices", "bread": "rye"}


def test_a_submitted_chain_returns_what_each_of_its_tasks_does(guide):
    run = guide("firexlite submit --plugins assembly.py --chain slice_up,wrap,label --bread rye")

    assert run.values == {"slices": ["slice 1 of rye", "slice 2 of rye", "slice 3 of rye"],
                          "parcel": "a bag of 3 slices", "text": "RYE: a bag of 3 slices"}


def test_a_parameter_is_bound_to_a_value_of_another_name(guide):
    run = guide("firexlite submit --plugins rebinding.py --chain advertise --bread rye")

    offer = "TWO RYE LOAVES FOR THE PRICE OF ONE!"
    assert run.values == {"advertisement": f"{offer} {offer}"}
    assert run.only("shout")["args"] == {"words": "two rye loaves for the price of one", "times": 2}


def test_injected_values_reach_children_that_the_parent_knows_nothing_of(guide):
    run = guide("firexlite submit --plugins hand_down.py --chain sell --bread rye --customer Ada --currency EUR")

    assert run.values == {"receipt": "Ada owes 4.2 EUR for rye"}
    assert run.only("sell")["args"] == {"bread": "rye"}


def test_a_copy_under_another_name_outlives_the_second_call_of_a_service(guide):
    run = guide("firexlite submit --plugins several_returns.py --chain compare")

    assert run.values == {"verdict": "the first is 250 g heavier"}
    assert [task["name"] for task in run.tasks] == ["compare", "weigh", "CopyBogKeys", "weigh", "judge"]
    assert run.only("judge")["args"] == {"first_g": 750, "second_g": 500}


# --- plugins and the report ----------------------------------------------------------------------------------------------

def test_without_the_plugin_the_usual_service_runs(guide):
    run = guide("firexlite submit --plugins till.py --chain check_out --bread rye")

    assert run.values == {"bill": "rye bread: 4.0"}


def test_a_plugin_overrides_a_service_and_uses_the_original(guide):
    run = guide("firexlite submit --plugins till.py,happy_hour.py --chain check_out --bread rye")

    assert run.values == {"bill": "rye bread: 2.0"}
    assert [task["long_name"] for task in run.tasks] == ["till.check_out", "happy_hour.price_of", "till.price_of_orig"]
    assert [task["parent"] for task in run.tasks] == [None, 1, 2]


def test_a_service_shows_what_it_declares_in_the_report(guide):
    run = guide("firexlite submit --plugins shop_window.py --chain decorate --breads rye,spelt")

    rye, spelt = (task["flame_data"] for task in run.named("write_sign"))
    assert {key: shown["value"] for key, shown in rye.items()} == {"bread": "rye", "price": "2.7"}
    assert {key: shown["order"] for key, shown in spelt.items()} == {"bread": 0, "price": 1}
    window = run.only("decorate")["flame_data"]
    assert (window["window"]["value"], window["window"]["type"]) == ("Fresh rye!<br>Fresh spelt!", "html")
    assert (window["*"]["value"], window["*"]["type"]) == ("2 breads asked for", "text")
    [collapse] = window["_default_display"]["value"]
    assert (collapse["targets"], collapse["operation"]) == (["descendants"], "collapse")


# --- more of children ------------------------------------------------------------------------------------------------------

def test_the_first_child_that_ends_is_taken_and_the_other_is_called_off(guide):
    run = guide("firexlite submit --plugins two_suppliers.py --chain buy_flour --workers 3")

    assert run.values == {"bought": "flour from the wholesaler"}
    assert [task["state"] for task in run.named("ask")] == ["revoked", "succeeded"]


def test_a_wait_that_took_too_long_leaves_what_came_in_time(guide):
    run = guide("firexlite submit --plugins two_suppliers.py --chain buy_in_time --workers 3")

    assert run.values == {"bought": ["flour from the wholesaler"], "late": "REVOKED"}


def test_of_many_children_a_few_are_under_way_at_once(guide):
    run = guide("firexlite submit --plugins in_batches.py --chain bake_night_shift --workers 4")

    assert run.values == {"shelf": [f"loaf {n}" for n in (0, 1, 2, 4, 5)], "lost": ["number 3 fell on the floor"]}
    assert peak(run.named("bake")) <= 2


def test_children_are_known_by_keys(guide):
    run = guide("firexlite submit --plugins in_batches.py --chain weigh_all --workers 4")

    assert run.values == {"weights": {"rye": 750, "spelt": 500, "wheat": 1000}}


def test_a_chain_that_is_enqueued_once_has_several_parents(guide):
    run = guide("firexlite submit --plugins shared_dough.py --chain bake_both --workers 3")

    assert run.values == {"breads": ["bread of the dough of today", "rolls of the dough of today"]}
    knead = run.only("knead")
    assert {knead["parent"], *knead["extra_parents"]} == {task["num"] for task in run.named("bake")}


def test_a_child_outlives_its_parent(guide):
    run = guide("firexlite submit --plugins night_delivery.py --chain close_shop --workers 2")

    parent, child = run.only("close_shop"), run.only("deliver")
    assert run.values == {"closed": "closed while the delivery is on its way"}
    assert child["state"] == "succeeded"
    assert parent["started"] + parent["runtime"] < child["started"] + child["runtime"]


# --- how tasks are run -----------------------------------------------------------------------------------------------------

def test_a_service_is_tried_again_until_it_succeeds(guide):
    run = guide("firexlite submit --plugins cold_oven.py --chain heat")

    assert run.values == {"degrees": 240}
    heat = run.only("heat")
    assert heat["retries"] == 2
    assert [attempt["state"] for attempt in heat["attempts"]] == ["retried", "retried", "succeeded"]


def test_a_service_that_asks_once_too_often_fails_of_what_it_gave(guide):
    run = guide("firexlite submit --plugins cold_oven.py --chain telephone", code=1)

    assert run.only("telephone")["retries"] == 1
    assert "FAILED: telephone (task 1): ConnectionError: nobody answers" in run.ended.err


def test_a_run_ends_while_it_waits_for_a_next_try_and_goes_on_where_it_was(guide, kitchen):
    run = guide("firexlite submit --plugins cold_oven.py --chain preheat,heat_slowly --exit-when-waiting", code=7)
    assert (run.only("preheat")["state"], run.only("heat_slowly")["state"]) == ("succeeded", "ready")

    resumed = kitchen("resume", run.ended.firex_id)

    assert resumed.code == 0, resumed.err
    task = next(task for task in kitchen.flame(run.ended.firex_id)["tasks"] if task["name"] == "heat_slowly")
    assert task["retries"] == 1
    first, second = task["attempts"]
    assert second["started"] - first["started"] >= 4


def test_limits_end_what_takes_too_long(guide):
    run = guide("firexlite submit --plugins too_long.py --chain watch_oven --workers 2")

    assert run.values == {"seen": ["a pale loaf", "TimeLimitExceeded", "SoftTimeLimitExceeded"]}
    assert run.only("daydream_at_the_oven")["runtime"] < 10


def test_a_limit_of_the_run_calls_off_what_is_left(guide):
    run = guide("firexlite submit --plugins too_long.py --chain daydream --soft_time_limit 1", code=1)

    assert run.only("daydream")["state"] == "revoked"


def test_equal_tasks_are_computed_once(guide):
    run = guide("firexlite submit --plugins price_list.py --chain write_bill --workers 2")

    assert run.values == {"bill": ["3 EUR", "3 EUR", "3 EUR", "5 EUR"]}
    assert sum(task["cached_from"] is None for task in run.named("look_up")) == 2


def test_a_queue_has_as_many_places_as_it_is_given(guide):
    run = guide("firexlite submit --plugins one_oven.py --chain open_bakery --workers 4 --queue oven=1")

    assert run.values == {"shelf": ["rye loaf", "spelt loaf", "oat loaf"]}
    assert peak(run.named("bake")) == 1


def test_a_wait_that_could_never_end_is_refused(guide):
    run = guide("firexlite submit --plugins one_oven.py --chain bake_twice --workers 4 --queue oven=1", code=1)

    assert run.only("bake_from_scratch")["exception"].startswith("SchedulingDeadlockException(")


def test_lower_priorities_go_first(guide):
    run = guide("firexlite submit --plugins one_oven.py --chain clean_up --workers 1")

    assert run.values == {"order": ["open the windows", "sweep", "dust"]}


def peak(tasks: list[dict]) -> int:
    """How many of these tasks ran at the same time, at the most."""
    moments = sorted((at, change) for task in tasks  # the sum may be a trifle more than the end, at which another begins
                     for at, change in ((task["started"], 1), (task["started"] + task["runtime"] - 1e-5, -1)))
    return max(itertools.accumulate(change for _, change in moments))


# --- waiting ---------------------------------------------------------------------------------------------------------------

def test_a_body_that_sleeps_is_replayed_and_its_child_is_not_run_again(guide):
    run = guide("firexlite submit --plugins sourdough.py --chain bake_sourdough")

    assert run.values["loaf"] == "a loaf of dough"
    assert [attempt["state"] for attempt in run.only("bake_sourdough")["attempts"]] == ["suspended", "succeeded"]
    assert len(run.only("knead")["attempts"]) == 1


def test_a_run_that_ends_in_a_sleep_sleeps_the_rest(guide, kitchen):
    run = guide("firexlite submit --plugins sourdough.py --chain bake_sourdough --exit-when-waiting", code=7)

    resumed = kitchen("resume", run.ended.firex_id)

    assert resumed.code == 0, resumed.err
    assert "a loaf of dough" in resumed.out


def test_who_waits_for_a_word_goes_on_when_it_is_sent(guide, kitchen):
    run = guide("firexlite submit --plugins big_order.py --chain take_order --loaves 500 --exit-when-waiting", code=7)
    assert kitchen("send", run.ended.firex_id, "approval", '{"by": "Ada", "yes": false}').code == 0

    resumed = kitchen("resume", run.ended.firex_id)

    assert resumed.code == 0, resumed.err
    assert "500 loaves: Ada says no" in resumed.out


def test_events_of_one_name_come_in_the_order_in_which_they_were_sent(guide, kitchen):
    run = guide("firexlite submit --plugins big_order.py --chain count_votes --exit-when-waiting", code=7)
    for bread in ("rye", "spelt", "oat"):
        assert kitchen("send", run.ended.firex_id, "vote", json.dumps(bread)).code == 0

    resumed = kitchen("resume", run.ended.firex_id)

    assert "['rye', 'spelt']" in resumed.out


def test_a_wait_for_an_event_can_end_without_it(guide):
    run = guide("firexlite submit --plugins big_order.py --chain take_deposit")

    assert run.values == {"answer": "no deal: no event 'deposit' came in 0.3 seconds"}


def test_a_task_is_called_off_and_its_parent_told(guide, kitchen):
    run = guide("firexlite submit --plugins called_off.py --chain cater --exit-when-waiting", code=7)
    soup = run.named("cook")[0]["num"]
    assert kitchen("cancel", run.ended.firex_id, soup).code == 0
    assert kitchen("send", run.ended.firex_id, "salad", '"nuts"').code == 0

    resumed = kitchen("resume", run.ended.firex_id)

    assert "['(called off)', 'salad with nuts']" in resumed.out


# --- converters of a service, annotations, coroutines, logs ------------------------------------------------------------------

def test_converters_use_what_others_have_converted(guide):
    run = guide("firexlite submit --plugins recipe.py --chain mix --flour_g 500 --water_g 70%")

    assert run.values == {"dough": "850 g of dough"}
    assert run.only("mix")["args"] == {"flour_g": 500, "water_g": 350}


@pytest.mark.parametrize("loaves, code, values", [("3", 0, {"each_g": 433}), ("three", 1, {})])
def test_annotations_convert_arguments_or_refuse_them(guide, loaves, code, values):
    run = guide(f"firexlite submit --plugins recipe.py --chain portion --dough_g 1300 --loaves {loaves}", code)

    assert run.values == values


def test_a_coroutine_is_one_task(guide):
    run = guide("firexlite submit --plugins errands.py --chain run_errands")

    assert run.values == {"basket": ["yeast", "salt", "seeds"]}
    assert len(run.tasks) == 1


def test_a_class_of_tasks_gives_them_methods_and_is_called_before_each_body(guide):
    run = guide("firexlite submit --plugins errands.py --chain greet_customer")

    assert run.values == {"greeting": "Welcome to the bakery at the corner!"}
    assert run.only("greet_customer")["log"]["lines"] == ["greet_customer begins"]


def test_what_a_task_prints_logs_and_runs_is_in_its_log(guide):
    run = guide("firexlite submit --plugins log_book.py --chain check_in")

    assert run.values == {"crates": 2, "run": True}
    lines = run.only("check_in")["log"]["lines"]
    assert [line for line in lines if ":" not in line] == ["the van is here", "rye", "spelt"]
    assert any(line.endswith("PRINT log_book: counting crates") for line in lines)


def test_a_command_that_fails_is_told_of_with_its_output(guide):
    run = guide("firexlite submit --plugins log_book.py --chain check_out", code=1)

    assert "CommandFailed: the command 'ls crates' ended with exit code 2" in run.ended.err


# --- values of any class -------------------------------------------------------------------------------------------------

def test_a_value_of_any_class_is_refused_without_pickle_and_passed_on_with_it(guide):
    refused = guide("firexlite submit --plugins ledger.py --chain open_ledger,balance --sales 3,4", code=1)
    done = guide("firexlite submit --plugins ledger.py --chain open_ledger,balance --sales 3,4 --pickle")

    assert "what open_ledger returned as ledger is a ledger.Ledger, which the journal cannot store" in refused.ended.err
    assert done.values == {"ledger": "<Ledger of 2 sales>", "total": 7.0}


# --- which value wins ------------------------------------------------------------------------------------------------------

SERVICES = """
from firexlite import InjectArgs, app

@app.task(returns="x")
def makes_x(made):
    return made

@app.task
def takes_x(x="the default of another"):
    pass

@app.task(returns="seen")
def sees(x="its own default"):
    return x

@app.task(bind=True, returns="seen")
def look(self):
    return self.enqueue_child_and_get_results({chain})["seen"]
"""


@pytest.mark.parametrize("chain, seen", [
    pytest.param("sees.s()", "its own default", id="a default, if nothing else reaches it"),
    pytest.param("takes_x.s() | sees.s()", "its own default", id="defaults do not travel"),
    pytest.param("takes_x.s(x='A') | takes_x.s() | sees.s()", "A", id="an argument travels to the end"),
    pytest.param("makes_x.s('A') | takes_x.s() | sees.s()", "A", id="a returned value travels to the end"),
    pytest.param("makes_x.s('A') | makes_x.s('B') | sees.s()", "B", id="the later return wins"),
    pytest.param("makes_x.s('A', x='given') | takes_x.s() | sees.s()", "A", id="a return beats the argument of its own task"),
    pytest.param("makes_x.s('A') | takes_x.s(x='B') | sees.s()", "B", id="a later argument beats an earlier return"),
    pytest.param("makes_x.s('A') | makes_x.s('B') | sees.s(x='C')", "C", id="its own argument beats all"),
    pytest.param("makes_x.s('A') | takes_x.s(x='B') | sees.s(x='@x')", "B", id="'@x' for x asks for the one that travels"),
    pytest.param("makes_x.s('A') | takes_x.s() | sees.s(x='@made')", "A", id="a reference reaches back to the first task"),
    pytest.param("makes_x.s('A') | takes_x.s() | sees.s(x='@@made')", "@made", id="'@@' is an '@'"),
    pytest.param("makes_x.s('@@made') | sees.s()", "@made", id="what a service returns is no reference"),
    pytest.param("InjectArgs(x='injected') | takes_x.s() | sees.s()", "injected", id="an injected value travels to the end"),
    pytest.param("InjectArgs(x='injected') | takes_x.s(x='A') | sees.s()", "A", id="an argument beats an injected value"),
    pytest.param("InjectArgs(x='injected') | makes_x.s('A') | sees.s()", "A", id="a return beats an injected value"),
])
def test_of_all_values_of_a_name_one_wins(firexlite, plugin, chain, seen):
    services = plugin(SERVICES.format(chain=chain))

    done = firexlite("submit", "--plugins", services, "--chain", "look")

    assert done.code == 0, done.err
    summary = json.loads((firexlite.home / done.firex_id / "run.json").read_text())
    assert summary["results"]["chain_results"] == {"seen": seen}


def test_of_a_submitted_chain_a_return_beats_the_command_line(firexlite, plugin):
    services = plugin(SERVICES.format(chain="sees.s()"))

    done = firexlite("submit", "--plugins", services, "--chain", "makes_x,takes_x,sees", "--made", "A", "--x", "typed")

    summary = json.loads((firexlite.home / done.firex_id / "run.json").read_text())
    assert summary["inputs"] == {"made": "A", "x": "typed"}
    assert summary["results"]["chain_results"] == {"x": "A", "seen": "A"}
