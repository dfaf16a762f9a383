// Time as width: bars in the rows, ticks above them, and the stretch of the run that is shown.

const TICK_STEPS_MS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4,
  6e4, 12e4, 3e5, 6e5, 9e5, 18e5, 36e5, 72e5, 216e5, 432e5, 864e5];
const TICK_PX = 90;      // at least, from one to the next
const LABEL_PX = 46;     // the widest label
const LEAST_DRAG_PX = 6; // less is a click

class Timeline {
  constructor(run, ticks, grid, redraw) {
    Object.assign(this, { run, ticks, grid, redraw });
    this.showAll();
    ticks.addEventListener("pointerdown", (event) => this.startDrag(event));
    ticks.addEventListener("dblclick", () => this.show(0, this.run.span));
  }

  showAll() { [this.from, this.to] = [0, this.run.span]; }

  show(from, to) {
    [this.from, this.to] = [Math.max(0, from), Math.min(this.run.span, to)];
    this.drawAxis();
    this.redraw();
  }

  percent(ms) { return ((ms - this.from) / (this.to - this.from)) * 100; }

  drawBars(row) {
    const bars = el("div", { class: "bars", title: this.describe(row) });
    for (const [kind, outcome, start, length] of this.run.barsOf(row)) {
      const left = Math.max(0, this.percent(start)), right = Math.min(100, this.percent(start + length));
      if (right < 0 || left > 100) continue;
      const look = outcome === this.run.state[row] ? this.run.lookOf(row) : this.run.states[outcome];
      const bar = el("i", { class: kind === QUEUED ? "queued" : `${BAR_KINDS[kind]} ${look}` });
      bar.style.left = `${left}%`;
      bar.style.width = `${right - left}%`;
      bars.append(bar);
    }
    return bars;
  }

  describe(row) {
    const { start, runtime, queue } = this.run;
    if (start[row] < 0) return `${this.run.nameOf(row)}: ${this.run.stateOf(row)}, did not run`;
    return `${this.run.nameOf(row)}: ${this.run.stateOf(row)}, from ${duration(start[row])} for ${duration(runtime[row])}`
      + (queue[row] >= 1 ? `, after ${duration(queue[row])} in the queue` : "");
  }

  drawAxis() {
    const shown = this.to - this.from, width = this.ticks.clientWidth || 1;
    const step = TICK_STEPS_MS.find((ms) => (ms / shown) * width >= TICK_PX) ?? shown;
    const ticks = [], lines = [];
    for (let at = Math.ceil(this.from / step) * step; at <= this.to; at += step) {
      const fits = (1 - this.percent(at) / 100) * width > LABEL_PX;
      const tick = el("span", { class: "tick" }, fits && (at === 0 ? "0" : tickLabel(at, step)));
      const line = el("i", { class: "line" });
      tick.style.left = line.style.left = `${this.percent(at)}%`;
      ticks.push(tick);
      lines.push(line);
    }
    this.ticks.replaceChildren(...ticks);
    this.grid.replaceChildren(...lines, ...this.drawDowntimes());
  }

  // Between two incarnations nothing of the run was alive.
  drawDowntimes() {
    const lives = this.run.facts.run.incarnations ?? [];
    return lives.slice(1).flatMap((life, n) => {
      const from = this.percent((lives[n].ended - this.run.zero) * 1000);
      const to = this.percent((life.started - this.run.zero) * 1000);
      if (!(from < 100 && to > 0)) return [];  // also where a time is missing
      const band = el("i", { class: "down", title: `down before incarnation ${life.n ?? n + 2}` });
      band.style.left = `${Math.max(0, from)}%`;
      band.style.width = `${Math.min(100, to) - Math.max(0, from)}%`;
      return [band];
    });
  }

  startDrag(event) {
    const box = this.ticks.getBoundingClientRect();
    const range = el("i", { class: "range" });
    const at = (x) => Math.min(1, Math.max(0, (x - box.left) / box.width));
    const first = at(event.clientX);
    const ends = (last) => [Math.min(first, last), Math.max(first, last)];
    const drag = (move) => {
      const [left, right] = ends(at(move.clientX));
      range.style.left = `${left * 100}%`;
      range.style.width = `${(right - left) * 100}%`;
    };
    const stop = (up) => {
      this.ticks.removeEventListener("pointermove", drag);
      range.remove();
      const [left, right] = ends(at(up.clientX)), shown = this.to - this.from;
      if ((right - left) * box.width >= LEAST_DRAG_PX) this.show(this.from + left * shown, this.from + right * shown);
    };
    this.ticks.append(range);
    this.ticks.setPointerCapture(event.pointerId);
    this.ticks.addEventListener("pointermove", drag);
    this.ticks.addEventListener("pointerup", stop, { once: true });
  }
}

function tickLabel(ms, step) {
  if (step < 1) return `${ms.toFixed(1)} ms`;
  if (step < 1e3) return ms < 1e3 ? `${Math.round(ms)} ms` : `${(ms / 1e3).toFixed(step < 10 ? 3 : step < 100 ? 2 : 1)} s`;
  if (step < 6e4 && ms < 6e4) return `${Math.round(ms / 1e3)} s`;
  const seconds = Math.round(ms / 1e3), two = (n) => String(n).padStart(2, "0");
  if (ms < 36e5) return `${Math.floor(seconds / 60)}:${two(seconds % 60)}`;
  return `${Math.floor(seconds / 3600)}:${two(Math.floor(seconds / 60) % 60)} h`;
}
