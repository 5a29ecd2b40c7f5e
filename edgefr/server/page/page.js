// The page as a whole: signing in, the part that a phone shows, and the connection to the server.
import { connection, poll, request, showMessage } from "./server.js";
import { startLive } from "./live.js";
import { startEvents } from "./events.js";
import { startFaces } from "./enrol.js";
import { loadPeople, startPeople } from "./people.js";
import { startCompare } from "./compare.js";
import { startAccount } from "./account.js";

const main = document.querySelector("main");
const login = document.getElementById("login");
const views = document.getElementById("views");
const offline = document.getElementById("offline");
const NARROW = matchMedia("(max-width: 60rem)"); // as in page.css

const account = document.getElementById("open-account");

function setSignedIn(isSignedIn) {
  const wasSignedIn = !main.hidden;
  main.hidden = views.hidden = account.hidden = !isSignedIn;
  login.hidden = isSignedIn;
  if (!isSignedIn && wasSignedIn) document.getElementById("token").focus();
}

/** A viewer sees no forms that the server would refuse. */
function setRole(role) {
  document.body.dataset.role = role;
  if (role === "viewer" && main.dataset.view === "compare") location.hash = "#live";
}

async function signIn(token) {
  try {
    await request("/api/login", { method: "POST", json: { token } });
    login.reset();
    showMessage(document.getElementById("login-message"), "");
    const state = await request("/api/state");
    setRole(state.role);
    setSignedIn(true);
  } catch (error) {
    setSignedIn(false);
    showMessage(document.getElementById("login-message"), error);
  }
}

/** Take the code or token out of the address, so that it does not stay there; null without one. */
function takeToken() {
  const found = /^#(?:code|token)=(.+)$/.exec(location.hash);
  if (!found) return null;
  history.replaceState(null, "", location.pathname);
  try {
    return decodeURIComponent(found[1]);
  } catch {
    return found[1];
  }
}

/** Show the view that the address names; a wide window shows all of them. */
function showView() {
  const links = [...views.querySelectorAll("a")];
  const current = links.find((link) => link.hash === location.hash) ?? links[0];
  for (const link of links) link.removeAttribute("aria-current");
  current.setAttribute("aria-current", "page");
  main.dataset.view = current.hash.slice(1);
  if (NARROW.matches) scrollTo(0, 0);
  document.dispatchEvent(new Event("viewchange"));
}

async function followAddress() {
  const token = takeToken();
  if (token) await signIn(token);
  showView();
}

function setOffline(isOffline) {
  offline.textContent = isOffline ? "The server does not answer. Trying again…" : "";
  offline.hidden = !isOffline;
  document.body.classList.toggle("is-offline", isOffline);
}

connection.addEventListener("offline", () => setOffline(true));
connection.addEventListener("online", () => setOffline(false));
connection.addEventListener("locked", () => { setOffline(false); setSignedIn(false); });

login.addEventListener("submit", (event) => {
  event.preventDefault();
  signIn(document.getElementById("token").value.trim());
});
window.addEventListener("hashchange", followAddress);

let people = -1;
const live = startLive();
await followAddress();
poll(2, async () => {
  const state = await request("/api/state");
  setRole(state.role);
  setSignedIn(true);
  live.update(state);
  if (state.people !== people) {
    await loadPeople();
    people = state.people;
  }
});
startFaces((scene) => live.resize(scene));
startEvents();
startPeople();
startCompare();
startAccount(() => setSignedIn(false));
