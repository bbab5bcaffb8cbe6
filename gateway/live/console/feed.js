// The feed: what happens, as it happens. One WebSocket per `Feed`, made anew whenever it breaks.
//
//   const feed = new Feed("/api/feed?partials=0", { "call.started": (body) => …, "call.ended": … }, { opened() { … } });
//   feed.close();
//
// Not server-sent events: all tabs of a browser together keep six connections to a host, and with that many streams open
// no page of ours would load any more. WebSockets are not among those.
//
// A new socket goes on behind the position that the one before has reached. `opened` is called each time one is there, so
// that what has no position in the store can be asked for again.

import { api } from "./lib.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;
const LONGEST_OPENING_MS = 10_000;
const SILENCE_MS = 40_000; // the gateway says `feed.alive` after 15 s of nothing else
const LOOK_MS = 5_000;

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
  #socket = null;
  #position = null;
  #wait = FIRST_WAIT_MS;
  #timer = null; // of the wait for the next socket, or for this one to open
  #heard_ms = 0;
  #looking;

  /** Follow `path`; `listeners` by type of event get (body, position), the position null for what is not durable. */
  constructor(path, listeners, { opened } = {}) {
    this.#path = path;
    this.#listeners = listeners;
    this.#opened = opened;
    this.state = { is: "connecting", since: new Date() };
    this.#looking = setInterval(() => this.expect(SILENCE_MS), LOOK_MS);
    open.add(this);
    this.#connect();
  }

  close() {
    clearInterval(this.#looking);
    this.#drop();
    open.delete(this);
    tell();
  }

  /**
   * Something should have come within the last `most_ms`. Where nothing has, the line is dead, though nobody said so: as
   * after a change of networks. What else goes over it is no better.
   */
  expect(most_ms) {
    if (this.state.is !== "live" || performance.now() - this.#heard_ms < most_ms) return;
    for (const feed of open) if (feed.state.is === "live") feed.#later();
  }

  #connect() {
    const from = new URL(this.#path, location.origin.replace(/^http/, "ws"));
    if (this.#position !== null) from.searchParams.set("last_event_id", this.#position);
    const socket = (this.#socket = new WebSocket(from));
    this.#timer = setTimeout(() => this.#later(), LONGEST_OPENING_MS);
    socket.onopen = () => {
      if (this.#socket !== socket) return;
      clearTimeout(this.#timer);
      this.#wait = FIRST_WAIT_MS;
      this.#heard_ms = performance.now();
      this.#become("live");
      this.#opened?.();
    };
    socket.onmessage = ({ data }) => {
      if (this.#socket !== socket) return;
      this.#heard_ms = performance.now();
      const { id, type, event } = JSON.parse(data);
      if (id !== null) this.#position = id;
      this.#listeners[type]?.(event, id);
    };
    socket.onclose = () => {
      if (this.#socket === socket) this.#later();
    };
    tell();
  }

  #drop() {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  // Not all at the same moment, when the gateway has started again.
  #later() {
    this.#drop();
    this.#become("reconnecting");
    this.#timer = setTimeout(() => {
      api("/session").catch(() => null); // whoever is not logged in any more is sent to the log-in by this
      this.#connect();
    }, this.#wait * (0.5 + Math.random() / 2));
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
