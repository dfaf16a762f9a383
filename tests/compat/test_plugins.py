"""Plugins: services that take the place of others; and where services are found that nobody names."""
from __future__ import annotations

from .flows import Flows

SPRINGFIELD = """
TITLES = {"Homer Simpson": "Supervisor", "Waylon Smithers": "Executive Assistant"}

@app.task(returns="title")
def title_of(employee): return TITLES[employee]

@app.task(bind=True, returns="greeting")
def greet(self, employees):
    titles = [self.enqueue_child_and_get_results(title_of.s(employee=name))["title"] for name in employees.split(",")]
    return " ".join(f"Hello {title}!" for title in titles)
"""
MONARCHY = """
ROYAL = {"Supervisor": "Chancellor"}

@app.task(bind=True, returns=FireXTask.DYNAMIC_RETURN)
def title_of(self, employee):
    values = self.enqueue_child_and_get_results(self.orig.s(**self.bound_args))
    return {**values, "title": ROYAL.get(values["title"], "Prince")}
"""
EMPLOYEES = ("--employees", "Homer Simpson,Waylon Smithers")


def test_c39_a_plugin_takes_the_place_of_a_service_without_a_change_to_its_callers(flow: Flows) -> None:
    plain = flow(SPRINGFIELD, "greet", *EMPLOYEES)
    done = flow(SPRINGFIELD, "greet", *EMPLOYEES, monarchy=MONARCHY)

    assert plain.values == {"greeting": "Hello Supervisor! Hello Executive Assistant!"}
    assert done.values == {"greeting": "Hello Chancellor! Hello Prince!"}
    assert [task["long_name"] for task in done.named("title_of")] == ["monarchy.title_of", "services.title_of_orig"] * 2


LEVEL = """
@app.task(bind=True, returns="names")
def bake(self): return [self.name] + self.enqueue_child_and_get_results(self.orig.s())["names"]
"""


def test_c40_the_last_of_several_plugins_comes_first_and_each_reaches_the_one_before_it(flow: Flows) -> None:
    done = flow("""
@app.task(bind=True, returns="names")
def bake(self): return [self.name]
""", "bake", middle=LEVEL, last=LEVEL)

    assert done.values == {"names": ["last.bake", "middle.bake_orig", "services.bake_orig_orig"]}


def test_a_task_knows_whose_place_it_takes(flow: Flows) -> None:
    told = """[self.short_name_without_orig, self.name_without_orig, self.called_as_orig, self.from_plugin]"""
    done = flow(f"""
@app.task(bind=True, returns="told")
def bake(self): return [{told}]
""", "bake", plugin=f"""
@app.task(bind=True, returns="told")
def bake(self): return [{told}] + self.enqueue_child_and_get_results(self.orig.s())["told"]
""")

    assert done.values["told"] == [["bake", "plugin.bake", False, True], ["bake", "services.bake", True, True]]


def test_c41_a_plugin_may_do_without_an_argument_that_callers_pass(flow: Flows) -> None:
    done = flow("""
@app.task(returns="bread")
def bake(flour, salt): return f"{flour} and {salt}"

@app.task(bind=True, returns="seen")
def top(self): return self.enqueue_child_and_get_results(bake.s(flour="rye", salt=1))["bread"]
""", plugin="""
@app.task(bind=True, returns="bread")
def bake(self, flour): return [flour, self.abog["salt"], self.bound_args]
""")

    assert done.seen == ["rye", 1, {"flour": "rye"}]


def test_c42_a_plugin_that_is_not_there_is_named(flow: Flows) -> None:
    done = flow.command("submit", "--plugins", "no_such_file.py", "--chain", "nop")

    assert done.code == 2  # FireX: 255
    assert "no_such_file.py" in done.err and "is not there" in done.err
    assert flow.firexlite.runs() == []


# --- services that are found -----------------------------------------------------------------------------------------

def test_c87_services_are_found_in_a_directory_of_the_environment(flow: Flows) -> None:
    folder = flow.folder.parent / "bakery"
    (folder / "ovens").mkdir(parents=True)
    (folder / "kneading.py").write_text(SERVICE.format(name="knead"))
    (folder / "ovens" / "baking.py").write_text(SERVICE.format(name="bake_slowly"))

    done = flow("""
@app.task(bind=True, returns="seen")
def top(self): pass
""", "knead,bake_slowly", env={"firex_tasks_directory": str(folder)})

    assert done.values == {"knead": "done", "bake_slowly": "done"}


SERVICE = """
from firexapp.engine.celery import app

@app.task(returns="{name}")
def {name}(): return "done"
"""


def test_c87_services_are_found_in_the_packages_of_entry_points(flow: Flows) -> None:
    place = flow.folder.parent / "installed"
    for path, text in {
        "bakery/__init__.py": "",
        "bakery/kneading.py": SERVICE.format(name="knead"),
        "bakery/ovens/__init__.py": "",
        "bakery/ovens/baking.py": SERVICE.format(name="bake_slowly"),
        "bakery/_hidden.py": "raise RuntimeError('not to be imported')",
        "bakery-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: bakery\nVersion: 1.0\n",
        "bakery-1.0.dist-info/entry_points.txt": "[firex.bundles]\nbakery = bakery\n",
    }.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_text(text)

    done = flow.firexlite("submit", "--chain", "knead,bake_slowly",
                          PYTHONPATH=f"{place}:{flow.firexlite.env.get('PYTHONPATH', '')}")

    assert done.code == 0, done.err
    assert "knead        done" in done.out and "bake_slowly  done" in done.out
