// Strips of crops: elements are kept by track and row, so that nothing flickers and what moves glides.

import { fitCrops } from "./layout.js";

const RATIOS = [2 / 3, 4 / 5, 1, 5 / 4, 3 / 2];
const FADE_MS = 280;

const element = (tag, name, text = "") => {
  const made = document.createElement(tag);
  made.className = name;
  if (text) made.textContent = text;
  return made;
};

export class Strips {
  constructor(root, on) { this.root = root; this.on = on; this.strips = new Map(); this.area = { w: 1 }; }

  place(area) {
    this.area = area;
    Object.assign(this.root.style, { width: `${area.w}px`, height: `${area.h}px`, transform: `translate(${area.x}px, ${area.y}px)` });
  }

  /** Show items {key, slot, number, name, score, rows, aspect, pinned, held}; sizes as of layout.stripSizes. */
  show(items, sizes, look) {
    const alive = new Set();
    for (const item of items) {
      alive.add(item.key);
      let strip = this.strips.get(item.key);
      if (!strip) {
        strip = new Strip(item, this.on);
        this.strips.set(item.key, strip);
        this.root.append(strip.element);
        strip.move(item.slot * sizes.pitch);
        strip.element.getBoundingClientRect();   // else it would fade in from nowhere
        strip.element.classList.remove("new");
      }
      strip.update(item, sizes, this.area.w, look);
    }
    for (const [key, strip] of this.strips) {
      if (alive.has(key)) continue;
      this.strips.delete(key);
      strip.element.classList.add("gone");
      setTimeout(() => strip.element.remove(), FADE_MS);
    }
  }
}

class Strip {
  constructor(item, on) {
    this.element = element("section", "strip new");
    this.number = element("span", "number");
    this.name = element("span", "name");
    this.score = element("span", "score");
    this.pin = element("button", "");
    const header = element("header", "");
    header.append(this.number, this.name, this.score, this.pin);
    this.tiles = element("div", "tiles");
    this.element.append(header, this.tiles);
    this.shown = new Map();   // place in the strip: tile
    this.key = item.key;
    this.ratio = RATIOS.reduce((best, r) => Math.abs(Math.log(r / item.aspect)) < Math.abs(Math.log(best / item.aspect)) ? r : best, 1);
    this.element.onpointerenter = () => on.light(this.key);
    this.element.onpointerleave = () => on.light(null);
    this.pin.onclick = () => on.pin(this.key);
    this.tiles.onclick = (event) => {
      const tile = event.target.closest(".tile");
      if (tile) on.open(Number(tile.dataset.row));
    };
  }

  move(y) {
    if (y !== this.y) this.element.style.transform = `translate(0, ${Math.round(y)}px)`;
    this.y = y;
  }

  update(item, sizes, width, look) {
    this.move(item.slot * sizes.pitch);
    const state = `strip${item.pinned ? " pinned" : ""}${look.lit.has(item.key) ? " lit" : look.lit.size ? " dim" : ""}`;
    if (this.element.className !== state) this.element.className = state;
    text(this.number, item.number ? String(item.number) : "");
    text(this.name, look.text === "none" ? "" : item.name);
    text(this.score, look.text === "all" && item.score ? `${Math.round(item.score * 100)}` : "");
    text(this.pin, item.pinned ? "unpin" : "pin");
    const key = `${item.rows.join()};${width};${sizes.room}`;
    if (key === this.drawn) return;
    this.drawn = key;
    this.arrange(item.rows, sizes, width, look.thumb);
  }

  arrange(rows, sizes, width, address) {
    const { gap } = sizes, all = [...new Set(rows)];
    const { lines, columns, w, h } = fitCrops(width, sizes, this.ratio, all.length, this.lines);
    const unique = all.slice(0, columns * lines);
    this.lines = lines;
    unique.forEach((row, i) => {
      const before = this.shown.get(i);
      let tile = before;
      if (before?.row !== row) {   // the new crop fades in over the old one, which goes when it is covered
        tile = makeTile(row, address(row));
        this.shown.set(i, tile);
        this.tiles.append(tile.element);
        if (before) tile.ready.then(() => setTimeout(() => before.element.remove(), FADE_MS));
      }
      const x = (i % columns) * (w + gap), y = Math.floor(i / columns) * (h + gap);
      Object.assign(tile.element.style, { width: `${w.toFixed(2)}px`, height: `${h}px`, transform: `translate(${x.toFixed(2)}px, ${y}px)` });
    });
    for (const [i, { element: old }] of this.shown) {
      if (i < unique.length) continue;
      this.shown.delete(i);
      old.classList.add("old");
      setTimeout(() => old.remove(), FADE_MS);
    }
  }
}

export function makeTile(row, address) {
  const made = element("button", "tile new");
  made.dataset.row = row;
  made.setAttribute("aria-label", `object ${row}`);
  const image = new Image();
  image.alt = "";
  image.src = address;
  const ready = image.decode().catch(() => {}).then(() => made.classList.remove("new"));
  made.append(image);
  return { element: made, row, ready };
}

function text(node, value) { if (node.textContent !== value) node.textContent = value; }
