// Finding tasks: words of a name or of anything said about a task, and `state:failed name:x host:y >5s <1s #17`.

const SPECIAL = /^(name|state|host):(.+)$|^([<>])([\d.]+)(ms|s|m|min|h)?$|^#(\d+)$/;  // terms; all others are words
const UNITS_MS = { ms: 1, s: 1e3, m: 6e4, min: 6e4, h: 36e5 };

class Search {
  constructor(page) {
    Object.assign(this, { page, run: page.run, input: byId("search"), only: byId("only"), rows: [], asked: "" });
    const on = (element, type, act) => element.addEventListener(type, act);
    on(this.input, "input", () => page.go({ q: this.input.value || undefined }, { replace: true }));
    on(this.input, "keydown", (event) => this.press(event));
    on(this.only, "change", () => page.go({ only: this.only.checked ? 1 : undefined }));
  }

  // Find what `query` asks for: page.hits, and page.kept if only that is to be seen.
  look(query = "", only = false) {
    const { page } = this;
    if (document.activeElement !== this.input) this.input.value = query;
    this.only.checked = only;
    if (this.asked !== query) {
      this.asked = query;
      const terms = parseQuery(query), words = terms.filter((term) => !SPECIAL.test(term));
      page.hits = terms.length ? this.find(terms) : null;
      if (words.length) this.scan(query, terms, words);  // goes on while the names are shown
    }
    this.rows = page.hits ? rowsOf(page.hits) : [];
    page.kept = only && page.hits ? withCallers(this.run, page.hits) : null;
  }

  // By row, whether all terms fit it. said: by row, whether the words are in its details.
  find(terms, said) {
    const tests = terms.map((term) => fitting(this.run, term, said));
    return new Uint8Array(this.run.size).map((_, row) => tests.every((fits) => fits(row)));
  }

  // Look for words in all that is known of each task: arguments, results, tracebacks, logs.
  async scan(query, terms, words) {
    const { page, run } = this, said = new Uint8Array(run.size), isOver = () => this.asked !== query;
    await run.visitLines((row, line) => {
      const text = line.toLowerCase();
      said[row] = words.every((word) => text.includes(word));
      return isOver();
    });
    if (isOver()) return;
    page.hits = this.find(terms, said);
    this.look(query, this.only.checked);
    page.show();
  }

  // To the next row that was found, or to the one before; round the end.
  step(direction) {
    const { page, rows } = this, inTurn = direction > 0 ? rows : rows.toReversed();
    if (rows.length) page.select(inTurn.find((row) => (row - page.current) * direction > 0) ?? inTurn[0]);
  }

  tell() {
    const { page, rows } = this, place = rows.indexOf(page.current);
    const found = rows.length ? rows.length.toLocaleString("en") : "none";
    byId("hits").textContent = page.hits && (place < 0 ? found : `${place + 1} of ${found}`);
    byId("next").disabled = byId("previous").disabled = !rows.length;
    byId("failures-only").setAttribute("aria-pressed", String(this.isFailuresOnly));
  }

  press(event) {
    if (event.key === "Enter") this.step(event.shiftKey ? -1 : 1);
    if (event.key === "Escape") { this.clear(); this.input.blur(); }
  }

  focus() { this.input.focus(); this.input.select(); }

  ask(q, only, how) {
    this.input.value = q ?? "";
    this.page.go({ q, only }, how);
  }

  clear() { this.ask(undefined, undefined, { replace: true }); }

  get isFailuresOnly() { return this.page.address.q === "state:failed" && this.only.checked; }

  toggleFailures() { if (this.isFailuresOnly) this.ask(); else this.ask("state:failed", 1); }
}

// The terms of a query, which must all fit. Words in quotes belong together.
const parseQuery = (query) => (query.match(/[^\s"]*"[^"]*"?|\S+/g) ?? [])
  .map((term) => term.replaceAll('"', "").toLowerCase()).filter(Boolean);

// Whether a row fits a term, as a function. said: see `find`.
function fitting(run, term, said) {
  const [, column, part, sign, amount, unit = "s", num] = SPECIAL.exec(term) ?? [], ms = amount * UNITS_MS[unit];
  const naming = (which, text) => {
    const fits = run[`${which}s`].map((one) => one.toLowerCase().includes(text));
    return (row) => fits[run[which][row]];
  };
  if (column) return naming(column, part);
  if (sign === ">") return (row) => run.runtime[row] > ms;
  if (sign) return (row) => run.runtime[row] >= 0 && run.runtime[row] < ms;
  if (num) return (row) => run.num[row] === Number(num);
  const isNamed = naming("name", term);
  return (row) => isNamed(row) || run.num[row] === Number(term) || said?.[row];
}

const rowsOf = (marks) => Array.from(marks.keys()).filter((row) => marks[row]);

// The rows that are marked, and their callers.
function withCallers(run, marks) {
  const kept = new Uint8Array(run.size);
  for (let row = 0; row < run.size; row++) {
    for (let one = marks[row] ? row : -1; one >= 0 && !kept[one]; one = run.caller[one]) kept[one] = 1;
  }
  return kept;
}
