# collect.gd: prints the parts that helios_level.gd makes of some shapes, as lines of JSON, then what moved.
extends SceneTree

var frames = 0
var level
var box


func _shape(shape, parent, origin, basis = Basis()):
	var node = CollisionShape.new()
	node.shape = shape
	parent.add_child(node)
	node.transform = Transform(basis, origin)
	return node


func _init():
	level = load("res://helios_level.gd").new()
	var root = Spatial.new()
	get_root().add_child(root)
	# The level stands at x = 10 and is turned right by 90 degrees: its forward (-z) is the world's +x.
	root.transform = Transform(Basis(Vector3(0, 1, 0), -PI / 2), Vector3(10, 0, 0))
	root.set_meta("helios_material", "brick")
	var shape = BoxShape.new()
	shape.extents = Vector3(1.5, 0.5, 0.25)
	box = _shape(shape, root, Vector3(0, 1, -4), Basis().scaled(Vector3(2, 2, 1)))
	var ball = SphereShape.new()
	ball.radius = 0.5
	_shape(ball, root, Vector3(0, 0, 0)).set_meta("helios_material", "lamp")
	var drum = CylinderShape.new()
	drum.radius = 1
	drum.height = 4
	_shape(drum, root, Vector3(3, 2, 0))
	var pill = CapsuleShape.new()
	pill.radius = 0.5
	pill.height = 4
	_shape(pill, root, Vector3(0, 2, 0))
	var ramp = ConcavePolygonShape.new()
	ramp.set_faces(PoolVector3Array([Vector3(0, 0, 0), Vector3(1, 0, 0), Vector3(0, 0, 1)]))
	_shape(ramp, root, Vector3(0, 0, 0))


func _idle(_delta):
	frames += 1
	if frames < 2:
		return
	for part in level.collect(get_root())["add"]:
		for key in ["vertices", "triangles"]:
			if part.has(key):
				part[key] = part[key].hex_encode()
		print(to_json(part))
	print(to_json({"moves": level.moves()}))
	box.translation += Vector3(0, 1, 0)
	print(to_json({"moves": level.moves()}))
	quit(0)
