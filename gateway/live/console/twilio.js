// A phone platform as Twilio is one: its media stream, from `connected` to `stop`.
//
// Source: Twilio documentation, "Media Streams - WebSocket Messages". Counts and times are strings there.

import { FRAME_MS } from "./telephone.js";

const MOST_WAITING_BYTES = 500_000; // some 40 s of one track
const BEHIND_BYTES = 50_000;

export class TwilioStream {
  #socket;
  #ids = { call: `CA${hexadecimal(32)}`, stream: `MZ${hexadecimal(32)}`, account: `AC${"0".repeat(32)}` };
  #sequence = 0;
  #chunks = new Map();

  /**
   * Dial. `path` is on this host; `tracks` are "inbound" and perhaps "outbound"; `parameters` are those of the stream.
   * `opened()` is called once media may be sent, `closed(code, wasOpen)` when the stream is over.
   */
  constructor(path, { tracks, parameters, opened, closed }) {
    let wasOpen = false;
    const url = new URL(path, location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    this.#socket = new WebSocket(url);
    this.#socket.onopen = () => {
      wasOpen = true;
      this.#start(tracks, parameters);
      opened();
    };
    this.#socket.onclose = ({ code }) => closed(code, wasOpen);
  }

  get callSid() {
    return this.#ids.call;
  }

  /** The network takes less than is given: what can wait should. */
  get isBehind() {
    return this.#socket.bufferedAmount > BEHIND_BYTES;
  }

  /** One frame of a track, mu-law. It is counted, but not sent, while far too much waits: the gateway sees a gap. */
  media(track, frame) {
    const chunk = (this.#chunks.get(track) ?? 0) + 1;
    this.#chunks.set(track, chunk);
    const payload = btoa(String.fromCharCode(...frame));
    this.#send("media", {
      media: { track, chunk: String(chunk), timestamp: String((chunk - 1) * FRAME_MS), payload },
    });
  }

  dtmf(digit) {
    this.#send("dtmf", { dtmf: { track: "inbound_track", digit } });
  }

  /** Say that the call is over; the gateway closes. */
  stop() {
    this.#send("stop", { stop: { accountSid: this.#ids.account, callSid: this.#ids.call } });
  }

  /** Leave without a word. */
  close() {
    this.#socket.close();
  }

  #start(tracks, customParameters) {
    this.#socket.send(JSON.stringify({ event: "connected", protocol: "Call", version: "1.0.0" }));
    this.#send("start", {
      start: {
        accountSid: this.#ids.account,
        streamSid: this.#ids.stream,
        callSid: this.#ids.call,
        tracks,
        customParameters,
        mediaFormat: { encoding: "audio/x-mulaw", sampleRate: 8000, channels: 1 },
      },
    });
  }

  #send(event, fields) {
    this.#sequence += 1;
    if (this.#socket.readyState !== WebSocket.OPEN) return;
    if (event === "media" && this.#socket.bufferedAmount > MOST_WAITING_BYTES) return;
    this.#socket.send(
      JSON.stringify({ event, sequenceNumber: String(this.#sequence), streamSid: this.#ids.stream, ...fields }),
    );
  }
}

function hexadecimal(digits) {
  const octets = crypto.getRandomValues(new Uint8Array(digits / 2));
  return Array.from(octets, (octet) => octet.toString(16).padStart(2, "0")).join("");
}
