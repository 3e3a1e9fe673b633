import { html } from "../preact.js";
export function BlocksPage() { return html`<div class="page-body"></div>`; }
