// The live page: calls in progress, and the captions of the one that was chosen.

import "../call_captions.js";
import { parties } from "../call_names.js";
import { Captions } from "../captions.js";
import { Feed } from "../feed.js";
import { Refused, api, html, nothing, reasonOf, repeat } from "../lib.js";
import { LiveCalls, isDegraded } from "../live_calls.js";
import { card, cueCard, nobody, walk } from "../live_list.js";

const LIST_TYPES = ["call.started", "call.ended", "call.levels", "stt.degraded", "stt.recovered", "assist.cue"];
const CALL_TYPES = ["transcript.final", "call.dtmf", "call.gap", "stt.degraded", "stt.recovered", "assist.cue", "call.ended"];
const TICK_MS = 1000;
const RETRY_MS = 5000; // of a list that could not be had
const SILENCE_MS = 10_000; // longer than levels are ever waited for
const FEW = 6; // calls among which nobody has to search
const MOST_SHOWN = 300;
const NARROW = "(max-width: 46rem)"; // as in live.css: the captions are below the list

export async function open({ redraw, follow, query }) {
  return new LivePage(redraw, follow, query.get("call"));
}

class LivePage {
  #redraw;
  #go;
  #calls = new LiveCalls();
  #isLoaded = false;
  #fault = null; // {text, at_ms} of the list
  #chosen = null;
  #isByHand = false;
  #missing = false; // the call of the address
  #named = null; // that call, if it is over
  #captions = null;
  #callFeed = null;
  #feed;
  #timer;
  #wanted = "";
  #isDegradedOnly = false;

  constructor(redraw, go, chosen) {
    this.#redraw = redraw;
    this.#go = go;
    const of = (data, how) => this.#calls.change(data.call.id, how);
    const listeners = {
      "call.started": ({ data, timestamp }) => this.#started(data, timestamp),
      "call.ended": ({ data }) => this.#calls.ended(data.call.id),
      "call.levels": ({ calls }) => this.#calls.measured(calls),
      "stt.degraded": ({ data }) => of(data, (call) => (call.stt = { ...call.stt, [data.track]: "degraded" })),
      "stt.recovered": ({ data }) => of(data, (call) => (call.stt = { ...call.stt, [data.track]: "live" })),
      "assist.cue": ({ data }) => of(data, (call) => (call.cue = data)),
    };
    const path = `/api/feed?partials=0&types=${LIST_TYPES.join(",")}`;
    this.#feed = new Feed(path, redrawing(listeners, redraw), { opened: () => this.#load() });
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    if (chosen) this.#lookUp(chosen);
  }

  get title() {
    const live = this.#live.length;
    return live ? `Live (${live})` : "Live";
  }

  close() {
    clearInterval(this.#timer);
    this.#feed.close();
    this.#callFeed?.close();
  }

  get #live() {
    return this.#calls.all.filter(({ endedAt }) => endedAt === null);
  }

  // ── What happens ───────────────────────────────────────────────────────────────────────────────────────────────

  // Whenever the feed is there (again).
  async #load() {
    try {
      await this.#calls.load();
      this.#fault = null;
    } catch (error) {
      this.#fault = { text: reasonOf(error), at_ms: performance.now() };
    }
    this.#isLoaded = true;
    this.#chooseOne();
    this.#redraw();
  }

  #started(data, timestamp) {
    this.#calls.started(data, timestamp);
    this.#chooseOne();
  }

  #tick() {
    this.#calls.tidy(this.#chosen);
    if (this.#live.length) this.#feed.expect(SILENCE_MS);
    if (this.#fault && performance.now() - this.#fault.at_ms > RETRY_MS) {
      this.#fault.at_ms = performance.now();
      this.#load();
    }
    this.#redraw();
  }

  // ── The chosen call ────────────────────────────────────────────────────────────────────────────────────────────

  // Who has chosen nothing sees the newest call, and the next one once that is over.
  #chooseOne() {
    const chosen = this.#calls.get(this.#chosen);
    if (this.#chosen !== null && (this.#isByHand || (chosen && chosen.endedAt === null))) return;
    const [newest] = this.#live;
    if (newest) this.#choose(newest.id);
  }

  #chooseByHand(id) {
    this.#isByHand = true;
    this.#missing = false;
    history.replaceState(null, "", `/?call=${encodeURIComponent(id)}`);
    this.#choose(id);
    requestAnimationFrame(() => {
      if (matchMedia(NARROW).matches) document.querySelector(".talk")?.scrollIntoView();
    });
  }

  // The call of the address: it may be over, or not be there any more.
  async #lookUp(id) {
    this.#isByHand = true;
    this.#choose(id);
    try {
      this.#named = await api(`/calls/${encodeURIComponent(id)}`);
    } catch (error) {
      if (!(error instanceof Refused && error.status === 404) || this.#chosen !== id) return; // the feed tells of others
      this.#callFeed.close();
      this.#chosen = this.#captions = this.#callFeed = null;
      this.#isByHand = false;
      this.#missing = true;
      history.replaceState(null, "", "/");
      this.#chooseOne();
    }
    this.#redraw();
  }

  #choose(id) {
    if (this.#chosen === id) return;
    this.#chosen = id;
    this.#callFeed?.close();
    const captions = (this.#captions = new Captions());
    const listeners = Object.fromEntries(CALL_TYPES.map((type) => [type, (event) => captions.add(event)]));
    listeners["transcript.partial"] = (event) => captions.hear(event);
    const feed = (this.#callFeed = new Feed(`/api/feed?call=${encodeURIComponent(id)}`, listeners));
    captions.addEventListener("change", () => {
      if (captions.isOver) feed.close(); // nothing comes after it
      this.#redraw();
    });
    this.#redraw();
  }

  // ── The view ───────────────────────────────────────────────────────────────────────────────────────────────────

  view() {
    const calls = this.#calls.all;
    const isAny = calls.length > 0 || this.#chosen !== null;
    return html`
      <div class="live-page">
        ${this.#head(calls)}
        ${this.#fault ? html`<p class="bad" role="alert">The list cannot be had. ${this.#fault.text}</p>` : nothing}
        ${this.#missing ? html`<p class="warning" role="alert">The call of this address is not there any more.</p>` : nothing}
        ${isAny ? this.#both(calls) : this.#isLoaded ? nobody(this.#go) : html`<p class="quiet loading">Loading …</p>`}
      </div>`;
  }

  #head(calls) {
    const degraded = calls.filter(isDegraded).length;
    return html`
      <div class="head row">
        <h1>Live calls <span class="count">${this.#live.length}</span></h1>
        ${degraded || this.#isDegradedOnly ? html`
          <button class="count warning" aria-pressed=${String(this.#isDegradedOnly)} title="Show only these"
            @click=${() => this.#narrow(this.#wanted, !this.#isDegradedOnly)}>${degraded} not transcribed</button>` : nothing}
        ${calls.length > FEW || this.#wanted ? html`
          <input type="search" class="find" aria-label="Find a call" placeholder="Number, name or id" autocomplete="off"
            .value=${this.#wanted} @input=${(event) => this.#narrow(event.target.value, this.#isDegradedOnly)}>` : nothing}
      </div>`;
  }

  #narrow(wanted, isDegradedOnly) {
    this.#wanted = wanted;
    this.#isDegradedOnly = isDegradedOnly;
    this.#redraw();
  }

  #both(calls) {
    const wanted = this.#wanted.trim().toLowerCase();
    const found = calls.filter((call) => call.words.includes(wanted) && (!this.#isDegradedOnly || isDegraded(call)));
    const shown = found.slice(0, MOST_SHOWN);
    return html`
      <div class="floor">
        <div class="list">
          <ul class="calls" aria-label="Calls in progress" @keydown=${walk}>
            ${repeat(shown, ({ id }) => id, (call) => card(call, {
              isChosen: call.id === this.#chosen, choose: () => this.#chooseByHand(call.id), follow: this.#go,
            }))}
          </ul>
          ${found.length ? nothing : html`<p class="quiet">${calls.length ? "No call is like this." : "No call at the moment."}</p>`}
          ${shown.length < found.length ? html`<p class="quiet">The newest ${MOST_SHOWN} of ${found.length}.</p>` : nothing}
        </div>
        ${this.#chosen === null ? nothing : this.#talk(this.#calls.get(this.#chosen) ?? this.#named)}
      </div>`;
  }

  #talk(call) {
    const { cues, isOver } = this.#captions;
    return html`
      <section class="talk" aria-label="The chosen call">
        <header class="row">
          <h2>${call ? parties(call) : "Call"}</h2>
          ${isOver ? html`<span class="quiet">ended</span>` : nothing}
          <a href="/calls/${this.#chosen}" @click=${this.#go}>Open call</a>
        </header>
        <call-captions .captions=${this.#captions} label="Captions"></call-captions>
        <aside class="cues" aria-label="Cues" tabindex="0">
          <h3>Cues</h3>
          ${cues.length ? html`<ol>${cues.map(cueCard)}</ol>` : html`<p class="quiet">None yet.</p>`}
        </aside>
      </section>`;
  }
}

// The same listeners; after each the page is shown anew.
function redrawing(listeners, redraw) {
  const all = Object.entries(listeners).map(([type, listen]) => [type, (event) => { listen(event); redraw(); }]);
  return Object.fromEntries(all);
}
