// The run on one page: how much ran at once, what decided how long it took, and where the time went.

const LEAST_PIECE = 0.3;   // percent of the axis; shorter stretches of the critical path are drawn as one
const LEAST_NAMED = 2.5;   // percent; narrower ones do not say their name
const BRIEF_LINES = 5;     // of failures that are told in a line; see overview.css
const PATH_LINES = 12, SERVICE_LINES = 8, TASK_LINES = 10, OPEN_LINES = 12, MOST_LINES = 500;
const SAID = { queued: "in the queue", ran: "ran", waited: "waited", asleep: "asleep", backoff: "before a retry", down: "no process" };

class OverviewView {
  constructor(page, element) {
    Object.assign(this, { page, run: page.run, curve: new Curve(page) });
    const { incarnations: lives = [], snapshot } = this.run.facts.run;
    const brief = element.querySelectorAll(".brief li").length - BRIEF_LINES;
    if (brief > 0) element.firstElementChild.append(el("p", { class: "more" }, el("a", { href: "#/failures" }, `${count(brief, "further kind")} of failure`)));
    element.append(el("div", { class: "panels" },
      snapshot && this.drawOpen(),
      panel("wide", "Time", this.drawTimes(), this.curve.element, this.drawStrip()),
      el("div", {}, panel("", "Critical path", this.drawKinds(), this.drawPath(PATH_LINES)),
        panel("", "Services", "by the time in their bodies", ...this.drawServices())),
      el("div", {}, panel("", "Tasks", "by the time in their bodies", this.drawTasks()),
        panel("", "States", "", ...this.drawStates()),
        lives.length > 1 && panel("", "Incarnations", "", this.drawLives(lives)))));
  }

  draw() { this.curve.draw(); }

  drawTimes() {
    const { run, curve } = this, { workers } = run.facts.run, used = run.self.reduce((sum, ms) => sum + ms, 0);
    const { incarnations: lives = [] } = run.facts.run, down = lives.slice(1).reduce((ms, { started }, n) => ms + (started - lives[n].ended) * 1000, 0);
    return [`${duration(run.span)} by the clock`, down > 0 && `${duration(down)} of it without a process`,
      `${duration(used)} in bodies of tasks`, `${curve.peak} at most`,
      workers && `${share(used, (run.span - down) * workers)} of ${count(workers, "worker")} used`].filter(Boolean).join(" \u00b7 ");
  }

  // --- the critical path

  // Its stretches along the axis of the curve, coloured by service.
  drawStrip() {
    const { run, run: { scale } } = this, pieces = [];
    for (const { row, from, to, kind } of run.critical) {
      const left = (scale.at(from) / scale.width) * 100, right = (scale.at(to) / scale.width) * 100, last = pieces[pieces.length - 1];
      if (!last || right - last.left >= LEAST_PIECE) pieces.push({ left, right, row, kind, ms: to - from });
      else Object.assign(last, { right }, to - from > last.ms && { row, kind, ms: to - from });
    }
    return el("div", { class: "strip", role: "group", "aria-label": "Critical path" }, pieces.map(({ left, right, row, kind, ms }) => {
      const said = `#${run.num[row]} ${run.nameOf(row)}: ${SAID[kind]}, ${duration(ms)}`;
      const piece = this.tint(row, el("a", { class: kind, href: `#task=${run.num[row]}`, title: said, "aria-label": said }, right - left > LEAST_NAMED && run.nameOf(row)));
      piece.style.left = `${left}%`;
      piece.style.width = `${right - left}%`;
      return piece;
    }));
  }

  // The hue of a row's service, among those of the critical path.
  tint(row, element) {
    this.hues ??= [...new Set(this.run.critical.map((stretch) => this.run.name[stretch.row]))];
    element.style.setProperty("--hue", (this.hues.indexOf(this.run.name[row]) * 137.5 + 210) % 360);
    return element;
  }

  // What its time went into, most first.
  drawKinds() {
    const spent = Object.keys(SAID).map((kind) => [kind, this.run.critical.reduce((ms, one) => ms + (one.kind === kind ? one.to - one.from : 0), 0)]);
    const whole = spent.reduce((sum, [, ms]) => sum + ms, 0);
    return spent.filter(([, ms]) => ms > whole / 1000).sort(([, a], [, b]) => b - a).map(([kind, ms]) => `${share(ms, whole)} ${SAID[kind]}`).join(", ");
  }

  // Its longest stretches, in order of time.
  drawPath(most) {
    const { critical } = this.run, lengthOf = (n) => critical[n].to - critical[n].from;
    const shown = greatest(critical.length, lengthOf, most).sort((a, b) => a - b), whole = critical.at(-1)?.to ?? 0;
    const rest = critical.length - shown.length, restMs = shown.reduce((ms, n) => ms - lengthOf(n), whole);
    const box = el("div", {}, table(["", "", "at", "for", "share"], shown.map((n) => [
      linkToTask(this.run, critical[n].row, this.tint(critical[n].row, el("i", { class: `swatch ${critical[n].kind}` }))),
      SAID[critical[n].kind], duration(critical[n].from), duration(lengthOf(n)), share(lengthOf(n), whole)])),
    rest > 0 && el("p", { class: "aside" }, `and ${count(rest, "shorter piece")}, together ${duration(restMs)} `,
      most < MOST_LINES && el("button", { type: "button", click: () => box.replaceWith(this.drawPath(MOST_LINES)) }, "show them")));
    return box;
  }

  // --- tables

  drawServices() {
    const { run, page } = this, stats = serviceStats(run);
    const time = (ms) => (ms < 0 ? "" : duration(ms));
    return [table(["", "tasks", "itself", ...["median", "95 %", "longest"].map((what) => el("span", { title: "from start to end" }, what)), "CPU", "failed"],
      greatest(stats.length, (at) => stats[at].self, SERVICE_LINES).map((at) => {
        const { size, self, median, p95, longest, cpu, failed } = stats[at], q = `name:"${run.names[at]}"`;
        return [inTree(q, run.names[at]), size.toLocaleString("en"), ...[self, median, p95, longest, cpu].map(time),
          failed > 0 && inTree(`${q} state:failed`, el("b", { class: "state failed" }, failed.toLocaleString("en")))];
      })),
    page.views.has("table") && el("p", { class: "aside" }, el("a", { href: "#/table" }, `all ${count(stats.length, "service")}`))];
  }

  drawTasks() {
    const { run } = this;
    return table(["", "itself", "in all", "CPU", "memory"], greatest(run.size, (row) => run.self[row], TASK_LINES).map((row) => [
      linkToTask(run, row), duration(run.self[row]), duration(run.runtime[row]), run.cpu[row] >= 0 && duration(run.cpu[row]),
      run.peak[row] >= 0 && `${run.peak[row].toLocaleString("en")} MiB`]));
  }

  drawStates() {
    const { run } = this, counts = new Int32Array(run.states.length);
    let all = 0;
    for (let row = 0; row < run.size; row++) if (!run.is(row, ASIDE)) all += ++counts[run.state[row]] > 0;
    const present = run.states.map((state, at) => ({ state, n: counts[at] })).filter(({ n }) => n);
    const bar = el("div", { class: "split" }, present.map(({ state, n }) => {
      const part = el("i", { class: `part ${state}`, title: `${count(n, "task")} ${state}` });
      part.style.flexGrow = n;
      return part;
    }));
    return [bar, table([], present.map(({ state, n }) => [
      [el("i", { class: `dot ${state}` }), " ", inTree(`state:${state}`, state)], n.toLocaleString("en"), share(n, all)]))];
  }

  drawLives(lives) {
    const { zero } = this.run, ends = { crash: "killed", clean: "ended", open: "runs" };
    return table(["", "", "at", "lasted", "process"], lives.map(({ n, pid, host, started, ended, end }) => [
      `${n} on ${host}`, el("span", { class: end === "crash" ? "state failed" : "" }, ends[end] ?? end),
      duration(Math.max(0, (started - zero) * 1000)), duration((ended - started) * 1000), pid]));
  }

  // What an unfinished run is at: bodies that run, then those that wait, the longest first.
  drawOpen() {
    const { run } = this, at = (state) => run.states.indexOf(state), running = at("running"), blocked = at("blocked");
    const isOpen = (row) => run.state[row] === running || run.state[row] === blocked;
    const since = (row) => (isOpen(row) ? run.span - (run.barsOf(row).at(-1)?.[2] ?? run.span) : 0);
    let open = 0;
    for (let row = 0; row < run.size; row++) open += isOpen(row);
    const shown = greatest(run.size, (row) => since(row) + (run.state[row] === running ? 1e12 : 0), OPEN_LINES);
    return panel("wide", "Not finished", `${count(open, "task")} had begun and not ended`, table(["", "", "for", "waits for"], shown.map((row) => [
      linkToTask(run, row), run.stateOf(row), duration(since(row)), this.drawAwaited(row)])));
  }
  // The tasks that a blocked one enqueued and that have not ended.
  drawAwaited(caller) {
    const { run } = this, rows = [];
    if (run.stateOf(caller) !== "blocked") return "";
    for (let row = caller + 1; row < run.end[caller]; row = run.end[row]) {
      if (["waiting", "ready", "running", "blocked"].includes(run.stateOf(row))) rows.push(row);
    }
    return rows.length ? [linkToTask(run, rows[0]), rows.length > 1 && ` and ${rows.length - 1} more`] : "a time or an event";
  }
}

const panel = (look, heading, said, ...content) =>
  el("section", { class: `panel ${look}` }, el("h2", {}, heading, " ", el("span", { class: "aside" }, said)), content);

const share = (part, whole) => (whole > 0 ? `${((part / whole) * 100).toFixed(part / whole < 0.1 ? 1 : 0)} %` : "");

// A link to the tasks that a search finds.
const inTree = (q, content) => el("a", { href: `#/tree?${new URLSearchParams({ q, only: 1 })}` }, content);

const linkToTask = (run, row, icon = el("i", { class: `dot ${run.lookOf(row)}` })) =>
  el("a", { class: "task", href: `#task=${run.num[row]}` }, icon, el("span", { class: "num" }, `#${run.num[row]}`), ` ${run.nameOf(row)}`);

// The at most `k` of the numbers below `size` of which `valueOf` is greatest and above 0, the greatest first.
function greatest(size, valueOf, k) {
  const found = [];
  for (let n = 0, least = 0; n < size; n++) {
    const value = valueOf(n);
    if (!(value > least)) continue;
    let at = found.length;
    while (at > 0 && found[at - 1][0] < value) at--;
    found.splice(at, 0, [value, n]);
    if (found.length > k) found.pop();
    if (found.length === k) [least] = found[k - 1];
  }
  return found.map(([, n]) => n);
}
