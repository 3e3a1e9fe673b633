/** Only what matches a filter goes in: built here, or one that was saved. */

import { api } from "../api.js";
import { Button } from "../components/controls.js";
import { useLoaded } from "../components/states.js";
import { fromFilter, inWords } from "../domain/filters.js";
import { html, useState } from "../preact.js";
import { changed } from "../state.js";
import { FilterBuilder } from "./filter_builder.js";

/** @param {{ filter: any, onChange: (filter: any) => void }} props filter: as the server takes it; null: everything */
export function FilterChoice({ filter, onChange }) {
  const [open, setOpen] = useState(false);
  const saved = useLoaded(() => api.filters(), [changed.value]).value?.items ?? [];
  const built = fromFilter(filter);
  const take = (/** @type {string} */ name) => {
    setOpen(false); // the builder begins with the filter that it is opened on
    onChange(saved.find((/** @type {any} */ each) => each.name === name)?.filter ?? null);
  };
  return html`<div class="stack tight"><div class="row wrap"><span class="label">Only what matches</span>${built ? built.rows.map((row, at) => html`<span class="mark info" key=${at}>${inWords(row)}</span>`) : filter && html`<span class="mark info">a nested filter</span>`}
      <${Button} small icon="filter" pressed=${open} onClick=${() => setOpen(!open)}>${filter ? "Change the filter" : "Filter"}<//>
      ${saved.length > 0 && html`<select class="select" aria-label="A saved filter" style=${{ width: "auto" }} value="" onChange=${(/** @type {any} */ event) => take(event.currentTarget.value)}><option value="">a saved one…</option>${saved.map((/** @type {any} */ each) => html`<option key=${each.name}>${each.name}</option>`)}</select>`}
      ${filter && html`<${Button} small kind="quiet" icon="close" label="No filter" onClick=${() => { setOpen(false); onChange(null); }} />`}</div>
    ${open && html`<${FilterBuilder} filter=${filter} onChange=${onChange} onClose=${() => setOpen(false)} />`}</div>`;
}
