"""FireX's own example services, unmodified from the public wheel, run on firexlite without celery and redis."""
from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import zipfile

import pytest

RELEASE = "firexapp==5.7.236"


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The path of `firexapp/tasks/example.py`, alone in a folder so that nothing else of FireX can be imported."""
    folder = tmp_path_factory.mktemp("firexapp")
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                    "--dest", str(folder), RELEASE], check=True, timeout=100)
    [wheel] = folder.glob("*.whl")
    path = folder / "services" / "example.py"
    path.parent.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        path.write_bytes(archive.read("firexapp/tasks/example.py"))
    return path


def test_neither_celery_nor_redis_nor_firex_is_installed():
    assert [name for name in ("celery", "redis", "firexapp", "firexkit") if importlib.util.find_spec(name)] == []


@pytest.mark.parametrize("words, expected", [
    (["greet", "--name", "Li"], {"greeting": "Hello Li!"}),
    (["greet_guests", "--guests", "Li,Mohamed"], {"guests_greeting": "Hello Li! Hello Mohamed!"}),
    (["greet_guests", "--guests", "Li,A"], {"guests_greeting": "Hello Li! And apologies to those not mentioned."}),
    (["amplified_greet_guests", "--guests", "Li,Dash", "--underline_char", "=", "--overline_char", "-",
      "--surround_str", "***"],
     {"amplified_greeting": "-" * 27 + "\n***HELLO LI! HELLO DASH!***\n" + "=" * 27}),
    (["greet_lee_and_tom"], {"lee_greeting": "Hello Lee!", "tom_greeting": "Hello Tom!"}),
    (["greet_springfield_power_plant_employees", "--employee_names", "Homer Simpson,Waylon Smithers"],
     {"amplified_greeting": "HELLO SUPERVISOR HOMER SIMPSON! HELLO EXECUTIVE ASSISTANT WAYLON SMITHERS!"}),
    (["getusername"], None),
    (["nop"], {}),
    (["sleep", "--sleep", "1"], {}),
], ids=lambda value: value[0] if isinstance(value, list) else "")
def test_the_example_services_give_what_firex_gives(firexlite, example, words, expected):
    done = firexlite("submit", "--plugins", example, "--chain", *words)

    assert done.code == 0, done.err
    results = json.loads(firexlite.only_run().run_json.read_text())["results"]
    assert expected is None or results["chain_results"] == expected
    for value in results["chain_results"].values():
        assert value.splitlines()[0] in done.out


def test_a_failed_greeting_ends_with_one_and_its_assertion(firexlite, example):
    failed = firexlite("submit", "--plugins", example, "--chain", "greet", "--name", "A")

    assert failed.code == 1
    assert "Cannot greet a name with 1 or fewer characters." in failed.err


def test_what_the_example_shows_in_flame_is_journaled(firexlite, example):
    done = firexlite("submit", "--plugins", example, "--chain", "amplified_greet_guests", "--guests", "Li,Dash")

    tasks = {task["name"]: task for task in firexlite.flame(done.firex_id)["tasks"]}
    shown = tasks["amplified_greet_guests"]["flame_data"]
    assert shown["*"]["value"] == '<h1 style="font-family: monospace;">HELLO LI! HELLO DASH!</h1>'
    assert shown["_default_display"]["value"] == [{
        "targets": ["descendants"], "operation": "collapse",
        "relative_to_nodes": {"type": "task_name", "value": "greet_guests"},
        "source_node": {"type": "task_uuid", "value": tasks["amplified_greet_guests"]["uuid"]}}]
    assert tasks["greet_guests"]["flame_data"]["guests_greeting"]["value"] == "Hello Li! Hello Dash!"
    assert tasks["amplify"]["parent"] == tasks["greet_guests"]["num"]
