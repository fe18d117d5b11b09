// The list of found photos: one tile each, kept over refreshes, so that choice, focus and place stay.

import { photoUrl, thumbnailUrl } from "./config.js";
import { hide, isHidden, showAgain } from "./hidden.js";
import { onLanguage, percent, text } from "./texts.js";
import { announce } from "./views.js";

const SURE = 0.85; // 0.7 is where the same person begins; far above it hardly anyone else is
const LIKELY = 0.77;

const list = document.getElementById("photos");
const template = document.getElementById("photo-template");

/** By photo id: {match, tile, isNew}. */
let tiles = new Map();
let matches = [];
let chosen = new Set();
let changed = () => {};

/** Calls `listener` whenever what is shown or chosen has changed. */
export function onPhotos(listener) {
  changed = listener;
}

export function clearPhotos() {
  tiles = new Map();
  matches = [];
  chosen = new Set();
  list.replaceChildren();
}

/**
 * Show these matches, best first.
 *
 * @param {boolean} refreshed a later answer for the same selfie: what was not in the earlier one is new
 * @returns {number} how many of them are new and shown
 */
export function showMatches(found, refreshed) {
  matches = found;
  const before = tiles;
  tiles = new Map(found.map((match) => [match.photo_id, before.get(match.photo_id) ?? tileOf(match, refreshed)]));
  for (const match of found) tiles.get(match.photo_id).match = match;
  chosen = new Set([...chosen].filter((photoId) => tiles.has(photoId)));
  arrange();
  return found.filter((match) => !before.has(match.photo_id) && !isHidden(match.photo_id)).length;
}

/** Ids of the photos that are shown, in their order. */
export const shownIds = () => matches.map((match) => match.photo_id).filter((photoId) => !isHidden(photoId));
export const chosenIds = () => shownIds().filter((photoId) => chosen.has(photoId));
export const hiddenIds = () => matches.map((match) => match.photo_id).filter(isHidden);

export function clearChoice() {
  chosen.clear();
  arrange();
}

export function unhideAll() {
  const hidden = hiddenIds();
  showAgain(hidden);
  arrange();
  tiles.get(hidden[0])?.tile.querySelector(".not-me").focus();
}

/** Put the tiles in order. One that stays where it is is not touched: it may have the focus. */
function arrange() {
  const wanted = shownIds().map((photoId) => tiles.get(photoId));
  const kept = new Set(wanted.map(({ tile }) => tile));
  for (const tile of [...list.children]) if (!kept.has(tile)) tile.remove();
  wanted.forEach((entry, index) => {
    if (list.children[index] !== entry.tile) list.insertBefore(entry.tile, list.children[index] ?? null);
    describe(entry, index + 1);
  });
  changed();
}

function tileOf(match, isNew) {
  const photoId = match.photo_id;
  const tile = template.content.firstElementChild.cloneNode(true);
  const part = (selector) => tile.querySelector(selector);
  const [address, small] = [photoUrl(photoId), thumbnailUrl(photoId)];
  tile.classList.toggle("without-picture", !small);
  part(".id").textContent = photoId;
  if (small) {
    part("img").addEventListener("error", () => tile.classList.add("without-picture"));
    part("img").src = small;
  }
  if (address) part(".picture").href = address;
  part("input").addEventListener("change", (event) => {
    if (event.target.checked) chosen.add(photoId);
    else chosen.delete(photoId);
    changed();
  });
  part(".not-me").addEventListener("click", () => notMe(photoId));
  return { match, tile, isNew };
}

/** All words of a tile, and its number, which may have changed. */
function describe({ match, tile, isNew }, number) {
  const part = (selector) => tile.querySelector(selector);
  const { similarity } = match;
  const words = similarity >= SURE ? "sure" : similarity >= LIKELY ? "likely" : "perhaps";
  part("img").alt = text("photo.alt", { number });
  part(".picture").setAttribute("aria-label", text("photo.open", { number }));
  part("input").checked = chosen.has(match.photo_id);
  part("input").setAttribute("aria-label", text("photo.pick", { number }));
  part(".share").textContent = percent(Math.floor(similarity * 100) / 100);
  part(".likeness").textContent = text(`likeness.${words}`);
  part(".new").hidden = !isNew;
  part(".new").textContent = text("photo.new");
  part(".not-me").textContent = text("photo.not_me");
  part(".not-me").setAttribute("aria-label", text("photo.not_me_which", { number }));
}

function notMe(photoId) {
  const at = shownIds().indexOf(photoId);
  hide(photoId);
  chosen.delete(photoId);
  arrange();
  announce(text("photo.hid"));
  // the focus goes to the photo that has taken this one's place
  const next = list.children[Math.min(at, list.children.length - 1)]?.querySelector(".not-me");
  (next ?? document.getElementById("show-hidden")).focus();
}

onLanguage(() => matches.length && arrange());
