/** Searches over the tree: a real beam search, ranking anew under other rules without the model, and what sampling cannot reach. */

import { api } from "../api.js";
import { Button } from "../components/controls.js";
import { fixed, plural, visible } from "../domain/text.js";
import { html, useEffect, useRef, useState } from "../preact.js";
import { remembered, sayError } from "../state.js";

/** @import { Outcome, Tree } from "../types.js" */

const rules = remembered("tree-rules", { num_beams: 4, max_new_tokens: 16, length_penalty: 1, repetition_penalty: 1, no_repeat_ngram_size: 0, temperature: 1 });
const SLIDERS = /** @type {const} */ ([["num_beams", "Beams", 2, 16, 1], ["max_new_tokens", "Tokens", 1, 64, 1], ["length_penalty", "Length penalty", -1, 3, 0.1], ["repetition_penalty", "Repetition penalty", 1, 2, 0.05], ["no_repeat_ngram_size", "No repeated n-grams", 0, 6, 1]]);

/** Rules without what does nothing. */
function configOf(/** @type {Record<string, number>} */ { num_beams, max_new_tokens, length_penalty, repetition_penalty, no_repeat_ngram_size }) {
  return { num_beams, max_new_tokens, ...(length_penalty !== 1 ? { length_penalty } : {}), ...(repetition_penalty !== 1 ? { repetition_penalty } : {}), ...(no_repeat_ngram_size ? { no_repeat_ngram_size } : {}) };
}

const WORDS = { best: "best", finished: "finished", alive: "alive", removed: "removed", crowded: "crowded out", stopped: "stopped", unknown: "not known" };

/** @param {{ tree: Tree, node: number, busy: string, step: (name: string, body: any, done?: string) => Promise<any>, choose: (node: number) => void, setMarks: (marks: ReadonlyMap<number, string>) => void }} props */
export function Rerank({ tree, node, busy, step, choose, setMarks }) {
  const [outcome, setOutcome] = useState(/** @type {Outcome | null} */ (null)), [unlikely, setUnlikely] = useState(/** @type {any[] | null} */ (null));
  const it = rules.value, start = useRef(node);
  const show = (/** @type {Outcome | null} */ found) => {
    if (!found) return;
    setOutcome(found);
    setMarks(new Map(found.verdicts.node.map((id, i) => [id, found.verdicts.state[i]])));
  };
  const timer = useRef(0), round = useRef(0);
  // A slider ranks at once: the model is never asked.
  useEffect(() => {
    clearTimeout(timer.current);
    const mine = ++round.current;
    timer.current = window.setTimeout(() => api.treeStep(tree.id, "rerank", { node: start.current, config: configOf(it), cover: false }).then((found) => mine === round.current && show(found), sayError), 90);
    return () => clearTimeout(timer.current);
  }, [JSON.stringify(it), tree.id]);
  useEffect(() => () => setMarks(new Map()), []);
  const search = async () => show(await step("search", { node: (start.current = node), config: configOf(it) }));
  const cover = async () => show(await step("rerank", { node: start.current, config: configOf(it), cover: true }));
  const find = async () => {
    const found = await step("unlikely", { config: { top_p: 0.9, temperature: 1 }, by: "mean" });
    if (found) setUnlikely(found.items);
  };
  const at = outcome ? outcome.verdicts.node.indexOf(node) : -1;
  return html`<p class="small muted">Sliders rank what the tree already knows; the model is not asked. Dimmed beams would not survive under these rules.</p>
    <div class="rerank-sliders">${SLIDERS.map(([name, label, low, high, by]) => html`<label for=${`slider-${name}`}>${label}</label><input id=${`slider-${name}`} type="range" min=${low} max=${high} step=${by} value=${it[name]} onInput=${(/** @type {any} */ event) => (rules.value = { ...rules.value, [name]: Number(event.currentTarget.value) })} /><output for=${`slider-${name}`}>${fixed(it[name], by < 1 ? 2 : 0)}</output>`)}</div>
    <div class="row wrap"><${Button} kind="primary" icon="search" busy=${busy === "search"} onClick=${search}>Search from here<//>${outcome && !outcome.decided && html`<${Button} busy=${busy === "rerank"} onClick=${cover}>Ask the model about ${plural(outcome.unknown, "path")}<//>`}</div>
    ${outcome && html`<div class="stack tight" role="status">${outcome.decided ? html`<h3>${plural(outcome.results.length, "result")}</h3>${outcome.results.map((each, i) => html`<button type="button" class="side-item" key=${i} onClick=${() => each.node !== null && choose(each.node)}><strong class="number">${i + 1}</strong><bdi class="clip">${visible(each.text)}</bdi><span class="count">${fixed(each.score, 3)}</span></button>`)}`
      : html`<div class="notice">What the tree knows does not decide this search: ${plural(outcome.unknown, "path")} would have to be looked at. Nothing is guessed.</div>`}
      ${at >= 0 && html`<h3>What becomes of the chosen beam</h3><p class="small"><span class=${`mark ${["best", "finished", "alive"].includes(outcome.verdicts.state[at]) ? "good" : ""}`}>${WORDS[outcome.verdicts.state[at]] ?? outcome.verdicts.state[at]}</span> ${outcome.verdicts.reason[at]}</p>`}</div>`}
    <div class="stack tight"><h3>What sampling never reaches</h3><p class="small muted">Branches that top-p 0.9 would cut off, best first.</p><div><${Button} small icon="eye" busy=${busy === "unlikely"} onClick=${find}>Find them<//></div>
      ${unlikely && (unlikely.length ? unlikely.slice(0, 30).map((each) => html`<button type="button" class="side-item" key=${each.node} onClick=${() => choose(each.node)}><bdi class="clip">${visible(each.text)}</bdi><span class="count">${fixed(each.value, 2)}</span></button>`) : html`<p class="small">There are none in this tree yet.</p>`)}</div>`;
}
