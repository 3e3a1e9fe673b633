import assert from "node:assert/strict";
import { test } from "node:test";
import { diff, smoothed, words } from "../../../src/ramify/web/js/domain/diff.js";
import { adviceFor, byColumn, facetPart, mappingOf, names, number, shareDone, size } from "../../../src/ramify/web/js/domain/exchange.js";
import { fromFilter, inWords, toFilter } from "../../../src/ramify/web/js/domain/filters.js";
import { heatClass, isUncertain, legend, stepOf, stepsOf, valueOf } from "../../../src/ramify/web/js/domain/heatmap.js";
import { asTokens, pathOf, planOf, sizeOf, smooth, sortedRows, withNews } from "../../../src/ramify/web/js/domain/lab.js";
import { chance, intervals, isDecided, verdictOf } from "../../../src/ramify/web/js/domain/ranking.js";
import { ago, firstLine, percent, pieces, strategyOf, visible } from "../../../src/ramify/web/js/domain/text.js";
import { NO_CHECKS, qualityBody } from "../../../src/ramify/web/js/domain/quality.js";
import { jobBody } from "../../../src/ramify/web/js/domain/jobs.js";
import { bodyOf, freeName, points, scratchBody, ticks, withTold } from "../../../src/ramify/web/js/domain/training.js";
import { alternativesOf, candidatesOf, divergence, joined, nextWhere, originsOf, paragraphs } from "../../../src/ramify/web/js/domain/tokens.js";
import { layOut, merged, neighbour, wayTo } from "../../../src/ramify/web/js/domain/tree_layout.js";
import { inSight, scrollFor } from "../../../src/ramify/web/js/domain/virtual.js";
import { eventParser } from "../../../src/ramify/web/js/sse.js";

const tokens = (/** @type {any} */ more = {}) => ({
  completion_id: 1, model: "tiny", fingerprint: "f", start: 0, total: 3, ids: [5, 6, 7], text: ["a", " b", "\n"], logprob: [Math.log(0.9), Math.log(0.25), null],
  rank: [1, 3, null], entropy: [0.1, 2.5, null], alternative_offsets: [0, 1, 3, 3], alternative_ids: [5, 9, 6], alternative_logprobs: [Math.log(0.9), Math.log(0.5), Math.log(0.25)],
  processed: null, vocabulary: { 5: "a", 6: " b", 7: "\n", 9: " c" }, special: [], eos: [9], ...more,
});

test("the pieces of a diff rebuild both texts, for random texts", () => {
  let seed = 7;
  const random = (/** @type {number} */ n) => (seed = (seed * 1103515245 + 12345) % 2147483648) % n;
  for (let round = 0; round < 400; round++) {
    const make = () => Array.from({ length: random(14) }, () => "abc"[random(3)]);
    const a = make(), b = make(), found = diff(a, b);
    assert.deepEqual(found.filter((p) => p.kind !== "new").flatMap((p) => a.slice(...p.a)), a);
    assert.deepEqual(found.filter((p) => p.kind !== "old").flatMap((p) => b.slice(...p.b)), b);
    for (const p of found) if (p.kind === "same") assert.deepEqual(a.slice(...p.a), b.slice(...p.b));
    const smooth = smoothed(a, b, found);
    assert.deepEqual(smooth.filter((p) => p.kind !== "new").flatMap((p) => a.slice(...p.a)), a);
    assert.deepEqual(smooth.filter((p) => p.kind !== "old").flatMap((p) => b.slice(...p.b)), b);
  }
});

test("a diff is a shortest one", () => {
  const brute = (/** @type {string[]} */ a, /** @type {string[]} */ b) => {
    const t = Array.from({ length: a.length + 1 }, () => new Array(b.length + 1).fill(0));
    for (let i = a.length - 1; i >= 0; i--) for (let j = b.length - 1; j >= 0; j--) t[i][j] = a[i] === b[j] ? t[i + 1][j + 1] + 1 : Math.max(t[i + 1][j], t[i][j + 1]);
    return t[0][0];
  };
  for (const [a, b] of [["abcabba", "cbabac"], ["xaxcxabc", "abcy"], ["", "abc"], ["aaaa", "aa"]]) {
    const same = diff([...a], [...b]).filter((p) => p.kind === "same").reduce((n, p) => n + p.a[1] - p.a[0], 0);
    assert.equal(same, brute([...a], [...b]));
  }
});

test("a diff says where two texts first part", () => {
  const [first, second] = diff(words("Once upon a time"), words("Once upon the time"));
  assert.deepEqual(first, { kind: "same", a: [0, 4], b: [0, 4] });
  assert.equal(second.kind, "old");
});

test("words joined are the text", () => {
  for (const text of ["Hello,  wörld!\n\tIt's “fine” – 3.5€", "日本語 テスト", "a\u200bb\u202ec", ""]) assert.equal(words(text).join(""), text);
});

test("events come out whole however the bytes are cut", () => {
  const stream = ": hello\r\nid: 1\r\nevent: tokens\r\ndata: {\"a\":1}\r\n\r\ndata: two\ndata: lines\n\nid\ndata:x\r\revent: lost\n\ndata: end\n\n";
  const expected = [
    { id: "1", event: "tokens", data: '{"a":1}' }, { id: "1", event: "message", data: "two\nlines" }, { id: "", event: "message", data: "x" }, { id: "", event: "message", data: "end" },
  ];
  for (let size = 1; size <= stream.length; size++) {
    const parse = eventParser(), found = [];
    for (let at = 0; at < stream.length; at += size) found.push(...parse(stream.slice(at, at + size)));
    assert.deepEqual(found, expected, `cut every ${size}`);
  }
});

test("a chunk put behind tokens keeps alternatives in their places, and replaces what overlaps", () => {
  const made = joined(tokens(), tokens({ start: 2, ids: [8, 9], text: ["x", "y"], logprob: [-1, -2], rank: [2, 2], entropy: [1, 1], alternative_offsets: [0, 2, 3], alternative_ids: [1, 2, 3], alternative_logprobs: [-1, -2, -3], total: 4 }));
  assert.deepEqual(made.ids, [5, 6, 8, 9]);
  assert.deepEqual(made.alternative_offsets, [0, 1, 3, 5, 6]);
  assert.deepEqual(made.alternative_ids, [5, 9, 6, 1, 2, 3]);
  assert.deepEqual(made.logprob?.slice(2), [-1, -2]);
  assert.equal(made.total, 4);
});

test("paragraphs end behind line breaks, chunks are bounded, nothing is left out", () => {
  const text = ["a", "b\n", "\n", ...new Array(250).fill("x"), ".\n\n", "end"];
  const found = paragraphs(text, 100);
  assert.deepEqual(found.map((p) => [p[0][0], p.at(-1)?.[1]]), [[0, 2], [2, 3], [3, 254], [254, 255]]);
  assert.deepEqual(found[2], [[3, 103], [103, 203], [203, 254]]);
  assert.deepEqual(paragraphs(text, 100, 254), [[[254, 255]]]);
});

test("alternatives have the chosen token, EOS, and the rest as others", () => {
  const { rows, others } = alternativesOf(tokens(), 1);
  assert.deepEqual(rows.map((r) => [r.id, r.chosen, r.ends]), [[9, false, true], [6, true, false]]);
  assert.ok(Math.abs(Number(others) - 0.25) < 1e-12);
  assert.deepEqual(alternativesOf(tokens(), 2), { rows: [], others: null });
});

test("a token that processors removed is told from one they kept", () => {
  const processed = { logprob: [0, -0.1, null], alternative_offsets: [0, 1, 2, 2], alternative_ids: [5, 6], alternative_logprobs: [0, -0.1] };
  const { rows } = alternativesOf(tokens({ processed }), 1);
  assert.deepEqual(rows.map((r) => [r.id, r.processed]), [[9, null], [6, -0.1]]);
});

test("what was kept of a token can be taken as candidates, where there is more than the token itself", () => {
  const processed = { logprob: [0, -0.1, null], alternative_offsets: [0, 1, 2, 2], alternative_ids: [5, 6], alternative_logprobs: [0, -0.1] };
  const found = candidatesOf(tokens({ processed, start: 3 }), 1);
  const { ids, text, ends, rank, processed_logprob, position } = /** @type {any} */ (found);
  assert.deepEqual({ ids, text, ends, rank, processed_logprob, position }, { ids: [9, 6], text: [" c", " b"], ends: [true, false], rank: [1, 2], processed_logprob: [null, -0.1], position: 4 });
  assert.equal(candidatesOf(tokens(), 1)?.processed_logprob, null);
  assert.equal(candidatesOf(tokens(), 2), null);
});

test("steps go from expected to surprising, and differences to both sides", () => {
  assert.deepEqual([1, 0.9, 0.89, 0.5, 0.1, 0.05, 0.001].map((p) => stepOf("probability", p)), [0, 0, 1, 2, 4, 5, 6]);
  assert.deepEqual([1, 2, 3, 5, 10, 50, 51].map((r) => stepOf("rank", r)), [0, 1, 2, 3, 4, 5, 6]);
  assert.deepEqual([-3, -1, 0.1, 0.25, 2.5].map((d) => stepOf("difference", d)), [-3, -2, 0, 1, 3]);
  assert.deepEqual([...stepsOf("probability", tokens())], [0, 4, 127]);
  assert.equal(heatClass("difference", -2), "less-2");
  assert.equal(heatClass("rank", 127), "heat-none");
  assert.equal(legend("probability").length, 7);
});

test("the difference looks at the other model's token of the same position", () => {
  const other = tokens({ start: 1, logprob: [Math.log(0.5)], ids: [6] });
  assert.ok(Math.abs(Number(valueOf("difference", tokens(), 1, other)) - Math.LN2) < 1e-12);
  assert.equal(valueOf("difference", tokens(), 0, other), null);
});

test("uncertain tokens are found going round", () => {
  assert.equal(isUncertain(tokens(), 0), false);
  assert.equal(isUncertain(tokens(), 1), true);
  assert.equal(nextWhere(3, 1, 1, (i) => i === 1), 1);
  assert.equal(nextWhere(3, 0, -1, (i) => i === 2), 2);
  assert.equal(nextWhere(3, 0, 1, () => false), -1);
});

test("origins and divergence", () => {
  assert.deepEqual(originsOf([[0, 1, "prefill"], [1, 9, "sampled"]], 3), ["prefill", "sampled", "sampled"]);
  assert.equal(divergence([1, 2, 3], [1, 2, 4]), 2);
  assert.equal(divergence([1, 2], [1, 2, 4]), 2);
});

test("pieces of whitespace joined are the text, and invisible characters are named", () => {
  for (const text of [" a  b\n", "\t", "", "x"]) assert.equal(pieces(text).map((p) => p.text).join(""), text);
  assert.equal(visible(" a\n"), "·a↵");
  assert.equal(visible("a\u202eb\u0000"), "a\\u202eb\\u0000");
  assert.equal(visible(""), "∅");
});

test("numbers, lines, times and strategies for people", () => {
  assert.deepEqual([1, 0.5, 0.0523, 0.00001, 0, null].map(percent), ["100 %", "50.0 %", "5.23 %", "< 0.01 %", "0 %", "–"]);
  assert.equal(firstLine("\n\n  Hello there  \nmore"), "Hello there");
  assert.equal(ago("2026-11-27T00:00:00", new Date("2026-11-27T00:10:00Z")), "10 min ago");
  assert.deepEqual([{}, { temperature: 0.8 }, { do_sample: true, top_p: 0.9 }, { num_beams: 4 }, { temperature: 0 }].map(strategyOf), ["greedy", "sampled, T 0.8", "sampled, top-p 0.9", "4 beams", "greedy"]);
});

test("filters go there and back, and say what they mean", () => {
  const built = { match: /** @type {const} */ ("any"), rows: [{ field: "rating", op: ">=", value: 8, facet: "legal" }, { field: "truncated", op: "is", value: true, not: true }] };
  const filter = toFilter(built);
  assert.deepEqual(filter, { any: [{ field: "rating", op: ">=", value: 8, facet: "legal" }, { not: { field: "truncated", op: "is", value: true } }] });
  assert.deepEqual(fromFilter(filter), built);
  assert.equal(toFilter({ match: "all", rows: [] }), null);
  assert.equal(toFilter({ match: "all", rows: [{ field: "group", op: "under", value: "" }, { field: "model", op: "in", value: [] }] }), null);
  assert.equal(fromFilter({ all: [{ any: [] }] }), null);
  assert.deepEqual(built.rows.map(inWords), ["rating (legal) ≥ 8", "not truncated"]);
});

test("a ranking's intervals fill the line, and a close first place is open", () => {
  const items = [{ completion_id: 1, strength: 1, error: 0.5 }, { completion_id: 2, strength: -1, error: 0.5 }].map((each, at) => ({ comparisons: 1, rating: null, rating_from: null, place: at + 1, ...each }));
  assert.deepEqual(intervals(items).map(({ from, at, to }) => [from, at, to]), [[0.5, 0.75, 1], [0, 0.25, 0.5]]);
  assert.equal(isDecided(items), true);
  assert.equal(isDecided(items.map((each) => ({ ...each, error: 1 }))), false);
  assert.equal(chance(0, 0), 0.5);
  assert.equal(verdictOf(8, { good_rating: 7, bad_rating: 4 }), "good");
});

const forest = () => ({
  id: [1, 2, 3, 4, 5], parent: [null, 1, 1, 2, 3], token: [0, 1, 2, 3, 4], depth: [0, 1, 1, 2, 2], logprob: [null, -2, -0.1, -1, -1], entropy: [], rank: [], sum_logprob: [], min_logprob: [],
  origin: [], ended: [], flags: [0, 0, 0, 0, 0], dead: {}, completion: {}, vocabulary: {}, next: null,
});

test("a tree's best child goes on in its parent's row, and every leaf has a row", () => {
  const made = layOut(/** @type {any} */ (forest()), { width: () => 2 });
  assert.deepEqual([...made.row], [0, 1, 0, 1, 0]);
  assert.deepEqual([...made.x], [0, 3, 3, 6, 6]);
  assert.equal(made.rows, 2);
  assert.deepEqual(wayTo(made, 4), [0, 2, 4]);
  assert.deepEqual(["left", "right", "down"].map((w) => neighbour(made, 2, /** @type {any} */ (w))), [0, 4, 1]);
  const closed = layOut(/** @type {any} */ (forest()), { width: () => 2, collapsed: new Set([3]) });
  assert.deepEqual([...closed.row], [0, 1, 0, 1, -1]);
});

test("what a tree gained replaces and follows what was known", () => {
  const added = { ...forest(), id: [2, 6], parent: [1, 5], token: [1, 9], depth: [1, 3], logprob: [-2, -3], flags: [4, 0], entropy: [1, 1], rank: [1, 1], sum_logprob: [-2, -4], min_logprob: [-2, -3], origin: ["sampled", "picked"], ended: [false, true], dead: { 6: "why" } };
  const made = merged(/** @type {any} */ ({ ...forest(), dead: { 2: "old" } }), /** @type {any} */ (added));
  assert.deepEqual(made.id, [1, 2, 3, 4, 5, 6]);
  assert.deepEqual(made.flags, [0, 4, 0, 0, 0, 0]);
  assert.deepEqual(made.dead, { 6: "why" });
});

test("of a hundred thousand rows only those in sight are drawn", () => {
  assert.deepEqual(inSight({ rows: 100_000, height: 66, top: 6600, view: 660, over: 2 }), { first: 98, last: 112, total: 6_600_000 });
  assert.deepEqual(inSight({ rows: 3, height: 66, top: 0, view: 660 }), { first: 0, last: 3, total: 198 });
  assert.equal(scrollFor(10, { height: 10, top: 0, view: 50 }), 60);
  assert.equal(scrollFor(2, { height: 10, top: 0, view: 50 }), null);
});

test("a lab's report grows text by text, in the plan's order, and tables take the place of tables", () => {
  const text = (number, shared = 0) => ({ place: 1, number, title: `t${number}`, shared });
  const report = { run: { done: 1, asked: 3 }, groups: [{ place: 0, texts: [], rows: [] }, { place: 1, texts: [text(2)], rows: [] }] };
  const first = withNews(report, "text", { text: text(0), done: 2 });
  assert.deepEqual(first.groups[1].texts.map((each) => each.number), [0, 2]);
  assert.equal(first.groups[0], report.groups[0]);
  assert.equal(first.run.done, 2);
  assert.deepEqual(withNews(first, "text", { text: text(0), done: 2 }).groups[1].texts.length, 2);
  const second = withNews(first, "head", { head: { place: 1, rows: ["row"], checks: ["law"] }, shared: [[2, 7]], done: 2 });
  assert.deepEqual([second.groups[1].rows, second.groups[1].checks], [["row"], ["law"]]);
  assert.deepEqual(second.groups[1].texts.map((each) => each.shared), [0, 7]);
  assert.equal(withNews(second, "end", { report: "the whole" }), "the whole");
});

test("a lab's table sorts by any column, what has no value last", () => {
  const rows = [{ experiment: "a", seconds: 1, averages: { quality: [0.2, 0, 1] } }, { experiment: "b", seconds: 2, averages: {} }, { experiment: "c", seconds: 3, averages: { quality: [0.9, 0, 1] } }];
  const order = (column) => sortedRows(rows, column, (row) => ({ b: 1 })[row.experiment]).map((row) => row.experiment).join("");
  assert.deepEqual([order(null), order("quality"), order("seconds"), order("votes")], ["abc", "cab", "cba", "bac"]);
});

test("lines are smoothed and drawn within their box", () => {
  assert.deepEqual(smooth([0, 3, 6], 3), [1.5, 3, 4.5]);
  assert.deepEqual(smooth([2, 4], 1), [2, 4]);
  assert.equal(pathOf([0, 1, 9], { width: 100, height: 10, longest: 3, top: 2 }), "M0.0,10.0L50.0,5.0L100.0,0.0");
  assert.equal(pathOf([1], { width: 100, height: 10, longest: 1, top: 1 }), "M0.0,0.0");
});

test("a lab's tokens are the token view's: special ones write nothing and are spelt by their label", () => {
  const tokens = asTokens({ ids: [5, 2], text: [" a", "</s>"], special: [2], probability: [0.5, 1], rank: [1, 1], entropy: [0.7, 0], kept: {}, alternatives: [[], []], vocabulary: { 5: " a", 2: "</s>" } });
  assert.deepEqual([tokens.text, tokens.special, tokens.total], [[" a", ""], [2], 2]);
  assert.deepEqual(tokens.logprob, [Math.log(0.5), 0]);
});

test("what is filled in becomes a plan, and its size is known before it runs", () => {
  const base = { name: "document-004", max_new_tokens: 1000, seed: 1, prompts: [], experiments: [
    { title: "greedy", settings: {}, repeats: 3, prompts: [] }, { title: "sampling", settings: { do_sample: true }, repeats: 5, prompts: [] },
    { title: "forced", settings: {}, repeats: 1, prompts: ["Story"] }, { title: "left out", settings: {}, prompts: [] },
  ] };
  const form = { name: " ", models: [""], prompts: [{ title: "Story", prompt: "a" }, { title: "two", prompt: "b" }], chosen: ["greedy", "sampling", "forced"],
    own: [{ title: "mine", settings: { top_k: 3 }, repeats: 2 }], samples: 4, max_new_tokens: 9, seed: 6 };
  const plan = planOf(form, base);
  assert.deepEqual([plan.name, plan.max_new_tokens, plan.seed], ["my plan", 9, 6]);
  assert.deepEqual(plan.experiments.map((each) => [each.title, each.repeats, each.prompts]), [["greedy", 3, []], ["sampling", 4, []], ["forced", 1, ["Story"]], ["mine", 2, []]]);
  assert.equal(sizeOf(plan), 2 * (3 + 4 + 2) + 1);
  // An experiment for a prompt that is gone goes with it.
  assert.deepEqual(planOf({ ...form, prompts: [{ title: "two", prompt: "b" }] }, base).experiments.map((each) => each.title), ["greedy", "sampling", "mine"]);
});

test("an amount of a facet is all, a count or a share, and nothing else", () => {
  const part = (/** @type {string} */ amount) => facetPart({ name: "f", amount, order: "oldest" });
  assert.deepEqual(part(" "), { name: "f", order: "oldest" });
  assert.deepEqual(part("100"), { name: "f", count: 100, order: "oldest" });
  assert.deepEqual(part("12.5 %"), { name: "f", share: 0.125, order: "oldest" });
  for (const odd of ["0", "0%", "101%", "-1", "1.5", "many", "5%%"]) assert.equal(typeof part(odd), "string", odd);
});

test("columns and fields are each other's other side", () => {
  assert.deepEqual(mappingOf({ Question: "user", Answer: "completion", Id: "" }), { user: "Question", completion: "Answer" });
  assert.deepEqual(byColumn({ user: "Question" }), { Question: "user" });
});

test("what was typed becomes names and numbers", () => {
  assert.deepEqual(names(" one, ,two "), ["one", "two"]);
  assert.deepEqual([number(""), number("0"), number("-1.5"), number("x"), number(null)], [null, 0, -1.5, null, null]);
});

test("sizes and progress", () => {
  assert.deepEqual([0, 999, 1500, 246_000_000, 1.1e9].map(size), ["0 bytes", "999 bytes", "1.5 kB", "246 MB", "1.1 GB"]);
  assert.deepEqual([shareDone({ done: 5, total: 10 }), shareDone({ done: 12, total: 10 }), shareDone({ done: 5, total: null }), shareDone({ done: 0, total: 0 })], [0.5, 1, null, null]);
});

test("there is advice for what can be mended, and none for what need not be", () => {
  assert.equal(adviceFor("truncated"), "Continue it, or edit its end");
  assert.equal(adviceFor("rated below 7"), adviceFor("rated between 5 and 7"));
  assert.equal(adviceFor("mean logprob is too low"), "Make a likelier one, or lower the bound");
  assert.equal(adviceFor("the sample is archived"), "Restore it");
  assert.equal(adviceFor("equal to another of the sample"), "");
});

test("a run grows by its events, and its curves have points where something was measured", () => {
  const line = (/** @type {number} */ step, /** @type {any} */ more = {}) => ({ step, seconds: step, held_out: false, loss: 3 - step, accuracy: null, margin: null, tokens_per_s: 50, lr: 0.1, ...more });
  const run = /** @type {any} */ ({ key: "a", state: "running", step: 1, log: [line(1)] });
  const grown = withTold(run, "line", { state: { key: "a", state: "running", step: 2 }, lines: [line(2), line(2, { held_out: true, loss: 2.5 })] });
  assert.deepEqual(grown.log, [line(1), line(2), line(2, { held_out: true, loss: 2.5 })]);
  assert.equal(grown.step, 2);
  assert.deepEqual(withTold(grown, "state", { state: { state: "running", doing: "saving" } }).log, grown.log);
  const whole = { key: "a", state: "completed", log: [] };
  assert.equal(withTold(grown, "end", { run: whole }), whole);
  assert.deepEqual(points(grown.log, "loss", false), [[1, 2], [2, 1]]);
  assert.deepEqual(points(grown.log, "loss", true), [[2, 2.5]]);
  assert.deepEqual(points(grown.log, "accuracy", false), []);
});

test("ticks are round numbers within the range", () => {
  assert.deepEqual(ticks(0, 1, 5), [0, 0.2, 0.4, 0.6, 0.8, 1]);
  assert.deepEqual(ticks(0.9, 3.1, 4), [1, 2, 3]);
  assert.deepEqual(ticks(0, 6, 4), [0, 2, 4, 6]);
  assert.deepEqual(ticks(2, 2), [2]);
  for (const [low, high] of [[-3.3, 0.2], [1e-5, 3e-5], [0, 12345]]) for (const each of ticks(low, high)) assert.ok(each >= low - 1e-9 && each <= high + 1e-9);
});

test("a filter is asked for as it was filled in, and nothing that was left empty", () => {
  assert.deepEqual(qualityBody(NO_CHECKS, ""), {});
  const it = { ...NO_CHECKS, reference: "x", sources: "unread", min_length: "0", max_repetition: " ", coherence_threshold: "0.5", profanity_filter: true };
  assert.deepEqual(qualityBody(it, "mine"), { model: "mine", reference: "x", checks: { min_length: 0, coherence_threshold: 0.5, profanity_filter: true } });
  assert.deepEqual(qualityBody({ ...NO_CHECKS, factuality_check: true, sources: "s", profanity_filter: true, words: "a, b" }, ""), { checks: { profanity_filter: ["a", "b"], factuality_check: true }, sources: ["s"] });
});

test("a job is asked for as it was filled in, and what is not whole is told", () => {
  const it = { model: "", prompts: "", input_path: "", output_path: "", overwrite: false, checkpoint_path: "", prompt_column: "", labels: "", hours: "", logprobs: false, code: false, iterations: "", seconds: "", retry: true, processes: "", ray: false, price_in: "", price_out: "" };
  assert.equal(jobBody(it, {}, null), "Give at least one prompt, or a file");
  assert.deepEqual(jobBody({ ...it, prompts: "a\n\nb" }, { seed: 1 }, null), { prompts: ["a", "b"], config: { seed: 1 }, name: "answers.jsonl" });
  assert.deepEqual(jobBody({ ...it, labels: "team=one, eq=a=b", hours: "0.5", logprobs: true, code: true, iterations: "3", retry: false }, {}, "rows.csv"), {
    config: {}, name: "rows.answers.jsonl", logprobs: true, labels: { team: "one", eq: "a=b" }, max_runtime_sec: 1800, tool_config: { name: "code_evaluator", max_iterations: 3, should_retry_on_error: false },
  });
  assert.deepEqual(jobBody({ ...it, input_path: "/in", output_path: "/out.jsonl", overwrite: true, checkpoint_path: "/c" }, {}, null), {
    input_path: "/in", config: {}, name: "answers.jsonl", output_path: "/out.jsonl", checkpoint_path: "/c", overwrite: true,
  });
  assert.deepEqual(jobBody({ ...it, prompts: "a", processes: "4", ray: true, price_out: "0.6" }, {}, null), {
    prompts: ["a"], config: {}, name: "answers.jsonl", processes: 4, runner: "ray", prices: [0, 0.6],
  });
  assert.equal(jobBody({ ...it, prompts: "a", processes: "65" }, {}, null), "“65” is no number of processes: 1 to 64");
  assert.equal(jobBody({ ...it, prompts: "a", price_in: "-1" }, {}, null), "“-1” is no price: a number of at least 0");
  assert.equal(jobBody({ ...it, prompts: "a", labels: "team" }, {}, null), "“team” is no label: write name=value");
  assert.equal(jobBody({ ...it, prompts: "a", hours: "60" }, {}, null), "“60” is no number of hours: more than 0, at most 48");
  assert.equal(jobBody({ ...it, prompts: "a", code: true, seconds: "1.5" }, {}, null), "“1.5” is no whole number of at least 1");
  assert.equal(jobBody({ ...it, input_path: "/in" }, {}, "rows.csv"), "A file is chosen and a place for rows is named: leave one out");
});

test("a run from scratch is asked for as it was filled in", () => {
  const it = { method: "pretrain", tokenizer: "", vocab_size: "420", preset: "small", duplicates: "exact", unreadable: "refuse", schedule: "", bf16: false, minutes: "", hidden_size: "", layers: "2", heads: "", kv_heads: "", intermediate_size: "", epochs: "", max_steps: "", tokens_per_step: "", learning_rate: "", matrix_learning_rate: "", max_length: "", seed: "0" };
  const common = { name: "n", upload: "u", duplicates: "exact", unreadable: "refuse" };
  assert.equal(scratchBody(it, "n", null, null), "Choose the files of text that it learns from");
  assert.deepEqual(scratchBody({ ...it, method: "tokenizer" }, "n", "u", "h"), { ...common, method: "tokenizer", vocab_size: 420 });
  assert.deepEqual(scratchBody({ ...it, minutes: "1.5" }, "n", "u", "h"), { ...common, method: "pretrain", vocab_size: 420, validation_upload: "h", preset: "small", shape: { layers: 2 }, train: { seed: 0, max_seconds: 90 } });
  assert.deepEqual(scratchBody({ ...it, tokenizer: "tiny" }, "n", "u", null), { ...common, method: "pretrain", tokenizer: "tiny", preset: "small", shape: { layers: 2 }, train: { seed: 0 } });
  assert.equal(scratchBody({ ...it, minutes: "-2" }, "n", "u", null), "“-2” is no number above 0");
});

test("a training is asked for as it was filled in, and nothing more", () => {
  const it = /** @type {any} */ ({
    method: "dpo", name: "", model: "", facets: [{ name: "noir", amount: "25%" }, { name: "", amount: "" }], adapter: true, rank: "4", merge: false, keep: true, validation: "0.1", overlong: "refuse",
    unusable: "refuse", truncated: true, archived: false, retokenize: false, prefill: true, turns: "last", packing: false, schedule: "", loss: "ipo", no_reference: false, beta: "0.3", sft: "", desirable_weight: "2", undesirable_weight: "",
    epochs: "", max_steps: "6", learning_rate: "0.005",
  });
  assert.deepEqual(bodyOf(it, "noir-dpo", ["beta", "loss", "sft", "reference"]), {
    method: "dpo", name: "noir-dpo", facets: [{ name: "noir", share: 0.25 }], overlong: "refuse", unusable: "refuse", merge: false, select: { validation: 0.1, truncated: true }, learn: {},
    train: { max_steps: 6, learning_rate: 0.005 }, preference: { beta: 0.3, loss: "ipo" }, lora: { rank: 4 }, keep: {},
  });
  assert.deepEqual(bodyOf({ ...it, no_reference: true }, "noir-dpo", ["beta", "loss", "sft", "reference"]).preference, { beta: 0.3, loss: "ipo", reference: false });
  assert.deepEqual(bodyOf({ ...it, no_reference: true }, "noir-sft", []).preference, {});
  const more = { optimizer: "muon", tokens_per_step: "4096", matrix_learning_rate: "0.01", packing: true, together: true, checkpointing: true, filter: { field: "tag", op: "is", value: "x" }, good_rating: "8", per_sample: "2",
    alpha: "8", keep_texts: "9", keep_weight: "1.5", keep_model: "tiny" };
  const asked = bodyOf({ ...it, ...more }, "noir-dpo", []);
  assert.deepEqual(asked.train, { max_steps: 6, tokens_per_step: 4096, learning_rate: 0.005, matrix_learning_rate: 0.01, optimizer: "muon", packing: true, together: true, checkpointing: true });
  assert.deepEqual([asked.select, asked.lora, asked.keep], [{ validation: 0.1, good_rating: 8, per_sample: 2, filter: more.filter, truncated: true }, { rank: 4, alpha: 8 }, { texts: 9, weight: 1.5, model: "tiny" }]);
  const plain = bodyOf({ ...it, ...more, optimizer: "", packing: false }, "noir-dpo", []); // what would only be refused is not asked for
  assert.deepEqual(plain.train, { max_steps: 6, tokens_per_step: 4096, learning_rate: 0.005, checkpointing: true });
  assert.equal(bodyOf({ ...it, facets: [{ name: "noir", amount: "some" }] }, "x", []), "“some” is no amount: leave it empty for all, or write 100 or 25%");
  assert.equal(freeName("Légal letters!", "sft", ["legal-letters-sft", "legal-letters-sft-2"]), "legal-letters-sft-3");
  assert.equal(freeName("夜", "kto", []), "model-kto");
});
