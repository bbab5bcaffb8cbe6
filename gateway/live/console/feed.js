// The feed: what happens, as it happens. One stream of server-sent events per `Feed`, made anew whenever it breaks.
//
//   const feed = new Feed("/api/events?partials=0", { "call.started": (body) => …, "call.ended": … }, { opened() { … } });
//   feed.close();
//
// The browser comes back by itself with the position it has reached; where it gives up (the gateway answered with
// something else, as while it starts), the stream is opened again with `last_event_id`. `opened` is called each time the
// stream is there, so that what has no position in the store can be asked for again.

import { api } from "./lib.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;

const open = new Set();
const watchers = new Set();

/** How the open feeds are: null if there is none, else {is: "connecting" | "live" | "reconnecting", since: Date}. */
export function feedState() {
  let worst = null;
  for (const { state } of open) if (!worst || RANK[state.is] > RANK[worst.is]) worst = state;
  return worst;
}

/** Call `watcher` whenever that changes; returns what ends it. */
export function watchFeeds(watcher) {
  watchers.add(watcher);
  return () => watchers.delete(watcher);
}

const RANK = { live: 0, connecting: 1, reconnecting: 2 };

export class Feed {
  #path;
  #listeners;
  #opened;
  #source = null;
  #position = null;
  #wait = FIRST_WAIT_MS;
  #timer = null;

  /** Follow `path`; `listeners` by type of event get (body, position), the position null for what is not durable. */
  constructor(path, listeners, { opened } = {}) {
    this.#path = path;
    this.#listeners = listeners;
    this.#opened = opened;
    this.state = { is: "connecting", since: new Date() };
    open.add(this);
    this.#connect();
  }

  close() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
    open.delete(this);
    tell();
  }

  #connect() {
    const from = new URL(this.#path, location.href);
    if (this.#position !== null) from.searchParams.set("last_event_id", this.#position);
    const source = (this.#source = new EventSource(from));
    source.onopen = () => {
      this.#wait = FIRST_WAIT_MS;
      this.#become("live");
      this.#opened?.();
    };
    source.onerror = () => {
      if (this.#source !== source) return;
      if (this.state.is === "live") this.#become("reconnecting");
      if (source.readyState === EventSource.CLOSED) this.#later();
    };
    for (const [type, listener] of Object.entries(this.#listeners)) {
      source.addEventListener(type, (event) => {
        const position = event.lastEventId || null;
        if (position !== null) this.#position = position;
        listener(JSON.parse(event.data), position);
      });
    }
    tell();
  }

  #later() {
    this.#become("reconnecting");
    this.#timer = setTimeout(() => {
      api("/session").catch(() => null); // whoever is not logged in any more is sent to the log-in by this
      this.#connect();
    }, this.#wait);
    this.#wait = Math.min(2 * this.#wait, LONGEST_WAIT_MS);
  }

  #become(is) {
    if (this.state.is === is) return;
    this.state = { is, since: new Date() };
    tell();
  }
}

function tell() {
  for (const watcher of watchers) watcher();
}
