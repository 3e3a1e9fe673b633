/** Keys: each page says what its keys do, `?` lists them. A key typed into a field is the field's, but for Escape and Ctrl+…. */

import { settle } from "./after_paint.js";
import { signal, useLayoutEffect } from "./preact.js";

/** @typedef {{ keys: string, says: string, act: (event: KeyboardEvent) => void, hidden?: boolean }} Binding */
/** @typedef {{ title: string, bindings: Binding[] }} Scope */

export const scopes = signal(/** @type {Scope[]} */ ([]));

/** "Ctrl+Enter", "ArrowLeft", "Shift+N", "?": how an event is written. @param {KeyboardEvent} event */
export function nameOf(event) {
  const key = event.key === " " ? "Space" : event.key.length === 1 ? event.key.toUpperCase() : event.key;
  const letter = /^[A-Z]$/.test(key) || event.key.length > 1;
  return `${event.ctrlKey || event.metaKey ? "Ctrl+" : ""}${event.altKey ? "Alt+" : ""}${event.shiftKey && letter ? "Shift+" : ""}${key}`;
}

/** @param {EventTarget | null} target */
function takesText(target) {
  if (!(target instanceof HTMLElement)) return false;
  if (target instanceof HTMLInputElement) return !["checkbox", "radio", "button", "range"].includes(target.type);
  return target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement || target.isContentEditable;
}

/** @param {EventTarget | null} target @param {string} name */
function isTheControls(target, name) {
  if (!(target instanceof HTMLElement)) return false;
  if (target.closest('[role="menu"]')) return name !== "Escape";
  const button = target.closest("button, a[href], summary, [role=treeitem]");
  if ((name === "Enter" || name === "Space") && button) return true;
  if (target instanceof HTMLInputElement && target.type === "range" && name.startsWith("Arrow")) return true;
  return name.startsWith("Arrow") && Boolean(target.closest("[role=radiogroup], [role=tablist]"));
}

/** @param {KeyboardEvent} event */
export function onKey(event) {
  if (event.defaultPrevented || event.isComposing) return;
  settle();
  const name = nameOf(event);
  const chord = /^(Ctrl|Alt)\+/.test(name) || name === "Escape";
  if ((takesText(event.target) && !chord) || isTheControls(event.target, name)) return;
  // Text of one's own is undone by the browser, not by the workspace.
  if (takesText(event.target) && ["Ctrl+Z", "Ctrl+Shift+Z", "Ctrl+Y", "Ctrl+A", "Ctrl+ArrowRight"].includes(name)) return;
  for (const scope of [...scopes.value].reverse()) {
    const found = scope.bindings.find((each) => each.keys.split(" ").includes(name));
    if (found) {
      event.preventDefault();
      found.act(event);
      return;
    }
  }
  // Out of a field, so that the page's keys act again.
  if (name === "Escape" && takesText(event.target)) /** @type {HTMLElement} */ (event.target).blur();
}

/** A page's keys, while it is shown. @param {string} title @param {Binding[]} bindings @param {any[]} [inputs] */
export function useKeys(title, bindings, inputs) {
  // Before the page is painted: a key that answers what one sees acts on it.
  useLayoutEffect(() => {
    const scope = { title, bindings };
    scopes.value = [...scopes.value, scope];
    return () => {
      scopes.value = scopes.value.filter((each) => each !== scope);
    };
  }, inputs);
}

const SHOWN = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", Enter: "↵", Backspace: "⌫", Escape: "Esc", Space: "Space" };

/** @param {string} keys */
export function shownKeys(keys) {
  return keys.split(" ").map((one) => one.split("+").map((part) => SHOWN[part] ?? part).join("+"));
}
