// While photos are being indexed: ask how far they are, and search again when something has changed.

import { search, sessionStatus } from "./api.js";

const FIRST_MS = 3_000;
const SLOWER = 1.5;
const SLOWEST_MS = 30_000; // every guest of a session asks: what is saved here is saved a hundred times
const IDLE_MS = 60_000; // nothing is pending, but the photographer may go on
const WAIT_MS = 3_000; // for the revision that the status named to be searchable

/**
 * Watch one session for one selfie, until the signal ends it.
 *
 * @param {{blob: Blob}} selfie
 * @param {object} answer of the first search
 * @param {{onAnswer: (answer: object) => void, onPending: (count: number) => void, signal: AbortSignal}} options
 */
export async function watchSession(selfie, answer, { onAnswer, onPending, signal }) {
  let { revision, pending } = answer.freshness;
  let pause = FIRST_MS;
  while (!signal.aborted) {
    await sleep(pending || answer.freshness.behind ? pause : IDLE_MS, signal);
    await untilVisible(signal);
    if (signal.aborted) return;
    try {
      const status = await sessionStatus(signal);
      pending = status.pending;
      onPending(pending);
      if (status.revision > revision || answer.freshness.behind) {
        answer = await search(selfie.blob, { minRevision: status.revision, waitMs: WAIT_MS, signal });
        revision = answer.freshness.revision;
        onAnswer(answer);
        pending = answer.freshness.pending;
      }
      pause = Math.min(SLOWEST_MS, pause * SLOWER);
    } catch (error) {
      // whatever it was, the photos found so far stay, and the next look may get through
      pause = Math.max((error.retryAfter ?? 0) * 1000, Math.min(SLOWEST_MS, pause * 2));
    }
  }
}

function sleep(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

/** A phone in a pocket asks nothing. */
async function untilVisible(signal) {
  while (document.hidden && !signal.aborted) {
    await new Promise((resolve) => {
      document.addEventListener("visibilitychange", resolve, { once: true });
      signal.addEventListener("abort", resolve, { once: true });
    });
  }
}
