"""The worker's clock, as in tests/execute."""

from tests.execute.conftest import _clock  # noqa: F401
