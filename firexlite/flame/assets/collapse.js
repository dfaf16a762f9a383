// Flame's rules of collapsing: which tasks are drawn, and which of these stand for others.
//
// A rule {rows, operation, targets, priority} collapses or expands what its targets mean, seen from each row. Where rules meet,
// the lowest priority wins, and of equals the one that expands: a rule's strength is a number, the lower the stronger, odd if
// it collapses. (Flame also asks which target is nearer; that tells equals apart and changes nothing.)

const OF_STATE = 3, OF_SERVICES = 5, OF_CROWDS = 6;  // priorities; a reader's wish lies below zero, the last one lowest
const TARGETS = ["self", "ancestors", "descendants", "unchained-descendants", "grandchildren"];
const MOST_BOXES = 400, MOST_ALIKE = 50, UNTOUCHED = 2 ** 30;

class Collapse {
  // above: by row, the task before it in its chain, else its caller. head: by row, the first of its crowd, drawn for all of it.
  constructor(run, most = MOST_ALIKE) {
    const above = run.caller.map((caller, row) => (run.before[row] < 0 ? caller : run.before[row])), all = [...above.keys()];
    Object.assign(this, { run, above, head: Int32Array.from(all) });
    const families = new Map();  // siblings of one name
    for (const row of all) {
      const family = (above[row] + 1) * run.names.length + run.name[row];
      if (!families.has(family)) families.set(family, []);
      families.get(family).push(row);
    }
    const crowds = [...families.values()].filter((rows) => rows.length > most);
    for (const rows of crowds) for (const row of rows) this.head[row] = rows[0];
    const collapse = (rows, target, priority) => ({ rows, operation: "collapse", targets: [target], priority });
    const telling = all.filter((row) => this.isTelling(row)), rules = [
      { rows: telling, operation: "expand", targets: ["self", "ancestors"], priority: OF_STATE },
      collapse(crowds.flatMap(([, ...others]) => others), "self", OF_CROWDS), collapse(crowds.flat(), "descendants", OF_CROWDS)];
    this.modes = { default: [...rules, ...this.rulesOfServices()], "expand all": rules,
      "collapse all": [...rules, collapse(all, "self", 0)] };
  }

  // What failed by itself, and what is still at work, is to be seen.
  isTelling(row) {
    const { run, above } = this, isLeaf = above[row + 1] !== row, state = run.stateOf(row);
    return state === "running" || (isLeaf && state === "blocked") || (run.hasFailed(row) && (isLeaf || !(row in run.cause)));
  }

  // To services, what follows in a chain does not descend from the task before it.
  *rulesOfServices() {
    const { run, above } = this, meant = new Map();  // of nodes, by index of a name
    const said = Object.values(run.collapse).flat().filter((one) => Array.isArray(one?.targets) && one.relative_to_nodes);
    for (const { operation, targets, relative_to_nodes: nodes, source_node: source } of said) {
      const key = nodes.type + nodes.value, top = source ? run.rowOfNum.get(source.value) : -1;
      const rows = nodes.type === "task_num" ? [run.rowOfNum.get(nodes.value)] : [];
      if (!meant.has(key)) meant.set(key, run.names.map(matcher(nodes)));
      for (let row = top; row === top || above[row] >= top; row++) if (meant.get(key)[run.name[row]]) rows.push(row);
      const unchained = targets.map((target) => (target === "descendants" ? "unchained-descendants" : target));
      yield { rows, operation, targets: unchained, priority: OF_SERVICES };
    }
  }

  // By row, the strength of the strongest rule. There is nothing at row -1, which lowers nothing.
  strengths(rules) {
    const { above, run: { caller, size } } = this;
    const columns = Object.fromEntries(TARGETS.map((target) => [target, new Int32Array(size).fill(UNTOUCHED)]));
    const { self, ancestors, descendants, "unchained-descendants": unchained, grandchildren } = columns;
    const lower = (column, row, strength) => { if (strength < column[row]) column[row] = strength; };
    const inherit = (column, row, strength) => { lower(column, row, strength); lower(self, row, strength); };
    for (const { rows, operation, targets, priority } of rules) {
      const strength = 2 * priority + { expand: 0, collapse: 1 }[operation];
      for (const column of TARGETS.filter((target) => targets.includes(target))) {
        for (const row of rows) lower(columns[column], row, strength);
      }
    }
    for (let row = size - 1; row >= 0; row--) inherit(ancestors, above[row], ancestors[row]);
    for (let row = 0; row < size; row++) {
      inherit(descendants, row, descendants[above[row]]);
      inherit(unchained, row, unchained[caller[row]]);
      inherit(unchained, row, grandchildren[caller[caller[row]]]);
    }
    return self;
  }

  // What to draw of the rows from `first` to `end` that are `kept`; of more than `limit` those that the reader or a failure
  // wants, then the upper ones. Returns {shown: rows} and by row {above: the drawn one over it, holder: the drawn one that
  // stands for it, or -1; hidden, failed, alike: for how many others it stands, that failed, that are of its crowd}.
  picture(rules, { first = 0, end = this.run.size, kept = null, limit = MOST_BOXES } = {}) {
    const { run, head } = this, strength = this.strengths(rules);
    const [above, holder, hidden, failed, alike] = [-1, -1, 0, 0, 0].map((value) => new Int32Array(run.size).fill(value));
    const urgency = (row) => (strength[row] <= 2 * OF_STATE && !(strength[row] & 1) ? strength[row] : UNTOUCHED);
    const wanted = [];
    for (let row = first; row < end; row++) {
      if (this.above[row] < first) strength[row] = -UNTOUCHED;  // a root never collapses
      if (!(strength[row] & 1) && (!kept || kept[row])) wanted.push(row);
    }
    wanted.sort((a, b) => urgency(a) - urgency(b) || run.level[a] - run.level[b]);
    const shown = wanted.slice(0, limit).sort((a, b) => a - b);
    for (const row of shown) holder[row] = row;
    for (let row = first; row < end; row++) {
      above[row] = holder[this.above[row]] ?? -1;
      if (holder[row] < 0) holder[row] = head[row] < row ? holder[head[row]] : above[row];
      const by = holder[row];
      if (by === row || (kept && !kept[row])) continue;
      hidden[by] += 1;
      failed[by] += run.hasFailed(row);
      alike[by] += head[row] === by;
    }
    return { shown, above, holder, hidden, failed, alike };
  }
}

// Whether a name is meant; what is no pattern to a browser, whatever it is to Python, matches nothing.
function matcher({ type, value }) {
  try {
    const pattern = new RegExp(value);
    if (type === "task_name_regex") return (name) => pattern.test(name);
  } catch { /* a name may be no pattern either */ }
  return (name) => type === "task_name" && name === value;
}
