import { html } from "../preact.js";
export function HistoryPage() { return html`<div class="page-body"></div>`; }
