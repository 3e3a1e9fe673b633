/** Token by token: the model proposes, one picks. A click or a key is one forward pass. */

import { address, go, writeAddress } from "../address.js";
import { api } from "../api.js";
import { CandidateList } from "../components/alternatives.js";
import { Button, Field, Segments, TextArea } from "../components/controls.js";
import { Icon } from "../components/icon.js";
import { ModelChoice } from "../components/model_choice.js";
import { SettingsForm } from "../components/settings_form.js";
import { Empty, Loading, useLoaded } from "../components/states.js";
import { TokenText } from "../components/token_view.js";
import { originsOf } from "../domain/tokens.js";
import { useKeys } from "../keyboard.js";
import { html, useEffect, useMemo, useRef, useState } from "../preact.js";
import { act, facetName, remembered, sayError } from "../state.js";

/** @import { Candidates, Session } from "../types.js" */

const finishConfig = remembered("finish-config", /** @type {Record<string, any>} */ ({ max_new_tokens: 128 }));
const colour = remembered("picking-colour", /** @type {any} */ ("origin"));
const width = remembered("picking-k", 20);

export function PickingPage() {
  const key = address.value.parts[0];
  const loaded = useLoaded(() => api.session(key, width.value), [key]);
  if (loaded.error) return html`<${Empty} title="This session has ended" action=${html`<a class="button" href="#/">To the library</a>`}>${/** @type {Error} */ (loaded.error).message}<//>`;
  if (!loaded.value) return html`<div class="page-body"><${Loading} /></div>`;
  return html`<${Picking} key=${key} first=${loaded.value} />`;
}

/** @param {{ first: Session }} props */
function Picking({ first }) {
  const [session, setSession] = useState(first);
  const [row, setRow] = useState(0), [search, setSearch] = useState(""), [typed, setTyped] = useState(""), [busy, setBusy] = useState(false);
  const [found, setFound] = useState(/** @type {Candidates | null} */ (null));
  const [again, setAgain] = useState({ model: "", prefill: "" });
  const end = useRef(/** @type {HTMLElement | null} */ (null));
  const queue = useRef(Promise.resolve());
  const now = useRef(first);
  const { key } = session;
  // Keys may come quicker than answers: steps wait for each other, and each says how long the text was that it saw.
  const step = (/** @type {string} */ name, /** @type {(now: Session) => any} */ body) => {
    queue.current = queue.current.then(async () => {
      setBusy(true);
      try {
        const given = body(now.current);
        if (given) {
          now.current = await api.sessionStep(key, name, { length: now.current.length, ...(name === "finish" ? {} : { k: width.value }), ...given });
          setSession(now.current);
          setSearch("");
          setFound(null);
          setRow(0);
        }
      } catch (error) {
        sayError(error);
        if (/** @type {any} */ (error).code === "stale") setSession((now.current = await api.session(key, width.value)));
      }
      setBusy(false);
    });
  };
  useEffect(() => {
    if (!search || session.ended || session.finished) {
      setFound(null);
      return undefined;
    }
    const timer = setTimeout(() => api.sessionCandidates(key, { k: width.value, search }).then(setFound, sayError), 120);
    return () => clearTimeout(timer);
  }, [search, session.length]);
  useEffect(() => end.current?.scrollIntoView({ block: "nearest" }), [session.length]);
  const candidates = search ? found : session.candidates;
  const open = !session.ended && !session.finished;
  const pick = (/** @type {number} */ id) => step("pick", () => ({ token_id: id }));
  const pickRow = (/** @type {number} */ at) => step("pick", (it) => { const shown = search ? found : it.candidates; return shown && shown.ids[at] !== undefined ? { token_id: shown.ids[at] } : null; });
  const undoOne = () => step("undo", () => ({}));
  const finish = () => step("finish", () => ({ config: finishConfig.value }));
  const save = async () => {
    const made = await act(() => api.saveSession(key), "Saved");
    if (made) go(["samples", session.sample_id], { completion: made.id });
  };
  const startAnew = async () => {
    const made = await act(() => api.startSession(session.sample_id, { model: again.model || undefined, facet: facetName.value || undefined, prefill: again.prefill || undefined }));
    if (made) go(["picking", made.key]);
  };
  useKeys("Token by token", [
    { keys: "ArrowDown J", says: "next candidate", act: () => candidates && setRow(Math.min(candidates.ids.length - 1, row + 1)) },
    { keys: "ArrowUp K", says: "candidate before", act: () => setRow(Math.max(0, row - 1)) },
    { keys: "Enter ArrowRight L", says: "append it", act: () => open && pickRow(row) },
    { keys: "1 2 3 4 5 6 7 8 9", says: "append that candidate", act: (event) => open && pickRow(Number(event.key) - 1) },
    { keys: "Backspace ArrowLeft H", says: "take the last token back", act: undoOne },
    { keys: "F", says: "search among all tokens", act: () => document.getElementById("candidate-search")?.focus() },
    { keys: "Y", says: "type text of one's own", act: () => document.getElementById("own-text")?.focus() },
    { keys: "G Ctrl+Enter", says: "generate: the model writes the rest", act: () => open && finish() },
    { keys: "S Ctrl+S", says: "save", act: save },
    { keys: "Escape", says: "back to the sample; the session stays for an hour", act: () => go(["samples", session.sample_id]) },
  ], [session, row, search, found]);
  const origins = useMemo(() => originsOf(session.origins, session.length), [session]);
  return html`<div class="reader-shell"><div class="reader-bar">
      <a class="button icon quiet" href=${writeAddress(["samples", session.sample_id])} aria-label="Back to the sample" title="Back to the sample"><${Icon} name="back" /></a>
      <h1 style=${{ fontSize: "15px" }}>Token by Token</h1><span class="small muted"><bdi>${session.model}</bdi> · <span class="number">${session.length}</span> tokens</span>
      ${session.ended && html`<span class="mark good">ended with EOS</span>`}${session.finished && !session.ended && html`<span class="mark info">the model wrote the rest</span>`}${!session.ended && !session.finished && session.length > 0 && html`<span class="mark truncated">truncated</span>`}
      <span class="grow"></span>
      <${Button} icon="undo" keys="Backspace" why=${session.length ? null : "There is nothing to take back"} onClick=${undoOne}>Take back<//>
      <${Button} icon="play" keys="G" busy=${busy} why=${open ? null : "It has ended; take the last token back first"} onClick=${finish}>Generate<//>
      <${Button} kind="primary" icon="save" keys="S" why=${session.length ? null : "Pick a token first"} onClick=${save}>Save<//></div>
    <div class="reader"><section class="text-pane" aria-label="Text" tabindex="0">
        <div class="row wrap" style=${{ maxWidth: "740px", margin: "0 auto 14px" }}><${Segments} label="Colour by" value=${colour.value} onChange=${(/** @type {any} */ value) => (colour.value = value)} options=${[["origin", "Origin"], ["probability", "Probability"], ["entropy", "Entropy"], ["rank", "Rank"]].map(([value, name]) => ({ value, name }))} /></div>
        <div style=${{ maxWidth: "740px", margin: "0 auto" }}>
          ${session.tokens.ids.length ? html`<${TokenText} tokens=${session.tokens} measure=${colour.value} origins=${origins} whitespace label="The text so far" />` : html`<p class="muted reading">The text begins with the token you pick.</p>`}
          ${open && html`<span class="caret"></span>`}<span ref=${end}></span></div>
        <div class="stack" style=${{ maxWidth: "740px", margin: "32px auto 0" }}><${SettingsForm} config=${finishConfig.value} model=${session.model} onChange=${(/** @type {any} */ next) => (finishConfig.value = next)} />
          <details class="params"><summary><${Icon} name="chevron" size=${13} />Another model or prefill</summary><div class="stack" style=${{ paddingTop: "12px" }}>
            <${ModelChoice} what="tokens" value=${again.model} onChange=${(/** @type {string} */ model) => setAgain({ ...again, model })} />
            <${Field} label="Prefill: the reply begins with">${(/** @type {string} */ id) => html`<${TextArea} id=${id} rows=${1} value=${again.prefill} onInput=${(/** @type {string} */ prefill) => setAgain({ ...again, prefill })} />`}<//>
            <div><${Button} small onClick=${startAnew}>Start anew<//></div></div></details></div>
      </section>
      <aside class="inspector" aria-label="Candidates" tabindex="0">
        <div class="row"><h2 class="grow">Next token</h2>${busy && html`<span class="spinner"></span>`}</div>
        ${open ? html`<label class="visually-hidden" for="candidate-search">Search tokens</label>
          <input id="candidate-search" class="input" type="search" placeholder="Search all tokens" value=${search} onInput=${(/** @type {any} */ event) => { setSearch(event.currentTarget.value); setRow(0); }} onKeyDown=${(/** @type {any} */ event) => { if (event.key === "Enter" && found) { pickRow(row); event.currentTarget.blur(); } if (event.key === "Escape") { setSearch(""); event.currentTarget.blur(); event.stopPropagation(); } }} />
          ${candidates ? html`<${CandidateList} candidates=${candidates} current=${row} onTake=${pick} verb="Append" />` : html`<${Loading} />`}
          <form class="row" onSubmit=${(/** @type {any} */ event) => { event.preventDefault(); if (typed) step("type", () => ({ text: typed })); setTyped(""); /** @type {HTMLElement} */ (document.activeElement)?.blur(); }}>
            <label class="visually-hidden" for="own-text">Text of your own</label><input id="own-text" class="input" placeholder="Or type your own text" value=${typed} onInput=${(/** @type {any} */ event) => setTyped(event.currentTarget.value)} onKeyDown=${(/** @type {any} */ event) => { if (event.key === "Escape") { event.currentTarget.blur(); event.stopPropagation(); } }} />
            <button class="button" type="submit">Append</button></form>`
          : html`<p class="muted small">${session.ended ? "An EOS was picked: the completion is whole." : "The model wrote the rest."} <kbd>S</kbd> saves it, <kbd>⌫</kbd> takes it back.</p>`}
      </aside></div></div>`;
}
