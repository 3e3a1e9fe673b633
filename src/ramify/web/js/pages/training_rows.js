/** The rows of a run token by token, as the trainer will see them: which are learned, whether an EOS is, what speaks against one. */

import { writeAddress } from "../address.js";
import { api } from "../api.js";
import { Button, Check } from "../components/controls.js";
import { Icon } from "../components/icon.js";
import { Failure, usePages } from "../components/states.js";
import { count, plural, visible } from "../domain/text.js";
import { html, useState } from "../preact.js";

/** @import * as T from "../types.js" */

/** @param {{ check: T.TrainingCheck }} props */
export function Rows({ check }) {
  const [open, setOpen] = useState(false), [bad, setBad] = useState(false), [ids, setIds] = useState(false);
  const found = usePages((after) => (open ? api.trainingRows(check.key, { bad, after, limit: 10 }) : Promise.resolve({ items: [], next: null })), [check.key, bad, open]);
  const wrong = check.report?.bad_rows ?? 0;
  return html`<details class="params training-rows" open=${open} onToggle=${(/** @type {any} */ event) => setOpen(event.currentTarget.open)}><summary><${Icon} name="chevron" size=${13} /><span>Every row, token by token</span>${wrong > 0 && html`<span class="mark truncated">${plural(wrong, "row")} cannot be used</span>`}</summary>
    ${open && html`<div class="stack" style=${{ marginTop: "10px" }}><div class="row wrap"><${Check} checked=${ids} onChange=${setIds}>Show ids<//>${wrong > 0 && html`<${Check} checked=${bad} onChange=${setBad}>Only those that cannot be used<//>`}
        <span class="legend push"><span class="step"><span class="learned">learned</span></span><span class="step"><span class="unlearned">read only</span></span></span></div>
      <ol class="stack">${(found.items ?? []).map((row) => html`<${Row} key=${row.number} row=${row} ids=${ids} />`)}</ol>
      ${found.error ? html`<${Failure} error=${found.error} again=${found.again} />` : found.loading ? html`<span class="spinner" role="status" aria-label="Reading rows"></span>` : found.next && html`<div><${Button} small onClick=${found.further}>More<//></div>`}</div>`}</details>`;
}

/** @param {{ row: T.TrainingRow, ids: boolean }} props */
function Row({ row, ids }) {
  const sides = row.sides.length > 1 ? ["chosen", "rejected"] : [row.label === null ? "" : row.label ? "good" : "bad"];
  return html`<li class="training-row"><div class="row wrap small"><strong class="number">${row.number}</strong>${row.sample === null ? html`<bdi class="muted">${row.name}</bdi>` : html`<a href=${writeAddress(["samples", row.sample])}><bdi>${row.name}</bdi></a>`}
      ${row.validation && html`<span class="mark info">held out</span>`}<span class="muted number">${count(row.prompt_tokens)} of the prompt, ${count(row.learned)} learned</span></div>
    ${row.problems.map((each) => html`<p class="small wrong" key=${each}>${each}</p>`)}
    ${row.sides.map((side, at) => html`<div class="row wrap top" key=${at}>${sides[at] && html`<span class=${`mark ${["chosen", "good"].includes(sides[at]) ? "good" : "warn"}`}>${sides[at]}</span>`}
      <p class="ids grow" tabindex="0" role="group" aria-label=${`${sides[at] || "completion"} of row ${row.number}: ${side.token_ids.length} tokens, ${side.learned.filter(Boolean).length} learned`}>${side.texts.map((text, i) => html`<span key=${i} class=${side.learned[i] ? "learned" : "unlearned"} title=${`${side.token_ids[i]}${side.learned[i] ? ", learned" : ""}`}><bdi>${visible(text)}</bdi>${ids && html`<sub>${side.token_ids[i]}</sub>`}</span>`)}</p>
      <span class=${`mark ${side.eos ? "good" : "warn"}`}>${side.eos ? `EOS ${side.eos_id} learned` : "no EOS learned"}</span></div>`)}</li>`;
}
