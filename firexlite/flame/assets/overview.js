// The run on one page: how much ran at once, what decided how long it took, and where the time went.

const LEAST_PIECE = 0.3;  // percent of the axis: what is shorter is drawn as one
const LINES = 12;         // of a table or list

class OverviewView {
  constructor(page, element) {
    const { run } = page, { incarnations = [], snapshot } = run.facts.run;
    Object.assign(this, { run, curve: new Curve(page) });
    element.append(el("div", { class: "panels" },
      snapshot && [listTasks(run, "Running", "running"), listTasks(run, "Blocked", "blocked")],
      panel("Time", this.sayTimes(incarnations), this.curve.element, this.drawStrip()),
      drawHosts(run),
      el("div", {}, this.drawPath(), this.drawTasks()),
      el("div", {}, this.drawStates(), this.drawServices(), incarnations.length > 1 && this.drawLives(incarnations))));
  }

  draw() { this.curve.draw(); }

  sayTimes(lives) {
    const { span, self, facts } = this.run, { workers } = facts.run.options ?? {}, used = sum(self, Number);
    const down = lives.slice(1).reduce((ms, { started }, n) => ms + (started - lives[n].ended) * 1000, 0);
    return `${duration(used)} in bodies of tasks, at most ${this.curve.peak} at once`
      + (workers ? `, ${share(used, (span - down) * workers)} of ${count(workers, "worker")} used` : "");
  }

  // The critical path along the axis of the curve, coloured by service.
  drawStrip() {
    const { run, run: { scale } } = this, pieces = [], percent = (ms) => (scale.at(ms) / scale.width) * 100;
    for (const stretch of run.critical) {
      const left = percent(stretch.from), right = percent(stretch.to), last = pieces.at(-1);
      if (last && right - last.left < LEAST_PIECE) last.right = right;
      else pieces.push({ ...stretch, left, right });
    }
    return el("div", { class: "strip" }, pieces.map(({ row, from, to, kind, left, right }) => {
      const name = run.nameOf(row), title = `${name}: ${kind}, ${duration(to - from)}`;
      const link = el("a", { class: kind, href: `#task=${run.num[row]}`, title }, name);
      link.style.left = `${left}%`;
      link.style.width = `${right - left}%`;
      link.style.setProperty("--hue", (run.name[row] * 137.5 + 210) % 360);
      return link;
    }));
  }

  // What its time went into, and its longest stretches in order of time.
  drawPath() {
    const { run, run: { critical } } = this, whole = sum(critical, lengthOf), kinds = groupBy(critical, ({ kind }) => kind);
    const spent = greatest([...kinds.values()], (pieces) => sum(pieces, lengthOf), LINES);
    const longest = greatest(critical, lengthOf, LINES).sort((a, b) => a.from - b.from);
    return panel("Critical path", spent.map((pieces) => `${share(sum(pieces, lengthOf), whole)} ${pieces[0].kind}`).join(", "),
      table(["longest stretches", "", "at", "for"], longest.map(({ row, from, to, kind }) =>
        [linkToTask(run, row), kind, duration(from), duration(to - from)])));
  }

  drawTasks() {
    const { run } = this, slowest = greatest(run.counted, (row) => run.self[row], LINES);
    return panel("Slowest tasks", "", table(["", "self", "ran"], slowest.map((row) =>
      [linkToTask(run, row), duration(run.self[row]), duration(run.runtime[row])])));
  }

  drawStates() {
    const bar = el("div", { class: "split" }), links = el("p", { class: "links" });
    for (const [state, { length }] of this.run.byState) {
      const part = bar.appendChild(el("i", { class: `part ${state}` }));
      part.style.flexGrow = length;
      links.append(inTree(`state:${state}`, [el("i", { class: `dot ${state}` }), `${number(length)} ${state}`]));
    }
    return panel("States", "", bar, links);
  }

  drawServices() {
    const stats = serviceStats(this.run), slowest = greatest(stats, ({ self }) => self, LINES);
    return panel("Slowest services", el("a", { href: "#/table" }, `all ${stats.length}`),
      table(["", "tasks", "failed", "self", "median", "longest"], slowest.map((service) => [
        inTree(`name:"${service.name}"`, service.name), number(service.size),
        service.failed > 0 && inRed(number(service.failed)),
        duration(service.self), duration(service.median), duration(service.longest)])));
  }

  drawLives(lives) {
    return panel("Incarnations", "", table(["", "", "at", "lasted"], lives.map(({ n, host, started, ended, end }) => [
      `${n} on ${host}`, end === "crash" && inRed("killed"),
      duration(Math.max(0, started - this.run.zero) * 1000), duration((ended - started) * 1000)])));
  }
}

const lengthOf = ({ from, to }) => to - from;
const inRed = (text) => el("b", { class: "state failed" }, text);

const panel = (heading, said, ...content) =>
  el("section", { class: "panel" }, el("h2", {}, heading, " ", el("span", { class: "aside" }, said)), content);

// The first of the tasks in a state, or of given rows, and the way to the rest.
function listTasks(run, heading, state, rows = rowsIn(run, state)) {
  return rows.length > 0 && panel(heading, count(rows.length, "task"), drawLinks(run, rows, `state:${state}`));
}

function drawLinks(run, rows, q) {
  const rest = rows.length - LINES;
  return el("p", { class: "links" }, rows.slice(0, LINES).map((row) => linkToTask(run, row)),
    rest > 0 && inTree(q, `and ${number(rest)} more`));
}

// A link to the tasks that a search finds.
const inTree = (q, content) => el("a", { href: `#/tree?${new URLSearchParams({ q, only: 1 })}` }, content);

const linkToTask = (run, row) => el("a", { href: `#task=${run.num[row]}` },
  el("i", { class: `dot ${run.lookOf(row)}` }), el("span", { class: "num" }, `#${run.num[row]}`), ` ${run.nameOf(row)}`);
