"""What services show of themselves in Flame, and how the tasks of a run hang together there."""
from __future__ import annotations

from .flows import Flows


def shown(task: dict) -> dict[str, str]:
    return {key: entry["value"] for key, entry in task["flame_data"].items()}


def test_c74_formatters_show_values_when_a_task_begins_and_when_it_ends(flow: Flows) -> None:
    done = flow("""
def everything(values):
    names = sorted(name for name in values if not name.startswith("__"))
    note(",".join(names))
    return " ".join(names)

def breaks(value): raise ValueError("no such colour")

@app.task(returns=["bread", "crumbs"])
@flame("flour", lambda value: f"<b>{value}</b>")
@flame("bread", lambda value: f"<i>{value}</i>")
@flame("crumbs", lambda value: None)
@flame("salt", breaks)
@flame("*", everything)
def bake(flour, salt): return "loaf", 3
""", "bake", "--flour", "rye", "--salt", 1)

    bake = shown(done.only("bake"))
    begin, end = (set(line.split(",")) for line in flow.notes())
    assert bake.pop("*").split() == sorted(end)
    assert bake == {"flour": "<b>rye</b>", "bread": "<i>loaf</i>"}
    assert {"flour", "salt"} <= begin and "bread" not in begin
    assert end == begin | {"bread", "crumbs"}


def test_what_was_shown_when_a_task_began_is_there_if_it_fails(flow: Flows) -> None:
    done = flow("""
@app.task
@flame("*", lambda values: "Planning to bake " + values["flour"])
def bake(flour): raise ValueError("burnt")
""", "bake", "--flour", "rye", code=1)

    assert shown(done.only("bake")) == {"*": "Planning to bake rye"}


def test_a_formatter_may_be_given_the_task(flow: Flows) -> None:
    done = flow("""
@app.task(returns="bread")
@flame("bread", lambda value, task: f"{value} of {task.short_name}", bind=True)
def bake(): return "loaf"
""", "bake")

    assert shown(done.only("bake")) == {"bread": "loaf of bake"}


def test_a_value_without_a_formatter_is_shown_as_text_or_as_json(flow: Flows) -> None:
    done = flow("""
@app.task(returns=["text", "data", "nothing"])
@flame("text")
@flame("data")
@flame("nothing")
def bake(): return "loaf", {"grams": [1, 2]}, None
""", "bake")

    assert shown(done.only("bake")) == {"text": "loaf", "data": '{"grams": [1, 2]}'}


def test_c75_what_is_shown_has_an_order(flow: Flows) -> None:
    """The page of FireX draws the last of them at the top."""
    done = flow("""
@app.task(returns=["a", "b"], flame=["a", "b"])
def by_option(): return 1, 2

@app.task(returns=["c", "d"])
@flame("c")
@flame("d")
def by_decorator(): return 3, 4
""", "by_option,by_decorator")

    option, decorator = ({key: entry["order"] for key, entry in done.only(name)["flame_data"].items()}
                         for name in ("by_option", "by_decorator"))
    assert option == {"a": 0, "b": 1}
    assert decorator == {"d": 0, "c": 1}


def test_what_is_declared_for_the_next_occasion_is_shown_without_a_value_of_its_name(flow: Flows) -> None:
    done = flow("""
@app.task(returns="bread")
@flame("plan", lambda text: f"<i>{text}</i>", on_next=True, on_next_args=["a loaf"])
@flame("never", lambda text: f"<i>{text}</i>")
def bake(): return "loaf"
""", "bake")

    assert shown(done.only("bake")) == {"plan": "<i>a loaf</i>"}


def test_a_service_shows_html_while_it_runs(flow: Flows) -> None:
    done = flow("""
@app.task(bind=True)
def bake(self):
    self.send_firex_html(oven="<b>cold</b>")
    self.send_firex_html(oven="<b>hot</b>", door="closed")
    raise ValueError("burnt")
""", "bake", code=1)

    assert shown(done.only("bake")) == {"oven": "<b>hot</b>", "door": "closed"}


def test_c76_a_chain_hangs_together_task_by_task(flow: Flows) -> None:
    done = flow("""
@app.task
def a(): pass

@app.task
def b(): pass

@app.task
def c(): pass

@app.task(bind=True)
def p(self): self.enqueue_child(a.s() | b.s() | c.s(), block=True)
""", "p")

    name_of = {task["num"]: task["name"] for task in done.tasks}
    assert [(task["name"], name_of.get(task["parent"]), task["chain_depth"]) for task in done.tasks] == [
        ("p", None, 0), ("a", "p", 0), ("b", "a", 1), ("c", "b", 2)]


def test_c77_what_failed_because_of_a_grandchild_leads_to_it(flow: Flows) -> None:
    """FireX names the grandchild in each of them; here each names the one below it, down to the grandchild."""
    done = flow("""
@app.task
def low(): raise ValueError("burnt")

@app.task(bind=True)
def mid(self): self.enqueue_child(low.s(), block=True)

@app.task(bind=True)
def top(self): self.enqueue_child(mid.s(), block=True)
""", "top", code=1)

    causes = {task["num"]: task["cause"] for task in done.tasks}

    def bottom(num: int) -> int:
        return num if causes[num] is None else bottom(causes[num])

    low = done.only("low")["num"]
    assert [bottom(done.only(name)["num"]) for name in ("top", "mid", "low")] == [low, low, low]
