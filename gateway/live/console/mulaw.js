// G.711 mu-law, octet for octet as the gateway's own codec has it.
// Source: ITU-T G.711 (11/88), table 2, after dropping the two lowest bits (rounding down).

const BIAS = 33; // makes every segment begin at a power of two
const LOUDEST = 8191;
const CODES = Uint8Array.from({ length: 65536 }, (_, at) => coded((at - 32768) >> 2));

export const SILENCE = 0xff;

/** One octet for each sample of -32768 … 32767. */
export function encode(samples) {
  return Uint8Array.from(samples, (sample) => CODES[sample + 32768]);
}

/** The same for samples of -1 … 1; what is louder is clipped. */
export function encodeFloat(samples) {
  return Uint8Array.from(samples, (sample) => CODES[Math.max(0, Math.min(65535, Math.round(sample * 32768) + 32768))]);
}

function coded(sample) {
  const magnitude = Math.min(Math.abs(sample) + BIAS, LOUDEST);
  const segment = 26 - Math.clz32(magnitude); // 0 … 7: how far the highest bit is above the sixth
  const step = (magnitude >> (segment + 1)) & 0x0f;
  return (segment << 4 | step) ^ (sample < 0 ? 0x7f : 0xff);
}
