// What a telephone line is: 8000 samples a second, sent in frames of 20 ms.

export const PHONE_HZ = 8000;
export const FRAME_MS = 20;
export const FRAME_SAMPLES = (PHONE_HZ * FRAME_MS) / 1000;
export const QUIETEST_DB = -60;

/** Root mean square of samples of -1 … 1 in dBFS, not below QUIETEST_DB. */
export function level(samples) {
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  return Math.max(QUIETEST_DB, 10 * Math.log10(sum / samples.length));
}
