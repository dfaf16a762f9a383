"""The look, before a run goes on, at the files that its unfinished tasks need: whether they are there as they were."""
from __future__ import annotations

import collections
import functools
import json
import os
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .errors import BadInput, NotReadable
from .files import MARK, File
from .history import History, TaskOutline
from .home import BLOB_MARK
from .states import OPEN

LISTED = 20  # files told of in one message


@dataclass(frozen=True)
class Need:
    """A file that an unfinished task needs, as it should be now. producer: the task that made it, None if none did."""

    file: File
    task: int
    producer: int | None


@dataclass(frozen=True)
class Missing:
    """A need that is not met. ailment: as `File.ailment`."""

    need: Need
    ailment: str


@dataclass(frozen=True)
class Prospect:
    """What a resume will do other than going on. restarted: tasks that forget their children. done: tasks that are taken
    for succeeded. changed: services whose code is another now, so that what failed in it is tried again."""

    restarted: Sequence[int] = ()
    done: Container[int] = ()
    changed: Container[str] = ()


GOING_ON = Prospect()


def needed_by(history: History, prospect: Prospect = GOING_ON) -> list[Need]:
    """The files that reach unfinished tasks, one need for each path.

    They stand in the arguments of these tasks, in what flows to them, and in the results of their finished children.
    If several tasks returned a file of one path, the last of them says how it should be.
    """
    return _Survey(history, prospect).needs() if _may_hold_files(history) else []


def _may_hold_files(history: History) -> bool:
    """Whether a text of the journal holds a File, or lies in a payload, which may; most runs know of none."""
    texts = [f"instr({text}, ?) OR substr({text}, 1, ?) = ?" for text in ("arguments", "changes", "result")]
    return bool(history.execute(f"SELECT 1 FROM task WHERE {' OR '.join(texts)} LIMIT 1",
                                *(MARK, len(BLOB_MARK), BLOB_MARK) * len(texts)))


def check(history: History, prospect: Prospect = GOING_ON) -> list[Missing]:
    """Which of the files that unfinished tasks need are missing, or are not what they were."""
    found = [(need, need.file.ailment()) for need in needed_by(history, prospect)]
    return [Missing(need, ailment) for need, ailment in found if ailment is not None]


def to_run_again(history: History, missing: Sequence[Missing], prospect: Prospect = GOING_ON) -> list[int]:
    """The tasks that are to run again so that missing files are there, in their order.

    They are the producers; the producers of what these need and is not there either; and those that changed a file
    which another of them makes.
    Raises BadInput, naming them, if there are files that no task of the run made.
    """
    again, lost = _Survey(history, prospect).producers(missing)
    if lost:
        raise BadInput(refusal(history, lost))
    return again


def refusal(history: History, missing: Sequence[Missing]) -> str:
    """The sentence, and lines, for a run that cannot go on without these files."""
    firex_id = history.directory.firex_id
    files = "a file is" if len(missing) == 1 else f"{len(missing)} files are"
    survey = _Survey(history)
    lines = [f"{firex_id} cannot go on, and nothing was changed, since {files} not what its tasks need:"]
    lines += [f"  {one.need.file.path} {one.ailment}: {survey.origin(one.need)};" for one in missing[:LISTED]]
    if len(missing) > LISTED:
        lines.append(f"  and {len(missing) - LISTED} more;")
    ways = []
    if any(one.need.producer is not None for one in missing):
        ways.append(f"`firexlite resume {firex_id} --rerun-missing` runs just those tasks again that made them")
    if not_made := [one for one in missing if one.need.producer is None]:
        what = "what no task made" if ways else "it" if len(missing) == 1 else "them"
        ways.append(f"put {what} back and resume")
        givers = {parent for one in not_made if (parent := survey.tasks[one.need.task].parent) is not None}
        ways += [f"`--restart-task {giver}` has {survey.name(giver)} run afresh" for giver in sorted(givers)[:LISTED]]
    lines.append("; ".join(ways) + _elsewhere(history, missing))
    return "\n".join(lines)


def _elsewhere(history: History, missing: Sequence[Missing]) -> str:
    """A hint for who resumes in another working directory, where relative paths lead elsewhere."""
    submitted_in = history.run().options["cwd"]
    relative = [one.need.file for one in missing if not os.path.isabs(one.need.file.path)]
    if submitted_in != os.getcwd() and any(
            File.recorded(os.path.join(submitted_in, file.path), file.size, file.sha256).is_intact() for file in relative):
        return f"; or resume it in {submitted_in}, where it was submitted and files of these names are intact"
    return ""


@dataclass(frozen=True)
class _Version:
    """A file as it was from a moment on. at: a place in the order of events. maker: the task that returned it, if any."""

    at: int
    file: File
    maker: int | None


class _Survey:
    """What the journal knows of files: who needs which, and who made it. Texts are read only as far as they matter."""

    def __init__(self, history: History, prospect: Prospect = GOING_ON) -> None:
        self.history, self.prospect = history, prospect
        self.tasks = {task.num: task for task in history.outlines()}
        self.redone: dict[int, TaskOutline] = {}          # task -> the last that did its work again
        self.children: dict[int, list[TaskOutline]] = collections.defaultdict(list)
        self._read: dict[str, Mapping[str, list[File]]] = {}
        for task in self.tasks.values():
            if task.redoes is not None and task.state == "succeeded":
                self.redone[task.redoes] = task
            elif task.redoes is None and task.parent is not None:
                self.children[task.parent].append(task)

    def needs(self) -> list[Need]:
        restarted, done = self.prospect.restarted, self.prospect.done
        unfinished = {num for num in self.unfinished() if num not in done
                      and not any(above in restarted or above in done for above in self.above(num))}
        wanted: dict[str, tuple[File, int]] = {}
        for chain in {self.tasks[num].chain: None for num in sorted(unfinished)}:
            for task, flow in self.along(chain):
                if task.num in unfinished:
                    children = [] if task.num in restarted else self.from_children(task, is_present_try=True)
                    for file in (*_within(flow), *children):
                        wanted.setdefault(file.path, (file, task.num))
        return [self.need(file, task) for file, task in wanted.values()]

    def need(self, file: File, task: int) -> Need:
        versions = self.versions[file.path]
        last = versions[-1] if versions else _Version(0, file, None)
        return Need(last.file, task, last.maker)

    def origin(self, need: Need) -> str:
        """`made by compile (task 7), needed by link (task 9)`"""
        needed = f"needed by {self.name(need.task)}"
        if need.producer is not None:
            return f"made by {self.name(need.producer)}, {needed}"
        parent = self.tasks[need.task].parent
        return f"given at submission, {needed}" if parent is None else f"handed on by {self.name(parent)}, {needed}"

    def name(self, num: int) -> str:
        service = self.tasks[num].service
        known = self.history.services.get(service)
        return f"{known.short_name if known else service} (task {num})"

    # --- who goes on ----------------------------------------------------------------------------------------

    def unfinished(self) -> set[int]:
        """The tasks that a resume lets run, with those that it reopens."""
        ours = [task for task in self.tasks.values() if task.redoes is None and not task.aside]
        found = {task.num for task in ours if task.state in OPEN}
        chains = {task.chain for task in ours if task.parent is None and task.state not in OPEN}
        chains |= {self.tasks[num].chain for task in self.prospect.restarted if task in self.tasks
                   for num in (task, *self.above(task))}
        chains |= self.corrected(ours)
        while chains:
            reopened = [task for chain in chains for task in self.reopened(chain)]
            found |= {task.num for task in reopened}
            chains = {child.chain for task in reopened for child in self.children[task.num]
                      if child.parent_retry == task.retry and not child.aside and child.state not in OPEN}
        return found

    def corrected(self, tasks: Iterable[TaskOutline]) -> set[int]:
        """The chains below an interrupted parent that failed in code which has changed since (see `takeover`)."""
        chains = set()
        for task in tasks:
            if task.state == "failed" and task.service in self.prospect.changed:
                chain = task.chain
                while task.state == "failed" and not task.aside and task.parent is not None:  # up through those it failed
                    chain, task = task.chain, self.tasks[task.parent]
                if task.state in OPEN:
                    chains.add(chain)
        return chains

    def above(self, num: int) -> Iterator[int]:
        """The tasks that enqueued a task, and those that enqueued them."""
        while (parent := self.tasks[num].parent) is not None and parent < num:  # else a circle, which a stranger made
            yield parent
            num = parent

    def reopened(self, chain: int) -> Iterator[TaskOutline]:
        """What of a chain did not succeed and will run; nothing from a task on that does not run again by itself."""
        for task in self.members(chain):
            if task.unsure and task.state not in OPEN and task.num not in self.prospect.restarted:
                return
            if task.state not in OPEN and task.state != "succeeded":
                yield task

    def members(self, chain: int) -> Iterator[TaskOutline]:
        num = chain
        while num in self.tasks and self.tasks[num].chain == chain:
            yield self.tasks[num]
            num += 1

    # --- what reaches a task ----------------------------------------------------------------------------------

    def along(self, chain: int) -> Iterator[tuple[TaskOutline, Mapping[str, list[File]]]]:
        """Each task of a chain with the files in what flows to it, by name, its own arguments among them.

        A later value of a name replaces an earlier one, as in the flow itself. The mapping changes at the next step.
        """
        flow: dict[str, list[File]] = {}
        for task in self.members(chain):
            flow.update(self.by_name(task.arguments))
            yield task, flow
            for text in (task.changes, self.result(task)):
                flow.update(self.by_name(text))

    def reaching(self, task: TaskOutline) -> list[File]:
        """The files that reached one task."""
        place = self.tasks[task.num if task.redoes is None else task.redoes]
        return next(_within(flow) for found, flow in self.along(place.chain) if found is place)

    def from_children(self, task: TaskOutline, is_present_try: bool) -> list[File]:
        """The files that the finished children of a task returned, in its present try, or in any."""
        return [file for child in self.children[task.num] if child.state == "succeeded"
                and not (is_present_try and (child.aside or child.parent_retry != task.retry))
                for file in _within(self.by_name(self.result(child)))]

    def result(self, task: TaskOutline) -> str | None:
        """What a task returned; what the last one returned that did its work again, if there is any."""
        return self.redone.get(task.num, task).result

    def by_name(self, text: str | None) -> Mapping[str, list[File]]:
        """The files in a text of the journal, by the name of the value in which they stand."""
        if not text:
            return {}
        if text not in self._read:
            self._read[text] = _files_by_name(self.history.directory.unspill(text))
        return self._read[text]

    # --- who made what ------------------------------------------------------------------------------------------

    @functools.cached_property
    def versions(self) -> Mapping[str, list[_Version]]:
        """What is known of each path, in the order of time.

        A task makes a file if it returns one that did not reach it. One that is handed on, as an argument or by a
        converter, was made by nobody who could make it again; it counts if nothing is known of it before.
        """
        begins, ends = self.history.first_moves("ready", "running"), self.history.first_moves("succeeded")
        found: list[tuple[int, int, File, int | None]] = []
        for chain in {task.chain for task in self.tasks.values() if task.redoes is None}:
            for task, flow in self.along(chain):
                handed = [(begins.get(chain, 0), task.arguments), (ends.get(task.num, 0), task.changes)]
                found += [(at, task.num, file, None) for at, text in handed for file in _within(self.by_name(text))]
                if task.state == "succeeded":
                    made = self.made(task, _within(flow))
                    found += [(ends.get(task.num, 0), task.num, file, task.num) for file in made]
        for task in self.tasks.values():
            if task.redoes is not None and task.state == "succeeded":
                made = self.made(task, self.reaching(task))
                found += [(ends.get(task.num, 0), task.num, file, task.redoes) for file in made]
        versions: dict[str, list[_Version]] = collections.defaultdict(list)
        for at, _, file, maker in sorted(found, key=lambda one: one[:2]):
            if maker is not None or all(version.file != file for version in versions[file.path]):
                versions[file.path].append(_Version(at, file, maker))
        return versions

    def made(self, task: TaskOutline, reached: Iterable[File]) -> list[File]:
        """The files that a task returned and that did not reach it."""
        returned = _within(self.by_name(task.result))
        known = {*reached, *self.from_children(task, is_present_try=False)} if returned else set()
        return [file for file in dict.fromkeys(returned) if file not in known]

    def producers(self, missing: Iterable[Missing]) -> tuple[list[int], list[Missing]]:
        """The tasks to run again, in order, and what no task can make again."""
        began = self.history.first_moves("running")
        needed = {need.file.path for need in self.needs()}
        again: set[int] = set()
        lost: dict[str, Missing] = {}
        wanted = list(missing)
        while wanted:
            one = wanted.pop()
            producer = one.need.producer
            if producer is None:
                lost[one.need.file.path] = one
            elif producer not in again:
                again.add(producer)
                task = self.tasks[producer]
                for file in self.reaching(task):
                    need = self._need_at(file, producer, began.get(producer, 0))
                    if (ailment := need.file.ailment()) is not None:
                        wanted.append(Missing(need, ailment))
                for file in _within(self.by_name(task.result)):  # what others changed afterwards has to be changed again
                    if file.path in needed and (last := self.need(file, producer)).producer not in (None, *again):
                        wanted.append(Missing(last, "will be made anew"))
        ends = self.history.first_moves("succeeded")
        return sorted(again, key=lambda num: (ends.get(num, 0), num)), list(lost.values())

    def _need_at(self, file: File, task: int, at: int) -> Need:
        """A file as a task found it when it began; or as it was made anew since then, by the same producer."""
        before = [version for version in self.versions[file.path] if version.at < at]
        found = before[-1] if before else _Version(0, file, None)
        if found.maker is not None:
            anew = [version for version in self.versions[file.path] if version.maker == found.maker]
            found = anew[-1]
        return Need(found.file, task, found.maker)


def _within(by_name: Mapping[str, list[File]]) -> list[File]:
    return [file for files in by_name.values() for file in files]


def _files_by_name(text: str) -> dict[str, list[File]]:
    """``{name: files}`` of a text that holds values by name; of any other the files, under an empty name."""
    if MARK not in text:
        return {}
    try:
        values = json.loads(text, object_hook=_rebuilt)
    except (ValueError, TypeError, KeyError) as error:
        raise NotReadable(f"a stored File cannot be rebuilt: {error}") from error
    if not isinstance(values, dict) or "$type" in values:
        values = {"": values}
    return {name: list(_files_in(value)) for name, value in values.items()}


def _rebuilt(plain: dict) -> object:
    if plain.get("$type") == "File":
        return File.recorded(*plain["value"])
    return "".join(plain["value"]) if plain.get("$type") == "str" else plain


def _files_in(value: object) -> Iterator[File]:
    if isinstance(value, File):
        yield value
    elif isinstance(value, (list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _files_in(part)
