"""The examples of the README and of the pages run, and what they point to is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("results/*/README.md")]
EXAMPLES = [page for page in PAGES if "```python" in page.read_text(encoding="utf-8")]


def by_path(page):
    return str(page.relative_to(ROOT))


@pytest.mark.standard_promotion
@pytest.mark.parametrize("page", EXAMPLES, ids=by_path)
def test_python_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some write files
    text = page.read_text(encoding="utf-8")
    for example in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(compile(example, page.name, "exec"), {})


def test_the_readme_has_examples():
    assert ROOT / "README.md" in EXAMPLES


@pytest.mark.parametrize("page", PAGES, ids=by_path)
def test_links_to_files_exist(page):
    links = re.findall(r"\]\((?!http)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_rooms_of_the_map_exist():
    rooms = re.findall(r"^ +(?:\w+/)+|\b[a-z_]+/(?= )", TEXT.partition("## The rooms")[2], re.M)
    names = {room.strip() for room in rooms}
    assert {"jaxreason/", "data/", "train/", "tests/"} <= names
    missing = [
        n for n in names if not (ROOT / n).is_dir() and not (ROOT / "jaxreason" / n).is_dir()
    ]
    assert missing == []
