"""The service file of the crash lab. What its services do stands in crash/bodies.py, which the lab has imported already."""
from crash import bodies
from firexlite import app
from firexlite.task_options import PendingChildStrategy

MANY = 1000  # deaths of its worker that a task survives: the lab kills more than a person should
LIMIT_S = 0.3
USUAL = {"bind": True, "returns": "value", "worker_deaths": MANY, "autoretry_for": bodies.Again, "max_retries": MANY,
         "retry_backoff": 0.02, "retry_jitter": False}


@app.task(**USUAL)
def plain(self, key, sent="", value=None):
    return bodies.run(self, key, sent, value)


@app.task(**USUAL, flame="key")
def shown(self, key, sent="", value=None):
    return bodies.run(self, key, sent, value)


@app.task(**USUAL, pending_child_strategy=PendingChildStrategy.CONTINUE)
def keeping(self, key, sent="", value=None):
    return bodies.run(self, key, sent, value)


@app.task(**USUAL, use_cache=True)
def cached(self, key, sent=""):
    return bodies.run(self, key, sent, None)


@app.task(**USUAL, soft_time_limit=LIMIT_S)
def hanging_soft(self, key, sent="", value=None):
    return bodies.run(self, key, sent, value)


@app.task(**USUAL, time_limit=LIMIT_S)
def hanging_hard(self, key, sent="", value=None):
    return bodies.run(self, key, sent, value)


def link(number):
    """Make the service for one place in the submitted chain."""
    def linked(self, value=None):
        return bodies.run_link(self, number, value)

    app.task(linked, **USUAL, name=f"crash.link{number}")


for place in range(4):
    link(place)
