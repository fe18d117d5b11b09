// The calls to the server. Every failure is a Problem with a code that problems.js has words for.

import { API, guestToken, SESSION_ID } from "./config.js";

const ANSWER_MS = 20_000; // a small answer that takes longer will not come
const STANDSTILL_MS = 45_000; // a search may wait for its session to be loaded, a slow upload must only move

export class Problem extends Error {
  /** @param {string} code  @param {number | null} retryAfter seconds */
  constructor(code, retryAfter = null) {
    super(code);
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

const session = encodeURIComponent(SESSION_ID);

/** The session, if a guest may search in it. (`/sessions/validate/` refuses by the same rule, but names no code.) */
export const readSession = () => getJson(`sessions/${session}`);

/** How far the session is indexed. */
export const sessionStatus = (signal) => getJson(`search/status/${session}`, signal);

async function getJson(path, signal) {
  const controller = new AbortController();
  const abort = () => controller.abort();
  const timer = setTimeout(abort, ANSWER_MS);
  signal?.addEventListener("abort", abort);
  try {
    const answer = await fetch(new URL(path, API), {
      headers: authorization(),
      signal: controller.signal,
      cache: "no-store",
    });
    const body = await answer.json().catch(() => ({}));
    if (!answer.ok) throw refusal(answer.status, body, answer.headers.get("Retry-After"));
    return body;
  } catch (error) {
    throw error instanceof Problem || signal?.aborted ? error : networkProblem();
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}

/**
 * Search with a selfie. XMLHttpRequest, because fetch tells nothing of an upload's progress.
 *
 * @param {Blob} selfie
 * @param {{minRevision?: number, waitMs?: number, signal?: AbortSignal, onProgress?: (share: number) => void}} options
 */
export function search(selfie, { minRevision = 0, waitMs = 0, signal, onProgress = () => {} } = {}) {
  const form = new FormData();
  form.set("session_id", SESSION_ID);
  form.set("min_revision", String(minRevision));
  form.set("wait_ms", String(waitMs));
  form.set("file", selfie, "selfie.jpg");
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    let timer;
    const abort = () => request.abort();
    const moved = () => {
      clearTimeout(timer);
      timer = setTimeout(abort, STANDSTILL_MS);
    };
    request.open("POST", new URL("search", API));
    request.responseType = "json";
    for (const [name, value] of Object.entries(authorization())) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", (event) => {
      moved();
      if (event.lengthComputable) onProgress(event.loaded / event.total);
    });
    request.addEventListener("load", () => {
      if (request.status === 200 && request.response) resolve(request.response);
      else reject(refusal(request.status, request.response ?? {}, request.getResponseHeader("Retry-After")));
    });
    request.addEventListener("error", () => reject(networkProblem()));
    request.addEventListener("abort", () => {
      reject(signal?.aborted ? new DOMException("cancelled", "AbortError") : networkProblem());
    });
    request.addEventListener("loadend", () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    });
    signal?.addEventListener("abort", abort);
    moved();
    request.send(form);
  });
}

function authorization() {
  const token = guestToken();
  return token ? { Authorization: `Bearer ${token}` } : {};
}

const networkProblem = () => new Problem(navigator.onLine ? "network" : "offline");

function refusal(status, body, retryAfter) {
  const byStatus = { 403: "facepass_disabled", 404: "session_not_found", 429: "rate_limited", 502: "busy", 504: "busy" };
  const code = body.code ?? byStatus[status] ?? (status === 503 ? "busy" : "unknown");
  const seconds = Number.parseInt(retryAfter ?? "", 10);
  return new Problem(code, Number.isNaN(seconds) ? null : seconds);
}
