/** Filters as a person builds them (rows under "all of" or "any of"), as the server takes them, and as words. */

/** @import { FilterField } from "../types.js" */
/** @typedef {{ field: string, op: string, value: any, facet?: string, model?: string, not?: boolean }} Row */
/** @typedef {{ match: "all" | "any", rows: Row[] }} Built */

/** The server's form; a condition without a value is left out, and without conditions it is null. @param {Built} built */
export function toFilter({ match, rows }) {
  const parts = rows.filter(({ value }) => value !== "" && value?.length !== 0).map(({ not, ...row }) => {
    const where = Object.fromEntries(Object.entries(row).filter(([name, value]) => value !== undefined && value !== ""));
    return not ? { not: where } : where;
  });
  if (!parts.length) return null;
  return parts.length === 1 ? parts[0] : { [match]: parts };
}

/** The builder's form, or null where the filter is nested deeper than it can show. @param {any} filter @returns {Built | null} */
export function fromFilter(filter) {
  if (!filter) return { match: "all", rows: [] };
  const match = filter.all ? "all" : filter.any ? "any" : null;
  const rows = (match ? filter[match] : [filter]).map((/** @type {any} */ part) => {
    const not = part.not !== undefined;
    const where = not ? part.not : part;
    return where.field ? { ...where, ...(not ? { not: true } : {}) } : null;
  });
  return rows.includes(null) ? null : { match: match ?? "all", rows };
}

const NAMES = {
  text: "completion text", completion_tag: "completion's tag", finish_reason: "ended by", mean_logprob: "mean logprob", min_logprob: "lowest logprob",
  p10_logprob: "10th percentile logprob", sample_archived: "sample archived", sample_hidden: "sample removed from view", sample_created: "sample made",
  created: "completion made", hidden: "removed from view",
};

/** @param {string} field */
export function fieldName(field) {
  return NAMES[field] ?? field.replaceAll("_", " ");
}

/** A condition in words: "rating (brainstorming) ≥ 8", "not truncated". @param {Row} row */
export function inWords({ field, op, value, facet, model, not }) {
  const what = `${fieldName(field)}${facet ? ` (${facet})` : ""}${model ? ` under ${model}` : ""}`;
  if (typeof value === "boolean") return `${value !== Boolean(not) ? "" : "not "}${what}`;
  const sign = { is: "is", in: "is one of", matches: "has", contains: "contains", under: "under", ">=": "≥", "<=": "≤", "!=": "≠" }[op] ?? op;
  return `${not ? "not: " : ""}${what} ${sign} ${Array.isArray(value) ? value.join(", ") : value}`;
}

/** A first value for a field. @param {FilterField} field */
export function emptyRow(field) {
  const value = { flag: true, number: 0, id: 1, time: new Date().toISOString().slice(0, 10) }[field.kind] ?? field.values?.[0] ?? "";
  return { field: field.field, op: field.ops.includes(">=") ? ">=" : field.ops[0], value };
}
