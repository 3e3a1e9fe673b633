/** A long list of equally high rows: only those in sight are drawn. */

import { html, useEffect, useLayoutEffect, useRef, useState } from "../preact.js";
import { inSight, scrollFor } from "../domain/virtual.js";

/**
 * @param {{ count: number, height: number, row: (index: number) => any, label: string, current?: number, onNear?: (last: number) => void, class?: string }} props
 *   row draws one; current is kept in sight; onNear hears the last row in sight, to load more
 */
export function VirtualList({ count, height, row, label, current, onNear, class: extra = "" }) {
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const [view, setView] = useState({ top: 0, view: 800 });
  const { first, last, total } = inSight({ rows: count, height, ...view });
  useLayoutEffect(() => {
    const it = /** @type {HTMLElement} */ (box.current);
    const measure = () => setView({ top: it.scrollTop, view: it.clientHeight });
    measure();
    const watch = new ResizeObserver(measure);
    watch.observe(it);
    it.addEventListener("scroll", measure, { passive: true });
    return () => {
      watch.disconnect();
      it.removeEventListener("scroll", measure);
    };
  }, []);
  useEffect(() => onNear?.(last), [last, count]);
  useEffect(() => {
    const it = box.current;
    if (!it || current === undefined || current < 0) return;
    const to = scrollFor(current, { height, top: it.scrollTop, view: it.clientHeight });
    if (to !== null) it.scrollTop = to;
  }, [current]);
  const rows = [];
  for (let i = first; i < last; i++) rows.push(html`<div key=${i} role="listitem" style=${{ transform: `translateY(${i * height}px)`, height: `${height}px` }}>${row(i)}</div>`);
  return html`<div ref=${box} class=${`virtual ${extra}`} role="list" aria-label=${label} tabindex="-1"><div class="space" style=${{ height: `${total}px` }}>${rows}</div></div>`;
}

/** Two panes; the border moves by mouse or arrow keys. @param {{ left: any, right: any, share: import("../preact.js").Signal<number>, label: string }} props */
export function Split({ left, right, share, label }) {
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const set = (/** @type {number} */ value) => (share.value = Math.min(0.8, Math.max(0.2, value)));
  const drag = (/** @type {PointerEvent} */ event) => {
    const handle = /** @type {HTMLElement} */ (event.currentTarget), frame = /** @type {HTMLElement} */ (box.current).getBoundingClientRect();
    handle.setPointerCapture(event.pointerId);
    const move = (/** @type {PointerEvent} */ at) => set((at.clientX - frame.left) / frame.width);
    handle.addEventListener("pointermove", move);
    handle.addEventListener("pointerup", () => handle.removeEventListener("pointermove", move), { once: true });
  };
  const key = (/** @type {KeyboardEvent} */ event) => {
    const by = { ArrowLeft: -0.02, ArrowRight: 0.02 }[event.key];
    if (by) {
      event.preventDefault();
      set(share.value + by);
    }
  };
  return html`<div class="split" ref=${box} style=${{ gridTemplateColumns: `${share.value * 100}% 1px minmax(0, 1fr)` }}>
    <div class="pane">${left}</div>
    <button type="button" class="handle" role="separator" aria-orientation="vertical" aria-label=${label} aria-valuenow=${Math.round(share.value * 100)} onPointerDown=${drag} onKeyDown=${key}></button>
    <div class="pane">${right}</div>
  </div>`;
}
