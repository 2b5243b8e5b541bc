# helios_bridge.gd: a game's side of the helios-bridge protocol 1.1, in GDScript alone: no plugin.
#
# It speaks ZMTP 3.0 (NULL) over StreamPeerTCP and the part of msgpack that the protocol uses. Call poll() once a frame;
# nothing here waits. Everything is in Godot's own axes and metres; the server converts. CURVE is not here: to leave the
# machine, tunnel (ssh -L 5599:127.0.0.1:5599 HOST). Written for Godot 3; godot4/ holds its other spelling.
extends Reference

signal opened(resumed)  # a session is open; when it is not resumed, hand over the level by send_scene
signal frame_arrived(frame)  # a Dictionary: FRAME's fields, "pixels" and "round_trip_us"
signal refused(text)  # the server refused a message; the session goes on
signal busy(text)  # no session is free; asked again by itself
signal lost(text)  # being resumed by itself
signal closed(text)  # nothing more will come

const HELLO = 1
const WELCOME = 2
const CONTROL = 3
const FRAME = 4
const SCENE = 5
const RESET = 6
const ERROR = 9
const BUSY = 10
const BYE = 11
const PING = 12
const PONG = 13

const MAX_BODY_BYTES = 16384
const MAX_PART_BYTES = 64 * 1024 * 1024
const MAX_DEPTH = 16
const HELLO_AGAIN_US = 2000000  # an unanswered HELLO is repeated
const RECONNECT_US = 250000
const MISSED_HEARTBEATS = 3  # a server this silent, while controls are under way, is gone

enum State { WAITING, OPEN, CLOSED }
enum Step { GREETING, HEAD, LENGTH, PART }

var state = State.WAITING
var welcome = {}
var counts = {"controls": 0, "generated": 0, "reprojected": 0, "held": 0, "refused": 0, "resumes": 0}

var _host = ""
var _port = 0
var _hello = {}
var _tcp = null
var _reconnect_due_us = 0
var _hello_due_us = 0
var _heard_us = 0
var _waiting_since_us = 0
var _next_seq = 0
var _newest_seq = -1
var _lateness_us = 0
var _step = Step.GREETING
var _need = 64  # bytes of the step
var _got = PoolByteArray()
var _flags = 0
var _parts = []
var _greeted = false
var _unsent = PoolByteArray()


# Starts connecting. hello: fields of HELLO that shall not be its defaults, for example {"budget_us": 16667}.
func _init(host = "127.0.0.1", port = 5599, hello = {}):
	_host = host
	_port = port
	_hello = {"version_major": 1, "version_minor": 1, "client": "godot", "axes": "godot", "budget_us": 16667, "credit": 4}
	for key in hello:
		_hello[key] = hello[key]


# Reads and writes what can be done now. Emits the signals.
func poll():
	var now_us = OS.get_ticks_usec()
	if state == State.CLOSED:
		return
	if _tcp == null:
		if now_us >= _reconnect_due_us:
			_connect(now_us)
		return
	# godot4: _tcp.poll()
	var status = _tcp.get_status()
	if status == StreamPeerTCP.STATUS_CONNECTING:
		return
	if status != StreamPeerTCP.STATUS_CONNECTED:
		_disconnect("the connection was lost")
		return
	if not _greeted:
		_greet()
	_flush()
	while _tcp != null and state != State.CLOSED and _read_step():
		pass
	if _tcp != null and state != State.CLOSED:
		_tend(now_us)


# Sends one control; returns its seq, or -1 while no session is open or the connection takes no more.
# events: [{"kind": "door", "value": "open"}], things that happened once.
func send(position: Vector3, rotation: Quat, vertical_fov_deg: float, action = "", events = [], teleport = false):
	if state != State.OPEN or _unsent.size() > 0:
		return -1
	var now_us = OS.get_ticks_usec()
	var control = {
		"seq": _next_seq,
		"t_us": now_us,
		"position": vector(position),
		"rotation": quaternion(rotation),
		"vertical_fov_deg": float(vertical_fov_deg),
		"action": action,
		"events": events,
		"teleport": teleport,
		"lateness_us": _lateness_us,
		"frame_received_seq": _newest_seq,
	}
	_put(CONTROL, control)
	counts["controls"] += 1
	if _waiting_since_us == 0:
		_waiting_since_us = now_us
	_next_seq += 1
	return _next_seq - 1


# Hands over or changes the level: SCENE's fields. A session's first parts must come with "replace": true.
# After seconds without poll() (a level was loading) call that first: a session that was lost meanwhile keeps nothing.
func send_scene(scene):
	if state != State.OPEN:
		return false
	_put(SCENE, scene)
	return true


# Starts the video anew: RESET's fields.
func send_reset(reset = {}):
	if state != State.OPEN:
		return false
	_put(RESET, reset)
	return true


# Says BYE and closes.
func close():
	if _tcp != null:
		if state == State.OPEN:
			_put(BYE, {"reason": "closed by the game"})
			_read_out()
		_tcp.disconnect_from_host()
	_tcp = null
	state = State.CLOSED


# Takes what is still under way: TCP resets a connection that is closed with something unread, and BYE may be lost.
func _read_out():
	for _turn in range(10):
		OS.delay_msec(5)
		# godot4: _tcp.poll()
		if _tcp.get_status() != StreamPeerTCP.STATUS_CONNECTED:
			return
		var there = _tcp.get_available_bytes()
		if there > 0:
			_tcp.get_partial_data(there)


func answered():
	return counts["generated"] + counts["reprojected"] + counts["held"]


static func vector(v: Vector3):
	return [v.x, v.y, v.z]


static func quaternion(q: Quat):
	return [q.x, q.y, q.z, q.w]


# ---- the session ----------------------------------------------------------------------------------------------------


func _tend(now_us):
	var patience_us = MISSED_HEARTBEATS * int(welcome.get("heartbeat_us", 0))
	if state == State.OPEN and patience_us > 0 and _waiting_since_us > 0:
		if now_us - _waiting_since_us > patience_us and now_us - _heard_us > patience_us:
			_disconnect("nothing heard from the server")
			return
	if state != State.WAITING or now_us < _hello_due_us or not _greeted or _step == Step.GREETING:
		return
	_hello["session_id"] = welcome.get("session_id", "")
	_hello["resume_token"] = welcome.get("resume_token", "")
	_hello_due_us = now_us + HELLO_AGAIN_US
	_put(HELLO, _hello)


func _receive(type, it, pixels):
	_heard_us = OS.get_ticks_usec()
	match type:
		WELCOME:
			_on_welcome(it)
		FRAME:
			_on_frame(it, pixels)
		ERROR:
			_on_error(it)
		PING:
			if _is_int(it.get("t_us"), 0):
				_put(PONG, {"t_us": it["t_us"]})
		BUSY:
			if state == State.WAITING:
				_hello_due_us = _heard_us + (it["retry_after_us"] if _is_int(it.get("retry_after_us"), 0) else 1000000)
				emit_signal("busy", str(it.get("text", "")))
		BYE:
			_end(str(it.get("reason", "the server ended the session")))


func _on_welcome(it):
	var sound = typeof(it.get("session_id")) == TYPE_STRING and typeof(it.get("resume_token")) == TYPE_STRING
	if state != State.WAITING or not sound or not _is_int(it.get("last_seq"), -1) or typeof(it.get("resumed")) != TYPE_BOOL:
		return
	if not _is_int(it.get("heartbeat_us"), 0):
		return
	if it["resumed"]:
		counts["resumes"] += 1
	else:
		_newest_seq = -1  # a new session has sent nothing that could be acknowledged
	_next_seq = int(max(_next_seq, it["last_seq"] + 1))
	_waiting_since_us = 0
	welcome = it
	state = State.OPEN
	emit_signal("opened", it["resumed"])


func _on_frame(it, pixels):
	for name in ["seq", "t_us", "index", "server_us", "control_age_us"]:
		if not _is_int(it.get(name), 0):
			return
	if not _is_int(it.get("chunk"), -1) or not _is_int(it.get("width"), 1) or not _is_int(it.get("height"), 1):
		return
	if not _are_numbers(it.get("position"), 3) or not _are_numbers(it.get("rotation"), 4):
		return
	if not _is_number(it.get("vertical_fov_deg")) or typeof(it.get("deadline_met")) != TYPE_BOOL:
		return
	var source = str(it.get("source"))
	if not source in ["generated", "reprojected", "held"] or typeof(it.get("action")) != TYPE_STRING:
		return
	if str(it.get("pixel_format")) != "rgb8" or pixels.size() != 3 * it["width"] * it["height"]:
		return
	# Answers come in the order of their controls; whatever else it is, it is not ours to acknowledge.
	if state != State.OPEN or it["seq"] <= _newest_seq or it["seq"] >= _next_seq:
		return
	it["round_trip_us"] = _heard_us - it["t_us"]
	it["pixels"] = pixels
	_lateness_us = it["round_trip_us"] - int(_hello["budget_us"])
	_newest_seq = it["seq"]
	_waiting_since_us = 0
	counts[source] += 1
	emit_signal("frame_arrived", it)


func _on_error(it):
	var code = it.get("code")
	var text = str(it.get("text", ""))
	if typeof(code) != TYPE_STRING:
		return
	var fatal = typeof(it.get("fatal")) == TYPE_BOOL and it["fatal"]
	var reply = str(it.get("in_reply_to", ""))
	var token = welcome.has("resume_token")
	if token and fatal and code in ["unexpected_message", "session_expired"]:
		_lose(text)  # nothing new while waiting: what was under way is refused as well
		return
	if token and code == "unexpected_message" and reply == "HELLO" and state == State.WAITING:
		state = State.OPEN  # the session never ended
		return
	if reply == "CONTROL" and state == State.OPEN:
		counts["refused"] += 1
	if fatal:
		_end(code + ": " + text)
	else:
		emit_signal("refused", code + ": " + text)


func _lose(why):
	if state == State.OPEN:
		state = State.WAITING
		_hello_due_us = 0
		emit_signal("lost", why)


func _end(why):
	state = State.CLOSED
	if _tcp != null:
		_tcp.disconnect_from_host()
	_tcp = null
	emit_signal("closed", why)


static func _is_int(value, least):
	return typeof(value) == TYPE_INT and value >= least


static func _is_number(value):
	return typeof(value) == TYPE_INT or (typeof(value) == TYPE_REAL and not is_nan(value) and not is_inf(value))


static func _are_numbers(value, count):
	if typeof(value) != TYPE_ARRAY or value.size() != count:
		return false
	for one in value:
		if not _is_number(one):
			return false
	return true


# ---- ZMTP 3.0, as a DEALER (RFC 23) ---------------------------------------------------------------------------------


func _connect(now_us):
	_tcp = StreamPeerTCP.new()
	_reconnect_due_us = now_us + RECONNECT_US
	_greeted = false
	_expect(Step.GREETING, 64)
	_parts = []
	_unsent = PoolByteArray()
	if _tcp.connect_to_host(_host, _port) != OK:
		_tcp = null


func _disconnect(why):
	if _tcp != null:
		_tcp.disconnect_from_host()
	_tcp = null
	_reconnect_due_us = OS.get_ticks_usec() + RECONNECT_US
	_lose(why)


func _greet():
	_greeted = true
	_hello_due_us = 0
	_tcp.set_no_delay(true)
	var greeting = PoolByteArray()
	greeting.resize(64)
	for i in range(64):
		greeting[i] = 0
	greeting[0] = 0xff
	greeting[9] = 0x7f
	greeting[10] = 3  # version 3.0
	var name = "NULL".to_ascii()
	for i in range(4):
		greeting[12 + i] = name[i]
	_unsent.append_array(greeting)
	# READY: its name, then Socket-Type = DEALER, with a length of one byte for names and of four for values.
	_unsent.append_array(PoolByteArray([4, 28, 5]))
	_unsent.append_array("READY".to_ascii())
	_unsent.append(11)
	_unsent.append_array("Socket-Type".to_ascii())
	_unsent.append_array(PoolByteArray([0, 0, 0, 6]))
	_unsent.append_array("DEALER".to_ascii())


func _expect(step, need):
	_step = step
	_need = need
	_got = PoolByteArray()


# Goes on with the step under way; false when nothing more is there.
func _read_step():
	var missing = _need - _got.size()
	if missing > 0:
		var there = _tcp.get_available_bytes()
		if there <= 0:
			return false
		var answer = _tcp.get_partial_data(int(min(missing, there)))
		if answer[0] != OK:
			_disconnect("the connection was lost")
			return false
		if _got.size() == 0:
			_got = answer[1]
		else:
			_got.append_array(answer[1])
		if _got.size() < _need:
			return true
	var whole = _got
	match _step:
		Step.GREETING:
			if whole[0] != 0xff or whole[9] != 0x7f or whole[10] < 3 or whole[12] != 0x4e or whole[16] != 0:
				_disconnect("expected a ZMTP 3 peer with the NULL mechanism")
			_expect(Step.HEAD, 2)
		Step.HEAD:
			_flags = whole[0]
			if _flags & 2:
				_expect(Step.LENGTH, 7)
				_got.append(whole[1])
				_need = 8
			else:
				_begin_part(whole[1])
		Step.LENGTH:
			var length = 0
			for byte in whole:
				length = length << 8 | byte
			_begin_part(length)
		Step.PART:
			_expect(Step.HEAD, 2)
			if _flags & 4:
				_on_command(whole)
			else:
				_on_part(whole)
	return true


func _begin_part(length):
	if length < 0 or length > MAX_PART_BYTES:
		_disconnect("a part of %d bytes" % length)
	else:
		_expect(Step.PART, length)


# The server's ZeroMQ asks whether the connection lives; the answer echoes the context behind name and TTL.
func _on_command(body):
	if body.size() < 7 or body.size() > 23 or body[0] != 4 or body[1] != 0x50 or body[2] != 0x49:
		return
	_unsent.append_array(PoolByteArray([4, body.size() - 2, 4]))
	_unsent.append_array("PONG".to_ascii())
	for i in range(7, body.size()):
		_unsent.append(body[i])
	_flush()


func _on_part(body):
	if _parts.size() < 5:
		_parts.append(body)
	if _flags & 1:
		return
	var parts = _parts
	_parts = []
	if parts.size() < 3 or parts[0].get_string_from_ascii() != "HLB1" or parts[0].size() != 4 or parts[1].size() != 1:
		return
	var type = parts[1][0]
	if parts.size() != (4 if type == FRAME else 3) or parts[2].size() > MAX_BODY_BYTES:
		return
	var fields = unpack(parts[2])
	if typeof(fields) == TYPE_DICTIONARY:
		_receive(type, fields, parts[3] if type == FRAME else PoolByteArray())


func _put(type, fields):
	var body = pack(fields)
	var head = StreamPeerBuffer.new()
	head.big_endian = true
	head.put_data(PoolByteArray([1, 4, 0x48, 0x4c, 0x42, 0x31, 1, 1, type]))
	if body.size() < 256:
		head.put_u8(0)
		head.put_u8(body.size())
	else:
		head.put_u8(2)
		head.put_64(body.size())
	_unsent.append_array(head.data_array)
	_unsent.append_array(body)
	_flush()


func _flush():
	if _tcp == null or _unsent.size() == 0 or _tcp.get_status() != StreamPeerTCP.STATUS_CONNECTED:
		return
	var answer = _tcp.put_partial_data(_unsent)
	if answer[0] != OK:
		_disconnect("the connection was lost")
	elif answer[1] == _unsent.size():
		_unsent = PoolByteArray()
	elif answer[1] > 0:
		_unsent = _unsent.subarray(answer[1], _unsent.size() - 1)


# ---- msgpack: nil, bool, int, float, text, bytes, list, map ---------------------------------------------------------


static func pack(value):
	var to = StreamPeerBuffer.new()
	to.big_endian = true
	_pack(value, to)
	return to.data_array


static func _pack(value, to):
	match typeof(value):
		TYPE_NIL:
			to.put_u8(0xc0)
		TYPE_BOOL:
			to.put_u8(0xc3 if value else 0xc2)
		TYPE_INT:
			if value >= 0 and value < 128:
				to.put_u8(value)
			else:
				to.put_u8(0xd3)
				to.put_64(value)
		TYPE_REAL:
			to.put_u8(0xcb)
			to.put_double(value)
		TYPE_STRING:
			var text = value.to_utf8()
			if text.size() < 32:
				to.put_u8(0xa0 | text.size())
			else:
				to.put_u8(0xdb)
				to.put_u32(text.size())
			to.put_data(text)
		TYPE_RAW_ARRAY:
			to.put_u8(0xc6)
			to.put_u32(value.size())
			to.put_data(value)
		TYPE_ARRAY:
			to.put_u8(0xdd)
			to.put_u32(value.size())
			for one in value:
				_pack(one, to)
		TYPE_DICTIONARY:
			to.put_u8(0xdf)
			to.put_u32(value.size())
			for key in value:
				_pack(key, to)
				_pack(value[key], to)
		_:
			push_error("helios-bridge: a value that msgpack has no word for: " + str(value))


# The value in the bytes, or null when they are not exactly one.
static func unpack(bytes):
	var from = StreamPeerBuffer.new()
	from.big_endian = true
	from.data_array = bytes
	var trouble = []
	var value = _unpack(from, 0, trouble)
	return value if trouble.size() == 0 and from.get_position() == from.get_size() else null


static func _unpack(from, depth, trouble):
	if depth > MAX_DEPTH or from.get_available_bytes() < 1:
		trouble.append(depth)
		return null
	var first = from.get_u8()
	if first < 0x80:
		return first
	if first >= 0xe0:
		return first - 256
	if first < 0x90:
		return _unpack_map(from, first & 0x0f, depth, trouble)
	if first < 0xa0:
		return _unpack_list(from, first & 0x0f, depth, trouble)
	if first < 0xc0:
		return _unpack_bytes(from, first & 0x1f, trouble, true)
	if first == 0xc0:
		return null
	if first == 0xc2 or first == 0xc3:
		return first == 0xc3
	var sizes = {
		0xc4: 1, 0xc5: 2, 0xc6: 4, 0xca: 4, 0xcb: 8, 0xcc: 1, 0xcd: 2, 0xce: 4, 0xcf: 8, 0xd0: 1, 0xd1: 2, 0xd2: 4, 0xd3: 8,
		0xd9: 1, 0xda: 2, 0xdb: 4, 0xdc: 2, 0xdd: 4, 0xde: 2, 0xdf: 4,
	}
	if not sizes.has(first) or from.get_available_bytes() < sizes[first]:
		trouble.append(first)
		return null
	if first == 0xca:
		return from.get_float()
	if first == 0xcb:
		return from.get_double()
	if first >= 0xd0 and first <= 0xd3:
		match first:
			0xd0:
				return from.get_8()
			0xd1:
				return from.get_16()
			0xd2:
				return from.get_32()
		return from.get_64()
	var number = 0
	for _i in range(sizes[first]):
		number = number << 8 | from.get_u8()
	if number < 0:
		trouble.append(first)  # above 2^63: nothing in the protocol is
		return null
	if first >= 0xcc and first <= 0xcf:
		return number
	if first <= 0xc6 or (first >= 0xd9 and first <= 0xdb):
		return _unpack_bytes(from, number, trouble, first >= 0xd9)
	if first <= 0xdd:
		return _unpack_list(from, number, depth, trouble)
	return _unpack_map(from, number, depth, trouble)


static func _unpack_bytes(from, size, trouble, is_text):
	if size > from.get_available_bytes():
		trouble.append(size)
		return null
	var bytes = from.get_data(size)[1] if size > 0 else PoolByteArray()
	return bytes.get_string_from_utf8() if is_text else bytes


static func _unpack_list(from, count, depth, trouble):
	var list = []
	if count > from.get_available_bytes():
		trouble.append(count)
		return null
	for _i in range(count):
		list.append(_unpack(from, depth + 1, trouble))
		if trouble.size() > 0:
			return null
	return list


static func _unpack_map(from, count, depth, trouble):
	var map = {}
	if 2 * count > from.get_available_bytes():
		trouble.append(count)
		return null
	for _i in range(count):
		var key = _unpack(from, depth + 1, trouble)
		var value = _unpack(from, depth + 1, trouble)
		if trouble.size() > 0 or typeof(key) != TYPE_STRING:
			trouble.append(key)
			return null
		map[key] = value
	return map
