// Where the boxes of the graph go: each above the middle of those below it, and these as close as their outlines allow.

const BOX = { width: 180, height: 52 }, PITCH = { x: 208, y: 96, hanging: 70 };  // px; from box to box
const MOST_LEAVES = 6;  // side by side; more hang in columns

// Returns below: Map of row -> the rows below it, -1 for the roots; width, height; and place: Map of row -> {x, y, middle,
// centre, bottom, level, hangs}.
function layOut(shown, above) {
  const below = new Map([-1, ...shown].map((row) => [row, []])), outlines = new Map(), offsets = new Map();
  for (const row of shown) below.get(above[row]).push(row);
  const isLeaf = (row) => !below.get(row).length;
  for (const row of [-1, ...shown].reverse()) {
    const left = [], right = [];  // the outline of what is below, by level
    const put = (rows, outline, perColumn = 1) => {
      const shift = right.length ? Math.max(...outline.left.map((edge, level) => (right[level] ?? -Infinity) + PITCH.x - edge)) : 0;
      for (const level of outline.left.keys()) {
        left[level] ??= outline.left[level] + shift;
        right[level] = outline.right[level] + shift;
      }
      rows.forEach((one, n) => {
        const x = shift + Math.floor(n / perColumn) * PITCH.x, y = PITCH.y + (n % perColumn) * PITCH.hanging;
        offsets.set(one, { x, y, hangs: perColumn > 1 });
      });
    };
    const leaves = below.get(row).filter(isLeaf), hang = leaves.length > MOST_LEAVES;
    if (hang) {
      const perColumn = Math.ceil(leaves.length / Math.ceil(Math.sqrt(leaves.length * 0.6)));
      const levels = Array(Math.ceil(perColumn * PITCH.hanging / PITCH.y)).fill(0);
      const columns = Math.ceil(leaves.length / perColumn);
      put(leaves, { left: levels, right: levels.map(() => (columns - 1) * PITCH.x) }, perColumn);
    }
    for (const one of below.get(row)) if (!hang || !isLeaf(one)) put([one], outlines.get(one));
    const middle = left.length && (left[0] + right[0]) / 2;
    for (const one of below.get(row)) offsets.get(one).x -= middle;
    outlines.set(row, { left: [0, ...left.map((edge) => edge - middle)], right: [0, ...right.map((edge) => edge - middle)] });
  }
  const { left, right } = outlines.get(-1), start = Math.min(...left), place = new Map();
  let height = 0;
  for (const row of shown) {
    const over = place.get(above[row]) ?? { x: -start, y: -PITCH.y, level: 0 }, offset = offsets.get(row);
    const x = over.x + offset.x, y = over.y + offset.y, bottom = y + BOX.height;
    place.set(row, { x, y, middle: x + BOX.width / 2, centre: y + BOX.height / 2, bottom, level: over.level + 1, hangs: offset.hangs });
    height = Math.max(height, bottom);
  }
  return { below, place, width: Math.max(...right) - start + BOX.width, height };
}

function link(from, { x, y, middle, centre, hangs }) {
  const bus = `M${from.middle} ${from.bottom}V${from.y + PITCH.y - 20}`;
  return hangs ? `${bus}H${x - 14}V${centre}H${x}` : `${bus}H${middle}V${y}`;
}

// To a second parent.
function curve(from, to) {
  return `M${from.middle} ${from.bottom}C${from.middle} ${from.bottom + 40} ${to.middle} ${to.y - 40} ${to.middle} ${to.y}`;
}
