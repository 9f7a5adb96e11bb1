"""Vocabularies of GGUF files and sentencepiece models, stated as in `tokenizer.json`.

Both kinds are byte-pair encodings: of bytes, with merges in the file; or of characters, where the
score of a piece says when it is merged, and bytes stand in for rare characters.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

SPACE_MARK = "\N{LOWER ONE EIGHTH BLOCK}"  # sentencepiece writes a space as this character
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""Types of tokens, numbered as in sentencepiece models and in GGUF files."""

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def _byte_level(use_regex: bool) -> dict[str, Any]:
    settings = {"add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}
    return {"type": "ByteLevel"} | settings


def _split_by(numbers: str) -> dict[str, Any]:
    pattern = {"Regex": _WORDS + numbers + _REST}
    split = {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, _byte_level(False)]}


_DIGITS = {"type": "Digits", "individual_digits": True}
_GPT2 = {"pre_tokenizer": _byte_level(True)}
_SMOLLM = {
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [_DIGITS, _byte_level(True)]},
}
_LLAMA3 = {"pre_tokenizer": _split_by(r"\p{N}{1,3}")}
_QWEN2 = {"pre_tokenizer": _split_by(r"\p{N}"), "normalizer": {"type": "NFC"}}
LLAMA3_NAMES = ("llama-bpe", "llama3", "llama-v3")
PRE_TOKENIZERS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        **dict.fromkeys(LLAMA3_NAMES, _LLAMA3),
        **dict.fromkeys(("qwen2", "deepseek-r1-qwen"), _QWEN2),
        "smollm": _SMOLLM,
        "gpt-2": _GPT2,
    }
)
"""How text is cut before merging, by its name in GGUF files."""


def byte_level_spec(
    tokens: Sequence[str], types: Sequence[int], merges: Sequence[str], pre_tokenizer: str
) -> dict[str, Any]:
    """Returns a byte-level encoding, such as those of Llama 3, Qwen and SmolLM.

    Args:
        tokens: The text of each token, bytes written as GPT-2 does.
        types: The type of each token.
        merges: Pairs of tokens, as in `Ġ the`, earliest first.
        pre_tokenizer: One of `PRE_TOKENIZERS`.

    Raises:
        ValueError: If a token occurs twice, or the lists don't fit together.
    """
    vocabulary = _numbered(tokens, types)
    model = _model(vocabulary, [tuple(merge.split(" ")) for merge in merges])
    return _spec(
        model | {"ignore_merges": pre_tokenizer in LLAMA3_NAMES},
        added=[
            _added(token, number, special=types[number] == CONTROL)
            for token, number in vocabulary.items()
            if types[number] in (CONTROL, USER_DEFINED)
        ],
        decoder=_byte_level(True),
        **PRE_TOKENIZERS[pre_tokenizer],
    )


def sentencepiece_spec(
    pieces: Sequence[str],
    types: Sequence[int],
    scores: Sequence[float],
    *,
    space_before: bool,
) -> dict[str, Any]:
    """Returns an encoding of sentencepiece's kind, such as those of Llama 2 and Gemma.

    Args:
        pieces: The text of each token, spaces written as `SPACE_MARK`.
        types: The type of each token.
        scores: The score of each token; pairs whose piece has the highest one are merged first.
        space_before: Whether a text gets a space before it.

    Raises:
        ValueError: If a piece occurs twice, or the lists don't fit together.
    """
    if len(scores) != len(pieces):
        raise ValueError(f"{len(pieces)} tokens come with {len(scores)} scores.")
    pieces = [
        piece.replace(SPACE_MARK, " ") if kind == USER_DEFINED else piece
        for piece, kind in zip(pieces, types, strict=False)
    ]
    vocabulary = _numbered(pieces, types)
    unknown = [piece for piece, number in vocabulary.items() if types[number] == UNKNOWN]
    model = _model(vocabulary, _merges(vocabulary, types, scores))
    prepend = [{"type": "Prepend", "prepend": SPACE_MARK}] if space_before else []
    mark = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE_MARK}
    space = {"type": "Replace", "pattern": {"String": SPACE_MARK}, "content": " "}
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if space_before else []
    decoders = [space, {"type": "ByteFallback"}, {"type": "Fuse"}, *strip]
    return _spec(
        model | {"byte_fallback": True, "fuse_unk": True, "unk_token": next(iter(unknown), None)},
        added=[
            _added(piece, number, special=types[number] != USER_DEFINED)
            for piece, number in vocabulary.items()
            if types[number] in (CONTROL, UNKNOWN, USER_DEFINED)
        ],
        pre_tokenizer=None,
        normalizer={"type": "Sequence", "normalizers": [*prepend, mark]},
        decoder={"type": "Sequence", "decoders": decoders},
    )


def with_start(spec: dict[str, Any], token: str, number: int) -> dict[str, Any]:
    """Returns an encoding that puts a special token before every text."""
    start, text = {"SpecialToken": {"id": token, "type_id": 0}}, "Sequence"
    return spec | {
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [start, {text: {"id": "A", "type_id": 0}}],
            "pair": [
                *(start, {text: {"id": "A", "type_id": 0}}),
                *({"SpecialToken": {"id": token, "type_id": 1}}, {text: {"id": "B", "type_id": 1}}),
            ],
            "special_tokens": {token: {"id": token, "ids": [number], "tokens": [token]}},
        }
    }


def _numbered(tokens: Sequence[str], types: Sequence[int]) -> dict[str, int]:
    if len(types) != len(tokens):
        raise ValueError(f"{len(tokens)} tokens come with {len(types)} types.")
    numbers: dict[str, int] = {}
    for number, token in enumerate(tokens):
        if numbers.setdefault(token, number) != number:
            raise ValueError(f"the token {token!r} occurs twice, as {numbers[token]} and {number}.")
    return numbers


def _merges(
    vocabulary: Mapping[str, int], types: Sequence[int], scores: Sequence[float]
) -> list[tuple[str, str]]:
    """Returns the pairs that make a piece, those of the highest score first."""
    normal = {piece: number for piece, number in vocabulary.items() if types[number] == NORMAL}
    found = []
    for piece, number in normal.items():
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in normal and right in normal:
                found.append((-scores[number], normal[left], normal[right], left, right))
    return [(left, right) for *_, left, right in sorted(found)]


def _model(vocabulary: Mapping[str, int], merges: Sequence[Sequence[str]]) -> dict[str, Any]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": dict(vocabulary),
        "merges": [list(merge) for merge in merges],
    }


def _added(token: str, number: int, *, special: bool) -> dict[str, Any]:
    settings = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": number, "content": token, **settings, "special": special}


def _spec(model: Mapping[str, Any], *, added: list[Any], **parts: Any) -> dict[str, Any]:
    nothing = dict.fromkeys(("truncation", "padding", "normalizer", "post_processor"))
    return {"version": "1.0", **nothing, "added_tokens": added, **parts, "model": dict(model)}
