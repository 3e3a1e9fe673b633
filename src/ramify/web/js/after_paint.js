/** What can wait until the frame was painted: a key's mark is seen at once, the panel about it a frame later. */

import { options } from "./preact.js";

let waiting = /** @type {(() => void) | null} */ (null);

/** Do this after the next frame; it takes the place of what waits already. @param {() => void} work */
export function afterPaint(work) {
  const first = !waiting;
  waiting = work;
  if (!first) return;
  requestAnimationFrame(() => {
    const behind = new MessageChannel();
    behind.port1.onmessage = settle;
    behind.port2.postMessage(0);
  });
  // A page that is not in sight has no frames.
  setTimeout(settle, 100);
}

/** Do what waits now, and draw what it changes before this returns: a key that comes early finds the page as it should be. */
export function settle() {
  if (!waiting) return;
  const work = waiting, before = options.debounceRendering;
  waiting = null;
  options.debounceRendering = (draw) => draw();
  try {
    work();
  } finally {
    options.debounceRendering = before;
  }
}
