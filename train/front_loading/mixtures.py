"""The mixtures of the grid's stages, built by the data engine from the world's sets."""

import dataclasses
import math
import sys
from pathlib import Path

import numpy as np

from data import arithmetic, tokenizer
from data.build import BuiltMixture, open_stream
from data.cache import cached, code_digest, digest
from data.files import Files
from data.inventory import MODEL_FILE
from data.mixture_config import MixtureConfig, Source, Stage, TokenizerConfig
from data.readers import Docstrings, reader_version
from data.spans import TAGS
from data.stream import Stream
from data.tokenizer import train_tokenizer
from jaxreason.mixture import OnCap
from train.front_loading import world
from train.front_loading.config import GridConfig
from train.front_loading.grid import ARMS, Cell
from train.front_loading.world import read_set, write_sets

TOKENIZER_EXAMPLES = 6000  # of the sets; all of the docstrings
ALL_OF_IT = Stage(tokens=10**9, reasoning_token_share=1.0)  # shrunk to the passes allowed


class Mixtures:
    """Builds and opens the data of every cell.

    Args:
        config: The grid.
        cache_dir: Where everything is prepared, the sets and the tokenizer among it.
    """

    def __init__(self, config: GridConfig, cache_dir: Path) -> None:
        self._config, self._cache_dir = config, cache_dir
        key = digest(
            world=config.world,
            vocab_size=config.model.vocab_size,
            base=reader_version(Docstrings(), cache_dir),
            code=code_digest(arithmetic, world, tokenizer, sys.modules[__name__]),
        )
        self._folder = cached(cache_dir, "front_loading_world", key, self._write_world)
        self._model = self._folder / MODEL_FILE

    def pretraining(self, cell: Cell) -> BuiltMixture:
        """Returns the stream of a cell's pretraining; its base stream is that of its seed."""
        arm, part = ARMS[cell.arm], self._config.shq_weight_in_lmq
        weights = {"shq": part, "ldq": 1 - part} if len(arm.sets) > 1 else {}
        reasoning = (
            self._set(
                name,
                weight=weights.get(name, 1.0),
                max_passes=math.inf,
                match_passes=self._config.shq_passes if arm.matched else None,
            )
            for name in arm.sets
        )
        sources = (self._base, *reasoning)
        whole = Stage(self._config.pretrain.tokens, arm.share)
        built = self._open(sources, (whole,), cell.seed)
        if not arm.onset:
            return built
        early = Stage(self._first_tokens(built.stream, arm.onset), 0.0)
        late = Stage(whole.tokens - early.tokens, arm.share / (1 - arm.onset))
        return self._open(sources, (early, late), cell.seed)

    def _first_tokens(self, stream: Stream, part: float) -> int:
        """Returns how many tokens of base text have a part of a stream's loss-bearing ones.

        Prompts bear no loss, so a stage with more of them has fewer loss-bearing tokens.
        """
        rates = np.array([source.loss_tokens / source.num_sequences for source in stream.sources])
        loss_tokens = np.sum(stream.schedule.stages, axis=0) @ rates
        return round(part * loss_tokens / rates[0]) * self._config.sequence_length

    def fine_tuning(self, cell: Cell) -> BuiltMixture:
        """Returns the stream of a cell's fine-tuning."""
        name, shortest = SFT_SETS[cell.sft]
        trace = self._config.alf_trace_tokens if shortest else 0
        if cell.equal_tokens:
            like = self.fine_tuning(Cell(cell.seed, cell.arm, "shq")).stream
            stage = Stage(len(like) * like.sequence_length, 1.0)
            source = self._set(name, min_trace_tokens=trace, max_passes=math.inf)
            return self._open((source,), (stage,), cell.seed)
        samples = self._config.sft.samples
        once = max(1, samples / self._config.world.shq_problems) if name in SMALL else 1
        source = self._set(
            name,
            min_trace_tokens=trace,
            max_documents=samples,
            max_passes=float(cell.times * once),
        )
        return self._open((source,), (ALL_OF_IT,), cell.seed, on_cap="shrink")

    def general(self) -> BuiltMixture:
        """Returns held-out base text, once through."""
        held_out = Docstrings(split="held_out")
        source = dataclasses.replace(self._base, read=held_out, max_passes=1.0)
        stage = dataclasses.replace(ALL_OF_IT, reasoning_token_share=0.0)
        return self._open((source,), (stage,), 0, on_cap="shrink")

    @property
    def _base(self) -> Source:
        return Source("docstrings", Docstrings(), max_passes=math.inf)

    def _set(self, name: str, **settings: object) -> Source:
        return Source(
            name,
            Files(str(self._folder / f"{name}.jsonl")),
            renderer="problem_trace_answer",
            group="reasoning",
            near_duplicates=None,
            **settings,
        )

    def _open(
        self,
        sources: tuple[Source, ...],
        stages: tuple[Stage, ...],
        seed: int,
        on_cap: OnCap = "error",
    ) -> BuiltMixture:
        config = MixtureConfig(
            sources=sources,
            stages=stages,
            sequence_length=self._config.sequence_length,
            block_size=self._config.block_size,
            on_cap=on_cap,
            tokenizer=TokenizerConfig(model=str(self._model)),
            seed=seed,
        )
        return open_stream(config, self._cache_dir)

    def _write_world(self, folder: Path) -> None:
        """Writes the sets, and the tokenizer that is trained on them and the base text."""
        write_sets(self._config.world, folder)
        dataset = Docstrings().dataset(self._cache_dir)
        texts = [row["text"] for row in dataset.rows("train")]
        for row in read_set(folder / "lmq.jsonl")[-TOKENIZER_EXAMPLES:]:
            texts += [row["problem"], row["trace"], row["answer"]]
        model = train_tokenizer(texts, vocab_size=self._config.model.vocab_size, symbols=TAGS)
        (folder / MODEL_FILE).write_bytes(model)


SMALL = ("shq", "disjoint")  # sets that may have fewer examples than are sampled of them
SFT_SETS = {
    "shq": ("shq", False),
    "ldq": ("ldq", False),
    "lmq": ("lmq", False),
    "alf": ("ldq", True),
    "alf_shq": ("lmq", True),
    "disjoint": ("disjoint", False),
}
"""The file of each set of fine-tuning, and whether only its long traces are taken."""
