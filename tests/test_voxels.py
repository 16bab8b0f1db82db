"""The figures of volumes: what is drawn is where it is, hides what is behind it, and is said in words."""

import math

import matplotlib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

import wam
from wam import cubes, voxels, words
from wam.coefficients import Coefficients

HAAR = wam.Wavelet("haar", levels=2, ndim=3)


def axis():
    return Figure().add_subplot()


def collection(ax):
    (drawn,) = (c for c in ax.collections if isinstance(c, PolyCollection))
    return drawn


def outlines(ax):
    return np.array([path.vertices[:4] for path in collection(ax).get_paths()]).reshape(-1, 4, 2)


def opaque(ax):
    """The number of opaque faces, and of translucent ones."""
    alpha = collection(ax).get_facecolor().reshape(-1, 4)[:, 3]
    return int((alpha == 1).sum()), int((alpha < 1).sum())


def one(*place, shape=(5, 6, 7)):
    volume = np.zeros(shape)
    volume[place] = 1
    return volume


def explained(x, weight, frame=HAAR):
    return wam.saliency(lambda x: (x * weight).flatten(1).sum(1, keepdim=True), x, frame=frame)


@pytest.fixture
def digit():
    """A wall and a bar, of two channels, and a score that looks at a corner of the bar."""
    x, weight = torch.zeros(2, 2, 9, 12, 10), torch.zeros(9, 12, 10)
    x[0, :, 0:1], x[1, :, 2:5, 1:10, 3:6] = 1.0, 1.0
    weight[2:4, 1:5, 3:5] = torch.rand(2, 4, 2)
    return explained(x, weight), x


# --- cubes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", [cubes.VIEW, (-30, 10), (0, 0), (40, 60)])
def test_depth_leads_away_height_down_and_width_to_the_right(view):
    """A digit is neither mirrored nor upside down, and of two cubes the nearer is painted last."""
    middle = {}
    for name, place in {"here": (2, 2, 2), "wide": (2, 2, 5), "low": (2, 5, 2)}.items():
        ax = axis()
        cubes.solid(ax, one(*place), view=view)
        middle[name] = outlines(ax).mean((0, 1))
    assert middle["wide"][0] > middle["here"][0] + 1 and middle["low"][1] < middle["here"][1] - 1
    ax, colours = axis(), np.zeros((5, 6, 7, 4))
    colours[1, 2, 2], colours[4, 2, 2] = (1, 0, 0, 1), (0, 0, 1, 1)
    cubes.solid(ax, np.zeros((5, 6, 7)), colours, view=view)
    first, last = collection(ax).get_facecolor()[[0, -1]]
    assert first[2] > 0 == first[0] and last[0] > 0 == last[2]


def test_only_faces_that_can_be_seen_are_drawn():
    for volume, count in ((one(2, 2, 2), 3), (np.ones((5, 6, 7)), 5 * 6 + 5 * 7 + 6 * 7), (np.zeros((5, 6, 7)), 0)):
        ax = axis()
        cubes.solid(ax, volume)
        assert len(outlines(ax)) == count
        ax.figure.canvas.draw()
    for view, count in (((0, 0), 1), ((90, 0), 1), ((30, 0), 2), ((0, 20), 2)):
        ax = axis()
        cubes.solid(ax, one(2, 2, 2), view=view)
        assert len(outlines(ax)) == count


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    shape=st.tuples(*[st.integers(1, 4)] * 3),
    view=st.tuples(st.floats(-180, 360), st.floats(-80, 80)),
)
def test_what_is_painted_last_is_what_a_ray_meets_first(seed, shape, view):
    """Whatever is filled and from wherever it is seen: the picture is the one that ray casting gives."""
    rng = np.random.default_rng(seed)
    colours = np.zeros((*shape, 4))
    filled = rng.random(shape) < 0.4
    hue = rng.random((*shape, 3)) + 0.1
    colours[filled] = np.concatenate([hue / hue.sum(-1, keepdims=True), np.ones((*shape, 1))], -1)[filled]
    ax = axis()
    cubes.solid(ax, np.zeros(shape), colours, view=view)
    faces, painted = outlines(ax), collection(ax).get_facecolor().reshape(-1, 4)[:, :3]
    screen = cubes._screen(view)
    np.testing.assert_allclose(screen @ screen.T, np.eye(3), atol=1e-12)
    low = np.argwhere(filled) - np.array(shape) / 2
    for x, y in rng.uniform(-2, 2, (20, 2)):
        start, away = x * screen[0] + y * screen[1], np.where(abs(screen[2]) < 1e-12, 1e-12, screen[2])
        enter, leave = np.sort([(low - start) / away, (low + 1 - start) / away], axis=0)
        met = np.where(enter.max(1) < leave.min(1), enter.max(1), np.inf)
        inside = []
        for face in faces:
            sides = np.roll(face, -1, axis=0) - face
            cross = sides[:, 0] * (y - face[:, 1]) - sides[:, 1] * (x - face[:, 0])
            inside.append(bool((cross > 0).all() or (cross < 0).all()))
        assert any(inside) == np.isfinite(met).any()
        if any(inside):
            seen = painted[np.flatnonzero(inside)[-1]]
            expected = colours[tuple(np.argwhere(filled)[met.argmin()])][:3]
            np.testing.assert_allclose(seen / seen.sum(), expected, atol=1e-6)


def test_a_volume_stays_in_its_panel_and_at_its_size_from_all_around():
    volume = np.ones((4, 9, 6))
    limits = set()
    for turn in range(0, 360, 30):
        ax = axis()
        cubes.solid(ax, volume, view=(turn, 20))
        (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
        limits.add((left, right, bottom, top))
        drawn = outlines(ax).reshape(-1, 2)
        assert left < drawn[:, 0].min() and drawn[:, 0].max() < right
        assert bottom < drawn[:, 1].min() and drawn[:, 1].max() < top
    assert len(limits) == 1


@pytest.mark.parametrize("view", [cubes.VIEW, (-30, 10), (200, -40)])
def test_the_frame_is_behind_the_shape(view):
    """Nine of the twelve edges of the volume: all but the three that meet in the corner next to the viewer."""
    ax, screen = axis(), cubes._screen(view)
    cubes.solid(ax, np.ones((4, 5, 6)), view=view)
    (frame,) = (c for c in ax.collections if not isinstance(c, PolyCollection))
    near = -np.sign(screen[2]) * (2, 2.5, 3) @ screen[:2].T
    assert len(frame.get_segments()) == 9 and frame.get_zorder() < collection(ax).get_zorder()
    assert min(np.linalg.norm(point - near) for segment in frame.get_segments() for point in segment) > 1


def test_what_is_opaque_is_drawn_whole_within_what_is_translucent():
    colours = np.zeros((3, 3, 3, 4))
    colours[..., 3] = 0.1
    colours[1, 1, 1, 3] = 1
    ax = axis()
    cubes.solid(ax, np.ones((3, 3, 3)), colours)
    assert opaque(ax) == (3, 27)


def test_the_shape_is_what_is_above_half_of_the_largest_in_the_mean_over_channels():
    volume = torch.zeros(2, 3, 3, 3)
    volume[:, 0, 0, 0], volume[0, 2, 2, 2], volume[0, 1, 1, 1] = 0.2, 0.3, 0.1
    assert np.argwhere(cubes.shape_of(volume)).tolist() == [[0, 0, 0], [2, 2, 2]]
    assert not cubes.shape_of(-torch.ones(2, 2, 2)).any()


# --- what is marked -------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_the_fewest_values_that_hold_half_are_marked_and_their_equals(values):
    heat = np.array(values, float).reshape(1, 1, -1)
    marked = voxels._most(heat)
    if heat.sum() == 0:
        assert not marked.any()
        return
    assert heat[marked].sum() >= 0.5 * heat.sum() - 1e-9
    assert heat[~marked].max(initial=-1) < heat[marked].min()
    larger = heat[heat > heat[marked].min()].sum()
    assert larger < 0.5 * heat.sum()


def test_coarse_fine_and_both_are_marked_in_their_colours_on_the_shape_only():
    volume, coarse, fine = np.zeros((4, 4, 4)), np.zeros((4, 4, 4)), np.zeros((4, 4, 4))
    volume[1, 1, :3] = 1
    coarse[1, 1, :2], fine[1, 1, 1:3], coarse[3, 3, 3] = 1.0, 2.0, 9.0
    ax = axis()
    text = voxels.scales(ax, volume, torch.tensor(coarse), fine)
    assert text.endswith("of 3 voxels, those with 50 % of each heatmap on the shape: 1 coarse, 1 fine, 1 both.")
    assert opaque(ax) == (3 + 2 + 2, 0)
    assert [label.get_text() for label in ax.get_legend().get_texts()] == ["coarse", "fine", "both"]
    ax = axis()
    assert "0 coarse, 0 fine, 0 both" in voxels.scales(ax, volume, 0 * coarse, 0 * fine, title="t")
    assert opaque(ax) == (0, 7) and ax.get_title() == "t" and ax.get_legend() is None


def test_marks_differ_in_lightness():
    light = [np.dot(matplotlib.colors.to_rgb(c), [0.2126, 0.7152, 0.0722]) for c in voxels._MARKS.values()]
    assert light[0] > light[1] + 0.15 and light[1] > light[2] + 0.15


def test_the_heatmap_is_bright_and_opaque_where_it_matters():
    volume, heat = np.zeros((4, 4, 4)), np.zeros((4, 4, 4))
    volume[1, 1], heat[1, 1], heat[1, 1, 3], heat[3] = 1, 0.1, 5, 100
    ax = axis()
    voxels.heatmap(ax, volume, heat, title="t")
    assert opaque(ax)[0] == 3 and ax.get_title() == "t"
    colours = collection(ax).get_facecolor()
    assert colours[colours[:, 3] == 1, :3].mean() > 2 * colours[colours[:, 3] < 1, :3].mean()


# --- figures --------------------------------------------------------------------------------------------------


def test_explanation_shows_the_panels_of_the_paper(digit):
    e, x = digit
    before = dict(matplotlib.rcParams)
    figure, alt = voxels.explanation(e, x, 1, categories=["bar"])
    assert dict(matplotlib.rcParams) == before
    titles = [ax.get_title() for ax in figure.axes]
    assert titles[:3] == ["shape", "", "heatmap"] and figure.axes[1].get_legend()
    assert [title.partition(":")[0] for title in titles[3:]] == ["approx.", "level 2", "level 1"]
    assert figure.texts[0].get_text() == "bar: saliency, haar, 2 levels" and figure.get_figwidth() == wam.plots.WIDTH
    assert alt.startswith(f"bar: saliency, haar, 2 levels. Score {e.score[1].item():.2f}. Share of the attribution")
    heat, shape = e.heatmap()[1], x[1, 0] > 0
    on = 100 * (heat[shape].sum() / heat.sum()).item()
    assert f"; {on:.0f} % of it lies on the shape, {100 * 81 / 1080:.1f} % of the volume." in alt
    assert alt.endswith("Coarse is approximation, level 2; fine is level 1.")
    assert all(words.percent(share) in alt for share in e.scale_profile()[1].tolist())
    figure.canvas.draw()
    boxes = [ax.get_position() for ax in figure.axes]
    assert all(b.x0 >= 0 and b.x1 <= 1 and b.y0 >= 0 and b.y1 <= 1 for b in boxes)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.mark.parametrize(
    "frame, panels", [(wam.Pixel(), 2), (wam.Wavelet("haar", 1, 3), 5), (wam.Wavelet("haar", 3, 3), 7)]
)
def test_any_number_of_scales(frame, panels):
    x = torch.rand(1, 1, 8, 11, 9)
    e = explained(x, x[0, 0], frame)
    assert len(voxels.explanation(e, x)[0].axes) == panels
    figures, labels, texts = voxels.turning(e, x, turns=2)
    assert len(figures[0].axes) == 2 and labels == ["0°", "180°"] and all(texts)


def test_the_centre_of_the_heatmap_is_named_by_axis():
    x, weight = torch.zeros(1, 1, 10, 10, 10), torch.zeros(10, 10, 10)
    weight[2, 5, 9], x[..., 5] = 1.0, 1.0
    _, alt = voxels.slices(explained(x, weight, wam.Pixel()), x)
    assert "centred 20 % along the depth, 50 % along the height, 90 % along the width; 0.0 % of it lies on" in alt
    assert "Slices through depth 2, height 5, width 9" in alt and "has 100 % of its largest value" in alt


@pytest.mark.filterwarnings("error")
def test_no_attribution_and_no_shape_are_drawn_and_said(digit):
    e, x = digit
    nothing = explained(x, 0 * x[0, 0])
    empty = torch.zeros_like(x)
    cases = [(nothing, x, "none, all attributions are zero"), (e, empty, "The volume is empty")]
    for e, x, said in cases:
        for figure, alt in (voxels.explanation(e, x), voxels.slices(e, x), voxels.gallery([(e, x, 0)])):
            figure.canvas.draw()
            assert "nan" not in alt
        assert said in voxels.explanation(e, x)[1]
        assert not any("nan" in text for text in voxels.turning(e, x, turns=1)[2])
    assert voxels.explanation(nothing, x)[0].axes[3].get_title() == "approx.: –"
    for flat in (empty[0], empty[0] + 0.3):  # of a constant, what rounding leaves is nothing
        figure, alt = cubes.bands(flat, HAAR)
        figure.canvas.draw()
        assert alt.endswith("energy: " + ", ".join(f"{cubes._words(key)} –" for key in ORIENTATIONS) + ".")


def test_gallery_fills_rows_with_cells(digit):
    e, x = digit
    cells = [(e, x, 0), (e, x, 1), (e, x, 0), (e, x, 1)]
    figure, alt = voxels.gallery(cells, ("shape", "scales", "heatmap"), labels=list("abcd"))
    assert [ax.get_title() for ax in figure.axes] == list("abcd")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["coarse", "fine", "both"]
    assert [opaque(figure.axes[i]) for i in (0, 3)] == [(12 * 10 + 12 + 10, 0), (3 * 9 + 3 * 9 + 3 * 3, 0)]
    assert alt.index("a: approximation") < alt.index("b: Marked, of 81") < alt.index("d: approximation")
    figure, alt = voxels.gallery(cells * 3, categories=["bar"])
    assert len(figure.axes) == 12 and not figure.legends and alt.count("bar: ") == 12


def test_turning_shows_the_same_from_all_around(digit):
    e, x = digit
    figures, labels, texts = voxels.turning(e, x, 1, turns=4, categories=["bar"])
    assert labels == ["0°", "90°", "180°", "270°"]
    assert "bar: saliency" in texts[1] and "Seen 90° to the right" in texts[1]
    assert len({figure.get_size_inches().tobytes() for figure in figures}) == 1
    assert not figures[0].axes[0].get_legend().get_frame_on()  # in the style of the figures, whatever is set
    wide = [np.ptp(outlines(figure.axes[1])[..., 0]) for figure in figures]
    np.testing.assert_allclose(wide, [3, 3, 3, 3])  # the bar is 3 voxels deep and 3 wide


def test_slices_are_those_of_the_volume(digit):
    e, x = digit
    x = torch.rand(2, 1, 9, 12, 10)
    figure, alt = voxels.slices(e, x, 0, (1, 2, 3))
    grey = x[0, 0].numpy() / x[0, 0].max().item()
    picture = voxels._blend(x[0].numpy(), e.heatmap()[0].numpy())
    front, above, right = figure.axes
    np.testing.assert_allclose(front.images[0].get_array(), picture[1], rtol=1e-6)
    np.testing.assert_allclose(above.images[0].get_array(), picture[:, 2], rtol=1e-6)
    np.testing.assert_allclose(right.images[0].get_array(), picture[:, :, 3].swapaxes(0, 1), rtol=1e-6)
    assert above.get_ylim()[0] < above.get_ylim()[1] and front.get_ylim()[0] > front.get_ylim()[1]
    assert [ax.get_title() for ax in figure.axes] == ["depth 1", "height 2", "width 3"]
    assert [(ax.get_xlabel(), ax.get_ylabel()) for ax in figure.axes] == [
        ("width", "height"), ("width", "depth"), ("depth", "height")
    ]  # fmt: skip
    lines = [
        [line.get_xdata()[0] for line in ax.lines if line.get_xdata()[0] == line.get_xdata()[1]] for ax in figure.axes
    ]
    assert lines == [[3], [3], [1]]
    figure.canvas.draw()
    sizes = {round(ax.get_window_extent().width / ax.images[0].get_array().shape[1], 6) for ax in figure.axes}
    assert len(sizes) == 1  # voxels of one size
    two = torch.cat([x, 0 * x], dim=1)  # channels are averaged, and scaled to the largest
    np.testing.assert_allclose(voxels._blend(two[0].numpy(), 0 * picture[..., 0]).max(), 0.55)
    np.testing.assert_allclose(voxels._blend(two.flip(1)[0].numpy(), 0 * picture[..., 0]).max(), 0.55)
    without = voxels._blend(x[0].numpy(), 0 * picture[..., 0])
    np.testing.assert_allclose(without, np.broadcast_to(0.55 * grey[..., None], without.shape), rtol=1e-6)


# --- orientations ---------------------------------------------------------------------------------------------

ORIENTATIONS = cubes._ORIENTATIONS


def test_orientations_are_named_by_the_axes_with_details():
    assert sorted(ORIENTATIONS) == sorted(
        {key for _, key in HAAR.analysis(torch.rand(1, 1, 8, 8, 8)).bands} - {"approx"}
    )
    assert cubes._words("dad") == "depth + width"
    for axis_, key in enumerate(("daa", "ada", "aad")):
        step = torch.zeros(1, 1, 8, 8, 8)
        step.narrow(2 + axis_, 3, 5).fill_(1.0)
        figure, alt = cubes.bands(step[0], wam.Wavelet("haar", 1, 3))
        assert f"{cubes.AXES[axis_]} 100 %" in alt and cubes._words(key) == cubes.AXES[axis_]


def test_bands_of_a_cuboid_are_its_faces_edges_and_corners():
    """Odd borders, so that every one is inside a block of two: 2 faces, 4 edges, 8 corners."""
    cuboid = torch.zeros(1, 16, 16, 16)
    cuboid[:, 3:13, 5:11, 3:9] = 1
    figure, alt = cubes.bands(cuboid, HAAR)
    blocks = {}
    z = HAAR.analysis(cuboid[None])
    top = max(z.bands[1, key].abs().max() for key in ORIENTATIONS)
    for key in ORIENTATIONS:
        grown = cubes._grown(z.bands[1, key][0, 0].abs().numpy(), (16, 16, 16))
        blocks[key] = int((grown > 0.2 * top.item()).sum()) // 8
    # in blocks of two the cuboid is 6 x 4 x 4
    assert blocks == {"daa": 2 * 16, "ada": 2 * 24, "aad": 2 * 24, "dda": 4 * 4, "dad": 4 * 4, "add": 4 * 6, "ddd": 8}
    assert [ax.get_title().partition("\n")[0] for ax in figure.axes] == [
        "shape", "depth", "height", "width", "depth + height", "depth + width", "height + width", "all three"
    ]  # fmt: skip
    corners, ghost = opaque(figure.axes[-1])
    assert ghost and corners == 8 * 3 * 4  # eight blocks of eight voxels show three sides of four faces each
    energy = {key: z.bands[1, key].square().sum() for key in ORIENTATIONS}
    share = 100 * (energy["daa"] / sum(energy.values())).item()
    assert f"energy: depth {share:.0f} %, height" in alt


@pytest.mark.parametrize("name", ["haar", "db2", "bior2.2"])
@pytest.mark.parametrize("shape", [(11, 12, 10), (16, 16, 16)])
def test_a_band_lies_where_the_volume_has_its_details(name, shape):
    frame, volume = wam.Wavelet(name, 1, 3), torch.zeros(1, *shape)
    volume[:, 5:] = 1.0
    grown = cubes._grown(frame.analysis(volume[None]).bands[1, "daa"][0, 0].abs().numpy(), shape)
    assert grown.shape == shape
    depth, profile = np.arange(shape[0]), grown.sum((1, 2))
    assert abs((depth * profile).sum() / profile.sum() - 4.5) < 0.5
    cubes.bands(volume, frame)[0].canvas.draw()


def test_the_table_of_orientations_has_their_shares(digit):
    e, _ = digit
    ax = axis()
    text = cubes.orientations(ax, e.attributions)
    flat = e.attributions.pack()[0].abs().sum((1, 2))
    table = np.asarray(ax.images[0].get_array())
    assert table.shape == (2, 7)
    for row, level in enumerate((2, 1)):
        for column, key in enumerate(ORIENTATIONS):
            share = (e.attributions.bands[level, key].abs().sum((1, 2, 3, 4)) / flat).mean().item()
            assert table[row, column] == pytest.approx(share, rel=1e-5)
            assert ax.texts[7 * row + column].get_text() == words.percent(share)
            assert f"{cubes._words(key)} {words.percent(share)}" in text
    assert text.startswith("Share per level and orientation. Approximation: ")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["level 2", "level 1"]
    nothing = cubes.orientations(axis(), 0 * e.attributions)
    assert "Approximation: –. Level 2: depth –, height –" in nothing


def test_errors_name_the_fix(digit):
    e, x = digit
    with pytest.raises(ValueError, match=r"\(2, channels, 9, 12, 10\), got \(1, 2, 9, 12, 10\): pass the x"):
        voxels.explanation(e, x[:1])
    with pytest.raises(ValueError, match=r"got \(2, 9, 12, 10\)"):
        voxels.turning(e, x[:, 0])
    image = wam.saliency(lambda x: x.sum((2, 3)), torch.rand(1, 1, 8, 8), frame=wam.Wavelet("haar", 1, 2))
    for draw in (voxels.explanation, voxels.turning, voxels.slices):
        with pytest.raises(ValueError, match="for volumes, not for inputs of 2 dimensions"):
            draw(image, torch.rand(1, 1, 8, 8))
    with pytest.raises(ValueError, match=r"no voxel \(9, 0, 0\) in a volume \(9, 12, 10\)"):
        voxels.slices(e, x, 0, (9, 0, 0))
    with pytest.raises(ValueError, match="0 cells"):
        voxels.gallery([])
    with pytest.raises(ValueError, match="columns of .*'heat'"):
        voxels.gallery([(e, x, 0)], ("heat",))
    with pytest.raises(ValueError, match="1 labels for 2 cells"):
        voxels.gallery([(e, x, 0)] * 2, labels=["a"])
    with pytest.raises(ValueError, match=r"got shape \(9, 12\)"):
        cubes.solid(axis(), x[0, 0, :, :, 0])
    with pytest.raises(ValueError, match=r"colours \(5, 6, 7, 4\).*got \(5, 6, 7, 3\)"):
        cubes.solid(axis(), one(0, 0, 0), np.zeros((5, 6, 7, 3)))
    with pytest.raises(ValueError, match="seven orientations"):
        cubes.orientations(axis(), image.attributions)
    with pytest.raises(ValueError, match="seven orientations"):
        cubes.orientations(axis(), Coefficients({(0, "pixel"): x}, (9, 12, 10)))
    for bad in ((x, HAAR), (x[0], wam.Wavelet("haar", 1, 2))):
        with pytest.raises(ValueError, match="three axes"):
            cubes.bands(*bad)


@pytest.mark.parametrize("shape", [(8, 8, 8), (5, 16, 9), (3, 4, 21)])
def test_any_shape_and_channels(shape):
    x = torch.rand(1, 3, *shape)
    e = explained(x, x[0], wam.Pixel() if min(shape) < 4 else HAAR)
    assert math.isfinite(e.score.item())
    for figure, alt in (voxels.explanation(e, x), voxels.slices(e, x), voxels.gallery([(e, x, 0)])):
        figure.canvas.draw()
        assert alt and figure.get_figwidth() == wam.plots.WIDTH
