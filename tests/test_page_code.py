"""The runner of pages finds blocks, their reasons, and the first fault."""

from __future__ import annotations

import pytest

from tests.page_code import blocks_of, prose_of, run_page

PAGE = """# A page

<!-- not run: needs a camera -->

```bash
dvskit cameras
```

Two words.

```python
value = 1
```

```bash
cd part
dvskit filters \\
    hot_pixel
```

```python
assert value == 2
```

<!-- not run: never ends -->
```bash
dvskit view events.raw
```
"""


def test_blocks_are_found_with_their_lines_and_reasons():
    blocks = list(blocks_of(PAGE))
    assert [(block.kind, block.line, block.reason) for block in blocks] == [
        ("bash", 5, "needs a camera"),
        ("python", 11, ""),
        ("bash", 15, ""),
        ("python", 21, ""),
        ("bash", 26, "never ends"),
    ]
    assert [line.split() for line in blocks[2].commands()] == [
        ["cd", "part"],
        ["dvskit", "filters", "hot_pixel"],
    ]
    assert prose_of(PAGE) == ["#", "A", "page", "Two", "words."]


def test_a_page_runs_in_one_namespace_and_folder(tmp_path, monkeypatch):
    (tmp_path / "part").mkdir()
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AssertionError) as failed:
        run_page(page)
    assert failed.traceback[-1].lineno == 21  # counted from 0: line 22 of the page


@pytest.mark.parametrize("line", ["dvskit info none.raw", "false | cat"])
def test_a_command_that_fails_is_named_with_its_line(line, tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text(f"# A page\n\n```bash\n{line}\n```\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError, match=r"page\.md, block at line 3: ") as failed:
        run_page(page)
    assert line in str(failed.value)
