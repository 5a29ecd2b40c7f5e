// Enrolment of a face in view, of one that has just left, or of a photograph.
import { ask, countImages, create, poll, request, showMessage } from "./server.js";
import { loadPeople } from "./people.js";

const MAX_BYTES = 20 << 20; // the limit of the server, checked before the upload
const faces = document.getElementById("faces");
const message = document.getElementById("enrol-message");
const nameField = document.getElementById("name");
const photoOption = document.getElementById("enrol-photo");
const options = new Map(); // track -> its option, kept while the face is in view because it may have the focus
let photo = null;
let preselected = null; // the track that was selected because it is the only one

/** Show the faces of the newest scene every second; `onScene` is called with each scene. */
export function startFaces(onScene) {
  poll(1, async () => {
    const scene = await request("/api/scene");
    onScene(scene);
    for (const track of options.keys()) {
      if (!scene.faces.some((face) => face.track === track)) keepOrRemove(track, scene);
    }
    for (const face of scene.faces) {
      if (!options.has(face.track)) {
        options.set(face.track, createOption(face.track));
        photoOption.before(options.get(face.track));
      }
      updateOption(options.get(face.track), face);
    }
    preselect(scene);
  });
  photoOption.querySelector("input").addEventListener("change", (event) => {
    const [file] = event.target.files;
    event.target.value = "";
    if (file) selectPhoto(file);
  });
  document.querySelector("#enrol form").addEventListener("submit", enrol);
}

const isSelected = (track) => options.get(track).querySelector("input").checked;

function removeOption(track) {
  options.get(track).remove();
  options.delete(track);
}

/** The selected face stays after it has left the view, as the server keeps it, so that it can still be enrolled. */
function keepOrRemove(track, scene) {
  const kept = scene.left.find((face) => face.track === track);
  const isChosen = isSelected(track) && (track !== preselected || nameField.value !== "");
  if (isChosen && kept) {
    const option = options.get(track);
    option.classList.add("gone");
    option.querySelector("img").src = kept.thumbnail;
    option.querySelector(".muted").textContent = "has left the view";
    return;
  }
  // No other face is selected instead, or the name being typed would go to another person.
  if (isChosen) showMessage(message, "The selected face left too long ago. Select another one.", true);
  removeOption(track);
}

/** Select the only face in view, unless a name is typed already, which may be that of someone else. */
function preselect(scene) {
  if (scene.faces.length !== 1 || photo || nameField.value !== "" || faces.querySelector(":checked")) return;
  preselected = scene.faces[0].track;
  options.get(preselected).querySelector("input").checked = true;
}

function createOption(track) {
  const option = create("label");
  const input = create("input", "visually-hidden");
  Object.assign(input, { type: "radio", name: "track", value: track });
  input.addEventListener("change", () => {
    preselected = null;
    clearPhoto();
    showMessage(message, "");
  });
  const thumbnail = create("img", "thumbnail");
  thumbnail.alt = "";
  option.append(input, thumbnail, create("strong"), create("span", "muted"));
  return option;
}

function updateOption(option, face) {
  const texts = {
    known: [face.name, face.similarity === null ? "recognised" : `similarity ${face.similarity.toFixed(2)}`],
    unknown: ["Unknown", "not enrolled"],
  }[face.state] ?? ["Checking…", "please wait"];
  [option.querySelector("strong"), option.querySelector(".muted")].forEach((element, index) => {
    if (element.textContent !== texts[index]) element.textContent = texts[index];
  });
  option.dataset.state = face.state;
  option.classList.remove("gone");
  if (face.thumbnail) option.querySelector("img").src = face.thumbnail;
}

function selectPhoto(file) {
  if (file.size > MAX_BYTES) {
    showMessage(message, `${file.name} is larger than ${MAX_BYTES >> 20} MiB. Choose a smaller photograph.`, true);
    return;
  }
  const selected = faces.querySelector(":checked");
  if (selected) selected.checked = false;
  clearPhoto();
  photo = file;
  showPhoto(URL.createObjectURL(file), file.name);
  showMessage(message, "");
}

function clearPhoto() {
  if (!photo) return;
  photo = null;
  URL.revokeObjectURL(photoOption.querySelector("img").src);
  showPhoto("", "choose a file");
}

function showPhoto(url, text) {
  const image = photoOption.querySelector("img");
  if (url) image.src = url;
  else image.removeAttribute("src");
  image.hidden = !url;
  photoOption.querySelector(".plus").hidden = Boolean(url);
  photoOption.querySelector(".muted").textContent = text;
  photoOption.classList.toggle("selected", Boolean(url));
}

/** Send the photograph, or the number of the selected face; `confirm` says that a person has answered the doubts. */
function send(name, track, confirm) {
  if (!photo) return request("/api/people", { method: "POST", json: { name, track, confirm }, seconds: 30 });
  const form = new FormData();
  form.append("name", name);
  form.append("photo", photo);
  form.append("confirm", confirm);
  return request("/api/people/photograph", { method: "POST", form, seconds: 120 });
}

/** Send, and ask if the server doubts that the face is that of the person; null if the answer is no. */
async function sendOrAsk(name, track) {
  try {
    return await send(name, track, false);
  } catch (error) {
    if (!error.content?.pictures) throw error;
    document.getElementById("doubt-reasons").replaceChildren(...error.content.doubts.map((doubt) => create("p", "", doubt)));
    document.getElementById("doubt-pictures").replaceChildren(...error.content.pictures.map(createFigure));
    return (await ask("doubt", `Is this ${name}?`)) ? send(name, track, true) : null;
  }
}

function createFigure({ title, picture }) {
  const figure = create("figure");
  const image = picture ? create("img", "thumbnail") : create("span", "thumbnail plus", "no picture");
  if (picture) Object.assign(image, { src: picture, alt: "" });
  figure.append(image, create("figcaption", "", title));
  return figure;
}

async function enrol(event) {
  event.preventDefault();
  const selected = faces.querySelector(":checked");
  if (!selected && !photo) {
    showMessage(message, "Select a face or choose a photograph first.", true);
    return;
  }
  const button = event.target.querySelector("button");
  button.disabled = true;
  try {
    const done = await sendOrAsk(nameField.value, Number(selected?.value));
    if (!done) {
      showMessage(message, "Nobody was enrolled.");
      return;
    }
    showMessage(message, [`Enrolled ${done.name} with ${countImages(done.images)}.`, ...done.doubts]);
    nameField.value = "";
    if (selected) selected.checked = false;
    clearPhoto();
    await loadPeople();
  } catch (error) {
    showMessage(message, error);
  } finally {
    button.disabled = false;
  }
}
