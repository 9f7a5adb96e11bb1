"""Tiny random models of each family, made by transformers: its logits are ours, both ways."""

import dataclasses
import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data.pretrained.load import load_pretrained
from data.pretrained.save import save_pretrained
from data.pretrained.sources import SafetensorsFolder
from jaxreason.model import ModelConfig, RopeScaling, decode_step, forward, init, prefill

SIZES = {
    "vocab_size": 53,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
GEMMA = {"head_dim": 16, "query_pre_attn_scalar": 3, "sliding_window": 4}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 60,
}
LINEAR = {"rope_type": "linear", "factor": 3.0, "rope_theta": 1e4}
CASES = {
    "llama 2": ("llama", {}),
    "llama 3": ("llama", {"rope_parameters": LLAMA3, "tie_word_embeddings": True}),
    "llama, linear": ("llama", {"rope_parameters": LINEAR, "head_dim": 12}),
    "qwen 2": (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
    ),
    "qwen 3": ("qwen3", {"head_dim": 16, "tie_word_embeddings": True}),
    "gemma 2": (
        "gemma2",
        GEMMA | {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 4.0},
    ),
    "gemma 3": (
        "gemma3_text",
        GEMMA
        | {
            "layer_types": ["sliding_attention", "full_attention"],
            "rope_parameters": {
                "full_attention": LINEAR,
                "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
            },
        },
    ),
}

TIME, STEPS = 9, 3
TOKENS = np.random.default_rng(0).integers(1, 53, (3, TIME + STEPS))
MASK = np.arange(TIME) >= np.array([[0], [2], [6]])  # padded on the left
LENGTHS = (5, 1, 6)  # of packed documents

logits_of = jax.jit(forward, static_argnums=0)
start = jax.jit(prefill, static_argnums=0, static_argnames="num_slots")
step = jax.jit(decode_step, static_argnums=0)


@dataclasses.dataclass(frozen=True)
class Peer:
    """A model of transformers and what is imported from its folder."""

    model: object
    folder: str
    config: ModelConfig
    params: dict


@pytest.fixture(scope="session")
def transformers():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("torch", reason="pip install torch")
        transformers = pytest.importorskip("transformers", reason="pip install transformers")
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        transformers.AutoModelForCausalLM  # noqa: B018  # imported when it is first used
    return transformers


@pytest.fixture(scope="session")
def make_peer(transformers, tmp_path_factory):
    import torch

    @functools.cache
    def make(case: str) -> Peer:
        kind, entries = CASES[case]
        config = transformers.AutoConfig.for_model(kind, **(SIZES | entries))
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
        with torch.no_grad():  # norms and biases start at 0 or 1, where they would go unseen
            for weight in model.parameters():
                weight.add_((0.3 if weight.ndim == 1 else 0.15) * torch.randn(weight.shape))
        folder = str(tmp_path_factory.mktemp("peers") / kind)
        model.save_pretrained(folder)
        return Peer(
            model.eval(), folder, *load_pretrained(SafetensorsFolder(folder), dtype="float32")
        )

    return make


@pytest.fixture(params=CASES)
def peer(request, make_peer):
    return make_peer(request.param)


def theirs(model, tokens, **how):
    """Logits of transformers, and its cache."""
    import torch

    how = {
        name: torch.tensor(value) if hasattr(value, "shape") else value
        for name, value in how.items()
    }
    with torch.no_grad():
        output = model(torch.tensor(tokens), **how)
    return output.logits.float().numpy(), output.past_key_values


def ours(tokens):
    return jnp.asarray(tokens, jnp.int32)


close = functools.partial(np.testing.assert_allclose, atol=1e-4, rtol=0)


def test_forward(peer):
    expected, _ = theirs(peer.model, TOKENS)
    assert np.ptp(expected) > 3
    close(logits_of(peer.config, peer.params, ours(TOKENS)), expected)


WITHOUT = {
    "rope_scaling": RopeScaling(),
    "local_rope_theta": None,
    "window": None,
    "query_scalar": None,
    "attention_soft_cap": None,
    "logit_soft_cap": None,
}


@pytest.mark.parametrize(
    "case, setting",
    [
        ("llama 3", "rope_scaling"),
        ("llama, linear", "rope_scaling"),
        ("qwen 2", "window"),
        ("gemma 2", "window"),
        ("gemma 2", "query_scalar"),
        ("gemma 2", "attention_soft_cap"),
        ("gemma 2", "logit_soft_cap"),
        ("gemma 3", "rope_scaling"),
        ("gemma 3", "local_rope_theta"),
    ],
)
def test_settings_would_not_go_unseen(make_peer, case, setting):
    peer = make_peer(case)
    config = dataclasses.replace(peer.config, **{setting: WITHOUT[setting]})
    logits = [logits_of(each, peer.params, ours(TOKENS)) for each in (config, peer.config)]
    assert abs(logits[0] - logits[1]).max() > 1e-2


def test_a_padded_batch_and_cached_decoding(peer):
    positions = np.maximum(np.cumsum(MASK, 1) - 1, 0)
    prompts, segments = TOKENS[:, :TIME], ours(MASK)
    how = {"attention_mask": MASK.astype(np.int64), "position_ids": positions}
    expected, their_cache = theirs(peer.model, prompts, **how, use_cache=True)
    close(
        logits_of(peer.config, peer.params, ours(prompts), segment_ids=segments)[MASK],
        expected[MASK],
    )
    logits, cache = start(
        peer.config, peer.params, ours(prompts), jnp.asarray(MASK), num_slots=TIME + STEPS
    )
    close(logits, expected[:, -1])
    for place in range(TIME, TIME + STEPS):
        mask = np.pad(MASK, ((0, 0), (0, place + 1 - TIME)), constant_values=True)
        expected, their_cache = theirs(
            peer.model,
            TOKENS[:, place : place + 1],
            attention_mask=mask.astype(np.int64),
            position_ids=mask.sum(1, keepdims=True) - 1,
            past_key_values=their_cache,
            use_cache=True,
        )
        logits, cache = step(peer.config, peer.params, ours(TOKENS[:, place]), cache)
        close(logits, expected[:, 0])


def test_a_packed_batch(peer):
    positions = np.concatenate([np.arange(length) for length in LENGTHS])
    segments = np.repeat(np.arange(1, len(LENGTHS) + 1), LENGTHS)
    tokens = TOKENS[:1]
    expected, _ = theirs(peer.model, tokens, position_ids=positions[None], use_cache=False)
    logits = logits_of(peer.config, peer.params, ours(tokens), segment_ids=ours(segments[None]))
    close(logits, expected)
    alone, _ = theirs(peer.model, tokens)
    assert abs(alone - expected).max() > 1e-2


@pytest.mark.parametrize("shard_bytes", [10**9, 20_000])
def test_export_and_import_again(peer, transformers, tmp_path, shard_bytes):
    """Bit for bit, here and in transformers."""
    base = SafetensorsFolder(peer.folder).config
    folder = tmp_path / "exported"
    save_pretrained(folder, peer.config, peer.params, base=base, shard_bytes=shard_bytes)
    sizes = [file.stat().st_size for file in folder.glob("*.safetensors")]
    assert len(sizes) == 1 if shard_bytes == 10**9 else len(sizes) > 3 and max(sizes) < 24_000
    config, params = load_pretrained(SafetensorsFolder(folder), dtype="float32")
    again = tmp_path / "again"
    save_pretrained(again, config, params, base=base, shard_bytes=shard_bytes)
    assert (again / "config.json").read_text() == (folder / "config.json").read_text()
    jax.tree.map(np.testing.assert_array_equal, params, peer.params)
    close(logits_of(config, params, ours(TOKENS)), theirs(peer.model, TOKENS)[0])
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    assert type(model) is type(peer.model)
    np.testing.assert_array_equal(theirs(model, TOKENS)[0], theirs(peer.model, TOKENS)[0])


def test_bfloat16_stays_bit_for_bit(make_peer, transformers, tmp_path):
    peer = make_peer("gemma 3")
    save_pretrained(tmp_path / "half", peer.config, peer.params, dtype="bfloat16")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "half", dtype="auto")
    assert str(model.dtype) == "torch.bfloat16"
    source = SafetensorsFolder(tmp_path / "half")
    (_, wide), (config, half) = (
        load_pretrained(source, dtype=kind) for kind in ("float32", "bfloat16")
    )
    save_pretrained(tmp_path / "again", config, wide, dtype="bfloat16")
    written = [tmp_path / name / "model.safetensors" for name in ("half", "again")]
    assert written[0].read_bytes() == written[1].read_bytes()
    assert config.dtype == "bfloat16" and half["norm"]["scale"].dtype == jnp.bfloat16
    logits = logits_of(config, half, ours(TOKENS))
    expected, _ = theirs(model.eval(), TOKENS)
    assert abs(logits - expected).max() < 0.05 * abs(expected).max()


OWN = {
    "as trained here": ModelConfig(vocab_size=53, dim=32, num_layers=2, hidden_dim=48),
    "with everything of gemma 3": ModelConfig(
        vocab_size=53,
        dim=32,
        num_layers=3,
        num_kv_heads=1,
        hidden_dim=48,
        activation="gelu_tanh",
        qk_norm=True,
        window=3,
        window_pattern=(True, False),
        rope_scaling=RopeScaling(kind="llama3", original_length=60),
        local_rope_theta=100.0,
        zero_centered_norms=True,
        sandwich_norms=True,
        scale_embeddings=True,
        logit_soft_cap=5.0,
    ),
}


@pytest.mark.parametrize("config", OWN.values(), ids=OWN)
def test_models_of_our_own(transformers, tmp_path, config):
    params = jax.jit(init, static_argnums=0)(config, jax.random.key(0))
    params |= {"embedding": 25 * params["embedding"]}
    save_pretrained(tmp_path / "own", config, params, base={"eos_token_id": 7})
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "own")
    assert model.generation_config.eos_token_id == model.config.eos_token_id == 7
    assert model.generation_config.bos_token_id is None
    expected, _ = theirs(model.eval(), TOKENS)
    assert np.ptp(expected) > 3
    close(logits_of(config, params, ours(TOKENS)), expected)
