"""The services of the runs that tests/upgrade keeps. It stays as it is: the runs were made with it."""
import os
import time

from firexlite import app


def note(what):
    if log := os.environ.get("EFFECT_LOG"):
        fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, f"{what}\n".encode())
        os.close(fd)


@app.task(returns="paper")
def prepare(sheets):
    note("prepare")
    print("the paper is cut")
    return "white " * int(sheets)


@app.task(bind=True, returns="pages")
def write(self, paper):
    note("write")
    promises = [self.enqueue_child(write_page.s(number=number, paper=paper[:5])) for number in range(5)]
    self.wait_for_children()
    return [promise.result["page"] for promise in promises]


@app.task(returns="page")
def write_page(number, paper):
    note(f"page {number}")
    print(f"page {number} is begun")
    while number in (2, 3) and not os.path.exists(os.environ["INK"]):
        time.sleep(0.01)
    return f"page {number} on {paper}"


@app.task(returns="book")
def bind(pages, paper):
    note("bind")
    return f"{len(pages)} pages, {len(paper)} letters of paper: {pages[0]} .. {pages[-1]}"
