// The call tree: rows of equal height, of which only those in view are elements.

const SPARE_ROWS = 8;      // drawn above and below what is in view
const PRINTED_ROWS = 500;

class Tree {
  // `open(row)` is called when the reader wants to see a task.
  constructor(run, element, timeline, open) {
    Object.assign(this, { run, element, timeline, open });
    this.folded = new Uint8Array(run.size);
    for (const num of kept.of("folded", () => run.num.filter((_, row) => this.folded[row])) || []) {
      this.folded[run.rowOfNum.get(num)] = 1;
    }
    this.kept = null;       // what the filter leaves, or null: everything
    this.isHit = null;      // what the search found, or null: there is no search
    this.current = 0;
    this.drawn = new Map();  // row -> element
    this.placeOf = new Int32Array(run.size);  // place among the visible rows, or -1
    element.style.setProperty("--digits", String(run.num[run.size - 1] ?? 0).length);
    this.listen();
    this.refresh();
  }

  listen() {
    const drawSoon = () => { this.pending = this.pending || requestAnimationFrame(() => { this.pending = 0; this.draw(); }); };
    addEventListener("scroll", drawSoon, { passive: true });
    addEventListener("resize", () => { this.timeline.drawAxis(); this.refresh(); });
    addEventListener("beforeprint", () => this.draw(0, PRINTED_ROWS));
    addEventListener("afterprint", () => this.draw());
    this.element.addEventListener("click", (event) => this.click(event));
    this.element.addEventListener("keydown", (event) => this.press(event));
  }

  // --- which rows there are

  // Find out which rows are visible, and draw them anew.
  refresh() {
    const { run, kept, folded } = this;
    this.visible = [];
    this.placeOf.fill(-1);
    for (let row = 0; row < run.size;) {
      if (kept && !kept[row]) { row = run.end[row]; continue; }  // what is kept keeps its callers
      this.placeOf[row] = this.visible.push(row) - 1;
      row = folded[row] ? run.end[row] : row + 1;
    }
    this.rowPx = parseFloat(getComputedStyle(this.element).getPropertyValue("--row"));
    this.element.style.height = `${this.visible.length * this.rowPx}px`;
    this.redraw();
  }

  redraw() {
    for (const element of this.drawn.values()) element.remove();
    this.drawn.clear();
    this.draw();
  }

  // Draw what is in view, and drop what no longer is.
  draw(first, end) {
    if (first === undefined) {
      const top = -this.element.getBoundingClientRect().top / this.rowPx;
      first = Math.max(0, Math.floor(top) - SPARE_ROWS);
      end = Math.ceil(top + innerHeight / this.rowPx) + SPARE_ROWS;
    }
    end = Math.min(end, this.visible.length);
    let topmost = Infinity;  // of those that stay
    for (const [row, element] of this.drawn) {
      const place = this.placeOf[row];
      if (place < first || place >= end) { element.remove(); this.drawn.delete(row); }
      else topmost = Math.min(topmost, place);
    }
    const above = document.createDocumentFragment(), below = document.createDocumentFragment();
    for (let place = first; place < end; place++) {
      const row = this.visible[place];
      if (this.drawn.has(row)) continue;
      const element = this.drawRow(row);
      element.style.transform = `translateY(${place * this.rowPx}px)`;
      this.drawn.set(row, element);
      (place < topmost ? above : below).append(element);
    }
    byId("grid").after(above);  // elements stand in reading order
    this.element.append(below);
    const isDrawn = this.drawn.has(this.current);
    if (isDrawn) this.element.setAttribute("aria-activedescendant", `row-${this.current}`);
    else this.element.removeAttribute("aria-activedescendant");
  }

  drawRow(row) {
    const { run } = this;
    const notes = run.notesOf(row), isOpen = !this.folded[row], look = run.lookOf(row);
    const took = run.start[row] < 0 ? "" : duration(run.runtime[row]);
    const indent = el("span", { class: "indent" });
    indent.style.setProperty("--level", run.level[row]);
    const label = el("div", { class: "label" },
      el("span", { class: "num" }, run.num[row]), indent,
      el("span", { class: run.hasFamily(row) ? (isOpen ? "fold open" : "fold") : "leaf", "aria-hidden": "true" }),
      el("i", { class: `dot ${look}` }),
      el("span", { class: "name" }, run.nameOf(row)),
      notes.length ? el("span", { class: `notes ${look}` }, notes.join(", ")) : "",
      !isOpen && this.drawHidden(row),
      el("span", { class: "time" }, took));
    return el("div", {
      id: `row-${row}`, role: "treeitem", class: this.classOf(row),
      "aria-level": run.level[row] + 1, "aria-setsize": run.siblingsOf(row), "aria-posinset": run.sibling[row],
      "aria-expanded": run.hasFamily(row) ? String(isOpen) : null, "aria-selected": String(row === this.current),
      "aria-label": [`#${run.num[row]} ${run.nameOf(row)}`, notes.join(", ") || run.stateOf(row), took].filter(Boolean).join(", "),
    }, label, this.timeline.drawBars(row));
  }

  // What lies below a folded row.
  drawHidden(row) {
    const failures = this.run.failuresBelow(row);
    return el("span", { class: failures ? "hidden failed" : "hidden" },
      `+${count(this.run.end[row] - row - 1, "task")}` + (failures ? `, ${failures} failed` : ""));
  }

  classOf(row) {
    const classes = ["row"];
    if (row === this.current) classes.push("current");
    if (this.run.is(row, CHAINED)) classes.push("chained");
    if (this.run.is(row, ASIDE)) classes.push("set-aside");
    if (this.isHit) classes.push(this.isHit[row] ? "hit" : "miss");
    return classes.join(" ");
  }

  // --- moving about

  // Make a row, which the filter must leave, the current one, and visible: unfold what hides it, scroll if needed.
  select(row) {
    this.current = row;
    for (let caller = this.run.caller[row]; caller >= 0; caller = this.run.caller[caller]) this.folded[caller] = 0;
    if (this.placeOf[row] < 0) this.refresh();
    this.scrollTo(row);
    this.redraw();
  }

  scrollTo(row) {
    const covered = byId("bar").offsetHeight + this.rowPx;
    const top = this.element.getBoundingClientRect().top + this.placeOf[row] * this.rowPx;
    if (top < covered) scrollBy(0, top - covered - 2 * this.rowPx);
    else if (top + 2 * this.rowPx > innerHeight) scrollBy(0, top - innerHeight + 4 * this.rowPx);
  }

  fold(row, isFolded) {
    this.folded[row] = isFolded ? 1 : 0;
    this.refresh();
  }

  foldAll(isFolded) {
    for (let row = 0; row < this.run.size; row++) this.folded[row] = isFolded && this.run.hasFamily(row) ? 1 : 0;
    while (isFolded && this.run.caller[this.current] >= 0) this.current = this.run.caller[this.current];
    this.refresh();
  }

  // Leave only the rows for which `isKept` holds, and their callers; null leaves everything.
  keep(isKept) {
    this.kept = isKept && new Uint8Array(this.run.size);
    for (let row = 0; isKept && row < this.run.size; row++) {
      for (let kept = isKept(row) ? row : -1; kept >= 0 && !this.kept[kept]; kept = this.run.caller[kept]) this.kept[kept] = 1;
    }
    this.refresh();
  }

  click(event) {
    const element = event.target.closest(".row");
    if (!element) return;
    const row = Number(element.id.slice("row-".length));
    this.current = row;
    if (event.target.closest(".fold")) this.fold(row, !this.folded[row]);
    else this.open(row);
  }

  press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.visible.length) return;
    const { run, current } = this, place = this.placeOf[current];
    const page = Math.floor(innerHeight / this.rowPx) - 4;
    const moves = {
      ArrowDown: () => this.step(place + 1), j: () => this.step(place + 1),
      ArrowUp: () => this.step(place - 1), k: () => this.step(place - 1),
      PageDown: () => this.step(place + page), PageUp: () => this.step(place - page),
      Home: () => this.step(0), End: () => this.step(this.visible.length - 1),
      ArrowRight: () => {
        if (run.hasFamily(current) && this.folded[current]) this.fold(current, false);
        else if (run.hasFamily(current)) this.step(place + 1);
      },
      ArrowLeft: () => {
        if (run.hasFamily(current) && !this.folded[current]) this.fold(current, true);
        else if (run.caller[current] >= 0) this.step(this.placeOf[run.caller[current]]);
      },
      Enter: () => this.open(current), " ": () => this.open(current),
    };
    if (!(event.key in moves)) return;
    event.preventDefault();
    moves[event.key]();
  }

  step(place) {
    const row = this.visible[Math.min(this.visible.length - 1, Math.max(0, place))];
    this.select(row);
    this.element.dispatchEvent(new CustomEvent("step", { detail: row }));
  }
}
