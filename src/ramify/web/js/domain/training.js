/** A training run as it goes, its form as the server takes it, and the lines of its curves. Pure. */

import { facetPart, number } from "./exchange.js";

/** @import * as T from "../types.js" */

/** The run with an event in it. @param {T.TrainingRun} run @param {string} name @param {any} data @returns {T.TrainingRun} */
export function withTold(run, name, data) {
  if (name === "run" || name === "end") return data.run;
  return { ...run, ...data.state, log: data.lines ? [...run.log, ...data.lines] : run.log };
}

export const SHAPE = /** @type {const} */ (["hidden_size", "layers", "heads", "kv_heads", "intermediate_size"]);
const PACE = /** @type {const} */ (["epochs", "max_steps", "tokens_per_step", "learning_rate", "matrix_learning_rate", "max_length", "seed"]);

/**
 * A run from scratch as the server takes it; a sentence where something is missing or not understood.
 * @param {Record<string, any>} it @param {string} name @param {string | null} upload the key of its texts @param {string | null} held of those that are measured
 * @returns {any}
 */
export function scratchBody(it, name, upload, held) {
  if (!upload) return "Choose the files of text that it learns from";
  const odd = [...SHAPE, ...PACE, "minutes", "vocab_size"].find((each) => it[each].trim() && !(Number(number(it[each].trim())) > 0) && !(each === "seed" && it[each].trim() === "0"));
  if (odd) return `“${it[odd]}” is no number above 0`;
  const filled = (/** @type {readonly string[]} */ names) => Object.fromEntries(names.map((each) => [each, number(it[each].trim())]).filter(([, value]) => value !== null));
  const own = it.method === "tokenizer" || !it.tokenizer ? filled(["vocab_size"]) : { tokenizer: it.tokenizer };
  const common = { method: it.method, name, upload, duplicates: it.duplicates, unreadable: it.unreadable, ...own };
  if (it.method === "tokenizer") return common;
  const minutes = number(it.minutes.trim());
  return {
    ...common, ...(held ? { validation_upload: held } : {}), preset: it.preset, shape: filled(SHAPE),
    train: { ...filled(PACE), ...(minutes === null ? {} : { max_seconds: Math.round(60 * minutes) }), ...(it.schedule ? { schedule: it.schedule } : {}), ...(it.bf16 ? { bf16: true } : {}) },
  };
}

/** The points of what a run measured. @param {readonly T.TrainingLine[]} log @param {"loss" | "accuracy" | "margin" | "tokens_per_s"} name @param {boolean} heldOut @returns {[number, number][]} */
export function points(log, name, heldOut) {
  return log.filter((each) => each.held_out === heldOut && each[name] !== null && Number.isFinite(each[name])).map((each) => [each.step, /** @type {number} */ (each[name])]);
}

/**
 * Round numbers over a range, about `count` of them. @param {number} low @param {number} high
 * @returns {number[]}
 */
export function ticks(low, high, count = 5) {
  const span = high - low;
  if (!(span > 0)) return [low];
  const rough = span / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((each) => each * power).find((each) => each >= rough) ?? rough;
  const first = Math.ceil(low / step - 1e-9), last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, at) => Number(((first + at) * step).toPrecision(12)));
}

/** A name for the model that nobody has: "noir-sft", "noir-sft-2". @param {string} facet @param {string} method @param {readonly string[]} taken */
export function freeName(facet, method, taken) {
  const root = `${facet.normalize("NFKD").replace(/\p{M}/gu, "").replace(/[^A-Za-z0-9]+/g, "-").replace(/^-+|-+$/g, "").toLowerCase() || "model"}-${method}`;
  let name = root;
  for (let n = 2; taken.includes(name); n++) name = `${root}-${n}`;
  return name;
}

export const SWITCHES = /** @type {const} */ (["packing", "together", "checkpointing", "bf16"]);
export const SELECTED = /** @type {const} */ (["validation", "good_rating", "per_sample"]);
export const NUMBERS = /** @type {const} */ (["epochs", "max_steps", "max_seconds", "batch_size", "tokens_per_step", "accumulation", "learning_rate", "matrix_learning_rate", "warmup_steps", "weight_decay", "clip_norm", "patience", "validate_every", "save_every", "max_length", "seed"]);

/**
 * What is filled in, as the server takes it; a sentence where a facet's amount is not understood.
 * @param {T.TrainingForm} it @param {string} name @param {readonly string[]} reads which preference settings the method reads
 * @returns {any}
 */
export function bodyOf(it, name, reads) {
  const parts = it.facets.filter((each) => each.name).map((each) => facetPart({ ...each, order: "oldest" }));
  const odd = parts.find((each) => typeof each === "string");
  if (odd) return odd;
  const facets = parts.map((/** @type {any} */ { order, ...rest }) => rest);
  const filled = (/** @type {readonly string[]} */ names, /** @type {any} */ from) => Object.fromEntries(names.map((each) => [each, number(from[each])]).filter(([, value]) => value !== null));
  const preference = { ...filled(reads.filter((each) => each !== "loss" && each !== "reference"), it), ...(reads.includes("loss") && it.loss ? { loss: it.loss } : {}), ...(reads.includes("reference") && it.no_reference ? { reference: false } : {}) };
  return {
    method: it.method, name, facets, overlong: it.overlong, unusable: it.unusable, merge: it.adapter && it.merge,
    select: { ...filled(SELECTED, it), ...(it.filter ? { filter: it.filter } : {}), ...Object.fromEntries(["truncated", "archived"].filter((each) => it[each]).map((each) => [each, true])) },
    learn: { ...(it.retokenize ? { retokenize: true } : {}), ...(it.prefill ? {} : { prefill: false }), ...(it.turns === "all" ? { turns: "all" } : {}) },
    train: {
      ...filled(NUMBERS.filter((each) => each !== "matrix_learning_rate" || it.optimizer === "muon"), it), ...(it.optimizer === "muon" ? { optimizer: it.optimizer } : {}),
      // Rows of one prompt come together for packing's sake.
      ...Object.fromEntries(SWITCHES.filter((each) => it[each] && (each !== "together" || it.packing)).map((each) => [each, true])), ...(it.schedule ? { schedule: it.schedule } : {}),
    },
    preference,
    ...(it.model ? { model: it.model } : {}), ...(it.adapter ? { lora: filled(["rank", "alpha", "dropout"], it) } : {}),
    ...(it.keep ? { keep: { ...Object.fromEntries(Object.entries(filled(["keep_texts", "keep_weight"], it)).map(([name, value]) => [name.slice("keep_".length), value])), ...(it.keep_model ? { model: it.keep_model } : {}) } } : {}),
  };
}
