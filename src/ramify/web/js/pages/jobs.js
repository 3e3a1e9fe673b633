/** Batch jobs: many prompts through one model, worked at by the server; start, watch, end, try again, read what went wrong. */

import { api } from "../api.js";
import { Button } from "../components/controls.js";
import { confirm } from "../components/overlays.js";
import { Empty, Failure, Loading, useLoaded } from "../components/states.js";
import { ago, count, duration, plural } from "../domain/text.js";
import { keepFile } from "../keep_file.js";
import { useKeys } from "../keyboard.js";
import { html, useEffect, useState } from "../preact.js";
import { act, sayError } from "../state.js";
import { NewJob } from "./job_new.js";

const WATCH_MS = 1000;
const ROWS = 50;

export function JobsPage() {
  const [making, setMaking] = useState(false);
  const [open, setOpen] = useState(/** @type {string | null} */ (null));
  const jobs = useLoaded(() => api.jobs({ limit: 100 }), []);
  const items = jobs.value?.items ?? [];
  const running = items.some((/** @type {any} */ job) => ["queued", "running"].includes(job.state));
  useEffect(() => {
    if (!running) return;
    const timer = setInterval(() => document.hidden || jobs.again(), WATCH_MS);
    return () => clearInterval(timer);
  }, [running]);
  useKeys("Jobs", [{ keys: "N", says: "new job", act: () => setMaking(true) }], []);
  const made = (/** @type {any} */ job) => {
    setMaking(false);
    setOpen(job.key);
    jobs.again();
  };
  return html`<div class="page-body"><div class="page-head"><div class="grow"><h1>Jobs</h1><p class="muted">Many prompts through one model. Every answer is kept as it is made: a job that is interrupted goes on where it was.</p></div>
      <${Button} kind="primary" icon="plus" keys="N" onClick=${() => setMaking(true)}>New job<//></div>
    ${making && html`<${NewJob} onMade=${made} onClose=${() => setMaking(false)} />`}
    ${jobs.error && !items.length ? html`<${Failure} error=${jobs.error} again=${jobs.again} />` : !jobs.value ? html`<${Loading} />`
      : !items.length ? !making && html`<${Empty} title="No job was started yet" action=${html`<${Button} kind="primary" icon="plus" onClick=${() => setMaking(true)}>New job<//>`}>Paste prompts, or give a file with a column <code>prompt</code>.<//>`
      : html`<ul class="jobs">${items.map((/** @type {any} */ job) => html`<${Job} key=${job.key} job=${job} open=${open === job.key} onOpen=${() => setOpen(open === job.key ? null : job.key)} again=${jobs.again} />`)}</ul>`}</div>`;
}

const MARKS = { completed: "good", failed: "truncated", cancelled: "warn", queued: "", running: "info" };

/** @param {{ job: any, open: boolean, onOpen: () => void, again: () => void }} props */
function Job({ job, open, onOpen, again }) {
  const over = ["completed", "failed", "cancelled"].includes(job.state);
  const finished = job.done + job.failed;
  const cancel = async () => {
    if (await confirm({ title: "End this job?", text: "What is done is kept, and can be downloaded. The rest can be done later with Retry.", button: "End it", danger: true })) {
      await act(() => api.cancelJob(job.key), "The job ends");
      again();
    }
  };
  const retry = async () => {
    await act(() => api.retryJob(job.key), "The job goes on");
    again();
  };
  const forget = async () => {
    if (await confirm({ title: "Forget this job?", text: "Its rows and answers leave the workspace. A file that was downloaded stays.", button: "Forget", danger: true })) {
      await act(() => api.deleteJob(job.key), "Forgotten");
      again();
    }
  };
  const save = () => api.fileContent(job.output_file).then((content) => keepFile(content, job.output.includes("/") ? `${job.key}.jsonl` : job.output), sayError);
  return html`<li class="card job" aria-label=${`Job ${job.key}`}><div class="body stack">
    <div class="row"><span class=${`mark ${MARKS[job.state]}`}>${job.cancelling && !over ? "ending…" : job.state}</span><strong class="clip grow"><bdi>${job.model}</bdi></strong>
      ${Object.entries(job.labels).map(([name, value]) => html`<span class="mark" key=${name}><bdi>${name}: ${value}</bdi></span>`)}<span class="faint tiny">${ago(job.created_at)}</span></div>
    <progress max=${job.rows ?? 1} value=${job.rows === null ? undefined : finished} aria-label="Rows done"></progress>
    <div class="row small muted"><span>${job.rows === null ? "reading the input…" : `${count(finished)} of ${plural(job.rows, "row")}`}</span>
      ${job.failed > 0 && html`<span class="wrong">${count(job.failed)} failed</span>`}
      ${job.rows_per_s !== null && html`<span>${job.rows_per_s.toFixed(1)} rows/s</span>`}
      ${job.left_s !== null && html`<span>about ${duration(job.left_s)} left</span>`}
      ${job.completion_tokens > 0 && html`<span>${count(job.prompt_tokens)} + ${count(job.completion_tokens)} tokens</span>`}
      ${job.spend !== null && html`<span>spent ${job.spend}</span>`}
      ${job.workers && html`<span title=${job.workers.why}>${job.workers.used === 1 ? "1 process" : `${job.workers.used} processes`}${job.workers.asked !== job.workers.used ? ` of ${job.workers.asked}: ${job.workers.why}` : ""}</span>`}</div>
    ${job.error && html`<p class="wrong" role="alert">${job.error}</p>`}${job.idle && html`<p class="muted small">${job.idle}</p>`}
    <div class="row">${!over && html`<${Button} small icon="stop" onClick=${cancel}>End<//>`}
      ${over && (job.failed > 0 || finished < (job.rows ?? Infinity)) && html`<${Button} small icon="redo" onClick=${retry}>Retry<//>`}
      ${job.output_file && html`<${Button} small icon="save" onClick=${save}>Download<//>`}${over && !job.output_file && html`<span class="small muted clip">Answers are written to <bdi>${job.output}</bdi></span>`}
      <${Button} small kind="quiet" icon=${open ? "down" : "chevron"} expanded=${open} onClick=${onOpen}>Rows<//>
      ${over && html`<${Button} small kind="quiet" icon="trash" label="Forget" onClick=${forget} />`}</div>
    ${open && html`<${Rows} job=${job} />`}</div></li>`;
}

/** @param {{ job: any }} props */
function Rows({ job }) {
  const [failed, setFailed] = useState(job.failed > 0);
  const [pages, setPages] = useState(1);
  const rows = useLoaded(() => api.jobRows(job.key, { state: failed ? "failed" : undefined, limit: Math.min(500, ROWS * pages) }), [failed, pages, job.done, job.failed, job.state]);
  const items = rows.value?.items ?? [];
  return html`<section class="stack" aria-label="Rows"><div class="row"><label class="check"><input type="checkbox" checked=${failed} onChange=${(/** @type {any} */ event) => setFailed(event.currentTarget.checked)} />Only those that failed</label></div>
    ${rows.error ? html`<${Failure} error=${rows.error} again=${rows.again} />` : !rows.value ? html`<${Loading} lines=${2} />` : !items.length ? html`<p class="muted small">${failed ? "None failed." : "There are no rows yet."}</p>`
      : html`<ol class="job-rows">${items.map((/** @type {any} */ row) => html`<li key=${row.number}><span class="faint tiny number">${row.number + 1}</span><div class="stack tight"><bdi class="asked">${asked(row.request)}</bdi>
          ${row.error ? html`<span class="wrong">${row.error}</span>` : row.result ? html`<bdi class="answer">${answer(row.result)}</bdi>` : html`<span class="faint">${row.state}</span>`}</div></li>`)}</ol>
        ${items.length === ROWS * pages && pages < 10 && html`<div class="row"><${Button} small onClick=${() => setPages(pages + 1)}>More<//></div>`}`}</section>`;
}

/** What a row asked, in a line. @param {string} request */
function asked(request) {
  try {
    const found = JSON.parse(request);
    const body = found.body ?? found;
    const said = typeof body === "string" ? body : body.prompt ?? body.text ?? body.messages?.at(-1)?.content ?? body;
    return typeof said === "string" ? said : JSON.stringify(said);
  } catch {
    return request || "(a record that could not be read)";
  }
}

/** What was answered. @param {string} result */
function answer(result) {
  const found = JSON.parse(result);
  const body = found.response?.body ?? found;
  return body.text ?? body.output?.text ?? body.choices?.[0]?.text ?? body.choices?.[0]?.message?.content ?? result;
}
