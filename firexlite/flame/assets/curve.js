// How many bodies ran at once, over the tree's axis of time. A drag opens the tree at that stretch.

const STEPS = 600;  // of the axis

class Curve extends Timeline {
  constructor(page) {
    super(page, el("div", { class: "over", title: "drag to zoom" }), el("div", { class: "under" }));
    const { mean, peak } = concurrency(page.run), top = Math.max(peak, page.run.facts.run.options?.workers ?? 1);
    const corners = Array.from(mean, (height, n) => `${n / (STEPS - 1) * 100}% ${(1 - height / top) * 100}%`);
    const area = el("i", { class: "area" }), element = el("div", { class: "curve" }, this.grid, area, this.ticks);
    area.style.clipPath = `polygon(0 100%, ${corners.join()}, 100% 100%)`;
    Object.assign(this, { peak, element });
  }

  draw() { super.draw(""); }

  wheel() {}  // it scrolls the page
}

// {mean: how many bodies ran, by step of the axis; peak: the most at once}.
function concurrency({ busy: { starts, ends }, scale }) {
  const mean = new Float64Array(STEPS);
  let begun = 0, ended = 0, offset = 0, peak = 0;  // so far, all ran for (begun - ended) * now + offset
  for (let n = 0, from = 0, ranBefore = 0; n < STEPS; n++) {
    const to = scale.timeAt(((n + 1) / STEPS) * scale.width);
    while (starts[begun] < to || ends[ended] < to) {
      const isStart = begun === ended || starts[begun] < ends[ended] - SLACK_MS;
      offset += isStart ? -starts[begun++] : ends[ended++];
      peak = Math.max(peak, begun - ended);
    }
    const ran = (begun - ended) * to + offset;
    mean[n] = (ran - ranBefore) / (to - from);
    [from, ranBefore] = [to, ran];
  }
  return { mean, peak };
}
