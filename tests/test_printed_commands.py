"""Every command that dvskit prints, or that stands in a page, is one that it takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

import dvskit
from dvskit.cli import MODULES as COMMANDS
from dvskit.cli import app
from tests.bars import write_bars
from tests.printed_commands import (
    check,
    check_mention,
    commands_of,
    options_in,
    options_of,
    said_in,
    spans_of,
    texts_of,
    words_of,
)
from tests.sample_files import video
from tests.tree import MODELS, SAMPLES, TOP

PACKAGE = Path(dvskit.__file__).parent
PAGES = sorted({
    *TOP.glob("README.md"), *(folder / "README.md" for folder in MODELS.values()),
    *SAMPLES.glob("**/*.md"), *PACKAGE.glob("**/*.md"), *TOP.glob("tests/benchmarks/README.md"),
})  # fmt: skip
MODULES = sorted(PACKAGE.glob("**/*.py"))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: "-".join(path.parts[-3:]))
def test_the_commands_of_pages_parse(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for words in commands_of(text):
        check(words)
    for words in spans_of(text):
        check_mention(words)


@pytest.mark.slow
def test_the_commands_in_texts_of_the_source_parse() -> None:
    found = 0
    for module in MODULES:
        for text in texts_of(module):
            for words in said_in(text):
                if words[1] in COMMANDS:
                    check_mention(words)
                    found += len(words) > 2
    assert found > 10


@pytest.mark.slow
def test_every_option_that_a_text_names_exists() -> None:
    known = options_of(typer.main.get_command(app)) | {"--nthreads"}  # of dask worker
    for module in MODULES:
        if module == PACKAGE / "cli" / "__init__.py":
            continue  # it has those that people look for in vain
        for text in texts_of(module):
            assert options_in(text) <= known, f"{module.name}: {text}"


def test_the_next_command_that_info_and_emulate_print_runs(run, tmp_path) -> None:
    video(tmp_path / "my clip.mp4")
    _, out, _ = run("info", "my clip.mp4")
    (emulate,) = re.findall(r"to make them: (.*)", out)
    ((_, *words),) = words_of(emulate)
    assert words == ["emulate", "my clip.mp4", "events.raw"]
    code, _, err = run(*words[:2], "my events.raw")
    assert code == 0, err
    (look,) = re.findall(r"look at them: (.*)", err)
    ((_, *words),) = words_of(look)
    code, _, err = run(*words)
    assert code == 0, err
    assert (tmp_path / "my events.html").exists()


@pytest.mark.slow(seconds=10)
def test_the_commands_of_a_training_and_its_card_run_where_it_was_started(run, tmp_path) -> None:
    root = write_bars(tmp_path / "my clips", 10)
    words = ("--set", "loop.steps=1", "--set", "loop.epochs=1", "--seed", "2", "--minutes", "9")
    code, _, err = run("train", root.name, "-o", "runs/my run", *words)
    assert code == 0, err
    card = (tmp_path / "runs" / "my run" / "README.md").read_text(encoding="utf-8")
    (try_it,) = re.findall(r"try it: (.*)", err)
    commands = [*words_of(try_it), *commands_of(card), *spans_of(card)]
    assert len(commands) == 4
    for number, command in enumerate(commands):
        given = {"FILE": str(root / "left" / "0.npz"), "OUTPUT": f"runs/again {number}"}
        code, _, err = run(*(given.get(word, word) for word in command[1:]))
        assert code == 0, (command, err)
    for number in (2, 3):  # the same seed and steps, the same network
        assert (tmp_path / "runs" / f"again {number}" / "model.toml").exists()
    assert "loop.steps=1" in card
    assert "where the training was started" in card
