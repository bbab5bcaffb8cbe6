// The words of a transcript that are heard at a time: marked, and kept in sight unless the reader looks elsewhere.
//
// The transcript is a <call-captions>: its words are `.word` with data-start, data-end and data-track, in its `.log`.

const NEAR_PX = 2;
const MARGIN = 0.25; // of the height; a word further out is brought to the middle

export class Heard {
  /** `changed()` is called when `isFollowing` is another one. */
  constructor(captions, changed) {
    this._captions = captions;
    this._changed = changed;
    this._log = captions.querySelector(".log");
    this._tracks = null; // made when it is wanted, forgotten when lines come
    this._marked = new Set();
    this._at_s = null;
    this._top = this._log.scrollTop; // where we have left it
    this._ends = new AbortController();
    this.isFollowing = true;
    this._lines = new MutationObserver(() => {
      this._tracks = null;
      if (this._at_s !== null) this.show(this._at_s);
    });
    this._lines.observe(captions, { childList: true, subtree: true });
    this._log.addEventListener("scroll", () => this._scrolled(), { passive: true, signal: this._ends.signal });
  }

  get captions() {
    return this._captions;
  }

  close() {
    this._lines.disconnect();
    this._ends.abort();
  }

  /** Mark what is heard at this time, and bring it in sight. */
  show(at_s) {
    this._at_s = at_s;
    this._tracks ??= wordsOf(this._captions);
    const heard = [...this._tracks.values()].map((words) => words[lastBegun(words, at_s)]).filter(Boolean);
    const now = new Set(heard.filter((word) => at_s < word.end_s).map((word) => word.span));
    for (const span of this._marked) if (!now.has(span)) span.classList.remove("heard");
    for (const span of now) span.classList.add("heard");
    const isNew = [...now].some((span) => !this._marked.has(span));
    this._marked = now;
    if (isNew && this.isFollowing) this._reveal(now);
  }

  /** Bring what was begun last in sight, and whatever comes after it. */
  follow() {
    if (!this.isFollowing) {
      this.isFollowing = true;
      this._changed();
    }
    if (this._at_s === null) return;
    this._tracks ??= wordsOf(this._captions);
    const begun = [...this._tracks.values()].map((words) => words[lastBegun(words, this._at_s)]).filter(Boolean);
    const last = begun.sort((a, b) => b.start_s - a.start_s)[0];
    if (last) this._reveal([last.span]);
  }

  // Only the log is scrolled, never the page, so that the reader keeps the rest where it is.
  _reveal(spans) {
    const box = this._log.getBoundingClientRect();
    const word = [...spans].at(-1).getBoundingClientRect();
    const margin = MARGIN * box.height;
    if (word.top < box.top + margin || word.bottom > box.bottom - margin) {
      this._log.scrollTop += (word.top + word.bottom - box.top - box.bottom) / 2;
    }
    this._top = this._log.scrollTop;
  }

  _scrolled() {
    if (!this.isFollowing || Math.abs(this._log.scrollTop - this._top) <= NEAR_PX) return;
    this.isFollowing = false;
    this._changed();
  }
}

/** Number of the last word that has begun at this time, -1 before the first; by halving, for it is asked often. */
export function lastBegun(words, at_s) {
  let [low, high] = [0, words.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (words[middle].start_s <= at_s) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

// {track: [{span, start_s, end_s}, …]} in the order of time.
function wordsOf(captions) {
  const tracks = new Map();
  for (const span of captions.querySelectorAll(".word")) {
    const { track, start, end } = span.dataset;
    if (!tracks.has(track)) tracks.set(track, []);
    tracks.get(track).push({ span, start_s: Number(start), end_s: Number(end) });
  }
  for (const words of tracks.values()) words.sort((a, b) => a.start_s - b.start_s);
  return tracks;
}
