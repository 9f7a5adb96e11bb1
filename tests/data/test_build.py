"""Building: nothing twice, nothing half written, and whatever is lost is made again or told."""

import dataclasses
import errno
import hashlib
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import data.build
import data.cache
from data.build import open_stream, read_stream
from data.cache import cached
from data.inventory import take_inventory
from data.mixture_config import TokenizerConfig
from data.plan import fitted
from data.stream import FIELDS, Batches, BatchIterator
from jaxreason.mixture import best_fit, concatenate_and_cut

ROOT = Path(__file__).resolve().parents[2]


def files_of(folder):
    """When each file was last written, locks left out."""
    files = (file for file in folder.rglob("*") if file.suffix != ".lock")
    return {str(file.relative_to(folder)): file.stat().st_mtime_ns for file in files}


def folders_of(cache_dir, name):
    return {folder.name for folder in cache_dir.glob(f"{name}-*") if folder.is_dir()}


def test_building_twice_changes_nothing(mixture, tmp_path, monkeypatch):
    first = open_stream(mixture(), tmp_path).stream
    files = files_of(tmp_path)

    def refuse(*_):
        raise AssertionError("this was built before")

    monkeypatch.setattr(data.build, "take_inventory", refuse)
    monkeypatch.setattr(data.cache, "_locked", refuse)  # so that a cache may be read-only
    second = open_stream(mixture(), tmp_path).stream
    assert second.fingerprint == first.fingerprint and files_of(tmp_path) == files


def test_the_same_mixture_has_the_same_fingerprint_anywhere(mixture, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    first = open_stream(mixture(), here).stream
    assert open_stream(mixture(), there).stream.fingerprint == first.fingerprint
    shutil.move(here, tmp_path / "moved")
    assert open_stream(mixture(), tmp_path / "moved").stream.fingerprint == first.fingerprint


def test_mixtures_share_the_sources_that_they_pack_alike(mixture, tmp_path):
    first = open_stream(mixture(), tmp_path).stream
    files = files_of(tmp_path)
    same = mixture(settings={"math": {"weight": 2.0, "max_passes": 9.0}})  # alone in its group
    assert open_stream(same, tmp_path).stream.fingerprint == first.fingerprint
    others = (
        mixture(seed=1),
        mixture(block_size=8, stages=((2560, 0.5),)),
        mixture("text", "math", "logic"),
    )
    fingerprints = {open_stream(other, tmp_path).stream.fingerprint for other in others}
    assert len(fingerprints | {first.fingerprint}) == 4
    after = files_of(tmp_path)
    assert {name: after[name] for name in files} == files
    new = {name.partition("-")[0] for name in after.keys() - files.keys() if "/" not in name}
    assert new == {"stream", "packed", "tokens"}
    assert len(folders_of(tmp_path, "packed-math")) == len(folders_of(tmp_path, "packed-text")) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"sequence_length": 32},
        {"settings": {"math": {"overlong": "drop"}}},
        {"settings": {"math": {"packing": "cut"}}},
        {"settings": {"math": {"max_documents": 60}}},
        {"settings": {"math": {"match_passes": 2.0}}},
        {"settings": {"math": {"corrupted_share": 0.1}}},
    ],
)
def test_what_changes_the_sequences_is_packed_anew(mixture, mixture_cache, change):
    known = open_stream(mixture(), mixture_cache).stream.sources[1].fingerprint
    assert open_stream(mixture(**change), mixture_cache).stream.sources[1].fingerprint != known


def test_the_seed_chooses_documents_and_corruption(mixture, mixture_cache):
    for setting in ({"max_documents": 60}, {"corrupted_share": 0.1}, {"corrupted_share": 1.0}):
        config = mixture(settings={"math": setting})
        other = dataclasses.replace(config, seed=1)
        sources = [open_stream(each, mixture_cache).stream.sources[1] for each in (config, other)]
        assert sources[0].fingerprint != sources[1].fingerprint


def test_another_tokenizer_in_the_same_file_is_noticed(mixture, corpus, tmp_path):
    model = tmp_path / "tokenizer.model"
    shutil.copy(corpus / "tokenizer.model", model)
    trained = mixture(tokenizer=TokenizerConfig(vocab_size=300))
    other = open_stream(trained, tmp_path).tokenizer
    config = mixture(tokenizer=TokenizerConfig(model=str(model)))
    before = open_stream(config, tmp_path)
    model.write_bytes(other.model)
    after = open_stream(config, tmp_path)
    assert after.tokenizer.fingerprint == other.fingerprint != before.tokenizer.fingerprint
    assert after.stream.fingerprint != before.stream.fingerprint
    model.unlink()
    with pytest.raises(ValueError, match=r"tokenizer\.model can't be"):
        open_stream(config, tmp_path)


@pytest.mark.parametrize("packing", ["best_fit", "cut"])
def test_what_is_written_in_parts_is_what_packing_gives(
    mixture, mixture_cache, tmp_path, monkeypatch, packing
):
    config = mixture(settings={"math": {"packing": packing}})
    selection = take_inventory(config, mixture_cache).selections()[1]
    documents = fitted(config.sources[1], selection, 64).documents
    expected = (best_fit if packing == "best_fit" else concatenate_and_cut)(documents, 64)
    monkeypatch.setattr(data.build, "CHUNK_TOKENS", 5 * 64)
    source = open_stream(config, tmp_path).stream.sources[1]
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(source.packed, name), getattr(expected, name))
    assert source.num_tokens == (expected.segment_ids > 0).sum()
    assert source.loss_tokens == expected.loss_mask.sum()
    assert source.packed.tokens.dtype == source.packed.segment_ids.dtype == np.uint16


def test_documents_that_are_dropped_are_not_counted_as_packed(mixture, mixture_cache):
    config = mixture(settings={"math": {"overlong": "drop"}}, sequence_length=32)
    source = open_stream(config, mixture_cache).stream.sources[1]
    lengths = take_inventory(config, mixture_cache).sources[1].documents.lengths
    assert source.num_documents == (lengths <= 32).sum()


KILLED = """
import pickle, sys, time
from pathlib import Path
import data.build

def wait(packed):
    print("packing", flush=True)
    time.sleep(600)

config = pickle.loads(Path(sys.argv[1]).read_bytes())
data.build.fingerprint = wait
data.build.open_stream(config, Path(sys.argv[2]))
"""


def test_a_build_that_is_killed_leaves_nothing_half_written(mixture, tmp_path):
    cache, config = tmp_path / "cache", tmp_path / "config"
    config.write_bytes(pickle.dumps(mixture()))
    command = [sys.executable, "-c", KILLED, str(config), str(cache)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout.readline() == "packing\n"
        process.kill()
    assert folders_of(cache, "tokens-text") and list(cache.glob("packed-text-*.partial/*.npy"))
    whole = [path for path in cache.glob("*") if path.is_dir() and path.suffix != ".partial"]
    assert all(path.name.startswith("tokens-") for path in whole)
    stream = open_stream(mixture(), cache).stream
    assert stream.fingerprint == open_stream(mixture(), tmp_path / "other").stream.fingerprint
    assert not list(cache.glob("packed-*.partial"))


FULL = """
import pickle, sys
from pathlib import Path
from data.build import open_stream

config = pickle.loads(Path(sys.argv[1]).read_bytes())
try:
    open_stream(config, Path(sys.argv[2]))
except ValueError as error:
    print(error)
print(*(path.name for path in Path(sys.argv[2]).iterdir() if path.is_dir()))
"""


def test_a_disk_that_is_full_is_told_and_loses_nothing(mixture, tmp_path):
    config, disk = tmp_path / "config", tmp_path / "disk"
    config.write_bytes(pickle.dumps(mixture()))
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=64k none {disk} && exec {sys.executable} -c '{FULL}' $0 $1"
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, config, disk]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip("no small disk can be made here")
    assert done.returncode == 0, done.stderr
    told, left = done.stdout.splitlines()
    assert told.startswith(f"the disk of {disk} is full, so that ") and told.count(".") <= 2
    assert "stream" not in left and "partial" not in left


@pytest.mark.parametrize("module", ["numpy", "system"])
def test_a_disk_that_fills_up_while_packing(mixture, tmp_path, monkeypatch, module):
    def fill(*_):
        if module == "system":
            raise OSError(errno.ENOSPC, "No space left on device")
        raise OSError("3000000 requested and 2097024 written")  # what `np.save` says

    with monkeypatch.context() as patched:
        patched.setattr(data.build, "_write_header", fill)
        with pytest.raises(ValueError, match="is full, so that packed-text was not prepared"):
            open_stream(mixture(), tmp_path)
    kept = files_of(tmp_path)
    assert {name.partition("-")[0] for name in kept} == {"tokens"}
    open_stream(mixture(), tmp_path)
    assert kept.items() <= files_of(tmp_path).items()


@pytest.mark.parametrize("damage", ["deleted", "cut", "changed", "no info"])
def test_a_packed_source_that_is_damaged_is_packed_again(mixture, tmp_path, damage, caplog):
    before = open_stream(mixture(), tmp_path).stream
    expected = before.rows(range(len(before)))["tokens"]
    (folder,) = tmp_path.glob("packed-math-*[0-9a-f]")
    tokens = folder / "tokens.npy"
    match damage:
        case "deleted":
            shutil.rmtree(folder)
        case "cut":
            tokens.write_bytes(tokens.read_bytes()[:-100])
        case "changed":
            tokens.write_bytes(tokens.read_bytes()[:-100] + bytes(100))
        case "no info":
            (folder / "info.json").unlink()
    (stream,) = tmp_path.glob("stream-*[0-9a-f]")
    with pytest.raises(ValueError, match=r"packed-math-.*, is missing or damaged; build the mix"):
        read_stream(stream, tmp_path)
    after = open_stream(mixture(), tmp_path).stream
    assert after.fingerprint == before.fingerprint
    np.testing.assert_array_equal(after.rows(range(len(after)))["tokens"], expected)
    assert ("is damaged" in caplog.text) == (damage != "deleted")


def test_resuming_at_every_sequence_gives_the_same_stream(mixture, mixture_cache):
    batches = Batches(open_stream(mixture(stages=((2000, 0.4),)), mixture_cache).stream, 1)

    def hashed(iterator):
        tokens = (np.concatenate([*batch.values()], axis=None).tobytes() for batch in iterator)
        return [hashlib.sha256(each).hexdigest() for each in tokens]

    whole = hashed(BatchIterator(batches))
    state = BatchIterator(batches).get_state()
    assert len(whole) == 31 == len(set(whole))
    for index in range(31):
        resumed = BatchIterator(batches)
        resumed.set_state(json.loads(json.dumps(state | {"sequences": index})))
        assert hashed(resumed) == whole[index:]


HUGE = """
import pickle, sys, time
from pathlib import Path
import numpy as np
from data.build import open_stream

def memory(name="VmRSS"):
    return int(Path("/proc/self/status").read_text().split(name + ":")[1].split()[0]) / 1000

config = pickle.loads(Path(sys.argv[1]).read_bytes())
before, start = memory(), time.perf_counter()
stream = open_stream(config, Path(sys.argv[2])).stream
opened = time.perf_counter() - start
rows = stream.rows(np.random.default_rng(0).integers(len(stream), size=64))
assert rows["tokens"].shape == (64, 2048)
seconds = time.perf_counter() - start
print(len(stream), opened, seconds, memory() - before, memory("VmHWM"))
"""


def make_huge(mixture, cache_dir):
    """Fills a cache with what a build of 10^9 tokens would leave, in files that take no room."""
    sizes, length = {"text": 400_000, "math": 90_000}, 2048
    config = mixture(sequence_length=length)
    folders = []
    for name, number in sizes.items():

        def build(folder, number=number):
            for field, dtype in zip(FIELDS, (np.uint16, np.uint16, bool), strict=True):
                with (folder / f"{field}.npy").open("wb") as file:
                    data.build._write_header(file, np.dtype(dtype), (number, length))
                    file.truncate(file.tell() + number * length * np.dtype(dtype).itemsize)
            size = number * length
            info = {"num_documents": number, "num_tokens": size, "loss_tokens": size}
            (folder / "info.json").write_text(json.dumps(info | {"fingerprint": "0" * 32}))

        folders.append(cached(cache_dir, f"packed-{name}", "huge", build).name)
    schedule = {"names": ["text", "math"], "is_reasoning": [False, True], "block_size": 256}
    stages = [[300_000, 0], [100_000, 90_000]]
    schedule |= {"sequences_per_source": [*sizes.values()], "stages": stages, "seed": 0}

    def build_stream(folder):
        manifest = {"schedule": schedule, "folders": folders, "weights": [1.0, 1.0]}
        (folder / data.build.MANIFEST).write_text(json.dumps(manifest))
        shutil.copy(config.tokenizer.model, folder / data.build.MODEL_FILE)

    cached(cache_dir, "stream", data.build._stream_key(config, cache_dir), build_stream)
    return config


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_a_stream_of_a_billion_tokens_opens_in_a_second(mixture, tmp_path):
    config = tmp_path / "config"
    config.write_bytes(pickle.dumps(make_huge(mixture, tmp_path)))
    command = [sys.executable, "-c", HUGE, str(config), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    length, opened, read, grown, peak = map(float, done.stdout.split())
    print(f"opened in {opened:.3f} s, read in {read:.3f} s, {grown:.0f} MB more, {peak:.0f} MB")
    assert length * 2048 > 10**9 and opened < 1 and read < 5 and grown < 100
