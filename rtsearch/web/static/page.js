// What the pages share: elements, short messages, and photos that are chosen, pasted or dropped.

export const $ = (id) => document.getElementById(id);

export const make = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};

export const clock = (s) => `${Math.floor(Math.max(0, s) / 60)}:${String(Math.floor(Math.max(0, s) % 60)).padStart(2, "0")}`;

/** Colours of the settings, for what is drawn on a canvas. */
export const colours = {};

function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const [key, name] of Object.entries({ ground: "ground", ink: "ink", accent: "accent", parts: "ground-parts" })) colours[key] = style.getPropertyValue(`--${name}`).trim();
}

readColours();

/** Get the colours of another theme; resolves once they are there. */
export const turnTo = (theme) => new Promise((done) => {
  const before = $("theme"), next = before.cloneNode();
  next.href = `/theme.css?${encodeURIComponent(theme)}`;
  next.onload = () => { before.remove(); readColours(); done(); };
  next.onerror = () => { next.remove(); done(); };
  before.after(next);
});

let hiding;

/** Show some words for a moment, or until the next ones; none hides them. */
export function toast(words, stays = false) {
  clearTimeout(hiding);
  if (words) $("toast").textContent = words;
  $("toast").classList.toggle("open", Boolean(words));
  if (words && !stays) hiding = setTimeout(() => $("toast").classList.remove("open"), 4000);
}

/** Call search with each photo that somebody chooses, pastes or drops. */
export function onPhoto(search) {
  const first = ([file]) => { if (file) search(file); };
  $("file").onchange = () => { first($("file").files); $("file").value = ""; };
  addEventListener("paste", (event) => first(event.clipboardData.files));
  let inside = 0;
  const shade = (by) => { inside = by && Math.max(0, inside + by); $("drop")?.classList.toggle("open", inside > 0); };
  addEventListener("dragenter", () => shade(1));
  addEventListener("dragleave", () => shade(-1));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => { event.preventDefault(); shade(0); first(event.dataTransfer.files); });
}
