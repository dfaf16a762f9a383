"""Our messages in the form of firex-blaze: FireX's own aggregator, from the public wheel, makes the tree of tasks of them."""
from __future__ import annotations

import json
import subprocess
import sys
import zipfile

import pytest
from conftest import Command, query
from telling import FAMILY

from firexlite import blaze
from firexlite.blaze import Message, _cut
from firexlite.history import History
from firexlite.home import task_uuid
from firexlite.outbox import Records, about, end_of

RELEASE = "firexapp==5.7.236"
SENT_BY_FIREX = {"task-started-info", "task-args", "task-results", "task-succeeded", "task-failed", "task-revoked",
                 "task-revoke-completed", "task-completed", "task-instrumentation"}
# What FireX's modules import for other purposes, and what its blaze needs of it.
AGGREGATE = """
import importlib.util, json, sys, types

class Stub(types.ModuleType):
    __path__ = []
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("celery", "firexkit", "confluent_kafka") or name in (
                "firexapp.common", "firexapp.submit", "firexapp.submit.uid", "firexapp.events.broker_event_consumer"):
            return importlib.util.spec_from_loader(name, self)
    def create_module(self, spec):
        return Stub(spec.name)
    def exec_module(self, module):
        pass

import importlib.metadata
importlib.metadata.version = lambda name: "5.7.236"
sys.meta_path.insert(0, Finder())
sys.path.insert(0, sys.argv[1])
from firex_blaze.blaze_event_consumer import BLAZE_SEND_EVENT_TYPES, TASK_EVENT_TO_STATE
from firex_blaze.blaze_helper import aggregate_blaze_kafka_msgs
from firexapp.events.event_aggregator import FireXEventAggregator

messages = [json.loads(line) for line in sys.stdin]
whole = FireXEventAggregator()
for message in messages:
    for event in message["EVENTS"]:
        whole.aggregate_events([{**event["DATA"], "uuid": event["UUID"]}])
print(json.dumps({
    "types": sorted(BLAZE_SEND_EVENT_TYPES), "states": TASK_EVENT_TO_STATE,
    "by_its_helper": aggregate_blaze_kafka_msgs(messages[0]["FIREX_ID"], messages) == whole.tasks_by_uuid,
    "tasks": whole.tasks_by_uuid, "root": whole.root_uuid, "complete": whole.are_all_tasks_complete()}))
"""


@pytest.fixture(scope="module")
def firexapp(tmp_path_factory):
    """The folder of FireX's own packages, of which nothing that they require is installed."""
    folder = tmp_path_factory.mktemp("firexapp")
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                    "--dest", str(folder), RELEASE], check=True, timeout=100)
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    folder = tmp_path_factory.mktemp("family")
    command = Command(folder / "home", folder)
    (folder / "bakery.py").write_text(FAMILY)
    done = command("submit", "--plugins", "bakery.py", "--chain", "bakery", "--flours", "rye,wheat", "--workers", "3")
    assert done.code == 0, done.err
    yield command.only_run()
    command.close()


def every_message(run) -> list[Message]:
    """As they go to Kafka."""
    records, reader = [], Records()
    with History(run) as history:
        while page := reader.page(history, records[-1].seq if records else 0):
            records += page
        end = blaze.messages_of_end(about(history), end_of(history))
    return [*(message for record in records for message in blaze.messages(record)), *end]


def aggregated(firexapp, messages) -> dict:
    done = subprocess.run([sys.executable, "-I", "-c", AGGREGATE, str(firexapp)], text=True, capture_output=True, timeout=60,
                          input="\n".join(message.text for message in messages))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_aggregator_of_firex_builds_the_complete_tree(firexapp, family):
    found = aggregated(firexapp, every_message(family))

    tasks, root = found["tasks"], task_uuid(family.firex_id, blaze.ROOT)
    rows = query(family, "SELECT id, parent, chain, service, state FROM task ORDER BY id")
    assert found["root"] == root and found["complete"] and found["by_its_helper"]
    assert set(tasks) == {root} | {task_uuid(family.firex_id, num) for num, *_ in rows}
    states = {"succeeded": "task-succeeded", "failed": "task-failed", "revoked": "task-revoke-completed"}
    for num, parent, chain, service, state in rows:
        task = tasks[task_uuid(family.firex_id, num)]
        above = num - 1 if num > chain else parent or blaze.ROOT
        assert (task["parent_id"], task["long_name"], task["name"], task["state"], task["has_completed"]) == (
            task_uuid(family.firex_id, above), service, service.rpartition(".")[2], states[state], True)
        assert task["chain_depth"] == num - chain
    assert tasks[root]["name"] == "RootTask" and tasks[root]["state"] == "task-succeeded"
    assert tasks[root]["firex_result"] == {"chain_results": {"bread": [["rye loaf"] * 2, ["wheat loaf"] * 2]}}


def test_the_aggregator_knows_what_each_task_took_and_gave(firexapp, family):
    by_name = {task["name"]: task for task in aggregated(firexapp, every_message(family))["tasks"].values()}
    started = dict(query(family, "SELECT service, min(started) FROM attempt JOIN task ON task.id = task WHERE number = 1 "
                                 "GROUP BY service"))

    baked, burnt, heated, held = (by_name[name] for name in ("bake", "burn", "preheat", "hold"))
    assert (baked["firex_bound_args"], baked["firex_default_bound_args"], baked["firex_result"]) == (
        {"flour": "wheat"}, {"minutes": 30}, {"loaf": "wheat loaf"})
    assert burnt["exception"] == "OvenCold('no heat for oat')" and "raise OvenCold" in burnt["traceback"]
    assert (heated["retries"], heated["firex_result"], heated.get("exception")) == (1, {"tray": "a tray at 180"}, None)
    assert held["was_revoked"]
    assert all(task["actual_runtime"] >= 0 for task in by_name.values())
    assert burnt["first_started"] == pytest.approx(started["bakery.burn"], abs=0.01)
    assert burnt["logs_url"].startswith(f"{family.path}/logs/")


def test_a_failure_that_ends_the_run_leads_to_its_cause(firexapp, firexlite, plugin):
    plugin(FAMILY)
    firexlite("submit", "--plugins", "services.py", "--chain", "bad_day,nop")
    run = firexlite.only_run()

    found = aggregated(firexapp, every_message(run))

    by_name = {task["name"]: task for task in found["tasks"].values()}
    assert by_name["RootTask"]["state"] == by_name["bad_day"]["state"] == "task-failed"
    assert by_name["bad_day"]["exception_cause_uuid"] == by_name["burn"]["uuid"]
    assert by_name["bad_day"]["exception"].startswith(f"ChainInterruptedException('{by_name['burn']['uuid']}'")
    assert by_name["nop"]["has_completed"] and "state" not in by_name["nop"]


def test_every_event_has_a_message_and_all_are_of_types_that_firex_sends(firexapp, family):
    messages = every_message(family)
    found = aggregated(firexapp, messages)

    assert sorted({message.seq for message in messages}) == [seq for seq, in query(family, "SELECT id FROM event")]
    types = {message.value["EVENTS"][0]["DATA"]["type"] for message in messages}
    assert types == SENT_BY_FIREX and types <= set(found["types"])
    assert found["states"] == blaze.STATES


def test_a_message_has_the_keys_of_firex_blaze(family):
    for message in every_message(family):
        assert list(message.value) == ["FIREX_ID", "SUBMITTER", "FIREX_REQUESTER", "LOGS_URL", "EVENTS"]
        [event] = message.value["EVENTS"]
        assert list(event) == ["DATA", "UUID"]
        data = event["DATA"]
        assert {"name", "type", "timestamp", "event_timestamp"} <= data.keys()
        assert ("state" in data) == (data["type"] in blaze.STATES)
        assert not {"uuid", "result"} & data.keys()


def test_of_a_task_that_starts_the_name_is_told_first(family):
    first = {}
    for message in every_message(family):
        [event] = message.value["EVENTS"]
        first.setdefault(event["UUID"], event["DATA"])

    assert all(next(iter(data)) == "long_name" for data in first.values())


def test_a_started_task_is_told_of_as_firex_does(family):
    started = [message.value["EVENTS"][0]["DATA"] for message in every_message(family)
               if message.value["EVENTS"][0]["DATA"]["type"] == "task-started-info"]

    assert all({"called_as_orig", "long_name", "log_filepath", "from_plugin", "code_filepath", "retries", "task_parent_id"}
               <= data.keys() for data in started)
    [bakery] = [data for data in started if data["name"] == "bakery.bakery"]
    assert bakery["from_plugin"] is True and bakery["code_filepath"].endswith("bakery.py")


def test_what_is_too_long_is_cut_and_says_how_long_it_was(family):
    message = every_message(family)[0]
    data = {"firex_result": {"text": "x" * 1_000_000, "many": list(range(300_000)), "few": [1, 2]}, "type": "task-results"}
    value = {**message.value, "EVENTS": [{"DATA": data, "UUID": "u"}]}

    sent = json.loads(Message(1, 0, value).text)["EVENTS"][0]["DATA"]

    assert sent["firex_result"]["text"] == "x" * blaze.LONGEST_TEXT + "... (1,000,000 characters)"
    assert sent["firex_result"]["many"].startswith("[0,1,2,") and "characters of JSON" in sent["firex_result"]["many"]
    assert (sent["firex_result"]["few"], sent["type"]) == ([1, 2], "task-results")


def test_a_message_of_any_values_is_short_enough_for_a_broker(family):
    message = every_message(family)[0]
    data = {"firex_result": {f"value{n}": "\U0001f35e" * 10_000 for n in range(100)}}

    text = Message(1, 0, {**message.value, "EVENTS": [{"DATA": data, "UUID": "u"}]}).text

    assert len(text) <= blaze.LARGEST and text.isascii()
    assert _cut([1, "x"], 0) == [1, "... (1 characters)"]
