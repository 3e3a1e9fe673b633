/** Server-sent events: a pure parser, and a reader that comes back after a lost connection. */

/** @typedef {{ id: string, event: string, data: string }} ServerEvent */

/**
 * Makes a function that takes text as it arrives, in any pieces, and returns the events that are complete by then.
 * As the standard has it: lines end in LF, CR or CRLF, several data lines join with LF, comments are left out, an event
 * without data is dropped, an id stays until the next one.
 */
export function eventParser() {
  let rest = "", id = "", event = "", data = /** @type {string[]} */ ([]), first = true, endedInCR = false;
  return (/** @type {string} */ piece) => {
    if (first && piece) {
      piece = piece.replace(/^\uFEFF/, "");
      first = false;
    }
    if (endedInCR && piece.startsWith("\n")) piece = piece.slice(1);
    if (piece) endedInCR = piece.endsWith("\r");
    const lines = (rest + piece).split(/\r\n|\r|\n/);
    rest = /** @type {string} */ (lines.pop());
    const found = /** @type {ServerEvent[]} */ ([]);
    for (const line of lines) {
      if (line === "") {
        if (data.length) found.push({ id, event: event || "message", data: data.join("\n") });
        event = "";
        data = [];
        continue;
      }
      const colon = line.indexOf(":");
      if (colon === 0) continue;
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
      if (field === "data") data.push(value);
      else if (field === "event") event = value;
      else if (field === "id" && !value.includes("\0")) id = value;
    }
    return found;
  };
}

/** Read one answer's events to its end. @param {Response} response @param {(event: ServerEvent) => void} take */
export async function readEvents(response, take) {
  const parse = eventParser(), reader = /** @type {ReadableStream<any>} */ (response.body).pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    for (const event of parse(value)) take(event);
  }
}

/**
 * Read a stream of events until `signal` says to stop. After an error or an end it connects again, with the last id it saw.
 *
 * @param {(after: string) => Promise<Response>} connect asks for the stream behind an event ("" for the beginning)
 * @param {(event: ServerEvent) => void} take
 * @param {{ signal: AbortSignal, state?: (connected: boolean) => void, waits?: number[] }} options waits: milliseconds before
 *   each further try, the last one again and again
 */
export async function listen(connect, take, { signal, state = () => {}, waits = [250, 1000, 3000] }) {
  let after = "", failures = 0;
  while (!signal.aborted) {
    try {
      const response = await connect(after);
      if (!response.ok || !response.body) throw new Error(`the stream answered ${response.status}`);
      state(true);
      await readEvents(response, (event) => {
        failures = 0;
        if (event.id) after = event.id;
        take(event);
      });
    } catch {
      if (signal.aborted) return;
    }
    state(false);
    const pause = waits[Math.min(failures++, waits.length - 1)];
    await new Promise((go) => setTimeout(go, pause));
  }
}
