/**
 * The pages by the first part of their address. The library comes with the frame; every other page is brought when its address is
 * first gone to, or when the studio has stood idle for a moment: whoever opens the library does not wait for the tree's modules.
 */

import { Failure, Loading } from "./components/states.js";
import { LibraryPage } from "./pages/library.js";
import { html, useEffect, useState } from "./preact.js";

/** @typedef {() => any} Page */
/** @typedef {{ page: Page | null, bring: () => Promise<void> }} Later */

/** @param {() => Promise<Page>} load @returns {Later} */
const later = (load) => {
  const found = /** @type {Later} */ ({ page: null, bring: async () => void (found.page ??= await load()) });
  return found;
};

/** @type {Record<string, Later>} */
const PAGES = {
  library: { page: LibraryPage, bring: async () => {} },
  samples: later(async () => (await import("./pages/sample.js")).SamplePage),
  completions: later(async () => (await import("./pages/completion.js")).CompletionPage),
  trees: later(async () => (await import("./pages/tree.js")).TreePage),
  judge: later(async () => (await import("./pages/judge.js")).JudgePage),
  compare: later(async () => (await import("./pages/compare.js")).ComparePage),
  picking: later(async () => (await import("./pages/picking.js")).PickingPage),
  blocks: later(async () => (await import("./pages/blocks.js")).BlocksPage),
  facets: later(async () => (await import("./pages/facets.js")).FacetsPage),
  history: later(async () => (await import("./pages/history.js")).HistoryPage),
  import: later(async () => (await import("./pages/import.js")).ImportPage),
  export: later(async () => (await import("./pages/export.js")).ExportPage),
  readiness: later(async () => (await import("./pages/readiness.js")).ReadinessPage),
  duplicates: later(async () => (await import("./pages/duplicates.js")).DuplicatesPage),
  lab: later(async () => (await import("./pages/lab.js")).LabPage),
  training: later(async () => (await import("./pages/training.js")).TrainingPage),
  jobs: later(async () => (await import("./pages/jobs.js")).JobsPage),
};

export const isPage = (/** @type {string} */ name) => Object.hasOwn(PAGES, name);

/** Begin to bring a page, before it is drawn. What goes wrong is shown when it is. @param {string} name */
export const bring = (name) => isPage(name) && PAGES[name].bring().catch(() => {});

/** Bring all pages, one after the other, when nothing else is to do. */
export function bringTheRest() {
  const timer = setTimeout(async () => {
    for (const name of Object.keys(PAGES)) await bring(name);
  }, 1500);
  return () => clearTimeout(timer);
}

/** @param {{ name: string }} props one of the pages' names */
export function PageOf({ name }) {
  const [error, setError] = useState(/** @type {unknown} */ (null));
  const [, setBrought] = useState(PAGES[name].page !== null);
  const load = () => PAGES[name].bring().then(() => setBrought(true), setError);
  useEffect(() => {
    load();
  }, []);
  const Page = PAGES[name].page;
  if (Page) return html`<${Page} />`;
  return html`<div class="page-body">${error ? html`<${Failure} error=${error} again=${() => location.reload()} />` : html`<${Loading} />`}</div>`;
}
