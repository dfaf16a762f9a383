"""A disk that fails stops a run at once: a sync that failed is not tried again, for the kernel may have dropped the pages."""
from __future__ import annotations

import pytest
from crash.syscalls import BROKEN, Scene, account, strace_is_missing

from firexlite import host

pytestmark = pytest.mark.skipif(bool(strace_is_missing()), reason=str(strace_is_missing()))


@pytest.fixture(scope="module")
def scene():
    return Scene(workers=1)


@pytest.mark.skipif(host.IS_PORTABLE, reason="the record does not tell a worker from its runner there")
@pytest.mark.parametrize("call", ["fdatasync", "pwrite64"])
def test_after_the_first_error_nothing_is_written_and_a_resume_goes_on(call, scene):
    points = [point for point in scene.points_for(BROKEN) if point.process == "worker 1" and point.call == call]
    point = points[len(points) // 2]
    with scene.place() as place:
        stopped = place.traced("worker 1", ("-e", "trace=fdatasync,pwrite64,ftruncate",
                                            "-e", f"inject={call}:error=EIO:when={point.number}+"), *scene.words)

        assert stopped.code == 6
        [told] = [line for line in stopped.err.splitlines() if line.startswith("firexlite: ")]
        run = place.run()
        assert "the disk failed that holds" in told and f"firexlite resume {run.firex_id}" in told
        lines = (place.path / "strace").read_text().splitlines()
        after = lines[next(i for i, line in enumerate(lines) if "(INJECTED)" in line) + 1:]
        assert not [line for line in after if line.startswith("pwrite64") and "= -1" not in line], "this worker wrote again"

        resumed = place.command("resume", run.firex_id)
        assert resumed.code == 0, resumed.err
        assert account(place).outcomes == scene.account.outcomes
