// The server's API, and what the parts of the page share. Names and reasons are set as text, never as HTML.

export const $ = (id) => document.getElementById(id);

export class Refused extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

export async function ask(method, path, body) {
  const options = { method, credentials: "same-origin" };
  if (body instanceof FormData) options.body = body;
  else if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers = { "Content-Type": "application/json" };
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Refused(0, "The server cannot be reached.");
  }
  const told = answer.status === 204 ? null : await answer.json().catch(() => null);
  if (answer.ok) return told;
  const detail = told?.detail;
  throw new Refused(answer.status, typeof detail === "string" ? detail : `The server refused (${answer.status}).`);
}

export function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

// Do what a form is for, and say at `where` how it went.
export async function attempt(form, where, action) {
  const button = form.querySelector("button");
  button.disabled = true;
  where.className = "answer";
  where.textContent = "…";
  try {
    where.textContent = (await action()) ?? "";
  } catch (error) {
    where.className = "answer bad";
    where.textContent = error.message;
  }
  button.disabled = false;
}
