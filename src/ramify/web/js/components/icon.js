/** Line icons, drawn for the studio on a 16-unit grid. */

import { html } from "../preact.js";

const PATHS = {
  branch: "M8 14.5V7.5M8 10.5c0-3 4-2.4 4-6M8 8C8 6 4.6 6.4 4.6 3.4",
  lab: "M6 2v4.4L2.8 12a1.4 1.4 0 0 0 1.2 2h8a1.4 1.4 0 0 0 1.2-2L10 6.4V2M5 2h6M4.6 9.6h6.8",
  download: "M8 2.5v7.6M4.8 7.2 8 10.4l3.2-3.2M3 13.5h10",
  library: "M2.5 3.5h11M2.5 8h11M2.5 12.5h7",
  judge: "M8 2.5v11M4.5 13.5h7M3 5.5h10M3 5.5 1.5 9.5h3L3 5.5ZM13 5.5l-1.5 4h3L13 5.5Z",
  facet: "M8 1.8 14 6l-2.3 7H4.3L2 6l6-4.2ZM2 6h12M8 1.8 5.8 6 8 13l2.2-7L8 1.8Z",
  history: "M2.8 5.2A6 6 0 1 1 2 8M2.5 2v3.4h3.4M8 4.8V8l2.4 1.6",
  jobs: "M2.5 3.5h2M6.5 3.5h7M2.5 8h2M6.5 8h7M2.5 12.5h2M6.5 12.5h7",
  data: "M5 2.5v8M2.8 5 5 2.5 7.2 5M11 13.5v-8M8.8 11l2.2 2.5 2.2-2.5",
  training: "M2.5 2.5v11h11M4.5 4.5c.8 4.6 3 6.3 8.6 6.5",
  undo: "M5.5 3 2.5 6l3 3M3 6h6.2a3.6 3.6 0 0 1 0 7.2H6",
  redo: "m10.5 3 3 3-3 3M13 6H6.8a3.6 3.6 0 0 0 0 7.2H10",
  search: "M7.2 12a4.8 4.8 0 1 0 0-9.6 4.8 4.8 0 0 0 0 9.6ZM10.8 10.8 14 14",
  plus: "M8 3v10M3 8h10",
  close: "m4 4 8 8M12 4l-8 8",
  more: "M3.5 8h.01M8 8h.01M12.5 8h.01",
  chevron: "m6 4 4 4-4 4",
  up: "M8 13V3.5M4 7.2l4-3.7 4 3.7",
  down: "m4 6 4 4 4-4",
  back: "M10 3.5 5.5 8l4.5 4.5",
  check: "m3 8.5 3.2 3.2L13 5",
  pin: "M5.5 2.5h5M6.2 2.5v4L4 9h8l-2.2-2.5v-4M8 9v5",
  bookmark: "M4.5 2.5h7v11L8 10.8l-3.5 2.7v-11Z",
  cut: "M3.4 5.6a1.9 1.9 0 1 0 0-3.8 1.9 1.9 0 0 0 0 3.8ZM3.4 14.2a1.9 1.9 0 1 0 0-3.8 1.9 1.9 0 0 0 0 3.8ZM5 4.8l8.5 7M5 11.2l8.5-7",
  keep: "M8 13.6S2.3 10.3 2.3 6.3A2.9 2.9 0 0 1 8 5.1a2.9 2.9 0 0 1 5.7 1.2C13.7 10.3 8 13.6 8 13.6Z",
  save: "M3 3h8l2.2 2.2V13H3V3ZM5.4 3v3.4h5V3M5.4 13V9.4h5.2V13",
  stop: "M4 4h8v8H4z",
  play: "M5 3.2v9.6L12.6 8 5 3.2Z",
  edit: "m10.4 3 2.6 2.6L5.8 13H3v-2.8L10.4 3Z",
  token: "M2.5 5h4v6h-4zM8.5 5h5v6h-5z",
  blocks: "M3 3h10v3H3zM3 8h10v5H3z",
  compare: "M2.5 3h4.2v10H2.5zM9.3 3h4.2v10H9.3z",
  tag: "M2.5 2.5h5l6 6-5 5-6-6v-5ZM5.3 5.3h.01",
  folder: "M2 4h4.2l1.4 1.6H14v7H2V4Z",
  trash: "M3 4.5h10M6.2 4.5v-2h3.6v2M4.4 4.5l.6 9h6l.6-9",
  eye: "M1.8 8S4 3.8 8 3.8 14.2 8 14.2 8 12 12.2 8 12.2 1.8 8 1.8 8ZM8 9.8a1.8 1.8 0 1 0 0-3.6 1.8 1.8 0 0 0 0 3.6Z",
  sun: "M8 11a3 3 0 1 0 0-6 3 3 0 0 0 0 6ZM8 1.5V3M8 13v1.5M1.5 8H3M13 8h1.5M3.4 3.4l1 1M11.6 11.6l1 1M3.4 12.6l1-1M11.6 4.4l1-1",
  help: "M6 6a2 2 0 1 1 2.8 1.9c-.6.3-.8.7-.8 1.4M8 11.8h.01M8 14.3A6.3 6.3 0 1 0 8 1.7a6.3 6.3 0 0 0 0 12.6Z",
  tree: "M3 8h3M6 8c2 0 1.4-4.5 4-4.5h3M6 8h7M6 8c2 0 1.4 4.5 4 4.5h3",
  filter: "M2 3h12l-4.6 5.4V13l-2.8-1.6v-3L2 3Z",
  warn: "M8 2.2 14.4 13H1.6L8 2.2ZM8 6.4v3M8 11.2h.01",
};

/** @param {{ name: keyof typeof PATHS, size?: number }} props */
export function Icon({ name, size = 16 }) {
  const width = name === "more" ? 2.4 : 1.45;
  return html`<svg width=${size} height=${size} viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width=${width}
    stroke-linecap="round" stroke-linejoin="round" aria-hidden="true" focusable="false"><path d=${PATHS[name]} /></svg>`;
}

export function Logo() {
  return html`<svg width="24" height="24" viewBox="0 0 32 32" aria-hidden="true"><rect width="32" height="32" rx="8" fill="currentColor" />
    <g fill="none" stroke="var(--surface)" stroke-width="2.6" stroke-linecap="round"><path d="M16 27V13" /><path d="M16 19c0-5 7-4 7-10" /><path d="M16 15c0-4-6-3-6-8" /></g></svg>`;
}
