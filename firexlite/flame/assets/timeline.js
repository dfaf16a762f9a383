// Time as width: bars in the rows, ticks above them, and the stretch of the run that is shown.

const TICK_STEPS_MS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 3e4, 6e4, 3e5, 6e5, 18e5, 36e5, 216e5, 864e5];
const TICK_PX = 90;         // at least, from one to the next
const LABEL_PX = 50;        // the widest label
const LEAST_DRAG_PX = 6;    // less is a click
const IDLE_PART = 0.05;     // of the whole; a longer gap in which nothing ran is folded
const FOLDED_PART = 0.012;  // of what is left: how wide such a gap is drawn
const BARS_PX = 3;          // bars closer than this are drawn as one

// Time to width where nothing ran for long: idle gaps are folded to a mark. Both in ms; a piece is [time, width].
class Scale {
  constructor(run) {
    this.gaps = idleGaps(run);
    const idle = this.gaps.reduce((sum, [from, to]) => sum + to - from, 0), mark = (run.span - idle) * FOLDED_PART;
    this.pieces = [[0, 0]];
    let saved = 0;
    for (const [from, to] of this.gaps) {
      this.pieces.push([from, from - saved]);
      saved += to - from - mark;
      this.pieces.push([to, to - saved]);
    }
    this.width = run.span - saved;
    this.pieces.push([run.span, this.width]);
  }

  at(ms) { return interpolate(this.pieces, ms, 0, 1); }
  timeAt(width) { return interpolate(this.pieces, width, 1, 0); }
}

function interpolate(pieces, value, from, to) {
  let n = 1;
  while (n < pieces.length - 1 && pieces[n][from] < value) n++;
  const [a, b] = [pieces[n - 1], pieces[n]], part = b[from] > a[from] ? (value - a[from]) / (b[from] - a[from]) : 0;
  return a[to] + part * (b[to] - a[to]);
}

// When bodies began and when they ended, each in order of time, in ms.
function busyTimes({ size, start, runtime, spans }) {
  const starts = [], ends = [], inOrder = (times) => Float64Array.from(times).sort();
  const add = (from, length) => { starts.push(from); ends.push(from + length); };
  for (let row = 0; row < size; row++) {
    const bars = spans[row];
    if (bars) for (let i = 0; i < bars.length; i += 4) { if (bars[i] === RAN) add(bars[i + 2], bars[i + 3]); }
    else if (start[row] >= 0) add(start[row], runtime[row]);
  }
  return { starts: inOrder(starts), ends: inOrder(ends) };
}

// Stretches, longer than a part of the run, in which no body ran: [[from, to], ...].
function idleGaps({ span, busy: { starts, ends } }) {
  const gaps = [];
  for (let n = 0; n <= starts.length; n++) {  // as many had begun as had ended
    const from = n ? ends[n - 1] : 0, to = n < starts.length ? starts[n] : span;
    if (to - from > span * IDLE_PART) gaps.push([from, to]);
  }
  return starts.length ? gaps : [];
}

lazily(Run, "busy", busyTimes);
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
    const isAll = from <= 0 && to >= this.run.span;
    const seconds = (ms) => Number((Math.min(this.run.span, Math.max(0, ms)) / 1000).toFixed(5));
    this.page.go({ view: "tree", t: isAll ? undefined : `${seconds(from)}-${seconds(to)}` }, how);
  }

  // Zoom at the pointer. Over the rows, where the wheel scrolls, only with Ctrl.
  wheel(event) {
    if (event.currentTarget !== this.ticks && !event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const shown = this.right - this.left, wanted = Math.min(this.scale.width, shown * 1.0015 ** event.deltaY);
    if (wanted < 0.01) return;
    const left = Math.max(0, Math.min(this.scale.width - wanted, this.left + this.partAt(event) * (shown - wanted)));
    this.zoom(this.scale.timeAt(left), this.scale.timeAt(left + wanted), { replace: true });
  }

  // Where the pointer is, as a part of the width.
  partAt({ clientX }) {
    const { left, width } = this.ticks.getBoundingClientRect();
    return Math.min(1, Math.max(0, (clientX - left) / width));
  }

  startDrag(event) {
    const first = this.partAt(event), range = el("i", { class: "range" });
    const ends = (move) => [first, this.partAt(move)].sort((a, b) => a - b);
    const drag = (move) => {
      const [left, right] = ends(move);
      range.style.left = `${left * 100}%`;
      range.style.width = `${(right - left) * 100}%`;
    };
    const stop = (up) => {
      const [left, right] = ends(up), timeAt = (part) => this.scale.timeAt(this.left + part * (this.right - this.left));
      this.ticks.removeEventListener("pointermove", drag);
      range.remove();
      if ((right - left) * this.ticks.clientWidth >= LEAST_DRAG_PX) this.zoom(timeAt(left), timeAt(right));
    };
    this.ticks.append(range);
    this.ticks.setPointerCapture(event.pointerId);
    this.ticks.addEventListener("pointermove", drag);
    this.ticks.addEventListener("pointerup", stop, { once: true });
  }

  draw(shown = this.page.address.t ?? "") {
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
    return `${run.nameOf(row)}: ${run.stateOf(row)}, ` + (start[row] < 0 ? "did not run" : [
      `from ${duration(start[row])} for ${duration(runtime[row])}`, queue[row] >= 1 && `after ${duration(queue[row])} in the queue`,
      run.criticalByRow.has(row) && "on the critical path"].filter(Boolean).join(", "));
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
      { from: since, to: until, look: "idle", title: `nothing ran for ${duration(until - since)}; the gap is folded` })));
    ticks.replaceChildren(...marks, ...drawGaps());
    grid.replaceChildren(...lines, ...drawGaps(), ...this.drawStretches("i", this.downtimes()));
  }

  // Between two incarnations nothing of the run was alive.
  downtimes() {
    const { facts, zero } = this.run, { incarnations: lives = [] } = facts.run;
    return lives.slice(1).map(({ started }, n) => {
      const { ended, end } = lives[n], isCrash = end === "crash", gone = duration((started - ended) * 1000);
      return { from: (ended - zero) * 1000, to: (started - zero) * 1000, look: isCrash ? "down crash" : "down",
        title: `${isCrash ? "killed" : "stopped"}; the next incarnation came ${gone} later` };
    });
  }
}

// With as many decimals as the step between two has; from a minute on, as on a clock.
function tickLabel(ms, step) {
  if (ms < 6e4 || step < 1e3) return `${(ms / 1e3).toFixed(Math.max(0, Math.ceil(-Math.log10(step / 1e3))))} s`;
  const seconds = Math.round(ms / 1e3), hours = Math.floor(seconds / 3600), minutes = (seconds / 60) % 60;
  return `${hours ? `${hours}:${two(minutes)}` : Math.floor(minutes)}:${two(seconds % 60)}`;
}
