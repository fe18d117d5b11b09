// The camera: opened for the camera view, closed with it.

import { Problem } from "./api.js";

let stream = null;
let opening = 0; // which opening is the newest: the browser may ask the guest for as long as it takes

/**
 * Show the front camera in a video element.
 *
 * @param {() => void} onLost called when the camera goes away by itself
 * @returns {Promise<boolean>} false if it was closed, or opened once more, in the meantime
 */
export async function openCamera(video, onLost) {
  closeCamera(video);
  const mine = opening;
  if (!navigator.mediaDevices) throw new Problem(isSecureContext ? "camera_missing" : "camera_insecure");
  let opened;
  try {
    opened = await navigator.mediaDevices.getUserMedia({
      video: { facingMode: "user", width: { ideal: 1280 }, height: { ideal: 960 } },
      audio: false,
    });
  } catch (error) {
    if (mine !== opening) return false;
    throw new Problem(problemOf(error));
  }
  if (mine !== opening) {
    stop(opened);
    return false;
  }
  stream = opened;
  for (const track of stream.getTracks()) track.addEventListener("ended", onLost);
  video.srcObject = stream;
  await video.play().catch(() => {}); // autoplay: it has begun already
  return mine === opening;
}

export function closeCamera(video) {
  opening += 1;
  stop(stream);
  stream = null;
  video.srcObject = null;
}

function stop(ended) {
  for (const track of ended?.getTracks() ?? []) track.stop();
}

/** The part of the video that the stage shows of it, in the video's pixels: centred, the rest cut off. */
export function shownArea(video, stage) {
  const { videoWidth, videoHeight } = video;
  const factor = Math.min(videoWidth / stage.clientWidth, videoHeight / stage.clientHeight);
  const width = stage.clientWidth * factor;
  const height = stage.clientHeight * factor;
  return { x: (videoWidth - width) / 2, y: (videoHeight - height) / 2, width, height };
}

function problemOf(error) {
  switch (error.name) {
    case "NotAllowedError":
    case "SecurityError":
      return "camera_denied";
    case "NotFoundError":
    case "OverconstrainedError":
      return "camera_missing";
    default:
      return "camera_busy";
  }
}
