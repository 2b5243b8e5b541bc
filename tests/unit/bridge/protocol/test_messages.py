import math

import msgspec
import pytest

from bridge.protocol import fields, messages
from bridge.protocol.fields import MAX_INT
from bridge.protocol.messages import STRUCT_OF_TYPE, TYPE_OF_STRUCT, Control, MessageType

CONTROL = {"seq": 1, "t_us": 2, "position": [0, 1.5, 2], "rotation": [0, 0, 0, 1], "vertical_fov_deg": 60}


def convert(**changed: object) -> Control:
    return msgspec.convert({**CONTROL, **changed}, Control, builtin_types=(bytes,))


def test_every_message_type_has_one_struct_and_back() -> None:
    assert set(STRUCT_OF_TYPE) == set(MessageType)
    assert {TYPE_OF_STRUCT[struct]: struct for struct in TYPE_OF_STRUCT} == STRUCT_OF_TYPE


def numbers_in(info: msgspec.inspect.Type, path: str) -> list[tuple[str, msgspec.inspect.Type]]:
    match info:
        case msgspec.inspect.IntType() | msgspec.inspect.FloatType():
            return [(path, info)]
        case msgspec.inspect.StructType():
            return [found for f in info.fields for found in numbers_in(f.type, f"{path}.{f.encode_name}")]
        case msgspec.inspect.TupleType():
            return [found for item in info.item_types for found in numbers_in(item, path)]
        case msgspec.inspect.VarTupleType():
            return numbers_in(info.item_type, path)
        case msgspec.inspect.UnionType():
            return [found for item in info.types for found in numbers_in(item, path)]
        case msgspec.inspect.DictType():
            return numbers_in(info.value_type, path)
    return []


@pytest.mark.parametrize("struct", STRUCT_OF_TYPE.values(), ids=lambda struct: struct.__name__)
def test_every_number_is_bounded_on_both_sides(struct: type) -> None:
    for path, number in numbers_in(msgspec.inspect.type_info(struct), struct.__name__):
        assert isinstance(number, msgspec.inspect.IntType | msgspec.inspect.FloatType)
        assert number.ge is not None, path
        assert number.le is not None, path
        assert math.isfinite(number.ge), path
        assert math.isfinite(number.le), path


@pytest.mark.parametrize("struct", STRUCT_OF_TYPE.values(), ids=lambda struct: struct.__name__)
def test_messages_cannot_be_changed(struct: type) -> None:
    assert struct.__struct_config__.frozen


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1.1e9, "1", None, True])
def test_coordinates_are_finite_bounded_numbers(value: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        convert(position=[value, 0, 0])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seq", -1),
        ("seq", True),
        ("seq", 1.0),
        ("seq", MAX_INT + 1),
        ("t_us", 1.5),
        ("vertical_fov_deg", 0),
        ("vertical_fov_deg", 180),
        ("vertical_fov_deg", math.nan),
        ("action", b"bytes"),
        ("action", 5),
        ("teleport", 1),
        ("events", [{"kind": "x" * 65}]),
        ("events", [{"kind": "x"}] * 17),
        ("position", [0, 0]),
        ("rotation", [0, 0, 0, 1, 0]),
        ("frame_received_seq", -2),
    ],
)
def test_wrong_types_and_bounds_are_refused(field: str, value: object) -> None:
    with pytest.raises(msgspec.ValidationError, match=field):
        convert(**{field: value})


def test_whole_numbers_may_stand_for_floats() -> None:
    control = convert(position=[1, 2, 3])
    assert control.position == (1.0, 2.0, 3.0)
    assert all(type(value) is float for value in control.position)


def test_limits_agree_with_the_types() -> None:
    info = msgspec.inspect.type_info(messages.SceneUpdate)
    assert isinstance(info, msgspec.inspect.StructType)
    bound = {f.name: f.type.max_length for f in info.fields if isinstance(f.type, msgspec.inspect.VarTupleType)}
    assert bound == dict.fromkeys(("add", "move", "remove"), fields.MAX_PARTS)
