/** What the pages of files share: their head, and the way from one to the next. */

import { writeAddress } from "../address.js";
import { html } from "../preact.js";

export const EXCHANGE = [
  { page: "import", name: "Import" }, { page: "export", name: "Export" }, { page: "readiness", name: "Readiness" }, { page: "duplicates", name: "Duplicates" },
];

/** @param {{ page: string, says: string, children?: any }} props children: what stands at the head's end */
export function ExchangeHead({ page, says, children }) {
  return html`<div class="page-head"><div class="grow"><h1>${EXCHANGE.find((each) => each.page === page)?.name}</h1><p class="muted">${says}</p></div>${children}</div>
    <nav class="tabs" aria-label="Data in and out">${EXCHANGE.map((each) => html`<a key=${each.page} href=${writeAddress([each.page])} aria-current=${each.page === page ? "page" : undefined}>${each.name}</a>`)}</nav>`;
}
