/** Facets: purposes with their bounds and target models, what they inherit, and requests that found no approved answer. */

import { go, writeAddress } from "../address.js";
import { api } from "../api.js";
import { Button, Field, Select } from "../components/controls.js";
import { confirm } from "../components/overlays.js";
import { Empty, Loading, useLoaded } from "../components/states.js";
import { ago, count, firstLine, plural, promptText } from "../domain/text.js";
import { useKeys } from "../keyboard.js";
import { html, useEffect, useState } from "../preact.js";
import { act, actSeen, changed, facetName, facets, loadShared, models } from "../state.js";

const NUMBERS = /** @type {const} */ ([["good_rating", "Good from rating"], ["bad_rating", "Bad up to rating"], ["min_logprob", "Lowest logprob at least"], ["mean_logprob", "Mean logprob at least"]]);

export function FacetsPage() {
  const [chosen, setChosen] = useState(/** @type {number | "new" | null} */ (null));
  const counts = useLoaded(() => api.counts(), [changed.value]).value?.items ?? [];
  const waiting = useLoaded(() => api.unanswered({ state: "waiting", limit: 100 }), [changed.value]);
  // A facet stands behind the one it inherits from.
  const path = (/** @type {any} */ each) => [...each.effective.chain].reverse().join("\u0000");
  const all = [...facets.value].sort((a, b) => (path(a) < path(b) ? -1 : 1));
  const current = chosen === "new" ? null : all.find((each) => each.id === chosen) ?? all.find((each) => each.name === facetName.value) ?? all[0] ?? null;
  const making = chosen === "new" || !all.length;
  useKeys("Facets", [{ keys: "N", says: "new facet", act: () => setChosen("new") }], []);
  const answer = async (/** @type {any} */ each) => {
    const done = await act(() => api.answer(each.id, {}));
    if (done?.sample_id) go(["samples", done.sample_id]);
  };
  return html`<div class="page-body"><div class="page-head"><div class="grow" style=${{ flexBasis: "260px" }}><h1>Facets</h1><p class="muted">A facet is a purpose. Under each, completions are rated, compared and approved on their own terms.</p></div>
      <${Button} kind="primary" icon="plus" keys="N" onClick=${() => setChosen("new")}>New facet<//></div>
    <div class="facet-grid">
      <nav class="card" aria-label="Facets"><div class="body stack tight">${all.length ? all.map((each) => {
        const row = counts.find((/** @type {any} */ one) => one.facet === each.name);
        return html`<button type="button" class="side-item" key=${each.id} aria-current=${String(!making && current?.id === each.id)} style=${{ paddingLeft: `${8 + 14 * (each.effective.chain.length - 1)}px` }} onClick=${() => setChosen(each.id)}><bdi class="clip">${each.name}</bdi><span class="count">${row ? `${count(row.rated)} rated` : ""}</span></button>`;
      }) : html`<p class="muted small">None yet.</p>`}</div></nav>
      <${FacetForm} key=${making ? "new" : current?.version} facet=${making ? null : current} onMade=${(/** @type {any} */ made) => { setChosen(made?.id ?? null); if (made) facetName.value = made.name; }} />
    </div>
    <${WorkspaceModel} />
    <section style=${{ marginTop: "32px" }} aria-label="Unanswered requests"><h2 style=${{ marginBottom: "10px" }}>Unanswered requests</h2>
      ${!waiting.value ? html`<${Loading} lines=${2} />` : !waiting.value.items.length ? html`<p class="muted">None waits. Requests to <code>model@facet</code> that have no approved completion are queued here.</p>`
        : html`<ul class="card timeline">${waiting.value.items.map((/** @type {any} */ each) => html`<li key=${each.id}><span class="dot"></span><span class="stack tight" style=${{ gap: 0 }}><bdi class="clip">${firstLine(promptText(each.prompt), 100)}</bdi><span class="faint tiny">${each.facet} · asked ${plural(each.asked, "time")} · ${ago(each.asked_at)}</span></span>
          <span class="row">${each.sample_id ? html`<a class="button small" href=${writeAddress(["samples", each.sample_id])}>Open<//>` : html`<${Button} small kind="primary" onClick=${() => answer(each)}>Make a sample<//>`}<${Button} small kind="quiet" onClick=${() => act(() => api.dismiss(each.id), "Dismissed")}>Dismiss<//></span></li>`)}</ul>`}
    </section></div>`;
}

/** @param {{ facet: import("../types.js").Facet | null, onMade: (facet: any) => void }} props */
function FacetForm({ facet, onMade }) {
  const first = () => ({ name: facet?.name ?? "", description: facet?.description ?? "", parent: facet?.parent ?? "", target_model: facet?.target_model ?? "", ...Object.fromEntries(NUMBERS.map(([name]) => [name, facet?.[name] ?? ""])) });
  const [it, setIt] = useState(/** @type {any} */ (first));
  useEffect(() => setIt(first()), [facet?.version]);
  const set = (/** @type {any} */ change) => setIt({ ...it, ...change });
  const save = async () => {
    const body = { name: it.name.trim(), description: it.description, parent: it.parent || null, target_model: it.target_model || null, ...Object.fromEntries(NUMBERS.map(([name]) => [name, it[name] === "" ? null : Number(it[name])])) };
    const made = facet ? await actSeen(facet.version, (version) => api.changeFacet(facet.id, { ...body, version }), "Facet saved") : await act(() => api.addFacet(body), "Facet added");
    if (made) {
      await loadShared();
      onMade(made);
    }
  };
  const remove = async () => {
    if (!facet || !(await confirm({ title: `Delete the facet “${facet.name}”?`, text: "Its ratings, preferences and approvals go with it. Undo brings them back.", button: "Delete", danger: true }))) return;
    await act(() => api.deleteFacet(facet.id), "Facet deleted");
    await loadShared();
    onMade(null);
  };
  const from = (/** @type {string} */ name) => (facet && it[name] === "" ? html`<span class="inherits">${facet.effective[name] ?? "none"}, from ${facet.effective.sources[name] ?? "default"}</span>` : null);
  return html`<section class="card facet-card" aria-label=${facet ? `Facet ${facet.name}` : "New facet"}><div class="head"><h2>${facet ? html`<bdi>${facet.name}</bdi>` : "New facet"}</h2></div><div class="body stack">
    <${Field} label="Name">${(/** @type {string} */ id) => html`<input id=${id} class="input" value=${it.name} placeholder="legal letters" onInput=${(/** @type {any} */ event) => set({ name: event.currentTarget.value })} onKeyDown=${(/** @type {any} */ event) => event.key === "Enter" && it.name.trim() && save()} />`}<//>
    <${Field} label="Description">${(/** @type {string} */ id) => html`<textarea id=${id} class="textarea" rows="2" value=${it.description} placeholder="What makes a completion good for this?" onInput=${(/** @type {any} */ event) => set({ description: event.currentTarget.value })}></textarea>`}<//>
    <div class="fields"><${Select} label="Inherits from" value=${it.parent} onChange=${(/** @type {string} */ parent) => set({ parent })} options=${[{ value: "", name: "nothing" }, ...facets.value.filter((each) => each.id !== facet?.id).map((each) => ({ value: each.name, name: each.name }))]} />
      <${Select} label="Target model" value=${it.target_model} onChange=${(/** @type {string} */ target_model) => set({ target_model })} hint=${from("target_model")} options=${[{ value: "", name: "inherited" }, ...models.value.map((each) => ({ value: each.name, name: each.name }))]} /></div>
    <div class="fields">${NUMBERS.map(([name, label]) => html`<${Field} key=${name} label=${label} hint=${from(name)}>${(/** @type {string} */ id) => html`<input id=${id} class="input number" type="number" step="any" value=${it[name]} placeholder="inherited" onInput=${(/** @type {any} */ event) => set({ [name]: event.currentTarget.value })} />`}<//>`)}</div>
    <div class="row"><${Button} kind="primary" icon="save" why=${it.name.trim() ? null : "A facet needs a name"} onClick=${save}>Save<//>${facet && html`<${Button} kind="danger" icon="trash" onClick=${remove}>Delete…<//>`}</div></div></section>`;
}

/** The model that completes where neither a facet nor anybody names one. */
function WorkspaceModel() {
  const found = useLoaded(() => api.settings(), [changed.value]);
  const name = found.value?.target_model ?? "";
  const known = models.value.map((each) => each.name);
  const change = async (/** @type {string} */ model) => {
    await act(() => api.changeSettings({ target_model: model || null }), "The workspace's model is set");
    await loadShared();
  };
  return html`<section style=${{ marginTop: "32px", maxWidth: "420px" }} aria-label="The workspace"><${Select} label="The workspace's target model" value=${name} onChange=${change} hint="for facets that inherit none, and where no facet is chosen"
    options=${[{ value: "", name: "tiny, the one inside" }, ...[...new Set([...known, ...(name ? [name] : [])])].map((each) => ({ value: each, name: each }))]} /></section>`;
}
