// Signing out, and links for other browsers.
import { request, showMessage } from "./server.js";

const dialog = document.getElementById("account");
const message = document.getElementById("account-message");

/** Connect the dialog; `onSignedOut` is called after signing out. */
export function startAccount(onSignedOut) {
  document.getElementById("open-account").addEventListener("click", () => {
    showMessage(message, "");
    dialog.showModal();
  });
  for (const role of ["viewer", "admin"]) {
    document.getElementById(`link-${role}`).addEventListener("click", () => showLink(role));
  }
  for (const [id, everyone] of [["sign-out", false], ["sign-out-all", true]]) {
    document.getElementById(id).addEventListener("click", () => signOut(everyone, onSignedOut));
  }
}

async function showLink(role) {
  try {
    const link = await request("/api/links", { method: "POST", json: { role } });
    const minutes = Math.round(link.seconds / 60);
    showMessage(message, [`${location.origin}/#code=${link.code}`, `For one ${role}, within ${minutes} minutes.`]);
  } catch (error) {
    showMessage(message, error);
  }
}

async function signOut(everyone, onSignedOut) {
  try {
    await request("/api/logout", { method: "POST", json: { everyone } });
    dialog.close();
    onSignedOut();
  } catch (error) {
    showMessage(message, error);
  }
}
