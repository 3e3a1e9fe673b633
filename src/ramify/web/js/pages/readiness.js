/** Readiness: what a facet could send out today, what is missing, how its completions measure; and the way to mend it. */

import { address, replaceQuery } from "../address.js";
import { api } from "../api.js";
import { Button, Menu, Select } from "../components/controls.js";
import { Histogram } from "../components/plot.js";
import { Reasons } from "../components/reasons.js";
import { Empty, Failure, Loading } from "../components/states.js";
import { TaskBar } from "../components/task_bar.js";
import { count, fixed } from "../domain/text.js";
import { html, useEffect, useRef, useState } from "../preact.js";
import { changed, facetName, facets, models, sayError } from "../state.js";
import { keepFile } from "../keep_file.js";
import { useTask } from "../tasks.js";
import { ExchangeHead } from "./exchange_tabs.js";

/** @import * as T from "../types.js" */

const PLOTS = /** @type {const} */ ([["tokens", "Tokens of a completion", "tokens"], ["ratings", "Ratings", "rating"], ["mean_logprobs", "Mean logprob", "nats a token"], ["min_logprobs", "Lowest logprob", "nats"]]);
const KINDS = { sft: "SFT: completions to imitate", dpo: "DPO: pairs", kto: "KTO: labels" };

export function ReadinessPage() {
  const { query } = address.value;
  const facet = facets.value.some((each) => each.name === query.facet) ? query.facet : facetName.value, model = query.model ?? "";
  const [key, setKey] = useState(/** @type {string | null} */ (null)), [error, setError] = useState(/** @type {unknown} */ (null)), [round, setRound] = useState(0);
  const task = useTask(key, api.getReadiness);
  const now = useRef(task);
  now.current = task;
  useEffect(() => {
    if (!facet) return;
    let left = false;
    setError(null);
    api.startReadiness({ facet, ...(model ? { target_model: model } : {}) }).then((made) => !left && setKey(made.key), (failed) => !left && setError(failed));
    return () => {
      left = true;
      // One that was overtaken need not go on.
      if (now.current?.state === "running") api.cancelTask(now.current.key).catch(() => {});
    };
  }, [facet, model, changed.value, round]);
  const report = task?.report ?? null;
  const keep = async (/** @type {"html" | "markdown" | "json"} */ form) => {
    if (!task) return;
    try {
      const name = `readiness-${facet.replace(/[^\p{L}\p{N}_-]+/gu, "-")}`;
      if (form === "json") keepFile(new Blob([JSON.stringify(report, null, 1)], { type: "application/json" }), `${name}.json`);
      else keepFile(await api.readinessPage(task.key, form), `${name}.${form === "html" ? "html" : "md"}`);
    } catch (failed) {
      sayError(failed);
    }
  };
  if (!facet) return html`<div class="page-body exchange"><${ExchangeHead} page="readiness" says="What could go out under a facet, and what is missing." /><${Empty} title="Ready for what?" action=${html`<a class="button primary" href="#/facets">Make a facet</a>`}>A training set is made for a purpose: a facet, under which completions are judged.<//></div>`;
  const noReport = report ? null : "The report is still on its way";
  return html`<div class="page-body exchange"><${ExchangeHead} page="readiness" says="What could go out under a facet, what could not and why, and how its completions measure under the target model.">
      <${Menu} label="Keep the report" kind="" icon="save" text="Keep it" items=${[{ name: "A page with plots (HTML)", why: noReport, act: () => keep("html") }, { name: "Markdown", why: noReport, act: () => keep("markdown") }, { name: "JSON", why: noReport, act: () => keep("json") }]} />
      <a class="button primary" href="#/export">To the export</a><//>
    <div class="stack loose">
      <div class="fields wide narrow-fields"><${Select} label="Facet" value=${facet} onChange=${(/** @type {string} */ name) => { facetName.value = name; replaceQuery({ facet: name }); }} options=${facets.value.map((each) => ({ value: each.name, name: each.name }))} />
        <${Select} label="Measured under" value=${model} onChange=${(/** @type {string} */ name) => replaceQuery({ model: name })} options=${[{ value: "", name: "the facet's target model" }, ...models.value.map((each) => ({ value: each.name, name: each.name }))]} /></div>
      ${error ? html`<${Failure} error=${error} again=${() => setRound(round + 1)} />` : task?.state === "running" ? html`<${TaskBar} task=${task} label="Looking through all samples" />`
        : task && task.state !== "done" ? html`<${Failure} error=${new Error(task.error?.message)} again=${() => setRound(round + 1)} />` : !report && html`<${Loading} lines=${5} />`}
      ${report && html`<${Report} report=${report} />`}
    </div></div>`;
}

/** @param {{ report: NonNullable<T.ReadinessTask["report"]> }} props */
function Report({ report }) {
  const facts = /** @type {[string, number][]} */ ([["samples", report.samples], ["completions", report.completions], ["rated", report.rated], ["preferences", report.preferences], ["approved", report.approved], [`measured by ${report.target_model}`, report.scored], ["truncated", report.truncated]]);
  const bounds = report.thresholds;
  const loss = (/** @type {T.ReadyKind} */ kind) => (kind.measured ? `${fixed(kind.loss, 0)} nats in ${count(kind.measured)}` : "not measured");
  const plots = PLOTS.filter(([name]) => report[name]);
  return html`<dl class="facts card">${facts.map(([label, value]) => html`<div key=${label}><dt>${label}</dt><dd class="number">${count(value)}</dd></div>`)}</dl>
    <p class="small muted number">Good from rating ${bounds.good_rating}, bad up to ${bounds.bad_rating}; ${bounds.mean_logprob === null && bounds.min_logprob === null ? "no bound on logprobs" : `mean logprob at least ${bounds.mean_logprob ?? "−∞"}, lowest at least ${bounds.min_logprob ?? "−∞"}`}.</p>
    <div class="ready-kinds">${report.kinds.map((kind) => html`<section class="card" key=${kind.kind} aria-label=${KINDS[kind.kind] ?? kind.kind}><div class="head"><h2>${KINDS[kind.kind] ?? kind.kind}</h2></div><div class="body stack">
      <div><strong class="big number">${count(kind.samples)}</strong> <span class="muted">of ${count(report.samples)} samples could go out, in ${count(kind.rows)} rows${kind.kind === "kto" ? `: ${count(kind.good)} good, ${count(kind.bad)} bad` : ""}</span></div>
      <div class="share" role="img" aria-label=${`${kind.samples} of ${report.samples} samples`}><i style=${{ width: `${report.samples ? (100 * kind.samples) / report.samples : 0}%` }}></i></div>
      <p class="small muted number">${count(kind.tokens)} tokens to learn; loss under the target: ${loss(kind)}</p>
      <h3>What stays, and why</h3><${Reasons} reasons=${kind.reasons} from="readiness" label=${`Why completions stay: ${kind.kind}`} /></div></section>`)}</div>
    ${plots.length > 0 && html`<div class="plots">${plots.map(([name, title, unit]) => html`<${Histogram} key=${name} title=${title} unit=${unit} of=${/** @type {T.Distribution} */ (report[name])} />`)}</div>`}`;
}
