// The faces in view; one of them is selected and enrolled.
import { create, poll, request, showMessage } from "./server.js";
import { loadPeople } from "./people.js";

const THUMB = 96;
const faces = document.getElementById("faces");
const message = document.getElementById("enrol-message");

/** Show the faces of the newest scene every second, cut from `picture`; `onScene` is called with each scene. */
export function startFaces(picture, onScene) {
  const options = new Map(); // track -> its option, kept while the face is in view because it may have the focus
  poll(1, async () => {
    const scene = await request("/api/scene");
    onScene(scene);
    for (const [track, option] of options) {
      if (scene.faces.some((face) => face.track === track)) continue;
      // No other face is selected instead, or the name being typed would go to another person.
      if (option.querySelector("input").checked) showMessage(message, "The selected face has left the view. Select another one.", true);
      option.remove();
      options.delete(track);
    }
    for (const face of scene.faces) {
      if (!options.has(face.track)) {
        options.set(face.track, createOption(face.track));
        faces.append(options.get(face.track));
      }
      updateOption(options.get(face.track), face, scene, picture);
    }
    document.getElementById("no-faces").hidden = options.size > 0;
  });
  document.querySelector("#enrol form").addEventListener("submit", enrol);
}

function createOption(track) {
  const option = create("label");
  const input = create("input", "visually-hidden");
  Object.assign(input, { type: "radio", name: "track", value: track });
  input.addEventListener("change", () => showMessage(message, ""));
  const thumb = create("canvas");
  thumb.width = thumb.height = THUMB;
  thumb.setAttribute("aria-hidden", "true");
  option.append(input, thumb, create("strong"), create("span", "muted"));
  return option;
}

function updateOption(option, face, scene, picture) {
  const texts = {
    known: [face.name, `similarity ${face.similarity.toFixed(2)}`],
    unknown: ["Unknown", "not enrolled"],
  }[face.state] ?? ["Checking…", "please wait"];
  [option.querySelector("strong"), option.querySelector(".muted")].forEach((element, index) => {
    if (element.textContent !== texts[index]) element.textContent = texts[index];
  });
  option.dataset.state = face.state;
  drawThumb(option.querySelector("canvas"), face.box, scene, picture);
}

/** Draw the square around a face. The picture is about as old as the scene, and may be smaller than its frame. */
function drawThumb(canvas, [x, y, width, height], scene, picture) {
  if (!picture.naturalWidth || !scene.width) return;
  const scale = picture.naturalWidth / scene.width;
  const side = Math.max(width, height) * scale;
  const [left, top] = [(x + width / 2) * scale - side / 2, (y + height / 2) * scale - side / 2];
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, THUMB, THUMB);
  context.drawImage(picture, left, top, side, side, 0, 0, THUMB, THUMB);
}

async function enrol(event) {
  event.preventDefault();
  const selected = faces.querySelector("input:checked");
  const name = document.getElementById("name");
  if (!selected) {
    showMessage(message, "Select a face first.", true);
    return;
  }
  const button = event.target.querySelector("button");
  button.disabled = true;
  try {
    const json = { name: name.value, track: Number(selected.value) };
    const done = await request("/api/people", { method: "POST", json, seconds: 30 });
    const images = `${done.images} ${done.images === 1 ? "image" : "images"}`;
    showMessage(message, [`Enrolled ${done.name} with ${images}.`, ...done.doubts]);
    name.value = "";
    selected.checked = false;
    await loadPeople();
  } catch (error) {
    showMessage(message, error);
  } finally {
    button.disabled = false;
  }
}
