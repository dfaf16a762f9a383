// The graph: a box for each task that is not collapsed, and below it those that it called and the next of its chain.

const MOST_BOXES = 400, MOST_ALIKE = 50;
const LEAST_ZOOM = 0.05, READABLE_ZOOM = 0.6, MOST_ZOOM = 2;
const MODES = { default: "default", expanded: "expand all", collapsed: "collapse all", failed: "only failed" };

class GraphView {
  constructor(page, element) {
    Object.assign(this, { page, element, run: page.run, drawn: new Map(), fingers: new Map() });
    this.collapse = new Collapse(page.run);
    const button = (words, click, more) => el("button", { type: "button", click, ...more }, words);
    this.modes = Object.entries(MODES).map(([mode, words]) => button(words, () => this.start(mode), { value: mode }));
    this.links = ["link", "link failed", "link extra"].map((kind) => svg("path", { class: kind }));
    this.lines = svg("svg", { "aria-hidden": "true" });
    this.lines.append(...this.links);
    this.layer = el("div", { class: "layer", role: "tree", "aria-label": "Tasks of this run as boxes" });
    this.map = el("canvas", { class: "map", width: 160, height: 100, "aria-hidden": "true" });
    this.frame = el("div", { class: "graph", tabindex: 0, role: "group", "aria-label": "Graph; arrow keys move it" },
      this.layer, this.map);
    this.said = el("span", { role: "status" });
    const fit = button("fit", () => this.fit(), { title: "All of it (0)" });
    element.append(el("div", { class: "graph-tools" }, this.modes, fit, this.said), this.frame);
    this.keys = {
      c: () => this.centre(page.current), 0: () => this.fit(), "+": () => this.zoom(1.25), "-": () => this.zoom(0.8),
      e: () => this.start("collapsed"), E: () => this.start("expanded"),
      s: () => page.go({ root: page.address.root ? undefined : this.run.num[page.current] }),
    };
    this.listen();
  }

  listen() {
    const on = (type, act) => this.frame.addEventListener(type, act, { passive: false });
    on("click", (event) => this.click(event));
    on("keydown", (event) => this.press(event));
    on("pointerdown", (event) => {
      this.fingers.set(event.pointerId, event);
      this.isDragged = this.fingers.size > 1;
    });
    on("pointermove", (event) => this.drag(event));
    on("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.06 : event.ctrlKey ? 0.01 : 0.002)), event.clientX, event.clientY);
    });
    for (const type of ["pointerup", "pointercancel"]) addEventListener(type, (event) => this.fingers.delete(event.pointerId));
    addEventListener("resize", () => { if (!this.element.hidden) { this.measure(); this.paint(); } });
  }

  // --- what is drawn

  draw() {
    const { page, run } = this, root = run.rowOfNum.get(Number(page.address.root)), asked = page.address.task && page.current;
    [this.first, this.end] = root === undefined ? [0, run.size] : [root, run.end[root]];
    const key = `graph.${run.facts.run.id}.${this.first}`, isOther = key !== this.key;
    this.key = key;
    if (isOther) this.start(this.mode ?? "default", recall(key));
    else this.arrange();
    if (this.current !== page.current && (this.current ?? asked) !== undefined) this.reveal(page.current);
    else this.paint();
    this.current = page.current;
  }

  start(mode, at) {
    Object.assign(this, { mode, clicks: [] });
    for (const button of this.modes) button.setAttribute("aria-pressed", String(button.value === mode));
    this.arrange();
    this.look(at);
  }

  rules() {
    const { collapse: { byState, byData, last }, first, end, mode } = this, rules = [...byState];
    if (mode === "default") rules.push(...byData);
    const priority = { failed: BY_RUN_STATE, collapsed: 0 }[mode];
    for (let row = first; priority >= 0 && row < end; row = last[row]) {
      rules.push({ row, operation: "collapse", targets: ["descendants"], priority });
    }
    this.clicks.forEach(({ rows, ...wish }, n) => rules.push(...rows.map((row) => ({ row, priority: -1 - n, ...wish }))));
    return rules;
  }

  measure() { this.size = [this.frame.clientWidth, this.frame.clientHeight]; }

  arrange() {
    const { run, page: { kept, hits }, first, end } = this;
    const options = { first, end, kept, group: MOST_ALIKE, limit: MOST_BOXES };
    const { shown, above, holder } = this.picture = this.collapse.picture(this.rules(), options);
    Object.assign(this, layOut(shown, above));
    const paths = ["", "", ""], { place } = this;
    for (const row of shown) {
      if (above[row] >= 0) paths[Number(run.hasFailed(row))] += link(place.get(above[row]), place.get(row));
    }
    for (const [row, parents] of Object.entries(run.extra)) {
      const to = place.get(holder[row]);
      for (const from of parents.map((num) => place.get(holder[run.rowOfNum.get(num)]))) {
        if (from && to && from !== to) paths[2] += curve(from, to);
      }
    }
    this.links.forEach((path, n) => path.setAttribute("d", paths[n]));
    this.found = hits && new Set(holder.filter((_, row) => hits[row]));
    this.measure();
    this.layer.replaceChildren(this.lines);
    this.drawn.clear();
    this.said.textContent = `${shown.length} of ${count(end - first, "task")}`;
  }

  // Put the boxes in view on the page, and take the others away.
  paint() {
    const { at: { x, y, scale }, drawn } = this;
    this.layer.style.setProperty("transform", `translate(${x}px, ${y}px) scale(${scale})`);
    this.layer.classList.toggle("far", scale < 0.4);
    let last = this.lines;  // elements stand in reading order
    for (const row of this.picture.shown) {
      if (!this.isInView(row)) { drawn.get(row)?.remove(); drawn.delete(row); continue; }
      if (!drawn.has(row)) { drawn.set(row, this.drawBox(row)); last.after(drawn.get(row)); }
      last = drawn.get(row);
    }
    if (!drawn.has(this.active)) this.active = drawn.keys().next().value;
    for (const [row, box] of drawn) box.tabIndex = row === this.active ? 0 : -1;
    this.drawMap();
  }

  // Whether a box is in view at least in part; with -1, whether all of it is.
  isInView(row, part = 1) {
    const { at: { x, y, scale }, size: [width, height] } = this, { middle, centre } = this.place.get(row);
    return Math.abs(x + middle * scale - width / 2) < (width + part * BOX.width * scale) / 2
      && Math.abs(y + centre * scale - height / 2) < (height + part * BOX.height * scale) / 2;
  }

  drawBox(row) {
    const { run, page, picture: { hidden, failed, worst, members }, found } = this, { x, y, level } = this.place.get(row);
    const look = run.lookOf(row), notes = run.notesOf(row).join(", ");
    const took = run.start[row] < 0 ? "" : duration(run.runtime[row]);
    const alike = members.get(row) > 1 ? members.get(row) : 0, isOpen = this.below.get(row).length > 0;
    const name = run.nameOf(row) + (alike ? ` \u00d7 ${alike.toLocaleString("en")}` : "");
    const held = hidden[row] > 0 && count(hidden[row] + (alike > 0), "task") + (failed[row] ? `, ${failed[row]} failed` : "");
    const title = [`#${run.num[row]} ${name}`, notes || run.stateOf(row), took, held && `stands for ${held}`].filter(Boolean).join(", ");
    const is = { chained: run.is(row, CHAINED), plugin: run.is(row, PLUGIN), "set-aside": run.is(row, ASIDE),
      current: row === page.current, hit: found?.has(row), miss: found && !found.has(row) };
    const knob = (kind, title, words) => (
      el("button", { type: "button", class: kind, tabindex: -1, title, "aria-label": title }, words));
    const box = el("div", {
      id: `box-${row}`, class: ["box", look, ...Object.keys(is).filter((one) => is[one])].join(" "),
      role: "treeitem", title, "aria-label": title, "aria-level": level, "aria-selected": String(row === page.current),
      "aria-expanded": held || isOpen ? String(!held) : null,
    },
    held && el("i", { class: `cards ${run.lookOf(worst[row])}` }),
    el("div", { class: "face" },
      el("div", {},
        el("i", { class: `dot ${look}` }), el("span", { class: "name" }, name),
        row in run.attempts && el("span", { class: "retries" }, `${run.attempts[row]}\u00d7`)),
      el("div", {},
        el("span", { class: "num" }, `#${run.num[row]}`), el("span", { class: `notes ${look}` }, notes),
        run.hosts.length > 1 && !notes && el("span", { class: "host" }, run.hosts[run.host[row]]),
        el("span", { class: "time" }, took))),
    el("div", { class: "knobs" },
      held && knob(`stack ${run.lookOf(worst[row])}`, `Show ${held}`, held),
      isOpen && knob("shut", "Collapse what is below", "\u2212")));
    box.style.setProperty("transform", `translate(${x}px, ${y}px)`);
    return box;
  }

  // The whole graph in small, and what of it is in view.
  drawMap() {
    const { map, at: { x, y, scale }, width, height, size, run, place } = this;
    map.hidden = x >= 0 && y >= 0 && x + width * scale <= size[0] && y + height * scale <= size[1];
    if (map.hidden) return;
    const pen = map.getContext("2d"), { color, caretColor } = getComputedStyle(map);
    const small = this.small = Math.min(map.width / width, map.height / height);
    const box = [BOX.width, BOX.height].map((px) => Math.max(1, px * small));
    pen.clearRect(0, 0, map.width, map.height);
    for (const row of this.picture.shown) {
      pen.fillStyle = run.hasFailed(row) ? caretColor : color;
      pen.fillRect(place.get(row).x * small, place.get(row).y * small, ...box);
    }
    pen.strokeStyle = caretColor;
    pen.strokeRect(...[-x, -y, ...size].map((px) => px / scale * small));
  }

  // --- collapsing

  // Show what a box stands for: of many alike the next few; of others all, or if these are many the next level.
  expand(row) {
    const { picture: { holder, members, hidden }, collapse: { above }, collapse } = this, isGroup = members.get(row) > 1;
    if (!isGroup && hidden[row] <= MOST_ALIKE) return this.decide(row, [row], "expand", "descendants");
    const rows = [];
    for (let other = row; other < this.end && rows.length < (isGroup ? MOST_ALIKE : MOST_BOXES); other++) {
      const isNext = isGroup ? collapse.family(other) === collapse.family(row) : above[other] === row;
      if (isNext && holder[other] === row) rows.push(other);
    }
    return this.decide(row, rows, "expand", "self");
  }

  shut(row) { this.decide(row, [row], "collapse", "descendants"); }

  // A reader's wish, said to a box, which stays where it is.
  decide(row, rows, operation, ...targets) {
    const before = this.place.get(row), hadFocus = this.layer.contains(document.activeElement);
    this.clicks.push({ rows, operation, targets });
    this.arrange();
    const after = this.place.get(this.picture.holder[row]);
    this.move((before.x - after.x) * this.at.scale, (before.y - after.y) * this.at.scale);
    if (hadFocus) this.focus(this.picture.holder[row]);
  }

  // --- where one looks

  // Look from elsewhere; it is kept for the next time.
  turn(x, y, scale) {
    this.at = { x, y, scale };
    remember(this.key, JSON.stringify(this.at));
    this.paint();
  }

  move(x, y) { this.turn(this.at.x + x, this.at.y + y, this.at.scale); }

  // The point of the window that is given, else the middle, stays where it is.
  zoom(factor, clientX, clientY) {
    const { at, frame } = this, { left, top, width, height } = frame.getBoundingClientRect();
    const x = (clientX ?? left + width / 2) - left, y = (clientY ?? top + height / 2) - top;
    const scale = Math.min(MOST_ZOOM, Math.max(LEAST_ZOOM, at.scale * factor));
    this.turn(x - (x - at.x) * scale / at.scale, y - (y - at.y) * scale / at.scale, scale);
  }

  fit(height = this.height) {
    const { width, size } = this, scale = Math.max(LEAST_ZOOM, Math.min(1, (size[0] - 32) / width, (size[1] - 48) / height));
    this.at = { x: (size[0] - width * scale) / 2, y: 16, scale };
    this.paint();
  }

  // As the last time; else all of the width, if one can read it; else the task asked for, the first failure or the root.
  look(kept) {
    const { picture: { shown }, page, run } = this;
    if (kept) this.at = JSON.parse(kept);
    if (kept && shown.some((row) => this.isInView(row))) return;
    this.fit(0);
    if (this.at.scale >= READABLE_ZOOM) return;
    this.at.scale = 1;
    this.centre(page.address.task ? page.current : shown.find((row) => run.hasFailed(row) && !(row in run.cause)) ?? shown[0]);
  }

  centre(row) {
    const place = this.place.get(this.picture.holder[row]);
    if (place) this.goTo(place.middle, place.centre);
  }

  goTo(x, y) {
    const { at: { scale }, size } = this;
    this.at = { x: size[0] / 2 - x * scale, y: Math.min(16, size[1] / 2 - y * scale), scale };
    this.paint();
  }

  reveal(row) {
    const { holder } = this.picture;
    if (holder[row] >= 0 && holder[row] !== row) this.decide(holder[row], [row], "expand", "self", "ancestors");
    if (holder[row] >= 0 && !this.isInView(this.picture.holder[row], -1)) this.centre(row);
    else this.paint();
  }

  focus(row) {
    this.active = row;
    if (this.isInView(row, -1)) this.paint();
    else this.centre(row);
    this.drawn.get(row)?.focus({ preventScroll: true });
  }

  // --- mouse, fingers, keys

  drag(event) {
    const { fingers } = this, was = fingers.get(event.pointerId);
    if (!was) return;
    const x = event.clientX - was.clientX, y = event.clientY - was.clientY;
    if (!this.isDragged && Math.hypot(x, y) < 4) return;
    this.isDragged = true;
    this.frame.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, event);
    const other = [...fingers.values()].find((one) => one.pointerId !== event.pointerId);
    const reach = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
    if (other) this.zoom(reach(event) / (reach(was) || 1), other.clientX, other.clientY);
    else this.move(x, y);
  }

  click({ target, shiftKey, offsetX, offsetY }) {
    const box = target.closest(".box"), row = box && Number(box.id.slice("box-".length));
    if (this.isDragged) { this.isDragged = false; return; }
    if (target === this.map) this.goTo(offsetX / this.small, offsetY / this.small);
    if (!box) return;
    this.active = row;
    if (target.closest(".stack")) this.expand(row);
    else if (target.closest(".shut")) this.shut(row);
    else if (shiftKey) this.page.go({ root: this.run.num[row] });
    else this.page.open(row);
  }

  press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const row = event.target.closest(".box") ? this.active : -1, { above, hidden } = this.picture;
    const alike = this.below.get(row < 0 ? -1 : above[row]), at = alike.indexOf(row);
    const [pan, next] = {
      ArrowUp: [[0, 40], above[row]], ArrowDown: [[0, -40], this.below.get(row)[0]],
      ArrowLeft: [[40, 0], alike[at - 1]], ArrowRight: [[-40, 0], alike[at + 1]],
    }[event.key] ?? [];
    if (pan && row < 0) this.move(...pan);
    else if (pan) { if (next >= 0) this.focus(next); }
    else if (row >= 0 && event.key === "Enter") this.page.open(row);
    else if (row >= 0 && event.key === " ") { if (hidden[row]) this.expand(row); else this.shut(row); }
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

function svg(tag, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}
