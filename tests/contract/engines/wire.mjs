// wire.mjs ADDRESS: says to a server what the vectors hello_full, scene_full, reset_full and control_full say (nine
// times), and prints what it reads as lines of JSON. test_engine_wire.py is the server.
import { HeliosBridge } from "./helios_bridge.mjs";

const bytes = (/** @type {ArrayBufferView} */ view) => new Uint8Array(view.buffer);
const bridge = new HeliosBridge(process.argv[2], {
  client: "vector", axes: "unreal", units_per_metre: 100, credit: 4, budget_us: 8333, tick_hz: 120,
});
bridge.on("open", async (welcome) => {
  console.log(JSON.stringify({ welcome }));
  await bridge.sendScene({
    prompt: "an old garden", seed: 42, replace: true,
    add: [
      { id: 1, shape: "box", position: [0, 0.5, -4] },
      {
        id: 2, shape: "mesh", position: [0, 0, 0], material: "stone", colour: [0.5, 0.25, 1],
        vertices: bytes(Float32Array.of(0, 0, 0, 0, 0, 1, 1, 0, 0)), triangles: bytes(Uint32Array.of(0, 1, 2)),
      },
    ],
    move: [{ id: 1, position: [1, 0.5, -4], rotation: [0, 1, 0, 0] }],
    remove: [9],
  });
  await bridge.sendReset({ seed: 3, prompt: "again" });
  for (let i = 0; i < 9; i++) {
    await bridge.send({
      position: [1.5, 1.6, -2], rotation: [0, 0.6, 0, 0.8], vertical_fov_deg: 60, action: "make it night",
      events: [{ kind: "door", value: "open" }], teleport: true,
    });
  }
});
bridge.on("frame", ({ header, pixels }) => console.log(JSON.stringify({ frame: header, pixels: pixels.toString("hex") })));
for (const event of ["refused", "closed"]) bridge.on(event, (notice) => console.log(JSON.stringify({ notice })));
