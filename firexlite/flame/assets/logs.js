// The output of all tasks, in the order in which they began: a few blocks at a time, as one scrolls.

const BLOCKS_AT_ONCE = 5;
const AHEAD = "800px";     // below the window, what is drawn already
const LOGS_AT_ONCE = 500;  // read, between two looks at the keyboard

class LogsView {
  constructor(page, element) {
    const { run } = page, hint = "Only lines with";
    Object.assign(this, { page, run });
    this.all = [...run.num.keys()].filter((row) => run.is(row, HAS_LOG)).sort((a, b) => run.start[a] - run.start[b] || a - b);
    this.text = el("input", { type: "search", placeholder: hint, "aria-label": hint, input: () => this.draw() });
    this.said = el("span", { role: "status" });
    this.blocks = el("div", { class: "logs" });
    this.end = el("div");
    element.append(el("p", { class: "above" }, this.text, this.said), this.blocks, this.end);
    this.watcher = new IntersectionObserver(([{ isIntersecting }]) => isIntersecting && this.drawMore(), { rootMargin: AHEAD });
  }

  // Begin anew if other lines are asked for than before.
  async draw() {
    const text = this.text.value.toLowerCase();
    if (!isAskedAnew(this, text)) return;
    const { asked, watcher } = this, rows = this.all.filter(shownRows(this.page));
    watcher.disconnect();
    const found = text && await this.find(text, rows);
    if (this.asked !== asked) return;
    Object.assign(this, { found, rows: found ? rows.filter((row) => found.has(row)) : rows });
    this.said.textContent = `${count(this.rows.length, "task")} with ${found ? "such lines" : "output"}`;
    this.blocks.replaceChildren();
    watcher.observe(this.end);
  }

  // {row: lines with the text}
  async find(text, rows) {
    const { run, asked } = this, found = new Map(), asStored = [...rows].sort((a, b) => run.place[a] - run.place[b]);
    for (const [n, row] of asStored.entries()) {
      if (n % LOGS_AT_ONCE === 0) await new Promise((resolve) => setTimeout(resolve));
      if (this.asked !== asked) break;
      const lines = logLines((await run.detailOf(row))?.log).filter((line) => line.toLowerCase().includes(text));
      if (lines.length) found.set(row, lines);
    }
    return found;
  }

  // Draw the next ones; the watcher calls again for as long as there is room.
  async drawMore() {
    const { asked, watcher, rows, end } = this;
    watcher.unobserve(end);
    const drawn = await Promise.all(rows.splice(0, BLOCKS_AT_ONCE).map((row) => this.drawBlock(row)));
    if (this.asked !== asked) return;
    this.blocks.append(...drawn);
    if (rows.length) watcher.observe(end);
  }

  async drawBlock(row) {
    const { run, found } = this, log = found ? { lines: found.get(row) } : (await run.detailOf(row))?.log;
    const num = run.num[row], command = el("code", {}, `firexlite logs ${run.facts.run.firex_id} ${num}`);
    const name = [el("i", { class: `dot ${run.lookOf(row)}` }), el("span", { class: "num" }, ` #${num} `), run.nameOf(row)];
    const began = run.start[row] >= 0 && moment(run.zero + run.start[row] / 1000, false);
    return el("article", {},
      el("h3", {}, el("a", { href: `#task=${num}` }, name), el("span", { class: "aside" }, began, " ", command),
        copyButton(() => command.textContent)),
      log ? drawLog(log) : el("p", { class: "aside" }, "Its output is not in this file."));
  }
}
