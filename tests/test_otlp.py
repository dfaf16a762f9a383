"""OpenTelemetry as a sink: a run becomes one trace, whose spans a collector gets in the official encoding."""
from __future__ import annotations

import gzip
import http.server
import re
import threading
from collections.abc import Iterator

import pytest
from conftest import Command, query, wait_until
from telling import FAMILY, events_in, free_port, offsets

from firexlite.history import History
from firexlite.sinks import sink_for
from firexlite.sinks.otlp import LONGEST, ROOT, SPANS, span_id, trace_id
from firexlite.sinks.pump import Pump

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Status


class Collector:
    """Takes spans over HTTP, as any collector does. refuses: with which status, instead; None: it does not."""

    def __init__(self, port: int = 0, refuses: int | None = None) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.paths: list[str] = []
        self.headers: list[dict] = []
        self.refuses = refuses
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                if collector.refuses is None:
                    collector.requests.append(ExportTraceServiceRequest.FromString(body))
                collector.paths.append(self.path)
                collector.headers.append({name.lower(): value for name, value in self.headers.items()})
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(collector.refuses or 200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *about: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def spans(self) -> list:
        return [span for request in self.requests for resource in request.resource_spans for scope in resource.scope_spans
                for span in scope.spans]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


def value(any_value) -> object:
    return getattr(any_value, any_value.WhichOneof("value"))


def attributes(of) -> dict:
    return {one.key: value(one.value) for one in of.attributes}


def submit_family(firexlite: Command, plugin, collector: Collector, **env: str):
    plugin(FAMILY)
    done = firexlite("submit", "--plugins", "services.py", "--chain", "bakery", "--flours", "rye,wheat", "--workers", "3",
                     "--sink", f"otlp:{collector.url}", **env)
    assert (done.code, done.err.count("not sent")) == (0, 0), done.err
    return firexlite.only_run()


def ns(seconds: float) -> int:
    return int(seconds * 1e9)


def test_a_run_is_a_trace_and_its_tasks_are_the_tree_of_spans(firexlite, plugin, collector):
    run = submit_family(firexlite, plugin, collector)

    spans = {int.from_bytes(span.span_id, "big"): span for span in collector.spans()}
    tasks = query(run, "SELECT id, parent, service, state FROM task ORDER BY id")
    assert len(spans) == len(collector.spans()) == len(tasks) + 1
    assert {int.from_bytes(span.trace_id, "big") for span in spans.values()} == {trace_id(run.firex_id)}
    for num, parent, service, state in tasks:
        span = spans[span_id(run.firex_id, num)]
        assert int.from_bytes(span.parent_span_id, "big") == span_id(run.firex_id, parent or ROOT)
        assert span.name == service.rpartition(".")[2]
        about = attributes(span)
        assert (about["firexlite.task"], about["firexlite.state"], about["code.function.name"]) == (num, state, service)
        expected = {"succeeded": Status.STATUS_CODE_OK, "failed": Status.STATUS_CODE_ERROR, "revoked": Status.STATUS_CODE_ERROR}
        assert span.status.code == expected[state]
    root = spans[span_id(run.firex_id, ROOT)]
    assert (root.name, root.parent_span_id, root.status.code) == ("bakery", b"", Status.STATUS_CODE_OK)


def test_times_are_those_of_the_journal(firexlite, plugin, collector):
    run = submit_family(firexlite, plugin, collector)

    spans = {int.from_bytes(span.span_id, "big"): span for span in collector.spans()}
    starts = dict(query(run, "SELECT task, started FROM attempt WHERE number = 1"))
    ends = {task: at for _, at, task, _, _, state in events_in(run) if state in ("succeeded", "failed", "revoked")}
    for num, at in ends.items():
        span = spans[span_id(run.firex_id, num)]
        assert (span.start_time_unix_nano, span.end_time_unix_nano) == (ns(starts.get(num, at)), ns(at))
        attempts = query(run, "SELECT number, started, outcome FROM attempt WHERE task = ? ORDER BY number", num)
        told = [(attributes(event)["firexlite.attempt"], event.time_unix_nano, attributes(event)["firexlite.outcome"])
                for event in span.events if event.name == "attempt"]
        assert told == [(number, ns(started), outcome) for number, started, outcome in attempts]
    [(created, ended)] = query(run, "SELECT created, ended FROM run")
    root = spans[span_id(run.firex_id, ROOT)]
    assert (root.start_time_unix_nano, root.end_time_unix_nano) == (ns(created), ns(ended))


def test_exceptions_are_events_as_the_conventions_have_them(firexlite, plugin, collector):
    run = submit_family(firexlite, plugin, collector)

    by_name = {span.name: span for span in collector.spans()}
    [failed] = [event for event in by_name["burn"].events if event.name == "exception"]
    about = attributes(failed)
    assert (about["exception.type"], about["exception.message"]) == ("services.OvenCold", "no heat for oat")
    assert 'raise OvenCold(f"no heat for {flour}")' in about["exception.stacktrace"]
    [(ended,)] = query(run, "SELECT ended FROM attempt JOIN task ON task.id = task WHERE service = 'services.burn'")
    assert failed.time_unix_nano == ns(ended)
    assert by_name["burn"].status.message == "OvenCold('no heat for oat')"
    retried = by_name["preheat"]
    assert [event.name for event in retried.events] == ["attempt", "exception", "attempt"]
    assert attributes(retried)["firexlite.attempts"] == 2 and retried.status.code == Status.STATUS_CODE_OK
    assert by_name["hold"].status.message.startswith("revoked")


def test_results_are_attributes_of_a_limited_size_and_the_resource_says_where_it_ran(firexlite, plugin, collector):
    plugin("from firexlite import app\n\n@app.task(returns=('much', 'odd', 'number', 'huge', 'listed', 'yes'))\n"
           "def bake():\n    return 'x' * 5000, '\\ud800', 7, 2 ** 70, [1, {'a': None}], True\n")
    done = firexlite("submit", "--plugins", "services.py", "--chain", "bake", "--sink", f"otlp:{collector.url}")
    assert (done.code, done.err) == (0, "")

    results = {name.removeprefix("firexlite.result."): one for name, one in attributes(
        next(span for span in collector.spans() if span.parent_span_id)).items() if name.startswith("firexlite.result.")}
    assert results == {"much": "x" * LONGEST + "... (5,000 characters)", "odd": "\\ud800", "number": 7, "huge": str(2 ** 70),
                       "listed": '[1, {"a": null}]', "yes": True}
    resource = attributes(collector.requests[0].resource_spans[0].resource)
    with History(firexlite.only_run()) as history:
        options = history.run().options
    assert resource == {"service.name": "firexlite", "service.version": options["firexlite"], "host.name": options["host"],
                        "process.runtime.name": "cpython", "process.runtime.version": options["python"],
                        "firexlite.firex_id": done.firex_id}


def test_what_is_sent_twice_has_the_same_numbers(firexlite, plugin, collector):
    run = submit_family(firexlite, plugin, collector)
    before = sorted(span.SerializeToString() for span in collector.spans())
    collector.requests.clear()

    again = firexlite("events", run.firex_id, "--sink", f"otlp:{collector.url}", "--since", "0")

    assert again.code == 0, again.err
    assert sorted(span.SerializeToString() for span in collector.spans()) == before


def test_a_span_is_sent_when_its_task_has_ended_and_that_of_the_run_last(firexlite, plugin, collector):
    plugin("import os, time\nfrom firexlite import app\n\n@app.task\ndef bake():\n    pass\n\n@app.task\ndef hold():\n"
           "    while not os.path.exists('now'):\n        time.sleep(0.01)\n")
    run = firexlite.start("submit", "--quiet", "--plugins", "services.py", "--chain", "bake,hold", "--sink",
                          f"otlp:{collector.url}")
    run.stdout.readline()

    wait_until(lambda: collector.spans(), what="span")
    assert [span.name for span in collector.spans()] == ["bake"]
    (firexlite.folder / "now").touch()
    run.communicate(timeout=60)

    assert [span.name for span in collector.spans()] == ["bake", "hold", "bake,hold"]


@pytest.mark.long
def test_a_resume_tells_of_what_it_did_and_of_the_new_end(firexlite, plugin, collector):
    plugin("import os\nfrom firexlite import app\n\n@app.task\ndef bake():\n    assert os.path.exists('flour')\n")
    failed = firexlite("submit", "--plugins", "services.py", "--chain", "bake", "--sink", f"otlp:{collector.url}")
    assert failed.code == 1
    assert [(span.name, span.status.code) for span in collector.spans()] == [("bake", Status.STATUS_CODE_ERROR)] * 2
    collector.requests.clear()
    (firexlite.folder / "flour").touch()

    assert firexlite("resume", failed.firex_id).code == 0

    [task, root] = collector.spans()
    assert [span.status.code for span in (task, root)] == [Status.STATUS_CODE_OK] * 2
    assert int.from_bytes(root.span_id, "big") == span_id(failed.firex_id, ROOT)
    assert [event.name for event in task.events] == ["attempt", "exception", "attempt"]


@pytest.mark.long
def test_a_collector_that_is_not_there_is_tried_again_and_told_of(firexlite, plugin):
    port = free_port()
    sink = f"otlp:http://127.0.0.1:{port}"
    done = firexlite("submit", "--chain", "nop", "--sink", sink, FIREXLITE_SINK_WAIT="8")
    run = firexlite.only_run()
    assert done.code == 0
    [left] = re.findall(rf"^firexlite: (\d) events? (?:was|were) not sent to {re.escape(sink)} \(", done.err, re.MULTILINE)
    assert f"; `firexlite events {run.firex_id} --sink {sink}` sends " in done.err
    assert "Connection" in done.err or "refused" in done.err

    collector = Collector(port)
    try:
        sent = firexlite("events", run.firex_id, "--sink", sink)
    finally:
        collector.close()

    assert (sent.code, sent.err.split(" ")[0]) == (0, left)
    assert sent.err.endswith(f" sent to {sink}, up to event 3\n")
    assert len(collector.spans()) == 2


@pytest.mark.long
def test_a_collector_that_comes_back_gets_all_of_a_run_that_goes_on(firexlite, plugin):
    plugin("import os, time\nfrom firexlite import app\n\n@app.task\ndef hold():\n    while not os.path.exists('now'):\n"
           "        time.sleep(0.01)\n\n@app.task\ndef bake():\n    pass\n")
    port = free_port()
    run = firexlite.start("submit", "--quiet", "--plugins", "services.py", "--chain", "bake,hold", "--sink",
                          f"otlp:http://127.0.0.1:{port}")
    run.stdout.readline()

    collector = Collector(port, refuses=503)
    try:
        wait_until(lambda: collector.paths, what="refused request")
        assert all(told["seq"] < 3 for told in offsets(firexlite.only_run()))  # it ends with the third event
        collector.refuses = None
        wait_until(lambda: collector.spans(), limit_s=40, what="span")
        (firexlite.folder / "now").touch()
        _, err = run.communicate(timeout=60)
    finally:
        collector.close()

    assert (run.returncode, err) == (0, "")
    assert {span.name for span in collector.spans()} == {"bake", "hold", "bake,hold"}


@pytest.mark.long
def test_a_request_that_is_refused_is_told_of(firexlite, collector):
    collector.refuses = 401
    done = firexlite("submit", "--chain", "nop")

    refused = firexlite("events", done.firex_id, "--sink", f"otlp:{collector.url}", FIREXLITE_SINK_WAIT="0")

    assert refused.code == 1
    assert "401" in refused.err.splitlines()[-1]


def test_what_the_library_takes_from_the_environment_reaches_the_collector(firexlite, collector):
    done = firexlite("submit", "--chain", "nop", "--sink", f"otlp:{collector.url}",
                     OTEL_EXPORTER_OTLP_HEADERS="authorization=Basic abc", OTEL_EXPORTER_OTLP_COMPRESSION="gzip")

    assert (done.code, done.err) == (0, "")
    assert collector.headers[0]["authorization"] == "Basic abc"
    assert len(collector.spans()) == 2


@pytest.mark.parametrize("given, path", [("", "/v1/traces"), ("/", "/v1/traces"), ("/otlp/v1/traces", "/otlp/v1/traces")])
def test_the_endpoint_has_the_usual_path_unless_it_has_one(firexlite, collector, given, path):
    done = firexlite("submit", "--chain", "nop", "--sink", f"otlp:{collector.url}{given}")

    assert (done.code, done.err) == (0, "")
    assert set(collector.paths) == {path}


def test_many_spans_go_in_several_requests(firexlite, plugin, collector, monkeypatch):
    plugin("from firexlite import app\n\n@app.task\ndef bake(n):\n    pass\n\n@app.task(bind=True)\ndef bakery(self):\n"
           "    for n in range(250):\n        self.enqueue_child(bake.s(n=n))\n    self.wait_for_children()\n")
    done = firexlite("submit", "--plugins", "services.py", "--chain", "bakery")
    monkeypatch.setenv("FIREXLITE_HOME", str(firexlite.home))

    Pump(done.firex_id, sink_for(f"otlp:{collector.url}")).send_all()

    assert len({span.span_id for span in collector.spans()}) == len(collector.spans()) == 252
    assert max(len(one.resource_spans[0].scope_spans[0].spans) for one in collector.requests) <= SPANS


def test_no_secret_reaches_the_collector(firexlite, plugin, collector):
    plugin("from firexlite import app\n\n@app.task(returns='said')\ndef say(token):\n    return f'my {token}'\n"
           "@app.task\ndef fail(said, token):\n    raise ValueError(token)\n")

    done = firexlite("submit", "--plugins", "services.py", "--chain", "say,fail", "--token", "Secret(env:TOKEN)",
                     "--sink", f"otlp:{collector.url}", TOKEN="c0rrect-horse-battery")

    assert done.code == 1
    sent = b"".join(request.SerializeToString() for request in collector.requests)
    assert b"my [secret env:TOKEN]" in sent and b"c0rrect-horse" not in sent


def test_numbers_follow_from_the_firex_id_alone():
    assert trace_id("FireX-li-261123-101500-4711") == trace_id("FireX-li-261123-101500-4711") != trace_id("FireX-li-261123-1")
    assert 0 < trace_id("x") < 2 ** 128 and 0 < span_id("x", 1) < 2 ** 64
    assert len({span_id("x", num) for num in range(1000)}) == 1000
