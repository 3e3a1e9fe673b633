/** Buttons, choices, fields and menus. A button that cannot act says why, instead of being silent. */

import { html, useEffect, useLayoutEffect, useRef, useState } from "../preact.js";
import { say } from "../state.js";
import { shownKeys } from "../keyboard.js";
import { Icon } from "./icon.js";

/**
 * @param {{ icon?: any, kind?: string, label?: string, keys?: string, why?: string | null, busy?: boolean, pressed?: boolean,
 *   small?: boolean, onClick?: (event: MouseEvent) => void, children?: any, id?: string, expanded?: boolean, popup?: string, class?: string, autofocus?: boolean }} props
 *   label: for a button with only an icon; why: the reason why it cannot be used now
 */
export function Button({ icon, kind = "", label, keys, why = null, busy = false, pressed, small = false, onClick, children, id, expanded, popup, class: extra = "", autofocus }) {
  const press = (/** @type {MouseEvent} */ event) => {
    if (why) say(why);
    else if (!busy) onClick?.(event);
  };
  const only = !children;
  const title = why ?? (label && keys ? `${label} (${shownKeys(keys)[0]})` : label);
  return html`<button type="button" id=${id} class=${`button ${kind} ${only ? "icon" : ""} ${small ? "small" : ""} ${extra}`} aria-disabled=${why ? "true" : undefined}
    aria-pressed=${pressed === undefined ? undefined : String(pressed)} aria-label=${only ? label : undefined} aria-expanded=${expanded === undefined ? undefined : String(expanded)}
    aria-haspopup=${popup} title=${title} onClick=${press} autofocus=${autofocus}>
    ${busy ? html`<span class="spinner"></span>` : icon && html`<${Icon} name=${icon} />`}${children}${!only && keys ? html`<kbd>${shownKeys(keys)[0]}</kbd>` : null}
  </button>`;
}

/** One of a few. @param {{ label: string, value: any, options: { value: any, name: string, why?: string | null }[], onChange: (value: any) => void }} props */
export function Segments({ label, value, options, onChange }) {
  const step = (/** @type {KeyboardEvent} */ event) => {
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const at = options.findIndex((each) => each.value === value);
    const next = options[(at + by + options.length) % options.length];
    onChange(next.value);
    const buttons = /** @type {HTMLElement} */ (event.currentTarget).querySelectorAll("button");
    /** @type {HTMLElement} */ (buttons[options.indexOf(next)]).focus();
  };
  return html`<div class="segments" role="radiogroup" aria-label=${label} onKeyDown=${step}>
    ${options.map((each) => html`<button type="button" role="radio" key=${each.value} aria-checked=${String(each.value === value)} tabindex=${each.value === value ? 0 : -1}
      title=${each.why} onClick=${() => (each.why ? say(each.why) : onChange(each.value))}>${each.name}</button>`)}
  </div>`;
}

let fieldCount = 0;

/** A labelled field around one control. @param {{ label: string, hint?: any, wrong?: string | null, children: (id: string) => any }} props */
export function Field({ label, hint, wrong, children }) {
  const [id] = useState(() => `field-${++fieldCount}`);
  return html`<div class="field"><label for=${id}>${label}</label>${children(id)}
    ${wrong ? html`<span class="wrong" role="alert">${wrong}</span>` : hint && html`<span class="hint">${hint}</span>`}</div>`;
}

/** @param {{ label: string, value: any, options: { value: any, name: string, why?: string | null }[], onChange: (value: string) => void, hint?: any }} props */
export function Select({ label, value, options, onChange, hint }) {
  return html`<${Field} label=${label} hint=${hint}>${(/** @type {string} */ id) => html`<select id=${id} class="select" value=${value}
    onChange=${(/** @type {any} */ event) => onChange(event.currentTarget.value)}>
    ${options.map((each) => html`<option key=${each.value} value=${each.value} disabled=${Boolean(each.why)} title=${each.why}>${each.name}${each.why ? ` (${each.why})` : ""}</option>`)}</select>`}<//>`;
}

/** @param {{ checked: boolean, onChange: (on: boolean) => void, children: any }} props */
export function Check({ checked, onChange, children }) {
  return html`<label class="check"><input type="checkbox" checked=${checked} onChange=${(/** @type {any} */ event) => onChange(event.currentTarget.checked)} />${children}</label>`;
}

/** A text that grows with what is in it. @param {any} props */
export function TextArea({ value, onInput, rows = 3, ...rest }) {
  const box = useRef(/** @type {HTMLTextAreaElement | null} */ (null));
  useEffect(() => {
    if (rest.autofocus) box.current?.focus();
  }, []);
  useLayoutEffect(() => {
    const it = box.current;
    if (!it) return;
    it.style.height = "auto";
    it.style.height = `${Math.min(it.scrollHeight + 2, window.innerHeight * 0.55)}px`;
  }, [value]);
  return html`<textarea ref=${box} class="textarea" rows=${rows} value=${value} onInput=${(/** @type {any} */ event) => onInput(event.currentTarget.value)} ...${rest}></textarea>`;
}

/**
 * A button that opens a list of actions.
 * @param {{ label: string, icon?: any, kind?: string, text?: any, left?: boolean, small?: boolean, items: ({ name: any, act?: () => void, icon?: any, danger?: boolean, why?: string | null, keys?: string, checked?: boolean } | null | false | undefined)[] }} props
 *   null draws a line
 */
export function Menu({ label, icon, kind = "quiet", text, left = false, small = false, items }) {
  const [open, setOpen] = useState(false);
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const close = (back = true) => {
    setOpen(false);
    if (back) /** @type {HTMLElement | null} */ (box.current?.querySelector("button"))?.focus();
  };
  useEffect(() => {
    if (!open) return;
    const outside = (/** @type {Event} */ event) => {
      if (!box.current?.contains(/** @type {Node} */ (event.target))) setOpen(false);
    };
    document.addEventListener("pointerdown", outside);
    /** @type {HTMLElement | null | undefined} */ (box.current?.querySelector('[role^="menuitem"][aria-checked="true"], [role^="menuitem"]'))?.focus();
    return () => document.removeEventListener("pointerdown", outside);
  }, [open]);
  const move = (/** @type {KeyboardEvent} */ event) => {
    const all = /** @type {HTMLElement[]} */ ([...(box.current?.querySelectorAll('[role^="menuitem"]') ?? [])]);
    const at = all.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (event.key === "Escape" && open) {
      event.preventDefault();
      close();
    } else if (event.key === "Tab") setOpen(false);
    else if (to !== undefined && open) {
      event.preventDefault();
      all[(to + all.length) % all.length]?.focus();
    } else if (event.key.length === 1 && open && /\S/.test(event.key)) {
      const found = [...all.slice(at + 1), ...all].find((each) => each.textContent?.trim().toLowerCase().startsWith(event.key.toLowerCase()));
      if (found) event.preventDefault();
      found?.focus();
    }
  };
  const role = items.some((each) => each && each.checked !== undefined) ? "menuitemradio" : "menuitem";
  return html`<div class="menu-anchor" ref=${box} onKeyDown=${move}>
    <${Button} icon=${icon} kind=${kind} label=${label} small=${small} expanded=${open} popup="menu" onClick=${() => setOpen(!open)}>${text}<//>
    ${open && html`<div class=${`menu ${left ? "left" : ""}`} role="menu" aria-label=${label}>
      ${items.map((each, at) => each === null ? html`<hr key=${`line-${at}`} />` : each && html`<button type="button" role=${role} key=${at} class=${each.danger ? "danger" : ""}
        aria-checked=${each.checked === undefined ? undefined : String(each.checked)} aria-disabled=${each.why ? "true" : undefined} title=${each.why}
        onClick=${() => {
          close();
          if (each.why) say(each.why);
          else each.act?.();
        }}>${each.checked !== undefined ? html`<${Icon} name=${each.checked ? "check" : "chevron"} />` : each.icon && html`<${Icon} name=${each.icon} />`}<span class="clip">${each.name}</span>${each.keys && html`<kbd>${shownKeys(each.keys)[0]}</kbd>`}</button>`)}
    </div>`}
  </div>`;
}

/** A 0–10 rating as ten steps one can click. @param {{ value: number | null | undefined, onRate: (value: number | null) => void, label: string }} props */
export function Rating({ value, onRate, label }) {
  const rated = value !== null && value !== undefined;
  return html`<span class="rating" role="group" aria-label=${label}>
    <span class="steps">${Array.from({ length: 10 }, (_, i) => html`<button type="button" key=${i} class=${rated && value > i ? "on" : ""} tabindex=${i === Math.max(0, (value ?? 1) - 1) ? 0 : -1}
      aria-label=${`Rate ${i + 1} of 10`} aria-pressed=${String(value === i + 1)} onClick=${() => onRate(value === i + 1 ? null : i + 1)}></button>`)}</span>
    <span class="value">${rated ? value : html`<span class="faint">–</span>`}</span>
  </span>`;
}
