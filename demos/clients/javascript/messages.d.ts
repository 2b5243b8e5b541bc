// The messages of the helios-bridge protocol 1.1. Written by make_types.py: do not edit. Their
// meaning, units and bounds stand in unity_plugin_protocol.md. `Integer` is a whole number within 2^53-1.

export type Integer = number;

export type Axes =
  "opengl" | "opencv" | "unity" | "unreal" | "godot";

export type PixelFormat =
  "rgb8" | "jpeg";

export type Source =
  "generated" | "reprojected" | "held";

export type Shape =
  "box" | "sphere" | "cylinder" | "plane" | "mesh";

export type ErrorCode =
  "bad_framing" | "unknown_type" | "too_large" | "too_deep" | "malformed" | "invalid_field" | "bad_rotation" |
  "text_too_long" | "bad_mesh" | "too_many_parts" | "unknown_part" | "version_mismatch" | "unsupported" |
  "unexpected_message" | "bad_sequence" | "too_many_errors" | "session_expired" | "engine_failed" | "internal";

/** Client: opens a session, or resumes one by `session_id` and `resume_token`. */
export interface Hello {
  version_major: Integer;
  version_minor: Integer;
  client: string;
  axes?: Axes;
  units_per_metre?: number;
  pixel_formats?: string[];
  credit?: Integer;
  budget_us?: Integer;
  tick_hz?: number;
  session_id?: string;
  resume_token?: string;
  max_speed?: number;
  max_turn_deg_per_s?: number;
  shared_memory?: boolean;
}

/** Client: one tick. State (camera, action) is latest-wins, `events` are kept. */
export interface Control {
  seq: Integer;
  t_us: Integer;
  position: [number, number, number];
  rotation: [number, number, number, number];
  vertical_fov_deg: number;
  action?: string;
  events?: Event[];
  teleport?: boolean;
  lateness_us?: Integer;
  frame_received_seq?: Integer;
  shared_frames?: boolean;
}

/** Something that happened in the game once; unlike a control's state it is never superseded. */
export interface Event {
  kind: string;
  value?: string;
}

/** One piece of the blockout. */
export interface Part {
  id: Integer;
  shape: Shape;
  position: [number, number, number];
  rotation?: [number, number, number, number];
  size?: [number, number, number];
  material?: string;
  colour?: [number, number, number];
  vertices?: Uint8Array;
  triangles?: Uint8Array;
}

/** A new pose for the part `id`. */
export interface PartMove {
  id: Integer;
  position: [number, number, number];
  rotation?: [number, number, number, number];
}

/** Client (SCENE): prompt, seed and blockout. None means unchanged. */
export interface SceneUpdate {
  prompt?: string | null;
  seed?: Integer | null;
  replace?: boolean;
  add?: Part[];
  move?: PartMove[];
  remove?: Integer[];
}

/** Client: forget the video so far and begin again in the same blockout. None means unchanged. */
export interface Reset {
  seed?: Integer | null;
  prompt?: string | null;
  pictures?: Uint8Array[];
  picture_format?: PixelFormat;
  picture_width?: Integer;
  picture_height?: Integer;
  restore?: string;
}

/** Client: keep the session's state as it is after its newest chunk, under a name, in one file on the server. */
export interface Save {
  name: string;
}

/** Either side: the session is over. */
export interface Bye {
  reason?: string;
}

/** Either side: are you there? t_us is the sender's clock. */
export interface Ping {
  t_us: Integer;
}

/** Either side: answers PING with its t_us. */
export interface Pong {
  t_us: Integer;
}

/** Server: the session is open. `last_seq` is the highest seq it accepted before a resume, -1 for none. */
export interface Welcome {
  version_major: Integer;
  version_minor: Integer;
  server: string;
  session_id: string;
  resume_token: string;
  resumed: boolean;
  last_seq: Integer;
  capabilities: string[];
  axes: Axes;
  model: string;
  runner: string;
  camera_method: string;
  default_map: string;
  frame_width: Integer;
  frame_height: Integer;
  fps: number;
  frames_per_chunk: Integer[];
  heartbeat_us: Integer;
  credit: Integer;
  pixel_format: PixelFormat;
  ring: string;
}

/** Server: the answer to the control `seq`; the pixels travel as the message's last part. */
export interface FrameHeader {
  seq: Integer;
  t_us: Integer;
  source: Source;
  chunk: Integer;
  index: Integer;
  position: [number, number, number];
  rotation: [number, number, number, number];
  vertical_fov_deg: number;
  action: string;
  steps: Integer[];
  rung: string;
  control_age_us: Integer;
  server_us: Integer;
  stage_ms: Record<string, number>;
  deadline_met: boolean;
  width: Integer;
  height: Integer;
  pixel_format: PixelFormat;
  control_t_us: Integer;
  server_t_us: Integer;
  ring_slot: Integer;
  ring_sequence: Integer;
}

/** Server: the session's ledger. controls = answered + dropped + refused + waiting; */
export interface Stats {
  controls: Integer;
  answered: Integer;
  generated: Integer;
  reprojected: Integer;
  held: Integer;
  late: Integer;
  dropped: Integer;
  refused: Integer;
  waiting: Integer;
  chunks: Integer;
  replans: Integer;
  generated_fps: number;
  chunk_ms_p50: number;
  chunk_ms_p95: number;
  control_age_us_p50: Integer;
  control_age_us_p95: Integer;
  server_us_p50: Integer;
  server_us_p95: Integer;
  client_lateness_us_p95: Integer;
  rung: string;
  sessions: Integer;
  engine_restarts: Integer;
  accounts: Record<string, Integer>;
  delivery: number;
  underruns: Record<string, Integer>;
  gap_us: Integer;
  margin_us: Integer;
  earliness_us_p50: Integer;
  needless_starts: Integer;
  prediction_deg_p50: number;
  prediction_deg_p95: number;
  prediction_m_p50: number;
  prediction_m_p95: number;
  wasted_us: Integer;
  chunk_frames: Integer;
}

/** Server: a message was refused. fatal: the session is over. in_reply_to: the refused type's name, "" when unknown. */
export interface ErrorMessage {
  code: ErrorCode;
  text: string;
  fatal: boolean;
  seq: Integer;
  in_reply_to: string;
}

/** Server: no session is free. */
export interface Busy {
  text: string;
  retry_after_us: Integer;
}

/** Server: the state of SAVE is kept. */
export interface Saved {
  name: string;
  size_bytes: Integer;
}
