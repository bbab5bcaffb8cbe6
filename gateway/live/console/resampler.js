// Streaming resampling by any rational ratio: a windowed-sinc low-pass, cut into phases.
//
// Only the output samples are computed, each as one product of the filter's phase with the input around it. The filter's
// delay is taken out: output sample k stands at the time of input position k · from / to. However the input is cut into
// blocks, the output is the same, to the last bit.

const ATTENUATION_DB = 80;
const TRANSITION = 0.2; // of the lower Nyquist frequency: at 8 kHz down 3.6 … 4.4 kHz

export class Resampler {
  /** Both rates in Hz, whole numbers; the outcome's level is the input's. */
  constructor(from_hz, to_hz) {
    const common = divisor(from_hz, to_hz);
    this.up = to_hz / common;
    this.down = from_hz / common;
    const lower_hz = Math.min(from_hz, to_hz);
    const width = (2 * Math.PI * TRANSITION * lower_hz / 2) / from_hz; // radians per input sample
    this.half = Math.ceil((ATTENUATION_DB - 7.95) / (2.285 * width) / 2) + 1;
    this.phases = this.up === 1 && this.down === 1 ? null : phases(this.up, this.half, lower_hz / from_hz);
    this.restart();
  }

  restart() {
    this.kept = new Float32Array(this.half - 1); // silence before the first sample
    this.centre = 0; // of the next output sample, whole input samples after the first kept one that counts
    this.phase = 0;
  }

  /** Samples in, as many samples out as are complete. */
  push(samples) {
    if (this.phases === null) return samples.slice();
    const input = joined(this.kept, samples);
    const out = new Float32Array(this.ready(input.length));
    const taps = 2 * this.half;
    for (let at = 0; at < out.length; at += 1) {
      const weights = this.phases[this.phase];
      let sum = 0;
      for (let tap = 0, from = this.centre; tap < taps; tap += 1) sum += weights[tap] * input[from + tap];
      out[at] = sum;
      this.phase += this.down;
      this.centre += Math.floor(this.phase / this.up);
      this.phase %= this.up;
    }
    const used = Math.min(this.centre, input.length);
    this.kept = input.slice(used);
    this.centre -= used;
    return out;
  }

  /** What is still inside, as if silence followed. */
  flush() {
    const rest = this.phases === null ? new Float32Array(0) : this.push(new Float32Array(this.half));
    this.restart();
    return rest;
  }

  ready(length) {
    // Output j needs the input up to centre + floor((phase + j · down) / up) + taps - 1.
    const room = length - 2 * this.half - this.centre;
    return room < 0 ? 0 : Math.floor(((room + 1) * this.up - 1 - this.phase) / this.down) + 1;
  }
}

function phases(up, half, cutoff) {
  const beta = 0.1102 * (ATTENUATION_DB - 8.7);
  return Array.from({ length: up }, (_, phase) => {
    const weights = Float64Array.from({ length: 2 * half }, (_each, tap) => {
      const distance = tap - (half - 1) - phase / up;
      return sinc(cutoff * distance) * kaiser(distance / half, beta);
    });
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return weights.map((weight) => weight / sum); // no phase is louder than another
  });
}

function sinc(x) {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

function kaiser(x, beta) {
  return Math.abs(x) > 1 ? 0 : bessel(beta * Math.sqrt(1 - x * x)) / bessel(beta);
}

/** The modified Bessel function of order zero, by its series. */
function bessel(x) {
  let term = 1;
  let sum = 1;
  for (let k = 1; term > 1e-12 * sum; k += 1) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

function divisor(a, b) {
  return b ? divisor(b, a % b) : a;
}

function joined(one, other) {
  const both = new Float32Array(one.length + other.length);
  both.set(one);
  both.set(other, one.length);
  return both;
}
