"""The sales of many shops, a CSV file for each, become one report.

    python3 make_sales.py
    firexlite submit --plugins pipeline.py --chain discover,digest,merge,publish --inbox inbox --report report.csv

What to notice:

- Files are values: `File(path)` has the size and the SHA-256 of the file as it was. Before a run goes on, `resume` looks
  whether they still are that, and if not names them, with the task that made each.
- A row that cannot be right fails the task of its file, with the file and the line. The other files are digested all the same.
- Correct the file, and give `resume --rerun-missing`: it runs `discover` again, since what that found is not there any more;
  then the corrected file is digested, and no other.
- The exchange rates are asked for once in the run, whoever needs them first.
- Whatever is written takes its place at once, by `os.replace`. So nobody ever reads half a file, and a task may run twice.
"""
import csv
import os
from collections import Counter
from decimal import Decimal, InvalidOperation
from pathlib import Path

from firexlite import File, app, flame

COLUMNS = ["receipt", "product", "amount", "currency"]


@app.task(returns="inputs", flame="inputs")
def discover(inbox):
    """What there is to be digested, as it is now."""
    inputs = [File(path) for path in sorted(Path(inbox).glob("*.csv"))]
    if not inputs:
        raise ValueError(f"there is no CSV file in {inbox}")
    return inputs


@app.task(bind=True, returns="parts")
def digest(self, inputs, work="work"):
    """Check, clean and add up each file; all of them, before a bad one fails the run."""
    Path(work).mkdir(exist_ok=True)
    promises = [self.enqueue_child(check.s(sales=file) | clean.s(work=work) | add_up.s()) for file in inputs]
    self.wait_for_children()
    return [promise.result["part"] for promise in promises]


@app.task
def check(sales):
    """Raises ValueError, naming file and line, for the first row that cannot be right."""
    for row, place in rows_of(sales):
        if not row["receipt"].isdigit():
            raise ValueError(f"{place}: the number of a receipt is expected, not '{row['receipt']}'")
        try:
            Decimal(row["amount"])
        except InvalidOperation:
            raise ValueError(f"{place}: the amount '{row['amount']}' is no number") from None


@app.task(bind=True, returns="cleaned")
def clean(self, sales, work):
    """Each receipt once, products in small letters, amounts in euros."""
    rates = self.enqueue_child_and_get_results(ask_for_rates.s(), enqueue_once_key="rates")["rates"]
    kept = {}
    for row, _ in rows_of(sales):
        euros = (Decimal(row["amount"]) * rates[row["currency"]]).quantize(Decimal("0.01"))
        kept.setdefault(row["receipt"], [row["receipt"], row["product"].strip().lower(), euros, "EUR"])
    return write(Path(work, f"{Path(sales).stem}.clean.csv"), [COLUMNS, *kept.values()])


@app.task(returns="rates")
def ask_for_rates():
    print("asking the bank for its rates")
    return {"EUR": Decimal(1), "CHF": Decimal("1.04"), "NOK": Decimal("0.086")}


@app.task(returns="part")
def add_up(cleaned):
    """The sum of each product in one shop."""
    sums = Counter()
    for row, _ in rows_of(cleaned):
        sums[row["product"]] += Decimal(row["amount"])
    return write(cleaned.path.replace(".clean.csv", ".sum.csv"), [["product", "amount"], *sorted(sums.items())])


@app.task(returns=["merged", "total"])
@flame("total", lambda total: f"<b>{total} EUR</b> in all")
def merge(parts, work="work"):
    """The sums of all shops."""
    sums = Counter()
    for part in parts:
        for row, _ in rows_of(part):
            sums[row["product"]] += Decimal(row["amount"])
    return write(Path(work, "merged.csv"), [["product", "amount"], *sorted(sums.items())]), sum(sums.values())


@app.task(returns="published")
def publish(merged, report):
    """Put the report in the place of the last one, whole."""
    return write(report, csv.reader(Path(merged).read_text(encoding="utf-8").splitlines()))


def rows_of(file):
    """``(row by column, "file, line 7")`` of each row of a CSV file. Raises ValueError for one with other columns."""
    with open(file, newline="", encoding="utf-8") as lines:
        reader = csv.DictReader(lines, strict=True)
        for row in reader:
            place = f"{os.fspath(file)}, line {reader.line_num}"
            if None in row or None in row.values():
                raise ValueError(f"{place}: {len(reader.fieldnames)} columns are expected: {', '.join(reader.fieldnames)}")
            yield row, place


def write(path, rows):
    """Write a CSV file beside its place, put it there when it is whole, and return it as a value."""
    beside = f"{path}.{os.getpid()}"
    with open(beside, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    os.replace(beside, path)
    return File(path)
