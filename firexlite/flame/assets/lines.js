// Lines of one height, of which only those in view and a few more are elements: a tree's rows, a table's.

const SPARE_LINES = 4;  // drawn above and below what is in view
const PRINTED_LINES = 500;
const PAGE_LINES = 25;   // of PageUp and PageDown

class Lines {
  // Walks by keys through the `items` of a view and has it draw them: view.drawLines(first, end), .select(item), .open(item),
  // and .current, one of its items perhaps. list: what has the focus; body: begins where the first line does; the line of an
  // item has the id `${kind}-${item}`.
  constructor(view, list, body, kind) {
    Object.assign(this, { view, list, body, kind });
    for (const event of ["scroll", "resize", "afterprint"]) addEventListener(event, () => this.update(), { passive: true });
    addEventListener("beforeprint", () => this.show(0, PRINTED_LINES));
    list.addEventListener("keydown", (event) => this.press(event));
    list.addEventListener("focus", () => { if (list.matches(":focus-visible")) this.showCurrent(); });
  }

  get px() { return parseFloat(getComputedStyle(this.body).getPropertyValue("--row")); }
  get place() { return this.view.items.indexOf(this.view.current); }

  // Draw anew.
  renew() {
    Object.assign(this, { first: 0, end: -1 });
    this.update();
  }

  // Draw what is in view, unless it is there.
  update() {
    if (!this.body.checkVisibility()) return;
    const top = Math.max(0, -this.body.getBoundingClientRect().top / this.px), bottom = top + innerHeight / this.px;
    const isThere = this.first <= top && this.end >= Math.min(this.view.items.length, bottom);
    if (!isThere) this.show(Math.floor(top) - SPARE_LINES, Math.ceil(bottom) + SPARE_LINES);
  }

  show(first, end) {
    const { view, list, kind } = this;
    this.end = Math.min(view.items.length, end);
    this.first = Math.max(0, Math.min(this.end, first));
    view.drawLines(this.first, this.end);
    const active = `${kind}-${view.current}`;
    if (byId(active)) list.setAttribute("aria-activedescendant", active);
    else list.removeAttribute("aria-activedescendant");
  }

  // Bring the current line into view, below the bar and the headings.
  showCurrent() {
    const { px, place } = this, covered = byId("bar").offsetHeight + 2 * px;
    const top = this.body.getBoundingClientRect().top + place * px, beyond = top + 2 * px - innerHeight;
    if (place >= 0) scrollBy(0, top < covered ? top - covered : Math.max(0, beyond));
  }

  press(event) {
    const { view, place } = this, last = view.items.length - 1;
    if (event.ctrlKey || event.metaKey || event.altKey || event.target !== this.list || last < 0) return;
    const to = { ArrowDown: place + 1, j: place + 1, ArrowUp: place - 1, k: place - 1,
      PageDown: place + PAGE_LINES, PageUp: place - PAGE_LINES, Home: 0, End: last }[event.key];
    if (to !== undefined) view.select(view.items[Math.max(0, Math.min(last, to))]);
    else if (event.key === "Enter" && place >= 0) view.open(view.current);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

// What sticks to the top of the window does so below the bar, however high that is.
new ResizeObserver(([{ target }]) => document.documentElement.style.setProperty("--covered", `${target.offsetHeight}px`))
  .observe(byId("bar"));
