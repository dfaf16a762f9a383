// The page comes to life: reads its data, joins the views, follows the address and the keys.

function start() {
  const run = new Run(JSON.parse(byId("fx-run").textContent), JSON.parse(byId("fx-index").textContent));
  byId("tasks").hidden = false;

  const timeline = new Timeline(run, byId("ticks"), byId("lines"), () => tree.redraw());
  const tree = new Tree(run, byId("tree"), timeline, openTask);
  const drawer = new Drawer(run, byId("drawer"), closeTask);
  const search = new Search(run, tree, (row) => (drawer.element.hidden ? tree.select(row) : replaceTask(row)));
  timeline.drawAxis();

  // The address says which task is open, so that Back, links and bookmarks work: `#task=17`.
  function openTask(row) {
    const address = `#task=${run.num[row]}`;
    if (location.hash === address) follow();
    else location.hash = address;
  }

  function replaceTask(row) {
    history.replaceState(null, "", `#task=${run.num[row]}`);
    follow();
  }

  function closeTask() {
    if (location.hash) history.pushState(null, "", "#");
    follow();
    tree.element.focus({ preventScroll: true });
  }

  function follow() {
    const asked = /^#task=(.+)$/.exec(location.hash);
    if (!asked) { drawer.hide(); timeline.drawAxis(); tree.redraw(); return; }
    const row = run.rowOfNum.get(Number(asked[1]));
    if (row === undefined) { drawer.showMissing(asked[1]); return; }
    drawer.show(row);
    search.stopHiding(row);
    timeline.drawAxis();  // the drawer has taken some of its width
    tree.select(row);
    search.tell();
  }

  addEventListener("hashchange", follow);
  addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#task="]');
    if (link && link.getAttribute("href") === location.hash) follow();  // no hashchange comes of this
  });
  tree.element.addEventListener("step", (event) => { if (!drawer.element.hidden) replaceTask(event.detail); });
  byId("expand").addEventListener("click", () => tree.foldAll(false));
  byId("collapse").addEventListener("click", () => tree.foldAll(true));

  const keys = {
    "/": () => { search.input.focus(); search.input.select(); },
    Escape: () => (drawer.element.hidden ? search.clear() : closeTask()),
    e: () => tree.foldAll(true),
    E: () => tree.foldAll(false),
    f: () => nextFailure(),
    x: () => search.failedOnly.click(),
    0: () => timeline.show(0, run.span),
  };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target === search.input || !(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  });

  function nextFailure() {
    const first = run.failuresBefore[run.size] === 0 ? -1 : 1;
    for (let step = 1; first > 0 && step <= run.size; step++) {
      const row = (tree.current + step) % run.size;
      if (run.hasFailed(row)) return drawer.element.hidden ? openTask(row) : replaceTask(row);
    }
  }

  reviveSummary();
  const begin = () => { checkEnd(); follow(); kept.bringBack(); };
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", begin);
  else begin();
  requestAnimationFrame(() => requestAnimationFrame(() => {
    document.documentElement.dataset.readyMs = String(Math.round(performance.now()));
  }));
}

// The server-written top of the page gets what only a script can do: local times, copy buttons.
function reviveSummary() {
  for (const time of document.querySelectorAll("time[datetime]")) {
    time.title = time.textContent;
    time.textContent = moment(Date.parse(time.dateTime) / 1000);
  }
  for (const button of document.querySelectorAll("button.copy[hidden]")) {
    button.hidden = false;
    button.addEventListener("click", () => copy(button, button.parentElement.querySelector("code").textContent));
  }
}

function checkEnd() {
  if (!byId("fx-end")) tellTrouble("This file is not complete: it ends in the middle. Export the run again.");
}

function tellTrouble(sentence) {
  byId("trouble").textContent = sentence;
  byId("trouble").hidden = false;
}

try {
  start();
} catch (error) {
  tellTrouble(`This page cannot show its tasks (${error.message}). Above is the summary.`);
  throw error;
}
