import pytest

from jaxreason.model import ModelConfig, RopeScaling


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"num_heads": 3}, "num_heads must divide dim; got 3 heads for a width of 128"),
        ({"num_kv_heads": 3}, "num_kv_heads must divide num_heads; got 3 for 4"),
        ({"dim": 12, "num_heads": 4}, "must be even for rotary positions; got 3"),
        ({"dtype": "int8"}, "dtype must be one of .*; got 'int8'"),
        ({"num_layers": 0}, "num_layers must be 1 or more; got 0"),
        ({"vocab_size": 0}, "vocab_size must be 1 or more; got 0"),
        ({"num_kv_heads": 0}, "num_kv_heads must be 1 or more; got 0"),
        ({"hidden_dim": -1}, "hidden_dim must be 1 or more; got -1"),
        ({"head_size": 7}, "must be even for rotary positions; got 7"),
        ({"head_size": 0}, "head_size must be 1 or more; got 0"),
        ({"query_scalar": 0}, "query_scalar must be 1 or more; got 0"),
        ({"window": 0}, "window must be 1 or more; got 0"),
        ({"window_pattern": ()}, "window_pattern must name at least one layer"),
        ({"attention_soft_cap": 0.0}, "attention_soft_cap must be above 0; got 0.0"),
        ({"logit_soft_cap": -1.0}, "logit_soft_cap must be above 0; got -1.0"),
        ({"rope_theta": 0.0}, "rope_theta must be above 0; got 0.0"),
        ({"local_rope_theta": 0.0}, "local_rope_theta must be above 0; got 0.0"),
        ({"activation": "gelu"}, "activation must be one of .*; got 'gelu'"),
    ],
)
def test_bad_configs_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        ModelConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"kind": "yarn"}, "kind must be one of .*; got 'yarn'"),
        ({"factor": 0.0}, "factor must be above 0; got 0.0"),
        ({"low_frequency_factor": 4.0}, "below high_frequency_factor; got 4.0 and 4.0"),
        ({"original_length": 0}, "original_length must be 1 or more; got 0"),
    ],
)
def test_bad_scalings_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        RopeScaling(**settings)


def test_windows_repeat_over_the_layers():
    five_to_one = (True,) * 5 + (False,)
    gemma3 = ModelConfig(window=512, window_pattern=five_to_one)
    assert [gemma3.has_window(layer) for layer in range(12)] == [*five_to_one, *five_to_one]
    assert not ModelConfig().has_window(0)


def test_head_dim():
    assert ModelConfig(dim=96, num_heads=6, num_kv_heads=3).head_dim == 16
    assert ModelConfig(dim=96, num_heads=6, num_kv_heads=3, head_size=64).head_dim == 64
