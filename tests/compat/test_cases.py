"""Service files that were run under FireX, and what firexlite makes of them: the same, or what deviations.json says."""
from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from warm import Warm

from .cases.compare import Command, difference, observe

HERE = Path(__file__).parent
CASES = HERE / "cases"
EXPECTED = json.loads((CASES / "EXPECTED.json").read_text())
# {case: {firex, ours, why, expected}}: in words, and as data what EXPECTED.json would have if FireX did as firexlite does.
DEVIATIONS = json.loads((HERE / "deviations.json").read_text())
# On a cluster the first task of a host waits until a worker has come there, so what is measured in whole seconds may be longer.
IN_WHOLE_SECONDS = {"25_time_limits.a"}


@pytest.fixture
def command(warm: Warm, tmp_path: Path) -> Command:
    def command(words: Sequence[str], env: Mapping[str, str]) -> tuple[int, str, str]:
        ended = warm(*words, env=dict(env), folder=str(tmp_path))
        return ended.code, ended.out, ended.err

    return command


@pytest.mark.parametrize("name", EXPECTED)
def test_a_service_file_gives_what_it_gives_under_firex(name: str, command: Command, executor: str) -> None:
    if executor != "local" and name in IN_WHOLE_SECONDS:
        pytest.skip("it measures durations in whole seconds, and a worker of a cluster takes some to come")
    seen = observe(name, EXPECTED[name], CASES, command)
    found = difference(EXPECTED[name], seen)

    if name not in DEVIATIONS:
        assert found is None, str(found)
        return
    assert found is not None, f"{name} agrees with FireX, so its entry in deviations.json is obsolete"
    otherwise = difference(amended(EXPECTED[name], DEVIATIONS[name]["expected"]), seen)
    assert otherwise is None, f"{name} differs from FireX otherwise than deviations.json says: {otherwise}"


def amended(value: Any, changes: Any) -> Any:
    """A copy of ``value`` with changes: of a dict by its keys, of a list by the numbers of its elements."""
    if isinstance(value, list) and isinstance(changes, dict):
        return [amended(one, changes[str(at)]) if str(at) in changes else one for at, one in enumerate(value)]
    if isinstance(value, dict) and isinstance(changes, dict):
        return {**copy.deepcopy(value), **{key: amended(value.get(key), change) for key, change in changes.items()}}
    return changes


def test_all_58_cases_are_here() -> None:
    assert len(EXPECTED) == 58
    assert sorted({case["file"] for case in EXPECTED.values()} - {path.name for path in CASES.glob("*.py")}) == []


def test_the_deviations_are_few_known_and_explained() -> None:
    assert len(DEVIATIONS) <= 8
    assert set(DEVIATIONS) <= set(EXPECTED)
    for name, entry in DEVIATIONS.items():
        assert set(entry) == {"firex", "ours", "why", "expected"}, name
        assert all(entry[key].strip() for key in ("firex", "ours", "why")), name
