"""Kill everything at a random moment, resume, and compare with a run that nobody disturbed."""
from __future__ import annotations

import collections
import json
import random
import time

import pytest
from conftest import FIXTURES, Command, kill_all, query

ROUNDS, SHARDS = 50, 10
QUICK = 1  # shards for `./dev test`; the others are for `./dev large`
SUBMIT = ("submit", "--plugins", FIXTURES / "sixty.py", "--chain", "plan,assemble,pack,ship", "--workers", "2")


def starts(log) -> collections.Counter:
    return collections.Counter(log.read_text().splitlines()) if log.exists() else collections.Counter()


def key_of(service: str, arguments: str) -> str:
    """The line that the body of this task writes."""
    own = json.loads(arguments)
    parts = [str(own[name]) for name in ("part", "number", "side") if name in own]
    return " ".join([service.rpartition(".")[2], *parts])


def results(run) -> list[tuple]:
    return sorted(query(run, "SELECT service, arguments, state, result FROM task WHERE parent IS NOT NULL"), key=str) + \
        query(run, "SELECT service, state, result FROM task WHERE parent IS NULL")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    command = Command(folder / "home", folder)
    done = command(*SUBMIT, EFFECT_LOG=str(folder / "effects"))
    assert done.code == 0, done.err
    assert sum(starts(folder / "effects").values()) == 60
    return results(command.only_run())


@pytest.mark.timeout(300)
@pytest.mark.parametrize("shard", [pytest.param(n, marks=[pytest.mark.long] * (n >= QUICK)) for n in range(SHARDS)])
def test_a_run_killed_at_random_moments_ends_as_if_undisturbed(shard, tmp_path, undisturbed):
    for seed in range(shard, ROUNDS, SHARDS):
        folder = tmp_path / str(seed)
        folder.mkdir()
        one_killed_run(random.Random(seed), folder, undisturbed)


def one_killed_run(chance: random.Random, folder, undisturbed) -> None:
    command = Command(folder / "home", folder)
    log = folder / "effects"
    in_batch: collections.Counter = collections.Counter()
    killed: set[tuple] = set()  # attempts: a resume may itself be killed before it takes over
    words: tuple = SUBMIT
    for _ in range(chance.randint(1, 5)):
        process = command.start(*words, EFFECT_LOG=str(log))
        time.sleep(chance.uniform(0.2, 1.1))  # the moment of the kill is what is random here
        kill_all(process)
        process.communicate()
        if not command.runs():
            continue  # killed before the run was durable, so it was never promised
        run = command.only_run()
        words = ("resume", run.firex_id)
        killed.update(query(run, "SELECT service, arguments, number FROM task JOIN attempt ON attempt.task = task.id "
                                 "WHERE attempt.ended IS NULL"))
        # Those of a batch may have ended, unsettled: tasks shorter than a millisecond.
        in_batch.update(key_of(*row) for row in query(run, "SELECT service, arguments FROM task WHERE reserved IS NOT NULL"))
    in_flight = collections.Counter(key_of(service, arguments) for service, arguments, _ in killed)
    done = command(*words, EFFECT_LOG=str(log))
    assert done.code == 0, done.err

    assert results(command.only_run()) == undisturbed
    for key, count in starts(log).items():
        most = 1 + in_flight[key] + in_batch[key]
        assert 1 <= count <= most, f"{key} started {count} times, in flight at {in_flight[key]} kills"
    attempts = {key_of(service, arguments): attempt for service, arguments, attempt
                in query(command.only_run(), "SELECT service, arguments, attempt FROM task")}
    assert attempts == {key: 1 + in_flight[key] for key in attempts}
