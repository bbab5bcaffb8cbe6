// The outbox: what the receivers of webhooks still have to get, what was given up, and trying again.

import { api, gatewayNow, html, nothing, plain, reasonOf, repeat, when } from "../lib.js";

const REFRESH_MS = 2000;
const LIMIT = 100;
const STATES = { pending: "Waiting", dead: "Given up", dropped: "Dropped" };
const SHORT = { pending: "waiting", dead: "given up", dropped: "dropped" };
const COLUMNS = ["Event", "State", "Attempts", "Last attempt", "Receiver"];
const WAITS_FOR = {
  "enabled endpoint": "for its receiver to be enabled",
  "configured endpoint": "for its receiver to be configured",
  "earlier event": "for an earlier event",
};
const OUTCOMES = {
  unreachable: "not reached",
  timed_out: "no answer in time",
  throttled: "asked for a pause",
  unavailable: "could not take it",
  blocked_address: "its address is a private one",
  misconfigured: "not accepted there",
  rejected: "refused",
  gone: "wants no more events",
};

export async function open({ redraw, follow }) {
  const outbox = new OutboxPage(redraw, follow);
  await outbox.begin();
  return outbox;
}

class OutboxPage {
  title = "Outbox";
  #redraw;
  #follow;
  #mayChange = false;
  #isLoaded = false;
  #shown = new Set(Object.keys(STATES));
  #endpoints = [];
  #deliveries = [];
  #failure = null;
  #told = "";
  #isBusy = false;
  #isClosed = false;
  #timer = null;
  #asked = 0;

  constructor(redraw, follow) {
    this.#redraw = redraw;
    this.#follow = follow;
  }

  async begin() {
    const session = await api("/session").catch(() => null);
    this.#mayChange = session?.kind === "full";
    document.addEventListener("visibilitychange", this.#seen);
    await this.#refresh();
  }

  close() {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    document.removeEventListener("visibilitychange", this.#seen);
  }

  #seen = () => {
    if (!document.hidden) this.#refresh();
  };

  /** Ask anew, and again after a while; of two answers the one that was asked for last counts. */
  async #refresh() {
    clearTimeout(this.#timer);
    const asked = (this.#asked += 1);
    try {
      const answer = await api(`/outbox?state=${[...this.#shown].join(",")}&limit=${LIMIT}`);
      if (asked !== this.#asked) return;
      this.#endpoints = answer.endpoints;
      this.#deliveries = this.#shown.size ? answer.deliveries : []; // no state is asked for as all of them
      this.#isLoaded = true;
      this.#failure = null;
    } catch (error) {
      if (asked !== this.#asked) return;
      this.#failure = reasonOf(error);
    }
    if (this.#isClosed) return;
    if (!document.hidden) this.#timer = setTimeout(() => this.#refresh(), REFRESH_MS);
    this.#redraw();
  }

  async #change(path, body, told) {
    this.#isBusy = true;
    this.#redraw();
    try {
      const { changed } = await api(`/outbox/${path}`, { method: "POST", body });
      this.#told = told(changed);
    } catch (error) {
      this.#told = `That did not work. ${reasonOf(error)}`;
    }
    this.#isBusy = false;
    await this.#refresh();
  }

  #retry({ event, endpoint, type }) {
    this.#change("retry", { event, endpoint }, ([{ done }]) => (done ? `${type} is sent again.` : "It has arrived already."));
  }

  #drop({ event, endpoint, type, receiver }) {
    if (!confirm(`${receiver} will never get this event. Drop it?`)) return;
    this.#change("drop", { event, endpoint }, ([{ done }]) => (done ? `${type} was dropped.` : "It has arrived already."));
  }

  #retryDead(endpoint, name) {
    const told = (count) => `${count} ${count === 1 ? "delivery is" : "deliveries are"} sent again to ${name}.`;
    this.#change("retry-dead", { endpoint }, told);
  }

  #enable({ endpoint, receiver }) {
    const told = (wasOff) => (wasOff ? `${receiver} is enabled; what waits goes out now.` : `${receiver} was enabled already.`);
    this.#change("enable", { endpoint }, told);
  }

  #show(state, isShown) {
    if (isShown) this.#shown.add(state);
    else this.#shown.delete(state);
    this.#refresh();
  }

  view() {
    const dead = this.#endpoints.reduce((sum, each) => sum + each.dead, 0);
    return html`
      <div class="outbox">
        <div class="row head">
          <h1>Outbox</h1>
          <p class="told" role="status">${this.#told}</p>
          ${this.#mayChange && dead ? html`
            <button ?disabled=${this.#isBusy} @click=${() => this.#retryDead(null, "all receivers")}>
              Retry all ${dead} given up</button>` : nothing}
        </div>
        ${this.#failure ? html`<p class="bad" role="alert">${this.#failure}${
          this.#isLoaded ? " What is below is from before." : nothing}</p>` : nothing}
        ${this.#isLoaded ? [this.#receivers(), this.#list()] : nothing}
      </div>`;
  }

  #receivers() {
    return html`
        <h2>Receivers</h2>
        ${this.#endpoints.length
          ? html`<ul class="receivers">${repeat(this.#endpoints, (each) => each.endpoint, (each) => this.#receiver(each))}</ul>`
          : html`<p class="quiet">No receiver of webhooks is configured.</p>`}`;
  }

  #list() {
    const none = this.#shown.size === Object.keys(STATES).length ? "Nothing is left to deliver." : "None of these.";
    return html`
        <h2>Deliveries</h2>
        <fieldset class="row">
          <legend>Show</legend>
          ${Object.entries(STATES).map(([state, name]) => html`
            <label><input type="checkbox" .checked=${this.#shown.has(state)}
              @change=${(event) => this.#show(state, event.target.checked)}> ${name}</label>`)}
        </fieldset>
        ${this.#deliveries.length ? this.#table() : html`<p class="quiet">${none}</p>`}
        ${this.#deliveries.length === LIMIT ? html`<p class="quiet">Only the oldest ${LIMIT} are shown.</p>` : nothing}`;
  }

  #receiver({ endpoint, receiver, state, enabled, reason, since, oldest, ...counts }) {
    return html`
      <li class="card">
        <p class="name"><strong>${receiver}</strong>
          <span class=${state === "enabled" ? "good" : "warning"}>${state}${reason ? `: ${OUTCOMES[reason] ?? reason}` : ""}</span>
          ${since ? html`<span class="quiet">since ${when(since)}</span>` : nothing}
          ${this.#mayChange && !enabled ? html`
            <button ?disabled=${this.#isBusy} aria-label="Enable ${receiver}"
              @click=${() => this.#enable({ endpoint, receiver })}>Enable</button>` : nothing}</p>
        <p class="row counts">
          ${Object.entries(SHORT).map(([name, text]) => html`
            <span class=${name === "dead" && counts.dead ? "bad" : "quiet"} data-count=${name}>${counts[name]} ${text}</span>`)}
          ${oldest ? html`<span class="quiet">the oldest waits since ${when(oldest)}</span>` : nothing}
          ${this.#mayChange && counts.dead ? html`
            <button ?disabled=${this.#isBusy} aria-label="Retry all given up at ${receiver}"
              @click=${() => this.#retryDead(endpoint, receiver)}>Retry given up</button>` : nothing}
        </p>
      </li>`;
  }

  #table() {
    return html`
      <table role="table" aria-label="Deliveries">
        <thead role="rowgroup"><tr role="row">
          ${[...COLUMNS, ...(this.#mayChange ? ["Actions"] : [])].map((name) => html`
            <th role="columnheader" scope="col">${name}</th>`)}
        </tr></thead>
        <tbody role="rowgroup">${repeat(this.#deliveries, (each) => `${each.event} ${each.endpoint}`, (each) => this.#row(each))}</tbody>
      </table>`;
  }

  // The roles are said once more, for phones: what is not laid out as a table is none to some browsers.
  #row(each) {
    const { event, type, call, sequence, created_at, state, attempts, last_attempt_at, receiver } = each;
    return html`
      <tr role="row" data-event=${event}>
        <th role="rowheader" scope="row"><span class="type">${type}</span>
          <span class="quiet">no. ${sequence} of <a href="/calls/${call}" @click=${this.#follow}>its call</a>
            <span class="at">${when(created_at)}</span></span></th>
        <td role="cell" data-label="State"><span class="state ${state}">${STATES[state]}</span> <span class="quiet at">${due(each)}</span></td>
        <td role="cell" data-label="Attempts">${attempts}</td>
        <td role="cell" data-label="Last attempt">${outcome(each)} <span class="quiet at">${when(last_attempt_at)}</span></td>
        <td role="cell" data-label="Receiver">${receiver}</td>
        ${this.#mayChange ? html`<td role="cell" class="actions">${this.#buttons(each)}</td>` : nothing}
      </tr>`;
  }

  #buttons(each) {
    const name = `${each.type} no. ${each.sequence}`;
    return html`
      <button ?disabled=${this.#isBusy} aria-label="Retry ${name}" @click=${() => this.#retry(each)}>Retry</button>
      ${each.state === "dropped" ? nothing : html`
        <button class="risky" ?disabled=${this.#isBusy} aria-label="Drop ${name}" @click=${() => this.#drop(each)}>Drop</button>`}`;
  }
}

function due({ state, waits_for, due_at }) {
  if (state !== "pending") return "";
  if (waits_for) return WAITS_FOR[waits_for] ?? `for: ${waits_for}`;
  return new Date(due_at) <= gatewayNow() ? "due now" : `next attempt ${when(due_at)}`;
}

function outcome({ last_outcome, last_status }) {
  if (!last_outcome) return "none yet";
  return `${OUTCOMES[last_outcome] ?? plain(last_outcome)}${last_status ? ` (${last_status})` : ""}`;
}
