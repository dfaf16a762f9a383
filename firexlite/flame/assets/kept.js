// What a reader did to a page that is served, and what its address does not say, is brought back when it is loaded anew.

const KEPT = `firexlite ${location.pathname}`;
const SETTLED_MS = 1000;  // by then a page has drawn what it is going to draw

const kept = {
  before: {},
  askers: {},

  // Have a view say what it wants kept, as JSON, when the page is about to be loaded anew; returns what it said the last time.
  of(name, ask) {
    kept.askers[name] = ask;
    return kept.before[name];
  },

  save() {
    const now = { focus: document.activeElement.id, top: scrollY, drawerTop: byId("drawer").scrollTop };
    for (const [name, ask] of Object.entries(kept.askers)) now[name] = ask();
    try { sessionStorage.setItem(KEPT, JSON.stringify(now)); } catch { /* then the page begins at its top */ }
  },

  // To be called when the views are there; they may go on drawing for a while.
  bringBack() {
    const { focus, top = 0, drawerTop = 0 } = kept.before, drawer = byId("drawer"), until = performance.now() + SETTLED_MS;
    const scroll = () => {
      scrollTo({ top, behavior: "instant" });
      drawer.scrollTop = drawerTop;
      const isThere = Math.abs(scrollY - top) < 2 && Math.abs(drawer.scrollTop - drawerTop) < 2;
      if (!isThere && performance.now() < until) requestAnimationFrame(scroll);
    };
    byId(focus)?.focus({ preventScroll: true });
    if (top || drawerTop) scroll();
  },
};

try {
  kept.before = JSON.parse(sessionStorage.getItem(KEPT)) || {};
  sessionStorage.removeItem(KEPT);
} catch { /* there is no such storage here */ }
