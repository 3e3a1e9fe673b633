/** Blind votes on a run's texts: two without their origin, and the table that the votes feed. */

import { api } from "../api.js";
import { go } from "../address.js";
import { Button, Segments } from "../components/controls.js";
import { Empty, Failure, Loading, useLoaded } from "../components/states.js";
import { percent, plural } from "../domain/text.js";
import { useKeys } from "../keyboard.js";
import { html, useState } from "../preact.js";
import { act, facetName, loadShared, say } from "../state.js";

/** @import * as T from "../types.js" */

/** @param {{ report: T.LabReport, head: any, compared: T.LabComparison[] }} props */
export function Votes({ report, head, compared }) {
  const name = facetName.value, id = report.run.id, titles = [...new Set(report.groups.filter((each) => each.texts.length).map((each) => each.title))];
  const [prompt, setPrompt] = useState(""), [round, setRound] = useState(0), [busy, setBusy] = useState(false);
  const pair = useLoaded(() => (name ? api.labPair(id, { facet: name, prompt }) : Promise.resolve(null)), [id, name, prompt, round]);
  const it = pair.value;
  const next = () => setRound((n) => n + 1);
  const vote = async (/** @type {"left" | "right" | "tie"} */ better) => {
    if (!it || busy || pair.loading) return;
    setBusy(true);
    const side = (/** @type {{ place: number, number: number }} */ each) => ({ place: each.place, number: each.number });
    const done = await act(() => api.labVote(id, { facet: name, left: side(it.left), right: side(it.right), better }));
    setBusy(false);
    if (done) next();
  };
  const back = async () => {
    const done = await act(() => api.undo());
    if (done) say(done.action ? "The last vote is taken back" : "There is nothing to take back");
    next();
  };
  const make = async () => {
    if (!(await act(() => api.addFacet({ name: "lab", description: "Which text is better, seen blind" }), "Facet made"))) return;
    await loadShared();
    facetName.value = "lab";
  };
  useKeys("Blind votes", [
    { keys: "1 ArrowLeft A", says: "the left one is better", act: () => vote("left") },
    { keys: "2 ArrowRight B", says: "the right one is better", act: () => vote("right") },
    { keys: "3 T ArrowDown E", says: "neither is better", act: () => vote("tie") },
    { keys: "Space N", says: "another pair", act: next },
    { keys: "Backspace", says: "take the last vote back", act: back },
  ], [it, busy, pair.loading, name, id, prompt]);
  if (!name) {
    return html`<div class="page-body lab">${head}<${Empty} title="Judge for what?" action=${html`<div class="row"><${Button} kind="primary" onClick=${make}>For a facet named “lab”<//><${Button} onClick=${() => go(["facets"])}>Facets…<//></div>`}>Votes are kept as preferences under a facet. Choose one above, or make one.<//></div>`;
  }
  const side = (/** @type {"left" | "right"} */ which, /** @type {string} */ letter, /** @type {string} */ key) => html`<article class="card contender" aria-label=${`Text ${letter}`}><div class="row"><strong class="label grow">${letter}</strong><${Button} small keys=${key} onClick=${() => vote(which)}>${letter} is better<//></div>
    <div class="reading" tabindex="0" role="group" aria-label=${`What ${letter} says`}>${it?.[which].text}</div></article>`;
  return html`<div class="page-body lab">${head}<div class="stack loose">
    <section class="lab-duel stack" aria-label="Blind votes"><div class="row wrap"><h2 class="grow">Which is better for <bdi>${name}</bdi>?</h2>
        ${titles.length > 1 && html`<${Segments} label="Prompt" value=${prompt} onChange=${setPrompt} options=${[{ value: "", name: "All prompts" }, ...titles.map((each) => ({ value: each, name: each }))]} />`}</div>
      ${pair.error ? html`<${Failure} error=${pair.error} again=${pair.again} />`
        : it ? html`<div class="reading lab-prompt-text" tabindex="0" role="group" aria-label="Prompt">${it.prompt}</div>
          <div class="lab-arena fade" key=${`${round}`}>${side("left", "A", "1")}${side("right", "B", "2")}</div>
          <div class="row wrap" style=${{ justifyContent: "center" }}><${Button} keys="3" onClick=${() => vote("tie")}>Neither is better<//>
            <${Button} kind="quiet" keys="Space" onClick=${next}>Skip<//><${Button} kind="quiet" keys="Backspace" icon="undo" onClick=${back}>Take back<//></div>`
        : pair.loading ? html`<${Loading} />` : html`<p class="muted">Every pair was judged, or there are no two texts that differ.</p>`}</section>
    ${compared.map((each) => html`<${Standing} key=${each.title} compared=${each} several=${new Set(each.contestants.map((one) => one.model)).size > 1} />`)}
  </div></div>`;
}

/** @param {{ compared: T.LabComparison, several: boolean }} props */
function Standing({ compared, several }) {
  const rows = [...compared.contestants].sort((a, b) => (b.won?.mean ?? -1) - (a.won?.mean ?? -1));
  const interval = (/** @type {T.Interval | null} */ found) => (found ? html`${found.mean.toFixed(3)} <small>[${found.low.toFixed(3)}, ${found.high.toFixed(3)}]</small>` : "–");
  return html`<section class="card" aria-label=${`Comparison: ${compared.title}`}><div class="head"><h2 class="grow"><bdi>${compared.title}</bdi></h2><span class="muted small">${plural(compared.votes, "vote")}</span></div>
    <div class="lab-scroll" tabindex="0" role="group" aria-label=${`Table: ${compared.title}`}><table class="lab-table"><thead><tr><th scope="col">experiment</th>${several && html`<th scope="col">model</th>`}<th scope="col" colspan="2">duels won</th><th scope="col">duels</th><th scope="col">quality</th><th scope="col">diversity</th></tr></thead>
      <tbody>${rows.map((each) => html`<tr key=${`${each.model}/${each.experiment}`}><th scope="row">${each.experiment}</th>${several && html`<td>${each.model}</td>`}
        <td>${each.won ? percent(each.won.mean) : "–"}</td><td>${each.won && html`<span class="interval lab-interval" role="img" aria-label=${`between ${percent(each.won.low)} and ${percent(each.won.high)}`}><i style=${{ left: `${100 * each.won.low}%`, width: `${100 * (each.won.high - each.won.low)}%` }}></i><b style=${{ left: `${100 * each.won.mean}%` }}></b></span>`}</td>
        <td>${each.won?.count ?? 0}</td><td>${interval(each.quality)}</td><td>${interval(each.diversity)}</td></tr>`)}</tbody></table></div>
    <div class="foot"><span class="small muted">Ties count one half; bars are 95 % Wilson intervals. Brackets are 95 % bootstrap intervals.</span></div></section>`;
}
