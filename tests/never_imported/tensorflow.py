"""In place of the package, in every command that the tests start."""

raise AssertionError("A run has imported tensorflow.")
