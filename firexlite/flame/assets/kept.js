// What a reader has done to a page that is served is brought back when it has been loaded anew, with a newer report.
// In a file that was opened from a disk nothing is ever kept, so nothing is brought back.

const KEPT = `firexlite ${location.pathname}`;
const SETTLED_MS = 3000;  // by then a page has drawn what it is going to draw

class Kept {
  constructor() {
    this.askers = {};
    this.before = {};
    try {
      this.before = JSON.parse(sessionStorage.getItem(KEPT)) || {};
      sessionStorage.removeItem(KEPT);
    } catch { /* there is no such storage here */ }
  }

  // Have a view say what it wants kept, as JSON, when the page is about to be loaded anew; returns what it said the last time.
  of(name, ask) {
    this.askers[name] = ask;
    return this.before[name];
  }

  // Keep what views ask for, how far things are scrolled, and what is written in the fields.
  save() {
    const kept = { scrolled: {}, written: {}, focus: document.activeElement?.id };
    for (const [name, ask] of Object.entries(this.askers)) kept[name] = ask();
    for (const element of document.querySelectorAll("[id]")) {
      if (element.scrollTop || element.scrollLeft) kept.scrolled[element.id] = [element.scrollLeft, element.scrollTop];
      if (element.matches("input")) kept.written[element.id] = [element.value, element.checked, element.selectionStart];
    }
    kept.scrolled[""] = [scrollX, scrollY];
    try { sessionStorage.setItem(KEPT, JSON.stringify(kept)); } catch { /* then the page begins at its top */ }
  }

  // To be called when the views are there; they may go on drawing for a while.
  bringBack() {
    const { scrolled, written, focus } = this.before;
    for (const [id, [value, checked, caret]] of Object.entries(written || {})) {
      const field = byId(id);
      if (!field || (field.value === value && field.checked === checked)) continue;
      Object.assign(field, { value, checked });
      field.dispatchEvent(new Event(field.type === "checkbox" ? "change" : "input", { bubbles: true }));
      if (id === focus && caret !== null) field.setSelectionRange(caret, caret);
    }
    if (focus) byId(focus)?.focus({ preventScroll: true });
    if (scrolled) this.scrollBack(scrolled, performance.now() + SETTLED_MS);
  }

  // A place may not be there yet. Whoever scrolls meanwhile is left alone.
  scrollBack(scrolled, until) {
    const stop = () => { until = 0; };
    for (const touch of ["wheel", "touchstart", "pointerdown", "keydown"]) addEventListener(touch, stop, { once: true, passive: true });
    const scroll = () => {
      let isThere = true;
      for (const [id, [left, top]] of Object.entries(scrolled)) {
        const element = id ? byId(id) : document.scrollingElement;
        if (!element) { isThere = false; continue; }
        element.scrollTo({ left, top, behavior: "instant" });
        if (Math.abs(element.scrollTop - top) >= 2) isThere = false;
      }
      if (!isThere && performance.now() < until) requestAnimationFrame(scroll);
    };
    scroll();
  }
}

const kept = new Kept();
