# wire.gd --address=tcp://HOST:PORT: says to a server what the vectors hello_full, scene_full, reset_full and control_full
# say (nine times), and prints what it reads as lines of JSON. test_engine_wire.py is the server.
extends SceneTree

var bridge


func _init():
	for argument in OS.get_cmdline_args():
		if argument.begins_with("--address=tcp://"):
			var place = argument.trim_prefix("--address=tcp://").split(":")
			var hello = {"client": "vector", "axes": "unreal", "units_per_metre": 100.0, "budget_us": 8333, "tick_hz": 120.0}
			bridge = load("res://helios_bridge.gd").new(place[0], int(place[1]), hello)
	bridge.connect("opened", self, "_speak")
	bridge.connect("frame_arrived", self, "_print_frame")
	bridge.connect("refused", self, "_print_notice")
	bridge.connect("closed", self, "_print_notice")


func _speak(_resumed):
	print(to_json({"welcome": bridge.welcome}))
	var vertices = StreamPeerBuffer.new()
	for number in [0, 0, 0, 0, 0, 1, 1, 0, 0]:
		vertices.put_float(number)
	var triangles = StreamPeerBuffer.new()
	for index in [0, 1, 2]:
		triangles.put_u32(index)
	var box = {"id": 1, "shape": "box", "position": [0.0, 0.5, -4.0]}
	var mesh = {"id": 2, "shape": "mesh", "position": [0.0, 0.0, 0.0], "material": "stone", "colour": [0.5, 0.25, 1.0]}
	mesh["vertices"] = vertices.data_array
	mesh["triangles"] = triangles.data_array
	var move = {"id": 1, "position": [1.0, 0.5, -4.0], "rotation": [0.0, 1.0, 0.0, 0.0]}
	bridge.send_scene({"prompt": "an old garden", "seed": 42, "replace": true, "add": [box, mesh], "move": [move], "remove": [9]})
	bridge.send_reset({"seed": 3, "prompt": "again"})
	for _i in range(9):
		bridge.send(Vector3(1.5, 1.6, -2), Quat(0, 0.6, 0, 0.8), 60, "make it night", [{"kind": "door", "value": "open"}], true)


func _print_frame(frame):
	var header = frame.duplicate()
	header.erase("pixels")
	header.erase("round_trip_us")
	print(to_json({"frame": header, "pixels": frame["pixels"].hex_encode()}))


func _print_notice(text):
	print(to_json({"notice": text}))


func _idle(_delta):
	bridge.poll()
	if bridge.state == bridge.State.CLOSED:
		quit(0)
