"""Whatever a task does with its output, neither the run nor its siblings stop."""
from __future__ import annotations

import pytest

WAYS = {
    "writes fifty megabytes": "for _ in range(800): sys.stdout.write('x' * 65535 + '\\\\n')",
    "closes its stdout": "os.close(1); os.close(2)",
    "closes Python's streams": "sys.stdout.close(); sys.stderr.close()",
    "replaces its stdout": "sys.stdout = None",
    "leaves a grandchild that holds it": "subprocess.Popen(['sh', '-c', 'sleep 300 & sleep 300'], start_new_session=True)",
    "leads it to a pipe without a reader": "read, write = os.pipe(); os.close(read); os.dup2(write, 1); os.system('echo lost')",
}


@pytest.mark.parametrize("way", WAYS)
def test_a_task_that_misuses_its_output_stops_nobody(way, firexlite, plugin):
    plugin(f"""
import os, subprocess, sys
from firexlite import app

@app.task(returns="x")
def misuse():
    {WAYS[way]}
    return 1

@app.task(returns="y")
def speak(x):
    print("spoken by the next task")
    return x + 1
""")
    done = firexlite("submit", "--plugins", "services.py", "--chain", "misuse,speak", "--workers", "1", timeout=30)

    assert done.code == 0, done.err
    assert "y  2" in done.out
    assert firexlite.flame(done.firex_id)["tasks"][1]["log"]["lines"] == ["spoken by the next task"]
