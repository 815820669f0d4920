"""Runs tests inside a machine with the Python, the drivers and the libraries of the installed package.

Only what the package has not comes from the folders given: `inside.py TESTS LIBRARIES PYTEST-WORD…`.
"""

import sys

if __name__ == "__main__":
    tests, libraries, *words = sys.argv[1:]
    sys.path[:] = [tests, *(path for path in sys.path if path != sys.path[0]), libraries]
    sys.dont_write_bytecode = True
    import pytest

    sys.exit(pytest.main(words))
