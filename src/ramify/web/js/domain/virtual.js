/** Which rows of a long list are in sight. */

/** Browsers cannot lay out boxes much higher than this. */
export const HIGHEST = 8_000_000;

/**
 * @param {{ rows: number, height: number, top: number, view: number, over?: number }} list pixels; over: rows drawn beyond each edge
 * @returns {{ first: number, last: number, total: number }} [first, last) and the height of all
 */
export function inSight({ rows, height, top, view, over = 8 }) {
  const total = Math.min(rows * height, HIGHEST);
  const first = Math.max(0, Math.min(rows, Math.floor(top / height) - over));
  const last = Math.min(rows, Math.ceil((top + view) / height) + over);
  return { first, last: Math.max(first, last), total };
}

/** Where to scroll so that a row is seen; null where it is. @param {number} row @param {{ height: number, top: number, view: number }} list */
export function scrollFor(row, { height, top, view }) {
  if (row * height < top) return row * height;
  if ((row + 1) * height > top + view) return (row + 1) * height - view;
  return null;
}
