"""What is left of an image: closed forms, edges counted by hand, and masks whose effect is known."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import wam
from wam import content, data

HAAR = wam.Wavelet("haar", levels=3, ndim=2)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def photograph():
    """A part of a photograph, a batch of one in display units."""
    coffee = np.asarray(data.photographs()[0].image)[200:328, 250:410]
    return torch.from_numpy(coffee.copy()).permute(2, 0, 1)[None].double() / 255


def masked(frame, x, mask):
    """What a mask on the packed coefficients leaves of ``x``."""
    flat, spec = frame.analysis(x).pack()
    return frame.synthesis(wam.Coefficients.unpack(flat * mask(flat), spec))


def step(height=0.5, at=4, size=8, channels=3):
    x = torch.zeros(1, channels, size, size, dtype=torch.float64)
    x[..., at:] = height
    return x


# --- luma and chroma ---------------------------------------------------------------------------------------------


def test_luma_and_chroma_of_the_corners_of_the_colour_cube():
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 3)[..., None, None]
    r, g, b = corners.unbind(1)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    blue, red = -0.168736 * r - 0.331264 * g + 0.5 * b, 0.5 * r - 0.418688 * g - 0.081312 * b  # as JPEG prints them
    torch.testing.assert_close(content.luma_chroma(corners), torch.stack([y, blue, red], 1), rtol=0, atol=1e-6)


def test_grey_has_no_chroma_at_all():
    grey = noise(2, 1, 5, 6).float().expand(-1, 3, -1, -1)
    found = content.luma_chroma(grey)
    assert torch.equal(found[:, 0], grey[:, 0]) and not found[:, 1:].any()


# --- what is retained --------------------------------------------------------------------------------------------


@given(share=st.floats(-2, 2), seed=st.integers(0, 9))
def test_of_a_scaled_signal_the_scale_is_left(share, seed):
    x = noise(2, 3, 7, 9, seed=seed)
    torch.testing.assert_close(content.retained(x, share * x), torch.full((2,), share).double())
    by_scale = content.retained_by_scale(HAAR, noise(2, 3, 16, 24, seed=seed), share * noise(2, 3, 16, 24, seed=seed))
    torch.testing.assert_close(by_scale, torch.full((2, 3, 4), share).double())


def test_what_is_orthogonal_counts_as_nothing_and_parts_add_up():
    x = photograph()
    left = x * (torch.arange(x.shape[3]) < 40)
    other = noise(*x.shape)
    artefact = other - (other * x).sum() / x.square().sum() * x
    torch.testing.assert_close(content.retained(x, left + artefact), content.retained(x, left))
    torch.testing.assert_close(content.retained(x, left) + content.retained(x, x - left), torch.ones(1).double())
    assert (left + artefact).square().sum() > x.square().sum(), "a ratio of energies would be above 1"


def test_a_mask_on_coefficients_retains_the_energy_it_keeps():
    x = photograph() - 0.5
    z = HAAR.analysis(x).pack()[0]
    mask = torch.rand(z.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = content.retained(x, masked(HAAR, x, lambda _: mask))
    torch.testing.assert_close(found, ((mask * z * z).sum() / (z * z).sum())[None])


def test_only_the_places_asked_for_count():
    x, y = noise(2, 3, 6, 8), noise(2, 3, 6, 8, seed=1)
    left = content.inside((0, 0, 0.5, 1), (6, 8))
    part = torch.where(left, x / 2, y)
    torch.testing.assert_close(content.retained(x, part, left), torch.full((2,), 0.5).double())
    right = (x * y)[..., 4:].sum((1, 2, 3)) / (x * x)[..., 4:].sum((1, 2, 3))
    torch.testing.assert_close(content.retained(x, part, ~left), right)
    each = torch.cat([left, ~left])
    torch.testing.assert_close(content.retained(x, part, each), torch.stack([torch.tensor(0.5).double(), right[1]]))


def test_of_nothing_there_is_no_share():
    x = torch.zeros(2, 3, 8, 8)
    x[1] = 1
    full = (0, 0, 1, 1)
    assert content.retained(x, x).isnan().tolist() == [True, False]
    assert content.retained(x, x, ~content.inside(full, (8, 8))).isnan().all()
    assert content.false_colour(wam.Pixel(), x, x + torch.eye(3)[0].view(3, 1, 1)).isnan().tolist() == [True, False]


def test_scales_and_channels_are_told_apart():
    x = noise(2, 3, 16, 24)
    z = HAAR.analysis(x)
    kept = {"approx": 0.1, 3: 0.2, 2: 0.3, 1: 0.4}
    part = sum(share * HAAR.synthesis(z.level(scale)) for scale, share in kept.items())
    channel = torch.tensor([1.0, 0.5, 0.0]).double()
    found = content.retained_by_scale(HAAR, x, part * channel.view(3, 1, 1))
    expected = channel[:, None] * torch.tensor(list(kept.values())).double()
    torch.testing.assert_close(found, expected.expand(2, 3, 4))
    energy = torch.stack([z.level(scale).pack()[0].square().sum(2) for scale in kept], dim=2)
    whole = content.retained(x, part * channel.view(3, 1, 1))
    torch.testing.assert_close((energy * found).sum((1, 2)) / energy.sum((1, 2)), whole)


# --- colour that was not there -----------------------------------------------------------------------------------


@settings(deadline=None)
@given(seed=st.integers(0, 99), power=st.sampled_from([0.2, 1, 5]), haar=st.booleans())
def test_a_mask_that_the_channels_share_makes_no_colour(seed, power, haar):
    frame, x = HAAR if haar else wam.Pixel(), noise(2, 3, 16, 24, seed=seed)
    mask = torch.rand(2, 1, 384, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) ** power
    assert content.false_colour(frame, x, masked(frame, x, lambda _: mask)).max() < 1e-25


def test_masks_of_their_own_make_colour():
    photo = photograph() - 0.5
    grey = photo.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    mask = torch.rand(
        1, 3, photo[0, 0].numel(), generator=torch.Generator().manual_seed(0), dtype=torch.float64
    ).round()
    for x in (photo, grey):
        apart, tied = (content.false_colour(HAAR, x, masked(HAAR, x, lambda _, m=m: m)) for m in (mask, mask[:, :1]))
        assert apart > 0.05 and tied < 1e-25
    colour = content.luma_chroma(masked(HAAR, grey, lambda _: mask))[:, 1:]
    expected = colour.square().sum() / content.luma_chroma(grey).square().sum()
    torch.testing.assert_close(content.false_colour(HAAR, grey, masked(HAAR, grey, lambda _: mask)), expected[None])


def test_another_hue_of_equal_chroma_is_false():
    """Yellow that lost its green is red: the size of the chroma hardly changes, its direction does."""
    yellow, red = (torch.tensor(rgb).double().view(1, 3, 1, 1) for rgb in ([1.0, 1.0, 0.0], [1.0, 0.0, 0.0]))
    (y, *c), (_, *found) = (content.luma_chroma(rgb).flatten().tolist() for rgb in (yellow, red))
    angle = math.atan2(*c) - math.atan2(*found)
    assert abs(math.hypot(*found) / math.hypot(*c) - 1) < 0.05
    expected = (math.hypot(*found) * math.sin(angle)) ** 2 / (y**2 + math.hypot(*c) ** 2)
    made = content.false_colour(wam.Pixel(), yellow, red).item()
    assert made == pytest.approx(expected) and made > 0.1
    more = content.false_colour(wam.Pixel(), red, 3 * red).item()  # the excess of what was there counts, too
    assert more == pytest.approx(4 * math.hypot(*found) ** 2 / (0.299**2 + math.hypot(*found) ** 2))
    opposite = content.false_colour(wam.Pixel(), red, -red).item()
    assert opposite == pytest.approx(math.hypot(*found) ** 2 / (0.299**2 + math.hypot(*found) ** 2))


# --- edges -------------------------------------------------------------------------------------------------------


def test_edges_are_those_of_scipy():
    x = photograph()
    y = (x * torch.tensor([0.299, 0.587, 0.114]).double().view(3, 1, 1)).sum(1)[0].numpy()
    expected = np.hypot(*(ndimage.sobel(y, axis, mode="nearest") for axis in (0, 1))) / 4
    torch.testing.assert_close(content.edges(x)[0], torch.from_numpy(expected))
    torch.testing.assert_close(content.edges(2 * x - 3), 2 * content.edges(x))


def test_new_edges_are_counted():
    x = step()  # 8 x 8, a step of 0.5 between columns 3 and 4: 16 edge pixels
    moved, far = step(at=5), step(at=7)
    both = x + far
    cases = {"same": x, "paler": x / 2, "moved by one": moved, "moved by three": far, "one more": both, "none": 0 * x}
    expected = {"same": 0, "paler": 0, "moved by one": 0, "moved by three": 16, "one more": 16, "none": 0}
    for name, part in cases.items():
        assert content.hallucinated(x, part).item() == expected[name] / 16, name
    assert content.hallucinated(x, step(at=6)).item() == 8 / 16  # columns 5 and 6: 5 is a neighbour of 4
    assert content.hallucinated(both, x).item() == 0
    assert content.hallucinated(both, both.transpose(2, 3)).item() > 0
    assert content.hallucinated(0 * x, x).isnan().item()


def test_the_threshold_is_a_share_of_the_range_of_the_image():
    x = torch.cat([step(), 0.1 * step() - 3])
    faint = torch.cat([step(0.06, at=7), step(0.006, at=7)])
    assert content.hallucinated(x, faint).tolist() == [1, 1]
    assert content.hallucinated(x, 0.8 * faint).tolist() == [0, 0]


def test_correlation_of_edges_is_pearsons():
    x, y = photograph(), photograph() + 0.1 * noise(1, 3, 128, 160)
    box = content.inside((0.25, 0.1, 0.8, 0.7), (128, 160))
    for where, seen in ((None, torch.ones_like(box)), (box, box)):
        a, b = (content.edges(rgb)[seen[:, 0]].numpy() for rgb in (x, y))
        assert content.edge_correlation(x, y, where).item() == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert content.edge_correlation(x, x / 3 - 1).item() == pytest.approx(1)
    assert content.edge_correlation(x, torch.zeros_like(x)).isnan().item()
    assert content.edge_correlation(x, y, ~content.inside((0, 0, 1, 1), (128, 160))).isnan().item()


# --- patches and boxes -------------------------------------------------------------------------------------------


@given(grid=st.integers(2, 5), high=st.integers(1, 3), wide=st.integers(1, 3), seed=st.integers(0, 99))
def test_patches_move_whole_and_none_stays(grid, high, wide, seed):
    patch = torch.arange(grid**2).double().view(grid, grid)
    x = patch.repeat_interleave(high, 0).repeat_interleave(wide, 1)
    within = torch.arange(high * wide).double().view(high, wide).repeat(grid, grid)  # the place inside its patch
    pictures = torch.stack([x, within]).expand(2, 2, -1, -1)
    moved = content.shuffled(pictures, grid, seed)
    assert torch.equal(moved[0], moved[1]) and torch.equal(moved[0, 1], within)
    places = moved[0, 0, ::high, ::wide]
    assert torch.equal(places.repeat_interleave(high, 0).repeat_interleave(wide, 1), moved[0, 0])
    assert torch.equal(places.flatten().sort().values, patch.flatten()) and (places != patch).all()
    assert torch.equal(moved, content.shuffled(pictures, grid, seed))


def test_seeds_shuffle_otherwise_and_leave_the_generator_alone():
    x, state = noise(1, 3, 8, 8), torch.get_rng_state()
    orders = {tuple(content.shuffled(x, 4, seed).flatten().tolist()) for seed in range(20)}
    assert len(orders) == 20 and torch.equal(state, torch.get_rng_state())


def test_boxes_cover_the_pixels_whose_centres_they_hold():
    mask = content.inside((0.1, 0.2, 0.5, 1), (10, 20))
    rows, columns = np.nonzero(mask[0, 0].numpy())
    assert mask.shape == (1, 1, 10, 20) and mask.sum() == 8 * 8
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 9, 2, 9)
    boxes = [(0, 0, 1, 1), (0.1, 0.2, 0.5, 1)]
    several = content.inside(boxes, (10, 20))
    assert several.shape == (2, 1, 10, 20) and several[0].all() and torch.equal(several[1:], mask)
    assert torch.equal(content.inside(torch.tensor(boxes).double(), (10, 20)), several)
    for halves in (((0, 0, 0.5, 1), (0.5, 0, 1, 1)), ((0, 0, 1, 0.5), (0, 0.5, 1, 1))):
        one, other = content.inside(halves, (7, 9))
        assert (one ^ other).all(), "no pixel is in both halves, or in none"


# --- all of them -------------------------------------------------------------------------------------------------

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
MEASURES = {
    "luma_chroma": lambda x, y, w: content.luma_chroma(y),
    "retained": content.retained,
    "retained_by_scale": lambda x, y, w: content.retained_by_scale(HAAR, x, y),
    "false_colour": lambda x, y, w: content.false_colour(HAAR, x, y),
    "edges": lambda x, y, w: content.edges(y),
    "hallucinated": lambda x, y, w: content.hallucinated(x, y),
    "edge_correlation": content.edge_correlation,
    "shuffled": lambda x, y, w: content.shuffled(y, 4),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", MEASURES)
def test_dtype_and_device_are_kept_and_samples_are_apart(name, device):
    x = torch.cat([photograph(), photograph().flip(3)]).to(device)
    y = masked(HAAR, x, lambda z: (z.abs() > 0.1).to(z))
    where = content.inside((0.2, 0, 0.7, 0.9), (128, 160))
    precise = MEASURES[name](x, y, where)
    assert precise.shape[0] == 2 and precise.dtype == torch.float64 and precise.device == x.device
    torch.testing.assert_close(torch.cat([MEASURES[name](x[i : i + 1], y[i : i + 1], where) for i in (0, 1)]), precise)
    rough = MEASURES[name](x.float(), y.float(), where)
    assert rough.dtype == torch.float32 and rough.device == x.device
    torch.testing.assert_close(rough.double(), precise, rtol=1e-3, atol=1e-4)


X = torch.zeros(2, 3, 8, 8)
WHERE = torch.ones(1, 1, 8, 8) > 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: content.luma_chroma(X[:, :1]), ValueError, r"\(batch, 3, height, width\), got shape \(2, 1, 8, 8\)"),
        (lambda: content.edges(X[0]), ValueError, r"got shape \(3, 8, 8\)"),
        (lambda: content.luma_chroma(X.half()), TypeError, "float16; convert with x.float()"),
        (lambda: content.retained(X, X[:1]), ValueError, r"must agree .*\(2, 3, 8, 8\) .*\(1, 3, 8, 8\) "),
        (lambda: content.retained(X, X.double()), ValueError, "must agree .*float32.*float64"),
        (lambda: content.retained(X, None), TypeError, "expected a tensor .* got NoneType"),
        (lambda: content.retained(X, X, WHERE.float()), TypeError, "boolean tensor, got torch.float32; .* where > 0"),
        (lambda: content.retained(X, X, True), TypeError, "boolean tensor, got <class 'bool'>"),
        (lambda: content.retained(X, X, WHERE[0]), ValueError, r"must be \(2, 1, 8, 8\), .* got \(1, 8, 8\)"),
        (lambda: content.edge_correlation(X, X, WHERE.expand(3, 1, 8, 8)), ValueError, r"got \(3, 1, 8, 8\)"),
        (lambda: content.retained_by_scale(HAAR, X, X[:, :2]), ValueError, "must agree"),
        (lambda: content.retained_by_scale(HAAR, X[..., :4], X[..., :4]), ValueError, "levels of haar do not fit"),
        (lambda: content.false_colour(HAAR, X[:, :2], X[:, :2]), ValueError, "expected colour images"),
        (lambda: content.shuffled(X, 1), ValueError, "grid must be an integer of at least 2, got 1"),
        (lambda: content.shuffled(X, 3), ValueError, r"grid of 3 must divide .*\(2, 3, 8, 8\)"),
        (lambda: content.shuffled(X, 2, seed=-1), ValueError, "seed must be an integer of at least 0"),
        (lambda: content.inside((0, 0, 1), (8, 8)), ValueError, r"left, top, right, bottom.*got \(0, 0, 1\)"),
        (lambda: content.inside((0, 0, 1, 2), (8, 8)), ValueError, "0 to 1, got"),
        (lambda: content.inside((-0.1, 0, 1, 1), (8, 8)), ValueError, "0 to 1, got"),
        (lambda: content.inside((0.5, 0, 0.5, 1), (8, 8)), ValueError, "0 to 1, got"),
        (lambda: content.inside((0, 0, math.nan, 1), (8, 8)), ValueError, "got .*nan"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
