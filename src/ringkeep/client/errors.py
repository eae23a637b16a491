"""What a call raises: two families, which say whether anything was applied. No other exception leaves a call,
but for those of mistakes in the calling program (TypeError, ValueError before anything was sent).
"""


class StoreError(Exception):
    """The store did not do what it was asked. `status`: of the HTTP answer, 0 where there was none."""

    def __init__(self, detail: str, *, status: int = 0) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status


class Rejected(StoreError):
    """Nothing was applied, and never will be: the call may be repeated as it is."""


class Indeterminate(StoreError):
    """The write may have been applied, now or later: read before deciding, or repeat it with the same
    `idempotency_key`, which was used for it. A read never ends so."""

    def __init__(self, detail: str, *, status: int = 0, idempotency_key: str = "") -> None:
        super().__init__(detail, status=status)
        self.idempotency_key = idempotency_key


class NotFound(Rejected):
    """There is no such key."""


class Conflict(Rejected):
    """A condition does not hold. `version`: what the key has instead; 0 if it does not exist, None where the
    answer does not say."""

    def __init__(self, detail: str, *, status: int = 412, version: int | None = None) -> None:
        super().__init__(detail, status=status)
        self.version = version


class Invalid(Rejected):
    """The request is wrong, too large, or does not fit what is stored: repeating it will not help."""


class WrongType(Invalid):
    """The stored value has the wrong type for this operation, such as `add` to a text."""


class HistoryLost(Rejected):
    """The changes after a cursor are not kept any more: list the keys again, and follow from there."""


class Unreadable(StoreError):
    """A `take` or `swap` was applied, and the codec does not read the value that it removed: here are its
    bytes, which the store does not have any more."""

    def __init__(self, detail: str, *, data: bytes, content_type: str, version: int) -> None:
        super().__init__(detail, status=200)
        self.data = data
        self.content_type = content_type
        self.version = version


class Busy(Rejected):
    """The nodes are full, until the deadline: try again later, with less at a time."""


class Unavailable(Rejected):
    """No node could serve the request before its deadline: none answers, or no majority of the key's replicas
    is there, or their disks are full."""
