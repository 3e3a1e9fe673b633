/** A ranking with its uncertainty, as marks on a line. Strengths are Bradley–Terry's, errors one standard deviation. */

/** @import { RankingItem } from "../types.js" */

/** The chance that one strength beats another. @param {number} a @param {number} b */
export function chance(a, b) {
  return 1 / (1 + Math.exp(b - a));
}

/**
 * Where each item's mark and its interval (two deviations to either side) lie on a line from 0 to 1.
 * @param {readonly RankingItem[]} items
 */
export function intervals(items) {
  const low = Math.min(...items.map((each) => each.strength - 2 * each.error)), high = Math.max(...items.map((each) => each.strength + 2 * each.error));
  const place = (/** @type {number} */ value) => (high > low ? (value - low) / (high - low) : 0.5);
  return items.map((each) => ({
    id: each.completion_id, at: place(each.strength), from: place(each.strength - 2 * each.error), to: place(each.strength + 2 * each.error),
  }));
}

/** Whether the ranking's first is ahead of its second by more than chance (two deviations of the difference, taken as independent). @param {readonly RankingItem[]} items */
export function isDecided(items) {
  if (items.length < 2) return false;
  const [first, second] = items;
  return first.strength - second.strength > 2 * Math.hypot(first.error, second.error);
}

/** A rating's word under a facet. @param {number | null | undefined} rating @param {{ good_rating: number, bad_rating: number }} bounds */
export function verdictOf(rating, bounds) {
  if (rating === null || rating === undefined) return null;
  return rating >= bounds.good_rating ? "good" : rating <= bounds.bad_rating ? "bad" : "between";
}
