// The run as data: columns over rows (a row is a task's place in the reading order), details on demand.

const CHAINED = 1, PLUGIN = 2, ASIDE = 4, REPLAYED = 8, HAS_LOG = 16;  // bits of `flags`
const QUEUED = 0, RAN = 1, WAITED = 2, ASLEEP = 3, BACKOFF = 4;        // kinds of bars
const BAR_KINDS = ["queued", "ran", "waited", "asleep", "backoff"];
const DENSE = ["name", "state", "flags", "host", "cpu", "peak"];
const SPARSE = ["spans", "attempts", "cause", "error", "collapse", "extra", "places"];
const PER_MS = 10;         // times are stored in tenths of a millisecond
const CHUNKS_KEPT = 8;
const SCANNED_AT_ONCE = 4;  // chunks, between two looks at the keyboard

// The text of a block that is compressed and in base64.
async function unpack(id) {
  const text = byId(id).textContent;
  const bytes = Uint8Array.fromBase64?.(text) ?? Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

class Run {
  constructor(facts, index) {
    this.facts = facts;
    for (const name of ["zero", "states", "names", "hosts", "errors", "chunks"]) this[name] = index[name];
    this.size = index.num.length;
    this.span = index.span / PER_MS;
    this.findOrder(index);
    this.takeColumns(index);
    this.countRelatives();
    this.opened = new Map();  // chunks of details: number -> promise of lines
  }

  // In reading order come a task, below it all that it enqueued, then the next of its chain; in the data, where `at` is a
  // place, every task comes after its parent. The place `size` is the top, the parent of those that have none.
  findOrder({ parent, flags }) {
    const { size } = this, above = (at) => (parent[at] ? at - parent[at] : size);
    const columns = (n, length) => Array.from({ length: n }, () => new Int32Array(length));
    // How many descend from a task, itself included; and the rows of these that are not taken yet.
    const [family, next, last] = columns(3, size + 1), [place, rowAt, caller, before, level] = columns(5, size);
    family.fill(1);
    for (let at = size - 1; at >= 0; at--) family[above(at)] += family[at];
    last[size] = size;
    for (let at = 0; at < size; at++) {
      const over = above(at), rowAbove = over === size ? -1 : rowAt[over], isNext = flags[at] & CHAINED;
      const row = rowAt[at] = isNext ? last[over] -= family[at] : next[over];
      if (!isNext) next[over] += family[at];
      next[at] = row + 1;
      last[at] = row + family[at];
      place[row] = at;
      before[row] = isNext ? rowAbove : -1;                 // in its chain
      caller[row] = isNext ? caller[rowAbove] : rowAbove;   // who enqueued it
      level[row] = caller[row] < 0 ? 0 : level[caller[row]] + 1;
    }
    const end = place.map((at) => next[at]);                // the row after all that lies below one
    Object.assign(this, { place, rowAt, caller, before, level, end });
  }

  takeColumns(index) {
    const { place, rowAt } = this, [num, released, queue] = ["num", "released", "queue"].map((name) => runningSum(index[name]));
    const byRow = (values) => Object.fromEntries(Object.entries(values).map(([at, value]) => [rowAt[at], value]));
    const inMs = (ticksOf) => new Float64Array(place).map((at) => ticksOf(at) / PER_MS);
    for (const name of DENSE) this[name] = place.map((at) => index[name][at]);
    for (const name of SPARSE) this[name] = byRow(index[name]);
    this.num = place.map((at) => num[at]);
    this.rowOfNum = new Map();
    this.num.forEach((n, row) => this.rowOfNum.set(n, row));
    this.queue = inMs((at) => queue[at]);
    this.start = inMs((at) => (index.runtime[at] < 0 ? -1 : released[at] + queue[at]));   // below zero: it never ran
    this.runtime = inMs((at) => index.runtime[at]);
    this.self = inMs((at) => Math.max(0, index.self[at] ?? index.runtime[at]));
    for (const row in this.spans) this.spans[row] = this.spans[row].map((n, at) => (at % 4 < 2 ? n : n / PER_MS));
  }

  countRelatives() {
    const { size } = this;
    this.failed = this.states.indexOf("failed");
    this.failuresBefore = new Int32Array(size + 1);
    this.sibling = new Int32Array(size);       // which one of the rows of one caller, from 1
    this.siblings = new Int32Array(size + 1);  // how many a caller has; at `size`, the top
    for (let row = 0; row < size; row++) {
      this.failuresBefore[row + 1] = this.failuresBefore[row] + this.hasFailed(row);
      this.sibling[row] = ++this.siblings[this.caller[row] < 0 ? size : this.caller[row]];
    }
  }

  nameOf(row) { return this.names[this.name[row]]; }
  stateOf(row) { return this.states[this.state[row]]; }
  is(row, flag) { return (this.flags[row] & flag) !== 0; }
  hasFailed(row) { return this.state[row] === this.failed && !this.is(row, ASIDE); }
  hasFamily(row) { return this.end[row] > row + 1; }
  failuresBelow(row) { return this.failuresBefore[this.end[row]] - this.failuresBefore[row + 1]; }
  siblingsOf(row) { return this.siblings[this.caller[row] < 0 ? this.size : this.caller[row]]; }

  // How a row looks: its state, or that it failed only because another task did.
  lookOf(row) { return this.stateOf(row) + (row in this.cause ? " because" : ""); }

  // The words beside a name, for all that is not simply success.
  notesOf(row) {
    const state = this.stateOf(row);
    return [
      row in this.cause ? `${state} because of #${this.cause[row]}` : state !== "succeeded" && state,
      row in this.attempts && count(this.attempts[row], "attempt"),
      this.is(row, REPLAYED) && "run again after a crash",
      this.is(row, ASIDE) && "set aside",
    ].filter(Boolean);
  }

  // Bars of a row: [kind, outcome, start, length], in ms after the run's zero.
  barsOf(row) {
    const bars = [], spans = this.spans[row], start = this.start[row], queue = this.queue[row];
    if (start >= 0 && queue > 0) bars.push([QUEUED, this.state[row], start - queue, queue]);
    if (spans) for (let i = 0; i < spans.length; i += 4) bars.push(spans.slice(i, i + 4));
    else if (start >= 0) bars.push([RAN, this.state[row], start, this.runtime[row]]);
    return bars;
  }

  // The lines of a chunk of details, each one task's as JSON; null where the file ends before.
  lines(chunk) {
    if (!this.opened.has(chunk)) {
      if (!byId(`fx-d${chunk}`)) return null;
      this.opened.set(chunk, unpack(`fx-d${chunk}`).then((text) => text.split("\n"), () => null));  // null: it is cut
      if (this.opened.size > CHUNKS_KEPT) this.opened.delete(this.opened.keys().next().value);
    }
    return this.opened.get(chunk);
  }

  // Call `visit(row, line)` with the details of each task, as JSON, until that is true.
  async visitLines(visit) {
    await whole;  // what comes behind this script may still be on its way
    for (const [chunk, first] of this.chunks.entries()) {
      if (chunk % SCANNED_AT_ONCE === 0) await new Promise((resolve) => setTimeout(resolve));
      if ((await this.lines(chunk))?.some((line, n) => visit(this.rowAt[first + n], line))) return;
    }
  }

  // All that is known of a row's task, as in `firexlite flame --json`; null where the file does not say.
  async detailOf(row) {
    await whole;
    const at = this.place[row], chunk = this.chunks.findLastIndex((first) => first <= at), lines = await this.lines(chunk);
    return lines && this.completed(row, JSON.parse(lines[at - this.chunks[chunk]]));
  }

  // Details leave out what the columns have and, of a task that was simply released, run and ended, what follows from that.
  completed(row, details) {
    if (!details) return null;
    const [num, name, state, host] = [this.num[row], this.nameOf(row), this.stateOf(row), this.hosts[this.host[row]]];
    const task = { num, name, state, host, ...details };
    if (task.states?.length !== 3 || task.attempts?.length !== 1 || "started" in task.attempts[0]) return task;
    const [released, started, ended] = task.states.map(([, at]) => at), [attempt] = task.attempts;
    const seconds = (from, to) => Math.round((to - from) * 1e6) / 1e6, runtime = seconds(started, ended);
    return { ...task, started, runtime, queue: seconds(released, started), self: runtime,
      attempts: [{ ...attempt, started, ended, state: task.state }] };
  }
}

// Resolved when the whole file has been read.
const whole = document.readyState !== "loading" ? Promise.resolve()
  : new Promise((resolve) => addEventListener("DOMContentLoaded", resolve, { once: true }));

// A property that is found when it is first asked for, and kept: `find(object)`.
function lazily(Class, name, find) {
  Object.defineProperty(Class.prototype, name, { get() {
    const value = find(this);
    Object.defineProperty(this, name, { value });
    return value;
  } });
}

function runningSum(differences) {
  let sum = 0;
  return differences.map((difference) => sum += difference);
}
