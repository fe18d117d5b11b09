// Selfies as they are sent: upright JPEGs of at most 2048 pixels a side, without the file's metadata.

import { Problem } from "./api.js";

export const LONGEST_SIDE = 2048; // the server looks for a selfie's face at 640, and at 1280 if it finds none
const QUALITY = 0.9;

/** @typedef {{blob: Blob, url: string, width: number, height: number, mirrored: boolean}} Selfie */

/**
 * A selfie from a file of any size that the browser can read.
 *
 * The picture goes through an <img>, because browsers decode a large JPEG for a small canvas at a fraction of its size,
 * and turn it upright; a bitmap of 48 megapixels would take 200 MB of a phone's memory.
 *
 * @returns {Promise<Selfie>}
 */
export async function selfieFromFile(file) {
  const url = URL.createObjectURL(file);
  try {
    const image = new Image();
    await new Promise((resolve, reject) => {
      image.addEventListener("load", resolve);
      image.addEventListener("error", () => reject(unreadable(file)));
      image.src = url;
    });
    if (!image.naturalWidth || !image.naturalHeight) throw unreadable(file);
    return await drawn(image, { width: image.naturalWidth, height: image.naturalHeight }, false);
  } finally {
    URL.revokeObjectURL(url);
  }
}

/**
 * A selfie from what the camera's stage shows of the video.
 *
 * @returns {Promise<Selfie>}
 */
export const selfieFromVideo = (video, area) => drawn(video, area, true);

export function forget(selfie) {
  if (selfie) URL.revokeObjectURL(selfie.url);
}

async function drawn(source, { x = 0, y = 0, width, height }, mirrored) {
  const factor = Math.min(1, LONGEST_SIDE / Math.max(width, height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * factor));
  canvas.height = Math.max(1, Math.round(height * factor));
  const context = canvas.getContext("2d", { alpha: false });
  context.fillStyle = "white"; // behind a transparent PNG
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(source, x, y, width, height, 0, 0, canvas.width, canvas.height);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
  if (!blob) throw new Problem("picture");
  return { blob, url: URL.createObjectURL(blob), width: canvas.width, height: canvas.height, mirrored };
}

function unreadable(file) {
  return new Problem(/hei[cf]/i.test(`${file.type} ${file.name}`) ? "heic" : "picture");
}
