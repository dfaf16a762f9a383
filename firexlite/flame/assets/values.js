// Values as a reader wants to see them: strings, JSON, tracebacks, logs, and the services' own markup.

const FOLD_CHARS = 3000, FOLD_LINES = 24;
const FRAMES = 5, LOG_LINES = 40;  // shown at first, of a traceback and of a log

function drawValue(value) {
  if (typeof value === "string") return foldable(value, "value");
  const literal = (text) => el("span", { class: "literal" }, String(text));
  if (value === null || typeof value !== "object") return literal(value);
  if (value.$cut !== undefined) return [el("p", { class: "aside" }, value.$cut), foldable(value.head ?? "", "value")];
  if (value.b64 !== undefined) return literal(`${value.$bytes} bytes, base64 ${value.b64}`);
  const said = value.$int ?? value.$num ?? value.$repr, compact = JSON.stringify(value);
  if (said !== undefined) return literal(said);
  return foldable(compact.length <= 80 ? compact : JSON.stringify(value, null, 2), "value");
}

// A table of named values; those of `defaults` are marked as such.
function drawValues(values, defaults = {}) {
  const drawRow = ([name, value], isDefault) => el("tr", { class: isDefault && "default" },
    el("th", { scope: "row" }, name, isDefault && el("small", {}, " default")), el("td", {}, drawValue(value)));
  return el("table", { class: "values" }, el("tbody", {},
    Object.entries(values).map((entry) => drawRow(entry, false)),
    Object.entries(defaults).filter(([name]) => !(name in values)).map((entry) => drawRow(entry, true))));
}

// Names and what they stand for, without those that stand for nothing.
function drawFacts(facts) {
  const present = Object.entries(facts).filter(([, value]) => ![undefined, null, false, ""].includes(value));
  return present.length ? el("table", { class: "values" }, el("tbody", {}, present.map(([name, value]) =>
    el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, value))))) : null;
}

// Text in a box; long text shows its beginning and a button for the rest.
function foldable(text, kind) {
  const head = text.split("\n", FOLD_LINES).join("\n").slice(0, FOLD_CHARS), box = el("pre", { class: kind }, head);
  const more = `show all ${text.length.toLocaleString("en")} characters`;
  if (head.length < text.length) {
    box.append("\u2026\n", button(more, () => box.replaceChildren(visible(text)), { class: "more" }));
  }
  return box;
}

// Lines of which the last matter: those before `first` are shown on demand.
function foldableEnd(lines, first, drawLine = (line) => line + "\n") {
  const showAll = () => box.replaceWith(foldableEnd(lines, 0, drawLine));
  const more = first > 0 && [button(`show ${count(first, "line")} above`, showAll, { class: "more" }), "\n"];
  const box = el("pre", { class: "end" }, more, lines.slice(first).map(drawLine));
  return box;
}

// The frame in the user's own code, `context` ("file:line in function"), stands out.
function drawTraceback(traceback, context) {
  const [, file, number] = /^(.*):(\d+) in /.exec(context ?? "") ?? [];
  const lines = traceback.trimEnd().split("\n"), frames = [...lines.keys()].filter((n) => lines[n].startsWith("  File "));
  return foldableEnd(lines, frames.length > FRAMES ? frames.at(-FRAMES) : 0, (line) =>
    file && line.includes(`${file}", line ${number},`) ? el("span", { class: "mine" }, line + "\n") : line + "\n");
}

const logLines = (log) => (typeof log?.lines === "string" ? log.lines.split("\n") : (log?.lines ?? []).map(String));

// The end of a log, and what is missing of it.
function drawLog(log) {
  const lines = logLines(log), there = lines.length, { total, bytes_before: before, truncated } = log;
  const size = `${(before / 1e6).toFixed(1)} MB`;
  const more = [total > there && `of ${total.toLocaleString("en")}`, before > 0 && `after ${size} more`];
  const said = `The last ${count(there, "line")} ${more.filter(Boolean).join(", ")}; the run's directory has the whole log.`;
  return [(truncated || total > there) && el("p", { class: "aside" }, said),
    foldableEnd(lines, there > LOG_LINES * 1.5 ? there - LOG_LINES : 0)];
}

// Markup of a service, which the exporter has reduced to [tag, attributes, children] of harmless tags.
const HARMLESS = /^(a|b|br|code|div|em|h[1-6r]|i|li|ol|p|pre|small|span|strong|table|tbody|td|th|thead|tr|u|ul)$/;

function drawMarkup(nodes) {
  return nodes.map((node) => {
    if (typeof node === "string") return node;
    const [tag, { href, style }, children] = node;
    if (!HARMLESS.test(tag)) return JSON.stringify(node);
    const link = /^https?:/i.test(href) && { href, rel: "noopener noreferrer", target: "_blank" };
    return el(tag, { style, ...link }, drawMarkup(children));
  });
}
