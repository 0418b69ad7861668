// One source on a canvas: the frame, and its boxes drawn over it at the resolution of the screen.

const style = getComputedStyle(document.documentElement);
const colour = (name) => style.getPropertyValue(name).trim();
const INK = colour("--ink"), ACCENT = colour("--accent"), GROUND = colour("--ground");

export class Picture {
  constructor(parent) {
    this.element = document.createElement("div");
    this.element.className = "frame moved";
    this.canvas = document.createElement("canvas");
    this.element.append(this.canvas);
    parent.append(this.element);
    this.context = this.canvas.getContext("2d", { alpha: false });
    this.boxes = [];
    this.area = { x: 0, y: 0, w: 1, h: 1 };
  }

  /** Put it at a place; with fill it is cut to it, else it is as large as fits. */
  place(area, fill) {
    this.fill = fill;
    if (["x", "y", "w", "h"].every((k) => this.area[k] === area[k])) return;
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
    const ratio = Math.min(devicePixelRatio || 1, 2), { w, h } = this.area;
    const width = Math.round(w * ratio), height = Math.round(h * ratio);
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    const scale = (this.fill ? Math.max : Math.min)(w / look.wh[0], h / look.wh[1]);
    const shown = { w: look.wh[0] * scale, h: look.wh[1] * scale };
    // What is cut is cut on both sides; what is smaller keeps to the upper left, where the edges of others are.
    const x = this.fill ? (w - shown.w) / 2 : 0, y = this.fill ? (h - shown.h) / 2 : 0, c = this.context;
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (!this.fill) { c.fillStyle = GROUND; c.fillRect(0, 0, w, h); }
    c.imageSmoothingQuality = "high";
    c.drawImage(this.bitmap, x, y, shown.w, shown.h);
    this.boxes = this.objects.map((o) => ({ ...o, at: [x + o.xyxy[0] * scale, y + o.xyxy[1] * scale, (o.xyxy[2] - o.xyxy[0]) * scale, (o.xyxy[3] - o.xyxy[1]) * scale] }));
    this.labels(c, look);
  }

  labels(c, look) {
    const lit = this.boxes.some((b) => look.lit.has(b.key));
    const rem = look.rem;
    c.font = `500 ${0.8 * rem}px ${getComputedStyle(document.body).fontFamily}`;
    c.textBaseline = "middle";
    for (const one of [...this.boxes].sort((a, b) => look.lit.has(a.key) - look.lit.has(b.key))) {
      if (one.faint || one.whole) continue;
      const on = look.lit.has(one.key) || look.pinned.has(one.key);
      const [x, y, w, h] = one.at;
      c.globalAlpha = lit && !look.lit.has(one.key) ? 0.3 : one.held ? 0.55 : 1;
      c.lineJoin = "miter";
      corners(c, x, y, w, h, on ? Math.max(w, h) : Math.min(1.3 * rem, w / 3, h / 3));
      c.shadowColor = "rgb(0 0 0 / .7)"; c.shadowBlur = 4;
      c.strokeStyle = on ? ACCENT : INK; c.lineWidth = 2; c.stroke();
      c.shadowBlur = 0;
      if (look.text !== "none" && !one.held) this.label(c, one, on, rem, x, y);
    }
    c.globalAlpha = 1;
  }

  label(c, one, on, rem, x, y) {
    const text = one.number ? `${one.number}  ${one.name}` : one.name;
    const wide = c.measureText(text).width + 0.9 * rem, high = 1.35 * rem;
    const left = Math.max(0, Math.min(x, this.area.w - wide)), top = y - high - 3 >= 0 ? y - high - 3 : y + 3;
    c.fillStyle = on ? ACCENT : "rgb(14 15 15 / .78)";
    c.fillRect(left, top, wide, high);
    c.fillStyle = on ? GROUND : INK;
    c.fillText(text, left + 0.45 * rem, top + high / 2 + 0.5);
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
