// Calls, newest first, and a search over what was said in them. The address holds the filter and the words searched for.

import { outcome } from "../call_names.js";
import { Feed } from "../feed.js";
import { SIDES, api, clock, html, nothing, reasonOf, repeat, when } from "../lib.js";

const STATES = [["all", "All"], ["live", "Live"], ["ended", "Ended"]];
const NO_CALLS = {
  live: "No call is live.", ended: "No call has ended yet.", all: "No calls yet. Each call that comes in is listed here.",
};
const PAGE_SIZE = 50;
const MOST_RENEWED = 200; // calls that the gateway gives at once; a longer list is left as the reader has it
const MOST_HITS = 100;
const TYPING_MS = 250; // how long a pause in typing is before it is searched
const RENEWAL_MS = 1000; // the list is asked for again at most so often
// Scripts without spaces between words: there a row of characters is found wherever it stands (search_words.py).
const SCRIPTS = "Han Hira Kana Bopo Hang Thai Laoo Mymr Khmr".split(" ").map((name) => `\\p{scx=${name}}`);
const UNSPACED = `(?:(?=[\\p{L}\\p{N}\\p{M}])[${SCRIPTS.join("")}])`;
const WORD = `${UNSPACED}+|(?:(?!${UNSPACED})[\\p{L}\\p{N}\\p{M}])+`;
const WORDS = new RegExp(`(${WORD})`, "u");
const ALL_WORDS = new RegExp(WORD, "gu");
const IS_UNSPACED = new RegExp(`^${UNSPACED}`, "u");
const WORD_AT_END = /[\p{L}\p{N}\p{M}]$/u;
const FEED = "/api/feed?types=call.started,call.ended&partials=0";

export async function open({ redraw, follow, query }) {
  const page = new History(redraw, follow, query);
  page.begin();
  return page;
}

class History {
  title = "Calls";

  constructor(redraw, follow, query) {
    this._redraw = redraw;
    this._follow = follow;
    this._state = STATES.some(([name]) => name === query.get("state")) ? query.get("state") : "all";
    this._words = query.get("q") ?? "";
    this._ends = new AbortController();
    this._asked = 0; // an answer that is not to the last question is of no use any more
    this._typing = 0;
    this._renewal = 0;
    this._forget();
  }

  begin() {
    addEventListener("keydown", (event) => this._key(event), { signal: this._ends.signal });
    const soon = () => this._renewSoon();
    this._feed = new Feed(FEED, { "call.started": soon, "call.ended": soon }, { opened: soon });
    this._ask();
  }

  close() {
    this._ends.abort();
    this._feed.close();
    clearTimeout(this._typing);
    clearTimeout(this._renewal);
    this._asked += 1;
  }

  _forget() {
    this._calls = [];
    this._hits = null;
    this._isAll = true; // of the calls were searched
    this._isOld = false;
    this._searched = "";
    this._next = null;
    this._isLoading = false;
    this._fault = "";
  }

  // ── Asking ─────────────────────────────────────────────────────────────────────────────────────────────────────

  _ask() {
    clearTimeout(this._typing);
    this._forget();
    return this._words.trim() ? this._search(this._words) : this._list(null);
  }

  _list(before) {
    const parameters = new URLSearchParams({ state: this._state, limit: PAGE_SIZE, ...(before ? { before } : {}) });
    return this._fetch(`/calls?${parameters}`, ({ calls, next }) => {
      const known = new Set(this._calls.map((each) => each.id));
      this._calls = [...this._calls, ...calls.filter((each) => !known.has(each.id))];
      this._next = next;
    });
  }

  _renewSoon() {
    this._renewal ||= setTimeout(() => {
      this._renewal = 0;
      if (!this._words.trim() && !this._isLoading) this._renew();
    }, RENEWAL_MS);
  }

  // Calls began or ended: what the reader has is asked for again. Of a long list the reader is told, and left in peace.
  async _renew() {
    this._isOld = this._calls.length > MOST_RENEWED;
    if (this._isOld) return this._redraw();
    const number = this._asked;
    const limit = Math.max(PAGE_SIZE, Math.ceil(this._calls.length / PAGE_SIZE) * PAGE_SIZE);
    let page;
    try {
      page = await api(`/calls?${new URLSearchParams({ state: this._state, limit })}`);
    } catch {
      return; // what is seen is still true of when it was asked for, and the next call tries again
    }
    if (number !== this._asked) return;
    this._calls = page.calls;
    this._next = page.next;
    this._redraw();
  }

  _search(words) {
    return this._fetch(`/search?${new URLSearchParams({ q: words, limit: MOST_HITS })}`, ({ hits, complete }) => {
      this._hits = hits;
      this._isAll = complete;
      this._searched = words;
    });
  }

  async _fetch(path, take) {
    const number = ++this._asked;
    this._isLoading = true;
    this._fault = "";
    this._redraw();
    let answer = null;
    let fault = "";
    try {
      answer = await api(path);
    } catch (error) {
      fault = reasonOf(error);
    }
    if (number !== this._asked) return;
    this._isLoading = false;
    this._fault = fault;
    if (answer) take(answer);
    this._redraw();
  }

  _change(state, words) {
    this._state = state;
    this._words = words;
    const parameters = new URLSearchParams({
      ...(state === "all" ? {} : { state }), ...(words.trim() ? { q: words } : {}),
    });
    history.replaceState(null, "", parameters.size ? `/calls?${parameters}` : "/calls");
    this._ask();
  }

  // ── Keys ───────────────────────────────────────────────────────────────────────────────────────────────────────

  _key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const isTyping = event.target.closest?.("input, select, textarea");
    if (event.key === "/" && !isTyping) {
      event.preventDefault(); // the sign is not searched for
      document.getElementById("search")?.focus();
    } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && (!isTyping || isTyping.id === "search")) {
      this._walk(event);
    }
  }

  _walk(event) {
    const links = [...document.querySelectorAll(".history .entry")];
    const at = links.indexOf(document.activeElement);
    const next = at + (event.key === "ArrowDown" ? 1 : -1);
    if (at < 0 && event.target.id !== "search") return; // elsewhere the arrows scroll
    const target = next < 0 ? document.getElementById("search") : links[next];
    if (!target) return;
    event.preventDefault();
    target.focus();
  }

  _typed(event) {
    const words = event.target.value;
    clearTimeout(this._typing);
    this._typing = setTimeout(() => this._change(this._state, words), TYPING_MS);
  }

  _submit(event) {
    event.preventDefault();
    clearTimeout(this._typing);
    this._change(this._state, document.getElementById("search").value);
  }

  // ── What is seen ───────────────────────────────────────────────────────────────────────────────────────────────

  view() {
    return html`
      <div class="history">
        <h1>Calls</h1>
        <form class="row find" role="search" @submit=${(event) => this._submit(event)}>
          <label for="search">Search what was said</label>
          <input id="search" type="search" value=${this._words} autocomplete="off" spellcheck="false"
            aria-describedby="search-key" @input=${(event) => this._typed(event)}>
          <span id="search-key" class="quiet key-hint">Key <kbd>/</kbd></span>
          <span class="show"><label for="state">Show</label>
          <select id="state" ?disabled=${this._words.trim() !== ""}
            @change=${(event) => this._change(event.target.value, this._words)}>
            ${STATES.map(([name, text]) => html`
              <option value=${name} ?selected=${name === this._state}>${text}</option>`)}
          </select></span>
        </form>
        <p class="quiet" role="status">${this._status()}</p>
        ${this._fault ? html`
          <p class="bad" role="alert">${this._fault}
            <button type="button" @click=${() => this._ask()}>Try again</button></p>` : nothing}
        ${this._hits ? this._foundList() : this._table()}
      </div>`;
  }

  _status() {
    if (this._isLoading && !this._calls.length) return this._words.trim() ? "Searching …" : "Loading …";
    if (this._fault) return "";
    if (this._hits) return `${this._found()}${this._isAll ? "" : " Older calls are still being read: search again in a while."}`;
    if (!this._calls.length) return NO_CALLS[this._state];
    const calls = this._calls.length === 1 ? "1 call" : `${this._calls.length} calls`;
    return this._next ? `The newest ${calls}` : `${calls}, the newest first`;
  }

  _found() {
    if (!this._hits.length) return `Nobody said “${this._searched.trim()}”.`;
    const least = this._hits.length === MOST_HITS ? "At least " : "";
    return `${least}${this._hits.length} ${this._hits.length === 1 ? "place" : "places"}, the newest first.`;
  }

  _table() {
    if (!this._calls.length) return nothing;
    return html`
      ${this._isOld ? html`<p>Calls began or ended since.
        <button type="button" @click=${() => this._ask()}>Show the newest</button></p>` : nothing}
      <table class="list" role="table" aria-label="Calls">
        <thead role="rowgroup"><tr role="row">
          ${["Started", "From", "To", "Platform", "Duration", "Said", "Outcome"].map((each) => html`
            <th role="columnheader" scope="col">${each}</th>`)}
        </tr></thead>
        <tbody role="rowgroup">${repeat(this._calls, (call) => call.id, (call) => this._row(call))}</tbody>
      </table>
      ${this._next ? html`
        <p><button type="button" ?disabled=${this._isLoading} @click=${() => this._list(this._next)}>More calls</button></p>`
        : nothing}`;
  }

  _row(call) {
    return html`
      <tr role="row">
        <td role="cell"><a class="entry" href=${`/calls/${encodeURIComponent(call.id)}`} @click=${this._follow}
          >${when(call.started_at)}</a></td>
        <td role="cell" data-name="From">${call.from ?? html`<span class="quiet">unknown</span>`}</td>
        <td role="cell" data-name="To">${call.to ?? html`<span class="quiet">unknown</span>`}</td>
        <td role="cell" data-name="Platform">${call.platform}</td>
        <td role="cell" data-name="Duration">${call.duration_s === null ? "–" : clock(call.duration_s)}</td>
        <td role="cell" data-name="Said">${call.finals}${call.has_recording ? html` <span class="quiet">recorded</span>` : nothing}</td>
        <td role="cell" data-name="Outcome">${outcome(call)}${call.complete === false
          ? html`, <span class="bad">incomplete</span>` : nothing}</td>
      </tr>`;
  }

  _foundList() {
    return html`
      <ol class="hits" aria-label="Places where it was said">
        ${this._hits.map((hit) => html`
          <li class="card">
            <a class="entry" @click=${this._follow}
              href=${`/calls/${encodeURIComponent(hit.call.id)}?${new URLSearchParams({ t: hit.start_s })}`}
              ><span class=${`speaker ${hit.track}`}>${hit.speaker ?? SIDES[hit.track]}</span>
              <span dir="auto">${marked(hit.text, this._searched)}</span></a>
            <span class="quiet">${clock(hit.start_s)} into the call of ${when(hit.call.started_at)},
              ${hit.call.from ?? "unknown"} → ${hit.call.to ?? "unknown"}</span>
          </li>`)}
      </ol>`;
  }
}

/** The text with the words that were searched for marked; as in the search, the last one may go on. */
export function marked(text, searched) {
  const typed = searched.match(ALL_WORDS) ?? [];
  const rows = typed.filter((word) => IS_UNSPACED.test(word));
  const row = rows.length ? new RegExp(`(${rows.join("|")})`, "u") : /$^/;
  const wanted = typed.map(folded);
  const begun = WORD_AT_END.test(searched) ? wanted.at(-1) : null;
  const isWanted = (word) => wanted.includes(word) || (begun !== null && word.startsWith(begun));
  const mark = (piece) => html`<mark>${piece}</mark>`;
  const second = (pieces, change) => pieces.map((piece, number) => (number % 2 ? change(piece) : piece));
  return second(text.split(WORDS), (word) => {
    if (IS_UNSPACED.test(word)) return second(word.split(row), mark);
    return isWanted(folded(word)) ? mark(word) : word;
  });
}

// The search knows neither capitals nor accents.
function folded(word) {
  return word.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
}
