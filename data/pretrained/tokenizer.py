"""Tokenizers of pretrained models: byte-pair encodings as `tokenizer.json` of Hugging Face states.

The package `tokenizers` encodes. Decoding is joining bytes, so that a stream of tokens and the same
tokens at once give the same text. Left out: encodings that are not byte pairs.
"""

import functools
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType, ModuleType
from typing import Any

from data.pretrained.chat import ChatTemplate, Messages, checked
from data.pretrained.vocabularies import SPACE_MARK
from data.spans import TAGS
from data.tokenizer import check_unicode

SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token")
_BYTE = re.compile("<0x([0-9A-F]{2})>")
# Tokens that part a text into turns or thoughts, although files may not call them special.
_TAGS = (
    *(*TAGS, "<start_of_turn>", "<end_of_turn>"),
    *("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"),
)
_RESERVED = re.compile(rf"<\|.*\|>|{'|'.join(map(re.escape, _TAGS))}", re.DOTALL)
_NONCHARACTERS = tuple(map(chr, range(0xFDD0, 0xFDF0)))  # never characters of a text


class PretrainedTokenizer:
    """Text to token ids and back, as the pretrained model's own tokenizer does it.

    A text is encoded as the reference does, but for what it spells: `<|im_end|>` in a user's text
    is letters, not the token. `decode` gives the text again where the encoding keeps it: Qwen's
    composes accents (NFC), sentencepiece's read the character U+2581 as a space, and bytes without
    a token are left out, as are six control characters and planes 4 to 11 in SmolLM's.

    Args:
        spec: The text of `tokenizer.json`.
        config: What `tokenizer_config.json` says: `eos_token`, and `bos_token`, `pad_token` and
            `chat_template` where the model has them.
        stop_ids: Tokens that end an answer besides `eos_token`.

    Attributes:
        vocab_size: One more than the largest id.
        eos_id: The end of a text.
        pad_id: What fills rows up; the end of a text if the model has no such token.
        bos_id: The beginning of a text, None if the model has no such token.
        start_ids: What the model expects before every text.
        stop_ids: All tokens that end an answer, sorted.
        space_before: Whether encoding puts a space before a text, which decoding takes away.

    Raises:
        ValueError: If it is no byte-pair encoding that can be read, or names no end of a text.
    """

    def __init__(self, spec: str, config: Mapping[str, Any], stop_ids: Sequence[int] = ()) -> None:
        self.spec = spec
        self.config = MappingProxyType(dict(config))
        parts = _parsed(spec)
        self._tagged = _built(parts)
        added = {token["content"]: token for token in parts["added_tokens"]}
        is_protected = {t: added[t]["special"] or _RESERVED.fullmatch(t) for t in added}
        protected = sorted(filter(is_protected.get, added), key=len, reverse=True)
        self._protected = re.compile("|".join(map(re.escape, protected)) or "(?!)")
        self._plain = _built(_without(parts, frozenset(protected)))
        self._ids = parts["model"]["vocab"] | {text: added[text]["id"] for text in added}
        self._bytes, self.space_before = _bytes_of_tokens(parts)
        self.vocab_size = max(self._bytes) + 1
        self.bos_id = self._named("bos_token")
        self.eos_id, self.pad_id = self._eos_and_pad()
        self.stop_ids = tuple(sorted({self.eos_id, *stop_ids}))
        self.start_ids = self._start_ids()

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of the encoding."""
        return hashlib.sha256(self.spec.encode()).hexdigest()[:16]

    def encode(self, text: str, *, with_tags: bool = False) -> list[int]:
        """Returns the text's token ids, without `start_ids`.

        Args:
            text: Any text.
            with_tags: Whether special tokens in it are tokens, as in text that a template wrote.
                Of a user's text they are spelled out, so that it can't end its turn.

        Raises:
            ValueError: If the text holds a lone surrogate, which no encoding can express.
        """
        check_unicode(text)
        tokenizer = self._tagged if with_tags else self._plain
        return tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of token ids; special and unknown ones have none."""
        text = b"".join(map(self.token_bytes, ids)).decode("utf-8", "replace")
        return text.removeprefix(" ") if self.space_before else text

    def token_bytes(self, token: int) -> bytes:
        """Returns what a token adds to a text, in UTF-8, of which it may be a part."""
        return self._bytes.get(token, b"")

    def symbol_ids(self, symbols: Sequence[str]) -> tuple[int, ...]:
        """Returns the id of each symbol.

        Raises:
            ValueError: If one is not a token of this tokenizer.
        """
        unknown = [symbol for symbol in symbols if symbol not in self._ids]
        if unknown:
            raise ValueError(f"the tokenizer has no symbols {unknown}.")
        return tuple(self._ids[symbol] for symbol in symbols)

    def apply_chat_template(
        self, messages: Messages, *, add_generation_prompt: bool = False
    ) -> str:
        """Returns the text of messages, as the model was tuned on.

        Raises:
            ValueError: If the model has no chat template, or it can't be applied.
        """
        return self._template.render(messages, add_generation_prompt=add_generation_prompt)

    def encode_chat(self, messages: Messages, *, add_generation_prompt: bool = False) -> list[int]:
        """Returns the token ids of messages; no message can forge a special token.

        Tags of thinking and of tools are left to the assistant, whose texts templates cut at them.

        Raises:
            ValueError: If the model has no chat template, or it can't be applied.
        """
        return self._encoded(*self._rendered(messages, add_generation_prompt))

    def encode_chat_around(
        self, messages: Messages, place: str, *, add_generation_prompt: bool = False
    ) -> tuple[list[int], list[int]]:
        """Returns the token ids of messages before and after a place where others are to stand.

        Each side is encoded by itself. The two with the ids of a text between them are those that
        `encode_chat` gives, unless the encoding joins letters across the edges.

        Args:
            messages: As for `encode_chat`.
            place: A text that stands for the others, once in the messages.
            add_generation_prompt: As for `encode_chat`.

        Raises:
            ValueError: If the place isn't there once, or as for `encode_chat`.
        """
        text, mark, spelled = self._rendered(messages, add_generation_prompt)
        sides = text.split(place)
        if len(sides) != 2:
            raise ValueError(
                f"{place!r} must stand once in the messages as the chat template writes them; it"
                f" stands there {len(sides) - 1} times."
            )
        before, after = (self._encoded(side, mark, spelled) for side in sides)
        return before, after

    def _rendered(
        self, messages: Messages, add_generation_prompt: bool
    ) -> tuple[str, str, list[str]]:
        """Returns the template's text, a mark around the numbers of hidden tokens, and those."""
        plain = checked(messages)
        texts = [value for message in plain for value in message.values()]
        mark = next((m for m in _NONCHARACTERS if not any(m in text for text in texts)), "")
        if not mark:
            raise ValueError("the messages hold all noncharacters from U+FDD0 on; remove them.")
        spelled: list[str] = []

        def hidden(found: re.Match[str]) -> str:
            if is_assistant and found.group() in _TAGS:
                return found.group()
            spelled.append(found.group())
            return f"{mark}{len(spelled) - 1}{mark}"

        for message in plain:
            is_assistant = message["role"] == "assistant"
            for name in message:
                message[name] = self._protected.sub(hidden, message[name])
        text = self.apply_chat_template(plain, add_generation_prompt=add_generation_prompt)
        return text, mark, spelled

    def _encoded(self, text: str, mark: str, spelled: Sequence[str]) -> list[int]:
        """Encodes a rendered text; hidden tokens are spelled out."""
        parts = re.split(f"{mark}([0-9]+){mark}", text)  # in turn: the template's, a hidden one
        ids = [self.encode(part, with_tags=True) for part in parts]
        ids[1::2] = [self.encode(spelled[int(number)]) for number in parts[1::2]]
        return [token for part in ids for token in part]

    @functools.cached_property
    def _template(self) -> ChatTemplate:
        source = self.config.get("chat_template")
        if not source:
            raise ValueError("the tokenizer has no chat template.")
        tokens = {name: _text(self.config[name]) for name in SPECIAL if self.config.get(name)}
        return ChatTemplate(source, tokens)

    def _named(self, name: str) -> int | None:
        """Returns the id of a special token by its name in the config, None if it has none."""
        text = _text(self.config.get(name))
        return self.symbol_ids([text])[0] if text else None

    def _eos_and_pad(self) -> tuple[int, int]:
        eos, pad = self._named("eos_token"), self._named("pad_token")
        if eos is None:
            raise ValueError("the tokenizer's settings name no eos_token.")
        return eos, eos if pad is None else pad

    def _start_ids(self) -> tuple[int, ...]:
        """Returns what the encoding puts before a text of one letter."""
        first, *_ = self._tagged.encode("a", add_special_tokens=False).ids
        ids = self._tagged.encode("a", add_special_tokens=True).ids
        return tuple(ids[: ids.index(first)])


def _text(token: Any) -> str:
    """Returns a special token of the config, which is a text or says it with its settings."""
    found = token.get("content", "") if isinstance(token, Mapping) else token
    return found or ""


def _parsed(spec: str) -> dict[str, Any]:
    try:
        parts = json.loads(spec)
        kind = parts["model"].get("type", "BPE")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("the text is no tokenizer.json of Hugging Face.") from error
    if kind != "BPE":
        raise ValueError(f"the tokenizer is of the kind {kind}; only byte pairs (BPE) are read.")
    whole = {"truncation": None, "padding": None, "added_tokens": parts.get("added_tokens") or []}
    return parts | whole


def _built(parts: Mapping[str, Any]) -> Any:
    """Returns the encoder; its added tokens have the ids that they are given."""
    try:
        tokenizer = _tokenizers().Tokenizer.from_str(json.dumps(parts))
    except Exception as error:  # the package raises nothing else
        reason = " ".join(str(error).split()).rstrip(".")
        raise ValueError(f"the tokenizer can't be read: {reason}.") from error
    for token in parts["added_tokens"]:
        found = tokenizer.token_to_id(token["content"])
        if found != token["id"]:
            raise ValueError(
                f"the added token {token['content']!r} must have the id {token['id']}, but its"
                f" place in the vocabulary is {found}."
            )
    return tokenizer


def _without(parts: Mapping[str, Any], protected: frozenset[str]) -> dict[str, Any]:
    """Returns an encoding in which no text gives a protected token, nor a byte by its name."""
    model = parts["model"]
    kept = [token for token in parts["added_tokens"] if token["content"] not in protected]
    lost = protected - {model.get("unk_token")}
    vocabulary = {token: number for token, number in model["vocab"].items() if token not in lost}
    blocked = set(protected)
    if model.get("byte_fallback"):
        blocked.update(filter(_BYTE.fullmatch, vocabulary))
    pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
    merges = [pair for pair in pairs if blocked.isdisjoint((*pair, "".join(pair)))]
    vocabulary |= {token["content"]: token["id"] for token in kept}
    changed = {"vocab": vocabulary, "merges": merges}
    return {**parts, "added_tokens": kept, "post_processor": None, "model": model | changed}


def _bytes_of_tokens(parts: Mapping[str, Any]) -> tuple[dict[int, bytes], bool]:
    """Returns what each token adds to a text, and whether a text's first space is taken away."""
    decoder = parts["decoder"] or {}
    kinds = {part["type"]: part for part in decoder.get("decoders", [decoder]) if "type" in part}
    if "ByteLevel" in kinds:
        read: Callable[[str], bytes] = functools.partial(_byte_level, _bytes_by_character())
    elif {"Replace", "ByteFallback"} <= kinds.keys():
        read = _of_piece
    else:
        raise ValueError(
            "the tokenizer's decoder is not one of byte-level or sentencepiece encodings."
        )
    texts = {number: read(token) for token, number in parts["model"]["vocab"].items()}
    known = set(texts.values())
    missing = "".join(chr(byte) for byte in range(32, 127) if bytes([byte]) not in known)
    if missing:
        raise ValueError(f"the tokenizer has no tokens for the characters {missing!r}.")
    for token in parts["added_tokens"]:
        texts[token["id"]] = b"" if token["special"] else token["content"].encode()
    return texts, "Strip" in kinds


def _bytes_by_character() -> dict[str, int]:
    """Returns how GPT-2 writes bytes: printable ones as themselves, others from U+0100 on."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [byte for byte in range(256) if byte not in printable]
    written = {chr(byte): byte for byte in printable}
    return written | {chr(256 + place): byte for place, byte in enumerate(others)}


def _byte_level(spelled: Mapping[str, int], token: str) -> bytes:
    if all(character in spelled for character in token):
        return bytes(spelled[character] for character in token)
    return token.encode()


def _of_piece(piece: str) -> bytes:
    byte = _BYTE.fullmatch(piece)
    return bytes([int(byte[1], 16)]) if byte else piece.replace(SPACE_MARK, " ").encode()


def _tokenizers() -> ModuleType:
    """Imports `tokenizers` when it is first needed."""
    try:
        import tokenizers
    except ImportError as error:
        raise ValueError(
            "tokenizers of pretrained models need a package that is missing; run"
            " `pip install tokenizers`."
        ) from error
    return tokenizers
