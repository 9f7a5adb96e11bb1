"""Loading: every tensor in its place, none too many, in the memory that was promised."""

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data.pretrained.hf_config import model_config
from data.pretrained.load import load_pretrained
from data.pretrained.save import save_pretrained
from data.pretrained.sources import SafetensorsFolder
from jaxreason.model import init


@dataclasses.dataclass
class Held:
    """A source in memory."""

    config: dict
    tensors: dict

    @property
    def shapes(self):
        return {name: array.shape for name, array in self.tensors.items()}

    def read(self, name):
        return self.tensors[name]


@pytest.fixture
def source(folder):
    files = SafetensorsFolder(folder)
    return Held(dict(files.config), {name: np.array(files.read(name)) for name in files.shapes})


QUERY, EMBEDDING = "model.layers.1.self_attn.q_proj.weight", "model.embed_tokens.weight"


def test_parameters_are_those_that_were_saved(source, params, config):
    loaded, tree = load_pretrained(source, dtype="float32")
    assert loaded == dataclasses.replace(config, head_size=4)
    assert jax.tree.structure(tree) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, tree, params)
    np.testing.assert_array_equal(source.tensors[QUERY].T, tree["layer_1_attention"]["query"])


def test_parameters_have_memory_of_their_own(source, params):
    _, tree = load_pretrained(source, dtype="float32")
    for array in source.tensors.values():
        array[...] = 0
    jax.tree.map(np.testing.assert_array_equal, tree, params)


def test_types(source, params):
    config, tree = load_pretrained(source, dtype="bfloat16")
    assert config.dtype == "bfloat16"
    jax.tree.map(
        lambda leaf, full: np.testing.assert_array_equal(leaf, full.astype(jnp.bfloat16)),
        tree,
        params,
    )
    with pytest.raises(ValueError, match="dtype must be one of .*; got 'int8'"):
        load_pretrained(source, dtype="int8")


def test_wrong_tensors_are_named(source):
    tensors = source.tensors
    source.tensors = {name: tensors[name] for name in tensors if name != QUERY}
    with pytest.raises(ValueError, match=rf"lacks the tensor {QUERY}, which its config.json, of"):
        load_pretrained(source, dtype="float32")
    source.tensors = {"norm": tensors["model.norm.weight"]}
    with pytest.raises(ValueError, match=rf"lacks the tensor {EMBEDDING} and 19 more"):
        load_pretrained(source, dtype="float32")
    source.tensors = tensors | {"model.layers.0.self_attn.q_proj.bias": np.zeros(8)}
    with pytest.raises(
        ValueError, match="holds the tensor model.layers.0.self_attn.q_proj.bias, f"
    ):
        load_pretrained(source, dtype="float32")
    source.tensors = tensors | {QUERY: np.zeros((8, 7))}
    with pytest.raises(ValueError, match=rf"{QUERY} has shape \[8, 7\]; .* asks for \[8, 8\]"):
        load_pretrained(source, dtype="float32")
    source.tensors = tensors
    source.config["num_hidden_layers"] = 1
    with pytest.raises(ValueError, match=r"holds the tensor model\.layers\.1\..* and 8 more"):
        load_pretrained(source, dtype="float32")


def test_nothing_is_read_before_all_is_checked(source):
    del source.tensors["model.norm.weight"]
    source.read = lambda name: pytest.fail(f"{name} was read")
    with pytest.raises(ValueError, match=r"lacks the tensor model\.norm\.weight"):
        load_pretrained(source, dtype="float32")


def test_what_transformers_computes_may_be_there(source, params):
    source.tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(2)
    source.tensors["lm_head.weight"] = source.tensors[EMBEDDING].copy()
    _, tree = load_pretrained(source, dtype="float32")
    jax.tree.map(np.testing.assert_array_equal, tree, params)
    source.tensors["lm_head.weight"][0, 0] += 1
    with pytest.raises(
        ValueError, match=f"ties the embeddings, but lm_head.weight differs from {EMBEDDING}"
    ):
        load_pretrained(source, dtype="float32")


def test_shardings(folder, run_with_devices):
    """Each parameter on the devices that it was meant for, with the values of one device."""
    printed = run_with_devices(
        f"""
        import jax, numpy as np
        from data.pretrained.hf_config import model_config
        from data.pretrained.load import load_pretrained
        from data.pretrained.sources import SafetensorsFolder
        from jaxreason.sharding import make_mesh, parameter_shardings

        source = SafetensorsFolder({str(folder)!r})
        shardings = parameter_shardings(model_config(source.config), make_mesh(fsdp=2))
        _, params = load_pretrained(source, dtype="float32", shardings=shardings)
        _, alone = load_pretrained(source, dtype="float32")
        jax.tree.map(np.testing.assert_array_equal, params, alone)
        assert jax.tree.all(jax.tree.map(lambda leaf, s: leaf.sharding == s, params, shardings))
        print(sorted(shard.data.shape for shard in params["embedding"].addressable_shards))
        """,
        2,
    )
    assert printed.strip() == "[(11, 4), (11, 4)]"


MEMORY = """
import re, sys
import jax, numpy as np
from data.pretrained.load import load_pretrained
from data.pretrained.sources import SafetensorsFolder

def status(name):
    return 1024 * int(re.search(name + r":\\s+(\\d+)", open("/proc/self/status").read())[1])

class InOnePiece(SafetensorsFolder):
    def __init__(self, path):
        super().__init__(path)
        self.tensors = {name: np.array(super(InOnePiece, self).read(name)) for name in self.shapes}
    def read(self, name):
        return self.tensors[name]

load_pretrained(SafetensorsFolder(SMALL), dtype="float32")  # what jax takes to start
open("/proc/self/clear_refs", "w").write("5")  # the peak from here on
before = status("VmRSS")
config, params = load_pretrained(KIND(LARGE), dtype="float32")
sizes = [leaf.nbytes for leaf in jax.tree.leaves(params)]
print(sum(sizes), max(sizes), status("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
def test_peak_of_memory(folder, tmp_path, run_with_devices):
    """At most 1.2 times the parameters and the largest tensor; another loader takes twice as much.

    The model has 103 MB of parameters, of which the embedding is a third.
    """
    config = dataclasses.replace(
        model_config(SafetensorsFolder(folder).config),
        vocab_size=17_000,
        dim=512,
        hidden_dim=1536,
        num_layers=5,
        head_size=64,
        num_heads=8,
        num_kv_heads=8,
    )
    zeros = jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, np.float32),
        jax.eval_shape(lambda: init(config, jax.random.key(0))),
    )
    save_pretrained(tmp_path / "large", config, zeros)
    peaks = {}
    for kind in ("SafetensorsFolder", "InOnePiece"):
        code = f"SMALL, LARGE = {str(folder)!r}, {str(tmp_path / 'large')!r}\n"
        printed = run_with_devices(code + MEMORY.replace("KIND", kind), 1)
        total, largest, peaks[kind] = map(int, printed.split())
    assert total > 100e6 and 0.25 < largest / total < 0.4
    assert total <= peaks["SafetensorsFolder"] <= 1.2 * total + largest
    assert peaks["InOnePiece"] > 1.2 * total + largest
