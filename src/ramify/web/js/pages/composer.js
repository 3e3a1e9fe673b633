/** A new completion of a sample: Generate, Edit, Token by Token, beam search, block by block. What is typed survives a reload. */

import { go } from "../address.js";
import { api } from "../api.js";
import { Button, Check, Field, TextArea } from "../components/controls.js";
import { makeDrafts } from "../components/card.js";
import { ModelChoices } from "../components/model_choice.js";
import { SettingsForm } from "../components/settings_form.js";
import { useKeys } from "../keyboard.js";
import { html, useMemo, useState } from "../preact.js";
import { act, cannot, facetName, remembered, sayError, targetModel } from "../state.js";
import { running } from "../drafts.js";

/** @import { Completion, Sample } from "../types.js" */

const BEGIN = { models: [""], prefill: "", n: 1, config: { max_new_tokens: 128 } };

/** @param {{ sample: Sample, editing: Completion | null | "new", setEditing: (what: Completion | null | "new") => void, onMade: (ids: number[]) => void }} props */
export function Composer({ sample, editing, setEditing, onMade }) {
  const kept = useMemo(() => remembered(`compose.${sample.id}`, BEGIN), [sample.id]);
  const history = useMemo(() => remembered("prefills", /** @type {string[]} */ ([])), []);
  const [wrong, setWrong] = useState(/** @type {string | null} */ (null));
  const [busy, setBusy] = useState("");
  const it = kept.value;
  const set = (/** @type {any} */ change) => (kept.value = { ...kept.value, ...change });
  const facet = facetName.value || undefined;
  const prefill = it.prefill || undefined;
  const names = it.models.map((each) => targetModel(each));
  const noPrefill = prefill ? names.map((name) => cannot(name, "prefill")).find(Boolean) ?? null : null;
  const once = async (/** @type {string} */ what, /** @type {() => Promise<void>} */ work) => {
    setBusy(what);
    try {
      await work();
    } catch (error) {
      sayError(error);
    }
    setBusy("");
  };
  const generate = () => once("generate", async () => {
    if (prefill) history.value = [prefill, ...history.value.filter((each) => each !== prefill)].slice(0, 50);
    const made = await makeDrafts(() => api.draft(sample.id, { models: it.models.some(Boolean) || it.models.length > 1 ? names : undefined, facet, prefill, n: it.n > 1 ? it.n : undefined, config: it.config }));
    onMade(made.map((/** @type {Completion} */ each) => each.id));
  });
  const pick = () => once("tokens", async () => {
    const session = await api.startSession(sample.id, { model: it.models[0] || undefined, facet, prefill });
    go(["picking", session.key]);
  });
  const beams = () => once("beams", async () => {
    const tree = await api.startTree(sample.id, { model: it.models[0] || undefined, facet, prefill, title: prefill ?? "" });
    go(["trees", tree.id]);
  });
  const blocks = () => once("blocks", async () => {
    const made = await api.startBlocks(sample.id, { model: it.models[0] || undefined, facet });
    go(["blocks", made.key]);
  });
  const cancelAll = () => Promise.all([...running.value].map((id) => api.cancelDraft(id))).catch(sayError);
  useKeys("New completion", [
    { keys: "G Ctrl+Enter", says: "generate", act: generate },
    { keys: "E", says: "write one by hand", act: () => setEditing("new") },
    { keys: "T", says: "token by token", act: pick },
    { keys: "B", says: "beam search by hand", act: beams },
    { keys: "Escape", says: "cancel what is being written", act: cancelAll },
  ], [it, sample.id, facetName.value]);
  if (editing) return html`<${ByHand} sample=${sample} parent=${editing === "new" ? null : editing} onEnd=${(/** @type {Completion | null} */ made) => { setEditing(null); if (made) onMade([made.id]); }} />`;
  return html`<section class="card" aria-label="New completion"><div class="head"><h2>New completion</h2></div><div class="body stack">
    <${ModelChoices} values=${it.models} onChange=${(/** @type {string[]} */ models) => set({ models })} />
    <${Field} label="Prefill: the reply begins with" wrong=${noPrefill}>${(/** @type {string} */ id) => html`<${TextArea} id=${id} rows=${1} value=${it.prefill} placeholder="nothing" list="prefills" onInput=${(/** @type {string} */ text) => set({ prefill: text })} />`}<//>
    ${history.value.length > 0 && !it.prefill && html`<div class="row wrap">${history.value.slice(0, 3).map((each) => html`<${Button} small kind="quiet" key=${each} onClick=${() => set({ prefill: each })}><bdi class="clip" style=${{ maxWidth: "200px" }}>${each}</bdi><//>`)}</div>`}
    <${SettingsForm} config=${it.config} model=${it.models[0]} sample=${sample.id} onChange=${(/** @type {any} */ config) => set({ config })} onWrong=${setWrong} />
    <div class="row"><label class="label" for="several">How many</label><input id="several" class="input number" type="number" min="1" max="16" style=${{ width: "68px" }} value=${it.n} onInput=${(/** @type {any} */ event) => set({ n: Math.max(1, Math.min(16, Number(event.currentTarget.value) || 1)) })} />
      ${it.n > 1 && !(it.config.temperature || it.config.do_sample || it.config.num_beams) && html`<span class="tiny muted">greedy ones are all the same; set a temperature</span>`}</div>
    <div class="compose-actions">
      <${Button} kind="primary" icon="play" keys="G" busy=${busy === "generate"} why=${wrong ?? noPrefill ?? names.map((name) => cannot(name, "generate")).find(Boolean) ?? null} onClick=${generate}>Generate<//>
      <${Button} icon="edit" keys="E" onClick=${() => setEditing("new")}>Edit<//>
      <${Button} icon="token" keys="T" busy=${busy === "tokens"} why=${cannot(names[0], "tokens")} onClick=${pick}>Token by Token<//>
      <${Button} icon="tree" keys="B" busy=${busy === "beams"} why=${cannot(names[0], "beams")} onClick=${beams}>Beam search<//>
      <${Button} icon="blocks" busy=${busy === "blocks"} why=${cannot(names[0], "blocks")} onClick=${blocks}>Block by block<//>
    </div>
  </div></section>`;
}

/** @param {{ sample: Sample, parent: Completion | null, onEnd: (made: Completion | null) => void }} props */
function ByHand({ sample, parent, onEnd }) {
  const kept = useMemo(() => remembered(parent ? `edit.${parent.id}` : `write.${sample.id}`, { text: parent?.text ?? "", model: parent ? "" : "manual", truncated: false }), [sample.id, parent?.id]);
  const it = kept.value;
  const set = (/** @type {any} */ change) => (kept.value = { ...kept.value, ...change });
  const empty = { text: parent?.text ?? "", model: parent ? "" : "manual", truncated: false };
  const save = async () => {
    const made = await act(() => (parent ? api.edit(parent.id, { text: it.text, model: it.model || undefined }) : api.write(sample.id, { text: it.text, model: it.model || "manual", truncated: it.truncated || undefined })), "Saved");
    if (made) {
      kept.value = empty;
      onEnd(made);
    }
  };
  useKeys("Writing by hand", [
    { keys: "Ctrl+Enter Ctrl+S", says: "save", act: save },
    { keys: "Escape", says: "leave; what was typed is kept", act: () => onEnd(null) },
  ], [it, parent?.id]);
  return html`<section class="card" aria-label="Edit"><div class="head"><h2>${parent ? `Edit completion ${parent.id}` : "Edit"}</h2></div><div class="body stack">
    ${parent && html`<p class="small muted">The edited text becomes a child; completion ${parent.id} stays as it is, and tokens you do not touch keep their probabilities.</p>`}
    <${Field} label="Completion">${(/** @type {string} */ id) => html`<${TextArea} id=${id} class="textarea reading" rows=${8} autofocus value=${it.text} placeholder="Type or paste the completion" onInput=${(/** @type {string} */ text) => set({ text })} />`}<//>
    <${Field} label="Model name" hint=${parent ? "empty: keep the name it has" : "who wrote it: manual, or the model you pasted it from"}>${(/** @type {string} */ id) => html`<input id=${id} class="input" value=${it.model} placeholder=${parent?.model ?? "manual"} onInput=${(/** @type {any} */ event) => set({ model: event.currentTarget.value })} />`}<//>
    ${!parent && html`<${Check} checked=${it.truncated} onChange=${(/** @type {boolean} */ on) => set({ truncated: on })}>It stops in the middle (truncated)<//>`}
    <div class="row"><${Button} kind="primary" icon="save" keys="Ctrl+Enter" why=${it.text === "" ? "Write something first" : parent && it.text === parent.text ? "Nothing was changed" : null} onClick=${save}>Save<//>
      <${Button} onClick=${() => { kept.value = empty; onEnd(null); }}>Cancel<//></div>
  </div></section>`;
}
