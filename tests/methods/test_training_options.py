"""The options of a pool's training: a subclass names other defaults, and all else is shared."""

import pytest
from pydantic import ValidationError

from ddkit import TrainingOptions, option
from ddkit.training.recipe import Recipe


class Own(TrainingOptions, train_epochs=7, train_lr=0.5):
    teachers: int = option(3, "how many")


class Derived(Own, train_lr=0.25):
    pass


def test_a_subclass_has_the_defaults_that_it_names_and_changes_no_other_class():
    assert (Own().train_epochs, Own().train_lr, Own().train_batch) == (7, 0.5, 256)
    assert (Derived().train_epochs, Derived().train_lr, Derived().teachers) == (7, 0.25, 3)
    assert (TrainingOptions().train_epochs, TrainingOptions().train_lr) == (30, 0.01)


def test_bounds_and_meaning_stay_with_a_new_default():
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        Own(train_epochs=0)
    described = TrainingOptions.model_fields["train_epochs"]
    assert Own.model_fields["train_epochs"].description == described.description
    assert Own.model_fields["train_epochs"].json_schema_extra == {"stages": ["pool"]}


def test_the_recipe_is_made_of_the_options():
    options = Own(train_batch=32, train_momentum=0.1, train_decay=0.2, train_schedule="cosine")
    assert options.recipe == Recipe(
        epochs=7,
        batch_size=32,
        optimiser="sgd",
        lr=0.5,
        momentum=0.1,
        weight_decay=0.2,
        schedule="cosine",
    )
