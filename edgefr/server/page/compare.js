// Two photographs: dropped, chosen or taken; then whether they show one person.
import { ask, say } from "./server.js";

const LARGEST = 20 << 20; // the server's limit, said before so much is sent
const said = document.getElementById("compare-said");
const shown = document.getElementById("verdict");
const again = document.getElementById("again");
const places = [...document.querySelectorAll(".photo")];
const photos = [null, null];
let comparison = 0; // an answer to photographs that were replaced meanwhile is passed over

/** Take photographs in. */
export function watchPhotos() {
  places.forEach((place, which) => {
    const input = place.querySelector("input");
    input.addEventListener("change", () => { take(which, [...input.files]); input.value = ""; });
    place.addEventListener("dragover", () => place.classList.add("over"));
    place.addEventListener("dragleave", () => place.classList.remove("over"));
    place.addEventListener("drop", (event) => {
      place.classList.remove("over");
      take(which, [...event.dataTransfer.files]);
    });
    place.querySelector(".camera").addEventListener("click", () => {
      input.setAttribute("capture", "user");
      input.click();
      input.removeAttribute("capture");
    });
  });
  // A photograph that misses its place would else be opened instead of the page.
  for (const what of ["dragover", "drop"]) window.addEventListener(what, (event) => event.preventDefault());
  again.addEventListener("click", compare);
}

/** Put a file into a place, and a second one into the other. */
function take(which, files) {
  files.slice(0, 2).forEach((file, number) => put((which + number) % 2, file));
  compare();
}

function put(which, file) {
  photos[which] = file;
  const place = places[which];
  const preview = place.querySelector("img");
  URL.revokeObjectURL(preview.src);
  preview.src = URL.createObjectURL(file);
  preview.alt = file.name;
  preview.hidden = false;
  place.classList.add("filled");
}

async function compare() {
  comparison += 1;
  const mine = comparison;
  shown.replaceChildren();
  again.hidden = true;
  if (photos.includes(null)) return say(said, "Now the other photograph.");
  const large = photos.find((photo) => photo.size > LARGEST);
  if (large) return say(said, `${large.name} is larger than ${LARGEST >> 20} MiB: choose a smaller photograph.`, true);
  say(said, "Comparing…");
  const form = new FormData();
  form.append("first", photos[0]);
  form.append("second", photos[1]);
  try {
    const verdict = await ask("/api/compare", { method: "POST", form, seconds: 60 });
    if (mine !== comparison) return undefined;
    say(said, "");
    show(verdict);
  } catch (error) {
    if (mine !== comparison) return undefined;
    say(said, error);
    again.hidden = false;
  }
  return undefined;
}

function show(verdict) {
  const parts = document.getElementById("verdict-shown").content.cloneNode(true);
  const find = (kind) => parts.querySelector(kind);
  find(".answer").textContent = verdict.same ? "The same person" : "Different people";
  find(".answer").classList.add(verdict.same ? "same" : "different");
  parts.querySelectorAll(".crops img").forEach((image, which) => { image.src = verdict.crops[which]; });
  scale(find, verdict);
  find(".meaning").textContent = meaning(verdict);
  find(".reasons").replaceChildren(...verdict.reasons.map((reason) => {
    const line = document.createElement("li");
    line.textContent = reason;
    return line;
  }));
  shown.replaceChildren(parts);
}

/** Similarities from 0 to 1: strangers lie about 0, and what is below it says no more than 0 does. */
function scale(find, { similarity, threshold, same }) {
  const [value, limit] = [similarity, threshold].map((number) => 100 * Math.min(Math.max(number, 0), 1));
  find(".value").textContent = similarity.toFixed(3);
  find(".limit").textContent = `threshold ${threshold.toFixed(2)}`;
  find(".dot").style.left = `${value}%`;
  find(".dot").classList.add(same ? "same" : "different");
  find(".above").style.left = `${limit}%`;
  for (const [kind, at] of [[".value", value], [".limit", limit]]) {
    find(kind).style.left = `${at}%`;
    find(kind).style.transform = `translateX(-${at}%)`; // so that it stays within the scale at both ends
  }
  const told = `Similarity ${similarity.toFixed(3)} on a scale from 0 to 1; the threshold is ${threshold.toFixed(2)}`;
  find(".scale").setAttribute("aria-label", told);
}

function meaning({ same, similarity, threshold, fmr }) {
  const side = same ? "not below" : "below";
  const where = `Similarity ${similarity.toFixed(3)}, ${side} the threshold of ${threshold.toFixed(2)}`;
  if (!fmr) return `${where}.`;
  const pairs = Math.round(1 / fmr).toLocaleString();
  return `${where}, at which about 1 in ${pairs} pairs of different people is taken for one person.`;
}
