"""Two lists of classes that meet: the same, the same in another order, or others."""

from collections.abc import Sequence


def matched(wanted: Sequence[str], given: Sequence[str]) -> list[int] | None:
    """Return where each `wanted` class stands in `given`: 0, 1, 2, … where the order is the same.

    Classes are matched by their names. Where one list has mere numbers in their order (0, 1, 2, …)
    and the other has other names, there are no names to match, and numbers are. None where names
    contradict each other, or numbers of classes do.
    """
    places = {name: index for index, name in enumerate(given)}
    if len(wanted) != len(given):
        return None
    if places.keys() == set(wanted):
        return [places[name] for name in wanted]
    numbers = [str(index) for index in range(len(given))]
    return list(range(len(given))) if numbers in (list(wanted), list(given)) else None


def reordered(wanted: Sequence[str], given: Sequence[str]) -> str:
    """Return where the same classes stand in another order, as "class 2 is '2' and '10'"; or ""."""
    if sorted(wanted) == sorted(given):
        for index, (one, other) in enumerate(zip(wanted, given, strict=True)):
            if one != other:
                return f"class {index} is '{one}' and '{other}'"
    return ""
