/** The library: groups, saved filters and facets beside a list of samples that may be a hundred thousand long. */

import { address, go, replaceQuery, writeAddress } from "../address.js";
import { api } from "../api.js";
import { Button, Menu, Segments } from "../components/controls.js";
import { Icon } from "../components/icon.js";
import { askFor, confirm } from "../components/overlays.js";
import { Empty, Failure, Loading, useLoaded } from "../components/states.js";
import { VirtualList } from "../components/virtual_list.js";
import { fromFilter, inWords } from "../domain/filters.js";
import { ago, count, firstLine, plural } from "../domain/text.js";
import { useKeys } from "../keyboard.js";
import { html, useEffect, useMemo, useRef, useState } from "../preact.js";
import { act, changed, facetName, say } from "../state.js";
import { FilterBuilder } from "./filter_builder.js";
import { Sidebar } from "./library_side.js";
import { NewSample } from "./new_sample.js";

const ROW = 66, PAGE = 80;

/** Rows as they are loaded, in order, as far as they were asked for. @param {Record<string, any>} query */
function useRows(query) {
  const key = JSON.stringify(query);
  const [state, setState] = useState({ rows: /** @type {any[]} */ ([]), total: /** @type {number | null} */ (null), error: /** @type {unknown} */ (null), done: false });
  const work = useRef({ key: "", stop: new AbortController(), next: /** @type {any} */ (null), busy: false, wanted: 0, rows: /** @type {any[]} */ ([]), done: false });
  const load = async () => {
    const mine = work.current;
    if (mine.busy || mine.done) return;
    mine.busy = true;
    try {
      while (!mine.done && mine.rows.length < mine.wanted) {
        const page = await api.samples({ ...query, limit: mine.rows.length ? 500 : PAGE, after: mine.next }, mine.stop.signal);
        mine.rows = mine.rows.concat(page.items);
        mine.next = page.next;
        mine.done = !page.next;
        if (work.current === mine) setState((before) => ({ ...before, rows: mine.rows, error: null, done: mine.done }));
      }
    } catch (error) {
      if (!mine.stop.signal.aborted) setState((before) => ({ ...before, error }));
    }
    mine.busy = false;
  };
  useEffect(() => {
    work.current.stop.abort();
    const mine = (work.current = { key, stop: new AbortController(), next: null, busy: false, wanted: Math.max(PAGE, work.current.key === key ? work.current.rows.length : 0), rows: [], done: false });
    work.current.key = key;
    load();
    const { order: _, ...counted } = query;
    api.countSamples(counted, mine.stop.signal).then(({ count: total }) => setState((before) => ({ ...before, total })), () => {});
    return () => mine.stop.abort();
  }, [key, changed.value]);
  return { ...state, want: (/** @type {number} */ last) => { work.current.wanted = Math.max(work.current.wanted, last + 60); load(); }, again: load };
}

export function LibraryPage() {
  const { query } = address.value;
  const [text, setText] = useState(query.text ?? "");
  const [adding, setAdding] = useState(false);
  const [building, setBuilding] = useState(false);
  const [browsing, setBrowsing] = useState(false);
  const [picked, setPicked] = useState(/** @type {ReadonlySet<number>} */ (new Set()));
  const [everything, setEverything] = useState(false);
  const [current, setCurrent] = useState(-1);
  const filter = useMemo(() => { try { return query.filter ? JSON.parse(query.filter) : null; } catch { return null; } }, [query.filter]);
  const archived = query.archived ?? "false";
  const asked = { group: query.group, filter, filter_name: query.saved, text: query.text, archived, hidden: archived === "true" ? "any" : "false", order: query.order ?? "newest" };
  const { rows, total, error, done, want, again } = useRows(asked);
  const known = done ? rows.length : Math.max(total ?? 0, rows.length);
  const set = (/** @type {Record<string, any>} */ change) => {
    setPicked(new Set());
    setEverything(false);
    setCurrent(-1);
    replaceQuery(change);
  };
  useEffect(() => setText(query.text ?? ""), [query.text]);
  const timer = useRef(0);
  const type = (/** @type {string} */ value) => {
    setText(value);
    clearTimeout(timer.current);
    timer.current = window.setTimeout(() => set({ text: value.trim() }), 250);
  };
  const toggle = (/** @type {number} */ id) => {
    const next = new Set(picked);
    if (!next.delete(id)) next.add(id);
    setEverything(false);
    setPicked(next);
  };
  const open = (/** @type {any} */ row) => row && go(["samples", row.id]);
  const move = (/** @type {number} */ by) => { want(current + by); setCurrent(Math.max(0, Math.min(known - 1, current + by))); };
  useKeys("Library", [
    { keys: "ArrowDown J", says: "next sample", act: () => move(1) },
    { keys: "ArrowUp K", says: "sample before", act: () => move(-1) },
    { keys: "PageDown", says: "ten further", act: () => move(10) },
    { keys: "PageUp", says: "ten back", act: () => move(-10) },
    { keys: "Enter O", says: "open", act: () => open(rows[current]) },
    { keys: "X Space", says: "select", act: () => rows[current] && toggle(rows[current].id) },
    { keys: "A", says: "select all that match", act: () => { setPicked(new Set(rows.map((each) => each.id))); setEverything(true); } },
    { keys: "N", says: "new sample", act: () => setAdding(true) },
    { keys: "F", says: "filter", act: () => setBuilding(true) },
    { keys: "Escape", says: "select none, or clear the search", act: () => (picked.size ? setPicked(new Set()) : query.text && set({ text: "" })) },
  ], [current, rows, picked, known, query.text]);
  const built = fromFilter(filter);
  const narrowed = Boolean(query.group || query.filter || query.saved || query.text);
  const showHits = query.view === "matches" && query.text;
  return html`<div class=${`library ${browsing ? "browsing" : ""}`}>
    <${Sidebar} query=${query} set=${(/** @type {any} */ change) => { setBrowsing(false); set(change); }} />
    <section class="main" aria-label="Samples">
      <div><div class="toolbar">
        <${Button} icon="folder" class="browse" label="Groups, filters and facets" pressed=${browsing} onClick=${() => setBrowsing(!browsing)} />
        <div class="searchbox"><${Icon} name="search" /><label class="visually-hidden" for="search">Search samples and completions</label>
          <input id="search" class="input" type="search" placeholder="Search prompts, titles, notes and completions" value=${text} onInput=${(/** @type {any} */ event) => type(event.currentTarget.value)}
            onKeyDown=${(/** @type {any} */ event) => { if (event.key === "Enter" || event.key === "ArrowDown") { event.preventDefault(); clearTimeout(timer.current); set({ text: text.trim() }); event.currentTarget.blur(); setCurrent(0); } if (event.key === "Escape") event.currentTarget.blur(); }} /></div>
        <${Button} icon="filter" keys="F" pressed=${Boolean(filter)} onClick=${() => setBuilding(!building)}>Filter<//>
        <${Button} icon="plus" kind="primary" keys="N" onClick=${() => setAdding(true)}>New sample<//>
      </div>
      ${building && html`<${FilterBuilder} filter=${filter} onChange=${(/** @type {any} */ next) => set({ filter: next ? JSON.stringify(next) : "", saved: "" })} onClose=${() => setBuilding(false)} />`}
      <div class="chips">
        <span class="muted small number" role="status">${error ? "" : total === null && !rows.length ? "…" : `${plural(known, "sample")}${narrowed ? " match" : ""}`}</span>
        ${query.group && html`<span class="mark info"><${Icon} name="folder" size=${12} />${query.group}<button type="button" aria-label="All groups" onClick=${() => set({ group: "" })}><${Icon} name="close" size=${12} /></button></span>`}
        ${query.saved && html`<span class="mark info"><${Icon} name="filter" size=${12} />${query.saved}<button type="button" aria-label="No saved filter" onClick=${() => set({ saved: "" })}><${Icon} name="close" size=${12} /></button></span>`}
        ${filter && (built ? built.rows : [null]).map((row, at) => html`<span class="mark info" key=${at}>${row ? inWords(row) : "a nested filter"}<button type="button" aria-label="Remove this condition"
          onClick=${() => { const rest = built ? built.rows.filter((_, i) => i !== at) : []; set({ filter: rest.length ? JSON.stringify(rest.length === 1 ? (rest[0].not ? { not: (({ not: _n, ...r }) => r)(rest[0]) } : rest[0]) : { [built?.match ?? "all"]: rest.map(({ not, ...r }) => (not ? { not: r } : r)) }) : "" }); }}><${Icon} name="close" size=${12} /></button></span>`)}
        <span class="push row">
          ${query.text && html`<${Segments} label="What to list" value=${showHits ? "matches" : "samples"} onChange=${(/** @type {string} */ view) => replaceQuery({ view })} options=${[{ value: "samples", name: "Samples" }, { value: "matches", name: "Matches" }]} />`}
          <${Menu} label="Order and archive" small kind="quiet" icon="down" text=${archived === "true" ? "Archived" : asked.order === "oldest" ? "Oldest first" : "Newest first"} items=${[
            { name: "Newest first", checked: asked.order === "newest" && archived !== "true", act: () => set({ order: "", archived: "" }) },
            { name: "Oldest first", checked: asked.order === "oldest" && archived !== "true", act: () => set({ order: "oldest", archived: "" }) },
            { name: "Archived only", checked: archived === "true", act: () => set({ archived: "true" }) }]} />
        </span>
      </div></div>
      ${picked.size ? html`<${BulkBar} picked=${picked} everything=${everything} total=${known} asked=${asked} archived=${archived === "true"}
        all=${() => { setPicked(new Set(rows.map((each) => each.id))); setEverything(true); }} end=${() => { setPicked(new Set()); setEverything(false); }} />` : html`<span></span>`}
      ${error ? html`<div class="page-body"><${Failure} error=${error} again=${again} /></div>`
        : showHits ? html`<${Hits} text=${query.text} />`
        : known === 0 && done ? (narrowed || archived === "true"
          ? html`<${Empty} title="No sample matches" action=${html`<${Button} onClick=${() => set({ group: "", filter: "", saved: "", text: "", archived: "" })}>Show all samples<//>`}>Nothing here fits the search and filters above.<//>`
          : html`<${Empty} title="An empty workspace" action=${html`<${Button} kind="primary" icon="plus" onClick=${() => setAdding(true)}>New sample<//>`}>A sample is a prompt with its completions. Write the first prompt; then let a model answer it, or answer it yourself.<//>`)
        : !rows.length ? html`<div class="page-body"><${Loading} /></div>`
        : html`<${VirtualList} count=${known} height=${ROW} label="Samples" current=${current} onNear=${want} row=${(/** @type {number} */ at) => rows[at]
          ? html`<${Row} row=${rows[at]} current=${at === current} picked=${picked.has(rows[at].id)} toggle=${toggle} />`
          : html`<div class="sample-row"><span></span><div class="skeleton" style=${{ width: "55%" }}></div></div>`} />`}
    </section>
    ${adding && html`<${NewSample} group=${query.group ?? ""} onClose=${() => setAdding(false)} />`}
  </div>`;
}

/** @param {{ row: any, current: boolean, picked: boolean, toggle: (id: number) => void }} props */
function Row({ row, current, picked, toggle }) {
  const title = row.title || firstLine(row.preview) || "(empty prompt)";
  return html`<div class=${`sample-row ${current ? "current" : ""} ${picked ? "selected" : ""}`}>
    <input type="checkbox" aria-label=${`Select ${title}`} checked=${picked} onChange=${() => toggle(row.id)} />
    <a class="open" href=${writeAddress(["samples", row.id])} tabindex=${current ? 0 : undefined}>
      <span class="title clip"><bdi>${title}</bdi></span>
      <span class="preview clip"><bdi>${row.title ? firstLine(row.preview, 160) : row.preview.trimStart().split("\n").slice(1).join(" ").trim()}</bdi></span>
    </a>
    <span class="meta">
      ${row.group && html`<span class="mark wide"><bdi class="clip">${row.group}</bdi></span>`}
      ${row.tags.slice(0, 2).map((/** @type {string} */ tag) => html`<span class="mark wide" key=${tag}><${Icon} name="tag" size=${11} /><bdi class="clip">${tag}</bdi></span>`)}
      ${row.approved.includes(facetName.value) && html`<span class="mark good"><${Icon} name="check" size=${11} />approved</span>`}
      ${row.drafts > 0 && html`<span class="mark info">${plural(row.drafts, "draft")}</span>`}
      ${row.truncated > 0 && html`<span class="mark truncated">${row.truncated} truncated</span>`}
      <span class="muted small number" title=${plural(row.completions, "completion")}>${count(row.completions)}<span class="visually-hidden"> completions</span></span>
      <span class="faint tiny wide" style=${{ width: "74px", textAlign: "right" }}>${ago(row.created_at)}</span>
    </span>
  </div>`;
}

function BulkBar({ picked, everything, total, asked, archived, all, end }) {
  const whole = everything && total > picked.size;
  const many = whole ? total : picked.size;
  const bulk = async (/** @type {string} */ action, /** @type {any} */ more, /** @type {string} */ done) => {
    // All that the list would show, those not loaded yet too: the list's own question, so that nothing else is meant.
    const found = await act(async () => api.bulkSamples({ ids: whole ? (await api.sampleIds(asked)).ids : [...picked], action, ...more }));
    if (found) {
      say(`${done}: ${plural(found.changed, "sample")}`);
      end();
    }
  };
  const tag = async (/** @type {"tag" | "untag"} */ action) => {
    const name = await askFor({ title: action === "tag" ? "Add a tag" : "Take a tag off", label: "Tag", button: action === "tag" ? "Add" : "Take off" });
    if (name?.trim()) await bulk(action, { tags: name.split(",").map((each) => each.trim()).filter(Boolean) }, action === "tag" ? "Tagged" : "Untagged");
  };
  const move = async () => {
    const group = await askFor({ title: "Move to a group", text: "A path such as letters/legal; empty for the top.", label: "Group", button: "Move" });
    if (group !== null) await bulk("group", { group: group.trim() }, "Moved");
  };
  const remove = async () => {
    if (await confirm({ title: `Delete ${plural(many, "sample")}?`, text: "Their completions and judgements go with them. Undo brings all of it back.", button: "Delete", danger: true })) await bulk("delete", {}, "Deleted");
  };
  return html`<div class="bulkbar" role="toolbar" aria-label="Selected samples"><strong class="number">${count(many)} selected</strong>
    ${!whole && picked.size < total && html`<${Button} small kind="quiet" onClick=${all}>Select all ${count(total)}<//>`}
    <span class="grow"></span>
    <${Button} small icon="tag" onClick=${() => tag("tag")}>Tag<//><${Button} small onClick=${() => tag("untag")}>Untag<//>
    <${Button} small icon="folder" onClick=${move}>Move<//>
    ${archived ? html`<${Button} small onClick=${() => bulk("restore", {}, "Restored")}>Restore<//>` : html`<${Button} small onClick=${() => bulk("archive", {}, "Archived")}>Archive<//>`}
    <${Button} small kind="danger" icon="trash" onClick=${remove}>Delete<//>
    <${Button} small kind="quiet" icon="close" label="Select none" onClick=${end} /></div>`;
}

/** @param {{ text: string }} props */
function Hits({ text }) {
  const { value, error, again } = useLoaded(() => api.search(text, 100), [text, changed.value]);
  if (error) return html`<div class="page-body"><${Failure} error=${error} again=${again} /></div>`;
  if (!value) return html`<div class="page-body"><${Loading} /></div>`;
  if (!value.items.length) return html`<${Empty} title="Nothing has these words">The search looks at prompts, titles, notes and completions.<//>`;
  return html`<div class="page" role="list" aria-label="Matches">${value.items.map((/** @type {any} */ hit) => html`<a class="hit" role="listitem" key=${`${hit.kind}${hit.id}`}
    href=${hit.kind === "completion" ? writeAddress(["completions", hit.id]) : writeAddress(["samples", hit.id])}>
    <div class="row small muted"><span class="mark">${hit.kind}</span><bdi class="clip">${hit.title || `sample ${hit.sample_id}`}</bdi></div>
    <div class="reading small"><${Marked} text=${hit.snippet} spans=${hit.spans} /></div></a>`)}</div>`;
}

function Marked({ text, spans }) {
  const parts = [];
  let at = 0;
  for (const [start, end] of spans) {
    parts.push(text.slice(at, start), html`<mark>${text.slice(start, end)}</mark>`);
    at = end;
  }
  return html`<bdi>${parts}${text.slice(at)}</bdi>`;
}
