/** What a completion is worth in numbers, each with what it says; and whether a filter would let it through. */

import { api } from "../api.js";
import { Button, Check, Field, Select, TextArea } from "../components/controls.js";
import { Icon } from "../components/icon.js";
import { NO_CHECKS, qualityBody } from "../domain/quality.js";
import { html, useEffect, useState } from "../preact.js";
import { cannot, models, remembered, sayError } from "../state.js";

/** @import * as T from "../types.js" */

const kept = remembered("quality-checks", NO_CHECKS);
const judge = remembered("quality-model", "");
const DIGITS = 3; // that count: a story's fluency may be 0.00213

/** @param {{ completion: T.Completion }} props */
export function Quality({ completion }) {
  const it = { ...NO_CHECKS, ...kept.value };
  const set = (/** @type {Partial<typeof NO_CHECKS>} */ change) => (kept.value = { ...it, ...change });
  const [found, setFound] = useState(/** @type {T.Quality | null} */ (null)), [facts, setFacts] = useState(/** @type {T.QualityFacts | null} */ (null)), [busy, setBusy] = useState(false);
  useEffect(() => setFound(null), [completion.id, completion.version]);
  const ask = async () => {
    setBusy(true);
    try {
      if (!facts) setFacts(await api.qualityFacts());
      setFound(await api.quality(completion.id, qualityBody(it, judge.value)));
    } catch (error) {
      sayError(error);
    } finally {
      setBusy(false);
    }
  };
  const says = (/** @type {string} */ name) => facts?.metrics.find((each) => each.name === name);
  const bound = (/** @type {"min_length" | "max_repetition" | "coherence_threshold"} */ name, /** @type {string} */ label) => html`<${Field} label=${label}>${(/** @type {string} */ id) => html`<input id=${id} class="input number" type="number" step="any" min="0" value=${it[name]} placeholder="not checked" onInput=${(/** @type {any} */ event) => set({ [name]: event.currentTarget.value })} />`}<//>`;
  const area = (/** @type {"reference" | "sources"} */ name, /** @type {string} */ label) => html`<${Field} label=${label}>${(/** @type {string} */ id) => html`<${TextArea} id=${id} rows=${2} value=${it[name]} onInput=${(/** @type {string} */ text) => set({ [name]: text })} />`}<//>`;
  return html`<details class="params"><summary><${Icon} name="chevron" size=${13} />Quality and filter</summary><div class="stack" style=${{ marginTop: "10px" }} role="group" aria-label="Quality and filter">
    <${Select} label="Fluency and relevance under" value=${judge.value} onChange=${(/** @type {string} */ name) => (judge.value = name)} options=${[{ value: "", name: "tiny" }, ...models.value.filter((each) => each.name !== "tiny").map((each) => ({ value: each.name, name: each.name, why: cannot(each.name, "tokens") }))]} />
    ${area("reference", "Reference, for BLEU, chrF and ROUGE")}
    <div class="fields">${bound("min_length", "Characters at least")}${bound("max_repetition", "Repetition at most")}${bound("coherence_threshold", "Coherence at least")}</div>
    <div class="row wrap"><${Check} checked=${it.profanity_filter} onChange=${(/** @type {boolean} */ on) => set({ profanity_filter: on })}>No rude words<//><${Check} checked=${it.factuality_check} onChange=${(/** @type {boolean} */ on) => set({ factuality_check: on })}>Sums, dates, sources<//></div>
    ${it.profanity_filter && html`<${Field} label="Rude words">${(/** @type {string} */ id) => html`<input id=${id} class="input" value=${it.words} placeholder="an English list" onInput=${(/** @type {any} */ event) => set({ words: event.currentTarget.value })} />`}<//>`}
    ${it.factuality_check && area("sources", "Sources, in which numbers, names and quotations must stand")}
    <div><${Button} small icon="check" busy=${busy} onClick=${ask}>Measure<//></div>
    ${found?.filtered && html`<div class=${`notice ${found.filtered.passed ? "good" : "warn"}`} role="status"><${Icon} name=${found.filtered.passed ? "check" : "warn"} /><div class="stack tight"><strong>${found.filtered.passed ? "It passes" : "It does not pass"}</strong>
      ${found.filtered.reasons.map((each) => html`<span class="small" key=${each}><bdi>${each}</bdi></span>`)}${Object.entries(found.filtered.checked).map(([name, looked]) => html`<span class="tiny muted" key=${name}>${name}: ${looked}</span>`)}</div></div>`}
    ${found && html`<table class="plain"><caption class="small muted">Under <bdi>${found.model}</bdi></caption><tbody>${Object.entries(found.metrics).filter(([, value]) => value !== null).map(([name, value]) => html`<tr key=${name} title=${says(name)?.meaning}>
      <td class="muted">${name}</td><td class="number" style=${{ textAlign: "right" }}>${Number.isInteger(value) ? value : Number(value).toPrecision(DIGITS).replace("-", "−")}</td><td class="tiny muted">${says(name)?.range}${says(name)?.better === "neither" ? "" : `, ${says(name)?.better} is better`}</td></tr>`)}</tbody></table>`}
  </div></details>`;
}
