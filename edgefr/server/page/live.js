// The live picture, the condition of the source, and the frame rate.
import { connection } from "./server.js";

const picture = document.getElementById("picture");
const frame = document.getElementById("frame");
const MAX_MISSING = 3; // updates without a picture before the other way of loading it is tried

const CONDITIONS = {
  lost: (source) => `The connection to ${source} is lost. Reconnecting…`,
  stalled: (source) => `${source} sends no pictures.`,
  ended: (source) => `The recording ${source} has ended.`,
};

/** Play the picture while it is visible; returns functions for the state of the server and for the scene. */
export function startLive() {
  let playing = false;
  let attempt = 0; // makes each address unique, because a browser caches a stream that was interrupted
  let missing = 0;
  let single = false; // load one picture after another where a browser cannot show a stream

  function play() {
    attempt += 1;
    missing = 0;
    picture.src = `/api/${single ? "picture" : "live"}?${attempt}`;
    playing = true;
  }

  /** Stop while hidden: a stream needs one of the few connections to a server, and the battery of a phone. */
  function updatePlaying() {
    const visible = !document.hidden && picture.checkVisibility();
    if (visible && !playing) play();
    if (!visible && playing) {
      picture.removeAttribute("src");
      playing = false;
    }
  }

  picture.addEventListener("load", () => {
    if (single && playing) setTimeout(() => playing && single && play(), 500);
  });
  picture.addEventListener("error", () => { playing = false; }); // `update` starts again
  document.addEventListener("visibilitychange", updatePlaying);
  document.addEventListener("viewchange", updatePlaying);
  window.addEventListener("resize", updatePlaying);
  connection.addEventListener("offline", () => { playing = false; });

  return {
    update(state) {
      document.getElementById("source").textContent = state.source;
      document.title = `${state.source} · edgefr`;
      picture.alt = `Live picture of ${state.source}`;
      showState(state);
      const loaded = picture.naturalWidth > 0;
      document.getElementById("waiting").hidden = loaded;
      missing = loaded || state.condition !== "ok" || !state.frames_per_second ? 0 : missing + 1;
      if (missing > MAX_MISSING) {
        single = !single;
        playing = false;
      }
      updatePlaying();
    },
    resize({ width, height }) {
      if (width && height) frame.style.aspectRatio = `${width} / ${height}`;
    },
  };
}

function showState(state) {
  const condition = document.getElementById("condition");
  const isGood = state.condition === "ok";
  const sentence = CONDITIONS[state.condition] ?? ((source) => `${source}: ${state.condition}.`);
  const text = isGood ? "" : [sentence(state.source), state.reason && `Reason: ${state.reason}.`].filter(Boolean).join(" ");
  if (condition.textContent !== text) condition.textContent = text;
  condition.hidden = isGood;
  frame.classList.toggle("still", !isGood);
  const rate = document.getElementById("rate");
  rate.hidden = !isGood || !state.frames_per_second;
  rate.textContent = `${state.frames_per_second.toFixed(1)} frames/s`;
  const threshold = state.people ? `threshold ${state.threshold.toFixed(2)} (${state.threshold_meaning})` : state.threshold_meaning;
  document.getElementById("facts").textContent = `${state.model} · ${threshold}`;
}
