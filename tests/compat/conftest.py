"""What the tests of FireX's programming model share: commands without their start-up time, and runs of service files.

Each that runs anything does so where the run is submitted, and once more on the workers of a Dask cluster (the latter in
`./dev large`), but for what NOT_ELSEWHERE names.
"""
from __future__ import annotations

from collections.abc import Iterator

import pytest
from clusters import Cluster
from conftest import Command
from warm import Warm

from .flows import Flows

LIMIT_S = 90  # for a command
EXECUTORS = ["local", pytest.param("dask", marks=pytest.mark.long)]
NOT_ELSEWHERE = {
    "test_c87_services_are_found_in_the_packages_of_entry_points": "what is installed at home only is not there",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if {"firexlite", "flow", "command"} & set(metafunc.fixturenames):
        is_elsewhere_too = metafunc.function.__name__ not in NOT_ELSEWHERE
        metafunc.parametrize("executor", EXECUTORS if is_elsewhere_too else EXECUTORS[:1], indirect=True)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("dask"), workers=2, nthreads=8)
    yield cluster
    cluster.close()


@pytest.fixture(autouse=True)
def executor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the tasks of a test run."""
    name = getattr(request, "param", "local")
    if name == "dask":
        monkeypatch.setenv("FIREXLITE_EXECUTOR", request.getfixturevalue("cluster").executor)
    return name


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    warm = Warm(LIMIT_S)
    yield warm
    warm.close()


@pytest.fixture
def flow(warm: Warm, firexlite: Command) -> Flows:
    """Runs a chain of services whose source is given: ``flow(source, "greet,amplify", "--name", "Li")``."""
    return Flows(warm, firexlite)
