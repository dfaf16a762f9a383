// The run on one page: how much ran at once, what decided how long it took, and where the time went.

const LEAST_PIECE = 0.3, LEAST_NAMED = 2.5;  // percent of the axis: shorter stretches are drawn as one, or without their name
const BRIEF_LINES = 5;                       // of failures that are told in a line; see overview.css
const PATH_LINES = 12, SERVICE_LINES = 8, TASK_LINES = 10, OPEN_LINES = 12, MOST_LINES = 500;
const SAID = {
  queued: "in the queue", ran: "ran", waited: "waited", asleep: "asleep", backoff: "before a retry", gone: "no process" };
const OPEN_STATES = ["running", "blocked", "ready", "waiting"];

class OverviewView {
  constructor(page, element) {
    Object.assign(this, { page, run: page.run, curve: new Curve(page) });
    const { incarnations = [], snapshot } = this.run.facts.run;
    this.lives = incarnations;
    this.foldFailures(element);
    addEventListener("resize", () => { if (!element.hidden) this.draw(); });
    element.append(el("div", { class: "panels" },
      snapshot && this.drawOpen(),
      panel("Time", this.sayTimes(), this.curve.element, this.drawStrip()),
      el("div", {},
        panel("Critical path", this.sayKinds(), this.drawPath(PATH_LINES)),
        panel("Services", "by the time in their bodies", this.drawServices())),
      el("div", {},
        panel("Tasks", "by the time in their bodies", this.drawTasks()),
        panel("States", "", this.drawStates()),
        incarnations.length > 1 && panel("Incarnations", "", this.drawLives()))));
  }

  draw() { this.curve.draw(); }

  // What failed was written with the file; of many kinds, most are left to the view of failures.
  foldFailures(element) {
    if (element.querySelectorAll(".brief li").length <= BRIEF_LINES) return;
    element.querySelector(".failures > .more")?.remove();
    const all = el("a", { href: "#/failures" }, "all kinds of failure");
    element.querySelector(".failures").append(el("p", { class: "more" }, all));
  }

  sayTimes() {
    const { run, curve } = this, workers = run.facts.run.options?.workers;
    const used = run.self.reduce((sum, ms) => sum + ms, 0), gone = run.span - curve.alive;
    return [
      `${duration(run.span)} by the clock`, gone > 0 && `${duration(gone)} of it without a process`,
      `${duration(used)} in bodies of tasks`, `at most ${curve.peak} at once`,
      workers && `${share(used, curve.alive * workers)} of ${count(workers, "worker")} used`,
    ].filter(Boolean).join(" \u00b7 ");
  }

  // --- the critical path

  // Its stretches along the axis of the curve, coloured by service.
  drawStrip() {
    const { run, run: { scale } } = this, pieces = [];
    for (const { row, from, to, kind } of run.critical) {
      const [left, right] = [from, to].map((ms) => (scale.at(ms) / scale.width) * 100), last = pieces[pieces.length - 1];
      if (!last || right - last.left >= LEAST_PIECE) pieces.push({ left, right, row, kind, ms: to - from });
      else Object.assign(last, { right }, to - from > last.ms && { row, kind, ms: to - from });
    }
    return el("div", { class: "strip", role: "group", "aria-label": "Critical path" },
      pieces.map((piece) => this.drawPiece(piece)));
  }

  drawPiece({ left, right, row, kind, ms }) {
    const { run } = this, said = `#${run.num[row]} ${run.nameOf(row)}: ${SAID[kind]}, ${duration(ms)}`;
    const link = el("a", { class: kind, href: `#task=${run.num[row]}`, title: said, "aria-label": said },
      right - left > LEAST_NAMED && run.nameOf(row));
    link.style.left = `${left}%`;
    link.style.width = `${right - left}%`;
    return this.tint(row, link);
  }

  // The hue of a row's service, among those of the critical path.
  tint(row, element) {
    this.hues ??= [...new Set(this.run.critical.map((stretch) => this.run.name[stretch.row]))];
    element.style.setProperty("--hue", (this.hues.indexOf(this.run.name[row]) * 137.5 + 210) % 360);
    return element;
  }

  // What its time went into, most first.
  sayKinds() {
    const spent = Object.fromEntries(Object.keys(SAID).map((kind) => [kind, 0]));
    for (const { from, to, kind } of this.run.critical) spent[kind] += to - from;
    const whole = Object.values(spent).reduce((sum, ms) => sum + ms, 0);
    return Object.entries(spent).filter(([, ms]) => ms > whole / 1000).sort(([, a], [, b]) => b - a)
      .map(([kind, ms]) => `${share(ms, whole)} ${SAID[kind]}`).join(", ");
  }

  // Its longest stretches, in order of time.
  drawPath(most) {
    const { run, run: { critical } } = this, lengthOf = (n) => critical[n].to - critical[n].from;
    const shown = greatest(critical.length, lengthOf, most).sort((a, b) => a - b), whole = critical.at(-1)?.to ?? 0;
    const rest = critical.length - shown.length, restMs = shown.reduce((ms, n) => ms - lengthOf(n), whole);
    const box = el("div", {}, table(["", "", "at", "for", "share"], shown.map((n) => {
      const { row, from, kind } = critical[n], swatch = this.tint(row, el("i", { class: `swatch ${kind}` }));
      return [linkToTask(run, row, swatch), SAID[kind], duration(from), duration(lengthOf(n)), share(lengthOf(n), whole)];
    })));
    const button = el("button", { type: "button", click: () => box.replaceWith(this.drawPath(MOST_LINES)) }, "show them");
    if (rest) {
      box.append(el("p", { class: "aside" }, `and ${count(rest, "shorter piece")}, together ${duration(restMs)} `,
        most < MOST_LINES && button));
    }
    return box;
  }

  // --- tables

  drawServices() {
    const { run, page } = this, stats = serviceStats(run), time = (ms) => (ms < 0 ? "" : duration(ms));
    const timed = (heading) => el("span", { title: "from start to end" }, heading);
    const rows = greatest(stats.length, (at) => stats[at].self, SERVICE_LINES).map((at) => {
      const { size, self, median, p95, longest, cpu, failed } = stats[at], q = `name:"${run.names[at]}"`;
      return [inTree(q, run.names[at]), size.toLocaleString("en"),
        failed > 0 && inTree(`${q} state:failed`, el("b", { class: "state failed" }, failed.toLocaleString("en"))),
        ...[self, median, p95, longest, cpu].map(time)];
    });
    return [
      table(["", "tasks", "failed", "itself", timed("median"), timed("95 %"), timed("longest"), "CPU"], rows),
      page.views.has("table") && el("p", { class: "aside" },
        el("a", { href: "#/table" }, `all ${count(stats.length, "service")}`)),
    ];
  }

  drawTasks() {
    const { run } = this, longest = greatest(run.size, (row) => run.self[row], TASK_LINES);
    return table(["", "itself", "in all", "CPU", "memory"], longest.map((row) => [
      linkToTask(run, row), duration(run.self[row]), duration(run.runtime[row]), run.cpu[row] >= 0 && duration(run.cpu[row]),
      run.peak[row] >= 0 && `${run.peak[row].toLocaleString("en")} MiB`]));
  }

  drawStates() {
    const { run } = this, counts = new Int32Array(run.states.length);
    for (let row = 0; row < run.size; row++) if (!run.is(row, ASIDE)) counts[run.state[row]]++;
    const present = run.states.map((state, at) => [state, counts[at]]).filter(([, n]) => n);
    const bar = el("div", { class: "split" }), all = counts.reduce((sum, n) => sum + n, 0);
    for (const [state, n] of present) {
      const part = el("i", { class: `part ${state}`, title: `${count(n, "task")} ${state}` });
      part.style.flexGrow = n;
      bar.append(part);
    }
    return [bar, table([], present.map(([state, n]) => [
      inTree(`state:${state}`, [el("i", { class: `dot ${state}` }), " ", state]), n.toLocaleString("en"), share(n, all)]))];
  }

  drawLives() {
    const { zero } = this.run, ends = { crash: "killed", clean: "ended", open: "runs" };
    return table(["", "", "at", "lasted", "process"], this.lives.map(({ n, pid, host, started, ended, end }) => [
      `${n} on ${host}`, el("span", { class: end === "crash" && "state failed" }, ends[end] ?? end),
      duration(Math.max(0, (started - zero) * 1000)), duration((ended - started) * 1000), pid]));
  }

  // What an unfinished run is at: bodies that run, then those that wait, the longest first.
  drawOpen() {
    const { run } = this, [running, blocked] = OPEN_STATES.map((state) => run.states.indexOf(state));
    const isOpen = (row) => run.state[row] === running || run.state[row] === blocked;
    const waited = (row) => (isOpen(row) ? run.span - (run.barsOf(row).at(-1)?.[2] ?? run.span) : 0);
    const weight = (row) => waited(row) + (run.state[row] === running ? 1e12 : 0);
    let open = 0;
    for (let row = 0; row < run.size; row++) open += isOpen(row);
    const rows = greatest(run.size, weight, OPEN_LINES).map((row) => [
      linkToTask(run, row), run.stateOf(row), duration(waited(row)), this.drawAwaited(row)]);
    return panel("Not finished", `${count(open, "task")} had begun and not ended`, table(["", "", "for", "waits for"], rows));
  }

  // The tasks that a blocked one enqueued and that have not ended.
  drawAwaited(caller) {
    const { run } = this, rows = [];
    if (run.stateOf(caller) !== "blocked") return "";
    for (let row = caller + 1; row < run.end[caller]; row = run.end[row]) {
      if (OPEN_STATES.includes(run.stateOf(row))) rows.push(row);
    }
    return rows.length ? [linkToTask(run, rows[0]), rows.length > 1 && ` and ${rows.length - 1} more`] : "a time or an event";
  }
}

const panel = (heading, said, ...content) =>
  el("section", { class: "panel" }, el("h2", {}, heading, " ", el("span", { class: "aside" }, said)), ...content.flat());

// In percent; what is not all does not round up to it.
function share(part, whole) {
  const percent = (part / whole) * 100;
  return whole > 0 ? `${percent.toFixed(percent < 10 || (percent > 99 && percent < 100) ? 1 : 0)} %` : "";
}

// A link to the tasks that a search finds.
const inTree = (q, content) => el("a", { href: `#/tree?${new URLSearchParams({ q, only: 1 })}` }, content);

const linkToTask = (run, row, icon = el("i", { class: `dot ${run.lookOf(row)}` })) =>
  el("a", { class: "task", href: `#task=${run.num[row]}` },
    icon, el("span", { class: "num" }, `#${run.num[row]}`), ` ${run.nameOf(row)}`);

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
