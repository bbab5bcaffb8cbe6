// Where in a call the reader is: the playback of its recording, or a mere position when there is none.

export const STEP_S = 5;
export const SPEEDS = [0.5, 0.75, 1, 1.25, 1.5, 2];

export class Player {
  /**
   * `moved(at_s)` is called whenever the position is another one, about 60 times a second while it plays; `sought()`
   * after the reader chose one; `changed()` when it begins or ceases to play, or cannot.
   */
  constructor({ moved, sought, changed }) {
    this._moved = moved;
    this._sought = sought;
    this._changed = changed;
    this._at_s = 0;
    this._frame = 0;
    this._ends = new AbortController();
    this.duration_s = 0;
    this.audio = null;
    this.fault = "";
  }

  /** Play this address from now on; the position stays. */
  load(address) {
    const audio = document.createElement("audio");
    const on = (name, heard) => audio.addEventListener(name, heard, { signal: this._ends.signal });
    audio.preload = "metadata";
    audio.src = address;
    for (const name of ["timeupdate", "seeked"]) on(name, () => this._tell());
    on("play", () => this._run());
    for (const name of ["play", "pause", "ended"]) on(name, () => this._changed());
    on("error", () => {
      this.fault = "The recording cannot be played.";
      this._changed();
    });
    if (this._at_s) audio.currentTime = this._at_s;
    this.audio = audio;
  }

  get at_s() {
    return this.audio ? this.audio.currentTime : Math.min(this._at_s, this.duration_s || this._at_s);
  }

  get isPlaying() {
    return Boolean(this.audio && !this.audio.paused && !this.audio.ended);
  }

  get speed() {
    return this.audio?.playbackRate ?? 1;
  }

  set speed(times) {
    if (this.audio) this.audio.playbackRate = this.audio.defaultPlaybackRate = times;
  }

  /** Go to this time of the call. */
  seek(at_s) {
    this._at_s = Math.min(Math.max(0, at_s), this.duration_s || at_s);
    if (this.audio) this.audio.currentTime = this._at_s;
    this._moved(this._at_s);
    this._sought();
  }

  toggle() {
    if (!this.audio) return;
    if (this.isPlaying) this.audio.pause();
    else {
      // It is refused when it is paused again before it began, or cannot be played: `pause` and `error` tell of those.
      this.audio.play().catch(() => this._changed());
    }
  }

  close() {
    this._ends.abort();
    cancelAnimationFrame(this._frame);
    this.audio?.pause();
    this.audio?.removeAttribute("src");
    this.audio?.load(); // lets go of the connection
  }

  _tell() {
    this._at_s = this.audio.currentTime;
    this._moved(this._at_s);
  }

  _run() {
    cancelAnimationFrame(this._frame);
    this._frame = requestAnimationFrame(() => {
      if (!this.isPlaying) return;
      this._tell();
      this._run();
    });
  }
}
