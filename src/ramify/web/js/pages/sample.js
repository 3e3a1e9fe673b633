/** A sample: its fixed prompt, a place to make completions, and all of them side by side. */

import { address, go, writeAddress } from "../address.js";
import { api } from "../api.js";
import { Card } from "../components/card.js";
import { Button, Check, Menu } from "../components/controls.js";
import { Icon } from "../components/icon.js";
import { MendBar } from "../components/mend_bar.js";
import { Dialog, askFor, confirm } from "../components/overlays.js";
import { Empty, Failure, Loading, useLoaded } from "../components/states.js";
import { MEASURES } from "../domain/heatmap.js";
import { ago, firstLine, plural, promptText } from "../domain/text.js";
import { draftSignal, expectDrafts, fresh, listed, running } from "../drafts.js";
import { useKeys } from "../keyboard.js";
import { html, useEffect, useState } from "../preact.js";
import { act, actAndLeave, actSeen, changed, facetName, remembered } from "../state.js";
import { Composer } from "./composer.js";
import { Messages } from "./new_sample.js";

/** @import { Completion, Sample } from "../types.js" */

export const heatOn = remembered("heat", false);
export const measureOf = remembered("measure", /** @type {keyof typeof MEASURES} */ ("probability"));
const order = remembered("completion-order", "newest");
const showAll = remembered("show-archived", false);

/** @param {Completion[]} items @param {string} by */
function ordered(items, by) {
  const key = {
    newest: (/** @type {Completion} */ each) => -each.id, oldest: (each) => each.id, likely: (each) => -(each.mean_logprob ?? -Infinity),
    rating: (each) => -(each.ratings[facetName.value] ?? -1),
  }[by] ?? ((each) => -each.id);
  return [...items].sort((a, b) => key(a) - key(b) || b.id - a.id);
}

export function SamplePage() {
  const id = Number(address.value.parts[0]);
  const sample = useLoaded(() => api.sample(id), [id, changed.value]);
  const completions = useLoaded(async () => {
    const ran = running.peek();
    const found = await api.completions(id, { draft: "any", archived: showAll.value ? "any" : "false", hidden: showAll.value ? "any" : "false" });
    expectDrafts(found.items.filter((each) => each.draft && each.running));
    listed(ran);
    return found;
  }, [id, changed.value, showAll.value]);
  const trees = useLoaded(() => api.trees(id), [id, changed.value]);
  const [picked, setPicked] = useState(/** @type {number[]} */ ([]));
  const [editing, setEditing] = useState(/** @type {Completion | null | "new"} */ (null));
  const [current, setCurrent] = useState(0);
  const known = completions.value?.items ?? [];
  const begun = [...fresh.value].flatMap((one) => draftSignal(one).peek()?.completion ?? []).filter((each) => each.sample_id === id && !known.some((other) => other.id === each.id));
  const items = ordered([...known, ...begun], order.value);
  const one = items[current];
  // A draft's end is known from its stream before the list is loaded again.
  const now = () => one && (draftSignal(one.id).peek()?.completion ?? one);
  const pick = (/** @type {number} */ which) => setPicked(picked.includes(which) ? picked.filter((each) => each !== which) : [...picked, which].slice(-2));
  const move = (/** @type {number} */ by) => {
    const at = Math.max(0, Math.min(items.length - 1, current + by));
    setCurrent(at);
    document.getElementById(`completion-${items[at]?.id}`)?.scrollIntoView({ block: "nearest" });
  };
  const compare = () => picked.length === 2 && go(["compare", ...picked]);
  const edit = (/** @type {Completion} */ which) => {
    setEditing(which);
    document.querySelector(".sample-grid .side")?.scrollIntoView({ block: "nearest" });
  };
  useKeys("Sample", [
    { keys: "ArrowDown J", says: "next completion", act: () => move(1) },
    { keys: "ArrowUp K", says: "completion before", act: () => move(-1) },
    { keys: "Enter O", says: "open its tokens", act: () => one && go(["completions", one.id]) },
    { keys: "S", says: "save the draft", act: () => { const it = now(); if (it?.draft && !it.running) act(() => api.saveDraft(it.id), "Saved"); } },
    { keys: "C", says: "continue a truncated one", act: () => { const it = now(); if (it?.truncated && !it.running) act(async () => expectDrafts((await api.continue_(it.id, {})).items)); } },
    { keys: "X", says: "choose for comparing; two are compared with V", act: () => one && pick(one.id) },
    { keys: "V", says: "compare the two chosen", act: compare },
    { keys: "H", says: "heat on or off", act: () => (heatOn.value = !heatOn.value) },
    { keys: "Shift+E", says: "edit this completion", act: () => one && edit(one) },
    { keys: "1 2 3 4 5 6 7 8 9 0", says: "rate it (0 is 10) under the facet", act: (event) => one && !one.draft && facetName.value && act(() => api.rate(one.id, { facet: facetName.value, rating: Number(event.key) || 10 }), `Rated ${Number(event.key) || 10} for ${facetName.value}`) },
    { keys: "-", says: "take the rating back", act: () => one && facetName.value && act(() => api.rate(one.id, { facet: facetName.value, rating: null })) },
    { keys: "D", says: "duel: judge this sample's completions blind", act: () => go(["judge"], { sample: id }) },
  ], [items, current, picked, id]);
  useEffect(() => {
    const wanted = address.value.query.completion;
    if (wanted && completions.value) document.getElementById(`completion-${wanted}`)?.scrollIntoView({ block: "center" });
  }, [completions.value === null]);
  if (sample.error && !sample.value) return html`<div class="page-body"><${Failure} error=${sample.error} again=${sample.again} /></div>`;
  if (!sample.value) return html`<div class="page-body"><${Loading} lines=${6} /></div>`;
  return html`<div class="page-body sample-page">
    <${MendBar} sample=${id} />
    <${SampleHead} sample=${sample.value} />
    <div class="sample-grid">
      <div class="side">
        <${PromptCard} sample=${sample.value} fixed=${items.length > 0} />
        <${Composer} sample=${sample.value} editing=${editing} setEditing=${setEditing} onMade=${() => setCurrent(0)} />
        ${trees.value?.items.length ? html`<section class="card" aria-label="Beam trees"><div class="head"><h2>Beam trees</h2></div><div class="body stack tight">
          ${trees.value.items.map((/** @type {any} */ tree) => html`<a class="row small" key=${tree.id} href=${writeAddress(["trees", tree.id])}><${Icon} name="tree" /><bdi class="clip">${tree.title || tree.prefill || tree.model}</bdi><span class="faint push number">${plural(tree.nodes, "node")}</span></a>`)}</div></section>` : null}
      </div>
      <section class="completions" aria-label="Completions">
        <div class="row wrap"><h2>${plural(items.length, "completion")}</h2><span class="grow"></span>
          <${Button} small icon="judge" keys="D" why=${items.filter((each) => !each.draft).length > 1 ? null : "A duel needs two saved completions"} onClick=${() => go(["judge"], { sample: id })}>Duel<//>
          <${Button} small pressed=${heatOn.value} keys="H" onClick=${() => (heatOn.value = !heatOn.value)}>Heat<//>
          ${heatOn.value && html`<${Menu} small kind="" label="Heat by" icon="down" text=${MEASURES[measureOf.value].name} items=${["probability", "surprisal", "entropy", "rank"].map((name) => ({ name: MEASURES[name].name, checked: measureOf.value === name, act: () => (measureOf.value = /** @type {any} */ (name)) }))} />`}
          <${Menu} small label="Order" icon="down" text=${{ newest: "Newest first", oldest: "Oldest first", likely: "Likeliest first", rating: "Best rated first" }[order.value]} items=${[["newest", "Newest first"], ["oldest", "Oldest first"], ["likely", "Likeliest first"], ["rating", "Best rated first"]].map(([value, name]) => ({ name, checked: order.value === value, act: () => (order.value = value) }))} />
          <${Check} checked=${showAll.value} onChange=${(/** @type {boolean} */ on) => (showAll.value = on)}><span class="small">Archived too</span><//></div>
        ${completions.error ? html`<${Failure} error=${completions.error} again=${completions.again} />` : !completions.value ? html`<${Loading} />`
          : !items.length ? html`<${Empty} title="No completion yet">Press <kbd>G</kbd> to let ${"the target model"} write one, <kbd>T</kbd> to pick it token by token, <kbd>E</kbd> to write it yourself.<//>` : null}
        ${items.map((each, at) => html`<${Card} key=${each.id} completion=${each} heat=${heatOn.value} measure=${measureOf.value} current=${at === current} picked=${picked.includes(each.id)} onPick=${() => pick(each.id)} onEdit=${() => edit(each)} />`)}
        ${picked.length > 0 && html`<div class="comparebar" role="status">${picked.length === 2 ? html`<${Button} kind="primary" small icon="compare" keys="V" onClick=${compare}>Compare ${picked[0]} and ${picked[1]}<//>` : html`<span class="small">Choose one more to compare</span>`}<${Button} small kind="quiet" icon="close" label="Choose none" onClick=${() => setPicked([])} /></div>`}
      </section>
    </div>
  </div>`;
}

/** @param {{ sample: Sample }} props */
function SampleHead({ sample }) {
  const [title, setTitle] = useState(sample.title);
  useEffect(() => setTitle(sample.title), [sample.title]);
  const change = (/** @type {any} */ body, /** @type {string} */ done) => actSeen(sample.version, (version) => api.changeSample(sample.id, { ...body, version }), done);
  const tags = async () => {
    const names = await askFor({ title: "Tags", label: "With commas between", value: sample.tags.join(", "), button: "Save" });
    if (names !== null) await change({ tags: names.split(",").map((each) => each.trim()).filter(Boolean) }, "Tags saved");
  };
  const group = async () => {
    const path = await askFor({ title: "Group", text: "A path such as letters/legal; empty for the top.", label: "Group", value: sample.group, button: "Move" });
    if (path !== null) await change({ group: path.trim() }, "Moved");
  };
  const remove = async () => {
    if (!(await confirm({ title: "Delete this sample?", text: "Its completions and judgements go with it. Undo brings all of it back.", button: "Delete", danger: true }))) return;
    await actAndLeave(() => api.bulkSamples({ ids: [sample.id], action: "delete" }), () => go([]), "Deleted");
  };
  const path = sample.group ? sample.group.split("/") : [];
  return html`<div class="page-head"><div class="grow stack tight">
    <nav class="crumbs" aria-label="Group"><a href="#/">All samples</a>${path.map((each, at) => html`<span key=${at} aria-hidden="true">/</span><a href=${writeAddress([], { group: path.slice(0, at + 1).join("/") })}><bdi>${each}</bdi></a>`)}
      ${sample.tags.map((tag) => html`<span class="mark" key=${tag}><${Icon} name="tag" size=${11} /><bdi>${tag}</bdi></span>`)}${sample.archived && html`<span class="mark">archived</span>`}</nav>
    <h1 class="visually-hidden"><bdi>${sample.title || firstLine(promptText(sample.prompt))}</bdi></h1>
    <input class="title-input" aria-label="Title" value=${title} placeholder=${firstLine(promptText(sample.prompt)) || "Title"} onInput=${(/** @type {any} */ event) => setTitle(event.currentTarget.value)}
      onBlur=${() => title !== sample.title && change({ title }, "Title saved")} onKeyDown=${(/** @type {any} */ event) => { if (event.key === "Enter") event.currentTarget.blur(); if (event.key === "Escape") { setTitle(sample.title); event.stopPropagation(); } }} />
  </div>
  <${Menu} label="More for this sample" icon="more" kind="" items=${[
    { name: "Tags…", icon: "tag", act: tags }, { name: "Group…", icon: "folder", act: group }, null,
    sample.archived ? { name: "Restore", act: () => act(() => api.bulkSamples({ ids: [sample.id], action: "restore" }), "Restored") } : { name: "Archive", act: () => act(() => api.bulkSamples({ ids: [sample.id], action: "archive" }), "Archived") },
    { name: "Delete…", icon: "trash", danger: true, act: remove }]} /></div>`;
}

/** @param {{ sample: Sample, fixed: boolean }} props */
function PromptCard({ sample, fixed }) {
  const [revising, setRevising] = useState(false);
  const [notes, setNotes] = useState(sample.notes);
  useEffect(() => setNotes(sample.notes), [sample.notes]);
  const kept = sample.images.map((each) => each.path).join("\n");
  const [images, setImages] = useState(kept);
  useEffect(() => setImages(kept), [kept]);
  const keepImages = async () => {
    const wanted = images.split("\n").map((each) => each.trim()).filter(Boolean);
    if (wanted.join("\n") === kept) return;
    const told = wanted.map((path) => sample.images.find((each) => each.path === path) ?? { path });
    await actSeen(sample.version, (version) => api.changeSample(sample.id, { images: told, version }), "Images saved");
  };
  return html`<section class="card" aria-label="Prompt"><div class="head"><h2>Prompt</h2>${sample.revision > 1 && html`<span class="mark">revision ${sample.revision}</span>`}
      <span class="push"></span><${Button} small kind="quiet" icon="edit" onClick=${() => setRevising(true)}>Revise<//></div>
    <div class="body stack"><div class="prompt-body" tabindex="0" role="group" aria-label="The prompt's text"><${PromptText} prompt=${sample.prompt} /></div>
      <details class="params" open=${Boolean(sample.notes)}><summary><${Icon} name="chevron" size=${13} />Notes</summary>
        <textarea class="textarea" style=${{ marginTop: "8px" }} aria-label="Notes" rows="2" value=${notes} placeholder="For people; no model sees them" onInput=${(/** @type {any} */ event) => setNotes(event.currentTarget.value)}
          onBlur=${() => notes !== sample.notes && actSeen(sample.version, (version) => api.changeSample(sample.id, { notes, version }), "Notes saved")}></textarea></details>
      <details class="params" open=${Boolean(kept)}><summary><${Icon} name="chevron" size=${13} />Images</summary>
        <textarea class="textarea" style=${{ marginTop: "8px" }} aria-label="Images" rows="2" value=${images} placeholder="A path or an address a line; the images stay where they are" onInput=${(/** @type {any} */ event) => setImages(event.currentTarget.value)} onBlur=${keepImages}></textarea></details>
      ${sample.revision > 1 && html`<${Earlier} sample=${sample} />`}</div>
    ${revising && html`<${Revise} sample=${sample} fixed=${fixed} onClose=${() => setRevising(false)} />`}</section>`;
}

/** What the prompt was before; completions stay with the revision that they answer. @param {{ sample: Sample }} props */
function Earlier({ sample }) {
  const [open, setOpen] = useState(false);
  const found = useLoaded(async () => (open ? (await api.revisions(sample.id)).items : null), [open, sample.id, sample.prompt_id]);
  const before = (found.value ?? []).filter((/** @type {any} */ each) => each.id !== sample.prompt_id).reverse();
  return html`<details class="params" open=${open} onToggle=${(/** @type {any} */ event) => setOpen(event.currentTarget.open)}><summary><${Icon} name="chevron" size=${13} />Earlier revisions</summary>
    ${!open ? "" : found.error ? html`<${Failure} error=${found.error} again=${found.again} />` : !found.value ? html`<${Loading} lines=${2} />`
      : before.map((/** @type {any} */ each) => html`<div class="stack tight" key=${each.id} style=${{ marginTop: "8px" }}><span class="tiny muted">revision ${each.number}, ${ago(each.created_at)}</span><div class="prompt-body" tabindex="0" role="group" aria-label=${`Revision ${each.number}`}><${PromptText} prompt=${each.prompt} /></div></div>`)}</details>`;
}

/** @param {{ prompt: import("../types.js").Prompt }} props */
export function PromptText({ prompt }) {
  if (typeof prompt === "string") return html`<div class="reading">${prompt}</div>`;
  return prompt.map((each, at) => html`<div class=${`message ${each.role}`} key=${at}><div class="role"><bdi>${each.role}</bdi></div><div class="reading">${each.content}</div></div>`);
}

/** @param {{ sample: Sample, fixed: boolean, onClose: () => void }} props */
function Revise({ sample, fixed, onClose }) {
  const [prompt, setPrompt] = useState(sample.prompt);
  const chat = typeof prompt !== "string";
  const save = async () => {
    const kept = chat ? prompt.map(({ role, content }) => ({ role, content })) : prompt;
    if (await actSeen(sample.version, (version) => api.setPrompt(sample.id, { prompt: kept, version }), "Prompt revised")) onClose();
  };
  return html`<${Dialog} title="Revise the prompt" wide onClose=${onClose} footer=${html`<${Button} onClick=${onClose}>Cancel<//><${Button} kind="primary" onClick=${save}>Save<//>`}>
    ${fixed && html`<div class="notice">Completions belong to the prompt they were made for. This makes revision ${sample.revision + 1}; they stay with theirs.</div>`}
    ${chat ? html`<${Messages} messages=${/** @type {any} */ (prompt)} onChange=${setPrompt} />`
      : html`<textarea class="textarea reading" rows="10" aria-label="Prompt" value=${prompt} onInput=${(/** @type {any} */ event) => setPrompt(event.currentTarget.value)}></textarea>`}<//>`;
}
