// Places of frame, panel and strips for a screen. The frame never moves for strips that come or go.

const STEPS = [1, 2, 3, 4, 6];      // strips that room is made for; those beyond are scrolled to
const MOST = 8;
const STAYS_MS = 5000;              // a coarser grid must be enough for so long before it is taken

export function fitType(scale = 1) {
  const least = Math.min(innerWidth, innerHeight);
  const px = Math.min(34, Math.max(14, (least * 14) / 900)) * scale;
  document.documentElement.style.fontSize = `${px.toFixed(2)}px`;
  return px;
}

/** Number of strips that room is made for: more at once, fewer after a while. */
class Steps {
  constructor() { this.now = 1; this.since = 0; }
  take(needed, at, most) {
    const steps = [...STEPS.filter((n) => n < most), most], wanted = steps.find((n) => n >= needed) ?? steps.at(-1);
    if (wanted >= this.now) { this.since = at; this.now = wanted; }
    else if (at - this.since > STAYS_MS) { this.now = wanted; this.since = at; }
    return this.now;
  }
}

/** Places of strips: each keeps its own while there is room, a new one takes the first that is free. */
export class Slots {
  constructor() { this.steps = new Steps(); this.of = new Map(); }

  /** Give each key a place behind those that are pinned; return for how many strips room is made. */
  take(keys, pinned, most) {
    const rows = this.steps.take(Math.max(1, pinned + keys.length), performance.now(), most);
    const kept = new Map(keys.map((key) => [key, this.of.get(key)]).filter(([, slot]) => slot + pinned < rows));
    const taken = new Set(kept.values());
    for (const key of keys) if (!kept.has(key)) {
      let slot = 0;
      while (taken.has(slot)) slot++;
      taken.add(slot); kept.set(key, slot);
    }
    this.of = kept;
    return rows;
  }
}

const inset = (x, y, w, h) => ({ x: Math.round(x), y: Math.round(y), w: Math.round(w), h: Math.round(h) });

/** Rectangles {frames, panel, strips}, the kind of screen, and for how many strips there is room with crops of some size. */
export function arrange(aspect, rem, options = {}) {
  const { most, ...places } = placesOf(aspect, rem, options);
  return { ...places, most: Math.min(MOST, Math.max(1, Math.round(most / (options.crop ?? 1)))) };
}

function placesOf(aspect, rem, { kiosk = false, sources = 1, bar = 5.6 }) {
  const W = innerWidth, H = innerHeight;
  const narrow = W < 34 * rem, upright = H > W * 1.05;
  const m = narrow ? rem : 1.75 * rem, gap = 1.5 * rem;
  if (kiosk && !upright) {
    const w = Math.round(W * 0.6);
    return { kind: "kiosk", most: 4, fill: true, frames: inset(0, 0, w, H), strips: inset(w + m, m, W - w - 2 * m, H - 2 * m), panel: inset(0, 0, 0, 0) };
  }
  if (kiosk) {
    const h = Math.round(Math.min(W / aspect, H * 0.42));
    return { kind: "kiosk", most: 4, fill: true, frames: inset(0, 0, W, h), strips: inset(m, h + m, W - 2 * m, H - h - 2 * m), panel: inset(0, 0, 0, 0) };
  }
  if (upright) {
    const x = narrow ? 0 : m, y = narrow ? 0 : m;
    const { rows, wide } = grid(W - 2 * x, H * 0.42, sources, aspect), h = rows * wide / aspect + (rows - 1) * SEAM;
    const panelY = y + h + (narrow ? 0.5 * rem : gap * 0.75);
    const stripsY = panelY + bar * rem;
    return {
      kind: narrow ? "phone" : "upright", most: narrow ? 4 : 6,
      frames: inset(x, y, W - 2 * x, h),
      panel: inset(m, panelY, W - 2 * m, bar * rem),
      strips: inset(m, stripsY, W - 2 * m, H - stripsY - m * 0.6),
    };
  }
  const h = Math.round((H - 2 * m) * 0.48);
  const { columns, rows, wide } = grid((W - 2 * m) * 0.66, h, sources, aspect);
  const w = columns * wide + (columns - 1) * SEAM;
  const frames = inset(m, m, w, rows * wide / aspect + (rows - 1) * SEAM);
  const panel = inset(m + w + gap * 1.5, m, W - 2 * m - w - gap * 1.5, frames.h);
  const stripsY = m + frames.h + gap;
  return { kind: "wide", most: 6, frames, panel, strips: inset(m, stripsY, W - 2 * m, H - stripsY - m * 0.5) };
}

const SEAM = 4;             // px between the frames of several sources

/** Columns and rows of frames, and their size, that use most of a rectangle. */
function grid(w, h, count, aspect) {
  let best = null;
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const cell = { w: (w - SEAM * (columns - 1)) / columns, h: (h - SEAM * (rows - 1)) / rows };
    const wide = Math.min(cell.w, cell.h * aspect);
    if (!best || wide > best.wide) best = { columns, rows, cell, wide };
  }
  return best;
}

/** Cells of several frames within a rectangle, as large as possible; with fill they cover it, else they are as wide as the frames. */
export function cells(area, aspects, fill = false) {
  if (aspects.length === 1) return [area];
  const { columns, cell, wide } = grid(area.w, area.h, aspects.length, aspects[0]);
  const { w, h } = fill ? cell : { w: wide, h: wide / aspects[0] };
  return aspects.map((_, i) => inset(area.x + (i % columns) * (w + SEAM), area.y + Math.floor(i / columns) * (h + SEAM), w, h));
}

const BESIDE = 4;           // strips from which on two lie beside each other on wide screens

/** Room of strips: columns of them, width, from one to the next, and height of crops, with the gap between them. */
export function stripSizes(area, count, rem, kind, crop = 1) {
  const header = 1.75 * rem, gap = kind === "phone" ? 0.5 * rem : 0.9 * rem, between = 1.5 * rem;
  const columns = kind === "wide" && count >= BESIDE ? 2 : 1;
  const width = Math.floor((area.w - (columns - 1) * between) / columns), pitch = (area.h + gap) / Math.ceil(count / columns);
  const room = Math.floor(Math.max(24, pitch - header - gap));
  return { columns, width, beside: width + between, pitch, room, gap: Math.max(3, Math.round(0.22 * rem)), least: (kind === "phone" ? 3.1 : kind === "wide" ? 4.6 : 5.2) * rem * crop, most: 22 * rem * Math.max(1, crop) };
}

const FEW = 8;              // crops from which on more of them are no gain
const KEEPS = 1.2;          // how much better other lines must be than those that are shown

/** Lines of crops {lines, columns, w, h} that fill a room: many crops, none cut by much; lines as before if they are good. */
export function fitCrops(width, { room, gap, least, most }, ratio, count, before = 0) {
  let best = null;
  for (let lines = 1; lines <= 4; lines++) {
    const h = Math.floor(Math.min(most, (room - (lines - 1) * gap) / lines));
    if (lines > 1 && h < least) break;
    const fitting = Math.max(1, Math.round((width + gap) / (h * ratio + gap)));
    // A line that is nearly full becomes full: right edges stay aligned.
    const columns = Math.max(Math.min(fitting, Math.ceil(count / lines)), Math.ceil(0.7 * fitting));
    const w = (width - gap * (columns - 1)) / columns, shown = Math.min(count, columns * lines);
    const cut = Math.min(w / h, ratio) / Math.max(w / h, ratio), filled = (shown / (columns * lines)) * ((h * lines) / room);
    const worth = cut * filled * Math.min(1, shown / Math.min(FEW, count || 1)) * (lines === before ? KEEPS : 1);
    if (!best || worth > best.worth) best = { worth, lines, columns, w, h };
  }
  return best;
}
