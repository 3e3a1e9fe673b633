/** The same prompt to the model before and the model after, side by side, as they write. Nobody keeps these texts. */

import { api } from "../api.js";
import { Button, Field, Select, TextArea } from "../components/controls.js";
import { useLoaded } from "../components/states.js";
import { firstLine } from "../domain/text.js";
import { useKeys } from "../keyboard.js";
import { html, useEffect, useRef, useState } from "../preact.js";
import { sayError } from "../state.js";
import { readEvents } from "../sse.js";

/** @import * as T from "../types.js" */

/** @typedef {{ text: string, ended: string | null, wrong: string | null }} Said */
const NOTHING = /** @type {Said} */ ({ text: "", ended: null, wrong: null });

/** @param {{ run: T.TrainingRun }} props */
export function SideBySide({ run }) {
  const names = [/** @type {string} */ (run.model), run.key];
  const samples = useLoaded(() => api.samples({ limit: 100 }), []).value?.items ?? [];
  const [prompt, setPrompt] = useState(/** @type {T.Prompt | null} */ (null)), [sample, setSample] = useState("");
  const [heat, setHeat] = useState("0.8"), [most, setMost] = useState("120"), [seed, setSeed] = useState("0");
  const [said, setSaid] = useState(/** @type {Said[]} */ ([NOTHING, NOTHING])), [busy, setBusy] = useState(false);
  const stop = useRef(/** @type {AbortController | null} */ (null));
  useEffect(() => () => stop.current?.abort(), []);
  const pick = async (/** @type {string} */ id) => {
    setSample(id);
    if (id) await api.sample(Number(id)).then((found) => setPrompt(found.prompt), sayError);
    else setPrompt("");
  };
  useEffect(() => {
    if (prompt === null && samples.length) pick(String(samples[0].id));
  }, [samples.length]);
  const text = typeof prompt === "string" ? prompt : null;
  const why = prompt === null || (text !== null && !text.trim()) ? "Give a prompt" : null;
  const put = (/** @type {number} */ at, /** @type {(old: Said) => Said} */ change) => setSaid((old) => old.map((each, i) => (i === at ? change(each) : each)));
  const one = async (/** @type {number} */ at, /** @type {AbortSignal} */ signal) => {
    const response = await api.try_(/** @type {T.Prompt} */ (prompt), { model: names[at], max_tokens: Number(most) || 1, temperature: Number(heat) || 0, seed: Number(seed) || 0 }, signal);
    if (!response.ok) throw new Error((await response.json().catch(() => null))?.error?.message ?? `the server answered ${response.status}`);
    await readEvents(response, ({ data }) => {
      if (data === "[DONE]") return;
      const found = JSON.parse(data), choice = found.choices?.[0];
      if (found.error) put(at, (old) => ({ ...old, wrong: found.error.message }));
      else if (choice) put(at, (old) => ({ ...old, text: old.text + (choice.text ?? choice.delta?.content ?? ""), ended: choice.finish_reason ?? old.ended }));
    });
  };
  const go = async () => {
    stop.current?.abort();
    const mine = (stop.current = new AbortController());
    setSaid([NOTHING, NOTHING]);
    setBusy(true);
    await Promise.all(names.map((_, at) => one(at, mine.signal).catch((error) => !mine.signal.aborted && put(at, (old) => ({ ...old, wrong: error instanceof Error ? error.message : String(error) })))));
    if (stop.current === mine) setBusy(false);
  };
  const halt = () => {
    stop.current?.abort();
    setBusy(false);
  };
  useKeys("Side by side", [{ keys: "Ctrl+Enter", says: "complete with both models", act: () => !why && go() }], [why, JSON.stringify(prompt), heat, most, seed]);
  const small = (/** @type {string} */ label, /** @type {string} */ value, /** @type {(value: string) => void} */ set, step = "1") => html`<${Field} label=${label}>${(/** @type {string} */ id) => html`<input id=${id} class="input number" type="number" min="0" step=${step} value=${value} onInput=${(/** @type {any} */ event) => set(event.currentTarget.value)} />`}<//>`;
  return html`<section class="card" aria-label="Side by side"><div class="head"><h2>Side by side</h2></div><div class="body stack">
    <div class="fields wide"><${Select} label="A prompt of the workspace" value=${sample} onChange=${pick} options=${[{ value: "", name: "one of your own" }, ...samples.map((/** @type {T.SampleRow} */ each) => ({ value: String(each.id), name: each.title || firstLine(each.preview, 60) }))]} />
      ${small("Temperature", heat, setHeat, "0.1")}${small("New tokens at most", most, setMost)}${small("Seed", seed, setSeed)}</div>
    ${prompt !== null && text === null ? html`<div class="training-prompt small" tabindex="0" role="group" aria-label="The prompt">${/** @type {T.Message[]} */ (prompt).map((each, at) => html`<p key=${at}><strong class="muted">${each.role}</strong> <bdi>${each.content}</bdi></p>`)}</div>`
      : html`<${Field} label="Prompt">${(/** @type {string} */ id) => html`<${TextArea} id=${id} rows=${2} value=${text ?? ""} onInput=${(/** @type {string} */ value) => { setSample(""); setPrompt(value); }} placeholder="Once upon a time" />`}<//>`}
    <div class="row wrap">${busy ? html`<${Button} icon="stop" onClick=${halt}>Stop<//>` : html`<${Button} kind="primary" icon="play" keys="Ctrl+Enter" why=${why} onClick=${go}>Complete with both<//>`}<span class="small muted">Same prompt, same seed. Nothing of this is kept.</span></div>
    <div class="training-both">${names.map((name, at) => html`<article class="training-said" key=${name} aria-label=${`What ${name} says`}><h3><span class="muted">${at ? "after" : "before"}</span> <bdi>${name}</bdi></h3>
      ${said[at].wrong ? html`<p class="wrong small" role="alert">${said[at].wrong}</p>` : html`<p class="reading"><bdi>${said[at].text}</bdi>${busy && !said[at].ended && html`<span class="caret"></span>`}</p>`}
      ${said[at].ended === "length" && html`<span class="mark truncated">truncated</span>`}</article>`)}</div></div></section>`;
}
