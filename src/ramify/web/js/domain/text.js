/** Text for people: whitespace that can be seen, numbers, times, how something was made. */

/** @import { Completion, Config, Message, Prompt } from "../types.js" */

const MARKS = { " ": "·", "\n": "↵", "\t": "→", "\r": "␍", "\u00A0": "⍽" };

/** Pieces of a text: whitespace one by one with its mark, the rest in runs. @param {string} text */
export function pieces(text) {
  const found = /** @type {{ text: string, mark: string | null }[]} */ ([]);
  for (const part of text.match(/[ \n\t\r\u00A0]|[^ \n\t\r\u00A0]+/g) ?? []) found.push({ text: part, mark: MARKS[part] ?? null });
  return found;
}

/** A token on one line, with every invisible character shown. @param {string} text */
export function visible(text) {
  if (text === "") return "∅";
  return text.replace(/[ \n\t\r\u00A0]/g, (c) => MARKS[c]).replace(/[\u0000-\u001F\u007F-\u009F\u200B-\u200F\u202A-\u202E\u2060-\u2069\uFEFF]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** "37 %", "0.42 %", "< 0.01 %". @param {number | null | undefined} p */
export function percent(p) {
  if (p === null || p === undefined || Number.isNaN(p)) return "–";
  const value = p * 100;
  if (value === 0) return "0 %";
  if (value < 0.01) return "< 0.01 %";
  return `${value >= 99.95 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)} %`;
}

/** @param {number | null | undefined} value @param {number} [digits] */
export function fixed(value, digits = 2) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  return value.toFixed(digits).replace("-", "−");
}

/** @param {number} value */
export function count(value) {
  return value.toLocaleString("en");
}

/** "1 completion", "3 completions". @param {number} n @param {string} word */
export function plural(n, word) {
  return `${count(n)} ${word}${n === 1 ? "" : "s"}`;
}

/** Seconds as one reads them: 42 s, 3 min, 2 h 5 min. @param {number} seconds */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 90) return `${whole} s`;
  const minutes = Math.round(whole / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h${minutes % 60 ? ` ${minutes % 60} min` : ""}`;
}

/** "just now", "5 min ago", "3 h ago", else the date. @param {string} iso @param {Date} [now] */
export function ago(iso, now = new Date()) {
  const then = new Date(/[zZ]|[+-]\d\d:\d\d$/.test(iso) ? iso : `${iso}Z`);
  const seconds = (now.getTime() - then.getTime()) / 1000;
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return then.toISOString().slice(0, 10);
}

/** The whole prompt as one text, for titles and search. @param {Prompt} prompt */
export function promptText(prompt) {
  return typeof prompt === "string" ? prompt : prompt.map((/** @type {Message} */ each) => each.content).join("\n");
}

/** The first line that says something, cut to `size`. @param {string} text @param {number} [size] */
export function firstLine(text, size = 80) {
  const line = text.split("\n").find((each) => each.trim())?.trim() ?? "";
  return line.length > size ? `${line.slice(0, size - 1)}…` : line;
}

/** How a completion was decoded, in words: "greedy", "sampled, T 0.8, top-p 0.9", "4 beams". @param {Config} config */
export function strategyOf(config) {
  const { num_beams = 1, num_beam_groups = 1, do_sample, temperature, top_k, top_p, min_p, typical_p, penalty_alpha } = config;
  const filters = [
    temperature !== undefined && temperature !== null && temperature !== 1 && `T ${temperature}`,
    top_k && `top-k ${top_k}`, top_p && top_p < 1 && `top-p ${top_p}`, min_p && `min-p ${min_p}`, typical_p && typical_p < 1 && `typical ${typical_p}`,
  ].filter(Boolean);
  if (penalty_alpha) return `contrastive, α ${penalty_alpha}`;
  const samples = do_sample ?? (temperature > 0 || filters.some((each) => each && !String(each).startsWith("T ")));
  const how = samples && temperature !== 0 ? ["sampled", ...filters].join(", ") : "greedy";
  if (num_beams > 1) return `${num_beams} beams${num_beam_groups > 1 ? ` in ${num_beam_groups} groups` : ""}${how === "greedy" ? "" : `, ${how}`}`;
  return how;
}

/** Where a completion comes from, as one word and its reason. @param {Completion} completion */
export function originOf(completion) {
  const origins = new Set(completion.spans.map((span) => span[2]));
  if (completion.details?.beam_tree) return "from a beam tree";
  if (completion.details?.blocks) return "block by block";
  if (origins.has("typed")) return origins.size > 1 ? "edited by hand" : "written by hand";
  if (completion.finish_reason === "written") return "written by hand";
  if (origins.has("imported") || completion.finish_reason === "imported") return "imported";
  if (origins.has("picked")) return "picked token by token";
  return completion.parent_id ? "branched" : "generated";
}

/** How it was made: by whose hand, or how it was decoded. @param {Completion} completion */
export function madeBy(completion) {
  return ["written", "imported"].includes(completion.finish_reason ?? "") ? originOf(completion) : strategyOf(completion.config);
}

export const REASONS = {
  eos: "ended by the model", stop: "ended by a stop string", length: "reached its token limit", time: "ran out of time", cancelled: "cancelled",
  error: "failed", user: "stopped by hand", written: "written", imported: "imported",
};
