"""CI systems, and a batch system, as far as a job notices of them: played from the workflow files of docs/ci.md.

A platform gives each attempt of a job a machine, a fresh work tree and what was saved before; runs the commands of the file and
nothing else; sends the signals that it sends, in its order; does what it does always, and keeps artifacts.
"""
from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from conftest import LIMIT_S, ROOT, kill_all

from firexlite import host

BLOCK = re.compile(r"^```(?:yaml|groovy|sh)\n(?://|#!?)(.*?\n.*?)^```$", re.MULTILINE | re.DOTALL)


def workflow_file(name: str) -> str:
    """The file of this name that docs/ci.md shows."""
    [found] = [text for text in BLOCK.findall((ROOT / "docs" / "ci.md").read_text()) if name in "".join(text.splitlines()[:2])]
    return "#" + found


@dataclass
class Machine:
    """Where an attempt runs: a folder of the attempt's own, the words that come before each command there, whose it is."""

    folder: Path
    prefix: tuple[str, ...] = ()
    uid: int | None = None

    @property
    def tree(self) -> Path:
        return self.folder / "work"


class Platform:
    """One job, attempt after attempt. What happened in the last one can be asked for when it has `ended`.

    project: the files that are checked out. variables: what the user has set for the job.
    """

    always_reports = True  # also after a SIGKILL: a later step sees to it

    def __init__(self, folder: Path, project: Path, variables: dict[str, str]) -> None:
        self.folder, self.project, self.variables = folder, project, variables
        self.attempt = 0
        self.machine = Machine(folder)
        self.steps: list[tuple[int, str]] = []  # exit code and log of each command of the last attempt
        self._process: subprocess.Popen | None = None

    # --- an attempt -----------------------------------------------------------------------------------------------

    def start(self, *prefix: str, uid: int | None = None) -> subprocess.Popen:
        """Begin the next attempt; returns the process of the step that submits."""
        self.attempt += 1
        self.machine = Machine(self.folder / f"machine{self.attempt}", prefix, uid)
        self.steps = []
        self._check_out()
        self._process = self._begin()
        return self._process

    def run(self, *prefix: str, uid: int | None = None) -> int:
        """A whole attempt that nobody disturbs; returns the exit code of the step that submits."""
        self.start(*prefix, uid=uid)
        return self.end()

    def end(self) -> int:
        """Await the end of the step that submits, and do what the platform does then; returns the exit code of the step."""
        assert self._process is not None
        code = self._await(self._process)
        self._afterwards(code)
        return code

    def kill(self) -> None:
        """Kill all of the step at once, as a machine does that has no memory left."""
        assert self._process is not None
        kill_all(self._process)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            kill_all(self._process)
        for pid in list(self.own_processes()):  # whom their parents left alone
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    @property
    def artifacts(self) -> Path:
        return self.folder / "artifacts"

    @property
    def log(self) -> str:
        """All that the commands of the last attempt printed."""
        return "\n".join(text for _, text in self.steps)

    # --- for each platform ----------------------------------------------------------------------------------------

    def _begin(self) -> subprocess.Popen:
        raise NotImplementedError

    def cancel(self) -> bool:
        """Call the job off, with the platform's signals in its order; returns whether it ended before it would be killed."""
        raise NotImplementedError

    def _afterwards(self, code: int) -> None:
        raise NotImplementedError

    # --- for all --------------------------------------------------------------------------------------------------

    def _check_out(self) -> None:
        self.machine.folder.mkdir(parents=True, exist_ok=True)
        shutil.copytree(self.project, self.machine.tree, dirs_exist_ok=True)

    def _environment(self) -> dict[str, str]:
        """No HOME, no locale: a job has what its platform gives it."""
        python = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
        return {"PATH": f"{sysconfig.get_path('scripts')}:/usr/local/bin:/usr/bin:/bin", "CI": "true",
                "PYTHONDONTWRITEBYTECODE": "1", **python, **self.variables}

    def _spawn(self, words: list[str], env: dict[str, str]) -> subprocess.Popen:
        """Start a command as a platform does: a session of its own, no terminal, no input, its output in a file."""
        number = len(self.steps)
        self.steps.append((0, ""))
        if self.machine.uid is not None:
            subprocess.run(["chown", "-R", f"{self.machine.uid}:{self.machine.uid}", self.machine.folder], check=True)
        with open(self._log_file(number), "wb") as log:
            return subprocess.Popen([*self.machine.prefix, *words], cwd=self.machine.tree, env=env, stdin=subprocess.DEVNULL,
                                    stdout=log, stderr=subprocess.STDOUT, start_new_session=True)

    def _await(self, process: subprocess.Popen) -> int:
        """The exit code, as a shell gives it; the step's log is there then."""
        code = process.wait(timeout=LIMIT_S)
        number = len(self.steps) - 1
        self.steps[number] = (code if code >= 0 else 128 - code, self._log_file(number).read_text(errors="replace"))
        return self.steps[number][0]

    def _log_file(self, number: int) -> Path:
        return self.machine.folder / f"step{number}.log"

    def _script(self, text: str) -> str:
        path = self.machine.folder / f"step{len(self.steps)}.sh"
        path.write_text(text)
        return str(path)

    def _keep(self, *names: str) -> None:
        """Keep artifacts, in the place of those of the attempt before."""
        shutil.rmtree(self.artifacts, ignore_errors=True)
        self.artifacts.mkdir(parents=True)
        for name in names:
            shutil.copy(self.machine.tree / name, self.artifacts / Path(name).name)

    def _ended(self, limit_s: float) -> bool:
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(limit_s)
            return True
        return False

    def own_processes(self) -> Iterator[int]:
        """Those that were started on this platform, by what the tests have put into their environment."""
        mark = f"EFFECT_LOG={self.variables['EFFECT_LOG']}".encode()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    yield int(pid)


def _expand(text: str, values: dict[str, str]) -> str:
    """`$NAME` replaced, as GitLab does in its variables."""
    return re.sub(r"\$(\w+)", lambda found: values[found[1]], text)


class GitHub(Platform):
    """SIGINT to the step's own process only, 7.5 s later SIGTERM, 2.5 s later SIGKILL to all below it."""

    first_s, second_s = 7.5, 2.5

    def _job(self) -> dict:
        [job] = yaml.safe_load(workflow_file("nightly.yml"))["jobs"].values()
        return job

    def _filled_in(self, text: object) -> str:
        known = {"github.workspace": str(self.machine.tree), "github.run_id": "4711", "github.run_attempt": str(self.attempt)}
        return re.sub(r"\$\{\{ ([\w.]+) \}\}", lambda found: known[found[1]], str(text))

    def _environment(self) -> dict[str, str]:
        return {**super()._environment(), "GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": str(self.machine.tree),
                "GITHUB_STEP_SUMMARY": str(self.machine.folder / "summary.md"),
                **{name: self._filled_in(value) for name, value in self._job()["env"].items()}}

    def _begin(self) -> subprocess.Popen:
        steps = self._job()["steps"]
        self._rest = list(steps)
        while self._rest:
            step = self._rest.pop(0)
            if "submit" in step.get("run", ""):
                return self._shell(step["run"])
            self._play(step)
        raise AssertionError("no step submits")

    def _shell(self, text: str) -> subprocess.Popen:
        return self._spawn(["bash", "-e", self._script(text)], self._environment())

    def _play(self, step: dict) -> None:
        action, given = step.get("uses", ""), {name: self._filled_in(text) for name, text in step.get("with", {}).items()}
        if action.startswith("actions/cache/restore@"):
            self._restore(given["path"], given["key"], given["restore-keys"])
        elif action.startswith("actions/cache/save@"):
            saved = self.folder / "cache" / given["key"]
            assert not saved.exists(), "a cache is never overwritten"
            shutil.copytree(self.machine.tree / given["path"], saved, symlinks=True, ignore=_sockets)
        elif action.startswith("actions/upload-artifact@"):
            self._keep(given["path"])
        elif action:
            assert action.startswith(("actions/checkout@", "actions/setup-python@")), action
        elif not step["run"].startswith("pip install "):
            self._await(self._shell(step["run"]))

    def _restore(self, path: str, key: str, prefix: str) -> None:
        caches = self.folder / "cache"
        saved = sorted((one for one in caches.glob("*") if one.name == key or one.name.startswith(prefix)),
                       key=lambda one: (one.name == key, one.stat().st_ctime_ns))
        if saved:
            shutil.copytree(saved[-1], self.machine.tree / path)

    def cancel(self) -> bool:
        assert self._process is not None
        for number, patience_s in ((signal.SIGINT, self.first_s), (signal.SIGTERM, self.second_s)):
            self._process.send_signal(number)
            if self._ended(patience_s):
                return True
        kill_all(self._process)
        return False

    def _afterwards(self, code: int) -> None:
        for step in self._rest:
            if step.get("if") == "always()" or not any(code for code, _ in self.steps):
                self._play(step)

    @property
    def summary(self) -> str:
        return (self.machine.folder / "summary.md").read_text()


class GitLab(Platform):
    """SIGTERM to the group of the shell's process, SIGKILL ten minutes later if the shell lives; then `after_script`."""

    patience_s = LIMIT_S  # of the ten minutes

    def _job(self) -> dict:
        [job] = yaml.safe_load(workflow_file(".gitlab-ci.yml")).values()
        return job

    def _environment(self) -> dict[str, str]:
        known = {**super()._environment(), "GITLAB_CI": "true", "CI_PIPELINE_ID": "812",
                 "CI_PROJECT_DIR": str(self.machine.tree)}
        return {**known, **{name: _expand(value, known) for name, value in self._job()["variables"].items()}}

    def _begin(self) -> subprocess.Popen:
        job = self._job()
        self._saved = self.folder / "cache" / _expand(job["cache"]["key"], self._environment())
        for path in job["cache"]["paths"]:
            if (self._saved / path).exists():
                shutil.copytree(self._saved / path, self.machine.tree / path)
                for one in (self.machine.tree / path).rglob("*"):
                    one.chmod(one.stat().st_mode | 0o022)  # as some of its runners unpack
        return self._shell([*job["before_script"], *job["script"]])

    def _shell(self, lines: list[str]) -> subprocess.Popen:
        wanted = [line for line in lines if not line.startswith("pip install ")]
        return self._spawn(["bash", self._script("\n".join(["set -eo pipefail", *wanted, ""]))], self._environment())

    def cancel(self) -> bool:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGTERM)
        if self._ended(self.patience_s):
            return True
        os.killpg(self._process.pid, signal.SIGKILL)
        return False

    def _afterwards(self, code: int) -> None:
        job = self._job()
        self._await(self._shell(job["after_script"]))
        assert job["cache"]["when"] == job["artifacts"]["when"] == "always"
        self._keep(*job["artifacts"]["paths"], job["artifacts"]["reports"]["junit"])
        shutil.rmtree(self._saved, ignore_errors=True)
        for path in job["cache"]["paths"]:
            shutil.copytree(self.machine.tree / path, self._saved / path, symlinks=True, ignore=_sockets)


class Jenkins(Platform):
    """SIGTERM to all processes that have the build's cookie, those below before those above, waiting five seconds in all for
    them to vanish; ten seconds after it began the step is over, and `post` is done. There is no SIGKILL.
    """

    vanish_s, step_s = 5.0, 10.0

    def _environment(self) -> dict[str, str]:
        known = {**super()._environment(), "WORKSPACE": str(self.machine.tree), "BUILD_ID": str(self.attempt),
                 "JENKINS_NODE_COOKIE": f"cookie-{self.folder.parent.name}", "GIT_COMMIT": "32c2144"}
        [block] = re.findall(r"environment \{\n(.*?)\}\n    stages", workflow_file("Jenkinsfile"), re.DOTALL)
        for name, value in re.findall(r"(\w+) = (.*)", block):
            known[name] = re.sub(r"\$\{env\.(\w+)\}", lambda found: known[found[1]], value.strip("'\""))
        return known

    def _check_out(self) -> None:
        """The agent keeps what lies beside the workspace. Another one would have it from elsewhere."""
        super()._check_out()
        before = self.folder / f"machine{self.attempt - 1}"
        if (before / "work@firexlite").exists():
            subprocess.run(["cp", "-r", before / "work@firexlite", self.machine.folder], check=True)

    def _commands(self) -> list[str]:
        """Of each `sh` step, in order."""
        return [one or two for one, two in re.findall(r"sh (?:'''(.*?)'''|'(.*?)'\n)", workflow_file("Jenkinsfile"), re.DOTALL)]

    def _shell(self, text: str) -> subprocess.Popen:
        return self._spawn(["sh", "-xe", self._script(text)], self._environment())

    def _begin(self) -> subprocess.Popen:
        self._has_given_up = False
        return self._shell(self._commands()[0])

    def cancel(self) -> bool:
        assert self._process is not None
        began = time.monotonic()
        for pid in reversed([self._process.pid, *host.descendants(self._process.pid)]):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            while host.start_time(pid) is not None and time.monotonic() < began + self.vanish_s:
                time.sleep(0.01)
        self._has_given_up = not self._ended(max(0.0, began + self.step_s - time.monotonic()))
        return True

    def _afterwards(self, code: int) -> None:
        for text in self._commands()[1:]:
            self._await(self._shell(text))
        self._keep(*re.findall(r"(?:archiveArtifacts artifacts:|junit) '(.*)'", workflow_file("Jenkinsfile")))

    def _await(self, process: subprocess.Popen) -> int:
        """Of a step that was given up there is no exit code; nobody waits for it."""
        return 143 if process is self._process and self._has_given_up else super()._await(process)


class Slurm(Platform):
    """`scancel`: SIGTERM to all processes at once, 30 s later SIGKILL. The time limit: SIGINT to the batch script's process,
    120 s before. A requeued job is the same script again, with the same id, on another node.
    """

    always_reports = False
    kill_wait_s, warning_s = 30.0, 120.0

    def _check_out(self) -> None:
        """The folder from which the job was submitted is the same for all its attempts, and `scontrol` a stand-in."""
        if self.attempt == 1:
            super()._check_out()
            self.first = self.machine
            bin_folder = self.folder / "bin"
            bin_folder.mkdir()
            (bin_folder / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> "{self.folder}/scontrol.log"\n')
            (bin_folder / "scontrol").chmod(0o755)
        self.machine = Machine(self.first.folder, self.machine.prefix, self.machine.uid)

    def _environment(self) -> dict[str, str]:
        known = super()._environment()
        return {**known, "PATH": f"{self.folder / 'bin'}:{known['PATH']}", "SLURM_JOB_ID": "815", "SLURM_CPUS_PER_TASK": "2",
                "SLURM_SUBMIT_DIR": str(self.machine.tree), "SLURM_RESTART_COUNT": str(self.attempt - 1)}

    def _begin(self) -> subprocess.Popen:
        text = workflow_file("nightly.sbatch")
        assert "#SBATCH --signal=B:INT@120" in text and "#SBATCH --requeue" in text
        return self._spawn(["bash", self._script(text)], self._environment())

    def cancel(self) -> bool:
        assert self._process is not None
        for pid in [self._process.pid, *host.descendants(self._process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        if self._ended(self.kill_wait_s):
            return True
        kill_all(self._process)
        return False

    def reach_time_limit(self) -> bool:
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        return self._ended(self.warning_s)

    @property
    def requeued(self) -> list[str]:
        asked = self.folder / "scontrol.log"
        return asked.read_text().splitlines() if asked.exists() else []

    def _afterwards(self, code: int) -> None:
        report = self.machine.tree / "flame-815.html"
        if report.exists():
            self._keep(report.name)
            (self.artifacts / report.name).rename(self.artifacts / "flame.html")


def _sockets(folder: str, names: list[str]) -> list[str]:
    """What no archive holds."""
    return [name for name in names if (Path(folder) / name).is_socket()]


PLATFORMS: tuple[type[Platform], ...] = (GitHub, GitLab, Jenkins, Slurm)
