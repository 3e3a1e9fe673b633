/** A beam tree on a canvas: only what is in sight is drawn, so that thousands of nodes pan and zoom as one sheet. */

import { FLAGS, layOut, wayTo } from "../domain/tree_layout.js";
import { stepOf } from "../domain/heatmap.js";
import { visible } from "../domain/text.js";
import { html, useEffect, useLayoutEffect, useMemo, useRef } from "../preact.js";
import { palette, theme } from "../state.js";

/** @import { Nodes } from "../types.js" */
/** @import { Layout } from "../domain/tree_layout.js" */

const ROW = 30, UNIT = 7.9, PAD = 10, HEIGHT = 22;

/** @param {Nodes} nodes @param {number} index */
export function wordOf(nodes, index) {
  return nodes.parent[index] === null ? "•" : visible(nodes.vocabulary[nodes.token[index]] ?? "");
}

/** The layout of the nodes as this canvas draws them. @param {Nodes} nodes @param {ReadonlySet<number>} collapsed */
export function useLayout(nodes, collapsed) {
  return useMemo(() => layOut(nodes, { width: (i) => [...wordOf(nodes, i)].length + 1.6, collapsed, gap: 1.1 }), [nodes, collapsed]);
}

/** Where the view is: a node's place in the window is its place on the sheet × scale + (x, y). */
export const newView = () => ({ x: 40, y: 60, scale: 1 });

/**
 * @param {{ nodes: Nodes, layout: Layout, current: number, collapsed: ReadonlySet<number>, marks: ReadonlyMap<number, string>, view: { current: { x: number, y: number, scale: number } },
 *   onChoose: (id: number) => void, onToggle: (id: number) => void, again: { current: () => void } }} props
 *   current: an id; marks: by id, states of a re-ranking; again: set to what draws anew
 */
export function TreeCanvas({ nodes, layout, current, collapsed, marks, view, onChoose, onToggle, again }) {
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const frame = useRef(0);
  const rows = useMemo(() => {
    // Nodes by row, from left to right: what is in sight is found without looking at the rest.
    const found = /** @type {number[][]} */ (Array.from({ length: layout.rows }, () => []));
    for (const i of layout.order) found[layout.row[i]].push(i);
    return found;
  }, [layout]);
  // A row's first node alone hangs under another row: this is that row.
  const above = useMemo(() => Int32Array.from(rows, (row) => layout.row[layout.parent[row[0]]] ?? -1), [rows]);
  const widths = useMemo(() => Float64Array.from(nodes.id, (_, i) => ([...wordOf(nodes, i)].length + 1.6) * UNIT), [nodes]);
  const words = useMemo(() => nodes.id.map((_, i) => wordOf(nodes, i)), [nodes]);
  const draw = () => {
    frame.current = 0;
    const it = canvas.current;
    if (!it) return;
    const paint = /** @type {CanvasRenderingContext2D} */ (it.getContext("2d")), ratio = devicePixelRatio;
    const width = it.clientWidth, height = it.clientHeight;
    if (it.width !== Math.round(width * ratio) || it.height !== Math.round(height * ratio)) {
      it.width = Math.round(width * ratio);
      it.height = Math.round(height * ratio);
    }
    const style = getComputedStyle(document.documentElement), colour = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
    const [surface, text, muted, line, strong, accent, soft, focus, danger] = ["--surface", "--text", "--muted", "--line", "--line-strong", "--accent", "--accent-soft", "--focus", "--danger"].map(colour);
    const heat = Array.from({ length: 7 }, (_, step) => [step ? colour(`--heat-${step}`) : surface, step ? colour(`--heat-${step}-text`) : "inherit"]);
    const { x, y, scale } = view.current;
    paint.setTransform(ratio, 0, 0, ratio, 0, 0);
    paint.clearRect(0, 0, width, height);
    paint.setTransform(ratio * scale, 0, 0, ratio * scale, ratio * x, ratio * y);
    const left = -x / scale, right = (width - x) / scale, first = Math.max(0, Math.floor(-y / scale / ROW) - 1), last = Math.min(layout.rows - 1, Math.ceil((height - y) / scale / ROW));
    const at = layout.at.get(current), way = new Set(at === undefined ? [] : wayTo(layout, at));
    const small = scale < 0.45;
    const px = (/** @type {number} */ i) => layout.x[i] * UNIT, py = (/** @type {number} */ i) => layout.row[i] * ROW;
    // Lines first: to its parent from each node in sight, and from those below the window whose parent is in it or above.
    for (let pass = 0; pass < 2; pass++) {
      paint.beginPath();
      paint.strokeStyle = pass ? accent : strong;
      paint.lineWidth = pass ? 2 : 1.2;
      const edge = (/** @type {number} */ i) => {
        const parent = layout.parent[i];
        if (parent < 0 || way.has(i) !== Boolean(pass)) return;
        const x0 = px(parent) + widths[parent], y0 = py(parent), x1 = px(i), y1 = py(i);
        if (Math.max(x0, x1) < left || Math.min(x0, x1) > right) return;
        paint.moveTo(x0, y0);
        if (y1 === y0) return void paint.lineTo(x1, y1);
        const bend = x0 + (x1 - x0) / 2;
        if (small) {
          paint.lineTo(bend, y1);
          return void paint.lineTo(x1, y1);
        }
        paint.bezierCurveTo(bend, y0, bend, y1, x1, y1);
      };
      for (let row = first; row <= last; row++) rows[row].forEach(edge);
      for (let row = last + 1; row < layout.rows; row++) if (above[row] >= 0 && above[row] <= last) edge(rows[row][0]);
      paint.stroke();
    }
    paint.font = `500 13px ${colour("--font-mono")}`;
    paint.textBaseline = "middle";
    // From afar a node is a block of its colour: thousands of them are a few paths.
    const blocks = /** @type {Map<string, Path2D>} */ (new Map());
    for (let row = first; row <= last; row++) {
      for (const i of rows[row]) {
        const x0 = px(i), w = widths[i];
        if (x0 + w < left) continue;
        if (x0 > right) break;
        const y0 = py(i), flags = nodes.flags[i], id = nodes.id[i], dead = nodes.dead[id], mark = marks.get(id);
        const pruned = Boolean(flags & FLAGS.pruned) || Boolean(dead) || (mark !== undefined && ["removed", "crowded", "stopped"].includes(mark));
        const step = nodes.logprob[i] === null ? 0 : stepOf("probability", Math.exp(/** @type {number} */ (nodes.logprob[i]))) ?? 0;
        if (small && id !== current && !way.has(i) && !mark && !(flags & FLAGS.pinned)) {
          const style_ = pruned || !step ? line : heat[step][0];
          let block = blocks.get(style_);
          if (!block) blocks.set(style_, (block = new Path2D()));
          block.rect(x0, y0 - HEIGHT / 2, w, HEIGHT);
          continue;
        }
        paint.globalAlpha = pruned ? 0.45 : 1;
        paint.fillStyle = way.has(i) && step === 0 ? soft : heat[step][0];
        paint.strokeStyle = id === current ? focus : mark === "best" || mark === "finished" ? accent : flags & FLAGS.pinned ? accent : nodes.parent[i] === null ? strong : line;
        paint.lineWidth = id === current ? 2.5 : mark === "best" || flags & FLAGS.pinned ? 2 : 1;
        paint.setLineDash(pruned ? [3, 3] : []);
        paint.beginPath();
        paint.roundRect(x0, y0 - HEIGHT / 2, w, HEIGHT, 5);
        paint.fill();
        paint.stroke();
        paint.setLineDash([]);
        if (small) continue;
        const ink = heat[step][1];
        paint.fillStyle = ink === "inherit" || ink === "" ? text : ink;
        paint.fillText(words[i], x0 + 6, y0 + 1);
        if (pruned) {
          paint.strokeStyle = paint.fillStyle;
          paint.lineWidth = 1;
          paint.beginPath();
          paint.moveTo(x0 + 4, y0);
          paint.lineTo(x0 + w - 4, y0);
          paint.stroke();
        }
        paint.globalAlpha = 1;
        let badge = x0 + w - 3;
        const dot = (/** @type {string} */ fill, /** @type {string} */ letter) => {
          paint.fillStyle = fill;
          paint.beginPath();
          paint.arc(badge, y0 - HEIGHT / 2, 6.5, 0, 7);
          paint.fill();
          paint.fillStyle = surface;
          paint.font = `700 8.5px ${colour("--font-ui")}`;
          paint.textAlign = "center";
          paint.fillText(letter, badge, y0 - HEIGHT / 2 + 0.5);
          paint.textAlign = "left";
          paint.font = `500 13px ${colour("--font-mono")}`;
          badge -= 13;
        };
        if (flags & FLAGS.pinned) dot(accent, "P");
        if (flags & FLAGS.kept) dot(accent, "K");
        if (flags & FLAGS.bookmarked) dot(focus, "B");
        if (nodes.completion[id]) dot(muted, "S");
        if (nodes.ended[i]) dot(text, "■");
        if (dead) dot(danger, "×");
        if (collapsed.has(id) && layout.children[i].length) {
          paint.fillStyle = muted;
          paint.fillText(`+${layout.children[i].length} …`, x0 + w + 5, y0 + 1);
        }
      }
    }
    paint.globalAlpha = 1;
    for (const [style_, block] of blocks) {
      paint.fillStyle = style_;
      paint.fill(block);
    }
  };
  const request = () => {
    if (!frame.current) frame.current = requestAnimationFrame(draw);
  };
  again.current = request;
  useLayoutEffect(request);
  useEffect(() => {
    const it = /** @type {HTMLCanvasElement} */ (canvas.current), watch = new ResizeObserver(request);
    watch.observe(it);
    document.fonts.ready.then(request);
    const wheel = (/** @type {WheelEvent} */ event) => {
      event.preventDefault();
      const at = view.current;
      if (event.ctrlKey || event.metaKey) {
        const next = Math.min(2.5, Math.max(0.12, at.scale * Math.exp(-event.deltaY * 0.004)));
        at.x = event.offsetX - ((event.offsetX - at.x) * next) / at.scale;
        at.y = event.offsetY - ((event.offsetY - at.y) * next) / at.scale;
        at.scale = next;
      } else {
        at.x -= event.shiftKey ? event.deltaY : event.deltaX;
        at.y -= event.shiftKey ? 0 : event.deltaY;
      }
      again.current();
    };
    it.addEventListener("wheel", wheel, { passive: false });
    return () => {
      watch.disconnect();
      it.removeEventListener("wheel", wheel);
      cancelAnimationFrame(frame.current);
    };
  }, []);
  const find = (/** @type {number} */ mx, /** @type {number} */ my) => {
    const { x, y, scale } = view.current, sx = (mx - x) / scale, sy = (my - y) / scale, row = Math.round(sy / ROW);
    if (row < 0 || row >= layout.rows || Math.abs(sy - row * ROW) > HEIGHT / 2) return -1;
    return rows[row].find((i) => sx >= layout.x[i] * UNIT && sx <= layout.x[i] * UNIT + widths[i]) ?? -1;
  };
  const down = (/** @type {PointerEvent} */ event) => {
    const it = /** @type {HTMLCanvasElement} */ (canvas.current), from = { x: event.clientX - view.current.x, y: event.clientY - view.current.y };
    let moved = false;
    it.setPointerCapture(event.pointerId);
    const move = (/** @type {PointerEvent} */ to) => {
      if (!moved && Math.hypot(to.clientX - event.clientX, to.clientY - event.clientY) < 4) return;
      moved = true;
      view.current.x = to.clientX - from.x;
      view.current.y = to.clientY - from.y;
      again.current();
    };
    it.addEventListener("pointermove", move);
    it.addEventListener("pointerup", (up) => {
      it.removeEventListener("pointermove", move);
      if (moved) return;
      const found = find(up.offsetX, up.offsetY);
      if (found >= 0) onChoose(nodes.id[found]);
    }, { once: true });
  };
  void (palette.value + theme.value);
  const at = layout.at.get(current);
  return html`<canvas ref=${canvas} class="tree-canvas" tabindex="0" role="application" aria-roledescription="beam tree" aria-label=${`Beam tree with ${nodes.id.length} nodes. ${at === undefined ? "" : `Chosen: ${words[at]}`}. Arrow keys walk along branches.`}
    onPointerDown=${down} onDblClick=${(/** @type {any} */ event) => { const found = find(event.offsetX, event.offsetY); if (found >= 0) onToggle(nodes.id[found]); }}></canvas>`;
}

/** Move the view so that a node is in sight. @param {Layout} layout @param {number} index @param {{ x: number, y: number, scale: number }} view @param {{ width: number, height: number }} size */
export function bringIntoSight(layout, index, view, size) {
  const x = layout.x[index] * UNIT * view.scale + view.x, y = layout.row[index] * ROW * view.scale + view.y;
  if (x < PAD * 4) view.x += PAD * 8 - x;
  if (x > size.width - 160) view.x -= x - (size.width - 220);
  if (y < 40) view.y += 60 - y;
  if (y > size.height - 40) view.y -= y - (size.height - 80);
}

/** A view in which the whole tree is seen. @param {Layout} layout @param {{ width: number, height: number }} size */
export function whole(layout, size) {
  const scale = Math.max(0.12, Math.min(1, (size.width - 80) / Math.max(1, layout.width * UNIT), (size.height - 90) / Math.max(1, layout.rows * ROW)));
  return { x: 40, y: 50, scale };
}
