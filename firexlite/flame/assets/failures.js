// Why the run failed: each kind of root cause, then what did not succeed because of it.

class FailuresView {
  constructor(page, element) {
    const { run } = page, failed = rowsIn(run, "failed"), isExplained = (row) => run.rowOfNum.has(run.cause[row]);
    Object.assign(this, { page, run });
    const kinds = this.findKinds(failed.filter((row) => !isExplained(row)));
    element.append(el("div", { class: "causes" },
      !failed.length && "Nothing failed.",
      kinds.map((rows) => this.drawCause(rows, kinds.length === 1)),
      listTasks(run, "Failed because of another task", "failed", failed.filter(isExplained)),
      listTasks(run, "Skipped behind a failure", "skipped"),
      listTasks(run, "Revoked", "revoked")));
  }

  draw() {}

  errorOf(row) { return this.run.errors[this.run.error[row]] ?? [""]; }

  // Lists of rows of one service that raised the same class at the same place, all in order of time.
  findKinds(rows) {
    const { run } = this, inOrder = rows.sort((a, b) => endOf(run, a) - endOf(run, b));
    const kindOf = (row, [said, where] = this.errorOf(row)) => [run.nameOf(row), said.split(":")[0], where].join("\n");
    return [...groupBy(inOrder, kindOf).values()];
  }

  drawCause(rows, isOpen) {
    const { run, page } = this, [row] = rows, [said, where] = this.errorOf(row), hasMore = rows.length > 1;
    const others = new Set(rows.map((one) => run.error[one])).size - 1, details = el("div");
    const fill = async () => details.replaceChildren(el("div", {}, page.drawer.drawSections(row, await run.detailOf(row))));
    return el("section", { class: "cause" },
      el("h2", {}, inRed(run.nameOf(row)), hasMore && ` \u00d7 ${number(rows.length)}`,
        el("span", { class: "aside" }, hasMore ? " first at " : " at ", duration(endOf(run, row)))),
      el("p", { class: "exception" }, said),
      others > 0 && el("p", { class: "aside" }, `and ${count(others, "other message")}`),
      el("p", { class: "where" }, where),
      this.drawWayUp(row), hasMore && drawLinks(run, rows, `name:"${run.nameOf(row)}" state:failed`),
      el("details", { toggle: fill, open: isOpen }, el("summary", {}, `all about #${run.num[row]}`), details));
  }

  // From the cause to the run's root: who called it, and what became of them.
  drawWayUp(row) {
    const steps = [];
    for (let one = row; one >= 0; one = this.run.caller[one]) steps.push(" \u2192 ", linkToTask(this.run, one));
    return el("p", { class: "path" }, steps.slice(1));
  }
}
