import pytest

from jaxreason.rollout import pad_prompts


def test_shortest_bucket_that_holds_all():
    padded = pad_prompts([[5, 6, 7], [8]], buckets=(8, 4, 2), pad_id=9)
    assert padded.tokens.tolist() == [[9, 5, 6, 7], [9, 9, 9, 8]]
    assert padded.mask.tolist() == [[False, True, True, True], [False, False, False, True]]


def test_a_prompt_may_fill_its_bucket():
    assert pad_prompts([[1, 2]], buckets=(2, 4)).tokens.tolist() == [[1, 2]]


@pytest.mark.parametrize("prompts", [[], [[]], [[1], []]])
def test_empty_prompts_are_refused(prompts):
    with pytest.raises(ValueError, match="prompts must hold at least one token each"):
        pad_prompts(prompts, buckets=(4,))


@pytest.mark.parametrize("buckets", [(2, 1), ()])
def test_too_long_a_prompt_is_refused(buckets):
    with pytest.raises(ValueError, match="a prompt of 3 tokens fits no bucket of .*: add"):
        pad_prompts([[1, 2, 3]], buckets=buckets)
