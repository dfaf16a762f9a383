// How many bodies ran at once, over the tree's axis of time. A drag opens the tree at that stretch.

const STEPS = 600;         // over the whole width
const HEADROOM = 1.25;      // above the most that ran, for the words
const OPENED_STEPS = 15;   // what Enter opens, to each side of the mark

class Curve extends Timeline {
  constructor(page) {
    super(page, el("div", { class: "over" }), el("div", { class: "under" }));
    const { options, incarnations: lives = [] } = page.run.facts.run, workers = options?.workers;
    this.alive = lives.slice(1).reduce((ms, { started }, n) => ms - (started - lives[n].ended) * 1000, page.run.span);
    Object.assign(this, concurrency(page.run, STEPS));
    this.top = HEADROOM * Math.max(1, this.peak, workers ?? 0);
    const limit = workers && el("span", { class: "limit" }, count(workers, "worker"));
    limit?.style.setProperty("bottom", `${(workers / this.top) * 100}%`);
    this.mark = el("i", { class: "mark" });
    this.said = el("p", { class: "said", "aria-hidden": "true" });
    const areas = el("div", { class: "areas" },
      this.drawArea("most", this.most), this.drawArea("mean", this.mean), limit, this.mark);
    this.element = el("div", {
      class: "curve", tabindex: 0, role: "slider", "aria-label": "Tasks that ran at once, over time",
      "aria-valuemin": 0, "aria-valuemax": STEPS - 1,
      pointermove: (event) => this.point(this.stepUnder(event)), pointerleave: () => this.point(null),
      focus: () => this.point(this.step ?? 0), blur: () => this.point(null), keydown: (event) => this.press(event),
    }, this.grid, areas, this.ticks, this.said);
    this.point(null);
  }

  drawArea(name, heights) {
    const area = el("i", { class: `area ${name}` }), corners = [];
    const corner = (n, height) => corners.push(`${(n / STEPS) * 100}% ${(1 - height / this.top) * 100}%`);
    for (let n = 0, before = 0; n <= STEPS; before = heights[n++]) {
      if (heights[n] === before) continue;
      corner(n, before);
      corner(n, heights[n] ?? 0);
    }
    area.style.clipPath = `polygon(${["0 100%", ...corners, "100% 100%"].join()})`;
    return area;
  }

  draw() { super.draw(""); }

  wheel() {}  // it scrolls the page

  timeOf(step) { return this.scale.timeAt((step / STEPS) * this.scale.width); }

  stepUnder({ clientX }) {
    const { left, width } = this.ticks.getBoundingClientRect();
    return Math.floor(((clientX - left) / width) * STEPS);
  }

  // Say what ran at a step; at none, of the whole run.
  point(step) {
    const isAny = step !== null;
    this.mark.hidden = !isAny;
    if (isAny) this.step = Math.min(STEPS - 1, Math.max(0, step));
    this.mark.style.left = `${((this.step + 0.5) / STEPS) * 100}%`;
    const [mean, most] = isAny ? [this.mean[this.step], this.most[this.step]] : [this.ran / this.alive, this.peak];
    const when = isAny ? `at ${duration(this.timeOf(this.step))}: ` : "";
    const average = mean.toFixed(mean < 1 ? 2 : 1);
    this.said.textContent = when + (mean === most ? count(most, "task") : `${average} on average, ${most} at most`);
    this.element.setAttribute("aria-valuenow", this.step ?? 0);
    this.element.setAttribute("aria-valuetext", this.said.textContent);
  }

  press(event) {
    const step = this.step ?? 0;
    const moves = {
      ArrowLeft: step - 1, ArrowRight: step + 1, PageUp: step - 50, PageDown: step + 50, Home: 0, End: STEPS - 1 };
    if (event.key in moves) this.point(moves[event.key]);
    else if (event.key === "Enter") {
      this.zoom(this.timeOf(Math.max(0, step - OPENED_STEPS)), this.timeOf(Math.min(STEPS, step + OPENED_STEPS)));
    }
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

// By step of the axis, how many bodies ran: {mean, most} and, in all, {peak, ran} (ms of all bodies together).
function concurrency({ busy: { starts, ends }, scale }, steps) {
  const mean = new Float64Array(steps), most = new Uint32Array(steps);
  let begun = 0, ended = 0, at = 0, ran = 0;
  for (let n = 0; n < steps; n++) {
    const from = at, ranBefore = ran, to = scale.timeAt(((n + 1) / steps) * scale.width);
    const goOn = (moment) => { ran += (begun - ended) * (moment - at); at = moment; };
    most[n] = begun - ended;
    for (;;) {
      const isStart = begun === ended || starts[begun] < ends[ended] - SLACK_MS, next = isStart ? starts[begun] : ends[ended];
      if (!(next < to)) break;
      goOn(next);
      if (isStart) most[n] = Math.max(most[n], ++begun - ended);
      else ended++;
    }
    goOn(to);
    mean[n] = (ran - ranBefore) / (to - from);
  }
  return { mean, most, ran, peak: Math.max(...most) };
}
