// What decided how long the run took, found by walking back from its last end: a task that waited is left for the one that
// it waited for, and at its release each is left for the one that released it.

const SLACK_MS = 0.3;  // times are rounded: an end may seem to lie behind what it set off

// [{row, from, to, kind}] in time order, without a gap from the run's first moment to its last end; `kind` is one of BAR_KINDS,
// or "gone" where no process lived. No task is entered twice, so that this ends, whatever the data.
function criticalPath(run) {
  const path = [], walks = new Map(), entered = new Uint8Array(run.size);
  const endOf = (row) => run.start[row] + run.runtime[row];
  let at = -1, current = -1;
  for (let row = 0; row < run.size; row++) if (run.start[row] >= 0 && endOf(row) > at) at = endOf(current = row);

  const take = (row, from, kind) => {
    if (!(from < at)) return;
    const last = path[path.length - 1];
    if (last?.row === row && last.kind === kind) last.from = from;
    else path.push({ row, from, to: at, kind });
    at = from;
  };
  const childrenByEnd = (row) => {
    const found = [];
    for (let child = row + 1; child < run.end[row]; child = run.end[child]) if (run.start[child] >= 0) found.push(child);
    return found.sort((a, b) => endOf(a) - endOf(b));
  };
  const lastChild = (children, since) => {
    for (let child; children.length && endOf(child = children[children.length - 1]) > since;) {
      children.pop();
      if (!entered[child] && endOf(child) <= at + SLACK_MS) return child;
    }
    return -1;
  };
  const releaserOf = (row) => {
    for (let before = run.before[row]; before >= 0; before = run.before[before]) {
      if (run.start[before] >= 0 && !entered[before]) return before;
    }
    return run.caller[row];
  };
  // Take what `row` did up to this moment; returns who decided what was before, or -1.
  const walkBack = (row) => {
    if (!walks.has(row)) {
      const bars = run.barsOf(row), ran = bars.reduce((sum, [kind, , , length]) => sum + (kind === RAN ? length : 0), 0);
      walks.set(row, { bars, children: childrenByEnd(row), hidesWaits: ran > run.self[row] + 1 });
    }
    const { bars, children, hidesWaits } = walks.get(row);
    for (; bars.length; bars.pop()) {
      const [kind, , from, length] = bars[bars.length - 1];
      if (from >= at) continue;
      if (from + length < at - SLACK_MS) take(row, from + length, "gone");
      const waited = kind === WAITED || (kind === RAN && hidesWaits);
      const child = lastChild(children, waited ? from : kind === ASLEEP ? at - SLACK_MS : Infinity);
      take(row, child < 0 ? from : endOf(child), BAR_KINDS[kind]);
      if (child >= 0) return child;
    }
    take(row, run.start[row], "gone");
    return releaserOf(row);
  };

  while (current >= 0) {
    entered[current] = 1;
    const next = walkBack(current);
    take(current, next < 0 ? 0 : run.start[next] < 0 ? at : endOf(next), "queued");
    current = next;
  }
  return path.reverse();
}

lazily(Run, "critical", criticalPath);
lazily(Run, "criticalByRow", (run) => {
  const byRow = new Map();
  for (const stretch of run.critical) {
    if (!byRow.has(stretch.row)) byRow.set(stretch.row, []);
    byRow.get(stretch.row).push(stretch);
  }
  return byRow;
});
