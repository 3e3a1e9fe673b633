/** Before and after: losses, pairs, unrelated text, and every curated completion by its tokens. */

import { writeAddress } from "../address.js";
import { api } from "../api.js";
import { Button, Segments } from "../components/controls.js";
import { Icon } from "../components/icon.js";
import { Failure, Loading, useLoaded, usePages } from "../components/states.js";
import { TaskBar } from "../components/task_bar.js";
import { heatClass, legend, stepOf } from "../domain/heatmap.js";
import { count, fixed, percent, plural } from "../domain/text.js";
import { html, useState } from "../preact.js";
import { sayError } from "../state.js";
import { useTask } from "../tasks.js";

/** @import * as T from "../types.js" */

const PARTS = { training: "training rows", validation: "held-out rows" };
/** @param {number} value */
const signed = (value, digits = 3) => `${value >= 0 ? "+" : ""}${fixed(value, digits)}`;

/** @param {{ run: T.TrainingRun, onMade: () => void }} props */
export function BeforeAfter({ run, onMade }) {
  const [key, setKey] = useState(/** @type {string | null} */ (null));
  const task = useTask(key, api.getTask, (ended) => (ended.state === "done" ? onMade() : ended.state === "failed" && sayError(new Error(ended.error?.message))));
  const found = useLoaded(() => (run.has_report ? api.trainingReport(run.key) : Promise.resolve(null)), [run.key, run.has_report, task?.state]);
  const measure = () => api.measureTraining(run.key).then((made) => setKey(made.key), sayError);
  const working = task?.state === "running";
  return html`<section class="card" aria-label="Before and after"><div class="head"><h2 class="grow">Before and after</h2><${Button} small icon="redo" why=${working ? "It is being measured" : null} onClick=${measure}>${run.has_report ? "Measure again" : "Measure"}<//></div><div class="body stack loose">
    ${task && working && html`<${TaskBar} task=${task} label="Comparing before and after" />`}
    ${found.error ? html`<${Failure} error=${found.error} again=${found.again} />` : found.loading && !found.value ? html`<${Loading} lines=${3} />` : !found.value ? !working && html`<p class="muted">Not measured yet.</p>` : html`<${Numbers} report=${found.value} /><${Completions} run=${run} round=${task?.state ?? ""} />`}</div></section>`;
}

/** @param {{ report: T.BeforeAfter }} props */
function Numbers({ report }) {
  const other = report.unrelated;
  const rows = [
    ...report.losses.map((each) => ({ name: `Loss on ${PARTS[each.part]}`, of: `${plural(each.rows, "row")}, nats a token`, before: fixed(each.before, 3), after: fixed(each.after, 3), change: signed(each.after - each.before), good: each.after < each.before })),
    ...report.pairs.flatMap((each) => [
      { name: `Better one likelier, ${PARTS[each.part]}`, of: plural(each.rows, "pair"), before: percent(each.accuracy_before), after: percent(each.accuracy_after), change: `${signed(100 * (each.accuracy_after - each.accuracy_before), 1)} points`, good: each.accuracy_after >= each.accuracy_before },
      { name: `By so many nats, ${PARTS[each.part]}`, of: "mean of a pair", before: fixed(each.margin_before), after: fixed(each.margin_after), change: signed(each.margin_after - each.margin_before, 2), good: each.margin_after > each.margin_before },
    ]),
    { name: "Loss on unrelated text", of: `what ${report.base} says unasked, ${count(other.tokens)} tokens`, before: fixed(other.before, 3), after: fixed(other.after, 3), change: `${signed(100 * other.worse, 1)} %`, good: !other.alarm },
  ];
  return html`${other.alarm && html`<div class="notice error" role="alert"><${Icon} name="warn" /><span>Text that has nothing to do with these rows became ${(100 * other.worse).toFixed(1)} % less likely (more than ${Math.round(100 * other.bound)} %). Train fewer steps, at a lower rate, with an adapter, or keep what it says unasked.</span></div>`}
    <div class="scroll-x" tabindex="0" role="group" aria-label="Numbers before and after"><table class="plain training-numbers"><thead><tr><th scope="col">Measured</th><th scope="col">Before</th><th scope="col">After</th><th scope="col">Change</th></tr></thead>
      <tbody>${rows.map((each) => html`<tr key=${each.name}><th scope="row">${each.name}<br /><span class="tiny muted">${each.of}</span></th><td class="number">${each.before}</td><td class="number">${each.after}</td><td class=${`number ${each.good ? "better" : "worse"}`}>${each.change}</td></tr>`)}</tbody></table></div>`;
}

const ORDERS = [{ value: "gained", name: "Likelier first" }, { value: "lost", name: "Less likely first" }, { value: "rows", name: "As trained" }];

/** @param {{ run: T.TrainingRun, round: string }} props */
function Completions({ run, round }) {
  const [order, setOrder] = useState("gained"), found = usePages((after) => api.trainingChanges(run.key, { order, after, limit: 10 }), [run.key, order, round]);
  return html`<div class="stack"><div class="row wrap training-order"><h3>Every completion</h3><${Segments} label="Order" value=${order} options=${ORDERS} onChange=${setOrder} /></div>
    <p class="legend" aria-label="Colours of tokens">${legend("difference").map(({ step, says }) => html`<span class="step" key=${step}><span class=${`swatch ${heatClass("difference", step)}`}>a</span>${says}</span>`)}</p>
    ${found.error ? html`<${Failure} error=${found.error} again=${found.again} />` : !found.items ? html`<${Loading} lines=${3} />` : html`<ol class="stack">${found.items.map((each, at) => html`<${Changed} key=${at} each=${each} />`)}</ol>`}
    ${found.next && html`<div><${Button} small onClick=${found.further}>More<//></div>`}</div>`;
}

/** @param {{ each: T.Change }} props */
function Changed({ each }) {
  const told = `${each.side}, ${signed(each.change)} nats a token`;
  return html`<li class="training-row"><div class="row wrap small">${each.completion === null ? html`<bdi class="muted">${each.name}</bdi>` : html`<a href=${writeAddress(["completions", each.completion])}><bdi>${each.name}</bdi></a>`}
      <span class=${`mark ${["chosen", "good"].includes(each.side) ? "good" : "warn"}`}>${each.side}</span>${each.validation && html`<span class="mark info">held out</span>`}<strong class="number push">${signed(each.change)} nats a token</strong></div>
    <p class="tokens changed" role="group" tabindex="0" aria-label=${told}>${each.tokens.map((token, at) => {
      const change = each.after[at] - each.before[at];
      return html`<span key=${at} class=${`${heatClass("difference", stepOf("difference", change) ?? 0)} ${/^<\|.*\|>$/.test(token) ? "end-mark" : ""}`} title=${`${fixed(each.before[at])} → ${fixed(each.after[at])} nats`}><bdi>${token}</bdi></span>`;
    })}</p></li>`;
}
