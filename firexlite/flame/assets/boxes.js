// Where the boxes of the graph go.

const BOX = { width: 180, height: 52 }, PITCH = { x: 208, y: 96, hanging: 70 };  // px; from box to box
const MOST_LEAVES = 6;  // side by side; more hang in columns

// Each box stands above the middle of those below it, and these as close as their outlines allow.
// Returns below: Map of row -> rows, -1 for the roots; place: Map of row -> {x, y, middle, centre, bottom, hangs}; width, height.
function layOut(shown, above) {
  const below = new Map([-1, ...shown].map((row) => [row, []])), outlines = new Map(), offsets = new Map();
  for (const row of shown) below.get(above[row]).push(row);
  for (const row of [-1, ...shown].reverse()) {
    const left = [], right = [];  // the outline of what is below, by level
    const put = (rows, outline, perColumn = 1) => {
      const shift = right.length ? Math.max(...outline.left.map((edge, level) => (right[level] ?? -Infinity) + PITCH.x - edge)) : 0;
      outline.left.forEach((edge, level) => { left[level] ??= edge + shift; right[level] = outline.right[level] + shift; });
      rows.forEach((child, n) => offsets.set(child, {
        x: shift + Math.floor(n / perColumn) * PITCH.x, y: PITCH.y + (n % perColumn) * PITCH.hanging, hangs: perColumn > 1 }));
    };
    const children = below.get(row), isLeaf = (child) => !below.get(child).length, leaves = children.filter(isLeaf), areMany = leaves.length > MOST_LEAVES;
    if (areMany) {
      const perColumn = Math.ceil(leaves.length / Math.ceil(Math.sqrt(leaves.length * 0.6)));
      const levels = Array(Math.ceil(perColumn * PITCH.hanging / PITCH.y)).fill(0), wide = (Math.ceil(leaves.length / perColumn) - 1) * PITCH.x;
      put(leaves, { left: levels, right: levels.map(() => wide) }, perColumn);
    }
    for (const child of children) if (!areMany || !isLeaf(child)) put([child], outlines.get(child));
    const middle = children.length && (left[0] + right[0]) / 2;
    for (const child of children) offsets.get(child).x -= middle;
    outlines.set(row, { left: [0, ...left.map((edge) => edge - middle)], right: [0, ...right.map((edge) => edge - middle)] });
  }
  const { left, right } = outlines.get(-1), start = Math.min(...left), place = new Map();
  for (const row of shown) {
    const over = place.get(above[row]) ?? { x: -start, y: -PITCH.y }, offset = offsets.get(row), x = over.x + offset.x, y = over.y + offset.y;
    place.set(row, { x, y, middle: x + BOX.width / 2, centre: y + BOX.height / 2, bottom: y + BOX.height, hangs: offset.hangs });
  }
  return { below, place, width: Math.max(...right) - start + BOX.width, height: Math.max(...[...place.values()].map(({ bottom }) => bottom)) };
}

function link(from, { x, y, middle, centre, hangs }) {
  const bus = `M${from.middle} ${from.bottom}V${from.y + PITCH.y - 20}`;
  return hangs ? `${bus}H${x - 14}V${centre}H${x}` : `${bus}H${middle}V${y}`;
}
