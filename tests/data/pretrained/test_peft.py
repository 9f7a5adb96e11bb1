"""Adapters in PEFT's files: what they say, what PEFT makes of them, and what can't be held."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data.pretrained.peft import load_adapters, save_adapters
from data.pretrained.save import save_pretrained
from data.pretrained.tensor_file import map_tensor, read_entries, write_tensors
from jaxreason.model import (
    Adapters,
    LoRAConfig,
    ModelConfig,
    attach,
    forward,
    init,
    init_adapters,
    merge,
)

SIZES = {"vocab_size": 29, "dim": 16, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2}
FAMILIES = {
    "llama": ModelConfig(**SIZES, hidden_dim=24),
    "qwen3": ModelConfig(**SIZES, hidden_dim=24, head_size=6, qk_norm=True),
    "gemma3_text": ModelConfig(
        **SIZES,
        hidden_dim=24,
        head_size=6,
        activation="gelu_tanh",
        qk_norm=True,
        window=3,
        window_pattern=(True, False),
        local_rope_theta=100.0,
        zero_centered_norms=True,
        sandwich_norms=True,
        scale_embeddings=True,
    ),
}
TOKENS = np.random.default_rng(0).integers(0, 29, (2, 7))
SMALL = LoRAConfig(rank=2, alpha=3.0, targets=("value", "down"))
logits_of = jax.jit(forward, static_argnums=0)


def drawn(lora, config, seed=0):
    """Adapters whose second factors are not 0."""
    adapters = init_adapters(lora, config, jax.random.key(seed))
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: leaf + jnp.asarray(rng.normal(0, 0.3, leaf.shape), jnp.float32), adapters
    )


def same(left, right):
    assert left.scale == right.scale
    jax.tree.map(np.testing.assert_array_equal, left.factors, right.factors)


def read(file):
    return json.loads(file.read_text())


@pytest.fixture
def saved(config, tmp_path):
    """A folder of small adapters, and the adapters."""
    adapters = drawn(SMALL, config)
    save_adapters(tmp_path / "adapters", config, adapters, base_name="some/base")
    return tmp_path / "adapters", adapters


def test_what_a_folder_holds(saved):
    """Names, shapes and entries by hand: 8 wide, 1 key-value head of 4, 12 in the middle."""
    folder, adapters = saved
    assert sorted(file.name for file in folder.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert read(folder / "adapter_config.json") == {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "some/base",
        "inference_mode": True,
        "r": 2,
        "lora_alpha": 3,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": ["down_proj", "v_proj"],
    }
    file = folder / "adapter_model.safetensors"
    entries = read_entries(file)
    shapes = {
        "self_attn.v_proj.lora_A.weight": (2, 8),
        "self_attn.v_proj.lora_B.weight": (4, 2),
        "mlp.down_proj.lora_A.weight": (2, 12),
        "mlp.down_proj.lora_B.weight": (8, 2),
    }
    stem = "base_model.model.model.layers"
    assert {name: entry.shape for name, entry in entries.items()} == {
        f"{stem}.{layer}.{name}": shape for layer in (0, 1) for name, shape in shapes.items()
    }
    tensor = map_tensor(file, entries[f"{stem}.1.self_attn.v_proj.lora_B.weight"])
    factors = adapters.factors["layer_1_attention"]["value"]
    np.testing.assert_array_equal(tensor, factors["b"].T)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "lora", [LoRAConfig(), LoRAConfig(rank=6, alpha=16.0), LoRAConfig(rank=3, alpha=0.1), SMALL]
)
def test_what_is_read_is_what_was_written(family, lora, tmp_path):
    config = FAMILIES[family]
    adapters = drawn(lora, config)
    save_adapters(tmp_path / "adapters", config, adapters, base_name="base")
    again = load_adapters(tmp_path / "adapters", config)
    same(again, adapters)
    assert read(tmp_path / "adapters" / "adapter_config.json")["lora_alpha"] == lora.alpha
    assert {leaf.dtype for leaf in jax.tree.leaves(again)} == {jnp.dtype("float32")}


# it asks transformers by an older name; what it says of tensors are other warnings
old_names = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")


@old_names
@pytest.mark.parametrize("family", FAMILIES)
def test_peft_computes_what_we_compute(family, tmp_path):
    """Loaded onto the base model in transformers, and merged into it there."""
    torch = pytest.importorskip("torch", reason="transformers runs on it")
    transformers = pytest.importorskip("transformers", reason="holds the base model")
    peft = pytest.importorskip("peft", reason="the reference")
    config = FAMILIES[family]
    params = jax.jit(init, static_argnums=0)(config, jax.random.key(0))
    params |= {"embedding": 20 * params["embedding"]}
    adapters = drawn(LoRAConfig(rank=3, alpha=7.0), config)
    save_pretrained(tmp_path / "base", config, params)
    save_adapters(tmp_path / "lora", config, adapters, base_name=str(tmp_path / "base"))
    base = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "base", attn_implementation="eager"
    )
    assert base.config.model_type == family

    def theirs(model):
        with torch.no_grad():
            return model.eval()(torch.tensor(TOKENS)).logits.numpy()

    plain = theirs(base)
    model = peft.PeftModel.from_pretrained(base, tmp_path / "lora")
    expected = theirs(model)
    assert abs(expected - plain).max() > 0.1
    for put in (attach, merge):
        logits = logits_of(config, put(params, adapters), jnp.asarray(TOKENS, jnp.int32))
        np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=0)
    np.testing.assert_allclose(theirs(model.merge_and_unload()), expected, atol=1e-4, rtol=0)


@old_names
def test_what_peft_writes_is_read(tmp_path):
    """All entries that its config has, and the tensors as it names them."""
    torch = pytest.importorskip("torch", reason="transformers runs on it")
    transformers = pytest.importorskip("transformers", reason="holds the base model")
    peft = pytest.importorskip("peft", reason="the reference")
    config = FAMILIES["llama"]
    params = jax.jit(init, static_argnums=0)(config, jax.random.key(0))
    params |= {"embedding": 20 * params["embedding"]}
    save_pretrained(tmp_path / "base", config, params)
    base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    torch.manual_seed(0)
    how = {"r": 4, "lora_alpha": 6, "target_modules": "all-linear", "init_lora_weights": False}
    model = peft.get_peft_model(base, peft.LoraConfig(task_type="CAUSAL_LM", **how))
    model.save_pretrained(tmp_path / "lora")
    with torch.no_grad():
        expected = model.eval()(torch.tensor(TOKENS)).logits.numpy()
    adapters = load_adapters(tmp_path / "lora", config)
    logits = logits_of(config, attach(params, adapters), jnp.asarray(TOKENS, jnp.int32))
    np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=0)


def without(factors, layer):
    return {name: value for name, value in factors.items() if name != layer}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda factors: without(factors, "layer_1_attention"),
            "the adapters lack layer_1_attention/value/a; PEFT wants the same projections in every",
        ),
        (
            lambda factors: factors | {"layer_2_attention": factors["layer_1_attention"]},
            "the adapters hold layer_2_attention/value/a; PEFT wants the same projections in every",
        ),
        (lambda factors: {}, "the adapters lack factors"),
        (
            lambda factors: (
                factors
                | {"layer_1_feed_forward": {"down": {"a": np.ones((12, 3)), "b": np.ones((3, 8))}}}
            ),
            r"layer_1_feed_forward/down/a has shape \[12, 3\]; .*one rank.* asks for \[12, 2\]",
        ),
    ],
)
def test_adapters_that_peft_can_not_hold_are_refused(config, tmp_path, change, sentence):
    adapters = drawn(SMALL, config)
    adapters = Adapters(change(adapters.factors), adapters.scale)
    with pytest.raises(ValueError, match=sentence):
        save_adapters(tmp_path / "adapters", config, adapters, base_name="base")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_stays_as_it_is(config, saved):
    folder, adapters = saved
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(ValueError, match="adapters is there already; remove it or name another"):
        save_adapters(folder, config, drawn(SMALL, config, seed=5), base_name="other")
    assert before == {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ({"use_dora": True}, "use_dora is True, which is not supported; plain LoRA is"),
        ({"use_rslora": True}, "use_rslora is True, which"),
        ({"rank_pattern": {"q_proj": 4}}, "rank_pattern is {'q_proj': 4}, which"),
        ({"alpha_pattern": {"q_proj": 4}}, "alpha_pattern is"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save is .'lm_head'., which"),
        ({"bias": "all"}, "bias is 'all', which"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out is True, which"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa', which"),
        ({"something_new": 1}, "something_new is 1, which"),
        ({"peft_type": "IA3"}, "the peft_type must be LORA; 'IA3' is not supported"),
        ({"r": "8"}, "r and lora_alpha must be numbers; got '8' and 3"),
        ({"r": 0}, "rank must be 1 or more; got 0"),
        ({"lora_alpha": None}, "r and lora_alpha must be numbers; got 2 and None"),
        ({"lora_alpha": -1}, "alpha must be above 0; got -1.0"),
        ({"r": 3}, r"v_proj.lora_A.weight has shape \[2, 8\]; .* ask for \[3, 8\]"),
    ],
)
def test_a_config_beyond_plain_lora_is_refused(config, saved, entries, sentence):
    folder, _ = saved
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(read(file) | entries))
    with pytest.raises(ValueError, match=sentence) as error:
        load_adapters(folder, config)
    assert str(folder) in str(error.value) and "\n" not in str(error.value)


STEM = "base_model.model.model.layers"


@pytest.mark.parametrize(
    ("shapes", "sentence"),
    [
        ({}, "holds no adapters"),
        ({"base_model.model.lm_head.lora_A.weight": (2, 8)}, "holds the tensor base_model.model.l"),
        (
            {f"{STEM}.0.self_attn.v_proj.lora_A.weight": (2, 8)},
            "lacks the tensor base_model.model.model.layers.0.self_attn.v_proj.lora_B.weight",
        ),
        ({f"{STEM}.9.mlp.up_proj.lora_A.weight": (2, 8)}, "for which the model has no place"),
    ],
)
def test_tensors_of_another_model_are_refused(config, saved, shapes, sentence):
    file = saved[0] / "adapter_model.safetensors"
    write_tensors(file, shapes, np.dtype(np.float32), lambda name: np.zeros(shapes[name]))
    with pytest.raises(ValueError, match=sentence) as error:
        load_adapters(saved[0], config)
    assert str(file) in str(error.value)


def test_a_truncated_or_missing_file_is_named(config, saved, tmp_path):
    file = saved[0] / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match="adapter_model.safetensors is truncated"):
        load_adapters(saved[0], config)
    file.unlink()
    with pytest.raises(ValueError, match="adapter_model.safetensors can't be read"):
        load_adapters(saved[0], config)
    with pytest.raises(ValueError, match="adapter_config.json can't be read"):
        load_adapters(tmp_path / "nowhere", config)


def test_a_decoder_that_no_family_has_is_refused(config, tmp_path):
    odd = dataclasses.replace(config, logit_soft_cap=3.0)
    with pytest.raises(ValueError, match="no family in transformers has such a decoder"):
        save_adapters(tmp_path / "adapters", odd, drawn(SMALL, odd), base_name="base")
    assert list(tmp_path.iterdir()) == []
