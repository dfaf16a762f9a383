"""The service file of the crash lab. What its services do stands in crash/bodies.py, which the lab has imported already."""
from crash import bodies
from firexlite import app

MANY = 1000  # deaths of its worker that a task survives: the lab kills more than a person should


@app.task(bind=True, returns="value", worker_deaths=MANY)
def plain(self, key, sent="", value=None):
    return bodies.run(self, key, sent, value)


@app.task(bind=True, returns="value", flame="key", worker_deaths=MANY)
def shown(self, key, sent="", value=None):
    return bodies.run(self, key, sent, value)


def link(number):
    """Make the service for one place in the submitted chain."""
    def linked(self, value=None):
        return bodies.run_link(self, number, value)

    app.task(linked, bind=True, returns="value", name=f"crash.link{number}", worker_deaths=MANY)


for place in range(4):
    link(place)
