/** Export: what goes into a training set, counted while it is chosen; what stays and why, with the way to mend it; the download. */

import { api } from "../api.js";
import { Button, Field, Menu } from "../components/controls.js";
import { Icon } from "../components/icon.js";
import { askFor } from "../components/overlays.js";
import { Reasons } from "../components/reasons.js";
import { Failure, Loading, useLoaded } from "../components/states.js";
import { TaskBar } from "../components/task_bar.js";
import { facetPart, number, size } from "../domain/exchange.js";
import { count, plural } from "../domain/text.js";
import { keepFile } from "../keep_file.js";
import { useKeys } from "../keyboard.js";
import { html, useEffect, useState } from "../preact.js";
import { act, changed, facetName, remembered, say, sayError } from "../state.js";
import { useTask } from "../tasks.js";
import { ExchangeHead } from "./exchange_tabs.js";
import { ExportForm } from "./export_form.js";

/** @import * as T from "../types.js" */
/** @import { FacetRow } from "../domain/exchange.js" */

const NUMBERS = ["good_rating", "bad_rating", "min_logprob", "mean_logprob", "p10_logprob", "percentile", "per_sample", "margin", "max_tokens", "seed", "validation"];
const BEGIN = {
  kind: "sft", form: "trl", file_type: "jsonl", name: "training", facets: /** @type {FacetRow[] | null} */ (null), filter: /** @type {any} */ (null), target_model: "", on_policy: false, truncated: false,
  archived: false, prompts: "as-is", .../** @type {Record<string, string>} */ (Object.fromEntries(NUMBERS.map((each) => [each, ""]))), task: /** @type {string | null} */ (null),
};
const kept = remembered("export", BEGIN);

/** The server's template, or a sentence that says what is not understood. @param {any} it @returns {any} */
function templateOf(it) {
  const parts = it.facets.filter((/** @type {FacetRow} */ each) => each.name).map(facetPart);
  const odd = parts.find((/** @type {any} */ each) => typeof each === "string");
  if (odd) return odd;
  return {
    kind: it.kind, form: it.form, file_type: it.file_type, prompts: it.prompts, facets: parts,
    ...Object.fromEntries(NUMBERS.map((name) => [name, number(it[name])]).filter(([, value]) => value !== null)),
    ...(it.filter ? { filter: it.filter } : {}), ...(it.target_model ? { target_model: it.target_model } : {}),
    ...Object.fromEntries(["on_policy", "truncated", "archived"].filter((name) => it[name]).map((name) => [name, true])),
  };
}

/** A saved template, as the form has it. @param {any} template */
function formOf(template) {
  const facets = (template.facets ?? []).map((/** @type {any} */ each) => ({ name: each.name, amount: each.count ? String(each.count) : each.share ? `${Number((each.share * 100).toFixed(4))}%` : "", order: each.order }));
  const given = Object.fromEntries(Object.entries(template).filter(([, value]) => value !== null));
  return { ...BEGIN, ...given, ...Object.fromEntries(NUMBERS.map((name) => [name, template[name] ?? ""])), facets, task: null };
}

/** What a dry run says, a moment after the last change; one that was overtaken is cancelled. @param {any} template */
function useCounts(template) {
  const key = typeof template === "string" ? "" : JSON.stringify(template);
  const [state, setState] = useState({ value: /** @type {T.Export | null} */ (null), error: /** @type {unknown} */ (null), loading: true });
  useEffect(() => {
    if (!key) return;
    const stop = new AbortController();
    setState((before) => ({ ...before, loading: true }));
    const timer = setTimeout(() => {
      api.startExport({ template: JSON.parse(key), dry_run: true, examples: 3, wait: true, file: `x.${JSON.parse(key).file_type}` }, stop.signal)
        .then((value) => setState({ value, error: null, loading: false }), (error) => { if (!stop.signal.aborted) setState({ value: null, error, loading: false }); });
    }, 250);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [key, changed.value]);
  return state;
}

export function ExportPage() {
  const it = { ...BEGIN, ...kept.value, facets: kept.value.facets ?? (facetName.value ? [{ name: facetName.value, amount: "", order: "oldest" }] : []) };
  const set = (/** @type {any} */ change) => (kept.value = { ...BEGIN, ...kept.value, facets: it.facets, ...change });
  const [password, setPassword] = useState("");
  const forms = useLoaded(() => api.exportForms(), []).value;
  const saved = useLoaded(() => api.templates(), [changed.value]).value?.items ?? [];
  const template = templateOf(it);
  const wrong = typeof template === "string" ? template : null;
  const counts = useCounts(template);
  const rows = counts.value?.report?.rows ?? 0;
  const download = (/** @type {T.Export} */ made) => api.downloadExport(made.key).then((blob) => keepFile(blob, `${it.name}.zip`), sayError);
  const task = useTask(it.task, api.getExport, (ended) => {
    if (ended.state === "done") {
      say(`Written: ${plural(ended.report?.rows ?? 0, "row")}`);
      download(ended);
    } else if (ended.state === "failed") sayError(new Error(ended.error?.message));
  });
  const running = task?.state === "running";
  const why = wrong ?? (counts.error ? "See what is wrong above" : counts.value && !rows ? "Nothing goes out yet; see why below" : running ? "It is being written" : it.name.trim() ? null : "The file needs a name");
  const write = async () => {
    try {
      set({ task: (await api.startExport({ template, file: `${it.name.trim()}.${it.file_type}`, ...(password ? { password } : {}) })).key });
    } catch (error) {
      sayError(error);
    }
  };
  const save = async () => {
    const name = await askFor({ title: "Save this template", text: "The command line knows it by this name too.", label: "Name", button: "Save" });
    if (name?.trim()) await act(() => api.saveTemplate({ name: name.trim(), template }), `Saved the template ${name.trim()}`);
  };
  useKeys("Export", [
    { keys: "Ctrl+Enter", says: "export and download", act: () => (why ? say(why) : write()) },
    { keys: "Escape", says: "cancel the export", act: () => { if (running && task) api.cancelTask(task.key).catch(sayError); } },
  ], [why, running, task?.key, JSON.stringify(it), password]);
  const items = [
    ...saved.map((/** @type {any} */ each) => ({ name: each.name, icon: "folder", act: () => (kept.value = { ...formOf(each.template), name: it.name }) })), saved.length > 0 && null,
    { name: "Save this one…", icon: "save", why: wrong, act: save },
    ...saved.map((/** @type {any} */ each) => ({ name: `Forget ${each.name}`, icon: "trash", danger: true, act: () => act(() => api.deleteTemplate(each.name), `Forgot the template ${each.name}`) })),
    { name: "Begin anew", icon: "undo", act: () => (kept.value = BEGIN) },
  ];
  return html`<div class="page-body exchange"><${ExchangeHead} page="export" says="Take a training set out. Truncated, archived and unsaved completions stay; preferences count before ratings."><${Menu} label="Templates" kind="" icon="down" text="Templates" items=${items} /><//>
    <div class="exchange-grid">
      <${ExportForm} it=${it} set=${set} forms=${forms} wrong=${wrong} password=${password} setPassword=${setPassword} />
      <div class="stack loose">
        <section class="card" aria-label="What goes out"><div class="head"><h2>What goes out</h2>${counts.loading && html`<span class="spinner" role="status" aria-label="Counting"></span>`}</div><div class="body stack">
          ${wrong ? html`<p class="small" role="alert" style=${{ color: "var(--danger-text)" }}>${wrong}</p>` : counts.error ? html`<${Failure} error=${counts.error} />` : !counts.value?.report ? html`<${Loading} lines=${3} />` : html`<${Counts} report=${counts.value.report} />`}</div></section>
        <section class="card" aria-label="Write it"><div class="body stack">
          <div class="fields wide"><${Field} label="Name of the file">${(/** @type {string} */ id) => html`<input id=${id} class="input" value=${it.name} onInput=${(/** @type {any} */ event) => set({ name: event.currentTarget.value })} />`}<//></div>
          <div class="row wrap"><${Button} kind="primary" icon="save" keys="Ctrl+Enter" busy=${running} why=${why} onClick=${write}>Export and download<//><span class="small muted">One zip archive: data, manifest, and what a trainer wants to know.</span></div>
          ${task && running && html`<${TaskBar} task=${task} label="Writing" />`}
          ${task && task.state === "done" && html`<${Made} task=${task} download=${() => download(task)} />`}
          ${task && task.state === "failed" && html`<${Failure} error=${new Error(task.error?.message)} />`}</div></section>
      </div></div></div>`;
}

/** @param {{ report: NonNullable<T.Export["report"]> }} props */
function Counts({ report }) {
  return html`<p><strong class="big number" role="status">${plural(report.rows, "row")}</strong> <span class="muted">${report.rows === 1 ? "goes" : "go"} out</span></p>
    ${report.facets.map((each) => html`<div class="stack tight" key=${each.facet}><div class="row"><strong class="small"><bdi>${each.facet || "All completions"}</bdi></strong><span class="small muted push number">${count(each.taken)} of ${plural(each.samples, "sample")}${each.available > each.taken ? `, ${count(each.available)} could` : ""}</span></div>
      <div class="share" role="img" aria-label=${`${each.taken} of ${each.samples} samples go out`}><i style=${{ width: `${each.samples ? (100 * each.taken) / each.samples : 0}%` }}></i></div>
      <${Reasons} reasons=${each.reasons} from="export" label=${`Why completions stay: ${each.facet || "all"}`} /></div>`)}
    ${report.left_out.length > 0 && html`<div class="stack tight"><strong class="small">Rows that the form ${report.form} has no words for</strong><${Reasons} reasons=${report.left_out} from="export" label="What the form cannot say" /></div>`}
    ${report.examples.length > 0 && html`<details class="params"><summary><${Icon} name="chevron" size=${13} />The first rows</summary>${report.examples.map((each, at) => html`<pre class="example" key=${at} tabindex="0" aria-label=${`Row ${at + 1}`}>${JSON.stringify(each.row, null, 1)}</pre>`)}</details>`}`;
}

/** @param {{ task: T.Export, download: () => void }} props */
function Made({ task, download }) {
  const hash = (/** @type {string} */ name) => task.report?.files.find((each) => each.file === name);
  const one = (/** @type {T.Export["files"][0]} */ each) => api.downloadExportFile(task.key, each.number).then((blob) => keepFile(blob, each.name), sayError);
  return html`<div class="stack tight"><div class="row"><strong class="small">${plural(task.report?.rows ?? 0, "row")} written</strong><span class="push"></span><${Button} small icon="save" onClick=${download}>Download again<//></div>
    <ul class="made" aria-label="Files">${task.files.map((each) => html`<li key=${each.number}><button type="button" class="linklike" onClick=${() => one(each)}><bdi>${each.name}</bdi></button><span class="small muted number">${size(each.size_bytes)}${hash(each.name) ? ` · ${plural(hash(each.name)?.rows ?? 0, "row")} · sha256 ${hash(each.name)?.sha256.slice(0, 12)}…` : ""}</span></li>`)}</ul></div>`;
}
