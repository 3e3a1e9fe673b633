/** From measures of tokens to steps of a colour scale: 0 (expected) to 6 (surprising); for differences -3 (less likely) to 3. */

/** @import { Tokens } from "../types.js" */

export const MEASURES = {
  probability: { name: "Probability", bounds: [0.9, 0.7, 0.5, 0.3, 0.1, 0.02], low: "likely", high: "unlikely" },
  surprisal: { name: "Surprisal", bounds: [0.2, 0.6, 1.2, 2.2, 4, 6.5], low: "0 bits", high: "> 6.5 bits" },
  entropy: { name: "Entropy", bounds: [0.2, 0.6, 1.2, 2, 3, 4], low: "certain", high: "open" },
  rank: { name: "Rank", bounds: [1.5, 2.5, 3.5, 5.5, 10.5, 50.5], low: "first choice", high: "> 50th" },
  difference: { name: "Difference", bounds: [0.25, 1, 2.5], low: "less likely", high: "more likely" },
};
export const HEAT_STEPS = 7;

/** @typedef {keyof typeof MEASURES} Measure */

/** The value a measure gives to a token, null where it was not measured. @param {Measure} measure @param {Tokens} tokens @param {number} index @param {Tokens | null} [other] */
export function valueOf(measure, tokens, index, other = null) {
  const logprob = tokens.logprob?.[index] ?? null;
  if (measure === "rank") return tokens.rank?.[index] ?? null;
  if (measure === "entropy") return tokens.entropy?.[index] ?? null;
  if (logprob === null) return null;
  if (measure === "probability") return Math.exp(logprob);
  if (measure === "surprisal") return -logprob / Math.LN2;
  const second = other?.logprob?.[index + tokens.start - other.start] ?? null;
  return second === null ? null : second - logprob;
}

/** The step of a value. @param {Measure} measure @param {number | null} value */
export function stepOf(measure, value) {
  if (value === null || Number.isNaN(value)) return null;
  const { bounds } = MEASURES[measure];
  if (measure === "probability") {
    const at = bounds.findIndex((bound) => value >= bound);
    return at < 0 ? bounds.length : at;
  }
  const size = measure === "difference" ? Math.abs(value) : value;
  const at = bounds.findIndex((bound) => size < bound);
  const step = at < 0 ? bounds.length : at;
  return measure === "difference" && value < 0 && step ? -step : step;
}

/** Steps of all tokens at once; 127 where not measured. @param {Measure} measure @param {Tokens} tokens @param {Tokens | null} [other] */
export function stepsOf(measure, tokens, other = null) {
  const steps = new Int8Array(tokens.ids.length);
  for (let i = 0; i < steps.length; i++) steps[i] = stepOf(measure, valueOf(measure, tokens, i, other)) ?? 127;
  return steps;
}

/** The class that paints a step. @param {Measure} measure @param {number} step */
export function heatClass(measure, step) {
  if (step === 127) return "heat-none";
  if (measure !== "difference") return `heat-${step}`;
  return step === 0 ? "heat-0" : step < 0 ? `less-${-step}` : `more-${step}`;
}

/** What the scale's steps mean, for its legend. @param {Measure} measure */
export function legend(measure) {
  const { bounds } = MEASURES[measure];
  const shown = (/** @type {number} */ value) => (measure === "probability" ? `${Math.round(value * 100)} %` : String(value));
  if (measure === "difference") {
    return [-3, -2, -1, 0, 1, 2, 3].map((step) => ({
      step, says: step === 0 ? `within ${bounds[0]} nats` : `${step < 0 ? "less" : "more"} likely by ${bounds[Math.abs(step) - 1]} nats or more`,
    }));
  }
  return Array.from({ length: HEAT_STEPS }, (_, step) => {
    const unit = { surprisal: " bits", entropy: " nats" }[measure] ?? "";
    if (measure === "probability") return { step, says: step < bounds.length ? `${shown(bounds[step])} or more` : `under ${shown(bounds[5])}` };
    if (measure === "rank") return { step, says: step === 0 ? "1st" : step < 6 ? `up to ${Math.floor(bounds[step])}` : `over ${Math.floor(bounds[5])}` };
    return { step, says: step < bounds.length ? `under ${bounds[step]}${unit}` : `${bounds[5]}${unit} or more` };
  });
}

/** Whether the model was uncertain there: another token was nearly as likely, or more. @param {Tokens} tokens @param {number} index */
export function isUncertain(tokens, index) {
  const logprob = tokens.logprob?.[index], entropy = tokens.entropy?.[index];
  if (logprob === null || logprob === undefined) return false;
  return Math.exp(logprob) < 0.5 || (entropy ?? 0) > 2;
}
