// One call: its facts, its transcript, both tracks over time, and its recording, which marks the words as they are heard.
// The address may name a time, `?t=12.3`. A call that goes on is followed.

import "../call_captions.js";
import { outcome, parties } from "../call_names.js";
import { Captions } from "../captions.js";
import { Feed } from "../feed.js";
import { Heard } from "../heard.js";
import { Refused, SIDES, api, clock, gatewayNow, html, nothing, plain, reasonOf, when } from "../lib.js";
import { Player, SPEEDS, STEP_S } from "../player.js";
import { showPosition, timeline } from "../timeline.js";

const DURABLE = [
  "call.started", "transcript.final", "call.dtmf", "call.gap", "stt.degraded", "stt.recovered", "assist.cue",
  "call.transcript", "call.ended",
];
const WAVE_POINTS = 1000;
const GROWS_MS = 1000;
const FILES = [["json", "JSON"], ["txt", "Text"], ["srt", "SRT captions"], ["vtt", "WebVTT captions"]];
const NAME = "call-page"; // of the page's own element

export async function open({ redraw, follow, parameters, query }) {
  const page = new CallPage(redraw, follow, parameters.call_id, Number(query.get("t")));
  page.begin();
  return page;
}

class CallPage {
  constructor(redraw, follow, id, at_s) {
    this._redraw = redraw;
    this._follow = follow;
    this._path = `/calls/${encodeURIComponent(decodeURIComponent(id))}`;
    this._ends = new AbortController();
    this._player = new Player({
      moved: (now_s) => this._show(now_s), sought: () => this._heard?.follow(), changed: redraw,
    });
    this._isToShow = Number.isFinite(at_s) && at_s > 0; // the place named by the address, once it is there
    if (this._isToShow) this._player.seek(at_s);
    this._call = null;
    this._seen = new Set(); // numbers of events
    this._data = new Map(); // of events, by their type
    this._captions = new Captions();
    this._peaks = null;
    this._recorded_s = 0;
    this._heard = null;
    this._feed = null;
    this._growing = 0;
    this._fault = "";
  }

  get title() {
    return this._call ? parties(this._call) : "Call";
  }

  begin() {
    addEventListener("keydown", (event) => this._key(event), { signal: this._ends.signal });
    this._load();
  }

  close() {
    this._ends.abort();
    this._leave();
    this._heard?.close();
    this._player.close();
  }

  // ── What is known ──────────────────────────────────────────────────────────────────────────────────────────────

  async _load() {
    this._fault = "";
    this._redraw();
    try {
      this._take(await api(this._path));
      if (this._call?.has_recording && !this._ends.signal.aborted) await this._takeRecording();
    } catch (error) {
      this._fault = error instanceof Refused && error.status === 404 ? "There is no such call." : reasonOf(error);
    }
    this._redraw();
  }

  _take({ events, ...call }) {
    if (this._ends.signal.aborted) return;
    this._call = call;
    this._captions = new Captions(); // anew, for the lines of a call that is over can be clicked on
    this._seen.clear();
    this._data.clear();
    for (const event of events) this._add(event);
    this._leave();
    if (!call.ended_at) this._listen();
    this._redraw();
  }

  async _takeRecording() {
    if (!this._player.audio) this._player.load(`/api${this._path}/recording.wav`);
    this._redraw();
    try {
      const { tracks, duration_s } = await api(`${this._path}/waveform?points=${WAVE_POINTS}`);
      this._peaks = tracks;
      this._recorded_s = duration_s;
    } catch (error) {
      if (error.status !== 404) throw error; // the recording was removed meanwhile
    }
  }

  // It grows while nobody speaks, too.
  _listen() {
    const listeners = Object.fromEntries(DURABLE.map((type) => [type, (event) => this._happened(event)]));
    listeners["transcript.partial"] = (event) => this._captions.hear(event);
    this._feed = new Feed(`/api/feed?call=${encodeURIComponent(this._call.id)}`, listeners);
    this._growing = setInterval(this._redraw, GROWS_MS);
  }

  _leave() {
    this._feed?.close();
    this._feed = null;
    clearInterval(this._growing);
  }

  _happened(event) {
    this._add(event);
    this._redraw();
    if (event.type !== "call.ended") return;
    this._leave();
    this._load();
  }

  _add(event) {
    const { type, data } = event;
    this._captions.add(event);
    if (this._seen.has(data.sequence)) return;
    this._seen.add(data.sequence);
    if (!this._data.has(type)) this._data.set(type, []);
    this._data.get(type).push(data);
  }

  _of(type) {
    return this._data.get(type) ?? [];
  }

  get _duration_s() {
    const goesOn_s = this._call.ended_at ? 0 : (gatewayNow() - Date.parse(this._call.started_at)) / 1000;
    const told_s = Math.max(this._call.duration_s ?? 0, this._recorded_s, goesOn_s);
    const timed = [...this._of("transcript.final"), ...this._of("call.gap")];
    return timed.reduce((end_s, each) => Math.max(end_s, each.end_s), told_s);
  }

  get _tracks() {
    const finals = this._of("transcript.final");
    const told = [...this._call.tracks, ...[...finals, ...this._of("call.gap")].map((each) => each.track)];
    return [...new Set(told)].sort().map((track) => ({
      track, speaker: finals.find((each) => each.track === track)?.speaker ?? SIDES[track] ?? track,
    }));
  }

  // ── Where the reader is ────────────────────────────────────────────────────────────────────────────────────────

  _show(at_s) {
    const root = document.querySelector(`.${NAME}`);
    if (!root || !this._call) return;
    const now = root.querySelector(".now");
    if (now) now.textContent = `${clock(at_s)} / ${clock(this._player.duration_s)}`;
    showPosition(root, at_s, this._player.duration_s);
    if (this._call.ended_at) this._heard?.show(at_s);
  }

  // After each drawing: the transcript's element may be there only now.
  _drawn() {
    const captions = document.querySelector(`.${NAME} call-captions`);
    if (captions && this._heard?.captions !== captions) {
      this._heard?.close();
      this._heard = new Heard(captions, this._redraw);
    }
    if (!captions) return;
    this._show(this._player.at_s);
    if (this._isToShow) captions.scrollIntoView({ block: "end" });
    this._isToShow = false;
  }

  _toggle() {
    this._player.toggle();
    this._heard?.follow();
  }

  _key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey || !this._call) return;
    if (event.target.closest?.("input, select, textarea")) return;
    const by_s = { ArrowLeft: -STEP_S, ArrowRight: STEP_S }[event.key];
    if (event.key === " " && this._player.audio && !event.target.closest?.("button, a, summary")) this._toggle();
    else if (by_s) this._player.seek(this._player.at_s + by_s);
    else return;
    event.preventDefault(); // the page would scroll
  }

  // ── What is seen ───────────────────────────────────────────────────────────────────────────────────────────────

  view() {
    if (this._call) {
      this._player.duration_s = this._duration_s;
      queueMicrotask(() => this._drawn());
    }
    return html`
      <div class=${NAME}>
        <p class="back"><a href="/calls" @click=${this._follow}>← All calls</a></p>
        <div class="head row">
          <h1>${this.title}</h1>
          ${this._call ? this._files() : nothing}
        </div>
        ${this._fault ? html`<p class="bad" role="alert">${this._fault}
          <button type="button" @click=${() => this._load()}>Try again</button></p>` : nothing}
        ${this._call ? [this._facts(), this._deck(), this._transcript()]
          : this._fault ? nothing : html`<p class="quiet loading" role="status">Loading …</p>`}
      </div>`;
  }

  _files() {
    return html`
      <ul class="files row" aria-label="Take it away">
        ${FILES.map(([suffix, name]) => html`
          <li><a href=${`/api${this._path}/transcript.${suffix}?download=1`} download>${name}</a></li>`)}
        ${this._call.has_recording ? html`
          <li><a href=${`/api${this._path}/recording.wav?download=1`} download>Recording (WAV)</a></li>` : nothing}
        <li><a href=${`${this._path}/print`} target="_blank" rel="noopener">Print view</a></li>
      </ul>`;
  }

  _facts() {
    const call = this._call;
    const soFar = call.ended_at ? "unknown" : `${clock(this._duration_s)} so far`;
    const facts = [
      ["Started", when(call.started_at)],
      ["Duration", call.duration_s === null ? soFar : clock(call.duration_s)],
      ["Outcome", html`${outcome(call)}${call.reason ? ` (${plain(call.reason)})` : nothing}`],
      ["Transcript", this._completeness()],
      ["Platform", call.platform],
      ["Platform's id", call.platform_call_id === null ? "unknown" : html`<code>${call.platform_call_id}</code>`],
      ["Id", html`<code>${call.id}</code>`],
      ...Object.entries(call.metadata),
    ];
    return html`<dl class="facts">${facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
  }

  _completeness() {
    if (this._call.complete === null) return this._call.ended_at ? "unknown" : "goes on";
    if (this._call.complete) return html`<span class="good">complete</span>`;
    const missing = (this._of("call.ended")[0]?.tracks ?? []).flatMap(({ track, lost_s, untranscribed_s }) => [
      ...(lost_s > 0 ? [`${lost_s.toFixed(1)} s of the ${SIDES[track]} never arrived`] : []),
      ...(untranscribed_s > 0 ? [`${untranscribed_s.toFixed(1)} s of the ${SIDES[track]} could not be transcribed`] : []),
    ]);
    return html`<span class="bad">incomplete${missing.length ? `: ${missing.join("; ")}` : ""}</span>`;
  }

  _deck() {
    const player = this._player;
    return html`
      <section class="deck card" aria-label="Playback">
        <div class="row">
          ${player.audio ? html`
            <button type="button" class="play first" aria-keyshortcuts="Space" @click=${() => this._toggle()}
              >${player.isPlaying ? "Pause" : "Play"}</button>` : nothing}
          <button type="button" aria-keyshortcuts="ArrowLeft" @click=${() => player.seek(player.at_s - STEP_S)}>−${STEP_S} s</button>
          <button type="button" aria-keyshortcuts="ArrowRight" @click=${() => player.seek(player.at_s + STEP_S)}>+${STEP_S} s</button>
          <span class="now"></span>
          ${player.audio ? html`
            <span class="speed"><label for="speed">Speed</label>
            <select id="speed" @change=${(event) => { player.speed = Number(event.target.value); }}>
              ${SPEEDS.map((each) => html`<option value=${each} ?selected=${each === 1}>${each}×</option>`)}
            </select></span>` : html`<span class="quiet">${this._call.ended_at ? "There is no recording" : "The call goes on"}</span>`}
          ${this._call.ended_at && this._heard?.isFollowing === false ? html`
            <button type="button" class="follow" @click=${() => this._heard.follow()}>Back to what is heard</button>` : nothing}
        </div>
        ${player.fault ? html`<p class="bad" role="alert">${player.fault}</p>` : nothing}
        ${timeline({
          duration_s: player.duration_s, tracks: this._tracks, peaks: this._peaks, player,
          said: this._of("transcript.final"), gaps: this._of("call.gap"),
        })}
        ${player.audio ?? nothing}
      </section>`;
  }

  _transcript() {
    const after = this._of("call.transcript")[0];
    return html`
      <h2>Transcript</h2>
      <call-captions class="card" .captions=${this._captions} label="Transcript" ?seekable=${Boolean(this._call.ended_at)}
        @seek=${(event) => this._player.seek(event.detail.at_s)}></call-captions>
      ${after ? html`
        <details class="after"><summary>Transcribed again after the call, by ${after.provider}</summary>
          ${after.utterances.length ? after.utterances.map(utterance) : html`<p dir="auto">${after.text}</p>`}
        </details>` : nothing}`;
  }
}

// Who speaks the recogniser tells only where it heard the tracks apart; else it numbers the voices.
function utterance({ start_s, track, speaker, text }) {
  const who = SIDES[track] ?? (speaker === null ? "" : `speaker ${speaker}`);
  return html`<p dir="auto"><span class="quiet">${clock(start_s)} ${who}</span> ${text}</p>`;
}
