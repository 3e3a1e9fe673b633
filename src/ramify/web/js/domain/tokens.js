/** Tokens as columns: pieces of text, paragraphs, jumps. Positions are absolute: 0 is the completion's first token. */

/** @import { Candidates, Tokens } from "../types.js" */

/**
 * `chunk` put behind `tokens` (what overlaps is replaced). The arrays of `tokens` grow in place, so that a long stream is not
 * copied with every token; the object returned is a new one, so that a signal notices.
 *
 * @param {Tokens} tokens @param {Tokens} chunk @returns {Tokens}
 */
export function joined(tokens, chunk) {
  const keep = chunk.start - tokens.start;
  if (keep < 0 || keep > tokens.ids.length) return chunk;
  const grow = (/** @type {any[] | null} */ mine, /** @type {any[] | null} */ more) => {
    if (!mine && !more) return null;
    const all = mine ?? new Array(keep).fill(null);
    all.length = keep;
    for (const each of more ?? new Array(chunk.ids.length).fill(null)) all.push(each);
    return all;
  };
  const offsets = (/** @type {any} */ mine, /** @type {any} */ more) => {
    if (!mine.alternative_offsets && !more?.alternative_offsets) return;
    mine.alternative_offsets ??= new Array(keep + 1).fill(0);
    mine.alternative_offsets.length = keep + 1;
    const begin = mine.alternative_offsets[keep];
    mine.alternative_ids.length = mine.alternative_logprobs.length = begin;
    const theirs = more?.alternative_offsets ?? new Array(chunk.ids.length + 1).fill(0);
    for (let i = 1; i < theirs.length; i++) mine.alternative_offsets.push(begin + theirs[i]);
    for (const each of more?.alternative_ids ?? []) mine.alternative_ids.push(each);
    for (const each of more?.alternative_logprobs ?? []) mine.alternative_logprobs.push(each);
  };
  const made = { ...tokens, total: Math.max(chunk.total ?? 0, chunk.start + chunk.ids.length) };
  made.ids = /** @type {any} */ (grow(tokens.ids, chunk.ids));
  made.text = /** @type {any} */ (grow(tokens.text, chunk.text));
  for (const name of /** @type {const} */ (["logprob", "rank", "entropy"])) made[name] = grow(tokens[name], chunk[name]);
  offsets(made, chunk);
  if (tokens.processed || chunk.processed) {
    const mine = tokens.processed ?? { logprob: [], alternative_offsets: new Array(keep + 1).fill(0), alternative_ids: [], alternative_logprobs: [] };
    made.processed = { ...mine, logprob: /** @type {any} */ (grow(mine.logprob, chunk.processed?.logprob ?? null)) };
    offsets(made.processed, chunk.processed);
  }
  made.vocabulary = Object.assign(tokens.vocabulary, chunk.vocabulary);
  made.special = chunk.special.every((id) => tokens.special.includes(id)) ? tokens.special : [...new Set([...tokens.special, ...chunk.special])].sort((a, b) => a - b);
  made.eos = chunk.eos.length ? chunk.eos : tokens.eos;
  return made;
}

/** How a token is spelt out, special ones too. @param {Tokens} tokens @param {number} id */
export function spelt(tokens, id) {
  return tokens.vocabulary[id] ?? `⟨${id}⟩`;
}

/**
 * Paragraphs of tokens for a page that draws only what is seen: [[chunk, …], …], each chunk [start, end) of indices. A
 * paragraph ends behind a token whose text ends in a line break; a chunk has at most `size` tokens.
 *
 * @param {readonly string[]} text @param {number} [size] @param {number} [from] first index
 */
export function paragraphs(text, size = 96, from = 0) {
  const found = /** @type {[number, number][][]} */ ([]);
  let chunks = /** @type {[number, number][]} */ ([]), start = from;
  const cut = (/** @type {number} */ end) => {
    if (end > start) chunks.push([start, end]);
    start = end;
  };
  for (let i = from; i < text.length; i++) {
    const ends = text[i].endsWith("\n");
    if (ends || i + 1 - start >= size) cut(i + 1);
    if (ends) {
      found.push(chunks);
      chunks = [];
    }
  }
  cut(text.length);
  if (chunks.length) found.push(chunks);
  return found;
}

/** The origin of each token, from spans. @param {readonly [number, number, string][]} spans @param {number} count */
export function originsOf(spans, count) {
  const found = new Array(count).fill("");
  for (const [start, end, origin] of spans) found.fill(origin, start, Math.min(end, count));
  return found;
}

/**
 * The alternatives of a token before and after processors, likeliest first, the chosen one among them, and what is left for all
 * others.
 *
 * @param {Tokens} tokens @param {number} index into the arrays
 * @returns {{ rows: { id: number, text: string, logprob: number, processed: number | null | undefined, chosen: boolean, ends: boolean }[], others: number | null }}
 */
export function alternativesOf(tokens, index) {
  const ends = new Set(tokens.eos), chosen = tokens.ids[index];
  const pairs = /** @type {Map<number, number>} */ (new Map());
  const offsets = tokens.alternative_offsets;
  if (offsets) for (let i = offsets[index]; i < offsets[index + 1]; i++) pairs.set(tokens.alternative_ids[i], tokens.alternative_logprobs[i]);
  const own = tokens.logprob?.[index];
  if (own !== null && own !== undefined) pairs.set(chosen, own);
  const after = /** @type {Map<number, number | null>} */ (new Map());
  const processed = tokens.processed;
  if (processed) {
    const at = processed.alternative_offsets;
    for (let i = at?.[index] ?? 0; i < (at?.[index + 1] ?? 0); i++) after.set(processed.alternative_ids[i], processed.alternative_logprobs[i]);
    if (processed.logprob?.[index] !== undefined) after.set(chosen, processed.logprob[index]);
  }
  const rows = [...pairs]
    .map(([id, logprob]) => ({
      id, logprob, text: spelt(tokens, id), processed: processed ? after.get(id) ?? null : undefined, chosen: id === chosen, ends: ends.has(id),
    }))
    .sort((a, b) => b.logprob - a.logprob || a.id - b.id);
  const shown = rows.reduce((sum, row) => sum + Math.exp(row.logprob), 0);
  return { rows, others: rows.length ? Math.max(0, 1 - shown) : null };
}

/**
 * What was kept of a token's alternatives as candidates that can be taken, null where nothing but the token itself was kept. Ranks
 * are places among what was kept.
 *
 * @param {Tokens} tokens @param {number} index into the arrays @returns {Candidates | null}
 */
export function candidatesOf(tokens, index) {
  const { rows, others } = alternativesOf(tokens, index);
  if (rows.length < 2) return null;
  const known = rows.some((row) => row.processed !== undefined);
  return {
    position: index + tokens.start, ids: rows.map((row) => row.id), text: rows.map((row) => row.text), logprob: rows.map((row) => row.logprob),
    probability: rows.map((row) => Math.exp(row.logprob)), rank: rows.map((_, at) => at + 1), ends: rows.map((row) => row.ends), node: null,
    processed_logprob: known ? rows.map((row) => row.processed ?? null) : null, others: others ?? 0, entropy: tokens.entropy?.[index] ?? null,
  };
}

/**
 * The next index, going round, for which `wanted` holds; -1 where there is none.
 * @param {number} count @param {number} from @param {1 | -1} step @param {(index: number) => boolean} wanted
 */
export function nextWhere(count, from, step, wanted) {
  for (let i = 1; i <= count; i++) {
    const at = (((from + step * i) % count) + count) % count;
    if (wanted(at)) return at;
  }
  return -1;
}

/** The first place at which two lists differ; the shorter one's end where it begins the longer. @param {readonly any[]} a @param {readonly any[]} b */
export function divergence(a, b) {
  const size = Math.min(a.length, b.length);
  for (let i = 0; i < size; i++) if (a[i] !== b[i]) return i;
  return size;
}
