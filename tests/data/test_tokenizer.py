"""The tokenizer: reproducible, lossless, symbols where the task expects them."""

import hashlib
import io
import subprocess
import sys

import pytest
import sentencepiece
from hypothesis import example, given
from hypothesis import strategies as st

from data.spans import TAGS
from data.tokenizer import SPACE_MARK, Tokenizer, train_tokenizer
from jaxreason.tasks import SYMBOLS, Vocabulary

TEXTS = ["the quick brown fox", "jumps over the lazy dog", "the end\nof the story"] * 3


KEEPS_TEXT = {
    "byte_fallback": True,
    "normalization_rule_name": "identity",
    "add_dummy_prefix": False,
    "remove_extra_whitespaces": False,
}
FRAGMENTS = st.sampled_from(
    [*TAGS, "<", ">", "/", "think", "answer>", "<pro", "</", "<think", "<<think>>", "\uff1cthink>"]
    + ["</s>", "<pad>", SPACE_MARK, " ", "\u200b", "a", "1"]
)
TEXTS_WITH_TAGS = st.lists(FRAGMENTS, max_size=8).map("".join)


def train(**changes):
    return train_tokenizer(**({"texts": TEXTS, "vocab_size": 360, "symbols": SYMBOLS} | changes))


def foreign_model(**changes):
    """A model that somebody else trained, with sentencepiece's own defaults where not told."""
    model = io.BytesIO()
    settings = {"vocab_size": 340, "user_defined_symbols": ["<think>", "</think>"]}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*TEXTS, "\n"]),
        model_writer=model,
        model_type="bpe",
        minloglevel=2,
        **(settings | changes),
    )
    return model.getvalue()


@pytest.fixture(scope="module", params=["ours", "foreign"])
def tagged(request):
    """Tokenizers with tags; in the foreign one they begin at id 3, as there is no padding."""
    if request.param == "ours":
        return Tokenizer(train(symbols=TAGS))
    return Tokenizer(foreign_model(**KEEPS_TEXT, user_defined_symbols=list(TAGS)))


def test_training_twice_gives_the_same_bytes():
    assert train() == train()
    assert train() != train(texts=TEXTS[:2])


def test_training_in_another_process_gives_the_same_bytes(pytestconfig):
    code = (
        "import hashlib\nfrom data.tokenizer import train_tokenizer\n"
        f"model = train_tokenizer({TEXTS!r}, vocab_size=360, symbols={SYMBOLS!r})\n"
        "print(hashlib.sha256(model).hexdigest())"
    )
    command, root = [sys.executable, "-c", code], pytestconfig.rootpath
    printed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == hashlib.sha256(train()).hexdigest()


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


@given(text=TEXTS_WITH_TAGS)
@example(text="<think>")
@example(text="a<think></think><answer>")
@example(text="<thi<think>nk>")
def test_no_text_of_a_user_forges_a_tag(tagged, text):
    ids = tagged.encode(text)
    assert set(ids).isdisjoint(tagged.symbol_ids(TAGS))
    assert tagged.decode(ids) == text


@given(text=TEXTS_WITH_TAGS)
def test_a_text_of_a_program_has_its_tags(tagged, text):
    ids = tagged.encode(text, with_tags=True)
    for tag, symbol in zip(TAGS, tagged.symbol_ids(TAGS), strict=True):
        assert ids.count(symbol) == text.count(tag)
    assert tagged.decode(ids) == text


@given(before=TEXTS_WITH_TAGS, after=TEXTS_WITH_TAGS)
def test_texts_side_by_side_forge_no_tag(tagged, before, after):
    """As the parts of an example are: each is encoded alone, whatever it ends with."""
    ids = tagged.encode(before + "<") + tagged.encode("think>" + after)
    assert set(ids).isdisjoint(tagged.symbol_ids(TAGS))


def test_digits_are_single_tokens_however_often_they_come_together():
    texts = [*TEXTS, *["20251 and 20251"] * 50]
    tokenizer = Tokenizer(train(texts=texts, vocab_size=320, symbols=TAGS))
    assert len(tokenizer.encode("20251")) == 5


def test_special_tokens_decode_to_nothing(tokenizer):
    assert tokenizer.decode([tokenizer.pad_id, *tokenizer.encode("x"), tokenizer.eos_id]) == "x"


def test_a_model_file_gives_the_same_tokenizer(tokenizer, tmp_path):
    path = tmp_path / "model"
    path.write_bytes(tokenizer.model)
    assert Tokenizer.from_file(path).encode("one 2") == tokenizer.encode("one 2")


@pytest.mark.parametrize(
    "changes",
    [
        {"normalization_rule_name": "nmt_nfkc"},
        {"add_dummy_prefix": True},
        {"remove_extra_whitespaces": True},
        {"byte_fallback": False, "vocab_size": 60},
        {"eos_id": -1},
    ],
)
def test_a_model_that_changes_text_or_has_no_end_is_refused(changes):
    with pytest.raises(ValueError, match="must have an end of sequence and keep text as it is"):
        Tokenizer(foreign_model(**(KEEPS_TEXT | changes)))


@pytest.mark.parametrize("model", [b"", b"no model at all", b"\x00" * 99])
def test_what_is_no_model_is_refused(model):
    with pytest.raises(ValueError, match="not a sentencepiece model"):
        Tokenizer(model)


def test_an_error_of_the_corpus_is_not_taken_for_one_of_the_training():
    def texts():
        yield from TEXTS
        raise ValueError("a.jsonl, line 7: field 'text' is missing.")

    with pytest.raises(ValueError, match="^a.jsonl, line 7: field 'text' is missing.$"):
        train(texts=texts())


@pytest.mark.parametrize("vocab_size", [200, 5000])
def test_an_unsuitable_vocab_size_is_refused(vocab_size):
    with pytest.raises(ValueError, match=f"tokenizer of {vocab_size} tokens can't be trained") as e:
        train(vocab_size=vocab_size)
    assert ".cc" not in str(e.value) and "\n" not in str(e.value)


def test_lone_surrogates_and_unknown_symbols_are_refused(tokenizer):
    with pytest.raises(ValueError, match="character 2 is a lone surrogate"):
        tokenizer.encode("ab\ud800")
    with pytest.raises(ValueError, match="has no symbols"):
        tokenizer.symbol_ids(["<answer>", "<no such>"])
