/** Drafts as they grow. One stream carries all of them; each is a signal, so a token redraws its own card and nothing else. */

import { api } from "./api.js";
import { changed, connected, sayError } from "./state.js";
import { signal } from "./preact.js";
import { joined } from "./domain/tokens.js";
import { listen } from "./sse.js";

/** @import * as T from "./types.js" */
/** @typedef {{ completion: T.Completion, tokens: T.Tokens | null, text: string }} Growing */

/** @type {Map<number, import("./preact.js").Signal<Growing | null>>} */
const known = new Map();
/** Ids of drafts that are being made now. */
export const running = signal(/** @type {ReadonlySet<number>} */ (new Set()));

/** Ids of drafts that lists may not have yet: a card of its own is there before the list is asked for again. */
export const fresh = signal(/** @type {ReadonlySet<number>} */ (new Set()));

/** A list that was asked for while these ran has all others. @param {ReadonlySet<number>} ran */
export function listed(ran) {
  const left = new Set([...fresh.peek()].filter((id) => ran.has(id)));
  if (left.size !== fresh.peek().size) fresh.value = left;
}

/** @param {number} id */
export function draftSignal(id) {
  let found = known.get(id);
  if (!found) known.set(id, (found = signal(/** @type {Growing | null} */ (null))));
  return found;
}

/** @param {number} id @param {boolean} on */
function setRunning(id, on) {
  if (running.value.has(id) === on) return;
  const next = new Set(running.value);
  if (on) next.add(id);
  else next.delete(id);
  running.value = next;
  if (on) fresh.value = new Set([...fresh.peek(), id]);
}

/** @param {{ event: string, data: string }} event */
export function takeDraftEvent({ event, data }) {
  const body = JSON.parse(data);
  const at = draftSignal(body.draft);
  if (event === "snapshot") {
    at.value = { completion: body.completion, tokens: body.tokens ?? null, text: body.text };
    setRunning(body.draft, body.completion.running);
  } else if (event === "tokens") {
    if (!at.value) return;
    const tokens = at.value.tokens ? joined(at.value.tokens, body.tokens) : body.tokens;
    at.value = { completion: at.value.completion, tokens, text: at.value.text + body.text };
  } else if (event === "end" || event === "error") {
    at.value = { completion: body.completion, tokens: at.value?.tokens ?? null, text: body.completion.text };
    setRunning(body.draft, false);
    changed.value += 1;
    if (event === "error") sayError(new Error(body.error.message));
  } else if (event === "gone") {
    setRunning(body.draft, false);
    at.value = null;
    changed.value += 1;
  }
}

/** A draft that was just begun, before its first event. @param {T.Completion[]} items */
export function expectDrafts(items) {
  for (const completion of items) {
    const at = draftSignal(completion.id);
    if (!at.value) at.value = { completion, tokens: null, text: completion.text };
    setRunning(completion.id, completion.running);
  }
}

export function followDrafts() {
  const stop = new AbortController();
  listen((after) => api.draftEvents(after, stop.signal), takeDraftEvent, {
    signal: stop.signal,
    state: (on) => {
      connected.value = on;
    },
  });
  return () => stop.abort();
}
