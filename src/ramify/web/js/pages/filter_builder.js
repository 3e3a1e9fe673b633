/** A filter put together from conditions; it acts at once, and can be kept under a name. */

import { api } from "../api.js";
import { Button, Check, Segments } from "../components/controls.js";
import { askFor } from "../components/overlays.js";
import { useLoaded } from "../components/states.js";
import { emptyRow, fieldName, fromFilter, toFilter } from "../domain/filters.js";
import { html, useEffect, useRef, useState } from "../preact.js";
import { act, facets, models, sayError } from "../state.js";

/** @param {{ filter: any, onChange: (filter: any) => void, onClose: () => void }} props */
export function FilterBuilder({ filter, onChange, onClose }) {
  const [asked] = useState(() => api.filterFields());
  const fields = useLoaded(() => asked, []).value?.items ?? [];
  const [built, setBuilt] = useState(fromFilter(filter) ?? { match: /** @type {"all"} */ ("all"), rows: [] });
  const now = useRef(built);
  const change = (/** @type {any} */ next) => {
    setBuilt((now.current = next));
    onChange(toFilter(next));
  };
  const setRow = (/** @type {number} */ at, /** @type {any} */ row) => change({ ...built, rows: built.rows.map((each, i) => (i === at ? row : each)) });
  // A click may come before the fields do; it waits for them.
  const add = async () => {
    const known = await asked.then(({ items }) => items, sayError);
    if (!known) return;
    const field = known.find((/** @type {any} */ each) => each.field === "truncated") ?? known[0];
    change({ ...now.current, rows: [...now.current.rows, { ...emptyRow(field), ...(field.needs_facet ? { facet: facets.value[0]?.name } : {}) }] });
  };
  const save = async () => {
    const name = await askFor({ title: "Save this filter", label: "Name", button: "Save" });
    if (name?.trim()) await act(() => api.saveFilter({ name: name.trim(), filter: toFilter(built) }), `Saved the filter ${name.trim()}`);
  };
  return html`<section class="card fade" style=${{ margin: "0 16px 12px" }} aria-label="Filter"><div class="body stack">
    <div class="row wrap"><span class="small muted">Samples for which</span>
      <${Segments} label="Conditions" value=${built.match} onChange=${(/** @type {any} */ match) => change({ ...built, match })} options=${[{ value: "all", name: "all" }, { value: "any", name: "any" }]} />
      <span class="small muted">of these hold</span><${Button} kind="quiet" icon="close" label="Close the filter" class="push" onClick=${onClose} /></div>
    ${built.rows.map((row, at) => html`<${Condition} key=${at} row=${row} fields=${fields} onChange=${(/** @type {any} */ next) => setRow(at, next)} onRemove=${() => change({ ...built, rows: built.rows.filter((_, i) => i !== at) })} />`)}
    <div class="row"><${Button} icon="plus" small onClick=${add}>Condition<//>
      <${Button} icon="save" small kind="quiet" why=${built.rows.length ? null : "Add a condition first"} onClick=${save}>Save filter…<//></div>
  </div></section>`;
}

/** What is typed stays as it was typed, whatever the list does meanwhile; it acts a moment later. */
function Value({ row, kind, onValue }) {
  const [text, setText] = useState(Array.isArray(row.value) ? row.value.join(", ") : String(row.value ?? ""));
  const later = useRef({ timer: 0, act: onValue });
  later.current.act = onValue;
  useEffect(() => () => clearTimeout(later.current.timer), []);
  const number = kind === "number" || kind === "id";
  const one = (/** @type {string} */ each) => (number && each.trim() !== "" ? Number(each) : each.trim());
  const type = (/** @type {string} */ next) => {
    setText(next);
    clearTimeout(later.current.timer);
    later.current.timer = window.setTimeout(() => later.current.act(row.op === "in" ? next.split(",").map(one).filter((each) => each !== "") : one(next)), 250);
  };
  return html`<input class="input" aria-label="Value" type=${number && row.op !== "in" ? "number" : kind === "time" ? "date" : "text"} step="any" value=${text} onInput=${(/** @type {any} */ event) => type(event.currentTarget.value)} />`;
}

function Condition({ row, fields, onChange, onRemove }) {
  const field = fields.find((/** @type {any} */ each) => each.field === row.field);
  if (!field) return null;
  const value = (/** @type {any} */ next) => onChange({ ...row, value: next });
  const choose = (/** @type {string} */ name) => {
    const next = fields.find((/** @type {any} */ each) => each.field === name);
    onChange({ ...emptyRow(next), ...(next.needs_facet ? { facet: facets.value[0]?.name ?? "" } : {}) });
  };
  const input = field.kind === "flag"
    ? html`<select class="select" aria-label="Value" value=${String(row.value)} onChange=${(/** @type {any} */ event) => value(event.currentTarget.value === "true")}><option value="true">yes</option><option value="false">no</option></select>`
    : field.values?.length && row.op === "is"
      ? html`<select class="select" aria-label="Value" value=${row.value} onChange=${(/** @type {any} */ event) => value(event.currentTarget.value)}>${field.values.map((/** @type {string} */ each) => html`<option key=${each}>${each}</option>`)}</select>`
      : html`<${Value} key=${`${row.field} ${row.op}`} row=${row} kind=${field.kind} onValue=${value} />`;
  return html`<div class="filter-row">
    <select class="select" aria-label="Field" value=${row.field} onChange=${(/** @type {any} */ event) => choose(event.currentTarget.value)}>
      ${["sample", "completion"].map((of) => html`<optgroup key=${of} label=${of}>${fields.filter((/** @type {any} */ each) => each.of === of).map((/** @type {any} */ each) => html`<option key=${each.field} value=${each.field}>${fieldName(each.field)}</option>`)}</optgroup>`)}</select>
    <select class="select" aria-label="Comparison" value=${row.op} onChange=${(/** @type {any} */ event) => onChange({ ...row, op: event.currentTarget.value, value: event.currentTarget.value === "in" ? [row.value] : Array.isArray(row.value) ? row.value[0] : row.value })}>${field.ops.map((/** @type {string} */ each) => html`<option key=${each}>${each}</option>`)}</select>
    ${input}
    ${field.needs_facet ? html`<select class="select" aria-label="Facet" value=${row.facet} onChange=${(/** @type {any} */ event) => onChange({ ...row, facet: event.currentTarget.value })}>${facets.value.map((each) => html`<option key=${each.name}>${each.name}</option>`)}</select>`
      : field.may_name_model ? html`<select class="select" aria-label="Scoring model" value=${row.model ?? ""} onChange=${(/** @type {any} */ event) => onChange({ ...row, model: event.currentTarget.value || undefined })}><option value="">its own model</option>${models.value.map((each) => html`<option key=${each.name}>${each.name}</option>`)}</select>` : html`<span></span>`}
    <${Check} checked=${Boolean(row.not)} onChange=${(/** @type {boolean} */ on) => onChange({ ...row, not: on })}>not<//>
    <${Button} kind="quiet" icon="close" label="Remove this condition" onClick=${onRemove} /></div>`;
}
