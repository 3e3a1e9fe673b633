/** Imports and exports as a person fills them in, as the server takes them, and what to do about what stays. */

/** @import { Reason } from "../types.js" */
/** @typedef {{ name: string, amount: string, order: string }} FacetRow */

/** "234 MiB", "1.5 kB". @param {number} n */
export function size(n) {
  if (n < 1000) return `${n} bytes`;
  for (const [unit, of] of /** @type {[string, number][]} */ ([["GB", 1e9], ["MB", 1e6], ["kB", 1e3]])) {
    if (n >= of) return `${(n / of).toFixed(n / of < 10 ? 1 : 0)} ${unit}`;
  }
  return "";
}

/** "" for all, "100", "25%": a facet's part. @param {FacetRow} row @returns {{ name: string, count?: number, share?: number, order: string } | string} a sentence where it is not understood */
export function facetPart({ name, amount, order }) {
  const text = amount.trim();
  if (text === "") return { name, order };
  const share = /^(\d+(?:\.\d+)?)\s*%$/.exec(text);
  if (share && Number(share[1]) > 0 && Number(share[1]) <= 100) return { name, share: Number(share[1]) / 100, order };
  if (/^\d+$/.test(text) && Number(text) > 0) return { name, count: Number(text), order };
  return `“${text}” is no amount: leave it empty for all, or write 100 or 25%`;
}

/** What is known of a column, as the server wants it: field → column. @param {Record<string, string>} byColumn */
export function mappingOf(byColumn) {
  return Object.fromEntries(Object.entries(byColumn).filter(([, field]) => field).map(([column, field]) => [field, column]));
}

/** The other way round. @param {Record<string, string>} mapping */
export function byColumn(mapping) {
  return Object.fromEntries(Object.entries(mapping).map(([field, column]) => [column, field]));
}

/** @param {string} text */
export function names(text) {
  return text.split(",").map((each) => each.trim()).filter(Boolean);
}

/** A number that was typed; null where nothing was. @param {string | number | null | undefined} value */
export function number(value) {
  return value === "" || value === null || value === undefined || Number.isNaN(Number(value)) ? null : Number(value);
}

const ADVICE = /** @type {[RegExp, string][]} */ ([
  [/^truncated$/, "Continue it, or edit its end"],
  [/^not rated$|^neither rated/, "Rate it"],
  [/^rated (below|between)/, "Rate it anew, or make a better one"],
  [/^no completion$/, "Generate one, or write it"],
  [/^no pair/, "Rate or compare two of its completions"],
  [/^not measured by/, "Measure it under the target model"],
  [/is too low$/, "Make a likelier one, or lower the bound"],
  [/contradict/, "Withdraw one of the judgements"],
  [/archived$/, "Restore it"],
  [/^too long$/, "Shorten it, or raise the limit"],
  [/^not made by/, "Generate one with the target model"],
  [/^beyond the facet/, "Raise the facet's count or share"],
  [/filter$/, "Change the filter"],
]);

/** What can be done about a reason. @param {string} reason */
export function adviceFor(reason) {
  return ADVICE.find(([sign]) => sign.test(reason))?.[1] ?? "";
}

/** How far a task is, from 0 to 1; null where nobody knows. @param {{ done: number, total: number | null }} task */
export function shareDone({ done, total }) {
  return total ? Math.min(1, done / total) : null;
}
