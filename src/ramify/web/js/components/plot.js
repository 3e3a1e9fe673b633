/** A histogram, drawn from bins that the server counted. */

import { html } from "../preact.js";

const WIDTH = 320, HEIGHT = 150, LEFT = 38, BOTTOM = 30, TOP = 8;

/** Short, whatever its size. @param {number} value */
function short(value) {
  return Math.abs(value) >= 1e4 ? `${Math.round(value / 1000)}k` : String(Number(value.toPrecision(3))).replace("-", "−");
}

/** @param {{ title: string, unit: string, of: import("../types.js").Distribution }} props */
export function Histogram({ title, unit, of }) {
  const { edges, counts } = of, most = Math.max(...counts, 1);
  const first = edges[0], span = edges[edges.length - 1] - first || 1;
  const x = (/** @type {number} */ value) => LEFT + ((value - first) / span) * (WIDTH - LEFT - 6);
  const y = (/** @type {number} */ n) => TOP + (1 - n / most) * (HEIGHT - TOP - BOTTOM);
  const told = `${title}: ${of.count} completions, least ${short(of.least)}, median ${short(of.median)}, mean ${short(of.mean)}, most ${short(of.most)} ${unit}`;
  return html`<figure class="card plot"><figcaption class="small"><strong>${title}</strong></figcaption>
    <svg viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label=${told}>
      <line class="axis" x1=${LEFT} y1=${y(0)} x2=${WIDTH - 4} y2=${y(0)} />
      ${counts.map((n, at) => n > 0 && html`<rect key=${at} class="bar" x=${x(edges[at]) + 0.5} y=${y(n)} width=${Math.max(1, x(edges[at + 1]) - x(edges[at]) - 1)} height=${y(0) - y(n)}><title>${`${short(edges[at])} to ${short(edges[at + 1])}: ${n}`}</title></rect>`)}
      <line class="median" x1=${x(of.median)} x2=${x(of.median)} y1=${TOP} y2=${y(0)} />
      <text x=${LEFT - 6} y=${y(most) + 4} text-anchor="end">${short(most)}</text><text x=${LEFT - 6} y=${y(0)} text-anchor="end">0</text>
      <text x=${LEFT} y=${HEIGHT - 14} text-anchor="start">${short(first)}</text><text x=${WIDTH - 6} y=${HEIGHT - 14} text-anchor="end">${short(first + span)}</text>
      <text x=${(LEFT + WIDTH) / 2} y=${HEIGHT - 2} text-anchor="middle">${unit}</text>
    </svg><p class="tiny muted number">${of.count} completions · median ${short(of.median)} · mean ${short(of.mean)}</p></figure>`;
}
