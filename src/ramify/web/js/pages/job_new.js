/** A new batch job: prompts or a file, a model, how, and what becomes of the answers. */

import { api } from "../api.js";
import { Button, Check, Field, TextArea } from "../components/controls.js";
import { Icon } from "../components/icon.js";
import { ModelChoice } from "../components/model_choice.js";
import { SettingsForm } from "../components/settings_form.js";
import { useLoaded } from "../components/states.js";
import { jobBody } from "../domain/jobs.js";
import { plural } from "../domain/text.js";
import { html, useState } from "../preact.js";
import { sayError, targetModel } from "../state.js";

const BEGIN = { model: "", prompts: "", input_path: "", output_path: "", overwrite: false, checkpoint_path: "", prompt_column: "", labels: "", hours: "", logprobs: false, code: false, iterations: "", seconds: "", retry: true, processes: "", ray: false, price_in: "", price_out: "" };

/** @param {{ onMade: (job: any) => void, onClose: () => void }} props */
export function NewJob({ onMade, onClose }) {
  const [it, setIt] = useState(BEGIN);
  const set = (/** @type {Partial<typeof BEGIN>} */ change) => setIt((before) => ({ ...before, ...change }));
  const [file, setFile] = useState(/** @type {File | null} */ (null));
  const [config, setConfig] = useState(/** @type {Record<string, any>} */ ({ max_new_tokens: 100 }));
  const [busy, setBusy] = useState(false), [wrong, setWrong] = useState(/** @type {string | null} */ (null));
  const allowed = useLoaded(() => api.jobsAllowed(), []).value;
  const body = jobBody(it, config, file?.name ?? null), odd = typeof body === "string" ? body : null;
  const lines = it.prompts.split("\n").filter((line) => line.trim()).length;
  const start = async () => {
    setBusy(true);
    try {
      onMade(await api.addJob({ ...body, model: it.model || targetModel(), ...(file ? { file: (await api.addFile(file)).id } : {}) }));
    } catch (error) {
      sayError(error);
    } finally {
      setBusy(false);
    }
  };
  const text = (/** @type {keyof typeof BEGIN} */ name, /** @type {string} */ label, /** @type {any} */ more = {}) => html`<${Field} label=${label} hint=${more.hint}>${(/** @type {string} */ id) => html`<input id=${id} class="input" value=${it[name]} placeholder=${more.placeholder ?? ""} onInput=${(/** @type {any} */ event) => set({ [name]: event.currentTarget.value })} />`}<//>`;
  const tick = (/** @type {keyof typeof BEGIN} */ name, /** @type {string} */ label) => html`<${Check} checked=${it[name]} onChange=${(/** @type {boolean} */ on) => set({ [name]: on })}>${label}<//>`;
  const roots = allowed?.roots ?? [], under = `under ${roots.join(", ")}`;
  return html`<section class="card" aria-label="New job" style=${{ marginBottom: "18px" }}><div class="head"><h2>New job</h2></div><div class="body stack">
    <${ModelChoice} value=${it.model} onChange=${(/** @type {string} */ model) => set({ model })} />
    ${!file && !it.input_path && html`<${Field} label="Prompts, one a line" hint=${lines ? plural(lines, "prompt") : null}>${(/** @type {string} */ id) => html`<${TextArea} id=${id} rows=${5} value=${it.prompts} onInput=${(/** @type {string} */ prompts) => set({ prompts })} autofocus placeholder="Once upon a time" />`}<//>`}
    <${Field} label="Or a file" hint="JSON Lines, CSV or Parquet with a column prompt, messages or text; document 002's JSON; OpenAI batch lines">${(/** @type {string} */ id) => html`<input id=${id} class="input" type="file" onChange=${(/** @type {any} */ event) => setFile(event.currentTarget.files[0] ?? null)} />`}<//>
    <${SettingsForm} config=${config} onChange=${setConfig} model=${it.model || targetModel()} onWrong=${setWrong} />
    <details class="params"><summary><${Icon} name="chevron" size=${13} />Labels, limits, processes, prices, code, places</summary><div class="stack" style=${{ marginTop: "10px" }}>
      <div class="fields wide">${text("labels", "Labels", { placeholder: "team=one, product=two" })}${text("hours", "Hours at most", { placeholder: "24" })}${text("prompt_column", "Column of the prompt", { placeholder: "messages, prompt or text" })}</div>
      <div class="fields wide">${text("processes", "Processes", { placeholder: "1", hint: allowed && `each with a model of its own; this machine has ${plural(allowed.processors, "processor")}` })}${text("price_in", "Price of a million prompt tokens", { placeholder: "0" })}${text("price_out", "… of a million completion tokens", { placeholder: "0" })}</div>
      <div class="row wrap">${tick("logprobs", "Every token with its logprob")}${allowed && !allowed.ray && tick("ray", "On the Ray cluster")}</div>
      ${allowed?.ray && html`<p class="small muted">No Ray cluster: ${allowed.ray}</p>`}
      ${allowed && (allowed.code_evaluator ? html`<p class="small muted">No code is run: ${allowed.code_evaluator}</p>` : html`<div class="row wrap">${tick("code", "Run the code that it writes, and go on with its output")}${it.code && tick("retry", "Try what fails again")}</div>
        ${it.code && html`<div class="fields">${text("iterations", "Runs at most", { placeholder: "10" })}${text("seconds", "Seconds a run", { placeholder: "60" })}</div>`}`)}
      ${allowed && (!roots.length ? html`<p class="small muted">Rows are given here and answers downloaded; where files may lie instead, <code>--batch-root</code> says when the studio is started.</p>` : html`<div class="fields wide">
        ${text("input_path", "Rows from", { placeholder: under })}${text("output_path", "Answers to", { placeholder: under })}${text("checkpoint_path", "Weights from", { placeholder: under })}</div>
        <div class="row wrap">${it.output_path && tick("overwrite", "Replace the answers that are there")}</div>`)}</div></details>
    <div class="row"><${Button} kind="primary" icon="play" why=${wrong ?? odd} busy=${busy} onClick=${start}>Start<//><${Button} onClick=${onClose}>Cancel<//></div></div></section>`;
}
