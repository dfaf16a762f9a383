"""`firexapp.reporters.json_reporter`: a run as its run.json tells of it."""
from __future__ import annotations

import datetime
import enum
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ..home import find_run
from .common import wait_until
from .event_model import RevokeDetails
from .kit import convert_to_serializable

POLL_S = 0.1
_TIMES = ("completed_timestamp", "submit_proc_start_timestamp", "max_completion_timestamp")


class FireXRunStatus(str, enum.Enum):
    """How a run stands."""

    RUNNING = "RUNNING"
    SUCCESS = "SUCCESS"
    SOME_FAILED = "SOME_FAILED"
    REVOKED = "REVOKED"

    def is_running(self) -> bool:
        return self is FireXRunStatus.RUNNING

    def is_success(self) -> bool:
        return self is FireXRunStatus.SUCCESS

    def is_failed(self) -> bool:
        return self is FireXRunStatus.SOME_FAILED

    def is_revoked(self) -> bool:
        return self is FireXRunStatus.REVOKED

    def is_complete(self) -> bool:
        return self is not FireXRunStatus.RUNNING


@dataclass
class FireXRunData:
    """The fields of a run.json. logs_path: the directory of the run, wherever it was when that was written."""

    firex_id: str
    logs_path: str
    completed: bool
    chain: list[str]
    submission_host: str
    submission_dir: str
    submission_cmd: list[str]
    viewers: dict[str, str]
    inputs: dict[str, Any]
    results: dict[str, Any] | None = None
    revoked: bool = False
    revoked_details: RevokeDetails | None = None
    completed_timestamp: datetime.datetime | None = None
    submit_proc_start_timestamp: datetime.datetime | None = None
    run_soft_time_limit: float | None = None
    max_completion_timestamp: datetime.datetime | None = None
    _extra_fields: dict[str, Any] = field(default_factory=dict)

    # --- reading ---------------------------------------------------------------------------------------------------

    @classmethod
    def load_run_json_file(cls, json_filepath: str | Path) -> FireXRunData:
        """Raises OSError if there is no such file, ValueError if it is no JSON."""
        stored = json.loads(Path(json_filepath).read_text(encoding="utf-8"))
        known = {one.name for one in fields(cls)} - {"_extra_fields"}
        own = {name: value for name, value in stored.items() if name in known}
        for name in _TIMES:
            own[name] = _moment(own.get(name))
        if own.get("revoked_details"):
            own["revoked_details"] = RevokeDetails(**own["revoked_details"])
        return cls(**own, _extra_fields={name: value for name, value in stored.items() if name not in known})

    @classmethod
    def load_from_logs_dir(cls, logs_dir: str | Path) -> FireXRunData:
        """The run of this directory."""
        return cls.load_run_json_file(Path(logs_dir) / "run.json")

    load_initial = load_from_logs_dir

    @classmethod
    def load_from_firex_id(cls, firex_id: str) -> FireXRunData:
        """Raises BadInput if there is no such run."""
        return cls.load_from_logs_dir(find_run(firex_id).path)

    def reload(self) -> FireXRunData:
        return self.load_from_logs_dir(self.logs_path)

    def wait(self, timeout: float) -> bool:
        """Whether the run has ended, which is waited for, ``timeout`` seconds at most."""
        return wait_until(lambda: self.reload().completed, timeout, POLL_S)

    # --- what is known of the run ----------------------------------------------------------------------------------

    def get_results(self) -> dict[str, Any]:
        """All values that the chain returned, by name; none as long as it runs."""
        return (self.results or {}).get("chain_results", {})

    def get_result(self, result_key: str, default: Any = None) -> Any:
        return self.get_results().get(result_key, default)

    def chain_results(self) -> dict[str, Any]:
        """As `get_results`. Raises AssertionError as long as the run goes on."""
        assert self.results, "Results not set; consider waiting for results."
        return self.results["chain_results"]

    def get_input(self, input_key: str, default: Any = None) -> Any:
        return self.inputs.get(input_key, default)

    def get_failed_submitted_services(self) -> list[str]:
        """The services of the submitted chain that failed."""
        assert self.results, "Check for results before requesting failed services"
        return (self.results.get("unsuccessful_services") or {}).get("failed") or []

    def get_status_and_description(self) -> tuple[FireXRunStatus, str]:
        if not self.completed:
            return FireXRunStatus.RUNNING, "Run is still in progress."
        if self.revoked:
            details = self.revoked_details
            return FireXRunStatus.REVOKED, details.get_description() if details else "Run cancelled without detailed reason."
        if failed := self.get_failed_submitted_services():
            return FireXRunStatus.SOME_FAILED, ", ".join(failed)
        return FireXRunStatus.SUCCESS, "Submitted services completed successfully."

    def get_status(self) -> FireXRunStatus:
        return self.get_status_and_description()[0]

    def chain_has_service(self, query_services: str | Iterable[str]) -> bool:
        """Whether the chain has one of these services; modules and letter case do not count."""
        asked = [query_services] if isinstance(query_services, str) else query_services
        return bool({_short(name) for name in asked} & {_short(name) for name in self.chain or ()})

    def get_proc_duration(self) -> float | None:
        """Seconds from the beginning of the run to its end, or to now."""
        if self.submit_proc_start_timestamp is None:
            return None
        now = None if self.completed else datetime.datetime.now(datetime.timezone.utc)
        ended = self.completed_timestamp or now
        return (ended - self.submit_proc_start_timestamp).total_seconds() if ended else None

    def as_serializable(self) -> dict[str, Any]:
        own = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "_extra_fields"}
        return convert_to_serializable({**own, **self._extra_fields})


def _moment(stored: Any) -> datetime.datetime | None:
    """A time that is stored as seconds since the epoch, as firexlite does, or as FireX's ISO text."""
    if isinstance(stored, (int, float)):
        return datetime.datetime.fromtimestamp(stored, datetime.timezone.utc)
    return datetime.datetime.fromisoformat(stored) if stored else None


def _short(name: str) -> str:
    return name.rpartition(".")[2].casefold()
