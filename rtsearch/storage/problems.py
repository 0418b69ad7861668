"""Word what object storage refuses: one line that says what to do, and nothing of what a server has sent.

Servers and libraries put signed addresses and keys into their messages, so none of their text is passed on.
"""

from __future__ import annotations

import re

from rtsearch.errors import StorageError

__all__ = ["WITHOUT_TLS", "is_bucket_missing", "worded"]

_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
WITHOUT_TLS = {"s3": "AWS_ALLOW_HTTP", "gs": "GOOGLE_ALLOW_HTTP", "az": "AZURE_ALLOW_HTTP"}
"""Environment variables that permit connections without TLS."""
_ENDPOINT = {"s3": "AWS_ENDPOINT_URL", "gs": "GOOGLE_BASE_URL", "az": "AZURE_STORAGE_ENDPOINT"}
_NO_BUCKET = re.compile(r"NoSuchBucket|ContainerNotFound|bucket does not exist", re.IGNORECASE)
# What is said, and the words for it; the first that is found counts.
_WORDS = (
    (_NO_BUCKET, "there is no such bucket; make it, or mend the address"),
    (
        re.compile(r"RequestTimeTooSkewed|request time and the current time", re.IGNORECASE),
        "this machine's clock differs from that of the storage; set the clock",
    ),
    (
        re.compile(r"ExpiredToken|TokenRefreshRequired|token[^.]{0,40}expired", re.IGNORECASE),
        "the credentials have expired; fetch new ones, and run the same command again",
    ),
    (
        re.compile(
            r"169\.254\.1|latest/api/token|latest/meta-data|metadata\.google|MissingAccount|TokenFile"
        ),
        "there are no credentials; set {credentials}",
    ),
    (
        re.compile(
            r"InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken|AuthenticationFailed|Unauthenticated"
        ),
        "the credentials are refused; mend {credentials}",
    ),
    (
        re.compile(r"AccessDenied|AllAccessDisabled|PermissionDenied|code: 403"),
        "the credentials do not allow this; ask for the rights to list, read, write and delete there",
    ),
    (
        re.compile(r"SlowDown|ServiceUnavailable|TooManyRequests|code: (?:429|503)"),
        "the storage is overloaded and has refused again and again; run the same command again later",
    ),
    (
        re.compile(r"builder error"),
        "{endpoint} is not understood, or has no TLS; set {without_tls}=true if that is meant",
    ),
    (
        re.compile(
            r"error sending request|dns error|timed out|unreachable|reset by peer|HTTP error", re.IGNORECASE
        ),
        "it cannot be reached; look at the network and at {endpoint}",
    ),
    (
        re.compile(r"InvalidPath|empty path segment"),
        "a key below it has an empty part, . or .. in it, such as a//b; rename it",
    ),
    (re.compile(r"code: 5\d\d"), "the storage has failed again and again; run the same command again later"),
)


def worded(error: BaseException, address: object, scheme: str) -> StorageError:
    """Return the error of an address whose storage refuses; its message has no secret."""
    said = f"{type(error).__name__} {error}".partition("Debug source")[0]
    words = next((words for pattern, words in _WORDS if pattern.search(said)), "")
    if not words:
        code = re.search(r"<Code>(\w{1,60})</Code>", said)
        words = f"the storage refuses ({code[1] if code else type(error).__name__})"
    names = {"credentials": _CREDENTIALS, "endpoint": _ENDPOINT, "without_tls": WITHOUT_TLS}
    return StorageError(
        f"{address}: " + words.format(**{name: table[scheme] for name, table in names.items()})
    )


def is_bucket_missing(error: BaseException) -> bool:
    """Tell whether an object is not found because its bucket is not."""
    return bool(_NO_BUCKET.search(str(error)))
