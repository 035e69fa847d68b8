"""The one list of names that users and plugins import; `ddkit` itself forwards to it."""

from ddkit.config import StageName
from ddkit.data.augmentation.augment import cutmix, resample
from ddkit.data.augmentation.dsa import (
    DSA_STRATEGY,
    DsaParameters,
    apply_dsa,
    draw_dsa,
    draw_scheme,
)
from ddkit.data.augmentation.views import draw_views
from ddkit.data.loading.batching import batch_count, batches_of
from ddkit.data.loading.resident import Augmentation, Resident
from ddkit.data.sources.registered import register_data
from ddkit.data.split import Split
from ddkit.distilled.dataset import DistilledDataset, load
from ddkit.evaluation.accuracy import default_protocol, evaluate_on_test, protocol_for
from ddkit.evaluation.protocols import Protocol
from ddkit.evaluation.result import Evaluation
from ddkit.labels import (
    Ensemble,
    EpochLabels,
    HardLabels,
    Labels,
    RegressionTargets,
    SoftLabels,
)
from ddkit.labels.making import LABEL_BATCH, label_epochs, logits_of
from ddkit.labels.recipe import averaged_logits
from ddkit.methods.hookspecs import hookimpl
from ddkit.methods.options import MethodOptions, option
from ddkit.methods.patch_options import PatchOptions
from ddkit.methods.plugin import Alias
from ddkit.methods.training_options import TrainingOptions
from ddkit.networks import average_statistics, batch_norms
from ddkit.networks import create as create_network
from ddkit.networks import parse as parse_network
from ddkit.networks.features import features_and_logits, last_linear_input
from ddkit.networks.pruned import PruningHistory, network_size
from ddkit.networks.saved import load_network
from ddkit.pipeline.library import distill, evaluate
from ddkit.pools.live import LivePool
from ddkit.pools.pool import Pool
from ddkit.pools.real_training import RealTraining
from ddkit.pools.tasks import Member, MemberTask, TaskContext
from ddkit.pools.trust import trained_accuracy
from ddkit.run import Run
from ddkit.runtime.arithmetic import PRECISIONS, Arithmetic
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.interrupt import check_stop
from ddkit.runtime.loggers import Logger
from ddkit.runtime.machine import available_cores
from ddkit.runtime.memory import free_memory, weights_of
from ddkit.runtime.moving import sent
from ddkit.runtime.progress import Silent
from ddkit.runtime.seeds import derive, generator
from ddkit.runtime.settings import Growing
from ddkit.runtime.sizes import readable
from ddkit.synthesis.budget import (
    HeldPool,
    bytes_needed,
    check_requested,
    first_images,
    largest_fitting,
    made_up_member,
    peak_of,
    step_peak,
    trial_run,
    untrained_network,
)
from ddkit.synthesis.gradients import with_gradients
from ddkit.synthesis.images import Synthetic, as_pixels
from ddkit.synthesis.initial import initial_inputs, real_images, shuffled
from ddkit.synthesis.leaves import Leaf
from ddkit.synthesis.objective import ImageObjective, Objective
from ddkit.synthesis.patches import (
    PATCH_BATCH,
    check_patches,
    patch_inputs,
    patch_losses,
)
from ddkit.synthesis.shards import Shard, class_balanced_shards, group_shards
from ddkit.training.loop import Batches, Diverged, Position, accuracy, fit, seeded, training_trial
from ddkit.training.optimisers import AdaBelief, Lamb
from ddkit.training.recipe import SCHEDULE, Recipe

# for users: runs, sets and figures
__all__ = [
    "DdkitError",
    "DistilledDataset",
    "Evaluation",
    "Logger",
    "distill",
    "evaluate",
    "load",
    "load_network",
    "register_data",
]
# a method: its hooks and its options
__all__ += [
    "Alias",
    "Growing",
    "MethodOptions",
    "PatchOptions",
    "Run",
    "StageName",
    "TrainingOptions",
    "hookimpl",
    "option",
]
# what is optimised
__all__ += [
    "PATCH_BATCH",
    "AdaBelief",
    "ImageObjective",
    "Lamb",
    "Leaf",
    "Objective",
    "Shard",
    "Synthetic",
    "as_pixels",
    "check_patches",
    "class_balanced_shards",
    "group_shards",
    "initial_inputs",
    "patch_inputs",
    "patch_losses",
    "real_images",
    "shuffled",
    "with_gradients",
]
# pools of networks, and how these are trained
__all__ += [
    "SCHEDULE",
    "Batches",
    "Diverged",
    "LivePool",
    "Member",
    "MemberTask",
    "Pool",
    "Position",
    "RealTraining",
    "Recipe",
    "TaskContext",
    "accuracy",
    "fit",
    "seeded",
    "trained_accuracy",
    "training_trial",
]
# networks
__all__ += [
    "PruningHistory",
    "average_statistics",
    "batch_norms",
    "create_network",
    "features_and_logits",
    "last_linear_input",
    "network_size",
    "parse_network",
]
# labels, and protocols that evaluate them
__all__ += [
    "LABEL_BATCH",
    "Ensemble",
    "EpochLabels",
    "HardLabels",
    "Labels",
    "Protocol",
    "RegressionTargets",
    "SoftLabels",
    "averaged_logits",
    "default_protocol",
    "evaluate_on_test",
    "label_epochs",
    "logits_of",
    "protocol_for",
]
# images on their way to networks
__all__ += [
    "DSA_STRATEGY",
    "Augmentation",
    "DsaParameters",
    "Resident",
    "Split",
    "apply_dsa",
    "batch_count",
    "batches_of",
    "cutmix",
    "draw_dsa",
    "draw_scheme",
    "draw_views",
    "resample",
]
# memory budgets: what a step takes, tried
__all__ += [
    "HeldPool",
    "bytes_needed",
    "check_requested",
    "first_images",
    "free_memory",
    "largest_fitting",
    "made_up_member",
    "peak_of",
    "readable",
    "step_peak",
    "trial_run",
    "untrained_network",
    "weights_of",
]
# seeds, arithmetic, progress
__all__ += [
    "PRECISIONS",
    "Arithmetic",
    "Silent",
    "available_cores",
    "check_stop",
    "derive",
    "generator",
    "sent",
]
