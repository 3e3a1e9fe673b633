/** A filter's form as the server takes it. Pure. */

import { number } from "./exchange.js";

/** @typedef {{ reference: string, sources: string, min_length: string, max_repetition: string, coherence_threshold: string, profanity_filter: boolean, factuality_check: boolean, words: string }} QualityForm */

/** @type {QualityForm} */
export const NO_CHECKS = { reference: "", sources: "", min_length: "", max_repetition: "", coherence_threshold: "", profanity_filter: false, factuality_check: false, words: "" };

/** What is asked for: nothing that was left empty. @param {QualityForm} it @param {string} model @returns {any} */
export function qualityBody(it, model) {
  const words = it.words.split(",").map((each) => each.trim()).filter(Boolean);
  const checks = {
    ...Object.fromEntries(["min_length", "max_repetition", "coherence_threshold"].map((name) => [name, number(it[name].trim())]).filter(([, value]) => value !== null)),
    ...(it.profanity_filter ? { profanity_filter: words.length ? words : true } : {}), ...(it.factuality_check ? { factuality_check: true } : {}),
  };
  return {
    ...(model ? { model } : {}), ...(it.reference.trim() ? { reference: it.reference } : {}), ...(Object.keys(checks).length ? { checks } : {}),
    ...(it.factuality_check && it.sources.trim() ? { sources: [it.sources] } : {}),
  };
}
