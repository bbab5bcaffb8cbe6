// <call-captions>: shows the captions of a call, caller left, agent right. The live page and a call's page use it alike:
//
//   html`<call-captions .captions=${captions} label="Captions"></call-captions>`           // live: follows the newest
//   html`<call-captions .captions=${captions} label="Transcript" seekable @seek=${(event) => play(event.detail.at_s)}>
//        </call-captions>`                                                                 // of a call that is over
//
// Each word of a final is a <span class="word" data-start="12.34" data-end="12.5" data-track="inbound">; where the
// recogniser's words do not match its text, all of the text is one.
// With `seekable`, a click on one and the button of each line that shows its time fire `seek` with {at_s}.

import { SIDES, clock, html, noChange, nothing, render, repeat } from "./lib.js";

const SETTLED_MS = 1000;
const NEAR_PX = 48;
const SAME_TURN_S = 4;

class CallCaptions extends HTMLElement {
  static observedAttributes = ["label", "seekable"];
  #captions = null;
  #isAtEnd = true;
  #isBusy = true;
  #drawing = 0;
  #ends = null;
  #drawn = null; // the items that are shown
  #lines = new Map(); // of those by key: whether each goes on where its speaker was
  #log = null;
  #said = null;
  #heard = null;
  #none = null;

  set captions(captions) {
    if (captions === this.#captions) return;
    this.#captions = captions;
    this.#isAtEnd = true;
    this.#forget();
    if (this.isConnected) this.#begin();
  }

  connectedCallback() {
    if (!this.#log) this.#build();
    this.#begin();
  }

  attributeChangedCallback() {
    this.#forget();
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
    this.#none = document.createElement("p");
    this.#none.className = "none quiet";
    this.#said = document.createElement("div");
    this.#said.setAttribute("role", "log");
    this.#heard = document.createElement("div");
    this.#heard.setAttribute("aria-hidden", "true");
    this.#log.setAttribute("role", "region");
    this.#log.append(this.#none, this.#said, this.#heard);
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

  #forget() {
    this.#drawn = null;
    this.#lines = new Map();
  }

  #soon() {
    this.#drawing ||= requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.#drawing = 0;
    if (!this.#captions) return;
    this.#said.setAttribute("aria-busy", String(this.#isBusy));
    const { items, partials, isOver } = this.#captions;
    if (this.#drawn !== items) {
      this.#drawn = items;
      render(repeat(items, (item) => item.key, (item, index) => this.#line(item, items[index - 1])), this.#said);
    }
    render([...partials].map(([track, data]) => heard(track, data)), this.#heard);
    this.#none.textContent = isOver ? "Nothing was said." : "Nothing has been said yet.";
    this.#none.hidden = partials.size > 0 || items.some(({ kind }) => kind === "said");
    this.#follow();
  }

  // A line never changes, but for whether it goes on where its speaker was: the others of a long call are left alone.
  #line(item, before) {
    const doesGoOn = goesOn(item, before);
    if (this.#lines.get(item.key) === doesGoOn) return noChange;
    this.#lines.set(item.key, doesGoOn);
    if (item.kind === "said") return said(item, doesGoOn, this.#isSeekable);
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

function goesOn(item, before) {
  const isSame = item.kind === "said" && before?.kind === "said" && before.track === item.track;
  return isSame && item.at_s - before.end_s < SAME_TURN_S;
}

function said({ data, at_s, track }, doesGoOn, isSeekable) {
  const time = clock(at_s);
  return html`
    <div class="said ${SIDES[track]} ${doesGoOn ? "goes-on" : ""}" data-track=${track}>
      <p class="who">
        <span class="name">${data.speaker}</span>
        ${isSeekable
          ? html`<button class="at" data-start=${at_s} aria-label="Play from ${time}">${time}</button>`
          : html`<span class="at">${time}</span>`}
        ${data.recovered ? html`<span class="how" title="Transcribed after an interruption">later</span>` : nothing}
        ${data.forced ? html`<span class="how" title="The recogniser did not confirm this">unconfirmed</span>` : nothing}
      </p>
      <p class="text" dir="auto" lang=${data.language ?? nothing}>${words(data)}</p>
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
      <p class="text" dir="auto">${text.split(/\s+/).filter(Boolean).map((word) => html`<span class="new">${word}</span> `)}</p>
    </div>`;
}

function cue({ data }) {
  return html`
    <p class="happened cue" dir="auto"><strong>${data.cue}</strong> “${data.text}”${data.note ? html` – ${data.note}` : nothing}
      <span class="at">${clock(data.start_s)}</span></p>`;
}

customElements.define("call-captions", CallCaptions);
