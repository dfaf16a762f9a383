// What ran on which host: lanes over the tree's axis of time, if anything ran elsewhere than where the run was submitted.

const MOST_LANES = 12;      // of a host; what has no room in them is told of
const LEAST_BAR = 0.15;     // percent of the axis: what is shorter is drawn as one with what is beside it

// Of each host its lanes, in each of which bars {row, from, to} follow one another, and the bars that are in none.
lazily(Run, "lanes", (run) => {
  const bars = run.hosts.map(() => []), add = (host, row, from, length) => bars[host].push({ row, from, to: from + length });
  for (let row = 0; row < run.size; row++) {
    const places = run.places[row];
    if (places) for (let i = 0; i < places.length; i += 3) add(places[i], row, places[i + 1] / PER_MS, places[i + 2] / PER_MS);
    else for (const [kind, , from, length] of run.barsOf(row)) if (kind === RAN) add(run.host[row], row, from, length);
  }
  return run.hosts.map((name, host) => ({ name, ...packLanes(bars[host].sort((a, b) => a.from - b.from)) }))
    .filter(({ lanes }) => lanes.length);
});

function packLanes(bars) {
  const lanes = [], ends = [], outside = [];
  for (const bar of bars) {
    let lane = ends.findIndex((end) => end <= bar.from + SLACK_MS);
    if (lane < 0 && lanes.length < MOST_LANES) lane = lanes.push([]) - 1;
    if (lane < 0) outside.push(bar);
    else ends[lane] = (lanes[lane].push(bar), bar.to);
  }
  return { lanes, outside };
}

// The panel of the overview; nothing if all ran at home.
function drawHosts(run) {
  const { lanes: hosts, facts } = run;
  if (hosts.length < 2 && hosts.every(({ name }) => name === facts.run.host)) return null;
  return panel("Hosts", count(hosts.length, "host"), el("div", { class: "hosts" }, hosts.flatMap(({ name, lanes, outside }) => {
    const bars = [...lanes.flat(), ...outside], tasks = new Set(bars.map(({ row }) => row)).size;
    const said = `${count(tasks, "task")}, ${duration(sum(bars, lengthOf))} in bodies`
      + (outside.length ? `; ${number(outside.length)} more at the same time than there are lanes here` : "");
    return [el("div", { class: "host" }, el("b", {}, name), " ", el("span", { class: "aside" }, said)),
      el("div", {}, lanes.map((lane) => drawLane(run, lane)))];
  })));
}

function drawLane(run, bars) {
  const { scale } = run, percent = (ms) => (scale.at(ms) / scale.width) * 100, drawn = [];
  for (const { row, from, to } of bars) {
    const left = percent(from), right = percent(to), last = drawn.at(-1);
    if (last && right - last.left < LEAST_BAR) Object.assign(last, { right }, run.hasFailed(row) && { row, from, to });
    else drawn.push({ row, from, to, left, right });
  }
  return el("div", { class: "strip lane" }, drawn.map(({ row, from, to, left, right }) => {
    const title = `#${run.num[row]} ${run.nameOf(row)}: from ${duration(from)} for ${duration(to - from)}`;
    const bar = el("a", { class: run.hasFailed(row) ? "failed" : "", href: `#task=${run.num[row]}`, title }, run.nameOf(row));
    bar.style.left = `${left}%`;
    bar.style.width = `${right - left}%`;
    bar.style.setProperty("--hue", (run.name[row] * 137.5 + 210) % 360);
    return bar;
  }));
}
