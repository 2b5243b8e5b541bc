/**
 * node walk.mjs ADDRESS SECONDS: hands over a small level, walks a circle at 60 Hz, "shows" each frame, prints a line of
 * JSON. The walk is the one of demos/clients/README.md, in OpenGL's axes: x right, y up, -z forward.
 *
 * @import { Part } from "./messages.js"
 * @import { Frame, Tick } from "./helios_bridge.mjs"
 */
import { HeliosBridge } from "./helios_bridge.mjs";

const TICK_MS = 1000 / 60;
const SETTLE_MS = 1000;

/** @type {Part[]} */
const LEVEL = [
  { id: 1, shape: "plane", position: [0, 0, 0], size: [40, 1, 40], material: "grass" },
  { id: 2, shape: "box", position: [0, 1.5, -8], size: [8, 3, 0.5], material: "brick" },
  { id: 3, shape: "cylinder", position: [4, 2, -5], size: [1, 4, 1], material: "stone" },
  { id: 4, shape: "sphere", position: [2, 1.5, -4], size: [0.6, 0.6, 0.6], material: "lamp", colour: [1, 0.9, 0.7] },
];

/** @param {number} tick @returns {Tick} */
function tickAt(tick) {
  const turned = 0.01 * tick; // to the right, around a point 3 m to the right of the start
  return {
    position: [3 * (1 - Math.cos(turned)), 1.6, -3 * Math.sin(turned)],
    rotation: [0, -Math.sin(turned / 2), 0, Math.cos(turned / 2)],
    vertical_fov_deg: 60,
    action: "walk around the pillar",
  };
}

const [address, seconds] = [process.argv[2], Number(process.argv[3])];
if (!address || !(seconds > 0)) {
  console.error("usage: node walk.mjs ADDRESS SECONDS");
  process.exit(2);
}
const { HELIOS_SERVER_KEY: serverKey, HELIOS_PUBLIC_KEY: publicKey, HELIOS_SECRET_KEY: secretKey } = process.env;
const curve = serverKey && publicKey && secretKey ? { serverKey, publicKey, secretKey } : undefined;
const bridge = new HeliosBridge(address, { client: "javascript walk", credit: 8, curve });
/** @type {number[]} */
const trips = [];
let quad = Buffer.alloc(0);
bridge.on("open", (welcome) => welcome.resumed || bridge.sendScene({ replace: true, seed: 1, add: LEVEL }));
bridge.on("frame", (/** @type {Frame} */ frame) => {
  quad = Buffer.from(frame.pixels); // what a game does is upload it to a texture; an upload copies too
  trips.push(frame.roundTripMs);
});
for (const event of ["refused", "busy", "lost", "closed"]) bridge.on(event, (text) => console.error(`walk: ${event}: ${text}`));

const begin = performance.now();
let nextMs = begin;
let tick = 0;
/** @param {number} untilMs */
const sleepUntil = (untilMs) => new Promise((resolve) => setTimeout(resolve, Math.max(0, untilMs - performance.now())));
while (performance.now() < begin + seconds * 1000 && bridge.state !== "closed") {
  if ((await bridge.send(tickAt(tick))) >= 0 && tick++ % 15 === 14) {
    await bridge.sendScene({ move: [{ id: 4, position: [2, 1.5 + 0.5 * Math.sin(tick / 30), -4] }] });
  }
  nextMs = Math.max(nextMs + TICK_MS, performance.now());
  await sleepUntil(nextMs);
}
const settled = performance.now() + SETTLE_MS;
while (bridge.answered + bridge.counts.refused < bridge.counts.controls && performance.now() < settled) await sleepUntil(performance.now() + 5);
await bridge.close();
trips.sort((a, b) => a - b);
const at = (/** @type {number} */ share) => Math.round(1000 * (trips[Math.floor(trips.length * share)] ?? 0));
console.log(JSON.stringify({ client: "javascript", ...bridge.counts, shown: trips.length, round_trip_us_p50: at(0.5), round_trip_us_p99: at(0.99) }));
process.exitCode = trips.length > 0 && quad.length > 0 ? 0 : 1;
