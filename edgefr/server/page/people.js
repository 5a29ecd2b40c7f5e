// The enrolled people: a list with a filter, other names, and removal.
import { ask, countImages, folded, request, showMessage } from "./server.js";
import { initials } from "./events.js";

const MAX_PEOPLE = 200; // the filter finds the others
const list = document.getElementById("people-list");
const filter = document.getElementById("filter");
const message = document.getElementById("people-message");
let people = [];

/** Connect the filter. */
export function startPeople() {
  filter.addEventListener("input", showPeople);
}

/** Load the enrolled people and show them. */
export async function loadPeople() {
  const found = (await request("/api/people")).people;
  if (JSON.stringify(found) === JSON.stringify(people) && list.children.length) return;
  people = found;
  showPeople();
}

function showPeople() {
  const wanted = folded(filter.value.trim());
  const found = people.filter((person) => folded(person.name).includes(wanted));
  const hidden = found.length - MAX_PEOPLE;
  list.replaceChildren(...found.slice(0, MAX_PEOPLE).map(createItem));
  const names = people.slice(0, MAX_PEOPLE).map((person) => new Option("", person.name));
  document.getElementById("names").replaceChildren(...names);
  document.getElementById("count").textContent = people.length ? people.length.toLocaleString() : "";
  const note = document.getElementById("people-note");
  if (people.length === 0) note.textContent = "No one is enrolled yet. Enrol a face in view, or a photograph.";
  else if (found.length === 0) note.textContent = "No name matches.";
  else note.textContent = hidden > 0 ? `${hidden.toLocaleString()} more people. Filter by name to find them.` : "";
}

/** A date, with the year unless it is this one. */
function dateText(at) {
  const date = new Date(at);
  const year = date.getFullYear() === new Date().getFullYear() ? undefined : "numeric";
  return date.toLocaleDateString([], { day: "numeric", month: "short", year });
}

function createItem(person) {
  const item = document.getElementById("person-template").content.cloneNode(true).firstElementChild;
  const expiry = person.expires && `until ${dateText(person.expires)}`;
  const facts = [countImages(person.images), `since ${dateText(person.enrolled)}`, expiry].filter(Boolean);
  item.querySelector(".badge").textContent = initials(person.name);
  item.querySelector("strong").textContent = person.name;
  item.querySelector(".muted").textContent = facts.join(" · ");
  for (const [action, job, label] of [["rename", rename, "Rename"], ["remove", remove, "Remove"]]) {
    const button = item.querySelector(`.${action}`);
    button.setAttribute("aria-label", `${label} ${person.name}`);
    button.title = label;
    button.addEventListener("click", () => job(person.name, button));
  }
  return item;
}

/** Send a change of a person, show the result, and load the people again. */
async function change(name, button, options, done) {
  button.disabled = true;
  try {
    await request(`/api/people?name=${encodeURIComponent(name)}`, { ...options, seconds: 30 });
    await loadPeople();
    showMessage(message, done);
    filter.focus({ preventScroll: true }); // the button that had the focus no longer exists
  } catch (error) {
    showMessage(message, error);
    button.disabled = false;
  }
}

async function rename(name, button) {
  const input = document.getElementById("new-name");
  input.value = name;
  const isConfirmed = ask("rename", `Rename ${name}`);
  input.select();
  if (!(await isConfirmed)) return;
  const other = input.value.trim();
  if (other === name) return;
  await change(name, button, { method: "PATCH", json: { name: other } }, `${name} is now ${other}.`);
}

async function remove(name, button) {
  if (!(await ask("confirm", `Remove ${name}?`))) return;
  await change(name, button, { method: "DELETE" }, `${name} has been removed.`);
}
