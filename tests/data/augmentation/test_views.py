import pytest
import torch
from torchvision.transforms import functional as TF

from ddkit.data.augmentation.views import MIXES, Views, draw_views, render
from ddkit.runtime.errors import DdkitError

SIZE = (12, 16)


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int) -> torch.Tensor:
    return torch.rand(count, 3, *SIZE, generator=gen(7))


def slowly(images: torch.Tensor, views: Views, i: int) -> torch.Tensor:
    """Row `i` by torchvision, one image at a time."""

    def view(j: int) -> torch.Tensor:
        image = images[j]
        if views.strips is not None:
            for side, order in enumerate(views.strips[j].tolist(), 1):
                strips = image.tensor_split(len(order), side)
                image = torch.cat([strips[number] for number in order], side)
        pixels = views.crop[j] * torch.tensor([*SIZE, *SIZE])
        seen = TF.resized_crop(image, *pixels.round().int().tolist(), list(SIZE))
        return TF.hflip(seen) if views.flip[j] else seen

    own, other = view(i), view(int(views.partner[i]))
    if views.mix == "mixup":
        return views.weight[i] * own + (1 - views.weight[i]) * other
    top, left, bottom, right = views.box[i].tolist()
    own[:, top:bottom, left:right] = other[:, top:bottom, left:right]
    return own


@pytest.mark.parametrize(("mix", "strips"), [*((mix, 1) for mix in MIXES), ("cutmix", 5)])
def test_rendering_equals_torchvision_one_image_at_a_time(mix, strips):
    images, views = pictures(40), draw_views(40, SIZE, gen(), mix=mix, strips=strips)
    expected = torch.stack([slowly(images, views, i) for i in range(40)])
    actual = render(images, views, torch.arange(40))
    torch.testing.assert_close(actual, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("mix", MIXES)
def test_a_row_does_not_depend_on_the_rest_of_the_batch(mix):
    images, views = pictures(50), draw_views(50, SIZE, gen(), mix=mix)
    whole = render(images, views, torch.arange(50))
    order = torch.randperm(50, generator=gen(3))
    for rows in (*order.split(7), order):
        assert torch.equal(render(images, views, rows), whole[rows])


def test_images_may_come_from_a_function():
    images, views = pictures(20), draw_views(20, SIZE, gen())
    rows = torch.tensor([3, 17, 3])
    gathered = render(lambda indices: images[indices], views, rows)
    assert torch.equal(gathered, render(images, views, rows))


def test_cutmix_weight_is_the_share_of_pixels_that_stay():
    views = draw_views(300, SIZE, gen())
    for box, weight in zip(views.box, views.weight, strict=True):
        stays = torch.ones(SIZE)
        stays[box[0] : box[2], box[1] : box[3]] = 0
        assert weight == pytest.approx(float(stays.mean()), abs=1e-6)
    assert 0.5 < views.weight.mean() < 0.75  # boxes lose what sticks out of the image


def test_every_image_has_its_own_parameters():
    views = draw_views(100, SIZE, gen())
    assert len(views.crop.unique(dim=0)) > 90
    assert len(views.box.unique(dim=0)) > 60
    assert sorted(views.partner.tolist()) == list(range(100))
    assert 30 < views.flip.sum() < 70


@pytest.mark.parametrize("mix", ["cutmix", "mixup"])
def test_an_image_that_is_its_own_partner_is_not_mixed(mix):
    views = draw_views(1, SIZE, gen(), mix=mix)
    assert views.partner.tolist() == [0]
    assert views.weight.tolist() == [1]
    assert views.box.tolist() == [[0, 0, 0, 0]]


def test_without_mix_and_flip_only_crops_remain():
    views = draw_views(30, SIZE, gen(), mix="none", flip=False)
    assert views.partner.tolist() == list(range(30))
    assert not views.flip.any()
    assert (views.weight == 1).all()


def test_strips_change_no_other_draw_and_take_every_order_as_often():
    plain, cut = (draw_views(6000, SIZE, gen(), mix="none", strips=n) for n in (1, 3))
    assert plain.strips is None
    assert torch.equal(plain.crop, cut.crop)
    assert torch.equal(plain.flip, cut.flip)
    for side in (0, 1):
        counts = cut.strips[:, side].unique(dim=0, return_counts=True)[1]
        assert len(counts) == 6
        assert (counts - 1000).abs().max() < 150  # 5 standard deviations


@pytest.mark.parametrize(("mix", "strips"), [*((mix, 1) for mix in MIXES), ("cutmix", 2)])
def test_stored_and_read_again_they_render_the_same(mix, strips):
    images, views = pictures(30), draw_views(30, SIZE, gen(), mix=mix, strips=strips)
    stored = views.tensors("epoch.3")
    kinds = {name.removeprefix("epoch.3."): tensor.dtype for name, tensor in stored.items()}
    assert kinds == {
        "crop": torch.float32,
        "flip": torch.bool,
        "partner": torch.int32,
        "box": torch.int16,
        "weight": torch.float32,
        "mix": torch.int16,
        **({"strips": torch.int16} if strips > 1 else {}),
    }
    again = Views.from_tensors(stored | {"images": images}, "epoch.3")
    rows = torch.arange(30)
    assert again.mix == mix
    assert torch.equal(render(images, again, rows), render(images, views, rows))


def test_rows_picks_views():
    views = draw_views(30, SIZE, gen())
    rows = torch.tensor([4, 29, 0])
    picked = views.rows(rows)
    assert len(picked) == 3
    assert torch.equal(picked.crop, views.crop[rows])
    assert torch.equal(picked.partner, views.partner[rows])


def test_equal_generators_draw_equal_views():
    first, again, other = (draw_views(20, SIZE, gen(seed)).tensors("v") for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["v.crop"], other["v.crop"])


def test_unknown_mix_is_refused():
    with pytest.raises(DdkitError, match="unknown mix 'cutmx': did you mean 'cutmix'"):
        draw_views(3, SIZE, gen(), mix="cutmx")


def test_alpha_of_zero_is_refused():
    with pytest.raises(DdkitError, match="alpha of the mixing weights must be above 0, got 0"):
        draw_views(3, SIZE, gen(), alpha=0)


def test_incomplete_views_are_refused():
    with pytest.raises(DdkitError, match=r"stored views lack 'v\.crop'"):
        Views.from_tensors({}, "v")
