"""A headless Chromium for tests, driven over the DevTools protocol through a pair of pipes.

Over pipes the protocol is one JSON message per NUL byte, so the standard library suffices; and a browser whose
pipe closes ends by itself, so none is left behind however the tests end.
"""
from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

CALL_S = 20       # one answer of the browser
BROWSER_S = 600   # the whole life of a browser
LOWEST_SPARE_FD = 10


class BrowserMissing(Exception):
    """There is no Chromium on this machine."""

    def __str__(self) -> str:
        return "the tests of the HTML page need Chromium: apt-get install chromium"


class ScriptFailed(Exception):
    """The browser refused a call, or a script in the page threw."""


class Browser:
    """``with Browser() as browser: page = browser.open(path)``."""

    def __enter__(self) -> Browser:
        program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
        if program is None:
            raise BrowserMissing
        self.profile = tempfile.mkdtemp(prefix="firexlite-browser-")
        requests, self.to_browser = os.pipe()
        self.from_browser, answers = os.pipe()
        self.process = subprocess.Popen(
            ["timeout", "--kill-after=5", str(BROWSER_S), program, "--headless=new", "--no-sandbox",
             "--remote-debugging-pipe", f"--user-data-dir={self.profile}", "--no-first-run", "--disable-gpu",
             "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update",
             "--hide-scrollbars", "--force-device-scale-factor=1", "--disable-ipc-flooding-protection", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            close_fds=False, preexec_fn=_at_fds_3_and_4(requests, answers), start_new_session=True)
        os.close(requests)
        os.close(answers)
        self.unread = b""
        self.last_id = 0
        self.answers: dict[int, dict] = {}
        self.pages: dict[str, Page] = {}
        return self

    def __exit__(self, *exc_info: object) -> None:
        os.close(self.to_browser)  # at which it ends
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # helpers may outlive it for a moment
        self.process.wait(5)
        os.close(self.from_browser)
        shutil.rmtree(self.profile, ignore_errors=True)

    def open(self, path: Path, width: int = 1400, height: int = 900, *, dark: bool = False, script: bool = True,
             fragment: str = "") -> Page:
        """The file in a new tab, once it is loaded and, with script, says `data-ready-ms` on its root element."""
        return self.open_url(path.resolve().as_uri() + fragment, width, height, dark=dark, script=script)

    def open_url(self, url: str, width: int = 1400, height: int = 900, *, dark: bool = False, script: bool = True) -> Page:
        """The same for any address of a report."""
        page = self.new_page(width, height)
        page.call("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        page.call("Emulation.setScriptExecutionDisabled", value=not script)
        page.call("Page.navigate", url=url)
        page.wait_for("location.protocol !== 'about:' && document.readyState === 'complete'"
                      + (" && document.documentElement.dataset.readyMs" if script else ""))
        return page

    def visit(self, url: str, width: int = 1400, height: int = 900, *, blocked: Sequence[str] = ()) -> Page:
        """A page that is none of ours, once it is loaded. blocked: patterns of addresses that are not there."""
        page = self.new_page(width, height)
        page.call("Network.setBlockedURLs", urls=list(blocked))
        page.call("Page.navigate", url=url)
        page.wait_for("location.protocol.startsWith('http') && document.readyState === 'complete'")
        return page

    def new_page(self, width: int, height: int) -> Page:
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        page = self.pages[session] = Page(self, session, target)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        page.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        return page

    def call(self, method: str, params: dict | None = None, session: str | None = None) -> dict:
        self.last_id += 1
        message: dict[str, object] = {"id": self.last_id, "method": method, "params": params or {}}
        if session:
            message["sessionId"] = session
        os.write(self.to_browser, json.dumps(message).encode() + b"\0")
        answer = self.read_until(lambda: self.answers.pop(self.last_id, None), method)
        if "error" in answer:
            raise ScriptFailed(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def read_until(self, is_there: Callable, wanted: str, timeout_s: float = CALL_S) -> dict:
        """Take in messages until ``is_there()`` returns something true; returns that."""
        deadline = time.monotonic() + timeout_s
        while not (found := is_there()):
            readable, _, _ = select.select([self.from_browser], [], [], max(0, deadline - time.monotonic()))
            data = os.read(self.from_browser, 1 << 20) if readable else None
            if data is None:
                raise TimeoutError(f"the browser took more than {timeout_s} s: {wanted}")
            if not data:
                raise RuntimeError(f"the browser ended (exit code {self.process.wait(5)}): {wanted}")
            *messages, self.unread = (self.unread + data).split(b"\0")
            for message in messages:
                self.take(json.loads(message))
        return found

    def take(self, message: dict) -> None:
        if "id" in message:
            self.answers[message["id"]] = message
        elif page := self.pages.get(message.get("sessionId", "")):
            page.take(message["method"], message["params"])


class Page:
    """One tab. ``errors``: what the console shows as error or warning; ``requests``: every address asked for."""

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self.browser, self.session, self.target = browser, session, target
        self.errors: list[str] = []
        self.requests: list[str] = []

    def take(self, event: str, params: dict) -> None:
        if event == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif event == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.errors.append(" ".join(str(arg.get("value", "")) for arg in params["args"]))
        elif event == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(params["entry"]["text"])
        elif event == "Network.requestWillBeSent" and not params["request"]["url"].startswith("data:"):
            self.requests.append(params["request"]["url"])

    def call(self, method: str, **params: object) -> dict:
        return self.browser.call(method, params or None, self.session)

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression; promises are awaited."""
        answer = self.browser.call("Runtime.evaluate", {
            "expression": script, "returnByValue": True, "awaitPromise": True}, self.session)
        if "exceptionDetails" in answer:
            raise ScriptFailed(answer["exceptionDetails"].get("exception", {}).get("description", "script failed"))
        return answer["result"].get("value")

    def wait_for(self, script: str, timeout_s: float = CALL_S) -> Any:
        """Its value, as soon as that is true."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            try:
                if value := self.evaluate(script):
                    return value
            except ScriptFailed:
                pass  # as long as a page is on its way, what it needs may be missing
            time.sleep(0.02)
        raise TimeoutError(f"not true within {timeout_s} s: {script}; errors: {self.errors}")

    def text(self, selector: str = "body") -> str:
        """The rendered text of the first element that matches."""
        return self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")

    def count(self, selector: str) -> int:
        return self.evaluate(f"document.querySelectorAll({json.dumps(selector)}).length")

    def each(self, selector: str, property_name: str = "textContent") -> list:
        """A property of every element that matches."""
        return list(self.evaluate(
            f"Array.from(document.querySelectorAll({json.dumps(selector)}), (element) => element.{property_name})"))

    def click(self, selector: str) -> None:
        """A real mouse click in the middle of the first element that matches."""
        at = self.evaluate(f"""(() => {{
            const element = document.querySelector({json.dumps(selector)});
            element.scrollIntoView({{block: "nearest"}});
            const box = element.getBoundingClientRect();
            return [box.left + box.width / 2, box.top + box.height / 2];
        }})()""")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=at[0], y=at[1], button="left", clickCount=1)

    def press(self, key: str) -> None:
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, text=text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self) -> None:
        self.browser.call("Target.closeTarget", {"targetId": self.target})


def _at_fds_3_and_4(requests: int, answers: int) -> Callable[[], None]:
    """Puts the pipes where Chromium looks for them; run in the child."""
    def place() -> None:
        # Out of the way first: one of them may be 3 or 4 itself.
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, LOWEST_SPARE_FD) for fd in (requests, answers)]
        for fd, wanted in zip(high, (3, 4), strict=True):
            os.dup2(fd, wanted)
    return place
