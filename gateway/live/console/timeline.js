// Both tracks of a call over time: waveform, utterances, gaps, and where the reader is. A slider, by its role.
//
// Places along the line are percentages, so it is drawn once for every width.

import { clock, html, nothing, svg } from "./lib.js";
import { STEP_S } from "./player.js";

const LEAP_S = 30;
const LANE_PX = 84; // name, waveform, utterances
const WAVE_PX = 48;
const NAME_PX = 18;
const AXIS_PX = 20;
const STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];
const MOST_TICKS = 6;

/**
 * The timeline's template.
 *
 * `tracks`: [{track, speaker}]; `said` and `gaps`: [{track, start_s, end_s}]; `peaks`: {track: [0..1, …]}, or null
 * without a recording; `player` is where the reader is, and is moved by pointer and keys. It is shown anew by `showPosition`.
 */
export function timeline({ duration_s, tracks, said, gaps, peaks, player }) {
  const at_s = player.at_s;
  const height = tracks.length * LANE_PX + AXIS_PX;
  return html`
    <div class="timeline" role="slider" tabindex="0" aria-label="Position in the call" aria-valuemin="0"
      aria-valuemax=${duration_s.toFixed(1)} aria-valuenow=${Math.min(at_s, duration_s).toFixed(1)}
      aria-valuetext=${spoken(at_s, duration_s)}
      @keydown=${(event) => step(event, duration_s, player)}
      @pointerdown=${(event) => grab(event, duration_s, player)}
      @pointermove=${(event) => event.buttons & 1 && player.seek(timeAt(event, duration_s))}>
      <svg width="100%" height=${height} aria-hidden="true" focusable="false">
        <defs>
          <pattern id="hatch" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
            <rect class="hatch" width="3" height="8"></rect>
          </pattern>
        </defs>
        ${tracks.map((each, number) => lane(each, number * LANE_PX, { duration_s, said, gaps, peaks }))}
        ${ticks(duration_s).map((tick_s) => axis(tick_s, duration_s, tracks.length * LANE_PX))}
        <line class="position" y1="0" y2=${tracks.length * LANE_PX}
          x1=${share(at_s, duration_s)} x2=${share(at_s, duration_s)}></line>
      </svg>
    </div>`;
}

/** Move the position of a timeline that stands in `root`. */
export function showPosition(root, at_s, duration_s) {
  const slider = root.querySelector(".timeline");
  if (!slider) return;
  const line = slider.querySelector(".position");
  for (const name of ["x1", "x2"]) line.setAttribute(name, share(at_s, duration_s));
  const text = spoken(at_s, duration_s);
  if (slider.getAttribute("aria-valuetext") === text) return; // a new one each second is enough
  slider.setAttribute("aria-valuetext", text);
  slider.setAttribute("aria-valuenow", Math.min(at_s, duration_s).toFixed(1));
}

function lane({ track, speaker }, top, { duration_s, said, gaps, peaks }) {
  const own = (all) => all.filter((each) => each.track === track);
  const wave_top = top + NAME_PX;
  const block = ({ start_s, end_s }) => ({ x: share(start_s, duration_s), width: share(end_s - start_s, duration_s) });
  return svg`
    <g class=${`lane ${track}`}>
      <text class="name" x="2" y=${top + 13}>${speaker}</text>
      ${peaks?.[track]?.length ? svg`
        <svg class="wave" x="0" y=${wave_top} width="100%" height=${WAVE_PX} preserveAspectRatio="none"
          viewBox=${`0 -1 ${peaks[track].length} 2`}><path d=${outline(peaks[track])}></path></svg>` : nothing}
      <line class="middle" x1="0" x2="100%" y1=${wave_top + WAVE_PX / 2} y2=${wave_top + WAVE_PX / 2}></line>
      ${own(said).map((each) => svg`
        <rect class="utterance" x=${block(each).x} width=${block(each).width} y=${wave_top + WAVE_PX + 3}
          height="8" rx="2"></rect>`)}
      ${own(gaps).map((each) => svg`
        <rect class="gap" x=${block(each).x} width=${block(each).width} y=${wave_top} height=${WAVE_PX + 11}
          fill="url(#hatch)"></rect>`)}
    </g>`;
}

// The loudest of each stretch, above and below the middle: one closed shape.
function outline(peaks) {
  const above = peaks.map((peak, number) => `L${number} ${-peak}L${number + 1} ${-peak}`);
  const below = peaks.map((peak, number) => `L${number + 1} ${peak}L${number} ${peak}`).reverse();
  return `M0 0${above.join("")}${below.join("")}Z`;
}

function axis(tick_s, duration_s, top) {
  const place = share(tick_s, duration_s);
  return svg`
    <line class="tick" x1=${place} x2=${place} y1=${top} y2=${top + 5}></line>
    <text class="tick" x=${place} dx="3" y=${top + 15}>${clock(tick_s)}</text>`;
}

function ticks(duration_s) {
  const step_s = STEPS_S.find((each) => duration_s / each <= MOST_TICKS) ?? 3600 * Math.ceil(duration_s / 3600 / MOST_TICKS);
  // One at the very end would stand outside.
  return Array.from({ length: Math.ceil(duration_s / step_s) }, (_, number) => number * step_s)
    .filter((each) => each <= duration_s * 0.93);
}

function share(time_s, duration_s) {
  return duration_s > 0 ? `${((100 * Math.min(time_s, duration_s)) / duration_s).toFixed(3)}%` : "0%";
}

function spoken(at_s, duration_s) {
  return `${clock(at_s)} of ${clock(duration_s)}`;
}

function timeAt(event, duration_s) {
  const { left, width } = event.currentTarget.getBoundingClientRect();
  return duration_s * Math.min(1, Math.max(0, (event.clientX - left) / width));
}

function grab(event, duration_s, player) {
  if (event.button) return;
  event.currentTarget.setPointerCapture(event.pointerId);
  player.seek(timeAt(event, duration_s));
}

function step(event, duration_s, player) {
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const target_s = {
    ArrowRight: player.at_s + STEP_S, ArrowUp: player.at_s + STEP_S,
    ArrowLeft: player.at_s - STEP_S, ArrowDown: player.at_s - STEP_S,
    PageUp: player.at_s + LEAP_S, PageDown: player.at_s - LEAP_S,
    Home: 0, End: duration_s,
  }[event.key];
  if (target_s === undefined) return;
  event.preventDefault(); // the page would scroll
  event.stopPropagation(); // and its own keys would step again
  player.seek(target_s);
}
