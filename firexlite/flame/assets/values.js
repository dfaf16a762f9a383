// Values as a reader wants to see them: strings, JSON, tracebacks, logs, and the services' own markup.

const FOLD_CHARS = 3000, FOLD_LINES = 24;
const FRAMES = 5, LOG_LINES = 40;  // shown at first, of a traceback and of a log

function drawValue(value) {
  if (typeof value === "string") return foldable(value, "value");
  if (value === null || typeof value !== "object") return el("span", { class: "literal" }, String(value));
  if (value.$cut !== undefined) return [el("p", { class: "aside" }, value.$cut), foldable(value.head ?? "", "value")];
  const marked = value.$int ?? value.$num ?? value.$repr ?? (value.b64 !== undefined ? `${value.$bytes} bytes, base64 ${value.b64}` : undefined);
  if (marked !== undefined) return el("span", { class: "literal" }, String(marked));
  const compact = JSON.stringify(value);
  return foldable(compact.length <= 80 ? compact : JSON.stringify(value, null, 2), "value");
}

// A table of named values; those of `defaults` are marked as such.
function drawValues(values, defaults = {}) {
  const row = (name, value, isDefault) =>
    el("tr", { class: isDefault ? "default" : null },
      el("th", { scope: "row" }, name, isDefault && el("small", {}, " default")), el("td", {}, drawValue(value)));
  return el("table", { class: "values" }, el("tbody", {},
    Object.entries(values).map(([name, value]) => row(name, value, false)),
    Object.entries(defaults).filter(([name]) => !(name in values)).map(([name, value]) => row(name, value, true))));
}

// Names and what they stand for, without those that stand for nothing.
function drawFacts(facts) {
  const present = Object.entries(facts).filter(([, value]) => ![undefined, null, false, ""].includes(value));
  return present.length ? el("table", { class: "values" }, el("tbody", {}, present.map(([name, value]) =>
    el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, value))))) : null;
}

// Text in a box; long text shows its beginning and a button for the rest.
function foldable(text, kind) {
  const lines = text.split("\n");
  const head = lines.slice(0, FOLD_LINES).join("\n").slice(0, FOLD_CHARS);
  const box = el("pre", { class: kind }, head);
  if (head.length < text.length) {
    const all = `show all ${text.length.toLocaleString("en")} characters`;
    const more = el("button", { type: "button", class: "more", click: () => box.replaceChildren(visible(text)) }, all);
    box.append("\u2026\n", more);
  }
  return box;
}

// Lines of which the last matter: those before `first` are shown on demand.
function foldableEnd(lines, first, drawLine = (line) => line + "\n") {
  const box = el("pre", { class: "end" });
  const draw = (from) => {
    const more = el("button", { type: "button", class: "more", click: () => draw(0) }, `show ${count(from, "line")} above`);
    box.replaceChildren(...(from ? [more, "\n"] : []), ...lines.slice(from).map((line) => {
      const drawn = drawLine(line);
      return typeof drawn === "string" ? visible(drawn) : drawn;
    }));
  };
  draw(first);
  return box;
}

// The frame in the user's own code, `context` ("file:line in function"), stands out.
function drawTraceback(traceback, context) {
  const place = /^(.*):(\d+) in /.exec(context ?? "");
  const isMine = (line) => place && line.includes(`${place[1]}", line ${place[2]},`);
  const lines = traceback.trimEnd().split("\n");
  const frames = lines.flatMap((line, n) => (line.startsWith("  File ") ? [n] : []));
  return foldableEnd(lines, frames.length > FRAMES ? frames[frames.length - FRAMES] : 0, (line) =>
    isMine(line) ? el("span", { class: "mine" }, line + "\n") : line + "\n");
}

const logLines = (log) => (typeof log?.lines === "string" ? log.lines.split("\n") : (log?.lines ?? []).map(String));

function drawLog(log) {
  const lines = logLines(log);
  return [
    cutOf(log, lines.length),
    foldableEnd(lines, lines.length > LOG_LINES * 1.5 ? lines.length - LOG_LINES : 0),
  ];
}

// What is missing of a log, if anything is.
function cutOf({ total, bytes_before: before, truncated }, there) {
  if (!truncated && !(total > there)) return null;
  const missing = [total > there && `of ${total.toLocaleString("en")}`, before > 0 && `after ${fileSize(before)} more`].filter(Boolean);
  return el("p", { class: "aside" }, `The last ${count(there, "line")} ${missing.join(", ")}; the run's directory has the whole log.`);
}

const fileSize = (bytes) => (bytes < 1e6 ? `${(bytes / 1e3).toFixed(bytes < 1e4 ? 1 : 0)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

// Markup of a service, which the exporter has already reduced to [tag, attributes, children] of allowed tags.
const TAGS = new Set(("a b br code div em h1 h2 h3 h4 h5 h6 hr i li ol p pre small span strong "
  + "table tbody td th thead tr u ul").split(" "));

function drawMarkup(nodes) {
  return nodes.map((node) => {
    if (typeof node === "string") return node;
    const [tag, attributes, children] = node;
    if (!TAGS.has(tag)) return JSON.stringify(node);
    const element = el(tag, attributes.href ? linkTo(attributes.href) : {}, drawMarkup(children));
    for (const [name, value] of Object.entries(attributes.style ?? {})) element.style.setProperty(name, value);
    return element;
  });
}

function linkTo(address) {
  return /^https?:/i.test(address) ? { href: address, rel: "noopener noreferrer", target: "_blank" } : {};
}
