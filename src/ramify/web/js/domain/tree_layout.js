/**
 * A beam tree laid out to be read: text runs to the right, a leaf has a row of its own. A node's best child goes on in its row,
 * its other children begin rows below, each behind the node they hang under. Linear in the number of nodes.
 */

/** @import { Nodes } from "../types.js" */

export const FLAGS = { pinned: 1, kept: 2, pruned: 4, bookmarked: 8, looked: 16 };

/**
 * @typedef {object} Layout
 * @property {Int32Array} order indices of the nodes that are shown, parents before children
 * @property {Float64Array} x left edge, in characters
 * @property {Int32Array} row
 * @property {Int32Array} parent index of the parent, -1 for the root
 * @property {number[][]} children indices, best first
 * @property {Map<number, number>} at node id → index
 * @property {number} rows
 * @property {number} width in characters
 */

/**
 * @param {Nodes} nodes parents before children
 * @param {{ width: (index: number) => number, collapsed?: ReadonlySet<number>, gap?: number }} options width: of a node, in
 *   characters; collapsed: ids whose children are not shown
 * @returns {Layout}
 */
export function layOut(nodes, { width, collapsed = new Set(), gap = 1 }) {
  const size = nodes.id.length;
  const at = new Map(nodes.id.map((id, index) => [id, index]));
  const parent = new Int32Array(size).fill(-1);
  const children = /** @type {number[][]} */ (Array.from({ length: size }, () => []));
  for (let i = 0; i < size; i++) {
    const above = nodes.parent[i];
    const found = above === null ? undefined : at.get(above);
    if (found === undefined) continue;
    parent[i] = found;
    children[found].push(i);
  }
  const likelihood = (/** @type {number} */ i) => nodes.logprob[i] ?? -Infinity;
  for (const each of children) if (each.length > 1) each.sort((a, b) => likelihood(b) - likelihood(a) || nodes.id[a] - nodes.id[b]);
  const x = new Float64Array(size), row = new Int32Array(size).fill(-1), order = [];
  let rows = 0, widest = 0;
  // Depth first, best child first: a node that is nobody's best child begins the next free row.
  const waiting = /** @type {number[]} */ ([]);
  for (let i = size - 1; i >= 0; i--) if (parent[i] < 0) waiting.push(i);
  while (waiting.length) {
    const i = /** @type {number} */ (waiting.pop()), above = parent[i];
    x[i] = above < 0 ? 0 : x[above] + width(above) + gap;
    row[i] = above >= 0 && children[above][0] === i ? row[above] : rows++;
    widest = Math.max(widest, x[i] + width(i));
    order.push(i);
    if (!collapsed.has(nodes.id[i])) for (let c = children[i].length - 1; c >= 0; c--) waiting.push(children[i][c]);
  }
  return { order: Int32Array.from(order), x, row, parent, children, at, rows, width: widest };
}

/** Indices from the root to a node. @param {Pick<Layout, "parent">} layout @param {number} index */
export function wayTo({ parent }, index) {
  const way = [];
  for (let i = index; i >= 0; i = parent[i]) way.push(i);
  return way.reverse();
}

/**
 * The node one comes to with an arrow key: left and right along a path, up and down among what is nearest in the rows around.
 * @param {Layout} layout @param {number} index @param {"left" | "right" | "up" | "down"} where
 */
export function neighbour(layout, index, where) {
  const { order, x, row, parent, children } = layout;
  if (where === "left") return parent[index] < 0 ? index : parent[index];
  if (where === "right") return children[index].find((each) => row[each] >= 0) ?? index;
  const step = where === "down" ? 1 : -1;
  let best = index, nearest = Infinity;
  for (let wanted = row[index] + step; wanted >= 0 && wanted < layout.rows && nearest === Infinity; wanted += step) {
    for (const each of order) {
      if (row[each] !== wanted) continue;
      const distance = Math.abs(x[each] - x[index]);
      if (distance < nearest) [best, nearest] = [each, distance];
    }
  }
  return best;
}

/** Columns put together: what `added` has replaces or follows what `nodes` has. @param {Nodes} nodes @param {Nodes} added @returns {Nodes} */
export function merged(nodes, added) {
  const at = new Map(nodes.id.map((id, index) => [id, index]));
  const columns = /** @type {const} */ (["id", "parent", "token", "depth", "logprob", "entropy", "rank", "sum_logprob", "min_logprob", "origin", "ended", "flags"]);
  const made = /** @type {any} */ ({ ...nodes });
  for (const name of columns) made[name] = nodes[name].slice();
  for (let i = 0; i < added.id.length; i++) {
    const place = at.get(added.id[i]) ?? made.id.length;
    for (const name of columns) made[name][place] = added[name][i];
    at.set(added.id[i], place);
  }
  made.vocabulary = { ...nodes.vocabulary, ...added.vocabulary };
  const touched = new Set(added.id.map(String));
  const others = (/** @type {Record<string, any>} */ record) => Object.fromEntries(Object.entries(record).filter(([id]) => !touched.has(id)));
  made.dead = { ...others(nodes.dead), ...added.dead };
  made.completion = { ...others(nodes.completion), ...added.completion };
  return made;
}
