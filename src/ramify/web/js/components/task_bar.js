/** How far a task is: a bar, what it is at, and a way to end it. */

import { api } from "../api.js";
import { shareDone, size } from "../domain/exchange.js";
import { count } from "../domain/text.js";
import { html } from "../preact.js";
import { sayError } from "../state.js";
import { Button } from "./controls.js";

/** @param {{ task: import("../types.js").Task, label: string }} props */
export function TaskBar({ task, label }) {
  const share = shareDone(task), bytes = task.kind === "import";
  const shown = (/** @type {number} */ n) => (bytes ? size(n) : count(n));
  return html`<div class="stack tight taskbar"><div class="row"><span class="spinner"></span><strong class="small">${label}</strong>
      <span class="small muted number">${task.doing}${task.total ? ` · ${shown(task.done)} of ${shown(task.total)}` : ""}</span><span class="push"></span>
      <${Button} small icon="stop" keys="Escape" onClick=${() => api.cancelTask(task.key).catch(sayError)}>Cancel<//></div>
    <div class="share" role="progressbar" aria-label=${label} aria-valuemin="0" aria-valuemax="100" aria-valuenow=${share === null ? undefined : Math.round(share * 100)}><i style=${{ width: `${(share ?? 0) * 100}%` }}></i></div></div>`;
}
