/** How files come in: where to, under which facet, what counts as the same, what is left out. */

import { api } from "../api.js";
import { Check, Field, Segments, Select } from "../components/controls.js";
import { Icon } from "../components/icon.js";
import { useLoaded } from "../components/states.js";
import { html } from "../preact.js";
import { facets } from "../state.js";

const OUTCOMES = [["shared_success", "both right"], ["shared_failure", "both wrong"], ["new_failure", "newly wrong"], ["fixed", "fixed"]];

/** @param {{ it: any, set: (change: any) => void, look: import("../types.js").Look | null, password: string, setPassword: (text: string) => void, failed: boolean }} props */
export function ImportOptions({ it, set, look, password, setPassword, failed }) {
  const groups = useLoaded(() => api.groups(), []).value?.items ?? [];
  const tags = useLoaded(() => api.tags(), []).value?.items ?? [];
  const formats = new Set(look?.files.map((each) => each.format.split(":")[0]));
  const line = (/** @type {string} */ name, /** @type {string} */ label, /** @type {any} */ more = {}, /** @type {any} */ hint = null) => html`<${Field} label=${label} hint=${hint}>${(/** @type {string} */ id) => html`<input id=${id} class="input" value=${it[name]} onInput=${(/** @type {any} */ event) => set({ [name]: event.currentTarget.value })} ...${more} />`}<//>`;
  const toggle = (/** @type {string} */ outcome) => set({ only: it.only.includes(outcome) ? it.only.filter((/** @type {string} */ each) => each !== outcome) : [...it.only, outcome] });
  return html`<section class="card" aria-label="How it comes in"><div class="head"><h2>How it comes in</h2></div><div class="body stack">
    <datalist id="import-facets">${facets.value.map((each) => html`<option key=${each.name} value=${each.name} />`)}</datalist>
    <datalist id="import-groups">${groups.map((/** @type {any} */ each) => html`<option key=${each.path} value=${each.path} />`)}</datalist>
    <datalist id="import-tags">${tags.map((/** @type {any} */ each) => html`<option key=${each.name} value=${each.name} />`)}</datalist>
    <div class="fields wide">
      ${line("facet", "Keep judgements under the facet", { list: "import-facets", placeholder: "none: they are left out" }, "a new name makes a new facet")}
      ${line("group", "Group", { list: "import-groups", placeholder: "as the file says" })}
      ${line("tags", "Tags", { list: "import-tags", placeholder: "one, another" })}
      ${line("model", "Who wrote the answers", { placeholder: "imported" }, "for files that do not say")}</div>
    <div class="row wrap"><span class="label">Prompts that are there already</span><${Segments} label="Duplicates" value=${it.duplicates} onChange=${(/** @type {string} */ duplicates) => set({ duplicates })}
        options=${[{ value: "exact", name: "Exact" }, { value: "normalised", name: "But for case and marks" }, { value: "near", name: "Nearly" }]} />
      ${it.duplicates === "near" && html`<label class="row small">alike from <input class="input number" style=${{ width: "76px" }} type="number" min="0.1" max="1" step="0.05" aria-label="How alike" value=${it.near} onInput=${(/** @type {any} */ event) => set({ near: event.currentTarget.value })} /></label>`}</div>
    <${Check} checked=${it.skip_bad} onChange=${(/** @type {boolean} */ skip_bad) => set({ skip_bad })}>Leave bad records out (otherwise the first stops everything)<//>
    ${formats.has("lm-eval") && html`<div class="stack"><div class="row wrap"><span class="label">Of two runs bring in</span>${OUTCOMES.map(([value, name]) => html`<${Check} key=${value} checked=${it.only.includes(value)} onChange=${() => toggle(value)}>${name}<//>`)}<span class="tiny muted">none chosen: all</span></div>
      <div class="fields wide">${line("filter", "Filter that decides", { placeholder: "the task's first" })}${line("metric", "Metric that decides", { placeholder: "the first" })}</div></div>`}
    ${formats.has("llama-factory") && line("datasets", "Data sets of dataset_info.json", { placeholder: "all" })}
    ${(failed || password) && html`<${Field} label="Password" hint="of an encrypted file; it is not kept">${(/** @type {string} */ id) => html`<input id=${id} class="input" type="password" autocomplete="off" value=${password} onChange=${(/** @type {any} */ event) => setPassword(event.currentTarget.value)} />`}<//>`}
    <details class="params"><summary><${Icon} name="chevron" size=${13} />Ratings and limits</summary><div class="fields" style=${{ marginTop: "10px" }}>
      <${Select} label="Right and good becomes" value=${it.good_rating} onChange=${(/** @type {string} */ good_rating) => set({ good_rating })} options=${numbers(1, 10)} />
      <${Select} label="Wrong and bad becomes" value=${it.bad_rating} onChange=${(/** @type {string} */ bad_rating) => set({ bad_rating })} options=${numbers(0, 9)} />
      ${line("limit", "Records at most", { type: "number", min: 1, placeholder: "all" })}</div>
      <div style=${{ marginTop: "10px" }}><${Check} checked=${it.unrated} onChange=${(/** @type {boolean} */ unrated) => set({ unrated })}>Answers of which a file says nothing stay unrated<//></div></details>
  </div></section>`;
}

function numbers(/** @type {number} */ first, /** @type {number} */ last) {
  return Array.from({ length: last - first + 1 }, (_, i) => ({ value: first + i, name: String(first + i) }));
}
