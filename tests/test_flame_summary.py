"""The static top of a report: what it tells first of tasks that pass by once, and that no text in it becomes markup."""
from __future__ import annotations

from collections import Counter
from html.parser import HTMLParser

import pytest

from firexlite.flame_columns import Columns
from firexlite.flame_failures import SHOWN_AT_ALL, SHOWN_IN_FULL, UNDER_WAY, failures_of
from firexlite.flame_summary import IN_SIGHT, summary
from firexlite.flame_words import exception_line, in_words, quoted_code, span

START = 1_795_500_000.0
BOILED = """Traceback (most recent call last):
  File "/lab/kettle.py", line 7, in boil
    heat(water,
         ^^^^^
  File "/lab/stove.py", line 3, in heat
    raise stove.Boiled("over")
stove.Boiled: over"""


def task(num: int, name: str = "boil", state: str = "failed", **fields: object) -> dict:
    return {"num": num, "name": name, "long_name": f"kettle.{name}", "state": state, "enqueued_by": None, "cause": None,
            "exception": f"ValueError({num})" if state == "failed" else None, "runtime": float(num), **fields}


def told(*tasks: dict, **run: object) -> str:
    """The HTML for these tasks of a run."""
    run = {"firex_id": "FireX-li-261123-101503-17", "state": "failed", "started": START, "ended": START + 9, **run}
    failures = failures_of(run)
    for one in tasks:
        failures.add(one)
    counts = Counter(one["state"] for one in tasks)
    columns = Columns(run, START + 10)
    for one in tasks:
        columns.add({"parent": one["enqueued_by"], **one})
    return summary(run, counts, failures, START + 10, columns.above)


class Reader(HTMLParser):
    """What a browser sees. text: of all elements; tags: names of elements; attributes: their values."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.tags, self.attributes = "", set(), []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


def in_order(text: str, *words: str) -> bool:
    places = [text.find(word) for word in words]
    return -1 not in places and places == sorted(places)


# --- what is told first ------------------------------------------------------------------------------------------

def test_what_ended_the_run_comes_before_failures_that_were_lived_with():
    html = told(task(1, "suite", "succeeded"), task(2, "flaky", enqueued_by=1), task(3, "release", cause=4),
                task(4, "sign", enqueued_by=3), root_causes=[4])

    assert in_order(html, "2 tasks failed, and 1 more because of them", "#4</span> sign", "ValueError(4)",
                    '<div class="brief">', "#2</span> flaky", "and the run went on without it")
    assert html.count('<article class="failure') == 1


def test_failures_alike_are_one_that_is_counted():
    html = told(*(task(num, exception="OSError()") for num in range(1, 8)))

    assert html.count("<article") == 1 and "and 6 alike" in html


def test_a_few_failures_are_told_in_full_more_in_a_line_and_the_rest_is_counted():
    html = told(*(task(num) for num in range(1, SHOWN_AT_ALL + 8)))

    assert html.count("<article") == SHOWN_IN_FULL
    assert html.count("<li>") == SHOWN_AT_ALL - SHOWN_IN_FULL
    assert f"<summary>{SHOWN_AT_ALL - SHOWN_IN_FULL - IN_SIGHT} more</summary>" in html
    assert "7 further kinds of failure are not listed here." in html


def test_a_root_cause_that_comes_late_is_told_all_the_same():
    many = SHOWN_AT_ALL + 50

    html = told(*(task(num) for num in range(1, many)), root_causes=[many - 1])

    assert html.index(f"ValueError({many - 1})") < html.index("ValueError(1)")
    assert html.count("<article") == 1


def test_where_all_failures_have_a_cause_that_did_not_fail_they_are_told_themselves():
    html = told(task(1, "release", cause=2, args={"tag": "v1"}), task(2, "sign", "revoked"))

    assert in_order(html, "1 task failed", "#1</span> release", "ValueError(1)", "tag", "v1")


def test_what_was_set_aside_and_what_lies_below_it_is_no_failure():
    assert "failures" not in told(task(1, "top", "succeeded"), task(2, aside=True, enqueued_by=1), task(3, enqueued_by=2))


def test_the_chain_of_callers_leads_to_the_task():
    html = told(task(1, "release", cause=3), task(2, "build", cause=3, enqueued_by=1), task(3, "link", enqueued_by=2))

    assert "in release \u203a build \u203a link" in Reader(html).text
    assert 'href="#task=1"' in html and 'href="#task=2"' in html


def test_the_slowest_tasks_are_there_for_who_has_no_script():
    html = told(*(task(num, f"s{num}", "succeeded") for num in range(1, 30)), state="succeeded")

    assert in_order(html, "<noscript>", "s29", "s28", "s20", "</noscript>") and "s19" not in html


# --- why else a run ends -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("log, life, why", [
    (["2026-11-23 10:15:03 UTC  incarnation 2 was stopped: there was no space in /home/FireX-li-261123-101503-17 for 60 s"],
     {"n": 2, "end": "crash"}, "There was no space in /home for 60 s"),
    (["... UTC  incarnation 1 was stopped: there was no space in /home for 60 s"], {"n": 2, "end": "crash", "host": "rack-7"},
     "All its processes died or were killed, on rack-7"),
    (["... UTC  incarnation 1 ends, the run is interrupted, after signal 15"], {"n": 1, "end": "clean"},
     "It was stopped after signal 15"),
    ([], {"n": 1, "end": "clean"}, "It was stopped before it had ended"),
])
def test_a_run_that_was_cut_off_tells_why_and_what_was_under_way(log, life, why):
    html = told(task(1, "bake", "running", args={"oven": 3}, log={"lines": ["at 180 degrees"]}), state="interrupted",
                log=log, incarnations=[life], options={"cwd": "/lab"},
                services={"kettle.bake": {"place": "/lab/kettle.py:5", "head": ["@app.task", "def bake(oven):"]}})

    assert in_order(html, why, "1 task was under way", "#1</span> bake", "was running", "kettle.py:5",
                    '<span data-line="5">@app.task', '<span data-line="6">def bake(oven):', "oven", "at 180 degrees")


def test_of_many_that_were_under_way_those_that_ran_are_told():
    html = told(*(task(num, f"s{num}", "blocked") for num in range(1, 9)), task(9, "bake", "running"), state="interrupted")

    assert "9 tasks were under way" in html and html.count("<article") == UNDER_WAY and "#9</span> bake" in html


def test_a_run_that_goes_on_is_not_called_interrupted():
    assert "under way" not in told(task(1, "bake", "running"), state="running", snapshot=True)


def test_a_run_that_was_revoked_says_why():
    assert "Revoked: the lab is closed." in told(task(1, "bake", "revoked", revoke_reason="the lab is closed"), state="revoked")


def test_a_task_that_may_have_done_its_work_is_left_to_a_person():
    html = told(task(3, "pay", "ready", args={"cents": 5}), state="interrupted", stopped=[{"task": 3, "lines": [
        "UNDECIDED: pay (task 3, attempt 1) was cut off and may have done its work; on_interrupt='ask' leaves it to you.",
        "  If it has not: firexlite resume FireX-li-261123-101503-17 --restart-task 3",
        "  If it has:     firexlite resume FireX-li-261123-101503-17 --mark-done 3 '{\"paid\": VALUE}'"]}])

    assert in_order(Reader(html).text, "1 task stopped, to be decided by you", "#3 pay", "attempt 1",
                    "It was cut off and may have done its work", "cents", "If it has not:", "--restart-task 3 copy",
                    "If it has:", "--mark-done 3 '{\"paid\": VALUE}' copy")
    assert "Carry on" not in html


# --- what is other than in the last good run ----------------------------------------------------------------------

def test_what_is_other_than_in_the_last_good_run_is_told_once():
    differences = [{"what": "code", "name": "lab.py", "was": "1f", "now": "2e"}, {"what": "code", "name": "new.py", "was": None,
                   "now": "3d"}, {"what": "input", "name": "board", "was": "hawk", "now": "kestrel"},
                   {"what": "python", "name": "python", "was": "3.10.1", "now": "3.11.7"}]
    html = told(task(1), task(2), since_last_good={"firex_id": "FireX-li-261121-090000-3", "created": START - 2 * 86400 - 60,
                                                   "differences": differences})

    assert html.count("since the last good run") == 1
    assert in_order(Reader(html).text, "FireX-li-261121-090000-3, 2 days before", "code lab.py changed", "code new.py added",
                    "input board hawk → kestrel", "python 3.10.1 → 3.11.7")


# --- words -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("exception, words", [
    ("stove.Boiled: over", ("Boiled: over", "")),
    ("KeyError: 'a.b.c: d'", ("KeyError: 'a.b.c: d'", "")),
    ("firexlite.errors.TimeLimitExceeded: TimeLimitExceeded(90,)",
     ("It ran longer than its time_limit of 1 min 30 s, and was killed", "TimeLimitExceeded")),
    ("firexlite.errors.SoftTimeLimitExceeded: SoftTimeLimitExceeded()",
     ("It ran longer than its soft_time_limit, and was told to stop", "SoftTimeLimitExceeded")),
    ("firexlite.errors.WorkerLost: the worker of this task died once, by exit status 3",
     ("Its worker ended with exit status 3", "")),
    ("firexlite.errors.WorkerLost: the worker of this task died 4 times, at last by signal 9 (SIGKILL); it may have done its "
     "work, so it is not run again by itself",
     ("Its worker died 4 times, at last of SIGKILL (signal 9)", "if nobody sent it, it was the kernel, for want of memory; it "
      "may have done its work, so it is not run again by itself")),
])
def test_failures_are_told_in_words(exception, words):
    assert in_words({"traceback": exception}) == words
    traceback = f'Traceback (most recent call last):\n  File "x.py", line 1, in f\n    g()\n{exception}'
    assert in_words({"traceback": traceback}) == words


def test_code_is_quoted_from_the_traceback_with_the_marks_below_it():
    assert quoted_code(BOILED, "/lab/kettle.py:7 in boil") == ["heat(water,", "     ^^^^^"]
    assert quoted_code(BOILED, "/lab/stove.py:3 in heat") == ['raise stove.Boiled("over")']
    assert quoted_code(BOILED, "/lab/stove.py:4 in heat") == quoted_code(BOILED, "") == quoted_code("", "x.py:1") == []
    assert exception_line({"traceback": BOILED}) == "Boiled: over"


def test_places_are_told_as_seen_from_where_the_run_was_submitted():
    html = told(task(1, traceback=BOILED, error_context="/lab/stove.py:3 in heat"), options={"cwd": "/lab"})

    assert "<b>stove.py:3</b> in heat" in html and '<span data-line="3">raise stove.Boiled(&quot;over&quot;)</span>' in html


@pytest.mark.parametrize("seconds, words", [(5, "less than a minute"), (60, "1 minute"), (7300, "2 hours"), (90_000, "1 day")])
def test_spans_of_time_have_one_unit(seconds, words):
    assert span(seconds) == words


# --- texts of others ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("payload", ["</pre><script>PWN=1</script>", "<img src=x onerror=PWN=1>", "\" onclick=\"PWN=1", "' x='",
                                     "&lt;b&gt;", "<!--"])
def test_no_text_becomes_markup(payload):
    plain, hostile = ([Reader(told(*_everywhere(words), **run_of(words))) for run_of in (_run_of, _cut_off_run)]
                      for words in ("plain", payload))

    for one, other in zip(plain, hostile, strict=True):
        assert other.tags == one.tags
        assert [name for name, _ in other.attributes] == [name for name, _ in one.attributes]
        assert other.text.count(payload) >= one.text.count("plain") - 2 > 10


def _everywhere(text: str) -> list[dict]:
    return [task(num, text, state, long_name=text, exception=text, traceback=f"Traceback\n{text}", error_context=text,
                 args={text: text}, log={"lines": [text]}, revoke_reason=text, enqueued_by=num - 1 or None)
            for num, state in enumerate(("failed", "running", "succeeded", "failed"), 1)]


def _run_of(text: str) -> dict:
    difference = {"what": text, "name": text, "was": text, "now": text}
    return {"chain": text, "options": {"cwd": text},
            "host": text, "user": text, "python": text, "resume": text, "root_causes": [1, 4],
            "services": {text: {"place": text, "head": [text]}}, "redacted": text,
            "since_last_good": {"firex_id": text, "created": text, "differences": [difference, {**difference, "what": "code"},
                                                                                   {**difference, "what": "input"}]},
            "stopped": [{"task": 2, "lines": [text, f"  before: {text}", text, f"    firexlite resume {text}"],
                         "traceback": text, "error_context": text}]}


def _cut_off_run(text: str) -> dict:
    return {**_run_of(text), "state": "interrupted", "stopped": [], "incarnations": [{"n": 1, "end": "crash", "host": text}],
            "log": [f"incarnation 1 was stopped: {text}"]}
