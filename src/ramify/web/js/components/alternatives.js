/** What else could have stood at a place: a table for looking (the tip under the pointer), and a list for taking. */

import { alternativesOf } from "../domain/tokens.js";
import { fixed, percent, visible } from "../domain/text.js";
import { html, useLayoutEffect, useRef } from "../preact.js";

/** @import { Candidates, Tokens } from "../types.js" */

/** The measures of a token. @param {{ tokens: Tokens, index: number, other?: Tokens | null, origin?: string }} props */
export function Facts({ tokens, index, other = null, origin = "" }) {
  const logprob = tokens.logprob?.[index] ?? null, second = other?.logprob?.[index + tokens.start - (other?.start ?? 0)] ?? null;
  return html`<dl class="facts">
    <dt>probability</dt><dd>${percent(logprob === null ? null : Math.exp(logprob))}</dd><dt>surprisal</dt><dd>${logprob === null ? "–" : `${fixed(-logprob / Math.LN2)} bits`}</dd>
    <dt>rank</dt><dd>${tokens.rank?.[index] ?? "–"}</dd><dt>entropy</dt><dd>${fixed(tokens.entropy?.[index])} nats</dd>
    <dt>position</dt><dd>${index + tokens.start}</dd><dt>id</dt><dd>${tokens.ids[index]}</dd>
    ${origin && html`<dt>origin</dt><dd>${origin}</dd>`}${other && html`<dt>${other.model}</dt><dd>${percent(second === null ? null : Math.exp(second))}</dd>`}
  </dl>`;
}

/** @param {{ tokens: Tokens, index: number }} props */
export function AlternativesTable({ tokens, index }) {
  const { rows, others } = alternativesOf(tokens, index);
  if (!rows.length) return html`<p class="small muted">No probabilities were kept for this token.</p>`;
  const processed = rows.some((row) => row.processed !== undefined);
  return html`<table class="alternatives"><thead class="visually-hidden"><tr><th>token</th><th></th><th>before processors</th>${processed && html`<th>after</th>`}</tr></thead><tbody>
    ${rows.map((row, at) => html`<tr key=${at} class=${`${row.chosen ? "chosen" : ""} ${row.processed === null ? "gone" : ""}`}>
      <td class="word"><bdi>${visible(row.text)}</bdi>${row.ends && html` <span class="mark info">EOS</span>`}</td><td class="bar"><div class="share"><i style=${{ width: `${100 * Math.exp(row.logprob)}%` }}></i></div></td>
      <td class="number" style=${{ textAlign: "right" }}>${percent(Math.exp(row.logprob))}</td>${processed && html`<td class="number why" style=${{ textAlign: "right" }}>${row.processed === null ? "removed" : row.processed === undefined ? "" : percent(Math.exp(row.processed))}</td>`}</tr>`)}
    <tr><td class="word muted">others</td><td class="bar"><div class="share"><i style=${{ width: `${100 * (others ?? 0)}%` }}></i></div></td><td class="number muted" style=${{ textAlign: "right" }}>${percent(others)}</td>${processed && html`<td></td>`}</tr>
  </tbody></table>`;
}

/** The one tip of a page: under the pointer's token, never over it. @param {{ tokens: Tokens, index: number, span: HTMLElement, other?: Tokens | null, alternatives: Tokens | null, origin?: string }} props */
export function Tip({ tokens, index, span, other, alternatives, origin }) {
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  useLayoutEffect(() => {
    const it = box.current;
    const at = span.getClientRects()[0];
    if (!it || !at) return;
    const below = at.bottom + 8 + it.offsetHeight < innerHeight;
    it.style.transform = `translate(${Math.max(8, Math.min(at.left, innerWidth - it.offsetWidth - 8))}px, ${below ? at.bottom + 8 : Math.max(8, at.top - it.offsetHeight - 8)}px)`;
  });
  const shown = tokens.text[index] || tokens.vocabulary[tokens.ids[index]] || "";
  return html`<div ref=${box} class="tip stack tight" role="tooltip"><div class="mono"><strong><bdi>${visible(shown)}</bdi></strong></div>
    <${Facts} tokens=${tokens} index=${index} other=${other} origin=${origin} />
    ${alternatives ? html`<${AlternativesTable} tokens=${alternatives} index=${index + tokens.start - alternatives.start} />` : html`<div class="skeleton"></div>`}</div>`;
}

/**
 * Candidates that can be taken, by click or key.
 * @param {{ candidates: Candidates, current: number, taken?: number | null, onTake: (id: number, index: number) => void, onPoint?: (index: number) => void, marked?: ReadonlySet<number>, verb?: string }} props
 *   current: the row that Enter takes; taken: the id that stands there now; marked: rows chosen for something else
 */
export function CandidateList({ candidates, current, taken = null, onTake, onPoint, marked, verb = "Take" }) {
  const { ids, text, probability, rank, ends, processed_logprob: processed, others, node } = candidates;
  const list = useRef(/** @type {HTMLElement | null} */ (null));
  useLayoutEffect(() => {
    list.current?.children[current]?.scrollIntoView({ block: "nearest" });
  }, [current]);
  return html`<div class=${processed ? "" : "raw"}><div ref=${list} role="list" aria-label="Candidates">${ids.map((id, at) => {
    const after = processed ? processed[at] : undefined;
    return html`<div role="listitem" key=${at}><button type="button" class=${`candidate ${at === current ? "current" : ""} ${id === taken ? "taken" : ""} ${after === null ? "removed" : ""}`}
      title=${verb} aria-pressed=${marked ? String(marked.has(id)) : undefined} onMouseEnter=${() => onPoint?.(at)} onClick=${() => onTake(id, at)}>
      ${at < 9 ? html`<kbd>${at + 1}</kbd>` : html`<span class="faint tiny right">${rank[at]}</span>`}
      <span class="word"><bdi>${visible(text[at])}</bdi>${ends[at] && html`<span class="ends">EOS<span class="visually-hidden"> ends the text</span></span>`}${id === taken && html`<span class="ends">here</span>`}${node?.[at] !== null && node?.[at] !== undefined && html`<span class="ends">in tree</span>`}${marked?.has(id) && html`<span class="ends">picked</span>`}</span>
      <span class="share"><i style=${{ width: `${100 * probability[at]}%` }}></i></span><span class="right">${percent(probability[at])}</span>
      <span class="right faint tiny" title="after processors">${after === null ? "removed" : after === undefined ? "" : percent(Math.exp(after))}</span></button></div>`;
  })}</div>
    <div class="candidate" style=${{ cursor: "default" }}><span></span><span class="muted">others</span><span class="share"><i style=${{ width: `${100 * others}%` }}></i></span><span class="right muted">${percent(others)}</span><span></span></div></div>`;
}

/** @param {{ measure: keyof typeof import("../domain/heatmap.js").MEASURES, steps: { step: number, says: string }[], names: (step: number) => string }} props */
export function Legend({ steps, names }) {
  return html`<div class="legend" aria-label="Legend">${steps.map(({ step, says }) => html`<span class="step" key=${step}><span class=${`swatch ${names(step)}`} aria-hidden="true">a</span>${says}</span>`)}</div>`;
}
