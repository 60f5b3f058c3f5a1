"""Every error tradelog raises on purpose, with its exit code.

    TradelogError                       1   something failed
    ├── UsageError                      2   the command or its arguments make no sense
    │   └── InvalidDecision             2   a field of a decision; nothing was recorded
    ├── NotFound                        3   nothing there by that name
    ├── ConfigError                     4   tradelog.toml or the environment
    │   └── CredentialsMissing          4   a key that a source or a broker needs
    ├── StoreError                      5   the store as a whole
    │   ├── StoreMissing                5
    │   ├── StoreLocked                 5   another writer held it too long
    │   ├── StoreOlder                  5   a reader met a store that a writer must upgrade first
    │   ├── StoreNewer                  5   written by a later tradelog
    │   ├── StoreUnwritable             5   full disk, read-only file, I/O error
    │   ├── UpgradeFailed               5
    │   ├── ArchiveMissing              5   a file with rows that were moved out of the store
    │   └── EvidenceBroken              5   rows or entries are not what was written
    ├── RunInProgress                   1   a fetch of the same task is running
    ├── SourceError                     1   a response of a source that cannot be trusted
    │   ├── NotAuthorised               4
    │   ├── PlanTooSmall                4
    │   ├── Throttled                   1   with the wait that the source named
    │   ├── VendorFault                 1   the source failed on its side, or could not be reached
    │   ├── UnexpectedType              1   HTML for JSON, NUL bytes, truncated
    │   ├── SchemaMismatch              1   no known form, or a required field missing from all rows
    │   ├── EmptyAnswer                 1   nothing where rows are normal
    │   └── ShrunkenAnswer              1   far fewer rows than last time
    ├── StrategyFailed                  1   a strategy raised, or returned what is no list of signals
    ├── BrokerRefusesUs                 4   keys refused, or not the account that the store is bound to
    └── NeedsAttention                  6   done, but a person must look at something

The message is one line: what failed and why. ``hint`` is the next command or step.
"""

from __future__ import annotations


class TradelogError(Exception):
    """Base of all errors that a caller may want to catch."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if hint is not None:
            self.add_note(f"hint: {hint}")


class UsageError(TradelogError):
    exit_code = 2


class InvalidDecision(UsageError):
    """A field of a decision that cannot stand. ``field`` names it; nothing was recorded."""

    def __init__(self, field: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(f"{field}: {message}", hint=hint)
        self.field = field


class NotFound(TradelogError):
    exit_code = 3


class ConfigError(TradelogError):
    exit_code = 4


class CredentialsMissing(ConfigError):
    pass


class StoreError(TradelogError):
    exit_code = 5


class StoreMissing(StoreError):
    pass


class StoreLocked(StoreError):
    pass


class StoreOlder(StoreError):
    pass


class StoreNewer(StoreError):
    pass


class StoreUnwritable(StoreError):
    pass


class UpgradeFailed(StoreError):
    pass


class ArchiveMissing(StoreError):
    pass


class EvidenceBroken(StoreError):
    pass


class RunInProgress(TradelogError):
    pass


class SourceError(TradelogError):
    """A response of a source that cannot be trusted; it ends the run as failed."""


class NotAuthorised(SourceError):
    exit_code = 4


class PlanTooSmall(SourceError):
    exit_code = 4


class Throttled(SourceError):
    """``wait_seconds`` is what the source requested, None without one."""

    def __init__(self, message: str, *, wait_seconds: float | None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.wait_seconds = wait_seconds


class VendorFault(SourceError):
    """``passing`` is whether a retry may help: no response at all, or one of 5xx.

    ``wait_seconds`` is what the source requested, None without one.
    """

    def __init__(
        self,
        message: str,
        *,
        passing: bool = False,
        wait_seconds: float | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.passing = passing
        self.wait_seconds = wait_seconds


class UnexpectedType(SourceError):
    pass


class SchemaMismatch(SourceError):
    pass


class EmptyAnswer(SourceError):
    pass


class ShrunkenAnswer(SourceError):
    pass


class StrategyFailed(TradelogError):
    """A strategy's own code failed; nothing was recorded."""


class BrokerRefusesUs(TradelogError):
    exit_code = 4


class NeedsAttention(TradelogError):
    exit_code = 6
