/** Training: runs there were and a new one (`#/training`), or one run, live and after (`#/training/noir-sft`). */

import { address, writeAddress } from "../address.js";
import { api } from "../api.js";
import { Button, Segments } from "../components/controls.js";
import { Failure, Loading, usePages } from "../components/states.js";
import { ago, count, duration, fixed } from "../domain/text.js";
import { html } from "../preact.js";
import { changed, remembered } from "../state.js";
import { NewTraining } from "./training_new.js";
import { NewScratch } from "./training_scratch.js";
import { RunPage } from "./training_run.js";

/** @import * as T from "../types.js" */

const MARKS = { running: "info", completed: "good", cancelled: "", failed: "truncated", killed: "truncated" };

const from = remembered("training-from", "judged");

export function TrainingPage() {
  const [key] = address.value.parts;
  return key ? html`<${RunPage} key=${key} id=${key} />` : html`<${Overview} />`;
}

/** What a run does, in words. @param {T.TrainingHead} run */
export const whatOf = (run) => (run.model ? `${run.method.toUpperCase()} of ${run.model}` : run.method === "tokenizer" ? "A vocabulary" : "A model from scratch");

/** @param {{ run: T.TrainingHead }} props */
export function State({ run }) {
  return html`<span class=${`mark ${MARKS[run.state]}`} title=${run.state === "killed" ? "Its process ended without a word" : undefined}>${run.state === "running" && html`<span class="spinner" style=${{ width: "10px", height: "10px" }}></span>`}${run.state}</span>`;
}

function Overview() {
  const found = usePages((after) => api.trainings({ limit: 20, after }), [changed.value]), items = found.items;
  return html`<div class="page-body training"><div class="page-head"><div class="grow"><h1>Training</h1><p class="muted">From judged completions to a model that writes as you judged: it learns, is measured before and after, and becomes the facet's next target model.</p></div></div>
    <div class="stack loose"><${Segments} label="What is learned from" value=${from.value} onChange=${(/** @type {string} */ next) => (from.value = next)} options=${[{ value: "judged", name: "Judged completions" }, { value: "scratch", name: "From scratch" }]} />
      ${from.value === "scratch" ? html`<${NewScratch} />` : html`<${NewTraining} />`}
      <section aria-label="Runs"><h2>Runs</h2>${found.error ? html`<${Failure} error=${found.error} again=${found.again} />` : !items ? html`<${Loading} lines=${2} />`
        : !items.length ? html`<p class="muted">None yet. Those that <code>ramify train</code> begins on this workspace are here too.</p>`
        : html`<ul class="card training-runs">${items.map((run) => html`<li key=${run.key}><a href=${writeAddress(["training", run.key])}><strong><bdi class="clip">${run.key}</bdi></strong></a><${State} run=${run} />
            <span class="muted small clip">${whatOf(run)}${run.facets.length ? `, ${run.facets.join(", ")}` : ""}</span>
            <span class="muted small number">${run.steps ? `${count(run.step)} of ${count(run.steps)} steps` : `${count(run.step)} steps`}${run.loss === null ? "" : `, loss ${fixed(run.loss, 3)}`}</span>
            <span class="muted small">${run.state === "running" && run.left_s !== null ? `about ${duration(run.left_s)} left` : ago(run.ended_at ?? run.started_at)}</span></li>`)}</ul>
          ${found.next && html`<${Button} onClick=${found.further}>Older ones<//>`}`}</section></div></div>`;
}
