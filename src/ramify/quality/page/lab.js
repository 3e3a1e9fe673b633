// The lab's page. Everything a model wrote goes in as text, never as markup.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const root = document.documentElement;
const LINES = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6d3b", "#7f7f7f"];
const DASHES = ["", "6 3", "2 3", "8 3 2 3"];
let group = 0, measure = "probability", sorted = null, base = 0, shownLines = null, keptRun = null;

function make(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter(child => child !== null && child !== undefined));
  return node;
}
function svg(name, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}
const percent = p => p >= 0.0995 ? (100 * p).toFixed(0) + " %" : p >= 0.00095 ? (100 * p).toFixed(1) + " %" : p > 0 ? (100 * p).toPrecision(1) + " %" : "0";
const number = x => x === null ? "—" : Math.abs(x) >= 100 ? x.toFixed(0) : Math.abs(x) >= 10 ? x.toFixed(1) : x.toFixed(3);
const textOf = (g, id) => g.texts[id] ?? "";
const visible = text => text === "" ? "∅" : text.replaceAll(" ", "·").replaceAll("\n", "⏎").replaceAll("\t", "⇥");

// How likely, on a scale of seven even steps; the order shows in lightness alone.
function step(run, at) {
  if (measure === "entropy") { const h = run.h[at]; return [0.1, 0.5, 1, 1.8, 2.8, 4].filter(bound => h > bound).length; }
  if (measure === "rank") { const r = run.r[at]; return [1, 2, 4, 8, 20, 100].filter(bound => r > bound).length; }
  const p = run.p[at];
  return [0.9, 0.7, 0.5, 0.3, 0.1, 0.01].filter(bound => p < bound).length;
}
const LEGEND = {
  probability: ["≥ 90 %", "70–90", "50–70", "30–50", "10–30", "1–10", "< 1 %"],
  rank: ["1st", "2nd", "3–4", "5–8", "9–20", "21–100", "> 100"],
  entropy: ["≤ 0.1 nat", "0.1–0.5", "0.5–1", "1–1.8", "1.8–2.8", "2.8–4", "> 4"],
};
function paint(node, at) {
  node.style.background = `var(--p${at})`;
  const dark = root.dataset.theme === "dark";
  node.style.color = (dark ? at >= 5 : at >= 5) ? (dark ? "#10151a" : "#ffffff") : "";
}
function legend() {
  return make("span", { class: "legend" }, ...LEGEND[measure].map((name, at) => { const cell = make("i", {}, name); paint(cell, at); return cell; }));
}

function tokens(g, run) {
  const box = make("div", { class: "tokens" });
  run.ids.forEach((id, at) => {
    const text = textOf(g, id), special = g.special.includes(id);
    const node = make("span", { tabindex: at === 0 ? "0" : "-1", title: `${visible(text)}  ${percent(run.p[at])}, rank ${run.r[at]}, entropy ${run.h[at]} nat` });
    node.textContent = special ? text : text === "" ? "∅" : text;
    if (special) node.classList.add("special");
    if (at === run.shared && run.shared < run.ids.length && run !== g.runs[0]) node.classList.add("parts");
    paint(node, step(run, at));
    node.addEventListener("click", () => why(g, run, at, node));
    node.addEventListener("keydown", event => {
      const next = event.key === "ArrowRight" ? node.nextElementSibling : event.key === "ArrowLeft" ? node.previousElementSibling : null;
      if (next) { next.focus(); next.tabIndex = 0; node.tabIndex = -1; event.preventDefault(); }
      if (event.key === "Enter" || event.key === " ") { why(g, run, at, node); event.preventDefault(); }
    });
    box.append(node);
  });
  return box;
}

function why(g, run, at, node) {
  document.querySelectorAll(".tokens .on").forEach(other => other.classList.remove("on"));
  node.classList.add("on");
  const panel = document.getElementById("why");
  const rows = run.c[at].map(([id, p, by, left]) => {
    const chosen = id === run.ids[at];
    return make("tr", { class: chosen ? "chosen" : null },
      make("td", {}, make("code", {}, visible(textOf(g, id)))), make("td", {}, percent(p)),
      make("td", { class: by < 0 ? null : "gone" }, by < 0 ? "stayed" : data.rules[by]), make("td", {}, by < 0 ? percent(left) : "0"));
  });
  const kept = Object.entries(run.kept).map(([name, values]) => `${name} kept ${percent(values[at])}`).join(", ");
  const ask = make("input", { placeholder: "why not … (type a token)", "aria-label": "Why not this token", size: 22 });
  const answer = make("p", { "aria-live": "polite" });
  ask.addEventListener("input", () => {
    const wanted = ask.value;
    const found = run.c[at].find(([id]) => textOf(g, id) === wanted) || run.c[at].find(([id]) => textOf(g, id).trim() === wanted.trim() && wanted.trim());
    answer.textContent = !wanted.trim() ? "" : !found
      ? `“${wanted}” is not among the ${run.c[at].length} likeliest here; ramify.quality.explaining.why_not answers for any token.`
      : found[2] >= 0 ? `${data.rules[found[2]]} removed it: it had ${percent(found[1])}.`
      : found[0] === run.ids[at] ? `It was taken, with ${percent(found[3])} after all rules.`
      : run.sampled ? `No rule removed it: it had ${percent(found[3])}, and the draw went elsewhere.`
      : `No rule removed it: it had ${percent(found[3])}, and ${run.strategy.replace("_", " ")} chose otherwise.`;
  });
  panel.replaceChildren(
    make("h3", {}, make("span", {}, `Token ${at} of ${run.title}`), make("button", { "aria-label": "Close", onclick: () => { panel.hidden = true; node.focus(); } }, "×")),
    make("p", { class: "soft" }, `${percent(run.p[at])}, rank ${run.r[at]}, entropy ${run.h[at]} nat` + (kept ? `; ${kept}` : "")),
    make("table", {}, make("thead", {}, make("tr", {}, ...["could stand here", "model", "removed by", "in the end"].map(name => make("th", {}, name)))), make("tbody", {}, ...rows)),
    ask, answer);
  panel.hidden = false;
}

const COLUMNS = [["quality", "quality", 1], ["perplexity", "perplexity", -1], ["coherence", "coherence", 1], ["relevance", "relevance", 1],
  ["diversity", "diversity", 1], ["repetition", "repetition", -1], ["tokens", "tokens", 0]];
function table(g) {
  const rows = [...g.rows];
  if (sorted) rows.sort((a, b) => ((a.a[sorted]?.[0] ?? a[sorted] ?? -Infinity) - (b.a[sorted]?.[0] ?? b[sorted] ?? -Infinity)) * -1);
  const head = (key, name) => make("th", { scope: "col", "aria-sort": sorted && sorted === key ? "descending" : null },
    make("button", { onclick: () => { sorted = sorted === key ? null : key; draw(); } }, name + (sorted && sorted === key ? " ↓" : "")));
  const heads = [head(null, "experiment"), head("runs", "runs"), ...COLUMNS.map(([key, name]) => head(key, name)), head("seconds", data.one_by_one ? "seconds" : "seconds*")];
  if (g.json) heads.push(head("json", "JSON"), head("schema", "schema"));
  const body = rows.map(row => make("tr", {},
    make("td", {}, row.title), make("td", {}, String(row.runs)),
    ...COLUMNS.map(([key]) => {
      const found = row.a[key];
      return make("td", {}, found ? number(found[0]) : "—", found && row.runs > 1 ? make("small", {}, ` [${number(found[1])}, ${number(found[2])}]`) : null);
    }),
    make("td", {}, row.seconds.toFixed(1)),
    ...(g.json ? [make("td", {}, `${row.json}/${row.runs}`), make("td", {}, `${row.schema}/${row.runs}`)] : [])));
  return make("div", { class: "scroll" }, make("table", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...body)));
}

function plot(series, { top, unit, height = 220, label }) {
  const width = 1100, left = 44, bottom = 26, longest = Math.max(2, ...series.map(one => one.values.length));
  const high = top ?? Math.max(0.1, ...series.flatMap(one => one.values));
  const x = at => left + (width - left - 8) * at / (longest - 1), y = value => 8 + (height - bottom - 8) * (1 - Math.min(value, high) / high);
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "plot", role: "img", "aria-label": label });
  for (const part of [0, 0.25, 0.5, 0.75, 1]) {
    picture.append(svg("line", { x1: left, x2: width - 8, y1: y(high * part), y2: y(high * part) }));
    const mark = svg("text", { x: left - 6, y: y(high * part) + 4, "text-anchor": "end" });
    mark.textContent = unit === "%" ? `${Math.round(100 * high * part)} %` : (high * part).toFixed(1);
    picture.append(mark);
  }
  for (let at = 0; at < longest; at += Math.max(1, Math.ceil(longest / 12 / 10) * 10)) {
    const mark = svg("text", { x: x(at), y: height - 8, "text-anchor": "middle" });
    mark.textContent = String(at);
    picture.append(mark);
  }
  series.forEach((one, place) => {
    const points = one.values.map((value, at) => `${at ? "L" : "M"}${x(at).toFixed(1)},${y(value).toFixed(1)}`).join("");
    picture.append(svg("path", { d: points, stroke: LINES[place % LINES.length], "stroke-dasharray": DASHES[Math.floor(place / 2) % DASHES.length] }));
  });
  const keys = series.map((one, place) => {
    const sample = svg("svg", { width: 28, height: 10 }, svg("path", { d: "M0,5L28,5", stroke: LINES[place % LINES.length], "stroke-width": 2, "stroke-dasharray": DASHES[Math.floor(place / 2) % DASHES.length] }));
    return make("span", { class: "key" }, sample, one.name);
  });
  return make("div", {}, picture, make("div", {}, ...keys));
}
const smooth = values => values.map((_, at) => { const part = values.slice(Math.max(0, at - 4), at + 5); return part.reduce((a, b) => a + b, 0) / part.length; });

function parted(g) {
  const mine = g.runs[base];
  const rows = g.runs.map((run, place) => {
    if (place === base) return null;
    let at = 0;
    while (at < mine.ids.length && at < run.ids.length && mine.ids[at] === run.ids[at]) at++;
    const same = at === mine.ids.length && at === run.ids.length;
    const before = mine.ids.slice(Math.max(0, at - 8), at).map(id => textOf(g, id)).join("");
    const told = (r) => at < r.ids.length ? visible(textOf(g, r.ids[at])) : "(ends)";
    return make("tr", {}, make("td", {}, run.title),
      make("td", {}, make("span", { class: "bar", style: `width:${Math.max(1, 120 * at / Math.max(1, mine.ids.length))}px` }), ` ${same ? "identical" : at}`),
      same ? make("td", {}, "") : make("td", {}, "…" + before, make("mark", {}, told(mine)), " / ", make("mark", {}, told(run))));
  });
  return make("div", { class: "scroll parted" }, make("table", {}, make("thead", {}, make("tr", {}, make("th", {}, "completion"), make("th", {}, "tokens in common"), make("th", {}, "where they part"))), make("tbody", {}, ...rows.filter(Boolean))));
}

function choice(options, value, onchange, label) {
  const node = make("select", { "aria-label": label, onchange: event => { onchange(Number(event.target.value)); draw(); } },
    ...options.map(([key, name]) => make("option", { value: key }, name)));
  node.value = String(value);
  return node;
}

function draw() {
  const open = new Set([...document.querySelectorAll("details[open]")].map(node => node.dataset.run));
  const g = data.groups[group], main = document.querySelector("main");
  document.getElementById("why").hidden = true;
  const tabs = make("div", { class: "tabs", role: "tablist" }, ...data.groups.map((one, place) => make("button", {
    role: "tab", "aria-selected": String(place === group), onclick: () => { group = place; base = 0; shownLines = keptRun = null; draw(); window.scrollTo(0, 0); },
  }, data.groups.some(other => other.model !== g.model) ? `${one.model}: ${one.title}` : one.title)));
  const facts = make("dl", { class: "facts" });
  for (const [name, value] of g.facts) facts.append(make("dt", {}, name), make("dd", {}, value));
  const parts = [tabs, facts, make("div", { class: "prompt" }, g.prompt)];
  if (g.refused) { main.replaceChildren(...parts, make("p", { class: "refused" }, g.refused)); return; }
  parts.push(make("h2", {}, "What must hold"), make("ul", { class: "checks" }, ...g.checks.map(([title, holds, detail]) =>
    make("li", {}, make("b", { class: holds === null ? "soft" : holds ? "held" : "broke" }, holds === null ? "·" : holds ? "✓" : "✗"), title + ": ", make("span", { class: "soft" }, detail)))));
  if (g.left_out.length) parts.push(make("h3", {}, "Left out"), ...g.left_out.map(([title, told]) => make("p", { class: "soft" }, `${title}: ${told}`)));
  parts.push(make("h2", {}, "Experiments"), make("p", { class: "soft" }, data.note), table(g));

  shownLines ??= [...new Set([0, ...["sampling", "nucleus T=1 p=0.9, inclusive", "temperature 0.5", "beams (4, 1), standard"].map(name => g.runs.findIndex(run => run.title === name)).filter(at => at >= 0)])];
  parts.push(make("h2", {}, "Entropy along the text"), make("p", { class: "soft" }, "Nats, of the model's own distribution before each token; a mean over nine tokens."),
    plot(shownLines.map(at => ({ name: g.runs[at].title, values: smooth(g.runs[at].h) })), { label: "Entropy along the text" }),
    make("div", { class: "controls" }, "Add or take away:", choice([[-1, "…"], ...g.runs.map((run, at) => [at, (shownLines.includes(at) ? "− " : "+ ") + run.title])], -1,
      at => { if (at >= 0) shownLines = shownLines.includes(at) ? shownLines.filter(other => other !== at) : [...shownLines, at]; }, "Lines of the plot")));
  const filtered = g.runs.map((run, at) => [at, run.title]).filter(([at]) => Object.keys(g.runs[at].kept).length);
  if (filtered.length) {
    keptRun ??= (filtered.find(([, title]) => title.startsWith("balanced")) ?? filtered[0])[0];
    const run = g.runs[keptRun];
    parts.push(make("h2", {}, "Probability mass kept by each rule"),
      make("p", { class: "soft" }, "Of the mass that reached it, at each token; a rule that took nothing out stands at 100 %."),
      make("div", { class: "controls" }, "Completion:", choice(filtered, keptRun, at => { keptRun = at; }, "Completion of the plot")),
      plot(Object.entries(run.kept).map(([name, values]) => ({ name: `${name} (mean ${percent(values.reduce((a, b) => a + b, 0) / values.length)})`, values })), { top: 1, unit: "%", label: "Mass kept along the text" }));
  }
  parts.push(make("h2", {}, "Where texts part"), make("div", { class: "controls" }, "From:", choice(g.runs.map((run, at) => [at, run.title]), base, at => { base = at; }, "Text to compare with")), parted(g));
  parts.push(make("h2", {}, "Texts"), make("div", { class: "controls" }, "Colour:", ...Object.keys(LEGEND).map(name =>
    make("button", { "aria-pressed": String(name === measure), onclick: () => { measure = name; draw(); } }, name)), legend()),
    make("p", { class: "soft" }, "A token tells what else could have stood there and which rule removed it: click it, or reach it with Tab, move with ← →, and press Enter. A red edge marks where a text parts from greedy."));
  g.runs.forEach((run, place) => {
    const body = make("div", {});
    const told = [`${run.ids.length} tokens`, run.fin, run.seed_told, run.score === null ? null : `score ${run.score}`,
      run.json === null ? null : run.schema ? "valid JSON, fits the schema" : run.json ? "valid JSON, not of the schema" : "no valid JSON"].filter(Boolean).join(", ");
    const node = make("details", { "data-run": `${group}/${place}` }, make("summary", {}, make("b", {}, run.title), make("span", { class: "soft" }, told)), body);
    const fill = () => { if (node.open && !body.childElementCount) body.append(make("p", { class: "soft" }, make("code", {}, run.settings)), tokens(g, run), ...(run.error ? [make("p", { class: "soft" }, run.error)] : [])); };
    node.addEventListener("toggle", fill);
    node.open = open.size && [...open].some(name => name?.startsWith(`${group}/`)) ? open.has(`${group}/${place}`) : place === 0;
    fill();
    parts.push(node);
  });
  main.replaceChildren(...parts);
}

const preferred = matchMedia("(prefers-color-scheme: dark)");
root.dataset.theme = preferred.matches ? "dark" : "light";
document.getElementById("theme").addEventListener("click", () => { root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark"; draw(); });
document.addEventListener("keydown", event => { if (event.key === "Escape") document.getElementById("why").hidden = true; });
draw();
