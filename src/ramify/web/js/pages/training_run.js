/** One run: live while it trains, then before and after, both models side by side, and its model as the facet's target. */

import { go } from "../address.js";
import { api } from "../api.js";
import { Button, Menu, Select } from "../components/controls.js";
import { Curves } from "../components/curves.js";
import { Icon } from "../components/icon.js";
import { confirm } from "../components/overlays.js";
import { Failure, Loading } from "../components/states.js";
import { ago, count, duration, fixed } from "../domain/text.js";
import { points, withTold } from "../domain/training.js";
import { keepFile } from "../keep_file.js";
import { useKeys } from "../keyboard.js";
import { html, useEffect, useRef, useState } from "../preact.js";
import { listen } from "../sse.js";
import { act, facetName, facets, loadShared, models, sayError } from "../state.js";
import { State, whatOf } from "./training.js";
import { fillFrom } from "./training_new.js";
import { BeforeAfter } from "./training_report.js";
import { SideBySide } from "./training_try.js";

/** @import * as T from "../types.js" */

/** The run as it goes. @param {string} id @param {number} round what begins it anew */
function useRun(id, round) {
  const [state, setState] = useState(/** @type {{ run: T.TrainingRun | null, error: unknown }} */ ({ run: null, error: null }));
  const now = useRef(/** @type {T.TrainingRun | null} */ (null));
  useEffect(() => {
    const stop = new AbortController();
    let drawing = 0;
    const show = () => {
      drawing = 0;
      setState({ run: now.current, error: null });
    };
    api.training(id).then((run) => {
      if (stop.signal.aborted) return;
      now.current = run;
      show();
      if (run.state !== "running") return;
      listen(() => api.trainingEvents(id, stop.signal), ({ event, data }) => {
        if (!now.current) return;
        now.current = withTold(now.current, event, JSON.parse(data));
        drawing ||= requestAnimationFrame(show);
        if (event === "end") {
          stop.abort();
          loadShared().catch(sayError); // there is a model more
        }
      }, { signal: stop.signal });
    }, (error) => !stop.signal.aborted && setState({ run: null, error }));
    return () => {
      stop.abort();
      if (drawing) cancelAnimationFrame(drawing);
    };
  }, [id, round]);
  return state;
}

/** @param {{ id: string }} props */
export function RunPage({ id }) {
  const [round, setRound] = useState(0), [asked, setAsked] = useState(false);
  const { run, error } = useRun(id, round), running = run?.state === "running";
  useEffect(() => setAsked(false), [run?.state, round]);
  const cancel = async () => {
    if (!running || asked) return;
    setAsked(true);
    await api.cancelTraining(id).catch((failed) => {
      setAsked(false);
      sayError(failed);
    });
  };
  const resume = async () => {
    try {
      await api.resumeTraining(id);
      setRound(round + 1);
    } catch (failed) {
      sayError(failed);
    }
  };
  const forget = async () => {
    if (!(await confirm({ title: `Delete ${id}?`, text: "The run goes for good, with its checkpoint, its report and the model that it made. Completions that the model wrote stay.", button: "Delete", danger: true }))) return;
    try {
      await api.deleteTraining(id);
      await loadShared();
      go(["training"]);
    } catch (failed) {
      sayError(failed);
    }
  };
  const keep = (/** @type {"html" | "markdown"} */ form) => api.trainingPage(id, form).then((page) => keepFile(page, `${id}.${form === "html" ? "html" : "md"}`), sayError);
  useKeys("Training", [
    { keys: "C", says: "cancel the run", act: cancel },
    { keys: "R", says: "let it go on", act: () => run?.can_go_on && resume() },
    { keys: "Escape", says: "all runs", act: () => go(["training"]) },
  ], [running, asked, run?.can_go_on, id, round]);
  if (error) return html`<div class="page-body"><${Failure} error=${error} again=${() => setRound(round + 1)} /></div>`;
  if (!run) return html`<div class="page-body"><${Loading} /></div>`;
  const noReport = run.has_report ? null : "There is no report yet";
  return html`<div class="page-body training"><div class="page-head"><a class="button icon quiet" href="#/training" aria-label="All runs"><${Icon} name="back" /></a>
      <div class="grow"><h1 class="clip"><bdi>${run.key}</bdi></h1><p class="muted small"><bdi>${whatOf(run)}</bdi>${run.facets.length ? html` for <bdi>${run.facets.join(", ")}</bdi>` : ""} · ${ago(run.started_at)}</p></div><${State} run=${run} />
      ${running && html`<${Button} icon="stop" keys="C" busy=${asked} onClick=${cancel}>${asked ? "Ending after this step" : "Cancel"}<//>`}
      ${run.can_go_on && html`<${Button} kind="primary" icon="play" keys="R" onClick=${resume}>Resume<//>`}
      <${Menu} label="Report as a file, and more" icon="more" items=${[
        { name: "Download the report (HTML)", icon: "download", why: noReport, act: () => keep("html") },
        { name: "Download the report (Markdown)", icon: "download", why: noReport, act: () => keep("markdown") },
        { name: "A new run like this one", icon: "play", why: run.model ? null : "Fill it in on the training page: its texts are uploaded", act: () => { fillFrom(run); go(["training"]); } },
        null,
        { name: "Delete…", icon: "trash", danger: true, why: running ? "Cancel it first" : null, act: forget },
      ]} /></div>
    <div class="stack loose">
      ${run.problem && html`<div class=${`notice ${run.state === "completed" ? "warn" : "error"}`} role="alert"><${Icon} name="warn" /><span>${run.problem}</span></div>`}
      ${run.state === "killed" && html`<div class="notice warn" role="status"><${Icon} name="warn" /><span>Its process ended without a word: it was killed, or the machine went down. Resume lets it go on from its last checkpoint, with the same losses as if nothing had happened.</span></div>`}
      ${run.state === "cancelled" && html`<div class="notice" role="status"><${Icon} name="pin" /><span>Cancelled${run.step ? ` after step ${count(run.step)}` : " before its first step"}; the checkpoint is kept, and Resume goes on from it.</span></div>`}
      <${Live} run=${run} />
      ${run.state === "completed" && run.method !== "tokenizer" && html`<${Target} run=${run} />`}
      ${run.state === "completed" && run.method === "tokenizer" && html`<div class="notice good" role="status"><${Icon} name="check" /><span>The vocabulary is there: a new model can be given it, under “From scratch”.</span></div>`}
      ${run.state === "completed" && run.model && html`<${BeforeAfter} run=${run} onMade=${() => setRound(round + 1)} />`}
      ${run.state === "completed" && run.model && models.value.some((each) => each.name === run.key) && html`<${SideBySide} run=${run} />`}
    </div></div>`;
}

/** @param {{ run: T.TrainingRun }} props */
function Live({ run }) {
  const running = run.state === "running", share = run.steps ? Math.min(1, run.step / run.steps) : null;
  const held = points(run.log, "loss", true), accuracy = points(run.log, "accuracy", false), heldAccuracy = points(run.log, "accuracy", true);
  const facts = [
    ["step", run.steps ? `${count(run.step)} of ${count(run.steps)}` : count(run.step)], ["loss", fixed(run.loss, 3)], ["held-out loss", fixed(run.validation, 3)],
    ["tokens a second", run.tokens_per_s === null ? "–" : count(Math.round(run.tokens_per_s))], running ? ["time left", run.left_s === null ? "–" : duration(run.left_s)] : ["trained for", duration(run.seconds)],
  ];
  return html`<section class="card" aria-label="The run"><div class="body stack">
    <div class="share" role="progressbar" aria-label="Steps done" aria-valuemin="0" aria-valuemax="100" aria-valuenow=${share === null ? undefined : Math.round(100 * share)}><i style=${{ width: `${100 * (share ?? 0)}%` }}></i></div>
    <div class="row wrap"><dl class="facts grow">${facts.map(([label, value]) => html`<div key=${label}><dt>${label}</dt><dd class="number">${value}</dd></div>`)}</dl>${running && run.doing && html`<span class="small muted" role="status">${run.doing}…</span>`}</div>
    ${(running || run.log.length > 0) && html`<div class="training-plots"><${Curves} title="Loss" last=${run.steps} lines=${[{ name: "training", points: points(run.log, "loss", false) }, { name: "held out", points: held, dots: true }]} />
      ${accuracy.length > 0 && html`<${Curves} title="Share of pairs where the better one is likelier" zero last=${run.steps} lines=${[{ name: "training", points: accuracy }, { name: "held out", points: heldAccuracy, dots: true }]} />`}
      <${Curves} title="Tokens a second" zero last=${run.steps} lines=${[{ name: "tokens a second", points: points(run.log, "tokens_per_s", false) }]} /></div>`}</div></section>`;
}

/** The loop closes: the next completions come from it. @param {{ run: T.TrainingRun }} props */
function Target({ run }) {
  const own = run.facets.map((each) => each.replace(/=\d+%?$/, "")), [chosen, setChosen] = useState("");
  const name = chosen || own.find((each) => facets.value.some((one) => one.name === each)) || facetName.value || facets.value[0]?.name || "";
  const facet = facets.value.find((each) => each.name === name), is = facet?.effective.target_model === run.key;
  const make = async () => {
    if (!facet) return;
    const report = run.has_report ? await api.trainingReport(run.key).catch(() => null) : null;
    if (report?.unrelated.alarm && !(await confirm({ title: "Other text got worse", text: `What ${report.base} says unasked became ${(100 * report.unrelated.worse).toFixed(1)} % less likely. Make ${run.key} the target model all the same?`, button: "Make it the target" }))) return;
    await act(() => api.changeFacet(facet.id, { target_model: run.key }), `${run.key} is the target model of ${facet.name}`);
    await loadShared().catch(sayError);
  };
  if (!facets.value.length) return null;
  return html`<section class="card" aria-label="Target model"><div class="body row wrap"><div class="grow stack tight"><strong>${is ? html`It is the target model of <bdi>${name}</bdi>.` : html`Let it write for <bdi>${name}</bdi> from now on?`}</strong>
      <span class="small muted">${is ? "The next completions for this facet come from it." : html`The target model writes where nobody names another; now that is <bdi>${facet?.effective.target_model}</bdi>.`}</span></div>
    ${facets.value.length > 1 && html`<div class="training-target"><${Select} label="Facet" value=${name} onChange=${setChosen} options=${facets.value.map((each) => ({ value: each.name, name: each.name }))} /></div>`}
    ${is ? html`<a class="button" href="#/">To the library</a>` : html`<${Button} kind="primary" icon="check" onClick=${make}>Make it the target model<//>`}</div></section>`;
}
