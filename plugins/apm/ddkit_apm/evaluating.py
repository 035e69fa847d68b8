"""The paper's own protocol: networks are trained towards the logits with L1, as students are."""

from collections.abc import Sequence

from ddkit import (
    DistilledDataset,
    Evaluation,
    Run,
    default_protocol,
    evaluate_on_test,
    protocol_for,
)
from ddkit_apm.options import ApmOptions
from ddkit_apm.students import recipe


def own_protocol(
    run: Run, distilled: DistilledDataset, network: str, seeds: Sequence[int]
) -> Evaluation:
    """Return the accuracies under the protocol `l1` with the students' recipe.

    A set of hard labels has no logits: it gets the core's protocol for hard labels.
    """
    options: ApmOptions = run.options
    if distilled.labels.kind == "hard":
        protocol = default_protocol(distilled)
    else:
        protocol = protocol_for("l1").model_copy(
            update={"recipe": recipe(options, options.evaluation_epochs)}
        )
    return evaluate_on_test(protocol, run, distilled, network, seeds)
