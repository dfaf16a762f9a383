// Services and tasks as tables, sorted by any column; of many rows only those in view are elements.

const SPARE_LINES = 10;  // drawn above and below what is in view
const PAGE_LINES = 25;   // of PageUp and PageDown
const FROM_THE_LEAST = "num name state start host error".split(" ");  // columns; the others begin with the greatest

// Whether a row is to be seen. Callers that the filter only keeps because a tree needs them to hold what is below are not.
function shownRows({ run, kept, hits, root = -1 }) {
  const marks = kept && (hits ?? kept), end = root < 0 ? run.size : run.end[root];
  return (row) => row >= root && row < end && (!marks || marks[row] === 1);
}

const known = (show) => (value) => (value < 0 ? "" : show(value));
const number = known((n) => (n ? n.toLocaleString("en") : ""));
const time = known(duration);
const memory = known((mib) => (mib < 1024 ? `${mib} MiB` : `${(mib / 1024).toFixed(1)} GiB`));

// A column is [id, heading, number by which an item is sorted (below 0: not known), what its cell shows of that, hint].
function taskColumns(run) {
  const [names, hosts, errors] = [run.names, run.hosts, run.errors.map(([said]) => said)].map(ranked);
  const timed = (id, heading, hint) => [id, heading, (row) => (run.start[row] < 0 ? -1 : run[id][row]), time, hint];
  return [
    ["num", "#", (row) => run.num[row], String],
    ["name", "name", (row) => names.rank[run.name[row]], names.text],
    ["state", "state", (row) => run.state[row], (_, row) => [el("i", { class: `dot ${run.lookOf(row)}` }), el("span", {}, run.stateOf(row))]],
    timed("start", "started", "after the run began"), timed("queue", "queue", "from release to start"),
    timed("runtime", "ran", "from start to end"), timed("self", "self", "what its body ran itself"),
    ["tries", "attempts", (row) => run.attempts[row] ?? Number(run.start[row] >= 0), number],
    ["cpu", "CPU", (row) => run.cpu[row], time, "of all attempts"],
    ["peak", "memory", (row) => run.peak[row], memory, "the most it held"],
    ...(run.hosts.length > 1 ? [["host", "host", (row) => hosts.rank[run.host[row]], hosts.text]] : []),
    ["error", "exception", (row) => (row in run.error ? errors.rank[run.error[row]] : -1), known(errors.text)],
  ];
}

function serviceColumns(run, view) {
  const names = ranked(run.names);
  const of = (id, heading, show, hint) => [id, heading, (at) => view.stats[at][id], show, hint];
  return [
    ["name", "service", (at) => names.rank[at], names.text],
    of("size", "tasks", number), of("failed", "failed", (n) => n > 0 && el("b", { class: "state failed" }, number(n))),
    of("self", "self", time, "what their bodies ran themselves, in all"), of("share", "share", drawShare, "of what all bodies ran"),
    of("median", "median", time, "from start to end"), of("p95", "95 %", time, "19 of 20 took no longer"),
    of("longest", "longest", time), of("queue", "queue", time, "median from release to start"),
    of("cpu", "CPU", time, "of all attempts"), of("peak", "memory", memory, "the most that one held"),
    of("retries", "retries", number),
  ];
}

// Tells the style how much of the window the bar covers, for what stays in view below it.
function keepBelowBar() { document.documentElement.style.setProperty("--covered", `${byId("bar").offsetHeight}px`); }

// Texts by rank: numbers that sort as they do.
function ranked(texts) {
  const order = [...texts.keys()].sort((a, b) => (texts[a] < texts[b] ? -1 : 1)), rank = [];
  order.forEach((at, n) => { rank[at] = n; });
  return { rank, text: (n) => texts[order[n]] };
}

function drawShare(part) {
  const bar = el("i");
  bar.style.setProperty("--part", part);
  return [bar, share(part, 1)];
}

// Items by a column; what is not known comes last, either way. Key and place are one number, for numbers sort fastest.
function sortItems(items, keyOf, isDown) {
  const size = items.length, last = Math.floor(Number.MAX_SAFE_INTEGER / Math.max(1, size)) - 1;
  const packed = Float64Array.from(items, (item, at) => {
    const key = Math.min(Math.round(keyOf(item) * PER_MS), last - 1);
    return (key < 0 ? last : isDown ? last - 1 - key : key) * size + at;
  });
  return Int32Array.from(packed.sort(), (one) => items[one % size]);
}

class TableView {
  constructor(page, element) {
    Object.assign(this, { page, run: page.run, element, service: -1 });
    [this.ofTasks, this.ofServices] = [taskColumns(page.run), serviceColumns(page.run, this)];
    this.modes = ["services", "tasks"].map((mode) => el("button", { type: "button", value: mode,
      click: () => page.go({ rows: mode === "tasks" ? mode : undefined, by: undefined }) }, mode));
    this.said = el("span", { role: "status" });
    this.head = el("thead");
    this.body = el("tbody", { click: (event) => this.click(event) });
    this.table = el("table", { role: "grid", class: "sheet", tabindex: 0,
      keydown: (event) => this.press(event), focus: () => this.showFocus() }, this.head, this.body);
    element.append(el("p", { class: "above", role: "group", "aria-label": "What a row is" }, this.modes, this.said), this.table);
    const drawSoon = () => { this.pending ||= requestAnimationFrame(() => { this.pending = 0; this.drawRows(); }); };
    for (const event of ["scroll", "resize", "afterprint"]) addEventListener(event, drawSoon, { passive: true });
    addEventListener("beforeprint", () => this.drawRows(0, PRINTED_ROWS));
  }

  get hasTasks() { return this.page.address.rows === "tasks"; }
  get current() { return this.hasTasks ? this.page.current : this.service; }

  draw() {
    const { page, current } = this, wanted = [page.address.rows, page.address.by, page.kept, page.kept && page.hits, page.root];
    const isNew = wanted.some((part, n) => part !== this.arranged?.[n]);
    if (isNew) this.arrange(shownRows(page));
    this.arranged = wanted;
    this.drawn = [0, 0];
    this.drawRows();
    if (!isNew && this.seen !== current) this.scrollTo(this.items.indexOf(current));
    this.seen = current;
  }

  // Find out which items there are, and in which order.
  arrange(isShown) {
    const { run, hasTasks } = this, columns = hasTasks ? this.ofTasks : this.ofServices;
    if (this.columns !== columns) {
      this.columns = columns;
      const drawHeading = (column) => el("th", { scope: "col", class: `in-${column[0]}`, title: column[4] },
        el("button", { type: "button", click: () => this.sortBy(column) }, column[1]));
      this.head.replaceChildren(el("tr", { "aria-rowindex": 1 }, columns.map(drawHeading)));
    }
    const by = this.page.address.by ?? (hasTasks ? "num" : "-self");
    this.isDown = by.startsWith("-");
    this.by = columns.find(([id]) => id === by.replace("-", "")) ?? columns[0];
    const order = this.isDown ? "descending" : "ascending", { cells } = this.head.rows[0];
    columns.forEach((column, n) => cells[n].setAttribute("aria-sort", column === this.by ? order : "none"));
    if (!hasTasks) this.stats = serviceStats(run, run.num.map((_, row) => isShown(row)));
    const items = hasTasks ? [...run.num.keys()].filter(isShown) : [...run.names.keys()].filter((at) => this.stats[at].size);
    this.items = sortItems(items, this.by[2], this.isDown);
    this.said.textContent = count(this.items.length, hasTasks ? "task" : "service");
    this.table.setAttribute("aria-label", this.said.textContent);
    this.table.setAttribute("aria-rowcount", this.items.length + 1);
    for (const mode of this.modes) mode.setAttribute("aria-pressed", String((mode.value === "tasks") === hasTasks));
  }

  // Once more by the same column: the other way round.
  sortBy(column) {
    const isDown = column === this.by ? !this.isDown : !FROM_THE_LEAST.includes(column[0]);
    this.page.go({ by: (isDown ? "-" : "") + column[0] }, { replace: true });
  }

  // Draw what is in view, unless it is there.
  drawRows(first, end) {
    if (this.element.hidden || !this.items) return;
    const { items, table, body, drawn } = this, { top, px } = this.measure();
    const bottom = Math.min(items.length, top + Math.ceil(innerHeight / px));
    if (end === undefined && drawn[0] <= Math.max(0, top) && bottom <= drawn[1]) return;
    first ??= Math.max(0, Math.min(items.length, top) - SPARE_LINES);
    end = Math.max(first, Math.min(items.length, end ?? bottom + SPARE_LINES));
    this.drawn = [first, end];
    const space = (lines) => { const row = el("tr", { "aria-hidden": "true" }); row.style.height = `${lines * px}px`; return row; };
    const rows = Array.from(items.slice(first, end), (item, n) => this.drawRow(item, first + n));
    body.replaceChildren(space(first), ...rows, space(items.length - end));
    keepBelowBar();
    if (byId(`line-${this.current}`)) table.setAttribute("aria-activedescendant", `line-${this.current}`);
    else table.removeAttribute("aria-activedescendant");
  }

  // px: the height of a row; top: the place of the row at the top of the window.
  measure() {
    const px = parseFloat(getComputedStyle(this.table).getPropertyValue("--line"));
    return { px, top: Math.floor(-this.body.getBoundingClientRect().top / px) };
  }

  drawRow(item, place) {
    const { hits } = this.page, isCurrent = item === this.current, mark = this.hasTasks && hits ? (hits[item] ? "hit" : "miss") : "";
    const drawCell = ([id, , keyOf, show]) => {
      const shown = show(keyOf(item), item), title = ["name", "error"].includes(id) && shown;  // whose end may not be seen
      return el(id === "name" ? "th" : "td", { class: `in-${id}`, scope: id === "name" && "row", title }, shown);
    };
    return el("tr", { id: `line-${item}`, class: isCurrent ? `current ${mark}` : mark,
      "aria-rowindex": place + 2, "aria-selected": String(isCurrent) }, this.columns.map(drawCell));
  }

  // --- moving about

  // Who comes here by a key sees where it stands.
  showFocus() { if (this.table.matches(":focus-visible")) this.scrollTo(this.items.indexOf(this.current)); }

  scrollTo(place) {
    const { px, top } = this.measure(), covered = Math.ceil((byId("bar").offsetHeight + this.head.offsetHeight) / px) + 1;
    const hidden = place < top + covered ? place - top - covered : Math.max(0, place + 2 - top - Math.floor(innerHeight / px));
    if (place >= 0) scrollBy(0, hidden * px);
  }

  select(item) {
    if (this.hasTasks) this.page.select(item);
    else { this.service = item; this.draw(); }
  }

  open(item) {
    const name = this.run.names[item];
    if (this.hasTasks) this.page.open(item);
    else this.page.go({ rows: "tasks", by: undefined, q: `name:${/\s/.test(name) ? `"${name}"` : name}`, only: 1 });
  }

  click(event) {
    const row = event.target.closest("tr[id]");
    if (row) this.open(Number(row.id.slice("line-".length)));
  }

  press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target !== this.table || !this.items.length) return;
    const { items } = this, place = items.indexOf(this.current);
    const to = { ArrowDown: place + 1, j: place + 1, ArrowUp: place - 1, k: place - 1,
      PageDown: place + PAGE_LINES, PageUp: place - PAGE_LINES, Home: 0, End: items.length - 1 }[event.key];
    if (to !== undefined) this.select(items[Math.min(items.length - 1, Math.max(0, to))]);
    else if (event.key === "Enter" && place >= 0) this.open(this.current);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
