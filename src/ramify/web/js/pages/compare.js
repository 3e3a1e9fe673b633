/** Two completions side by side: what differs, and where they first part. */

import { address, go, writeAddress } from "../address.js";
import { api } from "../api.js";
import { Marks, rate } from "../components/card.js";
import { Button, Rating, Segments } from "../components/controls.js";
import { Icon } from "../components/icon.js";
import { Failure, Loading, useLoaded } from "../components/states.js";
import { diff, smoothed, words } from "../domain/diff.js";
import { madeBy, percent, plural } from "../domain/text.js";
import { useKeys } from "../keyboard.js";
import { html, useEffect, useMemo, useState } from "../preact.js";
import { act, changed, facetName, remembered } from "../state.js";

/** @import { Completion } from "../types.js" */

const unit = remembered("diff-by", "words");

export function ComparePage() {
  const [a, b] = address.value.parts.map(Number);
  const both = useLoaded(async () => {
    const pair = await Promise.all([api.completion(a), api.completion(b)]);
    const tokens = pair.every((each) => each.token_count !== null) ? await Promise.all([api.tokens(a, { alternatives: 0 }), api.tokens(b, { alternatives: 0 })]) : null;
    return { pair, tokens };
  }, [a, b, changed.value]);
  if (both.error && !both.value) return html`<div class="page-body"><${Failure} error=${both.error} again=${both.again} /></div>`;
  if (!both.value) return html`<div class="page-body"><${Loading} /></div>`;
  return html`<${Pair} key=${`${a}/${b}`} pair=${both.value.pair} tokens=${both.value.tokens} />`;
}

function Pair({ pair, tokens }) {
  const byTokens = unit.value === "tokens" && tokens;
  const lists = useMemo(() => (byTokens ? tokens.map((/** @type {any} */ each) => each.text) : pair.map((/** @type {Completion} */ each) => words(each.text))), [pair, byTokens]);
  const found = useMemo(() => (byTokens ? diff(lists[0], lists[1]) : smoothed(lists[0], lists[1], diff(lists[0], lists[1]))), [lists]);
  const changes = found.map((each, at) => at).filter((at) => found[at].kind !== "same");
  const [at, setAt] = useState(0);
  const go_ = (/** @type {number} */ by) => changes.length && setAt((at + by + changes.length) % changes.length);
  useEffect(() => {
    document.querySelectorAll(`[data-piece="${changes[at]}"]`).forEach((each) => each.scrollIntoView({ block: "center" }));
  }, [at, found]);
  const prefer = (/** @type {number} */ better, /** @type {number} */ worse, tie = false) => (facetName.value ? act(() => api.prefer({ better_id: pair[better].id, worse_id: pair[worse].id, facet: facetName.value, tie: tie || undefined }), tie ? "Kept as a tie" : `Completion ${pair[better].id} is better for ${facetName.value}`) : go(["facets"]));
  useKeys("Compare", [
    { keys: "ArrowRight N ]", says: "next difference", act: () => go_(1) },
    { keys: "ArrowLeft P [", says: "difference before", act: () => go_(-1) },
    { keys: "A 1", says: "the left one is better", act: () => prefer(0, 1) },
    { keys: "B 2", says: "the right one is better", act: () => prefer(1, 0) },
    { keys: "E 3", says: "neither is better", act: () => prefer(0, 1, true) },
    { keys: "Escape", says: "back to the sample", act: () => go(["samples", pair[0].sample_id]) },
  ], [pair, at, changes.length]);
  const shared = found[0]?.kind === "same" ? found[0].a[1] : 0;
  const side = (/** @type {0 | 1} */ which) => {
    const completion = pair[which], mine = which === 0 ? "old" : "new";
    return html`<article class="card" aria-label=${`Completion ${completion.id}`}><div class="head"><bdi class="who clip"><strong>${completion.model}</strong></bdi><span class="muted small">${madeBy(completion)}</span><${Marks} completion=${completion} /><span class="push"></span>
        <${Rating} label=${`Rating of ${completion.id}`} value=${completion.ratings[facetName.value]} onRate=${(/** @type {any} */ value) => rate(completion, value)} /></div>
      <div class="body"><div class="reading">${found.map((piece, i) => {
        const text = lists[which].slice(...(which === 0 ? piece.a : piece.b)).join("");
        if (piece.kind === "same") return text;
        if (piece.kind !== mine) return null;
        const first = changes[at] === i || (found[i - 1]?.kind !== "same" && changes[at] === i - 1) || (found[i + 1]?.kind !== "same" && changes[at] === i + 1);
        return which === 0 ? html`<del key=${i} data-piece=${i} class=${first ? "first" : ""}>${text}</del>` : html`<ins key=${i} data-piece=${i} class=${first ? "first" : ""}>${text}</ins>`;
      })}</div></div>
      <div class="foot"><span class="small muted">${completion.mean_logprob === null ? "" : `mean ${percent(Math.exp(completion.mean_logprob))}`}</span><span class="push"></span>
        <a class="button small" href=${writeAddress(["completions", completion.id], byTokens ? { at: Math.max(0, shared) } : {})}><${Icon} name="token" />Tokens</a>
        <${Button} small keys=${which === 0 ? "A" : "B"} onClick=${() => prefer(which, which === 0 ? 1 : 0)}>This one is better<//></div></article>`;
  };
  return html`<div class="page-body sample-page"><div class="page-head"><a class="button icon quiet" href=${writeAddress(["samples", pair[0].sample_id])} aria-label="Back to the sample"><${Icon} name="back" /></a>
      <div class="grow" style=${{ flexBasis: "260px" }}><h1>Compare ${pair[0].id} and ${pair[1].id}</h1><p class="muted small" role="status">${changes.length ? `They share their first ${plural(shared, byTokens ? "token" : "word")}; ${plural(changes.length, "difference")}.` : "They are the same text."}</p></div>
      <${Segments} label="Compare by" value=${byTokens ? "tokens" : "words"} onChange=${(/** @type {string} */ value) => (unit.value = value)} options=${[{ value: "words", name: "Words" }, { value: "tokens", name: "Tokens", why: tokens ? null : "One of them has no tokens yet" }]} />
      <${Button} icon="back" label="Difference before" keys="P" onClick=${() => go_(-1)} /><${Button} icon="chevron" label="Next difference" keys="N" onClick=${() => go_(1)} /></div>
    <div class="diff">${side(0)}${side(1)}</div>
    <div class="row" style=${{ justifyContent: "center", marginTop: "16px" }}><${Button} keys="E" onClick=${() => prefer(0, 1, true)}>Neither is better<//></div></div>`;
}
