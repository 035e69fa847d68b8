"""What takes less memory in a stage of a run, said where it ran out."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from ddkit.config import RunConfig, StageName
from ddkit.methods.plugin import options_model
from ddkit.runtime.shortage import KEPT, enough_memory
from ddkit.runtime.sizes import readable

WORDS: dict[StageName, str] = {
    "pool": "the training of the pool",
    "synthesis": "the synthesis",
    "relabel": "the labelling",
}
SHARE = 0.8  # of what was taken, as a budget that is proposed


@contextmanager
def enough_memory_for(config: RunConfig, stage: StageName) -> Iterator[None]:
    """Say in one line that memory ran out in a stage of a run, and what would take less."""
    ways = partial(ways_out, config, stage)
    with enough_memory(WORDS[stage], config.device, ways, KEPT):
        yield


def ways_out(config: RunConfig, stage: StageName, taken: int) -> list[str]:
    """Return what takes less memory in a stage, of what its method has: flags and options.

    Args:
        taken: bytes that were there when memory ran out.
    """
    chosen = config.pool_stage("synthesis") if stage == "pool" else config.stage(stage)
    model = options_model(chosen.plugin)
    ways = []
    if stage == "synthesis":
        if model.keeps_budget:
            least = min(taken, config.memory_budget or taken)
            ways.append(f"--memory-budget {readable(SHARE * least).replace(' ', '')}")
        if not model.makes_own_shards and config.groups < config.ipc:
            ways.append(f"--groups {min(config.ipc, 2 * config.groups)}")
    prefix = "" if chosen.plugin == config.plugin else f"{stage}."
    for name in model.lighter.get(stage, ()):
        value = chosen.options.get(name)
        now = "all" if value == 0 else value
        ways.append(f"a smaller {prefix}{name} (--set {prefix}{name}=…, now {now})")
    return [*ways, "a smaller network, with another --out"]
