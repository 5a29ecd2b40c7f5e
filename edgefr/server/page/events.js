// What happened, newest first.
import { ask, repeat } from "./server.js";

const MOST = 200;
const list = document.getElementById("happened");

const SOURCE = {
  lost: "The connection is lost",
  stalled: "No pictures come",
  back: "Pictures come again",
  ended: "The source has ended",
};
const WORDS = {
  identified: (who) => [who, "is here"],
  unknown: () => ["Somebody unknown", "is here"],
  lost: (who) => [who, "is no longer recognised"],
  left: (who) => [who, "left"],
};

/** Ask for new events every second. */
export function watchEvents() {
  let last = 0;
  let first = true;
  repeat(1, async () => {
    let found = await ask(`/api/events?after=${last}`);
    if (found.last < last) { // another server counts from the beginning
      list.replaceChildren();
      found = await ask("/api/events?after=0");
    }
    last = found.last;
    if (found.events.length === 0) return;
    const items = found.events.map(item).reverse();
    if (!first) items.forEach((shown) => shown.classList.add("new"));
    list.prepend(...items);
    while (list.children.length > MOST) list.lastElementChild.remove();
    document.getElementById("nothing").hidden = true;
    if (!first) document.getElementById("newest").textContent = found.events.slice(-3).map(sentence).join("; ");
    first = false;
  });
}

function words(event) {
  if (event.what === "source") return [SOURCE[event.condition] ?? event.condition, event.reason];
  return (WORDS[event.what] ?? ((who) => [who, event.what]))(event.name ?? "Somebody unknown");
}

const sentence = (event) => words(event).filter(Boolean).join(" ");

function item(event) {
  const [who, what] = words(event);
  const shown = document.createElement("li");
  shown.className = event.what === "source" ? "source" : event.name ? "known" : "unknown";
  shown.dataset.what = event.what;
  const badge = add(shown, "span", "badge", event.what === "source" ? "!" : event.name ? initials(event.name) : "?");
  badge.setAttribute("aria-hidden", "true");
  const text = add(shown, "span", "text");
  add(text, "strong", "", who);
  text.append(" "); // for who hears it
  add(text, "span", "fine", what);
  const side = add(shown, "span", "side fine");
  add(side, "time", "", clock(event)).dateTime = event.at ?? `PT${event.seconds}S`;
  if (event.what === "identified") add(side, "span", "", event.similarity.toFixed(2)).title = "Similarity";
  return shown;
}

function add(parent, tag, kind, text = "") {
  const child = document.createElement(tag);
  if (kind) child.className = kind;
  child.textContent = text;
  parent.append(child);
  return child;
}

/** A name's first letters, whole characters of any script. */
export function initials(name) {
  const parts = name.split(/\s+/).filter(Boolean);
  const first = (word) => [...word][0].toLocaleUpperCase();
  return parts.length > 1 ? first(parts[0]) + first(parts.at(-1)) : first(parts[0] ?? "?");
}

/** The time of day where the source is live, with the day if it is another; else minutes and seconds of a recording. */
function clock(event) {
  if (event.at === null) {
    const whole = Math.floor(event.seconds);
    return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
  }
  const at = new Date(event.at);
  const time = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  if (at.toDateString() === new Date().toDateString()) return time;
  return `${at.toLocaleDateString([], { day: "numeric", month: "short" })}, ${time}`;
}
