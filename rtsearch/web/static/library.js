// The library as a zoomable wall: tiles of crops from the server, at the size that the zoom asks for.

import { fitType } from "./layout.js";
import { $, colours, counted, make, onPhoto, toast } from "./page.js";
import { Sheets } from "./sheets.js";
import { makeTile } from "./strips.js";
import { fetchJson, searchPhoto, thumb, word } from "./wire.js";

const SIZES = [4, 8, 16, 32, 64, 128];
const TILE = 512;
const BAR = 60;             // height of the bar on top, px
const MOST_TILES = 128;     // kept as pictures, 1 MB each
const AT_ONCE = 6;          // requests

class Wall {
  constructor() {
    this.canvas = $("wall");
    this.context = this.canvas.getContext("2d", { alpha: false });
    this.view = { x: 0, y: 0, scale: 1 };   // cell in the middle, px a cell
    this.goal = null;
    this.tiles = new Map();     // address: {image, used}
    this.asked = new Set();
    this.marks = [];
    this.pointers = new Map();
    this.state = {};
    this.sheets = new Sheets($("sheet"), this);
    this.sheets.place = () => {};
    fitType();
    this.listen();
    this.begin("");
  }

  async begin(label) {
    this.label = label;
    try { await this.load(label, true); } catch { setTimeout(() => this.begin(label), 2000); return; }
    this.chips();
  }

  async load(label, fit) {
    clearTimeout(this.timer);
    const wall = await fetchJson(`/api/wall?label=${encodeURIComponent(label)}`);
    if (label !== this.label) return;
    const changed = this.wall?.key !== wall.key;
    if (changed) this.before = fit ? null : this.wall;   // its tiles stand until those of the new order are there
    this.wall = wall;
    this.state = { library: wall.library, words: wall.words };
    $("count").textContent = counted(wall.objects, "object");
    if (fit) { this.view = this.whole(); this.goal = null; }
    if (changed && this.found) this.mark(this.found);
    if (!wall.ready) this.later(label);
    document.body.dataset.ready = wall.ready;
    this.draw();
  }

  later(label) { this.timer = setTimeout(() => this.load(label, false).catch(() => this.later(label)), 1500); }

  /** The view that shows everything. */
  whole() {
    const { columns, rows } = this.wall;
    const scale = Math.min(140, Math.min(innerWidth / columns, (innerHeight - BAR) / rows) * 0.97);
    return { x: columns / 2, y: rows / 2 - BAR / 2 / scale, scale };
  }

  chips() {
    const chips = Object.entries(this.wall.labels).slice(0, 60).map(([label, count]) => make("button", {
      textContent: word(this.state.words, label) || label, name: label, title: counted(count, "object"),
      onclick: () => { this.label = this.label === label ? "" : label; this.marks = []; this.found = null; this.load(this.label, true).then(() => this.chips()).catch((error) => toast(error.message)); } }));
    for (const chip of chips) chip.setAttribute("aria-pressed", String(chip.name === this.label));
    const at = $("labels").scrollLeft;
    $("labels").replaceChildren(...chips);
    $("labels").scrollLeft = at;
  }

  // Drawing ---------------------------------------------------------------------------------------------

  draw() { if (!this.asksFrame) { this.asksFrame = true; requestAnimationFrame((at) => { this.asksFrame = false; this.paint(at); }); } }

  paint(at) {
    if (!this.wall) return;
    const ratio = this.ratio = Math.min(devicePixelRatio || 1, 2), W = innerWidth, H = innerHeight, c = this.context;
    if (this.canvas.width !== Math.round(W * ratio) || this.canvas.height !== Math.round(H * ratio)) {
      this.canvas.width = Math.round(W * ratio); this.canvas.height = Math.round(H * ratio);
    }
    this.glide(at);
    const { x, y, scale } = this.view;
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.fillStyle = colours.ground;
    c.fillRect(0, 0, W, H);
    c.imageSmoothingQuality = this.goal || this.pointers.size ? "low" : "high";
    const wanted = SIZES.findIndex((s) => s >= scale * ratio * 0.75);
    const level = wanted < 0 ? SIZES.length - 1 : wanted;
    this.fetch(this.paintTiles(c, level, W, H));
    this.paintRest(c, W, H);
    this.paintMarks(c, scale, x, y, W, H);
  }

  /** Draw the tiles of a level, others of the same cells where they are not there yet; return those that are missing. */
  paintTiles(c, level, W, H) {
    const { x, y, scale } = this.view, per = TILE / SIZES[level], side = per * scale;
    const left = W / 2 - x * scale, top = H / 2 - y * scale;
    const x1 = Math.min(Math.ceil(this.wall.columns / per), Math.ceil((W - left) / side)), y1 = Math.min(Math.ceil(this.wall.rows / per), Math.ceil((H - top) / side));
    const missing = [];
    this.lacks = 0;     // tiles without anything in their place
    for (let ty = Math.max(0, Math.floor(-top / side)); ty < y1; ty++) for (let tx = Math.max(0, Math.floor(-left / side)); tx < x1; tx++) {
      const place = { x: left + tx * side, y: top + ty * side, scale };
      const own = this.tiles.get(this.address(this.wall, level, tx, ty));
      if (!own || own.partial) missing.push([this.address(this.wall, level, tx, ty), Math.hypot(place.x + side / 2 - W / 2, place.y + side / 2 - H / 2) + (own ? W + H : 0)]);
      if (!this.paintCells(c, level, tx * per, ty * per, per, place)) this.lacks++;
    }
    return missing;
  }

  /** Cover the cells behind the last object, which are dark in the tiles of every theme. */
  paintRest(c, W, H) {
    const { columns, rows, objects } = this.wall, { x, y, scale } = this.view, used = objects - (rows - 1) * columns;
    c.fillStyle = colours.ground;
    c.fillRect(W / 2 + (used - x) * scale, H / 2 + (rows - 1 - y) * scale, (columns - used) * scale + 1, scale + 1);
  }

  address({ key }, level, tx, ty) { return `/wall/${key}/${SIZES[level]}/${tx}/${ty}.jpg`; }

  /** Draw some cells out of the finest tile that is there; tell whether there is one. */
  paintCells(c, finest, x, y, per, place) {
    const snap = (v) => Math.round(v * this.ratio) / this.ratio;   // tiles meet at whole pixels
    const same = this.before?.columns === this.wall.columns && this.before.rows === this.wall.rows;
    for (const wall of same ? [this.wall, this.before] : [this.wall]) for (let level = finest; level >= 0; level--) {
      const size = SIZES[level], of = TILE / size, tx = Math.floor(x / of), ty = Math.floor(y / of);
      const tile = this.tiles.get(this.address(wall, level, tx, ty));
      if (!tile) continue;
      tile.used = performance.now();
      const sx = (x - tx * of) * size, sy = (y - ty * of) * size;
      const w = Math.min(per * size, tile.image.width - sx), h = Math.min(per * size, tile.image.height - sy);
      const left = snap(place.x), top = snap(place.y), right = snap(place.x + (w / size) * place.scale), low = snap(place.y + (h / size) * place.scale);
      c.drawImage(tile.image, sx, sy, w, h, left, top, right - left, low - top);
      return true;
    }
    return false;
  }

  fetch(missing) {
    missing.sort((a, b) => a[1] - b[1]);
    for (const [address] of missing) {
      if (this.asked.size >= AT_ONCE) return;
      if (this.asked.has(address)) continue;
      this.asked.add(address);
      this.get(address).catch(() => this.again()).finally(() => { this.asked.delete(address); this.draw(); });
    }
  }

  /** Ask for the wall after a while: the server was away, or knows this arrangement no more. */
  again() { return new Promise((done) => setTimeout(done, 1000)).then(() => this.load(this.label, false)).catch(() => {}); }

  /** Get a tile; one that the server has not all crops of yet is asked for again. */
  async get(address) {
    const answer = await fetch(address);
    if (!answer.ok) throw new Error(answer.statusText);
    const image = await createImageBitmap(await answer.blob());
    this.tiles.get(address)?.image.close();
    this.tiles.set(address, { image, used: performance.now(), partial: answer.headers.get("cache-control") === "no-store" });
    this.forget();
  }

  forget() {
    if (this.tiles.size <= MOST_TILES) return;
    const oldest = [...this.tiles].sort((a, b) => a[1].used - b[1].used).slice(0, this.tiles.size - MOST_TILES);
    for (const [address, { image }] of oldest) { image.close(); this.tiles.delete(address); }
  }

  paintMarks(c, scale, x, y, W, H) {
    if (!this.marks.length) return;
    c.fillStyle = `rgb(${colours.parts} / .62)`;
    const hole = new Path2D();
    hole.rect(0, 0, W, H);
    const least = Math.max(scale, 9);
    const rects = this.marks.map(([, mx, my]) => [W / 2 + (mx + 0.5 - x) * scale - least / 2, H / 2 + (my + 0.5 - y) * scale - least / 2, least, least]);
    for (const [rx, ry, w, h] of rects) hole.rect(rx, ry, w, h);
    c.fill(hole, "evenodd");
    c.strokeStyle = colours.accent; c.lineWidth = 1.5;
    for (const rect of rects) c.strokeRect(...rect);
  }

  // Moving ------------------------------------------------------------------------------------------------

  glide(at) {
    const step = Math.min(50, at - (this.last ?? at));
    this.last = at;
    if (!this.goal) { this.last = undefined; return; }
    const k = matchMedia("(prefers-reduced-motion: reduce)").matches ? 1 : 1 - Math.exp(-step / 90);
    const { view, goal } = this;
    const ratio = Math.exp(Math.log(goal.scale / view.scale) * k);
    view.scale *= ratio;
    view.x += (goal.x - view.x) * k;
    view.y += (goal.y - view.y) * k;
    if (Math.abs(Math.log(goal.scale / view.scale)) < 0.002 && Math.hypot(goal.x - view.x, goal.y - view.y) * view.scale < 0.5) {
      Object.assign(view, goal);
      this.goal = null;
    } else this.draw();
  }

  clamp(view) {
    const least = this.whole().scale * 0.9;
    view.scale = Math.min(260, Math.max(least, view.scale));
    view.x = this.held(view.x, this.wall.columns, innerWidth / view.scale, 0);
    view.y = this.held(view.y, this.wall.rows, (innerHeight - BAR) / view.scale, BAR / view.scale);
    return view;
  }

  /** Middle of the view, all in cells, that keeps the wall in sight; one that is smaller than the room below a bar stays in its middle. */
  held(at, cells, room, bar) {
    const most = Math.max(cells / 2, cells - 0.35 * room), least = Math.min(cells / 2, 0.35 * room);
    const middle = cells <= room ? cells / 2 : Math.min(most, Math.max(least, at + bar / 2));
    return middle - bar / 2;
  }

  zoom(px, py, factor, soft) {
    if (!this.wall) return;
    const from = (soft && this.goal) || this.view;
    const scale = Math.min(260, Math.max(this.whole().scale * 0.9, from.scale * factor));
    const cx = from.x + (px - innerWidth / 2) / from.scale, cy = from.y + (py - innerHeight / 2) / from.scale;
    const to = this.clamp({ scale, x: cx - (px - innerWidth / 2) / scale, y: cy - (py - innerHeight / 2) / scale });
    if (soft) this.goal = to; else { this.view = to; this.goal = null; }
    this.draw();
  }

  listen() {
    const { canvas, pointers } = this;
    addEventListener("resize", () => { fitType(); this.draw(); });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(event.clientX, event.clientY, Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0022)), true);
    }, { passive: false });
    canvas.onpointerdown = (event) => {
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      this.moved = 0;
      this.goal = null;
    };
    canvas.onpointermove = (event) => {
      const before = pointers.get(event.pointerId);
      if (!before || !this.wall) return;
      const dx = event.clientX - before.x, dy = event.clientY - before.y;
      const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
      this.moved += Math.abs(dx) + Math.abs(dy);
      if (other) {
        const spread = (p) => Math.hypot(p.x - other.x, p.y - other.y);
        this.zoom((event.clientX + other.x) / 2, (event.clientY + other.y) / 2, spread({ x: event.clientX, y: event.clientY }) / Math.max(1, spread(before)), false);
      } else {
        this.view = this.clamp({ ...this.view, x: this.view.x - dx / this.view.scale, y: this.view.y - dy / this.view.scale });
        this.draw();
      }
      pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    };
    canvas.onpointerup = canvas.onpointercancel = (event) => {
      if (pointers.delete(event.pointerId) && event.type === "pointerup" && this.moved < 6 && !pointers.size) this.click(event.clientX, event.clientY).catch((error) => toast(error.message));
      this.draw();
    };
    canvas.ondblclick = (event) => this.zoom(event.clientX, event.clientY, 3, true);
    addEventListener("keydown", (event) => {
      const pan = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (event.target === $("words")) { if (event.key === "Escape") $("words").blur(); return; }
      if (event.key === "/") $("words").select();
      else if (event.key === "Escape") { this.sheets.open ? this.sheets.close() : this.unmark(); }
      else if (event.key === "+" || event.key === "-") this.zoom(innerWidth / 2, innerHeight / 2, event.key === "+" ? 1.6 : 1 / 1.6, true);
      else if (event.key === "0") { this.goal = this.whole(); this.draw(); }
      else if (pan) { const v = this.goal ?? this.view; this.goal = this.clamp({ ...v, x: v.x + (pan[0] * innerWidth) / 4 / v.scale, y: v.y + (pan[1] * innerHeight) / 4 / v.scale }); this.draw(); }
      else return;
      event.preventDefault();
    });
    $("words").onchange = () => this.find($("words").value.trim()).catch((error) => toast(error.message));
    $("pick").onclick = () => $("file").click();
    onPhoto((file) => this.search(file));
  }

  async click(px, py) {
    if (!this.wall) return;
    const x = Math.floor(this.view.x + (px - innerWidth / 2) / this.view.scale), y = Math.floor(this.view.y + (py - innerHeight / 2) / this.view.scale);
    if (x < 0 || y < 0 || x >= this.wall.columns || y >= this.wall.rows) { this.sheets.close(); return; }
    const { row } = await fetchJson(`/api/wall/${this.wall.key}/at?x=${x}&y=${y}`);
    if (row === null) { this.sheets.close(); return; }
    this.sheets.show("crop", row);   // while the wall moves
    if (this.view.scale < 40) { this.goal = this.clamp({ x: x + 0.5, y: y + 0.5, scale: Math.max(72, this.view.scale) }); this.draw(); }
  }

  // What the sheets ask of their page -----------------------------------------------------------------------

  changed() {}

  async more(row) {
    const { neighbours } = await fetchJson(`/api/objects/${row}/similar?k=32`);
    this.results([row, ...neighbours.map((n) => n.row)]);
  }

  async search(file) {
    toast("searching", true);
    try {
      const { shown } = await searchPhoto(file, "?k=32"), rows = shown.flatMap((s) => s.rows);
      toast(rows.length ? "" : shown.length ? "nothing in the library is like it" : "nothing was found in this photo");
      if (rows.length) this.results(rows);
    } catch (error) { toast(error.message); }
  }

  /** Look for what words describe. */
  async find(words) {
    if (!words) { this.sheets.close(); this.unmark(); return; }
    const { objects, looked_for: meant } = await fetchJson(`/api/find?k=64&words=${encodeURIComponent(words)}`);
    if (objects.length) this.results(objects.map((o) => o.row), meant);
    else toast(`nothing in the library is ${meant}`);
  }

  results(found, title = "Most similar") {
    const rows = [...new Set(found)];
    this.mark(rows);
    const near = make("div", { className: "near" });
    for (const row of rows.slice(0, 64)) {
      const { element } = makeTile(row, thumb(this.state, row));
      element.onclick = () => this.sheets.show("crop", row);
      near.append(element);
    }
    this.sheets.results = async () => [title, near];
    this.sheets.show("results");
  }

  async mark(rows) {
    this.found = rows;
    const { cells } = await fetchJson(`/api/wall/${this.wall.key}/cells?rows=${rows.slice(0, 400).join()}`);
    if (this.found !== rows) return;   // others are looked for meanwhile, or none
    this.marks = cells;
    if (cells.length) { this.goal = this.whole(); }
    this.draw();
  }

  unmark() { this.marks = []; this.found = null; this.draw(); }
}

window.rtsearch = new Wall();
