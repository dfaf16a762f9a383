// Flame's rules of collapsing: which tasks are drawn, and which of these stand for how many others.
//
// A rule {row, operation, targets, priority} collapses or expands what its targets mean, seen from its row. Where rules meet,
// the lowest priority wins, and of equals the one that expands: so a rule's strength is a number, the lower the stronger, odd
// if it collapses. (Flame also asks which target is nearer; that tells equals apart and changes nothing.)

const BY_RUN_STATE = 3, BY_FLAME_DATA = 5;  // priorities; a reader's click lies below zero, the last one lowest
const UNTOUCHED = 2 ** 30;
const SPARED = 5;                           // failures that stay beside the group of their siblings
const WORST_FIRST = ["failed", "lost", "revoked", "running", "blocked", "ready", "waiting", "skipped", "succeeded"];

class Collapse {
  // above: the task before a row in its chain, else its caller; last: the row after all that lies below it, its chain included.
  constructor(run) {
    this.run = run;
    const above = this.above = Int32Array.from(run.caller, (caller, row) => (run.before[row] < 0 ? caller : run.before[row]));
    const last = this.last = above.map((_, row) => row + 1);
    const depth = this.depth = new Int32Array(run.size);
    for (let row = 0; row < run.size; row++) if (above[row] >= 0) depth[row] = depth[above[row]] + 1;
    for (let row = run.size - 1; row > 0; row--) {
      if (above[row] >= 0 && last[row] > last[above[row]]) last[above[row]] = last[row];
    }
    this.byState = [...this.rulesOfState()];
    this.byData = [...this.rulesOfData()];
  }

  // Siblings of one name are a family.
  family(row) { return (this.above[row] + 1) * this.run.names.length + this.run.name[row]; }

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
    const said = Object.values(run.collapse || {}).flat().filter((one) => Array.isArray(one?.targets) && one.relative_to_nodes);
    for (const { operation, targets, relative_to_nodes: nodes, source_node: source } of said) {
      const unchained = targets.map((target) => (target === "descendants" ? "unchained-descendants" : target));
      const rule = { operation, targets: unchained, priority: BY_FLAME_DATA };
      const key = nodes.type + nodes.value, top = source ? run.rowOfNum.get(source.value) : 0;
      if (nodes.type === "task_num") {
        if (run.rowOfNum.has(nodes.value)) yield { ...rule, row: run.rowOfNum.get(nodes.value) };
        continue;
      }
      if (!meant.has(key)) meant.set(key, run.names.map(matcher(nodes)));
      for (let row = top; row < (source ? last[top] : run.size); row++) {
        if (meant.get(key)[run.name[row]]) yield { ...rule, row };
      }
    }
  }

  // By row, the strength of the strongest rule.
  strengths(rules) {
    const { above, run: { caller, size } } = this;
    const column = () => new Int32Array(size).fill(UNTOUCHED);
    const [self, ancestors, descendants, unchained, grandchildren] = [column(), column(), column(), column(), column()];
    const reach = new Map(Object.entries({ self, ancestors, descendants, "unchained-descendants": unchained, grandchildren }));
    const lower = (column, row, strength) => { if (strength < column[row]) column[row] = strength; };
    for (const { row, operation, targets, priority } of rules) {
      const strength = 2 * priority + { expand: 0, collapse: 1 }[operation];  // of what nobody knows NaN, which lowers nothing
      for (const target of targets) if (reach.has(target)) lower(reach.get(target), row, strength);
    }
    for (let row = size - 1; row >= 0; row--) {
      if (above[row] < 0) continue;
      lower(self, above[row], ancestors[row]);
      lower(ancestors, above[row], ancestors[row]);
    }
    for (let row = 0; row < size; row++) {
      const over = above[row], by = caller[row];
      if (over >= 0) {
        lower(self, row, descendants[over]);
        lower(descendants, row, descendants[over]);
      }
      if (by >= 0) {
        lower(self, row, unchained[by]);
        lower(unchained, row, unchained[by]);
        if (caller[by] >= 0) lower(self, row, grandchildren[caller[by]]);
        lower(grandchildren, row, grandchildren[by]);
      }
    }
    return self;
  }

  // How many siblings each family has.
  countFamilies() {
    this.sizes = new Map();
    for (let row = 0; row < this.run.size; row++) add(this.sizes, this.family(row));
    return this.sizes;
  }

  // What to draw of the rows from `first` to `end` that are `kept`: of more than `group` siblings of one name the first, for
  // all; of more than `limit` tasks those that the reader or a failure wants, then the upper ones. Returns {shown: rows,
  // members: Map of row -> how many siblings it is} and by row {above: the drawn one over it, holder: the drawn one that stands
  // for it, hidden, failed: how many it stands for, worst: one of those, or -1}.
  picture(rules, { first = 0, end = this.run.size, kept = null, group = Infinity, limit = Infinity } = {}) {
    const { above, depth } = this, strength = this.strengths(rules), head = new Int32Array(this.run.size).fill(-1);
    const sizes = group < Infinity ? this.sizes ?? this.countFamilies() : new Map();
    const heads = new Map(), spared = new Map(), members = new Map();
    const isWanted = (row) => strength[row] < 2 * BY_FLAME_DATA && !(strength[row] & 1);
    let shown = [];
    for (let row = first; row < end; row++) {
      if (above[row] < first) strength[row] = -UNTOUCHED;  // a root never collapses
      else head[row] = head[above[row]];
      if (head[row] >= 0 || strength[row] & 1 || (kept && !kept[row])) continue;
      const key = this.family(row);
      if (sizes.get(key) > group && !(isWanted(row) && (strength[row] < 0 || add(spared, key) <= SPARED))) {
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
    return { shown, members, ...this.hold(shown, head, members, first, end, kept) };
  }

  hold(shown, head, members, first, end, kept) {
    const { run } = this, [above, holder, worst] = Array.from({ length: 3 }, () => new Int32Array(run.size).fill(-1));
    const hidden = new Int32Array(run.size), failed = new Int32Array(run.size);
    const ranks = run.states.map((state) => WORST_FIRST.indexOf(state));
    const rank = (row) => ranks[run.state[row]] + (row in run.cause) / 2 + run.is(row, ASIDE) * ranks.length;
    for (const row of shown) holder[row] = row;
    for (let row = first; row < end; row++) {
      above[row] = this.above[row] < first ? -1 : holder[this.above[row]];
      if (holder[row] < 0) holder[row] = head[row] < 0 ? above[row] : holder[head[row]];
      const by = holder[row];
      if (by < 0 || (by === row && !members.has(row)) || (kept && !kept[row])) continue;
      hidden[by] += by !== row;
      failed[by] += run.hasFailed(row);
      if (worst[by] < 0 || rank(row) < rank(worst[by])) worst[by] = row;
    }
    return { above, holder, hidden, failed, worst };
  }
}

function add(map, key) { return map.set(key, (map.get(key) || 0) + 1).get(key); }

// Whether a name is meant; what is no pattern to a browser, whatever it is to Python, matches nothing.
function matcher({ type, value }) {
  try {
    const pattern = new RegExp(value);
    if (type === "task_name_regex") return (name) => pattern.test(name);
  } catch { /* a name may be no pattern either */ }
  return (name) => type === "task_name" && name === value;
}
