// The live page: calls in progress, and the captions of the one that was chosen.

import { Captions } from "../captions.js";
import { Feed } from "../feed.js";
import { Refused, api, clock, html, nothing, repeat } from "../lib.js";

const SIDES = { inbound: "Caller", outbound: "Agent" };
const STATES = { live: "live", connecting: "connecting", degraded: "degraded" };
const QUIETEST_DBFS = -60;
const GONE_MS = 30_000; // an ended call stays in the list for so long
const LIST_TYPES = ["call.started", "call.ended", "call.levels", "stt.degraded", "stt.recovered", "assist.cue"];

export async function open({ redraw, follow, query }) {
  const page = new LivePage(redraw, follow, query.get("call"));
  return { title: "Live", view: () => page.view(), close: () => page.close() };
}

class LivePage {
  #redraw;
  #go;
  #calls = new Map(); // by id: {id, platform, from, to, …, at_s, at_ms, tracks, stt, cue, endedAt}
  #over = new Set(); // calls that ended while the list was on its way are not in progress, whatever it says
  #isLoaded = false;
  #fault = null;
  #chosen = null;
  #isByHand = false;
  #captions = null;
  #callFeed = null;
  #feed;
  #timer;

  constructor(redraw, go, chosen) {
    this.#redraw = redraw;
    this.#go = go;
    const listeners = {
      "call.started": ({ data, timestamp }) => this.#started(data, timestamp),
      "call.ended": ({ data }) => this.#ended(data.call.id),
      "call.levels": ({ calls }) => this.#measured(calls),
      "stt.degraded": ({ data }) => this.#heardBy(data, "degraded"),
      "stt.recovered": ({ data }) => this.#heardBy(data, "live"),
      "assist.cue": ({ data }) => this.#change(data.call.id, (call) => (call.cue = data)),
    };
    const path = `/api/events?partials=0&types=${LIST_TYPES.join(",")}`;
    this.#feed = new Feed(path, listeners, { opened: () => this.#load() });
    this.#timer = setInterval(() => this.#tick(), 1000);
    if (chosen) this.#choose(chosen, true);
  }

  close() {
    clearInterval(this.#timer);
    this.#feed.close();
    this.#callFeed?.close();
  }

  // ── what happens ────────────────────────────────────────────────────────────────────────────────────────────────

  // Asked whenever the feed is there (again): a call that began or ended meanwhile is seen here.
  async #load() {
    const before = [...this.#calls.keys()];
    try {
      const calls = await allCalls();
      const known = new Set(calls.map(({ id }) => id));
      for (const call of calls.reverse()) this.#add(call);
      for (const id of before) if (!known.has(id)) this.#ended(id);
      this.#fault = null;
    } catch (error) {
      this.#fault = error instanceof Refused ? error.message : "the gateway cannot be reached";
    }
    this.#isLoaded = true;
    this.#chooseOne();
    this.#redraw();
  }

  #started(data, timestamp) {
    this.#add({ ...data.call, started_at: timestamp, tracks: data.tracks });
    this.#chooseOne();
  }

  #add(call) {
    if (this.#calls.has(call.id) || this.#over.has(call.id)) return;
    this.#calls.set(call.id, { ...call, levels: {}, stt: {}, cue: null, at_s: null, at_ms: 0, endedAt: null });
    this.#redraw();
  }

  #ended(id) {
    this.#over.add(id);
    this.#change(id, (call) => {
      if (call.endedAt === null) call.duration_s = seconds(call);
      call.endedAt ??= performance.now();
    });
  }

  #measured(calls) {
    const now = performance.now();
    for (const [id, { at_s, tracks, stt }] of Object.entries(calls)) {
      const call = this.#calls.get(id);
      if (call && call.endedAt === null) Object.assign(call, { at_s, at_ms: now, levels: tracks, stt });
    }
    this.#redraw();
  }

  #heardBy(data, state) {
    this.#change(data.call.id, (call) => (call.stt = { ...call.stt, [data.track]: state }));
  }

  #change(id, how) {
    const call = this.#calls.get(id);
    if (!call) return;
    how(call);
    this.#redraw();
  }

  #tick() {
    const now = performance.now();
    for (const [id, { endedAt }] of this.#calls) {
      if (endedAt !== null && now - endedAt > GONE_MS && id !== this.#chosen) this.#calls.delete(id);
    }
    this.#redraw();
  }

  // ── the chosen call ─────────────────────────────────────────────────────────────────────────────────────────────

  // Who has chosen nothing sees the newest call, and the next one once that is over.
  #chooseOne() {
    const chosen = this.#calls.get(this.#chosen);
    if (this.#chosen !== null && (this.#isByHand || (chosen && chosen.endedAt === null))) return;
    const newest = [...this.#calls.values()].findLast(({ endedAt }) => endedAt === null);
    if (newest) this.#choose(newest.id, false);
  }

  #choose(id, isByHand) {
    this.#isByHand = isByHand;
    if (isByHand) history.replaceState(null, "", `/?call=${encodeURIComponent(id)}`);
    if (this.#chosen === id) return;
    this.#chosen = id;
    this.#callFeed?.close();
    const captions = (this.#captions = new Captions());
    const keep = (event) => captions.add(event);
    const types = ["transcript.final", "call.dtmf", "call.gap", "stt.degraded", "stt.recovered", "assist.cue"];
    const listeners = Object.fromEntries(types.map((type) => [type, keep]));
    listeners["transcript.partial"] = (event) => captions.hear(event);
    listeners["call.ended"] = (event) => {
      captions.add(event);
      this.#callFeed?.close(); // nothing comes after it
      this.#redraw();
    };
    listeners["assist.cue"] = (event) => {
      captions.add(event);
      this.#redraw();
    };
    this.#callFeed = new Feed(`/api/calls/${encodeURIComponent(id)}/events`, listeners);
    this.#redraw();
  }

  // ── the view ────────────────────────────────────────────────────────────────────────────────────────────────────

  view() {
    const calls = [...this.#calls.values()].reverse();
    const live = calls.filter(({ endedAt }) => endedAt === null).length;
    const isAny = calls.length > 0 || this.#chosen !== null;
    return html`
      <div class="live-page">
        <h1>Live calls <span class="count">${live}</span></h1>
        ${this.#fault ? html`<p class="bad" role="alert">The list cannot be had: ${this.#fault}</p>` : nothing}
        ${isAny ? this.#both(calls) : this.#isLoaded ? nobody() : html`<p class="quiet">Loading …</p>`}
      </div>`;
  }

  #both(calls) {
    return html`
      <div class="floor">
        <ul class="calls" aria-label="Calls in progress" @keydown=${walk}>
          ${repeat(calls, ({ id }) => id, (call) => this.#call(call))}
        </ul>
        ${this.#chosen === null ? nothing : this.#talk(this.#calls.get(this.#chosen))}
      </div>`;
  }

  #call(call) {
    const isOver = call.endedAt !== null;
    return html`
      <li class="call ${isOver ? "over" : ""}">
        <button class="choose" aria-pressed=${String(call.id === this.#chosen)}
                @click=${() => this.#choose(call.id, true)}>
          <span class="parties">${parties(call)}</span>
          <span class="duration">${clock(seconds(call))}</span>
          <span class="from"><span class="platform">${call.platform}</span>${
            parties(call) === brief(call) ? nothing : html` · ${brief(call)}`} · since ${hour(call)}</span>
        </button>
        ${isOver ? html`<p class="ended">ended – <a href="/calls/${call.id}" @click=${this.#go}>open</a></p>` : html`
          <div class="tracks">${(call.tracks ?? []).map((track) => meter(call, track))}</div>`}
        ${call.cue ? html`<p class="cue"><strong>${call.cue.cue}</strong> “${call.cue.text}”</p>` : nothing}
      </li>`;
  }

  #talk(call) {
    const { cues, isOver } = this.#captions;
    return html`
      <section class="talk" aria-label="The chosen call">
        <header class="row">
          <h2>${call ? parties(call) : "Call"}</h2>
          ${isOver ? html`<span class="quiet">ended</span>` : nothing}
          <a href="/calls/${this.#chosen}" @click=${this.#go}>open</a>
        </header>
        <call-captions .captions=${this.#captions} label="Captions"></call-captions>
        <aside class="cues" aria-label="Cues" tabindex="0">
          <h3>Cues</h3>
          ${cues.length ? html`<ol>${cues.map(cueCard)}</ol>` : html`<p class="quiet">None yet.</p>`}
        </aside>
      </section>`;
  }
}

// Page by page: a call that is missing here is taken for ended.
async function allCalls() {
  const calls = [];
  let before = "";
  do {
    const page = await api(`/calls?state=live&limit=100${before}`);
    calls.push(...page.calls);
    before = page.next === null ? null : `&before=${encodeURIComponent(page.next)}`;
  } while (before !== null);
  return calls;
}

function nobody() {
  const address = location.origin.replace(/^http/, "ws");
  return html`
    <div class="card nobody">
      <h2>No call at the moment</h2>
      <p>The next one appears here by itself. To place a first one from a recording:</p>
      <pre><code>gateway call recording.wav --url ${address}/twilio/stream</code></pre>
      <p>Or <a href="/phone">speak into this computer's microphone</a>.</p>
    </div>`;
}

function meter(call, track) {
  const level = Math.max(QUIETEST_DBFS, call.levels[track] ?? QUIETEST_DBFS);
  const state = call.stt[track] ?? "connecting";
  const name = SIDES[track] ?? track;
  return html`
    <span class="side">${name}</span>
    <meter class=${track} min=${QUIETEST_DBFS} max="0" .value=${level} aria-label="Level of the ${name.toLowerCase()}"
           title="${Math.round(level)} dBFS"></meter>
    <span class="stt ${state}" title="Speech recognition">${STATES[state] ?? state}</span>`;
}

function cueCard(cue) {
  return html`
    <li><strong>${cue.cue}</strong> <span class="at">${clock(cue.start_s)}</span>
      <p>“${cue.text}”</p>${cue.note ? html`<p class="note">${cue.note}</p>` : nothing}</li>`;
}

function parties({ from, to, metadata, platform_call_id, id }) {
  if (from || to) return `${from ?? "unknown"} → ${to ?? "unknown"}`;
  return metadata?.name ?? brief({ platform_call_id, id });
}

// What the platform calls it, as far as people compare such things.
function brief({ platform_call_id, id }) {
  const name = platform_call_id ?? id;
  return name.length > 18 ? `${name.slice(0, 8)}…${name.slice(-6)}` : name;
}

function hour({ started_at }) {
  return new Date(started_at).toLocaleTimeString(undefined, { timeStyle: "short" });
}

function seconds(call) {
  if (call.endedAt !== null) return call.duration_s;
  if (call.at_s !== null) return call.at_s + (performance.now() - call.at_ms) / 1000;
  return (Date.now() - Date.parse(call.started_at)) / 1000;
}

// Up and down go from call to call, as in any list.
function walk(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  const buttons = [...event.currentTarget.querySelectorAll(".choose")];
  const next = buttons[buttons.indexOf(document.activeElement) + step];
  if (!next) return;
  event.preventDefault();
  next.focus();
}
