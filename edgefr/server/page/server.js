// Requests to the server, polling, and messages about their results.

/** A request that was refused (`status`, `content`) or not answered (status 0); the message is a sentence for the user. */
export class RequestError extends Error {
  constructor(status, message, content = null) {
    super(message);
    this.status = status;
    this.content = content;
  }
}

/** Dispatches "offline", "online" and "locked" (a token is required) when the state of the connection changes. */
export const connection = new EventTarget();
let connectionState = "";

function setConnection(state) {
  if (connectionState === state) return;
  connectionState = state;
  connection.dispatchEvent(new Event(state));
}

/** The JSON of the response, null if it is empty; throws a RequestError. */
export async function request(path, { method = "GET", json, form, seconds = 10 } = {}) {
  const headers = json ? { "Content-Type": "application/json" } : {};
  const body = json ? JSON.stringify(json) : form;
  let response, content;
  try {
    const signal = AbortSignal.timeout(1000 * seconds);
    response = await fetch(path, { method, headers, body, signal, credentials: "same-origin" });
    content = response.status === 204 ? null : await response.json();
  } catch {
    if (!response) setConnection("offline");
    throw new RequestError(0, "The server does not answer. Try again in a moment.");
  }
  setConnection(response.status === 401 ? "locked" : "online");
  if (!response.ok) throw new RequestError(response.status, errorText(content, response), content);
  return content;
}

function errorText(content, response) {
  const detail = content?.detail;
  if (Array.isArray(detail)) return detail.map((fault) => fault.msg).join("; "); // FastAPI's validation
  return typeof detail === "string" ? detail : `The server answered with status ${response.status}.`;
}

const MAX_INTERVAL = 8;

/** Run `job` every `seconds` while the page is visible, less often while it fails. */
export async function poll(seconds, job) {
  let interval = seconds;
  for (;;) {
    if (!document.hidden && connectionState !== "locked") {
      try {
        await job();
        interval = seconds;
      } catch (error) {
        if (!(error instanceof RequestError)) console.error(error);
        interval = Math.min(2 * interval, MAX_INTERVAL);
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 1000 * interval));
  }
}

/** Show one or more sentences in an element, or the message of an error. */
export function showMessage(element, sentences, isError = sentences instanceof Error) {
  const lines = sentences instanceof Error ? [sentences.message] : [sentences].flat();
  element.classList.toggle("bad", isError);
  element.replaceChildren(...lines.filter(Boolean).map((line) => create("span", "", line)));
  if (sentences instanceof Error && !(sentences instanceof RequestError)) console.error(sentences);
}

/** Text without case and accents, so that "emilie" finds "Émilie". */
export const folded = (text) => text.normalize("NFD").replace(/\p{Mark}/gu, "").toLocaleLowerCase();

/** "1 image" or "2 images". */
export const countImages = (count) => `${count} ${count === 1 ? "image" : "images"}`;

/** Whether a dialog is left with "yes". */
export function ask(id, title) {
  const dialog = document.getElementById(id);
  document.getElementById(`${id}-title`).textContent = title;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

/** A new element with a class and text. */
export function create(tag, className, text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.textContent = text;
  return element;
}
