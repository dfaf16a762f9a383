"""Service files with the imports that FireX's users write, run as they are."""
from __future__ import annotations

import json

# The manner of public service files: stacked decorators, chains built in loops and elsewhere, a returned text without a name.
LAB = """
import os
from celery.exceptions import Ignore, SoftTimeLimitExceeded
from firexapp.common import delimit2list, silent_mkdir
from firexapp.engine.celery import app
from firexapp.submit.arguments import InputConverter, whitelist_arguments
from firexkit.argument_conversion import ConverterRegister, SingleArgDecorator
from firexkit.chain import InjectArgs, returns
from firexkit.task import FireXTask, flame, flame_collapse, convert_to_serializable

whitelist_arguments(["testbed"])

class Lab(FireXTask):
    def where(self):
        return self.abog["testbed"]

@InputConverter.register
@SingleArgDecorator("images")
def images_to_list(images):
    return delimit2list(images)

@app.task(base=Lab, bind=True)
@flame("loaded", lambda loaded: f"<b>{loaded}</b>")
@flame("image")
@returns("loaded", "history")
def load(self, image, history):
    history["images"].append(image)
    silent_mkdir(os.path.join(self.where(), image))
    return f"{image}@{self.where()}", history

@app.task()
def reboot(loaded):
    return "rebooted " + loaded

def chain_of(images, history):
    chain = InjectArgs(history=history)
    for image in images:
        chain |= load.s(image=image)
    return chain

@app.task(base=Lab, bind=True, returns=('report'))
@flame_collapse('descendants')
def qualify(self, images):
    results = self.enqueue_child_and_get_results(
        InjectArgs(testbed=self.where()) | chain_of(images, {"images": []}) | reboot.s(), return_keys=("loaded", "history"))
    child = self.enqueue_child(load.s(image="x", history={}, testbed=self.where()), block=True,
                               raise_exception_on_failure=False)
    assert child.failed() and isinstance(child.result, KeyError)
    return convert_to_serializable({"results": results, "where": self.where()})
"""


def test_a_file_in_the_manner_of_public_ones_runs(firexlite, plugin):
    done = firexlite("submit", "--plugins", plugin(LAB), "--chain", "qualify", "--images", "a,b", "--testbed", "lab-7")

    assert done.code == 0, done.err
    assert json.loads(firexlite.only_run().run_json.read_text())["results"]["chain_results"] == {
        "report": {"results": ["b@lab-7", {"images": ["a", "b"]}], "where": "lab-7"}}
    assert sorted(path.name for path in (firexlite.folder / "lab-7").iterdir()) == ["a", "b"]


CALLER = """
from celery import chain, shared_task, signature
from firexapp.engine.celery import app
from firexapp.tasks.core_tasks import CopyBogKeys, ScheduleSubChain
from firexapp.tasks.example import amplify, greet

@shared_task(bind=True, returns=["said", "copied"])
def party(self, name):
    sub = ScheduleSubChain.s(chain=chain(signature("greet"), amplify.s(to_amplify="@greeting")))
    results = self.enqueue_child_and_get_results(greet.s(name=name) | CopyBogKeys.s({"greeting": "first"}) | sub)
    failed = self.enqueue_child_and_get_results(ScheduleSubChain.s(chain=greet.s(name="A"), catch_errors=True))
    assert failed == {}, failed
    return results["amplified_message"], results["first"]
"""


def test_services_of_firex_are_called_by_others(firexlite, plugin):
    done = firexlite("submit", "--plugins", plugin(CALLER), "--chain", "party", "--name", "Li")

    assert done.code == 0, done.err
    assert json.loads(firexlite.only_run().run_json.read_text())["results"]["chain_results"] == {
        "said": "HELLO LI!", "copied": "Hello Li!"}


ROOT = """
from firexapp.engine.celery import app
from firexapp.tasks.root_tasks import get_configured_root_task

@app.task(bind=True, returns=["good", "bad"])
def nested(self):
    root = get_configured_root_task()
    names = ("chain_results", "unsuccessful_services")
    return (self.enqueue_child_and_get_results(root.s(chain="greet", name="Li"), return_keys=names),
            self.enqueue_child_and_get_results(root.s(chain="nop,greet,nop", name="A"), return_keys=names))
"""


def test_the_root_task_of_firex_succeeds_whatever_becomes_of_its_chain(firexlite, plugin):
    done = firexlite("submit", "--plugins", plugin(ROOT), "--chain", "nested")

    assert done.code == 0, done.err
    assert json.loads(firexlite.only_run().run_json.read_text())["results"]["chain_results"] == {
        "good": [{"greeting": "Hello Li!"}, {}], "bad": [{}, {"failed": ["greet"], "not_run": ["nop"]}]}


BROKER = """
from firexkit.broker import handle_broker_timeout
"""


def test_a_file_that_needs_a_broker_is_told_what_to_use_instead(firexlite, plugin):
    done = firexlite("submit", "--plugins", plugin(BROKER), "--chain", "nop")

    assert done.code == 2
    assert done.err == (
        "firexlite: plugin 'services.py' failed to import at line 2 (`from firexkit.broker import handle_broker_timeout`): "
        "ModuleNotFoundError: firexlite does not stand in for firexkit.broker: firexlite runs without broker and celery "
        "workers; app.backend keeps values that the workers of a run share\n")
