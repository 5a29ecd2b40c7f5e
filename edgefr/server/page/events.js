// The list of events, newest first, with a filter and downloads.
import { create, folded, poll, request } from "./server.js";

const MAX_EVENTS = 200;
const list = document.getElementById("event-list");
const filter = document.getElementById("event-filter");
const kind = document.getElementById("event-kind");

const SOURCE_TEXTS = {
  lost: "Connection lost",
  stalled: "No pictures",
  back: "Connection restored",
  ended: "Recording ended",
};
const TRACK_TEXTS = {
  identified: "is here",
  unknown: "is here",
  lost: "is no longer recognised",
  left: "left",
  opened: "opened the door",
  refused: "was not let in",
};

/** Load new events every second. */
export function startEvents() {
  let last = 0;
  let first = true;
  filter.addEventListener("input", applyFilter);
  kind.addEventListener("change", applyFilter);
  applyFilter();
  poll(1, async () => {
    let found = await request(`/api/events?after=${last}`);
    if (found.last < last) { // the server was restarted
      list.replaceChildren();
      found = await request("/api/events?after=0");
    }
    last = found.last;
    if (found.events.length === 0) return;
    const items = found.events.map(createItem).reverse();
    if (!first) items.forEach((item) => item.classList.add("new"));
    list.prepend(...items);
    while (list.children.length > MAX_EVENTS) list.lastElementChild.remove();
    applyFilter();
    const sentences = found.events.slice(-3).map((event) => texts(event).filter(Boolean).join(" "));
    if (!first) document.getElementById("announcement").textContent = sentences.join("; ");
    first = false;
  });
}

/** Hide the events that do not match, and leave them out of the downloads. */
function applyFilter() {
  const wanted = folded(filter.value.trim());
  let shown = 0;
  for (const item of list.children) {
    item.hidden = (kind.value && item.dataset.what !== kind.value) || !item.dataset.name.includes(wanted);
    shown += !item.hidden;
  }
  const note = document.getElementById("no-events");
  note.hidden = shown > 0;
  note.textContent = list.children.length ? "No event matches." : "No events yet.";
  const query = new URLSearchParams({ what: kind.value, name: filter.value.trim() });
  for (const format of ["jsonl", "csv"]) document.getElementById(`events-${format}`).href = `/api/events.${format}?${query}`;
}

/** Who or what an event is about, and what happened. */
function texts(event) {
  if (event.what === "source") return [SOURCE_TEXTS[event.condition] ?? event.condition, event.reason];
  const nobody = event.live === false ? "Not a living face" : "Unknown person";
  return [event.name ?? nobody, TRACK_TEXTS[event.what] ?? event.what];
}

function createItem(event) {
  const [subject, text] = texts(event);
  const [kind, symbol] = event.what === "source" ? ["source", "!"] : event.name ? ["known", initials(event.name)] : ["unknown", "?"];
  const similarity = event.what === "identified" && event.similarity !== null ? ` · similarity ${event.similarity.toFixed(2)}` : "";
  const item = create("li", kind);
  item.dataset.what = event.what;
  item.dataset.name = folded(event.name ?? "");
  const badge = create("span", "badge", symbol);
  badge.setAttribute("aria-hidden", "true");
  const description = create("span", "text");
  description.append(create("strong", "", subject), " ", create("span", "muted", text + similarity)); // space: for screen readers
  const time = create("time", "muted", timeText(event));
  time.dateTime = event.at ?? `PT${event.seconds}S`;
  item.append(badge, description, time);
  return item;
}

/** The first letters of the first and the last word of a name, in any script. */
export function initials(name) {
  const words = name.split(/\s+/).filter(Boolean);
  const letter = (word) => [...word][0].toLocaleUpperCase();
  return words.length > 1 ? letter(words[0]) + letter(words.at(-1)) : letter(words[0] ?? "?");
}

/** The time of day, with the date unless it is today; for a recording minutes and seconds. */
function timeText(event) {
  if (event.at === null) {
    const seconds = Math.floor(event.seconds);
    return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  }
  const at = new Date(event.at);
  const time = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  if (at.toDateString() === new Date().toDateString()) return time;
  return `${at.toLocaleDateString([], { day: "numeric", month: "short" })}, ${time}`;
}
