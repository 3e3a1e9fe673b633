/** A beam tree: the same nodes as a tree, a list of ends and a grid of beams; grown, pruned, kept and ranked anew by hand. */

import { address, go, replaceQuery, writeAddress } from "../address.js";
import { api } from "../api.js";
import { Button, Menu, Segments } from "../components/controls.js";
import { Icon } from "../components/icon.js";
import { confirm } from "../components/overlays.js";
import { Empty, Failure, Loading, useLoaded } from "../components/states.js";
import { TreeCanvas, bringIntoSight, newView, useLayout, whole, wordOf } from "../components/tree_canvas.js";
import { VirtualList } from "../components/virtual_list.js";
import { FLAGS, merged, neighbour, wayTo } from "../domain/tree_layout.js";
import { fixed, percent, plural } from "../domain/text.js";
import { useKeys } from "../keyboard.js";
import { html, useEffect, useMemo, useRef, useState } from "../preact.js";
import { act, actAndLeave, changed, remembered, say, sayError } from "../state.js";
import { NodePanel } from "./tree_node.js";
import { Rerank } from "./tree_rerank.js";

/** @import { Nodes, Tree } from "../types.js" */

const rankBy = remembered("tree-by", "mean");
const showPruned = remembered("tree-pruned", true);

export function TreePage() {
  const id = Number(address.value.parts[0]);
  const loaded = useLoaded(async () => {
    const tree = await api.tree(id);
    let nodes = await api.nodes(id, { pruned: true, limit: 20_000 });
    while (nodes.next) {
      const more = await api.nodes(id, { pruned: true, limit: 20_000, after: nodes.next });
      nodes = { ...merged(nodes, more), next: more.next };
    }
    return { tree, nodes };
  }, [id]);
  if (loaded.error) return html`<div class="page-body"><${Failure} error=${loaded.error} again=${loaded.again} /></div>`;
  if (!loaded.value) return html`<div class="page-body"><${Loading} /></div>`;
  return html`<${Beams} tree=${loaded.value.tree} first=${loaded.value.nodes} reload=${loaded.again} />`;
}

/** Without what was pruned, and all below it. @param {Nodes} nodes @returns {Nodes} */
function unpruned(nodes) {
  const gone = new Set(), keep = /** @type {number[]} */ ([]);
  nodes.id.forEach((id, i) => {
    if (nodes.flags[i] & FLAGS.pruned || gone.has(nodes.parent[i])) gone.add(id);
    else keep.push(i);
  });
  if (!gone.size) return nodes;
  const made = /** @type {any} */ ({ ...nodes });
  for (const name of ["id", "parent", "token", "depth", "logprob", "entropy", "rank", "sum_logprob", "min_logprob", "origin", "ended", "flags"]) made[name] = keep.map((i) => nodes[name][i]);
  return made;
}

/** @param {{ tree: Tree, first: Nodes, reload: () => void }} props */
function Beams({ tree, first, reload }) {
  const { query } = address.value;
  const [all, setAll] = useState(first);
  useEffect(() => setAll(first), [first]);
  const nodes = useMemo(() => (showPruned.value ? all : unpruned(all)), [all, showPruned.value]);
  const [collapsed, setCollapsed] = useState(/** @type {ReadonlySet<number>} */ (new Set()));
  const [busy, setBusy] = useState(""), [marks, setMarks] = useState(/** @type {ReadonlyMap<number, string>} */ (new Map())), [side, setSide] = useState("node");
  const layout = useLayout(nodes, collapsed);
  const view = useRef(newView()), again = useRef(() => {}), main = useRef(/** @type {HTMLElement | null} */ (null));
  const shape = query.view ?? "tree";
  const asked = Number(query.node ?? tree.root);
  const current = layout.at.has(asked) ? asked : tree.root;
  const at = /** @type {number} */ (layout.at.get(current));
  const size = () => ({ width: main.current?.clientWidth ?? 800, height: main.current?.clientHeight ?? 600 });
  const choose = (/** @type {number} */ node) => replaceQuery({ node });
  useEffect(() => {
    if (at !== undefined && layout.row[at] >= 0) bringIntoSight(layout, at, view.current, size());
    again.current();
  }, [current, layout, shape]);
  // When a step of the history is taken back, the tree is read again.
  const seen = useRef(changed.value);
  useEffect(() => {
    if (seen.current !== changed.value) reload();
    seen.current = changed.value;
  }, [changed.value]);
  const step = async (/** @type {string} */ name, /** @type {any} */ body, /** @type {string} */ done = "") => {
    setBusy(name);
    try {
      const found = await api.treeStep(tree.id, name, body);
      const added = found.added ?? found.nodes ?? (found.id && Array.isArray(found.id) ? found : null);
      if (added) setAll((before) => merged(before, added));
      if (done) say(done, { action: "Undo", act: () => act(() => api.undo()) });
      return found;
    } catch (error) {
      sayError(error);
      return null;
    } finally {
      setBusy("");
    }
  };
  const flag = (/** @type {number} */ bit) => Boolean(nodes.flags[at] & bit);
  const isRoot = current === tree.root;
  const mark = (/** @type {"pinned" | "bookmarked"} */ name) => step("mark", { nodes: [current], [name]: !flag(FLAGS[name]) }, name === "pinned" ? (flag(FLAGS.pinned) ? "Unpinned" : "Pinned") : flag(FLAGS.bookmarked) ? "Bookmark removed" : "Bookmarked");
  const prune = () => (isRoot ? say("The root cannot be pruned") : flag(FLAGS.pruned) ? step("resume", { nodes: [current] }, "Resumed") : step("prune", { nodes: [current] }, "Pruned; resume brings it back"));
  const keep = () => (isRoot ? say("The root cannot be kept; choose a branch") : step("keep", { nodes: [current] }, "Kept"));
  const resume = () => step("resume", { nodes: [current] }, "Resumed");
  const save = async () => {
    if (isRoot) return say("Choose the end of a beam first");
    const made = await step("save", { node: current });
    if (made) {
      changed.value += 1;
      say(`Saved as completion ${made.id}`);
    }
    return undefined;
  };
  const remove = async () => {
    if (!(await confirm({ title: "Delete this tree?", text: "Completions saved from it stay. Undo brings it back.", button: "Delete", danger: true }))) return;
    await actAndLeave(() => api.deleteTree(tree.id), () => go(["samples", tree.sample_id]), "Tree deleted");
  };
  const toggle = (/** @type {number} */ id) => {
    const next = new Set(collapsed);
    if (!next.delete(id)) next.add(id);
    setCollapsed(next);
  };
  const walk = (/** @type {any} */ where) => choose(nodes.id[neighbour(layout, at, where)]);
  const bookmarks = (/** @type {1 | -1} */ by) => {
    const marked = [...layout.order].filter((i) => nodes.flags[i] & (FLAGS.bookmarked | FLAGS.pinned));
    if (!marked.length) return say("Nothing is bookmarked or pinned");
    const place = marked.indexOf(at);
    return choose(nodes.id[marked[(place + by + marked.length) % marked.length]]);
  };
  const fit = () => {
    Object.assign(view.current, whole(layout, size()));
    again.current();
  };
  const zoom = (/** @type {number} */ by) => {
    view.current.scale = Math.min(2.5, Math.max(0.12, view.current.scale * by));
    bringIntoSight(layout, at, view.current, size());
    again.current();
  };
  useKeys("Beam tree", [
    ...(shape === "tree" ? [
      { keys: "ArrowLeft", says: "towards the root", act: () => walk("left") }, { keys: "ArrowRight", says: "along the branch", act: () => walk("right") },
      { keys: "Shift+ArrowUp PageUp", says: "the branch above", act: () => walk("up") }, { keys: "Shift+ArrowDown PageDown", says: "the branch below", act: () => walk("down") }] : []),
    { keys: "P", says: "pin or unpin", act: () => mark("pinned") },
    { keys: "X", says: "prune, or resume what was pruned", act: prune },
    { keys: "K", says: "keep", act: keep },
    { keys: "R", says: "resume", act: resume },
    { keys: "M", says: "bookmark", act: () => mark("bookmarked") },
    { keys: "]", says: "next bookmark or pin", act: () => bookmarks(1) },
    { keys: "[", says: "bookmark or pin before", act: () => bookmarks(-1) },
    { keys: "S", says: "save the path to here as a completion", act: save },
    { keys: "C Space", says: "collapse or open", act: () => toggle(current) },
    { keys: "V", says: "tree, list, grid", act: () => replaceQuery({ view: { tree: "list", list: "grid", grid: "tree" }[shape] }) },
    { keys: "0", says: "see the whole tree", act: fit }, { keys: "+ =", says: "nearer", act: () => zoom(1.2) }, { keys: "-", says: "further", act: () => zoom(1 / 1.2) },
    { keys: "Escape", says: "back to the sample", act: () => go(["samples", tree.sample_id]) },
  ], [nodes, layout, current, shape, collapsed, tree.id]);
  const shownNode = at !== undefined;
  return html`<div class="reader-shell"><div class="reader-bar"><a class="button icon quiet" href=${writeAddress(["samples", tree.sample_id])} aria-label="Back to the sample" title="Back to the sample"><${Icon} name="back" /></a>
      <div class="stack tight" style=${{ gap: 0 }}><h1 style=${{ fontSize: "15px" }}>Beam tree</h1><span class="tiny muted clip"><bdi>${tree.model}</bdi>${tree.prefill ? html` · begins with <bdi>${tree.prefill}</bdi>` : ""} · <span class="number">${plural(all.id.length, "node")}</span></span></div>
      <${Segments} label="View" value=${shape} onChange=${(/** @type {string} */ next) => replaceQuery({ view: next })} options=${[{ value: "tree", name: "Tree" }, { value: "list", name: "List" }, { value: "grid", name: "Grid" }]} />
      ${shape !== "tree" && html`<${Segments} label="Rank by" value=${rankBy.value} onChange=${(/** @type {string} */ next) => (rankBy.value = next)} options=${[["cumulative", "Total"], ["mean", "Mean"], ["minimum", "Lowest"], ["entropy", "Entropy"]].map(([value, name]) => ({ value, name }))} />`}
      <span class="grow"></span>
      <${Button} small icon="pin" keys="P" pressed=${flag(FLAGS.pinned)} onClick=${() => mark("pinned")}>Pin<//><${Button} small icon="keep" keys="K" pressed=${flag(FLAGS.kept)} onClick=${keep}>Keep<//>
      ${flag(FLAGS.pruned) || all.dead[current] ? html`<${Button} small icon="play" keys="R" onClick=${resume}>Resume<//>` : html`<${Button} small icon="cut" keys="X" onClick=${prune}>Prune<//>`}
      <${Button} small icon="bookmark" keys="M" pressed=${flag(FLAGS.bookmarked)} onClick=${() => mark("bookmarked")}>Bookmark<//>
      <${Menu} label="More for this tree" icon="more" kind="" items=${[{ name: "Delete the tree…", icon: "trash", danger: true, act: remove }]} />
      <${Button} small kind="primary" icon="save" keys="S" why=${isRoot ? "Choose the end of a beam first" : null} onClick=${save}>Save<//></div>
    <div class="tree-page"><section class="tree-main" ref=${main} aria-label="Beams">
      ${shape === "tree" ? html`<${TreeCanvas} nodes=${nodes} layout=${layout} current=${current} collapsed=${collapsed} marks=${marks} view=${view} again=${again} onChoose=${choose} onToggle=${toggle} />
          <div class="tree-controls"><${Button} small kind="quiet" icon="plus" label="Nearer" onClick=${() => zoom(1.25)} /><${Button} small kind="quiet" label="Further" onClick=${() => zoom(0.8)}>−<//><${Button} small kind="quiet" keys="0" onClick=${fit}>Whole<//><${Button} small kind="quiet" pressed=${showPruned.value} onClick=${() => (showPruned.value = !showPruned.value)}>Pruned<//></div>`
        : html`<${Ends} tree=${tree} version=${all} shape=${shape} by=${rankBy.value} current=${current} onChoose=${choose} nodes=${all} way=${(/** @type {number} */ id) => { const i = layout.at.get(id); return i === undefined ? [] : wayTo(layout, i).map((each) => wordOf(nodes, each)); }} />`}
    </section>
    <aside class="tree-side" aria-label="Node" tabindex="0"><${Segments} label="Side" value=${side} onChange=${setSide} options=${[{ value: "node", name: "Next tokens" }, { value: "rank", name: "Search and re-rank" }]} />
      ${!shownNode ? html`<p class="muted">Choose a node.</p>` : side === "node" ? html`<${NodePanel} tree=${tree} nodes=${nodes} index=${at} busy=${busy} step=${step} choose=${choose} />` : html`<${Rerank} tree=${tree} node=${current} busy=${busy} step=${step} choose=${choose} setMarks=${setMarks} />`}</aside></div></div>`;
}

/** The ends of branches, best first, as rows or as cards. */
function Ends({ tree, version, shape, by, current, onChoose, nodes }) {
  const found = useLoaded(() => api.leaves(tree.id, { by, pruned: false, limit: 2000 }), [tree.id, by, version]);
  const at = useMemo(() => new Map(nodes.id.map((/** @type {number} */ id, /** @type {number} */ i) => [id, i])), [nodes]);
  const items = found.value?.items ?? [];
  const place = items.findIndex((/** @type {any} */ each) => each.node === current);
  const twins = useMemo(() => new Set((found.value?.same_text ?? []).flat()), [found.value]);
  useKeys("Beams", [
    { keys: "Shift+ArrowDown PageDown ArrowRight", says: "next beam", act: () => items.length && onChoose(items[Math.min(items.length - 1, place + 1)].node) },
    { keys: "Shift+ArrowUp PageUp ArrowLeft", says: "beam before", act: () => items.length && onChoose(items[Math.max(0, place - 1)].node) },
  ], [items, place]);
  if (found.error) return html`<div class="page-body"><${Failure} error=${found.error} again=${found.again} /></div>`;
  if (!found.value) return html`<div class="page-body"><${Loading} /></div>`;
  if (!items.length) return html`<${Empty} title="No beams yet">Beam out from the root: the side panel shows what the model could say first.<//>`;
  const marks = (/** @type {any} */ each) => {
    const i = at.get(each.node), flags = i === undefined ? 0 : nodes.flags[i];
    return html`${flags & FLAGS.pinned ? html`<span class="mark good"><${Icon} name="pin" size=${11} />pinned</span>` : ""}${flags & FLAGS.kept ? html`<span class="mark good">kept</span>` : ""}${flags & FLAGS.bookmarked ? html`<span class="mark info">bookmark</span>` : ""}
      ${nodes.completion[each.node] ? html`<span class="mark">saved ${nodes.completion[each.node]}</span>` : ""}${nodes.dead[each.node] ? html`<span class="mark" title=${nodes.dead[each.node]}>given up</span>` : ""}${twins.has(each.node) ? html`<span class="mark warn" title="Another beam reads the same, by other tokens">twin</span>` : ""}
      ${i !== undefined && nodes.ended[i] ? html`<span class="mark">EOS</span>` : html`<span class="mark truncated">truncated</span>`}`;
  };
  const value = (/** @type {any} */ each) => (by === "entropy" ? `${fixed(each.value)} nats` : by === "cumulative" ? fixed(each.value, 2) : percent(Math.exp(each.value)));
  if (shape === "list") {
    return html`<${VirtualList} count=${items.length} height=${46} label="Beams" current=${place} row=${(/** @type {number} */ i) => html`<button type="button" class=${`beam-row ${items[i].node === current ? "current" : ""}`} onClick=${() => onChoose(items[i].node)}>
      <span class="reading clip"><bdi>${items[i].text}</bdi></span><span class="row">${marks(items[i])}</span><span class="number" style=${{ minWidth: "74px", textAlign: "right" }}>${value(items[i])}</span></button>`} />`;
  }
  return html`<div class="beam-grid">${items.slice(0, 300).map((/** @type {any} */ each, /** @type {number} */ i) => html`<button type="button" class=${`card beam-card ${each.node === current ? "selected" : ""}`} key=${each.node} onClick=${() => onChoose(each.node)}>
    <span class="row"><strong class="number">${i + 1}</strong><span class="number muted">${value(each)}</span><span class="push row wrap">${marks(each)}</span></span><span class="reading"><bdi>${each.text}</bdi></span></button>`)}</div>`;
}
