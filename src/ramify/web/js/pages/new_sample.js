/** A new sample: its prompt as chat messages or as raw text, a title, a group, tags. What is typed survives a reload. */

import { go } from "../address.js";
import { api } from "../api.js";
import { Button, Field, Segments, TextArea } from "../components/controls.js";
import { Dialog } from "../components/overlays.js";
import { html, useState } from "../preact.js";
import { act, remembered } from "../state.js";

const EMPTY = { kind: "chat", text: "", messages: [{ role: "user", content: "" }], title: "", group: "", tags: "" };
const draft = remembered("new-sample", EMPTY);

/** @param {{ group: string, onClose: () => void }} props */
export function NewSample({ group, onClose }) {
  const [wrong, setWrong] = useState(/** @type {string | null} */ (null));
  const it = draft.value;
  const set = (/** @type {any} */ change) => (draft.value = { ...draft.value, ...change });
  const save = async () => {
    const prompt = it.kind === "chat" ? it.messages.filter((each) => each.content !== "") : it.text;
    if (!prompt.length) {
      setWrong("Write a prompt first");
      return;
    }
    const tags = it.tags.split(",").map((each) => each.trim()).filter(Boolean);
    const made = await act(() => api.addSample({ prompt, title: it.title, group: it.group || group, tags }), "Sample added");
    if (made) {
      draft.value = EMPTY;
      onClose();
      go(["samples", made.id]);
    }
  };
  return html`<${Dialog} title="New sample" wide onClose=${onClose} footer=${html`<${Button} onClick=${onClose}>Cancel<//><${Button} kind="primary" keys="Ctrl+Enter" onClick=${save}>Save<//>`}>
    <div class="stack" onKeyDown=${(/** @type {any} */ event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && (event.preventDefault(), save())}>
      <div class="row wrap"><${Segments} label="Kind of prompt" value=${it.kind} onChange=${(/** @type {string} */ kind) => set({ kind })} options=${[{ value: "chat", name: "Chat messages" }, { value: "raw", name: "Raw text" }]} />
        <span class="small muted">${it.kind === "chat" ? "The model's own chat template wraps them." : "The model continues exactly this text; special tokens in it count."}</span></div>
      ${it.kind === "chat" ? html`<${Messages} messages=${it.messages} onChange=${(/** @type {any} */ messages) => { setWrong(null); set({ messages }); }} />`
        : html`<${Field} label="Prompt">${(/** @type {string} */ id) => html`<${TextArea} id=${id} rows=${7} value=${it.text} onInput=${(/** @type {string} */ text) => { setWrong(null); set({ text }); }} />`}<//>`}
      ${wrong && html`<p class="small" role="alert" style=${{ color: "var(--danger-text)" }}>${wrong}</p>`}
      <div class="fields">
        <${Field} label="Title">${(/** @type {string} */ id) => html`<input id=${id} class="input" value=${it.title} placeholder="the prompt's first line" onInput=${(/** @type {any} */ event) => set({ title: event.currentTarget.value })} />`}<//>
        <${Field} label="Group">${(/** @type {string} */ id) => html`<input id=${id} class="input" value=${it.group || group} placeholder="letters/legal" onInput=${(/** @type {any} */ event) => set({ group: event.currentTarget.value })} />`}<//>
        <${Field} label="Tags">${(/** @type {string} */ id) => html`<input id=${id} class="input" value=${it.tags} placeholder="one, another" onInput=${(/** @type {any} */ event) => set({ tags: event.currentTarget.value })} />`}<//>
      </div>
    </div>
  <//>`;
}

/** @param {{ messages: { role: string, content: string }[], onChange: (messages: any) => void }} props */
export function Messages({ messages, onChange }) {
  const set = (/** @type {number} */ at, /** @type {any} */ change) => onChange(messages.map((each, i) => (i === at ? { ...each, ...change } : each)));
  const next = messages.at(-1)?.role === "user" ? "assistant" : "user";
  return html`<div class="stack">${messages.map((each, at) => html`<div class="message-edit" key=${at}>
      <select class="select" aria-label=${`Role of message ${at + 1}`} value=${each.role} onChange=${(/** @type {any} */ event) => set(at, { role: event.currentTarget.value })}>${["system", "user", "assistant"].map((role) => html`<option key=${role}>${role}</option>`)}</select>
      <${TextArea} aria-label=${`Message ${at + 1}`} rows=${3} value=${each.content} placeholder=${each.role === "user" ? "What is asked" : ""} autofocus=${at === 0} onInput=${(/** @type {string} */ content) => set(at, { content })} />
      <${Button} kind="quiet" icon="close" label=${`Remove message ${at + 1}`} why=${messages.length > 1 ? null : "A chat has at least one message"} onClick=${() => onChange(messages.filter((_, i) => i !== at))} /></div>`)}
    <div class="row"><${Button} small icon="plus" onClick=${() => onChange([...messages, { role: next, content: "" }])}>Message<//>
      ${messages[0]?.role !== "system" && html`<${Button} small kind="quiet" onClick=${() => onChange([{ role: "system", content: "" }, ...messages])}>System message<//>`}</div></div>`;
}
