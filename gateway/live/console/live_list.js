// What the live page shows of each call: its card in the list, its cues.

import { brief, parties } from "./call_names.js";
import { SIDES, clock, html, nothing } from "./lib.js";
import { reached } from "./live_calls.js";

const QUIETEST_DBFS = -60;
const HOUR = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });

/** A call's card. `choose()` is called when it is chosen, `follow` when its page is asked for. */
export function card(call, { isChosen, choose, follow }) {
  const isOver = call.endedAt !== null;
  return html`
    <li class="call ${isOver ? "over" : ""}">
      <button class="choose" aria-pressed=${String(isChosen)} @click=${choose}>
        <span class="parties">${parties(call)}</span>
        <span class="duration">${clock(reached(call))}</span>
        <span class="from"><span class="platform">${call.platform}</span>${
          parties(call) === brief(call) ? nothing : html` · ${brief(call)}`} · since ${hour(call)}</span>
      </button>
      ${isOver ? html`<p class="ended">ended – <a href="/calls/${call.id}" @click=${follow}>open</a></p>` : html`
        <div class="tracks">${(call.tracks ?? []).map((track) => meter(call, track))}</div>`}
      ${call.cue ? html`<p class="cue"><strong>${call.cue.cue}</strong> “${call.cue.text}”</p>` : nothing}
    </li>`;
}

/** A cue, beside the captions. */
export function cueCard(cue) {
  return html`
    <li><strong>${cue.cue}</strong> <span class="at">${clock(cue.start_s)}</span>
      <p dir="auto">“${cue.text}”</p>${cue.note ? html`<p class="note">${cue.note}</p>` : nothing}</li>`;
}

/** What to do while there is no call. */
export function nobody(follow) {
  const address = location.origin.replace(/^http/, "ws");
  return html`
    <div class="card nobody">
      <h2>No call at the moment</h2>
      <p>The next one appears here by itself. To place a first one from a recording:</p>
      <pre><code>gateway call recording.wav --url ${address}/twilio/stream</code></pre>
      <p>Or <a href="/phone" @click=${follow}>speak into this computer's microphone</a>.</p>
    </div>`;
}

/** Up and down go from call to call, as in any list. */
export function walk(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  const buttons = [...event.currentTarget.querySelectorAll(".choose")];
  const next = buttons[buttons.indexOf(document.activeElement) + step];
  if (!next) return;
  event.preventDefault();
  next.focus();
}

function meter(call, track) {
  const level = Math.max(QUIETEST_DBFS, call.levels[track] ?? QUIETEST_DBFS);
  const state = call.stt[track] ?? "connecting";
  const name = SIDES[track] ?? track;
  return html`
    <span class="side">${name}</span>
    <meter class=${track} min=${QUIETEST_DBFS} max="0" .value=${level} aria-label="Level of the ${name}"
           title="${Math.round(level)} dBFS"></meter>
    <span class="stt ${state}" title="Speech recognition">${state}</span>`;
}

function hour({ started_at }) {
  return HOUR.format(new Date(started_at));
}
