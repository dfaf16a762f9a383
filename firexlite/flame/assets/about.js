// The run itself: what was asked for, where and by what it ran, its lives, the ways on; and all of it as JSON.

const LIFE_ENDS = { clean: "by itself", crash: "killed", open: "goes on" };

class RunView {
  constructor(page, element) {
    const { run } = page.run.facts, { options = {} } = run;
    Object.assign(this, { run: page.run, facts: page.run.facts, id: run.firex_id ?? run.id ?? "ID" });
    element.append(el("div", { class: "about" }, [
      section("Run", drawFacts(this.summary(run, options))),
      section("Inputs", hasAny(run.inputs) && drawValues(run.inputs)),
      section("Command line", run.argv?.length && drawCommand(["firexlite", ...run.argv.slice(1).map(quoted)].join(" "))),
      section("Ways on", [run.resume, `firexlite logs ${this.id}`, `firexlite flame ${this.id} --json`].filter(Boolean).map(drawCommand)),
      section("Since the last good run", hasAny(run.since_last_good) && drawValues(run.since_last_good)),
      section("Incarnations", run.incarnations?.length && this.drawLives(run.incarnations)),
      section("Plugins", options.plugins?.length && this.drawFiles(options.plugins)),
      section("Modules that they import", options.helpers?.length && this.drawFiles(options.helpers)),
      section("What is missing here", hasAny(run.truncated) && drawValues(run.truncated)),
      section("Data", this.drawDownload(run)),
    ].filter(Boolean)));
  }

  draw() { /* nothing of it changes */ }

  summary(run, { workers, queues, soft_time_limit: limit, cwd }) {
    const { generated_at: made, firexlite } = this.facts;
    return {
      "FireX ID": el("code", {}, this.id), chain: run.chain, state: el("span", { class: `state ${run.state}` }, run.state),
      started: run.started && moment(run.started), ended: run.ended && moment(run.ended),
      took: run.ended && duration((run.ended - run.started) * 1000), tasks: this.run.size.toLocaleString("en"),
      user: run.user, host: run.host, directory: cwd, workers, queues: hasAny(queues) && drawValue(queues),
      "soft time limit": limit && duration(limit * 1000), python: run.python, firexlite,
      redacted: run.redacted ? `${count(run.redacted, "value")} that looked like secrets` : "",
      "this report": made && `made at ${moment(made)}` + (run.snapshot ? ", before the run had ended" : ""),
    };
  }

  drawLives(lives) {
    const when = (at) => typeof at === "number" && moment(at);
    return table(["", "process", "host", "started", "ended", "took", "how it ended"], lives.map(({ n, pid, host, started, ended, end }) => [
      n, pid, host, when(started), when(ended), when(started) && when(ended) && duration((ended - started) * 1000), LIFE_ENDS[end] ?? end]));
  }

  drawFiles(files) {
    return table(["file", "digest"], files.map(({ path, digest }) => [el("code", {}, path), el("code", {}, digest)]));
  }

  drawDownload(run) {
    if (hasAny(run.truncated)) return el("p", {}, "This file does not hold everything; firexlite flame --json writes all of it.");
    return el("p", {}, el("button", { type: "button", click: () => this.download() }, "Download JSON"),
      el("span", { class: "aside" }, " the same as firexlite flame --json"));
  }

  async download() {
    const address = URL.createObjectURL(new Blob(await this.json(), { type: "application/json" }));
    el("a", { href: address, download: `${this.id}.json` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60000);
  }

  // Pieces of one JSON object. Of tasks the page leaves out what says nothing, and adds trees of markup.
  async json() {
    const { run, facts } = this, tasks = [];
    await whole;
    for (let chunk = 0; chunk < run.chunks.length; chunk++) {
      for (const line of await run.lines(chunk)) {
        const task = { ...run.defaults, ...JSON.parse(line) };
        for (const entry of Object.values(task.flame_data)) delete entry.tree;
        tasks.push((tasks.length ? ",\n" : "") + JSON.stringify(task));
      }
    }
    return [JSON.stringify(facts).slice(0, -1), ',"tasks":[\n', ...tasks, "\n]}\n"];
  }
}

const hasAny = (values) => Boolean(values && Object.keys(values).length);

// Names and what they stand for, without those that stand for nothing.
function drawFacts(facts) {
  const present = Object.entries(facts).filter(([, value]) => ![undefined, null, false, ""].includes(value));
  return present.length ? el("table", { class: "values" }, el("tbody", {}, present.map(([name, value]) =>
    el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, value))))) : null;
}

const drawCommand = (command) => el("p", {}, el("code", {}, command), " ", copyButton(() => command));

// A word as a shell takes it for itself.
const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${String(word).replaceAll("'", "'\\''")}'`);
