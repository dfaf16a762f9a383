// The call tree: rows of equal height, of which only those in view are elements.

const SPARE_ROWS = 5;      // drawn above and below what is in view
const PRINTED_ROWS = 500;

class TreeView {
  constructor(page, element) {
    Object.assign(this, { page, run: page.run, view: element, element: byId("tree"), drawn: [0, 0] });
    const { run } = page;
    this.timeline = new Timeline(page, byId("ticks"), byId("lines"));
    const before = new Set(kept.of("folded", () => [...run.num].filter((_, row) => this.folded[row])));
    this.folded = new Uint8Array(run.size).map((_, row) => before.has(run.num[row]));
    this.element.style.setProperty("--digits", String(run.size).length);
    this.keys = {
      e: () => this.foldAll(true), E: () => this.foldAll(false), "*": () => this.foldAll(false),
      c: () => this.scrollTo(page.current), 0: () => this.timeline.zoom(),
    };
    addEventListener("scroll", () => this.drawInView(), { passive: true });
    addEventListener("resize", () => { if (!element.hidden) this.draw(); });
    addEventListener("beforeprint", () => this.drawRows(0, PRINTED_ROWS));
    addEventListener("afterprint", () => this.refresh());
    this.element.addEventListener("click", (event) => this.click(event));
    this.element.addEventListener("keydown", (event) => this.press(event));
    this.element.addEventListener("focus", () => {  // who comes to the tree by a key sees where it stands
      if (this.element.matches(":focus-visible")) this.scrollTo(page.current);
    });
  }

  draw() {
    const { current, address: { task } } = this.page, asked = `${current} ${task}`;
    this.timeline.draw();
    if (asked !== this.asked && (this.asked ?? task) !== undefined) this.reveal(current);
    else this.refresh();
    this.asked = asked;
  }

  // Find out which rows are to be seen, and draw them anew.
  refresh() {
    const { run, folded, page: { kept, root } } = this;
    this.visible = [];
    this.baseLevel = root < 0 ? 0 : run.level[root];
    for (let row = Math.max(0, root), end = root < 0 ? run.size : run.end[root]; row < end;) {
      const isHidden = kept && !kept[row];  // and all below it: what is kept keeps its callers
      if (!isHidden) this.visible.push(row);
      row = isHidden || folded[row] ? run.end[row] : row + 1;
    }
    byId("none").hidden = this.visible.length > 0;
    this.rowPx = parseFloat(getComputedStyle(this.element).getPropertyValue("--row"));
    this.element.style.height = `${this.visible.length * this.rowPx}px`;
    this.drawn = [0, 0];
    this.drawInView();
  }

  drawInView() {
    const top = -this.element.getBoundingClientRect().top / this.rowPx, bottom = top + innerHeight / this.rowPx;
    const [first, end] = this.drawn, { length } = this.visible;
    if (first > Math.max(0, top) || end < Math.min(length, bottom) || !end) {
      this.drawRows(Math.max(0, Math.floor(top) - SPARE_ROWS), Math.max(0, Math.ceil(bottom) + SPARE_ROWS));
    }
  }

  drawRows(first, end) {
    if (this.view.hidden) return;
    const rows = this.visible.slice(first, end), { current } = this.page;
    this.drawn = [first, end];
    this.element.replaceChildren(byId("grid"), ...rows.map((row, n) => this.drawRow(row, first + n)));
    if (rows.includes(current)) this.element.setAttribute("aria-activedescendant", `row-${current}`);
    else this.element.removeAttribute("aria-activedescendant");
  }

  drawRow(row, place) {
    const { run, page: { current, hits } } = this, level = run.level[row] - this.baseLevel;
    const notes = run.notesOf(row).join(", "), look = run.lookOf(row), num = run.num[row], name = run.nameOf(row);
    const hasFamily = run.hasFamily(row), isFolded = this.folded[row] === 1;
    const took = run.start[row] < 0 ? "" : duration(run.runtime[row]);
    const is = { current: row === current, chained: run.is(row, CHAINED), "set-aside": run.is(row, ASIDE),
      hit: hits?.[row] === 1, miss: hits?.[row] === 0 };
    return el("div", {
      id: `row-${row}`, role: "treeitem", class: ["row", ...Object.keys(is).filter((one) => is[one])].join(" "),
      style: { transform: `translateY(${place * this.rowPx}px)` },
      "aria-level": level + 1, "aria-setsize": run.siblingsOf(row), "aria-posinset": run.sibling[row],
      "aria-expanded": hasFamily && String(!isFolded), "aria-selected": String(row === current),
      "aria-label": [`#${num} ${name}`, notes || run.stateOf(row), took].filter(Boolean).join(", "),
    },
    el("div", { class: "label" },
      el("span", { class: "num" }, num), el("span", { class: "indent", style: { "--level": level } }),
      el("span", { class: hasFamily ? (isFolded ? "fold" : "fold open") : "leaf", "aria-hidden": "true" }),
      el("i", { class: `dot ${look}` }), el("span", { class: "name" }, name),
      notes && el("span", { class: `notes ${look}` }, notes), isFolded && this.drawHidden(row),
      el("span", { class: "time" }, took)),
    this.timeline.drawBars(row));
  }

  // What lies below a folded row.
  drawHidden(row) {
    const failures = this.run.failuresBelow(row), below = count(this.run.end[row] - row - 1, "task");
    return el("span", { class: failures ? "hidden failed" : "hidden" }, `+${below}` + (failures ? `, ${failures} failed` : ""));
  }

  // --- moving about

  // Unfold what hides a row, and scroll to it if needed.
  reveal(row) {
    for (let caller = this.run.caller[row]; caller >= 0; caller = this.run.caller[caller]) this.folded[caller] = 0;
    this.refresh();
    this.scrollTo(row);
  }

  scrollTo(row) {
    const place = this.visible.indexOf(row), covered = byId("bar").offsetHeight + this.rowPx;
    const top = this.element.getBoundingClientRect().top + place * this.rowPx;
    if (place < 0) return;
    if (top < covered) scrollBy(0, top - covered - 2 * this.rowPx);
    else if (top + 2 * this.rowPx > innerHeight) scrollBy(0, top - innerHeight + 4 * this.rowPx);
  }

  fold(row, isFolded) {
    this.folded[row] = isFolded;
    this.refresh();
  }

  foldAll(isFolded) {
    const { run, page } = this;
    this.folded = this.folded.map((_, row) => isFolded && run.hasFamily(row));
    while (isFolded && run.caller[page.current] >= 0) page.current = run.caller[page.current];
    this.refresh();
  }

  click({ target, shiftKey }) {
    const row = Number(target.closest(".row")?.id.slice("row-".length) ?? -1);
    if (row < 0) return;
    this.page.current = row;
    if (target.closest(".fold")) this.fold(row, !this.folded[row]);
    else if (shiftKey) this.page.go({ root: this.run.num[row] });
    else this.page.open(row);
  }

  press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.visible.length) return;
    const { run, visible, page, page: { current } } = this, caller = run.caller[current];
    const isOpen = run.hasFamily(current) && !this.folded[current], open = () => page.open(current);
    const to = (place) => () => page.select(visible[Math.min(visible.length - 1, Math.max(0, place))]);
    const place = visible.indexOf(current), next = to(place + 1), previous = to(place - 1);
    const act = {
      ArrowDown: next, j: next, ArrowUp: previous, k: previous, Home: to(0), End: to(Infinity), Enter: open, " ": open,
      ArrowRight: isOpen ? next : () => this.fold(current, false),
      ArrowLeft: isOpen ? () => this.fold(current, true) : caller >= 0 && (() => page.select(caller)),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  }
}
