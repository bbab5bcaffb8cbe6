// The shell of the console: which page belongs to an address, and the frame around it.
//
// A page is a module of `pages/` with `open(context)`, which returns {title, view, close}: `view()` gives the template of
// what is to be seen now, `close()` ends what the page has begun. The context: `redraw()` shows the page anew, soon;
// `go(path)` goes elsewhere; `parameters` are those of the address; `query` its search parameters.

import { feedState, watchFeeds } from "./feed.js";
import { api, html, nothing, render } from "./lib.js";

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
  render(html`
    <a class="skip" href="#main">Skip to the content</a>
    <header class="bar">
      <nav aria-label="Pages">
        ${PLACES.filter(([, name]) => kind !== "read" || name !== "Phone").map(([path, name]) => html`
          <a href=${path} aria-current=${path === place ? "page" : nothing} @click=${follow}>${name}</a>`)}
      </nav>
      <div class="session">
        ${feed()}
        ${kind === "read" ? html`<span class="quiet">Read only</span>` : nothing}
        <form method="post" action="/logout"><button>Log out</button></form>
      </div>
    </header>
    <main id="main" tabindex="-1">${current ? current.view() : html`<p class="quiet">Loading …</p>`}</main>`,
  document.getElementById("app"));
}

function feed() {
  const state = feedState();
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

function follow(event) {
  if (event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go(event.currentTarget.getAttribute("href"));
}

export function go(path) {
  history.pushState(null, "", path);
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
    page = await module.open({ redraw, go, follow, parameters, query: new URLSearchParams(location.search) });
  } catch (error) {
    page = { title: "Not shown", view: () => html`<h1>This page cannot be shown</h1><p role="alert">${error.message}</p>` };
  }
  if (mine !== shows) return page.close?.(); // somebody has gone elsewhere meanwhile
  current = page;
  document.title = `${current.title} – Gateway`;
  redraw();
}

watchFeeds(redraw);
addEventListener("popstate", show);
addEventListener("pageshow", ({ persisted }) => { if (persisted) location.reload(); }); // "back" after the log-out
api("/session").then((session) => { kind = session.kind; redraw(); }, () => null); // who is not logged in goes there
show();
