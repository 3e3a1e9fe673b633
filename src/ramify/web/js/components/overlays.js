/** What lies over the page: dialogs, messages that pass, the list of keys. */

import { html, useEffect, useRef, useState } from "../preact.js";
import { dismiss, toasts } from "../state.js";
import { scopes, shownKeys } from "../keyboard.js";
import { signal } from "../preact.js";
import { Button } from "./controls.js";

/** @param {{ title: string, onClose: () => void, wide?: boolean, children: any, footer?: any }} props */
export function Dialog({ title, onClose, wide = false, children, footer }) {
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    const before = /** @type {HTMLElement | null} */ (document.activeElement);
    const first = box.current?.querySelector("[autofocus]") ?? box.current?.querySelector(".body input, .body textarea, .body select, .body button, footer .primary, button");
    /** @type {HTMLElement | null | undefined} */ (first)?.focus();
    return () => before?.focus?.();
  }, []);
  const onKeyDown = (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Escape" && !event.defaultPrevented) {
      event.preventDefault();
      event.stopPropagation();
      onClose();
    }
    if (event.key !== "Tab" || !box.current) return;
    const all = /** @type {HTMLElement[]} */ ([...box.current.querySelectorAll("a[href], button, input, textarea, select, [tabindex='0']")].filter((each) => !each.hasAttribute("disabled")));
    const edge = event.shiftKey ? all[0] : all.at(-1);
    if (document.activeElement === edge) {
      event.preventDefault();
      (event.shiftKey ? all.at(-1) : all[0])?.focus();
    }
  };
  return html`<div class="veil" onPointerDown=${(/** @type {any} */ event) => event.target === event.currentTarget && onClose()}>
    <section ref=${box} class=${`dialog fade ${wide ? "wide" : ""}`} role="dialog" aria-modal="true" aria-label=${title} onKeyDown=${onKeyDown}>
      <header><h2 class="grow">${title}</h2><${Button} icon="close" kind="quiet" label="Close" onClick=${onClose} /></header>
      <div class="body stack">${children}</div>
      ${footer && html`<footer>${footer}</footer>`}
    </section>
  </div>`;
}

export function Toasts() {
  return html`<div class="toasts" role="status" aria-live="polite">
    ${toasts.value.map((each) => html`<div class=${`toast fade ${each.error ? "error" : ""}`} key=${each.key}>
      <span class="grow">${each.text}</span>
      ${each.action && html`<${Button} small onClick=${() => { dismiss(each.key); each.act?.(); }}>${each.action}<//>`}
      <${Button} small icon="close" kind="quiet" label="Dismiss" onClick=${() => dismiss(each.key)} />
    </div>`)}
  </div>`;
}

export const helpOpen = signal(false);

export function KeyHelp() {
  if (!helpOpen.value) return null;
  const shown = scopes.value.filter((each) => each.bindings.some((one) => !one.hidden));
  return html`<${Dialog} title="Keys" wide onClose=${() => (helpOpen.value = false)}>
    <div class="key-columns">${[...shown].reverse().map((scope) => html`<section key=${scope.title}>
      <h3>${scope.title}</h3>
      <table class="plain"><tbody>${scope.bindings.filter((each) => !each.hidden).map((each) => html`<tr key=${each.keys}>
        <td>${shownKeys(each.keys).map((key, at) => html`${at ? " " : ""}<kbd>${key}</kbd>`)}</td><td>${each.says}</td></tr>`)}</tbody></table>
    </section>`)}</div>
  <//>`;
}

const question = signal(/** @type {{ title: string, text: string, label?: string, value: string, button: string, danger?: boolean, answer: (value: string | null) => void } | null} */ (null));

/** Ask for one line; null where it was closed. @param {{ title: string, text?: string, label: string, value?: string, button: string }} options @returns {Promise<string | null>} */
export function askFor({ title, text = "", label, value = "", button }) {
  return new Promise((answer) => (question.value = { title, text, label, value, button, answer }));
}

/** @param {{ title: string, text: string, button: string, danger?: boolean }} options @returns {Promise<boolean>} */
export function confirm({ title, text, button, danger = false }) {
  return new Promise((answer) => (question.value = { title, text, value: "yes", button, danger, answer: (value) => answer(value !== null) }));
}

export function Question() {
  const asked = question.value;
  const [value, setValue] = useState("");
  useEffect(() => setValue(asked?.value ?? ""), [asked]);
  if (!asked) return null;
  const end = (/** @type {string | null} */ answer) => {
    question.value = null;
    asked.answer(answer);
  };
  return html`<${Dialog} title=${asked.title} onClose=${() => end(null)} footer=${html`<${Button} onClick=${() => end(null)}>Cancel<//>
      <${Button} kind=${asked.danger ? "danger" : "primary"} onClick=${() => end(value)}>${asked.button}<//>`}>
    ${asked.text && html`<p class="muted">${asked.text}</p>`}
    ${asked.label && html`<div class="field"><label for="question">${asked.label}</label><input id="question" class="input" autofocus value=${value}
      onInput=${(/** @type {any} */ event) => setValue(event.currentTarget.value)} onKeyDown=${(/** @type {any} */ event) => event.key === "Enter" && end(event.currentTarget.value)} /></div>`}
  <//>`;
}
