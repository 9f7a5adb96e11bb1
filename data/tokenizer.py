"""A sentencepiece tokenizer: trained reproducibly, and lossless on any text.

Programs take `AnyTokenizer`: this one, or a pretrained model's (`data.pretrained.tokenizer`).
"""

import codecs
import hashlib
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import sentencepiece

SPACE_MARK = "\N{LOWER ONE EIGHTH BLOCK}"  # sentencepiece writes a space as this character
_TAG = re.compile(r"</?[a-z_]+>")  # a symbol of this form separates parts of a document
# A model that changes text changes this one: spaces, what NFKC would fold, a rare character.
_PROBE = f" a  b\n\t {SPACE_MARK} \ufb01 \uff1cthink\uff1e <think> \U0001f600 "


def train_tokenizer(texts: Iterable[str], *, vocab_size: int, symbols: Sequence[str]) -> bytes:
    """Trains a byte-fallback BPE model; the same texts give the same bytes.

    It reads all texts in one thread and draws nothing, so there is no seed.

    Args:
        texts: The corpus; it is held in memory.
        vocab_size: Number of tokens, including 4 special ones, the symbols and 256 bytes.
        symbols: Texts that become tokens of their own with ids from 4 on, in this order (with
            `SPACE_MARK` for spaces).

    Returns:
        The serialised model, with pad = 0, bos = 1, eos = 2 and unk = 3.

    Raises:
        ValueError: If `vocab_size` is too small for the symbols or too large for the corpus.
    """
    model = io.BytesIO()
    texts = list(texts)  # what is wrong with the corpus is not told as a fault of the training
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab_size,
            user_defined_symbols=list(symbols),
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            byte_fallback=True,
            split_digits=True,
            max_sentence_length=1_000_000,
            num_threads=1,
            minloglevel=2,
            **{"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3},
        )
    except RuntimeError as error:
        _, _, reason = " ".join(str(error).split()).rpartition("] ")  # a place in its code, and why
        raise ValueError(
            f"a tokenizer of {vocab_size} tokens can't be trained on this corpus; choose a"
            f" vocab_size that suits it ({reason})."
        ) from error
    return model.getvalue()


class AnyTokenizer(Protocol):
    """What programs ask of a tokenizer: text to token ids and back."""

    vocab_size: int
    pad_id: int
    eos_id: int
    start_ids: tuple[int, ...]
    """What the model expects before every text."""
    stop_ids: tuple[int, ...]
    """All tokens that end an answer."""
    space_before: bool
    """Whether encoding puts a space before a text, which decoding takes away."""

    @property
    def fingerprint(self) -> str: ...

    def encode(self, text: str, *, with_tags: bool = False) -> list[int]:
        """Returns the text's token ids; only with `with_tags` are tags and special tokens such."""

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of token ids; special tokens have none."""

    def token_bytes(self, token: int) -> bytes:
        """Returns what a token adds to a text, in UTF-8, of which it may be a part."""

    def symbol_ids(self, symbols: Sequence[str]) -> tuple[int, ...]:
        """Returns the id of each symbol; raises `ValueError` if one is no token."""


class TextStream:
    """Decodes tokens as they come; a character is given once all its bytes are there.

    Args:
        tokenizer: Whose tokens they are.

    Example:
        >>> tokenizer = Tokenizer(train_tokenizer(["a b"] * 9, vocab_size=263, symbols=()))
        >>> stream = TextStream(tokenizer)
        >>> [stream.push(token) for token in tokenizer.encode("a\N{EURO SIGN}")], stream.close()
        (['a', '', '', '\u20ac'], '')
    """

    def __init__(self, tokenizer: AnyTokenizer) -> None:
        self._bytes = tokenizer.token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._drops_space = tokenizer.space_before

    def push(self, token: int) -> str:
        """Returns the text that a further token completes, often none."""
        return self._shown(self._decoder.decode(self._bytes(token)))

    def close(self) -> str:
        """Returns what is left: U+FFFD for a character that was not finished."""
        return self._shown(self._decoder.decode(b"", final=True))

    def _shown(self, text: str) -> str:
        if self._drops_space and text:
            self._drops_space = False
            return text.removeprefix(" ")
        return text


class Tokenizer:
    """Text to token ids and back, by a sentencepiece model.

    Args:
        model: A serialised sentencepiece model with byte fallback.

    Attributes:
        vocab_size: Number of tokens.
        pad_id: What fills rows up.
        eos_id: The end of a text.
        start_ids: Nothing: texts begin with their first token.
        stop_ids: The end of a text.
        space_before: False: text is kept as it is.

    Raises:
        ValueError: If it is no such model, or changes text.
    """

    def __init__(self, model: bytes) -> None:
        self.model = model
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.load_from_serialized_proto(model)
        except RuntimeError as error:
            raise ValueError("the file is not a sentencepiece model.") from error
        self.vocab_size: int = self._processor.vocab_size()
        self.pad_id: int = self._processor.pad_id()
        self.eos_id: int = self._processor.eos_id()
        self.start_ids: tuple[int, ...] = ()
        self.stop_ids: tuple[int, ...] = (self.eos_id,)
        self.space_before = False
        self._marks = re.compile(SPACE_MARK)
        self._marks_and_tags = re.compile("|".join(map(re.escape, [SPACE_MARK, *self._tags()])))
        if self.eos_id < 0 or self.decode(self.encode(_PROBE)) != _PROBE:
            raise ValueError(
                "a sentencepiece model must have an end of sequence and keep text as it is: trained"
                " with byte_fallback=True, normalization_rule_name='identity',"
                " add_dummy_prefix=False and remove_extra_whitespaces=False."
            )

    def _tags(self) -> list[str]:
        """Returns the tokens that look like a tag, but for the special ones, which no text has."""
        piece, is_control = self._processor.id_to_piece, self._processor.is_control
        found = [i for i in range(self.vocab_size) if _TAG.fullmatch(piece(i))]
        return [piece(i) for i in found if not (is_control(i) or self._processor.is_unknown(i))]

    @property
    def fingerprint(self) -> str:
        """A hash of the model."""
        return hashlib.sha256(self.model).hexdigest()[:16]

    @classmethod
    def from_file(cls, path: str | Path) -> "Tokenizer":
        """Reads a model file."""
        return cls(Path(path).read_bytes())

    def encode(self, text: str, *, with_tags: bool = False) -> list[int]:
        """Returns the text's token ids; `decode` gives exactly the text again.

        Args:
            text: Any text.
            with_tags: Whether tags in it are tags, as in text that a program of ours wrote. Of a
                user's text they are spelled out, so that it can't end a trace or begin an answer.

        Raises:
            ValueError: If the text holds a lone surrogate, which no encoding can express.
        """
        check_unicode(text)
        ids: list[int] = []
        start = 0
        for found in (self._marks if with_tags else self._marks_and_tags).finditer(text):
            ids += self._processor.encode(text[start : found.start()])
            start = found.start() + 1
            ids += self._spelled(text[found.start()])  # a mark would read as a space
        return ids + self._processor.encode(text[start:])

    def _spelled(self, character: str) -> list[int]:
        """Returns the bytes of a character as tokens."""
        return [self._processor.piece_to_id(f"<0x{byte:02X}>") for byte in character.encode()]

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of token ids; special tokens have none."""
        return self._processor.decode([int(token) for token in ids])

    def token_bytes(self, token: int) -> bytes:
        """Returns what a token adds to a text, in UTF-8, of which it may be a part."""
        piece = self._processor.id_to_piece(token)
        if self._processor.is_byte(token):
            return bytes.fromhex(piece[3:5])
        if self._processor.is_control(token) or self._processor.is_unknown(token):
            return self.decode([token]).encode()
        return piece.replace(SPACE_MARK, " ").encode()

    def symbol_ids(self, symbols: Sequence[str]) -> tuple[int, ...]:
        """Returns the id of each symbol.

        Raises:
            ValueError: If one is not a token of this tokenizer.
        """
        ids = tuple(self._processor.piece_to_id(symbol) for symbol in symbols)
        unknown = [s for s, i in zip(symbols, ids, strict=True) if i == self._processor.unk_id()]
        if unknown:
            raise ValueError(
                f"the tokenizer has no symbols {unknown}; train one with them as `symbols`."
            )
        return ids


def check_unicode(text: str) -> None:
    """Raises `ValueError` if a text holds a lone surrogate, which no encoding can express."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"text to encode must be valid Unicode; character {error.start} is a lone surrogate,"
            " replace it."
        ) from error
