"""What the tests of FireX's programming model share: commands without their start-up time, and runs of service files."""
from __future__ import annotations

from collections.abc import Iterator

import pytest
from conftest import Command
from warm import Warm

from .flows import Flows

LIMIT_S = 90  # for a command


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    warm = Warm(LIMIT_S)
    yield warm
    warm.close()


@pytest.fixture
def flow(warm: Warm, firexlite: Command) -> Flows:
    """Runs a chain of services whose source is given: ``flow(source, "greet,amplify", "--name", "Li")``."""
    return Flows(warm, firexlite)
