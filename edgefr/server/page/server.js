// Requests to the server, and asking it again and again.

/** The server's refusal in a sentence for the user; status 0 where there was no answer. */
export class Refusal extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

/** Tells of the connection: events `away`, `back` and `locked` (a token is needed). */
export const connection = new EventTarget();
let condition = "";

function now(is) {
  if (condition === is) return;
  condition = is;
  connection.dispatchEvent(new Event(is));
}

/** The answer's JSON, null where it is empty; throws a Refusal. */
export async function ask(path, { method = "GET", json, form, seconds = 10 } = {}) {
  const headers = json ? { "Content-Type": "application/json" } : {};
  const body = json ? JSON.stringify(json) : form;
  let answer, document;
  try {
    const signal = AbortSignal.timeout(1000 * seconds);
    answer = await fetch(path, { method, headers, body, signal, credentials: "same-origin" });
    document = answer.status === 204 ? null : await answer.json();
  } catch {
    if (!answer) now("away");
    throw new Refusal(0, "The server does not answer. Try again in a moment.");
  }
  now(answer.status === 401 ? "locked" : "back");
  if (!answer.ok) throw new Refusal(answer.status, sentence(document, answer));
  return document;
}

function sentence(document, answer) {
  const detail = document?.detail;
  if (Array.isArray(detail)) return detail.map((fault) => fault.msg).join("; "); // FastAPI's own checks
  return typeof detail === "string" ? detail : `The server answered ${answer.status}.`;
}

const SLOWEST = 8;

/** Do `job` every so many seconds while the page is looked at, more rarely while it fails. Never rejects. */
export async function repeat(seconds, job) {
  let wait = seconds;
  for (;;) {
    if (!document.hidden && condition !== "locked") {
      try {
        await job();
        wait = seconds;
      } catch (error) {
        if (!(error instanceof Refusal)) console.error(error);
        wait = Math.min(2 * wait, SLOWEST);
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 1000 * wait));
  }
}

/** Say in `place` what came of something: nothing, sentences, or what was thrown. */
export function say(place, sentences, bad = false) {
  const lines = sentences instanceof Error ? [sentences.message] : [sentences].flat();
  place.classList.toggle("bad", bad || sentences instanceof Error);
  place.replaceChildren(...lines.filter(Boolean).map((line) => {
    const shown = document.createElement("span");
    shown.textContent = line;
    return shown;
  }));
  if (sentences instanceof Error && !(sentences instanceof Refusal)) console.error(sentences);
}
