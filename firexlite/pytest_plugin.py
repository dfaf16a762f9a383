"""For pytest: the fixture `firexlite_run`, which runs chains of the services under test. It is there wherever firexlite is
installed, and imports nothing of it before a test asks for it."""
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .rehearsal import Rehearsal


@pytest.fixture
def firexlite_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rehearsal:
    """Runs a chain in a home of its own, with fakes, and killed and resumed if that is asked for: ``firexlite_run(chain,
    fakes={'flash': ...}, crash_after='flash')``."""
    from .rehearsal import Rehearsal

    home = tmp_path / "firexlite"
    monkeypatch.setenv("FIREXLITE_HOME", str(home))
    return Rehearsal(home)
