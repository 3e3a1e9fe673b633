/** The lab's report as it grows, its table in any order, lines of a plot, and a plan from what was filled in. Pure. */

/** @import * as T from "../types.js" */

/** The report with an event in it: a text in its place, a group's tables. @param {T.LabReport} report @param {string} name @param {any} data @returns {T.LabReport} */
export function withNews(report, name, data) {
  if (name === "report" || name === "end") return data.report;
  const place = name === "text" ? data.text.place : data.head.place;
  const groups = report.groups.map((group) => {
    if (group.place !== place) return group;
    if (name === "head") {
      const shared = new Map(data.shared);
      return { ...group, ...data.head, texts: group.texts.map((text) => (shared.has(text.number) ? { ...text, shared: shared.get(text.number) } : text)) };
    }
    const others = group.texts.filter((text) => text.number !== data.text.number);
    return { ...group, texts: [...others, data.text].sort((a, b) => a.number - b.number) };
  });
  return { ...report, groups, run: { ...report.run, done: Math.max(report.run.done, data.done) } };
}

export const COLUMNS = /** @type {const} */ ([
  ["quality", "geometric mean of fluency, coherence, lack of repetition and relevance; higher is better"],
  ["perplexity", "of the model's own text; lower is more expected"],
  ["coherence", "how well each sentence takes up what came before"],
  ["relevance", "what the prompt tells of the text; 0.5: nothing"],
  ["diversity", "shares of different 2-, 3- and 4-grams"],
  ["repetition", "share of 4-grams that stood before; lower is better"],
  ["tokens", "tokens of the completion"],
]);

/**
 * The rows of the experiments' table by a column, largest first; unsorted where it is null. What has no value comes last.
 * @param {readonly T.LabRow[]} rows @param {string | null} column @param {(row: T.LabRow) => number | null | undefined} votes
 */
export function sortedRows(rows, column, votes) {
  if (column === null) return [...rows];
  const value = (/** @type {T.LabRow} */ row) => (column === "votes" ? votes(row) : column in row.averages ? row.averages[column][0] : row[column]) ?? -Infinity;
  return [...rows].sort((a, b) => value(b) - value(a));
}

/** The mean over `width` values around each. @param {readonly number[]} values */
export function smooth(values, width = 9) {
  const half = Math.floor(width / 2);
  return values.map((_, at) => {
    const part = values.slice(Math.max(0, at - half), at + half + 1);
    return part.reduce((a, b) => a + b, 0) / part.length;
  });
}

/** The path of a line in a box. @param {readonly number[]} values @param {{ width: number, height: number, longest: number, top: number }} box */
export function pathOf(values, { width, height, longest, top }) {
  return values.map((value, at) => {
    const x = longest > 1 ? (width * at) / (longest - 1) : 0, y = height * (1 - Math.min(value, top) / top);
    return `${at ? "L" : "M"}${x.toFixed(1)},${y.toFixed(1)}`;
  }).join("");
}

/** A text's tokens in the shape that the token view takes. @param {T.LabTokens} found @returns {T.Tokens} */
export function asTokens(found) {
  const special = new Set(found.special);
  return {
    completion_id: -1, model: "", fingerprint: "", start: 0, total: found.ids.length, ids: found.ids,
    text: found.text.map((text, at) => (special.has(found.ids[at]) ? "" : text)), logprob: found.probability.map((p) => Math.log(p)), rank: found.rank,
    entropy: found.entropy, alternative_offsets: null, alternative_ids: [], alternative_logprobs: [], processed: null,
    vocabulary: found.vocabulary, special: found.special, eos: [],
  };
}

/**
 * What is filled in, as a plan. Raises where an own experiment's settings are no JSON object.
 * @param {T.LabForm} form @param {T.LabPlan} base the plan whose experiments are chosen from @returns {T.LabPlan}
 */
export function planOf(form, base) {
  const repeats = (/** @type {T.LabExperiment} */ each) => (each.title === "sampling" ? form.samples : each.repeats ?? 1);
  const titles = new Set(form.prompts.map((each) => each.title));
  const chosen = base.experiments.filter((each) => form.chosen.includes(each.title)).flatMap((each) => {
    const wanted = (each.prompts ?? []).filter((title) => titles.has(title));
    return (each.prompts ?? []).length && !wanted.length ? [] : [{ ...each, prompts: wanted, repeats: repeats(each) }];
  });
  return {
    name: form.name.trim() || "my plan", max_new_tokens: form.max_new_tokens, seed: form.seed,
    prompts: form.prompts.map(({ title, prompt, json_schema }) => ({ title, prompt, json_schema: json_schema ?? null })),
    experiments: [...chosen, ...form.own.map((each) => ({ title: each.title, settings: each.settings, repeats: each.repeats, prompts: [] }))],
  };
}

/** How many completions a plan makes of one model. @param {T.LabPlan} plan */
export function sizeOf(plan) {
  return plan.experiments.reduce((sum, each) => sum + (each.repeats ?? 1) * ((each.prompts ?? []).length || plan.prompts.length), 0);
}
