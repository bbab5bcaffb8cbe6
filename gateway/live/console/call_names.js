// What a call is called, and how it ended, in a few words.

import { html, nothing, plain } from "./lib.js";

/** Who speaks with whom, or what else tells this call from others. */
export function parties({ from, to, metadata, platform_call_id, id }) {
  if (from || to) return `${from ?? "unknown"} → ${to ?? "unknown"}`;
  return metadata?.name ?? brief({ platform_call_id, id });
}

/** What the platform calls it, as far as people compare such things. */
export function brief({ platform_call_id, id }) {
  const name = platform_call_id ?? id;
  return name.length > 18 ? `${name.slice(0, 8)}…${name.slice(-6)}` : name;
}

/** How it ended, or that it has not. */
export function outcome(call) {
  if (!call.ended_at) return html`<span class="good">live</span>`;
  return html`<span class=${call.outcome === "completed" ? nothing : "warning"}>${plain(call.outcome ?? "unknown")}</span>`;
}
