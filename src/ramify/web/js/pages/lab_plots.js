/** Lines along the text: the entropy of some completions, and the mass that each rule of one left. */

import { api } from "../api.js";
import { Button, Select } from "../components/controls.js";
import { pathOf, smooth } from "../domain/lab.js";
import { percent } from "../domain/text.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "../preact.js";
import { sayError } from "../state.js";

/** @import * as T from "../types.js" */

const FIRST = ["greedy", "sampling", "temperature 0.5", "beams (4, 1), standard"];
const DASHES = ["", "7 4", "2 3", "9 3 2 3", "1 4"];
const HEIGHT = 170, LEFT = 46;

/** The tokens of texts, asked for once each. @param {number} run @param {T.LabGroup} group @param {readonly number[]} numbers @returns {Map<number, T.LabTokens>} */
export function useTokens(run, group, numbers) {
  const [found, setFound] = useState(/** @type {Map<number, T.LabTokens>} */ (new Map()));
  useEffect(() => {
    let gone = false;
    Promise.all(numbers.filter((number) => !found.has(number)).map((number) => api.labTokens(run, group.place, number).then((tokens) => /** @type {const} */ ([number, tokens])))).then((fresh) => {
      if (!gone && fresh.length) setFound((old) => new Map([...old, ...fresh]));
    }, sayError);
    return () => {
      gone = true;
    };
  }, [run, group.place, numbers.join()]);
  return found;
}

/** @param {{ run: number, group: T.LabGroup }} props */
export function Plots({ run, group }) {
  const { texts } = group;
  const [chosen, setChosen] = useState(/** @type {number[] | null} */ (null)), [ruled, setRuled] = useState(/** @type {number | null} */ (null));
  const begun = texts.filter((each) => FIRST.includes(each.title)).map((each) => each.number);
  const lines = chosen ?? (begun.length ? begun : [texts[0].number]);
  const sampled = texts.filter((each) => each.sampled);
  const one = ruled ?? sampled.find((each) => each.title.startsWith("balanced"))?.number ?? sampled.find((each) => Object.keys(each.config).some((name) => /^(top|min|typical|e)/.test(name)))?.number ?? texts[0].number;
  const tokens = useTokens(run, group, [...new Set([...lines, one])]);
  const titleOf = (/** @type {number} */ number) => texts.find((each) => each.number === number)?.title ?? "";
  const drawn = lines.filter((number) => tokens.has(number));
  const kept = Object.entries(tokens.get(one)?.kept ?? {});
  return html`<section class="card" aria-label="Along the text"><div class="head"><h2>Along the text</h2></div><div class="body stack">
    <h3>Entropy</h3><p class="small muted">Nats, of the model's own distribution before each token; a mean over nine tokens.</p>
    <${Plot} label="Entropy along the text" unit="" lines=${drawn.map((number) => ({ name: titleOf(number), values: smooth(tokens.get(number)?.entropy ?? []), off: lines.length > 1 ? () => setChosen(lines.filter((each) => each !== number)) : undefined }))} />
    <div class="lab-choice"><${Select} label="Another line" value="" onChange=${(/** @type {string} */ number) => number && setChosen([...lines, Number(number)])} options=${[{ value: "", name: "choose a completion…" }, ...texts.filter((each) => !lines.includes(each.number)).map((each) => ({ value: each.number, name: each.title }))]} /></div>
    <h3>Probability mass kept by each rule</h3><p class="small muted">Of the mass that reached it, at each token.</p>
    <div class="lab-choice"><${Select} label="Completion" value=${one} onChange=${(/** @type {string} */ number) => setRuled(Number(number))} options=${texts.map((each) => ({ value: each.number, name: each.title }))} /></div>
    ${kept.length ? html`<${Plot} label="Mass kept along the text" unit="%" top=${1} lines=${kept.map(([name, values]) => ({ name: `${name} (mean ${percent(values.reduce((a, b) => a + b, 0) / values.length)})`, values }))} />` : html`<p class="muted">No rule took tokens out of this completion.</p>`}
  </div></section>`;
}

/** @param {{ label: string, unit: string, top?: number, lines: { name: string, values: number[], off?: () => void }[] }} props */
function Plot({ label, unit, top, lines }) {
  const box = useRef(/** @type {HTMLElement | null} */ (null)), [space, setSpace] = useState(900);
  useLayoutEffect(() => {
    const seen = new ResizeObserver(([entry]) => setSpace(Math.round(entry.contentRect.width)));
    seen.observe(/** @type {HTMLElement} */ (box.current));
    return () => seen.disconnect();
  }, []);
  const width = Math.max(180, space - LEFT - 12), longest = Math.max(2, ...lines.map((each) => each.values.length)), high = top ?? Math.max(0.1, ...lines.flatMap((each) => each.values));
  const step = Math.max(1, Math.ceil(longest / (width / 90) / 10) * 10), marks = longest > 10 ? Array.from({ length: Math.ceil(longest / step) }, (_, at) => at * step) : [0, longest - 1];
  return html`<figure class="lab-plot" ref=${box}>${lines.length ? html`<svg width=${space} height=${HEIGHT + 34} viewBox=${`${-LEFT} -8 ${space} ${HEIGHT + 34}`} role="img" aria-label=${`${label}: ${lines.map((each) => each.name).join(", ")}`}>
      ${[0, 0.25, 0.5, 0.75, 1].map((part) => html`<line key=${part} x1="0" x2=${width} y1=${HEIGHT * (1 - part)} y2=${HEIGHT * (1 - part)} /><text key=${`t${part}`} x="-8" y=${HEIGHT * (1 - part) + 4} text-anchor="end">${unit === "%" ? `${Math.round(100 * high * part)} %` : (high * part).toFixed(1)}</text>`)}
      ${marks.map((at) => html`<text key=${`x${at}`} x=${(width * at) / (longest - 1)} y=${HEIGHT + 20} text-anchor="middle">${at}</text>`)}
      ${lines.map((each, at) => html`<path key=${each.name} class=${`line-${at % 6}`} d=${pathOf(each.values, { width, height: HEIGHT, longest, top: high })} stroke-dasharray=${DASHES[Math.floor(at / 2) % DASHES.length]} />`)}
    </svg>` : html`<div class="skeleton" style=${{ height: `${HEIGHT + 34}px` }}></div>`}<figcaption class="legend">${lines.map((each, at) => html`<span class="step" key=${each.name}><svg width="30" height="10" aria-hidden="true"><path class=${`line-${at % 6}`} d="M0,5L30,5" stroke-dasharray=${DASHES[Math.floor(at / 2) % DASHES.length]} /></svg>${each.name}
      ${each.off && html`<${Button} small kind="quiet" icon="close" label=${`Without ${each.name}`} onClick=${each.off} />`}</span>`)}</figcaption></figure>`;
}
