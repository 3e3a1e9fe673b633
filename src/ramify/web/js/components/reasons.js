/** Why completions stay, how many of them, and the way to those samples of which nothing goes out. */

import { adviceFor } from "../domain/exchange.js";
import { count, plural } from "../domain/text.js";
import { mend } from "../mending.js";
import { html } from "../preact.js";
import { Button } from "./controls.js";

const MOST = 1000; // that the server names

/** @param {{ reasons: import("../types.js").Reason[], from: "export" | "readiness", label: string }} props */
export function Reasons({ reasons, from, label }) {
  if (!reasons.length) return html`<p class="small muted">Nothing stays.</p>`;
  return html`<ul class="reasons" aria-label=${label}>${reasons.map((each) => html`<li key=${each.reason}>
    <span class="number strong">${count(each.count)}</span>
    <span class="grow"><bdi>${each.reason}</bdi>${adviceFor(each.reason) && html`<br /><span class="tiny muted">${adviceFor(each.reason)}</span>`}</span>
    ${each.samples.length > 0 && html`<${Button} small icon="edit" onClick=${() => mend(from, each.reason, each.samples)}>${`Mend ${each.samples.length === MOST ? `the first ${count(MOST)}` : plural(each.samples.length, "sample")}`}<//>`}</li>`)}</ul>`;
}
