// One call from this page: its sound, its line, and what the gateway makes of it.
//
// States: preparing (asks for a microphone or reads a file) → dialling → talking → ending (hung up, the last words are
// awaited) → over. `failure` says why it went wrong, if it did.

import { Captions } from "./captions.js";
import { Feed } from "./feed.js";
import { api } from "./lib.js";
import { SoundFault } from "./sound.js";
import { FRAME_MS } from "./telephone.js";
import { TwilioStream } from "./twilio.js";

const CALLER = "browser";
const FEED_WAIT_MS = 3000;
const CLOSING_WAIT_MS = 60_000;
const SHOWN_EVERY_MS = 100;
const CLOSED = {
  1001: "The gateway is shutting down.",
  1006: "The connection to the gateway broke.",
  1008: "The gateway refused the call.",
  1009: "The gateway refused a message as too large.",
  1011: "The gateway had a fault.",
  1013: "The gateway has no room for this call.",
};

export class PhoneCall {
  state = "preparing";
  failure = null;
  callId = null;
  sent_ms = 0; // of each track
  levels = new Map(); // by track, dBFS
  captions = new Captions();
  source = null;
  #changed;
  #speed;
  #stream = null;
  #starting = null; // the feed of all calls, until ours is there
  #feed = null; // of our call
  #timer = null;

  /**
   * Place it. `openSound(lost)` gives a Microphone or Recording of `sound.js`; `speed` is of recordings; `changed()` is
   * called whenever something here is different.
   */
  constructor(openSound, { speed = 1, changed }) {
    this.#changed = changed;
    this.#speed = speed;
    this.#run(openSound);
  }

  get isOver() {
    return this.state === "over";
  }

  press(digit) {
    if (this.state === "talking") this.#stream.dtmf(digit);
  }

  async hangUp() {
    if (this.state === "preparing" || this.state === "dialling") {
      this.#finish();
    } else if (this.state === "talking") {
      this.#become("ending");
      this.#timer = setTimeout(() => this.#finish(), CLOSING_WAIT_MS);
      await this.source.stop();
      this.#stream.stop();
    }
  }

  /** The page goes away. */
  leave() {
    if (this.state === "talking") this.#stream.stop();
  }

  async #run(openSound) {
    try {
      const { url } = await api("/phone", { method: "POST" });
      const source = await openSound(() => this.#lost());
      if (this.isOver) {
        source.close();
        return;
      }
      this.source = source;
      this.#become("dialling");
      await this.#follow();
      if (!this.isOver) this.#dial(url);
    } catch (error) {
      this.#finish(reason(error));
    }
  }

  /** The feed is there before the call is, so that nothing is missed; a call goes without it. */
  #follow() {
    return new Promise((resolve) => {
      const wait = setTimeout(resolve, FEED_WAIT_MS);
      const opened = () => {
        clearTimeout(wait);
        resolve();
      };
      const started = ({ data }) => this.#started(data.call);
      this.#starting = new Feed("/api/feed?types=call.started&partials=0", { "call.started": started }, { opened });
    });
  }

  #dial(url) {
    this.#stream = new TwilioStream(url, {
      tracks: this.source.tracks,
      parameters: { gw_from: CALLER },
      opened: () => this.#talk(),
      closed: (code, wasOpen) => this.#closed(code, wasOpen),
    });
  }

  #talk() {
    this.#become("talking");
    this.source.start((track, frame, level) => this.#heard(track, frame, level), {
      speed: this.#speed,
      isBehind: () => this.#stream.isBehind,
      over: () => this.hangUp(),
    });
  }

  #heard(track, frame, level) {
    this.#stream.media(track, frame);
    this.levels.set(track, level);
    if (track !== "inbound") return;
    this.sent_ms += FRAME_MS;
    if (this.sent_ms % SHOWN_EVERY_MS === 0) this.#changed();
  }

  #started(call) {
    if (this.callId !== null || call.platform_call_id !== this.#stream?.callSid) return;
    this.callId = call.id;
    this.#starting.close();
    const durable = (event) => this.captions.add(event);
    const types = ["call.started", "transcript.final", "call.dtmf", "call.gap", "stt.degraded", "stt.recovered", "assist.cue"];
    this.#feed = new Feed(`/api/feed?call=${encodeURIComponent(call.id)}`, {
      ...Object.fromEntries(types.map((type) => [type, durable])),
      "transcript.partial": (event) => this.captions.hear(event),
      "call.ended": (event) => {
        durable(event);
        this.#finish();
      },
    });
    this.#changed();
  }

  #lost() {
    this.#finish("The microphone went away.");
  }

  #closed(code, wasOpen) {
    if (this.isOver) return;
    if (!wasOpen) this.#finish("The gateway did not take the call. A proxy in between has to let WebSockets through.");
    else if (this.state !== "ending") this.#finish(CLOSED[code] ?? `The gateway ended the call (${code}).`);
    else if (this.callId === null) this.#finish(); // nobody tells when it has ended
  }

  #finish(failure = null) {
    if (this.isOver) return;
    this.failure = failure;
    clearTimeout(this.#timer);
    this.source?.close();
    if (failure && this.state === "talking") this.#stream.stop();
    this.#stream?.close();
    this.#starting?.close();
    this.#feed?.close();
    this.levels.clear();
    this.#become("over");
  }

  #become(state) {
    this.state = state;
    this.#changed();
  }
}

function reason(error) {
  if (error instanceof SoundFault) return error.message;
  if (error.status === 403) return "Your token only allows to look, not to call.";
  if (error.status === 503) return "The gateway takes no call now: it is full, or shutting down.";
  return error.status ? `The gateway did not take the call: ${error.message}` : "The gateway cannot be reached.";
}
