// The effective settings: what each is, where it comes from, and what it means. Secrets never come here.

import { api, html, nothing, repeat } from "../lib.js";

const HIDDEN = "**********"; // as the gateway masks what is secret

export async function open({ redraw, query }) {
  const { settings } = await api("/settings/rows");
  const rows = settings.map((setting) => ({ ...setting, words: words(setting) }));
  let wanted = query.get("q") ?? "";
  let isGivenOnly = query.has("given");

  function keep() {
    const parameters = new URLSearchParams();
    if (wanted) parameters.set("q", wanted);
    if (isGivenOnly) parameters.set("given", "");
    history.replaceState(history.state, "", `${location.pathname}${parameters.size ? `?${parameters}` : ""}`);
    redraw();
  }
  function search(event) {
    wanted = event.target.value;
    keep();
  }
  function choose(event) {
    isGivenOnly = event.target.checked;
    keep();
  }

  function view() {
    const parts = wanted.toLowerCase().split(/\s+/).filter(Boolean);
    const found = rows.filter(
      (row) => (!isGivenOnly || row.origin !== "default") && parts.every((part) => row.words.includes(part)));
    return html`<section class="settings">
      <h1>Settings</h1>
      <p class="quiet">As they are in effect. They are read when the gateway starts; secrets are hidden.</p>
      <form class="row" role="search" @submit=${(event) => event.preventDefault()}>
        <input type="search" aria-label="Search the settings" placeholder="Search" aria-controls="settings"
          .value=${wanted} @input=${search}>
        <label><input type="checkbox" .checked=${isGivenOnly} @change=${choose}> Only what was given</label>
        <p class="quiet found" role="status">${found.length} of ${rows.length} settings</p>
      </form>
      <table id="settings" role="table" aria-label="Settings">
        <thead role="rowgroup"><tr role="row">${["Name", "Value", "From", "Meaning"].map((name) => html`
          <th role="columnheader" scope="col">${name}</th>`)}</tr></thead>
        <tbody role="rowgroup">${repeat(found, ({ name }) => name, row)}</tbody>
      </table>
      ${found.length ? nothing : html`<p>No setting is like this.</p>`}
    </section>`;
  }

  return { title: "Settings", view };
}

// The roles are said once more, for phones: what is not laid out as a table is none to some browsers.
function row(setting) {
  return html`<tr role="row" class=${setting.origin === "default" ? "" : "given"}>
    <th role="rowheader" scope="row"><code>${broken(setting.name)}</code>
      ${setting.environment ? html`<small class="quiet">${broken(setting.environment)}</small>` : nothing}</th>
    <td role="cell" data-label="Value">${value(setting.value)}${setting.origin === "default" ? nothing : html`
      <small class="quiet">default: ${value(setting.default)}</small>`}</td>
    <td role="cell" data-label="From">${setting.origin}</td>
    <td role="cell" data-label="Meaning">${meaning(setting.description)}</td>
  </tr>`;
}

function value(given) {
  if (given === null || given === "") return html`<span class="quiet">none</span>`;
  if (given === HIDDEN) return html`<span class="quiet">hidden</span>`;
  if (Array.isArray(given)) return html`<code>[${given.map((each) => JSON.stringify(each)).join(", ")}]</code>`;
  return html`<code>${typeof given === "string" ? given : JSON.stringify(given)}</code>`;
}

// A description has `names` in it, as the README has.
function meaning(text) {
  return text.split("`").map((part, number) => (number % 2 ? html`<code>${part}</code>` : part));
}

// Long names may go on in the next line after a dot or underscores, and stay whole when they are copied.
function broken(name) {
  return name.split(/(?<=\.|__)/).map((part, number) => (number ? html`<wbr>${part}` : part));
}

function words({ name, environment, value: given, origin, description }) {
  return [name, environment, JSON.stringify(given), origin, description].join(" ").toLowerCase();
}
