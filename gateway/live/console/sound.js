// Where the sound of a call comes from: the microphone, or a recording.
//
// Both give frames of 20 ms mu-law: `heard(track, frame, level)`, the level in dBFS.

import { encodeFloat } from "./mulaw.js";
import { Resampler } from "./resampler.js";
import { FRAME_MS, FRAME_SAMPLES, PHONE_HZ, level } from "./telephone.js";

export const TRACKS = ["inbound", "outbound"];
const DECODING_HZ = 48_000;
const SLOWEST_HZ = 8000;
const FASTEST_HZ = 96_000; // what every browser decodes at
const LARGEST_FILE_BYTES = 200 * 2 ** 20;
const MOST_FRAMES_PER_TICK = 50;
const [RIFF, FORMAT_CHUNK, FLAC] = [0x52494646, 0x666d7420, 0x664c6143]; // how these begin, read as numbers
const HEAD_BYTES = 28;

/** What went wrong, in words for who sees the page. */
export class SoundFault extends Error {}

const MICROPHONE_FAULTS = {
  NotAllowedError: "This page may not use the microphone. Allow it in the browser, beside the address, and call again.",
  NotFoundError: "There is no microphone.",
  NotReadableError: "The microphone cannot be used; perhaps another program has it.",
  OverconstrainedError: "The microphone that was chosen is gone.",
};

const NO_OUTPUT = "There is no sound output, and this browser hears no microphone without one.";
const LONGEST_BEGINNING_MS = 5000;

export class Microphone {
  #stream;
  #context;
  #node;
  #heard;
  #ended;

  /**
   * Ask for it. `choices` are those of the browser (`echoCancellation`, `deviceId` …); `lost()` is called if it goes away.
   * Nothing is heard before `start`. Throws SoundFault.
   */
  static async open(choices, lost) {
    if (!navigator.mediaDevices) throw new SoundFault("Browsers give the microphone to https:// pages only, and to localhost.");
    const microphone = new Microphone();
    try {
      microphone.#stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, ...choices } });
      await microphone.#prepare();
    } catch (error) {
      await microphone.close();
      if (error instanceof SoundFault) throw error;
      throw new SoundFault(MICROPHONE_FAULTS[error.name] ?? `The microphone cannot be used: ${error.message}`);
    }
    microphone.#stream.getAudioTracks()[0].onended = lost;
    return microphone;
  }

  get tracks() {
    return [TRACKS[0]];
  }

  start(heard) {
    this.#heard = heard;
  }

  /** Hear to the end of what has been said so far. */
  async stop() {
    if (this.#context?.state === "running") {
      const over = new Promise((resolve) => (this.#ended = resolve));
      this.#node.port.postMessage("end");
      await over;
    }
    await this.close();
  }

  async close() {
    this.#heard = null;
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    const context = this.#context;
    this.#context = null; // it is closed once: a second time it would complain
    await context?.close();
  }

  async #prepare() {
    this.#context = new AudioContext({ latencyHint: "interactive" });
    await this.#context.audioWorklet.addModule("/assets/worklets/microphone.js");
    this.#node = new AudioWorkletNode(this.#context, "microphone");
    this.#node.port.onmessage = ({ data }) => {
      if (data === "over") this.#ended();
      else this.#heard?.(TRACKS[0], data.frame, data.level);
    };
    this.#context.createMediaStreamSource(this.#stream).connect(this.#node);
    this.#node.connect(this.#context.destination); // which hears nothing of it, but makes it run
    await begin(this.#context);
  }
}

// Firefox waits for ever where there is no sound output.
async function begin(context) {
  let timer;
  const late = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new SoundFault(NO_OUTPUT)), LONGEST_BEGINNING_MS);
  });
  try {
    await Promise.race([context.resume(), late]);
  } finally {
    clearTimeout(timer);
  }
}

export class Recording {
  #sound; // per track: mu-law, whole frames
  #ticks = null;
  #next = 0;

  /** Decode a file: mono is the caller, of two channels the left one is the caller, the right one the agent. */
  static async open(file) {
    if (file.size > LARGEST_FILE_BYTES) throw new SoundFault("The file is larger than 200 MB.");
    const octets = await file.arrayBuffer();
    const rate_hz = decodingRate(octets);
    let decoded;
    try {
      decoded = await new OfflineAudioContext(1, 1, rate_hz).decodeAudioData(octets);
    } catch {
      throw new SoundFault("This browser cannot read the file as sound.");
    }
    if (!decoded.length) throw new SoundFault("There is no sound in the file.");
    const recording = new Recording();
    recording.#sound = TRACKS.slice(0, decoded.numberOfChannels).map((_, at) => phoneSound(decoded, at));
    return recording;
  }

  get tracks() {
    return TRACKS.slice(0, this.#sound.length);
  }

  get duration_s() {
    return (this.#frames * FRAME_MS) / 1000;
  }

  get #frames() {
    return this.#sound[0].levels.length;
  }

  /** Play; `speed` 1 is real time. `isBehind()` tells that the line cannot take more now; `over()` is called at the end. */
  start(heard, { speed, isBehind, over }) {
    let last_ms = performance.now();
    let owed = 0; // frames
    this.#ticks = new Worker("/assets/worklets/ticks.js");
    this.#ticks.onmessage = () => {
      const now_ms = performance.now();
      owed += ((now_ms - last_ms) * speed) / FRAME_MS;
      last_ms = now_ms;
      for (let sent = 0; owed >= 1 && sent < MOST_FRAMES_PER_TICK && !isBehind(); sent += 1) {
        owed -= 1;
        this.#play(heard);
        if (this.#next === this.#frames) {
          this.close();
          over();
          return;
        }
      }
    };
  }

  stop() {
    this.close();
  }

  close() {
    this.#ticks?.terminate();
    this.#ticks = null;
  }

  #play(heard) {
    const at = this.#next;
    this.#next += 1;
    this.#sound.forEach(({ mulaw, levels }, track) => {
      heard(TRACKS[track], mulaw.subarray(at * FRAME_SAMPLES, (at + 1) * FRAME_SAMPLES), levels[at]);
    });
  }
}

/** The rate that a WAV or FLAC file names, so that the sound of a phone stays as it is; else one that holds all of it. */
function decodingRate(octets) {
  const head = new DataView(octets, 0, Math.min(octets.byteLength, HEAD_BYTES));
  const rate_hz = head.byteLength < HEAD_BYTES ? DECODING_HZ : namedRate(head);
  return rate_hz < SLOWEST_HZ || rate_hz > FASTEST_HZ ? DECODING_HZ : rate_hz;
}

function namedRate(head) {
  if (head.getUint32(0) === RIFF && head.getUint32(12) === FORMAT_CHUNK) return head.getUint32(24, true);
  if (head.getUint32(0) === FLAC) return head.getUint32(18) >>> 12; // the first 20 bits
  return DECODING_HZ;
}

function phoneSound(decoded, channel) {
  const resampler = new Resampler(decoded.sampleRate, PHONE_HZ);
  const [body, tail] = [resampler.push(decoded.getChannelData(channel)), resampler.flush()];
  const frames = Math.ceil((body.length + tail.length) / FRAME_SAMPLES);
  const samples = new Float32Array(frames * FRAME_SAMPLES); // the last frame ends in silence
  samples.set(body);
  samples.set(tail, body.length);
  const levels = Float32Array.from({ length: frames }, (_, at) =>
    level(samples.subarray(at * FRAME_SAMPLES, (at + 1) * FRAME_SAMPLES)));
  return { mulaw: encodeFloat(samples), levels };
}
