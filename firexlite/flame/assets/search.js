// Finding tasks: words of a name or of anything said about a task, and `state:failed name:x host:y >5s <1s #17`.

const SCANNED_AT_ONCE = 4;  // chunks of details, between two looks at the keyboard

class Search {
  constructor(page) {
    Object.assign(this, { page, run: page.run, rows: [], asked: "" });
    this.input = byId("search");
    this.only = byId("only");
    this.input.addEventListener("input", () => page.go({ q: this.input.value || undefined }, { replace: true }));
    this.input.addEventListener("keydown", (event) => this.press(event));
    this.only.addEventListener("change", () => page.go({ only: this.only.checked ? 1 : undefined }));
    byId("failures-only").addEventListener("click", () => this.toggleFailures());
    byId("next").addEventListener("click", () => this.step(1));
    byId("previous").addEventListener("click", () => this.step(-1));
  }

  // Find what `query` asks for: page.hits, and page.kept if only that is to be seen.
  async look(query = "", only = false) {
    const { page, run } = this;
    if (document.activeElement !== this.input) this.input.value = query;
    this.only.checked = only;
    if (this.asked !== query) {
      this.asked = query;
      const terms = parseQuery(query);
      page.hits = terms.length ? this.hitsOf(terms) : null;
      const words = terms.filter(({ kind }) => kind === "text").map(({ value }) => value);
      if (words.length) this.scan(query, terms, words);  // goes on while the names are shown
    }
    this.rows = page.hits ? rowsOf(page.hits) : [];
    page.kept = only && page.hits ? withCallers(run, page.hits) : null;
  }

  hitsOf(terms) {
    const { run } = this;
    const hits = new Uint8Array(run.size).fill(1);
    for (const term of terms) {
      const fits = this.testOf(term);
      for (let row = 0; row < run.size; row++) if (hits[row] && !fits(row)) hits[row] = 0;
    }
    return hits;
  }

  testOf({ kind, value }) {
    const { run } = this;
    const has = (texts) => texts.map((text) => text.toLowerCase().includes(value));
    if (kind === "state") {
      const states = has(run.states);
      return (row) => states[run.state[row]];
    }
    if (kind === "host") { const hosts = has(run.hosts); return (row) => hosts[run.host[row]]; }
    if (kind === ">") return (row) => run.runtime[row] > value;
    if (kind === "<") return (row) => run.runtime[row] >= 0 && run.runtime[row] < value;
    if (kind === "#") return (row) => run.num[row] === value;
    const names = has(run.names);
    if (kind === "name") return (row) => names[run.name[row]];
    const number = /^\d+$/.test(value) ? Number(value) : -1;
    return (row) => names[run.name[row]] || run.num[row] === number || this.said?.[row] === 1;
  }

  // Look for words in all that is known of each task: arguments, results, tracebacks, logs.
  async scan(query, terms, words) {
    const { page, run } = this;
    await whole;
    const said = new Uint8Array(run.size);
    for (let chunk = 0; chunk < run.chunks.length; chunk++) {
      if (chunk % SCANNED_AT_ONCE === 0) await new Promise((resolve) => setTimeout(resolve));
      if (this.asked !== query) return;
      const lines = await run.lines(chunk);
      lines?.forEach((line, n) => {
        const text = line.toLowerCase();
        if (words.every((word) => text.includes(word))) said[run.rowAt[run.chunks[chunk] + n]] = 1;
      });
    }
    this.said = said;
    page.hits = this.hitsOf(terms);
    this.said = null;
    await this.look(query, this.only.checked);
    page.show();
  }

  // The first row of whose details the text is a part; -1 for none.
  async rowOfText(text) {
    await whole;
    for (let chunk = 0; chunk < this.run.chunks.length; chunk++) {
      const at = (await this.run.lines(chunk))?.findIndex((line) => line.includes(text)) ?? -1;
      if (at >= 0) return this.run.rowAt[this.run.chunks[chunk] + at];
    }
    return -1;
  }

  // To the next row that was found, or to the one before; round the end.
  step(direction) {
    if (!this.rows.length) return;
    const { current } = this.page;
    const inTurn = direction > 0 ? this.rows : [...this.rows].reverse();
    this.page.select(inTurn.find((row) => (row - current) * direction > 0) ?? inTurn[0]);
  }

  tell() {
    const place = this.rows.indexOf(this.page.current);
    const found = place < 0 ? this.rows.length.toLocaleString("en") : `${place + 1} of ${this.rows.length.toLocaleString("en")}`;
    byId("hits").textContent = this.page.hits ? (this.rows.length ? found : "none") : "";
    for (const id of ["next", "previous"]) byId(id).disabled = !this.rows.length;
    byId("failures-only").setAttribute("aria-pressed", String(this.page.address.q === "state:failed" && this.only.checked));
  }

  press(event) {
    if (event.key === "Enter") this.step(event.shiftKey ? -1 : 1);
    if (event.key === "Escape") { this.clear(); this.input.blur(); }
  }

  focus() { this.input.focus(); this.input.select(); }

  clear() {
    this.input.value = "";
    this.page.go({ q: undefined, only: undefined }, { replace: true });
  }

  toggleFailures() {
    const isOn = this.page.address.q === "state:failed" && this.only.checked;
    this.input.value = isOn ? "" : "state:failed";
    this.page.go(isOn ? { q: undefined, only: undefined } : { q: "state:failed", only: 1 });
  }

  // A task that is asked for by its address is shown, whatever the filter says.
  stopHiding() {
    this.page.kept = null;
    this.page.go({ only: undefined }, { replace: true });
  }
}

// [{kind, value}] of a query; several terms must all fit. Words in quotes belong together.
function parseQuery(query) {
  return (query.match(/[^\s"]*"[^"]*"?|\S+/g) ?? []).map((given) => {
    const term = given.replaceAll('"', "").toLowerCase();
    const [, kind, named] = /^(name|state|host):(.+)$/.exec(term) ?? [];
    if (kind) return { kind, value: named };
    const [, sign, amount, unit] = /^([<>])([\d.]+)(ms|s|m|min|h)?$/.exec(term) ?? [];
    if (sign) return { kind: sign, value: Number(amount) * { ms: 1, s: 1e3, m: 6e4, min: 6e4, h: 36e5 }[unit ?? "s"] };
    return /^#\d+$/.test(term) ? { kind: "#", value: Number(term.slice(1)) } : { kind: "text", value: term };
  }).filter(({ value }) => value !== "");
}

function rowsOf(marks) {
  const rows = [];
  for (let row = 0; row < marks.length; row++) if (marks[row]) rows.push(row);
  return rows;
}

// The rows that are marked, and their callers.
function withCallers(run, marks) {
  const kept = new Uint8Array(run.size);
  for (let row = 0; row < run.size; row++) {
    for (let one = marks[row] ? row : -1; one >= 0 && !kept[one]; one = run.caller[one]) kept[one] = 1;
  }
  return kept;
}
