/** The decoding lab: runs there were, a new one, and one run's report (`#/lab/3`) or its blind votes (`#/lab/3?view=votes`). */

import { address, go, replaceQuery, writeAddress } from "../address.js";
import { api } from "../api.js";
import { Button, Menu, Segments } from "../components/controls.js";
import { Icon } from "../components/icon.js";
import { confirm } from "../components/overlays.js";
import { Empty, Failure, Loading, useLoaded, usePages } from "../components/states.js";
import { withNews } from "../domain/lab.js";
import { ago, count, plural } from "../domain/text.js";
import { keepFile } from "../keep_file.js";
import { useKeys } from "../keyboard.js";
import { html, useEffect, useRef, useState } from "../preact.js";
import { listen } from "../sse.js";
import { act, changed, facetName, say, sayError } from "../state.js";
import { NewRun, fillFrom } from "./lab_new.js";
import { Report } from "./lab_report.js";
import { Votes } from "./lab_votes.js";

/** @import * as T from "../types.js" */

export function LabPage() {
  const [id] = address.value.parts;
  return id ? html`<${RunPage} id=${Number(id)} />` : html`<${Runs} />`;
}

/** @param {{ run: T.LabRun }} props */
function State({ run }) {
  return html`<span class=${`mark ${{ running: "info", completed: "good", cancelled: "", failed: "truncated" }[run.state]}`}>${run.state === "running" && html`<span class="spinner" style=${{ width: "10px", height: "10px" }}></span>`}${run.state}</span>`;
}

function Runs() {
  const found = usePages((after) => api.labRuns({ limit: 20, after }), [changed.value]), items = found.items;
  return html`<div class="page-body lab"><div class="page-head"><div class="grow"><h1>Decoding lab</h1><p class="muted">Every strategy on the same prompts, side by side: measured, checked against the laws between them, and judged blind.</p></div></div>
    <div class="stack loose"><${NewRun} />
      <section aria-label="Runs"><h2>Runs</h2>${found.error ? html`<${Failure} error=${found.error} again=${found.again} />` : !items ? html`<${Loading} />`
        : !items.length ? html`<p class="muted">None yet.</p>`
        : html`<ul class="card runs">${items.map((run) => html`<li key=${run.id}><a href=${writeAddress(["lab", run.id])}><strong><bdi class="clip">${run.name}</bdi></strong></a><${State} run=${run} />
            <span class="muted small clip">${run.models.join(", ")}</span><span class="muted small number">${count(run.done)} of ${plural(run.asked, "completion")}</span><span class="muted small">${ago(run.created_at)}</span>
            <${Button} small kind="quiet" icon="trash" label=${`Delete run ${run.id}`} onClick=${() => remove(run)} /></li>`)}</ul>
          ${found.next && html`<${Button} onClick=${found.further}>Older ones<//>`}`}</section></div></div>`;
}

/** @param {T.LabRun} run @param {() => void} [after] */
async function remove(run, after) {
  const sure = await confirm({ title: "Delete this run?", text: "Its report goes for good. Completions that were kept or judged stay, and so do the votes.", button: "Delete", danger: true });
  if (sure && (await act(async () => { await api.labDelete(run.id); return true; }, ""))) after?.();
}

/** The report as it grows. @param {number} id */
function useReport(id) {
  const [state, setState] = useState(/** @type {{ report: T.LabReport | null, error: unknown }} */ ({ report: null, error: null }));
  const now = useRef(/** @type {T.LabReport | null} */ (null));
  useEffect(() => {
    const stop = new AbortController();
    let drawing = 0;
    const show = () => {
      drawing = 0;
      setState({ report: now.current, error: null });
    };
    api.lab(id).then((report) => {
      if (stop.signal.aborted) return;
      now.current = report;
      show();
      if (report.run.state !== "running") return;
      listen(() => api.labEvents(id, stop.signal), ({ event, data }) => {
        if (!now.current) return;
        now.current = withNews(now.current, event, JSON.parse(data));
        // Many texts may come at once; a page is drawn once a frame.
        drawing ||= requestAnimationFrame(show);
        if (event === "end") stop.abort();
      }, { signal: stop.signal });
    }, (error) => setState({ report: null, error }));
    return () => {
      stop.abort();
      cancelAnimationFrame(drawing);
    };
  }, [id]);
  return { ...state, set: (/** @type {T.LabReport} */ report) => { now.current = report; setState({ report, error: null }); } };
}

/** @param {{ id: number }} props */
function RunPage({ id }) {
  const { report, error, set } = useReport(id);
  const view = address.value.query.view ?? "report", run = report?.run;
  const compared = useLoaded(() => api.labComparison(id, { facet: facetName.value || null }), [id, facetName.value, changed.value, run?.state, view]);
  const cancel = () => run?.state === "running" && act(() => api.labCancel(id));
  const download = (/** @type {"html" | "markdown"} */ form) => api.labFile(id, form).then((blob) => keepFile(blob, `lab-${id}.${form === "html" ? "html" : "md"}`), sayError);
  useKeys("Lab", [
    { keys: "V", says: "report, blind votes", act: () => replaceQuery({ view: view === "votes" ? null : "votes" }) },
    { keys: "C", says: "stop the run", act: cancel },
    { keys: "Escape", says: "all runs", act: () => (view === "votes" ? replaceQuery({ view: null }) : go(["lab"])) },
  ], [view, run?.state, id]);
  if (error) return html`<div class="page-body"><${Failure} error=${error} /></div>`;
  if (!report || !run) return html`<div class="page-body"><${Loading} /></div>`;
  const head = html`<div class="page-head"><a class="button icon quiet" href="#/lab" aria-label="All runs"><${Icon} name="back" /></a>
    <div class="grow"><h1 class="clip"><bdi>${run.name}</bdi></h1><p class="muted small">${run.models.join(", ")} · ${ago(run.created_at)}</p></div>
    <${State} run=${run} /><span class="row small muted number" role="status"><span class="share progress"><i style=${{ width: `${(100 * run.done) / Math.max(1, run.asked)}%` }}></i></span>${count(run.done)} of ${count(run.asked)}</span>
    ${run.state === "running" && html`<${Button} icon="stop" keys="C" onClick=${cancel}>Cancel<//>`}
    <${Segments} label="View" value=${view} onChange=${(/** @type {string} */ next) => replaceQuery({ view: next === "report" ? null : next })} options=${[{ value: "report", name: "Report" }, { value: "votes", name: "Blind votes" }]} />
    <${Menu} label="Report as a file, and more" icon="more" items=${[
      { name: "Download as a page (HTML)", icon: "download", act: () => download("html") },
      { name: "Download as Markdown", icon: "download", act: () => download("markdown") },
      { name: "A new run of this plan", icon: "play", act: () => { fillFrom(report); go(["lab"]); } },
      null,
      { name: "Delete…", icon: "trash", danger: true, act: () => remove(run, () => go(["lab"])) },
    ]} /></div>
    ${run.problem && html`<div class="notice error" role="alert">${run.problem}</div>`}`;
  if (view === "votes") return html`<${Votes} report=${report} head=${head} compared=${compared.value?.items ?? []} />`;
  const kept = (/** @type {T.LabText} */ text, /** @type {number} */ completion) => {
    set({ ...report, groups: report.groups.map((group) => (group.place === text.place ? { ...group, texts: group.texts.map((each) => (each.number === text.number ? { ...each, completion_id: completion } : each)) } : group)) });
    say("Kept as a completion", { action: "Open", act: () => go(["completions", completion]) });
  };
  return html`<div class="page-body lab">${head}${report.groups.length
    ? html`<${Report} report=${report} compared=${compared.value?.items ?? []} onKept=${kept} />`
    : html`<${Empty} title="Nothing was measured">The run ended before its first completion did.<//>`}</div>`;
}
