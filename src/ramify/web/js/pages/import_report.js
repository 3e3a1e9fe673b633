/** What an import did or would do, and bad records: mended where they stand, or left out. */

import { writeAddress } from "../address.js";
import { api } from "../api.js";
import { Button, TextArea } from "../components/controls.js";
import { Icon } from "../components/icon.js";
import { Failure, Loading, useLoaded } from "../components/states.js";
import { names } from "../domain/exchange.js";
import { count, plural } from "../domain/text.js";
import { html, useState } from "../preact.js";
import { say, sayError } from "../state.js";

/** @import * as T from "../types.js" */

const FACTS = /** @type {[string, string][]} */ ([
  ["records", "records"], ["samples_added", "new samples"], ["samples_matched", "prompts that were there"], ["completions_added", "new completions"],
  ["completions_matched", "completions that were there"], ["ratings_added", "ratings"], ["preferences_added", "preferences"], ["approvals_added", "approvals"],
  ["duplicates_left_out", "left out as duplicates"], ["bad_records", "bad records left out"],
]);
const OUTCOMES = /** @type {[string, string][]} */ ([["shared_success", "both right"], ["shared_failure", "both wrong"], ["new_failure", "newly wrong"], ["fixed", "fixed"], ["undecided", "undecided"], ["unpaired", "unpaired"]]);

/** @param {{ task: T.Import, it: any, bring: (more?: any) => void, trial: () => void, forget: () => void, onMended: () => void }} props */
export function ImportReport({ task, it, bring, trial, forget, onMended }) {
  const [mended, setMended] = useState(0);
  const report = task.report;
  const onMend = () => {
    setMended(mended + 1);
    onMended();
  };
  const title = task.state === "failed" ? "Nothing was imported" : task.state === "cancelled" ? "Cancelled; nothing was imported" : task.dry_run ? "What would happen" : "Imported";
  const open = it.group.trim() ? writeAddress([], { group: it.group.trim() }) : names(it.tags).length ? writeAddress([], { filter: JSON.stringify({ field: "tag", op: "is", value: names(it.tags)[0] }) }) : "#/";
  return html`<section class="card" aria-label="Result"><div class="head"><h2>${title}</h2>${task.state === "done" && html`<span class="mark good"><${Icon} name="check" size=${11} />${task.dry_run ? "tried" : "done"}</span>`}</div>
    <div class="body stack">
      ${task.state === "failed" && !task.problem && html`<${Failure} error=${new Error(task.error?.message)} />`}
      ${task.problem && html`<p class="small">A record cannot be used. Mend it, or leave bad records out.</p><${Problems} problems=${[task.problem]} upload=${task.upload} onMended=${onMend} />
        <div class="row wrap"><${Button} kind="primary" icon="play" onClick=${() => bring()}>Import again<//><${Button} onClick=${() => bring({ skip_bad: true })}>Import without bad records<//><${Button} kind="quiet" icon="eye" onClick=${trial}>List all bad records<//></div>`}
      ${report && html`<dl class="facts">${FACTS.filter(([name]) => report[name] || name === "records").map(([name, label]) => html`<div key=${name}><dt>${label}</dt><dd class="number">${count(report[name])}</dd></div>`)}</dl>
        ${report.compared.length > 0 && html`<div class="stack tight"><p class="small"><bdi>${report.compared[0]}</bdi> compared with <bdi>${report.compared[1]}</bdi></p><dl class="facts">${OUTCOMES.map(([name, label]) => html`<div key=${name}><dt>${label}</dt><dd class="number">${count(report[name])}</dd></div>`)}</dl></div>`}
        ${report.remarks.map((remark, at) => html`<p class="small muted" key=${at}><bdi>${remark}</bdi></p>`)}
        ${report.bad_records > 0 && html`<${AllProblems} task=${task} total=${report.bad_records} onMended=${onMend} />`}
        ${report.duplicates_left_out > 0 && html`<${Twins} task=${task} total=${report.duplicates_left_out} />`}
        <div class="row wrap">${task.dry_run ? html`<${Button} kind="primary" icon="check" onClick=${() => bring()}>${mended ? "Import again" : "Import now"}<//>${report.bad_records > 0 && html`<${Button} onClick=${() => bring({ skip_bad: true })}>Import without bad records<//>`}`
          : html`<a class="button primary" href=${open}>Open the samples</a><a class="button" href="#/readiness">Readiness</a><a class="button" href="#/export">Export</a><${Button} kind="quiet" onClick=${forget}>Import other files<//>`}</div>`}
    </div></section>`;
}

/** @param {{ task: T.Import, total: number, onMended: () => void }} props */
function AllProblems({ task, total, onMended }) {
  const [wanted, setWanted] = useState(20);
  const { value, error, again } = useLoaded(() => api.importProblems(task.key, { limit: wanted }), [task.key, wanted]);
  if (error) return html`<${Failure} error=${error} again=${again} />`;
  if (!value) return html`<${Loading} lines=${2} />`;
  return html`<div class="stack"><h3>${plural(total, "bad record")}</h3><${Problems} problems=${value.items} upload=${task.upload} onMended=${onMended} />
    ${value.next && wanted < 500 && html`<div><${Button} small onClick=${() => setWanted(Math.min(500, wanted + 60))}>Show more<//></div>`}</div>`;
}

/** @param {{ task: T.Import, total: number }} props */
function Twins({ task, total }) {
  const { value } = useLoaded(() => api.importDuplicates(task.key, { limit: 50 }), [task.key]);
  if (!value) return null;
  return html`<details class="params"><summary><${Icon} name="chevron" size=${13} />${plural(total, "record")} left out as duplicates</summary><ul class="small stack tight" style=${{ marginTop: "8px" }}>
    ${value.items.map((/** @type {any} */ each, /** @type {number} */ at) => html`<li key=${at}><bdi>${each.file}</bdi>, line ${each.line}: like <bdi>${each.of}</bdi> (${each.similarity})</li>`)}</ul></details>`;
}

/** Bad records with their lines. Only an uploaded copy is mended here. @param {{ problems: T.Problem[], upload: string | null, onMended: () => void }} props */
export function Problems({ problems, upload, onMended }) {
  return html`<ul class="problems" aria-label="Bad records">${problems.map((each) => html`<${ProblemRow} key=${`${each.file} ${each.line}`} problem=${each} upload=${upload} onMended=${onMended} />`)}</ul>`;
}

/** @param {{ problem: T.Problem, upload: string | null, onMended: () => void }} props */
function ProblemRow({ problem, upload, onMended }) {
  const [open, setOpen] = useState(false), [done, setDone] = useState(false);
  return html`<li class=${done ? "done" : ""}><div class="row top"><span class="mark ${done ? "good" : "warn"}">line ${problem.line}</span>
      <span class="grow"><bdi class="small muted">${problem.file}</bdi><br /><bdi>${problem.reason.replace(/\. Nothing was imported; .*$/, "")}</bdi></span>
      ${done ? html`<span class="mark good"><${Icon} name="check" size=${11} />mended</span>` : upload && problem.line !== null && /^[^:]*\.(jsonl|ndjson|json|csv|tsv|txt)$/.test(problem.file) && html`<${Button} small icon="edit" expanded=${open} onClick=${() => setOpen(!open)}>Mend<//>`}</div>
    ${open && !done && html`<${MendLine} problem=${problem} upload=${String(upload)} onMended=${() => { setDone(true); setOpen(false); onMended(); }} />`}</li>`;
}

/** @param {{ problem: T.Problem, upload: string, onMended: () => void }} props */
function MendLine({ problem, upload, onMended }) {
  const line = useLoaded(() => api.lines(upload, { file: problem.file, first: problem.line }), [upload, problem.file, problem.line]);
  const [text, setText] = useState(/** @type {string | null} */ (null));
  const [busy, setBusy] = useState(false);
  const found = line.value?.items[0];
  if (line.error) return html`<${Failure} error=${line.error} />`;
  if (!found) return html`<${Loading} lines=${1} />`;
  if (!found.whole) return html`<p class="small muted">The line is too long to be shown; mend the file in an editor, and choose it again.</p>`;
  const save = async () => {
    setBusy(true);
    try {
      await api.mendLines(upload, { file: problem.file, first: problem.line, text: text ?? found.text });
      say(`Line ${problem.line} is mended in the uploaded copy`);
      onMended();
    } catch (error) {
      sayError(error);
    }
    setBusy(false);
  };
  return html`<div class="stack tight" onKeyDown=${(/** @type {any} */ event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); event.stopPropagation(); save(); } }}>
    <${TextArea} class="textarea mono" aria-label=${`Line ${problem.line} of ${problem.file}`} spellcheck="false" autofocus rows=${2} value=${text ?? found.text} onInput=${setText} />
    <div class="row"><${Button} small kind="primary" icon="save" keys="Ctrl+Enter" busy=${busy} why=${text === null || text === found.text ? "Change the line first" : null} onClick=${save}>Save line<//>
      <span class="tiny muted">Your own file stays as it is. An empty line removes the record.</span></div></div>`;
}
