/** Alternatives of a long completion, fetched by windows around what is looked at, and kept. */

import { api } from "../api.js";
import { useEffect, useRef, useState } from "../preact.js";

/** @import { Tokens } from "../types.js" */

const SIZE = 256;

/**
 * A function from a position to the window of tokens around it, with alternatives; null while it is on its way.
 * @param {number | null} id null while there are no tokens @param {string} model @param {string} version what was fetched of another version is dropped
 * @param {Tokens | null} live a growing draft brings its own
 */
export function useWindows(id, model, version, live) {
  const [, redraw] = useState(0);
  const kept = useRef({ key: "", windows: new Map(/** @type {[number, Tokens | null][]} */ ([])) });
  const key = `${id}/${model}/${version}`;
  if (kept.current.key !== key) kept.current = { key, windows: new Map() };
  useEffect(() => {
    if (!live) want(0);
  }, [key, Boolean(live)]);
  const want = (/** @type {number} */ at) => {
    const { windows } = kept.current;
    if (id === null || windows.has(at)) return;
    windows.set(at, null);
    api.tokens(id, { model: model || undefined, start: at * SIZE, end: (at + 1) * SIZE, alternatives: 10 }).then((tokens) => {
      windows.set(at, tokens);
      redraw((n) => n + 1);
    }, () => windows.delete(at));
  };
  return (/** @type {number} */ position) => {
    if (live?.alternative_offsets && position >= live.start) return live;
    const at = Math.floor(position / SIZE), found = kept.current.windows.get(at);
    if (found === undefined) want(at);
    return found && position >= found.start && position < found.start + found.ids.length ? found : null;
  };
}
