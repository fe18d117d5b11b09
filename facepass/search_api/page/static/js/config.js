// What the server and the link tell the page.

const values = JSON.parse(document.querySelector('meta[name="facepass"]').content);

export const SESSION_ID = values.session;
export const LANGUAGES = values.languages;

/** Address of the API and of the page's own files; relative, so that a proxy may put a path before them. */
export const API = new URL("../../", location.href);
export const ASSETS = new URL(values.base, location.href);

/** The guest's token stands in the link's fragment: that part of an address never leaves the browser. */
export function guestToken() {
  return new URLSearchParams(location.hash.slice(1)).get("token");
}

/** Where a photo lies, or null if the operator has not said. */
export const photoUrl = (photoId) => filledIn(values.photo_url, photoId);
export const thumbnailUrl = (photoId) => filledIn(values.thumbnail_url, photoId);

function filledIn(template, photoId) {
  if (!template) return null;
  const ids = { "{photo_id}": photoId, "{session_id}": SESSION_ID };
  return template.replace(/\{photo_id\}|\{session_id\}/g, (name) => encodeURIComponent(ids[name]));
}
