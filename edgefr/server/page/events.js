// The list of events, newest first.
import { create, poll, request } from "./server.js";

const MAX_EVENTS = 200;
const list = document.getElementById("event-list");

const SOURCE_TEXTS = {
  lost: "Connection lost",
  stalled: "No pictures",
  back: "Connection restored",
  ended: "Recording ended",
};
const TRACK_TEXTS = { identified: "is here", unknown: "is here", lost: "is no longer recognised", left: "left" };

/** Load new events every second. */
export function startEvents() {
  let last = 0;
  let first = true;
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
    document.getElementById("no-events").hidden = true;
    const sentences = found.events.slice(-3).map((event) => texts(event).filter(Boolean).join(" "));
    if (!first) document.getElementById("announcement").textContent = sentences.join("; ");
    first = false;
  });
}

/** Who or what an event is about, and what happened. */
function texts(event) {
  if (event.what === "source") return [SOURCE_TEXTS[event.condition] ?? event.condition, event.reason];
  return [event.name ?? "Unknown person", TRACK_TEXTS[event.what] ?? event.what];
}

function createItem(event) {
  const [subject, text] = texts(event);
  const [kind, symbol] = event.what === "source" ? ["source", "!"] : event.name ? ["known", initials(event.name)] : ["unknown", "?"];
  const similarity = event.what === "identified" ? ` · similarity ${event.similarity.toFixed(2)}` : "";
  const item = create("li", kind);
  item.dataset.what = event.what;
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
