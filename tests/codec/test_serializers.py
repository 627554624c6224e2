"""The three serializers."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from django_callcache.codec.serializers import MAX_DEPTH, SERIALIZERS

MSGSPEC = [SERIALIZERS["msgpack"], SERIALIZERS["json"]]


@dataclasses.dataclass
class Node:
    child: object


def nested(depth, wrap=lambda child: [child]):
    value = wrap(1)
    for _ in range(depth - 1):
        value = wrap(value)
    return value


@pytest.mark.parametrize("serializer", MSGSPEC, ids=lambda serializer: serializer.name)
class TestDepth:
    @pytest.mark.parametrize(
        "wrap",
        [lambda child: [child], lambda child: {"a": child}, lambda child: (child, "text"), Node],
        ids=["list", "dict", "tuple", "dataclass"],
    )
    def test_depth__bound(self, serializer, wrap):
        """A hundred containers within each other are stored, one more is refused."""
        serializer.loads(serializer.dumps(nested(MAX_DEPTH, wrap)))

        with pytest.raises(ValueError, match="100"):
            serializer.dumps(nested(MAX_DEPTH + 1, wrap))

    def test_depth__dict_subclass(self, serializer):
        """What a subclass of dict holds is looked at, not its keys."""

        class Ordered(dict):
            pass

        with pytest.raises(ValueError, match="100"):
            serializer.dumps(nested(MAX_DEPTH + 1, lambda child: Ordered(a=child)))

    def test_depth__wide_is_not_deep(self, serializer):
        """Many containers beside each other are no depth."""
        value = [{"id": number, "tags": ["a", "b"]} for number in range(1000)]

        assert serializer.loads(serializer.dumps(value)) == value

    @pytest.mark.parametrize("text", ["[" * 1000, "{" * 1000, "ñ" * 1000, "清" * 1000])
    def test_depth__brackets_in_text(self, serializer, text):
        """Text that looks like opening containers is text."""
        assert serializer.loads(serializer.dumps([text])) == [text]

    def test_depth__wide_with_objects(self, serializer):
        """Dataclasses among many containers are walked by what they are encoded to."""
        value = [Node([number]) for number in range(200)]

        assert serializer.loads(serializer.dumps(value))[199] == {"child": [199]}

    def test_depth__endless(self, serializer):
        """A value that contains itself is the serializer's own error."""
        value = []
        value.append(value)

        with pytest.raises(RecursionError):
            serializer.dumps(value)


class TestSerializers:
    def test_pickle__protocol(self):
        """Pickles are of protocol 5 under every Python."""
        assert SERIALIZERS["pickle"].dumps("value")[:2] == b"\x80\x05"

    def test_msgpack__wire(self):
        """msgpack is msgspec's."""
        assert SERIALIZERS["msgpack"].dumps({"a": [1, None]}) == msgspec.msgpack.encode({"a": [1, None]})

    def test_json__wire(self):
        """JSON is compact UTF-8."""
        assert SERIALIZERS["json"].dumps({"a": ["ñ", None]}) == '{"a":["ñ",null]}'.encode()
