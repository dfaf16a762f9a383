"""Which modules of FireX, celery and billiard are answered for, and with what.

SERVED: ``{module: {name there: (module of firexlite, name there)}}``. REFUSED: what cannot be had here, a module or
``module:name``, and what to use instead.
"""
from __future__ import annotations

Names = dict[str, tuple[str, str]]


def of(home: str, *names: str, **renamed: str) -> Names:
    """Names that are called the same in ``home``; and with ``theirs="ours"`` those that are not."""
    return {**{name: (home, name) for name in names}, **{theirs: (home, ours) for theirs, ours in renamed.items()}}


CHAIN_ERRORS = ("ChainException", "ChainInterruptedException", "ChainInterruptedByZombieTaskException", "ChainRevokedException",
                "ChainRevokedPreRunException", "MultipleFailuresException", "WaitOnChainTimeoutError")
LIMITS = ("SoftTimeLimitExceeded", "TimeLimitExceeded")
CANVAS: Names = {**of("compat.canvas", "chain", "signature"), **of("signatures", Signature="Signature")}
LEVELS = of("loggers", "PRINT", "RAW")
TASK_LOGGER = of("loggers", "get_task_logger")
EXAMPLES: dict[str, Names] = {
    "firexapp.tasks.example": {
        **of("builtin", "nop", "sleep", "getusername", "CopyBogKeys"),
        **of("compat.example", "greet", "greet_guests", "amplify", "amplified_greet_guests", "greet_lee_and_tom", "to_list",
             "get_springfield_power_plant_job_title", "greet_springfield_power_plant_employees", "employee_names_to_list")},
    "firexapp.tasks.core_tasks": {**of("builtin", "CopyBogKeys", "ScheduleSubChain", "Pause")},
    "firexapp.tasks.root_tasks": of("compat.root_tasks", "RootTask", "get_configured_root_task"),
}

SERVED: dict[str, Names] = {
    # --- firexkit --------------------------------------------------------------------------------------------------------
    "firexkit": {},
    "firexkit.argument_conversion": {
        **of("converters", "ConverterRegister", "SingleArgDecorator"),
        **of("errors", "ArgumentConversionException", "ConverterRegistrationException", "MissingConverterDependencyError",
             "CircularDependencyException", "NameDuplicationException")},
    "firexkit.bag_of_goodies": {
        **of("compat.bag_of_goodies", "BagOfGoodies", "AutoInject", "AutoInjectSpec"), **of("task_options", "ValidateArgs")},
    "firexkit.chain": {
        **of("signatures", "InjectArgs", "AUTO_QUEUE", SignatureX="Signature"), **of("results", "returns"),
        **of("errors", "InvalidChainArgsException"), **of("compat.chain", "verify_chain_arguments")},
    "firexkit.firex_exceptions": of("commands", FireXCalledProcessError="CommandFailed",
                                   FireXInactivityTimeoutExpired="InactivityTimeoutExpired"),
    "firexkit.firexkit_common": {
        **of("compat.kit", "get_link", "sec2hms", "ModifyUmask"), **of("application", REPLACEMENT_TASK_NAME_POSTFIX="ORIG")},
    "firexkit.permissions": of("compat.kit", "DEFAULT_CHMOD_MODE", "DEFAULT_UMASK"),
    "firexkit.result": {
        **of("errors", "ReturnsCodingException", *CHAIN_ERRORS),
        **of("results", "DYNAMIC_RETURN", "RETURN_KEYS_KEY", "get_results", "get_results_with_default"),
        **of("promises", "WaitLoopCallBack", FxEagerResult="Injected"), **of("compat.running", FxAsyncResult="AsyncResult"),
        **of("gathering", "wait_on_async_results", "wait_for_any_results", "find_unsuccessful_in_chain",
             "find_all_unsuccessful", "get_task_name_from_result", "first_non_chain_interrupted_exception",
             "last_causing_chain_interrupted_exception", ManyFxAsyncResults="Promises",
             wait_on_async_results_and_maybe_raise="wait_on_async_results"),
        **of("compat.chain", "forget_chain_results")},
    "firexkit.run_time": of("compat.run_time", "RunTimeReserve"),
    "firexkit.task": {
        **of("services", FireXTask="Task"), **of("children", "TaskEnqueueSpec"),
        **of("showing", "flame", "flame_collapse", "expand_self_op"), **of("task_options", "PendingChildStrategy"),
        **of("application", REPLACEMENT_TASK_NAME_POSTFIX="ORIG"),
        **of("errors", "ReturnsCodingException", "IllegalTaskNameException"),
        **of("compat.kit", "convert_to_serializable", "is_jsonable", "get_attr_unwrapped", "undecorate",
             "undecorate_func", "banner", "TaskContext", "PauseTasks"),
        **of("compat.event_model", "ADDITIONAL_CHILDREN_KEY")},
    # --- firexapp --------------------------------------------------------------------------------------------------------
    "firexapp": {},
    "firexapp.application": of(
        "compat.application", "FireXBaseApp", "main", "JSON_ARGS_PATH_ARG_NAME", "JsonContentNotList", "get_args_from_json",
        "get_args_from_json_from_all_args", "get_app_task", "get_app_tasks", "import_microservices"),
    "firexapp.common": of(
        "compat.common", "delimit2list", "dict2str", "find", "render_template", "silent_mkdir", "create_link",
        "create_link_async", "qualify_firex_bin", "wait_until", "wait_until_pid_not_exist", "poll_until_path_exist",
        "poll_until_file_exist", "poll_until_existing_file_not_empty", "poll_until_file_not_empty", "poll_until_dir_empty",
        "poll_until_path_gone", "get_available_port"),
    "firexapp.discovery": of("compat.discovery", "PkgVersionInfo", "discover_package_modules", "get_all_pkg_versions",
                             "get_all_pkg_versions_str"),
    "firexapp.engine": {},
    "firexapp.engine.celery": of("compat.celery_app", "app"),
    "firexapp.engine.logging": {**LEVELS, **of("compat.logging_levels", "html_escape"),
                                **of("loggers", get_firex_logger="get_task_logger")},
    "firexapp.events": {},
    "firexapp.events.event_aggregator": of("compat.event_aggregator", "FireXEventAggregator"),
    "firexapp.events.model": of(
        "compat.event_model", "RunStates", "RevokeDetails", "FireXTask", "FireXRunMetadata", "TaskColumn", "RunMetadataColumn",
        "ADDITIONAL_CHILDREN_KEY", "EXTERNAL_COMMANDS_KEY", "TASK_REVOKE_REASON_KEY", "COMPLETE_RUNSTATES", "TASK_COLUMN_NAMES",
        "get_task_data", "is_chain_exception", "get_chain_exception_child_uuid", "is_failed"),
    "firexapp.fileregistry": of("compat.file_registry", "FileRegistry", "KeyAlreadyRegistered", "KeyNotRegistered"),
    "firexapp.firex_subprocess": of("commands", "check_output", "check_call", "run", "ProcStats", "CommandFailed"),
    "firexapp.plugins": of("compat.plugin_lists", "get_active_plugins", "merge_plugins"),
    "firexapp.reporters": {},
    "firexapp.reporters.json_reporter": of("compat.run_data", "FireXRunData", "FireXRunStatus"),
    "firexapp.submit": {},
    "firexapp.submit.arguments": {
        **of("converters", "InputConverter", "convert_booleans"),
        **of("compat.arguments", "ChainArgException", "get_chain_args", "find_unused_arguments", "get_global_args_allowlist"),
        **of("submission", "whitelist_arguments")},
    "firexapp.submit.console": of("compat.logging_levels", "setup_console_logging", "set_console_log_level"),
    "firexapp.submit.reporting": of("compat.reporting", "ReportGenerator", "report", "report_data"),
    "firexapp.submit.submit": {**of("errors", FireXReturnCodeException="ReturnCodeError"),
                               **of("compat.submit_output", "get_log_dir_from_output", "get_firex_id_from_output")},
    "firexapp.submit.uid": of("uid", "Uid", "is_firex_id", "FireXIdParts", "FIREX_ID_REGEX", "find_all_firex_ids_from_str",
                              "find_single_firex_id_from_str", "get_firex_id_parts"),
    "firexapp.tasks": {},
    **EXAMPLES,
    "firexapp.testing": {},
    "firexapp.testing.config_base": of(
        "compat.flow_tests", "FlowTestConfiguration", "assert_is_good_run", "assert_is_bad_run", "skip_test", "discover_tests",
        "import_test_configs"),
    # --- firex_keeper ----------------------------------------------------------------------------------------------------
    "firex_keeper": {},
    "firex_keeper.task_query": of(
        "compat.task_query", "FireXTaskQueryException", "all_tasks", "tasks_by_name", "single_task_by_name", "task_by_uuid",
        "task_by_name_and_arg_pred", "task_by_name_and_arg_value", "failed_tasks", "revoked_tasks", "running_tasks",
        "running_not_blocked_tasks", "failed_by_tasks", "get_descendants", "ancestor_by_long_name", "flatten_tree",
        "task_tree_to_task", "find_task_causing_chain_exception", "wait_on_keeper_query_ready", "wait_on_keeper_complete"),
    # --- celery, and billiard below it -----------------------------------------------------------------------------------
    "celery": {**CANVAS, **of("compat.celery_app", "Celery", "shared_task", current_app="app"),
               **of("compat.running", "current_task"), **of("services", "Task")},
    "celery.canvas": CANVAS,
    "celery.exceptions": {
        **of("errors", "Retry", "MaxRetriesExceededError", "NotRegistered", *LIMITS),
        **of("compat.celery_errors", "CeleryError", "TaskPredicate", "Ignore", "Reject", "TaskError", "TimeoutError",
             "TaskRevokedError", "InvalidTaskError", "ImproperlyConfigured", "Terminated"),
        **of("errors", WorkerLostError="WorkerLost")},
    "celery.result": of("compat.running", "AsyncResult"),
    "celery.states": of("compat.celery_states", "PENDING", "RECEIVED", "STARTED", "SUCCESS", "FAILURE", "REVOKED", "RETRY",
                        "IGNORED", "REJECTED", "READY_STATES", "UNREADY_STATES", "EXCEPTION_STATES", "PROPAGATE_STATES",
                        "ALL_STATES"),
    "celery.utils": {},
    "celery.utils.log": TASK_LOGGER,
    "billiard": {},
    "billiard.exceptions": {**of("errors", *LIMITS, WorkerLostError="WorkerLost"), **of("compat.celery_errors", "Terminated")},
}

NO_BROKER = "firexlite runs without broker and celery workers"
SEE_RUN = "`firexlite runs`, `firexlite flame ID` and firex_keeper.task_query tell how a run stands"
REFUSED: dict[str, str] = {
    "firexkit.inspect": f"{NO_BROKER}, so there are none to inspect; {SEE_RUN}",
    "firexkit.broker": f"{NO_BROKER}; app.backend keeps values that the workers of a run share",
    "firexkit.revoke": f"{NO_BROKER}; self.revoke_child(promise), promise.revoke() and app.control.revoke(id) revoke at once",
    "firexkit.firex_celery": f"{NO_BROKER}; take the app from firexapp.engine.celery",
    "firexkit.firex_worker": NO_BROKER,
    "firexapp.broker_manager": NO_BROKER,
    "firexapp.celery_manager": NO_BROKER,
    "firexapp.engine.autoscaler": f"{NO_BROKER}; --workers says how many tasks run at once",
    "firexapp.engine.default_celery_config": f"{NO_BROKER}; the options of `firexlite submit` configure a run",
    "firexapp.submit.install_configs": "firexlite reads no install configs; its options and environment variables configure it",
    "firexapp.submit.shutdown": "nothing of a run is left that would have to be shut down when it has ended",
    "firexapp.submit.tracking_service": "firexlite starts no services beside a run; its journal can be read at any time: "
                                        "`firexlite flame ID`, or firex_keeper.task_query",
    "firexapp.submit.submit:SubmitBaseApp": "call `firexlite submit`, whose options `firexlite submit --help` lists",
    "firexapp.info": "call `firexlite list` and `firexlite info SERVICE`",
    "firexapp.testing.test_infra": "run flow tests with `python -m firexlite.compat.flow_tests --tests FILE`",
    "firexapp.testing.config_interpreter": "run flow tests with `python -m firexlite.compat.flow_tests --tests FILE`",
    "firex_flame": "`firexlite flame ID > out.html` draws a run, with no server",
    "firex_blaze": "events are sent to Kafka with `--sink kafka:HOST:PORT/TOPIC`, by firexlite itself",
    "celery.signals": "nothing in a run sends celery's signals; write what is to happen before each body into the pre_task_run "
                      "of a subclass of FireXTask, and name that by base=",
    "celery.local": "services are plain objects here; take celery.current_task, or `self` of a service with bind=True",
    "celery:group": "enqueue several children and wait for them, or call self.enqueue_in_parallel",
    "celery.canvas:group": "enqueue several children and wait for them, or call self.enqueue_in_parallel",
    "celery:chord": "enqueue several children, wait for them, and go on in the same body",
    "celery.canvas:chord": "enqueue several children, wait for them, and go on in the same body",
}


def instead_of(name: str) -> str:
    """What to use instead of a module that is not served."""
    if said := next((said for module, said in REFUSED.items() if name == module or name.startswith(module + ".")), None):
        return said
    package = name.partition(".")[0]
    return f"it serves {', '.join(module for module, names in SERVED.items() if names and module.split('.')[0] == package)}"
