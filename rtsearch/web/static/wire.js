// The connection to the server: binary messages are scenes, text messages are the state.

export async function fetchJson(path, options = {}) {
  const answer = await fetch(path, options);
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(body.error || `${answer.status} ${answer.statusText}`);
  return body;
}

export const patch = (changes) => fetchJson("/api/settings", { method: "PATCH", body: JSON.stringify(changes) });
export const control = (order) => fetchJson("/api/control", { method: "POST", body: JSON.stringify(order) });
export const thumb = ({ library }, row) => `/thumb/${library}/${row}.jpg`;
export const word = (words, name) => words?.[name] ?? name;

/** Objects of a scene as pictures and strips show them; words by the names of classes. */
export function objectsOf(scene, words, prefix = "") {
  const seen = new Map(scene.objects.map((o) => [o.track, o])), faint = new Set(scene.faint);
  return scene.shown.map(({ track, strip, label, score, rows, xyxy = seen.get(track).xyxy }) => ({
    key: `${prefix}${track}`, library: scene.library, name: word(words, label), score, strip, rows, xyxy,
    aspect: (xyxy[2] - xyxy[0]) / Math.max(1, xyxy[3] - xyxy[1]), held: !seen.has(track), faint: faint.has(track), whole: track === 0,
  }));
}

/** Search with a photo; its objects as a scene, without neighbours that are too far to be shown. */
export async function searchPhoto(file, query = "") {
  const { max_distance: most, objects, ...found } = await fetchJson(`/api/search${query}`, { method: "POST", body: file });
  const near = ({ neighbours }) => neighbours.filter(({ distance }) => most === null || distance <= most).map(({ row }) => row);
  return {
    ...found, faint: [], objects: objects.map((o, i) => ({ ...o, track: i + 1 })),
    shown: objects.map((o, strip) => ({ track: strip + 1, strip, label: o.label, score: o.score, rows: near(o) })),
  };
}

const decoder = new TextDecoder();

/** Split a message into its scene and the JPEG of its frame. */
export function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const scene = JSON.parse(decoder.decode(new Uint8Array(buffer, 4, length)));
  return { scene, jpeg: new Blob([new Uint8Array(buffer, 4 + length)], { type: "image/jpeg" }) };
}

/**
 * Keep a connection to /ws, and open it again whenever it is lost.
 * on.scene gets {scene, jpeg} and returns a promise; the server sends more once it is fulfilled.
 * The connection has the time to the server, ms, and takes the width that frames are shown at, px.
 */
export function connect(on) {
  let socket, wait = 250, timer;
  const send = (text) => socket.readyState === 1 && socket.send(text);
  const link = {
    ms: 0, width: 0,
    show(width) { if (width !== this.width) { this.width = width; send(`w${width}`); } },
  };
  const open = () => {
    socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws?confirm=1`);
    socket.binaryType = "arraybuffer";
    const ask = () => send(`t${performance.now().toFixed(2)}`);
    socket.onopen = () => { wait = 250; on.status?.(true); if (link.width) send(`w${link.width}`); ask(); timer = setInterval(ask, 2000); };
    socket.onmessage = async ({ data }) => {
      if (typeof data !== "string") {
        const here = socket;
        try { await on.scene({ ...unpack(data), received: performance.now() }); } finally { if (here.readyState === 1) here.send("ok"); }
      } else if (data[0] === "t") {
        link.ms = (performance.now() - Number(data.slice(1))) / 2;
      } else {
        on.state(JSON.parse(data));
      }
    };
    socket.onclose = () => {
      clearInterval(timer);
      on.status?.(false);
      setTimeout(open, wait);
      wait = Math.min(wait * 1.6, 3000);
    };
  };
  open();
  return link;
}
