// The faces in view, of which one is chosen and given a name.
import { ask, repeat, say } from "./server.js";
import { loadPeople } from "./people.js";

const THUMB = 96;
const faces = document.getElementById("faces");
const said = document.getElementById("enrol-said");

/** Show the faces of the newest scene every second; they are cut from `picture`. `tell` is given each scene. */
export function watchFaces(picture, tell) {
  const shown = new Map(); // track -> its choice, kept as long as it is in view: it may have the focus
  repeat(1, async () => {
    const scene = await ask("/api/scene");
    tell(scene);
    for (const [track, choice] of shown) {
      if (scene.faces.some((face) => face.track === track)) continue;
      // Nobody else is chosen instead: a name that is being typed must not go to another face.
      if (choice.querySelector("input").checked) say(said, "The chosen face has left the view. Choose another.", true);
      choice.remove();
      shown.delete(track);
    }
    for (const face of scene.faces) {
      if (!shown.has(face.track)) {
        shown.set(face.track, choiceOf(face.track));
        faces.append(shown.get(face.track));
      }
      describe(shown.get(face.track), face, scene, picture);
    }
    document.getElementById("nobody").hidden = shown.size > 0;
  });
  document.querySelector("#enrol form").addEventListener("submit", enrol);
}

function choiceOf(track) {
  const choice = document.createElement("label");
  const input = document.createElement("input");
  Object.assign(input, { type: "radio", name: "track", value: track, className: "quiet" });
  input.addEventListener("change", () => say(said, ""));
  const thumb = document.createElement("canvas");
  thumb.width = thumb.height = THUMB;
  thumb.setAttribute("aria-hidden", "true");
  choice.append(input, thumb, document.createElement("strong"), document.createElement("span"));
  choice.lastElementChild.className = "fine";
  return choice;
}

function describe(choice, face, scene, picture) {
  const [name, state] = {
    known: [face.name, `known, ${face.similarity?.toFixed(2)}`],
    unknown: ["Unknown", `face ${face.track}`],
  }[face.state] ?? ["Looking…", `face ${face.track}`];
  const [strong, fine] = [choice.querySelector("strong"), choice.querySelector(".fine")];
  if (strong.textContent !== name) strong.textContent = name;
  if (fine.textContent !== state) fine.textContent = state;
  choice.dataset.state = face.state;
  cut(choice.querySelector("canvas"), face.box, scene, picture);
}

/** Draw the square around a face. The picture is of about the scene's moment, and may be smaller than its frame. */
function cut(canvas, [x, y, width, height], scene, picture) {
  if (!picture.naturalWidth || !scene.width) return;
  const scale = picture.naturalWidth / scene.width;
  const side = Math.max(width, height) * scale;
  const [left, top] = [(x + width / 2) * scale - side / 2, (y + height / 2) * scale - side / 2];
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, THUMB, THUMB);
  pen.drawImage(picture, left, top, side, side, 0, 0, THUMB, THUMB);
}

async function enrol(event) {
  event.preventDefault();
  const chosen = faces.querySelector("input:checked");
  const name = document.getElementById("name");
  if (!chosen) {
    say(said, "Choose the face first.", true);
    return;
  }
  const button = event.target.querySelector("button");
  button.disabled = true;
  try {
    const json = { name: name.value, track: Number(chosen.value) };
    const done = await ask("/api/people", { method: "POST", json, seconds: 30 });
    const images = `${done.images} ${done.images === 1 ? "image" : "images"}`;
    say(said, [`${done.name} is enrolled, with ${images}.`, ...done.doubts]);
    name.value = "";
    chosen.checked = false;
    await loadPeople();
  } catch (error) {
    say(said, error);
  } finally {
    button.disabled = false;
  }
}
