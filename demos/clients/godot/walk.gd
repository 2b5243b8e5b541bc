# walk.gd: hands over a small level, walks a circle at 60 Hz, "shows" each frame, prints a line of JSON.
#   godot3-server --path demos/clients/godot -s walk.gd --address=tcp://HOST:PORT --seconds=SECONDS
# The walk is the one of demos/clients/README.md, in Godot's axes: x right, y up, -z forward.
extends SceneTree

const HeliosBridge = preload("res://helios_bridge.gd")
const TICK_US = 16667

var bridge
var image = Image.new()
var texture = ImageTexture.new()
var trips = []
var tick = 0
var next_us = 0
var end_us = 0


func _init():
	var wanted = {"address": "", "seconds": "0"}
	for argument in OS.get_cmdline_args():
		var words = argument.trim_prefix("--").split("=")
		if words.size() == 2 and wanted.has(words[0]):
			wanted[words[0]] = words[1]
	var place = wanted["address"].trim_prefix("tcp://").split(":")
	if place.size() != 2 or float(wanted["seconds"]) <= 0:
		printerr("usage: walk.gd --address=tcp://HOST:PORT --seconds=SECONDS")
		quit(2)
		return
	bridge = HeliosBridge.new(place[0], int(place[1]), {"client": "godot walk", "credit": 8})
	bridge.connect("opened", self, "_opened")
	bridge.connect("frame_arrived", self, "_show")
	for name in ["refused", "busy", "lost", "closed"]:
		bridge.connect(name, self, "_complain")
	OS.low_processor_usage_mode_sleep_usec = 500  # without a window: so often poll() looks
	next_us = OS.get_ticks_usec()
	end_us = next_us + int(float(wanted["seconds"]) * 1e6)


func _opened(resumed):
	if not resumed:
		var level = [
			{"id": 1, "shape": "plane", "position": [0.0, 0.0, 0.0], "size": [40.0, 1.0, 40.0], "material": "grass"},
			{"id": 2, "shape": "box", "position": [0.0, 1.5, -8.0], "size": [8.0, 3.0, 0.5], "material": "brick"},
			{"id": 3, "shape": "cylinder", "position": [4.0, 2.0, -5.0], "size": [1.0, 4.0, 1.0], "material": "stone"},
			{"id": 4, "shape": "sphere", "position": [2.0, 1.5, -4.0], "size": [0.6, 0.6, 0.6], "material": "lamp", "colour": [1.0, 0.9, 0.7]},
		]
		bridge.send_scene({"replace": true, "seed": 1, "add": level})


func _show(frame):
	image.create_from_data(frame["width"], frame["height"], false, Image.FORMAT_RGB8, frame["pixels"])
	texture.create_from_image(image, 0)
	trips.append(frame["round_trip_us"])


func _complain(text):
	printerr("walk: " + text)


func _idle(_delta):
	if bridge == null:
		return
	bridge.poll()
	var now_us = OS.get_ticks_usec()
	var settled = bridge.answered() + bridge.counts["refused"] >= bridge.counts["controls"]
	if bridge.state == HeliosBridge.State.CLOSED or now_us >= end_us + 1000000 or (now_us >= end_us and settled):
		_report()
		return
	if now_us < next_us or now_us >= end_us:
		return
	next_us = next_us + TICK_US if next_us + TICK_US > now_us else now_us + TICK_US
	var turned = 0.01 * tick  # to the right, around a point 3 m to the right of the start
	var position = Vector3(3 * (1 - cos(turned)), 1.6, -3 * sin(turned))
	var rotation = Quat(0, -sin(turned / 2), 0, cos(turned / 2))
	if bridge.send(position, rotation, 60, "walk around the pillar") >= 0:
		tick += 1
		if tick % 15 == 0:
			bridge.send_scene({"move": [{"id": 4, "position": [2.0, 1.5 + 0.5 * sin(tick / 30.0), -4.0]}]})


func _report():
	trips.sort()
	var report = bridge.counts.duplicate()
	report["client"] = "godot"
	report["shown"] = trips.size()
	report["round_trip_us_p50"] = trips[trips.size() / 2] if trips.size() > 0 else 0
	report["round_trip_us_p99"] = trips[trips.size() * 99 / 100] if trips.size() > 0 else 0
	print(to_json(report))
	bridge.close()
	bridge = null
	quit(0 if trips.size() > 0 else 1)
