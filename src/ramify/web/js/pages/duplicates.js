/** Duplicates: what is there more than once, in clusters, and putting the spare ones away. */

import { writeAddress } from "../address.js";
import { api } from "../api.js";
import { Button, Segments } from "../components/controls.js";
import { confirm } from "../components/overlays.js";
import { Empty, Failure, Loading, useLoaded } from "../components/states.js";
import { TaskBar } from "../components/task_bar.js";
import { count, firstLine, percent, plural } from "../domain/text.js";
import { html, useState } from "../preact.js";
import { act, remembered, sayError } from "../state.js";
import { useTask } from "../tasks.js";
import { ExchangeHead } from "./exchange_tabs.js";

const kept = remembered("duplicates", { measure: "normalised", of: "samples", near: "0.85", task: /** @type {string | null} */ (null) });

export function DuplicatesPage() {
  const it = kept.value;
  const set = (/** @type {any} */ change) => (kept.value = { ...kept.value, ...change });
  const task = useTask(it.task, api.getDuplicates);
  const look = () => api.startDuplicates({ measure: it.measure, of: it.of, near: Number(it.near) }).then((made) => set({ task: made.key }), sayError);
  const running = task?.state === "running";
  return html`<div class="page-body exchange"><${ExchangeHead} page="duplicates" says="What is there more than once: to the letter, but for case and punctuation, or nearly." />
    <div class="stack loose">
      <div class="row wrap"><${Segments} label="Of what" value=${it.of} onChange=${(/** @type {string} */ of) => set({ of, task: null })} options=${[{ value: "samples", name: "Samples, by prompt" }, { value: "completions", name: "Completions of a sample" }]} />
        <${Segments} label="How alike" value=${it.measure} onChange=${(/** @type {string} */ measure) => set({ measure, task: null })} options=${[{ value: "exact", name: "Exact" }, { value: "normalised", name: "But for case and marks" }, { value: "near", name: "Nearly" }]} />
        ${it.measure === "near" && html`<label class="row small">alike from <input class="input number" style=${{ width: "76px" }} type="number" min="0.1" max="1" step="0.05" aria-label="Alike from" value=${it.near} onInput=${(/** @type {any} */ event) => set({ near: event.currentTarget.value, task: null })} /></label>`}
        <${Button} kind="primary" icon="search" busy=${running} onClick=${look}>Find duplicates<//></div>
      ${task && (running ? html`<${TaskBar} task=${task} label="Looking" />` : task.state !== "done" ? html`<${Failure} error=${new Error(task.error?.message)} />` : html`<${Clusters} task=${task} look=${look} />`)}
    </div></div>`;
}

/** @param {{ task: any, look: () => void }} props */
function Clusters({ task, look }) {
  const { report } = task;
  const [wanted, setWanted] = useState(50);
  const { value, error, again } = useLoaded(() => api.clusters(task.key, { limit: wanted }), [task.key, wanted]);
  if (!report.clusters) return html`<${Empty} title="Nothing is there twice">${plural(report.looked_at, task.title.split(",")[0].replace(/s$/, ""))} were looked at.<//>`;
  if (error) return html`<${Failure} error=${error} again=${again} />`;
  if (!value) return html`<${Loading} />`;
  const away = async (/** @type {any} */ cluster) => {
    const spare = cluster.ids.slice(1), samples = cluster.kind === "samples";
    if (!(await confirm({ title: `Archive ${plural(spare.length, samples ? "sample" : "completion")}?`, text: "The oldest stays. Archived ones are neither listed nor exported; undo brings them back.", button: "Archive" }))) return;
    if (await act(() => (samples ? api.bulkSamples : api.bulkCompletions)({ ids: spare, action: "archive" }), "Archived")) look();
  };
  return html`<p class="number" role="status"><strong>${plural(report.clusters, "cluster")}</strong> <span class="muted">in ${count(report.looked_at)} looked at; ${count(report.spare)} could go</span></p>
    <ul class="card timeline clusters" aria-label="Clusters">${value.items.map((/** @type {any} */ each) => html`<li key=${each.ids[0]}><span class="number strong">${each.ids.length}</span>
      <span class="stack tight" style=${{ gap: 0 }}><bdi class="clip">${firstLine(each.text, 120) || "(empty)"}</bdi><span class="tiny muted row wrap">${each.likeness < 1 ? `${percent(each.likeness)} alike · ` : ""}${each.ids.slice(0, 8).map((/** @type {number} */ id) => html`<a key=${id} href=${writeAddress([each.kind, id])}>${id}</a>`)}${each.ids.length > 8 ? "…" : ""}</span></span>
      <${Button} small onClick=${() => away(each)}>Archive the spare<//></li>`)}</ul>
    ${value.next && wanted < 500 && html`<div class="row" style=${{ justifyContent: "center" }}><${Button} onClick=${() => setWanted(Math.min(500, wanted + 150))}>More<//></div>`}`;
}
