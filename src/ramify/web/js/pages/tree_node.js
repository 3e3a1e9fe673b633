/** Beside the tree: what the model could say after the chosen node, and growing from there. */

import { api } from "../api.js";
import { writeAddress } from "../address.js";
import { CandidateList } from "../components/alternatives.js";
import { Button, Field } from "../components/controls.js";
import { Icon } from "../components/icon.js";
import { SettingsForm } from "../components/settings_form.js";
import { Failure, Loading, useLoaded } from "../components/states.js";
import { FLAGS } from "../domain/tree_layout.js";
import { fixed, percent, visible } from "../domain/text.js";
import { useKeys } from "../keyboard.js";
import { html, useEffect, useState } from "../preact.js";
import { remembered } from "../state.js";

/** @import { Nodes, Tree } from "../types.js" */

const growth = remembered("tree-growth", { width: 3, depth: 4, spread: 1 });
const goOn = remembered("tree-continue", /** @type {Record<string, any>} */ ({ max_new_tokens: 32 }));

/** @param {{ tree: Tree, nodes: Nodes, index: number, busy: string, step: (name: string, body: any, done?: string) => Promise<any>, choose: (node: number) => void }} props */
export function NodePanel({ tree, nodes, index, busy, step, choose }) {
  const node = nodes.id[index], ended = nodes.ended[index], isRoot = nodes.parent[index] === null;
  const [row, setRow] = useState(0), [search, setSearch] = useState(""), [picked, setPicked] = useState(/** @type {ReadonlySet<number>} */ (new Set()));
  const [state, setState] = useState(/** @type {any} */ ({ key: "", value: null, error: null, text: "" }));
  const key = `${node}/${search}/${nodes.id.length}`;
  useEffect(() => {
    let stale = false;
    const timer = setTimeout(async () => {
      try {
        const [detail, value] = await Promise.all([api.node(tree.id, node), ended ? null : api.nodeNext(tree.id, node, { k: 20, search: search || undefined })]);
        if (!stale) setState({ key, value, error: null, text: detail.text });
      } catch (error) {
        if (!stale) setState({ key, value: null, error, text: "" });
      }
    }, 60);
    return () => {
      stale = true;
      clearTimeout(timer);
    };
  }, [key, ended]);
  useEffect(() => {
    setRow(0);
    setPicked(new Set());
    setSearch("");
  }, [node]);
  const candidates = state.key === key ? state.value : null;
  const { width, depth, spread } = growth.value;
  const out = async (/** @type {any} */ how) => {
    const grown = await step("beam-out", { node, depth, spread, ...how });
    if (grown?.ends.length === 1) choose(grown.ends[0]);
  };
  const beamOut = () => out(picked.size ? { token_ids: [...picked] } : { width });
  const take = async (/** @type {number} */ id, /** @type {number} */ at) => {
    const there = candidates?.node?.[at];
    if (there) return choose(there);
    const grown = await step("beam-out", { node, token_ids: [id], depth: 1 });
    if (grown?.ends.length) choose(grown.ends[0]);
    return undefined;
  };
  const toggle = (/** @type {number} */ at) => {
    if (!candidates) return;
    const next = new Set(picked), id = candidates.ids[at];
    if (!next.delete(id)) next.add(id);
    setPicked(next);
  };
  const on = async () => {
    const grown = await step("continue", { node, config: goOn.value });
    if (grown?.ends.length) choose(grown.ends[0]);
  };
  useKeys("Next tokens", [
    { keys: "ArrowDown J", says: "next candidate", act: () => candidates && setRow(Math.min(candidates.ids.length - 1, row + 1)) },
    { keys: "ArrowUp", says: "candidate before", act: () => setRow(Math.max(0, row - 1)) },
    { keys: "Enter", says: "take it: grow that token, or go to it", act: () => candidates && take(candidates.ids[row], row) },
    { keys: "1 2 3 4 5 6 7 8 9", says: "take that candidate", act: (event) => { const at = Number(event.key) - 1; if (candidates?.ids[at] !== undefined) take(candidates.ids[at], at); } },
    { keys: "I", says: "pick it for beaming out, several at once", act: () => toggle(row) },
    { keys: "B", says: "beam out: the picked ones, or the likeliest", act: beamOut },
    { keys: "G", says: "let the model go on from here", act: on },
    { keys: "F", says: "search among all tokens", act: () => document.getElementById("candidate-search")?.focus() },
  ], [candidates, row, picked, node, width, depth, spread]);
  const number = (/** @type {"width" | "depth" | "spread"} */ name, /** @type {string} */ label, /** @type {string} */ title, most = 64) => html`<${Field} label=${label}>${(/** @type {string} */ id) => html`<input id=${id} class="input number" type="number" min="1" max=${most} title=${title} value=${growth.value[name]} onInput=${(/** @type {any} */ event) => (growth.value = { ...growth.value, [name]: Math.max(1, Math.min(most, Number(event.currentTarget.value) || 1)) })} />`}<//>`;
  const mean = nodes.sum_logprob[index] === null || !nodes.depth[index] ? null : /** @type {number} */ (nodes.sum_logprob[index]) / nodes.depth[index];
  const saved = nodes.completion[node], dead = nodes.dead[node], flags = nodes.flags[index];
  return html`<div class="stack tight"><h2 class="mono clip"><bdi>${isRoot ? "The root" : visible(nodes.vocabulary[nodes.token[index]] ?? "")}</bdi></h2>
      ${!isRoot && html`<dl class="facts"><dt>probability</dt><dd>${percent(nodes.logprob[index] === null ? null : Math.exp(/** @type {number} */ (nodes.logprob[index])))}</dd><dt>rank</dt><dd>${nodes.rank[index] ?? "–"}</dd>
        <dt>total</dt><dd>${fixed(nodes.sum_logprob[index])}</dd><dt>mean</dt><dd>${fixed(mean)}</dd><dt>lowest</dt><dd>${fixed(nodes.min_logprob[index])}</dd><dt>depth</dt><dd>${nodes.depth[index]}</dd></dl>`}
      <div class="row wrap">${flags & FLAGS.pruned ? html`<span class="mark">pruned</span>` : ""}${saved ? html`<a class="mark info" href=${writeAddress(["completions", saved])}>saved as ${saved}</a>` : ""}</div>
      ${dead && html`<div class="notice warn"><${Icon} name="warn" /><span><strong>Why it was given up:</strong> ${dead}</span></div>`}</div>
    ${!isRoot && html`<${Way} tree=${tree} node=${node} choose=${choose} />`}
    ${state.text && html`<div class="reading small" style=${{ maxHeight: "130px", overflow: "auto" }} tabindex="0" role="group" aria-label="Text to here">${state.text}</div>`}
    ${ended ? html`<p class="muted small">An EOS: this beam is whole. <kbd>S</kbd> saves it.</p>` : html`
      <div class="stack tight"><label class="visually-hidden" for="candidate-search">Search tokens</label><input id="candidate-search" class="input" type="search" placeholder="Search all tokens" value=${search} onInput=${(/** @type {any} */ event) => setSearch(event.currentTarget.value)} onKeyDown=${(/** @type {any} */ event) => ["Enter", "Escape"].includes(event.key) && (event.stopPropagation(), event.currentTarget.blur())} />
        ${state.error && state.key === key ? html`<${Failure} error=${state.error} />` : candidates ? html`<${CandidateList} candidates=${candidates} current=${row} marked=${picked} verb="Grow" onTake=${take} />` : html`<${Loading} />`}
        <p class="tiny muted">A click grows one token. <kbd>I</kbd> picks several for beaming out.</p></div>
      <div class="fields" style=${{ gridTemplateColumns: "1fr 1fr 1fr" }}>${number("width", "Width", "how many of the likeliest tokens")}${number("depth", "Depth", "how many tokens long", 256)}${number("spread", "Spread", "how many continuations at each further token")}</div>
      <div class="row wrap"><${Button} kind="primary" icon="tree" keys="B" busy=${busy === "beam-out"} onClick=${beamOut}>${picked.size ? `Beam out ${picked.size} picked` : "Beam out"}<//><${Button} icon="play" keys="G" busy=${busy === "continue"} onClick=${on}>Continue<//></div>
      <${SettingsForm} config=${goOn.value} model=${tree.model} onChange=${(/** @type {any} */ next) => (goOn.value = next)} />`}`;
}

/**
 * The way to a node again, token by token: how likely each was, and what else there was. A step is a place to go back to.
 * @param {{ tree: Tree, node: number, choose: (node: number) => void }} props
 */
function Way({ tree, node, choose }) {
  const [open, setOpen] = useState(false);
  const found = useLoaded(async () => (open ? (await api.replay(tree.id, node)).items : null), [open, tree.id, node]);
  const chance = (/** @type {number | null} */ logprob) => percent(logprob === null ? null : Math.exp(logprob));
  const others = (/** @type {any} */ step) => step.candidate_text.map((/** @type {string} */ text, /** @type {number} */ i) => `${visible(text)} ${chance(step.candidate_logprob[i])}`).slice(0, 4).join(", ");
  return html`<details class="params" open=${open} onToggle=${(/** @type {any} */ event) => setOpen(event.currentTarget.open)}><summary><${Icon} name="chevron" size=${13} />Step by step</summary>
    ${!open ? "" : found.error ? html`<${Failure} error=${found.error} again=${found.again} />` : !found.value ? html`<${Loading} lines=${2} />`
      : html`<ol class="stack tight" style=${{ maxHeight: "240px", overflow: "auto", paddingLeft: "26px" }}>${found.value.map((/** @type {any} */ step) => html`<li key=${step.node}><button type="button" class="side-item" aria-current=${String(step.node === node)} onClick=${() => choose(step.node)}><bdi class="mono clip">${visible(step.text)}</bdi></button>
          ${step.candidate_text.length > 0 && html`<span class="tiny muted">there was: <bdi>${others(step)}</bdi></span>`}</li>`)}</ol>`}</details>`;
}
