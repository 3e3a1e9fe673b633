/** The one place that speaks to the server. Every function is a route of docs/api.md. */

/** @import * as T from "./types.js" */

/** An error that the server named; `message` is for people. */
export class ApiError extends Error {
  /** @param {number} status @param {{ message?: string, type?: string, param?: string | null, code?: string | null }} error */
  constructor(status, error) {
    super(error.message || `the server answered ${status}`);
    this.status = status;
    this.param = error.param ?? null;
    this.code = error.code ?? null;
  }
}

let token = "";

/** @param {string} value */
export function useToken(value) {
  token = value;
}

export const hasToken = () => token !== "";

/** @param {Record<string, any>} query */
function search(query) {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined || value === null || value === "") continue;
    found.set(name, typeof value === "object" ? JSON.stringify(value) : String(value));
  }
  const text = found.toString();
  return text ? `?${text}` : "";
}

/**
 * @param {string} method @param {string} path @param {any} [body] @param {AbortSignal} [signal]
 * @returns {Promise<Response>}
 */
async function ask(method, path, body, signal) {
  const headers = /** @type {Record<string, string>} */ ({ Authorization: `Bearer ${token}` });
  const file = body instanceof Blob;
  if (body !== undefined) headers["Content-Type"] = file ? "application/octet-stream" : "application/json";
  try {
    return await fetch(path, { method, headers, body: body === undefined || file ? body : JSON.stringify(body), signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, { message: "The server does not answer. Is `ramify studio` still running?", code: "unreachable" });
  }
}

/** The same, where only an answer that is no refusal will do. @param {string} method @param {string} path */
async function asked(method, path) {
  const response = await ask(method, path);
  if (!response.ok) throw new ApiError(response.status, (await response.json().catch(() => ({}))).error ?? {});
  return response;
}

/** @param {string} method @param {string} path @param {any} [body] @param {AbortSignal} [signal] @returns {Promise<any>} */
async function call(method, path, body, signal) {
  const response = await ask(method, path, body, signal);
  if (response.status === 204) return null;
  const text = await response.text();
  let data = /** @type {any} */ (null);
  try {
    data = text ? JSON.parse(text) : null;
  } catch {
    throw new ApiError(response.status, { message: `the server sent what is not JSON (${response.status})` });
  }
  if (!response.ok) throw new ApiError(response.status, data?.error ?? { message: data?.detail });
  return data;
}

const get = (path, query = {}, signal) => call("GET", path + search(query), undefined, signal);
/** @param {string} path @param {any} [body] @param {AbortSignal} [signal] */
const post = (path, body = {}, signal) => call("POST", path, body, signal);
const put = (path, body) => call("PUT", path, body);
const patch = (path, body) => call("PATCH", path, body);
const remove = (path) => call("DELETE", path);

/** @param {string} path @param {File} file */
async function upload(path, file) {
  const form = new FormData();
  form.set("purpose", "batch");
  form.set("file", file);
  const response = await fetch(path, { method: "POST", headers: { Authorization: `Bearer ${token}` }, body: form });
  const data = await response.json().catch(() => null);
  if (!response.ok) throw new ApiError(response.status, data?.error ?? {});
  return data;
}

/** A file of the server's, whole. @param {string} path @returns {Promise<Blob>} */
async function blob(path) {
  const response = await ask("GET", path);
  if (!response.ok) throw new ApiError(response.status, (await response.json().catch(() => null))?.error ?? {});
  return response.blob();
}

export const api = {
  // Library.
  workspace: () => get("/api/workspace"),
  sampleIds: (query) => get("/api/samples/ids", query),
  samples: (query, signal) => get("/api/samples", query, signal),
  countSamples: (query, signal) => get("/api/samples/count", query, signal),
  addSample: (body) => post("/api/samples", body),
  /** @returns {Promise<T.Sample>} */
  sample: (id) => get(`/api/samples/${id}`),
  changeSample: (id, body) => patch(`/api/samples/${id}`, body),
  setPrompt: (id, body) => put(`/api/samples/${id}/prompt`, body),
  revisions: (id) => get(`/api/samples/${id}/revisions`),
  bulkSamples: (body) => post("/api/samples/bulk", body),
  bulkCompletions: (body) => post("/api/completions/bulk", body),
  groups: () => get("/api/groups"),
  counts: () => get("/api/counts"),
  search: (text, limit, signal) => get("/api/search", { text, limit }, signal),
  filters: () => get("/api/filters"),
  saveFilter: (body) => put("/api/filters", body),
  deleteFilter: (id) => remove(`/api/filters/${id}`),
  filterFields: () => get("/api/filters/fields"),
  tags: () => get("/api/tags"),

  // Completions.
  /** @returns {Promise<{items: T.Completion[]}>} */
  completions: (sample, query = {}) => get(`/api/samples/${sample}/completions`, query),
  write: (sample, body) => post(`/api/samples/${sample}/completions`, body),
  /** @returns {Promise<T.Completion>} */
  completion: (id) => get(`/api/completions/${id}`),
  changeCompletion: (id, body) => patch(`/api/completions/${id}`, body),
  edit: (id, body) => post(`/api/completions/${id}/edit`, body),
  /** @returns {Promise<T.Tokens>} */
  tokens: (id, query = {}) => get(`/api/completions/${id}/tokens`, query),
  /** @returns {Promise<T.Candidates>} */
  next: (id, query, signal) => get(`/api/completions/${id}/next`, query, signal),
  /** @returns {Promise<T.Quality>} */
  quality: (id, body) => post(`/api/completions/${id}/quality`, body),
  /** @returns {Promise<T.QualityFacts>} */
  qualityFacts: () => get("/api/quality"),
  /** @returns {Promise<T.Tokens>} */
  score: (id, body) => post(`/api/completions/${id}/score`, body),
  deleteCompletion: (id) => remove(`/api/completions/${id}`),

  // Jobs.
  jobs: (query = {}) => get("/api/jobs", query),
  jobsAllowed: () => get("/api/jobs/allowed"),
  addJob: (body) => post("/api/jobs", body),
  jobRows: (key, query) => get(`/api/jobs/${encodeURIComponent(key)}/rows`, query),
  cancelJob: (key) => post(`/api/jobs/${encodeURIComponent(key)}/cancel`),
  retryJob: (key) => post(`/api/jobs/${encodeURIComponent(key)}/retry`),
  deleteJob: (key) => remove(`/api/jobs/${encodeURIComponent(key)}`),
  addFile: (file) => upload("/v1/files", file),
  /** The content of a file, to be saved. */
  fileContent: (key) => blob(`/v1/files/${encodeURIComponent(key)}/content`),

  // Drafts.
  draft: (sample, body) => post(`/api/samples/${sample}/drafts`, body),
  continue_: (id, body) => post(`/api/completions/${id}/continue`, body),
  branch: (id, body) => post(`/api/completions/${id}/branch`, body),
  cancelDraft: (id) => post(`/api/drafts/${id}/cancel`),
  saveDraft: (id) => post(`/api/drafts/${id}/save`),
  discardDraft: (id) => remove(`/api/drafts/${id}`),
  /** @param {string} after @param {AbortSignal} signal */
  draftEvents: (after, signal) => ask("GET", `/api/drafts/events${search({ after })}`, undefined, signal),

  // Token by token.
  startSession: (sample, body) => post(`/api/samples/${sample}/sessions`, body),
  branchSession: (completion, body) => post(`/api/completions/${completion}/sessions`, body),
  /** @returns {Promise<T.Session>} */
  session: (key, k) => get(`/api/sessions/${key}`, { k }),
  sessionCandidates: (key, query) => get(`/api/sessions/${key}/candidates`, query),
  /** @returns {Promise<T.Session>} */
  sessionStep: (key, step, body) => post(`/api/sessions/${key}/${step}`, body),
  saveSession: (key) => post(`/api/sessions/${key}/save`),

  // Beam trees.
  trees: (sample) => get(`/api/samples/${sample}/trees`),
  startTree: (sample, body) => post(`/api/samples/${sample}/trees`, body),
  treeOf: (completion, body) => post(`/api/completions/${completion}/tree`, body),
  /** @returns {Promise<T.Tree>} */
  tree: (id) => get(`/api/trees/${id}`),
  deleteTree: (id) => remove(`/api/trees/${id}`),
  /** @returns {Promise<T.Nodes>} */
  nodes: (id, query = {}) => get(`/api/trees/${id}/nodes`, query),
  node: (id, node) => get(`/api/trees/${id}/nodes/${node}`),
  /** @returns {Promise<T.Candidates>} */
  nodeNext: (id, node, query = {}) => get(`/api/trees/${id}/nodes/${node}/next`, query),
  replay: (id, node) => get(`/api/trees/${id}/nodes/${node}/replay`),
  leaves: (id, query) => get(`/api/trees/${id}/leaves`, query),
  /** What changes or ranks a tree: beam-out, continue, search, rerank, under, unlikely, mark, keep, prune, resume, save. */
  treeStep: (id, step, body) => post(`/api/trees/${id}/${step}`, body),

  // Block by block.
  startBlocks: (sample, body) => post(`/api/samples/${sample}/blocks`, body),
  /** @returns {Promise<T.Blocks>} */
  blocks: (key) => get(`/api/blocks/${key}`),
  blocksStep: (key, step, body) => post(`/api/blocks/${key}/${step}`, body),

  // Judging.
  /** @returns {Promise<{items: T.Facet[]}>} */
  facets: () => get("/api/facets"),
  addFacet: (body) => post("/api/facets", body),
  changeFacet: (id, body) => patch(`/api/facets/${id}`, body),
  deleteFacet: (id) => remove(`/api/facets/${id}`),
  report: (id, query = {}) => get(`/api/facets/${id}/report`, query),
  rate: (id, body) => put(`/api/completions/${id}/rating`, body),
  approve: (id, body) => put(`/api/completions/${id}/approval`, body),
  preferences: (query) => get("/api/preferences", query),
  prefer: (body) => post("/api/preferences", body),
  withdraw: (id) => remove(`/api/preferences/${id}`),
  ranking: (sample, facet) => get(`/api/samples/${sample}/ranking`, { facet }),
  duel: (query) => get("/api/duel", query),
  unanswered: (query) => get("/api/unanswered", query),
  answer: (id, body) => post(`/api/unanswered/${id}/answer`, body),
  dismiss: (id) => post(`/api/unanswered/${id}/dismiss`),

  // The decoding lab.
  labPlans: () => get("/api/lab/plans"),
  labStart: (body) => post("/api/lab/runs", body),
  /** @returns {Promise<{items: T.LabRun[], next: string | null}>} */
  labRuns: (query = {}) => get("/api/lab/runs", query),
  /** @returns {Promise<T.LabReport>} */
  lab: (id) => get(`/api/lab/runs/${id}`),
  /** @param {number} id @param {AbortSignal} signal */
  labEvents: (id, signal) => ask("GET", `/api/lab/runs/${id}/events`, undefined, signal),
  labCancel: (id) => post(`/api/lab/runs/${id}/cancel`),
  labDelete: (id) => remove(`/api/lab/runs/${id}`),
  /** The report as a file. @param {number} id @param {"html" | "markdown"} form */
  labFile: async (id, form) => (await asked("GET", `/api/lab/runs/${id}/page${search({ form })}`)).blob(),
  /** @returns {Promise<T.LabTokens>} */
  labTokens: (id, place, number) => get(`/api/lab/runs/${id}/texts/${place}/${number}`),
  labWhy: (id, place, number, query) => get(`/api/lab/runs/${id}/texts/${place}/${number}/why`, query),
  labKeep: (id, place, number) => post(`/api/lab/runs/${id}/texts/${place}/${number}/keep`),
  /** @returns {Promise<T.LabPair | null>} */
  labPair: (id, query) => get(`/api/lab/runs/${id}/pair`, query),
  labVote: (id, body) => post(`/api/lab/runs/${id}/votes`, body),
  /** @returns {Promise<{items: T.LabComparison[]}>} */
  labComparison: (id, query) => get(`/api/lab/runs/${id}/comparison`, query),
  // Files in, training sets out, reports.
  importFormats: () => get("/api/imports/formats"),
  /** @param {File} file @param {string | null} into @returns {Promise<T.Upload>} */
  upload: (file, into) => post(`/api/uploads${search({ name: file.name, into })}`, file),
  /** @returns {Promise<T.Upload>} */
  uploaded: (key) => get(`/api/uploads/${key}`),
  dropUpload: (key) => remove(`/api/uploads/${key}`),
  lines: (key, query) => get(`/api/uploads/${key}/lines`, query),
  mendLines: (key, body) => put(`/api/uploads/${key}/lines`, body),
  /** @returns {Promise<T.Look>} */
  look: (body) => post("/api/imports/look", body),
  /** @returns {Promise<T.Import>} */
  startImport: (body) => post("/api/imports", body),
  /** @returns {Promise<T.Import>} */
  getImport: (key) => get(`/api/imports/${key}`),
  importProblems: (key, query) => get(`/api/imports/${key}/problems`, query),
  importDuplicates: (key, query) => get(`/api/imports/${key}/duplicates`, query),
  exportForms: () => get("/api/exports/forms"),
  templates: () => get("/api/exports/templates"),
  saveTemplate: (body) => put("/api/exports/templates", body),
  deleteTemplate: (name) => remove(`/api/exports/templates${search({ name })}`),
  /** @param {any} body @param {AbortSignal} [signal] @returns {Promise<T.Export>} */
  startExport: (body, signal) => post("/api/exports", body, signal),
  /** @returns {Promise<T.Export>} */
  getExport: (key) => get(`/api/exports/${key}`),
  downloadExport: (key) => blob(`/api/exports/${key}/download`),
  downloadExportFile: (key, number) => blob(`/api/exports/${key}/files/${number}`),
  /** @returns {Promise<T.ReadinessTask>} */
  startReadiness: (body) => post("/api/readiness", body),
  /** @returns {Promise<T.ReadinessTask>} */
  getReadiness: (key) => get(`/api/readiness/${key}`),
  readinessPage: (key, form) => blob(`/api/readiness/${key}/page${search({ form })}`),
  startDuplicates: (body) => post("/api/duplicates", body),
  getDuplicates: (key) => get(`/api/duplicates/${key}`),
  clusters: (key, query) => get(`/api/duplicates/${key}/clusters`, query),
  /** @param {string} task @param {AbortSignal} signal */
  taskEvents: (task, signal) => ask("GET", `/api/tasks/events${search({ task })}`, undefined, signal),
  cancelTask: (key) => post(`/api/tasks/${key}/cancel`),

  // Training.
  /** @returns {Promise<{methods: T.TrainingMethod[]}>} */
  trainingSettings: () => get("/api/training/settings"),
  /** @param {any} body @param {AbortSignal} [signal] @returns {Promise<T.TrainingCheck>} */
  trainingCheck: (body, signal) => post("/api/training/checks", { ...body, wait: true }, signal),
  /** @returns {Promise<{items: T.TrainingRow[], next: string | null}>} */
  trainingRows: (key, query) => get(`/api/training/checks/${key}/rows`, query),
  /** @returns {Promise<{items: T.TrainingHead[], next: string | null}>} */
  trainings: (query = {}) => get("/api/training/runs", query),
  /** @returns {Promise<{presets: {name: string, shape: Record<string, number>}[], endings: string[]}>} */
  scratchSettings: () => get("/api/training/scratch"),
  /** @param {any} body @returns {Promise<T.TrainingHead>} */
  startScratch: (body) => post("/api/training/scratch", body),
  /** @returns {Promise<T.TrainingHead>} */
  startTraining: (body) => post("/api/training/runs", body),
  /** @returns {Promise<T.TrainingRun>} */
  training: (key) => get(`/api/training/runs/${encodeURIComponent(key)}`),
  /** @param {string} key @param {AbortSignal} signal */
  trainingEvents: (key, signal) => ask("GET", `/api/training/runs/${encodeURIComponent(key)}/events`, undefined, signal),
  cancelTraining: (key) => post(`/api/training/runs/${encodeURIComponent(key)}/cancel`),
  resumeTraining: (key) => post(`/api/training/runs/${encodeURIComponent(key)}/resume`),
  deleteTraining: (key) => remove(`/api/training/runs/${encodeURIComponent(key)}`),
  /** @returns {Promise<T.Task>} */
  measureTraining: (key) => post(`/api/training/runs/${encodeURIComponent(key)}/report`),
  /** @returns {Promise<T.BeforeAfter>} */
  trainingReport: (key) => get(`/api/training/runs/${encodeURIComponent(key)}/report`),
  /** @returns {Promise<{items: T.Change[], next: string | null}>} */
  trainingChanges: (key, query) => get(`/api/training/runs/${encodeURIComponent(key)}/report/completions`, query),
  trainingPage: (key, form) => blob(`/api/training/runs/${encodeURIComponent(key)}/report/page${search({ form })}`),
  getTask: (key) => get(`/api/tasks/${key}`),
  /** A completion that nobody keeps, as it is made. @param {T.Prompt} prompt @param {any} body @param {AbortSignal} signal */
  try_: (prompt, body, signal) => ask("POST", typeof prompt === "string" ? "/v1/completions" : "/v1/chat/completions", { ...(typeof prompt === "string" ? { prompt } : { messages: prompt }), ...body, stream: true }, signal),

  // History, models, settings.
  history: (query) => get("/api/history", query),
  changesOf: (id) => get(`/api/history/${id}/changes`),
  undo: (body = {}) => post("/api/undo", body),
  redo: (body = {}) => post("/api/redo", body),
  /** @returns {Promise<{items: T.Model[]}>} */
  models: () => get("/api/models"),
  config: () => get("/api/config"),
  checkConfig: (body) => post("/api/config/check", body),
  settings: () => get("/api/settings"),
  changeSettings: (body) => patch("/api/settings", body),
};
