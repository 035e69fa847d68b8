"""Labels of a distilled set: hard, soft, soft per epoch, made in training, regression targets.

kinds.py     what labels are; hard ones, and one vector of logits or targets per image
epochs.py    logits of a new augmentation per epoch, with the augmentations to replay
recipes.py   the same without storage: views from a seed, logits by members of a pool
codecs.py    logits in fewer bytes: int8, top-k
coding.py    coded logits, used like a tensor
drawn.py     views that follow from a seed
forms.py     what a user can ask for, and from one form to another
reading.py   from an artifact's tensors to labels
checking.py  whether a file's labels can be read
"""

from ddkit.labels.drawn import DrawnViews as DrawnViews
from ddkit.labels.epochs import EpochLabels as EpochLabels
from ddkit.labels.epochs import joined as joined
from ddkit.labels.kinds import HardLabels as HardLabels
from ddkit.labels.kinds import Images as Images
from ddkit.labels.kinds import Labels as Labels
from ddkit.labels.kinds import RegressionTargets as RegressionTargets
from ddkit.labels.kinds import SoftLabels as SoftLabels
from ddkit.labels.kinds import StoredLabels as StoredLabels
from ddkit.labels.kinds import soft_cross_entropy as soft_cross_entropy
from ddkit.labels.reading import labels_from as labels_from
from ddkit.labels.recipe import Ensemble as Ensemble
from ddkit.labels.recipe import RecipeLabels as RecipeLabels
