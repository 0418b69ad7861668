// A phone as a source: its camera where the page is secure, else photos that it takes one by one.

import { Slots, arrange, fitType, stripSizes } from "./layout.js";
import { Picture } from "./picture.js";
import { $, make, onPhoto, toast } from "./page.js";
import { Strips } from "./strips.js";
import { objectsOf, searchPhoto } from "./wire.js";

const SIDE = 640;           // of the pictures that are sent, px
const LIVE = Boolean(window.isSecureContext && navigator.mediaDevices?.getUserMedia);

class Phone {
  constructor() {
    this.strips = new Strips($("strips"), { light: () => {}, pin: () => {}, open: () => {} });
    this.picture = new Picture($("frames"));
    this.slots = new Slots();
    this.frames = 0;
    this.small = document.createElement("canvas");
    addEventListener("resize", () => this.lay());
    $("begin").textContent = LIVE ? "Start the camera" : "Take a photo";
    $("begin").onclick = () => (LIVE ? this.live() : $("file").click());
    onPhoto((file) => this.photo(file));
    this.lay();
  }

  lay() {
    this.rem = fitType();
    this.rects = arrange(this.aspect ?? 4 / 3, this.rem, { bar: 0.5 });
    if (this.rects.kind === "wide") Object.assign(this.rects.frames, { w: innerWidth - 2 * this.rects.frames.x });
    this.picture.place(this.rects.frames, false);
    this.strips.place(this.rects.strips);
  }

  async live() {
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: false, video: { facingMode: "environment", width: { ideal: 1280 } } });
      $("video").srcObject = stream;
      await $("video").play();
    } catch (error) {
      $("words").textContent = error.name === "NotAllowedError" ? "The camera was not allowed. Allow it in the settings of the browser." : "There is no camera here.";
      return;
    }
    $("start").hidden = true;
    navigator.wakeLock?.request("screen").catch(() => {});
    this.connect();
  }

  connect() {
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws/source`);
    socket.onopen = () => { this.wait = 500; toast(""); this.send(socket); };
    socket.onmessage = async ({ data }) => {
      const scene = JSON.parse(data);
      if (scene.error) toast(scene.error);
      else this.show(scene, this.sent);
      this.frames++;
      await new Promise((done) => requestAnimationFrame(done));
      this.send(socket);
    };
    socket.onclose = ({ code }) => {
      toast(code === 1006 ? "waiting for a free place" : "connection lost, trying again", true);
      this.wait = Math.min((this.wait ?? 500) * 1.5, 5000);
      setTimeout(() => this.reconnect(), this.wait);
    };
  }

  /** Connect, once somebody looks: a phone that lies in a pocket needs no place. */
  reconnect() {
    if (document.hidden) document.addEventListener("visibilitychange", () => this.reconnect(), { once: true });
    else this.connect();
  }

  /** Send the picture that the camera shows now; it is drawn when its objects have come. */
  async send(socket) {
    const video = $("video"), scale = Math.min(1, SIDE / Math.max(video.videoWidth, video.videoHeight));
    const width = Math.round(video.videoWidth * scale), height = Math.round(video.videoHeight * scale);
    Object.assign(this.small, { width, height });
    this.small.getContext("2d").drawImage(video, 0, 0, width, height);
    const [jpeg, bitmap] = await Promise.all([new Promise((done) => this.small.toBlob(done, "image/jpeg", 0.8)), createImageBitmap(this.small)]);
    this.sent?.close?.();
    this.sent = bitmap;
    if (socket.readyState === 1 && jpeg) socket.send(await jpeg.arrayBuffer());
  }

  async photo(file) {
    toast("searching", true);
    try {
      const bitmap = await createImageBitmap(file);
      const found = await searchPhoto(file);
      toast(found.shown.length ? "" : "nothing was found in this photo");
      $("start").hidden = true;
      this.show(found, bitmap);
      this.again ??= document.body.appendChild(make("button", { className: "again", textContent: "Another photo", onclick: () => $("file").click() }));
    } catch (error) { toast(error.message); }
  }

  show(scene, bitmap) {
    this.sent = null;   // the picture gives it back
    const aspect = scene.wh[0] / scene.wh[1];
    if (aspect !== this.aspect) { this.aspect = aspect; this.lay(); }
    const objects = objectsOf(scene, scene.words);
    const look = { wh: scene.wh, lit: new Set(), pinned: new Set(), text: "names", rem: this.rem };
    const count = this.slots.take(objects.sort((a, b) => a.strip - b.strip).map((o) => o.key), 0, this.rects.most);
    for (const o of objects) Object.assign(o, { slot: this.slots.of.get(o.key), number: this.slots.of.get(o.key) + 1 });
    this.picture.show(bitmap, objects, look);
    this.strips.show(objects, stripSizes(this.rects.strips, count, this.rem, this.rects.kind), look);
  }
}

window.rtsearch = new Phone();
