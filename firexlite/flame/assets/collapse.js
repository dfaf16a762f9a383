// Flame's rules of collapsing: which tasks are drawn, and which of these stand for how many others.
//
// A rule {row, operation, targets, priority} collapses or expands what its targets mean, seen from its row. Where rules meet,
// the lowest priority wins, and of equals the one that expands: so a rule's strength is a number, the lower the stronger, odd
// if it collapses. (Flame also asks which target is nearer; that tells equals apart and changes nothing.)

const BY_RUN_STATE = 3, BY_FLAME_DATA = 5;  // priorities; a reader's click lies below zero, the last one lowest
const UNTOUCHED = 2 ** 30;
const SPARED = 5;  // failures that stay beside the group of their siblings
const WORST_FIRST = ["failed", "lost", "interrupted", "revoked", "running", "blocked", "ready", "waiting", "skipped", "succeeded"];

class Collapse {
  // above: the task before a row in its chain, else its caller; last: the row after all that lies below it, its chain included.
  constructor(run) {
    const { size, caller, before, names } = run;
    this.run = run;
    this.above = Int32Array.from(caller, (by, row) => (before[row] < 0 ? by : before[row]));
    this.depth = new Int32Array(size);
    this.last = this.above.map((_, row) => row + 1);
    this.family = Float64Array.from(this.above, (above, row) => (above + 1) * names.length + run.name[row]);
    this.alike = new Map();  // family -> how many siblings of one name
    for (let row = 0; row < size; row++) {
      if (this.above[row] >= 0) this.depth[row] = this.depth[this.above[row]] + 1;
      this.alike.set(this.family[row], (this.alike.get(this.family[row]) || 0) + 1);
    }
    for (let row = size - 1; row >= 0; row--) this.last[this.above[row]] = Math.max(this.last[this.above[row]], this.last[row]);
    this.byState = [...this.rulesOfState()];
    this.byData = [...this.rulesOfData()];
  }

  // What failed by itself, and what is still at work, is to be seen.
  *rulesOfState() {
    const { run, last } = this;
    for (let row = 0; row < run.size; row++) {
      const isLeaf = last[row] === row + 1, state = run.stateOf(row);
      if (state === "running" || (isLeaf && state === "blocked") || (run.hasFailed(row) && (isLeaf || !(row in run.cause)))) {
        yield { row, operation: "expand", targets: ["self", "ancestors"], priority: BY_RUN_STATE };
      }
    }
  }

  // What services ask for; to them, what follows in a chain does not descend from the task before it.
  *rulesOfData() {
    const { run, last } = this, meant = new Map();
    for (const { operation, targets, relative_to_nodes: nodes, source_node: source } of Object.values(run.collapse || {}).flat()) {
      const rule = { operation, targets: targets.map((t) => (t === "descendants" ? "unchained-" + t : t)), priority: BY_FLAME_DATA };
      const { type, value } = nodes, key = type + value, top = source ? run.rowOfNum.get(source.value) : 0;
      if (!meant.has(key)) meant.set(key, run.names.map(matcher(type, value)));
      if (type === "task_num" && run.rowOfNum.has(value)) yield { ...rule, row: run.rowOfNum.get(value) };
      else for (let row = top; row < (source ? last[top] : run.size); row++) if (meant.get(key)[run.name[row]]) yield { ...rule, row };
    }
  }

  // By row, the strength of the strongest rule.
  strengths(rules) {
    const { above, run: { caller, size } } = this;
    const [self, ancestors, descendants, unchained, grandchildren] = Array.from({ length: 5 }, () => new Int32Array(size).fill(UNTOUCHED));
    const reach = new Map(Object.entries({ self, ancestors, descendants, "unchained-descendants": unchained, grandchildren }));
    const lower = (column, row, strength) => { if (strength < column[row]) column[row] = strength; };
    for (const { row, operation, targets, priority } of rules) {
      for (const target of targets) if (reach.has(target)) lower(reach.get(target), row, 2 * priority + (operation === "collapse"));
    }
    for (let row = size - 1; row >= 0; row--) for (const column of [self, ancestors]) lower(column, above[row], ancestors[row]);
    for (let row = 0; row < size; row++) {
      for (const [column, from] of [[descendants, above[row]], [unchained, caller[row]]]) {
        lower(self, row, column[from]);
        lower(column, row, column[from]);
      }
      lower(self, row, grandchildren[caller[caller[row]]]);
      lower(grandchildren, row, grandchildren[caller[row]]);
    }
    return self;
  }

  // What to draw of the rows from `first` to `end` that are `kept`: of more than `group` siblings of one name the first, for
  // all; of more than `limit` tasks those that the reader or a failure wants, then the upper ones. Returns {shown: rows,
  // members: Map of row -> how many siblings it is} and by row {above: the drawn one over it, holder: the drawn one that stands
  // for it, hidden, failed: how many it stands for, worst: one of those, or -1}.
  picture(rules, { first = 0, end = this.run.size, kept = null, group = Infinity, limit = Infinity } = {}) {
    const { run, above: parent, depth, family, alike } = this, strength = this.strengths(rules);
    const [above, holder, head, worst, hidden, failed] = [-1, -1, -1, -1, 0, 0].map((none) => new Int32Array(run.size).fill(none));
    const heads = new Map(), spared = new Map(), members = new Map();
    const add = (map, key) => map.set(key, (map.get(key) || 0) + 1).get(key);
    const isWanted = (row) => strength[row] < 2 * BY_FLAME_DATA && !(strength[row] & 1);
    let shown = [];
    for (let row = first; row < end; row++) {
      if (parent[row] < first) strength[row] = -UNTOUCHED;  // a root never collapses
      else head[row] = head[parent[row]];
      if (head[row] >= 0 || strength[row] & 1 || (kept && !kept[row])) continue;
      const key = family[row];
      if (alike.get(key) > group && !(isWanted(row) && (strength[row] < 0 || add(spared, key) <= SPARED))) {
        if (!heads.has(key)) heads.set(key, row);
        head[row] = heads.get(key);
        add(members, head[row]);
      }
      if (head[row] < 0 || head[row] === row) shown.push(row);
    }
    if (shown.length > limit) {
      const urgency = (row) => (isWanted(row) ? strength[row] : UNTOUCHED);
      shown.sort((a, b) => urgency(a) - urgency(b) || depth[a] - depth[b] || a - b);
      shown = shown.slice(0, limit).sort((a, b) => a - b);
    }
    for (const row of shown) holder[row] = row;
    const rank = (row) => WORST_FIRST.indexOf(run.stateOf(row)) + (row in run.cause || run.is(row, ASIDE)) / 2;
    for (let row = first; row < end; row++) {
      above[row] = parent[row] < first ? -1 : holder[parent[row]];
      if (holder[row] < 0) holder[row] = head[row] < 0 ? above[row] : holder[head[row]];
      const by = holder[row];
      if (by < 0 || (by === row && !members.has(row)) || (kept && !kept[row])) continue;
      hidden[by] += by !== row;
      failed[by] += run.hasFailed(row);
      if (worst[by] < 0 || rank(row) < rank(worst[by])) worst[by] = row;
    }
    return { shown, members, above, holder, hidden, failed, worst };
  }
}

// Whether a name is meant; what is no pattern to a browser, whatever it is to Python, matches nothing.
function matcher(type, value) {
  try {
    const pattern = type === "task_name_regex" && new RegExp(value);
    return (name) => (pattern ? pattern.test(name) : type === "task_name" && name === value);
  } catch {
    return () => false;
  }
}
