// Where the boxes of the graph go: each above the middle of those below it, and all as far to the right as there is room.

const BOX = { width: 180, height: 52 }, PITCH = { x: 208, y: 88 };  // px; from box to box
const MOST_LEAVES = 6;  // side by side; more hang in columns, each from the one over it

// Returns below: Map of row -> the rows below it, -1 for the roots; place: Map of row -> {x: of its middle, y: of its top,
// hangs}; width and height of all.
function layOut(shown, above) {
  const below = childrenOf(shown, (row) => above[row]), over = new Map(), place = new Map();
  for (const rows of below.values()) {
    const leaves = rows.filter((row) => !below.get(row).length), columns = Math.ceil(Math.sqrt(leaves.length * 0.6));
    if (leaves.length > MOST_LEAVES) leaves.slice(columns).forEach((row, n) => over.set(row, leaves[n]));
  }
  const under = childrenOf(shown, (row) => over.get(row) ?? above[row]), edge = [];  // edge: by level, of what is there already
  const shift = (row, level, by) => {
    edge[level] = Math.min(edge[level] ?? 0, place.get(row).x += by);
    for (const one of under.get(row)) shift(one, level + 1, by);
  };
  const put = (row, level) => {
    const rows = under.get(row), free = (edge[level] ?? PITCH.x) - PITCH.x;
    for (const one of [...rows].reverse()) put(one, level + 1);
    const x = rows.length ? (place.get(rows[0]).x + place.get(rows[rows.length - 1]).x) / 2 : free;
    place.set(row, { x, y: level * PITCH.y, hangs: over.has(row) });
    shift(row, level, Math.min(0, free - x));
  };
  for (const row of [...under.get(-1)].reverse()) put(row, 0);
  const width = BOX.width - Math.min(0, ...edge);
  for (const one of place.values()) one.x += width - BOX.width / 2;
  return { below, place, width, height: PITCH.y * edge.length };
}

function childrenOf(shown, parentOf) {
  const children = new Map([-1, ...shown].map((row) => [row, []]));
  for (const row of shown) children.get(parentOf(row)).push(row);
  return children;
}

// The line from the box above, by the side to those that hang.
function link(from, { x, y, hangs }) {
  const bus = `M${from.x} ${from.y + BOX.height}v18`, side = x - BOX.width / 2;
  return hangs ? `${bus}H${side - 14}V${y + BOX.height / 2}h14` : `${bus}H${x}V${y}`;
}

// The line from a second parent.
function curve(from, to) {
  return `M${from.x} ${from.y + BOX.height}C${from.x} ${from.y + PITCH.y} ${to.x} ${to.y - 36} ${to.x} ${to.y}`;
}
