# helios_quad.gd: put it on a TextureRect, name a camera and, if you like, the root of your level, and play.
extends TextureRect

const HeliosBridge = preload("res://helios_bridge.gd")
const HeliosLevel = preload("res://helios_level.gd")

export var host = "127.0.0.1"
export var port = 5599
export(NodePath) var camera
export(NodePath) var level_root
export var action = ""
export var ticks_per_second = 60

var bridge
var level = HeliosLevel.new()
var events = []  # append {"kind": "door", "value": "open"} for what happens once
var teleported = false  # set it when the camera jumps

var _image = Image.new()
var _shown = ImageTexture.new()
var _since_tick = 0.0


func _ready():
	bridge = HeliosBridge.new(host, port, {"tick_hz": float(ticks_per_second), "budget_us": 1000000 / ticks_per_second})
	bridge.connect("opened", self, "_on_opened")
	bridge.connect("frame_arrived", self, "_on_frame")
	for name in ["refused", "busy", "lost", "closed"]:
		bridge.connect(name, self, "_on_notice")


func _exit_tree():
	bridge.close()


func _process(delta):
	bridge.poll()
	_since_tick += delta
	if _since_tick < 1.0 / ticks_per_second:
		return
	_since_tick = fmod(_since_tick, 1.0 / ticks_per_second)
	var eye = get_node(camera)
	var at = eye.global_transform
	var fov = eye.fov  # the vertical one, unless the camera keeps its width
	if eye.keep_aspect == Camera.KEEP_WIDTH:
		fov = rad2deg(2 * atan(tan(deg2rad(eye.fov) / 2) * rect_size.y / rect_size.x))
	if bridge.send(at.origin, at.basis.get_rotation_quat(), fov, action, events, teleported) < 0:
		return
	events = []
	teleported = false
	var moves = level.moves()
	if moves != null:
		bridge.send_scene(moves)


func _on_opened(resumed):
	if not resumed and not level_root.is_empty():
		bridge.send_scene(level.collect(get_node(level_root)))


func _on_frame(frame):
	_image.create_from_data(frame["width"], frame["height"], false, Image.FORMAT_RGB8, frame["pixels"])
	_shown.create_from_image(_image, 0)
	texture = _shown


func _on_notice(text):
	push_warning("helios-bridge: " + text)
