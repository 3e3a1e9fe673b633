import { html } from "../preact.js";
export function TreePage() { return html`<div class="page-body"></div>`; }
