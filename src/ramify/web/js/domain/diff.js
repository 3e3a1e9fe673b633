/** What two texts share and where they part. Pure; O((N + M) D) as Myers (1986) has it, bounded for texts that share little. */

/** @typedef {{ kind: "same" | "old" | "new", a: [number, number], b: [number, number] }} Piece */

/** Words, runs of whitespace and single other characters; joined they are the text. @param {string} text */
export function words(text) {
  return text.match(/\s+|[\p{L}\p{M}\p{N}_'’]+|[^\s\p{L}\p{M}\p{N}_'’]/gu) ?? [];
}

/** How many items two lists begin with in common. @param {readonly string[]} a @param {readonly string[]} b */
export function commonStart(a, b) {
  const size = Math.min(a.length, b.length);
  let at = 0;
  while (at < size && a[at] === b[at]) at++;
  return at;
}

/**
 * Runs of equal and different items, in order: a run that only `a` has stands before the one that `b` has in its place.
 *
 * @param {readonly string[]} a @param {readonly string[]} b
 * @param {number} [most] edits; beyond, what lies between the common beginning and end counts as replaced
 * @returns {Piece[]}
 */
export function diff(a, b, most = 1500) {
  const start = commonStart(a, b);
  let end = 0;
  while (end < Math.min(a.length, b.length) - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end++;
  const x = a.slice(start, a.length - end), y = b.slice(start, b.length - end);
  const found = /** @type {Piece[]} */ ([]);
  const add = (/** @type {Piece["kind"]} */ kind, a0, a1, b0, b1) => {
    if (a0 === a1 && b0 === b1) return;
    const last = found.at(-1);
    if (last && last.kind === kind) {
      last.a[1] = a1;
      last.b[1] = b1;
    } else found.push({ kind, a: [a0, a1], b: [b0, b1] });
  };
  add("same", 0, start, 0, start);
  let i = 0, j = 0;
  const gap = (toA, toB) => {
    add("old", start + i, start + toA, start + j, start + j);
    add("new", start + toA, start + toA, start + j, start + toB);
    [i, j] = [toA, toB];
  };
  for (const [from, to, length] of snakes(x, y, most)) {
    gap(from, to);
    add("same", start + from, start + from + length, start + to, start + to + length);
    [i, j] = [from + length, to + length];
  }
  gap(x.length, y.length);
  add("same", a.length - end, a.length, b.length - end, b.length);
  return found;
}

/**
 * The pieces of `diff` made easier to read: whitespace that two changes share between them counts as changed too.
 * @param {readonly string[]} a @param {readonly string[]} b @param {readonly Piece[]} pieces @returns {Piece[]}
 */
export function smoothed(a, b, pieces) {
  const found = /** @type {Piece[]} */ ([]);
  let old = /** @type {Piece | null} */ (null), fresh = /** @type {Piece | null} */ (null);
  const end = () => {
    if (old && old.a[1] > old.a[0]) found.push(old);
    if (fresh && fresh.b[1] > fresh.b[0]) found.push(fresh);
    old = fresh = null;
  };
  pieces.forEach((piece, at) => {
    const between = at > 0 && at < pieces.length - 1 && a.slice(...piece.a).every((each) => /^\s+$/.test(each));
    if (piece.kind === "same" && !between) {
      end();
      found.push({ ...piece });
      return;
    }
    old ??= { kind: "old", a: [piece.a[0], piece.a[0]], b: [piece.b[0], piece.b[0]] };
    fresh ??= { kind: "new", a: [piece.a[0], piece.a[0]], b: [piece.b[0], piece.b[0]] };
    old.a[1] = piece.a[1];
    fresh.b[1] = piece.b[1];
    fresh.a = [piece.a[1], piece.a[1]];
  });
  end();
  return found;
}

/** Equal runs [at in x, at in y, length] of a shortest edit script. @returns {[number, number, number][]} */
function snakes(/** @type {readonly string[]} */ x, /** @type {readonly string[]} */ y, /** @type {number} */ most) {
  const n = x.length, m = y.length, limit = Math.min(n + m, most);
  if (!n || !m) return [];
  const trail = /** @type {Int32Array[]} */ ([]);
  let front = new Int32Array(2 * limit + 3);
  const middle = limit + 1;
  for (let d = 0; d <= limit; d++) {
    trail.push(front.slice(middle - d - 1, middle + d + 2));
    for (let k = -d; k <= d; k += 2) {
      let i = k === -d || (k !== d && front[middle + k - 1] < front[middle + k + 1]) ? front[middle + k + 1] : front[middle + k - 1] + 1;
      let j = i - k;
      while (i < n && j < m && x[i] === y[j]) {
        i++;
        j++;
      }
      front[middle + k] = i;
      if (i >= n && j >= m) return walkBack(trail, d, n, m);
    }
  }
  return [];
}

/** @param {Int32Array[]} trail trail[d] holds the fronts before step d, for k from -d - 1 to d + 1 */
function walkBack(trail, edits, n, m) {
  const found = /** @type {[number, number, number][]} */ ([]);
  let i = n, j = m;
  for (let d = edits; d >= 0; d--) {
    const at = (/** @type {number} */ k) => trail[d][k + d + 1];
    const k = i - j;
    const before = k === -d || (k !== d && at(k - 1) < at(k + 1)) ? k + 1 : k - 1;
    const fromI = d ? at(before) : 0, fromJ = d ? fromI - before : 0;
    const startI = d ? (before === k + 1 ? fromI : fromI + 1) : 0;
    if (i > startI) found.push([startI, startI - k, i - startI]);
    [i, j] = [fromI, fromJ];
  }
  return found.reverse();
}
