// Runs the detector beside the page, so that the camera's picture never stutters.

import { createDetector } from "./detector.js";

let detect = null;

self.addEventListener("message", ({ data }) => {
  if (data.weights) {
    detect = createDetector(data.weights);
    self.postMessage({ ready: true });
  } else {
    self.postMessage({ faces: detect(data.picture) });
  }
});
