// What the pages share: elements, short messages, and photos that are chosen, pasted or dropped.

export const $ = (id) => document.getElementById(id);

export const make = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};

/** Put an element at a rectangle of the page. */
export const putAt = ({ style }, { x, y, w, h }) => Object.assign(style, { left: `${x}px`, top: `${y}px`, width: `${w}px`, height: `${h}px` });

/** Tell whether whoever looks may do what a role may. */
export const may = (role) => ROLES.indexOf(document.body.dataset.role) >= ROLES.indexOf(role);
const ROLES = ["viewer", "phone", "operator"];

// The cookie has the token now; the address is seen, kept as a bookmark and passed on.
const address = new URL(location.href);
if (address.searchParams.has("token")) {
  address.searchParams.delete("token");
  history.replaceState(null, "", address);
}

/** Write a number with its noun: 1 object, 1,234 objects. */
export const counted = (n, thing) => `${n.toLocaleString("en")} ${thing}${n === 1 ? "" : "s"}`;

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
  if (!may("phone")) return;
  const most = Number(document.body.dataset.uploadMb);   // a larger one would be cut off while it is sent
  const first = ([file]) => {
    if (file?.size > most << 20) toast(`the photo is larger than ${most} MB`);
    else if (file) search(file);
  };
  $("file").onchange = () => { first($("file").files); $("file").value = ""; };
  addEventListener("paste", (event) => first(event.clipboardData.files));
  let inside = 0;
  const shade = (by) => { inside = by && Math.max(0, inside + by); $("drop")?.classList.toggle("open", inside > 0); };
  addEventListener("dragenter", () => shade(1));
  addEventListener("dragleave", () => shade(-1));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => { event.preventDefault(); shade(0); first(event.dataTransfer.files); });
}
