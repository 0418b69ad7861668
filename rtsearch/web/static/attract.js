// The kiosk's scene when nothing is seen: a slow walk from object to object through the library.

import { fetchJson, thumb, word } from "./wire.js";
import { make } from "./page.js";
import { makeTile } from "./strips.js";

const STEP_MS = 9000;
const TILES_A_SECOND = 2;

export class Attract {
  constructor(page) {
    this.page = page;
    this.root = make("section", { className: "attract" });
    this.word = make("p", { className: "word" });
    this.root.append(this.word);
    document.body.append(this.root);
    this.seen = performance.now();
    this.tiles = [];
    setInterval(() => this.look(), 500);
    addEventListener("resize", () => this.clear());
  }

  /** Take the number of objects of a scene. */
  saw(objects) { if (objects) { this.seen = performance.now(); if (this.open) this.leave(); } }

  take(state) { this.after = (state.attract_s ?? 20) * 1000; }

  look() {
    if (this.open || !this.after || performance.now() - this.seen < this.after) return;
    this.open = true;
    this.root.classList.add("open");
    this.walk();
  }

  leave() {
    this.open = false;
    this.root.classList.remove("open");
    clearTimeout(this.timer);
  }

  clear() { for (const { element } of this.tiles) element.remove(); this.tiles = []; }

  grid() {
    const rem = this.page.rem, size = Math.max(9 * rem, Math.min(innerWidth, innerHeight) / 6);
    const columns = Math.max(3, Math.round(innerWidth / size)), rows = Math.max(3, Math.round(innerHeight / size));
    return { columns, rows, w: innerWidth / columns, h: innerHeight / rows };
  }

  async walk() {
    if (!this.open) return;
    this.timer = setTimeout(() => this.walk(), STEP_MS);
    const { state } = this.page;
    if (!state.objects) return;
    const row = this.next ?? Math.floor(Math.random() * state.objects);
    const { columns, rows, w, h } = this.grid();
    let found;
    try {
      found = [await fetchJson(`/api/objects/${row}`), (await fetchJson(`/api/objects/${row}/similar?k=${columns * rows}`)).neighbours];
    } catch { return; }   // the server is away; it is tried again
    const [{ label }, neighbours] = found;
    // A far neighbour is next: the walk leaves where it is, but not by a jump.
    this.next = neighbours.at(-1 - Math.floor(Math.random() * 5))?.row;
    const hero = { x: Math.floor(columns / 2) - 1, y: Math.floor(rows / 2) - 1, n: 2 };
    const cells = [];
    for (let y = 0; y < rows; y++) for (let x = 0; x < columns; x++) {
      if (x >= hero.x && x < hero.x + hero.n && y >= hero.y && y < hero.y + hero.n) continue;
      cells.push([x, y, Math.hypot(x + 0.5 - columns / 2, y + 0.5 - rows / 2)]);
    }
    cells.sort((a, b) => a[2] - b[2]);
    const placed = [[hero.x * w, hero.y * h, w * hero.n, h * hero.n, row], ...cells.map(([x, y], i) => [x * w, y * h, w, h, neighbours[i]?.row])];
    this.word.style.opacity = 0;
    placed.forEach(([x, y, width, height, of], i) => of !== undefined && setTimeout(() => this.open && this.tile(i, x, y, width, height, of), i * (1000 / TILES_A_SECOND) / Math.max(1, placed.length / 14)));
    Object.assign(this.word.style, { left: `${hero.x * w + this.page.rem}px`, top: `${(hero.y + hero.n) * h - 3.2 * this.page.rem}px` });
    setTimeout(() => { this.word.textContent = word(state.words, label); this.word.style.opacity = 1; }, 1400);
  }

  tile(i, x, y, w, h, row) {
    const before = this.tiles[i];
    if (before?.row === row) return;
    const made = makeTile(row, thumb(this.page.state, row));
    Object.assign(made.element.style, { width: `${Math.ceil(w - 3)}px`, height: `${Math.ceil(h - 3)}px`, transform: `translate(${x}px, ${y}px)` });
    this.tiles[i] = { ...made, row };
    made.element.dataset.place = i;
    made.ready.then(() => {
      if (this.tiles[i]?.element !== made.element) return;
      const covered = this.root.querySelectorAll(`[data-place="${i}"]`);
      this.root.insertBefore(made.element, this.word);
      setTimeout(() => covered.forEach((old) => old.remove()), 1800);
    });
  }
}
