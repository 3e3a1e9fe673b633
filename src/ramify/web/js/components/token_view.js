/**
 * Tokens on a page, tens of thousands of them. All text is there, so it can be searched and selected, but only chunks near the
 * window are cut into tokens with colours; the rest is one text node a chunk. Changing the measure repaints what is in sight.
 */

import { heatClass, stepsOf } from "../domain/heatmap.js";
import { paragraphs } from "../domain/tokens.js";
import { pieces } from "../domain/text.js";
import { html, useLayoutEffect, useRef } from "../preact.js";

/** @import { Tokens } from "../types.js" */
/** @import { Measure } from "../domain/heatmap.js" */
/** @typedef {{ tokens: Tokens, measure: Measure | "none" | "origin", other?: Tokens | null, origins?: string[], whitespace?: boolean }} Shown */

/** Whether two say the same tokens; arrays that grow in place are never taken for it. @param {Tokens} a @param {Tokens} b */
function alike(a, b) {
  if (a === b) return true;
  if (a.ids === b.ids || a.start !== b.start || a.ids.length !== b.ids.length || a.special.join() !== b.special.join()) return false;
  for (let i = 0; i < a.ids.length; i++) if (a.ids[i] !== b.ids[i] || a.text[i] !== b.text[i]) return false;
  return true;
}

/** Tokens of a group of paragraphs, about. */
const GROUP = 480;

/** @param {Element} group */
const chunksOf = (group) => /** @type {HTMLElement[]} */ ([...group.children].flatMap((block) => [...block.children]));

export class TokenView {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    /** @type {Shown | null} */
    this.shown = null;
    /** @type {Int8Array | null} */
    this.steps = null;
    /** @type {number[]} first index of each group */
    this.starts = [];
    this.chosen = -1;
    this.live = new Set(/** @type {HTMLElement[]} */ ([]));
    this.near = new Set(/** @type {HTMLElement[]} */ ([]));
    this.watch = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) this.#set(/** @type {HTMLElement} */ (target), isIntersecting);
    }, { rootMargin: "600px 0px" });
    // Chunks are watched in groups near the window only: a browser looks at all that is watched in every frame.
    this.groups = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) this.#follow(/** @type {HTMLElement} */ (target), isIntersecting);
    }, { rootMargin: "1200px 0px" });
  }

  close() {
    this.watch.disconnect();
    this.groups.disconnect();
  }

  /** @param {HTMLElement} group @param {boolean} near */
  #follow(group, near) {
    if (near) this.near.add(group);
    else this.near.delete(group);
    for (const chunk of chunksOf(group)) {
      if (near) this.watch.observe(chunk);
      else {
        this.watch.unobserve(chunk);
        this.#set(chunk, false);
      }
    }
  }

  /** @param {Shown} shown */
  update(shown) {
    const before = this.shown;
    this.shown = shown;
    const { tokens, measure, other = null } = shown;
    this.steps = measure === "none" || measure === "origin" ? null : stepsOf(measure, tokens, other);
    const grown = before && before.tokens.ids === tokens.ids && before.tokens.start === tokens.start;
    // The same text under another measure or from another answer stays where it is: a click that falls in between is not lost.
    if (!(before && alike(before.tokens, tokens))) this.#lay(Boolean(grown));
    const cut = before && Boolean(before.whitespace) !== Boolean(shown.whitespace);
    for (const chunk of this.live) cut ? this.#set(chunk, true, true) : this.#paint(chunk);
  }

  /** Lay out the text: all of it, or what grew behind the last chunk, which is laid out anew. @param {boolean} grown */
  #lay(grown) {
    const { text } = /** @type {Shown} */ (this.shown).tokens;
    let group = /** @type {HTMLElement | null} */ (null), block = /** @type {HTMLElement | null} */ (null), start = 0;
    const last = grown ? /** @type {HTMLElement | null} */ (this.root.lastElementChild?.lastElementChild?.lastElementChild ?? null) : null;
    if (last) {
      group = /** @type {HTMLElement} */ (this.root.lastElementChild);
      block = /** @type {HTMLElement} */ (last.parentElement);
      start = Number(last.dataset.from);
      this.watch.unobserve(last);
      this.live.delete(last);
      last.remove();
    } else {
      this.watch.disconnect();
      this.groups.disconnect();
      this.live.clear();
      this.near.clear();
      this.root.replaceChildren();
      this.starts = [];
    }
    const added = /** @type {HTMLElement[]} */ ([]);
    for (const chunks of paragraphs(text, 96, start)) {
      if (!block) {
        block = document.createElement("div");
        block.className = "paragraph";
        if (!group || chunks[0][0] - this.starts[this.starts.length - 1] >= GROUP) {
          group = document.createElement("div");
          group.className = "group";
          this.starts.push(chunks[0][0]);
          this.root.append(group);
          this.groups.observe(group);
        }
        group.append(block);
      }
      for (const [first, end] of chunks) {
        const chunk = document.createElement("span");
        chunk.dataset.from = String(first);
        chunk.dataset.to = String(end);
        chunk.textContent = text.slice(first, end).join("");
        block.append(chunk);
        added.push(chunk);
        if (group && this.near.has(group)) this.watch.observe(chunk);
      }
      block = null;
    }
    // What is being written is at the end, and in sight more often than not: no flash of uncoloured text.
    if (last) for (const chunk of added.slice(-3)) this.#set(chunk, true);
  }

  /** @param {HTMLElement} chunk @param {boolean} seen @param {boolean} [anew] though it is so already */
  #set(chunk, seen, anew = false) {
    if (seen === this.live.has(chunk) && !anew) return;
    const { tokens, whitespace } = /** @type {Shown} */ (this.shown);
    const from = Number(chunk.dataset.from), to = Number(chunk.dataset.to);
    if (!seen) {
      this.live.delete(chunk);
      chunk.textContent = tokens.text.slice(from, to).join("");
      return;
    }
    this.live.add(chunk);
    const made = document.createDocumentFragment(), special = new Set(tokens.special);
    for (let i = from; i < to; i++) {
      const span = document.createElement("span");
      span.dataset.i = String(i);
      const text = tokens.text[i];
      if (!whitespace) span.textContent = text;
      else {
        for (const piece of pieces(text)) {
          if (!piece.mark) span.append(piece.text);
          else {
            const mark = document.createElement("span");
            mark.className = "ws";
            mark.dataset.m = piece.mark;
            mark.textContent = piece.text;
            span.append(mark);
          }
        }
      }
      if (text === "" && special.has(tokens.ids[i])) span.dataset.label = tokens.vocabulary[tokens.ids[i]] ?? "";
      made.append(span);
    }
    chunk.replaceChildren(made);
    this.#paint(chunk);
  }

  /** @param {HTMLElement} chunk */
  #paint(chunk) {
    const { tokens, measure, origins } = /** @type {Shown} */ (this.shown);
    for (const span of /** @type {Iterable<HTMLElement>} */ (chunk.children)) {
      const i = Number(span.dataset.i);
      let name = "token";
      if (this.steps) name += ` ${heatClass(/** @type {Measure} */ (measure), this.steps[i])}`;
      else if (measure === "origin" && origins?.[i + tokens.start]) name += ` origin-${origins[i + tokens.start]}`;
      if (span.dataset.label !== undefined) name += " special";
      if (i === this.chosen) name += " chosen";
      if (span.className !== name) span.className = name;
    }
  }

  /** Mark one token, and bring it into sight. @param {number} index -1 for none */
  choose(index, scroll = true) {
    const before = this.chosen;
    this.chosen = index;
    this.span(before)?.classList.remove("chosen");
    if (index < 0 || !this.shown) return;
    let low = 0, high = this.starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.starts[middle] <= index) low = middle;
      else high = middle - 1;
    }
    const chunk = this.root.children[low] && chunksOf(this.root.children[low]).find((each) => Number(each.dataset.to) > index);
    if (chunk) this.#set(chunk, true);
    const span = this.span(index);
    span?.classList.add("chosen");
    if (span && scroll) span.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  /** @param {number} index @returns {HTMLElement | null} */
  span(index) {
    return index < 0 ? null : this.root.querySelector(`[data-i="${index}"]`);
  }

  /** The token one visual line up or down, nearest to where `index` stands. @param {number} index @param {1 | -1} step */
  lineFrom(index, step) {
    const from = this.span(index)?.getClientRects()[0];
    if (!from || !this.shown) return index;
    const middle = (from.left + from.right) / 2;
    let best = index, bestY = 0, bestX = Infinity;
    for (let i = index + step, looked = 0; i >= 0 && i < this.shown.tokens.ids.length && looked < 400; i += step, looked++) {
      const box = this.span(i)?.getClientRects()[0];
      if (!box || Math.abs(box.top - from.top) < 6) continue;
      if (bestY && Math.abs(box.top - bestY) > 6) break;
      bestY ||= box.top;
      const distance = Math.abs((box.left + box.right) / 2 - middle);
      if (distance < bestX) [best, bestX] = [i, distance];
    }
    return best;
  }
}

/**
 * @param {Shown & { mono?: boolean, chosen?: number, label?: string, onToken?: (index: number, event: MouseEvent) => void,
 *   onHover?: (index: number, span: HTMLElement | null) => void, view?: { current: TokenView | null } }} props indices count from `tokens.start`
 */
export function TokenText({ tokens, measure, other, origins, whitespace = false, mono = false, chosen = -1, label = "Tokens", onToken, onHover, view }) {
  const root = useRef(/** @type {HTMLElement | null} */ (null)), held = useRef(/** @type {TokenView | null} */ (null));
  const indexOf = (/** @type {Event} */ event) => /** @type {HTMLElement | null} */ (/** @type {HTMLElement} */ (event.target).closest?.("[data-i]"));
  useLayoutEffect(() => {
    const made = (held.current = new TokenView(/** @type {HTMLElement} */ (root.current)));
    if (view) view.current = made;
    return () => made.close();
  }, []);
  useLayoutEffect(() => held.current?.update({ tokens, measure, other, origins, whitespace }), [tokens, measure, other, origins, whitespace]);
  // Before the page is painted: a key's mark is in the next frame.
  useLayoutEffect(() => held.current?.choose(chosen), [chosen, tokens]);
  return html`<div ref=${root} class=${`tokens ${whitespace ? "show-ws" : ""} ${mono ? "mono" : ""}`} role="document" aria-label=${label}
    onClick=${(/** @type {any} */ event) => { const span = indexOf(event); if (span && getSelection()?.isCollapsed !== false) onToken?.(Number(span.dataset.i), event); }}
    onMouseOver=${(/** @type {any} */ event) => { const span = indexOf(event); if (span) onHover?.(Number(span.dataset.i), span); }}
    onMouseLeave=${() => onHover?.(-1, null)}></div>`;
}
