/** A run's report, model by model and prompt by prompt: what must hold, the experiments as a table, plots, and every text. */

import { address, replaceQuery } from "../address.js";
import { Segments } from "../components/controls.js";
import { Icon } from "../components/icon.js";
import { COLUMNS, sortedRows } from "../domain/lab.js";
import { count, fixed, percent, plural } from "../domain/text.js";
import { useKeys } from "../keyboard.js";
import { html, useState } from "../preact.js";
import { facetName } from "../state.js";
import { Plots } from "./lab_plots.js";
import { Texts } from "./lab_texts.js";

/** @import * as T from "../types.js" */

/** @param {{ report: T.LabReport, compared: T.LabComparison[], onKept: (text: T.LabText, completion: number) => void }} props */
export function Report({ report, compared, onKept }) {
  const { groups, run } = report, at = Math.min(Number(address.value.query.group ?? 0), groups.length - 1), group = groups[at];
  const several = new Set(groups.map((each) => each.model)).size > 1;
  const show = (/** @type {number} */ next) => replaceQuery({ group: next || null });
  useKeys("Report", [
    { keys: "]", says: "next prompt or model", act: () => show((at + 1) % groups.length) },
    { keys: "[", says: "prompt or model before", act: () => show((at + groups.length - 1) % groups.length) },
  ], [at, groups.length]);
  const votes = compared.find((each) => each.title === group.title)?.contestants.filter((each) => each.model === group.model) ?? [];
  return html`<div class="stack loose">
    ${groups.length > 1 && html`<div class="row"><${Segments} label="Prompt and model" value=${at} onChange=${show} options=${groups.map((each, place) => ({ value: place, name: several ? `${each.title} · ${each.model}` : each.title }))} /></div>`}
    <section class="card" aria-label="Prompt"><div class="body stack"><dl class="lab-facts">${group.facts.map((each) => html`<div key=${each.name}><dt>${each.name}</dt><dd>${each.text}</dd></div>`)}</dl>
      <div class="reading lab-prompt-text" tabindex="0" role="group" aria-label="Prompt">${group.prompt}</div></div></section>
    ${group.refused ? html`<div class="notice error" role="alert"><${Icon} name="warn" />${group.refused}</div>` : html`
      <${Checks} group=${group} />
      <${Table} group=${group} votes=${votes} note=${report.note} />
      ${group.texts.length > 0 && html`<${Plots} key=${`plots-${at}`} run=${run.id} group=${group} /><${Texts} key=${`texts-${at}`} run=${run.id} group=${group} onKept=${onKept} />`}`}
  </div>`;
}

const MARKS = /** @type {const} */ ({ true: ["✓", "held", "holds"], false: ["✗", "broke", "does not hold"], null: ["·", "seen", "observed"] });

/** @param {{ group: T.LabGroup }} props */
function Checks({ group }) {
  const laws = group.checks.filter((each) => each.holds !== null), broken = laws.filter((each) => each.holds === false).length;
  return html`<section class="card" aria-label="What must hold"><div class="head"><h2>What must hold</h2>
      ${laws.length > 0 && html`<span class=${`mark ${broken ? "truncated" : "good"}`}>${broken ? `${plural(broken, "law")} broken` : `${plural(laws.length, "law")} hold`}</span>`}</div>
    <div class="body"><ul class="lab-checks">${group.checks.map((each) => { const [sign, name, says] = MARKS[`${each.holds}`]; return html`<li key=${each.title}><b class=${name} aria-hidden="true">${sign}</b><span><span class="visually-hidden">${says}: </span>${each.title}: <span class="muted">${each.detail}</span></span></li>`; })}</ul>
      ${!group.checks.length && html`<p class="muted">Nothing to check yet.</p>`}
      ${group.left_out.map((each) => html`<p class="small muted" key=${each.name}>Left out: <bdi>${each.name}</bdi>: ${each.text}</p>`)}</div></section>`;
}

/** @param {number} value @param {string} name */
const shown = (value, name) => (name === "tokens" && Number.isInteger(value) ? count(value) : Math.abs(value) >= 100 ? count(Math.round(value)) : fixed(value, Math.abs(value) >= 10 ? 1 : 3));

/** @param {{ group: T.LabGroup, votes: T.LabContestant[], note: string }} props */
function Table({ group, votes, note }) {
  const [column, setColumn] = useState(/** @type {string | null} */ (null));
  const won = (/** @type {T.LabRow} */ row) => votes.find((each) => each.experiment === row.experiment)?.won ?? null;
  const head = (/** @type {string | null} */ name, /** @type {string} */ text, /** @type {string} */ title) => html`<th scope="col" aria-sort=${column === name && name !== null ? "descending" : undefined}><button type="button" title=${title} onClick=${() => setColumn(column === name ? null : name)}>${text}${column === name && name !== null ? " ↓" : ""}</button></th>`;
  return html`<section class="card" aria-label="Experiments"><div class="head"><h2 class="grow">Experiments</h2><span class="muted small">${plural(group.rows.length, "experiment")}</span></div>
    <div class="lab-scroll" tabindex="0" role="group" aria-label="Table of experiments"><table class="lab-table"><thead><tr>${head(null, "experiment", "in the plan's order")}${head("runs", "runs", "completions")}
        ${COLUMNS.map(([name, title]) => head(name, name, title))}${head("seconds", "seconds", "from the common start to the end")}${group.judged_as_json && html`${head("json_valid", "JSON", "whole texts that are JSON")}${head("schema_valid", "schema", "and fit the schema")}`}
        ${head("votes", "votes", `share of blind duels won${facetName.value ? ` under ${facetName.value}` : ""}, ties one half`)}</tr></thead>
      <tbody>${sortedRows(group.rows, column, (row) => won(row)?.mean).map((row) => {
        const share = won(row);
        return html`<tr key=${row.experiment}><th scope="row">${row.experiment}</th><td>${row.runs}</td>
          ${COLUMNS.map(([name]) => html`<td key=${name}>${row.averages[name] ? html`${shown(row.averages[name][0], name)}${row.runs > 1 && html`<small> [${shown(row.averages[name][1], name)}, ${shown(row.averages[name][2], name)}]</small>`}` : "–"}</td>`)}
          <td>${fixed(row.seconds, 1)}</td>${group.judged_as_json && html`<td>${row.json_valid}/${row.runs}</td><td>${row.schema_valid}/${row.runs}</td>`}
          <td>${share ? html`${percent(share.mean)}<small> [${percent(share.low)}, ${percent(share.high)}] of ${share.count}</small>` : "–"}</td></tr>`;
      })}</tbody></table></div>
    <div class="foot"><span class="small muted">${note}</span></div></section>`;
}
