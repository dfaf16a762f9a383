// What the tasks of each service took.

// By index of the service's name: {size, failed, self, share, median, p95, longest, queue, cpu, peak, retries}, in ms and
// MiB, -1 where nothing is known. marks: the rows that count, null for all; what was set aside never does.
function serviceStats(run, marks = null) {
  const { names, name, start, self, cpu, peak } = run;
  const stats = names.map(() => ({ size: 0, failed: 0, self: 0, retries: 0, cpu: -1, peak: -1 })), ran = [];
  const counts = (row) => (!marks || marks[row]) && !run.is(row, ASIDE);
  for (let row = 0; row < run.size; row++) {
    if (!counts(row)) continue;
    const service = stats[name[row]];
    service.size++;
    service.failed += run.hasFailed(row);
    service.self += self[row];
    if (cpu[row] >= 0) service.cpu = Math.max(0, service.cpu) + cpu[row];
    service.peak = Math.max(service.peak, peak[row]);
    if (start[row] >= 0) ran.push(row);
  }
  for (const [row, attempts] of Object.entries(run.attempts)) if (counts(row)) stats[name[row]].retries += attempts - 1;
  const all = stats.reduce((sum, service) => sum + service.self, 0);
  const times = inOrderByName(run, ran, run.runtime), queues = inOrderByName(run, ran, run.queue);
  stats.forEach((service, at) => {
    const [median, p95, longest] = [0.5, 0.95, 1].map((part) => quantile(times[at], part));
    Object.assign(service, { median, p95, longest, queue: quantile(queues[at], 0.5), share: all && service.self / all });
  });
  return stats;
}

// The values of `rows` as an array by name, the least first.
function inOrderByName({ names, name }, rows, values) {
  const ends = new Int32Array(names.length + 1);
  for (const row of rows) ends[name[row] + 1]++;
  for (let at = 0; at < names.length; at++) ends[at + 1] += ends[at];
  const starts = ends.slice(), grouped = new Float64Array(rows.length);
  for (const row of rows) grouped[starts[name[row]]++] = values[row];
  return names.map((_, at) => grouped.subarray(ends[at], ends[at + 1]).sort());
}

const quantile = (inOrder, part) => inOrder[Math.max(0, Math.ceil(part * inOrder.length) - 1)] ?? -1;
