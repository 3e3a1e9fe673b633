# ruff: noqa: E501 - scripts for the browser
"""The studio's speed in a real Chromium, its numbers taken in the page.

    python -m benchmarks.studio [--library FILE] [--folder FOLDER] [--only tokens,stream,tree,library]

tokens: a completion of 32,000 tokens: pointer to tip, key to mark, a change of measure, scrolling.
stream: the engine's token event until the text stands in the page, and until it was painted. One clock, on one machine; the
        offset between the browser's and Python's is measured.
tree:   growing 40 branches 100 tokens deep by the API, then panning and zooming over 5,000 nodes and more.
library: 100,000 samples from the address to painted rows and the count, and scrolling. FILE may be one of `benchmarks.store_scale`.

"to paint" is from the event's own time stamp until a task after the frame in which the page shows what the event asked for.
Workspaces stay in FOLDER, so that a second run begins at once. The load of the machine is printed with the numbers.
"""

import argparse
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from playwright.sync_api import Browser, Page, sync_playwright

import ramify
from ramify.store import Database, NewCompletion, SpanRecord, TokenLogprob

TOKEN = "a-token-for-benchmarks"
LONG = 32_000
SAMPLES = 100_000
WORDS = (
    "once",
    "upon",
    "a",
    "time",
    "there",
    "was",
    "little",
    "girl",
    "who",
    "had",
    "dog",
    "and",
    "they",
    "went",
    "to",
    "play",
    "with",
    "big",
    "red",
    "ball",
)

SHOWN = """(() => {
  // Calls back in a task behind the frame in which `shown` first holds.
  window.painted = (shown, then) => {
    const look = () => requestAnimationFrame(() => {
      if (!shown()) return look();
      const after = new MessageChannel();
      after.port1.onmessage = () => then(performance.now());
      after.port2.postMessage(0);
    });
    look();
  };
  window.times = [];
  window.events = [];
  new PerformanceObserver(list => events.push(...list.getEntries().map(e => [e.name, e.duration, e.processingEnd - e.processingStart]))).observe({ type: "event", durationThreshold: 16 });
})()"""
HOVERS = """() => {
  times.length = 0;
  document.addEventListener("mouseover", event => {
    const span = event.target.closest?.("[data-i]");
    if (!span || !span.closest(".text-pane")) return;
    painted(() => document.querySelector(".tip .facts")?.textContent.includes(`position${span.dataset.i}`), now => times.push(now - event.timeStamp));
  }, true);
}"""
KEYS = """() => {
  times.length = 0;
  window.details = [];
  document.addEventListener("keydown", event => {
    const before = document.querySelector(".token.chosen");
    const other = () => { const it = document.querySelector(".token.chosen"); return it !== before && it; };
    painted(other, now => times.push(now - event.timeStamp));
    painted(() => other() && document.querySelector(".inspector .facts").textContent.includes(`position${other().dataset.i}`), now => details.push(now - event.timeStamp));
  }, true);
}"""
MEASURES = """() => {
  times.length = 0;
  document.addEventListener("keydown", event => {
    const before = document.querySelector(".segments [aria-checked=true]").textContent;
    painted(() => document.querySelector(".segments [aria-checked=true]").textContent !== before, now => times.push(now - event.timeStamp));
  }, true);
}"""
WATCH_TEXT = """() => {
  window.seen = []; window.paintedAt = [];
  const length = () => [...document.querySelectorAll(".completion .reading")].reduce((sum, each) => sum + each.textContent.length, 0);
  let last = -1, asked = false;
  new MutationObserver(() => {
    const now = length();
    if (now === last) return;
    last = now;
    seen.push([performance.timeOrigin + performance.now(), now]);
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      const shown = length(), after = new MessageChannel();
      asked = false;
      after.port1.onmessage = () => paintedAt.push([performance.timeOrigin + performance.now(), shown]);
      after.port2.postMessage(0);
    });
  }).observe(document.body, { childList: true, characterData: true, subtree: true });
}"""
# Every frame moves the sheet; what is counted is how many frames there are and the longest time between two.
FRAMES = """([selector, seconds, zoom]) => new Promise(done => {
  const it = document.querySelector(selector), box = it.getBoundingClientRect(), gaps = [];
  let before = 0, began = 0;
  const step = now => {
    if (before) gaps.push(now - before);
    before = now;
    began ||= now;
    if (now - began > seconds * 1000) return done(gaps);
    const turn = Math.floor((now - began) / 700) % 4, by = 24;
    const [deltaX, deltaY] = zoom ? [0, turn % 2 ? 12 : -12] : [[by, by], [-by / 2, by], [-by, -by], [by / 2, -by]][turn];
    if (it.tagName === "CANVAS") it.dispatchEvent(new WheelEvent("wheel", { deltaX, deltaY, ctrlKey: zoom, clientX: box.x + box.width / 2, clientY: box.y + box.height / 2, bubbles: true, cancelable: true }));
    else it.scrollTop += turn < 2 ? 90 : -60;
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
})"""
FIRST_ROWS = """(() => {
  window.opened = {};
  const look = () => {
    const now = performance.now();
    if (!opened.rows && document.querySelector(".sample-row .title")) {
      opened.rows = now;
      requestAnimationFrame(() => { const c = new MessageChannel(); c.port1.onmessage = () => { opened.painted = performance.now(); }; c.port2.postMessage(0); });
    }
    if (!opened.count && /[0-9] samples/.test(document.querySelector(".chips [role=status]")?.textContent ?? "")) opened.count = now;
    if (!opened.side && document.querySelector("aside nav .side-item .count")) opened.side = now;
  };
  new MutationObserver(look).observe(document, { childList: true, characterData: true, subtree: true });
})()"""


def serve(file: str, log: str) -> None:
    """In a process of its own: the studio, and a note of the moment at which the engine hands each token over."""
    from ramify.api.app import create_app
    from ramify.api.serving import bound
    from ramify.api.serving import serve as run
    from ramify.workbench import drafting
    from ramify.workbench.workspace import Workspace

    grown = drafting.Drafting._grown

    def noted(self: Any, run_: Any, event: Any) -> None:
        now = time.time()
        grown(self, run_, event)
        if event.text:
            print(now, len(run_.drafts[0].text), file=out, flush=True)

    with open(log, "w", encoding="utf-8") as out, Database.open(Path(file)) as database:
        drafting.Drafting._grown = noted  # type: ignore[method-assign]
        listener = bound("127.0.0.1", 0)
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        run(create_app(token=TOKEN, workspace=Workspace(database)), listener)


@contextmanager
def studio(file: Path, log: Path) -> Iterator[tuple[str, httpx2.Client]]:
    command = [sys.executable, "-m", "benchmarks.studio", "--serve", str(file), "--log", str(log)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=600) as api:
            while api.get("/health").json().get("status") != "ok":
                time.sleep(0.2)
            yield url, api
    finally:
        process.terminate()
        process.wait(30)


def fill_small(file: Path) -> None:
    """A sample with a completion of 32,000 tokens, each with ten alternatives."""
    rng, codec = random.Random(1), ramify.load("tiny").codec
    text = "".join(" " + rng.choice(WORDS) + ("." * (rng.random() < 0.1)) + ("\n" * (rng.random() < 0.02)) for _ in range(LONG))
    ids = codec.encode(text)[:LONG]
    spelt = [codec.token_bytes[i] for i in range(len(codec.token_bytes))]
    tokens = []
    for i in ids:
        likely = sorted(rng.expovariate(0.5) for _ in range(10))
        others = [(rng.randrange(300, len(spelt)), -value - 0.1) for value in likely]
        tokens.append(
            TokenLogprob(
                token_id=i,
                token_bytes=spelt[i],
                logprob=-rng.expovariate(0.8),
                rank=rng.randint(1, 60),
                entropy=rng.random() * 5,
                alternatives=tuple((other, spelt[other], value) for other, value in dict(others).items()),
            )
        )
    with Database.open(file) as database:
        sample = database.samples.add("Once upon a time", title="Long")
        database.completions.add(
            sample,
            NewCompletion(
                text=codec.decode(ids),
                model="tiny",
                finish_reason="length",
                token_ids=ids,
                logprobs=tokens,
                spans=[SpanRecord(0, len(ids), "sampled")],
            ),
        )
        database.samples.add("Once upon a time", title="Streamed")


def fill_library(file: Path) -> None:
    rng = random.Random(2)
    with Database.open(file) as database:
        database.facets.add("stories")
        for first in range(0, SAMPLES, 2000):
            rows = [
                (" ".join(rng.choices(WORDS, k=30)), f"Sample {i}", f"group{i % 20}/part{i % 7}")
                for i in range(first, first + 2000)
            ]
            made = database.samples.add_many(rows)
            text = [" ".join(rng.choices(WORDS, k=40)) for _ in made]
            database.completions.add_many(
                (sample, NewCompletion(text=each, finish_reason="written")) for sample, each in zip(made, text, strict=True)
            )
        database.tidy()


def spread(values: list[float], unit: str = "ms") -> str:
    found = sorted(values)
    at = [found[min(len(found) - 1, int(len(found) * share))] for share in (0.5, 0.95)]
    return f"median {at[0]:.1f}, 95 % {at[1]:.1f}, most {found[-1]:.1f} {unit} (n = {len(found)})"


def frames(page: Page, selector: str, seconds: float = 4, zoom: bool = False) -> str:
    client = page.context.new_cdp_session(page)
    client.send("Performance.enable")

    def busy() -> float:
        return {each["name"]: each["value"] for each in client.send("Performance.getMetrics")["metrics"]}["TaskDuration"]

    before = busy()
    gaps: list[float] = page.evaluate(FRAMES, [selector, seconds, zoom])
    work = 1000 * (busy() - before) / len(gaps)
    late = sum(gap > 25 for gap in gaps)
    return (
        f"{1000 * len(gaps) / sum(gaps):.1f} frames/s, longest {max(gaps):.0f} ms, {late} of {len(gaps)} late, "
        f"{work:.1f} ms of the page's thread a frame"
    )


def opened(browser: Browser, url: str, address: str, *, script: str = SHOWN) -> Page:
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    page = context.new_page()
    page.add_init_script(script)
    page.goto(f"{url}/#token={TOKEN}")
    page.wait_for_selector(".library")
    page.goto(f"{url}/{address}")
    return page


def until(page: Page, holds: str, timeout_s: float = 60) -> None:
    """Asked again and again: the page's policy lets nobody wait inside of it."""
    ends = time.monotonic() + timeout_s
    while not page.evaluate(holds):
        assert time.monotonic() < ends, f"waited in vain: {holds}"
        page.wait_for_timeout(25)


def control(browser: Browser) -> None:
    """An empty page in which a key changes one word: what the machine and the browser take for themselves at this moment."""
    page = browser.new_page()
    page.goto("about:blank")
    page.evaluate(SHOWN)
    page.evaluate(
        "() => { document.body.textContent = '0'; document.addEventListener('keydown', event => { const next = document.body.textContent = "
        "String(+document.body.textContent + 1); painted(() => document.body.textContent === next, now => times.push(now - event.timeStamp)); }, true); }"
    )
    for _ in range(60):
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(45)
    print("control, key to one word on an empty page, painted:", spread(page.evaluate("times")))
    page.close()


def tokens(browser: Browser, url: str, api: httpx2.Client) -> None:
    (long,) = [each for each in api.get("/api/samples").json()["items"] if each["title"] == "Long"]
    completion = api.get(f"/api/samples/{long['id']}/completions").json()["items"][0]["id"]
    page = opened(browser, url, f"#/completions/{completion}?at=400")
    page.wait_for_selector(".token.chosen")
    page.wait_for_timeout(1500)
    print(f"tokens in the page: {page.evaluate('document.querySelector(`.tokens`).textContent.length')} characters")
    page.evaluate(HOVERS)
    places = page.evaluate(
        "[...document.querySelectorAll('.text-pane [data-i]')].map(e => e.getClientRects()[0]).filter(r => r && r.top > 300 && r.bottom < 820)"
        ".map(r => [r.x + r.width / 2, r.y + r.height / 2])"
    )
    rng = random.Random(3)
    for x, y in rng.sample(places, 80):
        page.mouse.move(x, y)
        page.wait_for_timeout(60)
    print("pointer to tip, painted:", spread(page.evaluate("times")))
    page.mouse.move(5, 400)
    control(browser)
    page.bring_to_front()
    page.evaluate(KEYS)
    for _ in range(80):
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(45)
    print("key to mark, painted:", spread(page.evaluate("times")))
    print("key to the panel about the token, painted:", spread(page.evaluate("details")))
    named = [each for each in page.evaluate("events") if each[0] == "keydown"]
    print(f"the browser's event timing (steps of 8 ms) of the {len(named)} of 80 keydowns from 16 ms up:", end=" ")
    print(f"{spread([each[1] for each in named])}; their handlers {spread([each[2] for each in named])}" if named else "")
    page.evaluate(MEASURES)
    for _ in range(14):
        page.keyboard.press("m")
        page.wait_for_timeout(150)
    print("key to another measure, painted:", spread(page.evaluate("times")))
    print("scrolling:", frames(page, ".text-pane"))
    page.context.close()


def stream(browser: Browser, url: str, api: httpx2.Client, log: Path) -> None:
    (short,) = [each for each in api.get("/api/samples").json()["items"] if each["title"] == "Streamed"]
    for left in api.get("/api/drafts").json()["items"]:
        api.delete(f"/api/drafts/{left['id']}")
    page = opened(browser, url, f"#/samples/{short['id']}")
    page.get_by_role("region", name="New completion").wait_for()
    api.post("/v1/completions", json={"prompt": "Once", "max_tokens": 4})
    offsets = []
    for _ in range(9):
        before = time.time()
        browsers = page.evaluate("performance.timeOrigin + performance.now()")
        after = time.time()
        offsets.append((after - before, browsers / 1000 - (before + after) / 2))
    offset = min(offsets)[1]
    firsts, texts, paints = [], [], []
    for _ in range(5):
        page.evaluate(WATCH_TEXT)
        began = log.stat().st_size
        page.keyboard.press("g")
        until(page, "document.querySelector('.completion .mark.info') !== null")
        until(page, "document.querySelector('.completion .mark.info') === null")
        page.wait_for_timeout(300)
        told = [(float(a), int(b)) for a, b in (line.split() for line in log.read_text()[began:].splitlines())]
        for name, into in (("seen", texts), ("paintedAt", paints)):
            moments = [(at / 1000 - offset, length) for at, length in page.evaluate(name)]
            waits = [min((at for at, length in moments if length >= wanted), default=None) for _, wanted in told]
            found = [1000 * (wait - at) for wait, (at, _) in zip(waits, told, strict=True) if wait is not None]
            assert len(found) == len(told), f"{len(told) - len(found)} events never reached the page"
            into += found
            if name == "paintedAt":
                firsts.append(found[0])
        page.get_by_role("button", name="Discard this draft").click()
        until(page, "document.querySelector('.completion') === null")
    print(f"clocks differ by {1000 * offset:.2f} ms, known to {1000 * min(offsets)[0] / 2:.2f} ms")
    print("engine's event to text in the page:", spread(texts))
    print("engine's event to painted:", spread(paints))
    print("the first token of each, to painted:", spread(firsts))
    page.context.close()


def tree(browser: Browser, url: str, api: httpx2.Client) -> None:
    (short,) = [each for each in api.get("/api/samples").json()["items"] if each["title"] == "Streamed"]
    made = api.post(f"/api/samples/{short['id']}/trees", json={}).json()
    began = time.perf_counter()
    grown = api.post(f"/api/trees/{made['id']}/beam-out", json={"node": made["root"], "width": 40, "depth": 100}).json()
    print(f"beam-out of 40 branches, 100 deep: {time.perf_counter() - began:.1f} s")
    for end in grown["ends"]:  # one that EOS has not ended
        if api.post(f"/api/trees/{made['id']}/beam-out", json={"node": end, "width": 40, "depth": 40}).is_success:
            break
    page = opened(browser, url, f"#/trees/{made['id']}")
    page.wait_for_selector(".tree-canvas")
    page.wait_for_timeout(1500)
    print("nodes:", api.get(f"/api/trees/{made['id']}").json()["nodes"])
    print("panning:", frames(page, ".tree-canvas"))
    page.keyboard.press("0")
    page.wait_for_timeout(300)
    print("panning, the whole tree in sight:", frames(page, ".tree-canvas"))
    print("zooming:", frames(page, ".tree-canvas", zoom=True))
    page.context.close()
    api.delete(f"/api/trees/{made['id']}")


def library(browser: Browser, url: str, api: httpx2.Client) -> None:
    print("samples:", api.get("/api/samples/count").json()["count"])
    for says, visits in (("never seen before", 6), ("seen before", 6)):
        found = []
        kept = browser.new_context(viewport={"width": 1280, "height": 860})
        for visit in range(visits + 1):
            context = kept if says == "seen before" else browser.new_context(viewport={"width": 1280, "height": 860})
            page = context.new_page()
            page.add_init_script(FIRST_ROWS)
            page.goto(f"{url}/#token={TOKEN}")
            until(page, "Boolean(opened.painted && opened.count && opened.side)")
            if visit:
                found.append(page.evaluate("opened"))
            if says == "seen before" and visit == visits:
                print("scrolling:", frames(page, ".virtual"))
            page.close()
        for name, what in (("painted", "first rows painted"), ("count", "count"), ("side", "groups with counts")):
            print(f"a browser that has {says}: {what}: {spread([each[name] for each in found])}")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--library", type=Path, help="a workspace of 100,000 samples; made where it is not there")
    arguments.add_argument("--folder", type=Path, default=Path(".cache/studio"))
    arguments.add_argument("--only", default="tokens,stream,tree,library")
    arguments.add_argument("--serve", help=argparse.SUPPRESS)
    arguments.add_argument("--log", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.serve:
        return serve(given.serve, given.log)
    given.folder.mkdir(parents=True, exist_ok=True)
    small, large, log = (
        given.folder / "small.ramify",
        given.library or given.folder / "library.ramify",
        given.folder / "events.log",
    )
    wanted = given.only.split(",")
    for file, fill, needed in ((small, fill_small, set(wanted) - {"library"}), (large, fill_library, "library" in wanted)):
        if needed and not file.exists():
            fill(file.with_suffix(".new"))
            file.with_suffix(".new").rename(file)
    with sync_playwright() as started:
        chromium = os.environ.get("CHROMIUM", "/usr/bin/chromium")
        browser = started.chromium.launch(
            executable_path=chromium if Path(chromium).exists() else None, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        print(f"Chromium {browser.version}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        for file, parts in ((small, ("tokens", "stream", "tree")), (large, ("library",))):
            if not set(parts) & set(wanted):
                continue
            with studio(file, log) as (url, api):
                for name in parts:
                    if name in wanted:
                        print(f"\n## {name}, load {os.getloadavg()[0]:.1f}")
                        {"tokens": tokens, "tree": tree, "library": library}.get(name, lambda *_: stream(browser, url, api, log))(
                            browser, url, api
                        )
        browser.close()
    return None


if __name__ == "__main__":
    main()
