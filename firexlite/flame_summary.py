"""The top of the page, written here and not by script: what ran, how it ended, and why it failed.

It is all that a reader sees where scripts are forbidden, and the first thing painted everywhere else.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from .flame_failures import DECISIONS, SHOWN_AT_ALL, SHOWN_IN_FULL, Failures, Group
from .flame_words import (
    command,
    duration,
    exception_line,
    in_words,
    log_lines,
    moment,
    quoted_code,
    seen_from,
    short,
    span,
    text,
    why_it_ended,
)
from .states import FAILED, RUN_INTERRUPTED, RUN_RUNNING, STATES

LOG_LINES = 10
TRACEBACK_LINES = 40
CALLERS = 30
IN_SIGHT = 6        # failures that are told in a line
DIFFERENCES = 8     # since the last good run

Task = Mapping
Above = Callable[[object], Sequence[tuple[object, str]]]

_CALL = re.compile(r"  (?:before|now|asked for before, not now|asked for now, not before): |  +differs in |  \.\.\. ")
_WAS = {"running": "was running", "blocked": "was waiting for what it enqueued", "ready": "was to be tried again"}


def summary(run: Mapping, counts: Mapping[str, int], failures: Failures, generated_at: object, above: Above) -> str:
    """HTML of the run's header and of what went wrong.

    counts: ``{state: number of tasks}``. failures: to which every task was added. above: ``num -> [(num, name), ...]``, who
    enqueued a task, outermost first.
    """
    return _Summary(run, failures, above).html(counts, generated_at)


def title(run: Mapping) -> str:
    return text(f"{run.get('state') or 'unknown'} \u00b7 {run.get('firex_id') or run.get('id') or 'run'}")


class _Summary:
    def __init__(self, run: Mapping, failures: Failures, above: Above) -> None:
        self.run, self.failures, self.above = run, failures, above
        self.firex_id = run.get("firex_id") or run.get("id") or "run"
        self.state = str(run.get("state") or "unknown")
        self.since_is_told = False

    def html(self, counts: Mapping[str, int], generated_at: object) -> str:
        return self._header(counts, generated_at) + self._decisions() + self._failed() + self._cut_off() + self._slowest()

    # --- the run ---------------------------------------------------------------------------------------

    def _header(self, counts: Mapping[str, int], generated_at: object) -> str:
        run, state = self.run, text(self.state)
        facts = [(name, value) for name, value in self._facts(counts) if value]
        return (
            f'<header class="run">\n<h1><span class="state {state}"><i class="dot {state}"></i>{state}</span> '
            f'<span class="id">{text(self.firex_id)}</span></h1>\n'
            + (f'<p class="chain">{text(run["chain"])}</p>\n' if run.get("chain") else "")
            + '<dl class="facts">'
            + "".join(f'<div class="{name}"><dt>{name}</dt><dd>{value}</dd></div>' for name, value in facts) + "</dl>\n"
            + self._way_on(generated_at) + "</header>\n")

    def _facts(self, counts: Mapping[str, int]) -> Iterable[tuple[str, str]]:
        run = self.run
        started, ended = run.get("started"), run.get("ended")
        yield "started", moment(started)
        if isinstance(started, (int, float)) and isinstance(ended, (int, float)):
            yield "took", duration(ended - started)
        yield "tasks", f'<span class="count">{sum(counts.values()):,}</span>' + "".join(
            f'<span class="count"><i class="dot {state}"></i>{counts[state]:,}&nbsp;{state}</span>'
            for state in STATES if counts.get(state))
        yield "by", text("@".join(str(part) for part in (run.get("user"), run.get("host")) if part))
        yield "python", text(run.get("python") or "")
        if len(incarnations := run.get("incarnations") or ()) > 1:
            crashes = sum(one.get("end") == "crash" for one in incarnations)
            yield "incarnations", f"{len(incarnations)}" + (f", {crashes} crashed" if crashes else "")
        if redacted := run.get("redacted"):
            yield "redacted", f"{text(redacted)} values"

    def _way_on(self, generated_at: object) -> str:
        parts = []
        if self.run.get("snapshot"):
            parts.append(f"Snapshot of {moment(generated_at)}: the run has not finished.")
        if self.failures.reason and self.state == "revoked":
            parts.append(f"Revoked: {text(self.failures.reason)}.")
        if (resume := self.run.get("resume")) and not self.run.get("stopped"):  # else it takes a decision
            parts.append(f"Carry on: {command(resume)}")
        return f'<p class="notice">{" ".join(parts)}</p>\n' if parts else ""

    # --- what failed -----------------------------------------------------------------------------------

    def _failed(self) -> str:
        groups = self.failures.groups
        if not groups:
            return ""
        first = [group for group in groups if group.ended_the_run] or groups
        full = first[:SHOWN_IN_FULL]
        brief = [group for group in groups if group not in full][:SHOWN_AT_ALL - len(full)]
        roots = self.failures.roots or self.failures.count
        followers = self.failures.count - roots
        heading = "1 task failed" if roots == 1 else f"{roots} tasks failed"
        unshown = self.failures.unshown
        return (f'<section class="failures" aria-label="Failures">\n<h2>{heading}'
                + (f', and {followers} more because of {"it" if roots == 1 else "them"}' if followers else "") + "</h2>\n"
                + "".join(map(self._failure, full))
                + self._brief(brief)
                + (f'<p class="more">{unshown} further kinds of failure are not listed here.</p>\n' if unshown else "")
                + "</section>\n")

    def _failure(self, group: Group) -> str:
        task = group.task
        told, exact = in_words(task)
        first, _, rest = told.partition("\n")
        return self._article(
            task, "failed", f"{_alike(group)}{self._tries(task)}{self._lived_with(task)}",
            f'<p class="exception">{text(first)}</p>\n'
            + (f'<pre class="rest">{text(rest)}</pre>\n' if rest.strip() else "")
            + (f'<p class="exact">{text(exact)}</p>\n' if exact else ""))

    def _brief(self, groups: Sequence[Group]) -> str:
        """A line each; all but the first of them folded away."""
        if not groups:
            return ""
        first, others = ("".join(map(self._brief_failure, part)) for part in (groups[:IN_SIGHT], groups[IN_SIGHT:]))
        folded = f"<details><summary>{len(groups) - IN_SIGHT} more</summary><ul>{others}</ul></details>\n" if others else ""
        return f'<div class="brief"><ul>{first}</ul>\n{folded}</div>\n'

    def _brief_failure(self, group: Group) -> str:
        said = f'<span class="exception">{text(exception_line(group.task))}</span>'
        return f"<li>{_link(group.task, 'failed')}{_alike(group)}{self._lived_with(group.task)} {said}</li>\n"

    def _lived_with(self, task: Task) -> str:
        """A mark for a failure that ended nothing."""
        callers = [num for num, _ in self.above(task.get("num"))]
        return ' <span class="alike">and the run went on without it</span>' if self.failures.was_lived_with(callers) else ""

    def _tries(self, task: Task) -> str:
        """How often it was tried, if more than once: `third try, after 2 that failed`."""
        ended = [attempt.get("state") for attempt in task.get("attempts") or () if isinstance(attempt, Mapping)]
        retried, lost = ended.count("retried"), ended.count("lost")
        parts = ([f"try {retried + 1} of {retried + 1}: each failed"] if retried else []) \
            + ([f"{lost + 1} attempts"] if lost and not retried else [])
        return f' <span class="tries">{"; ".join(parts)}</span>' if parts else ""

    # --- a run that was stopped or cut off -------------------------------------------------------------

    def _decisions(self) -> str:
        stopped = [one for one in self.run.get("stopped") or () if one.get("lines")]
        if not stopped:
            return ""
        number = "1 task" if len(stopped) == 1 else f"{len(stopped)} tasks"
        return ('<section class="failures stopped" aria-label="To be decided">\n'
                f"<h2>{number} stopped, to be decided by you</h2>\n"
                + "".join(map(self._decision, stopped[:DECISIONS]))
                + (f'<p class="more">{len(stopped) - DECISIONS} more like that.</p>\n' if len(stopped) > DECISIONS else "")
                + "</section>\n")

    def _decision(self, stopped: Mapping) -> str:
        """In the words of the command line: a sentence about the task, what its replay did otherwise, and commands."""
        head, *lines = stopped["lines"]
        found = re.match(r"[A-Z ]+: (?P<name>\S+) \(task \d+, (?P<attempt>attempt \d+)\) (?P<said>.*)", head)
        name, attempt, said = found.group("name", "attempt", "said") if found else ("", "", head)
        ways = [line for line in lines if "firexlite resume" in line]
        calls = [line for line in lines if line not in ways and _CALL.match(line)]
        notes = " ".join(line.strip() for line in lines if line not in ways and line not in calls)
        task = {"num": stopped["task"], "name": name, **self.failures.kept.get(stopped["task"], {}),
                **{key: stopped.get(key) for key in ("error_context", "traceback")}}
        rows = "".join(f'<span{" class=differs" if "differs in" in line else ""}>{text(line[2:])}</span>' for line in calls)
        return self._article(
            task, "interrupted", f' <span class="tries">{text(attempt)}</span>' if attempt else "",
            f'<p class="exception">It {text(said)}</p>\n' + (f'<pre class="calls">{rows}</pre>\n' if calls else ""),
            beside=(f'<p class="note">{text(notes)}</p>\n' if notes else "")
            + f'<ul class="ways">{"".join(map(_way, ways))}</ul>\n')

    def _cut_off(self) -> str:
        """What was under way when the processes of the run ended, and why they did, as far as anybody could write it down."""
        if self.state != RUN_INTERRUPTED or self.run.get("stopped"):
            return ""
        under_way = self.failures.under_way
        count = self.failures.under_way_count
        tasks = "1 task was under way" if count == 1 else f"{count} tasks were under way"
        article = "".join(self._article(task, RUN_INTERRUPTED, f' <span class="tries">{_WAS[task["state"]]}</span>')
                          for task in under_way)
        reason = why_it_ended(self.run)
        return ('<section class="failures cut-off" aria-label="Interruption">\n<h2>The run was interrupted</h2>\n'
                f'<p class="exception interrupted">{text(reason)}</p>\n'
                + ('<p class="exact">Nothing that was done is lost: make room there, and carry on.</p>\n'
                   if "no space" in reason else "")
                + ("" if under_way else self._since())
                + (f'<h3 class="then">{tasks}, and will run again from the top</h3>\n{article}' if under_way else "")
                + "</section>\n")

    # --- one task ----------------------------------------------------------------------------------------

    def _article(self, task: Task, state: str, beside_name: str, said: str = "", beside: str = "") -> str:
        right = self._since() + _log_tail(task) + beside
        return (f'<article class="failure {text(state)}">\n<div class="what">\n<h3>{_link(task, state)}{beside_name}</h3>\n'
                f"{said}{self._code(task)}{self._path(task)}{_arguments(task)}</div>\n"
                + (f'<div class="beside">{right}</div>\n' if right else "")
                + f'<div class="further">{_traceback(task)}{self._commands(task)}</div>\n</article>\n')

    def _code(self, task: Task) -> str:
        """Where it happened, and the line of code; or else where the service begins."""
        service = (self.run.get("services") or {}).get(task.get("long_name"))
        service = service if isinstance(service, Mapping) else {}
        context = str(task.get("error_context") or service.get("place") or "")
        if not context:
            return ""
        place, _, function = context.partition(" in ")
        path, _, line = place.rpartition(":")
        where = f"<b>{text(seen_from(self.run, path))}:{text(line)}</b>" + (f" in {text(function)}" if function else "")
        code = quoted_code(str(task.get("traceback") or ""), context)
        rows = [f'<span class="mark">{text(row)}</span>' if _only_marks(row) else
                f'<span data-line="{"" if n else text(line)}">{text(row)}</span>' for n, row in enumerate(code)]
        if not code:
            where += ' <span class="begins">where the service begins</span>'
            if place == service.get("place") and line.isascii() and line.isdigit():
                rows = [f'<span data-line="{int(line) + n}">{text(row)}</span>'
                        for n, row in enumerate(service.get("head") or ())]
        return (f'<figure class="code{"" if code else " head"}"><figcaption class="where">{where}</figcaption>\n'
                + (f"<pre>{''.join(rows)}</pre>" if rows else "") + "</figure>\n")

    def _path(self, task: Task) -> str:
        """Who enqueued whom, down to the task."""
        above = self.above(task.get("num"))[-CALLERS:]
        if not above:
            return ""
        steps = "".join(f'<a href="#task={text(num)}">{text(name)}</a> <span>&rsaquo;</span> ' for num, name in above)
        return f'<p class="path">in {steps}<b>{text(task.get("name") or "?")}</b></p>\n'

    def _since(self) -> str:
        """What is other than in the last good run; it is told once."""
        told, self.since_is_told = self.since_is_told, True
        return "" if told else since_last_good(self.run)

    def _commands(self, task: Task) -> str:
        num = task.get("num")
        if not self.run.get("firex_id") or num is None:
            return ""
        stop = command(f"firexlite debug {self.firex_id} {num} --pdb") if task.get("state") == FAILED else ""
        return (f'<p>All its output: {command(f"firexlite logs {self.firex_id} {num}")}</p>\n'
                + (f"<p>Stop there in a debugger: {stop}</p>\n" if stop else ""))

    def _slowest(self) -> str:
        """For readers without script, who have no other list of tasks."""
        rows = "".join(f'<tr><td class="num">#{num}</td><td>{text(name)}</td><td><i class="dot {text(state)}"></i> '
                       f"{text(state)}</td><td>{duration(seconds)}</td></tr>"
                       for seconds, num, name, state in self.failures.slowest)
        if not rows or self.state == RUN_RUNNING:
            return ""
        return f'<noscript><section class="slowest"><h2>Slowest tasks</h2><table>{rows}</table></section></noscript>\n'


# --- parts -----------------------------------------------------------------------------------------------

def since_last_good(run: Mapping) -> str:
    """What is other than in the last good run, if there was one."""
    since = run.get("since_last_good")
    if not isinstance(since, Mapping):
        return ""
    started, created = run.get("started"), since.get("created")
    ago = ""
    if isinstance(started, (int, float)) and isinstance(created, (int, float)):
        ago = f", {span(started - created)} before"
    found = [one for one in since.get("differences") or () if isinstance(one, Mapping)]
    rows = "".join(f"<li>{_difference(one)}</li>" for one in found[:DIFFERENCES])
    if len(found) > DIFFERENCES:
        rows += f'<li class="more">{len(found) - DIFFERENCES} more</li>'
    nothing = "<p>Nothing that is recorded: the same code, inputs, options, versions and host.</p>"
    return (f'<div class="since"><h4>since the last good run <code>{text(since.get("firex_id"))}</code>{ago}</h4>'
            + (f"<ul>{rows}</ul>" if rows else nothing) + "</div>\n")


def _link(task: Task, state: str) -> str:
    num, name = text(task.get("num")), text(task.get("name") or "?")
    return f'<a href="#task={num}"><i class="dot {text(state)}"></i><span class="num">#{num}</span> {name}</a>'


def _only_marks(row: str) -> bool:
    """Whether a line below code marks what of it failed: `~~~~^^^^`."""
    return bool(row.strip()) and not row.strip(" ~^")


def _alike(group: Group) -> str:
    return f' <span class="alike">and {group.size - 1} alike</span>' if group.size > 1 else ""


def _way(line: str) -> str:
    """`If it has not: firexlite resume ...`, or `firexlite resume ...   what that does`, as an item of a list."""
    found = re.match(r"(?P<case>.*?)\s*(?P<command>firexlite resume .*?)(?:\s{2,}(?P<does>.*)|\s(?P<also>runs .*))?\Z", line)
    if not found:
        return f"<li>{text(line.strip())}</li>"
    does = found["does"] or found["also"] or ""
    return f'<li>{text(found["case"].strip())} {command(found["command"].strip())} {text(does.strip())}</li>'


def _difference(one: Mapping) -> str:
    what, was, now = str(one.get("what")), one.get("was"), one.get("now")
    name = text(one.get("name")) if what in ("input", "code") else ""
    kind = f'<span class="kind">{text(what)}</span> '
    if what == "code":
        return f"{kind}<span><b>{name}</b> {'added' if was is None else 'left out' if now is None else 'changed'}</span>"
    before, after = ("not given" if value is None else f"<code>{text(value)}</code>" for value in (was, now))
    return (f'{kind}<span>{f"<b>{name}</b> " if name else ""}<del>{before}</del> <span aria-label="now">&rarr;</span> '
            f"<ins>{after}</ins></span>")


def _arguments(task: Task) -> str:
    arguments = task.get("args") or {}
    if not isinstance(arguments, Mapping) or not arguments:
        return ""
    pairs = (f"<div><dt>{text(name)}</dt><dd>{text(short(value))}</dd></div>" for name, value in arguments.items())
    return f'<dl class="given">{"".join(pairs)}</dl>\n'


def _traceback(task: Task) -> str:
    lines = str(task.get("traceback") or "").rstrip().splitlines()
    if len(lines) < 2:
        return ""
    cut = len(lines) - TRACEBACK_LINES
    shown = ([f"... {cut} lines above"] if cut > 0 else []) + lines[-TRACEBACK_LINES:]
    return f'<details><summary>traceback</summary><pre>{text(chr(10).join(shown))}</pre></details>\n'


def _log_tail(task: Task) -> str:
    lines = log_lines(task)[-LOG_LINES:]
    return f'<div class="tail"><h4>last output</h4><pre><span>{text(chr(10).join(lines))}</span></pre></div>\n' if lines else ""
