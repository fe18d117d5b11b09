// Which part of the page is shown; where the keyboard's focus and the browser's Back button go.

const sections = [...document.querySelectorAll("main > section[data-view]")];
const announcer = document.getElementById("announcer");

/** Those that Back leaves for the start, as on a page of their own. */
const DEEPER = new Set(["camera", "searching", "results"]);

let current = "checking";

export const shown = () => current;

/** Show one view. Its heading gets the focus, so that a screen reader begins there. */
export function show(name) {
  if (DEEPER.has(name) && !history.state?.deeper) history.pushState({ deeper: true }, "");
  const changed = name !== current;
  current = name;
  document.body.dataset.view = name;
  for (const section of sections) section.hidden = section.dataset.view !== name;
  if (!changed) return;
  window.scrollTo(0, 0);
  const section = sections.find((one) => one.dataset.view === name);
  section.querySelector("h1")?.focus({ preventScroll: true });
}

/** Go where the Back button goes. */
export function goToStart(showStart) {
  if (history.state?.deeper) history.back();
  else showStart();
}

export function onBack(showStart) {
  window.addEventListener("popstate", () => {
    if (!history.state?.deeper) showStart();
  });
}

/** Have a screen reader say it when it has finished its sentence. */
export function announce(message) {
  announcer.textContent = "";
  // a change that is made at once is no change to a screen reader
  setTimeout(() => (announcer.textContent = message), 50);
}
