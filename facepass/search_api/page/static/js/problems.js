// Failures in plain words, each with what the guest can do, and the waiting that goes on by itself.

import { hasText, onLanguage, text } from "./texts.js";
import { show, shown } from "./views.js";

const BUSY = new Set(["overloaded", "lease_expired", "database_unavailable", "broker_unavailable", "memory_budget"]);
const PICTURE = new Set([
  "damaged_image", "unsupported_image", "decoder_failed", "too_many_pixels", "file_too_large",
]);
const NETWORK = new Set(["upload_timeout"]);

/** What each problem offers; all others offer to try again. */
const ACTIONS = {
  session_not_found: ["again"],
  session_unannounced: ["again"],
  facepass_disabled: [],
  token_expired: [],
  token_required: [],
  no_face: ["camera", "file"],
  picture: ["camera", "file"],
  heic: ["camera", "file"],
  camera_denied: ["again", "file"],
  camera_busy: ["again", "file"],
  camera_missing: ["file"],
  camera_insecure: ["file"],
};

/** About the session or the link: there is no start to go back to. */
const FINAL = new Set(["session_not_found", "session_unannounced", "facepass_disabled", "token_expired", "token_required"]);

const LONGEST_WAIT_SECONDS = 60;

const view = document.querySelector('section[data-view="problem"]');
const title = document.getElementById("problem-title");
const explanation = document.getElementById("problem-text");
const countdown = document.getElementById("problem-countdown");

let current = null; // {name, again, left, timer}
let inARow = 0;

/**
 * Tell the guest what is wrong.
 *
 * @param {Error} error a Problem; anything else is a defect of ours
 * @param {() => void} again does once more what has failed
 * @param {boolean} canStart whether there is a start to go back to
 */
export function showProblem(error, again, canStart) {
  leaveProblem();
  const name = nameOf(error.code);
  current = { name, again, left: null, timer: null };
  const actions = ACTIONS[name] ?? ["again"];
  let first = true;
  for (const button of view.querySelectorAll("[data-act]")) {
    const { act } = button.dataset;
    button.hidden = act === "start" ? !canStart || FINAL.has(name) : !actions.includes(act);
    if (button.hidden) continue;
    button.className = first ? "primary" : "secondary";
    first = false;
  }
  countdown.hidden = true;
  render();
  show("problem");
  if (name === "rate_limited" || name === "busy") countDown(waitSeconds(error.retryAfter));
  if (name === "offline") window.addEventListener("online", goOn);
}

/** The problem is over, or the guest does something else. */
export function leaveProblem() {
  if (!current) return;
  clearInterval(current.timer);
  window.removeEventListener("online", goOn);
  current = null;
}

/** Something has worked: the next wait begins short again. */
export function workedAgain() {
  inARow = 0;
}

export function tryAgain() {
  goOn();
}

function nameOf(code) {
  if (BUSY.has(code)) return "busy";
  if (PICTURE.has(code)) return "picture";
  if (NETWORK.has(code)) return "network";
  return hasText(`problem.${code}.title`) ? code : "unknown";
}

/** Twice as long each time, so that many waiting guests do not all knock at once for ever. */
function waitSeconds(retryAfter) {
  inARow += 1;
  return Math.max(retryAfter ?? 0, Math.min(LONGEST_WAIT_SECONDS, 2 ** inARow));
}

function countDown(seconds) {
  const waiting = current;
  const until = Date.now() + seconds * 1000;
  waiting.left = seconds;
  countdown.hidden = false;
  render();
  waiting.timer = setInterval(() => {
    waiting.left = Math.max(0, Math.ceil((until - Date.now()) / 1000));
    render();
    if (waiting.left === 0) goOn();
  }, 250);
}

function goOn() {
  const again = current?.again;
  leaveProblem();
  again?.();
}

function render() {
  if (!current) return;
  title.textContent = text(`problem.${current.name}.title`);
  explanation.textContent = text(`problem.${current.name}.text`);
  if (current.left !== null) countdown.textContent = text("problem.countdown", { count: current.left });
}

onLanguage(() => shown() === "problem" && render());
