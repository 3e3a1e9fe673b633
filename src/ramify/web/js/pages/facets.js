import { html } from "../preact.js";
export function FacetsPage() { return html`<div class="page-body"></div>`; }
