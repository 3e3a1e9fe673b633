/** From scratch: a vocabulary, or a new model, of files of text. */

import { go } from "../address.js";
import { api } from "../api.js";
import { Button, Check, Field, Segments, Select } from "../components/controls.js";
import { Icon } from "../components/icon.js";
import { useLoaded } from "../components/states.js";
import { plural } from "../domain/text.js";
import { freeName, scratchBody, SHAPE } from "../domain/training.js";
import { useKeys } from "../keyboard.js";
import { html, useState } from "../preact.js";
import { changed, models, remembered, say, sayError } from "../state.js";

/** @import * as T from "../types.js" */

const BEGIN = {
  method: "pretrain", name: "", tokenizer: "", vocab_size: "", preset: "small", duplicates: "exact", unreadable: "refuse", schedule: "", bf16: false, minutes: "",
  ...Object.fromEntries([...SHAPE, "epochs", "max_steps", "tokens_per_step", "learning_rate", "matrix_learning_rate", "max_length", "seed"].map((each) => [each, ""])),
};
const kept = remembered("training-scratch", /** @type {Record<string, any>} */ (BEGIN));
const LABELS = { hidden_size: "Width", layers: "Layers", heads: "Heads", kv_heads: "Heads of keys", intermediate_size: "Width within" };
const SAYS = { pretrain: "A new model reads the texts from random weights, and enters the registry.", tokenizer: "Only the vocabulary is learned; new models can be given it." };
const TWINS = { exact: "equal ones once", normalised: "… but for case and space", near: "nearly equal ones once", keep: "all" };

export function NewScratch() {
  const it = /** @type {Record<string, any>} */ ({ ...BEGIN, ...kept.value });
  const set = (/** @type {any} */ change) => (kept.value = { ...it, ...change });
  const settings = useLoaded(() => api.scratchSettings(), []).value;
  const runs = useLoaded(() => api.trainings({ limit: 500 }), [changed.value]).value?.items ?? [];
  const [texts, setTexts] = useState(/** @type {File[]} */ ([])), [held, setHeld] = useState(/** @type {File[]} */ ([])), [busy, setBusy] = useState("");
  const pretrain = it.method === "pretrain", running = runs.find((each) => each.state === "running");
  const name = it.name.trim() || freeName(pretrain ? "new" : "words", pretrain ? "model" : "vocabulary", [...models.value.map((each) => each.name), ...runs.map((each) => each.key)]);
  const judged = scratchBody(it, name, texts.length ? "…" : null, null), odd = typeof judged === "string" ? judged : null;
  const why = odd ?? (running ? `${running.key} is being trained; one at a time` : null);
  const bring = async (/** @type {File[]} */ files) => {
    let key = /** @type {string | null} */ (null);
    for (const file of files) {
      setBusy(`Bringing ${file.name}`);
      key = (await api.upload(file, key)).key;
    }
    return key;
  };
  const start = async () => {
    try {
      const body = scratchBody(it, name, await bring(texts), pretrain ? await bring(held) : null);
      setBusy("Beginning");
      const run = await api.startScratch(body);
      set({ name: "" });
      go(["training", run.key]);
    } catch (error) {
      sayError(error);
      setBusy("");
    }
  };
  useKeys("Training", [{ keys: "Ctrl+Enter", says: "begin the run", act: () => (why ? say(why) : start()) }], [why, texts, held, JSON.stringify(it)]);
  const shape = settings?.presets.find((/** @type {any} */ each) => each.name === it.preset)?.shape ?? {};
  const endings = (settings?.endings ?? []).join(",");
  const bound = (/** @type {string} */ field, /** @type {string} */ label, /** @type {string} */ placeholder = "") => html`<${Field} label=${label}>${(/** @type {string} */ id) => html`<input id=${id} class="input number" type="number" step="any" min="0" value=${it[field]} placeholder=${placeholder} onInput=${(/** @type {any} */ event) => set({ [field]: event.currentTarget.value })} />`}<//>`;
  const files = (/** @type {string} */ label, /** @type {File[]} */ chosen, /** @type {(files: File[]) => void} */ take, /** @type {string} */ hint) => html`<${Field} label=${label} hint=${chosen.length ? plural(chosen.length, "file") : hint}>${(/** @type {string} */ id) => html`<input id=${id} class="input" type="file" multiple accept=${endings} onChange=${(/** @type {any} */ event) => take([...event.currentTarget.files])} />`}<//>`;
  const own = models.value.filter((each) => each.kind !== "remote").map((each) => ({ value: each.name, name: `that of ${each.name}` }));
  const words = runs.filter((each) => each.method === "tokenizer" && each.state === "completed").map((each) => ({ value: each.key, name: `the vocabulary ${each.key}` }));
  return html`<section class="card" aria-label="From scratch"><div class="body stack loose">
    <div class="stack tight"><${Segments} label="What is made" value=${it.method} onChange=${(/** @type {string} */ method) => set({ method })} options=${[{ value: "pretrain", name: "A model" }, { value: "tokenizer", name: "A vocabulary" }]} /><p class="small muted">${SAYS[/** @type {"pretrain" | "tokenizer"} */ (it.method)]}</p></div>
    <div class="fields wide">${files("Texts", texts, setTexts, settings ? settings.endings.join(", ") : "")}${pretrain && files("Texts to measure, never learned", held, setHeld, "none: no held-out loss")}
      <${Field} label=${pretrain ? "Name of the new model" : "Name of the vocabulary"}>${(/** @type {string} */ id) => html`<input id=${id} class="input" value=${it.name} placeholder=${name} onInput=${(/** @type {any} */ event) => set({ name: event.currentTarget.value })} />`}<//></div>
    <div class="fields">${pretrain && html`<${Select} label="Vocabulary" value=${it.tokenizer} onChange=${(/** @type {string} */ tokenizer) => set({ tokenizer })} options=${[{ value: "", name: "learned of the texts" }, ...words, ...own]} />`}
      ${(!pretrain || !it.tokenizer) && bound("vocab_size", "Tokens in the vocabulary", "4096")}
      ${pretrain && html`<${Select} label="Shape" value=${it.preset} onChange=${(/** @type {string} */ preset) => set({ preset })} options=${(settings?.presets ?? [{ name: it.preset }]).map((/** @type {any} */ each) => ({ value: each.name, name: each.name }))} />`}
      ${pretrain && html`${bound("epochs", "Epochs", it.minutes || it.max_steps ? "" : "1")}${bound("minutes", "Minutes at most")}`}</div>
    <details class="params"><summary><${Icon} name="chevron" size=${13} />More settings</summary><div class="stack" style=${{ marginTop: "10px" }}>
      <div class="fields">${pretrain && html`${SHAPE.map((each) => bound(each, LABELS[each], String(shape[each] ?? "")))}${bound("max_steps", "Steps at most")}${bound("tokens_per_step", "Tokens a step", "8192")}${bound("max_length", "Window in tokens", "512")}
        ${bound("learning_rate", "Learning rate", "0.003")}${bound("matrix_learning_rate", "Learning rate of matrices", "0.006")}${bound("seed", "Seed", "0")}
        <${Select} label="Learning rate over time" value=${it.schedule || "linear"} onChange=${(/** @type {string} */ schedule) => set({ schedule })} options=${["linear", "cosine", "constant"].map((value) => ({ value, name: value }))} />`}
        <${Select} label="Texts that come twice" value=${it.duplicates} onChange=${(/** @type {string} */ duplicates) => set({ duplicates })} options=${Object.entries(TWINS).map(([value, label]) => ({ value, name: label }))} />
        <${Select} label="Files that cannot be read" value=${it.unreadable} onChange=${(/** @type {string} */ unreadable) => set({ unreadable })} options=${[{ value: "refuse", name: "begin nothing" }, { value: "leave-out", name: "leave them out" }]} /></div>
      ${pretrain && html`<div class="row wrap"><${Check} checked=${it.bf16} onChange=${(/** @type {boolean} */ on) => set({ bf16: on })}>Compute in bfloat16<//></div>`}</div></details>
    <div class="row wrap"><${Button} kind="primary" icon="play" keys="Ctrl+Enter" busy=${Boolean(busy)} why=${why} onClick=${start}>${pretrain ? "Train" : "Learn"} <bdi>${name}</bdi><//>${busy && html`<span class="small muted" role="status">${busy}…</span>`}</div>
  </div></section>`;
}
