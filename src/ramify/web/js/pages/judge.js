import { html } from "../preact.js";
export function JudgePage() { return html`<div class="page-body"></div>`; }
