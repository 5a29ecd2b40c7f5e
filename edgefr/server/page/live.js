// The live picture, what the source is doing, and how fast.
import { connection } from "./server.js";

const picture = document.getElementById("picture");
const frame = document.getElementById("frame");
const PATIENCE = 3; // times that the state is told

const CONDITIONS = {
  lost: (source) => `There is no connection to ${source}. Trying again…`,
  stalled: (source) => `No pictures come from ${source}.`,
  ended: (source) => `${source} has ended.`,
};

/** Show the picture while it is looked at; `tell` is given the server's state, `size` the scene. */
export function watchLive() {
  let playing = false;
  let asked = 0; // appended to the address, or a browser would show the stream that broke off
  let missing = 0;
  let single = false; // one picture after another, where no stream can be shown

  function play() {
    asked += 1;
    missing = 0;
    picture.src = `/api/${single ? "picture" : "live"}?${asked}`;
    playing = true;
  }

  /** A stream takes one of the few connections to a server, and a telephone's battery. */
  function look() {
    const seen = !document.hidden && picture.checkVisibility();
    if (seen && !playing) play();
    if (!seen && playing) {
      picture.removeAttribute("src");
      playing = false;
    }
  }

  picture.addEventListener("load", () => {
    if (single && playing) setTimeout(() => playing && single && play(), 500);
  });
  picture.addEventListener("error", () => { playing = false; }); // `tell` begins anew, every two seconds
  document.addEventListener("visibilitychange", look);
  document.addEventListener("turned", look);
  window.addEventListener("resize", look);
  connection.addEventListener("away", () => { playing = false; });

  return {
    tell(state) {
      document.getElementById("source").textContent = state.source;
      document.title = `${state.source} · edgefr`;
      picture.alt = `Live picture of ${state.source}`;
      show(state);
      const there = picture.naturalWidth > 0;
      document.getElementById("waiting").hidden = there;
      missing = there || state.condition !== "ok" || !state.frames_per_second ? 0 : missing + 1;
      if (missing > PATIENCE) {
        single = !single;
        playing = false;
      }
      look();
    },
    size({ width, height }) {
      if (width && height) frame.style.aspectRatio = `${width} / ${height}`;
    },
  };
}

function show(state) {
  const condition = document.getElementById("condition");
  const good = state.condition === "ok";
  const sentence = CONDITIONS[state.condition] ?? ((source) => `${source}: ${state.condition}.`);
  const text = good ? "" : [sentence(state.source), state.reason && `Reason: ${state.reason}`].filter(Boolean).join(" ");
  if (condition.textContent !== text) condition.textContent = text;
  condition.hidden = good;
  frame.classList.toggle("still", !good);
  const rate = document.getElementById("rate");
  rate.hidden = !good || !state.frames_per_second;
  rate.textContent = `${state.frames_per_second.toFixed(1)} frames/s`;
  const facts = [
    state.model,
    `known from similarity ${state.threshold.toFixed(2)} on (${state.threshold_meaning})`,
  ];
  document.getElementById("facts").textContent = facts.join(" · ");
}
