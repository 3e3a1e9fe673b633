/** A completion's tokens: how likely each was, what else there was, and a branch from any of them with one click or key. */

import { address, go, replaceQuery, writeAddress } from "../address.js";
import { afterPaint } from "../after_paint.js";
import { api } from "../api.js";
import { AlternativesTable, CandidateList, Facts, Legend, Tip } from "../components/alternatives.js";
import { CardMenu, Marks, makeDrafts } from "../components/card.js";
import { Button, Menu, Rating, Segments } from "../components/controls.js";
import { Icon } from "../components/icon.js";
import { PixelMap } from "../components/pixel_map.js";
import { SettingsForm } from "../components/settings_form.js";
import { Empty, Failure, Loading, useLoaded } from "../components/states.js";
import { TokenText } from "../components/token_view.js";
import { MEASURES, heatClass, isUncertain, legend } from "../domain/heatmap.js";
import { REASONS, firstLine, madeBy, promptText, visible } from "../domain/text.js";
import { candidatesOf, divergence, nextWhere, originsOf } from "../domain/tokens.js";
import { draftSignal, expectDrafts } from "../drafts.js";
import { useKeys } from "../keyboard.js";
import { html, signal, useEffect, useMemo, useRef, useState } from "../preact.js";
import { act, cannot, changed, facetName, models, remembered, say } from "../state.js";
import { Quality } from "./completion_quality.js";
import { useWindows } from "./token_windows.js";

/** @import { Completion, Tokens } from "../types.js" */
/** @typedef {{ index: number, span: HTMLElement | null }} Hover */

const measureShown = remembered("token-measure", /** @type {any} */ ("probability"));
const whitespace = remembered("whitespace", false);
const branchConfig = remembered("branch-config", /** @type {Record<string, any>} */ ({ max_new_tokens: 128 }));

export function CompletionPage() {
  const { parts, query } = address.value;
  const id = Number(parts[0]);
  const kept = useLoaded(() => api.completion(id), [id, changed.value]);
  const live = draftSignal(id).value;
  // What is known of its growing counts until the workspace has its end; after that it may have been saved, rated, tagged.
  const completion = live && (live.completion.running || !kept.value || kept.value.running) ? live.completion : kept.value;
  useEffect(() => {
    if (kept.value?.draft && kept.value.running) expectDrafts([kept.value]);
  }, [kept.value]);
  if (kept.error && !completion) return html`<div class="page-body"><${Failure} error=${kept.error} again=${kept.again} /></div>`;
  if (!completion) return html`<div class="page-body"><${Loading} /></div>`;
  return html`<${Reader} key=${id} completion=${completion} live=${live} query=${query} />`;
}

/** @param {{ completion: Completion, live: import("../drafts.js").Growing | null, query: Record<string, string> }} props */
function Reader({ completion, live, query }) {
  const id = completion.id, running = completion.running;
  // A text without tokens of its own is shown as the first model that measured it cuts it.
  const model = query.model || (completion.token_count === null ? completion.scored[0]?.model ?? "" : "");
  const sample = useLoaded(() => api.sample(completion.sample_id), [completion.sample_id]);
  const siblings = useLoaded(() => api.completions(completion.sample_id, { draft: "any" }), [completion.sample_id, changed.value]);
  const loaded = useLoaded(() => (completion.token_count === null && !model ? Promise.resolve(null)
    : api.tokens(id, { model: model || undefined, alternatives: 0 })), [id, model, completion.version, running]);
  const tokens = !model && live?.tokens && (running || !loaded.value) ? live.tokens : loaded.value;
  const otherName = query.other || completion.scored.find((each) => each.model !== (model || completion.model))?.model || "";
  const measure = measureShown.value;
  const other = useLoaded(() => (measure === "difference" && otherName ? api.tokens(id, { model: otherName, alternatives: 0 }) : Promise.resolve(null)), [id, otherName, measure === "difference", completion.version]).value;
  const size = tokens?.ids.length ?? 0, start = tokens?.start ?? 0;
  const chosen = query.at === undefined || !size ? -1 : Math.max(0, Math.min(size - 1, Number(query.at) - start));
  const origins = useMemo(() => (completion.token_count === null ? [] : originsOf(completion.spans, completion.token_count)), [completion.version]);
  // A signal of its own: the pointer moves often, and draws the tip anew, not the page.
  const [hover] = useState(() => signal(/** @type {Hover} */ ({ index: -1, span: null })));
  const windowAt = useWindows(size ? id : null, model, completion.version, running ? tokens : null);
  const view = useRef(/** @type {any} */ (null));
  // The mark moves at once, the panel about the token follows behind the frame.
  const choose = (/** @type {number} */ index) => {
    view.current?.choose(index);
    afterPaint(() => replaceQuery({ at: index < 0 ? null : index + start }));
  };
  const step = (/** @type {number} */ by) => size && choose(Math.max(0, Math.min(size - 1, (chosen < 0 ? (by > 0 ? -1 : size) : chosen) + by)));
  const uncertain = (/** @type {1 | -1} */ by) => {
    const at = tokens ? nextWhere(size, chosen < 0 ? (by > 0 ? -1 : 0) : chosen, by, (i) => isUncertain(tokens, i)) : -1;
    if (at < 0) say("The model was certain of every token");
    else choose(at);
  };
  const rivals = (siblings.value?.items ?? []).filter((each) => each.id !== id && each.token_count !== null);
  const diverge = async () => {
    const rival = rivals.find((each) => String(each.id) === query.against) ?? rivals.find((each) => each.id === completion.parent_id) ?? rivals[0];
    if (!rival || !tokens) return say("There is no other completion with tokens to diverge from");
    const theirs = await api.tokens(rival.id, { alternatives: 0 });
    const at = divergence(tokens.ids, theirs.ids);
    if (at >= size) say(`It is the beginning of completion ${rival.id}`);
    else {
      choose(at);
      say(`Here it parts from completion ${rival.id}: there ${visible(theirs.text[at] || theirs.vocabulary[theirs.ids[at]] || "the end")}`);
    }
    return undefined;
  };
  const nextDifference = () => {
    if (!tokens || !other) return;
    const at = nextWhere(size, chosen, 1, (i) => Math.abs((other.logprob?.[i + start - other.start] ?? 0) - (tokens.logprob?.[i] ?? 0)) > 1);
    if (at < 0) say("The models agree everywhere");
    else choose(at);
  };
  const measureUnder = (/** @type {string} */ name) => act(() => api.score(id, { model: name }), `Measured under ${name}`);
  const setMeasure = (/** @type {string} */ name) => (measureShown.value = name);
  useKeys("Tokens", [
    { keys: "ArrowRight L", says: "next token", act: () => step(1) },
    { keys: "ArrowLeft", says: "token before", act: () => step(-1) },
    { keys: "Shift+ArrowDown PageDown", says: "a line down", act: () => view.current && choose(view.current.lineFrom(Math.max(0, chosen), 1)) },
    { keys: "Shift+ArrowUp PageUp", says: "a line up", act: () => view.current && choose(view.current.lineFrom(Math.max(0, chosen), -1)) },
    { keys: "Home", says: "first token", act: () => choose(0) },
    { keys: "End", says: "last token", act: () => choose(size - 1) },
    { keys: "] U", says: "next uncertain token", act: () => uncertain(1) },
    { keys: "[ Shift+U", says: "uncertain token before", act: () => uncertain(-1) },
    { keys: "D", says: "where it parts from its parent or sibling; with two models, the next difference", act: () => (measure === "difference" ? nextDifference() : diverge()) },
    { keys: "M", says: "next measure", act: () => { const all = ["probability", "surprisal", "entropy", "rank", "difference", "origin", "none"]; setMeasure(all[(all.indexOf(measure) + 1) % all.length]); } },
    { keys: "W", says: "whitespace on or off", act: () => (whitespace.value = !whitespace.value) },
    { keys: "C", says: "continue a truncated one", act: () => completion.truncated && makeDrafts(() => api.continue_(id, { config: branchConfig.value })).then((made) => made[0] && go(["completions", made[0].id])) },
    { keys: "S", says: "save the draft", act: () => completion.draft && !running && act(() => api.saveDraft(id), "Saved") },
    { keys: "Escape", says: "cancel while it is written; else choose no token, else back", act: () => (running ? act(() => api.cancelDraft(id)) : chosen >= 0 ? choose(-1) : go(["samples", completion.sample_id])) },
  ], [tokens, chosen, measure, completion, running, other, query.against, siblings.value]);
  const title = sample.value ? sample.value.title || firstLine(promptText(sample.value.prompt), 60) : "";
  return html`<div class="reader-shell"><div class="reader-bar">
      <a class="button icon quiet" href=${writeAddress(["samples", completion.sample_id])} aria-label="Back to the sample" title="Back to the sample"><${Icon} name="back" /></a>
      <div class="stack tight" style=${{ gap: 0 }}><h1 class="clip" style=${{ fontSize: "15px", maxWidth: "42ch" }}><bdi>${title}</bdi></h1><span class="tiny muted clip"><bdi>${completion.model}</bdi> · ${madeBy(completion)} · completion ${id}${completion.parent_id ? html` · <a href=${writeAddress(["completions", completion.parent_id], { at: completion.branch_position })}>from ${completion.parent_id}</a>` : ""}</span></div>
      <${Marks} completion=${completion} />${running && html`<span class="mark info"><span class="spinner" style=${{ width: "10px", height: "10px" }}></span>writing</span>`}
      <span class="grow"></span>
      ${!completion.draft && html`<${Rating} label=${`Rating for ${facetName.value || "a facet"}`} value=${completion.ratings[facetName.value]} onRate=${(/** @type {number | null} */ rating) => (facetName.value ? act(() => api.rate(id, { facet: facetName.value, rating }), rating === null ? "Rating taken back" : `Rated ${rating} for ${facetName.value}`) : go(["facets"]))} />`}
      ${running ? html`<${Button} icon="stop" small onClick=${() => act(() => api.cancelDraft(id))}>Cancel<//>` : html`${completion.draft && html`<${Button} small kind="primary" icon="save" onClick=${() => act(() => api.saveDraft(id), "Saved")}>Save<//>`}
        ${completion.truncated && html`<${Button} small icon="play" onClick=${() => makeDrafts(() => api.continue_(id, { config: branchConfig.value })).then((made) => made[0] && go(["completions", made[0].id]))}>Continue<//>`}`}
      <${CardMenu} completion=${completion} />
    </div>
    <div class="reader"><section class="text-pane" aria-label="Text" tabindex="0">
      <div class="stack" style=${{ maxWidth: "740px", margin: "0 auto 18px" }}>
        <div class="row wrap"><${Segments} label="Colour by" value=${measure} onChange=${setMeasure} options=${[...Object.entries(MEASURES).map(([value, { name }]) => ({ value, name })), { value: "origin", name: "Origin" }, { value: "none", name: "None" }]} />
          <${Button} small pressed=${whitespace.value} keys="W" onClick=${() => (whitespace.value = !whitespace.value)}>Whitespace<//>
          <${Menu} small kind="" label="Measured under" icon="down" text=${tokens?.model ?? (completion.model || "no model")} items=${measuredItems(completion, model, measureUnder)} />
          ${measure === "difference" && html`<${Menu} small kind="" label="Compared with" icon="down" text=${otherName ? `against ${otherName}` : "against…"} items=${models.value.map((each) => ({ name: completion.scored.some((one) => one.model === each.name) ? each.name : `Measure under ${each.name}`, checked: each.name === otherName, why: cannot(each.name, "score"), act: async () => { if (!completion.scored.some((one) => one.model === each.name)) await measureUnder(each.name); replaceQuery({ other: each.name }); } }))} />`}</div>
        ${measure === "origin" ? html`<${OriginLegend} />` : measure !== "none" && html`<${Legend} steps=${legend(measure)} names=${(/** @type {number} */ at) => heatClass(measure, at)} />`}
        ${tokens && size > 0 && measure !== "none" && measure !== "origin" && html`<${PixelMap} tokens=${tokens} measure=${measure} other=${other} chosen=${chosen} onChoose=${choose} />`}
        <div class="row wrap"><${Button} small icon="chevron" keys="]" why=${size ? null : "There are no tokens yet"} onClick=${() => uncertain(1)}>Next uncertain<//>
          <${Button} small icon="compare" keys="D" why=${measure === "difference" ? (other ? null : "Measure it under a second model first") : rivals.length ? null : "There is no other completion yet"} onClick=${() => (measure === "difference" ? nextDifference() : diverge())}>${measure === "difference" ? "Next difference" : "Divergence"}<//>
          ${rivals.length > 1 && measure !== "difference" && html`<${Menu} small label="Divergence from" icon="down" left text="from…" items=${rivals.map((each) => ({ name: `${each.id}: ${firstLine(each.text, 34)}`, checked: String(each.id) === query.against, act: () => replaceQuery({ against: each.id }) }))} />`}
          ${rivals.length > 0 && html`<${Menu} small label="Compare side by side" icon="compare" left text="Compare…" items=${rivals.map((each) => ({ name: `${each.id}: ${firstLine(each.text, 34)}`, act: () => go(["compare", id, each.id]) }))} />`}</div>
      </div>
      ${loaded.error ? html`<${Failure} error=${loaded.error} again=${loaded.again} />`
        : !tokens && completion.token_count === null && !loaded.loading ? html`<${Unmeasured} completion=${completion} measureUnder=${measureUnder} />`
        : !tokens ? html`<${Loading} />`
        : html`<${TokenText} tokens=${tokens} measure=${measure === "difference" && !other ? "none" : measure} other=${other} origins=${origins} whitespace=${whitespace.value} chosen=${chosen} view=${view} label=${`Completion ${id}`}
            onToken=${choose} onHover=${(/** @type {number} */ index, /** @type {HTMLElement | null} */ span) => (hover.value = { index, span })} />`}
      <p class="text-end">${running ? html`<span class="caret"></span>` : html`<span class=${completion.truncated ? "mark truncated" : "mark"}>${completion.truncated ? "truncated" : "end"}</span> ${REASONS[completion.finish_reason ?? ""] ?? "unfinished"}${completion.stop_string ? html`: <code>${visible(completion.stop_string)}</code>` : ""}`}</p>
    </section>
    <aside class="inspector" aria-label="Token" tabindex="0">${tokens && chosen >= 0
      ? html`<${Inspector} completion=${completion} tokens=${tokens} index=${chosen} other=${other} origin=${origins[chosen + start] ?? ""} stored=${windowAt(chosen + start)} model=${model} />`
      : html`<${Overview} completion=${completion} tokens=${tokens} />`}</aside></div>
    ${tokens && html`<${HoverTip} hover=${hover} tokens=${tokens} chosen=${chosen} other=${measure === "difference" ? other : null} windowAt=${windowAt} origins=${origins} />`}
  </div>`;
}

/** @param {{ hover: import("../preact.js").Signal<Hover>, tokens: Tokens, chosen: number, other: Tokens | null, windowAt: (position: number) => Tokens | null, origins: string[] }} props */
function HoverTip({ hover, tokens, chosen, other, windowAt, origins }) {
  const { index, span } = hover.value;
  if (!span?.isConnected || index < 0 || index >= tokens.ids.length || index === chosen) return null;
  const position = index + tokens.start;
  return html`<${Tip} tokens=${tokens} index=${index} span=${span} other=${other} alternatives=${windowAt(position)} origin=${origins[position] ?? ""} />`;
}

/** @param {Completion} completion @param {string} model @param {(name: string) => void} measureUnder */
function measuredItems(completion, model, measureUnder) {
  const known = new Set(completion.scored.map((each) => each.model));
  return [
    ...[...known].map((name) => ({ name, checked: name === (model || completion.model), act: () => replaceQuery({ model: name === completion.model ? null : name }) })),
    ...models.value.filter((each) => !known.has(each.name)).map((each) => ({ name: `Measure under ${each.name}`, checked: false, why: cannot(each.name, "score"), act: () => measureUnder(each.name) })),
  ];
}

function OriginLegend() {
  return html`<div class="legend" aria-label="Legend">${["prefill", "sampled", "picked", "typed", "imported"].map((each) => html`<span class="step" key=${each}><span class=${`swatch origin-${each}`} aria-hidden="true">a</span>${each}</span>`)}</div>`;
}

/** @param {{ completion: Completion, measureUnder: (name: string) => void }} props */
function Unmeasured({ completion, measureUnder }) {
  return html`<div class="tokens">${completion.text}</div><${Empty} title="This text has no tokens yet" action=${html`<div class="row wrap">${models.value.slice(0, 3).map((each) => html`<${Button} key=${each.name} kind="primary" why=${cannot(each.name, "score")} onClick=${() => measureUnder(each.name)}>Measure under ${each.name}<//>`)}</div>`}>
    It was written by hand or came from elsewhere. Measured under a model, each of its tokens gets a probability.<//>`;
}

/** @param {{ completion: Completion, tokens: Tokens | null }} props */
function Overview({ completion, tokens }) {
  const own = completion.scored.find((each) => each.model === (tokens?.model ?? completion.model));
  return html`<h2>Tokens</h2><p class="small muted">Point at a token to see what else could have stood there. Click it, or walk with <kbd>←</kbd> <kbd>→</kbd>, to branch from it.</p>
    ${own && html`<table class="plain"><tbody>${[["mean logprob", own.mean_logprob], ["lowest", own.min_logprob], ["10th percentile", own.p10_logprob], ["median", own.p50_logprob], ["mean entropy", own.mean_entropy]].map(([name, value]) => html`<tr key=${name}><td class="muted">${name}</td><td class="number" style=${{ textAlign: "right" }}>${value === null ? "–" : Number(value).toFixed(3).replace("-", "−")}</td></tr>`)}</tbody></table>`}
    ${completion.processors.length > 0 && html`<div class="stack tight"><span class="label">Processors, in order</span><p class="small">${completion.processors.join(" → ")}</p></div>`}
    ${!completion.running && html`<${Quality} completion=${completion} />`}
    <div class="stack tight"><span class="label">Made with</span><p class="small mono">${Object.entries(completion.config).filter(([, value]) => value !== null && value !== false).map(([name, value]) => `${name}=${JSON.stringify(value)}`).join("  ") || "the defaults"}${completion.seed !== null ? `  seed ${completion.seed}` : ""}</p></div>`;
}

/** @param {{ completion: Completion, tokens: Tokens, index: number, other: Tokens | null, origin: string, stored: Tokens | null, model: string }} props */
function Inspector({ completion, tokens, index, other, origin, stored, model }) {
  const position = index + tokens.start;
  const [row, setRow] = useState(0), [search, setSearch] = useState("");
  const scoring = model || completion.model, no = cannot(scoring, "tokens");
  const [state, setState] = useState(/** @type {{ key: string, value: import("../types.js").Candidates | null, error: unknown }} */ ({ key: "", value: null, error: null }));
  const key = `${completion.id}/${position}/${model}/${search}`;
  useEffect(() => {
    if (no || completion.running) return undefined;
    const stop = new AbortController();
    const timer = setTimeout(() => api.next(completion.id, { position, model: model || undefined, k: 20, search: search || undefined }, stop.signal).then((value) => setState({ key, value, error: null }), (error) => !stop.signal.aborted && setState({ key, value: null, error })), 60);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [key, completion.running]);
  useEffect(() => setRow(0), [position, search]);
  // What was kept can be taken at once; the model's own answer, with more of them, takes its place.
  const kept = useMemo(() => (no || search || !stored || completion.running ? null : candidatesOf(stored, position - stored.start)), [stored, position, no, search, completion.running]);
  const candidates = state.key === key && state.value ? state.value : kept;
  const config = branchConfig.value;
  const take = async (/** @type {number} */ token) => {
    const made = await makeDrafts(() => api.branch(completion.id, { position, token_ids: [token], model: model || undefined, config }));
    if (made[0]) {
      say(`Branched at token ${position}; completion ${completion.id} stays as it is`);
      go(["completions", made[0].id], { at: position });
    }
  };
  const pickHere = async () => {
    const session = await act(() => api.branchSession(completion.id, { position, model: model || undefined }));
    if (session) go(["picking", session.key]);
  };
  const beamHere = async () => {
    const made = await act(() => api.treeOf(completion.id, { position }));
    if (made) go(["trees", made.tree.id], { node: made.node });
  };
  useKeys("Alternatives", [
    { keys: "ArrowDown J", says: "next candidate", act: () => candidates && setRow(Math.min(candidates.ids.length - 1, row + 1)) },
    { keys: "ArrowUp K", says: "candidate before", act: () => setRow(Math.max(0, row - 1)) },
    { keys: "Enter", says: "take it, and let the model go on", act: () => candidates && take(candidates.ids[row]) },
    { keys: "1 2 3 4 5 6 7 8 9", says: "take that candidate", act: (event) => candidates?.ids[Number(event.key) - 1] !== undefined && take(candidates.ids[Number(event.key) - 1]) },
    { keys: "T", says: "pick token by token from here", act: pickHere },
    { keys: "B", says: "beam out from here", act: beamHere },
    { keys: "F", says: "search among all tokens", act: () => document.getElementById("candidate-search")?.focus() },
  ], [candidates, row, position, config]);
  const shown = tokens.text[index] || tokens.vocabulary[tokens.ids[index]] || "";
  return html`<div class="row"><h2 class="mono clip grow"><bdi>${visible(shown)}</bdi></h2><${Button} kind="quiet" icon="close" label="Choose no token" keys="Escape" onClick=${() => replaceQuery({ at: null })} /></div>
    <${Facts} tokens=${tokens} index=${index} other=${other} origin=${origin} />
    <div class="stack tight"><div class="row"><h3 class="grow">What could stand here</h3><span class="tiny muted">${candidates?.processed_logprob ? "raw · after processors" : "raw"}</span></div>
      ${!no && html`<label class="visually-hidden" for="candidate-search">Search tokens</label><input id="candidate-search" class="input" type="search" placeholder="Search all tokens" value=${search} onInput=${(/** @type {any} */ event) => setSearch(event.currentTarget.value)} onKeyDown=${(/** @type {any} */ event) => ["Enter", "Escape"].includes(event.key) && event.currentTarget.blur()} />`}
      ${candidates ? html`<${CandidateList} candidates=${candidates} current=${row} taken=${tokens.ids[index]} onTake=${take} />`
        : stored && !search ? html`<${AlternativesTable} tokens=${stored} index=${position - stored.start} />` : html`<${Loading} />`}
      ${no && html`<p class="small muted">${no}</p>`}${state.error && state.key === key ? html`<${Failure} error=${state.error} />` : null}</div>
    <${SettingsForm} config=${config} model=${model} onChange=${(/** @type {any} */ next) => (branchConfig.value = next)} />
    <div class="row wrap"><${Button} small icon="token" keys="T" why=${no} onClick=${pickHere}>Token by Token<//><${Button} small icon="tree" keys="B" why=${cannot(scoring, "beams")} onClick=${beamHere}>Beam out<//></div>`;
}
