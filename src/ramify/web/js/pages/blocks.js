/** Block by block: paragraphs proposed, taken, edited, asked for shorter or longer. */

import { address, go, writeAddress } from "../address.js";
import { api } from "../api.js";
import { Button, Field, TextArea } from "../components/controls.js";
import { Icon } from "../components/icon.js";
import { SettingsForm } from "../components/settings_form.js";
import { Empty, Loading, useLoaded } from "../components/states.js";
import { plural } from "../domain/text.js";
import { useKeys } from "../keyboard.js";
import { html, useState } from "../preact.js";
import { act, remembered, sayError } from "../state.js";

const config = remembered("blocks-config", /** @type {Record<string, any>} */ ({ max_new_tokens: 96, temperature: 0.8 }));

export function BlocksPage() {
  const key = address.value.parts[0];
  const loaded = useLoaded(() => api.blocks(key), [key]);
  const [busy, setBusy] = useState(""), [n, setN] = useState(3), [instruction, setInstruction] = useState(""), [editing, setEditing] = useState(-1), [edited, setEdited] = useState(""), [own, setOwn] = useState("");
  const it = loaded.value;
  const step = async (/** @type {string} */ name, /** @type {any} */ body = {}) => {
    setBusy(name);
    try {
      loaded.set(await api.blocksStep(key, name, { ...body, version: it?.version }));
      setEditing(-1);
    } catch (error) {
      sayError(error);
      if (/** @type {any} */ (error).code === "stale") await loaded.again();
    }
    setBusy("");
  };
  const propose = (/** @type {any} */ more = {}) => step("propose", { n, config: config.value, instruction: instruction || undefined, ...more });
  const save = async () => {
    const made = await act(() => api.blocksStep(key, "save", {}), "Saved");
    if (made && it) go(["samples", it.sample_id], { completion: made.id });
  };
  useKeys("Block by block", [
    { keys: "P G", says: "propose", act: () => propose() },
    { keys: "1 2 3 4 5 6 7 8 9", says: "accept that one", act: (event) => it && Number(event.key) <= it.proposed.length && step("accept", { index: Number(event.key) - 1 }) },
    { keys: "Backspace", says: "take the last block back", act: () => it?.blocks.length && step("undo") },
    { keys: "S Ctrl+S", says: "save", act: save },
    { keys: "Escape", says: "back to the sample", act: () => it && go(["samples", it.sample_id]) },
  ], [it, n, instruction]);
  if (loaded.error && !it) return html`<${Empty} title="This session has ended" action=${html`<a class="button" href="#/">To the library</a>`}>${/** @type {Error} */ (loaded.error).message}<//>`;
  if (!it) return html`<div class="page-body"><${Loading} /></div>`;
  return html`<div class="reader-shell"><div class="reader-bar"><a class="button icon quiet" href=${writeAddress(["samples", it.sample_id])} aria-label="Back to the sample"><${Icon} name="back" /></a><h1 style=${{ fontSize: "15px" }}>Block by block</h1><span class="small muted"><bdi>${it.model}</bdi> · ${plural(it.blocks.length, "block")}</span>${it.ended && html`<span class="mark good">ended</span>`}
      <span class="grow"></span><${Button} icon="undo" keys="Backspace" why=${it.blocks.length ? null : "There is no block yet"} onClick=${() => step("undo")}>Take back<//><${Button} kind="primary" icon="save" keys="S" why=${it.blocks.length ? null : "Accept a block first"} onClick=${save}>Save<//></div>
    <div class="page"><div class="page-body" style=${{ maxWidth: "820px" }}><div class="stack">
      ${it.blocks.length ? it.blocks.map((each, at) => html`<div class="block-piece reading" key=${at} title=${each.origin}>${each.text}</div>`) : html`<p class="muted reading">Nothing is written yet. Propose a first block.</p>`}
      ${it.proposed.map((each, at) => html`<article class="card" key=${at} aria-label=${`Proposal ${at + 1}`}><div class="body">${editing === at ? html`<${TextArea} class="textarea reading" aria-label="Edited block" rows=${4} value=${edited} onInput=${setEdited} />` : html`<div class="reading">${each.text}</div>`}</div>
        <div class="foot"><span class="small muted number">${plural(each.tokens, "token")}${each.ends ? ", ends the text" : ""}</span><span class="push"></span>
          ${editing === at ? html`<${Button} small kind="primary" onClick=${() => step("accept", { index: at, edited })}>Accept the edited one<//><${Button} small onClick=${() => setEditing(-1)}>Cancel<//>`
            : html`<${Button} small onClick=${() => propose({ like: { index: at, length: "shorter" }, instruction: undefined })}>Shorter<//><${Button} small onClick=${() => propose({ like: { index: at, length: "longer" }, instruction: undefined })}>Longer<//><${Button} small icon="edit" onClick=${() => { setEdited(each.text); setEditing(at); }}>Edit<//><${Button} small kind="primary" icon="check" keys=${String(at + 1)} onClick=${() => step("accept", { index: at })}>Accept<//>`}</div></article>`)}
      ${!it.ended && html`<section class="card"><div class="body stack"><${Field} label="Instruction for the next block">${(/** @type {string} */ id) => html`<input id=${id} class="input" value=${instruction} placeholder="none; or: describe the weather" onInput=${(/** @type {any} */ event) => setInstruction(event.currentTarget.value)} />`}<//>
        <div class="row"><label class="label" for="proposals">Proposals</label><input id="proposals" class="input number" type="number" min="1" max="8" style=${{ width: "64px" }} value=${n} onInput=${(/** @type {any} */ event) => setN(Math.max(1, Math.min(8, Number(event.currentTarget.value) || 1)))} /><${Button} kind="primary" icon="play" keys="P" busy=${busy === "propose"} onClick=${() => propose()}>${it.proposed.length ? "Propose others" : "Propose"}<//></div>
        <${SettingsForm} config=${config.value} model=${it.model} onChange=${(/** @type {any} */ next) => (config.value = next)} />
        <div class="row" style=${{ alignItems: "end" }}><div class="grow"><${Field} label="Or write the block yourself">${(/** @type {string} */ id) => html`<${TextArea} id=${id} rows=${2} value=${own} onInput=${setOwn} />`}<//></div><${Button} why=${own ? null : "Write something first"} onClick=${() => step("write", { text: own }).then(() => setOwn(""))}>Append<//></div></div></section>`}
    </div></div></div></div>`;
}
