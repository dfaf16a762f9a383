"""Small helpers that service files import from FireX."""
from __future__ import annotations

import dataclasses
import datetime
import enum
import logging
import os
import threading

import pytest

from firexlite.application import app
from firexlite.builtin import nop
from firexlite.compat import canvas, common, discovery, kit, logging_levels, plugin_lists, reporting, submit_output
from firexlite.compat.event_aggregator import FireXEventAggregator
from firexlite.compat.event_model import RevokeDetails, RunStates
from firexlite.compat.file_registry import FileRegistry, KeyAlreadyRegistered, KeyNotRegistered
from firexlite.compat.run_time import RunTimeReserve
from firexlite.signatures import InjectArgs


@pytest.mark.parametrize("text, parts", [
    ("1, 2,3", ["1", "2", "3"]), (None, []), ("", []), (["a"], ["a"]), ("1 2;3|4\n5", ["1", "2", "3", "4", "5"]),
    ("one, 'two, two',,\"three\"", ["one", "two, two", "three"]), ("a 'b c' d", ["a", "b c", "d"]),
], ids=str)
def test_a_text_is_parted_at_delimiters_outside_of_quotes(text, parts):
    assert common.delimit2list(text) == parts


def test_quotes_within_a_part_stay():
    assert common.delimit2list("run --with 'x, y', more", delimiters=",") == ["run --with 'x, y'", "more"]


def test_names_and_values_stand_below_each_other():
    assert common.dict2str({"b": 1, "long": "x"}, sort=True) == "b       1\nlong    'x'\n"
    assert common.dict2str({"b": "1\n2"}, usevrepr=False, line_prefix="- ") == "- b    1\n     2\n"
    assert common.dict2str({}) == "None"


def test_a_link_takes_the_place_of_an_older_one(tmp_path):
    (tmp_path / "run").mkdir()
    link = str(tmp_path / "links" / "latest")

    common.create_link(str(tmp_path / "old"), link, create_target_dir=True)
    common.create_link(str(tmp_path / "run"), link, relative=True)

    assert os.readlink(link) == "../run"
    assert os.listdir(tmp_path / "links") == ["latest"]
    with pytest.raises(FileExistsError):
        common.create_link("elsewhere", link, delete_link=False)


def test_a_file_is_waited_for_until_it_has_content(tmp_path):
    file = tmp_path / "late"
    writer = threading.Timer(0.05, lambda: file.write_text("here"))
    writer.start()

    common.poll_until_file_not_empty(str(file), timeout=20)

    writer.join()
    with pytest.raises(AssertionError, match=r"never did not exist within 0\.01s"):
        common.poll_until_file_exist("never", timeout=0.01)


@dataclasses.dataclass
class Loaf:
    flour: str
    baked: datetime.datetime


class Colour(enum.Enum):
    BROWN = 1


class Shown:
    def firex_serializable(self): return "as it says"


@pytest.mark.parametrize("value, shown", [
    (Loaf("rye", datetime.datetime(2026, 1, 2)), {"flour": "rye", "baked": "2026-01-02T00:00:00"}), (Colour, "Colour"),
    ({(1, 2): {3}}, {"[1, 2]": [3]}), (Shown(), "as it says"), (b"x", "b'x'"),
    (Colour.BROWN, "<Colour.BROWN: 1>"), ({1: "a"}, {1: "a"}),
], ids=lambda value: type(value).__name__)
def test_values_become_what_json_can_hold(value, shown):
    assert kit.convert_to_serializable(value) == shown


def test_a_value_within_itself_comes_to_an_end():
    circle: list = [object]
    circle.append(circle)

    assert "..." in str(kit.convert_to_serializable(circle))


def test_a_link_in_html_escapes_what_is_text():
    assert kit.get_link("/a?b&c", "<b>", html_class="log", attrs={"target": "_blank"}, other_elements="<i>") == (
        '<a href="/a?b&amp;c" class="log" target="_blank"><i>&lt;b&gt;</a>')


@pytest.mark.parametrize("seconds, shown", [(0, "0s"), (90.9, "1m30s"), (3723, "1h2m3s"), (3605, "1h5s"), (-90, "-1m30s")])
def test_durations(seconds, shown):
    assert kit.sec2hms(seconds) == shown


def test_a_service_gives_its_function_and_attributes_below_decorators():
    def plain(): pass

    plain.mark = 1
    assert kit.undecorate(app.task(plain, name="kit.plain")) is plain
    assert (kit.get_attr_unwrapped(plain, "mark"), kit.get_attr_unwrapped(plain, "none", 2)) == (1, 2)
    with pytest.raises(AttributeError):
        kit.get_attr_unwrapped(plain, "none")


def test_a_banner_has_its_title_between_two_lines():
    assert kit.banner("X", ch="*", length=5, content="more").splitlines() == ["", "*****", "**X**", "more", "*****"]


def test_a_chain_is_composed_by_functions_too():
    composed = canvas.chain(InjectArgs(x=1), canvas.signature("nop"), nop.s(y=2))

    assert composed == InjectArgs(x=1) | nop.s() | nop.s(y=2)
    assert canvas.chain([nop.s(), nop.s()]) == nop.s() | nop.s()
    with pytest.raises(TypeError):
        canvas.chain()


def test_plugins_of_several_lists_stand_where_they_are_strongest():
    assert plugin_lists.merge_plugins("a.py,b.py", None, ["c.py", "a.py"]) == ["b.py", "c.py", "a.py"]


def test_modules_below_a_folder_but_private_ones(tmp_path):
    for path in ("top.py", "_private.py", "text.txt", "inner/leaf.py", ".hidden/no.py"):
        (tmp_path / "kitchen" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "kitchen" / path).touch()

    assert sorted(discovery.discover_package_modules(str(tmp_path / "kitchen"))) == ["kitchen.inner.leaf", "kitchen.top"]
    assert str(discovery.PkgVersionInfo("x", commit="1ab")) == "x: 1ab"


def test_registered_files_have_one_registry_in_a_process(tmp_path):
    try:
        FileRegistry().register_file("report", "logs/report.html")
        assert FileRegistry().get_file("report", "/runs/1") == "/runs/1/logs/report.html"
        with pytest.raises(KeyAlreadyRegistered):
            FileRegistry().register_file("report", "other")
        FileRegistry().dump_to_file(str(tmp_path / "registry"))
        FileRegistry.destroy()
        with pytest.raises(KeyNotRegistered, match="'report' is not registered"):
            FileRegistry().get_file("report", "/runs/1")
        FileRegistry.destroy()
        assert FileRegistry(from_file=str(tmp_path / "registry")).file_registry == {"report": "logs/report.html"}
    finally:
        FileRegistry.destroy()


def test_a_report_shows_only_what_a_service_returns():
    @app.task(name="kit.reported", returns="loaf")
    def reported(): pass

    assert reporting.report("loaf", 3, html=str)(reported).report_meta == [
        {"key_name": "loaf", "priority": 3, "formatters": {"html": str}}]
    with pytest.raises(ValueError, match=r"kit.reported does not declare that it returns crumbs, so @report cannot show that"):
        reporting.report("crumbs")(reported)


def test_a_logger_for_the_console_keeps_errors_apart(capsys):
    root, before = logging.getLogger(), [*logging.getLogger().handlers]
    root.handlers = []
    level = root.level
    try:
        logger = logging_levels.setup_console_logging("__main__", console_logging_formatter="%(message)s")
        logging_levels.setup_console_logging("__main__")
        logger.info("to stdout")
        logger.error("to stderr")
    finally:
        root.handlers = before
        root.setLevel(level)
    assert tuple(capsys.readouterr()) == ("to stdout\n", "to stderr\n")


def test_what_a_submission_printed_is_read_back(tmp_path, monkeypatch):
    printed = "[10:15:00][host] FireX ID: FireX-li-261123-101500-1\n[10:15:00][host] Logs: /runs/FireX-li-261123-101500-1\n"
    monkeypatch.setenv("FIREXLITE_HOME", str(tmp_path))

    assert submit_output.get_firex_id_from_output(printed) == "FireX-li-261123-101500-1"
    assert submit_output.get_log_dir_from_output(printed) == "/runs/FireX-li-261123-101500-1"
    assert (submit_output.get_firex_id_from_output(""), submit_output.get_log_dir_from_output("FireX ID: none")) == (None, "")


def test_outside_of_a_run_there_is_any_time_left():
    assert str(RunTimeReserve(60)) == "the run time remaining less 60s"
    assert RunTimeReserve(60).resolve() == float("inf")


# --- events --------------------------------------------------------------------------------------------------------------

def test_events_are_gathered_by_task():
    aggregator = FireXEventAggregator()
    begun = {"uuid": "1", "parent_id": None, "name": "kitchen.bake", "type": "task-received", "local_received": 1.0, "junk": 1}

    aggregator.aggregate_events([{"uuid": "9", "type": "task-revoked"}, {"type": "task-started"}, begun])
    changed = aggregator.aggregate_events([
        {"uuid": "1", "type": "task-started-info", "local_received": 2.0}, {"uuid": "1", "type": "task-succeeded"},
        {"uuid": "1", "type": "task-failed", "local_received": 3.0}])

    task = aggregator.tasks_by_uuid["1"]
    assert (aggregator.root_uuid, [*aggregator.tasks_by_uuid]) == ("1", ["1"])
    assert (task["name"], task["long_name"], task["first_started"]) == ("bake", "kitchen.bake", 1.0)
    assert [one["state"] for one in task["states"]] == ["task-received", "task-started", "task-succeeded", "task-failed"]
    assert changed["1"]["state"] == "task-succeeded" and "name" not in changed["1"] and "junk" not in task
    assert aggregator.is_root_complete() and not aggregator.are_all_tasks_complete()
    [last] = aggregator.generate_incomplete_events()
    assert (last["uuid"], last["type"]) == ("1", "task-succeeded") and last["actual_runtime"] > 0


@pytest.mark.parametrize("state, has_completed, is_complete", [
    ("task-failed", None, True), ("task-failed", False, False), ("task-revoked", None, False), ("task-revoked", True, True),
    ("task-started", None, False), ("task-incomplete", None, True), ("nothing", None, False)])
def test_which_states_are_final(state, has_completed, is_complete):
    assert RunStates.is_complete_state(state, has_completed) is is_complete


def test_why_a_run_was_revoked_is_kept_with_it(tmp_path):
    details = RevokeDetails(str(tmp_path), "no flour.", "1", root_revoke=True, revoking_user="li")
    details.write()
    details.write_revoke_complete()

    assert RevokeDetails.load_latest_run_revoke_details(str(tmp_path)) == details
    assert RevokeDetails.load_latest_revoke_details(str(tmp_path), task_uuid="1") is None
    assert details.get_description() == "Run was revoked (cancelled) by li with reason: no flour."
