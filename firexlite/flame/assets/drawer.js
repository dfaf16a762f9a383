// One task in full: why it failed, what it was given, what it gave, what it said, and when.

class Drawer {
  constructor(page, element) {
    Object.assign(this, { page, run: page.run, element, shown: -1 });
  }

  // The focus does not get lost with it: it goes back to where it was, else into the view.
  hide() {
    if (this.element.hidden) return;
    const { body, activeElement } = document, isLost = activeElement === body || this.element.contains(activeElement);
    this.shown = -1;
    this.element.hidden = true;
    body.classList.remove("with-drawer");
    const back = this.cameFrom?.checkVisibility() ? this.cameFrom : byId("views").querySelector("section:not([hidden]) [tabindex='0']");
    if (isLost) back?.focus({ preventScroll: true });
  }

  // The head at once, the rest as soon as its chunk is opened.
  async show(row) {
    if (this.shown === row) return;
    this.shown = row;
    this.open(this.drawHead(row));
    const task = await this.run.detailOf(row);
    if (this.shown === row) this.fill(this.drawHead(row), ...this.drawSections(row, task).filter(Boolean));
  }

  showMissing(task) {
    this.shown = -1;
    this.open(el("header", {}, this.closeButton(), el("h2", {}, `There is no task #${task} in this run`)));
  }

  // Whoever opens it by a key goes on in it, and comes back when it closes; a pointer leaves the keys where they are.
  open(...content) {
    const { activeElement } = document, isOpening = this.element.hidden;
    this.fill(...content);
    this.element.hidden = false;
    this.element.scrollTop = 0;
    document.body.classList.add("with-drawer");
    if (!isOpening) return;
    this.cameFrom = activeElement === document.body ? null : activeElement;
    if (this.cameFrom?.matches(":focus-visible")) this.element.focus({ preventScroll: true });
  }

  // What had the focus may go; then the whole keeps it.
  fill(...content) {
    const hadFocus = this.element.contains(document.activeElement);
    this.element.replaceChildren(...content);
    this.element.setAttribute("aria-label", `Task ${this.element.querySelector("h2").textContent}`);
    if (hadFocus) this.element.focus({ preventScroll: true });
  }

  closeButton() {
    return el("button", {
      type: "button", class: "close", "aria-label": "Close", title: "Close (Esc)", click: () => this.page.close() }, "\u00d7");
  }

  drawHead(row) {
    const { run } = this;
    const took = run.start[row] < 0 ? "did not run" : `${duration(run.runtime[row])}, started at ${duration(run.start[row])}`;
    return el("header", {}, this.closeButton(),
      el("h2", {}, el("span", { class: "num" }, `#${run.num[row]} `), run.nameOf(row)),
      el("p", {}, el("span", { class: `state ${run.lookOf(row)}` }, run.stateOf(row)), " ",
        run.notesOf(row).filter((note) => note !== run.stateOf(row)).join(", "), " ", el("span", { class: "aside" }, took)));
  }

  drawSections(row, task) {
    if (!task) return [el("p", { class: "notice" }, "The details of this task are not in this file.")];
    return [
      this.drawFailure(row, task),
      section("Arguments", (task.args || task.defaults) && drawValues(task.args ?? {}, task.defaults ?? {})),
      section("Result", task.result !== undefined && drawResult(task.result)),
      ...drawFlameData(task.flame_data ?? {}),
      section("External commands", task.external_commands && this.drawCommands(task.external_commands)),
      section("Log", task.log && [...drawLog(task.log), this.drawWayToLog(row)]),
      section("Time", this.drawTimes(row, task)),
      section("Attempts", row in this.run.attempts && this.drawAttempts(task.attempts)),
      section("States", task.states && this.drawStates(task.states)),
      section("Task", this.drawAttributes(row, task)),
    ];
  }

  drawFailure(row, task) {
    if (!task.exception && !task.traceback && !(row in this.run.cause)) return null;
    return section("Failure", [
      row in this.run.cause && el("p", {}, "because of ", this.linkTo(this.run.cause[row])),
      task.exception && el("pre", { class: "exception" }, task.exception),
      task.error_context && el("p", { class: "where" }, task.error_context),
      task.traceback && drawTraceback(task.traceback, task.error_context),
      task.traceback && copyButton(() => task.traceback),
    ]);
  }

  drawTimes(row, task) {
    const parts = [["queue", task.queue], ["self", task.self], ["children", task.child_wait],
      ["backoff", task.backoff], ["asleep", task.asleep], ["down", task.down]].filter(([, seconds]) => seconds > 0);
    if (!parts.length) return null;
    const whole = parts.reduce((sum, [, seconds]) => sum + seconds, 0);
    const bar = el("div", { class: "split" });
    for (const [name, seconds] of parts) {
      const part = el("i", { class: `part ${name}`, title: `${name} ${duration(seconds * 1000)}` });
      part.style.width = `${(seconds / whole) * 100}%`;
      bar.append(part);
    }
    return [bar, el("p", { class: "legend" }, parts.map(([name, seconds]) =>
      el("span", {}, el("i", { class: `part ${name}` }), ` ${name} ${duration(seconds * 1000)}`)))];
  }

  // Each command in the order in which they began: what it was, how it ended, and the end of what it printed.
  drawCommands(commands) {
    const began = Object.values(commands).sort((a, b) => (a.start_time ?? 0) - (b.start_time ?? 0));
    return table(["command", "ended", "at", "took", "output"], began.map((command) => [
      el("code", { title: [command.cwd, command.output_file].filter(Boolean).join("\n") }, String(command.cmd)),
      commandEnd(command), this.offset(command.start_time),
      command.end_time ? duration((command.end_time - command.start_time) * 1000) : "",
      command.result?.output && foldable(command.result.output, "value")]));
  }

  drawWayToLog(row) {
    const command = `firexlite logs ${this.run.facts.run?.firex_id ?? "ID"} ${this.run.num[row]}`;
    return el("p", { class: "aside" }, "The output of all attempts: ", el("code", {}, command), " ", copyButton(() => command));
  }

  drawAttempts(attempts) {
    return table(["", "state", "at", "took", "CPU", "memory", "life", "exception"], attempts.map((attempt) => [
      attempt.n, attempt.state, this.offset(attempt.started),
      attempt.ended && attempt.started ? duration((attempt.ended - attempt.started) * 1000) : "",
      cpuTime(attempt), peakMemory(attempt), attempt.incarnation, attempt.exc && el("code", {}, attempt.exc)]));
  }

  drawStates(states) {
    return table(["state", "at", "for", "clock"], states.map(([state, at], n) => [
      el("span", {}, el("i", { class: `dot ${state}` }), ` ${state}`), this.offset(at),
      n + 1 < states.length ? duration((states[n + 1][1] - at) * 1000) : "", moment(at, false)]));
  }

  drawAttributes(row, task) {
    const { run } = this;
    const last = task.attempts?.at(-1) ?? {};
    const shown = {
      "long name": task.long_name, "from a plugin": run.is(row, PLUGIN) ? "yes" : null,
      uuid: task.uuid && el("code", {}, task.uuid), host: task.host,
      "enqueued by": this.linkTo(task.enqueued_by),
      after: run.is(row, CHAINED) ? this.linkTo(task.parent) : null,
      "chain depth": task.chain_depth || null, "replayed in": task.replayed_in?.join(", "), "result from": this.linkTo(task.cached_from),
      "asked for by": task.extra_parents && task.extra_parents.flatMap((num) => [this.linkTo(num), " "]),
      queue: task.queue_name, "not before": task.due && moment(task.due), "revoked because": task.revoke_reason,
      "CPU time": cpuTime(last), "peak memory": peakMemory(last),
    };
    return drawFacts(shown);
  }

  linkTo(num) {
    const row = this.run.rowOfNum.get(num);
    return row === undefined ? null : el("a", { href: `#task=${num}` }, `#${num} ${this.run.nameOf(row)}`);
  }

  offset(at) {
    return typeof at === "number" ? duration(Math.max(0, (at - this.run.zero) * 1000)) : "";
  }
}

function commandEnd({ result }) {
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
function cpuTime(attempt) {
  return typeof attempt.cpu === "number" ? duration(attempt.cpu * 1000) : null;
}

function peakMemory(attempt) {
  return typeof attempt.peak === "number" ? `${(attempt.peak / 2 ** 20).toFixed(attempt.peak < 2 ** 27 ? 1 : 0)} MiB` : null;
}
