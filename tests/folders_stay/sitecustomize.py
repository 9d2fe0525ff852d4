"""As a mounted object store has it: no folder is renamed, and there are no hard links.

On PYTHONPATH it holds in every command that the tests start; within a test, the fixture
`folders_stay` has the same.
"""

import errno
import os


def refusing(rename):
    """`rename`, which refuses folders."""

    def of_files(source, target, **options):
        if os.path.isdir(source):
            raise OSError(errno.ENOTSUP, "A folder would have been renamed", os.fspath(source))
        return rename(source, target, **options)

    return of_files


def no_link(source, target, **_options):
    raise OSError(errno.ENOTSUP, "There are no hard links", os.fspath(source))


if __name__ == "sitecustomize":
    os.rename, os.replace, os.link = refusing(os.rename), refusing(os.replace), no_link
