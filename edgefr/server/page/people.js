// The enrolled people: a list with a filter, and removal.
import { create, request, showMessage } from "./server.js";
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
  if (people.length === 0) note.textContent = "No one is enrolled yet. Enrol a face in view.";
  else if (found.length === 0) note.textContent = "No name matches.";
  else note.textContent = hidden > 0 ? `${hidden.toLocaleString()} more people. Filter by name to find them.` : "";
}

/** Text without case and accents, so that "emilie" finds "Émilie". */
const folded = (text) => text.normalize("NFD").replace(/\p{Mark}/gu, "").toLocaleLowerCase();

/** A date, with the year unless it is this one. */
function dateText(at) {
  const date = new Date(at);
  const year = date.getFullYear() === new Date().getFullYear() ? undefined : "numeric";
  return date.toLocaleDateString([], { day: "numeric", month: "short", year });
}

function createItem(person) {
  const badge = create("span", "badge", initials(person.name));
  badge.setAttribute("aria-hidden", "true");
  const images = `${person.images} ${person.images === 1 ? "image" : "images"}`;
  const expiry = person.expires && `until ${dateText(person.expires)}`;
  const facts = [images, `since ${dateText(person.enrolled)}`, expiry].filter(Boolean).join(" · ");
  const description = create("span", "text");
  description.append(create("strong", "", person.name), create("span", "muted", facts));
  const button = create("button", "", "Remove");
  button.setAttribute("aria-label", `Remove ${person.name}`);
  button.addEventListener("click", () => remove(person.name, button));
  const item = create("li");
  item.append(badge, description, button);
  return item;
}

async function remove(name, button) {
  if (!(await confirmRemoval(name))) return;
  button.disabled = true;
  try {
    await request(`/api/people?name=${encodeURIComponent(name)}`, { method: "DELETE", seconds: 30 });
    await loadPeople();
    showMessage(message, `${name} has been removed.`);
    filter.focus({ preventScroll: true }); // the button that had the focus no longer exists
  } catch (error) {
    showMessage(message, error);
    button.disabled = false;
  }
}

function confirmRemoval(name) {
  const dialog = document.getElementById("confirm");
  document.getElementById("confirm-title").textContent = `Remove ${name}?`;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
