// What many tasks come to.

const sum = (items, valueOf) => items.reduce((total, item) => total + valueOf(item), 0);
const share = (part, whole) => (whole > 0 ? `${(part / whole * 100).toFixed(part / whole < 0.1 ? 1 : 0)} %` : "");
const quantile = (inOrder, part) => inOrder[Math.ceil(part * inOrder.length) - 1] ?? -1;

// Map of key -> its items, in the order of their first.
function groupBy(items, keyOf) {
  const groups = new Map();
  for (const item of items) {
    const key = keyOf(item);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(item);
  }
  return groups;
}

// The items of greatest value above 0, the greatest first. It sorts numbers, which is fast.
function greatest(items, valueOf, most) {
  const least = new Float64Array(items.map(valueOf)).sort().at(-most) ?? 0;
  return items.filter((item) => valueOf(item) > 0 && valueOf(item) >= least)
    .sort((a, b) => valueOf(b) - valueOf(a)).slice(0, most);
}

lazily(Run, "counted", (run) => [...run.num.keys()].filter((row) => !run.is(row, ASIDE)));
lazily(Run, "byState", (run) => groupBy(run.counted, (row) => run.stateOf(row)));
const rowsIn = (run, state) => run.byState.get(state) ?? [];

// For each service what its tasks took, in ms and MiB, -1 where nothing is known. marks: the rows that count, null for all.
function serviceStats(run, marks = null) {
  const stats = run.names.map((name) => ({ name, size: 0, failed: 0, retries: 0, self: 0, cpu: -1, peak: -1, ran: [] }));
  for (const row of run.counted) {
    if (marks && !marks[row]) continue;
    const service = stats[run.name[row]];
    service.size++;
    service.failed += run.hasFailed(row);
    service.retries += (run.attempts[row] ?? 1) - 1;
    service.self += run.self[row];
    if (run.cpu[row] >= 0) service.cpu = Math.max(0, service.cpu) + run.cpu[row];
    service.peak = Math.max(service.peak, run.peak[row]);
    if (run.start[row] >= 0) service.ran.push(row);
  }
  const whole = sum(stats, ({ self }) => self);
  return stats.map(({ ran, ...service }) => {
    const inOrder = (values) => new Float64Array(ran.map((row) => values[row])).sort();
    const times = inOrder(run.runtime), queue = quantile(inOrder(run.queue), 0.5), share = whole && service.self / whole;
    return { ...service, median: quantile(times, 0.5), p95: quantile(times, 0.95), longest: quantile(times, 1), queue, share };
  });
}
