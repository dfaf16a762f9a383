// The output of all tasks, in the order in which they began: a few blocks at a time, as one scrolls.

const BLOCKS_AT_ONCE = 5;
const MOST_BLOCKS = 60;   // in the page; beyond, the uppermost make room
const AHEAD_PX = 800;     // below the window, what is drawn already
const LINES_FOUND = 200;  // shown at first, of one task

class LogsView {
  constructor(page, element) {
    Object.assign(this, { page, run: page.run, element, turn: 0, looked: [] });
    const { start } = page.run, draw = () => this.draw();
    this.all = rowsOf(page.run.flags.map((flags) => flags & HAS_LOG)).sort((a, b) => start[a] - start[b] || a - b);
    this.field = el("input", { type: "search", placeholder: "Only lines with", "aria-label": "Show only lines with this text", input: draw });
    this.failed = el("input", { type: "checkbox", change: draw });
    this.said = el("span", { role: "status" });
    this.above = el("button", { type: "button", class: "more", click: () => this.startAt(Math.max(0, this.first - MOST_BLOCKS / 2)) });
    this.blocks = el("div");
    this.end = el("div");
    element.append(el("p", { class: "above" }, this.field, el("label", {}, this.failed, " failed tasks only"), this.said),
      el("div", { class: "logs" }, this.above, this.blocks, this.end));
    for (const event of ["scroll", "resize"]) addEventListener(event, () => this.drawMore(), { passive: true });
  }

  // Begin anew if other lines are asked for than before.
  async draw() {
    const { page } = this, text = this.field.value.toLowerCase();
    const asked = [text, this.failed.checked, page.kept, page.kept && page.hits, page.root], isShown = shownRows(page);
    if (asked.every((part, n) => part === this.asked?.[n])) return;
    this.asked = asked;
    const rows = this.all.filter((row) => isShown(row) && (!this.failed.checked || this.run.hasFailed(row)));
    this.found = text ? await this.find(text, rows, asked) : null;
    if (this.asked !== asked) return;
    this.rows = text ? rows.filter((row) => this.found.has(row)) : rows;
    if (!text) this.said.textContent = rows.length ? count(rows.length, "task") + " with output" : "No task printed or logged anything.";
    this.startAt(0);
  }

  // {row: lines with the text}, and how many those are.
  async find(text, rows, asked) {
    const { run, said } = this, found = new Map(), wanted = new Set(rows);
    let all = 0, fitting = 0;
    await whole;
    for (let chunk = 0; chunk < run.chunks.length; chunk++) {
      if (chunk % SCANNED_AT_ONCE === 0) await new Promise((resolve) => setTimeout(resolve));
      if (this.asked !== asked) return found;
      let at = run.chunks[chunk];
      for (const line of await run.lines(chunk) ?? []) {
        const row = run.rowAt[at++];
        if (!wanted.has(row)) continue;
        const lines = logLines(JSON.parse(line)?.log), those = lines.filter((one) => one.toLowerCase().includes(text));
        all += lines.length;
        fitting += those.length;
        if (those.length) found.set(row, those);
      }
    }
    said.textContent = `${fitting.toLocaleString("en")} of ${count(all, "line")}, in ${found.size.toLocaleString("en")} of ${count(rows.length, "task")}`;
    return found;
  }

  startAt(place) {
    this.turn++;
    keepBelowBar();
    this.first = this.next = place;
    this.blocks.replaceChildren();
    this.drawMore();
  }

  // Draw on until the window and a little more is full.
  async drawMore() {
    const { turn, rows, blocks } = this;
    if (this.isDrawing === turn) return;
    this.isDrawing = turn;
    while (rows && this.turn === turn && this.next < rows.length && !this.element.hidden
           && this.end.getBoundingClientRect().top < innerHeight + AHEAD_PX) {
      const drawn = await Promise.all(rows.slice(this.next, this.next + BLOCKS_AT_ONCE).map((row) => this.drawBlock(row)));
      if (this.turn !== turn) return;
      this.next += drawn.length;
      blocks.append(...drawn);
      const height = blocks.offsetHeight;
      while (blocks.childElementCount > MOST_BLOCKS) { blocks.firstChild.remove(); this.first++; }
      scrollBy(0, blocks.offsetHeight - height);  // so that what one reads stays where it is
    }
    this.above.hidden = !this.first;
    this.above.textContent = `show what ${count(this.first, "task")} printed before`;
    this.isDrawing = 0;
  }

  async drawBlock(row) {
    const { run, found } = this, [text] = this.asked, log = (await run.detailOf(row))?.log;
    const command = `firexlite logs ${run.facts.run.firex_id ?? "ID"} ${run.num[row]}`;
    const copy = copyButton(() => command);
    copy.title = command;
    return el("article", {},
      el("h3", {}, el("a", { href: `#task=${run.num[row]}` }, el("i", { class: `dot ${run.lookOf(row)}` }),
        el("span", { class: "num" }, ` #${run.num[row]} `), run.nameOf(row)), " ",
        el("span", { class: "aside" }, run.start[row] < 0 ? "" : moment(run.zero + run.start[row] / 1000, false)), copy),
      found ? foldableEnd(found.get(row), Math.max(0, found.get(row).length - LINES_FOUND), (line) => marked(line, text))
        : log ? drawLog(log) : el("p", { class: "aside" }, "Its output is not in this file."));
  }
}

// A line, in which the first place of the text stands out.
function marked(line, text) {
  const at = line.toLowerCase().indexOf(text), end = at + text.length;
  return el("span", {}, line.slice(0, at), el("mark", {}, line.slice(at, end)), line.slice(end), "\n");
}
