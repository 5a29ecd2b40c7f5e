// Who is enrolled: a list with a filter, and removal.
import { ask, say } from "./server.js";
import { initials } from "./events.js";

const MOST = 200; // more are found by the filter
const list = document.getElementById("gallery");
const filter = document.getElementById("filter");
const said = document.getElementById("people-said");
let people = [];

/** Listen to the filter. */
export function watchPeople() {
  filter.addEventListener("input", show);
}

/** Ask who is enrolled, and show it. */
export async function loadPeople() {
  const found = (await ask("/api/people")).people;
  if (JSON.stringify(found) === JSON.stringify(people) && list.children.length) return;
  people = found;
  show();
}

function show() {
  const wanted = folded(filter.value.trim());
  const found = people.filter((person) => folded(person.name).includes(wanted));
  list.replaceChildren(...found.slice(0, MOST).map(item));
  const names = people.slice(0, MOST).map((person) => new Option("", person.name));
  document.getElementById("names").replaceChildren(...names);
  document.getElementById("count").textContent = people.length ? people.length.toLocaleString() : "";
  const none = document.getElementById("no-people");
  if (people.length === 0) none.textContent = "Nobody is enrolled yet. Enrol the face in view.";
  else if (found.length === 0) none.textContent = "Nobody has such a name.";
  else none.textContent = found.length > MOST ? `${(found.length - MOST).toLocaleString()} more: filter by name.` : "";
}

/** Letters without case and accents, so that "emilie" finds "Émilie". */
const folded = (text) => text.normalize("NFD").replace(/\p{Mark}/gu, "").toLocaleLowerCase();

/** A day, with the year where it is another. */
function day(at) {
  const date = new Date(at);
  const year = date.getFullYear() === new Date().getFullYear() ? undefined : "numeric";
  return date.toLocaleDateString([], { day: "numeric", month: "short", year });
}

function item(person) {
  const shown = document.createElement("li");
  const badge = document.createElement("span");
  badge.className = "badge";
  badge.textContent = initials(person.name);
  badge.setAttribute("aria-hidden", "true");
  const text = document.createElement("span");
  text.className = "text";
  const [name, facts] = [document.createElement("strong"), document.createElement("span")];
  name.textContent = person.name;
  facts.className = "fine";
  const images = `${person.images} ${person.images === 1 ? "image" : "images"}`;
  const until = person.expires && `until ${day(person.expires)}`;
  facts.textContent = [images, `since ${day(person.enrolled)}`, until].filter(Boolean).join(" · ");
  text.append(name, facts);
  const button = document.createElement("button");
  button.textContent = "Remove";
  button.setAttribute("aria-label", `Remove ${person.name}`);
  button.addEventListener("click", () => remove(person.name, button));
  shown.append(badge, text, button);
  return shown;
}

async function remove(name, button) {
  if (!(await sure(`Remove ${name}?`))) return;
  button.disabled = true;
  try {
    await ask(`/api/people?name=${encodeURIComponent(name)}`, { method: "DELETE", seconds: 30 });
    await loadPeople();
    say(said, `${name} is removed.`);
    filter.focus({ preventScroll: true }); // the button that had the focus is gone
  } catch (error) {
    say(said, error);
    button.disabled = false;
  }
}

function sure(question) {
  const dialog = document.getElementById("sure");
  document.getElementById("sure-title").textContent = question;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
