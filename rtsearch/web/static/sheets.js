// What opens beside the frame: controls, help, numbers, the phones' code, and one crop with its photo.

import { clock, make, putAt, toast } from "./page.js";
import { fetchJson, thumb, word } from "./wire.js";

const KEYS = [
  ["space", "pause"], [", .", "one frame back, forward"], ["← →", "5 seconds back, forward"], ["l", "loop"],
  ["m", "mirror, of a camera"], ["t", "all text, names only, none"], ["+ −", "size of text"], ["o", "search with a photo"], ["/", "look for words"],
  ["s", "save the picture"], ["f", "full screen"], ["c", "controls"], ["n", "numbers"], ["p", "a phone as camera"], ["h", "this help"],
];

/** Time of a crop in its film, and of the object's first and last picture. */
const moments = ({ t_s: at, seen_s: [first, last] }) => `at ${clock(at)}${last - first >= 1 ? `, seen ${clock(first)} to ${clock(last)}` : ""}`;

export class Sheets {
  constructor(root, page) { this.root = root; this.page = page; this.open = ""; }

  place(rect) {
    putAt(this.root, rect);
    this.root.style.setProperty("--photo-h", `${Math.round(rect.h - 60)}px`);
  }

  toggle(name) { this.open === name ? this.close() : this.show(name); }

  close() {
    this.open = "";
    this.root.classList.remove("open");
    clearInterval(this.timer);
    this.page.changed();
  }

  async show(name, argument) {
    clearInterval(this.timer);
    this.open = name;
    const shown = await this[name](argument).catch((error) => { toast(error.message); });
    if (this.open !== name) return;
    if (!shown) { this.close(); return; }
    const [title, content] = shown;
    const head = make("div", { className: "head" }, make("h2", { textContent: title }),
      make("button", { textContent: "close", className: "small", onclick: () => this.close() }));
    this.root.replaceChildren(head, content);
    this.root.classList.add("open");
    this.root.scrollTop = 0;
    this.page.changed();
  }

  async help() {
    const keys = make("dl", { className: "keys" });
    for (const [key, what] of KEYS) keys.append(make("dt", { textContent: key }), make("dd", { textContent: what }));
    const { network } = this.page.state;
    const notice = make("p", { className: "small faint", textContent:
      `Objects are found by the network ${network.name}, whose weights are under ${network.licence}. ` +
      (network.licence.startsWith("AGPL") ? "Whoever offers this page to others must offer them the source of what runs it. " : "") +
      "rtsearch is under the Apache License 2.0." });
    const hint = make("p", { className: "small soft", textContent: "Click a crop for its photo, a box to keep its strip. Drop or paste a photo to search with it." });
    return ["Keys", make("div", { className: "columns" }, keys, make("div", {}, hint, make("br"), notice))];
  }

  async numbers() {
    const list = make("dl", { className: "numbers" });
    const fill = () => {
      const rows = this.page.numbers();
      list.replaceChildren(...rows.flatMap(([name, value]) => [make("dt", { textContent: name }), make("dd", { textContent: value })]));
    };
    fill();
    this.timer = setInterval(fill, 500);
    return ["Numbers", list];
  }

  async phone() {
    const image = make("img", { className: "qr", src: `/qr.svg?${Date.now()}`, alt: "address of the page for phones" });
    const secure = location.protocol === "https:";
    const alone = this.page.state.here_only && /^(localhost|127\..*|\[::1\])$/.test(location.hostname);   // no proxy before it either
    const words = make("p", { className: "small soft", textContent: alone
      ? "This server answers its own machine alone. Start it with --host 0.0.0.0 for phones, and with --cert and --key for their live pictures."
      : secure ? "A phone that opens this address becomes a source."
        : "A phone that opens this address can send photos. Live pictures need https: start with --cert and --key." });
    return ["A phone as camera", make("div", { className: "detail" }, image, words)];
  }

  /** The box for words; what is not understood stands below it. */
  words(find, focused) {
    const input = make("input", { type: "text", value: find, placeholder: "red cup, two dogs, person in blue", maxLength: 200, autocomplete: "off", spellcheck: false });
    const problem = make("span", { className: "problem" });
    let asked = find;
    input.onchange = async () => {
      asked = input.value.trim();
      problem.textContent = await this.page.find(asked).then(() => "", (error) => error.message);
    };
    input.onkeydown = (event) => {
      if (event.key !== "Escape") return;
      input.value = asked;
      input.blur();
    };
    if (focused) setTimeout(() => input.select());
    return make("label", { className: "wide" }, "look for", input, problem);
  }

  async controls(focused = false) {
    const settings = await fetchJson("/api/settings");
    const { classes, objects } = await fetchJson("/api/classes");
    const { page } = this;
    const slider = (label, section, key, [min, max, step], ends) => {
      const output = make("output", { textContent: settings[section][key] });
      const input = make("input", { type: "range", min, max, step, value: settings[section][key] });
      input.oninput = () => { output.textContent = input.value; page.change({ [section]: { [key]: Number(input.value) } }); };
      const made = make("label", {}, label, output, input);
      if (ends) made.append(make("span", { className: "ends" }, ...ends.map((t) => make("span", { textContent: t }))));
      return made;
    };
    const size = make("input", { type: "range", min: 0.7, max: 1.6, step: 0.05, value: page.textSize });
    const sizeOutput = make("output", { textContent: page.textSize });
    size.oninput = () => { sizeOutput.textContent = size.value; page.sizeText(Number(size.value)); };
    const chosen = new Set(settings.detect.classes);
    const chips = make("div", { className: "chips" });
    const all = make("button", { textContent: "all" });
    const draw = () => {
      all.setAttribute("aria-pressed", String(!chosen.size));
      for (const chip of chips.children) if (chip !== all) chip.setAttribute("aria-pressed", String(chosen.has(chip.name)));
    };
    const choose = () => { draw(); page.change({ detect: { classes: [...chosen] } }); };
    all.onclick = () => { chosen.clear(); choose(); };
    chips.append(all);
    const known = [...new Set([...Object.keys(objects), ...chosen])].filter((name) => classes.includes(name)).slice(0, 24);
    for (const name of known) {
      chips.append(make("button", { name, textContent: word(page.state.words, name) || name, onclick: () => { chosen.has(name) ? chosen.delete(name) : chosen.add(name); choose(); } }));
    }
    draw();
    const content = make("div", { className: "columns" },
      this.words(settings.live.find, focused),
      slider("similar by", "describe", "meaning", [0, 1, 0.25], ["looks", "kind"]),
      slider("threshold", "detect", "threshold", [0, 1, 0.01]),
      slider("max overlap", "detect", "max_overlap", [0, 1, 0.01]),
      slider("results", "show", "results", [5, 100, 1]),
      make("label", {}, "size of text", sizeOutput, size));
    return ["Controls", make("div", { className: "stack" }, content, make("br"), chips)];
  }

  async crop(row) {
    const { state } = this.page;
    const facts = await fetchJson(`/api/objects/${row}`), name = word(state.words, facts.label);
    const holder = make("div", { className: "holder" });
    const figure = make("figure", {}, holder);
    const image = make("img", { src: thumb(state, row), alt: name });
    image.onload = () => { if (!facts.has_photo) image.style.width = `${Math.min(image.naturalWidth * 2.2, 420)}px`; };
    holder.append(image);
    if (facts.has_photo) this.photo(row, facts, holder, image);
    const like = make("button", { textContent: "More like this", onclick: () => this.page.more(row, name).catch((error) => toast(error.message)) });
    const words = make("div", { className: "facts" }, make("p", { textContent: name }));
    if (facts.photo) words.append(make("p", { className: "small soft", textContent: facts.photo }));
    if (facts.t_s !== undefined) words.append(make("p", { className: "small soft", textContent: moments(facts) }));
    words.append(like);
    return [`Object ${row.toLocaleString("en")}`, make("div", { className: "detail" }, figure, words)];
  }

  async photo(row, facts, holder, image) {
    const answer = await fetch(`/photo/${row}.jpg`);
    if (!answer.ok) return;
    const [width, height] = answer.headers.get("x-photo-size").split("x").map(Number);
    const address = URL.createObjectURL(await answer.blob());
    image.onload = () => URL.revokeObjectURL(address);
    image.style.width = "100%";
    holder.style.width = `min(100%, calc(var(--photo-h) * ${(width / height).toFixed(4)}))`;
    image.src = address;
    const [x1, y1, x2, y2] = facts.xyxy;
    const box = make("div", { className: "box" });
    Object.assign(box.style, { left: `${(100 * x1) / width}%`, top: `${(100 * y1) / height}%`, width: `${(100 * (x2 - x1)) / width}%`, height: `${(100 * (y2 - y1)) / height}%` });
    holder.append(box);
  }
}
