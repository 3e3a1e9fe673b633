/** Sampling parameters: presets, the usual ones as fields, every other one by name; checked by the server while one types. */

import { api } from "../api.js";
import { strategyOf } from "../domain/text.js";
import { html, useEffect, useRef, useState } from "../preact.js";
import { loadSettings, settings } from "../state.js";
import { Button, Field } from "./controls.js";
import { Icon } from "./icon.js";

const USUAL = ["max_new_tokens", "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "num_beams", "seed", "stop_strings"];

/** A field's text as its value; "" leaves it out. @param {string} text */
function valueOf(text) {
  if (text.trim() === "") return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** @param {{ config: Record<string, any>, onChange: (config: Record<string, any>) => void, model?: string, sample?: number, open?: boolean, onWrong?: (wrong: string | null) => void }} props */
export function SettingsForm({ config, onChange, model, sample, open = false, onWrong }) {
  const [wrong, setWrong] = useState(/** @type {{ message: string, param: string | null } | null} */ (null));
  const [facts, setFacts] = useState(/** @type {any} */ (null));
  const timer = useRef(0);
  useEffect(() => {
    loadSettings();
  }, []);
  useEffect(() => {
    clearTimeout(timer.current);
    timer.current = window.setTimeout(async () => {
      try {
        const { error, ...found } = await api.checkConfig({ config, model: model || null, sample });
        if (!error) setFacts(found);
        setWrong(error);
        onWrong?.(error?.message ?? null);
      } catch (error) {
        const { message, param } = /** @type {any} */ (error);
        setWrong({ message, param });
        onWrong?.(message);
      }
    }, 250);
    return () => clearTimeout(timer.current);
  }, [JSON.stringify(config), model, sample]);
  const known = settings.value;
  const properties = Object.fromEntries((known?.fields ?? []).map((each) => [each.name, each]));
  const others = Object.keys(config).filter((name) => !USUAL.includes(name));
  const set = (/** @type {string} */ name, /** @type {string} */ text) => {
    const { [name]: _, ...rest } = config;
    const value = name === "stop_strings" && text !== "" && !text.trim().startsWith("[") ? [text] : valueOf(text);
    onChange(value === undefined ? rest : { ...rest, [name]: value });
  };
  const field = (/** @type {string} */ name) => {
    const shown = config[name] === undefined ? "" : typeof config[name] === "string" ? config[name] : name === "stop_strings" && config[name].length === 1 ? config[name][0] : JSON.stringify(config[name]);
    return html`<${Field} key=${name} label=${name} wrong=${wrong?.param === name ? wrong.message : null}>${(/** @type {string} */ id) => html`<input id=${id} class="input mono" value=${shown} placeholder=${hint(name, properties[name])}
      title=${properties[name] && `${properties[name].help} ${properties[name].allowed}`} aria-invalid=${wrong?.param === name ? "true" : undefined} onInput=${(/** @type {any} */ event) => set(name, event.currentTarget.value)} />`}<//>`;
  };
  return html`<details class="params" open=${open}>
    <summary><${Icon} name="chevron" size=${13} /><span>Parameters</span><span class="mark">${facts?.strategy ?? strategyOf(config)}</span>
      ${wrong && html`<span class="mark truncated">cannot be used</span>`}</summary>
    <div class="stack" style=${{ paddingTop: "12px" }}>
      ${known && html`<div class="row wrap"><${Button} small pressed=${Object.keys(config).every((name) => name === "max_new_tokens")} onClick=${() => onChange(config.max_new_tokens ? { max_new_tokens: config.max_new_tokens } : {})}>greedy<//>
        ${Object.keys(known.presets).map((name) => html`<${Button} small key=${name} onClick=${() => onChange({ ...(config.max_new_tokens ? { max_new_tokens: config.max_new_tokens } : {}), ...known.presets[name] })}>${name}<//>`)}</div>`}
      <div class="fields">${USUAL.map(field)}${others.map(field)}</div>
      ${known && html`<div class="field"><label for="other-setting">Another setting</label><select id="other-setting" class="select" value="" onChange=${(/** @type {any} */ event) => { const name = event.currentTarget.value; if (name) onChange({ ...config, [name]: startOf(properties[name]) }); event.currentTarget.value = ""; }}>
        <option value="">add…</option>${Object.keys(properties).filter((name) => !USUAL.includes(name) && config[name] === undefined).sort().map((name) => html`<option key=${name} value=${name}>${name}</option>`)}</select></div>`}
      ${wrong && !USUAL.includes(wrong.param ?? "") && html`<div class="notice error" role="alert">${wrong.message}</div>`}
      ${facts?.processors?.length ? html`<p class="tiny muted">In this order: ${facts.processors.join(" → ")}</p>` : null}
      ${facts?.prompt_tokens ? html`<p class="tiny muted number">The prompt has ${facts.prompt_tokens} tokens${facts.context_window ? ` of ${facts.context_window}` : ""}.</p>` : null}
    </div>
  </details>`;
}

/** @param {string} name @param {any} schema */
function hint(name, schema) {
  if (name === "num_beams") return "1";
  if (name === "stop_strings") return "none";
  if (schema?.default === undefined || schema.default === null) return { temperature: "greedy", seed: "drawn" }[name] ?? "off";
  return JSON.stringify(schema.default);
}

/** What a setting begins with when it is added: not its neutral value, which would do nothing. @param {any} field */
function startOf(field) {
  return field?.type === "bool" ? !field.default : field?.default ?? first(field);
}

/** A first value for a setting without a default. @param {{ type: string } | undefined} field */
function first(field) {
  const type = field?.type ?? "";
  return type.includes("bool") ? true : /list|tuple|Sequence/.test(type) ? [] : /dict|Mapping/.test(type) ? {} : /int|float/.test(type) ? 1 : "";
}
