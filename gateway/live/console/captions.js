// The text of one call: what its parties said, with what else happened at its place. `call_captions.js` shows it.
//
//   const captions = new Captions();
//   captions.add(event);            // a durable event as the webhook has it: {type, data}; in whatever order, however often
//   captions.hear(partial);         // a `transcript.partial`

import { SIDES, clock, plain } from "./lib.js";

const LONG_S = 60;
const OVERLAP_S = 0.05;

export class Captions extends EventTarget {
  #seen = new Set();
  items = []; // by call time: {key, at_s, end_s, kind, track, …}
  partials = new Map(); // by track: {speaker, text, start_s}
  cues = []; // data of assist.cue, newest first
  isOver = false;

  /** Take a durable event; one that is there already changes nothing. */
  add({ type, data }) {
    if (this.#seen.has(data.sequence)) return;
    this.#seen.add(data.sequence);
    const item = ITEMS[type]?.(data);
    if (item) this.#insert({ key: data.sequence, type, track: data.track ?? null, ...item });
    if (type === "transcript.final") this.#settle(data);
    if (type === "assist.cue") this.cues = [data, ...this.cues];
    if (type === "call.ended") {
      this.isOver = true;
      this.partials.clear();
    }
    this.dispatchEvent(new Event("change"));
  }

  /** Take what a track sounds like so far. */
  hear({ data }) {
    if (this.isOver) return;
    if (data.text) this.partials.set(data.track, data);
    else this.partials.delete(data.track);
    this.dispatchEvent(new Event("heard"));
  }

  #insert(item) {
    let index = this.items.length;
    while (index && this.items[index - 1].at_s > item.at_s) index -= 1;
    this.items = this.items.toSpliced(index, 0, item);
  }

  /** A final replaces what was heard of it, not what was heard since: it comes a little later, having been stored. */
  #settle(final) {
    const partial = this.partials.get(final.track);
    const isOfLater = partial?.start_s != null && partial.start_s >= final.end_s - OVERLAP_S;
    if (partial && !isOfLater) this.partials.delete(final.track);
  }
}

const ITEMS = {
  "transcript.final": (data) => (data.text ? { kind: "said", at_s: data.start_s, end_s: data.end_s, data } : null),
  "call.dtmf": (data) => ({ kind: "note", at_s: data.at_s, text: `Key ${data.digit} pressed` }),
  "call.gap": (data) => ({ kind: "warning", at_s: data.start_s, text: gap(data) }),
  "stt.degraded": (data) => ({
    kind: "warning", at_s: data.at_s, text: `Nobody transcribes the ${SIDES[data.track]} for now: ${plain(data.reason)}`,
  }),
  "stt.recovered": (data) => ({ kind: "good", at_s: data.at_s, text: `The ${SIDES[data.track]} is transcribed again` }),
  "assist.cue": (data) => ({ kind: "cue", at_s: data.end_s, data }),
  "call.ended": (data) => ({
    kind: "note", at_s: Infinity,
    text: `Call ended: ${plain(data.reason)}${data.complete ? "" : ", not all of it transcribed"}`,
  }),
};

function gap({ track, start_s, end_s, reason }) {
  const why = reason === "lost" ? "never arrived" : `could not be transcribed: ${plain(reason)}`;
  return `${long(end_s - start_s)} of the ${SIDES[track]} ${why}`;
}

function long(span_s) {
  return span_s < LONG_S ? `${span_s.toFixed(1)} s` : `${clock(span_s)} min`;
}
