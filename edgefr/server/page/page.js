// The page as a whole: signing in, which part a telephone shows, and whether the server is there.
import { ask, connection, repeat, say } from "./server.js";
import { watchLive } from "./live.js";
import { watchEvents } from "./events.js";
import { watchFaces } from "./enrol.js";
import { loadPeople, watchPeople } from "./people.js";
import { watchPhotos } from "./compare.js";

const main = document.querySelector("main");
const login = document.getElementById("login");
const views = document.getElementById("views");
const away = document.getElementById("away");
const NARROW = matchMedia("(max-width: 60rem)"); // as in page.css

function open(isOpen) {
  const wasOpen = !main.hidden;
  main.hidden = views.hidden = !isOpen;
  login.hidden = isOpen;
  if (!isOpen && wasOpen) document.getElementById("token").focus();
}

async function signIn(token) {
  try {
    await ask("/api/login", { method: "POST", json: { token } });
    login.reset();
    say(document.getElementById("login-said"), "");
    open(true);
  } catch (error) {
    open(false);
    say(document.getElementById("login-said"), error);
  }
}

/** The token at the end of the address that was opened, which is then no longer shown there; null without one. */
function tokenInAddress() {
  const found = /^#token=(.+)$/.exec(location.hash);
  if (!found) return null;
  history.replaceState(null, "", location.pathname);
  try {
    return decodeURIComponent(found[1]);
  } catch {
    return found[1];
  }
}

/** Show the part that the address names; a wide window shows all of them anyhow. */
function turn() {
  const links = [...views.querySelectorAll("a")];
  const wanted = links.find((link) => link.hash === location.hash) ?? links[0];
  for (const link of links) link.removeAttribute("aria-current");
  wanted.setAttribute("aria-current", "page");
  main.dataset.view = wanted.hash.slice(1);
  if (NARROW.matches) scrollTo(0, 0);
  document.dispatchEvent(new Event("turned"));
}

async function follow() {
  const token = tokenInAddress();
  if (token) await signIn(token);
  turn();
}

function reach(isThere) {
  away.textContent = isThere ? "" : "The server does not answer. Trying again…";
  away.hidden = isThere;
  document.body.classList.toggle("away", !isThere);
}

connection.addEventListener("away", () => reach(false));
connection.addEventListener("back", () => reach(true));
connection.addEventListener("locked", () => { reach(true); open(false); });

login.addEventListener("submit", (event) => {
  event.preventDefault();
  signIn(document.getElementById("token").value.trim());
});
window.addEventListener("hashchange", follow);

let people = -1;
const live = watchLive();
await follow();
repeat(2, async () => {
  const state = await ask("/api/state");
  open(true);
  live.tell(state);
  if (state.people !== people) {
    await loadPeople();
    people = state.people;
  }
});
watchFaces(document.getElementById("picture"), (faces) => live.size(faces));
watchEvents();
watchPeople();
watchPhotos();
