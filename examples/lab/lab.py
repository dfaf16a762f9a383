"""A campaign in a test lab: firmware images are tried on devices that do not always answer.

    firexlite submit --plugins lab.py --chain campaign,write_report --devices hawk,heron --images r1,r2 \
        --queue hawk=1 --queue heron=1 --exit-when-waiting
    firexlite send ID go '"Ada"'
    firexlite resume ID

What to notice:

- The campaign waits for an operator's word without a process, for a weekend if need be.
- Each device is a queue of one place. `qualify` has it as long as it tries one image, also while it waits for the cases.
- A case is tried again, a little later each time, if the device does not answer, or hangs until the soft time limit.
- Whatever ends a try, its `finally` switches the device off. Only a SIGKILL leaves it on; the try after `resume` sees to that.
- Each case is a task, so a campaign that was killed goes on with the case that was under way.
- While it goes on `firexlite flame ID --serve` shows the readings as they come.
"""
import subprocess
import sys
from contextlib import contextmanager
from html import escape
from pathlib import Path

from firexlite import File, InputConverter, SingleArgDecorator, SoftTimeLimitExceeded, app, flame

DEVICE = Path(__file__).with_name("device.py")
LIMITS_MV = 3250, 3350


@InputConverter.register
@SingleArgDecorator("devices", "images")
def to_list(text):
    return text.split(",")


@app.task(bind=True, returns=["readings", "operator"])
def campaign(self, devices, images, cases="4", seed="23"):
    """Try each image on each device, side by side as far as there are devices."""
    operator = self.wait_for_event("go") or "nobody"
    tried = {}
    for image in images:
        for device in devices:
            promise = self.enqueue_child(qualify.s(device=device, image=image, cases=int(cases), seed=seed), queue=device)
            tried[promise.id] = f"{image} on {device}"
    readings = {}
    for promise in self.wait_for_any_children(raise_exception_on_failure=False):
        if promise.successful():
            readings[tried[promise.id]] = promise.result["readings_mv"]
        self.send_flame_html(readings=table(readings))
    self.wait_for_children(pending_only=False)  # raises, if a device failed, now that the others are done
    return dict(sorted(readings.items())), operator


@app.task(bind=True, returns="readings_mv")
@flame("readings_mv", lambda readings: " ".join(f"{millivolts / 1000:.3f} V" for millivolts in readings))
def qualify(self, device, image, cases, seed):
    """The readings of all cases of one image, one after the other."""
    return [self.enqueue_child_and_get_results(measure.s(device=device, image=image, case=case, seed=seed))["millivolts"]
            for case in range(1, cases + 1)]


@app.task(bind=True, returns="millivolts", soft_time_limit=2, max_retries=4, retry_backoff=0.05, retry_jitter=False,
          autoretry_for=(ConnectionError, SoftTimeLimitExceeded))
@flame("*", lambda values: f"{values['image']} case {values['case']} on <b>{values['device']}</b>")
def measure(self, device, image, case, seed):
    """One case: switch the device on, ask it, and switch it off whatever comes of it."""
    with switched_on(device, f"{image} {seed}", self.request.retries) as ask:
        millivolts = int(ask(f"measure {case}"))
    self.send_flame_html(telemetry=f"{millivolts} mV in try {self.request.retries + 1}, after {self.duration():.2f} s")
    if not LIMITS_MV[0] <= millivolts <= LIMITS_MV[1]:
        raise ValueError(f"{device} gave {millivolts} mV in case {case}, and {LIMITS_MV[0]} to {LIMITS_MV[1]} are allowed")
    return millivolts


@app.task(returns="report")
def write_report(readings, operator):
    """A page with all readings, for whoever has no firexlite."""
    Path("report.html").write_text(f"<h1>Campaign of {escape(operator)}</h1>{table(readings)}", encoding="utf-8")
    return File("report.html")


@contextmanager
def switched_on(device, seed, attempt):
    """A device that is on within the block: a function that sends it a line and gives its answer."""
    power = Path(f"{device}.power")
    power.write_text("on")
    process = subprocess.Popen([sys.executable, DEVICE, device, seed, str(attempt)], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def ask(line):
        print(f"{device}: {line}, try {attempt + 1}", flush=True)
        print(line, file=process.stdin, flush=True)
        if answer := process.stdout.readline():
            return answer
        raise ConnectionError(f"{device}: {process.stderr.read().strip()} to '{line}'")

    try:
        yield ask
    finally:
        process.kill()
        process.communicate()
        power.write_text("off")


def table(readings):
    """HTML: a row for each image and device, a bar for each reading."""
    def bar(millivolts):
        return f"{millivolts} <span style='color: steelblue'>{'|' * ((millivolts - LIMITS_MV[0]) // 4)}</span><br>"

    rows = [f"<tr><td>{escape(name)}</td><td>{''.join(map(bar, found))}</td></tr>" for name, found in sorted(readings.items())]
    return f"<table>{''.join(rows)}</table>"
