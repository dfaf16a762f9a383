// The page comes to life: reads its data, joins the views, follows the address and the keys.

const VIEWS = { overview: OverviewView, tree: TreeView, graph: GraphView, failures: FailuresView, table: TableView,
  logs: LogsView, run: RunView };
const SMALL_RUN = 50;   // tasks
// Parts of an address such as #/tree?root=7&q=state:failed&t=1.2-3.4&task=42.
const ADDRESS = ["root", "q", "only", "t", "rows", "by", "task"];

class Page {
  constructor(run) {
    // current: the row that keys and buttons speak of. kept, hits: by row, what the filter leaves and what was found, or null.
    Object.assign(this, { run, current: 0, kept: null, hits: null, address: {} });
    Object.assign(this, { drawer: new Drawer(this, byId("drawer")), search: new Search(this) });
    this.views = new Map(Object.entries(VIEWS).map(([name, View]) =>
      [name, { View, tab: byId(`tab-${name}`), element: byId(`view-${name}`) }]));
    this.takeFailures();
    this.listen();
  }

  // What failed stands above all views in the file, and on paper; else it is the overview's.
  takeFailures() {
    const failures = document.querySelector("section.failures");
    if (!failures) return;
    const take = () => this.views.get("overview").element.prepend(failures);
    addEventListener("beforeprint", () => byId("trouble").before(failures));
    addEventListener("afterprint", take);
    take();
  }

  // --- the address, which says all that is to be seen: Back, links and bookmarks work

  // Change parts of the address; undefined takes a part away.
  go(changes, { replace = false } = {}) {
    const { view, ...address } = { ...this.address, ...changes }, said = ADDRESS.filter((name) => address[name] !== undefined);
    const parts = new URLSearchParams(said.map((name) => [name, address[name]]));
    const hash = `#/${view}${said.length ? "?" : ""}${parts}`;
    if (replace) history.replaceState(null, "", hash);
    else if (hash !== location.hash) history.pushState(null, "", hash);
    this.follow();
  }

  async follow() {
    const [, view, query] = /^#?(?:\/(\w+))?\??(.*)$/.exec(location.hash) ?? [], asked = new URLSearchParams(query);
    const parts = ADDRESS.filter((name) => asked.get(name)).map((name) => [name, asked.get(name)]);
    const shown = this.views.has(view) ? view : this.address.view ?? this.firstView(query);
    this.address = { view: shown, ...Object.fromEntries(parts) };
    this.search.look(this.address.q, Boolean(this.address.only));
    await this.followTask();
    this.show();
  }

  // The tree is the best picture of a run that ended well and fits on a screen, and has what else an address may ask for.
  firstView(query) {
    const { run } = this, isCalm = !run.facts.run.snapshot && !run.failuresBefore[run.size] && run.size <= SMALL_RUN;
    return isCalm || query ? "tree" : "overview";
  }

  async followTask() {
    const { task } = this.address;
    if (task === undefined) return this.drawer.hide();
    const row = await this.rowOf(task);
    if (row < 0) return this.drawer.showMissing(task);
    this.current = row;
    if (this.kept && !this.kept[row]) this.go({ only: undefined }, { replace: true });  // whatever the filter says
    return this.drawer.show(row);
  }

  // The row of a task by its number or uuid; -1 if there is none.
  async rowOf(task) {
    let found = /^\d+$/.test(task) ? this.run.rowOfNum.get(Number(task)) : undefined;
    const uuid = /^[0-9a-f-]{36}$/i.test(task) && `"uuid":"${task.toLowerCase()}"`;
    if (uuid) await this.run.visitLines((row, line) => line.includes(uuid) && (found = row) >= 0);
    return found ?? -1;
  }

  // Draw the view of the address, and make it if it was never seen.
  show() {
    for (const [name, { tab, element, view }] of this.views) {
      const isShown = name === this.address.view;
      if (!isShown && !element.hidden) view?.hide?.();
      element.hidden = !isShown;
      tab.setAttribute("aria-selected", String(isShown));
      tab.tabIndex = isShown ? 0 : -1;
    }
    const { root, run } = this, entry = this.views.get(this.address.view);
    byId("scope").hidden = root < 0;
    if (root >= 0) byId("scope").textContent = `only below #${run.num[root]} ${visible(run.nameOf(root))} \u00d7`;
    entry.view ??= new entry.View(this, entry.element);
    entry.view.draw();
    this.search.tell();
  }

  // The row to which the views are narrowed, -1 for the whole run.
  get root() { return this.run.rowOfNum.get(Number(this.address.root)) ?? -1; }

  get view() { return this.views.get(this.address.view)?.view; }

  open(row) { this.go({ task: this.run.num[row] }); }

  // Make a row the current one; an open drawer follows it.
  select(row) {
    this.current = row;
    if (this.address.task === undefined) this.show();
    else this.go({ task: this.run.num[row] }, { replace: true });
  }

  close() { this.go({ task: undefined }); }

  // --- keys, and buttons that stand for one

  listen() {
    addEventListener("popstate", () => this.follow());
    addEventListener("click", (event) => {
      const { dataset, hash } = event.target.closest?.("[data-key], a[href^='#task=']") ?? {};
      if (hash) event.preventDefault();
      if (hash) this.go({ task: hash.slice("#task=".length) });
      else if (dataset) this.act(dataset.key);
    });
    addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, textarea, select")) return;
      if (this.act(event.key)) event.preventDefault();
    });
    byId("tabs").addEventListener("keydown", (event) => this.walkTabs(event));
  }

  // Do what a key stands for; returns whether it does.
  act(key) {
    const act = this.view?.keys?.[key] ?? {
      "/": () => this.search.focus(),
      Escape: () => (this.address.task === undefined ? this.search.clear() : this.close()),
      f: () => this.nextFailure(), n: () => this.search.step(1), N: () => this.search.step(-1),
      s: () => this.go({ root: this.root < 0 ? this.run.num[this.current] : undefined }),
      x: () => this.search.toggleFailures(), t: toggleTheme, "?": () => byId("help").toggleAttribute("hidden"),
    }[key];
    const view = Object.keys(VIEWS)[key - 1];
    if (act) act();
    else if (view) this.go({ view });
    return Boolean(act || view);
  }

  walkTabs(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key], names = Object.keys(VIEWS);
    if (!step) return;
    const view = names.at((names.indexOf(this.address.view) + step) % names.length);
    this.go({ view });
    this.views.get(view).tab.focus();
    event.preventDefault();
  }

  nextFailure() {
    const { run, current } = this, failures = rowsOf(run.num.map((_, row) => run.hasFailed(row)));
    const next = failures.find((row) => row > current) ?? failures[0];
    if (failures.length) this.go({ task: run.num[next] }, { replace: this.address.task !== undefined });
  }
}

// The server-written top of the page gets what only a script can do: local times, copy buttons.
function reviveSummary() {
  for (const time of document.querySelectorAll("time[datetime]")) {
    time.title = time.textContent;
    time.textContent = moment(Date.parse(time.dateTime) / 1000);
  }
  for (const dead of document.querySelectorAll("button.copy[hidden]")) {
    const code = dead.parentElement.querySelector("code");
    dead.replaceWith(copyButton(() => code.textContent));
  }
}

function toggleTheme() {
  const { dataset } = document.documentElement;
  const isDark = dataset.theme ? dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  dataset.theme = isDark ? "light" : "dark";
  remember("theme", dataset.theme);
}

function tellTrouble(sentence) {
  byId("trouble").textContent = sentence;
  byId("trouble").hidden = false;
}

const tellReady = () => { document.documentElement.dataset.readyMs = String(Math.round(performance.now())); };

async function start() {
  document.documentElement.dataset.theme = recall("theme") ?? "";
  reviveSummary();
  const run = new Run(JSON.parse(byId("fx-run").textContent), JSON.parse(await unpack("fx-index")));
  byId("report").hidden = false;
  await new Page(run).follow();
  kept.bringBack();
  requestAnimationFrame(() => requestAnimationFrame(tellReady));
  await whole;
  if (!byId("fx-end")) tellTrouble("This file is not complete: it ends in the middle. Export the run again.");
}

start().catch((error) => {
  tellTrouble(`This page cannot show its tasks (${error.message}). Above is the summary.`);
  tellReady();
  throw error;
});
