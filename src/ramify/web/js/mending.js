/** What is to be mended before it can go out: the samples of one reason, gone through one by one, and the way back. */

import { go } from "./address.js";
import { remembered } from "./state.js";

/** @typedef {{ from: "export" | "readiness", reason: string, samples: number[] }} Mending */

export const mending = remembered("mending", /** @type {Mending | null} */ (null));

/** @param {Mending["from"]} from @param {string} reason @param {number[]} samples */
export function mend(from, reason, samples) {
  mending.value = { from, reason, samples };
  go(["samples", samples[0]]);
}
