// Chosen photos onto the device: one after the other, or as links where the photos' host does not let the page read them.

import { photoUrl } from "./config.js";
import { text } from "./texts.js";
import { announce } from "./views.js";

const BETWEEN_MS = 300; // a browser drops downloads that follow each other faster

const dialog = document.getElementById("links");
const links = document.getElementById("links-list");

/**
 * @param {string[]} photoIds
 * @param {(done: number, count: number) => void} onProgress
 */
export async function downloadPhotos(photoIds, onProgress) {
  for (const [index, photoId] of photoIds.entries()) {
    onProgress(index + 1, photoIds.length);
    const blob = await readPhoto(photoUrl(photoId));
    if (!blob) return offerLinks(photoIds.slice(index));
    save(blob, fileName(photoId, blob.type));
    await new Promise((resolve) => setTimeout(resolve, BETWEEN_MS));
  }
  return announce(text("results.downloaded", { count: photoIds.length }));
}

/** The list as a text file, for sessions without addresses of photos. */
export function saveList(photoIds) {
  save(new Blob([photoIds.join("\n"), "\n"], { type: "text/plain" }), "photos.txt");
}

/** Null if the photos' host is out of reach, or does not let pages of other hosts read (CORS). */
async function readPhoto(address) {
  try {
    const answer = await fetch(address);
    return answer.ok ? await answer.blob() : null;
  } catch {
    return null;
  }
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the browser reads it after the click
}

/** The id, as far as file systems take it, with an ending that fits. */
function fileName(photoId, type) {
  const name = photoId.replace(/[^\p{L}\p{N}._-]+/gu, "_").slice(-80);
  if (/\.(jpe?g|png|webp)$/i.test(name)) return name;
  const ending = { "image/png": "png", "image/webp": "webp" }[type] ?? "jpg";
  return `${name}.${ending}`;
}

function offerLinks(photoIds) {
  links.replaceChildren(
    ...photoIds.map((photoId, index) => {
      const item = document.createElement("li");
      const link = document.createElement("a");
      Object.assign(link, { href: photoUrl(photoId), target: "_blank", rel: "noopener noreferrer" });
      link.textContent = text("links.open", { number: index + 1 });
      item.append(link);
      return item;
    }),
  );
  dialog.showModal();
  dialog.querySelector("h2").focus();
}

document.getElementById("links-close").addEventListener("click", () => dialog.close());
