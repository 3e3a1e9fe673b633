/** What goes into a training set: kind and form, facets in order, thresholds, permissions, split. */

import { Button, Check, Field, Segments, Select } from "../components/controls.js";
import { Icon } from "../components/icon.js";
import { html } from "../preact.js";
import { facet, facets, models } from "../state.js";
import { FilterChoice } from "./filter_choice.js";

const KINDS = { sft: "SFT", dpo: "DPO", kto: "KTO", reward: "Reward", prompts: "Prompts", stepwise: "Steps" };
const SAYS = {
  sft: "Good completions, to be imitated.", dpo: "Pairs: a better and a worse completion.", kto: "Completions with a label, good or bad.", reward: "Pairs, for a reward model.",
  prompts: "Prompts alone.", stepwise: "Completions whose steps have labels.",
};

/** @param {{ it: any, set: (change: any) => void, forms: any, wrong: string | null, password: string, setPassword: (text: string) => void }} props */
export function ExportForm({ it, set, forms, wrong, password, setPassword }) {
  const able = (/** @type {string} */ kind) => (forms?.forms ?? []).filter((/** @type {any} */ each) => each.kinds.includes(kind));
  const choose = (/** @type {string} */ kind) => set({ kind, form: able(kind).some((/** @type {any} */ each) => each.name === it.form) ? it.form : "trl" });
  const bound = (/** @type {string} */ name, /** @type {string} */ label, /** @type {any} */ more = {}) => html`<${Field} label=${label}>${(/** @type {string} */ id) => html`<input id=${id} class="input number" type="number" step="any" value=${it[name]} onInput=${(/** @type {any} */ event) => set({ [name]: event.currentTarget.value })} ...${more} />`}<//>`;
  const own = facets.value.find((each) => each.name === it.facets[0]?.name)?.effective ?? facet.value?.effective;
  const setFacet = (/** @type {number} */ at, /** @type {any} */ change) => set({ facets: it.facets.map((/** @type {any} */ each, /** @type {number} */ i) => (i === at ? { ...each, ...change } : each)) });
  const move = (/** @type {number} */ at) => set({ facets: it.facets.map((/** @type {any} */ each, /** @type {number} */ i, /** @type {any[]} */ all) => (i === at - 1 ? all[at] : i === at ? all[at - 1] : each)) });
  const free = facets.value.filter((each) => !it.facets.some((/** @type {any} */ one) => one.name === each.name));
  return html`<section class="card" aria-label="What it is made of"><div class="body stack loose">
    <div class="stack tight"><${Segments} label="Kind" value=${it.kind} onChange=${choose} options=${Object.entries(KINDS).map(([value, name]) => ({ value, name }))} /><p class="small muted">${SAYS[it.kind]}</p></div>
    <div class="fields wide">
      <${Select} label="Form" value=${it.form} onChange=${(/** @type {string} */ form) => set({ form })} options=${able(it.kind).map((/** @type {any} */ each) => ({ value: each.name, name: each.name }))} />
      <${Select} label="File" value=${it.file_type} onChange=${(/** @type {string} */ file_type) => set({ file_type })} options=${(forms?.file_types ?? ["jsonl"]).map((/** @type {string} */ value) => ({ value, name: { jsonl: "JSON Lines", json: "JSON", parquet: "Parquet" }[value] ?? value }))} />
      <${Select} label="Prompts" value=${it.prompts} onChange=${(/** @type {string} */ prompts) => set({ prompts })} options=${[["as-is", "as they are"], ["as-user", "raw ones as a user's turn"], ["raw", "raw ones only"], ["messages", "chats only"]].map(([value, name]) => ({ value, name }))} /></div>
    <fieldset class="plain stack tight"><legend class="label">Facets, in order: a sample goes out under the first that has something of it</legend>
      ${it.facets.map((/** @type {any} */ each, /** @type {number} */ at) => html`<div class="facet-row" key=${at}>
        <select class="select" aria-label=${`Facet ${at + 1}`} value=${each.name} onChange=${(/** @type {any} */ event) => setFacet(at, { name: event.currentTarget.value })}>${facets.value.map((one) => html`<option key=${one.name}>${one.name}</option>`)}</select>
        <input class="input" aria-label=${`How much of facet ${at + 1}`} placeholder="all, 100 or 25%" value=${each.amount} onInput=${(/** @type {any} */ event) => setFacet(at, { amount: event.currentTarget.value })} />
        <select class="select" aria-label=${`Order of facet ${at + 1}`} value=${each.order} onChange=${(/** @type {any} */ event) => setFacet(at, { order: event.currentTarget.value })}>${["oldest", "newest", "random"].map((order) => html`<option key=${order}>${order}</option>`)}</select>
        <span class="row"><${Button} small kind="quiet" icon="up" label=${`Move facet ${at + 1} up`} why=${at ? null : "It is the first"} onClick=${() => move(at)} /><${Button} small kind="quiet" icon="close" label=${`Remove facet ${at + 1}`} onClick=${() => set({ facets: it.facets.filter((/** @type {any} */ _, /** @type {number} */ i) => i !== at) })} /></span></div>`)}
      <div><${Button} small icon="plus" why=${free.length ? null : facets.value.length ? "Every facet is there" : "There is no facet yet"} onClick=${() => set({ facets: [...it.facets, { name: free[0].name, amount: "", order: "oldest" }] })}>Facet<//>
        ${!it.facets.length && html` <span class="small muted">none: every completion, whatever is thought of it (SFT and prompts only)</span>`}</div></fieldset>
    <${FilterChoice} filter=${it.filter} onChange=${(/** @type {any} */ filter) => set({ filter })} />
    <div class="stack tight"><span class="label">Thresholds; empty: the facet's own</span><div class="fields">
      ${bound("good_rating", "Good from rating", { min: 0, max: 10, placeholder: own?.good_rating ?? "" })}
      ${it.kind === "kto" && bound("bad_rating", "Bad up to rating", { min: 0, max: 10, placeholder: own?.bad_rating ?? "" })}
      ${bound("mean_logprob", "Mean logprob at least", { max: 0, placeholder: own?.mean_logprob ?? "none" })}
      ${bound("min_logprob", "Lowest logprob at least", { max: 0, placeholder: own?.min_logprob ?? "none" })}
      ${bound("p10_logprob", "Tenth percentile at least", { max: 0, placeholder: "none" })}
      ${bound("percentile", "Not the lowest … %", { min: 0, max: 99, placeholder: "none" })}</div></div>
    <details class="params" open=${Boolean(it.target_model || it.on_policy || it.truncated || it.archived || it.per_sample || it.max_tokens || it.validation || password)}><summary><${Icon} name="chevron" size=${13} />Target model, permissions, split, encryption</summary>
      <div class="stack" style=${{ marginTop: "10px" }}><div class="fields">
        <${Select} label="Target model" value=${it.target_model} onChange=${(/** @type {string} */ target_model) => set({ target_model })} options=${[{ value: "", name: `the facet's${own ? ` (${own.target_model})` : ""}` }, ...models.value.map((each) => ({ value: each.name, name: each.name }))]} />
        ${bound("max_tokens", "Tokens at most", { min: 1, placeholder: "no limit" })}
        ${bound("per_sample", "Rows of a sample at most", { min: 1, placeholder: it.kind === "sft" ? "1" : "all" })}
        ${["dpo", "reward"].includes(it.kind) && bound("margin", "Ratings apart by", { min: 1, placeholder: "1" })}
        ${bound("validation", "Share for validation", { min: 0, max: 0.9, step: 0.05, placeholder: "0" })}
        ${bound("seed", "Seed", { step: 1, placeholder: "0" })}
        <${Field} label="Encrypt under a password">${(/** @type {string} */ id) => html`<input id=${id} class="input" type="password" autocomplete="new-password" value=${password} placeholder="not encrypted" onInput=${(/** @type {any} */ event) => setPassword(event.currentTarget.value)} />`}<//></div>
        <div class="row wrap">${[["truncated", "Truncated ones too"], ["archived", "Archived ones too"], ["on_policy", "Only what the target made alone"]].map(([name, label]) => html`<${Check} key=${name} checked=${it[name]} onChange=${(/** @type {boolean} */ on) => set({ [name]: on })}>${label}<//>`)}</div></div></details>
    ${wrong && html`<p class="small" role="alert" style=${{ color: "var(--danger-text)" }}>${wrong}</p>`}
  </div></section>`;
}
