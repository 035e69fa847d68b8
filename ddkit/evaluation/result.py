"""What networks reached on one set."""

from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import torch

from ddkit.runtime.arithmetic import Precision


@dataclass(frozen=True)
class Evaluation:
    """The accuracies of networks trained on one set.

    Attributes:
        accuracies: 0 … 1, one per evaluation seed.
        network, protocol: what was trained, and how; `own` marks a method's own protocol.
        labels: the kind of labels trained towards.
        learning_rate: the one used; `tuned` where the holdout chose it.
        seconds: training and testing, all seeds, on `device`, and choosing the rate.
        together: how many networks were trained at once; batched training rounds otherwise.
        peak_bytes: of live tensors in the first two steps, with weights and images.
        precision: of training and testing: fp32, or tf32, which CUDA alone rounds to.
        learned_on: the network that the learning rate was learned for, where it is another one.
    """

    accuracies: tuple[float, ...]
    network: str
    protocol: str
    labels: str
    learning_rate: float
    seconds: float
    device: str = "cpu"
    tuned: bool = False
    own: bool = False
    together: int = 1
    peak_bytes: int = 0
    precision: Precision = "fp32"
    learned_on: str | None = None

    @property
    def note(self) -> str:
        """What a reader must know of the learning rate; "" for nothing."""
        if self.learned_on is None or self.tuned:
            return ""
        return f"learned rate {self.learning_rate:.3g} from {self.learned_on}"

    @property
    def mean(self) -> float:
        return fmean(self.accuracies)

    @property
    def std(self) -> float:
        """The standard deviation over seeds (n - 1); NaN for one seed."""
        return stdev(self.accuracies) if len(self.accuracies) > 1 else float("nan")

    def to_json(self) -> dict[str, Any]:
        """Return all figures, for `--json` and for results under benchmarks/."""
        return {
            **self.__dict__,
            "torch": torch.__version__,
            "note": self.note,
            "accuracies": list(self.accuracies),
            "n": len(self.accuracies),
            "mean": self.mean,
            "std": None if len(self.accuracies) < 2 else self.std,
        }
