"""Which tasks run at the same time: queues with a limit, tasks that take several slots, and priorities."""
from __future__ import annotations

from .flows import Flows, peak

WORK = """
def work(name, path="notes"):
    note("+" + name, path)
    time.sleep(0.05)
    note("-" + name, path)
"""


def test_no_more_tasks_of_a_queue_run_at_once_than_it_has_room_for(flow: Flows) -> None:
    done = flow(WORK + """
@app.task(queue="gpu")
def by_option(): work("gpu")

@app.task
def plain(): work("gpu")

def set_queue(signature):
    signature.set_queue("gpu")
    return signature

@app.task(bind=True)
def top(self):
    for _ in range(3):
        self.enqueue_child(by_option.s())
        self.enqueue_child(plain.s(), queue="gpu")
        self.enqueue_child(set_queue(plain.s()))
""", "top", "--workers", 4, "--queue", "gpu=2")

    assert [state for name, state in done.states] == ["succeeded"] * 10
    assert len(flow.notes()) == 18
    assert peak(flow.notes()) == 2


def test_a_task_of_several_slots_has_them_to_itself(flow: Flows) -> None:
    done = flow("""
@app.task(slots=2)
def wide(): span("wide")

@app.task
def narrow(): span("narrow")

def span(name):
    note(f"{name}+")
    time.sleep(0.05)
    note(f"{name}-")

@app.task(bind=True)
def top(self):
    for _ in range(3):
        self.enqueue_child(narrow.s())
        self.enqueue_child(wide.s())
        self.enqueue_child(narrow.s())
""", "top", "--workers", 2)

    assert [state for name, state in done.states] == ["succeeded"] * 10
    under_way: list[str] = []
    for line in flow.notes():
        name, sign = line[:-1], line[-1]
        under_way.append(name) if sign == "+" else under_way.remove(name)
        assert under_way in (["wide"], ["narrow"], ["narrow", "narrow"], [])


def test_tasks_of_one_priority_run_before_those_of_another_whatever_their_order(flow: Flows) -> None:
    done = flow("""
@app.task
def work(priority): note(priority)

@app.task(bind=True)
def top(self):
    for priority in (1, 9, 1, 9):
        self.enqueue_child(work.s(priority), priority=priority)
""", "top", "--workers", 1)

    assert [state for name, state in done.states] == ["succeeded"] * 5
    assert flow.notes() in (["1", "1", "9", "9"], ["9", "9", "1", "1"])
