// One task in full: why it failed, what it was given, what it gave, what it said, and when.

class Drawer {
  constructor(page, element) { Object.assign(this, { page, run: page.run, element, shown: -1 }); }

  // The head at once, the rest as soon as its chunk is opened.
  async show(row) {
    const { run } = this, state = run.stateOf(row), notes = run.notesOf(row).filter((note) => note !== state).join(", ");
    const took = run.start[row] < 0 ? "did not run" : `${duration(run.runtime[row])}, started at ${duration(run.start[row])}`;
    if (this.shown === row) return;
    this.open(row, [el("span", { class: "num" }, `#${run.num[row]} `), visible(run.nameOf(row))],
      [el("span", { class: `state ${run.lookOf(row)}` }, state), ` ${notes} `, el("span", { class: "aside" }, took)]);
    const task = await run.detailOf(row);
    if (this.shown === row) byId("task-details").append(...this.drawSections(row, task).filter(Boolean));
  }

  showMissing(task) { this.open(-1, [`There is no task #${visible(task)} in this run`], []); }

  // Whoever opens it by a key goes on in it, and comes back when it closes; a pointer leaves the keys where they are.
  open(row, title, said) {
    const { element } = this, { activeElement, body } = document;
    const isFollowed = element.hidden ? activeElement.matches(":focus-visible") : element.contains(activeElement);
    if (element.hidden) this.cameFrom = activeElement;
    this.shown = row;
    byId("task-title").replaceChildren(...title);
    byId("task-said").replaceChildren(...said);
    byId("task-details").replaceChildren();
    element.setAttribute("aria-label", `Task ${byId("task-title").textContent}`);
    element.hidden = false;
    element.scrollTop = 0;
    body.classList.add("with-drawer");
    if (isFollowed) element.focus({ preventScroll: true });
  }

  // The focus goes back to where it was, else into the view.
  hide() {
    const { element, cameFrom } = this, { activeElement, body } = document;
    if (element.hidden) return;
    const isLost = activeElement === body || element.contains(activeElement);
    this.shown = -1;
    element.hidden = true;
    body.classList.remove("with-drawer");
    const isThere = cameFrom !== body && cameFrom.checkVisibility();
    const back = isThere ? cameFrom : document.querySelector("#views section:not([hidden]) [tabindex='0']");
    if (isLost) back?.focus({ preventScroll: true });
  }

  drawSections(row, task) {
    if (!task) return [el("p", { class: "notice" }, "The details of this task are not in this file.")];
    const { args, defaults, result, flame_data: data = {}, external_commands: commands, log } = task, { run } = this;
    const way = `firexlite logs ${run.facts.run.firex_id ?? "ID"} ${run.num[row]}`;
    return [
      section("Failure", this.drawFailure(row, task)),
      section("Arguments", (args || defaults) && drawValues(args ?? {}, defaults ?? {})),
      section("Result", result !== undefined && drawResult(result)),
      ...drawFlameData(data),
      section("External commands", commands && this.drawCommands(commands)),
      section("Log", log && [...drawLog(log), el("p", { class: "aside" }, "All of its output: ", ...commandLine(way))]),
      section("Time", drawTimes(task)),
      section("Attempts", row in run.attempts && this.drawAttempts(task.attempts)),
      section("States", task.states && this.drawStates(task.states)),
      section("Task", drawFacts(this.attributes(row, task))),
    ];
  }

  drawFailure(row, { exception, error_context: where, traceback }) {
    const { cause } = this.run;
    return [
      row in cause && el("p", {}, "because of ", this.linkTo(cause[row])),
      exception && el("pre", { class: "exception" }, exception),
      where && (exception || traceback) && el("p", { class: "where" }, where),
      traceback && drawTraceback(traceback, where),
      traceback && copyButton(() => traceback),
    ];
  }

  // Each command in the order in which they began: what it was, how it ended, and the end of what it printed.
  drawCommands(commands) {
    const began = Object.values(commands).sort((a, b) => (a.start_time ?? 0) - (b.start_time ?? 0));
    return table(["command", "ended", "at", "took", "output"], began.map(({ cmd, cwd, start_time, end_time, result }) => [
      el("code", { title: cwd }, String(cmd)), commandEnd(result), this.offset(start_time), lasted(start_time, end_time),
      result?.output && foldable(result.output, "value")]));
  }

  drawAttempts(attempts) {
    return table(["", "state", "at", "took", "CPU", "memory", "life", "exception"], attempts.map((one) => [
      one.n, one.state, this.offset(one.started), lasted(one.started, one.ended), cpuTime(one), peakMemory(one),
      one.incarnation, one.exc && el("code", {}, one.exc)]));
  }

  drawStates(states) {
    return table(["state", "at", "for", "clock"], states.map(([state, at], n) => [
      el("span", {}, el("i", { class: `dot ${state}` }), ` ${state}`), this.offset(at), lasted(at, states[n + 1]?.[1]),
      moment(at, false)]));
  }

  attributes(row, task) {
    const { run } = this, last = task.attempts?.at(-1) ?? {};
    const others = task.extra_parents?.flatMap((num) => [this.linkTo(num), " "]);
    return {
      "long name": task.long_name, "from a plugin": run.is(row, PLUGIN) && "yes", uuid: task.uuid, host: task.host,
      started: task.started && moment(task.started), "enqueued by": this.linkTo(task.enqueued_by),
      after: run.is(row, CHAINED) && this.linkTo(task.parent), "asked for by": others,
      "result from": this.linkTo(task.cached_from), "replayed in": task.replayed_in?.join(", "), queue: task.queue_name,
      "not before": task.due && moment(task.due), "revoked because": task.revoke_reason,
      "CPU time": cpuTime(last), "peak memory": peakMemory(last),
    };
  }

  linkTo(num) {
    const row = this.run.rowOfNum.get(num);
    return row === undefined ? null : el("a", { href: `#task=${num}` }, `#${num} ${this.run.nameOf(row)}`);
  }

  offset(at) { return typeof at === "number" ? duration(Math.max(0, (at - this.run.zero) * 1000)) : ""; }
}

const lasted = (from, to) => (from && to ? duration((to - from) * 1000) : "");

function drawTimes(task) {
  const parts = ["queue", "self", "child_wait", "backoff", "asleep", "down"].filter((part) => task[part] > 0).map((part) => {
    const name = part.replace("child_wait", "children"), said = `${name} ${duration(task[part] * 1000)}`;
    const draw = () => el("i", { class: `part ${name}`, title: said, style: { "flex-grow": task[part] * 1e6 } });
    return { bar: draw(), legend: el("span", {}, draw(), ` ${said}`) };
  });
  return parts.length > 0 && [el("div", { class: "split" }, parts.map(({ bar }) => bar)),
    el("p", { class: "legend" }, parts.map(({ legend }) => legend))];
}

function commandEnd(result) {
  if (!result) return "not yet";
  if (result.timeout) return "timed out";
  if (result.inactive) return "was silent for too long";
  if (result.returncode === null) return "was not started";
  return result.returncode < 0 ? `signal ${-result.returncode}` : `exit code ${result.returncode}`;
}

function section(heading, content) {
  const parts = [content].flat().filter(Boolean);
  return parts.length ? el("section", {}, el("h3", {}, heading), parts) : null;
}

function drawResult(result) {
  const isNamed = result !== null && typeof result === "object" && !Array.isArray(result);
  return isNamed && !Object.keys(result).some((key) => key.startsWith("$")) ? drawValues(result) : drawValue(result);
}

// Each entry of type html in a section of its own, highest order first, as in Flame.
function drawFlameData(entries) {
  return Object.entries(entries).filter(([, entry]) => entry.type === "html")
    .sort(([, a], [, b]) => (b.order ?? 0) - (a.order ?? 0))
    .map(([key, entry]) => section(key, el("div", { class: "markup" }, drawMarkup(entry.tree ?? []))));
}

function table(headings, rows) {
  return el("table", { class: "list" },
    el("thead", {}, el("tr", {}, headings.map((heading) => el("th", { scope: "col" }, heading)))),
    el("tbody", {}, rows.map((cells) => el("tr", {}, cells.map((cell) => el("td", {}, cell))))));
}

// What an attempt used, where that was measured.
const cpuTime = ({ cpu }) => typeof cpu === "number" && duration(cpu * 1000);
const peakMemory = ({ peak }) => typeof peak === "number" && `${(peak / 2 ** 20).toFixed(peak < 2 ** 27 ? 1 : 0)} MiB`;
