"""What `service` raises on purpose: one class, one stable slug, one HTTP status each."""

from __future__ import annotations

from typing import ClassVar


class ServiceError(Exception):
    """Root of everything `service` raises on purpose."""

    code: ClassVar[str] = "service-error"
    status: ClassVar[int] = 500


class TooFewLines(ServiceError):
    """There are not enough good lines to train on."""

    code = "too-few-lines"
    status = 422


class BadBundle(ServiceError):
    """A bundle directory is missing, damaged or of another version."""

    code = "bad-bundle"


class BadSetting(ServiceError):
    """A setting or an option is not valid."""

    code = "bad-setting"
    status = 400


class CannotWrite(ServiceError):
    """A result cannot be written where the user asked for it."""

    code = "cannot-write"


class StoreUnavailable(ServiceError):
    """The database is away, busy or full; nothing was written, and trying again later can succeed."""

    code = "store-unavailable"
    status = 503


class Superseded(ServiceError):
    """Another worker has taken over what this one was about to write; nothing was written."""

    code = "superseded"
    status = 409


class TooManyDeadLetters(ServiceError):
    """So many lines of a topic or a file cannot be read that its format must be wrong; reading on would drain it."""

    code = "too-many-dead-letters"


class PortTaken(ServiceError):
    """Another program listens on the port."""

    code = "port-taken"


class NotFound(ServiceError):
    """The named source, window or incident does not exist."""

    code = "not-found"
    status = 404


class BadRequest(ServiceError):
    """A request is not valid."""

    code = "bad-request"
    status = 400


class TooLarge(ServiceError):
    """A request's body has more bytes than the service takes at once."""

    code = "too-large"
    status = 413


class UnsupportedMediaType(ServiceError):
    """A request's body is of a type, a compression or a charset that the service does not read."""

    code = "unsupported-media-type"
    status = 415


class BadFeedback(ServiceError):
    """What was said of an incident or a window cannot be taken as it is."""

    code = "bad-feedback"
    status = 422


class AlreadyUndone(ServiceError):
    """What was said has been taken back before."""

    code = "already-undone"
    status = 409


class Unauthorized(ServiceError):
    """A request carries no valid token."""

    code = "unauthorized"
    status = 401


class ReplayOnly(ServiceError):
    """The database holds a replay, and takes no lines."""

    code = "replay-only"
    status = 409


class KeyReused(ServiceError):
    """A push has the idempotency key of another push, and other lines."""

    code = "idempotency-key-reused"
    status = 422


class InboxFull(ServiceError):
    """More pushed lines wait than the inbox holds; push again later."""

    code = "inbox-full"
    status = 429
