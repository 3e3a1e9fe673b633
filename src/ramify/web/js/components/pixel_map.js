/** The whole completion in one strip: a column a token (or a few), as dark as its step; a click goes there. It is drawn once; the
 * mark of the chosen token lies over it. */

import { stepsOf } from "../domain/heatmap.js";
import { html, useLayoutEffect, useRef } from "../preact.js";
import { palette, theme } from "../state.js";

/** @param {{ tokens: import("../types.js").Tokens, measure: any, other: any, chosen: number, onChoose: (index: number) => void }} props */
export function PixelMap({ tokens, measure, other, chosen, onChoose }) {
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const size = tokens.ids.length;
  useLayoutEffect(() => {
    const it = /** @type {HTMLCanvasElement} */ (canvas.current), paint = /** @type {CanvasRenderingContext2D} */ (it.getContext("2d"));
    const width = Math.round(it.clientWidth * devicePixelRatio), height = Math.round(16 * devicePixelRatio);
    it.width = width;
    it.height = height;
    const style = getComputedStyle(document.documentElement), steps = stepsOf(measure, tokens, other);
    const colour = (/** @type {number} */ step) => style.getPropertyValue(measure !== "difference" ? `--heat-${step}` : step < 0 ? `--less-${-step}` : `--more-${step}`).trim();
    const columns = Math.min(width, size);
    for (let c = 0; c < columns; c++) {
      // Of the tokens of one column the most surprising shows.
      let most = 0;
      for (let i = Math.floor((c * size) / columns); i < Math.floor(((c + 1) * size) / columns); i++) if (steps[i] !== 127 && Math.abs(steps[i]) >= Math.abs(most)) most = steps[i];
      if (!most) continue;
      paint.fillStyle = colour(most);
      paint.fillRect((c * width) / columns, 0, Math.ceil(width / columns), height);
    }
  }, [tokens, measure, other, palette.value, theme.value]);
  return html`<div class="pixels"><canvas ref=${canvas} role="img" aria-label="The whole completion; a click goes to that token" onClick=${(/** @type {any} */ event) => onChoose(Math.min(size - 1, Math.floor((event.offsetX / event.currentTarget.clientWidth) * size)))}></canvas>
    ${chosen >= 0 && html`<i style=${{ left: `${(100 * (chosen + 0.5)) / size}%` }}></i>`}</div>`;
}
