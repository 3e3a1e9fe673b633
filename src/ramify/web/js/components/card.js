/** A completion as a card: who wrote it and how, what it says, how likely it was, how it was judged, what can be done with it. */

import { go, writeAddress } from "../address.js";
import { api } from "../api.js";
import { draftSignal, expectDrafts } from "../drafts.js";
import { REASONS, ago, fixed, originOf, percent, strategyOf } from "../domain/text.js";
import { verdictOf } from "../domain/ranking.js";
import { html, useLayoutEffect, useRef, useState } from "../preact.js";
import { act, actSeen, cannot, facet, facetName, models } from "../state.js";
import { Button, Menu, Rating } from "./controls.js";
import { Icon } from "./icon.js";
import { askFor, confirm } from "./overlays.js";
import { useLoaded } from "./states.js";
import { TokenText } from "./token_view.js";

/** @import { Completion } from "../types.js" */

/** Make drafts and begin to watch them. @param {() => Promise<{ items: Completion[] }>} work @param {string} [done] */
export async function makeDrafts(work, done) {
  const made = await act(work, done);
  if (made) expectDrafts(made.items);
  return made?.items ?? [];
}

/** Rate under the chosen facet. @param {Completion} completion @param {number | null} rating */
export function rate(completion, rating) {
  if (!facetName.value) {
    go(["facets"]);
    return null;
  }
  return act(() => api.rate(completion.id, { facet: facetName.value, rating }), rating === null ? "Rating taken back" : `Rated ${rating} for ${facetName.value}`);
}

/** @param {{ completion: Completion }} props */
export function Marks({ completion }) {
  const verdict = facet.value && verdictOf(completion.ratings[facetName.value], facet.value.effective);
  return html`${completion.draft && !completion.running && html`<span class="mark warn">draft</span>`}
    ${completion.truncated && !completion.running && html`<span class="mark truncated" title=${`No end of text was chosen: ${REASONS[completion.finish_reason ?? ""] ?? "unfinished"}`}>truncated</span>`}
    ${completion.approved.includes(facetName.value) && html`<span class="mark good"><${Icon} name="check" size=${11} />approved</span>`}
    ${verdict === "good" && html`<span class="mark good">good</span>`}${verdict === "bad" && html`<span class="mark">bad</span>`}
    ${completion.archived && html`<span class="mark">archived</span>`}${completion.hidden && html`<span class="mark">removed from view</span>`}
    ${Object.entries(completion.labels).map(([name, value]) => html`<span class="mark" key=${name} title=${name}><bdi class="clip">${value}</bdi></span>`)}
    ${completion.tags.map((tag) => html`<span class="mark" key=${tag}><${Icon} name="tag" size=${11} /><bdi class="clip">${tag}</bdi></span>`)}`;
}

/** The text of a completion, its prefill marked; with heat, cut into tokens. @param {{ completion: Completion, text: string, heat: boolean, tokens?: any, measure: any, running: boolean }} props */
function Body({ completion, text, heat, tokens, measure, running }) {
  const own = useLoaded(() => (heat && !tokens && completion.token_count ? api.tokens(completion.id, { alternatives: 0 }) : Promise.resolve(null)), [heat, completion.version, Boolean(tokens)]);
  const found = tokens ?? own.value;
  if (heat && found?.ids.length) {
    return html`<${TokenText} tokens=${found} measure=${measure} label=${`Completion ${completion.id}`} onToken=${(/** @type {number} */ i) => go(["completions", completion.id], { at: i + found.start })} />${running && html`<span class="caret"></span>`}`;
  }
  const cut = completion.generated_start;
  return html`<div class=${`reading ${/^ \S/.test(text) ? "spaced" : ""}`}>${cut > 0 && html`<span class="prefilled" title="Prefill">${text.slice(0, cut)}</span>`}${text.slice(cut)}${running && html`<span class="caret"></span>`}</div>`;
}

/** @param {{ completion: Completion, heat: boolean, measure: any, current?: boolean, picked?: boolean, onPick?: () => void, onEdit?: () => void }} props */
export function Card({ completion: kept, heat, measure, current = false, picked = false, onPick, onEdit }) {
  const live = kept.draft ? draftSignal(kept.id).value : null;
  const completion = live?.completion ?? kept, running = completion.running, text = live?.text ?? kept.text;
  const [whole, setWhole] = useState(false), [clamped, setClamped] = useState(false);
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  useLayoutEffect(() => {
    const it = box.current;
    if (it) setClamped(it.scrollHeight > it.clientHeight + 4);
    if (it && running) it.scrollTop = it.scrollHeight;
  }, [text, whole, heat]);
  const tokensHref = writeAddress(["completions", completion.id]);
  return html`<article class=${`card completion ${completion.draft ? "draft" : ""} ${completion.archived ? "archived" : ""} ${current ? "selected" : ""}`} id=${`completion-${completion.id}`} aria-label=${`Completion ${completion.id}`}>
    <div class="head">
      ${onPick && html`<input type="checkbox" aria-label=${`Compare completion ${completion.id}`} checked=${picked} onChange=${onPick} />`}
      <bdi class="who clip">${completion.model}</bdi>
      <span class="muted small clip">${completion.finish_reason === "written" || completion.finish_reason === "imported" ? originOf(completion) : `${strategyOf(completion.config)} · ${originOf(completion)}`}</span>
      ${running && html`<span class="mark info"><span class="spinner" style=${{ width: "10px", height: "10px" }}></span>writing</span>`}
      <${Marks} completion=${completion} />
      <span class="push"></span>
      ${!completion.draft && html`<${Rating} label=${`Rating for ${facetName.value || "a facet"}`} value=${completion.ratings[facetName.value]} onRate=${(/** @type {number | null} */ value) => rate(completion, value)} />`}
    </div>
    <div class="body"><div ref=${box} class=${`text ${whole ? "whole" : ""} ${clamped && !whole && !running ? "clamped" : ""}`}>
      <${Body} completion=${completion} text=${text} heat=${heat} tokens=${live?.tokens} measure=${measure} running=${running} /></div>
      ${(clamped || whole) && !running && html`<${Button} small kind="quiet" onClick=${() => setWhole(!whole)}>${whole ? "Show less" : "Show all"}<//>`}
    </div>
    <div class="foot">
      <span class="measures"><span>${completion.token_count === null ? `${completion.text.length} characters` : html`<b>${live?.tokens ? live.tokens.total : completion.token_count}</b> tokens`}</span>
        ${completion.mean_logprob !== null && html`<span title=${`mean logprob ${fixed(completion.mean_logprob, 3)} nats a token`}>mean <b>${percent(Math.exp(completion.mean_logprob))}</b></span>
          <span title=${`lowest logprob ${fixed(completion.min_logprob, 2)} nats`}>lowest <b>${percent(Math.exp(completion.min_logprob ?? 0))}</b></span>`}
        ${!running && html`<span>${REASONS[completion.finish_reason ?? ""] ?? "unfinished"}</span>`}<span>${ago(completion.created_at)}</span></span>
      <span class="push row wrap">
        ${running ? html`<${Button} small icon="stop" keys="Escape" onClick=${() => act(() => api.cancelDraft(completion.id))}>Cancel<//>` : html`
          ${completion.draft && html`<${Button} small kind="primary" icon="save" onClick=${() => act(() => api.saveDraft(completion.id), "Saved")}>Save<//>
            <${Button} small kind="quiet" icon="trash" label="Discard this draft" onClick=${() => act(() => api.discardDraft(completion.id), "Draft discarded")} />`}
          ${completion.truncated && html`<${Button} small icon="play" onClick=${() => makeDrafts(() => api.continue_(completion.id, {}))}>Continue<//>`}
          <a class="button small" href=${tokensHref}><${Icon} name="token" />Tokens</a>
          ${onEdit && html`<${Button} small icon="edit" onClick=${onEdit}>Edit<//>`}`}
        <${CardMenu} completion=${completion} />
      </span>
    </div>
  </article>`;
}

/** @param {{ completion: Completion }} props */
export function CardMenu({ completion }) {
  const change = (/** @type {any} */ body, /** @type {string} */ done) => act(() => api.changeCompletion(completion.id, body), done);
  const changeSeen = (/** @type {any} */ body, /** @type {string} */ done) => actSeen(completion.version, (version) => api.changeCompletion(completion.id, { ...body, version }), done);
  const approved = completion.approved.includes(facetName.value);
  const grow = async () => {
    const made = await act(() => api.treeOf(completion.id, {}));
    if (made) go(["trees", made.tree.id], { node: made.node });
  };
  const tag = async () => {
    const names = await askFor({ title: "Tags of this completion", label: "Tags, with commas between", value: completion.tags.join(", "), button: "Save" });
    if (names !== null) await changeSeen({ tags: names.split(",").map((each) => each.trim()).filter(Boolean) }, "Tags saved");
  };
  const label = async (/** @type {string} */ name) => {
    const value = await askFor({ title: `Label: ${name}`, label: "Empty for none", value: completion.labels[name] ?? "", button: "Save" });
    if (value !== null) await change({ labels: { ...completion.labels, [name]: value.trim() || null } }, "Label saved");
  };
  const remove = async () => {
    if (await confirm({ title: "Delete this completion?", text: "Its judgements go with it. Undo brings it back.", button: "Delete", danger: true })) await act(() => api.deleteCompletion(completion.id), "Deleted");
  };
  const noFacet = facetName.value ? null : "Choose a facet first";
  const measured = models.value.filter((each) => each.kind === "local" || each.can.score === true);
  return html`<${Menu} label=${`More for completion ${completion.id}`} icon="more" small items=${[
    { name: "Beam tree from here", icon: "tree", why: completion.token_count === null ? "It has no tokens yet; measure it first" : cannot(completion.model, "beams"), act: grow },
    ...measured.slice(0, 6).map((each) => ({ name: `Measure under ${each.name}`, icon: "token", why: cannot(each.name, "score"), act: () => act(() => api.score(completion.id, { model: each.name }), `Measured under ${each.name}`) })),
    null,
    { name: approved ? `Take the approval for ${facetName.value} back` : `Approve for ${facetName.value || "a facet"}`, icon: "check", why: noFacet ?? (completion.draft ? "Save it first" : null), act: () => act(() => api.approve(completion.id, { facet: facetName.value, approved: !approved }), approved ? "Approval taken back" : "Approved") },
    { name: "Tags…", icon: "tag", act: tag },
    ...["style", "length", "reasoning", "refusal", "formatting"].map((name) => ({ name: `Label: ${name}${completion.labels[name] ? ` (${completion.labels[name]})` : ""}…`, act: () => label(name) })),
    { name: completion.truncated ? "It is whole: not truncated" : "It is truncated", act: () => change({ truncated: !completion.truncated }, "Changed") },
    null,
    { name: "Copy the text", act: () => navigator.clipboard?.writeText(completion.text) },
    completion.archived ? { name: "Restore", act: () => change({ archived: false }, "Restored") } : { name: "Archive", act: () => change({ archived: true }, "Archived") },
    completion.hidden ? { name: "Show again", icon: "eye", act: () => change({ hidden: false }, "Shown again") } : { name: "Remove from view", icon: "eye", act: () => change({ hidden: true }, "Removed from view; it still counts") },
    { name: "Delete…", icon: "trash", danger: true, act: remove },
  ]} />`;
}

