// The phone: a call from this page, with the microphone or a recording as what is said.
//
// The call is the page's only in looks: it goes on while other pages of the console are looked at.

import "../call_captions.js";
import { SIDES, clock, html, nothing } from "../lib.js";
import { PhoneCall } from "../phone_call.js";
import { Microphone, Recording } from "../sound.js";
import { QUIETEST_DB } from "../telephone.js";

const KEYS = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "*", "0", "#"];
const KEY_NAMES = { "*": "star", "#": "hash" };
const STATES = {
  preparing: "Getting ready …",
  dialling: "Calling …",
  talking: "Talking",
  ending: "Hung up; the last words are being transcribed …",
  over: "The call is over.",
};
const CLEANING = { echoCancellation: "Cancel echo", noiseSuppression: "Suppress noise", autoGainControl: "Even out loudness" };
const SPEEDS = [[1, "real time"], [2, "twice as fast"], [5, "five times as fast"], [20, "twenty times as fast"]];

const choices = { echoCancellation: true, noiseSuppression: true, autoGainControl: true, deviceId: "" };
let speed = 1;
let fileName = null;
let microphones = [];
let call = null;
let isDropping = false;
let redraw = () => {};

addEventListener("pagehide", () => call?.leave());

export async function open(context) {
  redraw = context.redraw;
  await findMicrophones();
  return { title: "Phone", view: () => view(context), close: () => (redraw = () => {}) };
}

/** Their names are told only to pages that have had the microphone before. */
async function findMicrophones() {
  const devices = (await navigator.mediaDevices?.enumerateDevices().catch(() => [])) ?? [];
  microphones = devices.filter(({ kind, label, deviceId }) => kind === "audioinput" && label && deviceId);
}

function place(openSound) {
  call = new PhoneCall(openSound, { speed, changed: () => redraw() });
  redraw();
}

function callWithMicrophone() {
  fileName = null;
  const { deviceId, ...cleaning } = choices;
  const wanted = { ...cleaning, ...(deviceId ? { deviceId: { exact: deviceId } } : {}) };
  place(async (lost) => {
    const microphone = await Microphone.open(wanted, lost);
    findMicrophones().then(() => redraw());
    return microphone;
  });
}

function callWithFile(file) {
  if (!file || isBusy()) return;
  fileName = file.name;
  place(() => Recording.open(file));
}

function isBusy() {
  return call !== null && !call.isOver;
}

function view(context) {
  return html`
    <div class="phone ${isDropping ? "dropping" : ""}" @dragover=${allowDrop} @dragleave=${dropOver} @drop=${dropped}>
      <h1>Phone</h1>
      <p class="quiet">Speak to the gateway as a phone call would: 8 kHz mu-law in Twilio's dialect.</p>
      <div class="ways">
        <section class="card" aria-labelledby="speak">
          <h2 id="speak">Speak</h2>
          ${microphoneChoices()}
          <button class="place first" ?disabled=${isBusy()} @click=${callWithMicrophone}>Call</button>
        </section>
        <section class="card drop" aria-labelledby="play">
          <h2 id="play">Play a recording</h2>
          <p>Drop a sound file here, or choose one. The left channel is the caller, the right one the agent.</p>
          <p><label for="speed">Speed</label>
            <select id="speed" ?disabled=${isBusy()} @change=${(event) => (speed = Number(event.target.value))}>
              ${SPEEDS.map(([times, name]) => html`<option value=${times} ?selected=${times === speed}>${name}</option>`)}
            </select></p>
          <p><label for="file">File</label>
            <input id="file" type="file" accept="audio/*,video/*" ?disabled=${isBusy()} @change=${chosen}></p>
        </section>
      </div>
      ${call ? callView(context) : nothing}
    </div>`;
}

function microphoneChoices() {
  return html`
    <fieldset ?disabled=${isBusy()}>
      <legend>Microphone</legend>
      ${microphones.length > 1 ? html`
        <label for="device">Which one</label>
        <select id="device" @change=${(event) => (choices.deviceId = event.target.value)}>
          <option value="">the usual one</option>
          ${microphones.map(({ deviceId, label }) => html`
            <option value=${deviceId} ?selected=${deviceId === choices.deviceId}>${label}</option>`)}
        </select>` : nothing}
      ${Object.entries(CLEANING).map(([name, text]) => html`
        <label><input type="checkbox" .checked=${choices[name]}
          @change=${(event) => (choices[name] = event.target.checked)}> ${text}</label>`)}
    </fieldset>`;
}

function callView({ follow }) {
  const isTalking = call.state === "talking";
  return html`
    <section class="card line" aria-labelledby="line">
      <h2 id="line">${fileName ?? "Your call"}</h2>
      <p class="row">
        <span class="state ${call.state}" role="status">${call.failure ? nothing : STATES[call.state]}</span>
        <span class="duration">${clock(call.sent_ms / 1000)}${total()}</span>
        <button class="hang-up risky" ?disabled=${!isBusy() || call.state === "ending"} @click=${() => call.hangUp()}>Hang up</button>
        ${call.callId ? html`<a href="/calls/${call.callId}" @click=${follow}>This call's page</a>` : nothing}
      </p>
      ${call.failure ? html`<p class="bad" role="alert">${call.failure}</p>` : nothing}
      ${(call.source?.tracks ?? []).map((track) => html`
        <label class="level"><span>${SIDES[track]}</span>
          <meter class=${track} min=${QUIETEST_DB} max="0" .value=${call.levels.get(track) ?? QUIETEST_DB}></meter></label>`)}
      <div class="said-and-keys">
        <call-captions .captions=${call.captions} label="Captions"></call-captions>
        <div class="keypad" role="group" aria-label="Keypad">
          ${KEYS.map((key) => html`
            <button ?disabled=${!isTalking} aria-label=${KEY_NAMES[key] ?? key} @click=${() => call.press(key)}>${key}</button>`)}
        </div>
      </div>
    </section>`;
}

function total() {
  return call.source?.duration_s ? ` of ${clock(call.source.duration_s)}` : "";
}

function chosen(event) {
  const [file] = event.target.files;
  event.target.value = ""; // so that the same one can be chosen again
  callWithFile(file);
}

function allowDrop(event) {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  showDrop(true);
}

function dropOver(event) {
  if (!event.currentTarget.contains(event.relatedTarget)) showDrop(false);
}

function showDrop(isNow) {
  if (isDropping === isNow) return;
  isDropping = isNow;
  redraw();
}

function dropped(event) {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  showDrop(false);
  callWithFile(event.dataTransfer.files[0]);
}
