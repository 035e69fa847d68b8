"""What a library says about a failure, made fit for a one-line message."""


def cause(error: BaseException, limit: int = 200) -> str:
    """Return the kind and the text of `error` on one line of about `limit` characters."""
    text = " ".join(str(error).split())
    text = text if len(text) <= limit else text[:limit] + "…"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
