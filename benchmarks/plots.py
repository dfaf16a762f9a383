"""The figures as pictures: time, and the cost of a task, as runs grow. They need matplotlib, of the extra `bench`."""
from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from .contest import OURS, Round, Workload
from .goals import DBOS, HUEY
from .peers.contenders import CELERY, CELERY_THAT_SYNCS, REDUN
from .scratch import CannotMeasure
from .workloads import POOL, RAW, chain, fanout

TIME, COST = "speed-time.svg", "speed-cost.svg"
SETTINGS = {
    "svg.hashsalt": "firexlite", "svg.fonttype": "none",  # the same figures give the same file
    "font.family": "sans-serif", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.color": "#dddddd", "grid.linewidth": 0.6, "lines.linewidth": 1.8, "lines.markersize": 5,
    "legend.frameon": False,
}
# Ours stands out; the others are told apart by their marks too, for those who see no colours.
LOOKS = {OURS: ("#c2410c", "o"), POOL: ("#6b7280", "s"), RAW: ("#111827", "^"), HUEY: ("#2563eb", "D"), DBOS: ("#059669", "v"),
         REDUN: ("#7c3aed", "P"), CELERY: ("#db2777", "X"), CELERY_THAT_SYNCS: ("#9d174d", "*")}

Series = Mapping[str, Sequence[tuple[int, float]]]  # by contender: ``(how many tasks, seconds)``


def draw_plots(workloads: Sequence[Workload], rounds: Sequence[Round], folder: Path) -> str:
    """Draw both pictures into a folder beside the document; the words that show them there."""
    fanned = series([each for each in workloads if each.name == fanout(each.units)], rounds)
    chained = series([each for each in workloads if each.name == chain(each.units)], rounds)
    folder.mkdir(exist_ok=True)
    _draw(folder / TIME, "seconds in all", fanned, chained, lambda tasks, seconds: seconds)
    _draw(folder / COST, "microseconds a task", fanned, chained, lambda tasks, seconds: seconds * 1_000_000 / tasks)
    return ("### plots\n\nMedians of the rounds, on scales where each step is ten times the one before; a flat line in the "
            "second picture is a cost that does not grow with the run.\n\n"
            f"![Time against the number of tasks]({folder.name}/{TIME})\n\n"
            f"![Cost of a task against the number of tasks]({folder.name}/{COST})")


def series(workloads: Sequence[Workload], rounds: Sequence[Round]) -> Series:
    """Of each contender whose looks are known, how long it took for each size, the least first."""
    found: dict[str, list[tuple[int, float]]] = {}
    for workload in sorted(workloads, key=lambda each: each.units):
        for name in LOOKS:
            seconds = [each.samples[workload.name, name]["seconds"] for each in rounds if (workload.name, name) in each.samples]
            if seconds:
                found.setdefault(name, []).append((workload.units, statistics.median(seconds)))
    return found


def pyplot():
    """Raises CannotMeasure where there is no matplotlib."""
    try:
        import matplotlib
    except ImportError:
        raise CannotMeasure("the plots are drawn by matplotlib, which is not here: pip install -e '.[bench]'") from None
    matplotlib.use("svg")
    matplotlib.rcParams.update(SETTINGS)
    from matplotlib import pyplot
    return pyplot


def _draw(path: Path, what: str, fanned: Series, chained: Series, value: Callable[[int, float], float]) -> None:
    plt = pyplot()
    figure, both = plt.subplots(1, 2, figsize=(9.6, 3.8), layout="constrained")
    for axes, title, lines in zip(both, ("fan-out, 2 workers", "chain"), (fanned, chained), strict=True):
        for name, points in lines.items():
            colour, mark = LOOKS[name]
            axes.plot([tasks for tasks, _ in points], [value(*point) for point in points], label=name, color=colour,
                      marker=mark, zorder=3 if name == OURS else 2)
        axes.set(title=title, xlabel="tasks", ylabel=what, xscale="log", yscale="log")
        axes.minorticks_off()
        sizes = sorted({tasks for points in lines.values() for tasks, _ in points})
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.yaxis.set_major_formatter(lambda number, _: f"{number:,g}")
    labels = {label: handle for axes in both for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(labels.values(), labels.keys(), loc="outside right center", fontsize=8)
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)
