// What the pages share: templates, requests, times.

export { html, noChange, nothing, render, svg } from "./vendor/lit-html/lit-html.js";
export { repeat } from "./vendor/lit-html/directives/repeat.js";

const WHEN = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** Who is heard on a track. */
export const SIDES = { inbound: "caller", outbound: "agent" };

/** An answer that is not one: its status, and what it says. */
export class Refused extends Error {
  constructor(status, text) {
    super(messageOf(text) || `the gateway answered ${status}`);
    this.status = status;
  }
}

function messageOf(text) {
  try {
    return JSON.parse(text).message ?? text;
  } catch {
    return text.slice(0, 300); // what stands before the gateway answers as it likes
  }
}

/** Ask `/api`; the answer's JSON. Whoever is not logged in any more is sent to the log-in. */
export async function api(path, { method = "GET", body } = {}) {
  const answer = await fetch(`/api${path}`, {
    method,
    headers: { Accept: "application/json", ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  heedClock(Date.parse(answer.headers.get("Date")));
  if (answer.status === 401) location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
  if (!answer.ok) throw new Refused(answer.status, await answer.text());
  return answer.status === 204 ? null : answer.json();
}

/** What the gateway's clock shows, in ms: a browser's may be minutes off. */
export function gatewayNow() {
  return Date.now() + ahead_ms;
}

let ahead_ms = 0;

// It comes in whole seconds: less than one of difference is none.
function heedClock(said_ms) {
  const late_ms = said_ms + 500 - gatewayNow();
  if (Math.abs(late_ms) > 1000) ahead_ms += late_ms;
}

/** Seconds as 1:02:03 or 2:03. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds ?? 0));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return (h ? `${h}:${String(m).padStart(2, "0")}` : `${m}`) + `:${String(s).padStart(2, "0")}`;
}

/** An ISO time as people write it here. */
export function when(text) {
  return text ? WHEN.format(new Date(text)) : "";
}

/** A name of ours as words. */
export function plain(name) {
  return name.replaceAll("_", " ");
}

/** Why there is no answer, as the gateway says it, or that it cannot be reached. */
export function reasonOf(error) {
  return error instanceof Refused ? `The gateway says: ${error.message}` : "The gateway cannot be reached.";
}
