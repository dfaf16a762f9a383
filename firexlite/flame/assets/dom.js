"use strict";
// Elements and words. Everything on the page is made by `el`, and text only ever enters as text.

const isNothing = (value) => [undefined, null, false, ""].includes(value);

// An element. A function among the attributes listens to the event of that name; `style` is an object of properties.
function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (name === "style") for (const one in value) element.style.setProperty(one, value[one]);
    else if (!isNothing(value)) element.setAttribute(name, value === true ? "" : value);
  }
  const present = children.flat().filter((child) => !isNothing(child));
  element.append(...present.map((child) => (child instanceof Node ? child : visible(String(child)))));
  return element;
}

const button = (words, click, more = {}) => el("button", { type: "button", click, ...more }, words);
const byId = (id) => document.getElementById(id);

// What would be invisible, or turn the text around it, is shown as its code.
const HIDDEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}](?<![\t\n\u200c\u200d])/gu, TERMINAL_COLOURS = /\u001b\[[0-9;]*m/g;
const codeOf = (char) => "\\u" + char.codePointAt(0).toString(16).padStart(4, "0");
const visible = (text) => text.replace(TERMINAL_COLOURS, "").replace(/\r\n/g, "\n").replace(HIDDEN, codeOf);

const two = (n) => String(Math.floor(n)).padStart(2, "0");

function duration(ms) {
  if (ms < 10 && ms % 1) return `${ms.toFixed(1)} ms`;
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 60000) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000), minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min ${two(seconds % 60)} s` : `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
}

// The reader's own date and time, as Swedes write them: 2026-11-23 10:15:03.
function moment(epochSeconds, withDate = true) {
  const at = new Date(epochSeconds * 1000);
  return withDate ? at.toLocaleString("sv") : at.toLocaleTimeString("sv");
}

// A command to be taken along.
const commandLine = (text) => [el("code", {}, text), " ", copyButton(() => text)];

const count = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;

function copyButton(textOf) {
  const copy = async () => {
    const said = await navigator.clipboard?.writeText(textOf()).then(() => "copied", () => null);
    made.textContent = said ?? "not allowed here";
    setTimeout(() => { made.textContent = "copy"; }, 1500);
  };
  const made = button("copy", copy, { class: "copy" });
  return made;
}

// What a reader chose, kept by the browser where it may.
function remember(name, value) { try { localStorage.setItem(`firexlite.${name}`, value); } catch { /* not allowed here */ } }
function recall(name) { try { return localStorage.getItem(`firexlite.${name}`); } catch { return null; } }
