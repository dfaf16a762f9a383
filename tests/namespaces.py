"""Hosts that are namespaces of this one: each with a name, a network, processes and a view of the files of its own.

They hang on a switch that is in a network namespace too, so that nothing of this host's network is changed. All ends with the
process that made it, however that ends: each host is kept by a process which waits for the end of its input, and which is the
first of a namespace of processes.
"""
from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from conftest import LIMIT_S

from firexlite import host

NETWORK = "10.77.0"  # of hosts that see nothing but each other
ARE_THERE = hasattr(os, "geteuid") and os.geteuid() == 0 and all(
    map(shutil.which, ("unshare", "nsenter", "ip", "mount")))


def can_be_made() -> bool:
    """Whether we may make them: a container may have the commands, and not the right."""
    return ARE_THERE and subprocess.run(["unshare", "--net", "--mount", "--uts", "--pid", "--fork", "ip", "link", "add",
                                         "bridge0", "type", "bridge"], capture_output=True, timeout=LIMIT_S).returncode == 0


class Kept:
    """Namespaces and the process that keeps them."""

    def __init__(self, *commands: str) -> None:
        """commands: of a shell, to make it what it is to be."""
        self._unshare = subprocess.Popen(
            ["unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc",
             "sh", "-ec", "\n".join([*commands, "echo ready", "cat", ":"])],  # a shell that goes on reaps orphans
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self._unshare.stdout is not None and self._unshare.stderr is not None
        if self._unshare.stdout.readline() != b"ready\n":
            raise RuntimeError(f"no namespaces: {self._unshare.stderr.read().decode()}")
        [self.pid] = host.children(self._unshare.pid)

    def words(self, *words: object) -> list[str]:
        """Those that run a command there."""
        return ["nsenter", f"--target={self.pid}", "--net", "--mount", "--uts", "--pid", "--", *map(str, words)]

    def run(self, *words: object, fails: bool = False) -> str:
        """Run a command to its end; returns what it prints. fails: whether it is to."""
        done = subprocess.run(self.words(*words), capture_output=True, text=True, timeout=LIMIT_S)
        assert (done.returncode != 0) == fails, f"{shlex.join(map(str, words))}: {done.stderr}"
        return done.stdout

    def close(self) -> None:
        """All its processes end."""
        self._unshare.communicate(timeout=LIMIT_S)


class Switch(Kept):
    """Into which hosts are plugged."""

    def __init__(self) -> None:
        super().__init__("ip link add bridge0 type bridge", "ip link set bridge0 up")

    def connect(self, pid: int, name: str) -> None:
        """A cable to the network of a process, where it ends in `eth0`."""
        subprocess.run(["nsenter", f"--target={self.pid}", "--net", "ip", "link", "add", name, "type", "veth", "peer", "name",
                        "eth0", "netns", str(pid)], check=True, timeout=LIMIT_S)
        self.run("ip", "link", "set", name, "master", "bridge0", "up")

    def pull(self, name: str) -> None:
        """The cable of a host: neither side is told, and what is sent is gone."""
        self.run("ip", "link", "set", name, "down")

    def plug(self, name: str) -> None:
        self.run("ip", "link", "set", name, "up")


class Host(Kept):
    """One on a switch. folder: its own, the only one that it shares with the tests. address: its IP address."""

    def __init__(self, name: str, number: int, switch: Switch, folder: Path, hidden: Sequence[Path]) -> None:
        """number: its last in the network. hidden: folders of which it sees nothing but its own one."""
        self.name, self.address, self.folder = name, f"{NETWORK}.{number}", folder
        folder.mkdir(parents=True)
        mine = shlex.quote(str(folder))
        super().__init__(f"hostname {name}", "ip link set lo up", f"exec 3< {mine}",
                         *(f"mount -t tmpfs hidden {shlex.quote(str(path))}" for path in hidden),
                         f"mkdir -p {mine}", f"mount --no-canonicalize --bind /proc/self/fd/3 {mine}", "exec 3<&-")
        switch.connect(self.pid, name)
        self.run("ip", "address", "add", f"{self.address}/24", "dev", "eth0")
        self.run("ip", "link", "set", "eth0", "up")

    def words(self, *words: object, folder: Path | None = None) -> list[str]:
        """folder: where the command is to run, if not in its own."""
        return super().words("env", f"--chdir={folder or self.folder}", *words)

    def unsent(self) -> int:
        """Bytes that its connections have not been rid of yet."""
        return sum(int(queues.split(":")[0], 16) for _, _, queues in self._connections())

    def listens_at(self) -> set[int]:
        """The ports of its address at which somebody listens."""
        own = bytes(reversed([*map(int, self.address.split("."))])).hex().upper()
        return {int(at.split(":")[1], 16) for at, state, _ in self._connections() if at.startswith(own) and state == "0A"}

    def _connections(self) -> list[tuple[str, str, str]]:
        """The local end, the state and the queues of each, as Linux has them."""
        lines = Path(f"/proc/{self.pid}/net/tcp").read_text().splitlines()[1:]
        return [(words[1], words[3], words[4]) for words in map(str.split, lines)]
