/** What was done to the workspace, newest first; undo and redo go along it. */

import { api } from "../api.js";
import { Button } from "../components/controls.js";
import { Empty, Failure, Loading, useLoaded } from "../components/states.js";
import { ago } from "../domain/text.js";
import { html, useEffect, useState } from "../preact.js";
import { changed, redo, sayError, undo } from "../state.js";

export function HistoryPage() {
  const first = useLoaded(() => api.history({ limit: 100 }), [changed.value]);
  const [more, setMore] = useState(/** @type {{ items: any[], next: any }} */ ({ items: [], next: null }));
  useEffect(() => setMore({ items: [], next: first.value?.next ?? null }), [first.value]);
  const items = [...(first.value?.items ?? []), ...more.items];
  const further = () => api.history({ limit: 100, after: more.next }).then((page) => setMore({ items: [...more.items, ...page.items], next: page.next }), sayError);
  return html`<div class="page-body"><div class="page-head"><div class="grow" style=${{ flexBasis: "260px" }}><h1>History</h1><p class="muted">Every change of the workspace, kept with it. Undo and redo outlive a reload.</p></div>
      <${Button} icon="undo" keys="Z" onClick=${undo}>Undo<//><${Button} icon="redo" keys="Shift+Z" onClick=${redo}>Redo<//></div>
    ${first.error ? html`<${Failure} error=${first.error} again=${first.again} />` : !first.value ? html`<${Loading} />` : !items.length ? html`<${Empty} title="Nothing was done yet" />`
      : html`<ol class="card timeline">${items.map((each) => html`<${Step} key=${each.id} step=${each} />`)}</ol>${more.next && html`<div class="row" style=${{ justifyContent: "center", marginTop: "14px" }}><${Button} onClick=${further}>Older<//></div>`}`}</div>`;
}

/** @param {{ step: import("../types.js").Action }} props */
function Step({ step }) {
  const [open, setOpen] = useState(false);
  const changes = useLoaded(() => (open ? api.changesOf(step.id) : Promise.resolve(null)), [open, step.id]).value;
  return html`<li class=${step.state === "done" ? "" : "undone"}><span class="dot"></span><div class="stack tight" style=${{ gap: 0 }}><span class="row"><span class="what"><bdi>${step.name}</bdi>${step.detail && html` <span class="muted"><bdi>${step.detail}</bdi></span>`}</span>${step.state !== "done" && html`<span class="mark">${step.state}</span>`}</span>
      ${open && changes && html`<ul class="small muted">${changes.items.map((/** @type {any} */ each, /** @type {number} */ at) => html`<li key=${at}>${each.kind} in ${each.table}: ${each.row_ids.length > 5 ? `${each.row_ids.length} rows` : each.row_ids.join(", ")}${each.columns.length ? ` (${each.columns.join(", ")})` : ""}</li>`)}</ul>`}</div>
    <span class="row"><span class="faint tiny">${step.author ? html`<bdi>${step.author}</bdi> · ` : ""}${ago(step.created_at)}</span><${Button} small kind="quiet" icon=${open ? "down" : "chevron"} label=${open ? "Hide what changed" : "What changed"} onClick=${() => setOpen(!open)} /></span></li>`;
}
