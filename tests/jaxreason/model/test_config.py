import pytest

from jaxreason.model import ModelConfig


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
    ],
)
def test_bad_configs_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        ModelConfig(**settings)


def test_head_dim():
    assert ModelConfig(dim=96, num_heads=6, num_kv_heads=3).head_dim == 16
