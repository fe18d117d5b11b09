// The camera: opened for the camera view, closed with it.

import { Problem } from "./api.js";

let stream = null;

/**
 * Show the front camera in a video element.
 *
 * @param {() => void} onLost called when the camera goes away by itself
 */
export async function openCamera(video, onLost) {
  closeCamera(video);
  if (!navigator.mediaDevices) throw new Problem("camera_insecure");
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      video: { facingMode: "user", width: { ideal: 1280 }, height: { ideal: 960 } },
      audio: false,
    });
  } catch (error) {
    throw new Problem(problemOf(error));
  }
  for (const track of stream.getTracks()) track.addEventListener("ended", onLost);
  video.srcObject = stream;
  await video.play().catch(() => {}); // autoplay: it has begun already
}

export function closeCamera(video) {
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = null;
  video.srcObject = null;
}

export const cameraIsOpen = () => stream !== null;

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
