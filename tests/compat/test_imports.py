"""The modules and names of FireX, and of Celery where that is absent, that service files and programs around them import."""
from __future__ import annotations

from pathlib import Path

import pytest

from .flows import Flows

NAMES = {
    "firexapp.engine.celery": "app",
    "firexapp.engine.logging": "get_firex_logger html_escape PRINT RAW",
    "firexapp.submit.arguments": "InputConverter whitelist_arguments ChainArgException get_chain_args find_unused_arguments",
    "firexapp.submit.uid": "Uid is_firex_id FireXIdParts FIREX_ID_REGEX find_all_firex_ids_from_str",
    "firexapp.submit.submit": "FireXReturnCodeException get_log_dir_from_output get_firex_id_from_output",
    "firexapp.firex_subprocess": "check_output check_call run CommandFailed ProcStats",
    "firexapp.common": "silent_mkdir delimit2list create_link wait_until poll_until_path_exist poll_until_file_exist "
                       "poll_until_file_not_empty poll_until_existing_file_not_empty poll_until_dir_empty poll_until_path_gone "
                       "dict2str qualify_firex_bin render_template",
    "firexapp.fileregistry": "FileRegistry",
    "firexapp.discovery": "PkgVersionInfo",
    "firexapp.plugins": "get_active_plugins merge_plugins",
    "firexapp.events.model": "RunStates RevokeDetails FireXTask ADDITIONAL_CHILDREN_KEY EXTERNAL_COMMANDS_KEY",
    "firexapp.events.event_aggregator": "FireXEventAggregator",
    "firexapp.tasks.core_tasks": "CopyBogKeys ScheduleSubChain",
    "firexapp.tasks.example": "nop sleep getusername greet greet_guests amplify amplified_greet_guests "
                              "greet_springfield_power_plant_employees get_springfield_power_plant_job_title greet_lee_and_tom",
    "firexapp.tasks.root_tasks": "get_configured_root_task",
    "firexapp.testing.config_base": "FlowTestConfiguration assert_is_good_run assert_is_bad_run skip_test",
    "firexapp.reporters.json_reporter": "FireXRunData FireXRunStatus",
    "firexkit.task": "FireXTask flame flame_collapse PendingChildStrategy TaskEnqueueSpec convert_to_serializable "
                     "expand_self_op get_attr_unwrapped undecorate banner REPLACEMENT_TASK_NAME_POSTFIX ReturnsCodingException "
                     "IllegalTaskNameException",
    "firexkit.chain": "InjectArgs returns AUTO_QUEUE SignatureX InvalidChainArgsException verify_chain_arguments",
    "firexkit.result": "get_results get_results_with_default wait_on_async_results wait_for_any_results "
                       "wait_on_async_results_and_maybe_raise ChainException ChainInterruptedException ChainRevokedException "
                       "ChainRevokedPreRunException MultipleFailuresException ChainInterruptedByZombieTaskException "
                       "WaitOnChainTimeoutError WaitLoopCallBack first_non_chain_interrupted_exception "
                       "last_causing_chain_interrupted_exception find_unsuccessful_in_chain find_all_unsuccessful "
                       "get_task_name_from_result RETURN_KEYS_KEY DYNAMIC_RETURN FxAsyncResult ManyFxAsyncResults",
    "firexkit.argument_conversion": "ConverterRegister SingleArgDecorator ArgumentConversionException "
                                    "ConverterRegistrationException MissingConverterDependencyError "
                                    "CircularDependencyException NameDuplicationException",
    "firexkit.bag_of_goodies": "BagOfGoodies AutoInject AutoInjectSpec ValidateArgs",
    "firexkit.run_time": "RunTimeReserve",
    "firexkit.firexkit_common": "get_link",
    "firexkit.firex_exceptions": "FireXCalledProcessError FireXInactivityTimeoutExpired",
    "firex_keeper.task_query": "all_tasks tasks_by_name single_task_by_name task_by_uuid failed_tasks revoked_tasks "
                               "running_tasks failed_by_tasks get_descendants ancestor_by_long_name wait_on_keeper_complete",
    "celery.utils.log": "get_task_logger",
    "celery.exceptions": "SoftTimeLimitExceeded Ignore Reject Retry NotRegistered",
    "celery.canvas": "chain signature",
    "celery.result": "AsyncResult",
    "celery.states": "PENDING STARTED SUCCESS FAILURE REVOKED RETRY",
}


@pytest.mark.parametrize("module", NAMES)
def test_a_service_file_imports_all_names_of_a_module(module: str, flow: Flows) -> None:
    done = flow(f"""
import importlib
module = importlib.import_module("{module}")

@app.task(returns="seen")
def top(): return [name for name in "{NAMES[module]}".split() if not hasattr(module, name)]
""")

    assert done.seen == []


def test_a_module_that_is_not_served_is_refused_in_words_that_help(flow: Flows) -> None:
    done = flow("""
import firexapp.engine.no_such_module

@app.task
def top(): pass
""", code=2)

    assert "firexlite" in done.err and "firexapp.engine.no_such_module" in done.err


def test_every_check_of_the_specification_has_its_test() -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))

    assert [number for number in range(1, 93) if f"def test_c{number:02}_" not in tests] == []
