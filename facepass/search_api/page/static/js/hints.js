// Live hints for the camera: measured in the browser, so that no picture leaves the device for them.

import { shownArea } from "./camera.js";
import { ASSETS } from "./config.js";

const SIDE = 192; // longer side of the picture that is looked at, pixels: a face of a tenth of it is still found
const PAUSE_MS = 250;
const DARK = 40; // mean brightness of a face, 0 to 255. The server warns below 30: dark skin in good light is above both
const OUTLINE = { x: 0.5, y: 0.48 }; // centre of the outline, as a share of the stage
const FAR = 0.26; // width of a face as a share of the stage's
const CLOSE = 0.72;
const ASIDE = 0.17;
const OTHER_FACE = 0.35; // a face this wide beside the largest one is somebody in the picture, not the background

let worker = null;

/**
 * Look at the camera until it is stopped.
 *
 * @param {(hint: string) => void} onHint called when a hint has been true twice in a row
 * @returns {() => void} ends it
 */
export function watchCamera(video, stage, onHint) {
  let ended = false;
  let last = "";
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
  const look = async () => {
    const detect = await detector();
    while (!ended) {
      const begun = performance.now();
      if (video.videoWidth && !document.hidden) {
        const picture = frame(video, stage, canvas, context);
        const hint = hintOf(picture, detect ? await detect(picture) : null);
        if (ended) return;
        if (hint === last) onHint(hint);
        last = hint;
      }
      // a slow phone gets longer pauses, so that at most a third of its time goes into hints
      await new Promise((resolve) => setTimeout(resolve, Math.max(PAUSE_MS, 2 * (performance.now() - begun))));
    }
  };
  look();
  return () => (ended = true);
}

/** The hint for a picture: the first thing that is wrong with it. `faces` null: nothing is known of them. */
export function hintOf(picture, faces) {
  if (!faces) return brightness(picture, { x: 0, y: 0, ...picture }) < DARK ? "dark" : "none";
  const largest = faces.reduce((one, other) => (other.width > one.width ? other : one), { width: 0 });
  if (!largest.width) return brightness(picture, { x: 0, y: 0, ...picture }) < DARK ? "dark" : "none";
  const around = faces.filter((face) => face.width >= OTHER_FACE * largest.width);
  if (around.length > 1) return "several";
  if (brightness(picture, largest) < DARK) return "dark";
  const share = largest.width / picture.width;
  if (share < FAR) return "far";
  if (share > CLOSE) return "close";
  const across = (largest.x + largest.width / 2) / picture.width - OUTLINE.x;
  const down = (largest.y + largest.height / 2) / picture.height - OUTLINE.y;
  return Math.abs(across) > ASIDE || Math.abs(down) > ASIDE ? "aside" : "good";
}

/** Mean brightness of a part of the picture, 0 to 255 (Rec. 601). */
export function brightness({ data, width, height }, box) {
  const left = Math.max(0, Math.round(box.x));
  const top = Math.max(0, Math.round(box.y));
  const right = Math.min(width, Math.round(box.x + box.width));
  const bottom = Math.min(height, Math.round(box.y + box.height));
  let sum = 0;
  for (let y = top; y < bottom; y++) {
    for (let at = (y * width + left) * 4, end = (y * width + right) * 4; at < end; at += 4) {
      sum += 0.299 * data[at] + 0.587 * data[at + 1] + 0.114 * data[at + 2];
    }
  }
  return sum / Math.max(1, (right - left) * (bottom - top));
}

function frame(video, stage, canvas, context) {
  const area = shownArea(video, stage);
  const factor = SIDE / Math.max(area.width, area.height);
  canvas.width = Math.round(area.width * factor);
  canvas.height = Math.round(area.height * factor);
  context.drawImage(video, area.x, area.y, area.width, area.height, 0, 0, canvas.width, canvas.height);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

/** A function from a picture to its faces; null where the browser or the network does not allow one. */
async function detector() {
  worker ??= startWorker();
  return worker;
}

async function startWorker() {
  try {
    const answer = await fetch(new URL("detector.bin", ASSETS));
    if (!answer.ok) return null;
    const weights = await answer.arrayBuffer();
    const running = new Worker(new URL("./detector-worker.js", import.meta.url), { type: "module" });
    const answered = (message, moved = []) =>
      new Promise((resolve, reject) => {
        running.onmessage = ({ data }) => resolve(data);
        running.onerror = () => reject(new Error("the detector does not run"));
        running.postMessage(message, moved);
      });
    await answered({ weights }, [weights]);
    return async (picture) => (await answered({ picture })).faces;
  } catch {
    return null; // hints tell of the light only
  }
}
