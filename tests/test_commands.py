"""Shell commands of services: what they give, what they raise, and that nothing of them stays."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser
from conftest import query, wait_until

from firexlite import commands, host
from firexlite.commands import CommandFailed, InactivityTimeoutExpired, check_call, check_output, run

SLEEPERS = "echo $$; sleep 300 & echo $!; echo before >&2; wait"  # a shell and what it has started, with their pids


@pytest.fixture(params=["told by the system", "looked for"])
def how_an_end_is_seen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "looked for":
        monkeypatch.setattr(host, "pidfd", lambda pid: None)


def are_gone(pids: str) -> bool:
    return all(host.start_time(int(pid)) is None for pid in pids.split() if pid.isdigit())


def test_words_are_split_as_a_shell_does_and_nothing_else_is_done_to_them() -> None:
    assert check_output("echo 'two  words' $HOME *") == "two  words $HOME *\n"
    assert check_output(["echo", "two  words"]) == "two  words\n"
    assert check_output("echo $((1 + 2))", shell=True) == "3\n"


def test_the_output_is_text_of_stdout_and_stderr(how_an_end_is_seen: None) -> None:
    assert check_output(r"echo out; echo err >&2; printf 'm\374de'", shell=True) == "out\nerr\nm\ufffdde"
    assert check_output("echo out; echo err >&2", shell=True, stderr=subprocess.DEVNULL) == "out\n"
    assert check_call("echo out") is None
    assert run("echo out").stdout == "out\n" and run("echo out", capture_output=False).stdout is None


def test_a_command_gets_its_folder_environment_and_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "ours")
    assert check_output("pwd", cwd=tmp_path) == f"{tmp_path}\n"
    assert check_output("cat", input="given") == "given"
    show = "echo ${PYTHONPATH-none}"
    assert [check_output(show, shell=True, **options).strip() for options in (
        {}, {"env": {"PYTHONPATH": "ours:theirs"}}, {"env": {}}, {"remove_firex_pythonpath": False})] == [
        "none", "theirs", "none", "ours"]


def test_a_failure_tells_the_command_its_end_and_the_last_it_printed() -> None:
    with pytest.raises(CommandFailed) as failed:
        check_output("echo it is broken; exit 3", shell=True)
    assert str(failed.value) == "the command 'echo it is broken; exit 3' ended with exit code 3; its output:\nit is broken"
    assert isinstance(failed.value, subprocess.CalledProcessError)
    assert (failed.value.returncode, failed.value.output) == (3, "it is broken\n")
    with pytest.raises(CommandFailed, match="ended with signal 9"):
        check_call("kill -9 $$", shell=True)
    assert run("exit 3", shell=True).returncode == 3
    with pytest.raises(CommandFailed):
        run("exit 3", shell=True, check=True)


def test_a_command_is_tried_again(tmp_path: Path) -> None:
    tries = tmp_path / "tries"
    script = f"echo x >> {tries}; test $(wc -l < {tries}) -eq 3"

    check_call(script, shell=True, retries=2, retry_delay=0)
    assert tries.read_text() == "x\nx\nx\n"
    with pytest.raises(CommandFailed):
        check_call(f"echo y >> {tries}; exit 1", shell=True, retries=1, retry_delay=0)
    assert tries.read_text().count("y") == 2
    with pytest.raises(FileNotFoundError):
        check_call("no_such_command_anywhere", retries=1, retry_delay=0)


def test_output_goes_to_a_file_too(tmp_path: Path) -> None:
    file, copy = tmp_path / "out", tmp_path / "copy"

    assert check_output("seq 1000", file=file, chars=9, copy_file_path=copy) == "999\n1000\n"
    assert file.read_text() == copy.read_text() == "".join(f"{n}\n" for n in range(1, 1001))


def test_options_that_are_decided_here_are_left_out_and_named(caplog: pytest.LogCaptureFixture) -> None:
    assert check_output("echo out", text=False, stdout=None) == "out\n"
    assert "check_output takes no stdout, text, and goes on without" in caplog.text


def test_a_time_out_ends_the_whole_group(how_an_end_is_seen: None) -> None:
    with pytest.raises(subprocess.TimeoutExpired) as expired:
        check_output(SLEEPERS, shell=True, timeout=0.2)

    assert expired.value.timeout == 0.2
    *pids, said = expired.value.output.split()
    assert said == "before"
    wait_until(lambda: are_gone(" ".join(pids)), limit_s=5, what="end of the group")


def test_a_command_that_heeds_no_signal_is_killed(how_an_end_is_seen: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "GRACE_S", 0.1)
    with pytest.raises(subprocess.TimeoutExpired) as expired:
        check_output("trap '' TERM; echo $$; while :; do sleep 300; done", shell=True, timeout=0.2)

    assert are_gone(expired.value.output)


def test_silence_is_limited_and_what_grows_is_no_silence(tmp_path: Path) -> None:
    with pytest.raises(InactivityTimeoutExpired) as expired:
        check_output("echo once; exec cat", shell=True, inactivity_timeout=0.2)
    assert isinstance(expired.value, subprocess.TimeoutExpired) and expired.value.output == "once\n"
    assert str(expired.value) == ("the command 'echo once; exec cat' was ended after it had printed nothing for 0.2 s; "
                                  "its output:\nonce")
    speaks = "for i in 1 2 3 4 5 6; do sleep 0.1; echo $i; done"
    assert check_output(speaks, shell=True, inactivity_timeout=0.4).split() == list("123456")
    grows = f"for i in 1 2 3 4 5 6; do sleep 0.1; echo >> {tmp_path}/grown.txt; done"
    assert check_output(grows, shell=True, inactivity_timeout=0.4, monitor_activity_files=f"{tmp_path}/*.txt") == ""


def test_what_a_command_leaves_behind_is_not_waited_for(how_an_end_is_seen: None) -> None:
    began = time.monotonic()
    out = check_output("sleep 300 & echo $!", shell=True)
    os.kill(int(out), signal.SIGKILL)

    assert time.monotonic() - began < 10


def test_a_command_that_closes_its_output_is_waited_for(how_an_end_is_seen: None) -> None:
    assert run("exec >&- 2>&-; sleep 0.2; exit 4", shell=True).returncode == 4


def test_waiting_takes_no_cpu_time() -> None:
    before = time.thread_time()
    check_call("sleep 0.5", timeout=100, inactivity_timeout=100)

    assert time.thread_time() - before < 0.05


@pytest.fixture
def alarmed() -> Iterator[None]:
    def ring(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, ring)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_a_body_that_is_interrupted_leaves_no_command(alarmed: None, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    reader = threading.Thread(target=lambda: (wait_until(lambda: pids.exists() and pids.read_text().count("\n") == 3),
                                              signal.setitimer(signal.ITIMER_REAL, 0.001)))
    reader.start()
    with pytest.raises(KeyboardInterrupt):
        check_output(SLEEPERS, shell=True, file=pids)
    reader.join()

    wait_until(lambda: are_gone(pids.read_text()), what="end of the group")


@pytest.mark.skipif(host.IS_PORTABLE, reason="no hole can be made in a file there")
def test_who_does_not_want_the_output_keeps_no_more_than_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "TAIL_STEP_BYTES", 1 << 20)
    seen = []
    monkeypatch.setattr(host, "punch_hole", lambda fd, start, length, punch=host.punch_hole: (
        punch(fd, start, length), seen.append(os.fstat(fd).st_blocks * 512)))

    with pytest.raises(CommandFailed) as failed:
        check_call("yes | head -c 20000000; echo; echo the end; exit 1", shell=True)

    assert failed.value.output.endswith("the end\n") and len(failed.value.output) == commands.CHARS
    assert seen and max(seen) < 3 << 20


def test_it_is_told_what_a_command_took() -> None:
    stats = commands.ProcStats()
    check_call([sys.executable, "-c", "sum(range(1_000_000)); x = bytearray(50 << 20)"], proc_stats=stats)

    assert stats.mem_mb_high_wm >= 50 and stats.elapsed_time > 0 and stats.num_cpu == os.cpu_count()


# --- in a run ---------------------------------------------------------------------------------------------------

SHELL = """
import os, subprocess
from firexlite import app, commands

@app.task(returns="printed")
def shell(token):
    os.environ["TOKEN"] = token
    print("before")
    printed = commands.check_output('echo "it says $TOKEN"', shell=True)
    print("after")
    commands.run(f"exit 3 # {token}", shell=True)
    commands.run("echo unseen", log_level=None)
    if not (pid := os.fork()):
        commands.check_call("echo in a fork")
        os._exit(0)
    os.waitpid(pid, 0)
    try:
        commands.check_call("sleep 300", timeout=0.1)
    except subprocess.TimeoutExpired:
        pass
    return printed
"""


def test_a_command_is_in_the_log_and_in_the_report_without_its_secrets(firexlite, plugin) -> None:
    plugin(SHELL)
    done = firexlite("submit", "--plugins", "services.py", "--chain", "shell", "--token", "Secret(env:MINE)", MINE="sesame42")
    assert done.code == 0, done.err
    [task] = firexlite.flame(done.firex_id)["tasks"]
    lines = [line for line in task["log"]["lines"] if "firexlite.commands" not in line]

    assert lines == ["before", "it says [secret env:MINE]", "after", "in a fork"]
    says, fails, sleeps = task["external_commands"].values()
    assert says["cmd"] == 'echo "it says $TOKEN"' and says["cwd"] == str(firexlite.folder) and says["output_file"] is None
    assert says["start_time"] <= says["end_time"]
    assert says["result"] == {"completed": True, "timeout": False, "inactive": False, "returncode": 0,
                              "output": "it says [secret env:MINE]\n", "output_truncated": False}
    assert fails["cmd"] == "exit 3 # [secret env:MINE]" and fails["result"]["returncode"] == 3
    assert sleeps["result"]["timeout"] and not sleeps["result"]["completed"]
    assert all(b"sesame42" not in path.read_bytes() for path in firexlite.home.rglob("*") if path.is_file())

    with Browser() as browser:
        file = firexlite.folder / "out.html"
        file.write_text(firexlite("flame", done.firex_id).out)
        page = browser.open(file)
        page.wait_for("document.querySelectorAll('[role=treeitem]').length === 1")
        page.click("[role=treeitem]")
        page.wait_for("document.querySelector('#drawer').innerText.includes('External commands')")
        text = page.text("#drawer")
        assert page.errors == []
        page.close()
    assert "exit code 3" in text and "timed out" in text
    assert f"firexlite logs {done.firex_id} 1" in text


DOOMED = """
import os
from firexlite import app, commands

@app.task(bind=True)
def doomed(self):
    if self.attempt == 1:
        commands.check_call(f"echo $$ > pids; sleep 300 & echo $! >> pids; kill -9 {os.getpid()}; wait", shell=True)
    pids = [int(pid) for pid in open("pids")]
    print([pid for pid in pids if os.path.exists(f"/proc/{pid}") and open(f"/proc/{pid}/stat").read().split()[2] != "Z"])
"""


def test_the_commands_of_a_worker_that_dies_are_gone_before_the_next_attempt(firexlite, plugin) -> None:
    plugin(DOOMED)
    done = firexlite("submit", "--plugins", "services.py", "--chain", "doomed", "--workers", "1")

    assert done.code == 0, done.err
    assert firexlite.flame(done.firex_id)["tasks"][0]["log"]["lines"] == ["[]"]
    assert query(firexlite.only_run(), "SELECT outcome FROM attempt ORDER BY number") == [("lost",), ("succeeded",)]
