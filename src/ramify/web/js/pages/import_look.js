/** What files are: their format, what their columns mean, and what the first records would become. */

import { Segments, Select } from "../components/controls.js";
import { Icon } from "../components/icon.js";
import { byColumn } from "../domain/exchange.js";
import { plural } from "../domain/text.js";
import { html, useEffect, useState } from "../preact.js";
import { Problems } from "./import_report.js";

/** @import { Look } from "../types.js" */

/** @param {{ look: Look, loading: boolean, it: any, set: (change: any) => void, known: any, onMended: () => void }} props */
export function ImportLook({ look, loading, it, set, known, onMended }) {
  const [view, setView] = useState(/** @type {"samples" | "file"} */ ("samples"));
  useEffect(() => {
    // What the names of the columns suggest is a beginning; it is shown, and can be changed.
    if (look.why && !it.columns && Object.keys(look.suggested).length) set({ columns: byColumn(look.suggested) });
  }, [look]);
  const formats = (known?.formats ?? []).map((/** @type {any} */ each) => ({ value: each.name, name: `${each.name}: ${each.what}` }));
  const choose = (/** @type {string} */ format) => set(format === "columns" ? { columns: byColumn(look.suggested), format: "" } : { columns: null, format });
  const found = [...new Set(look.files.map((each) => each.format))].join(", ");
  return html`<section class="card" aria-label="What it is"><div class="head"><h2>What it is</h2>${look.files.map((each) => html`<span class="mark good" key=${each.file}><${Icon} name="check" size=${11} /><bdi class="clip">${each.file}</bdi> ${each.format}</span>`)}${loading && html`<span class="spinner"></span>`}</div>
    <div class="body stack">
      <${Select} label="Format" value=${it.columns ? "columns" : it.format} onChange=${choose} options=${[{ value: "", name: found && !it.columns && !it.format ? `found out: ${found}` : "find out" }, { value: "columns", name: "columns: I say what they are" }, ...formats]} />
      ${look.why && !it.columns && html`<p class="notice warn" role="status"><${Icon} name="warn" /><span><bdi>${look.why}</bdi></span></p>`}
      ${(it.columns || look.why) && look.columns.length > 0 && html`<${Columns} look=${look} it=${it} set=${set} known=${known} />`}
      ${look.why && it.columns && html`<p class="small" role="alert" style=${{ color: "var(--danger-text)" }}><bdi>${look.why}</bdi></p>`}
      <div class="row wrap"><h3>The first records</h3><span class="grow"></span><${Segments} label="Show" value=${view} onChange=${setView} options=${[{ value: "samples", name: "As samples" }, { value: "file", name: "As in the file" }]} /></div>
      ${view === "samples" ? html`<${Entries} look=${look} />` : html`<${Rows} look=${look} />`}
      ${look.problems.length > 0 && html`<h3>${plural(look.problems.length, "bad record")} among them</h3><${Problems} problems=${look.problems} upload=${it.upload?.key ?? null} onMended=${onMended} />`}
    </div></section>`;
}

/** @param {{ look: Look, it: any, set: (change: any) => void, known: any }} props */
function Columns({ look, it, set, known }) {
  const columns = it.columns ?? {};
  const change = (/** @type {string} */ column, /** @type {string} */ field) => {
    // A field is one column's.
    const rest = Object.fromEntries(Object.entries(columns).filter(([name, of]) => name !== column && of !== field));
    set({ columns: field ? { ...rest, [column]: field } : rest });
  };
  return html`<div class="scroll-x" tabindex="0" role="group" aria-label="Columns"><table class="plain"><thead><tr><th>Column</th><th>Is</th><th>The first of it</th></tr></thead><tbody>
    ${look.columns.map((column) => html`<tr key=${column}><td><bdi class="mono">${column}</bdi></td>
      <td><select class="select" aria-label=${`What ${column} is`} value=${columns[column] ?? ""} onChange=${(/** @type {any} */ event) => change(column, event.currentTarget.value)}><option value="">left out</option>
        ${(known?.fields ?? []).map((/** @type {string} */ field) => html`<option key=${field} value=${field}>${FIELDS[field] ?? field}</option>`)}</select></td>
      <td class="clip cell"><bdi>${look.rows.find((row) => row.cells[column])?.cells[column] ?? ""}</bdi></td></tr>`)}</tbody></table></div>`;
}

const FIELDS = {
  prompt: "prompt, raw text", user: "prompt, a user's turn", input: "input, below the prompt", system: "system message", messages: "messages of a chat",
  completion: "completion", chosen: "the better completion", rejected: "the worse completion", label: "label: good or not", rating: "rating, 0 to 10", model: "model that wrote it",
};

/** @param {{ look: Look }} props */
function Entries({ look }) {
  if (!look.entries.length) return html`<p class="small muted">${look.why ? "They are shown when the format is known." : "None of the first records can be read."}</p>`;
  const better = (/** @type {any} */ entry, /** @type {number} */ at) => (entry.better.some(([a]) => a === at) ? "better" : entry.better.some(([, b]) => b === at) ? "worse" : "");
  return html`<div class="scroll-x" tabindex="0" role="group" aria-label="The first records as samples"><table class="plain preview"><thead><tr><th>Line</th><th>Prompt</th><th>Completions</th></tr></thead><tbody>
    ${look.entries.slice(0, 20).map((entry, at) => html`<tr key=${at}><td class="number faint">${entry.line}</td>
      <td><div class="cut"><bdi>${entry.prompt || "(empty)"}</bdi></div><span class="tiny faint">${entry.turns ? plural(entry.turns, "turn") : "raw text"}${entry.title ? html` · <bdi>${entry.title}</bdi>` : ""}</span></td>
      <td>${entry.answers.slice(0, 3).map((answer, i) => html`<div class="answer" key=${i}><div class="cut"><bdi>${answer.text}</bdi></div><span class="row wrap">${better(entry, i) && html`<span class=${`mark ${better(entry, i) === "better" ? "good" : ""}`}>${better(entry, i)}</span>`}
        ${answer.good !== null && html`<span class=${`mark ${answer.good ? "good" : ""}`}>${answer.good ? "good" : "bad"}</span>`}${answer.rating !== null && html`<span class="mark">rated ${answer.rating}</span>`}${answer.truncated && html`<span class="mark truncated">truncated</span>`}${answer.model && html`<span class="tiny faint"><bdi>${answer.model}</bdi></span>`}</span></div>`)}
        ${entry.answers.length > 3 && html`<span class="tiny muted">and ${entry.answers.length - 3} more</span>`}${!entry.answers.length && html`<span class="faint">none</span>`}</td></tr>`)}</tbody></table></div>`;
}

/** @param {{ look: Look }} props */
function Rows({ look }) {
  if (!look.rows.length) return html`<p class="small muted">There are no records to show.</p>`;
  const columns = look.columns.slice(0, 12);
  return html`<div class="scroll-x" tabindex="0" role="group" aria-label="The first records as in the file"><table class="plain preview"><thead><tr><th>Line</th>${columns.map((name) => html`<th key=${name}><bdi>${name}</bdi></th>`)}</tr></thead><tbody>
    ${look.rows.map((row, at) => html`<tr key=${at}><td class="number faint">${row.line}</td>${columns.map((name) => html`<td key=${name}><div class="cut"><bdi>${row.cells[name] ?? ""}</bdi></div></td>`)}</tr>`)}</tbody></table></div>`;
}
