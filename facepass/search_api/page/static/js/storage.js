// What stays on this device: the language, and ids of photos that the guest has hidden. Nothing else, no picture.

// A browser may forbid storage (private windows): then it is kept until the page is closed.
const forgotten = new Map();

export function recall(name) {
  try {
    return localStorage.getItem(name) ?? forgotten.get(name) ?? null;
  } catch {
    return forgotten.get(name) ?? null;
  }
}

export function remember(name, value) {
  forgotten.set(name, value);
  try {
    localStorage.setItem(name, value);
  } catch {
    // kept in memory
  }
}
