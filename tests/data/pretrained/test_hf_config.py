"""config.json and `ModelConfig`: published models, refusals, and decoders that no family has."""

import pytest

from data.pretrained.hf_config import config_entries, model_config
from jaxreason.model import ModelConfig, RopeScaling, num_parameters

LLAMA3 = {
    "factor": 32.0,
    "high_freq_factor": 4.0,
    "low_freq_factor": 1.0,
    "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}
# As on the hub, entries that don't matter left out, and the number of parameters stated there.
PUBLISHED = {
    "Llama 2 7B": (
        6_738_415_616,
        {
            "model_type": "llama",
            "hidden_act": "silu",
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_attention_heads": 32,
            "num_hidden_layers": 32,
            "num_key_value_heads": 32,
            "rms_norm_eps": 1e-05,
            "rope_scaling": None,
            "tie_word_embeddings": False,
            "vocab_size": 32000,
        },
    ),
    "Llama 3.2 1B": (
        1_235_814_400,
        {
            "model_type": "llama",
            "head_dim": 64,
            "hidden_act": "silu",
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "max_position_embeddings": 131072,
            "mlp_bias": False,
            "num_attention_heads": 32,
            "num_hidden_layers": 16,
            "num_key_value_heads": 8,
            "pretraining_tp": 1,
            "rms_norm_eps": 1e-05,
            "rope_scaling": LLAMA3,
            "rope_theta": 500000.0,
            "tie_word_embeddings": True,
            "vocab_size": 128256,
        },
    ),
    "SmolLM2 135M": (
        134_515_008,
        {
            "model_type": "llama",
            "attention_bias": False,
            "hidden_act": "silu",
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_attention_heads": 9,
            "num_hidden_layers": 30,
            "num_key_value_heads": 3,
            "rms_norm_eps": 1e-05,
            "rope_interleaved": False,
            "rope_theta": 100000,
            "tie_word_embeddings": True,
            "vocab_size": 49152,
        },
    ),
    "Qwen2.5 0.5B": (
        494_032_768,
        {
            "model_type": "qwen2",
            "hidden_act": "silu",
            "hidden_size": 896,
            "intermediate_size": 4864,
            "max_window_layers": 24,
            "num_attention_heads": 14,
            "num_hidden_layers": 24,
            "num_key_value_heads": 2,
            "rms_norm_eps": 1e-06,
            "rope_theta": 1000000.0,
            "sliding_window": 32768,
            "tie_word_embeddings": True,
            "use_sliding_window": False,
            "vocab_size": 151936,
        },
    ),
    "Qwen3 0.6B": (
        596_049_920,
        {
            "model_type": "qwen3",
            "attention_bias": False,
            "head_dim": 128,
            "hidden_act": "silu",
            "hidden_size": 1024,
            "intermediate_size": 3072,
            "max_window_layers": 28,
            "num_attention_heads": 16,
            "num_hidden_layers": 28,
            "num_key_value_heads": 8,
            "rms_norm_eps": 1e-06,
            "rope_scaling": None,
            "rope_theta": 1000000,
            "sliding_window": None,
            "tie_word_embeddings": True,
            "use_sliding_window": False,
            "vocab_size": 151936,
        },
    ),
    "Gemma 2 2B": (
        2_614_341_888,
        {
            "model_type": "gemma2",
            "attention_bias": False,
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
            "head_dim": 256,
            "hidden_act": "gelu_pytorch_tanh",
            "hidden_activation": "gelu_pytorch_tanh",
            "hidden_size": 2304,
            "intermediate_size": 9216,
            "num_attention_heads": 8,
            "num_hidden_layers": 26,
            "num_key_value_heads": 4,
            "query_pre_attn_scalar": 256,
            "rms_norm_eps": 1e-06,
            "rope_theta": 10000.0,
            "sliding_window": 4096,
            "vocab_size": 256000,
        },
    ),
    "Gemma 3 1B": (
        999_885_952,
        {
            "model_type": "gemma3_text",
            "attention_bias": False,
            "attn_logit_softcapping": None,
            "final_logit_softcapping": None,
            "head_dim": 256,
            "hidden_activation": "gelu_pytorch_tanh",
            "hidden_size": 1152,
            "intermediate_size": 6912,
            "num_attention_heads": 4,
            "num_hidden_layers": 26,
            "num_key_value_heads": 1,
            "query_pre_attn_scalar": 256,
            "rms_norm_eps": 1e-06,
            "rope_local_base_freq": 10000,
            "rope_scaling": None,
            "rope_theta": 1000000,
            "sliding_window": 512,
            "sliding_window_pattern": 6,
            "vocab_size": 262144,
        },
    ),
}
SMALL = {
    "vocab_size": 53,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


@pytest.mark.parametrize("count, entries", PUBLISHED.values(), ids=PUBLISHED)
def test_published_models_have_their_number_of_parameters(count, entries):
    config = model_config(entries)
    assert num_parameters(config) == count
    assert model_config(config_entries(config)).num_layers == config.num_layers
    assert config_entries(config)["model_type"] == entries["model_type"]


def test_settings_of_published_models():
    llama, gemma2, gemma3 = (
        model_config(PUBLISHED[name][1]) for name in ("Llama 3.2 1B", "Gemma 2 2B", "Gemma 3 1B")
    )
    assert llama.rope_scaling == RopeScaling("llama3", 32.0, 1.0, 4.0, 8192)
    assert (llama.rope_theta, llama.norm_epsilon, llama.window) == (5e5, 1e-5, None)
    assert (gemma2.window, gemma2.window_pattern) == (4096, (True, False))
    assert (gemma2.attention_soft_cap, gemma2.logit_soft_cap) == (50.0, 30.0)
    assert gemma2.tie_embeddings  # which their config.json leaves out
    assert [layer for layer in range(26) if not gemma3.has_window(layer)] == [5, 11, 17, 23]
    assert (gemma3.rope_theta, gemma3.local_rope_theta, gemma3.window) == (1e6, 1e4, 512)
    assert gemma3.qk_norm and gemma3.attention_soft_cap is None


@pytest.mark.parametrize("scaling", [None, LLAMA3, {"type": "linear", "factor": 2.0}])
@pytest.mark.parametrize("theta", [10_000.0, 500.0])
def test_rope_entries_old_and_new(scaling, theta):
    old = SMALL | {"model_type": "llama", "rope_theta": theta, "rope_scaling": scaling}
    new = SMALL | {
        "model_type": "llama",
        "rope_parameters": {"rope_theta": theta, **(scaling or {})},
    }
    assert model_config(old) == model_config(new)
    assert model_config(old).rope_theta == theta


def test_rope_entries_of_gemma_3_old_and_new():
    kind = {"model_type": "gemma3_text"}
    linear = {"rope_type": "linear", "factor": 8.0}
    old = {"rope_theta": 1e6, "rope_local_base_freq": 100.0, "rope_scaling": linear}
    new = {
        "full_attention": linear | {"rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
    }
    config = model_config(SMALL | kind | old)
    assert config == model_config(SMALL | kind | {"rope_parameters": new})
    assert config.local_rope_theta == 100.0 and config.rope_scaling.factor == 8.0


def test_window_layers_of_qwen():
    entries = SMALL | {"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 8}
    assert model_config(entries).window is None  # all of them come before layer 28
    assert model_config(entries | {"max_window_layers": 0}).window_pattern == (True,)
    assert model_config(entries | {"max_window_layers": 2}).window_pattern == (False, False, True)
    listed = {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
    assert model_config(entries | listed).window_pattern == (True, False)
    assert model_config(entries | listed | {"use_sliding_window": False}).window is None


@pytest.mark.parametrize(
    "entries, sentence",
    [
        (
            {"model_type": "mamba"},
            "the model_type must be one of llama, .*; config.json has 'mamba'",
        ),
        ({"model_type": None}, "the model_type must be one of llama, .*; config.json has 'None'"),
        ({"hidden_size": "large"}, "hidden_size must be of type int .*; got 'large'"),
        ({"rms_norm_eps": None}, "rms_norm_eps must be of type float .*; got None"),
        ({"num_hidden_layers": 0}, "num_layers must be 1 or more; got 0"),
        ({"hidden_act": "relu"}, "the activation must be silu or gelu_pytorch_tanh; .* 'relu'"),
        ({"attention_bias": True}, "attention_bias must be False in config.json"),
        ({"mlp_bias": True}, "mlp_bias must be False in config.json"),
        ({"quantization_config": {"bits": 4}}, "quantised weights can't be read"),
        (
            {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
            "the RoPE scaling must be default, linear or llama3; config.json has 'yarn'",
        ),
        ({"rope_parameters": {"rope_type": "longrope"}}, "config.json has 'longrope'"),
        ({"rope_scaling": {"type": "linear"}}, "factor must be a number in config.json; got None"),
        ({"rope_scaling": LLAMA3 | {"low_freq_factor": "1"}}, "low_freq_factor must be a number"),
        ({"partial_rotary_factor": 0.5}, "a partial_rotary_factor is not supported"),
        ({"rope_theta": True}, "rope_theta must be a number in config.json; got True"),
        (
            {"model_type": "qwen3", "use_sliding_window": True, "layer_types": ["full_attention"]},
            "layer_types must name each of 3 layers",
        ),
        (
            {"model_type": "qwen3", "layer_types": ["linear_attention"] * 3},
            "layer_types must name each of 3 layers sliding_attention or full_attention",
        ),
        (
            {"model_type": "gemma3_text", "attn_logit_softcapping": 50.0},
            "attn_logit_softcapping must be None",
        ),
        (
            {
                "model_type": "gemma3_text",
                "rope_parameters": {"sliding_attention": {"rope_type": "linear", "factor": 2.0}},
            },
            "RoPE scaling of layers with a sliding window",
        ),
        ({"model_type": "gemma2", "sliding_window": 4.5}, "sliding_window must be of type int"),
    ],
)
def test_what_is_not_supported_is_refused(entries, sentence):
    with pytest.raises(ValueError, match=sentence):
        model_config({"model_type": "llama"} | SMALL | entries)


@pytest.mark.parametrize("name", sorted(SMALL.keys() - {"num_key_value_heads"}))
def test_a_missing_entry_is_named(name):
    entries = {"model_type": "llama", **SMALL}
    del entries[name]
    with pytest.raises(ValueError, match=f"config.json lacks {name}"):
        model_config(entries)


def test_our_own_models_are_llamas():
    config = ModelConfig()
    assert config_entries(config)["model_type"] == "llama"
    again = model_config(config_entries(config))
    assert again == ModelConfig(head_size=32, query_scalar=None)


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"window": 8}, "the nearest, qwen2, has other values of qkv_bias"),
        ({"qkv_bias": True, "qk_norm": True}, "the nearest, qwen., has other values of q"),
        ({"logit_soft_cap": 30.0}, "the nearest, llama, has other values of logit_soft_cap"),
        ({"query_scalar": 9}, "the nearest, llama, has other values of query_scalar"),
        ({"qk_norm": True, "query_scalar": 9}, "the nearest, qwen3, has other values of query_sc"),
    ],
)
def test_decoders_that_no_family_has_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=f"no family in transformers .*; {sentence}"):
        config_entries(ModelConfig(**settings))


@pytest.mark.parametrize(
    "settings",
    [
        {"window_pattern": (False,), "window": 8},
        {"query_scalar": 32, "head_size": 32},
        {"local_rope_theta": 5.0},
        {"rope_scaling": RopeScaling(kind="none", factor=3.0)},
    ],
)
def test_settings_without_effect_are_in_nobody_s_way(settings):
    assert config_entries(ModelConfig(**settings)) == config_entries(ModelConfig())
