"""A tiny pretrained model with a tokenizer, written as on the hub."""

import jax
import pytest

from data.pretrained.save import save_pretrained
from jaxreason.model import ModelConfig, init

CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer_spec():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=280,
        special_tokens=["<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["Solve this step by step. End with the number."] * 9, trainer)
    return tokenizer


@pytest.fixture(scope="session")
def write_tiny_model():
    """Writes it into a new folder; the scale of the embedding sharpens what it says."""
    pytest.importorskip("tokenizers", reason="pretrained models need `.[models]`")
    spec = tokenizer_spec()
    config = ModelConfig(
        vocab_size=spec.get_vocab_size(),
        dim=16,
        num_layers=1,
        num_heads=2,
        num_kv_heads=1,
        hidden_dim=16,
    )
    files = {
        "tokenizer.json": spec.to_str().encode(),
        "chat_template.jinja": CHAT.encode(),
        "tokenizer_config.json": b'{"eos_token": "<|im_end|>"}',
    }

    def write(path, scale):
        params = init(config, jax.random.key(0))
        params["embedding"] = scale * params["embedding"]
        save_pretrained(path, config, params, files=files)
        return path

    return write


@pytest.fixture(scope="session")
def tiny_model(write_tiny_model, tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny", 20)
