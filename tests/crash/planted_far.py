"""More bugs to be planted: in what is between a run and its workers on other hosts."""
from __future__ import annotations

from .bug import Bug, in_file, only

DASK = "tests/test_dask.py -m 'long or not long'"

BUGS_OF_FAR_WORKERS: list[Bug] = [
    *in_file("executors/stand_in.py",
             ("a far worker may call whatever there is", 'getattr(function, "is_of_the_journal", False)', "callable(function)",
              "tests/test_stand_in.py"),
             ("a soft limit is told again and again", "self.board.mark_spent(self.number, 0, 0)  # it is told once", "pass",
              "tests/test_stand_in.py"),
             ("output is taken for that of the next task", "ended = [one._replace(log_end=size) for one in ended]", "pass",
              "tests/test_stand_in.py"),
             ("a far worker that waits keeps its slot", "        if has_to_wait:\n            self._gives_up_slot()\n", "",
              only(DASK, "blocking_tree")),
             ("a far worker with nothing to do stays", "elif self._rests_since is not None and now", "elif False and now",
              "tests/test_stand_in.py"),
             ("a stand-in outlives its far worker", "return self._has_ended(**dict(wire.unpacked(payload)))", "continue",
              "tests/test_stand_in.py")),
    *in_file("executors/dask_pilot.py",
             ("a far worker outlives its run", "                self._tell(kill=number)\n", "",
              only(DASK, "were_killed_is_resumed")),
             ("silence is no loss", "while (left := last_heard + lease_s - time.monotonic()) > 0:",
              "while (left := max(0.1, last_heard + lease_s - time.monotonic())) > 0:", only(DASK, "late_result"))),
    *in_file("executors/dask_bridge.py",
             ("a silent worker is kept", 'if worker["last_seen"] < latest - patience_s', "if False",
              "tests/test_hosts.py -m 'long or not long' -k silent")),
    *in_file("executors/__init__.py",
             ("the network is taken for the loopback", "and not is_loopback(host)", "and False", only(DASK, "no_place_for"))),
    *in_file("executors/shipment.py",
             ("helper modules stay at home", "            names[inside] = file\n", "",
              only(DASK, "helper_modules"))),
    *in_file("executors/outpost.py",
             ("a body there is not interrupted", "                    os.kill(pid, signal.SIGTERM)\n",
              "                    pass\n", only(DASK, "soft and limits"))),
]
