// Captions of one call: what its parties said, caller left, agent right, with what else happened at its place.
//
// `Captions` is the text, made of a call's events in whatever order and however often they come. `<call-captions>` shows
// it. The live page and a call's page use both alike:
//
//   const captions = new Captions();
//   html`<call-captions .captions=${captions} label="Captions"></call-captions>`           // live: follows the newest
//   html`<call-captions .captions=${captions} label="Transcript" seekable @seek=${(event) => play(event.detail.at_s)}>
//        </call-captions>`                                                                 // of a call that is over
//   captions.add(event);            // a durable event as the webhook has it: {type, data}
//   captions.hear(partial);         // a `transcript.partial`
//
// Each word of a final is a <span class="word" data-start="12.34" data-end="12.5" data-track="inbound">; where the
// recogniser's words do not match its text, all of the text is one.
// With `seekable`, a click on one and the button of each line that shows its time fire `seek` with {at_s}.

import { clock, html, nothing, render, repeat } from "./lib.js";

const SIDES = { inbound: "caller", outbound: "agent" };
const SETTLED_MS = 1000;
const NEAR_PX = 48;
const SAME_TURN_S = 4;

export class Captions extends EventTarget {
  #seen = new Set();
  items = []; // by call time: {key, at_s, end_s, kind, track, …}
  partials = new Map(); // by track: {speaker, text, start_s}
  cues = []; // data of assist.cue, newest first
  isOver = false;

  /** Take a durable event; one that is there already changes nothing. */
  add({ type, data }) {
    if (this.#seen.has(data.sequence)) return;
    this.#seen.add(data.sequence);
    const item = ITEMS[type]?.(data);
    if (item) this.#insert({ key: data.sequence, type, track: data.track ?? null, ...item });
    if (type === "transcript.final") this.#settle(data);
    if (type === "assist.cue") this.cues = [data, ...this.cues];
    if (type === "call.ended") {
      this.isOver = true;
      this.partials.clear();
    }
    this.dispatchEvent(new Event("change"));
  }

  /** Take what a track sounds like so far. */
  hear({ data }) {
    if (this.isOver) return;
    this.partials.set(data.track, data);
    this.dispatchEvent(new Event("heard"));
  }

  #insert(item) {
    let index = this.items.length;
    while (index && this.items[index - 1].at_s > item.at_s) index -= 1;
    this.items = this.items.toSpliced(index, 0, item);
  }

  /** A final replaces what was heard of it, not what was heard since: it comes a little later, having been stored. */
  #settle(final) {
    const partial = this.partials.get(final.track);
    if (partial && !(partial.start_s !== null && partial.start_s >= final.end_s - 0.05)) this.partials.delete(final.track);
  }
}

const ITEMS = {
  "transcript.final": (data) => (data.text ? { kind: "said", at_s: data.start_s, end_s: data.end_s, data } : null),
  "call.dtmf": (data) => ({ kind: "note", at_s: data.at_s, text: `Key ${data.digit} pressed` }),
  "call.gap": (data) => ({
    kind: "warning", at_s: data.start_s,
    text: `${seconds(data.end_s - data.start_s)} of the ${SIDES[data.track] ?? "call"} missing: ${plain(data.reason)}`,
  }),
  "stt.degraded": (data) => ({
    kind: "warning", at_s: data.at_s, text: `Nobody transcribes the ${SIDES[data.track]} for now: ${plain(data.reason)}`,
  }),
  "stt.recovered": (data) => ({ kind: "good", at_s: data.at_s, text: `The ${SIDES[data.track]} is transcribed again` }),
  "assist.cue": (data) => ({ kind: "cue", at_s: data.end_s, data }),
  "call.ended": (data) => ({
    kind: "note", at_s: Infinity,
    text: `Call ended: ${plain(data.reason)}${data.complete ? "" : ", not all of it transcribed"}`,
  }),
};

function seconds(span) {
  return `${span.toFixed(1)} s`;
}

function plain(code) {
  return code.replaceAll("_", " ");
}

class CallCaptions extends HTMLElement {
  static observedAttributes = ["label", "seekable"];
  #captions = null;
  #isAtEnd = true;
  #isBusy = true;
  #drawing = 0;
  #ends = null;
  #drawn = null; // the items that are shown
  #log = null;
  #said = null;
  #heard = null;

  set captions(captions) {
    if (captions === this.#captions) return;
    this.#captions = captions;
    this.#isAtEnd = true;
    if (this.isConnected) this.#begin();
  }

  connectedCallback() {
    if (!this.#log) this.#build();
    this.#begin();
  }

  attributeChangedCallback() {
    this.#drawn = null;
    if (this.isConnected && this.#log) this.#begin();
  }

  disconnectedCallback() {
    this.#ends?.abort();
    cancelAnimationFrame(this.#drawing);
    this.#drawing = 0;
  }

  get #isSeekable() {
    return this.hasAttribute("seekable");
  }

  // The parts stand for good, so that screen readers keep the log and the reader's place in it.
  #build() {
    this.#log = document.createElement("div");
    this.#log.className = "log";
    this.#log.tabIndex = 0;
    this.#said = document.createElement("div");
    this.#said.setAttribute("role", "log");
    this.#heard = document.createElement("div");
    this.#heard.setAttribute("aria-hidden", "true");
    this.#log.setAttribute("role", "region");
    this.#log.append(this.#said, this.#heard);
    const newest = document.createElement("button");
    newest.className = "newest";
    newest.hidden = true;
    newest.textContent = "Newest ↓";
    newest.onclick = () => {
      this.#isAtEnd = true;
      this.#follow();
      this.#log.focus();
    };
    this.append(this.#log, newest);
    this.#log.addEventListener("scroll", () => this.#noteScroll(newest), { passive: true });
    this.#log.addEventListener("click", (event) => this.#clicked(event));
  }

  #begin() {
    this.#ends?.abort();
    this.#ends = new AbortController();
    const { signal } = this.#ends;
    const label = this.getAttribute("label") ?? "Captions";
    this.#log.setAttribute("aria-label", label);
    this.#said.setAttribute("aria-label", label);
    this.#said.setAttribute("aria-live", this.#isSeekable ? "off" : "polite");
    this.#captions?.addEventListener("change", () => this.#soon(), { signal });
    this.#captions?.addEventListener("heard", () => this.#soon(), { signal });
    // What was said before somebody looked is not read to them.
    this.#isBusy = true;
    const settled = setTimeout(() => {
      this.#isBusy = false;
      this.#said.setAttribute("aria-busy", "false");
    }, SETTLED_MS);
    signal.addEventListener("abort", () => clearTimeout(settled));
    this.#draw();
  }

  #soon() {
    this.#drawing ||= requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.#drawing = 0;
    if (!this.#captions) return;
    this.#said.setAttribute("aria-busy", String(this.#isBusy));
    const { items, partials } = this.#captions;
    if (this.#drawn !== items) {
      this.#drawn = items;
      render(repeat(items, (item) => item.key, (item, index) => this.#line(item, items[index - 1])), this.#said);
    }
    render([...partials].map(([track, data]) => heard(track, data)), this.#heard);
    this.#follow();
  }

  #line(item, before) {
    if (item.kind === "said") return said(item, before, this.#isSeekable);
    if (item.kind === "cue") return cue(item);
    return html`<p class="happened ${item.kind}">${item.text} ${Number.isFinite(item.at_s)
      ? html`<span class="at">${clock(item.at_s)}</span>` : nothing}</p>`;
  }

  #follow() {
    if (this.#isAtEnd && !this.#isSeekable) this.#log.scrollTop = this.#log.scrollHeight;
  }

  #noteScroll(newest) {
    const { scrollTop, scrollHeight, clientHeight } = this.#log;
    this.#isAtEnd = scrollHeight - scrollTop - clientHeight < NEAR_PX;
    newest.hidden = this.#isAtEnd || this.#isSeekable;
  }

  #clicked(event) {
    const from = this.#isSeekable && event.target.closest("[data-start]");
    if (!from) return;
    this.dispatchEvent(new CustomEvent("seek", { detail: { at_s: Number(from.dataset.start) }, bubbles: true }));
  }
}

function said({ data, at_s, track }, before, isSeekable) {
  const goesOn = before?.kind === "said" && before.track === track && at_s - before.end_s < SAME_TURN_S;
  const time = clock(at_s);
  return html`
    <div class="said ${SIDES[track]} ${goesOn ? "goes-on" : ""}" data-track=${track}>
      <p class="who">
        <span class="name">${data.speaker}</span>
        ${isSeekable
          ? html`<button class="at" data-start=${at_s} aria-label="Play from ${time}">${time}</button>`
          : html`<span class="at">${time}</span>`}
        ${data.recovered ? html`<span class="how" title="Transcribed after an interruption">later</span>` : nothing}
        ${data.forced ? html`<span class="how" title="The recogniser did not confirm this">unconfirmed</span>` : nothing}
      </p>
      <p class="text" lang=${data.language ?? nothing}>${words(data)}</p>
    </div>`;
}

// The text says it best (with its points and capitals), the words when; where they do not match, the text is one word.
function words({ text, words: timed, track, start_s, end_s }) {
  const spoken = text.split(/\s+/).filter(Boolean);
  if (timed?.length !== spoken.length) return word(text, start_s, end_s, track);
  return timed.map((each, index) => html`${word(spoken[index], each.start_s, each.end_s, track)} `);
}

function word(text, start_s, end_s, track) {
  return html`<span class="word" data-start=${start_s} data-end=${end_s} data-track=${track}>${text}</span>`;
}

function heard(track, { speaker, text }) {
  return html`
    <div class="said partial ${SIDES[track]}" data-track=${track}>
      <p class="who"><span class="name">${speaker}</span></p>
      <p class="text">${text.split(/\s+/).filter(Boolean).map((word) => html`<span class="new">${word}</span> `)}</p>
    </div>`;
}

function cue({ data }) {
  return html`
    <p class="happened cue"><strong>${data.cue}</strong> “${data.text}”${data.note ? html` – ${data.note}` : nothing}
      <span class="at">${clock(data.start_s)}</span></p>`;
}

customElements.define("call-captions", CallCaptions);
