"""Values compressed with a trained dictionary."""

from __future__ import annotations

import pickle
import threading
import tracemalloc

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from django_callcache.codec import Codec, Dictionaries, Dictionary, DictionaryRecords, Encoding, KeyRing
from django_callcache.codec.blob import START_BYTES, dictionary_id_of
from django_callcache.codec.compression import train
from django_callcache.codec.dictionaries import ASK_AGAIN_SECONDS
from django_callcache.exceptions import Undecodable, UnknownDictionary, ValueTooLarge
from tests.training.records import leads

REDIS_KEY = b"crm:1:lead:7"
RING = KeyRing(["correct horse battery staple", "an older secret"])
RECORDS = leads(600)
PICKLED = [pickle.dumps(record, 5) for record in RECORDS]
DICTIONARY = train(PICKLED[:500], 2048)
OTHER = train(PICKLED[:500], 1024)
NAME = b"callcache@crm:dictionaries"


def codec(*known, dictionary=None, ring=RING, **fields):
    """Make a codec that knows some dictionaries and writes with one."""
    dictionaries = Dictionaries()
    for each in known:
        dictionaries.learn(each)
    made = Codec("default", ring, Encoding(**fields), dictionaries)
    made.compress_with(dictionary)
    return made


def writer(**fields):
    """Make a codec that writes with the dictionary, and reads."""
    return codec(DICTIONARY, dictionary=DICTIONARY, **fields)


STORED = writer().encode(RECORDS[550], REDIS_KEY)


def needs_dictionary(blob):
    return dictionary_id_of(blob[:START_BYTES]) is not None


class TestDictionary:
    def test_id__of_the_content(self):
        """The id is made of the content."""
        assert Dictionary(DICTIONARY.data).id == DICTIONARY.id != OTHER.id

    @pytest.mark.parametrize(
        "data", [b"", b"x" * 300, DICTIONARY.data[:50], b"\x37\xa4\x30\xec" + bytes(300)]
    )
    def test_init__no_dictionary(self, data):
        """What is no dictionary in zstd's format is refused: a text is not taken for one."""
        with pytest.raises(Undecodable):
            Dictionary(data)

    def test_train__nothing_in_common(self):
        """Samples that nothing can be learnt from are refused with the reason."""
        with pytest.raises(ValueError, match="cannot make a dictionary"):
            train([b"same" * 5] * 5, 2048)

    def test_threads__one_dictionary(self):
        """Threads share a dictionary, at several levels, and each gets its own values back."""
        fresh = Dictionary(DICTIONARY.data)
        wrong = []

        def work(number):
            for payload in PICKLED[number::8]:
                if fresh.decompress(fresh.compress(payload, 1 + number % 3), len(payload)) != payload:
                    wrong.append(payload)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []


class TestEncode:
    @pytest.mark.parametrize("serializer", ["pickle", "msgpack", "json"])
    def test_encode__small_record(self, serializer):
        """A record that is too short to compress by itself shrinks, and comes back."""
        plain = len(codec(serializer=serializer).encode(RECORDS[550], REDIS_KEY))
        made = writer(serializer=serializer)
        stored = made.encode(RECORDS[550], REDIS_KEY)

        assert needs_dictionary(stored)
        assert len(stored) < plain
        assert made.decode(stored, REDIS_KEY) == made.decode(stored, REDIS_KEY) == RECORDS[550]

    def test_encode__payload_of_varied_records(self):
        """The compressed payload of records that were not trained on is at most 0.35 of the plain one."""
        frames = sum(len(DICTIONARY.compress(payload, 3)) for payload in PICKLED[500:])

        assert frames <= 0.35 * sum(map(len, PICKLED[500:]))

    @settings(max_examples=200, deadline=None)
    @given(st.recursive(st.none() | st.booleans() | st.integers() | st.text() | st.binary(), st.lists))
    def test_encode__never_larger(self, value):
        """No value takes more bytes with a dictionary than uncompressed, and every one comes back."""
        made = writer()
        stored = made.encode(value, REDIS_KEY)

        assert len(stored) <= len(codec(compress=False).encode(value, REDIS_KEY))
        assert made.decode(stored, REDIS_KEY) == value

    def test_encode__noise(self):
        """What does not shrink is stored as it is."""
        noise = bytes(range(256))

        assert not needs_dictionary(writer().encode(noise, REDIS_KEY))

    def test_encode__large_value(self):
        """A large value is compressed without, as before."""
        stored = writer().encode(list(RECORDS) * 3, REDIS_KEY)

        assert stored[1] == 1
        assert stored == codec().encode(list(RECORDS) * 3, REDIS_KEY)

    def test_encode__integer(self):
        """An integer stays text, so that Redis can count with it."""
        assert writer().encode(7, REDIS_KEY) == b"7"

    def test_encode__compression_off(self):
        """Where compression is off a dictionary is not used either."""
        assert not needs_dictionary(writer(compress=False).encode(RECORDS[550], REDIS_KEY))

    def test_encode__limits(self):
        """The limits of a value hold: before compression and after."""
        with pytest.raises(ValueTooLarge):
            writer(max_raw_bytes=100).encode(RECORDS[550], REDIS_KEY)
        with pytest.raises(ValueTooLarge):
            writer(max_value_bytes=60).encode(RECORDS[550], REDIS_KEY)

    def test_encode_alike__dictionary_of_the_day(self):
        """What Redis compares is written the same whatever dictionary is current."""
        for value in (RECORDS[550], "x" * 5000, 7, None):
            expected = codec().encode(value, b"")

            assert writer().encode_alike(value, b"") == codec().encode_alike(value, b"") == expected

    def test_encode_tagged__with_a_dictionary(self):
        """Values with tags are compressed too, and keep their stamps."""
        made = writer()
        stored = made.encode_tagged(RECORDS[550], REDIS_KEY, [b"stamp--1"])

        assert needs_dictionary(stored)
        assert made.decode_tagged(stored, REDIS_KEY) == (RECORDS[550], (b"stamp--1",))
        assert made.decode(stored, REDIS_KEY) == made.decode(stored, REDIS_KEY) == RECORDS[550]

    def test_encode__key_with_a_zero_byte(self):
        """Keys with a zero byte have values of their own."""
        made = writer()
        stored = made.encode(RECORDS[550], b"crm:1:a\0b")

        for _ in range(2):
            assert made.decode(stored, b"crm:1:a\0b") == RECORDS[550]
            with pytest.raises(Undecodable):
                made.decode(stored, b"crm:1:a")


class TestDecode:
    def test_decode__after_another_was_trained(self):
        """Old values stay readable: by the dictionary they name, or without where they have none."""
        plain = codec().encode(RECORDS[550], REDIS_KEY)
        later = codec(DICTIONARY, OTHER, dictionary=OTHER)

        for stored in (plain, STORED, later.encode(RECORDS[550], REDIS_KEY)):
            assert later.decode(stored, REDIS_KEY) == RECORDS[550]

    def test_decode__unknown_dictionary(self):
        """A value in order whose dictionary is not known is undecodable, and says which one it needs."""
        with pytest.raises(UnknownDictionary) as caught:
            codec().decode(STORED, REDIS_KEY)
        assert caught.value.dictionary_id == DICTIONARY.id

    def test_decode__forged_id(self):
        """Only a sealed value makes a process look for a dictionary."""
        dictionaries = Dictionaries()
        reader = Codec("default", RING, Encoding(), dictionaries)
        with pytest.raises(Undecodable, match="seal"):
            reader.decode(STORED[:4] + b"DICT" + STORED[8:], REDIS_KEY)
        assert dictionaries.wanted == set()

    def test_decode__older_secret(self):
        """A value that was sealed with the older secret is read, the second time as well."""
        old = KeyRing(["an older secret"])
        stored = codec(dictionary=DICTIONARY, ring=old).encode(RECORDS[550], REDIS_KEY)
        reader = codec(DICTIONARY)

        assert [reader.decode(stored, REDIS_KEY) for _ in range(3)] == [RECORDS[550]] * 3

    @pytest.mark.parametrize("was_met", [False, True])
    def test_damage__every_bit(self, was_met):
        """Any flipped bit makes a value undecodable, also where one like it was decoded before."""
        reader = codec(DICTIONARY)
        if was_met:
            reader.decode(STORED, REDIS_KEY)
        for position in range(len(STORED)):
            for bit in range(8):
                broken = bytearray(STORED)
                broken[position] ^= 1 << bit
                with pytest.raises(Undecodable):
                    reader.decode(bytes(broken), REDIS_KEY)

    @pytest.mark.parametrize("was_met", [False, True])
    def test_damage__every_length(self, was_met):
        """A value cut at any length is undecodable; so is one under another key or alias."""
        reader = codec(DICTIONARY)
        if was_met:
            reader.decode(STORED, REDIS_KEY)
        for length in range(len(STORED)):
            with pytest.raises(Undecodable):
                reader.decode(STORED[:length], REDIS_KEY)
        with pytest.raises(Undecodable):
            reader.decode(STORED, b"crm:1:lead:8")

    @pytest.mark.parametrize("was_met", [False, True])
    @pytest.mark.parametrize("declared", [256 * 1024 * 1024, 2**32 - 1, 32 * 1024 * 1024, 1000, 0])
    def test_bomb__sealed(self, was_met, declared):
        """Even sealed, a bomb is refused before memory is taken for it, whatever length it declares."""
        reader = codec(DICTIONARY)
        if was_met:
            reader.decode(STORED, REDIS_KEY)
        header = STORED[:8] + declared.to_bytes(4, "big")
        opening = header + b"default\0" + REDIS_KEY + b"\0"
        stored = header + bomb() + RING.first.seal(opening, bomb())

        tracemalloc.start()
        try:
            with pytest.raises(Undecodable):
                reader.decode(stored, REDIS_KEY)
            assert tracemalloc.get_traced_memory()[1] < 1_000_000
        finally:
            tracemalloc.stop()

    def test_limit__of_the_reader(self):
        """A value of more raw bytes than the reader takes is refused, also where one like it was read."""
        reader = codec(DICTIONARY, max_raw_bytes=len(PICKLED[550]))
        assert reader.decode(STORED, REDIS_KEY) == RECORDS[550]

        larger = writer().encode([RECORDS[550], RECORDS[551]], REDIS_KEY)
        with pytest.raises(Undecodable, match="max_raw_bytes"):
            reader.decode(larger, REDIS_KEY)

    def test_independent__no_dictionary_needed(self):
        """What leaves for elsewhere can be read by whoever has the secrets alone, whatever wrote it."""
        made = writer(serializer="json")
        stored = made.encode_tagged(RECORDS[550], REDIS_KEY, [b"stamp--1"])
        elsewhere = codec()

        for blob in (STORED, stored):
            assert elsewhere.decode(made.independent(blob, REDIS_KEY), REDIS_KEY) == RECORDS[550]
        assert elsewhere.decode_tagged(made.independent(stored, REDIS_KEY), REDIS_KEY).stamps == (
            b"stamp--1",
        )
        for other in (b"7", b"", codec().encode("text", REDIS_KEY)):
            assert made.independent(other, REDIS_KEY) == other

    def test_serialized__not_loaded(self):
        """The serialized bytes of a value are had without loading it."""
        assert writer().serialized(STORED, REDIS_KEY) == PICKLED[550]
        assert writer().serialized(b"7", REDIS_KEY) is None


def bomb():
    """256 MiB of zeros in some 8 kB, as a frame without its magic number."""
    compressor = zstandard.ZstdCompressor(
        dict_data=zstandard.ZstdCompressionDict(DICTIONARY.data), write_dict_id=False
    ).compressobj(size=256 * 1024 * 1024)
    chunk = bytes(1024 * 1024)
    return (b"".join(compressor.compress(chunk) for _ in range(256)) + compressor.flush())[4:]


class TestDictionaries:
    def test_find__missing_one(self):
        """One that cannot be had is not wanted again before a minute is over."""
        now = [100.0]
        dictionaries = Dictionaries(clock=lambda: now[0])
        dictionaries.give_up(DICTIONARY.id)
        wanted = []
        for at in (100.0, 99.0 + ASK_AGAIN_SECONDS, 100.0 + ASK_AGAIN_SECONDS):
            now[0] = at
            with pytest.raises(UnknownDictionary):
                dictionaries.find(DICTIONARY.id)
            wanted.append(set(dictionaries.wanted))

        assert wanted == [set(), set(), {DICTIONARY.id}]

    def test_learn__after_giving_up(self):
        """One that comes after all is found at once."""
        dictionaries = Dictionaries()
        dictionaries.give_up(DICTIONARY.id)
        dictionaries.learn(DICTIONARY)

        assert dictionaries.find(DICTIONARY.id) is DICTIONARY


class TestOpened:
    @pytest.mark.parametrize("stamps", [(), (b"stamp--1", b"stamp--2")])
    def test_opened__by_dictionary(self, stamps):
        """What takes a verified value apart for the near cache knows dictionaries too."""
        made = writer()
        blob = made.encode_tagged(RECORDS[550], REDIS_KEY, stamps)

        assert needs_dictionary(blob)
        for each in (blob, made.encode(RECORDS[550], REDIS_KEY)):
            loads, payload = made.opened(each, REDIS_KEY)
            assert loads(payload) == RECORDS[550]


class TestRecords:
    RECORDS = DictionaryRecords("default", RING, NAME)

    def test_record__there_and_back(self):
        """A dictionary is sealed and opened; what was sealed with an older secret is told."""
        record = self.RECORDS.seal(DICTIONARY)
        older = DictionaryRecords("default", KeyRing(["an older secret"]), NAME).seal(DICTIONARY)

        for each in (record, older):
            assert self.RECORDS.open(each, DICTIONARY.id).data == DICTIONARY.data
        assert self.RECORDS.is_sealed_by_the_newest_secret(record)
        assert not self.RECORDS.is_sealed_by_the_newest_secret(older)

    def test_record__forged(self):
        """A dictionary that is not sealed, or sealed for another id, alias or project, is refused."""
        record = self.RECORDS.seal(DICTIONARY)
        foreign = [
            DictionaryRecords("default", KeyRing(["another project"]), NAME).seal(DICTIONARY),
            DictionaryRecords("sessions", RING, NAME).seal(DICTIONARY),
            DictionaryRecords("default", RING, b"callcache@web:dictionaries").seal(DICTIONARY),
            self.RECORDS.seal(OTHER),
            DICTIONARY.data,
            record[:-1],
            b"",
            b"7",
        ]
        for each in foreign:
            with pytest.raises(Undecodable):
                self.RECORDS.open(each, DICTIONARY.id)

    def test_current__there_and_back(self):
        """Which prefix uses which dictionary is sealed too."""
        current = {"lead:": DICTIONARY.id, "contact:": OTHER.id}
        record = self.RECORDS.seal_current(current)

        assert self.RECORDS.open_current(record) == current
        for forged in (record[:-1] + bytes((record[-1] ^ 1,)), self.RECORDS.seal(DICTIONARY), b"", b"7"):
            with pytest.raises(Undecodable):
                self.RECORDS.open_current(forged)
