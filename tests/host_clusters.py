"""A Dask cluster on hosts of its own that share no files, and the certificates by which its parts know each other."""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from conftest import kill_all, wait_until
from namespaces import Host, Switch

from firexlite import host

START_S = 30
SLOTS = 2  # of each worker
COMM = "DASK_DISTRIBUTED__COMM__"
CALM = {"DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "1s", "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "10s",
        "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False"}


class Hosts:
    """The three of them."""

    def __init__(self, base: Path) -> None:
        """base: the folder of all files of the tests, of which each host sees but its own."""
        folder = base / "hosts"
        self.switch = Switch()
        self.desk = Host("desk", 1, self.switch, folder / "desk", hidden=[])
        self.alder, self.birch = (Host(name, number, self.switch, folder / name, hidden=[base])
                                  for number, name in enumerate(("alder", "birch"), 2))
        self.workers = self.alder, self.birch

    def other(self, one: Host) -> Host:
        return self.birch if one is self.alder else self.alder

    def named(self, name: str) -> Host:
        return next(one for one in self.workers if one.name == name)

    def close(self) -> None:
        for one in (*self.workers, self.desk, self.switch):
            one.close()


class Authority:
    """One that certifies."""

    def __init__(self, folder: Path) -> None:
        """folder: where its own certificate is put."""
        self._folder = folder
        folder.mkdir(parents=True)
        self._openssl("-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem")

    def _openssl(self, *words: str) -> None:
        subprocess.run(["openssl", "req", "-x509", "-days", "2", "-nodes", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:prime256v1", *words], cwd=self._folder, check=True, capture_output=True, timeout=60)

    def settings(self, role: str, folder: Path) -> dict[str, str]:
        """Dask's, of one who is certified for a role, in an environment. folder: where its certificate and key are put."""
        certificate, key = f"{role}.pem", f"{role}.key"
        self._openssl("-CA", "ca.pem", "-CAkey", "ca.key", "-subj", f"/CN={role}", "-keyout", key, "-out", certificate)
        for file in ("ca.pem", certificate, key):
            shutil.copy(self._folder / file, folder)
        tls = f"{COMM}TLS__"
        return {f"{COMM}REQUIRE_ENCRYPTION": "True", f"{tls}CA_FILE": str(folder / "ca.pem"),
                f"{tls}{role.upper()}__CERT": str(folder / certificate), f"{tls}{role.upper()}__KEY": str(folder / key)}


class Cluster:
    """A scheduler on the desk and a worker on each of the others."""

    def __init__(self, hosts: Hosts, port: int, authority: Authority | None) -> None:
        self.hosts, self._authority = hosts, authority
        self.address = f"{'tls' if authority else 'tcp'}://{hosts.desk.address}:{port}"
        self.executor = f"dask:{self.address}"
        self._log = hosts.desk.folder / f"cluster-{port}.log"
        self._log.write_text("")  # there may have been another before
        self._processes: dict[str, subprocess.Popen] = {}
        self._start(hosts.desk, "scheduler", "--port", port, "--host", hosts.desk.address)
        for one in hosts.workers:
            self.start_worker(one)
        wait_until(lambda: self._log.read_text().count("Register worker") == len(hosts.workers), START_S, "workers")

    def start_worker(self, one: Host) -> None:
        self._start(one, "worker", self.address, "--host", one.address, "--nthreads", SLOTS, "--no-nanny",
                    "--local-directory", one.folder / "scratch")

    def _start(self, one: Host, role: str, *words: object) -> None:
        settings = self._authority.settings(role, one.folder) if self._authority else {}
        env = {**os.environ, **CALM, **settings, "HOST_FOLDER": str(one.folder), "TMPDIR": str(one.folder)}
        command = one.words(sys.executable, "-m", f"distributed.cli.dask_{role}", "--no-dashboard", *words,
                            "--dashboard-address", ":0")  # it listens there all the same
        with self._log.open("ab") as log:
            self._processes[one.name] = subprocess.Popen(
                command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def worker_on(self, one: Host) -> subprocess.Popen:
        return self._processes[one.name]

    def bodies_on(self, one: Host) -> list[int]:
        """The far workers of a run that are there."""
        return [pid for pid in host.descendants(self._processes[one.name].pid)
                if "--outpost" in host.command_line(host.parent(pid) or 0)]

    def close(self) -> None:
        for process in self._processes.values():
            if process.poll() is None:
                kill_all(process)
            process.wait(START_S)
