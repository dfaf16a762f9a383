"use strict";
// Elements and words. Everything on the page is made by `el`, and text only ever enters as text.

// An element; a function among the attributes listens to the event of that name.
function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value);
  }
  const present = children.flat().filter((child) => child !== null && child !== undefined && child !== false && child !== "");
  element.append(...present.map((child) => (child instanceof Node ? child : visible(String(child)))));
  return element;
}

const byId = (id) => document.getElementById(id);

// What would be invisible, or turn the text around it, is shown as its code.
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
const TERMINAL_COLOURS = /\u001b\[[0-9;]*m/g;

function visible(text) {
  return text.replace(TERMINAL_COLOURS, "").replace(/\r\n/g, "\n")
    .replace(HIDDEN, (hidden) => "\\u" + hidden.charCodeAt(0).toString(16).padStart(4, "0"));
}

function duration(ms) {
  if (ms < 10 && ms % 1) return `${ms.toFixed(1)} ms`;
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 60000) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000), minutes = Math.floor(seconds / 60);
  const two = (n) => String(n).padStart(2, "0");
  if (minutes < 60) return `${minutes} min ${two(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
}

// The reader's own date and time; seconds of which only the time is wanted need no date.
function moment(epochSeconds, withDate = true) {
  const at = new Date(epochSeconds * 1000);
  const two = (n) => String(n).padStart(2, "0");
  const time = [at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(":");
  return withDate ? `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${time}` : time;
}

const count = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;

function copyButton(textOf) {
  return el("button", { type: "button", class: "copy", click: (event) => copy(event.currentTarget, textOf()) }, "copy");
}

async function copy(button, text) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "copied";
  } catch {
    button.textContent = "not allowed here";
  }
  setTimeout(() => { button.textContent = "copy"; }, 1500);
}

// What a reader chose, kept by the browser where it may.
function remember(name, value) { try { localStorage.setItem(`firexlite.${name}`, value); } catch { /* not allowed here */ } }
function recall(name) { try { return localStorage.getItem(`firexlite.${name}`); } catch { return null; } }
