/** Every text of a group: how it differs from another, its tokens as a heatmap, and why another token does not stand there. */

import { writeAddress } from "../address.js";
import { api } from "../api.js";
import { Button, Field, Segments, Select } from "../components/controls.js";
import { Legend } from "../components/alternatives.js";
import { Icon } from "../components/icon.js";
import { TokenText } from "../components/token_view.js";
import { diff, smoothed, words } from "../domain/diff.js";
import { heatClass, legend } from "../domain/heatmap.js";
import { asTokens } from "../domain/lab.js";
import { divergence } from "../domain/tokens.js";
import { REASONS, percent, plural, visible } from "../domain/text.js";
import { html, useMemo, useState } from "../preact.js";
import { act, remembered, sayError } from "../state.js";
import { useTokens } from "./lab_plots.js";

/** @import * as T from "../types.js" */

const shownAs = remembered("lab-shown-as", /** @type {"difference" | "probability" | "entropy" | "rank"} */ ("difference"));
const WAYS = [{ value: "difference", name: "Differences" }, { value: "probability", name: "Probability" }, { value: "entropy", name: "Entropy" }, { value: "rank", name: "Rank" }];

/** @param {{ run: number, group: T.LabGroup, onKept: (text: T.LabText, completion: number) => void }} props */
export function Texts({ run, group, onKept }) {
  const { texts } = group;
  const [from, setFrom] = useState(/** @type {number | null} */ (null));
  const base = texts.find((each) => each.number === from) ?? texts.find((each) => each.title === "greedy") ?? texts[0];
  const way = shownAs.value;
  return html`<section class="card" aria-label="Texts"><div class="head"><h2 class="grow">Texts</h2><${Segments} label="Show" value=${way} onChange=${(/** @type {any} */ next) => (shownAs.value = next)} options=${WAYS} /></div>
    <div class="body stack">${way === "difference" ? html`<div class="lab-choice"><${Select} label="Compare with" value=${base.number} onChange=${(/** @type {string} */ number) => setFrom(Number(number))} options=${texts.map((each) => ({ value: each.number, name: each.title }))} /></div>
        <p class="small muted">What <bdi>${base.title}</bdi> has and the text has not is struck out; what only the text has is marked.</p>`
      : html`<${Legend} measure=${way} steps=${legend(way)} names=${(/** @type {number} */ step) => heatClass(way, step)} /><p class="small muted">Click a token, or move with the arrow keys: what else could have stood there, and which rule removed it.</p>`}
      ${texts.map((text) => html`<${One} key=${text.number} run=${run} group=${group} text=${text} base=${base} way=${way} onKept=${onKept} />`)}</div></section>`;
}

/** @param {{ run: number, group: T.LabGroup, text: T.LabText, base: T.LabText, way: any, onKept: (text: T.LabText, completion: number) => void }} props */
function One({ run, group, text, base, way, onKept }) {
  // The base is open until somebody says otherwise; which one it is may change while texts come in.
  const [chosen, setChosen] = useState(/** @type {boolean | null} */ (null));
  const same = text.number === base.number, open = chosen ?? same, shared = same ? text.ids.length : divergence(base.ids, text.ids);
  const equal = shared === text.ids.length && shared === base.ids.length;
  const told = [plural(text.ids.length, "token"), REASONS[text.finish_reason], text.sampled && `seed ${text.seed}`, text.beam_score !== null && `score ${text.beam_score.toFixed(3)}`,
    text.json_valid !== null && (text.schema_valid ? "JSON, fits the schema" : text.json_valid ? "JSON, not of the schema" : "no JSON")].filter(Boolean).join(", ");
  const keep = async () => {
    const made = await act(() => api.labKeep(run, text.place, text.number));
    if (made) onKept(text, made.id);
  };
  return html`<details class="lab-text" open=${open} onToggle=${(/** @type {any} */ event) => event.currentTarget.open !== open && setChosen(event.currentTarget.open)}>
    <summary><${Icon} name="chevron" size=${13} /><strong><bdi>${text.title}</bdi></strong><span class="muted small">${told}</span>
      ${!same && html`<span class=${`mark ${equal ? "good" : ""}`}>${equal ? `the same as ${base.title}` : `${plural(shared, "token")} in common`}</span>`}</summary>
    ${open && html`<div class="stack">
      <code class="small muted">${JSON.stringify(text.config)}</code>${text.schema_error && html`<p class="small muted">${text.schema_error}</p>`}
      ${way === "difference" ? html`<${Difference} text=${text} base=${base} />` : html`<${Tokens} run=${run} group=${group} text=${text} way=${way} />`}
      <div class="row wrap">${text.completion_id !== null ? html`<a class="button small" href=${writeAddress(["completions", text.completion_id])}><${Icon} name="token" />Open the completion</a>` : html`<${Button} small icon="save" onClick=${keep}>Keep as a completion<//>`}</div></div>`}
  </details>`;
}

/** @param {{ text: T.LabText, base: T.LabText }} props */
function Difference({ text, base }) {
  const pieces = useMemo(() => {
    const a = words(base.text), b = words(text.text);
    return smoothed(a, b, diff(a, b)).map((piece) => ({ kind: piece.kind, text: (piece.kind === "old" ? a.slice(...piece.a) : b.slice(...piece.b)).join("") }));
  }, [text.text, base.text]);
  return html`<div class="reading diff-text" role="document" aria-label=${`Text of ${text.title}`}>${pieces.map((piece, at) => piece.kind === "same" ? piece.text : piece.kind === "old" ? html`<del key=${at}>${piece.text}</del>` : html`<ins key=${at}>${piece.text}</ins>`)}${!text.text && html`<span class="faint">(nothing)</span>`}</div>`;
}

/** @param {{ run: number, group: T.LabGroup, text: T.LabText, way: any }} props */
function Tokens({ run, group, text, way }) {
  const [at, setAt] = useState(-1);
  const found = useTokens(run, group, [text.number]).get(text.number);
  const tokens = useMemo(() => (found ? asTokens(found) : null), [found]);
  if (!found || !tokens) return html`<div class="skeleton" style=${{ height: "4em" }}></div>`;
  const keys = (/** @type {KeyboardEvent} */ event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step || /** @type {HTMLElement} */ (event.target).closest("input")) return;
    event.preventDefault();
    setAt(Math.max(0, Math.min(tokens.ids.length - 1, at + step)));
  };
  return html`<div class="lab-tokens" tabindex="0" role="group" aria-label=${`Tokens of ${text.title}: arrow keys choose one`} onKeyDown=${keys}>
    <${TokenText} tokens=${tokens} measure=${way} chosen=${at} label=${`Text of ${text.title}`} onToken=${setAt} />
    ${at >= 0 && html`<${Why} key=${at} run=${run} text=${text} found=${found} at=${at} />`}</div>`;
}

/** What else could have stood at a place, what removed it, and the same of any token one asks for. @param {{ run: number, text: T.LabText, found: T.LabTokens, at: number }} props */
function Why({ run, text, found, at }) {
  const [asked, setAsked] = useState(""), [answer, setAnswer] = useState("");
  const kept = Object.entries(found.kept).map(([name, values]) => `${name} kept ${percent(values[at])}`).join(", ");
  const ask = async () => {
    if (!asked) return;
    setAnswer("…");
    try {
      setAnswer((await api.labWhy(run, text.place, text.number, { position: at, token: asked })).says);
    } catch (error) {
      setAnswer("");
      sayError(error);
    }
  };
  return html`<aside class="lab-why stack" aria-label=${`Token ${at}`}><div class="row wrap"><strong class="mono"><bdi>${visible(found.text[at])}</bdi></strong>
      <span class="small muted">token ${at}: ${percent(found.probability[at])}, rank ${found.rank[at]}, entropy ${found.entropy[at]} nats${kept && `; ${kept}`}</span></div>
    <table class="alternatives"><thead><tr><th>could stand here</th><th>model</th><th>removed by</th><th>in the end</th></tr></thead><tbody>${found.alternatives[at].map(([id, own, by, left]) => html`<tr key=${id} class=${id === found.ids[at] ? "chosen" : ""}>
      <td class="word"><bdi>${visible(found.vocabulary[id])}</bdi></td><td>${percent(own)}</td><td>${by ?? html`<span class="faint">stayed</span>`}</td><td>${percent(left)}</td></tr>`)}</tbody></table>
    <form class="row wrap" style=${{ alignItems: "end" }} onSubmit=${(/** @type {any} */ event) => { event.preventDefault(); ask(); }}><${Field} label="Why not this token? Any one of the model's, with its leading space">${(/** @type {string} */ id) => html`<input id=${id} class="input mono" value=${asked} placeholder=" dragon" onInput=${(/** @type {any} */ event) => setAsked(event.currentTarget.value)} onKeyDown=${(/** @type {any} */ event) => {
      if (event.key === "Enter") ask();
      else if (event.key === "Escape") event.currentTarget.blur();
      else return;
      event.preventDefault();
    }} />`}<//><${Button} onClick=${ask}>Ask<//></form>
    <p role="status" class="small">${answer}</p></aside>`;
}
