// A library that plays nothing: where to drop a photo, and what that gives, by some of its objects.

import { $, make, may } from "./page.js";
import { fetchJson, word } from "./wire.js";

const EXAMPLES = 3;
const NEIGHBOURS = 24;

export class Blank {
  /** Show the place for photos; done is called when strips of examples have come. */
  constructor(state, done) {
    this.items = [];
    const textContent = may("phone") ? "Drop a photo here, or choose one" : "Nothing is shown now";
    this.element = make("button", { className: "blank", textContent, disabled: !may("phone"), onclick: () => $("file").click() });
    $("frames").append(this.element);
    this.find(state).then(done, () => {});   // it does without, where the server is away
  }

  async find({ library, objects, words }) {
    const rows = new Set(Array.from({ length: Math.min(EXAMPLES, objects) }, () => Math.floor(Math.random() * objects)));
    for (const [slot, row] of [...rows].entries()) {
      const { label } = await fetchJson(`/api/objects/${row}`);
      const { neighbours } = await fetchJson(`/api/objects/${row}/similar?k=${NEIGHBOURS}`);
      this.items.push({ key: `example:${row}`, library, slot, number: 0, name: word(words, label), rows: [row, ...neighbours.map((n) => n.row)], aspect: 1, score: 0 });
    }
  }

  remove() { this.element.remove(); }
}
