"""The quick set of the orphan rounds is in `promises/test_p08_no_orphans.py`; here: that the lab would see an orphan."""
from __future__ import annotations

import random

from . import orphans


def test_the_lab_sees_a_process_that_outlives_its_run(monkeypatch):
    monkeypatch.setattr(orphans, "LIMIT_S", 0.3)
    monkeypatch.setattr(orphans, "_end_it", lambda way, front, own_inode: None)

    ended = orphans.one_round("kill the runner", random.Random(0), is_stubborn=False)

    assert ended.gone_after_s is None and not ended.is_free and not ended.is_as_promised
