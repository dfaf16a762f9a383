// Time as width: bars in the rows, ticks above them, and the stretch of the run that is shown.

const TICK_STEPS_MS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4,
  6e4, 12e4, 3e5, 6e5, 9e5, 18e5, 36e5, 72e5, 216e5, 432e5, 864e5];
const TICK_PX = 90;         // at least, from one to the next
const LABEL_PX = 46;        // the widest label
const LEAST_DRAG_PX = 6;    // less is a click
const IDLE_PART = 0.05;     // of the whole; a longer gap in which nothing ran is folded
const FOLDED_PART = 0.012;  // of what is left: how wide such a gap is drawn
const BARS_PX = 3;          // bars closer than this are drawn as one, of the worst that is in it

// Time to width where nothing ran for long: idle gaps are folded to a mark. Both in ms; a piece is [time, width].
class Scale {
  constructor(run) {
    this.gaps = idleGaps(run);
    const idle = this.gaps.reduce((sum, [from, to]) => sum + to - from, 0);
    const mark = (run.span - idle) * FOLDED_PART;
    this.pieces = [[0, 0]];
    let saved = 0;
    for (const [from, to] of this.gaps) {
      this.pieces.push([from, from - saved]);
      saved += to - from - mark;
      this.pieces.push([to, to - saved]);
    }
    this.pieces.push([run.span, run.span - saved]);
    this.width = run.span - saved;
  }

  at(ms) { return interpolate(this.pieces, ms, 0, 1); }
  timeAt(width) { return interpolate(this.pieces, width, 1, 0); }
}

function interpolate(pieces, value, from, to) {
  let n = 1;
  while (n < pieces.length - 1 && pieces[n][from] < value) n++;
  const [a, b] = [pieces[n - 1], pieces[n]];
  const part = b[from] > a[from] ? (value - a[from]) / (b[from] - a[from]) : 0;
  return a[to] + part * (b[to] - a[to]);
}

// When bodies began and when they ended, each in order of time, in ms.
function busyTimes({ size, start, runtime, spans }) {
  const further = [], isSpecial = new Uint8Array(size);
  for (const [row, bars] of Object.entries(spans)) {
    isSpecial[row] = 1;
    for (let i = 0; i < bars.length; i += 4) if (bars[i] === RAN) further.push([bars[i + 2], bars[i + 2] + bars[i + 3]]);
  }
  let n = 0;
  const starts = new Float64Array(size + further.length), ends = new Float64Array(size + further.length);
  const add = (from, to) => { starts[n] = from; ends[n++] = to; };
  for (let row = 0; row < size; row++) if (start[row] >= 0 && !isSpecial[row]) add(start[row], start[row] + runtime[row]);
  for (const [from, to] of further) add(from, to);
  return { starts: starts.subarray(0, n).sort(), ends: ends.subarray(0, n).sort() };
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
    ticks.addEventListener("wheel", (event) => this.wheel(event, true), { passive: false });
  }

  // Show the stretch from..to in ms; without them, all of it. The address has it in seconds.
  zoom(from = 0, to = this.run.span, how = {}) {
    const isAll = from <= 0 && to >= this.run.span;
    const seconds = (ms) => String(Number((Math.min(this.run.span, Math.max(0, ms)) / 1000).toFixed(5)));
    this.page.go({ view: "tree", t: isAll ? undefined : `${seconds(from)}-${seconds(to)}` }, how);
  }

  // Zoom at the pointer. Over the rows, where the wheel scrolls, only with Ctrl.
  wheel(event, always = false) {
    if (!always && !event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const box = this.ticks.getBoundingClientRect();
    const part = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    const shown = this.right - this.left, wanted = Math.min(this.scale.width, shown * 1.0015 ** event.deltaY);
    if (wanted < 0.01) return;
    const left = Math.max(0, Math.min(this.scale.width - wanted, this.left + part * (shown - wanted)));
    this.zoom(this.scale.timeAt(left), this.scale.timeAt(left + wanted), { replace: true });
  }

  draw(shown = this.page.address.t ?? "") {
    const [, from, to] = /^([\d.]+)-([\d.]+)$/.exec(shown) ?? [];
    [this.from, this.to] = Number(to) > Number(from) ? [from * 1000, to * 1000] : [0, this.run.span];
    [this.left, this.right] = [this.scale.at(this.from), this.scale.at(this.to)];
    this.drawAxis();
  }

  percent(ms) { return ((this.scale.at(ms) - this.left) / (this.right - this.left)) * 100; }

  drawBars(row) {
    const { run } = this;
    const bars = el("div", { class: "bars", title: this.describe(row) });
    const least = (BARS_PX / (this.ticks.clientWidth || 1000)) * 100;
    let last = null;
    for (const [kind, outcome, start, length] of run.barsOf(row)) {
      const left = Math.max(0, this.percent(start)), right = Math.min(100, this.percent(start + length));
      if (right < 0 || left > 100) continue;
      const look = outcome === run.state[row] ? run.lookOf(row) : run.states[outcome];
      const bar = { left, right, look: kind === QUEUED ? "queued" : `${BAR_KINDS[kind]} ${look}` };
      if (last && right - last.left < least) {  // too close to be told apart
        last.right = right;
        if (look.startsWith("failed") || kind === RAN) last.look = bar.look;
      } else {
        if (last) bars.append(drawBar(last));
        last = bar;
      }
    }
    if (last) bars.append(drawBar(last));
    bars.append(...this.drawCritical(row, least));
    return bars;
  }

  // Below the bars: when this row decided how long the run took.
  drawCritical(row, least) {
    const marks = [];
    for (const { from, to } of this.run.criticalByRow.get(row) ?? []) {
      const left = Math.max(0, this.percent(from)), right = Math.min(100, this.percent(to)), last = marks[marks.length - 1];
      if (right < 0 || left > 100) continue;
      if (last && left - last.right < least) last.right = right;
      else marks.push({ left, right, look: "critical", tag: "u" });
    }
    return marks.map(drawBar);
  }

  describe(row) {
    const { start, runtime, queue } = this.run;
    if (start[row] < 0) return `${this.run.nameOf(row)}: ${this.run.stateOf(row)}, did not run`;
    return `${this.run.nameOf(row)}: ${this.run.stateOf(row)}, from ${duration(start[row])} for ${duration(runtime[row])}`
      + (queue[row] >= 1 ? `, after ${duration(queue[row])} in the queue` : "")
      + (this.run.criticalByRow.has(row) ? "; on the critical path" : "");
  }

  drawAxis() {
    const shown = this.to - this.from, width = this.ticks.clientWidth || 1;
    const worth = (this.right - this.left) / width;  // ms a pixel, outside the gaps
    const step = TICK_STEPS_MS.find((ms) => ms / worth >= TICK_PX) ?? shown;
    const ticks = [], lines = [];
    let lastAt = -Infinity;
    for (let at = Math.ceil(this.from / step) * step; at <= this.to; at += step) {
      const gap = this.scale.gaps.find(([from, to]) => at > from && at < to);
      if (gap) { at = Math.floor(gap[1] / step) * step; continue; }
      const percent = this.percent(at);
      if (((percent - lastAt) / 100) * width < LABEL_PX) continue;
      lastAt = percent;
      const fits = (1 - percent / 100) * width > LABEL_PX;
      const tick = el("span", { class: "tick" }, fits && (at === 0 ? "0" : tickLabel(at, step)));
      const line = el("i", { class: "line" });
      tick.style.left = line.style.left = `${percent}%`;
      ticks.push(tick);
      lines.push(line);
    }
    this.ticks.replaceChildren(...ticks, ...this.drawGaps());
    this.grid.replaceChildren(...lines, ...this.drawGaps(), ...this.drawDowntimes());
  }

  drawGaps() {
    return this.scale.gaps.flatMap(([from, to]) =>
      this.drawBand("idle", from, to, `nothing ran for ${duration(to - from)}; the gap is folded`));
  }

  // Between two incarnations nothing of the run was alive.
  drawDowntimes() {
    const lives = this.run.facts.run.incarnations ?? [];
    return lives.slice(1).flatMap((life, n) => this.drawBand(lives[n].end === "crash" ? "down crash" : "down",
      (lives[n].ended - this.run.zero) * 1000, (life.started - this.run.zero) * 1000,
      `${lives[n].end === "crash" ? "killed" : "stopped"}; incarnation ${life.n ?? n + 2} came ${duration((life.started - lives[n].ended) * 1000)} later`));
  }

  drawBand(kind, from, to, title) {
    const left = Math.max(0, this.percent(from)), right = Math.min(100, this.percent(to));
    if (!(left < 100 && right > 0)) return [];  // also where a time is missing
    const band = el("i", { class: kind, title });
    band.style.left = `${left}%`;
    band.style.width = `${right - left}%`;
    return [band];
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
      const [left, right] = ends(at(up.clientX)), shown = this.right - this.left;
      if ((right - left) * box.width < LEAST_DRAG_PX) return;
      this.zoom(this.scale.timeAt(this.left + left * shown), this.scale.timeAt(this.left + right * shown));
    };
    this.ticks.append(range);
    this.ticks.setPointerCapture(event.pointerId);
    this.ticks.addEventListener("pointermove", drag);
    this.ticks.addEventListener("pointerup", stop, { once: true });
  }
}

function drawBar({ left, right, look, tag = "i" }) {
  const bar = el(tag, { class: look });
  bar.style.left = `${left}%`;
  bar.style.width = `${right - left}%`;
  return bar;
}

function tickLabel(ms, step) {
  if (step < 1) return `${ms.toFixed(1)} ms`;
  if (step < 1e3) return ms < 1e3 ? `${Math.round(ms)} ms` : `${(ms / 1e3).toFixed(step < 10 ? 3 : step < 100 ? 2 : 1)} s`;
  if (step < 6e4 && ms < 6e4) return `${Math.round(ms / 1e3)} s`;
  const seconds = Math.round(ms / 1e3), two = (n) => String(n).padStart(2, "0");
  if (ms < 36e5) return `${Math.floor(seconds / 60)}:${two(seconds % 60)}`;
  return `${Math.floor(seconds / 3600)}:${two(Math.floor(seconds / 60) % 60)} h`;
}
