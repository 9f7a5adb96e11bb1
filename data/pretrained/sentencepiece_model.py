"""What a file `tokenizer.model` of sentencepiece says, read from its bytes.

The package's own reader hides what is needed here: how text is prepared and how pieces are chosen.
The format: https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto.
"""

import struct
from collections.abc import Iterator
from typing import Any

from data.pretrained.vocabularies import BYTE, NORMAL, sentencepiece_spec

_BPE = 2
_SPECIAL_IDS = {"unk": (40, 0), "bos": (41, 1), "eos": (42, 2), "pad": (43, -1)}
_VARINT, _WIDE, _BYTES, _NARROW = 0, 1, 2, 5


def read_sentencepiece(model: bytes) -> tuple[dict[str, Any], dict[str, int]]:
    """Returns the encoding of a sentencepiece model as `tokenizer.json` states it.

    Args:
        model: The bytes of `tokenizer.model`.

    Returns:
        The encoding, and the ids of its special tokens `bos`, `eos` and `pad`, where it has them.

    Raises:
        ValueError: If it is no sentencepiece model, or one of a kind that is not read: pieces must
            be byte pairs with byte fallback, and text must be kept as it is.
    """
    try:
        fields = list(_fields(model))
        pieces = [dict(_fields(value)) for number, value in fields if number == 1]
        trainer, normalizer = (
            dict(_fields(b"".join(value for number, value in fields if number == part)))
            for part in (2, 3)
        )
        texts = [piece[1].decode() for piece in pieces]
        scores = [struct.unpack("<f", piece.get(2, bytes(4)))[0] for piece in pieces]
    except (IndexError, KeyError, AttributeError, TypeError, ValueError, struct.error) as error:
        raise ValueError("the file is not a sentencepiece model.") from error
    types = [piece.get(3, NORMAL) for piece in pieces]
    if not pieces:
        raise ValueError("the file is not a sentencepiece model.")
    if trainer.get(3, 1) != _BPE or types.count(BYTE) != 256:
        raise ValueError("only sentencepiece models of byte pairs with byte fallback are read.")
    if normalizer.get(2) or normalizer.get(4, 1) or not normalizer.get(5, 1):
        raise ValueError(
            "only sentencepiece models that keep text as it is are read: trained with"
            " normalization_rule_name='identity' and remove_extra_whitespaces=False."
        )
    spec = sentencepiece_spec(texts, types, scores, space_before=bool(normalizer.get(3, 1)))
    ids = {name: _signed(trainer.get(*field)) for name, field in _SPECIAL_IDS.items()}
    return spec, {name: number for name, number in ids.items() if 0 <= number < len(pieces)}


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Yields number and value of each field of a protocol buffer message."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        kind = key & 7
        if kind == _VARINT:
            value, place = _varint(message, place)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            size, place = _varint(message, place)
        else:
            size = {_WIDE: 8, _NARROW: 4}[kind]
        if place + size > len(message):
            raise ValueError("a field is cut short")
        yield key >> 3, message[place : place + size]
        place += size


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place


def _signed(number: int) -> int:
    """Returns an integer that may have been negative when it was written."""
    return number - 2**64 if number >= 2**63 else number
