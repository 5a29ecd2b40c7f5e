// Compare two photographs that are dropped, chosen or taken.
import { create, request, showMessage } from "./server.js";

const MAX_BYTES = 20 << 20; // the limit of the server, checked before the upload
const message = document.getElementById("compare-message");
const result = document.getElementById("result");
const retry = document.getElementById("retry");
const slots = [...document.querySelectorAll(".photo")];
const photos = [null, null];
let comparison = 0; // responses to photographs that have been replaced are ignored

/** Connect the two slots. */
export function startCompare() {
  slots.forEach((slot, index) => {
    const input = slot.querySelector("input");
    input.addEventListener("change", () => { addFiles(index, [...input.files]); input.value = ""; });
    slot.addEventListener("dragover", () => slot.classList.add("over"));
    slot.addEventListener("dragleave", () => slot.classList.remove("over"));
    slot.addEventListener("drop", (event) => {
      slot.classList.remove("over");
      addFiles(index, [...event.dataTransfer.files]);
    });
    slot.querySelector(".camera").addEventListener("click", () => {
      input.setAttribute("capture", "user");
      input.click();
      input.removeAttribute("capture");
    });
  });
  // Without this, a photograph that is dropped beside a slot would replace the page.
  for (const type of ["dragover", "drop"]) window.addEventListener(type, (event) => event.preventDefault());
  retry.addEventListener("click", compare);
}

/** Put a file into a slot, and a second file into the other one. */
function addFiles(index, files) {
  files.slice(0, 2).forEach((file, offset) => setPhoto((index + offset) % 2, file));
  compare();
}

function setPhoto(index, file) {
  photos[index] = file;
  const preview = slots[index].querySelector("img");
  URL.revokeObjectURL(preview.src);
  preview.src = URL.createObjectURL(file);
  preview.alt = file.name;
  preview.hidden = false;
  slots[index].classList.add("filled");
}

async function compare() {
  comparison += 1;
  const current = comparison;
  result.replaceChildren();
  retry.hidden = true;
  if (photos.includes(null)) return showMessage(message, "Add the other photograph.");
  const large = photos.find((photo) => photo.size > MAX_BYTES);
  if (large) return showMessage(message, `${large.name} is larger than ${MAX_BYTES >> 20} MiB. Choose a smaller photograph.`, true);
  showMessage(message, "Comparing…");
  const form = new FormData();
  form.append("first", photos[0]);
  form.append("second", photos[1]);
  try {
    const verdict = await request("/api/compare", { method: "POST", form, seconds: 120 });
    if (current !== comparison) return undefined;
    showMessage(message, "");
    showResult(verdict);
  } catch (error) {
    if (current !== comparison) return undefined;
    showMessage(message, error);
    retry.hidden = false;
  }
  return undefined;
}

function showResult(verdict) {
  const content = document.getElementById("result-template").content.cloneNode(true);
  const find = (selector) => content.querySelector(selector);
  const attack = verdict.live === false ? "Not a living face" : undefined;
  find(".answer").textContent = attack ?? (verdict.same ? "Same person" : "Different people");
  find(".answer").classList.add(verdict.same ? "same" : "different");
  content.querySelectorAll(".crops img").forEach((image, index) => { image.src = verdict.crops[index]; });
  showScale(find, verdict);
  find(".meaning").textContent = meaning(verdict);
  find(".reasons").replaceChildren(...verdict.reasons.map((reason) => create("li", "", reason)));
  result.replaceChildren(content);
}

/** Similarities from 0 to 1. Those of strangers are around 0, so negative ones are shown as 0. */
function showScale(find, { similarity, threshold, same }) {
  const [value, limit] = [similarity, threshold].map((number) => 100 * Math.min(Math.max(number, 0), 1));
  find(".value").textContent = similarity.toFixed(2);
  find(".limit").textContent = `threshold ${threshold.toFixed(2)}`;
  find(".dot").style.left = `${value}%`;
  find(".dot").classList.add(same ? "same" : "different");
  find(".above").style.left = `${limit}%`;
  for (const [selector, at] of [[".value", value], [".limit", limit]]) {
    find(selector).style.left = `${at}%`;
    find(selector).style.transform = `translateX(-${at}%)`; // keeps the text within the scale at both ends
  }
  const label = `Similarity ${similarity.toFixed(2)} on a scale from 0 to 1; the threshold is ${threshold.toFixed(2)}`;
  find(".scale").setAttribute("aria-label", label);
}

function meaning({ same, live, similarity, threshold, fmr }) {
  const reaches = live === false ? similarity >= threshold : same; // the similarity is rounded
  const position = `Similarity ${similarity.toFixed(2)} is ${reaches ? "not below" : "below"} the threshold of ${threshold.toFixed(2)}`;
  if (!fmr) return `${position}.`;
  return `${position}, which about 1 in ${Math.round(1 / fmr).toLocaleString()} pairs of different people reach.`;
}
