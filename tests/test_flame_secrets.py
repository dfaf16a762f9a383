"""The report of a real run shows none of the secrets that were planted wherever a run keeps a text."""
from __future__ import annotations

import base64
import gzip
import json
import re
import tarfile
import zlib
from pathlib import Path

import pytest
from conftest import Command
from planted import INNOCENT, planted

from firexlite.flame_export import FORMATS
from firexlite.redaction import MASK

LEAKY = """
import json
from firexlite import app, flame
from firexlite.commands import run

@app.task(returns="said")
@flame("said", lambda said: f"<p>it said <b>{said}</b></p>")
def leak(text, data):
    print(text)
    run(["printf", "%s", text])
    return text

@app.task(max_retries=1)
def fail(text):
    raise ValueError(text)

@app.task(bind=True, returns="texts")
def top(self, texts, given="", password=""):
    texts = json.load(open(texts))
    for text in texts:
        self.enqueue_child(leak.s(text=text, data={"deep": [{"text": text}], text: 1}))
        self.enqueue_child(fail.s(text=text))
    self.wait_for_children(raise_exception_on_failure=False)
    return texts
"""
GIVEN = "hunter123-of-the-command-line"
BLOCK = re.compile(r'<script type="([^"]*)" id="([^"]*)"[^>]*>(.*?)</script>', re.DOTALL)


def decoded_blocks(html: str) -> dict[str, str]:
    """Every block of data of a page as text: ``{id: text}``. What is base64 of what is gzipped is neither any more."""
    return {name: _decoded(text) for _, name, text in BLOCK.findall(html)}


def _decoded(text: str) -> str:
    try:
        return gzip.decompress(base64.b64decode(text, validate=True)).decode()
    except (ValueError, OSError, EOFError, zlib.error):
        return text


def readable(text: str, secret: str) -> bool:
    return secret in text or json.dumps(secret)[1:-1] in text


@pytest.fixture(scope="module")
def reports(tmp_path_factory) -> dict[str, str]:
    """What can be read in each format of the report of a run that is full of secrets; `raw`: as JSON, with all left in."""
    folder = tmp_path_factory.mktemp("leaky")
    firexlite = Command(folder / "home", folder)
    (folder / "services.py").write_text(LEAKY)
    texts = folder / "texts.json"
    texts.write_text(json.dumps([one.text for one in planted()] + INNOCENT[:10]))
    done = firexlite("submit", "--plugins", "services.py", "--chain", "top", "--texts", texts, "--given", f"token={GIVEN}",
                     "--password", GIVEN, timeout=100)
    assert done.code == 0, done.err
    found = {name: firexlite("flame", done.firex_id, "--format", name).out for name in FORMATS}
    dumped = Path(firexlite("flame", done.firex_id, "--flame-dump", folder / "dump").out.strip())
    found["dump"] = "".join(_read(path) for path in sorted(dumped.rglob("*")) if path.is_file())
    raw = firexlite("flame", done.firex_id, "--json", "--no-redact")
    assert "what looks like a secret is left in this report" in raw.err
    firexlite.close()
    return {"raw": raw.out, **found, **decoded_blocks(found["html"])}


def _read(path: Path) -> str:
    if path.name.endswith(".tar.gz"):
        with tarfile.open(path) as archive:
            return "".join(file.read().decode() for name in archive.getnames() if (file := archive.extractfile(name)))
    return path.read_text()


def test_no_report_shows_a_planted_secret_and_all_show_the_rest(reports):
    secrets = [GIVEN, *(secret for one in planted() for secret in one.secrets)]
    assert [secret for secret in secrets if not readable(reports["raw"], secret)] == []

    for name, text in reports.items():
        assert name == "raw" or [secret for secret in secrets if readable(text, secret)] == [], name

    assert all(readable(reports["json"], text) for text in INNOCENT[:10])
    assert reports["json"].count(MASK) > 5 * len(planted())


def test_the_report_says_how_many_values_were_taken_out(reports):
    counted = json.loads(reports["json"])["run"]["redacted"]

    assert counted > 5 * len(planted())
    assert json.loads(reports["fx-run"])["run"]["redacted"] == counted
    assert re.search(rf"redacted</dt><dd>{counted} values", reports["html"])


def test_blocks_are_read_whatever_they_are_written_in():
    packed = base64.b64encode(gzip.compress(b'["a"]', mtime=0)).decode()
    html = (f'<script>code()</script><script type="application/gzip" id="fx-index">{packed}</script>'
            '<script type="application/json" id="fx-run" hidden>{"b": "YWJj"}</script>')

    assert decoded_blocks(html) == {"fx-index": '["a"]', "fx-run": '{"b": "YWJj"}'}
