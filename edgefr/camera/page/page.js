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

function open(isOpen) {
  const wasOpen = !main.hidden;
  main.hidden = views.hidden = !isOpen;
  login.hidden = isOpen;
  if (!isOpen && wasOpen !== isOpen) document.getElementById("token").focus();
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
  const wanted = location.hash.slice(1) || "live";
  for (const link of views.querySelectorAll("a")) {
    const here = link.hash === `#${wanted}`;
    if (here) main.dataset.view = wanted;
    link.toggleAttribute("aria-current", here);
    if (here) link.setAttribute("aria-current", "page");
  }
  document.dispatchEvent(new Event("turned"));
}

async function follow() {
  const token = tokenInAddress();
  if (token) await signIn(token);
  turn();
}

connection.addEventListener("away", () => say(away, "The server does not answer. Trying again…"));
connection.addEventListener("away", () => { away.hidden = false; document.body.classList.add("away"); });
connection.addEventListener("locked", () => open(false));
for (const found of ["back", "locked"]) {
  connection.addEventListener(found, () => { away.hidden = true; document.body.classList.remove("away"); });
}

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
