"""Where a hostile source lies, and where its dataset goes."""

import pytest
from mutations import everything_in


@pytest.fixture
def places(tmp_path):
    """(source, output) deep in a folder in which nothing else may appear."""
    source, output = tmp_path / "a" / "b" / "source", tmp_path / "a" / "b" / "out"
    source.mkdir(parents=True)
    yield source, output
    strays = {
        name for name in everything_in(tmp_path) if not name.startswith(("a/b/source", "a/b/out"))
    }
    assert strays == {"a", "a/b"}
