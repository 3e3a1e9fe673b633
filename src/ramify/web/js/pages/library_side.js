/** Beside the library's list: the tree of groups, saved filters, and what was judged under each facet. */

import { api } from "../api.js";
import { Button } from "../components/controls.js";
import { Icon } from "../components/icon.js";
import { confirm } from "../components/overlays.js";
import { useLoaded } from "../components/states.js";
import { count } from "../domain/text.js";
import { html, useState } from "../preact.js";
import { act, changed, facetName } from "../state.js";

/** @param {{ query: Record<string, string>, set: (change: any) => void }} props */
export function Sidebar({ query, set }) {
  const groups = useLoaded(() => api.groups(), [changed.value]).value?.items ?? [];
  const filters = useLoaded(() => api.filters(), [changed.value]).value?.items ?? [];
  const counts = useLoaded(() => api.counts(), [changed.value]).value?.items ?? [];
  const [closed, setClosed] = useState(/** @type {ReadonlySet<string>} */ (new Set()));
  const shown = groups.filter((/** @type {any} */ each) => ![...closed].some((path) => each.path.startsWith(`${path}/`)));
  const toggle = (/** @type {string} */ path) => {
    const next = new Set(closed);
    if (!next.delete(path)) next.add(path);
    setClosed(next);
  };
  const deleteFilter = async (/** @type {any} */ each) => {
    if (await confirm({ title: `Delete the filter “${each.name}”?`, text: "The samples it shows stay.", button: "Delete", danger: true })) await act(() => api.deleteFilter(each.id), `Deleted the filter ${each.name}`);
  };
  return html`<aside aria-label="Groups, filters and facets">
    <nav aria-label="Groups"><div class="side-title">Groups</div>
      <button type="button" class="side-item" aria-current=${String(!query.group)} onClick=${() => set({ group: "" })}><${Icon} name="library" />All samples</button>
      ${shown.map((/** @type {any} */ each) => {
        const parent = groups.some((/** @type {any} */ other) => other.path.startsWith(`${each.path}/`));
        return html`<div class="row" key=${each.path} style=${{ paddingLeft: `${(each.depth ?? each.path.split("/").length - 1) * 14}px`, gap: 0 }}>
          <button type="button" class="side-item" aria-current=${String(query.group === each.path)} onClick=${() => set({ group: each.path })}>
            <${Icon} name="folder" /><bdi class="clip">${each.name}</bdi><span class="count">${count(each.below ?? each.samples)}</span></button>
          ${parent && html`<${Button} small kind="quiet" icon=${closed.has(each.path) ? "chevron" : "down"} label=${closed.has(each.path) ? `Open ${each.name}` : `Close ${each.name}`} onClick=${() => toggle(each.path)} />`}
        </div>`;
      })}
    </nav>
    ${filters.length > 0 && html`<nav aria-label="Saved filters"><div class="side-title">Saved filters</div>
      ${filters.map((/** @type {any} */ each) => html`<div class="row" key=${each.id} style=${{ gap: 0 }}><button type="button" class="side-item" aria-current=${String(query.saved === each.name)} title=${each.description}
        onClick=${() => set({ saved: query.saved === each.name ? "" : each.name, filter: "" })}><${Icon} name="filter" /><bdi class="clip">${each.name}</bdi></button>
        <${Button} small kind="quiet" icon="close" label=${`Delete the filter ${each.name}`} onClick=${() => deleteFilter(each)} /></div>`)}</nav>`}
    ${counts.length > 0 && html`<nav aria-label="Facets"><div class="side-title">Judged by facet</div>
      ${counts.map((/** @type {any} */ each) => html`<div key=${each.facet}><button type="button" class="side-item" aria-current=${String(facetName.value === each.facet)} onClick=${() => (facetName.value = each.facet)}
          title=${`${each.rated} rated, ${each.good} of them good, ${each.bad} bad; ${each.preferences} preferences; ${each.approved} approved; ${each.waiting} requests wait`}>
        <${Icon} name="facet" /><bdi class="clip">${each.facet}</bdi><span class="count">${count(each.rated)}<span class="visually-hidden"> rated</span></span></button>
        <div class="facet-bar" aria-hidden="true">${each.rated > 0 && [["good", each.good], ["between", each.rated - each.good - each.bad], ["bad", each.bad]].map(([kind, n]) => html`<i key=${kind} class=${kind} style=${{ width: `${(100 * Number(n)) / each.rated}%` }}></i>`)}</div>
        ${each.waiting > 0 && html`<a class="side-item tiny" href="#/facets"><span class="mark warn">${count(each.waiting)} unanswered</span></a>`}</div>`)}</nav>`}
  </aside>`;
}
