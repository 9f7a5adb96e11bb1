"""The README's examples run, and what it points to is there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_python_examples_run():
    examples = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    assert examples
    for example in examples:
        exec(compile(example, "README.md", "exec"), {})


def test_links_to_files_exist():
    links = re.findall(r"\]\((?!http)([^)]+)\)", TEXT)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_rooms_of_the_map_exist():
    rooms = re.findall(r"^ +(?:\w+/)+|\b[a-z_]+/(?= )", TEXT.partition("## The rooms")[2], re.M)
    names = {room.strip() for room in rooms}
    assert {"jaxreason/", "data/", "train/", "tests/"} <= names
    missing = [
        n for n in names if not (ROOT / n).is_dir() and not (ROOT / "jaxreason" / n).is_dir()
    ]
    assert missing == []
