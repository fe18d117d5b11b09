// What a search has found: the photos, what is to be said of the selfie, and how far the session is indexed.

import { downloadPhotos, saveList } from "./downloads.js";
import { photoUrl } from "./config.js";
import {
  chosenIds, clearChoice, clearPhotos, hiddenIds, onPhotos, showMatches, shownIds, unhideAll,
} from "./photos.js";
import { hasText, onLanguage, text } from "./texts.js";
import { announce, shown } from "./views.js";

const SVG_LINK = "href";
const element = (id) => document.getElementById(id);

let answer = null;
let selfie = null;
let pending = 0;
let wasPending = false;

/** Show the first answer for a selfie. */
export function showResults(found, usedSelfie) {
  clearPhotos();
  [answer, selfie, pending, wasPending] = [found, usedSelfie, found.freshness.pending, false];
  showMatches(found.matches, false);
  showSelfie();
  render();
}

/** Show a later answer for the same selfie; new photos are marked and announced. */
export function refreshResults(found) {
  [answer, pending] = [found, found.freshness.pending];
  const count = showMatches(found.matches, true);
  render();
  if (count) announce(text("results.more", { count }));
}

/** How many photos are not indexed yet. */
export function showPending(count) {
  pending = count;
  render();
}

export function forgetResults() {
  clearPhotos();
  answer = selfie = null;
  for (const id of ["selfie-image", "whole-image"]) element(id).removeAttribute(SVG_LINK);
}

function render() {
  if (!answer) return;
  const count = shownIds().length;
  element("results-title").textContent = count ? text("results.title", { count }) : text("results.none");
  element("results-searched").textContent = text("results.searched", { count: answer.freshness.indexed_photos });
  element("nothing").hidden = answer.matches.length > 0;
  element("about-likeness").hidden = !count;
  element("ids-note").hidden = !count || withPictures();
  const hidden = hiddenIds().length;
  element("hidden-line").hidden = !hidden;
  element("hidden-count").textContent = text("results.hidden", { count: hidden });
  renderPending();
  renderWarnings();
  renderBar(count);
}

function renderPending() {
  const line = element("pending");
  wasPending ||= pending > 0;
  line.hidden = !wasPending;
  line.classList.toggle("done", pending === 0);
  setText(line, pending ? text("results.pending", { count: pending }) : text("results.done"));
}

/** A live region is read again at every change, so it is changed only when the words do. */
function setText(line, words) {
  if (line.textContent !== words) line.textContent = words;
}

function renderWarnings() {
  const codes = warnings().map((warning) => warning.code);
  element("warnings").hidden = !codes.length;
  element("warning-list").replaceChildren(
    ...codes.map((code) => {
      const item = document.createElement("li");
      item.textContent = text(`warning.${code}`);
      return item;
    }),
  );
}

const warnings = () => (answer.warnings ?? []).filter((warning) => hasText(`warning.${warning.code}`));

/** The selfie beside the heading; with several faces also the whole of it, the face that was searched for framed. */
function showSelfie() {
  const { width, height, url } = selfie;
  const box = warnings().find((warning) => warning.box)?.box;
  const side = Math.min(width, height);
  const centre = box ? [box.x + box.width / 2, box.y + box.height / 2] : [width / 2, height / 2];
  const part = box ? Math.min(side, Math.max(box.width, box.height) * 2) : side;
  const left = Math.min(Math.max(0, centre[0] - part / 2), width - part);
  const top = Math.min(Math.max(0, centre[1] - part / 2), height - part);
  element("selfie").setAttribute("viewBox", `${left} ${top} ${part} ${part}`);
  element("whole").setAttribute("viewBox", `0 0 ${width} ${height}`);
  for (const id of ["selfie-image", "whole-image"]) setAttributes(id, { width, height, [SVG_LINK]: url });
  element("selfie").classList.toggle("mirrored", selfie.mirrored);
  element("whole").classList.toggle("mirrored", selfie.mirrored);
  element("whole").toggleAttribute("hidden", !box);
  if (box) setAttributes("whole-box", { ...box, "stroke-width": width / 40, rx: width / 60 });
}

function setAttributes(id, values) {
  for (const name of Object.keys(values)) element(id).setAttribute(name, values[name]);
}

const withPictures = () => photoUrl("x") !== null;

function renderBar(count) {
  const choice = chosenIds().length;
  element("bar").hidden = !count;
  element("clear").hidden = !choice;
  element("copy").hidden = withPictures() || !navigator.clipboard;
  element("download").textContent = withPictures()
    ? text(choice ? "results.download_some" : "results.download_all", { count: choice || count })
    : text("results.save");
}

function wantedIds() {
  const choice = chosenIds();
  return choice.length ? choice : shownIds();
}

async function download(event) {
  const button = event.currentTarget;
  if (!withPictures()) return saveList(wantedIds());
  button.disabled = true;
  try {
    return await downloadPhotos(wantedIds(), (done, count) => {
      button.textContent = text("results.downloading", { done, count });
    });
  } finally {
    button.disabled = false;
    render();
    button.focus();
  }
}

async function copy() {
  await navigator.clipboard.writeText(wantedIds().join("\n"));
  announce(text("results.copied"));
}

onPhotos(render);
onLanguage(() => shown() === "results" && render());
element("show-hidden").addEventListener("click", unhideAll);
element("clear").addEventListener("click", () => {
  clearChoice();
  element("download").focus();
});
element("copy").addEventListener("click", copy);
element("download").addEventListener("click", download);
