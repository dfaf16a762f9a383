// Why the run failed: each kind of root cause with the tasks that it struck, then what failed or did not run because of them.

const KINDS_AT_FIRST = 25, MOST_MESSAGES = 5;  // of one line of code; more are told as one kind
const TASKS_AT_FIRST = 20, TASKS_AT_MOST = 500;  // links of a list; the tree has all

class FailuresView {
  constructor(page, element) {
    Object.assign(this, { page, run: page.run });
    const { run } = page, causes = this.findCauses(), because = [], skipped = [], revoked = [];
    const { resume } = run.facts.run;
    const [isSkipped, isRevoked] = ["skipped", "revoked"].map((state) => run.states.indexOf(state));
    for (let row = 0; row < run.size; row++) {
      if (run.is(row, ASIDE)) continue;
      if (run.state[row] === run.failed && this.isExplained(row)) because.push(row);
      else if (run.state[row] === isSkipped) skipped.push(row);
      else if (run.state[row] === isRevoked) revoked.push(row);
    }
    const hasBar = (row, outcome) => run.barsOf(row).some((bar) => run.states[bar[1]] === outcome);
    const endedAs = (outcome) => Object.keys(run.attempts).map(Number).filter((row) => hasBar(row, outcome));
    element.append(el("div", { class: "causes" },
      !run.failuresBefore[run.size] && el("p", { class: "none" }, "Nothing failed."),
      causes.length > 0 && resume && el("p", {}, "To carry on once it is corrected: ", command(resume)),
      causes.slice(0, KINDS_AT_FIRST).map((rows, n) => this.drawCause(rows, n === 0)),
      causes.length > KINDS_AT_FIRST && this.drawWayToMore(causes.slice(KINDS_AT_FIRST)),
      this.drawList("Failed because of another task", because, "state:failed"),
      this.drawList("Skipped behind a failure", skipped, "state:skipped"),
      this.drawList("Revoked", revoked, "state:revoked"),
      this.drawList("Failed and tried again", endedAs("retried")),
      this.drawList("Lost with their process and run again", endedAs("lost"))));
  }

  draw() {}

  isExplained(row) { return this.run.rowOfNum.has(this.run.cause[row]); }

  // The rows that failed by themselves, alike ones together, each and all in order of time.
  findCauses() {
    const { run } = this, failed = [], endOf = (row) => run.start[row] + run.runtime[row];
    for (let row = 0; row < run.size; row++) if (run.hasFailed(row) && !this.isExplained(row)) failed.push(row);
    failed.sort((a, b) => endOf(a) - endOf(b));
    const places = groupedBy(failed, (row) => [run.name[row], ...this.placeOf(row)].join("\n"));
    const kinds = places.flatMap((rows) => {
      const byMessage = groupedBy(rows, (row) => run.error[row]);
      return byMessage.length > MOST_MESSAGES ? [rows] : byMessage;
    });
    return kinds.sort(([a], [b]) => endOf(a) - endOf(b));
  }

  // The class of a row's exception, and where it was raised.
  placeOf(row) {
    const [said = "", where] = this.run.errors[this.run.error[row]] ?? [];
    return [/^[\w.]*/.exec(said)[0], where];
  }

  drawCause(rows, isOpen) {
    const { run } = this, [row] = rows, [said, where] = run.errors[run.error[row]] ?? [];
    const messages = new Set(rows.map((one) => run.error[one])).size;
    const at = (one) => `at ${duration(run.start[one] + run.runtime[one])}`, content = el("div", {});
    const fill = async ({ currentTarget: { open } }) => {
      if (!open || content.hasChildNodes()) return;
      const task = await run.detailOf(row);
      content.replaceChildren(...this.drawDetails(row, task).flat().filter(Boolean));
    };
    return el("section", { class: "cause" },
      el("h2", {}, el("span", { class: "state failed" }, run.nameOf(row)),
        rows.length > 1 && ` \u00d7 ${rows.length.toLocaleString("en")}`,
        el("span", { class: "aside" }, rows.length > 1 ? ` first ${at(row)}, last ${at(rows.at(-1))}` : ` ${at(row)}`)),
      el("p", { class: "exception" }, said),
      messages > 1 && el("p", { class: "aside" }, `and ${count(messages - 1, "other message")} from the same line`),
      where && el("p", { class: "where" }, where),
      this.drawWayUp(row), rows.length > 1 && this.drawLinks(rows),
      el("details", { toggle: fill, open: isOpen },
        el("summary", {}, `traceback, arguments and output of #${run.num[row]}`), content));
  }

  drawWayToMore(causes) {
    const way = el("p", {}, el("button", { type: "button",
      click: () => way.replaceWith(...causes.map((rows) => this.drawCause(rows, false))) },
    `show ${count(causes.length, "further kind")} of failure`));
    return way;
  }

  // From the cause to the run's root: who called it, and what became of them.
  drawWayUp(row) {
    const steps = [];
    for (let one = row; one >= 0; one = this.run.caller[one]) steps.push(linkToTask(this.run, one), " \u2192 ");
    return el("p", { class: "path" }, steps.slice(0, -1));
  }

  drawDetails(row, task) {
    const { run } = this, logs = `firexlite logs ${run.facts.run.firex_id ?? "ID"} ${run.num[row]}`;
    if (!task) return [el("p", { class: "notice" }, "The details of this task are not in this file.")];
    return [
      task.traceback && drawTraceback(task.traceback, task.error_context),
      section("Arguments", (task.args || task.defaults) && drawValues(task.args ?? {}, task.defaults ?? {})),
      section("Last output", task.log && drawLog(task.log)),
      el("p", { class: "aside" }, "All of its output: ", command(logs)),
    ];
  }

  drawList(heading, rows, q) {
    return rows.length > 0 && el("section", { class: "followers" },
      el("h2", {}, heading, el("span", { class: "aside" }, ` ${count(rows.length, "task")}`)), this.drawLinks(rows, q));
  }

  // The first of many, and ways to the others.
  drawLinks(rows, q = `name:"${this.run.nameOf(rows[0])}" state:failed`, most = TASKS_AT_FIRST) {
    const box = el("p", { class: "links" }, rows.slice(0, most).flatMap((row) => [linkToTask(this.run, row), " "]));
    const rest = rows.length - most, all = `show all ${rows.length.toLocaleString("en")}`;
    const more = el("button", { type: "button", click: () => box.replaceWith(this.drawLinks(rows, q, TASKS_AT_MOST)) }, all);
    if (rest > 0) box.append(rows.length > TASKS_AT_MOST ? inTree(q, all) : more);
    return box;
  }
}

const command = (text) => [el("code", {}, text), " ", copyButton(() => text)];

// The items in lists of those with one key, in the order of their first.
function groupedBy(items, keyOf) {
  const groups = new Map();
  for (const item of items) {
    const key = keyOf(item);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(item);
  }
  return [...groups.values()];
}
