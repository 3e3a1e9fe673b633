// The routes of /openapi.json as a page. Everything is written as text: what the server says is never markup here.
"use strict";

const form = document.querySelector("form");
const main = document.querySelector("main");
const status = document.querySelector("[role=status]");

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function kindOf(schema) {
  if (schema === undefined || schema === true) return "any";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.anyOf) return schema.anyOf.map(kindOf).filter((kind) => kind !== "null").join(" | ");
  return schema.type === "array" ? `[${kindOf(schema.items)}]` : schema.type ?? "any";
}

function fields(schema, all) {
  const found = schema?.$ref ? all[schema.$ref.split("/").pop()] : schema;
  const table = element("table");
  for (const [name, field] of Object.entries(found?.properties ?? {})) {
    const row = element("tr");
    const head = element("th");
    head.append(element("code", name + (found.required?.includes(name) ? " *" : "")));
    row.append(head, element("td", kindOf(field)), element("td", field.description ?? ""));
    table.append(row);
  }
  return table;
}

function route(path, method, operation, all) {
  const box = element("details");
  const line = element("summary");
  line.append(element("span", method.toUpperCase(), { class: "method" }), element("code", path));
  box.append(line, element("p", operation.description ?? operation.summary ?? ""));
  for (const parameter of operation.parameters ?? []) {
    const item = element("p");
    item.append(element("code", parameter.name), ` (${parameter.in}) ${kindOf(parameter.schema)} ${parameter.description ?? ""}`);
    box.append(item);
  }
  const body = operation.requestBody?.content?.["application/json"]?.schema;
  if (body) box.append(fields(body, all));
  return box;
}

async function show(token) {
  status.textContent = "…";
  const answer = await fetch("/openapi.json", { headers: { authorization: `Bearer ${token}` } });
  const found = await answer.json();
  status.textContent = answer.ok ? "" : found.error.message;
  main.replaceChildren();
  if (!answer.ok) return;
  const all = found.components?.schemas ?? {};
  for (const [path, methods] of Object.entries(found.paths)) {
    for (const [method, operation] of Object.entries(methods)) main.append(route(path, method, operation, all));
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  show(form.elements.token.value);
});

// The token may come in the fragment, which no browser sends to a server.
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  history.replaceState(null, "", location.pathname);
  form.elements.token.value = given;
  show(given);
}
