// Runs beside the sound card: what the microphone hears becomes frames of 20 ms, 8 kHz mu-law, and so they leave.
//
// Messages out: {frame: Uint8Array(160), level: dBFS of the frame}, at the end "over"; in: "end".

import { encodeFloat } from "../mulaw.js";
import { Resampler } from "../resampler.js";
import { FRAME_SAMPLES, PHONE_HZ, level } from "../telephone.js";

const BLOCK_SAMPLES = 128; // one call of `process`, as the Web Audio standard has it

class Microphone extends AudioWorkletProcessor {
  #resampler = new Resampler(Math.round(sampleRate), PHONE_HZ);
  #frame = new Float32Array(FRAME_SAMPLES);
  #filled = 0;
  #isOver = false;

  constructor() {
    super();
    this.port.onmessage = () => this.#end();
  }

  process([channels]) {
    // Without a channel the microphone is silent, but the time of the call goes on.
    if (!this.#isOver) this.#take(this.#resampler.push(channels[0] ?? new Float32Array(BLOCK_SAMPLES)));
    return !this.#isOver;
  }

  #take(samples) {
    for (const sample of samples) {
      this.#frame[this.#filled] = sample;
      this.#filled += 1;
      if (this.#filled === FRAME_SAMPLES) this.#send();
    }
  }

  #send() {
    const frame = encodeFloat(this.#frame);
    this.port.postMessage({ frame, level: level(this.#frame) }, [frame.buffer]);
    this.#filled = 0;
  }

  #end() {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#take(this.#resampler.flush());
    if (this.#filled) {
      this.#frame.fill(0, this.#filled);
      this.#send();
    }
    this.port.postMessage("over");
  }
}

registerProcessor("microphone", Microphone);
