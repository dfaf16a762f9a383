// The graph: a box for each task that is not collapsed, and below it those that it called and the next of its chain.

const LEAST_ZOOM = 0.05, READABLE_ZOOM = 0.6, MOST_ZOOM = 2;

class GraphView {
  constructor(page, element) {
    const { run } = page, on = (act) => (event) => this[act](event);
    Object.assign(this, { page, run, collapse: new Collapse(run), before: kept.of("graph", () => this.at) });
    const modeButton = (mode) => el("button", { type: "button", click: () => this.start(mode) }, mode);
    this.modes = Object.keys(this.collapse.modes).map(modeButton);
    this.said = el("span", { role: "status" });
    this.lines = svg("svg", { "aria-hidden": "true" });
    this.layer = el("div", { class: "layer", role: "presentation" });
    this.frame = el("div", {
      class: "graph", role: "tree", tabindex: 0, "aria-label": "Tasks of this run as boxes",
      click: on("click"), keydown: on("press"), wheel: on("wheel"), pointerdown: on("grip"), pointermove: on("drag"),
    }, this.layer);
    element.append(el("div", { class: "graph-tools" }, this.modes, this.said), this.frame);
    addEventListener("resize", () => { if (!element.hidden) this.paint(); });
    this.keys = {
      c: () => this.centre(this.active), 0: () => this.fit(), "+": () => this.zoom(1.25), "-": () => this.zoom(0.8),
      e: () => this.start("collapse all"), E: () => this.start("expand all"),
    };
  }

  // --- what is drawn

  draw() {
    const { page, current } = this;
    if (page.root !== this.root) this.start(this.mode ?? "default", this.before);
    else if (page.kept !== this.kept || page.hits !== this.hits) this.arrange();
    this.current = page.current;
    if (page.current !== current && (current ?? page.address.task) !== undefined) this.reveal(page.current);
    this.paint();
  }

  // Forget what the reader opened and closed.
  start(mode, at) {
    Object.assign(this, { mode, wishes: [], before: null });
    for (const button of this.modes) button.setAttribute("aria-pressed", String(button.textContent === mode));
    this.arrange();
    if (at) this.turn(at);
    else this.look();
  }

  arrange() {
    const { run, page: { root, kept, hits }, collapse } = this;
    const first = Math.max(0, root), end = root < 0 ? run.size : run.end[root];
    this.picture = collapse.picture([...collapse.modes[this.mode], ...this.wishes], { first, end, kept });
    const { shown, above, holder } = this.picture;
    const { place } = Object.assign(this, { root, kept, hits, boxes: new Map(), seen: null }, layOut(shown, above));
    this.found = hits && new Set(holder.filter((_, row) => hits[row]));
    const paths = { link: "", "link failed": "", "link extra": "" };
    for (const row of shown.filter((one) => above[one] >= 0)) {
      paths[run.hasFailed(row) ? "link failed" : "link"] += link(place.get(above[row]), place.get(row));
    }
    for (const [row, parents] of Object.entries(run.extra)) {
      const to = place.get(holder[row]), from = parents.map((num) => place.get(holder[run.rowOfNum.get(num)]));
      for (const one of from) if (to && one && one !== to) paths["link extra"] += curve(one, to);
    }
    this.lines.replaceChildren(...Object.entries(paths).map(([kind, d]) => svg("path", { class: kind, d })));
    this.said.textContent = `${shown.length} of ${count(end - first, "task")}`;
  }

  // Have the boxes that are in view on the page.
  paint() {
    const { at: { x, y, scale }, active, boxes, layer } = this, seen = this.picture.shown.filter((row) => this.isInView(row));
    for (const row of seen) if (!boxes.has(row)) boxes.set(row, this.drawBox(row));
    if (this.seen !== (this.seen = String(seen))) layer.replaceChildren(this.lines, ...seen.map((row) => boxes.get(row)));
    layer.classList.toggle("far", scale < 0.3);
    layer.style.setProperty("transform", `translate(${x}px, ${y}px) scale(${scale})`);
    for (const row of seen) boxes.get(row).ariaSelected = String(row === active);
    this.frame.setAttribute("aria-activedescendant", seen.includes(active) ? `box-${active}` : "");
  }

  // Whether a box is in view at least in part; with -1, whether all of it is.
  isInView(row, part = 1) {
    const { at: { x, y, scale }, room: [width, height] } = this, box = this.place.get(row);
    return Math.abs(x + box.x * scale - width / 2) < (width + part * BOX.width * scale) / 2
      && Math.abs(y + (box.y + BOX.height / 2) * scale - height / 2) < (height + part * BOX.height * scale) / 2;
  }

  drawBox(row) {
    const { run, found, picture: { hidden, failed, alike } } = this, { x, y } = this.place.get(row), look = run.lookOf(row);
    const name = run.nameOf(row) + (alike[row] ? ` \u00d7 ${(alike[row] + 1).toLocaleString("en")}` : "");
    const notes = run.notesOf(row).join(", "), took = run.start[row] < 0 ? "" : duration(run.runtime[row]);
    const stack = hidden[row] > 0 && count(hidden[row], "task") + (failed[row] ? `, ${failed[row]} failed` : "");
    const stackLook = failed[row] ? "failed" : look, isOpen = this.below.get(row).length > 0, num = `#${run.num[row]}`;
    const words = [`${num} ${name}`, notes || run.stateOf(row), took, stack && `stands for ${stack}`];
    const kinds = ["box", look, run.is(row, CHAINED) && "chained", run.is(row, PLUGIN) && "plugin",
      run.is(row, ASIDE) && "set-aside", found && (found.has(row) ? "hit" : "miss")];
    const label = words.filter(Boolean).join(", ");
    const part = (kind, ...content) => el("span", { class: kind }, ...content);
    const box = el("div", {
      id: `box-${row}`, class: kinds.filter(Boolean).join(" "), role: "treeitem", title: label,
      "aria-label": label, "aria-level": run.level[row] + 1, "aria-expanded": stack || isOpen ? String(!stack) : null,
    },
    stack && part(`cards ${stackLook}`),
    el("div", { class: "face" },
      el("div", {}, part(`dot ${look}`), part("name", name),
        row in run.attempts && part("retries", `${run.attempts[row]}\u00d7`)),
      el("div", {}, part("num", num), part("notes", notes), part("time", took))),
    el("div", { class: "knobs" }, stack && part(`stack ${stackLook}`, stack), isOpen && part("shut", "\u2212")));
    box.style.setProperty("transform", `translate(${x - BOX.width / 2}px, ${y}px)`);
    return box;
  }

  // --- collapsing

  // Show what a box stands for, or have it stand for all below.
  toggle(row, isStack = this.picture.hidden[row] > 0) {
    const { picture: { alike }, collapse: { head } } = this;
    const rows = alike[row] ? [...head.keys()].filter((one) => head[one] === row) : [row];
    if (isStack) this.wish(row, rows, "expand", "self", "descendants");
    else this.wish(row, [row], "collapse", "descendants");
  }

  // A reader's wish, said to a box, which stays where it is.
  wish(box, rows, operation, ...targets) {
    const { at: { scale }, place, wishes } = this, before = place.get(box);
    wishes.push({ rows, operation, targets, priority: -1 - wishes.length });
    this.arrange();
    const after = this.place.get(this.picture.holder[box]) ?? before;
    this.move((before.x - after.x) * scale, (before.y - after.y) * scale);
  }

  // Have a task in view, whatever stands for it.
  reveal(row) {
    const holder = this.picture.holder[row];
    if (holder < 0) return;
    if (holder !== row) this.wish(holder, [row], "expand", "self", "ancestors");
    if (!this.isInView(this.active, -1)) this.centre(this.active);
  }

  // The box that keys speak of: the current task's, or the one that stands for it.
  get active() {
    const { shown, holder } = this.picture, row = holder[this.page.current];
    return row < 0 ? shown[0] : row;
  }

  // --- where one looks

  get room() { return [this.frame.clientWidth, this.frame.clientHeight]; }

  turn(at) { this.at = at; this.paint(); }

  move(x, y) { this.turn({ ...this.at, x: this.at.x + x, y: this.at.y + y }); }

  // A point of the frame, its middle if none is given, stays where it is.
  zoom(factor, x = this.room[0] / 2, y = this.room[1] / 2) {
    const { at } = this, scale = Math.min(MOST_ZOOM, Math.max(LEAST_ZOOM, at.scale * factor)), by = scale / at.scale;
    this.turn({ x: x - (x - at.x) * by, y: y - (y - at.y) * by, scale });
  }

  fit() {
    const { width, height, room } = this, scale = Math.min(1, (room[0] - 32) / width, (room[1] - 48) / height);
    this.turn({ x: (room[0] - width * scale) / 2, y: 16, scale: Math.max(LEAST_ZOOM, scale) });
  }

  centre(row, scale = this.at.scale) {
    const { x, y } = this.place.get(row) ?? { x: 0, y: 0 }, [width, height] = this.room;
    this.turn({ x: width / 2 - x * scale, y: Math.min(16, height / 2 - y * scale), scale });
  }

  // All of it, if one can read it; else the task asked for, the first failure or the root.
  look() {
    const { picture: { shown }, page, run } = this, isCause = (row) => run.hasFailed(row) && !(row in run.cause);
    this.fit();
    if (this.at.scale < READABLE_ZOOM) this.centre(page.address.task ? this.active : shown.find(isCause) ?? shown[0], 1);
  }

  // --- mouse, fingers, keys

  grip(event) { Object.assign(this, { held: event, isDragged: false }); }

  drag(event) {
    if (!event.buttons || !event.isPrimary) this.held = null;
    if (!this.held) return;
    const x = event.clientX - this.held.clientX, y = event.clientY - this.held.clientY;
    if (!this.isDragged && Math.hypot(x, y) < 4) return;
    Object.assign(this, { held: event, isDragged: true });
    this.frame.setPointerCapture(event.pointerId);
    this.move(x, y);
  }

  wheel(event) {
    const { left, top } = this.frame.getBoundingClientRect();
    event.preventDefault();
    this.zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.002)), event.clientX - left, event.clientY - top);
  }

  click({ target, shiftKey }) {
    const box = target.closest(".box"), row = Number(box?.id.slice("box-".length)), { isDragged } = this;
    this.isDragged = false;
    if (!box || isDragged) return;
    if (target.matches(".knobs span")) this.toggle(row, target.matches(".stack"));
    else if (shiftKey) this.page.go({ root: this.run.num[row] });
    else this.page.open(row);
  }

  press(event) {
    const { page, active: row, below, picture: { above } } = this, beside = below.get(above[row]) ?? [];
    const at = beside.indexOf(row);
    if (at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const next = { ArrowUp: above[row], ArrowDown: below.get(row)[0], ArrowLeft: beside[at - 1], ArrowRight: beside[at + 1] };
    if (next[event.key] >= 0) page.select(next[event.key]);
    else if (event.key === "Enter") page.open(row);
    else if (event.key === " ") this.toggle(row);
    else if (!(event.key in next)) return;
    event.preventDefault();
  }
}

function svg(tag, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}
