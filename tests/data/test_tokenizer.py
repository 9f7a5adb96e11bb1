"""The tokenizer: reproducible, lossless, symbols where the task expects them."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from data.tokenizer import SPACE_MARK, Tokenizer, train_tokenizer
from jaxreason.tasks import SYMBOLS, Vocabulary

TEXTS = ["the quick brown fox", "jumps over the lazy dog", "the end\nof the story"] * 3


def train(**changes):
    return train_tokenizer(**({"texts": TEXTS, "vocab_size": 360, "symbols": SYMBOLS} | changes))


def test_training_twice_gives_the_same_bytes():
    assert train() == train()
    assert train() != train(texts=TEXTS[:2])


def test_special_tokens_and_symbols_have_the_ids_of_the_task(tokenizer):
    assert (tokenizer.pad_id, tokenizer.eos_id) == (0, 2)
    assert tokenizer.symbol_ids(SYMBOLS) == Vocabulary().symbol_ids
    assert tokenizer.vocab_size == 360


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
@example(text="  two  spaces \t and\r\n\n lines ")
@example(text=f"a literal {SPACE_MARK} mark{SPACE_MARK}{SPACE_MARK}")
@example(text="<s></s><unk><pad><0x41><problem>\x00\U0001f600é\u3000")
@example(text="e\u0301 \ufb01 \u200b")
def test_any_text_survives_the_round_trip(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(text=st.text(alphabet="<pads/>unk0x4A 1"))
def test_no_text_forges_a_special_token(tokenizer, text):
    assert min(tokenizer.encode(text), default=4) >= 4


def test_digits_are_single_tokens(tokenizer):
    assert len(tokenizer.encode("20251")) == 5


def test_special_tokens_decode_to_nothing(tokenizer):
    assert tokenizer.decode([tokenizer.pad_id, *tokenizer.encode("x"), tokenizer.eos_id]) == "x"


def test_a_model_file_gives_the_same_tokenizer(tokenizer, tmp_path):
    path = tmp_path / "model"
    path.write_bytes(tokenizer.model)
    assert Tokenizer.from_file(path).encode("one 2") == tokenizer.encode("one 2")


@pytest.mark.parametrize("vocab_size", [200, 5000])
def test_an_unsuitable_vocab_size_is_refused(vocab_size):
    with pytest.raises(ValueError, match=f"tokenizer of {vocab_size} tokens can't be trained"):
        train(vocab_size=vocab_size)


def test_lone_surrogates_and_unknown_symbols_are_refused(tokenizer):
    with pytest.raises(ValueError, match="character 2 is a lone surrogate"):
        tokenizer.encode("ab\ud800")
    with pytest.raises(ValueError, match="has no symbols"):
        tokenizer.symbol_ids(["<answer>", "<no such>"])
