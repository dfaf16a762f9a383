// The run as data: columns over rows (a row is a task's place in the reading order), details on demand.

const CHAINED = 1, PLUGIN = 2, ASIDE = 4, REPLAYED = 8, HAS_LOG = 16;             // bits of `flags`
const QUEUED = 0, RAN = 1, WAITED = 2, ASLEEP = 3, BACKOFF = 4;                   // kinds of bars
const BAR_KINDS = ["queued", "ran", "waited", "asleep", "backoff"];
const DENSE = ["name", "state", "flags", "host", "runtime", "cpu", "peak"];
const SPARSE = ["self", "spans", "attempts", "cause", "error", "collapse", "extra"];
const PER_MS = 10;         // times are stored in tenths of a millisecond
const CHUNKS_KEPT = 8;

// The text of a block that is compressed and in base64.
async function unpack(id) {
  const text = byId(id).textContent;
  const bytes = Uint8Array.fromBase64 ? Uint8Array.fromBase64(text) : bytesOf(atob(text));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

function bytesOf(binary) {
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

class Run {
  constructor(facts, index) {
    this.facts = facts;
    for (const name of ["zero", "states", "names", "hosts", "errors", "chunks"]) this[name] = index[name];
    this.size = index.num.length;
    this.span = index.span / PER_MS;
    this.findOrder(index);
    this.takeColumns(index);
    this.countFailures();
    this.opened = new Map();  // chunks of details: number -> promise of lines
  }

  // place[row]: a task's place by number. A task, below it all that it enqueued, then the next of its chain.
  findOrder({ parent, flags }) {
    const { size } = this;
    const caller = new Int32Array(size), next = new Int32Array(size).fill(-1);       // of places
    const firstChild = new Int32Array(size + 1).fill(-1), sibling = new Int32Array(size).fill(-1);
    for (let at = size - 1; at >= 0; at--) {                                           // the last first: lists grow at their head
      const above = parent[at] ? at - parent[at] : -1;
      if (flags[at] & CHAINED) { next[above] = at; continue; }
      const list = above < 0 ? size : above;
      sibling[at] = firstChild[list];
      firstChild[list] = at;
    }
    for (let at = 0; at < size; at++) {
      const above = parent[at] ? at - parent[at] : -1;
      caller[at] = flags[at] & CHAINED ? caller[above] : above;
    }
    this.place = new Int32Array(size);
    const rowAt = this.rowAt = new Int32Array(size);
    const pending = new Int32Array(size + 1);
    let row = 0, depth = 0;
    const push = (list) => {                                                           // reversed, for the first is to be popped first
      const from = depth;
      for (let at = firstChild[list]; at >= 0; at = sibling[at]) pending[depth++] = at;
      pending.subarray(from, depth).reverse();
    };
    push(size);
    while (depth) {
      const at = pending[--depth];
      this.place[row] = at;
      rowAt[at] = row++;
      if (next[at] >= 0) pending[depth++] = next[at];
      push(at);
    }
    this.caller = this.place.map((at) => (caller[at] < 0 ? -1 : rowAt[caller[at]]));  // the row that enqueued this one, or -1
    this.before = this.place.map((at) => (flags[at] & CHAINED ? rowAt[at - parent[at]] : -1));
    this.findFamilies();
  }

  // end: the row after all that lies below this one.
  findFamilies() {
    this.level = new Int32Array(this.size);
    this.end = new Int32Array(this.size).fill(this.size);
    this.sibling = new Int32Array(this.size);       // 1-based, among the rows of one caller
    this.siblings = new Int32Array(this.size + 1);  // by caller; those at the top come last
    const open = [];
    for (let row = 0; row < this.size; row++) {
      const caller = this.caller[row];
      this.level[row] = caller < 0 ? 0 : this.level[caller] + 1;
      while (open.length && this.level[open[open.length - 1]] >= this.level[row]) this.end[open.pop()] = row;
      this.sibling[row] = ++this.siblings[caller < 0 ? this.size : caller];
      open.push(row);
    }
  }

  takeColumns(index) {
    const { place, size } = this;
    for (const name of DENSE) this[name] = place.map((at) => index[name][at]);
    for (const name of SPARSE) this[name] = Object.fromEntries(Object.entries(index[name]).map(([at, value]) => [this.rowAt[at], value]));
    const [num, released, queue] = ["num", "released", "queue"].map((name) => runningSum(index[name]));
    this.num = place.map((at) => num[at]);
    this.rowOfNum = new Map();
    for (let row = 0; row < size; row++) this.rowOfNum.set(this.num[row], row);
    this.queue = Float64Array.from(place, (at) => queue[at] / PER_MS);
    this.start = Float64Array.from(place, (at) => (index.runtime[at] < 0 ? -1 : (released[at] + queue[at]) / PER_MS));
    this.runtime = Float64Array.from(this.runtime, (ticks) => (ticks < 0 ? -1 : ticks / PER_MS));
    const own = this.self;
    this.self = Float64Array.from(this.runtime, (ms, row) => (row in own ? own[row] / PER_MS : Math.max(0, ms)));
    for (const row in this.spans) this.spans[row] = this.spans[row].map((n, at) => (at % 4 < 2 ? n : n / PER_MS));
  }

  countFailures() {
    this.failed = this.states.indexOf("failed");
    this.failuresBefore = new Int32Array(this.size + 1);
    for (let row = 0; row < this.size; row++) this.failuresBefore[row + 1] = this.failuresBefore[row] + this.hasFailed(row);
  }

  nameOf(row) { return this.names[this.name[row]]; }
  stateOf(row) { return this.states[this.state[row]]; }
  is(row, flag) { return (this.flags[row] & flag) !== 0; }
  hasFailed(row) { return this.state[row] === this.failed && !this.is(row, ASIDE); }
  hasFamily(row) { return this.end[row] > row + 1; }
  failuresBelow(row) { return this.failuresBefore[this.end[row]] - this.failuresBefore[row + 1]; }
  siblingsOf(row) { return this.siblings[this.caller[row] < 0 ? this.size : this.caller[row]]; }

  // How a row looks: its state, or that it failed only because another task did.
  lookOf(row) { return row in this.cause ? this.stateOf(row) + " because" : this.stateOf(row); }

  // The words beside a name, for all that is not simply success.
  notesOf(row) {
    const notes = [];
    const state = this.stateOf(row);
    if (row in this.cause) notes.push(`${state} because of #${this.cause[row]}`);
    else if (state !== "succeeded") notes.push(state);
    if (row in this.attempts) notes.push(count(this.attempts[row], "attempt"));
    if (this.is(row, REPLAYED)) notes.push("run again after a crash");
    if (this.is(row, ASIDE)) notes.push("set aside");
    return notes;
  }

  // Bars of a row: [kind, outcome, start, length], in ms after the run's zero.
  barsOf(row) {
    const bars = [];
    const start = this.start[row], queue = this.queue[row];
    if (start >= 0 && queue > 0) bars.push([QUEUED, this.state[row], start - queue, queue]);
    const spans = this.spans[row];
    if (spans) for (let i = 0; i < spans.length; i += 4) bars.push(spans.slice(i, i + 4));
    else if (start >= 0) bars.push([RAN, this.state[row], start, this.runtime[row]]);
    return bars;
  }

  // The lines of a chunk of details, each one task's as JSON. Null: the file ends before it.
  lines(chunk) {
    if (!this.opened.has(chunk)) {
      if (!byId(`fx-d${chunk}`)) return null;
      this.opened.set(chunk, unpack(`fx-d${chunk}`).then((text) => text.split("\n")));
      if (this.opened.size > CHUNKS_KEPT) this.opened.delete(this.opened.keys().next().value);
    }
    return this.opened.get(chunk);
  }

  // All that is known of a row's task, as in `firexlite flame --json`; null where the file does not say.
  async detailOf(row) {
    await whole;  // what comes behind this script may still be on its way
    const at = this.place[row];
    let chunk = this.chunks.length - 1;
    while (chunk > 0 && this.chunks[chunk] > at) chunk--;
    const lines = await this.lines(chunk);
    return lines ? JSON.parse(lines[at - this.chunks[chunk]]) : null;
  }
}

// Resolved when the whole file has been read.
const whole = document.readyState !== "loading" ? Promise.resolve()
  : new Promise((resolve) => addEventListener("DOMContentLoaded", resolve, { once: true }));

function runningSum(differences) {
  const sums = new Float64Array(differences.length);
  let sum = 0;
  for (let i = 0; i < sums.length; i++) sums[i] = sum += differences[i];
  return sums;
}
