/** Judging under a facet: blind duels on the keyboard alone, the ranking that follows with its uncertainty, and what contradicts. */

import { address, go, replaceQuery, writeAddress } from "../address.js";
import { api } from "../api.js";
import { Button, Segments } from "../components/controls.js";
import { Icon } from "../components/icon.js";
import { Empty, Failure, Loading, useLoaded } from "../components/states.js";
import { intervals, isDecided } from "../domain/ranking.js";
import { count, firstLine, fixed, plural, promptText } from "../domain/text.js";
import { useKeys } from "../keyboard.js";
import { html, useEffect, useState } from "../preact.js";
import { act, changed, facet, facetName, say } from "../state.js";
import { PromptText } from "./sample.js";

export function JudgePage() {
  const { query } = address.value;
  const view = query.view ?? "duel";
  const sample = query.sample ? Number(query.sample) : null;
  const [calm, setCalm] = useState(false);
  useEffect(() => {
    document.querySelector(".app")?.classList.toggle("calm", calm);
    return () => document.querySelector(".app")?.classList.remove("calm");
  }, [calm]);
  useKeys("Judge", [
    { keys: "Q", says: "distraction-free on or off", act: () => setCalm(!calm) },
    { keys: "R", says: "duel, ranking, consistency", act: () => replaceQuery({ view: { duel: "ranking", ranking: "consistency", consistency: "duel" }[view] }) },
  ], [view, calm]);
  if (!facetName.value) {
    return html`<${Empty} title="Judge for what?" action=${html`<a class="button primary" href="#/facets">Make a facet</a>`}>A facet is a purpose, such as “legal letters” or “brainstorming”. One completion can be the better one for this and the worse one for that.<//>`;
  }
  const tabs = html`<${Segments} label="View" value=${view} onChange=${(/** @type {string} */ next) => replaceQuery({ view: next })} options=${[{ value: "duel", name: "Duel" }, { value: "ranking", name: "Ranking" }, { value: "consistency", name: "Consistency" }]} />
    ${sample !== null ? html`<span class="mark info">sample ${sample}<button type="button" aria-label="All samples" onClick=${() => replaceQuery({ sample: null })}><${Icon} name="close" size=${12} /></button></span>` : null}`;
  if (view === "ranking") return html`<${RankingView} sample=${sample} tabs=${tabs} />`;
  if (view === "consistency") return html`<${Consistency} sample=${sample} tabs=${tabs} />`;
  return html`<${Duel} sample=${sample} tabs=${tabs} calm=${calm} setCalm=${setCalm} />`;
}

/** @param {{ sample: number | null, tabs: any, calm: boolean, setCalm: (on: boolean) => void }} props */
function Duel({ sample, tabs, calm, setCalm }) {
  const name = facetName.value;
  const [round, setRound] = useState(0), [busy, setBusy] = useState(false);
  const duel = useLoaded(() => api.duel({ facet: name, sample }), [name, sample, round]);
  const it = duel.value;
  const answer = async (/** @type {"left" | "right" | "tie"} */ which) => {
    if (!it || busy || duel.loading) return;
    setBusy(true);
    const [better, worse] = which === "right" ? [it.right.id, it.left.id] : [it.left.id, it.right.id];
    const done = await act(() => api.prefer({ better_id: better, worse_id: worse, facet: name, tie: which === "tie" || undefined }));
    setBusy(false);
    if (done) setRound((n) => n + 1);
  };
  const back = async () => {
    const done = await act(() => api.undo());
    if (done) {
      say(done.action ? "The last answer is taken back" : "There is nothing to take back");
      setRound((n) => n + 1);
    }
  };
  useKeys("Duel", [
    { keys: "ArrowLeft A 1", says: "the left one is better", act: () => answer("left") },
    { keys: "ArrowRight B 2", says: "the right one is better", act: () => answer("right") },
    { keys: "ArrowDown E 3", says: "neither is better", act: () => answer("tie") },
    { keys: "Space N", says: "another pair", act: () => setRound((n) => n + 1) },
    { keys: "Backspace", says: "take the last answer back", act: back },
    { keys: "Escape", says: "out of distraction-free, or back", act: () => (calm ? setCalm(false) : sample ? go(["samples", sample]) : go([])) },
  ], [it, busy, duel.loading, calm, sample, name]);
  const contender = (/** @type {"left" | "right"} */ side, /** @type {string} */ letter) => html`<button type="button" class="card contender" onClick=${() => answer(side)}>
    <span class="label">${letter}<span class="visually-hidden">: the ${side} one is better</span></span><span class="reading" style=${{ display: "block" }}>${it[side].generated_start > 0 && html`<span class="prefilled">${it[side].text.slice(0, it[side].generated_start)}</span>`}${it[side].text.slice(it[side].generated_start)}</span></button>`;
  return html`<section class="duel" aria-label="Blind duel"><div class="top"><h1>Which is better for <bdi>${name}</bdi>?</h1><span class="grow"></span>
      ${it && html`<span class="row small muted number" role="status"><span class="share progress"><i style=${{ width: `${(100 * it.compared) / Math.max(1, it.pairs)}%` }}></i></span>${count(it.compared)} of ${plural(it.pairs, "pair")}</span>`}
      ${!calm && tabs}<${Button} icon="eye" small pressed=${calm} keys="Q" onClick=${() => setCalm(!calm)}>Quiet<//></div>
    ${duel.error ? html`<div class="page-body"><${Failure} error=${duel.error} again=${duel.again} /></div>`
      : it ? html`<div class="stack tight" style=${{ minHeight: 0, display: "grid", gridTemplateRows: "auto minmax(0,1fr)" }}>
          <div class="prompt"><div class="reading" tabindex="0" role="group" aria-label="Prompt"><${PromptText} prompt=${it.sample?.prompt ?? it.prompt} /></div></div>
          <div class="arena fade" key=${`${it.left.id}-${it.right.id}-${round}`}>${contender("left", "A")}${contender("right", "B")}</div></div>
        <div class="choices"><${Button} keys="ArrowLeft" onClick=${() => answer("left")}>A is better<//><${Button} keys="ArrowDown" onClick=${() => answer("tie")}>Neither<//><${Button} keys="ArrowRight" onClick=${() => answer("right")}>B is better<//>
          <${Button} kind="quiet" keys="Space" onClick=${() => setRound((n) => n + 1)}>Skip<//><${Button} kind="quiet" keys="Backspace" icon="undo" onClick=${back}>Take back<//></div>`
      : duel.loading ? html`<div class="page-body"><${Loading} /></div>`
      : html`<${Empty} title="Nothing is left to compare" action=${html`<${Button} kind="primary" onClick=${() => replaceQuery({ view: "ranking" })}>See the ranking<//>`}>Every pair ${sample ? "of this sample" : "of every sample"} was compared for ${name}, or no sample has two saved completions.<//>`}
  </section>`;
}

/** @param {{ sample: number | null, tabs: any }} props */
function RankingView({ sample, tabs }) {
  const name = facetName.value;
  const candidates = useLoaded(() => api.samples({ limit: 100, filter: { field: "rated", op: "is", value: true, facet: name } }), [name, changed.value, sample === null]);
  const found = useLoaded(async () => {
    if (sample === null) return null;
    const [ranking, completions, record] = await Promise.all([api.ranking(sample, name), api.completions(sample, {}), api.sample(sample)]);
    return { ranking, record, by: new Map(completions.items.map((each) => [each.id, each])) };
  }, [sample, name, changed.value]);
  const value = found.value;
  return html`<div class="page-body"><div class="page-head"><h1 class="grow">Ranking for <bdi>${name}</bdi></h1>${tabs}</div>
    ${found.error ? html`<${Failure} error=${found.error} again=${found.again} />`
      : sample === null ? html`<section class="card"><div class="body stack tight">${candidates.value?.items.length ? candidates.value.items.map((/** @type {any} */ each) => html`<a class="side-item" key=${each.id} href=${writeAddress(["judge"], { view: "ranking", sample: each.id })}><bdi class="clip">${each.title || firstLine(each.preview)}</bdi><span class="count">${plural(each.completions, "completion")}</span></a>`)
          : html`<p class="muted">No completion is rated for ${name} yet. Open a sample and press <kbd>D</kbd> to judge its completions.</p>`}</div></section>`
      : !value ? html`<${Loading} />`
      : !value.ranking.items.length ? html`<${Empty} title="Nothing to rank">This sample has no saved completion.<//>`
      : html`<p class="muted" style=${{ marginBottom: "12px" }}><a href=${writeAddress(["samples", sample])}><bdi>${value.record.title || firstLine(promptText(value.record.prompt))}</bdi></a> · ${count(value.ranking.compared)} of ${plural(value.ranking.pairs, "pair")} compared · ${isDecided(value.ranking.items) ? "the first is ahead beyond chance" : "the first place is still open"}</p>
        <section class="card" role="list" aria-label="Ranking">${(() => {
          const lines = intervals(value.ranking.items);
          return value.ranking.items.map((/** @type {any} */ each, /** @type {number} */ at) => html`<div class="rank-row" role="listitem" key=${each.completion_id}><strong class="number">${each.place}</strong>
            <a class="clip" href=${writeAddress(["completions", each.completion_id])}><bdi>${firstLine(value.by.get(each.completion_id)?.text ?? "", 90) || `completion ${each.completion_id}`}</bdi></a>
            <span class="interval" role="img" aria-label=${`strength ${fixed(each.strength)}, give or take ${fixed(2 * each.error)}`} title=${`${fixed(each.strength)} ± ${fixed(2 * each.error)}`}><i style=${{ left: `${100 * lines[at].from}%`, width: `${100 * (lines[at].to - lines[at].from)}%` }}></i><b style=${{ left: `${100 * lines[at].at}%` }}></b></span>
            <span class="small muted wide">${plural(each.comparisons, "comparison")}</span><span class="small number">${each.rating === null ? html`<span class="faint">not rated</span>` : html`rated <b>${each.rating}</b>${each.rating_from !== name ? html` <span class="faint">(${each.rating_from})</span>` : ""}`}</span></div>`);
        })()}</section>
        ${value.ranking.next_pair && html`<div class="row" style=${{ marginTop: "16px" }}><span class="muted">Worth comparing next:</span><a class="button" href=${writeAddress(["compare", ...value.ranking.next_pair])}><${Icon} name="compare" />${value.ranking.next_pair[0]} and ${value.ranking.next_pair[1]}</a><a class="button" href=${writeAddress(["judge"], { sample })}>Blind duel</a></div>`}`}
  </div>`;
}

/** @param {{ sample: number | null, tabs: any }} props */
function Consistency({ sample, tabs }) {
  const it = facet.value;
  const report = useLoaded(() => (it ? api.report(it.id, { sample }) : Promise.resolve(null)), [it?.id, sample, changed.value]);
  const said = useLoaded(() => api.preferences({ facet: facetName.value, sample }), [facetName.value, sample, changed.value]);
  const value = report.value, by = new Map((said.value?.items ?? []).map((/** @type {any} */ each) => [each.id, each]));
  const withdraw = (/** @type {number} */ id) => html`<${Button} small kind="quiet" icon="undo" onClick=${() => act(() => api.withdraw(id), "Preference taken back")}>Take back<//>`;
  const sentence = (/** @type {number} */ id) => { const each = by.get(id); return each ? (each.tie ? `${each.better_id} and ${each.worse_id}: neither is better` : `${each.better_id} is better than ${each.worse_id}`) : `preference ${id}`; };
  return html`<div class="page-body"><div class="page-head"><h1 class="grow">Consistency for <bdi>${facetName.value}</bdi></h1>${tabs}</div>
    ${report.error ? html`<${Failure} error=${report.error} again=${report.again} />` : !value ? html`<${Loading} />` : html`<div class="stack loose">
      <section class="card"><div class="head"><h2>Preferences and ratings</h2></div><div class="body">${value.agreement.share === null ? html`<p class="muted">No pair has both a preference and two ratings yet.</p>` : html`<p>${Math.round(100 * value.agreement.share)} % of ${plural(value.agreement.agree + value.agreement.disagree, "decided pair")} agree; ${value.agreement.undecided} undecided.</p>`}
        ${value.agreement.against.map((/** @type {number} */ id) => html`<div class="row small" key=${id}><${Icon} name="warn" /><span class="grow">${sentence(id)}, though the ratings say otherwise</span>${withdraw(id)}</div>`)}</div></section>
      <section class="card"><div class="head"><h2>Pairs judged both ways</h2></div><div class="body stack tight">${value.conflicts.length ? value.conflicts.map((/** @type {any} */ each) => html`<div class="stack tight" key=${each.pair.join()}><a href=${writeAddress(["compare", ...each.pair])}>Completions ${each.pair[0]} and ${each.pair[1]}</a>${each.preferences.map((/** @type {number} */ id) => html`<div class="row small" key=${id}><span class="grow">${sentence(id)} <span class="faint">(${by.get(id)?.origin})</span></span>${withdraw(id)}</div>`)}</div>`) : html`<p class="muted">None.</p>`}</div></section>
      <section class="card"><div class="head"><h2>Circles</h2></div><div class="body stack tight">${value.cycles.length ? value.cycles.map((/** @type {number[]} */ each) => html`<p key=${each.join()}>${[...each, each[0]].map((id, at) => html`${at ? " ≻ " : ""}<a href=${writeAddress(["completions", id])}>${id}</a>`)}</p>`) : html`<p class="muted">None: no preferences run in a circle.</p>`}</div></section>
      <section class="card"><div class="head"><h2>All preferences</h2><span class="muted small">${plural(by.size, "preference")}</span></div><div class="body stack tight">${[...by.keys()].slice(-200).reverse().map((id) => html`<div class="row small" key=${id}><span class="grow">${sentence(/** @type {number} */ (id))}</span>${withdraw(/** @type {number} */ (id))}</div>`)}${by.size === 0 && html`<p class="muted">None yet.</p>`}</div></section>
    </div>`}</div>`;
}
