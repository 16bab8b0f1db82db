"""The figures of explanations, drawn from real explanations of small networks."""

import math

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

import wam
from wam import plots

CATEGORIES = ("tench <1>", "goldfish", "great white shark")
SIZE = 32


def network(channels=3):
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, 3))


def images(height=SIZE, width=SIZE, channels=3):
    """Colours in (0, 1) and the same images in a model space of another offset and range per channel."""
    rgb = torch.rand(2, height, width, channels)
    x = (rgb - torch.linspace(0.3, 0.6, channels)) / torch.linspace(0.2, 0.9, channels)
    return rgb.numpy(), x.permute(0, 3, 1, 2).contiguous()


@pytest.fixture
def haar():
    rgb, x = images()
    frame = wam.Wavelet("haar", levels=2, ndim=2)
    return wam.integrated_gradients(network(), x, [1, 2], frame=frame, steps=4), rgb


def axis():
    return Figure().add_subplot()


def shown(ax):
    return np.asarray(ax.images[0].get_array())


def test_explanation_shows_the_panels_of_the_paper(haar):
    e, rgb = haar
    figure, alt = plots.explanation(e, rgb, 1, 0.25, categories=CATEGORIES)
    titles = [ax.get_title() for ax in figure.axes]
    assert titles[:4] == ["image", "attributions", "heatmap", "top 25 % of coefficients"]
    assert [title.partition(":")[0] for title in titles[4:]] == ["approx.", "level 2", "level 1"]
    assert all(ax.images and not len(ax.get_xticks()) and not len(ax.get_yticks()) for ax in figure.axes)
    assert "great white shark" in figure.texts[0].get_text()
    np.testing.assert_array_equal(shown(figure.axes[0]), rgb[1])
    np.testing.assert_allclose(shown(figure.axes[3]).shape, rgb[1].shape)


def test_alternative_text_says_what_the_explanation_says(haar):
    e, rgb = haar
    _, alt = plots.explanation(e, rgb, 1, 0.25, categories=CATEGORIES)
    assert "great white shark: integrated gradients, haar, 2 levels" in alt
    assert f"Score {e.score[1].item():.2f}" in alt
    for name, share in zip(("approximation", "level 2", "level 1"), e.scale_profile()[1].tolist()):
        assert f"{name} {100 * share:.{int(share < 0.0995)}f} %" in alt
    assert "top 25 %" in alt
    assert "class 2" in plots.explanation(e, rgb, 1)[1]


def test_the_text_says_where_the_heatmap_lies():
    x = torch.zeros(1, 1, 16, 16)
    weight = torch.zeros(1, 1, 16, 16)
    weight[..., 2, 14] = 1.0
    e = wam.saliency(lambda x: (x * weight).flatten(1).sum(1, keepdim=True), x, frame=wam.Pixel())
    assert f"{100 * 14 / 16:.0f} % from the left and {100 * 2 / 16:.0f} % from the top" in plots.describe(e)


@pytest.mark.parametrize("height, width, channels", [(32, 32, 1), (33, 47, 3)])
@pytest.mark.parametrize("frame", [wam.Wavelet("db4", levels=2, ndim=2), wam.Wavelet("haar", 4, 2), wam.Pixel()])
def test_any_size_frame_and_channels(height, width, channels, frame):
    rgb, x = images(height, width, channels)
    e = wam.saliency(network(channels), x, frame=frame)
    figure, _ = plots.explanation(e, rgb)
    figure.canvas.draw()
    scales = len(e.scales) if len(e.scales) > 1 else 0
    assert len(figure.axes) == 4 + scales
    assert figure.get_figwidth() == plots.WIDTH
    boxes = [ax.get_position() for ax in figure.axes]
    assert all(b.x0 >= 0 and b.x1 <= 1 and b.y0 >= 0 and b.y1 <= 1 for b in boxes)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    for box in boxes[:1] + boxes[2:]:  # the mosaic of an odd size is a little larger than the image
        ratio = box.height * figure.get_figheight() / (box.width * plots.WIDTH)
        assert math.isclose(ratio, height / width, rel_tol=1e-6)


def test_reconstruction_from_everything_is_the_image_in_its_own_colours(haar):
    e, rgb = haar
    everything = shown(plots.explanation(e, rgb, 0, 1.0)[0].axes[3])
    np.testing.assert_allclose(everything, rgb[0], atol=1e-4)
    nothing = shown(plots.explanation(e, rgb, 0, 0.0)[0].axes[3])  # 0 in model space: the mean colours
    np.testing.assert_allclose(nothing, np.broadcast_to([0.3, 0.45, 0.6], nothing.shape), atol=1e-4)


def test_clipped_colours_do_not_shift_the_reconstruction():
    x = torch.linspace(-1, 2, SIZE * SIZE).view(1, 1, SIZE, SIZE)
    e = wam.saliency(network(1), x, frame=wam.Wavelet("haar", levels=1, ndim=2))
    rgb = x.clamp(0, 1).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(shown(plots.explanation(e, rgb, 0, 1.0)[0].axes[3]), rgb[0, ..., 0], atol=1e-4)


def test_mosaic_puts_a_vertical_edge_on_the_right_and_is_as_large_as_the_image():
    x = torch.zeros(1, 3, SIZE, SIZE)
    x[..., 17:] = 1.0
    ax = axis()
    plots.mosaic(ax, wam.Wavelet("haar", levels=1, ndim=2).analysis(x), title="t")
    picture, half = shown(ax), SIZE // 2
    assert picture.shape == (SIZE, SIZE)
    assert picture[:half, half:].max() == 1
    assert picture[half:].max() == 0


@pytest.mark.parametrize("name", ["haar", "bior4.4", "sym8"])
def test_what_long_wavelets_keep_beyond_the_border_is_left_out_on_both_sides(name):
    bump = torch.zeros(1, 1, 64, 64)
    bump[..., 30:34, 30:34] = 1.0
    ax = axis()
    plots.mosaic(ax, wam.Wavelet(name, levels=1, ndim=2).analysis(bump), relative=True)
    corner = np.abs(shown(ax)[:32, :32])
    middle = (np.indices(corner.shape) * corner).sum((1, 2)) / corner.sum()
    np.testing.assert_allclose(middle, 15.5, atol=0.6)


def test_bands_are_scaled_each_to_itself_or_all_together():
    z = wam.Wavelet("haar", levels=1, ndim=2).analysis(torch.rand(1, 1, SIZE, SIZE) + 10)
    own, common, half = axis(), axis(), SIZE // 2
    plots.mosaic(own, z)
    plots.mosaic(common, z, relative=True)
    assert shown(own)[half:, half:].max() >= 1
    largest = {key: band.abs().quantile(0.995).item() for key, band in z.bands.items()}
    ratio = z.bands[1, "diagonal"].abs().max().item() / max(largest.values())
    assert math.isclose(shown(common)[half:, half:].max(), ratio, rel_tol=1e-4)


def test_signed_mosaic_keeps_signs_on_a_diverging_map():
    z = wam.Wavelet("haar", levels=1, ndim=2).analysis(-torch.rand(1, 1, SIZE, SIZE) - 1)
    ax = axis()
    plots.mosaic(ax, z, signed=True)
    assert shown(ax)[: SIZE // 2, : SIZE // 2].max() < 0
    assert ax.images[0].get_clim() == (-1, 1)


@pytest.mark.parametrize("levels", [1, 3])
def test_level_boundaries_lie_between_the_bands(levels):
    ax = axis()
    plots.mosaic(ax, wam.Wavelet("db2", levels=levels, ndim=2).analysis(torch.rand(1, 1, SIZE, SIZE)))
    vertical = sorted(line.get_xdata()[0] for line in ax.lines if len(set(line.get_xdata())) == 1)
    assert vertical == [SIZE / 2**level - 0.5 for level in range(levels, 0, -1)]


def test_overlay_is_bright_where_the_heatmap_is():
    heat = torch.zeros(SIZE, SIZE)
    heat[20:, :10] = 3.0
    ax = axis()
    plots.overlay(ax, np.full((SIZE, SIZE, 3), 0.5), heat)
    brightness = shown(ax).mean(axis=2)
    assert brightness[20:, :10].min() > 1.5 * brightness[:20].max()
    plots.overlay(ax, np.full((SIZE, SIZE, 3), 0.5), 0 * heat)  # nothing matters: no division by zero
    assert np.isfinite(ax.images[-1].get_array()).all()


def test_gallery_has_a_row_for_each_explanation(haar):
    e, rgb = haar
    figure, alt = plots.gallery([(e, rgb, 1), (e, rgb, 0)], 0.2, categories=CATEGORIES)
    assert len(figure.axes) == 8
    assert [ax.get_ylabel() for ax in figure.axes[::4]] == ["great white shark", "goldfish"]
    assert [ax.get_title() for ax in figure.axes[:4]] == ["image", "mosaic", "heatmap", "top 20 %"]
    assert alt.index("great white shark") < alt.index("goldfish")
    np.testing.assert_array_equal(shown(figure.axes[4]), rgb[0])
    figure, alt = plots.gallery([(e, rgb, 0)], labels=["a network"])
    assert len(figure.axes) == 4 and "a network: approximation" in alt


def test_errors_name_the_fix(haar):
    e, rgb = haar
    with pytest.raises(ValueError, match=r"\(2, 32, 32, 3\).*\(1, 32, 32, 3\).*model.display"):
        plots.explanation(e, rgb[:1])
    with pytest.raises(ValueError, match="0 rows"):
        plots.gallery([])
    with pytest.raises(ValueError, match="1 labels for 2 rows"):
        plots.gallery([(e, rgb, 0), (e, rgb, 1)], labels=["one"])
    with pytest.raises(ValueError, match="not 1; see charts.profile"):
        plots.mosaic(axis(), wam.Fourier(levels=2, ndim=2).analysis(torch.rand(1, 1, SIZE, SIZE)))
    sound = wam.saliency(lambda x: x.sum(2), torch.rand(1, 3, 64), frame=wam.Wavelet("haar", levels=2, ndim=1))
    with pytest.raises(ValueError, match="3 channels of 1 dimensions"):
        plots.explanation(sound, np.zeros((1, 64, 1, 3)))


def test_figures_leave_matplotlib_as_it_was(haar):
    before = dict(matplotlib.rcParams)
    plots.explanation(*haar)
    plots.gallery([(*haar, 0)])
    assert dict(matplotlib.rcParams) == before
    figure, axes = plots.panels(2, 3, aspect=0.5)
    assert axes.shape == (2, 3) and {id(ax.figure) for ax in axes.flat} == {id(figure)}


@pytest.mark.parametrize("name", ["magma", "inferno"])
def test_magnitudes_keep_their_order_in_greyscale(name):
    luminance = matplotlib.colormaps[name](np.linspace(0, 1, 64))[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > 0).all()


def test_lines_of_titles_are_the_same_above_every_row_or_given_for_each():
    tall, short, none = (plots.panels(2, 3, titles=t)[0].get_figheight() for t in (2, [2, 0], [0, 0]))
    assert tall - short == pytest.approx(short - none) and tall > short
