"""A sentencepiece tokenizer: trained reproducibly, and lossless on any text."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import sentencepiece

SPACE_MARK = "\N{LOWER ONE EIGHTH BLOCK}"  # sentencepiece writes a space as this character


def train_tokenizer(texts: Iterable[str], *, vocab_size: int, symbols: Sequence[str]) -> bytes:
    """Trains a byte-fallback BPE model; the same texts give the same bytes.

    Args:
        texts: The corpus.
        vocab_size: Number of tokens, including 4 special ones, the symbols and 256 bytes.
        symbols: Texts that become tokens of their own with ids from 4 on, in this order (with
            `SPACE_MARK` for spaces).

    Returns:
        The serialised model, with pad = 0, bos = 1, eos = 2 and unk = 3.

    Raises:
        ValueError: If `vocab_size` is too small for the symbols or too large for the corpus.
    """
    model = io.BytesIO()
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
        raise ValueError(
            f"a tokenizer of {vocab_size} tokens can't be trained on this corpus; choose a"
            f" vocab_size that suits it ({' '.join(str(error).split())})."
        ) from error
    return model.getvalue()


class Tokenizer:
    """Text to token ids and back, by a sentencepiece model.

    Args:
        model: A serialised sentencepiece model with byte fallback.
    """

    def __init__(self, model: bytes) -> None:
        self.model = model
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        self._mark_ids = [
            self._processor.piece_to_id(f"<0x{byte:02X}>") for byte in SPACE_MARK.encode()
        ]
        self.vocab_size: int = self._processor.vocab_size()
        self.pad_id: int = self._processor.pad_id()
        self.eos_id: int = self._processor.eos_id()

    @classmethod
    def from_file(cls, path: str | Path) -> "Tokenizer":
        """Reads a model file."""
        return cls(Path(path).read_bytes())

    def encode(self, text: str) -> list[int]:
        """Returns the text's token ids; `decode` gives exactly the text again.

        Raises:
            ValueError: If the text holds a lone surrogate, which no encoding can express.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"text to encode must be valid Unicode; character {error.start} is a lone"
                " surrogate, replace it."
            ) from error
        first, *rest = text.split(SPACE_MARK)
        ids = self._processor.encode(first)
        for part in rest:  # a literal mark would read as a space: spell it in bytes
            ids += self._mark_ids + self._processor.encode(part)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of token ids; special tokens have none."""
        return self._processor.decode([int(token) for token in ids])

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
