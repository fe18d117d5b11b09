// All texts of the page, in the guest's language.
//
// A text may hold {names}. One that counts is an object by plural category (one, few, many, other), chosen by `count`.

import { ASSETS, LANGUAGES } from "./config.js";
import { recall, remember } from "./storage.js";

let language = "";
let texts = {};

/** Load the language that the guest chose, else the one that the server chose by Accept-Language. */
export async function loadTexts() {
  const chosen = recall("facepass.language");
  await use(LANGUAGES.includes(chosen) ? chosen : document.documentElement.lang);
}

/** Go on in the other language and keep it. Everything shown is put into words anew. */
export async function switchLanguage() {
  await use(otherLanguage());
  remember("facepass.language", language);
}

export const otherLanguage = () => LANGUAGES.find((other) => other !== language);

/** Calls `render` now and after every change of the language. */
export function onLanguage(render) {
  document.addEventListener("facepass-language", render);
  render();
}

export function text(key, values = {}) {
  const entry = texts[key];
  if (entry === undefined) throw new Error(`no text ${key}`);
  const chosen = typeof entry === "string" ? entry : entry[new Intl.PluralRules(language).select(values.count)];
  return chosen.replace(/\{(\w+)\}/g, (_, name) => inWords(values[name]));
}

export const hasText = (key) => key in texts;

export function percent(share) {
  return new Intl.NumberFormat(language, { style: "percent" }).format(share);
}

function inWords(value) {
  return typeof value === "number" ? new Intl.NumberFormat(language).format(value) : String(value);
}

async function use(wanted) {
  const answer = await fetch(new URL(`texts/${wanted}.json`, ASSETS));
  if (!answer.ok) throw new Error(`no texts in ${wanted}`);
  texts = await answer.json();
  language = wanted;
  document.documentElement.lang = language;
  document.title = text("start.title");
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = text(element.dataset.text);
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", text(element.dataset.label));
  }
  document.dispatchEvent(new Event("facepass-language"));
}
