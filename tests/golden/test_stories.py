"""Golden stories of the core: texts that a person can review, in `stories/`.

Comments (`#`) say the point. Then commands of `story.Story`, one per line, each followed by `----` and what
came of it. `pytest tests/golden --rewrite` writes the answers anew: read the diff before it is committed.
"""

from pathlib import Path

import pytest
from tests.golden.story import Story

STORIES = sorted((Path(__file__).parent / "stories").glob("*.txt"))


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_story(path: Path, request: pytest.FixtureRequest) -> None:
    before = path.read_text()
    assert before.startswith("# "), "a story begins with its point"
    after = told(before)
    if request.config.getoption("--rewrite"):
        path.write_text(after)
    else:
        assert after == before, (
            "the story goes otherwise now: `pytest tests/golden --rewrite`, and read the diff"
        )


def told(text: str) -> str:
    """Run the commands of a story; return it with the answers that they get."""
    story = Story()
    lines = []
    answer = False
    for line in text.splitlines():
        if answer:
            answer = bool(line)  # an answer ends at a blank line
        elif line == "----":
            answer = True
        elif not line or line.startswith("#"):
            lines.append(line)
        else:
            lines += [line, "----", story.run(line), ""]
    while lines and not lines[-1]:
        lines.pop()
    return collapsed(lines)


def collapsed(lines: list[str]) -> str:
    """Join, with one blank line where there were several."""
    kept = [line for at, line in enumerate(lines) if line or at == 0 or lines[at - 1]]
    return "\n".join(kept) + "\n"


def test_there_are_stories() -> None:
    assert len(STORIES) >= 9


def test_a_story_that_goes_otherwise_is_noticed() -> None:
    text = told("# A write.\nmap n1 epoch=1\nsettle\nput n1 k=v\n")
    assert told(text) == text
    assert told(text.replace("Append", "Appendix")) == text
