/** Where one is, as an address: `#/samples/3?token=…`. Parsing and writing are pure; `address` is the signal pages read. */

import { signal } from "./preact.js";

/** @typedef {{ page: string, parts: string[], query: Record<string, string> }} Address */

/**
 * "#/samples/3/compare/4/5?at=2" → page "samples", parts ["3", "compare", "4", "5"], query {at: "2"}.
 *
 * @param {string} hash
 * @returns {Address}
 */
export function parseAddress(hash) {
  const [path, query = ""] = hash.replace(/^#/, "").split("?");
  const parts = path.split("/").filter(Boolean).map(decoded);
  return { page: parts[0] ?? "library", parts: parts.slice(1), query: Object.fromEntries(new URLSearchParams(query)) };
}

/**
 * @param {(string | number)[]} parts
 * @param {Record<string, string | number | null | undefined>} [query] what is null or empty is left out
 */
export function writeAddress(parts, query = {}) {
  const kept = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const text = new URLSearchParams(kept.map(([name, value]) => [name, String(value)])).toString();
  return `#/${parts.map((part) => encodeURIComponent(part)).join("/")}${text ? `?${text}` : ""}`;
}

/** @param {string} part */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export const address = signal(parseAddress(""));

/** @param {(string | number)[]} parts @param {Record<string, any>} [query] */
export function go(parts, query = {}) {
  write();
  location.hash = writeAddress(parts, query);
}

/**
 * The same, without a step for the browser's back button: for what changes while one looks at a page. Pages see it at once; the
 * address bar a moment later, for browsers slow down and then refuse addresses that change with every key of a held arrow.
 */
export function replaceQuery(/** @type {Record<string, any>} */ query) {
  const { page, parts, query: before } = address.value;
  const next = writeAddress([page, ...parts], { ...before, ...query });
  address.value = parseAddress(next);
  waiting ??= { next, timer: window.setTimeout(write, 120) };
  waiting.next = next;
}

let waiting = /** @type {{ next: string, timer: number } | null} */ (null);

/** Put what waits into the address bar. */
function write() {
  if (!waiting) return;
  const { next, timer } = waiting;
  waiting = null;
  clearTimeout(timer);
  history.replaceState(null, "", next);
}

/**
 * Begin to follow the address bar. Returns the access token that the fragment held (`#token=…`, or `?token=…` behind a page),
 * "" where it held none; it is taken out of the address.
 */
export function followAddress() {
  const read = () => {
    if (waiting) clearTimeout(waiting.timer);
    waiting = null;
    address.value = parseAddress(location.hash);
  };
  const found = parseAddress(location.hash.replace(/^#token=/, "#/?token="));
  const { token = "", ...rest } = found.query;
  if (token) history.replaceState(null, "", writeAddress(found.page === "library" && !found.parts.length ? [] : [found.page, ...found.parts], rest));
  read();
  window.addEventListener("hashchange", read);
  // A link that is clicked leaves from the place one is at.
  window.addEventListener("click", write, true);
  window.addEventListener("pagehide", write);
  return token;
}
