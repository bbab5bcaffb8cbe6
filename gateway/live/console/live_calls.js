// The calls in progress, as the list and the feed tell of them.
//
// Each is as `/api/calls` has it, and besides: `levels` and `stt` by track; `at_s`, the call time reached, told at `at_ms`;
// `cue`, the last one; `endedAt`, null while it goes on; `words`, what it may be looked for by. Of the page's clock: `_ms`.

import { feedState } from "./feed.js";
import { api, gatewayNow } from "./lib.js";

const GONE_MS = 30_000; // an ended call stays in the list for so long
const PAGE_SIZE = 100;

export class LiveCalls {
  #calls = new Map(); // by id
  #over = null; // ids of calls that ended while the list is on its way: it may have them still

  /** The newest first. */
  get all() {
    return [...this.#calls.values()].sort((one, other) => (one.started_at < other.started_at ? 1 : -1));
  }

  get(id) {
    return this.#calls.get(id);
  }

  /** Ask which there are: one that began or ended while nobody told is seen here. */
  async load() {
    const over = (this.#over = new Set());
    const before = [...this.#calls.keys()];
    try {
      const listed = await allCalls();
      if (over !== this.#over) return; // it was asked for again meanwhile
      const isListed = new Set(listed.map(({ id }) => id));
      for (const call of listed) if (!over.has(call.id)) this.#add(call);
      for (const id of before) if (!isListed.has(id)) this.ended(id);
    } finally {
      if (over === this.#over) this.#over = null;
    }
  }

  started({ call, tracks }, timestamp) {
    this.#add({ ...call, started_at: timestamp, tracks });
  }

  ended(id) {
    this.#over?.add(id);
    this.change(id, (call) => {
      if (call.endedAt === null) call.duration_s = reached(call);
      call.endedAt ??= performance.now();
    });
  }

  /** Levels, times and states of all calls. */
  measured(calls) {
    const now = performance.now();
    for (const [id, { at_s, tracks, stt }] of Object.entries(calls)) {
      const call = this.#calls.get(id);
      if (call && call.endedAt === null) Object.assign(call, { at_s, at_ms: now, levels: tracks, stt });
    }
  }

  change(id, how) {
    const call = this.#calls.get(id);
    if (call) how(call);
  }

  /** Forget calls that have been over for a while, but for this one. */
  tidy(chosen) {
    const now = performance.now();
    for (const [id, { endedAt }] of this.#calls) {
      if (endedAt !== null && now - endedAt > GONE_MS && id !== chosen) this.#calls.delete(id);
    }
  }

  #add(call) {
    if (this.#calls.has(call.id)) return;
    const { id, platform, platform_call_id, from, to, metadata } = call;
    const words = [id, platform, platform_call_id, from, to, ...Object.values(metadata)].join(" ").toLowerCase();
    this.#calls.set(id, { ...call, words, levels: {}, stt: {}, cue: null, at_s: null, at_ms: 0, endedAt: null });
  }
}

/** How long the call is by now, in seconds; while nobody tells, as long as it was last. */
export function reached(call) {
  if (call.endedAt !== null) return call.duration_s;
  if (call.at_s === null) return (gatewayNow() - Date.parse(call.started_at)) / 1000;
  return call.at_s + (feedState()?.is === "reconnecting" ? 0 : (performance.now() - call.at_ms) / 1000);
}

/** Whether nobody transcribes a track of it just now. */
export function isDegraded(call) {
  return call.endedAt === null && Object.values(call.stt).includes("degraded");
}

// Page by page: a call that is missing here is taken for ended.
async function allCalls() {
  const calls = [];
  let before = "";
  do {
    const page = await api(`/calls?state=live&limit=${PAGE_SIZE}${before}`);
    calls.push(...page.calls);
    before = page.next === null ? null : `&before=${encodeURIComponent(page.next)}`;
  } while (before !== null);
  return calls;
}
