/**
 * A game's side of the helios-bridge protocol 1.1, for Node. Everything is in the axes and units of the options.
 *
 * Events: "open" (Welcome; when it is not `resumed`, hand over your level), "frame" (Frame), "refused", "busy", "lost"
 * (a text each; busy and lost mend themselves), "closed" (a text; nothing more will come).
 *
 * @import { Control, FrameHeader, Hello, Reset, SceneUpdate, Welcome } from "./messages.js"
 */
import { EventEmitter } from "node:events";
import { decode, encode } from "@msgpack/msgpack";
import { Dealer } from "zeromq";

export const TYPES = Object.freeze({
  HELLO: 1, WELCOME: 2, CONTROL: 3, FRAME: 4, SCENE: 5, RESET: 6, STATS_REQUEST: 7, STATS: 8, ERROR: 9, BUSY: 10,
  BYE: 11, PING: 12, PONG: 13, SAVE: 14, SAVED: 15,
});
const MAGIC = Buffer.from("HLB1");
const MAX_BODY_BYTES = 16 * 1024;
const MAX_SCENE_BYTES = 4 * 2 ** 20;
const HELLO_AGAIN_MS = 2000; // an unanswered HELLO is repeated
const MISSED_HEARTBEATS = 3; // a server this silent, while controls are under way, is gone
const RESUMABLE = ["session_expired", "unexpected_message"]; // the server gave us up, or was restarted

/** @typedef {{ header: FrameHeader, pixels: Buffer, roundTripMs: number }} Frame rgb8: rows from the top, 3 bytes a pixel */
/** @typedef {Pick<Control, "position" | "rotation" | "vertical_fov_deg"> & Partial<Pick<Control, "action" | "events" | "teleport">>} Tick */
/** @typedef {{ serverKey: string, publicKey: string, secretKey: string }} CurveKeys Z85 texts of 40 characters */

/** Microseconds on this machine's own clock. */
export const nowUs = () => Math.round(performance.now() * 1000);

/** @param {unknown} value @param {number} least */
const isInt = (value, least = 0) => Number.isSafeInteger(value) && Number(value) >= least;
/** @param {unknown} value @param {number} count */
const isNumbers = (value, count) => Array.isArray(value) && value.length === count && value.every(Number.isFinite);

/**
 * A message's type and fields, or null when the bytes are none that a client reads.
 * @param {Buffer[]} parts
 * @returns {{ type: number, fields: Record<string, any>, pixels: Buffer | null } | null}
 */
export function read(parts) {
  if (parts.length < 3 || !parts[0].equals(MAGIC) || parts[1].length !== 1 || parts[2].length > MAX_BODY_BYTES) return null;
  const type = parts[1][0];
  if (parts.length !== (type === TYPES.FRAME ? 4 : 3)) return null;
  let fields;
  try {
    const most = parts[2].length;
    fields = decode(parts[2], { maxStrLength: most, maxBinLength: most, maxArrayLength: most, maxMapLength: most, maxExtLength: 0 });
  } catch {
    return null;
  }
  if (fields === null || typeof fields !== "object" || Array.isArray(fields)) return null;
  const message = { type, fields: /** @type {Record<string, any>} */ (fields), pixels: parts[3] ?? null };
  return isSound(message) ? message : null;
}

/**
 * Whether the fields that this client uses are there and of their type.
 * @param {{ type: number, fields: Record<string, any>, pixels: Buffer | null }} message
 */
function isSound({ type, fields: it, pixels }) {
  switch (type) {
    case TYPES.WELCOME:
      return typeof it.session_id === "string" && typeof it.resume_token === "string" && typeof it.resumed === "boolean" &&
        isInt(it.last_seq, -1) && isInt(it.heartbeat_us) && isInt(it.frame_width, 1) && isInt(it.frame_height, 1) && isInt(it.credit, 1);
    case TYPES.FRAME:
      return isInt(it.seq) && isInt(it.t_us) && isInt(it.chunk, -1) && isInt(it.index) && isInt(it.width, 1) && isInt(it.height, 1) &&
        isInt(it.server_us) && isInt(it.control_age_us) && typeof it.deadline_met === "boolean" &&
        ["generated", "reprojected", "held"].includes(it.source) && isNumbers(it.position, 3) && isNumbers(it.rotation, 4) &&
        Number.isFinite(it.vertical_fov_deg) && typeof it.action === "string" &&
        it.pixel_format === "rgb8" && pixels?.length === 3 * it.width * it.height;
    case TYPES.ERROR:
      return typeof it.code === "string" && typeof it.text === "string";
    case TYPES.PING:
      return isInt(it.t_us);
    default:
      return true;
  }
}

export class HeliosBridge extends EventEmitter {
  /** What became of every control: `answered` is the sum of the three sources. */
  counts = { controls: 0, generated: 0, reprojected: 0, held: 0, refused: 0, resumes: 0 };
  /** @type {Welcome | null} */ welcome = null;
  /** @type {Frame | null} */ newest = null;
  /** @type {"waiting" | "open" | "closed"} */ state = "waiting";
  #nextSeq = 0;
  #newestSeq = -1;
  #latenessUs = 0;
  #heardMs = performance.now();
  #waitingSinceMs = 0;
  #helloDueMs = 0;
  /** @type {Dealer} */ #socket;
  /** @type {Hello} */ #hello;
  /** @type {NodeJS.Timeout} */ #timer;

  /**
   * Starts connecting; "open" follows.
   * @param {string} address
   * @param {Partial<Hello> & { curve?: CurveKeys }} options
   */
  constructor(address = "tcp://127.0.0.1:5599", { curve, ...hello } = {}) {
    super();
    this.#hello = { version_major: 1, version_minor: 1, client: "javascript", budget_us: 16667, ...hello };
    const keys = curve && { curveServerKey: curve.serverKey, curvePublicKey: curve.publicKey, curveSecretKey: curve.secretKey };
    // A send that cannot leave at once fails at once: an old control is worth nothing.
    this.#socket = new Dealer({ linger: 0, immediate: true, sendTimeout: 0, ...keys });
    this.#socket.connect(address);
    this.#timer = setInterval(() => this.#tend(), 20);
    this.#readAll();
  }

  get answered() {
    return this.counts.generated + this.counts.reprojected + this.counts.held;
  }

  /**
   * Sends one tick; resolves to its seq, or to -1 while no session is open or the connection takes no message.
   * @param {Tick} tick
   */
  async send(tick) {
    if (this.state !== "open") return -1;
    const seq = this.#nextSeq++;
    const control = { ...tick, seq, t_us: nowUs(), lateness_us: this.#latenessUs, frame_received_seq: this.#newestSeq };
    this.counts.controls++; // before waiting: the answer may be quicker than the promise
    this.#waitingSinceMs ||= performance.now();
    if (await this.#put(TYPES.CONTROL, control)) return seq;
    this.counts.controls--;
    return -1;
  }

  /** Hands over or changes the level. A session's first parts must come with `replace: true`. @param {SceneUpdate} scene */
  async sendScene(scene) {
    return this.state === "open" && (await this.#put(TYPES.SCENE, scene));
  }

  /** Starts the video anew. @param {Reset} reset */
  async sendReset(reset = {}) {
    return this.state === "open" && (await this.#put(TYPES.RESET, reset));
  }

  /** Says BYE and closes. */
  async close() {
    if (this.#socket.closed) return;
    clearInterval(this.#timer);
    if (this.state === "open") await this.#put(TYPES.BYE, { reason: "closed by the game" });
    this.state = "closed";
    this.#socket.linger = 100;
    this.#socket.close();
  }

  /** @param {number} type @param {object} fields */
  async #put(type, fields) {
    const body = encode(fields, { ignoreUndefined: true });
    if (body.length > MAX_SCENE_BYTES || this.#socket.closed) return false;
    try {
      await this.#socket.send([MAGIC, Buffer.of(type), body]);
      return true;
    } catch {
      return false; // EAGAIN: nobody is connected, or the way is full
    }
  }

  async #readAll() {
    try {
      for await (const parts of this.#socket) this.#receive(parts);
    } catch (error) {
      if (!this.#socket.closed) this.#end(String(error));
    }
  }

  /** HELLO while no session is open, and a look at whether the server still speaks. */
  #tend() {
    const now = performance.now();
    const patienceMs = (MISSED_HEARTBEATS * (this.welcome?.heartbeat_us ?? 0)) / 1000;
    if (this.state === "open" && this.#waitingSinceMs && patienceMs) {
      if (Math.min(now - this.#waitingSinceMs, now - this.#heardMs) > patienceMs) this.#lose("nothing heard from the server");
    }
    if (this.state !== "waiting" || now < this.#helloDueMs) return;
    this.#helloDueMs = now + HELLO_AGAIN_MS;
    const { session_id = "", resume_token = "" } = this.welcome ?? {};
    this.#put(TYPES.HELLO, { ...this.#hello, session_id, resume_token }).then((left) => {
      if (!left) this.#helloDueMs = 0;
    });
  }

  /** @param {Buffer[]} parts */
  #receive(parts) {
    const message = read(parts);
    if (message === null) return;
    const { type, fields, pixels } = message;
    this.#heardMs = performance.now();
    if (type === TYPES.FRAME && pixels) this.#onFrame(/** @type {FrameHeader} */ (/** @type {unknown} */ (fields)), pixels);
    else if (type === TYPES.WELCOME && this.state === "waiting") this.#onWelcome(/** @type {Welcome} */ (/** @type {unknown} */ (fields)));
    else if (type === TYPES.PING) this.#put(TYPES.PONG, { t_us: fields.t_us });
    else if (type === TYPES.ERROR) this.#onError(fields);
    else if (type === TYPES.BYE) this.#end(`the server ended the session: ${fields.reason}`);
    else if (type === TYPES.BUSY && this.state === "waiting") {
      this.#helloDueMs = this.#heardMs + (isInt(fields.retry_after_us) ? fields.retry_after_us / 1000 : 1000);
      this.emit("busy", String(fields.text));
    }
  }

  /** @param {Welcome} welcome */
  #onWelcome(welcome) {
    this.counts.resumes += Number(welcome.resumed);
    if (!welcome.resumed) this.#newestSeq = -1; // a new session has sent nothing that could be acknowledged
    this.#nextSeq = Math.max(this.#nextSeq, welcome.last_seq + 1);
    this.#waitingSinceMs = 0;
    this.welcome = welcome;
    this.state = "open";
    this.emit("open", welcome);
  }

  /** @param {FrameHeader} header @param {Buffer} pixels */
  #onFrame(header, pixels) {
    // Answers come in the order of their controls; whatever else it is, it is not ours to acknowledge.
    if (this.state !== "open" || header.seq <= this.#newestSeq || header.seq >= this.#nextSeq) return;
    const tripUs = nowUs() - header.t_us;
    this.#latenessUs = tripUs - (this.#hello.budget_us ?? 0);
    this.#newestSeq = header.seq;
    this.#waitingSinceMs = 0;
    this.counts[header.source]++;
    this.newest = { header, pixels, roundTripMs: tripUs / 1000 };
    this.emit("frame", this.newest);
  }

  /** @param {Record<string, any>} error */
  #onError({ code, text, fatal = false, in_reply_to = "" }) {
    if (this.welcome && RESUMABLE.includes(code)) {
      if (fatal) return this.#lose(text); // while waiting, what was under way is refused as well
      if (in_reply_to === "HELLO" && this.state === "waiting") {
        this.state = "open"; // the session never ended
        return;
      }
    }
    if (in_reply_to === "CONTROL" && this.state === "open") this.counts.refused++;
    if (fatal) this.#end(`${code}: ${text}`);
    else this.emit("refused", `${code}: ${text}`);
  }

  /** @param {string} why */
  #lose(why) {
    if (this.state !== "open") return;
    this.state = "waiting";
    this.#helloDueMs = 0;
    this.emit("lost", why);
  }

  /** @param {string} why */
  #end(why) {
    if (this.state === "closed") return;
    this.state = "closed";
    clearInterval(this.#timer);
    this.emit("closed", why);
    this.#socket.close();
  }
}
