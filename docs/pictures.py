"""Draws the pictures of the documentation anew: `./dev pictures`. They show the report of fixtures/lab.py."""
from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PLACE = ROOT / "docs" / "img"
sys.path.insert(0, str(ROOT / "tests"))

from browser import Browser, Page  # noqa: E402 - it lies with the tests

LIMIT_S = 120
REPORT = "lab.html"
SIZES = {"desk": (1400, 900), "phone": (400, 800)}
VIEWS = ("overview", "tree", "graph", "failures", "table", "logs", "run")


def lab_run(folder: Path) -> Path:
    """The report of a night in which something failed."""
    shutil.copy(ROOT / "fixtures" / "lab.py", folder)
    command = [sys.executable, "-m", "firexlite", "submit", "--plugins", "lab.py", "--chain", "nightly", "--workers", "4",
               "--flame", REPORT]
    done = subprocess.run(command, cwd=folder, env={**os.environ, "FIREXLITE_HOME": str(folder / "home")},
                          capture_output=True, text=True, timeout=LIMIT_S)
    if done.returncode != 1:
        raise SystemExit(f"the run should have failed, and ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return folder / REPORT


def draw(page: Page, name: str) -> None:
    """A picture of what is in the window, in few colours' worth of bytes: WebP, which every browser shows."""
    shot = page.call("Page.captureScreenshot", format="webp", quality=70)
    (PLACE / f"{name}.webp").write_bytes(base64.b64decode(shot["data"]))


def main() -> None:
    PLACE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lab-") as folder, Browser() as browser:
        report = lab_run(Path(folder))
        for size, (width, height) in SIZES.items():
            for theme in ("light", "dark"):
                for view in VIEWS:
                    page = browser.open(report, width, height, dark=theme == "dark", fragment=f"#/{view}")
                    draw(page, f"{view}-{size}-{theme}")
                    page.close()


if __name__ == "__main__":
    main()
