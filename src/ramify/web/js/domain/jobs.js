/** A new job's form as the server takes it. Pure. */

import { number } from "./exchange.js";

/**
 * What is asked for, or a sentence where it is not whole or not understood.
 * @param {Record<string, any>} it @param {Record<string, any>} config @param {string | null} file its name, where one was chosen
 * @returns {any}
 */
export function jobBody(it, config, file) {
  const prompts = it.prompts.split("\n").filter((/** @type {string} */ line) => line.trim());
  if (file && it.input_path) return "A file is chosen and a place for rows is named: leave one out";
  if (!file && !it.input_path && !prompts.length) return "Give at least one prompt, or a file";
  const pairs = it.labels.split(",").map((/** @type {string} */ each) => each.trim()).filter(Boolean).map((/** @type {string} */ each) => each.split("="));
  const nameless = pairs.find((/** @type {string[]} */ [name, ...value]) => !name.trim() || !value.length);
  if (nameless) return `“${nameless.join("=")}” is no label: write name=value`;
  const hours = number(it.hours.trim());
  if (it.hours.trim() && !(hours !== null && hours > 0 && hours <= 48)) return `“${it.hours}” is no number of hours: more than 0, at most 48`;
  const whole = (/** @type {string} */ text) => (text.trim() && /^[1-9]\d*$/.test(text.trim()) ? Number(text) : null);
  for (const name of ["iterations", "seconds"]) if (it.code && it[name].trim() && whole(it[name]) === null) return `“${it[name]}” is no whole number of at least 1`;
  const processes = whole(it.processes);
  if (it.processes.trim() && !(processes !== null && processes <= 64)) return `“${it.processes}” is no number of processes: 1 to 64`;
  const price = (/** @type {string} */ text) => { const found = text.trim() ? number(text.trim()) : 0; return found !== null && found >= 0 ? found : null; };
  const prices = [it.price_in, it.price_out].map(price), given = Boolean(it.price_in.trim() || it.price_out.trim());
  if (prices.includes(null)) return `“${prices[0] === null ? it.price_in : it.price_out}” is no price: a number of at least 0`;
  const limits = Object.fromEntries([["max_iterations", whole(it.iterations)], ["execution_timeout_seconds", whole(it.seconds)]].filter(([, value]) => value !== null));
  const stem = (file ?? "").replace(/\.[a-z]+$/i, "");
  return {
    ...(file ? {} : it.input_path ? { input_path: it.input_path } : { prompts }), config, name: stem ? `${stem}.answers.jsonl` : "answers.jsonl",
    ...Object.fromEntries(["output_path", "checkpoint_path", "prompt_column"].map((name) => [name, it[name].trim()]).filter(([, value]) => value)),
    ...(it.output_path.trim() && it.overwrite ? { overwrite: true } : {}), ...(it.logprobs ? { logprobs: true } : {}),
    ...(pairs.length ? { labels: Object.fromEntries(pairs.map((/** @type {string[]} */ [name, ...value]) => [name.trim(), value.join("=").trim()])) } : {}),
    ...(processes !== null && processes > 1 ? { processes } : {}), ...(it.ray ? { runner: "ray" } : {}), ...(given ? { prices } : {}),
    ...(hours !== null ? { max_runtime_sec: Math.max(1, Math.round(hours * 3600)) } : {}),
    ...(it.code ? { tool_config: { name: "code_evaluator", ...limits, should_retry_on_error: it.retry } } : {}),
  };
}
