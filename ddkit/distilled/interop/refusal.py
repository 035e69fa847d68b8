"""What the reading child says of a file that it will not read."""


class Refusal(Exception):  # noqa: N818 - it is an answer to the parent, which makes it an error
    """A file is refused; the text follows its name: "holds more than tensors"."""
