// The run itself, which the file tells without script; and all of its data, to take along.

class RunView {
  constructor(page, element) {
    this.run = page.run;
    byId("views").append(element);
    this.button = byId("download");
    if (!this.button) return;  // for the data are not whole
    this.button.hidden = false;
    this.button.addEventListener("click", () => this.download());
  }

  draw() { /* nothing of it changes */ }

  async download() {
    const { run, button } = this, { head, nothing } = JSON.parse(button.dataset.given), tasks = [];
    for (const row of run.rowAt) {
      const known = await run.detailOf(row);
      if (!known || known.log?.truncated) { button.replaceWith("This file does not hold everything; all of it gives"); return; }
      const task = { ...nothing, ...known };
      if (task.state === "succeeded") task.result ??= {};
      if (task.started !== null) task.runtime ??= 0;
      for (const entry of Object.values(task.flame_data)) delete entry.tree;  // made for this page, of its value
      tasks.push(JSON.stringify(task));
    }
    const start = JSON.stringify({ ...head, ...run.facts }).slice(0, -1);
    const data = new Blob([start, ',"tasks":[\n', tasks.join(",\n"), "\n]}\n"], { type: "application/json" });
    el("a", { href: URL.createObjectURL(data), download: `${run.facts.run.firex_id}.json` }).click();
  }
}
