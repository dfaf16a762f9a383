// The run itself: what was asked for, where and by what it ran, its lives, the ways on; and all of it as JSON.

const SCHEMA = "firexlite.flame/1";
// What a task says where its details leave a field out, in the order of the data.
const nothing = (names, value) => Object.fromEntries(names.split(" ").map((name) => [name, value]));
const SAYS_NOTHING = {
  ...nothing("num uuid parent enqueued_by name long_name state", null), chain_depth: 0, plugin: false,
  ...nothing("host started runtime", null), states: [], attempts: [], ...nothing("queue self child_wait backoff asleep down", 0),
  replayed_in: [], args: {}, defaults: {}, ...nothing("result exception traceback cause error_context", null),
  flame_data: {}, external_commands: {}, extra_parents: [], cached_from: null, aside: false, log: null,
  due: null, queue_name: null, retries: 0, revoke_reason: null,
};
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
    const button = el("button", { type: "button", click: () => this.download() }, "Download JSON");
    this.data = el("p", {}, button, el("span", { class: "aside" }, " the same as firexlite flame --json"));
    if (hasAny(run.truncated)) this.refuse();
    return this.data;
  }

  refuse() { this.data.replaceChildren("This file does not hold everything; firexlite flame --json writes all of it."); }

  async download() {
    const tasks = await this.tasks();
    if (!tasks) { this.refuse(); return; }
    const parts = [JSON.stringify({ schema: SCHEMA, ...this.facts }).slice(0, -1), ',"tasks":[\n', ...tasks, "\n]}\n"];
    const address = URL.createObjectURL(new Blob(parts, { type: "application/json" }));
    el("a", { href: address, download: `${this.id}.json` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60000);
  }

  // All tasks, each as JSON; null if something of one is not here.
  async tasks() {
    const texts = [];
    for (const row of this.run.rowAt) {
      const known = await this.run.detailOf(row);
      if (!known || known.log?.truncated) return null;
      const task = { ...SAYS_NOTHING, ...known };
      if (task.state === "succeeded") task.result ??= {};
      if (task.started !== null) task.runtime ??= 0;
      for (const entry of Object.values(task.flame_data)) delete entry.tree;  // made for this page, of its value
      texts.push((texts.length ? ",\n" : "") + JSON.stringify(task));
    }
    return texts;
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
