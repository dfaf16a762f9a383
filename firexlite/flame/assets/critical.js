// What decided how long the run took, walking back from its last end: a task that waited is left for the one that it waited
// for, and at its release each is left for the one that released it.

const SLACK_MS = 0.3;  // times are rounded: an end may seem to lie behind what it set off

const endOf = (run, row) => (run.start[row] < 0 ? -1 : run.start[row] + run.runtime[row]);  // -1: it never ran

// [{row, from, to, kind}] in time order, without a gap from 0 to the last end; `kind` is one of BAR_KINDS, or "down" where no
// process lived. No task is entered twice: this ends, whatever the data.
function criticalPath(run) {
  const path = [], entered = new Map(), end = (row) => endOf(run, row);
  let at = -1, current = -1;
  for (let row = 0; row < run.size; row++) if (end(row) > at) at = end(current = row);

  const take = (row, from, kind) => {
    if (!(from < at)) return;
    const last = path.at(-1);
    if (last?.row === row && last.kind === kind) last.from = from;
    else path.push({ row, from, to: at, kind });
    at = from;
  };
  const enter = (row) => {
    const bars = run.barsOf(row), ran = sum(bars, ([kind, , , length]) => (kind === RAN ? length : 0)), children = [];
    for (let child = row + 1; child < run.end[row]; child = run.end[child]) if (end(child) >= 0) children.push(child);
    entered.set(row, { bars, children: children.sort((a, b) => end(a) - end(b)), hidesWaits: ran > run.self[row] + 1 });
  };
  const lastChild = (children, since) => {
    while (children.length && end(children.at(-1)) > since) {
      const child = children.pop();
      if (!entered.has(child) && end(child) <= at + SLACK_MS) return child;
    }
    return -1;
  };
  // Take what `row` did until now; returns who decided what was before, or -1.
  const walkBack = (row) => {
    if (!entered.has(row)) enter(row);
    const { bars, children, hidesWaits } = entered.get(row);
    for (; bars.length; bars.pop()) {
      const [kind, , from, length] = bars.at(-1), waited = kind === WAITED || (kind === RAN && hidesWaits);
      if (from >= at) continue;
      if (from + length < at - SLACK_MS) take(row, from + length, "down");
      const child = lastChild(children, waited ? from : kind === ASLEEP ? at - SLACK_MS : Infinity);
      take(row, child < 0 ? from : end(child), BAR_KINDS[kind]);
      if (child >= 0) return child;
    }
    take(row, run.start[row], "down");
    let before = run.before[row];
    while (before >= 0 && (entered.has(before) || end(before) < 0)) before = run.before[before];
    return before < 0 ? run.caller[row] : before;
  };

  while (current >= 0) {
    const next = walkBack(current);
    take(current, next < 0 ? 0 : end(next) < 0 ? at : end(next), "queued");
    current = next;
  }
  return path.reverse();
}

lazily(Run, "critical", criticalPath);
lazily(Run, "criticalByRow", (run) => groupBy(run.critical, ({ row }) => row));
