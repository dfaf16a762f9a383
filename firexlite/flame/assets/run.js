// The run as data: columns over rows (a row is a task's place in the reading order), details on demand.

const CHAINED = 1, PLUGIN = 2, ASIDE = 4;      // bits of `flags`
const QUEUED = 0, RAN = 1, WAITED = 2;         // kinds of bars
const BAR_KINDS = ["queued", "ran", "waited"];

class Run {
  constructor(facts, index) {
    Object.assign(this, index);  // num, name, state, level, flags, start, runtime, queue; sparse: spans, attempts, cause
    this.facts = facts;
    this.size = this.num.length;
    this.rowOfNum = new Map(this.num.map((num, row) => [num, row]));
    this.findFamilies();
    this.countFailures();
    this.chunks = new Map();
  }

  // caller: the row that enqueued this one, or -1; end: the row after all that lies below this one.
  findFamilies() {
    this.caller = new Int32Array(this.size).fill(-1);
    this.end = new Int32Array(this.size).fill(this.size);
    this.sibling = new Int32Array(this.size);   // 1-based, among the rows of one caller
    this.siblings = new Int32Array(this.size + 1);  // by caller; those at the top come last
    const open = [];
    for (let row = 0; row < this.size; row++) {
      while (open.length && this.level[open[open.length - 1]] >= this.level[row]) this.end[open.pop()] = row;
      const caller = open.length ? open[open.length - 1] : -1;
      this.caller[row] = caller;
      this.sibling[row] = ++this.siblings[caller < 0 ? this.size : caller];
      open.push(row);
    }
  }

  countFailures() {
    this.failuresBefore = new Int32Array(this.size + 1);
    for (let row = 0; row < this.size; row++) this.failuresBefore[row + 1] = this.failuresBefore[row] + this.hasFailed(row);
  }

  nameOf(row) { return this.names[this.name[row]]; }
  stateOf(row) { return this.states[this.state[row]]; }
  is(row, flag) { return (this.flags[row] & flag) !== 0; }
  hasFailed(row) { return this.stateOf(row) === "failed" && !this.is(row, ASIDE); }
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
    else if (start >= 0) bars.push([RAN, this.state[row], start, Math.max(0, this.runtime[row])]);
    return bars;
  }

  // All that is known of a row's task; its chunk is parsed at the first look.
  detailOf(row) {
    const chunk = Math.floor(row / this.chunk);
    if (!this.chunks.has(chunk)) {
      const block = byId(`fx-d${chunk}`);
      if (!block) return null;  // still on its way, or the file is cut
      this.chunks.set(chunk, JSON.parse(block.textContent));
    }
    return this.chunks.get(chunk)[row % this.chunk];
  }
}
