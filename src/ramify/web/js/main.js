/** Where the studio begins. */

import { useToken } from "./api.js";
import { followAddress } from "./address.js";
import { App } from "./frame.js";
import { followDrafts } from "./drafts.js";
import { onKey } from "./keyboard.js";
import { effect, html, render } from "./preact.js";
import { palette, remembered, theme } from "./state.js";

const token = remembered("token", "");
const given = followAddress();
if (given) token.value = given;
useToken(token.value);

const dark = matchMedia("(prefers-color-scheme: dark)");
const paint = () => {
  document.documentElement.dataset.theme = theme.value === "system" ? (dark.matches ? "dark" : "light") : theme.value;
  document.documentElement.dataset.palette = palette.value;
};
effect(paint);
dark.addEventListener("change", paint);
document.addEventListener("keydown", onKey);

render(html`<${App} start=${followDrafts} />`, /** @type {HTMLElement} */ (document.getElementById("app")));
