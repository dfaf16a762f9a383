"""What FireX's service files may import, asked for in a process where neither FireX nor celery is installed."""
from __future__ import annotations

import json
import subprocess
import sys

import pytest

# Written out here once more: a name that is lost from the table is missed.
PROMISED = {
    "firexapp.engine.celery": "app",
    "firexkit.task": "FireXTask flame flame_collapse PendingChildStrategy TaskEnqueueSpec convert_to_serializable "
                     "expand_self_op get_attr_unwrapped undecorate banner REPLACEMENT_TASK_NAME_POSTFIX ReturnsCodingException "
                     "IllegalTaskNameException PauseTasks TaskContext",
    "firexkit.chain": "InjectArgs returns AUTO_QUEUE SignatureX InvalidChainArgsException verify_chain_arguments",
    "firexkit.result": "get_results get_results_with_default wait_on_async_results wait_for_any_results ChainException "
                       "wait_on_async_results_and_maybe_raise ChainInterruptedException ChainRevokedException "
                       "ChainRevokedPreRunException MultipleFailuresException ChainInterruptedByZombieTaskException "
                       "WaitOnChainTimeoutError WaitLoopCallBack first_non_chain_interrupted_exception "
                       "last_causing_chain_interrupted_exception find_unsuccessful_in_chain find_all_unsuccessful "
                       "get_task_name_from_result RETURN_KEYS_KEY DYNAMIC_RETURN FxAsyncResult ManyFxAsyncResults "
                       "forget_chain_results",
    "firexkit.argument_conversion": "ConverterRegister SingleArgDecorator ArgumentConversionException "
                                    "ConverterRegistrationException MissingConverterDependencyError "
                                    "CircularDependencyException NameDuplicationException",
    "firexkit.bag_of_goodies": "BagOfGoodies AutoInject AutoInjectSpec ValidateArgs",
    "firexkit.run_time": "RunTimeReserve",
    "firexkit.firexkit_common": "get_link",
    "firexkit.firex_exceptions": "FireXCalledProcessError FireXInactivityTimeoutExpired",
    "firexkit.permissions": "DEFAULT_CHMOD_MODE DEFAULT_UMASK",
    "firexapp.submit.arguments": "InputConverter whitelist_arguments ChainArgException get_chain_args find_unused_arguments "
                                 "convert_booleans",
    "firexapp.submit.uid": "Uid is_firex_id FireXIdParts FIREX_ID_REGEX find_all_firex_ids_from_str",
    "firexapp.submit.reporting": "ReportGenerator report report_data",
    "firexapp.submit.submit": "FireXReturnCodeException get_log_dir_from_output get_firex_id_from_output",
    "firexapp.submit.console": "setup_console_logging",
    "firexapp.application": "FireXBaseApp main get_app_task get_app_tasks import_microservices JSON_ARGS_PATH_ARG_NAME",
    "firexapp.firex_subprocess": "check_output check_call run CommandFailed ProcStats",
    "firexapp.common": "silent_mkdir delimit2list create_link wait_until poll_until_file_exist poll_until_path_exist dict2str "
                       "qualify_firex_bin render_template",
    "firexapp.engine.logging": "get_firex_logger html_escape PRINT RAW",
    "firexapp.fileregistry": "FileRegistry",
    "firexapp.discovery": "PkgVersionInfo",
    "firexapp.plugins": "get_active_plugins merge_plugins",
    "firexapp.events.model": "RunStates RevokeDetails FireXTask ADDITIONAL_CHILDREN_KEY EXTERNAL_COMMANDS_KEY",
    "firexapp.events.event_aggregator": "FireXEventAggregator",
    "firexapp.tasks.example": "nop sleep getusername greet greet_guests to_list amplify amplified_greet_guests "
                              "greet_lee_and_tom get_springfield_power_plant_job_title "
                              "greet_springfield_power_plant_employees CopyBogKeys",
    "firexapp.tasks.core_tasks": "CopyBogKeys ScheduleSubChain Pause",
    "firexapp.tasks.root_tasks": "RootTask get_configured_root_task",
    "firexapp.testing.config_base": "FlowTestConfiguration assert_is_good_run assert_is_bad_run skip_test",
    "firexapp.reporters.json_reporter": "FireXRunData FireXRunStatus",
    "firex_keeper": "task_query",
    "firex_keeper.task_query": "all_tasks tasks_by_name single_task_by_name task_by_uuid failed_tasks revoked_tasks "
                               "running_tasks failed_by_tasks get_descendants ancestor_by_long_name wait_on_keeper_complete",
    "celery": "current_app current_task shared_task chain signature Celery",
    "celery.utils.log": "get_task_logger",
    "celery.exceptions": "SoftTimeLimitExceeded TimeLimitExceeded Retry MaxRetriesExceededError Ignore Reject NotRegistered "
                         "TimeoutError WorkerLostError",
    "celery.canvas": "chain signature",
    "celery.result": "AsyncResult",
    "celery.states": "PENDING STARTED SUCCESS FAILURE REVOKED RETRY READY_STATES",
    "billiard.exceptions": "SoftTimeLimitExceeded TimeLimitExceeded",
}
EVERY_NAME = [f"{module}:{name}" for module, names in PROMISED.items() for name in names.split()]

REFUSED = {
    "firexkit.inspect": "firexlite runs without broker and celery workers, so there are none to inspect; `firexlite runs`, "
                        "`firexlite flame ID` and firex_keeper.task_query tell how a run stands",
    "firexkit.broker": "firexlite runs without broker and celery workers; app.backend keeps values that the workers "
                       "of a run share",
    "firexkit.revoke": "firexlite runs without broker and celery workers; self.revoke_child(promise), promise.revoke() and "
                       "app.control.revoke(id) revoke at once",
    "firexkit.firex_celery": "firexlite runs without broker and celery workers; take the app from firexapp.engine.celery",
    "firexapp.broker_manager": "firexlite runs without broker and celery workers",
    "firexapp.submit.submit:SubmitBaseApp": "call `firexlite submit`, whose options `firexlite submit --help` lists",
    "firexapp.submit.tracking_service": "firexlite starts no services beside a run; its journal can be read at any time: "
                                        "`firexlite flame ID`, or firex_keeper.task_query",
    "firexapp.testing.test_infra": "run flow tests with `python -m firexlite.compat.flow_tests --tests FILE`",
    "firex_flame": "`firexlite flame ID > out.html` draws a run, with no server",
    "celery.signals": "nothing in a run sends celery's signals; write what is to happen before each body into the pre_task_run "
                      "of a subclass of FireXTask, and name that by base=",
    "celery:group": "enqueue several children and wait for them, or call self.enqueue_in_parallel",
    "firex_keeper.persist": "it serves firex_keeper.task_query",
}

IMPORT = """
import json, sys
from firexlite.compat import install
install()
told = {}
for asked in json.load(sys.stdin):
    module, _, name = asked.partition(":")
    try:
        exec(f"from {module} import {name}" if name else f"import {module}", {})
    except Exception as error:
        told[asked] = [isinstance(error, ImportError), str(error)]
json.dump(told, sys.stdout)
"""


@pytest.fixture(scope="module")
def failures() -> dict[str, list]:
    """What could not be imported: ``{module:name -> [is an ImportError, its text]}``."""
    done = subprocess.run([sys.executable, "-c", IMPORT], input=json.dumps([*EVERY_NAME, *REFUSED]), capture_output=True,
                          text=True, timeout=60, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", EVERY_NAME)
def test_a_name_of_firex_can_be_imported(name, failures):
    assert failures.get(name) is None


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_served_says_what_to_use_instead(name, failures):
    module, _, attribute = name.partition(":")
    shown = f"{module}.{attribute}" if attribute else module

    assert failures[name] == [True, f"firexlite does not stand in for {shown}: {REFUSED[name]}"]


@pytest.mark.parametrize("source, expected", [
    ("import firexkit.task; print(len(firexkit.task.__all__) > 10)", "True"),
    ("from firexkit.permissions import *; print(DEFAULT_UMASK)", "2"),
    ("import firexkit.task\ntry: firexkit.task.nothing\nexcept AttributeError as error: print(error)",
     "firexlite's stand-in for firexkit.task has no 'nothing'"),
    ("try: import firexkit.nothing\nexcept ModuleNotFoundError as error: print(error.name)", "firexkit.nothing"),
    ("import firexkit.task, sys; print([name for name in sys.modules if name.startswith('firexlite')])",
     "['firexlite.version', 'firexlite', 'firexlite.compat', 'firexlite.compat.served']"),
], ids=["all names are listed", "a star", "an unknown name", "an unknown module", "importing a module costs nothing"])
def test_a_stand_in_is_a_module_like_others(source, expected):
    assert printed(source) == expected


def test_a_package_that_is_really_there_is_left_alone(tmp_path):
    package = tmp_path / "celery"
    package.mkdir()
    (package / "__init__.py").write_text("mine = True")

    assert printed("import celery; print(celery.mine)", tmp_path) == "True"
    assert printed("try: import celery.states\nexcept ImportError as error: print(error)", tmp_path) == (
        "No module named 'celery.states'")


def printed(source: str, *folders) -> str:
    """What a program prints that has the skin on. folders: where it looks for modules first."""
    paths = "".join(f"sys.path.insert(0, {str(folder)!r})\n" for folder in folders)
    program = f"import sys\n{paths}from firexlite.compat import install\ninstall()\n{source}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
