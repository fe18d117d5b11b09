// "Not me": ids of photos that the guest has hidden, kept on this device for this session.

import { SESSION_ID } from "./config.js";
import { recall, remember } from "./storage.js";

const NAME = `facepass.hidden.${SESSION_ID}`;

const ids = new Set(stored());

function stored() {
  try {
    const found = JSON.parse(recall(NAME) ?? "[]");
    return Array.isArray(found) ? found : [];
  } catch {
    return [];
  }
}

export const isHidden = (photoId) => ids.has(photoId);

export function hide(photoId) {
  ids.add(photoId);
  remember(NAME, JSON.stringify([...ids]));
}

export function showAgain(photoIds) {
  for (const photoId of photoIds) ids.delete(photoId);
  remember(NAME, JSON.stringify([...ids]));
}
