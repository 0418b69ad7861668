// Strips of crops: elements are kept by track and row, so that nothing flickers and what moves glides.

import { fitCrops } from "./layout.js";
import { thumb } from "./wire.js";

const RATIOS = [2 / 3, 4 / 5, 1, 5 / 4, 3 / 2];
const FADE_MS = 280;
const PATIENCE_MS = 200;    // that a strip waits for its crops
const CALM = 0.03;          // by which a score must change before another number is shown

const element = (tag, name, text = "") => {
  const made = document.createElement(tag);
  made.className = name;
  if (text) made.textContent = text;
  return made;
};

export class Strips {
  constructor(root, on) { this.root = root; this.on = on; this.strips = new Map(); }

  place(area) {
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
        strip.update(item, sizes, look);
        strip.appear(this.root);
      } else strip.update(item, sizes, look);
    }
    for (const [key, strip] of this.strips) {
      if (alive.has(key)) continue;
      this.strips.delete(key);
      strip.leave();
    }
  }
}

class Strip {
  constructor(item, on) {
    this.element = element("section", "strip");
    this.number = element("span", "number");
    this.name = element("span", "name");
    this.score = element("span", "score");
    this.pin = element("button", "");
    const header = element("header", "");
    header.append(this.number, this.name, this.score, this.pin);
    this.tiles = element("div", "tiles");
    this.element.append(header, this.tiles);
    this.shown = new Map();   // place in the strip: tile, which may not be there yet
    this.there = new Map();   // place in the strip: element
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

  /** Fade in with all its crops at once: each would be a layer of its own, 10 ms a frame where the processor draws. */
  async appear(root) {
    const crops = [...this.shown.values()].map(({ ready }) => ready);
    await Promise.race([Promise.all(crops), new Promise((done) => setTimeout(done, PATIENCE_MS))]);
    if (this.gone) return;
    for (const crop of this.there.values()) crop.classList.add("still");
    root.append(this.element);
  }

  leave() {
    this.gone = true;
    this.element.classList.add("gone");
    setTimeout(() => this.element.remove(), FADE_MS);
  }

  move(slot, { columns, width, beside, pitch }) {
    const at = `translate(${Math.round((slot % columns) * beside)}px, ${Math.round(Math.floor(slot / columns) * pitch)}px)`, wide = `${width}px`;
    if (at !== this.at) this.element.style.transform = this.at = at;
    if (wide !== this.wide) this.element.style.width = this.wide = wide;
  }

  update(item, sizes, look) {
    this.move(item.slot, sizes);
    const state = `strip${item.pinned ? " pinned" : ""}${look.lit.has(item.key) ? " lit" : look.lit.size ? " dim" : ""}`;
    if (this.element.className !== state) this.element.className = state;
    text(this.number, item.number ? String(item.number) : "");
    text(this.name, look.text === "none" ? "" : item.name);
    if (!(Math.abs(item.score - this.said) < CALM)) this.said = item.score;
    text(this.score, look.text === "all" && this.said ? this.said.toFixed(2) : "");
    text(this.pin, item.pinned ? "unpin" : "pin");
    const key = `${item.library};${item.rows.join()};${sizes.width};${sizes.room}`;
    if (key === this.drawn) return;
    this.drawn = key;
    this.arrange(item, sizes);
  }

  arrange({ rows, library }, sizes) {
    const { gap, width } = sizes, all = [...new Set(rows)];
    const { lines, columns, w, h } = fitCrops(width, sizes, this.ratio, all.length, this.lines);
    const unique = all.slice(0, columns * lines);
    this.lines = lines;
    unique.forEach((row, i) => {
      let tile = this.shown.get(i);
      if (tile?.row !== row || tile.library !== library) {
        tile = { ...makeTile(row, thumb({ library }, row)), library };
        this.shown.set(i, tile);
        const made = tile;
        tile.ready.then(() => this.put(i, made));
      }
      const x = (i % columns) * (w + gap), y = Math.floor(i / columns) * (h + gap);
      Object.assign(tile.element.style, { width: `${w.toFixed(2)}px`, height: `${h}px`, transform: `translate(${x.toFixed(2)}px, ${y}px)` });
    });
    for (const i of [...this.shown.keys()].filter((place) => place >= unique.length)) {
      this.shown.delete(i);
      const old = this.there.get(i);
      this.there.delete(i);
      old?.classList.add("old");
      setTimeout(() => old?.remove(), FADE_MS);
    }
  }

  /** Show a crop that is decoded, unless another one is wanted by now: it fades in over the one before, which goes when it is covered. */
  put(i, tile) {
    if (this.shown.get(i) !== tile) return;
    const before = this.there.get(i);
    this.there.set(i, tile.element);
    this.tiles.append(tile.element);
    if (before) setTimeout(() => before.remove(), FADE_MS);
  }
}

/** A crop; put it somewhere once it is ready, as it fades in. */
export function makeTile(row, address) {
  const made = element("button", "tile");
  made.dataset.row = row;
  made.setAttribute("aria-label", `object ${row}`);
  const image = new Image();
  image.alt = "";
  image.src = address;
  const ready = image.decode().catch(() => image.remove());   // the ground shows, and no torn picture
  made.append(image);
  return { element: made, row, ready };
}

function text(node, value) { if (node.textContent !== value) node.textContent = value; }
