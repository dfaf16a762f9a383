// Services and tasks as tables, sorted by any column.

const FROM_THE_LEAST = "num name state start error".split(" ");  // columns; the others begin with the greatest

// Whether a row is to be seen. Callers that the filter only keeps because a tree needs them to hold what is below are not.
function shownRows({ run, kept, hits, root }) {
  const marks = kept && (hits ?? kept), end = root < 0 ? run.size : run.end[root];
  return (row) => row >= root && row < end && (!marks || marks[row] === 1);
}

// Whether a view is asked for other rows than the last time, or has other `wishes`.
function isAskedAnew(view, ...wishes) {
  const { kept, hits, root } = view.page, before = view.asked;
  view.asked = [kept, kept && hits, root, ...wishes];
  return view.asked.some((one, n) => one !== before?.[n]);
}

// --- columns: [id, heading, number by which an item is sorted (below 0: not known), what its cell shows of that, hint]

const number = (n) => n > 0 && n.toLocaleString("en");
const memory = (mib) => (mib < 1024 ? `${mib} MiB` : `${(mib / 1024).toFixed(1)} GiB`);

// A column of texts: `textOf` an item, all of them in `texts`.
function worded(id, heading, texts, textOf) {
  const rank = new Map([...texts].sort().map((text, n) => [text, n]));
  return [id, heading, (item) => rank.get(textOf(item)) ?? -1, (_, item) => textOf(item)];
}

function taskColumns(run) {
  const timed = (id, heading, hint) => [id, heading, (row) => (run.start[row] < 0 ? -1 : run[id][row]), duration, hint];
  const drawState = (_, row) => [el("i", { class: `dot ${run.lookOf(row)}` }), el("span", {}, run.stateOf(row))];
  return [
    ["num", "#", (row) => run.num[row], String],
    worded("name", "name", run.names, (row) => run.nameOf(row)),
    ["state", "state", (row) => run.state[row], drawState],
    timed("start", "started"), timed("queue", "queue", "from release to start"),
    timed("runtime", "ran"), timed("self", "self", "what its body ran itself"),
    ["tries", "attempts", (row) => run.attempts[row] ?? Number(run.start[row] >= 0), number],
    ["cpu", "CPU", (row) => run.cpu[row], duration],
    ["peak", "memory", (row) => run.peak[row], memory],
    worded("error", "exception", run.errors.map(([said]) => said), (row) => run.errors[run.error[row]]?.[0]),
  ];
}

function serviceColumns(run, view) {
  const of = (id, heading, show, hint) => [id, heading, (at) => view.stats[at][id], show, hint];
  return [
    worded("name", "service", run.names, (at) => run.names[at]),
    of("size", "tasks", number), of("failed", "failed", number),
    of("self", "self", duration, "what their bodies ran themselves"),
    of("share", "share", (part) => [el("progress", { value: part, "aria-hidden": "true" }), share(part, 1)]),
    of("median", "median", duration), of("p95", "95 %", duration, "19 of 20 took no longer"),
    of("longest", "longest", duration), of("queue", "queue", duration, "median from release to start"),
    of("cpu", "CPU", duration), of("peak", "memory", memory), of("retries", "retries", number),
  ];
}

// Items, which are whole numbers, by another number; what is not known comes last, either way.
function sortItems(items, numberOf, isDown) {
  const key = [];
  for (const item of items) {
    const n = numberOf(item);
    key[item] = n < 0 ? Infinity : isDown ? -n : n;
  }
  return Int32Array.from(items).sort((a, b) => key[a] - key[b] || a - b);
}

class TableView {
  constructor(page, element) {
    const { run } = page;
    Object.assign(this, { page, run, ofTasks: taskColumns(run), ofServices: serviceColumns(run, this) });
    const mode = (name, rows) => el("button", { type: "button", click: () => page.go({ rows, by: undefined }) }, name);
    this.modes = [mode("services"), mode("tasks", "tasks")];
    this.said = el("span", { role: "status" });
    this.head = el("tr", { "aria-rowindex": 1 });
    this.body = el("tbody", { click: (event) => this.open(Number(event.target.closest("tr").id.slice("line-".length))) });
    this.table = el("table", { role: "grid", class: "sheet", tabindex: 0, "aria-label": "Services or tasks" },
      el("thead", {}, this.head), this.body);
    this.lines = new Lines(this, this.table, this.body, "line");
    element.append(el("p", { class: "above" }, this.modes, this.said), this.table);
  }

  get hasTasks() { return this.page.address.rows === "tasks"; }
  get current() { return this.hasTasks ? this.page.current : this.run.name[this.page.current]; }
  get by() { return this.page.address.by ?? (this.hasTasks ? "num" : "-self"); }  // a column; with `-`, the greatest first

  draw() {
    const isNew = isAskedAnew(this, this.hasTasks, this.by);
    if (isNew) this.arrange();
    this.lines.renew();
    if (!isNew && this.seen !== this.current) this.lines.showCurrent();
    this.seen = this.current;
  }

  // Find out which items there are, and in which order.
  arrange() {
    const { run, hasTasks, by } = this, isShown = shownRows(this.page);
    this.showHeadings(hasTasks ? this.ofTasks : this.ofServices);
    if (!hasTasks) this.stats = serviceStats(run, run.num.map((_, row) => isShown(row)));
    const items = [...(hasTasks ? run.num : run.names).keys()].filter(hasTasks ? isShown : (at) => this.stats[at].size);
    const [, , numberOf] = this.columns.find(([id]) => id === by.replace("-", "")) ?? this.columns[0];
    this.items = sortItems(items, numberOf, by.startsWith("-"));
    this.said.textContent = count(items.length, hasTasks ? "task" : "service");
    this.table.setAttribute("aria-rowcount", items.length + 1);
    this.modes.forEach((mode, n) => mode.setAttribute("aria-pressed", String(hasTasks === (n === 1))));
  }

  showHeadings(columns) {
    const drawHeading = ([id, heading, , , hint]) => el("th", { scope: "col", class: `in-${id}`, title: hint },
      el("button", { type: "button", click: () => this.sortBy(id) }, heading));
    if (this.columns !== columns) this.head.replaceChildren(...columns.map(drawHeading));
    this.columns = columns;
    const orderOf = (id) => ({ [id]: "ascending", [`-${id}`]: "descending" })[this.by] ?? "none";
    columns.forEach(([id], n) => this.head.cells[n].setAttribute("aria-sort", orderOf(id)));
  }

  // Once more by the same column: the other way round.
  sortBy(id) {
    const [by, back] = FROM_THE_LEAST.includes(id) ? [id, `-${id}`] : [`-${id}`, id];
    this.page.go({ by: this.by === by ? back : by }, { replace: true });
  }

  drawLines(first, end) {
    const { items, body } = this;
    body.replaceChildren(...Array.from(items.slice(first, end), (item, n) => this.drawRow(item, first + n)));
    body.style.setProperty("--above", first);
    body.style.setProperty("--below", items.length - end);
  }

  drawRow(item, place) {
    const isCurrent = item === this.current, isHit = this.hasTasks && this.page.hits?.[item];
    const drawCell = ([id, , numberOf, show]) => {
      const n = numberOf(item);
      return el(id === "name" ? "th" : "td", { class: `in-${id}`, scope: id === "name" && "row" }, n < 0 ? "" : show(n, item));
    };
    return el("tr", { id: `line-${item}`, class: (isCurrent ? "current " : "") + (isHit ? "hit" : ""),
      "aria-rowindex": place + 2, "aria-selected": String(isCurrent) }, this.columns.map(drawCell));
  }

  select(item) { this.page.select(this.hasTasks ? item : this.run.name.indexOf(item)); }

  open(item) {
    if (this.hasTasks) this.page.open(item);
    else this.page.go({ rows: "tasks", by: undefined, q: `name:"${this.run.names[item]}"`, only: 1 });
  }
}
