/** What the studio uses of Preact, htm and signals, from one place. */
export { Component, Fragment, createRef, options, render } from "../vendor/preact.js";
export { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../vendor/preact-hooks.js";
export { batch, computed, effect, signal, untracked, useComputed, useSignal } from "../vendor/signals.js";
export { html } from "../vendor/htm-preact.js";
