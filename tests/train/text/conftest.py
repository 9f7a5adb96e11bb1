"""A few questions as GSM8K has them."""

import json

import pytest


@pytest.fixture(scope="session")
def sums(tmp_path_factory):
    """A folder of sums in the layout of GSM8K."""
    folder = tmp_path_factory.mktemp("sums")
    for split, first in (("train", 0), ("test", 20)):
        rows = [
            {"question": f"What is {n} + 1?", "answer": f"{n} + 1 = {n + 1}\n#### {n + 1}"}
            for n in range(first, first + 6)
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder
