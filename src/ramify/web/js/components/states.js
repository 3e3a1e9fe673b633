/** What stands where there is nothing yet, where something failed, and where something is on its way. */

import { html, signal, useEffect, useState } from "../preact.js";
import { sayError } from "../state.js";
import { Button } from "./controls.js";
import { Icon } from "./icon.js";

/** @param {{ title: string, children?: any, action?: any }} props */
export function Empty({ title, children, action }) {
  return html`<div class="empty fade">
    <svg class="art" width="96" height="72" viewBox="0 0 96 72" fill="none" stroke="currentColor" stroke-width="2.5" stroke-linecap="round" aria-hidden="true">
      <path d="M48 68V34" /><path d="M48 52c0-14 22-10 22-30" /><path d="M48 42c0-12-18-9-18-26" /><circle cx="70" cy="16" r="5" /><circle cx="30" cy="10" r="5" /><circle cx="48" cy="28" r="5" stroke-dasharray="3 5" />
    </svg>
    <h2>${title}</h2>${children && html`<p>${children}</p>`}${action}
  </div>`;
}

/** @param {{ error: unknown, again?: () => void }} props */
export function Failure({ error, again }) {
  return html`<div class="notice error" role="alert"><${Icon} name="warn" /><div class="grow stack tight"><strong>That did not work</strong>
    <span>${error instanceof Error ? error.message : String(error)}</span></div>${again && html`<${Button} small onClick=${again}>Try again<//>`}</div>`;
}

export function Loading({ lines = 4 }) {
  return html`<div class="stack" role="status" aria-label="Loading">${Array.from({ length: lines }, (_, i) => html`<div class="skeleton" key=${i} style=${{ width: `${92 - i * 13}%`, height: "18px" }}></div>`)}</div>`;
}

/**
 * Something from the server: loads when an input changes, keeps the old value meanwhile, and never shows an answer that was overtaken.
 * @template X @param {() => Promise<X>} load @param {any[]} inputs
 */
export function useLoaded(load, inputs) {
  const [state] = useState(() => signal(/** @type {{ value: X | null, error: unknown, loading: boolean }} */ ({ value: null, error: null, loading: true })));
  const [round] = useState(() => ({ now: 0 }));
  const again = async () => {
    const mine = ++round.now;
    state.value = { ...state.peek(), loading: true };
    try {
      const value = await load();
      if (mine === round.now) state.value = { value, error: null, loading: false };
    } catch (error) {
      if (mine === round.now) state.value = { value: state.peek().value, error, loading: false };
    }
  };
  useEffect(() => {
    again();
  }, inputs);
  return { ...state.value, again, set: (/** @type {X} */ value) => (state.value = { value, error: null, loading: false }) };
}

/**
 * A list in pages: the first anew when an input changes, further ones behind it when they are asked for.
 * @template X @param {(after: string | null) => Promise<{ items: X[], next: string | null }>} load @param {any[]} inputs
 */
export function usePages(load, inputs) {
  const first = useLoaded(() => load(null), inputs);
  const [more, setMore] = useState({ of: /** @type {any} */ (null), items: /** @type {X[]} */ ([]), next: /** @type {string | null} */ (null) });
  const here = more.of === first.value ? more : { of: first.value, items: [], next: first.value?.next ?? null };
  const further = () => load(here.next).then((page) => setMore({ of: here.of, items: [...here.items, ...page.items], next: page.next }), sayError);
  return { ...first, items: first.value ? [...first.value.items, ...here.items] : null, next: here.next, further };
}
