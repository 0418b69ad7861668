// The live view and the kiosk: scenes as they come, and what one can do with them.

import { Attract } from "./attract.js";
import { Blank } from "./blank.js";
import { Slots, arrange, cells, fitType, stripSizes } from "./layout.js";
import { Picture, pixelRatio } from "./picture.js";
import { $, clock, counted, make, may, onPhoto, putAt, toast, turnTo } from "./page.js";
import { Sheets } from "./sheets.js";
import { Strips } from "./strips.js";
import { connect, control, fetchJson, objectsOf, patch, searchPhoto } from "./wire.js";

const LINE_REM = 2.1 * 1.22;   // height of a name in the list, as in live.css
const FIRST_PHONE = 1000;   // places before it are sources of the run
const KIOSK = location.pathname === "/kiosk";
document.body.classList.toggle("kiosk", KIOSK);
const ICONS = {
  pause: "M8 5v14M16 5v14", play: "M7 4.500l12 7.500-12 7.500z", back: "M17 5v14l-9-7zM6 5v14", step: "M7 5v14l9-7zM18 5v14",
  photo: "M4 17v3h16v-3M12 16V4M7 9l5-5 5 5", phone: "M8 3h8v18H8zM11 18h2", wall: "M4 4h6v6H4zM14 4h6v6h-6zM4 14h6v6H4zM14 14h6v6h-6z",
  controls: "M4 8h9M17 8h3M4 16h3M11 16h9M15 6v4M9 14v4", help: "M9 9a3 3 0 1 1 4.500 2.600c-1 .6-1.500 1.200-1.500 2.400M12 17.500v.1",
};

class Page {
  constructor() {
    this.state = { sources: [], text: "all", paused: false };
    this.textSize = Number(localStorage.getItem("text size") || 1);
    this.places = new Map();    // place: {picture, scene, aspect}
    this.next = new Map();      // place: frame that is drawn next
    this.newest = new Map();    // place: number of the newest frame that was decoded
    this.lit = new Set();
    this.pins = new Map();      // key: item
    this.slots = new Slots();
    this.drawn = { times: [], ages: [] };
    this.waiting = {};
    this.strips = new Strips($("strips"), { light: (key) => this.light(key), pin: (key) => this.pin(key), open: (row) => this.open(row) });
    this.sheets = new Sheets($("sheet"), this);
    this.attract = KIOSK ? new Attract(this) : null;
    this.tools();
    addEventListener("resize", () => this.changed());
    this.changed();
    this.link = connect({ scene: (message) => this.scene(message), state: (state) => this.take(state), status: (up) => this.status(up) });
    this.askWidth();
  }

  // Scenes ----------------------------------------------------------------------------------------------

  /** Decode a frame, and draw it with the next picture of the screen, unless a newer one of its source is there by then. */
  async scene({ scene, jpeg, received }) {
    const came = this.came = (this.came ?? 0) + 1;
    const bitmap = await createImageBitmap(jpeg);
    if (this.newest.get(scene.place) > came) { bitmap.close(); return this.drawing; }   // decoded sooner than this one
    this.newest.set(scene.place, came);
    this.next.get(scene.place)?.bitmap.close();
    if (!this.next.size) this.drawing = new Promise((done) => requestAnimationFrame(() => done(this.draw())));
    Object.assign(scene, { received, decoded: performance.now() });
    this.next.set(scene.place, { scene, bitmap });
    await this.drawing;
  }

  /** Draw the newest frames that came. */
  draw() {
    const newest = [...this.next.values()];
    this.next.clear();
    for (const { scene, bitmap } of newest) {
      const known = this.state.sources.some((s) => s.place === scene.place) || this.state.phones?.includes(scene.place);
      if (this.photo || !known) { bitmap.close(); continue; }   // a phone may have gone meanwhile
      this.put(scene, bitmap);
      const now = performance.now();
      this.drawn.times.push(now);
      this.drawn.ages.push(scene.age_ms + this.link.ms + now - scene.received);
      for (const list of Object.values(this.drawn)) if (list.length > 90) list.shift();
      document.dispatchEvent(new CustomEvent("drawn", { detail: scene }));
    }
  }

  put(scene, bitmap) {
    let place = this.places.get(scene.place);
    if (!place) {
      place = { picture: new Picture($("frames")) };
      this.listen(place.picture);
      this.places.set(scene.place, place);
    }
    const aspect = scene.wh[0] / scene.wh[1], moves = place.aspect !== aspect;
    const objects = objectsOf(scene, this.state.words, `${scene.place}:`);
    Object.assign(place, { scene, aspect, objects });
    if (moves) this.changed();
    const bare = this.number();
    place.picture.show(bitmap, objects, this.look(scene));
    this.attract?.saw(objects.length);
    this.arrangeStrips(bare);
  }

  look({ wh, dims } = {}) {
    const here = [...this.places.values()].some((p) => p.objects.some((o) => this.lit.has(o.key))) || [...this.pins.keys()].some((key) => this.lit.has(key));
    return { wh, dims, lit: here ? this.lit : new Set(), pinned: new Set(this.pins.keys()), text: this.state.text, rem: this.rem };
  }

  /** Number objects by the places of their strips. */
  number() {
    const all = [...this.places].sort((a, b) => a[0] - b[0]).flatMap(([, place]) => [...place.objects].sort((a, b) => a.strip - b.strip));
    const pins = [...this.pins.keys()], bare = all.filter((o) => !this.pins.has(o.key));
    this.rows = this.slots.take(bare.map((o) => o.key), pins.length, this.rects.most);
    for (const o of all) {
      const pin = pins.indexOf(o.key);
      o.slot = pin < 0 ? pins.length + this.slots.of.get(o.key) : pin;
      o.number = o.slot + 1;
      if (pin >= 0) this.pins.set(o.key, { ...o, name: this.pins.get(o.key).name });
    }
    return bare;
  }

  arrangeStrips(bare = this.number()) {
    if (this.places.size) { this.blank?.remove(); this.blank = null; }
    const examples = this.pins.size ? [] : this.blank?.items ?? [];
    this.rows = Math.max(this.rows, examples.length);
    const items = [...examples, ...bare, ...[...this.pins.values()].map((pin, slot) => ({ ...pin, slot, number: slot + 1, pinned: true }))];
    const sizes = stripSizes(this.rects.strips, this.rows, this.rem, this.rects.kind, this.state.crop_size);
    this.strips.show(KIOSK ? items.filter((item) => item.slot < this.rows) : items, sizes, this.look());
    if (!KIOSK && this.places.size) this.list();
  }

  /** The names of what has strips, large: those that come and go with single frames would flicker. */
  list() {
    const counts = new Map();
    for (const { objects } of this.places.values()) for (const o of objects) if (o.name) counts.set(o.name, (counts.get(o.name) ?? 0) + 1);
    const key = JSON.stringify([this.names, ...counts]);
    if (key === this.listed) return;
    this.listed = key;
    $("seen").replaceChildren(...[...counts].slice(0, this.names).map(([name, count]) => {
      const item = make("li", { textContent: name, onpointerenter: () => this.lightAll(name), onpointerleave: () => this.light(null) });
      if (count > 1) item.append(make("sup", { textContent: count }));
      return item;
    }));
  }

  // Places ----------------------------------------------------------------------------------------------

  changed() {
    this.rem = fitType(this.textSize);
    const aspects = [...this.places.values()].map((p) => p.aspect);
    this.rects = arrange(aspects[0] ?? 16 / 9, this.rem, { kiosk: KIOSK, sources: Math.max(1, aspects.length), bar: $("time").hidden ? 5.2 : 7.2, crop: this.state.crop_size });
    const { frames, panel, strips, fill } = this.rects;
    cells(frames, aspects.length ? aspects : [1], fill).forEach((area, i) => {
      const place = [...this.places.entries()].sort((a, b) => a[0] - b[0])[i]?.[1];
      place?.picture.place(area, fill);
      place?.picture.again(this.look(place.scene));
    });
    document.body.dataset.kind = this.rects.kind;
    putAt($("panel"), panel);
    this.names = Math.max(1, Math.floor($("seen").parentElement.clientHeight / (LINE_REM * this.rem)));   // none is cut
    const low = this.rects.kind === "upright" || this.rects.kind === "phone";
    this.sheets?.place(low ? { ...strips, y: panel.y, h: innerHeight - panel.y - 8 } : panel);
    $("panel").style.visibility = this.sheets?.open ? "hidden" : "";
    this.strips.place(strips);
    if (this.blank) putAt(this.blank.element, frames);
    if (this.places.size || this.blank) this.arrangeStrips();
    this.askWidth();
  }

  /** Tell the server how large frames are shown: more pixels would be decoded for nothing. */
  askWidth() {
    const widths = [...this.places.values()].map(({ picture }) => picture.width);
    this.link?.show(Math.round(Math.max(...(widths.length ? widths : [this.rects.frames.w * pixelRatio()]))));
  }

  sizeText(size) {
    this.textSize = Math.min(1.6, Math.max(0.7, size));
    localStorage.setItem("text size", this.textSize);
    this.changed();
  }

  // State -----------------------------------------------------------------------------------------------

  take(state) {
    const before = this.state;
    if (before.version && before.version !== state.version) location.reload();
    if (before.library !== state.library) this.pins.clear();   // rows are others there
    this.state = state;
    $("source").textContent = this.photo?.name ?? (state.sources.map((s) => s.name).join(", ") || "rtsearch");
    $("library").textContent = `${counted(state.objects, "object")}, ${counted(state.photos, "photo")}`;
    $("looked").hidden = !state.find || Boolean(this.photo);
    $("looked").textContent = `${state.find}  ×`;
    const [first] = state.sources, { hidden } = $("time");
    $("time").hidden = Boolean(this.photo) || !first?.seekable || !first.length_s;
    if ($("time").hidden !== hidden) this.changed();
    if (first?.length_s) { $("seek").max = first.length_s; $("length").textContent = clock(first.length_s); }
    if (this.buttons) { this.buttons.pause.firstChild.firstChild.setAttribute("d", ICONS[state.paused ? "play" : "pause"]); this.notice.textContent = `${state.network.name}, ${state.network.licence}`; }
    for (const source of state.sources) this.places.get(source.place)?.picture.element.classList.toggle("lost", source.lost);
    const here = new Set([...state.sources.map((s) => s.place), ...(state.phones ?? [])]);
    for (const [place, { picture }] of this.places) {
      // A server that was started again has no sources yet: their last pictures stay.
      const stays = here.has(place) || (place < FIRST_PHONE && !state.sources.length);
      if (!this.photo && !stays) { picture.remove(); this.places.delete(place); this.changed(); }
    }
    document.body.classList.toggle("remembers", Boolean(state.remembers));
    if (state.font && !before.font) new FontFace("wall", "url(/font)").load().then((font) => { document.fonts.add(font); this.changed(); }, () => {});
    if (before.theme && before.theme !== state.theme) turnTo(state.theme).then(() => this.changed());
    if (before.text !== state.text || before.crop_size !== state.crop_size) this.changed();
    if (!this.photo && !state.sources.length && !this.places.size) this.empty();
    this.attract?.take(state);
  }

  empty() {
    $("seen").replaceChildren(make("li", { textContent: "Drop a photo", className: "soft" }));
    if (KIOSK || this.blank) return;
    this.blank = new Blank(this.state, () => this.arrangeStrips());
    this.changed();
  }

  status(up) {
    if (this.up === false && up) toast("");
    if (!up && this.up && !KIOSK) toast("connection lost, trying again", true);
    this.up = up;
  }

  numbers() {
    const { times, ages } = this.drawn;
    const fps = times.length > 1 ? ((times.length - 1) * 1000) / (times.at(-1) - times[0]) : 0;
    const age = [...ages].sort((a, b) => a - b)[ages.length >> 1] ?? 0;
    const count = [...this.places.values()].reduce((n, p) => n + p.objects.length, 0);
    return [["frames a second", fps.toFixed(1)], ["camera to browser", `${age.toFixed(0)} ms`], ["objects", count],
      ["library", this.state.objects.toLocaleString("en")], ["photos", this.state.photos.toLocaleString("en")], ["version", this.state.version]];
  }

  // Doing something ---------------------------------------------------------------------------------------

  light(key) { this.lit = new Set(key ? [key] : []); this.relight(); }

  lightAll(name) {
    this.lit = new Set([...this.places.values()].flatMap((p) => p.objects.filter((o) => o.name === name).map((o) => o.key)));
    this.relight();
  }

  relight() {
    for (const { picture, scene } of this.places.values()) picture.again(this.look(scene));
    this.arrangeStrips();
  }

  listen(picture) {
    picture.canvas.onpointermove = (event) => {
      const key = picture.under(event)?.key ?? null;
      picture.canvas.style.cursor = key ? "pointer" : "";
      if (key !== ([...this.lit][0] ?? null)) this.light(key);
    };
    picture.canvas.onpointerleave = () => this.light(null);
    picture.canvas.onclick = (event) => { const hit = picture.under(event); if (hit && !KIOSK) this.pin(hit.key); };
  }

  pin(key) {
    if (!this.pins.delete(key)) {
      const found = [...[...this.places.values()].flatMap((p) => p.objects), ...(this.blank?.items ?? [])].find((o) => o.key === key);
      if (!found) return;
      this.pins.set(key, found);
    }
    this.relight();
  }

  open(row) { if (!KIOSK) this.sheets.show("crop", row); }

  async more(row, label) {
    const { neighbours } = await fetchJson(`/api/objects/${row}/similar?k=${Math.max(16, this.state.results)}`);
    this.pins.set(`like:${row}`, { key: `like:${row}`, library: this.state.library, name: ["like", label, row].filter((part) => part !== "").join(" "), rows: [row, ...neighbours.map((n) => n.row)], aspect: 1, score: 0 });
    this.changed();
  }

  change(changes) {
    for (const [section, keys] of Object.entries(changes)) this.waiting[section] = { ...this.waiting[section], ...keys };
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      patch(this.waiting).catch((error) => toast(error.message));
      this.waiting = {};
    }, 120);
  }

  /** Light what words describe, and dim the rest; no words light everything. */
  find(words) { return patch({ live: { find: words } }); }

  async search(file) {
    toast("searching", true);
    try {
      const bitmap = await createImageBitmap(file).catch(() => null);
      const found = await searchPhoto(file, `?name=${encodeURIComponent(file.name ?? "")}`);
      toast("");
      if (!bitmap) throw new Error("the browser cannot show this kind of photo");
      for (const { picture } of this.places.values()) picture.remove();
      this.places.clear();
      this.slots = new Slots();
      this.photo = { name: found.photo || "your photo" };
      this.put({ place: 0, ...found }, bitmap);
      this.take(this.state);
      this.button();
      if (!found.shown.length) toast("nothing was found in this photo");
    } catch (error) { toast(error.message); }
  }

  /** Leave the photo that was searched with. */
  leave() {
    if (!this.photo) return;
    this.photo = null;
    for (const { picture } of this.places.values()) picture.remove();
    this.places.clear();
    this.slots = new Slots();
    this.strips.show([], {}, this.look());
    this.listed = "";
    this.button();
    this.take(this.state);
  }

  button() {
    this.back?.remove();
    if (!this.photo) return;
    this.back = make("button", { className: "back", textContent: this.state.sources.length ? "back to the live picture" : "close", onclick: () => this.leave() });
    const { frames } = this.rects;
    Object.assign(this.back.style, { left: `${frames.x + 12}px`, top: `${frames.y + 12}px` });
    $("view").append(this.back);
  }

  /** Pause or go on; what the server says of it comes a moment later. */
  pause() {
    const paused = !this.state.paused;
    this.take({ ...this.state, paused });
    this.do({ do: paused ? "pause" : "resume" });
  }

  do(order) { control(order).catch((error) => toast(error.message)); }

  tools() {
    if (KIOSK) { this.kiosk(); return; }
    const button = (icon, title, act) => {
      const made = make("button", { title, onclick: act });
      made.setAttribute("aria-label", title);
      made.innerHTML = `<svg viewBox="0 0 24 24"><path d="${ICONS[icon]}"/></svg>`;
      return made;
    };
    this.buttons = {
      pause: button("pause", "pause", () => this.pause()),
      back: button("back", "one frame back", () => this.do({ do: "step back" })),
      step: button("step", "one frame on", () => this.do({ do: "step" })),
      photo: button("photo", "search with a photo", () => $("file").click()),
      phone: button("phone", "a phone as camera", () => this.sheets.toggle("phone")),
      wall: button("wall", "the library", () => { location.href = "/library"; }),
      controls: button("controls", "controls", () => this.sheets.toggle("controls")),
      help: button("help", "keys", () => this.sheets.toggle("help")),
    };
    this.notice = make("span", { className: "notice", title: "the network that finds objects, and its licence" });
    for (const name of ["pause", "back", "step", "phone", "controls"]) this.buttons[name].hidden = !may("operator");
    this.buttons.photo.hidden = !may("phone");
    $("seek").disabled = $("looked").disabled = !may("operator");
    $("tools").append(...Object.values(this.buttons), this.notice);
    onPhoto((file) => this.search(file));
    $("looked").onclick = () => this.find("").catch((error) => toast(error.message));
    $("seek").oninput = () => this.do({ do: "seek", to_s: Number($("seek").value) });
    document.addEventListener("drawn", ({ detail }) => {
      const [first] = this.state.sources;
      if (detail.place !== 0 || !first?.length_s || document.activeElement === $("seek")) return;
      const at = detail.t_s - first.begins_s;
      $("seek").value = at;
      $("now").textContent = clock(at);
    });
    $("seek").onchange = () => $("seek").blur();
    addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || (event.target.tagName === "INPUT" && event.target.type !== "range")) return;
    const texts = ["all", "names", "none"];
    const act = {
      " ": () => this.pause(), ",": () => this.do({ do: "step back" }), ".": () => this.do({ do: "step" }),
      ArrowLeft: () => this.do({ do: "skip", by_s: -5 }), ArrowRight: () => this.do({ do: "skip", by_s: 5 }),
      l: () => this.change({ live: { loop: !this.state.loop } }), m: () => this.change({ live: { mirror: !this.state.mirror } }),
      t: () => this.change({ show: { text: texts[(texts.indexOf(this.state.text) + 1) % 3] } }),
      "+": () => this.sizeText(this.textSize + 0.1), "-": () => this.sizeText(this.textSize - 0.1),
      o: () => $("file").click(), s: () => this.save(), c: () => this.sheets.toggle("controls"), "/": () => this.sheets.show("controls", true), n: () => this.sheets.toggle("numbers"),
      p: () => this.sheets.toggle("phone"), h: () => this.sheets.toggle("help"),
      f: () => (document.fullscreenElement ? document.exitFullscreen() : document.documentElement.requestFullscreen()),
      Escape: () => (this.sheets.open ? this.sheets.close() : this.photo ? this.leave() : (this.pins.clear(), this.relight())),
    }[event.key];
    const allowed = may("operator") || "+-snhf".includes(event.key) || event.key === "Escape" || (event.key === "o" && may("phone"));
    if (!act || !allowed || (event.key.startsWith("Arrow") && event.target.type === "range")) return;
    event.preventDefault();
    act();
  }

  save() {
    const [place] = this.places.values();
    place?.picture.canvas.toBlob((blob) => {
      const link = make("a", { href: URL.createObjectURL(blob), download: `rtsearch-${Date.now()}.png` });
      link.click();
      URL.revokeObjectURL(link.href);
    });
  }

  /** Keep the screen on. */
  kiosk() {
    const wake = () => navigator.wakeLock?.request("screen").catch(() => {});
    wake();
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && wake());
  }
}

window.rtsearch = new Page();
