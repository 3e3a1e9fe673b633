/** A new run: what is learned of which completions, from which model, how; with the gate's word on it while it is filled in. */

import { go, writeAddress } from "../address.js";
import { api } from "../api.js";
import { Button, Check, Field, Segments, Select } from "../components/controls.js";
import { Icon } from "../components/icon.js";
import { Reasons } from "../components/reasons.js";
import { Failure, Loading, useLoaded } from "../components/states.js";
import { count, plural } from "../domain/text.js";
import { bodyOf, freeName, NUMBERS, SELECTED, SWITCHES } from "../domain/training.js";
import { useKeys } from "../keyboard.js";
import { html, useEffect, useState } from "../preact.js";
import { changed, facetName, facets, models, remembered, say, sayError } from "../state.js";
import { useTask } from "../tasks.js";
import { FilterChoice } from "./filter_choice.js";
import { Rows } from "./training_rows.js";

/** @import * as T from "../types.js" */

const BEGIN = /** @type {Omit<T.TrainingForm, "facets"> & { facets: T.TrainingForm["facets"] | null }} */ (/** @type {any} */ ({
  method: "sft", name: "", model: "", facets: null, adapter: true, rank: "16", alpha: "", dropout: "", merge: false, keep: false, keep_texts: "", keep_weight: "", keep_model: "", filter: null, overlong: "refuse", unusable: "refuse",
  truncated: false, archived: false, retokenize: false, prefill: true, turns: "last", optimizer: "", schedule: "", loss: "", no_reference: false, beta: "", sft: "", desirable_weight: "", undesirable_weight: "",
  ...Object.fromEntries([...NUMBERS, ...SELECTED].map((each) => [each, ""])), ...Object.fromEntries(SWITCHES.map((each) => [each, false])),
}));
const kept = remembered("training", BEGIN);
const METHODS = { sft: "SFT", dpo: "DPO", kto: "KTO" };
const SAYS = { sft: "Good completions, to imitate them.", dpo: "Pairs: the better completion gains on the worse.", kto: "Completions that are good, and completions that are bad." };
const OVERLONG = { refuse: "begin nothing", "leave-out": "leave them out", "cut-prompt": "cut the prompt's beginning", "cut-completion": "cut the completion's end" };
const PREFERENCE = { beta: ["Held to the old model (beta)", "0.1"], sft: ["Own loss of the chosen one", "0"], desirable_weight: ["Weight of good ones", "1"], undesirable_weight: ["Weight of bad ones", "1"] };

/** Fill the form from a run, for another one like it. @param {T.TrainingRun} run */
export function fillFrom(run) {
  const { train, lora, select, learn, preference, ...plan } = run.plan;
  const text = (/** @type {any} */ value) => (value === null || value === undefined ? "" : String(value));
  kept.value = {
    ...BEGIN, ...Object.fromEntries(NUMBERS.map((each) => [each, text(train[each])])), method: plan.method, model: text(run.model), adapter: Boolean(lora), rank: text(lora?.rank ?? 16), alpha: text(lora?.alpha), dropout: text(lora?.dropout), merge: plan.merge, keep: Boolean(plan.keep),
    keep_texts: text(plan.keep?.texts), keep_weight: text(plan.keep?.weight), keep_model: text(plan.keep?.model), filter: select.filter ?? null, ...Object.fromEntries(SELECTED.map((each) => [each, text(select[each])])), ...Object.fromEntries(SWITCHES.map((each) => [each, Boolean(train[each])])), optimizer: train.optimizer === "muon" ? "muon" : "",
    facets: run.facets.map((each) => { const [name, amount = ""] = each.split(/=(?=\d+%?$)/); return { name, amount }; }), overlong: plan.overlong, unusable: plan.unusable, truncated: Boolean(select.truncated),
    archived: Boolean(select.archived), retokenize: learn.retokenize, prefill: learn.prefill, turns: learn.turns, schedule: train.schedule, loss: preference.loss, no_reference: preference.reference === false,
    ...Object.fromEntries(Object.keys(PREFERENCE).map((each) => [each, text(preference[each])])),
  };
}

/** What the gate says, a moment after the last change. @param {any} body @param {boolean} whole */
function useCheck(body, whole) {
  const key = whole ? JSON.stringify(body) : "";
  const [state, setState] = useState({ value: /** @type {T.TrainingCheck | null} */ (null), error: /** @type {any} */ (null), loading: true });
  useEffect(() => {
    if (!key) return;
    const stop = new AbortController();
    setState((before) => ({ ...before, loading: true }));
    const timer = setTimeout(() => {
      api.trainingCheck(JSON.parse(key), stop.signal).then((value) => setState({ value, error: null, loading: false }), (error) => { if (!stop.signal.aborted) setState({ value: null, error, loading: false }); });
    }, 350);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [key, changed.value]);
  return state;
}

export function NewTraining() {
  const settings = useLoaded(() => api.trainingSettings(), []);
  const runs = useLoaded(() => api.trainings({ limit: 500 }), [changed.value]).value?.items ?? [];
  const it = /** @type {T.TrainingForm} */ ({ ...BEGIN, ...kept.value, facets: kept.value.facets ?? (facetName.value ? [{ name: facetName.value, amount: "" }]  : []) });
  const set = (/** @type {any} */ change) => (kept.value = { ...BEGIN, ...kept.value, facets: it.facets, ...change });
  const method = settings.value?.methods.find((each) => each.name === it.method);
  const first = facets.value.find((each) => each.name === it.facets[0]?.name), target = first?.effective.target_model ?? "tiny";
  const name = it.name.trim() || freeName(it.facets[0]?.name ?? "all", it.method, [...models.value.map((each) => each.name), ...runs.map((each) => each.key)]);
  const ready = useReady(it.facets[0]?.name ?? null), kind = ready.task?.report?.kinds.find((each) => each.kind === it.method);
  // With few prompts each is needed to learn from.
  const share = (kind?.samples ?? 0) >= 10 ? "0.1" : "0";
  const body = bodyOf({ ...it, validation: it.validation || share }, name, method?.preference ?? []), odd = typeof body === "string" ? body : null;
  const check = useCheck(body, !odd && Boolean(method)), report = check.value?.report ?? null;
  const [busy, setBusy] = useState(false);
  const running = runs.find((each) => each.state === "running");
  const why = odd ?? (check.loading ? "The rows are being looked at" : check.error ? "See what is wrong in the trainer's view" : report?.refusal ? "See in the trainer's view what is in the way" : running ? `${running.key} is being trained; one at a time` : null);
  const start = async () => {
    setBusy(true);
    try {
      const run = await api.startTraining(body);
      set({ name: "" });
      go(["training", run.key]);
    } catch (error) {
      sayError(error);
      setBusy(false);
    }
  };
  useKeys("Training", [{ keys: "Ctrl+Enter", says: "begin the run", act: () => (why ? say(why) : start()) }], [why, JSON.stringify(body)]);
  return html`<section class="training-grid" aria-label="New run">
    <${Form} it=${it} set=${set} method=${method} share=${share} name=${name} target=${target} first=${first?.name ?? ""} />
    <div class="stack loose">
      <section class="card" aria-label="The trainer's view"><div class="head"><h2>The trainer's view</h2>${check.loading && !odd && html`<span class="spinner" role="status" aria-label="Looking at the rows"></span>`}</div><div class="body stack">
        ${odd ? html`<p class="wrong small" role="alert">${odd}</p>` : check.error ? html`<${Failure} error=${check.error} />` : !report ? html`<${Loading} lines=${3} />` : html`<${View} check=${/** @type {T.TrainingCheck} */ (check.value)} />`}
        <div class="row wrap"><${Button} kind="primary" icon="play" keys="Ctrl+Enter" busy=${busy} why=${why} onClick=${start}>Train <bdi>${name}</bdi><//>
          ${running && html`<a class="small" href=${writeAddress(["training", running.key])}><bdi>${running.key}</bdi> is being trained</a>`}</div></div></section>
      ${it.facets.length > 0 && html`<${Ready} facet=${it.facets[0].name} method=${it.method} ready=${ready} kind=${kind} />`}
    </div></section>`;
}

/** @param {{ it: T.TrainingForm, set: (change: any) => void, method: T.TrainingMethod | undefined, share: string, name: string, target: string, first: string }} props share: what is held out where nothing is said */
function Form({ it, set, method, share, name, target, first }) {
  const free = facets.value.filter((each) => !it.facets.some((one) => one.name === each.name));
  const setFacet = (/** @type {number} */ at, /** @type {any} */ change) => set({ facets: it.facets.map((each, i) => (i === at ? { ...each, ...change } : each)) });
  const typical = (/** @type {string} */ field) => (field === "learning_rate" && it.adapter ? method?.lora_learning_rate : it.optimizer === "muon" ? method?.muon[field] : method?.train[field]) ?? "";
  const bound = (/** @type {string} */ field, /** @type {string} */ label, /** @type {any} */ more = {}) => html`<${Field} label=${label} hint=${more.hint}>${(/** @type {string} */ id) => html`<input id=${id} class="input number" type="number" step="any" min="0" value=${it[field]} placeholder=${more.placeholder ?? String(typical(field))} onInput=${(/** @type {any} */ event) => set({ [field]: event.currentTarget.value })} />`}<//>`;
  const tick = (/** @type {string} */ field, /** @type {string} */ label) => html`<${Check} checked=${it[field]} onChange=${(/** @type {boolean} */ on) => set({ [field]: on })}>${label}<//>`;
  const far = "it is behind an endpoint: its weights are not here";
  const all = models.value.map((each) => ({ value: each.name, name: each.name, why: each.kind === "remote" ? far : null }));
  return html`<section class="card" aria-label="What is trained, and how"><div class="body stack loose">
    <div class="stack tight"><${Segments} label="Method" value=${it.method} onChange=${(/** @type {string} */ next) => set({ method: next })} options=${Object.entries(METHODS).map(([value, label]) => ({ value, name: label }))} /><p class="small muted">${SAYS[it.method]}</p></div>
    <fieldset class="plain stack tight"><legend class="label">Facets, in order: a sample goes in under the first that has something of it</legend>
      ${it.facets.map((each, at) => html`<div class="training-facet" key=${at}><select class="select" aria-label=${`Facet ${at + 1}`} value=${each.name} onChange=${(/** @type {any} */ event) => setFacet(at, { name: event.currentTarget.value })}>${facets.value.map((one) => html`<option key=${one.name}>${one.name}</option>`)}</select>
        <input class="input" aria-label=${`How much of facet ${at + 1}`} placeholder="all, 100 or 25%" value=${each.amount} onInput=${(/** @type {any} */ event) => setFacet(at, { amount: event.currentTarget.value })} />
        <${Button} small kind="quiet" icon="close" label=${`Remove facet ${at + 1}`} onClick=${() => set({ facets: it.facets.filter((_, i) => i !== at) })} /></div>`)}
      <div><${Button} small icon="plus" why=${free.length ? null : facets.value.length ? "Every facet is there" : "There is no facet yet"} onClick=${() => set({ facets: [...it.facets, { name: free[0].name, amount: "" }] })}>Facet<//>
        ${!it.facets.length && html` <span class="small muted">none: every completion, whatever is thought of it (SFT only)</span>`}</div></fieldset>
    <div class="fields wide"><${Select} label="Start from" value=${it.model} onChange=${(/** @type {string} */ model) => set({ model })} options=${[{ value: "", name: `${target} (target${first ? ` for ${first}` : ""})` }, ...all]} />
      <${Field} label="Name of the new model">${(/** @type {string} */ id) => html`<input id=${id} class="input" value=${it.name} placeholder=${name} onInput=${(/** @type {any} */ event) => set({ name: event.currentTarget.value })} />`}<//></div>
    <div class="stack tight"><${Segments} label="What moves" value=${it.adapter} onChange=${(/** @type {boolean} */ adapter) => set({ adapter })} options=${[{ value: true, name: "An adapter (LoRA)" }, { value: false, name: "All weights" }]} />
      <p class="small muted">${it.adapter ? "Few new weights beside the old ones: small, quick, and gentle." : "Every weight of the model: stronger, larger, slower."}</p></div>
    <div class="fields">${bound("epochs", "Epochs")}${bound("learning_rate", "Learning rate")}${bound("batch_size", "Rows in a pass")}${bound("validation", "Share held out", { placeholder: share })}${it.adapter && bound("rank", "Rank", { placeholder: "16" })}</div>
    <${FilterChoice} filter=${it.filter} onChange=${(/** @type {any} */ filter) => set({ filter })} />
    <details class="params"><summary><${Icon} name="chevron" size=${13} />More settings</summary><div class="stack" style=${{ marginTop: "10px" }}>
      <div class="fields">${(method?.preference ?? []).filter((each) => PREFERENCE[each]).map((each) => bound(each, PREFERENCE[each][0], { placeholder: PREFERENCE[each][1] }))}
        ${method?.preference.includes("loss") && html`<${Select} label="Loss of a pair" value=${it.loss || "sigmoid"} onChange=${(/** @type {string} */ loss) => set({ loss })} options=${["sigmoid", "ipo", "hinge"].map((value) => ({ value, name: value }))} />`}
        <${Select} label="Optimizer" value=${it.optimizer} onChange=${(/** @type {string} */ optimizer) => set({ optimizer })} options=${[{ value: "", name: "AdamW" }, { value: "muon", name: "Muon" }]} />
        ${it.optimizer === "muon" && bound("matrix_learning_rate", "Learning rate of matrices")}${bound("tokens_per_step", "Tokens a step", { placeholder: "by rows" })}${bound("clip_norm", "Gradients clipped at")}
        ${bound("max_steps", "Steps at most", { placeholder: "by epochs" })}${bound("max_seconds", "Seconds at most", { placeholder: "by epochs" })}${bound("accumulation", "Passes a step")}${bound("warmup_steps", "Warm-up steps")}${bound("weight_decay", "Weight decay")}
        <${Select} label="Learning rate over time" value=${it.schedule || "linear"} onChange=${(/** @type {string} */ schedule) => set({ schedule })} options=${["linear", "cosine", "constant"].map((value) => ({ value, name: value }))} />
        ${bound("patience", "Validations without gain", { placeholder: "never ends early" })}${bound("validate_every", "Steps between validations")}${bound("save_every", "Steps between checkpoints")}${bound("max_length", "Window in tokens")}${bound("seed", "Seed")}${it.adapter && html`${bound("alpha", "Alpha", { placeholder: "32" })}${bound("dropout", "Dropout", { placeholder: "0" })}`}
        ${bound("good_rating", "Good from rating", { placeholder: "the facet's" })}${bound("per_sample", "Rows of a sample at most", { placeholder: it.method === "sft" ? "1" : "all" })}
        ${it.keep && html`${bound("keep_weight", "Weight of keeping", { placeholder: "2" })}${bound("keep_texts", "Texts to keep", { placeholder: "64" })}
          <${Select} label="Keep what is said by" value=${it.keep_model} onChange=${(/** @type {string} */ keep_model) => set({ keep_model })} options=${[{ value: "", name: "the old model" }, ...all]} />`}
        <${Select} label="Rows over the window" value=${it.overlong} onChange=${(/** @type {string} */ overlong) => set({ overlong })} options=${Object.entries(OVERLONG).map(([value, label]) => ({ value, name: label }))} />
        <${Select} label="Rows that cannot be used" value=${it.unusable} onChange=${(/** @type {string} */ unusable) => set({ unusable })} options=${["refuse", "leave-out"].map((value) => ({ value, name: OVERLONG[value] }))} />
        <${Select} label="Assistant's turns" value=${it.turns} onChange=${(/** @type {string} */ turns) => set({ turns })} options=${[{ value: "last", name: "learn the completion" }, { value: "all", name: "learn earlier ones too" }]} /></div>
      <div class="row wrap">${method?.preference.includes("reference") && tick("no_reference", "Compare likelihoods, not gains")}${tick("keep", "Keep what it says unasked")}${it.adapter && tick("merge", "Merge the adapter")}${tick("packing", "Pack rows")}${it.packing && tick("together", "A prompt's rows together")}${tick("checkpointing", "Save memory (slower)")}${tick("bf16", "Compute in bfloat16")}${tick("prefill", "Learn prefills")}${tick("truncated", "Truncated ones too")}${tick("archived", "Archived ones too")}${tick("retokenize", "Spell other models' tokens anew")}</div></div></details>
    <div><${Button} small kind="quiet" icon="undo" onClick=${() => (kept.value = BEGIN)}>As it was at first<//></div>
  </div></section>`;
}

/** @param {{ check: T.TrainingCheck }} props */
function View({ check }) {
  const report = /** @type {NonNullable<T.TrainingCheck["report"]>} */ (check.report);
  const facts = /** @type {[string, any][]} */ ([
    ["rows", count(report.rows)], ["held out", count(report.validation_rows)], ["steps", report.steps === null ? "–" : count(report.steps)], ["tokens to learn", `${count(report.learned)} of ${count(report.tokens)}`],
    ["longest row", `${count(report.longest)} of ${count(report.window)}`], ["without EOS", count(report.without_eos)],
  ]);
  return html`<div class=${`notice ${report.refusal ? "error" : report.passes ? "good" : "warn"}`} role="status"><${Icon} name=${report.refusal || !report.passes ? "warn" : "check"} /><span>${report.refusal ?? (report.passes ? `Every row can be trained on, as ${report.model} spells it.` : `${plural(report.bad_rows, "row")} could not be used as ${report.bad_rows === 1 ? "it is" : "they are"}; it was decided what becomes of ${report.bad_rows === 1 ? "it" : "them"}.`)}</span></div>
    ${report.rows > 0 && html`<dl class="facts">${facts.map(([label, value]) => html`<div key=${label}><dt>${label}</dt><dd class="number">${value}</dd></div>`)}</dl>`}
    ${report.chosen.map((each) => html`<p class="small muted" key=${each}>${each}</p>`)}
    ${Object.keys(report.problems).length > 0 && html`<ul class="small">${Object.entries(report.problems).map(([problem, rows]) => html`<li key=${problem}><strong class="number">${count(rows)}</strong> <bdi>${problem}</bdi></li>`)}</ul>`}
    ${report.rows > 0 && html`<${Rows} check=${check} />`}`;
}

/** The readiness report of a facet, anew when something was judged. @param {string | null} facet */
function useReady(facet) {
  const [key, setKey] = useState(/** @type {string | null} */ (null)), [error, setError] = useState(/** @type {unknown} */ (null));
  const task = useTask(key, api.getReadiness);
  useEffect(() => {
    let left = false;
    setError(null);
    setKey(null);
    if (facet) api.startReadiness({ facet }).then((made) => !left && setKey(made.key), (failed) => !left && setError(failed));
    return () => {
      left = true;
    };
  }, [facet, changed.value]);
  return { task, error };
}

/** @param {{ facet: string, method: string, ready: ReturnType<typeof useReady>, kind: T.ReadyKind | undefined }} props */
function Ready({ facet, method, ready, kind }) {
  const report = ready.task?.report;
  return html`<section class="card" aria-label="Readiness"><div class="head"><h2 class="grow">What “<bdi>${facet}</bdi>” has for ${METHODS[method]}</h2><a class="small" href=${writeAddress(["readiness"], { facet })}>the whole report</a></div><div class="body stack">
    ${ready.error ? html`<${Failure} error=${ready.error} />` : !kind || !report ? html`<${Loading} lines=${2} />` : html`<div><strong class="big number">${count(kind.samples)}</strong> <span class="muted">of ${plural(report.samples, "sample")} can go in, in ${plural(kind.rows, "row")}${method === "kto" ? `: ${count(kind.good)} good, ${count(kind.bad)} bad` : ""}</span></div>
      <div class="share" role="img" aria-label=${`${kind.samples} of ${report.samples} samples`}><i style=${{ width: `${report.samples ? (100 * kind.samples) / report.samples : 0}%` }}></i></div>
      <h3>What stays, and why</h3><${Reasons} reasons=${kind.reasons} from="readiness" label=${`Why completions stay: ${method}`} />`}</div></section>`;
}
