/** On a sample that is to be mended: why nothing of it goes out, the next one, and the way back. */

import { go, writeAddress } from "../address.js";
import { adviceFor } from "../domain/exchange.js";
import { mending } from "../mending.js";
import { html } from "../preact.js";
import { Button } from "./controls.js";
import { Icon } from "./icon.js";

/** @param {{ sample: number }} props */
export function MendBar({ sample }) {
  const it = mending.value, at = it?.samples.indexOf(sample) ?? -1;
  if (!it || at < 0) return null;
  const next = it.samples[at + 1];
  return html`<aside class="notice warn mend-bar" aria-label="To be mended"><${Icon} name="warn" /><span class="grow"><strong><bdi>${it.reason}</bdi></strong>${adviceFor(it.reason) ? `: ${adviceFor(it.reason)}` : ""} <span class="number">(${at + 1} of ${it.samples.length})</span></span>
    ${next !== undefined && html`<${Button} small onClick=${() => go(["samples", next])}>Next sample<//>`}
    <a class="button small" href=${writeAddress([it.from])} onClick=${() => { mending.value = null; }}>${it.from === "export" ? "Back to the export" : "Back to the readiness"}</a>
    <${Button} small kind="quiet" icon="close" label="Leave mending" onClick=${() => (mending.value = null)} /></aside>`;
}
