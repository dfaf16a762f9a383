// Time as width: bars in the rows, ticks above them, and the stretch of the run that is shown.

const TICK_STEPS_MS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 3e4, 6e4, 3e5, 6e5, 18e5, 36e5, 216e5, 864e5];
const TICK_PX = 90, LABEL_PX = 50;  // at least, from one to the next; at most, of a label
const LEAST_DRAG_PX = 6;            // less is a click
const IDLE_PART = 0.05;             // of the whole; a longer gap in which nothing ran is folded
const FOLDED_PART = 0.012;          // of what is left: how wide such a gap is drawn
const BARS_PX = 3;                  // bars closer than this are drawn as one

// Time to width, both in ms, where idle gaps are folded. A piece is [time, width].
class Scale {
  constructor({ span, idleGaps }) {
    const busy = idleGaps.reduce((ms, [from, to]) => ms + from - to, span);
    this.gaps = idleGaps;
    this.pieces = [[0, 0]];
    let saved = 0;
    for (const [from, to] of [...idleGaps, [span, span]]) {
      this.pieces.push([from, from - saved]);
      saved += Math.max(0, to - from - busy * FOLDED_PART);
      this.pieces.push([to, to - saved]);
    }
    this.width = span - saved;
  }

  at(ms) { return interpolate(this.pieces, ms, 0, 1); }
  timeAt(width) { return interpolate(this.pieces, width, 1, 0); }
}

function interpolate(pieces, value, from, to) {
  const n = pieces.findIndex((piece, at) => at > 0 && (piece[from] >= value || at === pieces.length - 1));
  const [a, b] = [pieces[n - 1], pieces[n]];
  return a[to] + (b[from] > a[from] ? ((value - a[from]) / (b[from] - a[from])) * (b[to] - a[to]) : 0);
}

// When bodies began and when they ended, each in order of time, in ms.
lazily(Run, "busy", ({ size, start, runtime, spans }) => {
  const starts = [], ends = [], inOrder = (times) => Float64Array.from(times).sort();
  const add = (from, length) => { starts.push(from); ends.push(from + length); };
  for (let row = 0; row < size; row++) {
    const bars = spans[row];
    if (bars) for (let i = 0; i < bars.length; i += 4) { if (bars[i] === RAN) add(bars[i + 2], bars[i + 3]); }
    else if (start[row] >= 0) add(start[row], runtime[row]);
  }
  return { starts: inOrder(starts), ends: inOrder(ends) };
});

// Stretches, longer than a part of the run, in which no body ran: [[from, to], ...].
lazily(Run, "idleGaps", ({ span, busy: { starts, ends } }) => {
  const gaps = Array.from(starts, (to, n) => [n ? ends[n - 1] : 0, to]);  // as many had begun as had ended
  if (starts.length) gaps.push([ends.at(-1), span]);
  return gaps.filter(([from, to]) => to - from > span * IDLE_PART);
});

lazily(Run, "scale", (run) => new Scale(run));

class Timeline {
  constructor(page, ticks, grid) {
    Object.assign(this, { page, run: page.run, ticks, grid, scale: page.run.scale });
    ticks.addEventListener("pointerdown", (event) => this.startDrag(event));
    ticks.addEventListener("dblclick", () => this.zoom());
    ticks.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  // Show the stretch from..to in ms; without them, all of it. The address has it in seconds.
  zoom(from = 0, to = this.run.span, how = {}) {
    const [since, until] = [Math.max(0, from), Math.min(this.run.span, to)].map((ms) => Number((ms / 1000).toFixed(5)));
    this.page.go({ view: "tree", t: from <= 0 && to >= this.run.span ? undefined : `${since}-${until}` }, how);
  }

  zoomTo(left, right, how) { this.zoom(this.scale.timeAt(left), this.scale.timeAt(right), how); }

  // Zoom at the pointer.
  wheel(event) {
    event.preventDefault();
    const shown = this.right - this.left, wanted = Math.min(this.scale.width, shown * 1.0015 ** event.deltaY);
    const left = this.left + ((this.widthAt(event) - this.left) / shown) * (shown - wanted);
    const least = Math.max(0, Math.min(this.scale.width - wanted, left));
    if (wanted >= 0.01) this.zoomTo(least, least + wanted, { replace: true });
  }

  // What the pointer is at, on the scale.
  widthAt({ clientX }) {
    const { left, width } = this.ticks.getBoundingClientRect(), part = Math.min(1, Math.max(0, (clientX - left) / width));
    return this.left + part * (this.right - this.left);
  }

  startDrag(event) {
    const { ticks } = this, first = this.widthAt(event), { clientX } = event;
    const ends = (move) => [first, this.widthAt(move)].sort((a, b) => a - b);
    const range = el("i", { class: "range" });
    const drag = (move) => {
      const [left, right] = ends(move).map((width) => this.percent(this.scale.timeAt(width)));
      Object.assign(range.style, { left: `${left}%`, width: `${right - left}%` });
    };
    const stop = (up) => {
      ticks.removeEventListener("pointermove", drag);
      range.remove();
      if (Math.abs(up.clientX - clientX) >= LEAST_DRAG_PX) this.zoomTo(...ends(up));
    };
    ticks.append(range);
    ticks.setPointerCapture(event.pointerId);
    ticks.addEventListener("pointermove", drag);
    ticks.addEventListener("pointerup", stop, { once: true });
  }

  draw(shown = this.page.address.t) {
    const [from, to] = (/^([\d.]+)-([\d.]+)$/.exec(shown) ?? []).slice(1).map((seconds) => seconds * 1000);
    [this.from, this.to] = to > from ? [from, to] : [0, this.run.span];
    [this.left, this.right] = [this.scale.at(this.from), this.scale.at(this.to)];
    this.drawAxis();
  }

  percent(ms) { return ((this.scale.at(ms) - this.left) / (this.right - this.left)) * 100; }

  // Stretches {from, to, look, title, wins} as elements, without what is not shown. Those too close to be told apart are one,
  // which looks like the last of them that `wins`.
  drawStretches(tag, stretches, leastPx = 0) {
    const drawn = [], least = (leastPx / (this.ticks.clientWidth || 1000)) * 100;
    for (const { from, to, look, title, wins } of stretches) {
      const left = Math.max(0, this.percent(from)), right = Math.min(100, this.percent(to)), last = drawn.at(-1);
      if (!(left <= 100 && right >= 0)) continue;  // also where a time is missing
      if (last && right - last.left < least) Object.assign(last, { right }, wins && { look });
      else drawn.push({ left, right, look, title });
    }
    return drawn.map(({ left, right, look, title }) =>
      el(tag, { class: look, title, style: { left: `${left}%`, width: `${right - left}%` } }));
  }

  // Below the bars stands when this row decided how long the run took.
  drawBars(row) {
    const { run } = this, bars = run.barsOf(row).map(([kind, outcome, from, length]) => {
      const look = outcome === run.state[row] ? run.lookOf(row) : run.states[outcome];
      return { from, to: from + length, look: kind === QUEUED ? "queued" : `${BAR_KINDS[kind]} ${look}`,
        wins: kind === RAN || look.startsWith("failed") };
    });
    const critical = (run.criticalByRow.get(row) ?? []).map(({ from, to }) => ({ from, to, look: "critical" }));
    return el("div", { class: "bars", title: this.describe(row) },
      this.drawStretches("i", bars, BARS_PX), this.drawStretches("u", critical, BARS_PX));
  }

  describe(row) {
    const { run, run: { start, runtime, queue } } = this;
    return start[row] >= 0 && [`${run.nameOf(row)}: from ${duration(start[row])} for ${duration(runtime[row])}`,
      queue[row] >= 1 && `after ${duration(queue[row])} in the queue`, run.criticalByRow.has(row) && "on the critical path",
    ].filter(Boolean).join(", ");
  }

  drawAxis() {
    const { scale, from, to, ticks, grid } = this, width = ticks.clientWidth || 1, label = (LABEL_PX / width) * 100;
    const leastStep = (TICK_PX * (this.right - this.left)) / width;  // in ms, outside the gaps
    const step = TICK_STEPS_MS.find((ms) => ms >= leastStep) ?? to - from, marks = [], lines = [];
    for (let at = Math.ceil(from / step) * step, free = 0; at <= to; at += step) {
      const gap = scale.gaps.find(([since, until]) => at > since && at < until), left = this.percent(at);
      if (gap) at = Math.floor(gap[1] / step) * step;
      if (gap || left < free || left > 100 - label) continue;
      const style = { left: `${left}%` };
      marks.push(el("span", { class: "tick", style }, tickLabel(at, step)));
      lines.push(el("i", { class: "line", style }));
      free = left + label;
    }
    const drawGaps = () => this.drawStretches("i", scale.gaps.map(([since, until]) => (
      { from: since, to: until, look: "idle", title: `nothing ran for ${duration(until - since)}` })));
    ticks.replaceChildren(...marks, ...drawGaps());
    grid.replaceChildren(...lines, ...drawGaps(), ...this.drawStretches("i", this.downtimes()));
  }

  // Between two incarnations nothing of the run was alive.
  downtimes() {
    const { facts, zero } = this.run, { incarnations: lives = [] } = facts.run;
    return lives.slice(1).map(({ started }, n) => {
      const { ended, end } = lives[n], gone = duration((started - ended) * 1000);
      return { from: (ended - zero) * 1000, to: (started - zero) * 1000, look: `down ${end}`,
        title: `${end === "crash" ? "killed" : "stopped"}; incarnation ${n + 2} came ${gone} later` };
    });
  }
}

// With as many decimals as the step between two has; from a minute on, as on a clock.
function tickLabel(ms, step) {
  if (ms < 6e4 || step < 1e3) return `${(ms / 1e3).toFixed(Math.max(0, Math.ceil(-Math.log10(step / 1e3))))} s`;
  const seconds = Math.round(ms / 1e3), hours = Math.floor(seconds / 3600), minutes = (seconds / 60) % 60;
  return `${hours ? `${hours}:${two(minutes)}` : Math.floor(minutes)}:${two(seconds % 60)}`;
}
