"""Between a Hugging Face config.json and `ModelConfig`."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

from data.pretrained.families import ACTIVATIONS, FAMILIES, Family
from jaxreason.model import ModelConfig, RopeScaling

SLIDING, FULL = "sliding_attention", "full_attention"


def family_of(entries: Mapping[str, Any]) -> Family:
    """Returns the family of a config.json.

    Raises:
        ValueError: If it is none that is supported.
    """
    kind, known = str(entries.get("model_type")), ", ".join(FAMILIES)
    if kind not in FAMILIES:
        raise ValueError(f"the model_type must be one of {known}; config.json has {kind!r}.")
    return FAMILIES[kind]


def model_config(entries: Mapping[str, Any]) -> ModelConfig:
    """Returns the decoder that a config.json describes.

    Args:
        entries: What config.json holds. Entries that don't concern the decoder's shape, and those
            that transformers ignores, are ignored.

    Returns:
        The config, with float32 activations.

    Raises:
        ValueError: If an entry is missing, is of the wrong type, or asks for what is not supported.
    """
    family = family_of(entries)
    given = {**family.defaults, **entries}
    if given.get("quantization_config"):
        raise ValueError("config.json has a quantization_config; quantised weights can't be read.")
    for name, value in family.required.items():
        if (given.get(name) or value) != value:
            raise ValueError(
                f"{name} must be {value} in config.json; {given[name]!r} is not known."
            )
    settings = {ours: _setting(given, name, ours) for name, ours in family.settings.items()}
    settings["num_kv_heads"] = settings["num_kv_heads"] or settings["num_heads"]
    return ModelConfig(
        **family.traits,
        **settings,
        **_rope(given, family),
        **_windows(given, family),
        activation=_activation(given),
    )


def _setting(given: Mapping[str, Any], name: str, setting: str) -> Any:
    if name not in given:
        raise ValueError(f"config.json lacks {name}.")
    value, hint = given[name], typing.get_type_hints(ModelConfig)[setting]
    if name == "num_key_value_heads":
        hint = int | None
    if type(value) is int and isinstance(0.0, hint):
        value = float(value)
    if not isinstance(value, hint):
        wanted = getattr(hint, "__name__", hint)
        raise ValueError(f"{name} must be of type {wanted} in config.json; got {value!r}.")
    return value


def _activation(given: Mapping[str, Any]) -> str:
    name = given.get("hidden_activation") or given["hidden_act"]
    for ours, theirs in ACTIVATIONS.items():
        if name == theirs:
            return ours
    known = " or ".join(ACTIVATIONS.values())
    raise ValueError(f"the activation must be {known}; config.json has {name!r}.")


def _rope(given: Mapping[str, Any], family: Family) -> dict[str, Any]:
    """Returns the settings of rotary positions, from entries old and new.

    Up to version 4 of transformers they stand side by side (`rope_theta`, `rope_scaling`,
    `rope_local_base_freq`), later in `rope_parameters`, for each type of layer if those differ.
    """
    held = given.get("rope_parameters") or {}
    nested = SLIDING in held or FULL in held
    everywhere = (held.get(FULL) or {}) if nested else held
    everywhere = {
        "rope_theta": given["rope_theta"],
        "original_max_position_embeddings": given.get("max_position_embeddings"),
        "partial_rotary_factor": given.get("partial_rotary_factor"),
        **everywhere,
        **(given.get("rope_scaling") or {}),
    }
    rope = {
        "rope_theta": _number(everywhere, "rope_theta"),
        "rope_scaling": _rope_scaling(everywhere),
    }
    if "rope_local_base_freq" not in family.defaults:
        return rope
    near = {"rope_theta": given["rope_local_base_freq"], **((nested and held.get(SLIDING)) or {})}
    if _rope_scaling(near).kind != "none":
        raise ValueError("RoPE scaling of layers with a sliding window is not supported.")
    return rope | {"local_rope_theta": _number(near, "rope_theta")}


def _rope_scaling(held: Mapping[str, Any]) -> RopeScaling:
    kind = held.get("rope_type", held.get("type", "default"))
    if kind not in ("default", "linear", "llama3"):
        raise ValueError(
            f"the RoPE scaling must be default, linear or llama3; config.json has {kind!r}."
        )
    if held.get("partial_rotary_factor") not in (None, 1, 1.0):
        raise ValueError("a partial_rotary_factor is not supported; config.json has one.")
    if kind == "default":
        return RopeScaling()
    if kind == "linear":
        return RopeScaling(kind="linear", factor=_number(held, "factor"))
    return RopeScaling(
        kind="llama3",
        factor=_number(held, "factor"),
        low_frequency_factor=_number(held, "low_freq_factor"),
        high_frequency_factor=_number(held, "high_freq_factor"),
        original_length=int(_number(held, "original_max_position_embeddings")),
    )


def _number(held: Mapping[str, Any], name: str) -> float:
    value = held.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} must be a number in config.json; got {value!r}.")
    return float(value)


def _windows(given: Mapping[str, Any], family: Family) -> dict[str, Any]:
    """Returns the settings of sliding windows, none if no layer has one."""
    if "sliding_window" not in family.defaults:
        return {}
    window = given["sliding_window"] if given.get("use_sliding_window", True) else None
    num_layers = given["num_hidden_layers"]
    kinds = given.get("layer_types") or _layer_types(given, num_layers)
    if len(kinds) != num_layers or not set(kinds) <= {SLIDING, FULL}:
        raise ValueError(
            f"layer_types must name each of {num_layers} layers {SLIDING} or {FULL}; got {kinds}."
        )
    if window is None or SLIDING not in kinds:
        return {}
    if type(window) is not int:
        raise ValueError(f"sliding_window must be of type int in config.json; got {window!r}.")
    return {"window": window, "window_pattern": _period([kind == SLIDING for kind in kinds])}


def _layer_types(given: Mapping[str, Any], num_layers: int) -> list[str]:
    """Returns what transformers takes for layer types where config.json has none."""
    layers = range(num_layers)
    if every := given.get("sliding_window_pattern"):
        return [SLIDING if (layer + 1) % every else FULL for layer in layers]
    return [SLIDING if layer >= given["max_window_layers"] else FULL for layer in layers]


def _period(values: list[bool]) -> tuple[bool, ...]:
    """Returns the shortest sequence that, repeated, gives the values."""
    lengths = range(1, len(values) + 1)
    repeats = lambda n: all(value == values[i % n] for i, value in enumerate(values))  # noqa: E731
    return tuple(values[: next(n for n in lengths if repeats(n))])


def config_entries(config: ModelConfig) -> dict[str, Any]:
    """Returns the config.json that describes a decoder, in the family that has such ones.

    Args:
        config: The decoder's shape; its `dtype` doesn't matter.

    Returns:
        Entries that `model_config` turns into the same decoder, and transformers, too.

    Raises:
        ValueError: If no family has such a decoder.
    """
    differences = {}
    for family in FAMILIES.values():
        entries = _entries(family, config)
        differing = _differences(model_config(entries), config)
        if not differing:
            return entries
        differences[family.model_type] = differing
    nearest = min(differences, key=lambda name: len(differences[name]))
    raise ValueError(
        "no family in transformers has such a decoder; the nearest,"
        f" {nearest}, has other values of {', '.join(differences[nearest])}."
    )


def _entries(family: Family, config: ModelConfig) -> dict[str, Any]:
    """Returns what a family's config.json can say of a decoder."""
    plain = _canonical(config)
    defaults, settings = family.defaults, family.settings
    entries = {
        "model_type": family.model_type,
        "architectures": [family.architecture],
        **family.required,
        **{name: getattr(plain, setting) for name, setting in settings.items()},
        "rope_theta": config.rope_theta,
        "rope_scaling": _scaling_entries(config.rope_scaling),
    }
    name = "hidden_activation" if "hidden_activation" in defaults else "hidden_act"
    entries[name] = ACTIVATIONS[config.activation]
    if "rope_local_base_freq" in defaults:
        entries["rope_local_base_freq"] = config.local_rope_theta or config.rope_theta
    if "sliding_window" in defaults:
        # Where no layer has a window, transformers wants the width of one all the same.
        entries["sliding_window"] = plain.window or defaults["sliding_window"]
        entries["layer_types"] = [SLIDING if has else FULL for has in _window_layers(config)]
    if "use_sliding_window" in defaults:
        entries["use_sliding_window"] = plain.window is not None
        entries["max_window_layers"] = config.num_layers
    return entries


def _scaling_entries(scaling: RopeScaling) -> dict[str, Any] | None:
    if scaling.kind == "none":
        return None
    entries = {"rope_type": scaling.kind, "factor": scaling.factor}
    if scaling.kind == "linear":
        return entries
    return entries | {
        "low_freq_factor": scaling.low_frequency_factor,
        "high_freq_factor": scaling.high_frequency_factor,
        "original_max_position_embeddings": scaling.original_length,
    }


def _differences(one: ModelConfig, other: ModelConfig) -> list[str]:
    """Returns the settings in which two decoders differ that are not the same."""
    pair = [dataclasses.asdict(_canonical(config)) for config in (one, other)]
    return [name for name in pair[0] if pair[0][name] != pair[1][name]]


def _canonical(config: ModelConfig) -> ModelConfig:
    """Returns the same decoder, said in one way: defaults filled in, no idle settings."""
    layers = _window_layers(config)
    scaling = config.rope_scaling
    if scaling.kind != "llama3":
        plain = RopeScaling(kind=scaling.kind)
        scaling = (
            plain if scaling.kind == "none" else dataclasses.replace(plain, factor=scaling.factor)
        )
    local = config.local_rope_theta
    if local is None and scaling.kind == "none":
        local = config.rope_theta
    return dataclasses.replace(
        config,
        head_size=config.head_dim,
        query_scalar=config.query_scalar or config.head_dim,
        window=config.window if any(layers) else None,
        window_pattern=layers,
        rope_scaling=scaling,
        local_rope_theta=local if any(layers) else None,
        dtype="float32",
    )


def _window_layers(config: ModelConfig) -> tuple[bool, ...]:
    return tuple(config.has_window(layer) for layer in range(config.num_layers))
