/** What every page shares: facets, models, the chosen facet, the look, messages that pass, and a count of changes. */

import { api, ApiError } from "./api.js";
import { computed, effect, signal } from "./preact.js";

/** @import * as T from "./types.js" */

/** @template X @param {string} name @param {X} otherwise @returns {import("./preact.js").Signal<X>} */
export function remembered(name, otherwise) {
  let first = otherwise;
  try {
    const kept = localStorage.getItem(`ramify.${name}`);
    if (kept !== null) first = JSON.parse(kept);
  } catch {
    // Storage may be forbidden or hold something else; then nothing is remembered.
  }
  const found = signal(first);
  effect(() => {
    const value = JSON.stringify(found.value);
    try {
      localStorage.setItem(`ramify.${name}`, value);
    } catch {
      // As above.
    }
  });
  return found;
}

export const workspace = signal(/** @type {any} */ (null));
export const facets = signal(/** @type {T.Facet[]} */ ([]));
export const models = signal(/** @type {T.Model[]} */ ([]));
export const settings = signal(/** @type {{ fields: { name: string, type: string, default: any, allowed: string, help: string }[], presets: Record<string, T.Config>, processors: string[] } | null} */ (null));

/** Goes up with every change of the workspace that this page knows of; lists read it to load again. */
export const changed = signal(0);
/** The server's stream of drafts: whether it is connected. */
export const connected = signal(true);
/** The name of the chosen facet; "" for none. */
export const facetName = remembered("facet", "");
export const facet = computed(() => facets.value.find((each) => each.name === facetName.value) ?? null);

export const theme = remembered("theme", /** @type {"system" | "light" | "dark"} */ ("system"));
export const palette = remembered("palette", "ember");

export const toasts = signal(/** @type {{ key: number, text: string, error: boolean, action?: string, act?: () => void }[]} */ ([]));
let lastToast = 0;

/**
 * A message that goes away by itself.
 * @param {string} text @param {{ error?: boolean, action?: string, act?: () => void }} [options]
 */
export function say(text, { error = false, action, act } = {}) {
  const key = ++lastToast;
  toasts.value = [...toasts.value.slice(-2), { key, text, error, action, act }];
  setTimeout(() => dismiss(key), error ? (action ? 30_000 : 9000) : 5000);
}

/** @param {number} key */
export function dismiss(key) {
  toasts.value = toasts.value.filter((each) => each.key !== key);
}

/** @param {unknown} error */
export function sayError(error) {
  if (error instanceof DOMException && error.name === "AbortError") return;
  say(error instanceof Error ? error.message : String(error), { error: true });
  if (!(error instanceof ApiError)) console.error(error);
}

/**
 * Do something to the workspace; afterwards lists load again, and a toast offers to undo it. Errors are said, then null comes back.
 * @template X
 * @param {() => Promise<X>} work @param {string} [done] what the toast says
 * @returns {Promise<X | null>}
 */
export async function act(work, done) {
  try {
    const found = await work();
    changed.value += 1;
    if (done) say(done, { action: "Undo", act: undo });
    return found;
  } catch (error) {
    sayError(error);
    return null;
  }
}

/**
 * The same for a change of something that was seen at a version. Where somebody changed it since, nothing is overwritten: what is
 * there now is shown, and one may still make one's own change.
 * @template X
 * @param {string} version @param {(version: string | undefined) => Promise<X>} work @param {string} [done]
 * @returns {Promise<X | null>}
 */
export async function actSeen(version, work, done) {
  try {
    const found = await work(version);
    changed.value += 1;
    if (done) say(done, { action: "Undo", act: undo });
    return found;
  } catch (error) {
    if (!(error instanceof ApiError) || error.code !== "stale") {
      sayError(error);
      return null;
    }
    const anyway = async () => {
      await act(() => work(undefined), done);
      await loadShared();
    };
    say("Somebody changed this meanwhile, perhaps you in another window. What it is now is shown, and your change was not made.", { error: true, action: "Make my change", act: anyway });
    changed.value += 1;
    await loadShared().catch(sayError);
    return null;
  }
}

/**
 * Delete what the page shows, and leave the page: it must not be read again, for it is gone.
 * @param {() => Promise<unknown>} work @param {() => void} leave @param {string} done
 */
export async function actAndLeave(work, leave, done) {
  try {
    await work();
  } catch (error) {
    sayError(error);
    return;
  }
  leave();
  say(done, { action: "Undo", act: undo });
}

export async function undo() {
  const found = await act(() => api.undo());
  if (found) say(found.action ? `Undone: ${found.action.name}` : "There is nothing to undo", found.action ? { action: "Redo", act: redo } : {});
  await loadShared();
}

export async function redo() {
  const found = await act(() => api.redo());
  if (found) say(found.action ? `Done again: ${found.action.name}` : "There is nothing to redo", found.action ? { action: "Undo", act: undo } : {});
  await loadShared();
}

/** What the frame needs; pages ask for the rest. */
export async function loadShared() {
  const [where, allFacets, allModels] = await Promise.all([api.workspace(), api.facets(), api.models()]);
  workspace.value = where;
  facets.value = allFacets.items;
  models.value = allModels.items;
  if (facetName.value && !facets.value.some((each) => each.name === facetName.value)) facetName.value = "";
  if (!facetName.value && facets.value.length) facetName.value = await mostJudged();
}

/** The facet that there is most to see of. */
async function mostJudged() {
  const { items } = await api.counts();
  const judged = (/** @type {any} */ each) => each.rated + each.preferences;
  return [...items].sort((a, b) => judged(b) - judged(a))[0]?.facet ?? facets.value[0].name;
}

export async function loadSettings() {
  settings.value ??= await api.config();
  return settings.value;
}

/** The model that would be used: the chosen facet's target. @param {string | null} [name] */
export function targetModel(name) {
  return name || facet.value?.effective.target_model || "tiny";
}

/** Why a model cannot do something, or null where it can. @param {string} name @param {keyof T.Model["can"]} what */
export function cannot(name, what) {
  const can = models.value.find((each) => each.name === name)?.can[what];
  return typeof can === "string" ? can : null;
}
