/** Curves over the steps of a run: lines of points between round numbers, told apart by colour and dash. */

import { ticks } from "../domain/training.js";
import { html, useLayoutEffect, useRef, useState } from "../preact.js";

const HEIGHT = 168, LEFT = 50, RIGHT = 12, TOP = 8, BOTTOM = 30;
const DASHES = ["", "6 4"];

/** Short, whatever its size. @param {number} value */
const short = (value) => (Math.abs(value) >= 1e4 ? `${Number((value / 1000).toPrecision(3))}k` : String(Number(value.toPrecision(3)))).replace("-", "−");

/** @param {{ title: string, last?: number | null, zero?: boolean, lines: { name: string, points: [number, number][], dots?: boolean }[] }} props last: the step at the right end; zero: begin at 0 */
export function Curves({ title, last = null, zero = false, lines }) {
  const box = useRef(/** @type {HTMLElement | null} */ (null)), [space, setSpace] = useState(420);
  useLayoutEffect(() => {
    const seen = new ResizeObserver(([entry]) => setSpace(Math.max(200, Math.round(entry.contentRect.width))));
    seen.observe(/** @type {HTMLElement} */ (box.current));
    return () => seen.disconnect();
  }, []);
  const drawn = lines.filter((each) => each.points.length), all = drawn.flatMap((each) => each.points);
  const right = Math.max(last ?? 0, ...all.map(([x]) => x), 1), values = all.map(([, y]) => y);
  const least = zero ? 0 : Math.min(...values), most = Math.max(...values), pad = (most - least || Math.abs(most) || 1) * 0.06;
  const low = zero ? 0 : least - pad, high = most + pad, width = space - LEFT - RIGHT;
  const x = (/** @type {number} */ step) => LEFT + (step / right) * width, y = (/** @type {number} */ value) => TOP + (1 - (value - low) / (high - low)) * (HEIGHT - TOP);
  const path = (/** @type {[number, number][]} */ points) => points.map(([a, b], at) => `${at ? "L" : "M"}${x(a).toFixed(1)},${y(b).toFixed(1)}`).join("");
  const told = drawn.map((each) => `${each.name}: ${short(each.points[0][1])} at step ${each.points[0][0]}, ${short(each.points[each.points.length - 1][1])} at step ${each.points[each.points.length - 1][0]}`).join("; ");
  return html`<figure class="curves" ref=${box}><figcaption class="small"><strong>${title}</strong></figcaption>
    ${all.length ? html`<svg width=${space} height=${HEIGHT + BOTTOM} viewBox=${`0 0 ${space} ${HEIGHT + BOTTOM}`} role="img" aria-label=${`${title}. ${told}`}>
      ${ticks(low, high, 4).map((each) => html`<line key=${each} x1=${LEFT} x2=${space - RIGHT} y1=${y(each)} y2=${y(each)} /><text key=${`t${each}`} x=${LEFT - 7} y=${y(each) + 4} text-anchor="end">${short(each)}</text>`)}
      ${ticks(0, right, Math.max(2, Math.floor(width / 90))).map((each) => html`<text key=${`x${each}`} x=${x(each)} y=${HEIGHT + 17} text-anchor="middle">${short(each)}</text>`)}
      ${lines.map((each, at) => html`<path key=${each.name} class=${`line-${at}`} d=${path(each.points)} stroke-dasharray=${DASHES[at % 2]} />`)}
      ${lines.map((each, at) => (each.dots || each.points.length === 1) && each.points.map(([a, b]) => html`<circle key=${`${at}-${a}`} class=${`dot-${at}`} cx=${x(a)} cy=${y(b)} r="2.6"><title>${`${each.name}, step ${a}: ${short(b)}`}</title></circle>`))}
    </svg>` : html`<div class="skeleton" style=${{ height: `${HEIGHT + BOTTOM}px` }}></div>`}
    ${lines.length > 1 && html`<p class="legend">${lines.map((each, at) => html`<span class="step" key=${each.name}><svg width="26" height="10" aria-hidden="true"><path class=${`line-${at}`} d="M0,5L26,5" stroke-dasharray=${DASHES[at % 2]} /></svg>${each.name}</span>`)}</p>`}</figure>`;
}
