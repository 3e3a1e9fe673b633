/** The frame around every page: the bar, the pages by address, and the keys that work everywhere. */

import { address, go, writeAddress } from "./address.js";
import { ApiError, hasToken, useToken } from "./api.js";
import { Icon, Logo } from "./components/icon.js";
import { Button, Menu } from "./components/controls.js";
import { KeyHelp, Question, Toasts, helpOpen } from "./components/overlays.js";
import { Empty, Failure, Loading } from "./components/states.js";
import { useKeys } from "./keyboard.js";
import { bring, bringTheRest, isPage, PageOf } from "./pages.js";
import { EXCHANGE } from "./pages/exchange_tabs.js";
import { computed, html, useEffect, useState } from "./preact.js";
import { connected, facetName, facets, loadShared, palette, redo, remembered, theme, undo, workspace } from "./state.js";

const NAV = [
  { page: "library", name: "Library", icon: "library", parts: [] },
  { page: "judge", name: "Judge", icon: "judge", parts: ["judge"] },
  { page: "facets", name: "Facets", icon: "facet", parts: ["facets"] },
  { page: "import", name: "Data", icon: "data", parts: ["import"] },
  { page: "training", name: "Training", icon: "training", parts: ["training"] },
  { page: "lab", name: "Lab", icon: "lab", parts: ["lab"] },
  { page: "jobs", name: "Jobs", icon: "jobs", parts: ["jobs"] },
  { page: "history", name: "History", icon: "history", parts: ["history"] },
];

const WITHIN = { library: ["samples", "completions", "compare", "picking", "blocks", "trees"], import: EXCHANGE.map((each) => each.page) };
const pageName = computed(() => address.value.page);
/** What is another page, not another view of the same one: a token chosen or a group opened does not draw the frame again. */
const place = computed(() => [address.value.page, ...(address.value.page === "library" ? [] : address.value.parts)].join("/"));
const current = (/** @type {string} */ page) => (page === pageName.value || WITHIN[page]?.includes(pageName.value) ? "page" : undefined);

function Links({ icons = false }) {
  return NAV.map((each) => html`<a key=${each.page} href=${writeAddress(each.parts)} aria-current=${current(each.page)}>${icons && html`<${Icon} name=${each.icon} />`}${each.name}</a>`);
}

function FacetPicker() {
  const items = [
    ...facets.value.map((each) => ({ name: each.name, checked: each.name === facetName.value, act: () => (facetName.value = each.name) })),
    facets.value.length > 0 && null,
    { name: facets.value.length ? "Facets…" : "Make the first facet…", icon: "facet", act: () => go(["facets"]) },
  ];
  return html`<${Menu} label="Facet: what completions are judged for" icon="facet" kind="" text=${html`<span class="clip facet-name">${facetName.value || "No facet"}</span>`} items=${items} />`;
}

function Look() {
  const choose = (/** @type {any} */ mode, /** @type {string} */ name) => ({ name, checked: theme.value === mode, act: () => (theme.value = mode) });
  const paint = (/** @type {string} */ value, /** @type {string} */ name) => ({ name: `Heat: ${name}`, checked: palette.value === value, act: () => (palette.value = value) });
  return html`<${Menu} label="Look" icon="sun" items=${[choose("system", "As the system"), choose("light", "Light"), choose("dark", "Dark"), null,
    paint("ember", "ember"), paint("viridis", "viridis"), paint("mono", "grey")]} />`;
}

/** @param {{ start: () => () => void }} props */
export function App({ start }) {
  const [state, setState] = useState(/** @type {{ ready: boolean, error: any }} */ ({ ready: false, error: null }));
  const load = () => loadShared().then(() => setState({ ready: true, error: null }), (error) => setState({ ready: false, error }));
  useEffect(() => {
    load();
  }, []);
  useEffect(() => (state.ready ? start() : undefined), [state.ready]);
  useEffect(() => (state.ready ? bringTheRest() : undefined), [state.ready]);
  useKeys("Everywhere", [
    { keys: "?", says: "show the keys", act: () => (helpOpen.value = !helpOpen.value) },
    { keys: "Z Ctrl+Z", says: "undo the last change of the workspace", act: undo },
    { keys: "Shift+Z Ctrl+Shift+Z Ctrl+Y", says: "redo", act: redo },
    { keys: "/", says: "search", act: () => { if (pageName.value !== "library") go([]); setTimeout(() => document.getElementById("search")?.focus(), 60); } },
    { keys: "Alt+1", says: "library", act: () => go([]) },
    { keys: "Alt+2", says: "judge", act: () => go(["judge"]) },
    { keys: "Alt+3", says: "facets", act: () => go(["facets"]) },
    { keys: "Alt+4", says: "history", act: () => go(["history"]) },
    { keys: "Alt+5", says: "data in and out", act: () => go(["import"]) },
    { keys: "Alt+6", says: "lab", act: () => go(["lab"]) },
    { keys: "Alt+7", says: "jobs", act: () => go(["jobs"]) },
    { keys: "Alt+8", says: "training", act: () => go(["training"]) },
    { keys: "Alt+F", says: "choose the facet", act: () => /** @type {HTMLElement | null} */ (document.querySelector(".topbar .menu-anchor button"))?.click() },
  ], []);
  const page = pageName.value;
  useEffect(() => void bring(page), [page]);
  useEffect(() => {
    document.title = `${[...EXCHANGE, ...NAV].find((each) => each.page === page)?.name ?? "Ramify"} · ${workspace.value?.where?.split("/").pop() ?? "Ramify"}`;
  }, [page, workspace.value]);
  return html`<div class="app">
    <header class="topbar">
      <a class="brand" href="#/" aria-label="Ramify: library"><${Logo} /><span class="wide">Ramify</span></a>
      <nav class="nav" aria-label="Pages"><${Links} /></nav>
      <span class="grow"></span>
      ${!connected.value && state.ready && html`<span class="mark warn" role="status">reconnecting…</span>`}
      ${workspace.value?.read_only && html`<span class="mark warn">read only</span>`}
      <${FacetPicker} />
      <${Button} icon="undo" kind="quiet" label="Undo" keys="Z" onClick=${undo} />
      <${Button} icon="redo" kind="quiet" label="Redo" keys="Shift+Z" onClick=${redo} />
      <${Look} />
      <${Button} icon="help" kind="quiet" class="wide" label="Keys" keys="?" onClick=${() => (helpOpen.value = true)} />
    </header>
    <main class="page" id="page" tabindex="-1">${state.error
      ? state.error instanceof ApiError && [401, 403].includes(state.error.status) ? html`<${Door} enter=${load} />` : html`<div class="page-body"><${Failure} error=${state.error} again=${load} /></div>`
      // The library asks for its samples while the frame asks for facets and models.
      : !state.ready && !(page === "library" && hasToken()) ? html`<div class="page-body"><${Loading} /></div>`
      : isPage(page) ? html`<${PageOf} key=${place.value} name=${page} />`
      : html`<${Empty} title="There is no such page" action=${html`<a class="button" href="#/">To the library</a>`} />`}</main>
    <nav class="bottomnav" aria-label="Pages"><${Links} icons /></nav>
    <${KeyHelp} /><${Question} /><${Toasts} />
  </div>`;
}

const kept = remembered("token", "");

/** Where the token is missing or old. @param {{ enter: () => void }} props */
function Door({ enter }) {
  const [value, setValue] = useState("");
  const go_ = () => {
    kept.value = value.trim();
    useToken(kept.value);
    enter();
  };
  return html`<${Empty} title="This studio needs its key" action=${html`<div class="row"><label class="visually-hidden" for="token">Token</label>
      <input id="token" class="input" type="password" placeholder="token" value=${value} onInput=${(/** @type {any} */ event) => setValue(event.currentTarget.value)} onKeyDown=${(/** @type {any} */ event) => event.key === "Enter" && go_()} />
      <${Button} kind="primary" onClick=${go_}>Enter<//></div>`}>
    Open the whole address that <code>ramify studio</code> printed, with what stands behind the <code>#</code>; or paste the token here.<//>`;
}
