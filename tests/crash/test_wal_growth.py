"""Readers that follow a run never keep its write-ahead log from being begun anew."""
from __future__ import annotations

import pytest

from .wal_growth import BOUND, growth_of_wal


@pytest.mark.long
def test_under_load_and_beside_two_readers_the_log_is_begun_anew():
    growth = growth_of_wal(seconds=6)

    assert growth.tasks > 400, "too few for the log to grow as large as is needed"
    assert growth.shrank, growth
    assert growth.largest < BOUND
