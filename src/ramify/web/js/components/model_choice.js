/** Which models: the facet's target unless others are named. A model that cannot do it is greyed, with the measured reason. */

import { html } from "../preact.js";
import { cannot, facetName, models, targetModel } from "../state.js";
import { Button, Select } from "./controls.js";

/** @import { Model } from "../types.js" */

/** @param {{ value: string, onChange: (name: string) => void, what?: keyof Model["can"], label?: string }} props "" is the target model */
export function ModelChoice({ value, onChange, what = "generate", label = "Model" }) {
  const target = targetModel();
  return html`<${Select} label=${label} value=${value} onChange=${onChange} options=${[
    { value: "", name: `${target} (target${facetName.value ? ` for ${facetName.value}` : ""})`, why: cannot(target, what) },
    ...models.value.filter((each) => each.name !== target).map((each) => ({ value: each.name, name: `${each.name}${each.note ? ` · ${each.note}` : ""}`, why: cannot(each.name, what) })),
  ]} />`;
}

/** Several, one below the other. @param {{ values: string[], onChange: (names: string[]) => void }} props */
export function ModelChoices({ values, onChange }) {
  return html`<div class="stack">${values.map((each, at) => html`<div class="row" key=${at} style=${{ alignItems: "end" }}><div class="grow"><${ModelChoice} label=${at ? `Model ${at + 1}` : "Model"} value=${each} onChange=${(/** @type {string} */ name) => onChange(values.map((old, i) => (i === at ? name : old)))} /></div>
      ${values.length > 1 && html`<${Button} kind="quiet" icon="close" label=${`Without model ${at + 1}`} onClick=${() => onChange(values.filter((_, i) => i !== at))} />`}
      ${at === values.length - 1 && models.value.length > 1 && html`<${Button} kind="quiet" icon="plus" label="Another model at once" onClick=${() => onChange([...values, models.value.find((one) => !values.includes(one.name))?.name ?? ""])} />`}</div>`)}</div>`;
}
