// Finding tasks: by a part of the name or by #number, and by whether they failed.

class Search {
  constructor(run, tree, show) {
    Object.assign(this, { run, tree, show, hits: [] });
    this.input = byId("search");
    this.input.addEventListener("input", () => this.look());
    this.input.addEventListener("keydown", (event) => this.press(event));
    byId("next").addEventListener("click", () => this.go(1));
    byId("previous").addEventListener("click", () => this.go(-1));
    this.failedOnly = byId("failed-only");
    this.failedOnly.addEventListener("change", () => this.filter());
    this.tell();
  }

  look() {
    const wanted = this.input.value.trim().toLowerCase();
    const { run } = this;
    this.hits = [];
    this.tree.isHit = wanted ? new Uint8Array(run.size) : null;
    const nameMatches = run.names.map((name) => name.toLowerCase().includes(wanted));
    const number = /^#?\d+$/.test(wanted) ? Number(wanted.replace("#", "")) : null;
    for (let row = 0; wanted && row < run.size; row++) {
      if (!nameMatches[run.name[row]] && run.num[row] !== number) continue;
      if (this.tree.kept && !this.tree.kept[row]) continue;
      this.tree.isHit[row] = 1;
      this.hits.push(row);
    }
    this.tell();
    this.tree.redraw();
  }

  // To the next hit after the current row, or before it; round the end.
  go(direction) {
    if (!this.hits.length) return;
    const { current } = this.tree;
    const inTurn = direction > 0 ? this.hits : [...this.hits].reverse();
    this.show(inTurn.find((row) => (row - current) * direction > 0) ?? inTurn[0]);
    this.tell();
  }

  tell() {
    const place = this.hits.indexOf(this.tree.current);
    const found = place < 0 ? this.hits.length : `${place + 1} of ${this.hits.length}`;
    byId("hits").textContent = this.input.value.trim() ? (this.hits.length ? found : "none") : "";
    for (const id of ["next", "previous"]) byId(id).disabled = !this.hits.length;
  }

  press(event) {
    if (event.key === "Enter") this.go(event.shiftKey ? -1 : 1);
    if (event.key === "ArrowDown") this.tree.element.focus();
    if (event.key === "Escape") { this.clear(); this.tree.element.focus(); }
    event.stopPropagation();
  }

  clear() {
    this.input.value = "";
    this.look();
  }

  filter() {
    this.tree.keep(this.failedOnly.checked ? (row) => this.run.hasFailed(row) : null);
    byId("none").hidden = this.tree.visible.length > 0;
    this.look();
  }

  // A task that is asked for by its address is shown, whatever the filter says.
  stopHiding(row) {
    if (!this.tree.kept || this.tree.kept[row]) return;
    this.failedOnly.checked = false;
    this.filter();
  }
}
