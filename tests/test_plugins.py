"""Plugins: which service a name stands for, what an override takes over, and where services are found."""
from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import NOTE, Command, Finished, kill_all, query, wait_until

HEAD = NOTE + "from firexlite import DYNAMIC_RETURN, InjectArgs\n"


@pytest.fixture
def run(firexlite: Command, effects) -> Callable[..., tuple[Finished, dict, list[dict]]]:
    """Runs a chain with plugins of the given sources, in the order in which they are listed; gives values and tasks."""

    def run(chain: str, *options: object, code: int = 0, list_order: str = "", **plugins: str):
        for name, source in plugins.items():
            (firexlite.folder / f"{name}.py").write_text(HEAD + source)
        names = list_order.split(",") if list_order else [f"{name}.py" for name in plugins]
        done = firexlite("submit", "--chain", chain, "--plugins", ",".join(names), *options)
        assert done.code == code, done.err
        summary = json.loads(firexlite.only_run().run_json.read_text())
        return done, summary["results"]["chain_results"], firexlite.flame(done.firex_id)["tasks"]

    return run


# --- which service a name stands for -------------------------------------------------------------------------------------

CORE = """
@app.task(bind=True, returns="names")
def bake(self): return [self.name]
"""
LEVEL = """
@app.task(bind=True, returns="names")
def bake(self): return [self.name] + self.enqueue_child_and_get_results(self.orig.s())["names"]
"""


def test_each_of_four_levels_calls_the_one_below_it(run):
    _, values, tasks = run("bake", core=CORE, one=LEVEL, two=LEVEL, three=LEVEL)

    assert values["names"] == ["three.bake", "two.bake_orig", "one.bake_orig_orig", "core.bake_orig_orig_orig"]
    assert [task["name"] for task in tasks] == ["bake"] * 4


def test_the_order_of_the_list_decides_and_not_who_imports_whom(run):
    _, values, _ = run("bake", core=CORE, later=LEVEL, first="import later\n" + LEVEL, list_order="core.py,first.py,later.py")

    assert values["names"] == ["later.bake", "first.bake_orig", "core.bake_orig_orig"]


def test_a_module_that_a_plugin_imports_overrides_no_plugin(run, firexlite):
    (firexlite.folder / "shared.py").write_text(HEAD + LEVEL)

    _, values, _ = run("bake", core=CORE, plugin="import shared\n\n@app.task\ndef other(): pass\n")

    assert values["names"] == ["core.bake"]


def test_of_two_modules_that_nobody_listed_the_later_overrides_as_in_firex(run, firexlite):
    for name, source in (("below", CORE), ("above", LEVEL)):
        (firexlite.folder / f"{name}.py").write_text(HEAD + source)

    _, values, _ = run("top", plugin="""
import below, above

@app.task(bind=True, returns="names")
def top(self): return self.enqueue_child_and_get_results(below.bake.s())["names"]
""")

    assert values["names"] == ["above.bake", "below.bake_orig"]


def test_a_built_in_service_is_overridden_by_any_module(run):
    _, values, _ = run("getusername", plugin="""
@app.task(bind=True, returns="username")
def getusername(self): return "not " + self.enqueue_child_and_get_results(self.orig.s())["username"]
""")

    assert values["username"].startswith("not ")


def test_a_signature_that_was_made_before_the_override_runs_the_override(run):
    _, values, _ = run("top", core=CORE + """
EARLY = bake.s()

@app.task(bind=True, returns="names")
def top(self): return self.enqueue_child_and_get_results(EARLY)["names"]
""", plugin=LEVEL)

    assert values["names"] == ["plugin.bake", "core.bake_orig"]


# --- what an override takes over ---------------------------------------------------------------------------------------------

def test_an_overridden_service_keeps_all_its_options(run, firexlite):
    _, _, tasks = run("bake", core="""
@app.task(returns="bread", flame=["bread"], worker_deaths=0)
def bake():
    os.kill(os.getpid(), 9)
""", plugin="""
@app.task(bind=True, returns="bread")
def bake(self): return self.enqueue_child_and_get_results(self.orig.s())["bread"]
""", code=1)
    [(deaths,), (of_orig,)] = query(firexlite.only_run(), "SELECT worker_deaths FROM task ORDER BY id")

    assert (deaths, of_orig) == (3, 0)
    assert tasks[1]["exception"].startswith("WorkerLost(1, ")


def test_an_overridden_service_shows_in_the_report_what_it_showed(run):
    _, _, tasks = run("bake", core="@app.task(returns='bread', flame='bread')\ndef bake(): return 'rye'\n", plugin="""
@app.task(bind=True, returns="bread")
def bake(self): return self.enqueue_child_and_get_results(self.orig.s())["bread"]
""")

    assert [task.get("flame_data") for task in tasks] == [{}, {"bread": {"value": "rye", "type": "html", "order": 0}}]


def test_an_override_without_names_gives_those_of_the_service_it_overrides(run):
    _, values, _ = run("bake,eat", core="""
@app.task(returns="bread")
def bake(): return "rye"

@app.task(returns="eaten")
def eat(bread): return bread
""", one="@app.task\ndef bake(): return 'spelt'\n", two="""
@app.task(bind=True)
def bake(self): return self.enqueue_child_and_get_results(self.orig.s())["bread"] + " and more"
""")

    assert values == {"bread": "spelt and more", "eaten": "spelt and more"}


def test_names_that_do_not_fit_give_way_to_those_that_do(run):
    _, values, _ = run("bake", core="@app.task(returns=['bread', 'crumbs'])\ndef bake(): return 'rye', 7\n",
                       plugin="@app.task(returns='bread')\ndef bake(): return 'spelt', 8\n")

    assert values == {"bread": "spelt", "crumbs": 8}


@pytest.mark.parametrize("returned, values", [("{'more': 1}", {"more": 1}), ("None", {})])
def test_a_dict_and_nothing_are_taken_as_they_are(returned, values, run):
    _, found, _ = run("bake", core="@app.task(returns='bread')\ndef bake(): return 'rye'\n",
                      plugin=f"@app.task\ndef bake(): return {returned}\n")

    assert found == values


def test_a_number_of_values_that_fits_nobodys_names_is_an_error(run):
    _, _, tasks = run("bake", core="@app.task(returns='bread')\ndef bake(): return 'rye'\n",
                      plugin="@app.task\ndef bake(): return 1, 2\n", code=1)

    assert "Expected return keys ('bread',) (length 1)" in tasks[0]["exception"]


def test_an_override_may_be_called_as_the_service_was_that_it_overrides(run):
    _, values, _ = run("top", core="""
@app.task(returns="bread")
def bake(flour, grams="500", salt="sea"): return f"{flour} {grams} {salt}"

@app.task(bind=True, returns="seen")
def top(self):
    return [self.enqueue_child_and_get_results(sig)["bread"] for sig in (bake.s("rye"), bake.s("rye", "7", "rock"))]
""", plugin="""
@app.task(bind=True, returns="bread")
def bake(self, flour, grams):
    return [flour, grams, self.abog.get("salt"), self.enqueue_child_and_get_results(
        InjectArgs(**self.abog) | self.orig.s())["bread"]]
""")

    assert values["seen"] == [["rye", "500", None, "rye 500 sea"], ["rye", "7", "rock", "rye 7 rock"]]


def test_an_argument_that_only_an_overridden_service_takes_may_be_given(run):
    core = "@app.task(returns='bread')\ndef bake(salt='sea'): return salt\n"
    _, values, _ = run("bake", "--salt", "rock", core=core, plugin="""
@app.task(bind=True, returns="bread")
def bake(self): return "with " + self.enqueue_child_and_get_results(InjectArgs(**self.abog) | self.orig.s())["bread"]
""")

    assert values["bread"] == "with rock"


def test_too_many_positional_arguments_are_too_many_for_both(run):
    _, values, _ = run("top", core="""
@app.task
def bake(flour, grams): pass

@app.task(bind=True, returns="error")
def top(self):
    try: self.enqueue_child(bake.s(1, 2, 3))
    except TypeError as error: return str(error)
""", plugin="@app.task\ndef bake(flour): pass\n")

    assert values["error"] == "too many positional arguments"


def test_a_resume_notices_that_an_overridden_service_was_corrected(run, firexlite, effects):
    source = "\n@app.task(returns='bread')\ndef bake(): {}\n"
    done, _, _ = run("bake", core=source.format("raise ValueError('burnt')"), plugin="""
@app.task(bind=True, returns="bread")
def bake(self):
    note("asked")
    return self.enqueue_child_and_get_results(self.orig.s())["bread"]
""", code=1)
    (firexlite.folder / "core.py").write_text(HEAD + source.format("return 'rye'"))

    again = firexlite("resume", done.firex_id)

    assert (again.code, again.out.splitlines()[-1]) == (0, "  bread  rye"), again.err
    assert query(firexlite.only_run(), "SELECT json_extract(about, '$.changed') FROM incarnation WHERE epoch = 2") == [
        ('["core.bake_orig"]',)]


# --- folders -----------------------------------------------------------------------------------------------------------------

def service(name: str, value: object = "done") -> str:
    return f"from firexlite import app\n\n@app.task(returns='{name}')\ndef {name}(): return {value!r}\n"


@pytest.fixture
def bakery(firexlite: Command) -> Path:
    """A folder of services, three of them in folders of it."""
    for path, text in {
        "bakery/kneading.py": service("knead"), "bakery/ovens/baking.py": service("bake"),
        "bakery/shops/__init__.py": "PRICE = 3\n", "bakery/shops/selling.py": "from . import PRICE\n" + service("sell"),
        "bakery/shops/deep/er.py": service("deeper"), "bakery/_private.py": "raise ValueError", "bakery/notes.txt": "x = = 1",
        "bakery/.hidden/hidden.py": "raise ValueError", "bakery/__pycache__/cached.py": "raise ValueError",
    }.items():
        (firexlite.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (firexlite.folder / path).write_text(text)
    return firexlite.folder / "bakery"


THREAD = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
NAMES = ["kneading.knead", "ovens.baking.bake", "shops.deep.er.deeper", "shops.selling.sell"]


def listed(done: Finished) -> list[str]:
    assert done.code == 0, done.err
    return [line.split()[0] for line in done.out.splitlines() if not line.startswith("firexlite.")]


@pytest.mark.parametrize("how", [
    {"plugins": "bakery"}, {"plugins": "bakery/"}, {"env": {"FIREXLITE_SERVICES": "bakery"}},
    {"env": {"firex_tasks_directory": "bakery"}}, {"env": {"FIREXLITE_SERVICES": f"bakery{os.pathsep}bakery"}},
    {"plugins": "bakery", "env": {"FIREXLITE_SERVICES": "bakery"}}], ids=str)
def test_every_python_file_below_a_folder_is_loaded(how, bakery, firexlite):
    plugins = ("--plugins", how["plugins"]) if "plugins" in how else ()

    assert listed(firexlite("list", *plugins, **how.get("env", {}))) == NAMES


def test_a_folder_that_is_listed_overrides_and_one_that_is_found_does_not(bakery, firexlite, plugin):
    plugin("from firexlite import app\n\n@app.task(bind=True, returns='bake')\ndef bake(self): return [self.name] + "
           "([self.enqueue_child_and_get_results(self.orig.s())['bake']] if self._service.orig else [])\n")

    last = firexlite("submit", "--chain", "bake", "--plugins", "services.py,bakery")
    found = firexlite("submit", "--chain", "bake", "--plugins", "services.py", FIREXLITE_SERVICES="bakery")

    assert last.out.splitlines()[-1] == "  bake  done", last.err
    assert found.out.splitlines()[-1] == "  bake  ['services.bake', 'done']", found.err
    assert [task["plugin"] for task in firexlite.flame(found.firex_id)["tasks"]] == [True, False]


@pytest.mark.parametrize("how", [{"--plugins": "bakery"}, {"FIREXLITE_SERVICES": "bakery"}], ids=str)
@pytest.mark.parametrize("threads", ["", THREAD], ids=["in the runner", "in each worker"])
def test_a_resume_loads_the_files_that_were_found_for_the_run(how, threads, bakery, firexlite, effects):
    (bakery / "ovens" / "waiting.py").write_text(NOTE + threads + """
@app.task
def wait(bake):
    note("began")
    wait_for_file("go")
""")
    options = [word for name, value in how.items() if name.startswith("-") for word in (name, value)]
    env = {name: value for name, value in how.items() if not name.startswith("-")}
    process = firexlite.start("submit", "--chain", "bake,wait", *options, **env)
    wait_until(lambda: effects()["began"])
    kill_all(process)
    (bakery / "later.py").write_text("raise ValueError('it came later')\n")
    (firexlite.folder / "go").touch()

    done = firexlite("resume", firexlite.only_run().firex_id)

    assert done.code == 0, done.err
    assert "Resuming: 1 task done; 1 task in flight, to run again from the top" in done.err
    assert effects() == {"began": 2}


def test_files_that_were_found_for_another_person_are_not_loaded(bakery, firexlite, tmp_path):
    (bakery / "ovens" / "burning.py").write_text("from firexlite import app\n\n@app.task\ndef burn(): 1 / 0\n")
    burnt = firexlite("submit", "--chain", "bake,burn", FIREXLITE_SERVICES="bakery")
    [run] = firexlite.runs()
    firexlite.env["FIREXLITE_HOME"] = str(tmp_path / "another")
    imported = firexlite("import", run.path)

    done = firexlite("resume", run.firex_id)

    assert (burnt.code, imported.code, done.code) == (1, 0, 2)
    assert "the plugins that it names are another person's choice (kneading.py, baking.py, burning.py, " in done.err


def test_a_folder_that_is_not_there_is_named(firexlite):
    done = firexlite("list", FIREXLITE_SERVICES="gone")

    assert (done.code, done.err) == (2, "firexlite: FIREXLITE_SERVICES names 'gone', which is no directory to find services "
                                        "in\n")


def test_a_folder_with_the_name_of_another_module_is_refused(firexlite):
    (firexlite.folder / "bakery" / "click").mkdir(parents=True)
    (firexlite.folder / "bakery" / "click" / "baking.py").write_text(service("bake"))

    done = firexlite("list", "--plugins", "bakery")

    assert (done.code, done.err) == (2, "firexlite: plugin 'bakery/./click/baking.py' lies in a folder with the name of "
                                        "another module, 'click'; rename the folder\n")


def test_a_file_of_a_folder_that_fails_is_named(bakery, firexlite):
    (bakery / "ovens" / "broken.py").write_text("import no_such_module\n")

    done = firexlite("list", FIREXLITE_SERVICES="bakery")

    assert (done.code, done.err) == (
        2, "firexlite: plugin 'bakery/./ovens/broken.py' failed to import at line 1 (`import no_such_module`): "
           "ModuleNotFoundError: No module named 'no_such_module'\n")


def test_a_file_that_any_user_may_write_is_not_loaded_from_a_folder_either(bakery, firexlite):
    (bakery / "ovens" / "baking.py").chmod(0o646)

    for how in ({"FIREXLITE_SERVICES": str(bakery)}, {"firex_tasks_directory": str(bakery)}):
        done = firexlite("list", **how)
        assert (done.code, "since any user may write to" in done.err) == (2, True)


# --- installed packages -----------------------------------------------------------------------------------------

@pytest.fixture
def install(firexlite: Command, tmp_path: Path) -> Callable[..., None]:
    """Installs a package: ``install("bakery", "[group]\\nname = module", **{path: source})``."""
    place = tmp_path / "site"
    firexlite.env["PYTHONPATH"] = f"{place}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"

    def install(name: str, entry_points: str, files: dict[str, str]) -> None:
        files = {**files, f"{name}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
                 f"{name}-1.0.dist-info/entry_points.txt": entry_points}
        for path, text in files.items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_text(text)

    return install


PACKAGE = {"bakery/__init__.py": "", "bakery/kneading.py": service("knead"), "bakery/ovens/__init__.py": "",
           "bakery/ovens/baking.py": service("bake"), "bakery/_private.py": "raise ValueError"}


@pytest.mark.parametrize("group", ["firex.bundles", "firexlite.services"])
def test_services_are_found_in_the_packages_of_entry_points(group, install, firexlite):
    install("bakery", f"[{group}]\nany = bakery\n", PACKAGE)

    done = firexlite("submit", "--chain", "knead,bake")

    assert sorted(done.out.splitlines()[-2:]) == ["  bake   done", "  knead  done"], done.err
    assert listed(firexlite("list")) == ["bakery.kneading.knead", "bakery.ovens.baking.bake"]


def test_an_entry_point_may_name_a_part_of_a_package_or_a_module(install, firexlite):
    install("bakery", "[firexlite.services]\na = bakery.ovens\nb = bakery.kneading\n", {**PACKAGE, "bakery/other.py": "1 / 0"})

    assert listed(firexlite("list")) == ["bakery.kneading.knead", "bakery.ovens.baking.bake"]


def test_a_plugin_overrides_a_service_of_an_installed_package(install, firexlite, plugin):
    install("bakery", "[firex.bundles]\nany = bakery\n", PACKAGE)
    plugin("from firexlite import app\n\n@app.task(bind=True, returns='bake')\ndef bake(self):\n"
           "    return 'well ' + self.enqueue_child_and_get_results(self.orig.s())['bake']\n")

    done = firexlite("submit", "--chain", "bake", "--plugins", "services.py")

    assert done.out.splitlines()[-1] == "  bake  well done", done.err


def test_a_module_of_a_package_that_fails_is_left_out_and_told_of(install, firexlite):
    install("bakery", "[firexlite.services]\nany = bakery\n", {
        **PACKAGE, "bakery/broken.py": "import no_such_module\n", "bakery/leaving.py": "import sys\nsys.exit(3)\n"})
    install("gone", "[firexlite.services]\nany = not_there\n", {})

    done = firexlite("submit", "--chain", "knead")

    assert (done.code, done.out.splitlines()[-1]) == (0, "  knead  done"), done.err
    assert done.err.splitlines()[:3] == [
        "firexlite: the services of bakery.broken, which the package bakery declares, are left out: ModuleNotFoundError: No "
        "module named 'no_such_module'",
        "firexlite: the services of bakery.leaving, which the package bakery declares, are left out: SystemExit: 3",
        "firexlite: the services of not_there, which the package gone declares, are left out: ModuleNotFoundError: No module "
        "named 'not_there'"]


def test_a_module_of_a_package_that_any_user_may_write_is_left_out(install, firexlite, tmp_path):
    install("bakery", "[firexlite.services]\nany = bakery\n", PACKAGE)
    (tmp_path / "site" / "bakery" / "kneading.py").chmod(0o646)

    done = firexlite("list")

    assert listed(done) == ["bakery.ovens.baking.bake"]
    assert "the services of bakery.kneading, which the package bakery declares, are left out: BadInput: " in done.err


def test_the_packages_can_be_chosen(install, firexlite):
    install("bakery", "[firexlite.services]\nany = bakery\n", PACKAGE)
    install("other", "[firexlite.services]\nany = other\n", {"other.py": service("rest")})

    assert listed(firexlite("list", firex_entry_point_distros="other, third")) == ["other.rest"]


def test_commands_that_need_no_service_import_none(install, firexlite):
    install("bakery", "[firexlite.services]\nany = bakery\n", {"bakery/__init__.py": "open('was imported', 'w')\n"})

    assert [firexlite(*words).code for words in (["--version"], ["runs"], ["--help"])] == [0, 0, 0]
    assert not (firexlite.folder / "was imported").exists()
    assert firexlite("list").code == 0
    assert (firexlite.folder / "was imported").exists()


def test_importlib_metadata_is_not_imported_where_no_package_declares_services(firexlite, plugin):
    plugin("import sys\nfrom firexlite import app\n\n@app.task(returns='n')\n"
           "def look(): return 'importlib.metadata' in sys.modules\n")

    assert firexlite("submit", "--plugins", "services.py", "--chain", "look").out.splitlines()[-1] == "  n  False"
