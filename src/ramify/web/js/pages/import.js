/** Import: files, what they are, how they come in, and what became of it. What was chosen survives a reload; a password does not. */

import { api } from "../api.js";
import { Button } from "../components/controls.js";
import { Icon } from "../components/icon.js";
import { Failure, useLoaded } from "../components/states.js";
import { TaskBar } from "../components/task_bar.js";
import { mappingOf, names, number, size } from "../domain/exchange.js";
import { plural } from "../domain/text.js";
import { useKeys } from "../keyboard.js";
import { html, useEffect, useRef, useState } from "../preact.js";
import { changed, loadShared, remembered, say, sayError, undo } from "../state.js";
import { useTask } from "../tasks.js";
import { ExchangeHead } from "./exchange_tabs.js";
import { ImportLook } from "./import_look.js";
import { ImportOptions } from "./import_options.js";
import { ImportReport } from "./import_report.js";

/** @import * as T from "../types.js" */

const BEGIN = {
  upload: /** @type {T.Upload | null} */ (null), path: "", paths: /** @type {string[]} */ ([]), format: "", columns: /** @type {Record<string, string> | null} */ (null),
  facet: "", group: "", tags: "", model: "", duplicates: "exact", near: 0.85, good_rating: 8, bad_rating: 2, unrated: false, skip_bad: false, limit: "",
  only: /** @type {string[]} */ ([]), filter: "", metric: "", datasets: "", task: /** @type {string | null} */ (null),
};
const kept = remembered("import", BEGIN);

/** Which files, and how they are read: what a look needs. @param {typeof BEGIN} it @param {string} password */
function given(it, password) {
  return {
    ...(it.upload ? { upload: it.upload.key } : { paths: it.paths }), ...(it.columns ? { mapping: mappingOf(it.columns) } : it.format ? { format: it.format } : {}),
    ...(it.only.length ? { only: it.only } : {}), ...(it.filter ? { filter: it.filter } : {}), ...(it.metric ? { metric: it.metric } : {}),
    ...(it.datasets.trim() ? { datasets: names(it.datasets) } : {}), ...(password ? { password } : {}),
  };
}

export function ImportPage() {
  const it = { ...BEGIN, ...kept.value };
  const set = (/** @type {Partial<typeof BEGIN>} */ change) => (kept.value = { ...BEGIN, ...kept.value, ...change });
  const [password, setPassword] = useState("");
  const [uploading, setUploading] = useState("");
  const [mended, setMended] = useState(0);
  const known = useLoaded(() => api.importFormats(), []).value;
  const chosen = Boolean(it.upload?.files.length || it.paths.length);
  const asked = chosen ? JSON.stringify(given(it, password)) : "";
  const look = useLoaded(() => (asked ? api.look(JSON.parse(asked)) : Promise.resolve(null)), [asked, mended]);
  const task = useTask(it.task, api.getImport, (ended) => {
    if (ended.state === "done" && !ended.dry_run) {
      changed.value += 1;
      loadShared().catch(sayError);
      say(`Imported: ${plural(ended.report?.samples_added ?? 0, "new sample")}`, { action: "Undo", act: undo });
    }
  });
  useEffect(() => {
    // An upload that is gone (the server began anew) is forgotten, and said.
    if (it.upload) api.uploaded(it.upload.key).then((upload) => set({ upload }), () => { set({ upload: null, task: null }); say("The uploaded files are gone; choose them again"); });
  }, []);
  const running = task?.state === "running";

  const take = async (/** @type {FileList | File[]} */ files) => {
    for (const file of files) {
      setUploading(file.name);
      try {
        const upload = await api.upload(file, kept.value.upload?.key ?? null);
        set({ upload, paths: [], task: null, columns: null, format: "" });
      } catch (error) {
        sayError(error);
      }
    }
    setUploading("");
  };
  const addPath = () => it.path.trim() && set({ paths: [...it.paths, it.path.trim()], path: "", upload: null, task: null, columns: null, format: "" });
  const forget = () => {
    if (it.upload) api.dropUpload(it.upload.key).catch(() => {});
    kept.value = BEGIN;
  };
  const start = async (/** @type {any} */ more) => {
    try {
      const body = {
        ...given(it, password), duplicates: it.duplicates, near: Number(it.near), good_rating: Number(it.good_rating), bad_rating: Number(it.bad_rating),
        unrated: it.unrated, skip_bad: it.skip_bad, tags: names(it.tags), facet: it.facet.trim() || null, group: it.group.trim() || null, model: it.model.trim() || null,
        limit: number(it.limit), ...more,
      };
      set({ task: (await api.startImport(body)).key });
    } catch (error) {
      sayError(error);
    }
  };
  const why = !chosen ? "Choose a file first" : running ? "It is being imported" : look.value?.why && !look.value.files.length ? "Say what the columns are first" : null;
  const trial = () => start({ dry_run: true, skip_bad: true });
  const bring = (/** @type {any} */ more = {}) => start(more);
  const picker = useRef(/** @type {HTMLInputElement | null} */ (null));
  useKeys("Import", [
    { keys: "O", says: "choose files", act: () => picker.current?.click() },
    { keys: "T", says: "try it first", act: () => (why ? say(why) : trial()) },
    { keys: "Ctrl+Enter", says: "import", act: () => (why ? say(why) : bring()) },
    { keys: "Escape", says: "cancel the import", act: () => { if (running && task) api.cancelTask(task.key).catch(sayError); } },
  ], [why, running, task?.key, asked, it]);

  return html`<div class="page-body exchange"><${ExchangeHead} page="import" says="Bring data sets, benchmarks and logged runs in. Nothing is added twice, and one undo takes an import back.">
      ${chosen && html`<${Button} icon="close" onClick=${forget}>Other files<//>`}<//>
    <div class="stack loose">
      <${Files} it=${it} set=${set} take=${take} uploading=${uploading} addPath=${addPath} known=${known} picker=${picker} />
      ${look.error ? html`<${Failure} error=${look.error} again=${look.again} />` : chosen && look.value && html`<${ImportLook} look=${look.value} loading=${look.loading} it=${it} set=${set} known=${known} onMended=${() => setMended((n) => n + 1)} />`}
      ${chosen && html`<${ImportOptions} it=${it} set=${set} look=${look.value} password=${password} setPassword=${setPassword} failed=${Boolean(look.error)} />
        <div class="row wrap"><${Button} kind="primary" icon="check" keys="Ctrl+Enter" busy=${running && !task.dry_run} why=${why} onClick=${() => bring()}>Import<//>
          <${Button} icon="eye" keys="T" busy=${running && task.dry_run} why=${why} onClick=${trial}>Try first<//>
          <span class="small muted">A trial reads everything, writes nothing, and lists every bad record.</span></div>`}
      ${task && (running ? html`<section class="card" aria-label="Progress"><div class="body"><${TaskBar} task=${task} label=${task.dry_run ? "Trying" : "Importing"} /></div></section>`
        : html`<${ImportReport} key=${task.key} task=${task} it=${it} bring=${bring} trial=${trial} forget=${forget} onMended=${() => setMended((n) => n + 1)} />`)}
    </div></div>`;
}

/** @param {any} props */
function Files({ it, set, take, uploading, addPath, known, picker }) {
  const [over, setOver] = useState(false);
  const drop = (/** @type {DragEvent} */ event) => {
    event.preventDefault();
    setOver(false);
    if (event.dataTransfer?.files.length) take(event.dataTransfer.files);
  };
  const list = it.upload ? it.upload.files.map((/** @type {any} */ each) => ({ name: each.name, more: size(each.size_bytes) })) : it.paths.map((/** @type {string} */ name) => ({ name, more: "on the server" }));
  return html`<section class=${`card drop ${over ? "over" : ""}`} aria-label="Files" onDragOver=${(/** @type {DragEvent} */ event) => { event.preventDefault(); setOver(true); }} onDragLeave=${() => setOver(false)} onDrop=${drop}>
    <div class="body stack">
      <div class="row wrap"><${Icon} name="folder" size=${22} /><div class="grow"><strong>Drop files here</strong><p class="small muted">JSON Lines, JSON, CSV, Parquet, text; packed and encrypted ones too. What belongs together (results with samples, a dataset_info.json with its files) goes in together.</p></div>
        <label class="button primary file-button">${uploading ? html`<span class="spinner"></span>${uploading}` : html`<${Icon} name="plus" />Choose files<kbd>O</kbd>`}
          <input ref=${picker} type="file" multiple class="visually-hidden" aria-label="Choose files" onChange=${(/** @type {any} */ event) => { const files = [...event.currentTarget.files]; event.currentTarget.value = ""; take(files); }} /></label></div>
      ${list.length > 0 && html`<ul class="row wrap" aria-label="Chosen files">${list.map((/** @type {any} */ each) => html`<li class="mark info" key=${each.name}><bdi class="clip">${each.name}</bdi><span class="number">${each.more}</span></li>`)}</ul>`}
      <details class="params"><summary><${Icon} name="chevron" size=${13} />Or a file of the server, or a data set of the hub</summary>
        <div class="row" style=${{ marginTop: "8px" }}><input class="input" aria-label="Path or hf:NAME" value=${it.path} placeholder=${known?.folders.length ? `below ${known.folders.join(", ")}; or hf:NAME` : "hf:NAME; for paths start the studio with --files FOLDER"}
          onInput=${(/** @type {any} */ event) => set({ path: event.currentTarget.value })} onKeyDown=${(/** @type {any} */ event) => event.key === "Enter" && addPath()} /><${Button} onClick=${addPath}>Add<//></div></details>
    </div></section>`;
}
