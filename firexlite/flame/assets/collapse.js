// Flame's rules of collapsing: which tasks are drawn, and which of these stand for others. Where rules meet, each of {rows,
// operation, targets, priority}, the lowest priority wins, and of equals the one that expands: a rule's strength is a number,
// the lower the stronger, odd if it collapses.

const OF_STATE = 3, OF_SERVICES = 5, OF_CROWDS = 6;  // priorities; a reader's wish lies below zero, the last one lowest
const TARGETS = ["self", "ancestors", "descendants", "unchained-descendants", "grandchildren"];
const MOST_BOXES = 400, MOST_ALIKE = 50, UNTOUCHED = 2 ** 30;

class Collapse {
  // above: by row, the task before it in its chain, else its caller. head: by row, the first of its crowd, drawn for all of it.
  constructor(run, most = MOST_ALIKE) {
    const above = run.caller.map((caller, row) => (run.before[row] < 0 ? caller : run.before[row])), all = [...above.keys()];
    const size = new Int32Array(run.size), firsts = new Map();  // of siblings of one name
    const first = above.map((over, row) => {
      const family = (over + 1) * run.names.length + run.name[row];
      if (!firsts.has(family)) firsts.set(family, row);
      size[firsts.get(family)] += 1;
      return firsts.get(family);
    });
    const head = first.map((one, row) => (size[one] > most ? one : row)), crowds = all.filter((row) => size[head[row]] > most);
    Object.assign(this, { run, above, head });
    const collapse = (rows, target, priority) => ({ rows, operation: "collapse", targets: [target], priority });
    const rules = [
      { rows: this.telling(all), operation: "expand", targets: ["self", "ancestors"], priority: OF_STATE },
      collapse(crowds, "descendants", OF_CROWDS), collapse(crowds.filter((row) => head[row] < row), "self", OF_CROWDS),
    ];
    this.modes = { default: [...rules, ...this.rulesOfServices()], "expand all": rules,
      "collapse all": [...rules, collapse(all, "self", 0)] };
  }

  // What failed by itself, and what is still at work, is to be seen.
  telling(rows) {
    const { run, above } = this, isLeaf = (row) => above[row + 1] !== row, isAt = (row, state) => run.stateOf(row) === state;
    return rows.filter((row) => isAt(row, "running") || (isLeaf(row) && isAt(row, "blocked"))
      || (run.hasFailed(row) && (isLeaf(row) || !(row in run.cause))));
  }

  // To services, what follows in a chain does not descend from the task before it.
  *rulesOfServices() {
    const { run, above } = this;
    const said = Object.values(run.collapse).flat().filter((one) => Array.isArray(one?.targets) && one.relative_to_nodes);
    for (const { operation, targets, relative_to_nodes: nodes, source_node: source } of said) {
      const isMeant = run.names.map(matcher(nodes)), top = source ? run.rowOfNum.get(source.value) : -1;
      const rows = nodes.type === "task_num" ? [run.rowOfNum.get(nodes.value)] : [];
      for (let row = top; row === top || above[row] >= top; row++) if (isMeant[run.name[row]]) rows.push(row);
      const unchained = targets.map((target) => (target === "descendants" ? "unchained-descendants" : target));
      yield { rows, operation, targets: unchained, priority: OF_SERVICES };
    }
  }

  // By row, the strength of the strongest rule.
  strengths(rules) {
    const { above, run: { caller, size } } = this;
    const columns = Object.fromEntries(TARGETS.map((target) => [target, new Int32Array(size).fill(UNTOUCHED)]));
    const { self, ancestors, descendants, "unchained-descendants": unchained, grandchildren } = columns;
    const lower = (column, row, strength) => { if (strength < column[row]) column[row] = strength; };
    const inherit = (column, row, strength) => { lower(column, row, strength); lower(self, row, strength); };
    for (const { rows, operation, targets, priority } of rules) {
      const strength = 2 * priority + { expand: 0, collapse: 1 }[operation];
      for (const target of TARGETS) if (targets.includes(target)) rows.forEach((row) => lower(columns[target], row, strength));
    }
    for (let row = size - 1; row >= 0; row--) if (above[row] >= 0) inherit(ancestors, above[row], ancestors[row]);
    for (let row = 0; row < size; row++) {
      const by = caller[row];
      if (above[row] >= 0) inherit(descendants, row, descendants[above[row]]);
      if (by >= 0) inherit(unchained, row, unchained[by]);
      if (by >= 0 && caller[by] >= 0) inherit(unchained, row, grandchildren[caller[by]]);
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
  if (type === "task_name") return (name) => name === value;
  try {
    const pattern = new RegExp(value);
    return (name) => type === "task_name_regex" && pattern.test(name);
  } catch {
    return () => false;
  }
}
