// One source on a canvas: the frame, and its boxes drawn over it at the resolution of the screen.

import { colours } from "./page.js";


const FAMILY = getComputedStyle(document.body).fontFamily;

const veil = (share) => `rgb(${colours.parts} / ${share})`;

/** Pixels of a canvas for one of the page. */
export const pixelRatio = () => Math.min(devicePixelRatio || 1, 2);

export class Picture {
  constructor(parent) {
    this.element = document.createElement("div");
    this.element.className = "frame";
    this.canvas = document.createElement("canvas");
    this.element.append(this.canvas);
    parent.append(this.element);
    this.context = this.canvas.getContext("2d", { alpha: false });
    this.boxes = [];
    this.area = { x: 0, y: 0, w: 1, h: 1 };
  }

  /** Pixels of the page for one of the frame. */
  get scale() {
    const { w, h } = this.area, [width, height] = this.look.wh;
    return (this.fill ? Math.max : Math.min)(w / width, h / height);
  }

  /** Width that the frame is shown at, in pixels of the screen. */
  get width() { return this.look?.wh ? this.look.wh[0] * this.scale * pixelRatio() : 1; }

  /** Put it at a place; with fill it is cut to it, else it is as large as fits. */
  place(area, fill) {
    this.fill = fill;
    if (["x", "y", "w", "h"].every((k) => this.area[k] === area[k])) return;
    if (this.placed) this.element.classList.add("moved");   // a new one flies in from nowhere
    this.placed = true;
    this.area = area;
    Object.assign(this.element.style, { width: `${area.w}px`, height: `${area.h}px`, transform: `translate(${area.x}px, ${area.y}px)` });
    this.again();
  }

  /** Draw a frame and its objects; the bitmap before it is given back. */
  show(bitmap, objects, look) {
    if (this.bitmap && this.bitmap !== bitmap) this.bitmap.close();
    Object.assign(this, { bitmap, objects, look });
    this.again();
  }

  again(look = this.look) {
    this.look = look;
    if (!this.bitmap) return;
    const ratio = pixelRatio(), { w, h } = this.area, { scale } = this;
    const width = Math.round(w * ratio), height = Math.round(h * ratio);
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    const shown = { w: look.wh[0] * scale, h: look.wh[1] * scale };
    // What is cut is cut on both sides; what is smaller keeps to the upper left, where the edges of others are.
    const x = this.fill ? (w - shown.w) / 2 : 0, y = this.fill ? (h - shown.h) / 2 : 0, c = this.context;
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (!this.fill) { c.fillStyle = colours.ground; c.fillRect(0, 0, w, h); }
    // "high" takes 15 ms a frame where the processor draws, and shows no more at sizes that are alike.
    c.imageSmoothingQuality = shown.w * ratio < 0.5 * this.bitmap.width ? "medium" : "low";
    c.drawImage(this.bitmap, x, y, shown.w, shown.h);
    this.boxes = this.objects.map((o) => ({ ...o, at: [x + o.xyxy[0] * scale, y + o.xyxy[1] * scale, (o.xyxy[2] - o.xyxy[0]) * scale, (o.xyxy[3] - o.xyxy[1]) * scale] }));
    if (look.dims) this.dim(c, () => c.drawImage(this.bitmap, x, y, shown.w, shown.h));
    this.labels(c, look);
  }

  /** Darken the frame, and draw it again where objects are. */
  dim(c, draw) {
    c.save();
    c.fillStyle = veil(.68);
    c.fillRect(0, 0, this.area.w, this.area.h);
    c.beginPath();
    for (const { at, faint } of this.boxes) if (!faint) c.rect(...at);
    c.clip();
    draw();
    c.restore();
  }

  labels(c, look) {
    const lit = this.boxes.some((b) => look.lit.has(b.key)), rem = look.rem;
    const on = (b) => look.lit.has(b.key) || look.pinned.has(b.key);
    const drawn = this.boxes.filter((b) => !b.faint && !b.whole).sort((a, b) => look.lit.has(a.key) - look.lit.has(b.key));
    c.font = `500 ${0.8 * rem}px ${FAMILY}`;
    c.textBaseline = "middle";
    const places = look.text === "none" ? new Map() : this.spread(c, drawn.filter((b) => !b.held).reverse(), rem);
    for (const one of drawn) {
      const [x, y, w, h] = one.at;
      c.globalAlpha = lit && !look.lit.has(one.key) ? 0.3 : one.held ? 0.55 : 1;
      c.lineJoin = "miter";
      corners(c, x, y, w, h, on(one) ? Math.max(w, h) : Math.min(1.3 * rem, w / 3, h / 3));
      c.strokeStyle = veil(.5); c.lineWidth = 5; c.stroke();   // seen on white, too
      c.strokeStyle = on(one) ? colours.accent : colours.ink; c.lineWidth = 2; c.stroke();
      const label = places.get(one.key);
      if (!label) continue;
      c.fillStyle = on(one) ? colours.accent : veil(.78);
      c.fillRect(label.left, label.top, label.wide, label.high);
      c.fillStyle = on(one) ? colours.ground : colours.ink;
      c.fillText(label.text, label.left + 0.45 * rem, label.top + label.high / 2 + 0.5);
    }
    c.globalAlpha = 1;
  }

  /** Places of labels, none over another: above the box, within it or below; where nothing is free the number alone. */
  spread(c, boxes, rem) {
    const places = new Map(), high = 1.35 * rem;
    const free = (at) => ![...places.values()].some((o) => at.left < o.left + o.wide && o.left < at.left + at.wide && at.top < o.top + high && o.top < at.top + high);
    for (const { key, number, name, at: [x, y, w, h] } of boxes) {
      const before = this.spots?.get(key)?.spot ?? 0;
      for (const text of [[number, name].filter(Boolean).join("  "), `${number || ""}`]) {
        if (!text || places.has(key)) continue;
        const wide = c.measureText(text).width + 0.9 * rem;
        const spots = [[x, y - high - 3], [x + w - wide, y - high - 3], [x + 3, y + 3], [x + w - wide - 3, y + 3], [x, y + h + 3]]
          .map(([left, top], spot) => ({ spot, text, high, wide, top, left: Math.max(0, Math.min(left, this.area.w - wide)) }))
          .filter(({ top }) => top >= 0 && top + high <= this.area.h);
        const found = spots.find((at) => at.spot === before && free(at)) ?? spots.find(free);   // where it was, if it can
        if (found) places.set(key, found);
      }
    }
    this.spots = places;
    return places;
  }

  /** Object under the pointer: the smallest of those that hold it. */
  under(event) {
    const rect = this.canvas.getBoundingClientRect();
    const x = event.clientX - rect.left, y = event.clientY - rect.top;
    const hit = this.boxes.filter(({ at: [bx, by, w, h], faint }) => !faint && x >= bx && x <= bx + w && y >= by && y <= by + h);
    return hit.sort((a, b) => a.at[2] * a.at[3] - b.at[2] * b.at[3])[0];
  }

  remove() { this.bitmap?.close(); this.bitmap = null; this.element.remove(); }
}

function corners(c, x, y, w, h, long) {
  c.beginPath();
  if (long >= Math.max(w, h)) { c.rect(x, y, w, h); return; }
  for (const [cx, cy, dx, dy] of [[x, y, 1, 1], [x + w, y, -1, 1], [x + w, y + h, -1, -1], [x, y + h, 1, -1]]) {
    c.moveTo(cx + dx * long, cy); c.lineTo(cx, cy); c.lineTo(cx, cy + dy * long);
  }
}
