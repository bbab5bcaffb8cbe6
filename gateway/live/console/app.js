// The shell of the console: which page belongs to an address, and the frame around it.
//
// A page is a module of `pages/` with `open(context)`, which returns {title, view, close}: `view()` gives the template of
// what is to be seen now, `title` what the tab is called, `close()` ends what the page has begun. The context: `redraw()`
// shows the page anew, soon; `follow` is for clicks on links between pages; `parameters` are those of the address; `query`
// its search parameters.

import { feedState, watchFeeds } from "./feed.js";
import { api, html, nothing, reasonOf, render } from "./lib.js";

const PAGES = [
  [/^\/$/, "live"],
  [/^\/calls$/, "history"],
  [/^\/calls\/(?<call_id>[^/]+)$/, "call"],
  [/^\/outbox$/, "outbox"],
  [/^\/settings$/, "settings"],
  [/^\/phone$/, "phone"],
];
const PLACES = [["/", "Live"], ["/calls", "Calls"], ["/outbox", "Outbox"], ["/settings", "Settings"], ["/phone", "Phone"]];

let current = null;
let isDrawing = false;
let shows = 0;
let kind = null; // what the session allows: "full" or, only to look, "read"

function draw() {
  isDrawing = false;
  const place = "/" + location.pathname.split("/")[1];
  const state = feedState();
  const isLost = state?.is === "reconnecting";
  render(html`
    <a class="skip" href="#main" @click=${skip}>Skip to the content</a>
    <header class="bar">
      <span class="brand"><img src="/assets/icon.svg" alt="" width="20" height="20">Gateway</span>
      <nav aria-label="Pages">
        ${PLACES.filter(([, name]) => kind !== "read" || name !== "Phone").map(([path, name]) => html`
          <a href=${path} aria-current=${path === place ? "page" : nothing} @click=${follow}>${name}</a>`)}
      </nav>
      <div class="session">
        ${feed(state)}
        ${kind === "read" ? html`<span class="quiet">Read only</span>` : nothing}
        <form method="post" action="/logout"><button>Log out</button></form>
      </div>
    </header>
    ${isLost ? html`<p class="lost">The gateway is not reached. What is below may be old; it goes on by itself.</p>` : nothing}
    <main id="main" tabindex="-1" class=${isLost ? "stale" : nothing}>
      ${current ? current.view() : html`<p class="quiet loading">Loading …</p>`}</main>`,
  document.getElementById("app"));
  if (current) document.title = `${current.title} – Gateway`;
}

function feed(state) {
  const text = { live: "Feed live", connecting: "Connecting …", reconnecting: `Reconnecting since ${time(state?.since)}` };
  return html`<p class="feed ${state?.is ?? ""}" role="status">${state ? text[state.is] : nothing}</p>`;
}

function time(date) {
  return date?.toLocaleTimeString() ?? "";
}

function redraw() {
  if (!isDrawing) {
    isDrawing = true;
    requestAnimationFrame(draw);
  }
}

// The address stays: another one, if only by its last part, would open the page anew.
function skip(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

function follow(event) {
  if (event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  history.pushState(null, "", event.currentTarget.getAttribute("href"));
  show().then(() => document.getElementById("main")?.focus());
}

async function show() {
  const mine = ++shows;
  current?.close?.();
  current = null;
  redraw();
  const [pattern, name] = PAGES.find(([each]) => each.test(location.pathname)) ?? PAGES[0];
  const parameters = location.pathname.match(pattern)?.groups ?? {};
  let page;
  try {
    const module = await import(`./pages/${name}.js`);
    page = await module.open({ redraw, follow, parameters, query: new URLSearchParams(location.search) });
  } catch (error) {
    console.error(error);
    page = { title: "Not shown", view: () => fault(error) };
  }
  if (mine !== shows) return page.close?.(); // somebody has gone elsewhere meanwhile
  current = page;
  redraw();
}

function fault(error) {
  return html`
    <h1>This page cannot be shown</h1>
    <p class="bad" role="alert">${reasonOf(error)}</p>
    <p><button type="button" @click=${again}>Try again</button></p>`;
}

// From the beginning, for browsers remember that a module could not be had; but not while there is nothing to be had.
function again() {
  api("/session").then(() => location.reload(), show);
}

watchFeeds(redraw);
addEventListener("popstate", show);
addEventListener("pageshow", ({ persisted }) => { if (persisted) location.reload(); }); // "back" after the log-out
api("/session").then((session) => { kind = session.kind; redraw(); }, () => null); // who is not logged in goes there
show();
