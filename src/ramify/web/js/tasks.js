/** Long work on the server: followed as it goes, cancelled, and taken up again after a reload. */

import { api } from "./api.js";
import { useEffect, useRef, useState } from "./preact.js";
import { listen } from "./sse.js";

/** @import { Task } from "./types.js" */

/**
 * Hear of a task until its end.
 * @param {string} key @param {(task: Task) => void} take @param {() => void} gone the server does not know it any more
 * @returns {() => void} stops listening; the task goes on
 */
export function followTask(key, take, gone) {
  const stop = new AbortController();
  const connect = async () => {
    const response = await api.taskEvents(key, stop.signal);
    if (response.status === 404 && !stop.signal.aborted) {
      stop.abort();
      gone();
    }
    return response;
  };
  listen(connect, ({ event, data }) => {
    if (event === "end") stop.abort();
    take(JSON.parse(data));
  }, { signal: stop.signal });
  return () => stop.abort();
}

/**
 * A task as it goes, with what it made when it has ended.
 * @template {Task} X @param {string | null} key @param {(key: string) => Promise<X>} load @param {(ended: X) => void} [onEnd] for one that was seen running, or begun while the page is shown: a short one ends before it is looked at
 * @returns {X | null}
 */
export function useTask(key, load, onEnd) {
  const [task, setTask] = useState(/** @type {X | null} */ (null));
  const shown = useRef(false);
  useEffect(() => {
    let left = false, stop = () => {};
    const begunHere = shown.current;
    shown.current = true;
    setTask(null);
    if (!key) return;
    const gone = () => !left && setTask(null);
    load(key).then((first) => {
      if (left) return;
      setTask(first);
      if (first.state !== "running") {
        if (begunHere) onEnd?.(first);
        return;
      }
      stop = followTask(key, (news) => {
        if (news.state === "running") setTask((before) => /** @type {X} */ ({ ...(before ?? first), ...news }));
        else load(key).then((whole) => {
          if (left) return;
          setTask(whole);
          onEnd?.(whole);
        }, gone);
      }, gone);
    }, gone);
    return () => {
      left = true;
      stop();
    };
  }, [key]);
  return task?.key === key ? task : null;
}
