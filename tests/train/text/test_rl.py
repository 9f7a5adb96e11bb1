"""The game on text, with a tiny model and a tiny tokenizer that are written here."""

import dataclasses
import re
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("tokenizers", reason="pretrained models need `.[models]`")
pytest.importorskip("jinja2", reason="chat templates need `.[models]`")

from data.pretrained.models import open_tokenizer
from data.questions import Question, QuestionSet
from data.verdicts import Outcome, summarized
from data.verifiers import NumberVerifier
from jaxreason.model import LoRAConfig, ModelConfig, init, init_adapters
from jaxreason.rlad import GameConfig, init_game, iterate, play
from jaxreason.rollout import Sampling
from jaxreason.sequences import Sequence
from train import memory
from train.checkpoints import Checkpoints
from train.config import LoopConfig
from train.errors import RefusedError
from train.host_round import HostRound
from train.loop import Run
from train.metrics import MetricsLog, read_metrics
from train.run_folder import read_json
from train.text import pair, rl
from train.text.config import TextConfig, TextEvaluationConfig, TextSFTConfig
from train.text.pretrained import open_pretrained
from train.text.prompts import BARE, HINTED, PLACE, PROPOSE, task_of, tokenise
from train.text.referee import Referee, gives_away
from train.text.rl_config import TextRLConfig
from train.text.votes import vote_of

INSTRUCTION = "Give the number."
QUESTIONS = (
    Question("What is 2 times 9?", "18", "18"),
    Question("Write {hint} and <|im_end|>: 1 + 1?", "2", "2"),
    Question("How many are seven dogs?", "7", "7"),
)
GAME = GameConfig(problems=2, abstractions=2, solutions=2, bare=1, leak_rule="drop", kl_coef=0.1)
SETTINGS = TextRLConfig(
    steps=3,
    game=GAME,
    lora=LoRAConfig(rank=2),
    abstraction_length=6,
    solution_length=8,
    workers=1,
    samples_every=2,
)


@pytest.fixture(scope="module")
def folder(write_tiny_model, tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("models") / "flat", 1)


@pytest.fixture(scope="module")
def tokenizer(folder):
    return open_tokenizer(folder)


@pytest.fixture(scope="module")
def tokenised(tokenizer):
    return tokenise(tokenizer, QUESTIONS, INSTRUCTION, max_prompt_length=500)


@pytest.fixture(scope="module")
def task(tokenizer, tokenised):
    return task_of(tokenizer, tokenised, abstraction_length=6, solution_length=8)


@pytest.fixture(scope="module")
def model(tokenizer):
    return ModelConfig(
        vocab_size=tokenizer.vocab_size,
        dim=16,
        num_layers=1,
        num_heads=2,
        num_kv_heads=1,
        hidden_dim=16,
    )


@pytest.fixture(scope="module")
def base(model):
    return init(model, jax.random.key(0))


class Letters:
    """Judges like a pool: right is a solution with a small letter; some it fails on."""

    def __init__(self, failing=()):
        self.failing = failing

    def score(self, answers, references):
        assert len(answers) == len(references)
        return summarized(
            [
                Outcome(None, "it broke")
                if number in self.failing
                else Outcome(float(bool(re.search("[a-z]", text))))
                for number, text in enumerate(answers)
            ]
        )


def chat(tokenizer, text):
    messages = [{"role": "user", "content": text}]
    return tokenizer.encode_chat(messages, add_generation_prompt=True)


def words(sequence):
    return np.asarray(sequence.tokens)[np.asarray(sequence.mask)].tolist()


@pytest.mark.parametrize("row", range(len(QUESTIONS)))
def test_prompts_are_what_the_chat_template_gives(tokenizer, tokenised, task, row):
    problem = jax.tree.map(lambda leaf: leaf[row], tokenised.problems)
    told = {"problem": QUESTIONS[row].problem, "instruction": INSTRUCTION}
    hint = "Two of them."
    ids = [*tokenizer.encode(hint), tokenizer.symbol_ids(["<|im_start|>"])[0], tokenizer.eos_id]
    written = Sequence(jnp.array(ids), jnp.ones(len(ids), bool))
    prompt = partial(task.solution_prompt, problem, written)
    assert words(task.abstraction_prompt(problem)) == chat(tokenizer, PROPOSE.format(**told))
    hinted = chat(tokenizer, HINTED.format(hint=hint, **told))
    assert words(prompt(jnp.array(False))) == hinted
    assert words(prompt(jnp.array(True))) == chat(tokenizer, BARE.format(**told))
    assert hinted.count(tokenizer.eos_id) == 1  # the problem's own mark is spelled out


def test_a_problem_may_hold_what_stands_for_the_hint(tokenizer, tokenised):
    odd = [dataclasses.replace(QUESTIONS[0], problem=f"{PLACE}{QUESTIONS[0].problem}")]
    again = tokenise(tokenizer, odd, INSTRUCTION, max_prompt_length=500)
    first = jax.tree.map(lambda leaf: leaf[0], (tokenised.problems, again.problems))
    assert words(first[0].before) == words(first[1].before)


def test_longer_questions_are_left_out(tokenizer):
    long = Question("x" * 400, "1", "1")
    told = tokenise(tokenizer, [long, *QUESTIONS, long], INSTRUCTION, max_prompt_length=400)
    assert told.questions == QUESTIONS and told.left_out == 2
    assert told.problems.row.tolist() == [0, 1, 2]
    with pytest.raises(RefusedError, match="none of the 1 questions .* at most 9 tokens"):
        tokenise(tokenizer, [long], INSTRUCTION, max_prompt_length=9)


def test_a_round_is_the_compiled_one(tokenizer, tokenised, task, model, base, tmp_path):
    """Letters are read from the text here, and from a table of tokens on the device."""
    config = TextConfig(rl=SETTINGS)
    players = rl.make_players(SETTINGS, model)
    adapters = [init_adapters(SETTINGS.lora, model, jax.random.key(seed)) for seed in (1, 2)]
    referee = Referee(tokenizer, tokenised.questions, Letters())
    play_round = HostRound(GAME, task, players, referee.judge, find_leaks=referee.find_leaks)
    step = rl.make_step(config, task, play_round, base, referee, tmp_path / "samples")
    whole = init_game(players, *adapters, base=base)
    key = jax.random.key(5)
    draw_key, round_key = jax.random.split(key)
    problems = jax.vmap(lambda key: task.sample(key, "train"))(jax.random.split(draw_key, 2))

    ids = range(tokenizer.vocab_size)
    has_letter = jnp.array([bool(re.search(b"[a-z]", tokenizer.token_bytes(t))) for t in ids])
    on_device = dataclasses.replace(
        task,
        reward=lambda _, solution: (
            (has_letter[solution.tokens] & solution.mask).any().astype(jnp.float32)
        ),
        leaks=lambda problem, abstraction: jnp.array(False),
    )
    keys = jax.random.split(round_key, 2)
    run = jax.jit(partial(iterate, GAME, on_device, players))
    expected, measured = run(whole, keys, problems=problems)
    state, metrics = step(dataclasses.replace(whole, base=None), key, 0)
    assert state.base is None
    close = partial(np.testing.assert_allclose, atol=1e-6)
    jax.tree.map(close, state, dataclasses.replace(expected, base=None))
    for name, value in measured.items():
        close(metrics[name], value, err_msg=name)
    assert 0 < measured["solution/reward"] < 1
    (told,) = [read_json(path) for path in sorted((tmp_path / "samples").iterdir())]
    rewards = [s["reward"] for row in told for a in row["abstractions"] for s in a["solutions"]]
    np.testing.assert_allclose(np.mean(rewards), metrics["success/with_abstraction"])


def test_solutions_that_could_not_be_judged_have_no_reward(
    tokenizer, tokenised, task, model, base, tmp_path
):
    settings = dataclasses.replace(SETTINGS, samples_every=1)
    players = rl.make_players(settings, model)
    adapters = [init_adapters(settings.lora, model, jax.random.key(seed)) for seed in (1, 2)]
    start = dataclasses.replace(init_game(players, *adapters, base=base), base=None)
    referee = Referee(tokenizer, tokenised.questions, Letters(failing=range(12)))
    play_round = HostRound(GAME, task, players, referee.judge, find_leaks=referee.find_leaks)
    config = TextConfig(rl=settings)
    step = rl.make_step(config, task, play_round, base, referee, tmp_path / "told")
    _, metrics = step(start, jax.random.key(5), 0)
    assert metrics["verifier/failed"] == 1
    assert metrics["solution/loss"] == metrics["abstraction/loss"] == 0
    (told,) = [read_json(path) for path in (tmp_path / "told").iterdir()]
    assert all(s["reward"] is None for row in told for s in row["bare"])


@pytest.mark.parametrize(
    ("hint", "answer", "leaks"),
    [
        ("It makes 18.", "18", True),
        ("It makes 1,800 dogs.", "1800", True),
        ("It makes 180.", "18", False),
        ("Multiply 2 by 9.", "18", False),
        ("It is 9.", "9", False),  # which the problem says, too
        ("", "18", False),
    ],
)
def test_an_answer_in_a_hint_is_a_leak(hint, answer, leaks):
    assert gives_away(hint, Question("What is 2 times 9?", answer, answer)) == leaks


def test_leaks_are_found_in_a_round(tokenizer, tokenised):
    hints = [["18", "no"], ["so 2!", "it is 2"]]
    ids = [[tokenizer.encode(text) for text in row] for row in hints]
    tokens = np.array([[i + [0] * (20 - len(i)) for i in row] for row in ids])
    mask = np.array([[[True] * len(i) + [False] * (20 - len(i)) for i in row] for row in ids])
    written = SimpleNamespace(
        completion=Sequence(jnp.array(tokens), jnp.array(mask)), log_probs=jnp.zeros((2, 2, 20))
    )
    played = SimpleNamespace(
        problems=SimpleNamespace(row=jnp.array([0, 2])), abstractions=written, solutions=written
    )
    referee = Referee(tokenizer, tokenised.questions, Letters())
    assert referee.find_leaks(played).tolist() == [[True, False], [False, False]]


class Broken(Exception):
    pass


def train(path, config, monkeypatch, killed_at=None):
    """Runs the program in a folder, or until a round."""
    judge, rounds = Referee.judge, []

    def counting(self, played):
        rounds.append(played)
        if len(rounds) - 1 == killed_at:
            raise Broken
        return judge(self, played)

    questions = QuestionSet("toy", QUESTIONS, (), NumberVerifier(), INSTRUCTION)
    monkeypatch.setattr(Referee, "judge", counting)
    path.mkdir(exist_ok=True)
    try:
        with MetricsLog(path) as metrics:
            return rl.play_questions(config, Run(path, path, metrics), questions)
    finally:
        monkeypatch.setattr(Referee, "judge", judge)


def test_a_killed_run_goes_on_to_the_same_bits(folder, model, tmp_path, monkeypatch, capsys):
    loop = LoopConfig(checkpoint_every=1, log_every=1)
    config = TextConfig(model=str(folder), rl=SETTINGS, loop=loop)
    whole = train(tmp_path / "whole", config, monkeypatch)
    with pytest.raises(Broken):
        train(tmp_path / "killed", config, monkeypatch, killed_at=2)
    again = train(tmp_path / "killed", config, monkeypatch)
    jax.tree.map(np.testing.assert_array_equal, whole, again)
    rows = [read_metrics(tmp_path / name) for name in ("whole", "killed")]
    assert rows[0] == rows[1] and [row["step"] for row in rows[0]] == [1, 2, 3]
    samples = [sorted(p.name for p in (tmp_path / n / rl.SAMPLES).iterdir()) for n in ("whole",)]
    assert samples == [["000000.json", "000002.json"]]
    told = capsys.readouterr()
    assert told.out.startswith("3 questions\n")
    assert "memory: parameters 0 MiB + adapters and optimisers 0 MiB + " in told.err
    (seal,) = [read_json(tmp_path / "whole/checkpoints/rl/3/seal.json")["arrays"]]
    assert not [name for name in seal if "embedding" in name]  # the base stays where it came from
    with MetricsLog(tmp_path / "whole") as metrics:
        run = Run(tmp_path / "whole", tmp_path, metrics)
        trained = rl.load_players(config, run, model)
        questions = QuestionSet("toy", (), QUESTIONS, NumberVerifier(), INSTRUCTION)
        sizes = TextEvaluationConfig(abstractions=2, solutions=1, batch_size=2)
        config = dataclasses.replace(config, evaluation=sizes)
        pretrained = open_pretrained(config)
        base = pretrained.load("float32")
        (scored,) = pair.evaluate_pairs(config, run, pretrained, base, questions).values()
    ends = whole.abstraction.train.params, whole.solution.train.params
    jax.tree.map(np.testing.assert_array_equal, trained, ends)
    told = read_json(tmp_path / "whole/pair.json")
    assert [row["count"] for row in told["rows"]] == [3] * len(told["rows"])
    assert told["rows"][0]["mean"] == pytest.approx(scored.scores[pair.WITHOUT].mean())


def test_the_solver_starts_from_its_warm_start(model, tmp_path):
    tuning = TextSFTConfig(steps=4, rank=2, alpha=SETTINGS.lora.alpha)
    config, run = TextConfig(rl=SETTINGS, sft=tuning), Run(tmp_path, tmp_path, None)
    fresh = rl.first_adapters(config, run, model)
    tuned = jax.tree.map(lambda leaf: leaf + 1, fresh[1])
    checkpoints = Checkpoints(tmp_path / "checkpoints" / "sft")
    checkpoints.save(4, {"state": {"params": tuned}, "step": 4})
    checkpoints.close()
    same = partial(jax.tree.map, np.testing.assert_array_equal)
    same(rl.first_adapters(config, run, model), (fresh[0], tuned))
    for other, sentence in (
        ({"steps": 5}, "The stage sft .* is not finished"),
        ({"rank": 0}, "trained all weights, and the game trains adapters"),
        ({"alpha": 3.0}, "adapters of another kind than the game's: make rl.lora"),
    ):
        changed = dataclasses.replace(config, sft=dataclasses.replace(tuning, **other))
        with pytest.raises(RefusedError, match=sentence):
            rl.first_adapters(changed, run, model)


def test_too_little_memory_is_refused_before_anything_is_read(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 1000)
    config = TextConfig(model=str(folder), rl=SETTINGS)
    with pytest.raises(RefusedError, match="this needs parameters .* and 0 MiB are free"):
        train(tmp_path / "run", config, monkeypatch)
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["metrics.jsonl"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"steps": 0}, "steps must be 1 or more; got 0"),
        ({"time_limit": 0.0}, "time_limit must be above 0 and finite; got 0.0"),
        ({"game": GameConfig(leak_samples=2)}, "leave game.leak_samples at 0; got 2"),
        ({"game": GameConfig(schedule="alternating")}, "leave game.schedule at 'simultaneous'"),
    ],
)
def test_bad_settings_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        TextRLConfig(**settings)


def test_scores_by_hand():
    """Two questions, two hints and two bare slots of three solutions; one has no verdict."""
    rewards = np.array(
        [
            [[1.0, 0, 0], [1, 0, 1], [0, 1, 0], [0, 0, 0]],
            [[0, 0, 0], [0.5, 0, 0], [1, 1, 0], [0.25, 0, 0]],
        ]
    )
    valid = np.ones(rewards.shape, bool)
    valid[0, 0, 1] = False
    hinted = [[[0, -1, 1], [0, 1, 0]], [[0, 1, 0], [2, 1, -1]]]
    answers = np.concatenate([hinted, [[[1, 0, 1], [1, -1, 2]], [[3, 3, 0], [0, 1, 2]]]], 1)
    scores = pair.scores_of(2, rewards, valid, answers.astype(np.int32))
    expected = {
        pair.WITH: [3 / 5, 0],
        pair.WITHOUT: [1 / 6, 2 / 6],
        pair.BEST: [2 / 3, 0],
        pair.BEST_WITHOUT: [1 / 3, 2 / 3],
        pair.MAJORITY: [1.0, 0.0],
        pair.SELF_CONSISTENCY: [0.0, 0.5],
        pair.SCORE: [3 / 5, 1 / 12],
        pair.SCORE_WITHOUT: [1 / 6, 2.25 / 6],
    }
    assert list(scores) == list(pair.MEASURES) and set(scores) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(scores[name], values, err_msg=name, atol=1e-6)
    whole = pair.scores_of(2, np.floor(rewards), valid, answers.astype(np.int32))
    assert list(whole) == list(pair.MEASURES[:-2])


def test_the_best_of_hints_that_help_nothing_is_no_better_than_that_of_bare_slots():
    random = np.random.default_rng(0)
    rewards = (random.random((4000, 8, 2)) < 0.5).astype(float)
    answers = np.zeros(rewards.shape, np.int32)
    scores = pair.scores_of(4, rewards, np.ones(rewards.shape, bool), answers)
    told = pair.PairScores(scores, 0.0, 0.0, []).differences("rl")
    assert [row["claim"] for row in told] == [f"rl: {a} - {b}" for a, b in pair.COMPARED[:3]]
    assert all(abs(row["mean"]) < 0.03 for row in told)
    assert scores[pair.BEST].mean() - scores[pair.WITHOUT].mean() > 0.25


def test_a_pair_is_measured_against_as_many_bare_solutions(tokenizer, tokenised, task, model, base):
    referee = Referee(tokenizer, tokenised.questions, Letters())
    sizes = {"abstractions": 2, "solutions": 3, "sampling": Sampling()}
    measure = {
        batch: pair.PairEvaluator(task, model, tokenised, batch=batch, **sizes) for batch in (2, 3)
    }
    measure[2].compile((base, base))
    by_two, at_once = (
        each((base, base), referee, key=jax.random.key(3)) for each in measure.values()
    )
    assert [row["problem"] for row in by_two.samples] == [QUESTIONS[2].problem]
    assert by_two.scores.keys() == at_once.scores.keys()
    for name in by_two.scores:
        np.testing.assert_allclose(by_two.scores[name], at_once.scores[name], err_msg=name)
    played = jax.jit(
        partial(
            play,
            task,
            (model, model),
            (base, base),
            bare=2,
            abstractions=2,
            solutions=3,
            sampling=(Sampling(), Sampling()),
        )
    )(tokenised.problems, jax.random.split(jax.random.key(3), 3))
    assert played.solutions.log_probs.shape[:3] == (3, 4, 3)
    said = referee.read(played).solutions
    right = np.array([[[bool(re.search("[a-z]", t)) for t in s] for s in q] for q in said])
    np.testing.assert_allclose(at_once.scores[pair.WITH], right[:, :2].mean((1, 2)), atol=1e-6)
    np.testing.assert_allclose(at_once.scores[pair.WITHOUT], right[:, 2:].mean((1, 2)), atol=1e-6)
    rows, differences = at_once.rows("rl"), at_once.differences("rl")
    assert [row["measure"] for row in rows] == list(pair.MEASURES[:-2])  # rewards without parts
    assert differences[0]["claim"] == "rl: with hints - without a hint"
    assert all(row["low"] <= row["mean"] <= row["high"] for row in [*rows, *differences])
    assert at_once.unjudged == 0 and len(at_once.samples) == 3


def test_questions_that_could_not_be_judged_are_left_out(tokenizer, tokenised, task, model, base):
    """Of the first question no bare solution has a verdict: its hints have nothing beside them."""
    referee = Referee(tokenizer, tokenised.questions, Letters(failing=range(1, 2)))
    evaluate = pair.PairEvaluator(
        task, model, tokenised, abstractions=1, solutions=1, sampling=Sampling(), batch=3
    )
    scored = evaluate((base, base), referee, key=jax.random.key(3))
    for name in (pair.WITH, pair.MAJORITY):
        assert np.isnan(scored.scores[name]).tolist() == [True, False, False]
    assert [row["count"] for row in scored.rows("rl")] == [2] * (len(pair.MEASURES) - 2)
    assert scored.unjudged == pytest.approx(1 / 6)


@pytest.mark.parametrize(
    ("text", "is_number", "expected"),
    [
        ("It is $1,000.00.", True, "1000"),
        ("so 18.0\n#### 18", True, "18"),
        (r"first \boxed{7}, then Answer: 8 apples", True, "8"),
        ("Answer: 1, 2, 5", False, "1, 2, 5"),
        ("no idea", True, ""),
        ("The answer:  Mary . ", False, "mary"),
        ("Answer: b\nAnswer: **A c**", False, "a c"),
        (r"so \boxed{x y}, the answer", False, "x y"),
        ("first\nlast line", False, "first last line"),
        ("", False, ""),
    ],
)
def test_votes(text, is_number, expected):
    assert vote_of(text, is_number=is_number) == expected


def test_what_the_game_changed_is_told_with_its_sign(tmp_path, capsys):
    """Of two stages; a question that one of them could not be judged on is left out."""
    before, after = (
        pair.PairScores(dict.fromkeys(pair.MEASURES, np.array(scores)), 0.5, 0.0, [])
        for scores in ([0.0, 0.25, 1.0], [0.5, 0.75, np.nan])
    )
    pair._tell(TextConfig(), Run(tmp_path, tmp_path, None), {"sft": before, "rl": after})
    told = read_json(tmp_path / "pair.json")
    assert [(row["stage"], row["count"]) for row in told["rows"]] == [("sft", 3)] * 8 + [
        ("rl", 2)
    ] * 8
    changes = [row for row in told["differences"] if row["claim"].startswith("rl - sft, ")]
    assert [(row["mean"], row["count"]) for row in changes] == [(0.5, 2)] * 8
    assert list(told["stages"]) == ["sft", "rl"]
    assert "rl - sft, with hints" in capsys.readouterr().out
