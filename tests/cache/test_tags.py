"""What tags are to Redis: names hashed, stamps drawn, lifetimes chosen."""

from __future__ import annotations

import pytest

from django_callcache.cache.tags import (
    ID_BYTES,
    LONGEST_START,
    MAX_TAGS,
    check_of,
    lifetime,
    new_stamps,
    tag_ids,
)
from django_callcache.codec.blob import STAMP_BYTES, stamped_header
from django_callcache.redis_keys import SLOTS, RedisKeys, slot_of


class TestTagIds:
    def test_tag_ids__order_and_repetition(self):
        """The same tags are the same hashes, however they are listed."""
        assert tag_ids(["a", "b", "a"]) == tag_ids(("b", "a")) == tag_ids(tag for tag in "ba")
        assert len(tag_ids({"a", "b"})) == 2
        assert tag_ids([]) == []

    @pytest.mark.parametrize("tags", ["a", b"a", [1], [None], [["a"]], [b"a"]])
    def test_tag_ids__no_strings(self, tags):
        """One string is not an iterable of tags, and a tag is a string."""
        with pytest.raises(TypeError):
            tag_ids(tags)

    @pytest.mark.parametrize("tag", ["", "x" * 129, "ü" * 65, "\ud800"])
    def test_tag_ids__unfit_names(self, tag):
        """An empty name, more than 128 bytes, and what is no text are refused."""
        with pytest.raises(ValueError, match=r"UTF-8"):
            tag_ids([tag])

    def test_tag_ids__longest_name(self):
        """128 bytes are allowed."""
        assert len(tag_ids(["x" * 128, "ü" * 64])) == 2

    def test_tag_ids__too_many(self):
        """An entry takes 32 tags; repetitions do not count."""
        tags = list(map(str, range(MAX_TAGS)))
        assert len(tag_ids(tags * 2)) == 32
        with pytest.raises(ValueError, match="at most 32 tags, not 33"):
            tag_ids([*tags, "one more"])
        assert len(tag_ids([*tags, "one more"], at_most=None)) == 33


class TestStamps:
    def test_new_stamps__name_and_chance(self):
        """A stamp begins with the tag's hash and is another each time."""
        ids = tag_ids(map(str, range(MAX_TAGS)))
        first, second = new_stamps(ids), new_stamps(ids)
        assert [stamp[:ID_BYTES] for stamp in first] == ids
        assert {len(stamp) for stamp in first} == {STAMP_BYTES}
        assert len({*first, *second}) == 2 * MAX_TAGS

    def test_check_of__keys(self):
        """What reads the stamps of an entry names the keys of its tags, in the order of the stamps."""
        keys = RedisKeys("crm", clustered=True)
        ids = tag_ids(["a", "b"])
        command = check_of(new_stamps(ids), keys)
        assert command.index(keys.tag(ids[0])) < command.index(keys.tag(ids[1]))
        assert command.startswith(b"*3\r\n$4\r\nMGET\r\n")

    def test_tag__one_slot(self):
        """The tags of an alias share a slot of a cluster, wherever values lie."""
        keys = RedisKeys("crm", clustered=True)
        slots = {slot_of(keys.tag(tag_id)) for tag_id in tag_ids(map(str, range(32)))}
        assert len(slots) == 1
        assert slots < set(range(SLOTS))

    @pytest.mark.parametrize(
        ("px", "need_and_give"),
        [(b"", (b"", b"")), (b"5", (b"5", b"3600000")), (b"86400000", (b"86400000", b"172800000"))],
    )
    def test_lifetime__with_time_to_spare(self, px, need_and_give):
        """A tag key is given twice the entry's time, an hour at least; no end where the entry has none."""
        assert lifetime(px) == need_and_give


class TestStampedHeader:
    STAMPS = b"stamp--1stamp--2"

    @pytest.mark.parametrize("flags", [8, 9, 11])
    def test_stamped_header__all_layouts(self, flags):
        """The header ends behind the stamps, whatever stands before them."""
        before = bytes((1, flags)) + b"id" + b"DICT" * bool(flags & 2) + b"size" * bool(flags & 1)
        header = before + b"\x02" + self.STAMPS
        assert stamped_header(header + b"payload") == (header, (b"stamp--1", b"stamp--2"))

    @pytest.mark.parametrize(
        "start",
        [
            b"",
            b"1",
            b"18",
            b"-8123456789",
            b"\x01\x00id",
            b"\x01\x08id",
            b"\x01\x08id\x02stamp",
            b"\x09\x08id\x00",
        ],
    )
    def test_stamped_header__none(self, start):
        """Integers, values without tags, and what ends too soon have no stamps."""
        assert stamped_header(start) == (b"", ())

    def test_stamped_header__longest(self):
        """As much as is read of an entry holds the stamps of all the tags it may have."""
        header = b"\x01\x0bid" + bytes(8) + bytes((MAX_TAGS,)) + bytes(8 * MAX_TAGS)
        assert len(header) == LONGEST_START
        assert len(stamped_header(header)[1]) == MAX_TAGS
