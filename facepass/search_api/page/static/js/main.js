// The guest's way: is the session open, consent, camera or file, search, results.

import { Problem, search, readSession } from "./api.js";
import { closeCamera, openCamera, shownArea } from "./camera.js";
import { watchCamera } from "./hints.js";
import { forget, selfieFromFile, selfieFromVideo } from "./pictures.js";
import { leaveProblem, showProblem, tryAgain, workedAgain } from "./problems.js";
import { forgetResults, refreshResults, showPending, showResults } from "./results.js";
import { loadTexts, onLanguage, otherLanguage, percent, switchLanguage, text } from "./texts.js";
import { goToStart, onBack, show, shown } from "./views.js";
import { watchSession } from "./watch.js";

const SLOW_MS = 8_000; // a search that takes longer needs a word of comfort
const RETRY_MS = 3_000;

const element = (id) => document.getElementById(id);
const [video, stage, hint, shutter, fileInput] = ["video", "stage", "hint", "shutter", "file"].map(element);

let selfie = null;
let open = false; // the session has been found open
let underWay = new AbortController(); // the search, or the watch after it
let stopHints = () => {};
let phase = null;
let hintKey = "";

const isDefect = (error) => !(error instanceof Problem);

async function begin() {
  show("checking");
  try {
    const session = await readSession();
    element("session-name").textContent = session.name ?? "";
    open = true;
    workedAgain();
    showStart();
  } catch (error) {
    showProblem(error, begin, false);
  }
}

/** The first view. Everything of an earlier search is forgotten. */
function showStart() {
  stopEverything();
  forgetSelfie();
  if (open) show("start");
  else begin();
}

function stopEverything() {
  underWay.abort();
  stopHints();
  closeCamera(video);
  leaveProblem();
}

function forgetSelfie() {
  forget(selfie);
  selfie = null;
  element("preview").removeAttribute("src");
  forgetResults();
}

async function takeSelfie() {
  stopEverything();
  shutter.disabled = true;
  setHint("camera.opening");
  show("camera");
  try {
    if (!(await openCamera(video, () => failed(new Problem("camera_busy"), takeSelfie)))) return;
  } catch (error) {
    failed(error, takeSelfie);
    return;
  }
  workedAgain();
  shutter.disabled = false;
  setHint("hint.none");
  stopHints = watchCamera(video, stage, (found) => setHint(`hint.${found}`));
}

function setHint(key) {
  stage.classList.toggle("good", key === "hint.good");
  if (key !== hintKey) hint.textContent = text(key);
  hintKey = key;
}

async function pressShutter() {
  shutter.disabled = true;
  stopHints();
  await prepare(() => selfieFromVideo(video, shownArea(video, stage)));
}

function chooseFile() {
  fileInput.value = "";
  fileInput.click();
}

/** Make the selfie, then search with it. */
async function prepare(make) {
  setPhase("searching.preparing");
  element("search-slow").textContent = "";
  element("preview").removeAttribute("src");
  try {
    const making = make(); // a video is drawn at once, before its view is left
    show("searching");
    const made = await making;
    forgetSelfie();
    selfie = made;
  } catch (error) {
    failed(error, chooseFile);
    return;
  }
  closeCamera(video);
  runSearch();
}

async function runSearch() {
  stopEverything();
  underWay = new AbortController();
  const { signal } = underWay;
  element("preview").src = selfie.url;
  element("preview").classList.toggle("mirrored", selfie.mirrored);
  setPhase("searching.sending", 0);
  element("search-slow").textContent = "";
  show("searching");
  const slow = setTimeout(() => (element("search-slow").textContent = text("searching.slow")), SLOW_MS);
  try {
    const answer = await search(selfie.blob, {
      signal,
      onProgress: (share) => (share < 1 ? setPhase("searching.sending", share) : setPhase("searching.looking")),
    });
    workedAgain();
    showResults(answer, selfie);
    show("results");
    watchSession(selfie, answer, { onAnswer: refreshResults, onPending: showPending, signal });
  } catch (error) {
    if (!signal.aborted) failed(error, runSearch);
  } finally {
    clearTimeout(slow);
  }
}

function setPhase(key, share) {
  phase = [key, share];
  renderPhase();
}

function renderPhase() {
  if (!phase) return;
  const [key, share] = phase;
  element("search-phase").textContent = text(key, share === undefined ? {} : { share: percent(share) });
  if (share === undefined) element("search-progress").removeAttribute("value");
  else element("search-progress").value = share;
}

function failed(error, again) {
  if (isDefect(error)) console.error(error);
  stopEverything();
  showProblem(error, again, true);
}

const ACTS = {
  camera: takeSelfie,
  file: chooseFile,
  again: tryAgain,
  back: () => goToStart(showStart),
  cancel: () => goToStart(showStart),
  start: () => goToStart(showStart),
};

function listen() {
  for (const button of document.querySelectorAll("[data-act]")) {
    button.addEventListener("click", () => ACTS[button.dataset.act]());
  }
  shutter.addEventListener("click", pressShutter);
  fileInput.addEventListener("change", () => {
    const [file] = fileInput.files;
    if (file) prepare(() => selfieFromFile(file));
  });
  element("language").addEventListener("click", switchLanguage);
  onBack(showStart);
  // a page that comes back from the browser's memory would show the last guest's selfie
  window.addEventListener("pageshow", (event) => event.persisted && location.reload());
  onLanguage(() => {
    Object.assign(element("language"), { textContent: text("language.switch"), lang: otherLanguage() });
    if (hintKey) hint.textContent = text(hintKey);
    renderPhase();
  });
}

/** Without words there is no page: on a broken network they are asked for until they come. */
async function readTexts() {
  try {
    await loadTexts();
  } catch {
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    await readTexts();
  }
}

await readTexts();
if (history.state?.deeper) history.replaceState(null, ""); // reloaded in the middle: nothing of it is left
listen();
begin();
