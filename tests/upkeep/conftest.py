"""The stage of `tests.execute`: a worker, real alpaca-py on the wire, a stand-in, a clock to put forward."""

from tests.execute.conftest import _clock, broker, config, decide, fake, worker

__all__ = ["_clock", "broker", "config", "decide", "fake", "worker"]
