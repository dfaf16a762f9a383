// The call tree: rows of equal height, of which only those in view are elements.

const SPARE_ROWS = 8;      // drawn above and below what is in view
const PRINTED_ROWS = 500;

class TreeView {
  constructor(page, element) {
    Object.assign(this, { page, run: page.run, view: element, element: byId("tree") });
    this.timeline = new Timeline(page, byId("ticks"), byId("lines"));
    this.folded = new Uint8Array(this.run.size);
    for (const num of kept.of("folded", () => [...this.run.num].filter((_, row) => this.folded[row])) ?? []) {
      if (this.run.rowOfNum.has(num)) this.folded[this.run.rowOfNum.get(num)] = 1;
    }
    this.drawn = new Map();  // row -> element
    this.placeOf = new Int32Array(this.run.size);  // place among the visible rows, or -1
    this.element.style.setProperty("--digits", String(this.run.size).length);
    this.keys = {
      e: () => this.foldAll(true), E: () => this.foldAll(false), "*": () => this.foldAll(false), c: () => this.scrollTo(page.current),
      0: () => this.timeline.zoom(),
    };
    this.listen();
  }

  listen() {
    const drawSoon = () => { this.pending = this.pending || requestAnimationFrame(() => { this.pending = 0; this.drawRows(); }); };
    addEventListener("scroll", drawSoon, { passive: true });
    addEventListener("resize", () => { if (!this.view.hidden) this.draw(); });
    addEventListener("beforeprint", () => this.drawRows(0, PRINTED_ROWS));
    addEventListener("afterprint", () => this.drawRows());
    this.element.addEventListener("click", (event) => this.click(event));
    this.element.addEventListener("keydown", (event) => this.press(event));
    this.element.addEventListener("focus", () => this.showFocus());
    this.element.addEventListener("wheel", (event) => this.timeline.wheel(event), { passive: false });
    byId("expand").addEventListener("click", () => this.foldAll(false));
    byId("collapse").addEventListener("click", () => this.foldAll(true));
  }

  draw() {
    this.timeline.draw();
    const asked = `${this.page.current} ${this.page.address.task}`;
    if (asked !== this.asked && (this.asked ?? this.page.address.task) !== undefined) this.reveal(this.page.current);
    else this.refresh();
    this.asked = asked;
  }

  // --- which rows there are

  // Find out which rows are visible, and draw them anew.
  refresh() {
    const { run, folded, page: { kept, root } } = this;
    this.visible = [];
    this.placeOf.fill(-1);
    this.baseLevel = root < 0 ? 0 : run.level[root];
    for (let row = Math.max(0, root), end = root < 0 ? run.size : run.end[root]; row < end;) {
      if (kept && !kept[row]) { row = run.end[row]; continue; }  // what is kept keeps its callers
      this.placeOf[row] = this.visible.push(row) - 1;
      row = folded[row] ? run.end[row] : row + 1;
    }
    byId("none").hidden = this.visible.length > 0;
    this.rowPx = parseFloat(getComputedStyle(this.element).getPropertyValue("--row"));
    this.element.style.height = `${this.visible.length * this.rowPx}px`;
    this.redraw();
  }

  redraw() {
    for (const element of this.drawn.values()) element.remove();
    this.drawn.clear();
    this.drawRows();
  }

  // Draw what is in view, and drop what no longer is.
  drawRows(first, end) {
    if (this.view.hidden) return;
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
    const isDrawn = this.drawn.has(this.page.current);
    if (isDrawn) this.element.setAttribute("aria-activedescendant", `row-${this.page.current}`);
    else this.element.removeAttribute("aria-activedescendant");
  }

  drawRow(row) {
    const { run } = this;
    const notes = run.notesOf(row), isOpen = !this.folded[row], look = run.lookOf(row);
    const took = run.start[row] < 0 ? "" : duration(run.runtime[row]);
    const indent = el("span", { class: "indent" });
    indent.style.setProperty("--level", run.level[row] - this.baseLevel);
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
      "aria-level": run.level[row] - this.baseLevel + 1, "aria-setsize": run.siblingsOf(row), "aria-posinset": run.sibling[row],
      "aria-expanded": run.hasFamily(row) ? String(isOpen) : null, "aria-selected": String(row === this.page.current),
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
    if (row === this.page.current) classes.push("current");
    if (this.run.is(row, CHAINED)) classes.push("chained");
    if (this.run.is(row, ASIDE)) classes.push("set-aside");
    const { hits } = this.page;
    if (hits) classes.push(hits[row] ? "hit" : "miss");
    return classes.join(" ");
  }

  // --- moving about

  // Unfold what hides a row, and scroll to it if needed.
  reveal(row) {
    for (let caller = this.run.caller[row]; caller >= 0; caller = this.run.caller[caller]) this.folded[caller] = 0;
    this.refresh();
    if (this.placeOf[row] >= 0) this.scrollTo(row);
  }

  // Who comes to the tree by a key sees where it stands.
  showFocus() {
    if (this.element.matches(":focus-visible") && this.placeOf[this.page.current] >= 0) this.scrollTo(this.page.current);
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
    const { run, page } = this;
    for (let row = 0; row < run.size; row++) this.folded[row] = isFolded && run.hasFamily(row) ? 1 : 0;
    while (isFolded && run.caller[page.current] >= 0) page.current = run.caller[page.current];
    this.refresh();
  }

  click(event) {
    const element = event.target.closest(".row");
    if (!element) return;
    const row = Number(element.id.slice("row-".length));
    this.page.current = row;
    if (event.target.closest(".fold")) this.fold(row, !this.folded[row]);
    else if (event.shiftKey) this.page.go({ root: this.run.num[row] });
    else this.page.open(row);
  }

  press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.visible.length) return;
    const { run, page: { current } } = this, place = this.placeOf[current];
    const screen = Math.floor(innerHeight / this.rowPx) - 4;
    const moves = {
      ArrowDown: () => this.step(place + 1), j: () => this.step(place + 1),
      ArrowUp: () => this.step(place - 1), k: () => this.step(place - 1),
      PageDown: () => this.step(place + screen), PageUp: () => this.step(place - screen),
      Home: () => this.step(0), End: () => this.step(this.visible.length - 1),
      ArrowRight: () => {
        if (run.hasFamily(current) && this.folded[current]) this.fold(current, false);
        else if (run.hasFamily(current)) this.step(place + 1);
      },
      ArrowLeft: () => {
        if (run.hasFamily(current) && !this.folded[current]) this.fold(current, true);
        else if (run.caller[current] >= 0) this.step(this.placeOf[run.caller[current]]);
      },
      Enter: () => this.page.open(current), " ": () => this.page.open(current),
    };
    if (!(event.key in moves)) return;
    event.preventDefault();
    event.stopPropagation();
    moves[event.key]();
  }

  step(place) {
    const row = this.visible[Math.min(this.visible.length - 1, Math.max(0, place))];
    this.page.select(row);
  }
}
