"""The report of a real run shows none of the secrets that were planted wherever a run keeps a text."""
from __future__ import annotations

import base64
import gzip
import json
import re
import zlib

import pytest
from planted import INNOCENT, planted

from firexlite.flame_export import render_html, render_json
from firexlite.redaction import MASK, Redactor

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


def reports(data: dict) -> dict[str, str]:
    """Each format of the report as all that can be read in it. data: of `firexlite flame ID --json`, as it came."""
    redactor = Redactor()
    shown = {**data, "run": redactor.run(data["run"]), "tasks": [redactor.task(task) for task in data["tasks"]]}
    html = render_html(shown)
    return {"json": render_json(shown), "html": html, **decoded_blocks(html)}


def readable(text: str, secret: str) -> bool:
    return secret in text or json.dumps(secret)[1:-1] in text


@pytest.fixture
def leaky_run(firexlite, plugin) -> dict:
    plugin(LEAKY)
    texts = firexlite.folder / "texts.json"
    texts.write_text(json.dumps([one.text for one in planted()] + INNOCENT[:10]))
    done = firexlite("submit", "--plugins", "services.py", "--chain", "top", "--texts", texts, "--given", f"token={GIVEN}",
                     "--password", GIVEN, timeout=100)
    assert done.code == 0, done.err
    return firexlite.flame(done.firex_id)


def test_no_report_shows_a_planted_secret_and_all_show_the_rest(leaky_run):
    secrets = [GIVEN, *(secret for one in planted() for secret in one.secrets)]
    raw = json.dumps(leaky_run)
    assert [secret for secret in secrets if not readable(raw, secret)] == []

    for name, text in reports(leaky_run).items():
        assert [secret for secret in secrets if readable(text, secret)] == [], name

    assert all(readable(reports(leaky_run)["json"], text) for text in INNOCENT[:10])
    assert reports(leaky_run)["json"].count(MASK) > 5 * len(planted())


def test_blocks_are_read_whatever_they_are_written_in():
    packed = base64.b64encode(gzip.compress(b'["a"]', mtime=0)).decode()
    html = (f'<script>code()</script><script type="application/gzip" id="fx-index">{packed}</script>'
            '<script type="application/json" id="fx-run" hidden>{"b": "YWJj"}</script>')

    assert decoded_blocks(html) == {"fx-index": '["a"]', "fx-run": '{"b": "YWJj"}'}
