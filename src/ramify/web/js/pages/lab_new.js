/** A new run of the lab: models, prompts, experiments. It begins as document 004's plan; what is filled in survives a reload. */

import { go } from "../address.js";
import { api } from "../api.js";
import { Button, Check, Field, Select, TextArea } from "../components/controls.js";
import { Icon } from "../components/icon.js";
import { ModelChoice } from "../components/model_choice.js";
import { SettingsForm } from "../components/settings_form.js";
import { Loading, useLoaded } from "../components/states.js";
import { planOf, sizeOf } from "../domain/lab.js";
import { firstLine, plural, promptText, strategyOf } from "../domain/text.js";
import { useKeys } from "../keyboard.js";
import { html, useState } from "../preact.js";
import { act, models, remembered } from "../state.js";

/** @import * as T from "../types.js" */

const form = remembered("lab-form", /** @type {T.LabForm | null} */ (null));

/** The form as a plan has it. @param {T.LabPlan} plan @param {string[]} names @param {T.LabPlan} base @returns {T.LabForm} */
function filled(plan, names, base) {
  const known = new Set(base.experiments.map((each) => each.title));
  return {
    name: plan.name, models: names, prompts: plan.prompts, chosen: plan.experiments.map((each) => each.title).filter((title) => known.has(title)),
    own: plan.experiments.filter((each) => !known.has(each.title)).map((each) => ({ title: each.title, settings: each.settings, repeats: each.repeats ?? 1 })),
    samples: plan.experiments.find((each) => each.title === "sampling")?.repeats ?? 5, max_new_tokens: plan.max_new_tokens, seed: plan.seed,
  };
}

let bases = /** @type {T.LabPlan | null} */ (null);

/** Fill the form with the plan of a run. @param {T.LabReport} report */
export function fillFrom(report) {
  if (bases) form.value = filled(report.plan, report.run.models, bases);
  else api.labPlans().then(({ items }) => (form.value = filled(report.plan, report.run.models, (bases = items[0].plan))));
}

export function NewRun() {
  const plans = useLoaded(() => api.labPlans(), []);
  const base = (bases = /** @type {T.LabPlan | undefined} */ (plans.value?.items[0]?.plan) ?? bases);
  if (!base) return html`<section class="card"><div class="body"><${Loading} /></div></section>`;
  return html`<${Form} base=${base} it=${form.value ?? filled(base, [""], base)} />`;
}

/** @param {{ base: T.LabPlan, it: T.LabForm }} props */
function Form({ base, it }) {
  const [busy, setBusy] = useState(false), [wrong, setWrong] = useState(/** @type {string | null} */ (null));
  const set = (/** @type {Partial<T.LabForm>} */ change) => {
    setWrong(null);
    form.value = { ...it, ...change };
  };
  const plan = planOf(it, base), size = sizeOf(plan) * it.models.length;
  const run = async () => {
    if (busy) return;
    setBusy(true);
    try {
      const made = await api.labStart({ plan, models: it.models.some(Boolean) ? it.models.filter(Boolean) : undefined });
      go(["lab", made.id]);
    } catch (error) {
      setWrong(error instanceof Error ? error.message : String(error));
    }
    setBusy(false);
  };
  useKeys("New run", [{ keys: "Ctrl+Enter R", says: "run the plan", act: run }], [it, busy]);
  const number = (/** @type {"samples" | "max_new_tokens" | "seed"} */ name, /** @type {string} */ label, /** @type {number} */ least) => html`<${Field} label=${label}>${(/** @type {string} */ id) => html`<input id=${id} class="input" type="number" min=${least} value=${it[name]} onInput=${(/** @type {any} */ event) => event.currentTarget.value !== "" && set({ [name]: Math.max(least, Math.round(Number(event.currentTarget.value))) })} />`}<//>`;
  const why = !it.prompts.length ? "Give a prompt" : !plan.experiments.length ? "Choose an experiment" : null;
  return html`<section class="card" aria-label="New run"><div class="head"><h2 class="grow">New run</h2>
      <${Button} small kind="quiet" onClick=${() => { setWrong(null); form.value = null; }}>Document 004's plan<//></div>
    <div class="body stack loose">
      <div class="fields"><${Field} label="Name">${(/** @type {string} */ id) => html`<input id=${id} class="input" value=${it.name} onInput=${(/** @type {any} */ event) => set({ name: event.currentTarget.value })} />`}<//>
        ${number("max_new_tokens", "New tokens at most", 1)}${number("samples", "Repeats of “sampling”", 1)}${number("seed", "First seed", 0)}</div>
      <div class="stack">${it.models.map((each, at) => html`<div class="row" key=${at} style=${{ alignItems: "end" }}><div class="grow"><${ModelChoice} what="tokens" label=${at ? `Model ${at + 1}` : "Model"} value=${each} onChange=${(/** @type {string} */ name) => set({ models: it.models.map((old, i) => (i === at ? name : old)) })} /></div>
        ${it.models.length > 1 && html`<${Button} kind="quiet" icon="close" label=${`Without model ${at + 1}`} onClick=${() => set({ models: it.models.filter((_, i) => i !== at) })} />`}
        ${at === it.models.length - 1 && models.value.length > 1 && html`<${Button} kind="quiet" icon="plus" label="Another model" onClick=${() => set({ models: [...it.models, models.value.find((one) => !it.models.includes(one.name))?.name ?? ""] })} />`}</div>`)}</div>
      <${Prompts} prompts=${it.prompts} onChange=${(/** @type {T.LabPrompt[]} */ prompts) => set({ prompts })} />
      <${Experiments} base=${base} it=${it} set=${set} />
      ${wrong && html`<div class="notice error" role="alert"><${Icon} name="warn" /><span>${wrong}</span></div>`}
      <div class="row"><${Button} kind="primary" icon="play" keys="Ctrl+Enter" busy=${busy} why=${why} onClick=${run}>Run ${plural(size, "completion")}<//></div>
    </div></section>`;
}

/** A title that no other prompt has. @param {string} wanted @param {readonly T.LabPrompt[]} prompts */
function free(wanted, prompts) {
  let title = wanted;
  for (let n = 2; prompts.some((each) => each.title === title); n++) title = `${wanted} ${n}`;
  return title;
}

/** @param {{ prompts: T.LabPrompt[], onChange: (prompts: T.LabPrompt[]) => void }} props */
function Prompts({ prompts, onChange }) {
  const samples = useLoaded(() => api.samples({ limit: 100 }), []);
  const set = (/** @type {number} */ at, /** @type {any} */ change) => onChange(prompts.map((each, i) => (i === at ? { ...each, ...change } : each)));
  const take = async (/** @type {string} */ id) => {
    if (!id) return;
    const sample = await act(() => api.sample(id));
    if (sample) onChange([...prompts, { title: free(sample.title || firstLine(promptText(sample.prompt), 40), prompts), prompt: sample.prompt, json_schema: null }]);
  };
  return html`<fieldset class="plain-set"><legend><h3>Prompts</h3></legend><div class="stack">${prompts.map((each, at) => html`<div class="lab-prompt" key=${at}>
      <input class="input" aria-label=${`Title of prompt ${at + 1}`} value=${each.title} onInput=${(/** @type {any} */ event) => set(at, { title: event.currentTarget.value })} />
      ${typeof each.prompt === "string" ? html`<${TextArea} aria-label=${`Prompt ${at + 1}`} rows=${2} value=${each.prompt} onInput=${(/** @type {string} */ prompt) => set(at, { prompt })} />`
        : html`<div class="textarea muted small">${each.prompt.map((message) => `${message.role}: ${message.content}`).join("\n")}</div>`}
      ${each.json_schema && html`<span class="mark info" title=${JSON.stringify(each.json_schema)}>JSON schema</span>`}
      <${Button} kind="quiet" icon="close" label=${`Without prompt ${at + 1}`} why=${prompts.length > 1 ? null : "A run has at least one prompt"} onClick=${() => onChange(prompts.filter((_, i) => i !== at))} /></div>`)}
    <div class="row wrap" style=${{ alignItems: "end" }}><${Button} small icon="plus" onClick=${() => onChange([...prompts, { title: free("prompt", prompts), prompt: "Once upon a time", json_schema: null }])}>Prompt<//>
      ${samples.value?.items.length ? html`<${Select} label="From the workspace" value="" onChange=${take} options=${[{ value: "", name: "choose a sample…" }, ...samples.value.items.map((/** @type {T.SampleRow} */ each) => ({ value: each.id, name: each.title || firstLine(each.preview, 60) }))]} />` : null}</div></div></fieldset>`;
}

const KINDS = /** @type {[string, (title: string) => boolean][]} */ ([
  ["Greedy, sampling, temperatures", (title) => /^(greedy|sampling|temperature)/.test(title)],
  ["Nucleus", (title) => title.startsWith("nucleus")],
  ["Beams", (title) => /beam/.test(title)],
  ["Others", () => true],
]);

/** @param {{ base: T.LabPlan, it: T.LabForm, set: (change: Partial<T.LabForm>) => void }} props */
function Experiments({ base, it, set }) {
  const [title, setTitle] = useState(""), [settings, setSettings] = useState(/** @type {T.Config} */ ({ temperature: 0.8, top_p: 0.9 })), [bad, setBad] = useState(/** @type {string | null} */ (null));
  const all = base.experiments.map((each) => each.title), chosen = new Set(it.chosen);
  const put = (/** @type {string[]} */ titles, /** @type {boolean} */ on) => set({ chosen: all.filter((each) => (titles.includes(each) ? on : chosen.has(each))) });
  const taken = [...all, ...it.own.map((each) => each.title)];
  const name = title.trim() || strategyOf(settings);
  const left = new Set(all);
  const groups = KINDS.map(([kind, fits]) => {
    const mine = [...left].filter(fits);
    mine.forEach((each) => left.delete(each));
    return { kind, mine };
  });
  return html`<fieldset class="plain-set"><legend><h3>Experiments</h3></legend><div class="stack">
    <div class="row wrap"><${Button} small onClick=${() => put(all, true)}>All<//><${Button} small onClick=${() => put(all, false)}>None<//><span class="small muted">${plural(it.chosen.length + it.own.length, "experiment")} chosen</span></div>
    ${groups.map(({ kind, mine }) => html`<details class="params" key=${kind} open=${kind === KINDS[0][0]}><summary><${Icon} name="chevron" size=${13} /><span>${kind}</span><span class="mark">${mine.filter((each) => chosen.has(each)).length} of ${mine.length}</span></summary>
      <div class="lab-choices">${mine.map((each) => html`<${Check} key=${each} checked=${chosen.has(each)} onChange=${(/** @type {boolean} */ on) => put([each], on)}><span>${each}</span><//>`)}</div></details>`)}
    ${it.own.map((each, at) => html`<div class="row wrap" key=${each.title}><span class="mark good">own</span><strong><bdi>${each.title}</bdi></strong><code class="small muted clip grow">${JSON.stringify(each.settings)}</code>
      <label class="row small">Repeats <input class="input" style=${{ width: "70px" }} type="number" min="1" value=${each.repeats} onInput=${(/** @type {any} */ event) => set({ own: it.own.map((old, i) => (i === at ? { ...old, repeats: Math.max(1, Number(event.currentTarget.value) || 1) } : old)) })} /></label>
      <${Button} small kind="quiet" icon="close" label=${`Without ${each.title}`} onClick=${() => set({ own: it.own.filter((_, i) => i !== at) })} /></div>`)}
    <details class="params"><summary><${Icon} name="chevron" size=${13} /><span>An experiment of your own</span></summary><div class="stack" style=${{ paddingTop: "12px" }}>
      <${Field} label="Title">${(/** @type {string} */ id) => html`<input id=${id} class="input" value=${title} placeholder=${strategyOf(settings)} onInput=${(/** @type {any} */ event) => setTitle(event.currentTarget.value)} />`}<//>
      <${SettingsForm} config=${settings} onChange=${setSettings} onWrong=${setBad} open />
      <div class="row"><${Button} icon="plus" why=${bad ?? (taken.includes(name) ? "There is an experiment of this title" : null)} onClick=${() => { set({ own: [...it.own, { title: name, settings, repeats: 1 }] }); setTitle(""); }}>Add it<//></div></div></details>
  </div></fieldset>`;
}
