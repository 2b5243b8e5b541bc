# Godot 4's spelling, written by respell.py from the Godot 3 script. Parsed here, not run.
# helios_level.gd: turns the collision shapes below a node into a blockout, and tells of those that move.
# A node's meta "helios_material" names what it and everything below it is made of; without one it is plaster.
extends RefCounted

var _moving = []  # of each part that may move: its shape's node, id, offset and turn in the node's space, and last pose


# The level below `root` as SCENE's fields: bridge.send_scene(level.collect(root)). Ids run from 1 in tree order.
func collect(root):
	var parts = []
	_moving = []
	_collect(root, "plaster", parts)
	return {"replace": true, "add": parts}


# What moved since the last call, as SCENE's fields, or null.
func moves():
	var moved = []
	for one in _moving:
		if not is_instance_valid(one["node"]):
			continue
		var pose = _pose(one["node"], one["offset"], one["turn"])
		if pose[0] == one["pose"][0] and pose[1] == one["pose"][1]:
			continue
		one["pose"] = pose
		moved.append({"id": one["id"], "position": _list(pose[0]), "rotation": _quaternion(pose[1])})
	return {"move": moved} if moved.size() > 0 else null


func _collect(node, material, parts):
	var here = node.get_meta("helios_material") if node.has_meta("helios_material") else material
	if node is CollisionShape3D and not node.disabled and node.shape != null:
		_shape(node, node.shape, here, parts)
	for child in node.get_children():
		_collect(child, here, parts)


func _shape(node, shape, material, parts):
	var scale = node.global_transform.basis.get_scale().abs()
	var none = Quaternion(0, 0, 0, 1)
	if shape is BoxShape3D:
		var size = shape.size
		_add(node, "box", Vector3.ZERO, none, size * scale, material, parts)
	elif shape is SphereShape3D:
		_add(node, "sphere", Vector3.ZERO, none, 2 * shape.radius * scale, material, parts)
	elif shape is CylinderShape3D:
		_add(node, "cylinder", Vector3.ZERO, none, _round(shape) * scale, material, parts)
	elif shape is CapsuleShape3D:
		_capsule(node, shape, scale, material, parts)
	elif shape is ConcavePolygonShape3D:
		_mesh(node, shape, scale, material, parts)
	else:
		push_warning("helios-bridge: %s: a %s is not handed over" % [node.name, shape.get_class()])


# A cylinder and two balls.
func _capsule(node, shape, scale, material, parts):
	var turn = Quaternion(0, 0, 0, 1)
	var axis = Vector3(0, 1, 0)
	var straight = shape.height - 2 * shape.radius
	var width = 2 * shape.radius
	if straight > 0:
		_add(node, "cylinder", Vector3.ZERO, turn, Vector3(width, straight, width) * scale, material, parts)
	for end in [0.5, -0.5]:
		_add(node, "sphere", axis * straight * end, turn, Vector3(width, width, width) * scale, material, parts)


# Godot's front faces are clockwise; the protocol wants cross(b - a, c - a) to point outwards in these axes.
func _mesh(node, shape, scale, material, parts):
	var corners = shape.get_faces()
	if corners.size() > 65536 or corners.size() == 0:
		push_warning("helios-bridge: %s: %d corners, at most 65536 are handed over" % [node.name, corners.size()])
		return
	var vertices = StreamPeerBuffer.new()
	var triangles = StreamPeerBuffer.new()
	for i in range(corners.size()):
		vertices.put_float(corners[i].x)
		vertices.put_float(corners[i].y)
		vertices.put_float(corners[i].z)
		triangles.put_u32(i if i % 3 == 0 else i + 1 if i % 3 == 1 else i - 1)
	var part = _add(node, "mesh", Vector3.ZERO, Quaternion(0, 0, 0, 1), scale, material, parts)
	part["vertices"] = vertices.data_array
	part["triangles"] = triangles.data_array


func _add(node, shape, offset, turn, size, material, parts):
	var pose = _pose(node, offset, turn)
	var part = {
		"id": parts.size() + 1,
		"shape": shape,
		"position": _list(pose[0]),
		"rotation": _quaternion(pose[1]),
		"size": _list(size),
		"material": material,
	}
	parts.append(part)
	_moving.append({"node": node, "id": part["id"], "offset": offset, "turn": turn, "pose": pose})
	return part


func _pose(node, offset, turn):
	var at = node.global_transform
	return [at * offset, at.basis.orthonormalized().get_rotation_quaternion() * turn]


func _round(shape):
	return Vector3(2 * shape.radius, shape.height, 2 * shape.radius)


func _list(v):
	return [v.x, v.y, v.z]


func _quaternion(q):
	return [q.x, q.y, q.z, q.w]
