"use strict";
// Only in a page that `firexlite flame --serve` shows while the run goes on: asks for the next report, and shows it
// as soon as the reader's hands are at rest.

const live = {
  REST_MS: 1200,        // without a touch, after which nobody is disturbed
  SELECTED_MS: 15000,   // the same for who has selected text, to copy it perhaps
  AGAIN_MS: 1000,       // until the server is asked once more that did not answer; then twice as long, up to ...
  SELDOM_MS: 30000,
  report: Number(document.currentScript.dataset.report),
  touched: -Infinity,
  isHeld: false,        // a button of the pointer is down

  watchHands() {
    const touch = () => { live.touched = performance.now(); };
    for (const name of ["keydown", "input", "wheel", "touchmove", "selectionchange"]) {
      document.addEventListener(name, touch, { passive: true, capture: true });
    }
    for (const [name, isHeld] of [["pointerdown", true], ["pointerup", false], ["pointercancel", false], ["blur", false]]) {
      addEventListener(name, () => { live.isHeld = isHeld; touch(); }, true);
    }
  },

  isAtRest() {
    const rest = getSelection().isCollapsed ? live.REST_MS : live.SELECTED_MS;
    return !live.isHeld && performance.now() - live.touched > rest;
  },

  async follow() {
    for (let again = live.AGAIN_MS; ;) {
      try {
        const answer = await fetch(`changes?since=${live.report}`, { cache: "no-store" });
        if (!answer.ok) throw new Error(answer.statusText);
        live.tell("");
        again = live.AGAIN_MS;
        if ((await answer.json()).report !== live.report) break;
      } catch {
        live.tell("No longer live: firexlite does not answer.");
        await live.after(again);
        again = Math.min(2 * again, live.SELDOM_MS);
      }
    }
    while (!live.isAtRest()) await live.after(100);
    kept.save();
    location.reload();
  },

  after: (ms) => new Promise((resolve) => { setTimeout(resolve, ms); }),

  // A line at the foot of the window, for as long as there is something to say.
  tell(sentence) {
    byId("live")?.remove();
    if (!sentence) return;
    const line = el("p", { id: "live", class: "notice", role: "status" }, sentence);
    for (const [name, value] of [["position", "fixed"], ["left", "16px"], ["bottom", "0"], ["z-index", "9"]]) {
      line.style.setProperty(name, value);
    }
    document.body.append(line);
  },
};

live.watchHands();
live.follow();
