"""Charts draw what the table says, and say it in words."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

import wam
from wam import charts, comparison, plots

COLUMNS = ["method", "depth", "mean", "low", "high"]
TABLE = pd.DataFrame(
    [("a", 0, 1.0, 1.0, 1.0), ("a", 1, 0.5, 0.25, 0.75), ("b", 0, 1.0, 0.9, 1.0), ("b", 1, -0.125, -0.5, 0.25)],
    columns=COLUMNS,
)


def test_lines_are_at_the_means_and_bands_at_the_intervals():
    figure, alt = charts.lines(TABLE, "depth", "method", ylabel="correlation", names={0: "intact"}, limits=(-1, 1))
    (ax,) = figure.axes
    assert [line.get_label() for line in ax.lines] == ["a", "b"]
    np.testing.assert_array_equal([line.get_ydata() for line in ax.lines], [[1, 0.5], [1, -0.125]])
    bands = [band.get_paths()[0].get_extents() for band in ax.collections]
    assert [(b.ymin, b.ymax) for b in bands] == [(0.25, 1), (-0.5, 1)]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["intact", "1"] and ax.get_ylim() == (-1, 1)
    assert ax.get_ylabel() == "correlation" and len(figure.legends) == 1
    assert alt == "Lines of correlation, with 95 % intervals. a: intact 1.00, 1 0.50; b: intact 1.00, 1 -0.12."


def test_steps_keep_the_order_of_the_table_and_gaps_stay_gaps():
    rows = [("a", "z", 0.1, 0, 1), ("a", "b", np.nan, np.nan, np.nan), ("a", "c", 0.3, 0, 1)]
    figure, alt = charts.lines(pd.DataFrame(rows, columns=COLUMNS), "depth", "method", ylabel="y")
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["z", "b", "c"]
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), [0.1, np.nan, 0.3])
    assert not figure.legends and "b nan" in alt


def test_more_lines_than_colours_differ_in_their_dashes():
    rows = [(f"m{i}", 0, i / 10, 0, 1) for i in range(len(plots.COLOURS) + 2)]
    figure, _ = charts.lines(pd.DataFrame(rows, columns=COLUMNS), "depth", "method", ylabel="y")
    looks = {(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines}
    assert len(looks) == len(rows)


def test_bars_stand_at_the_means_with_whiskers_to_the_interval():
    table = TABLE[TABLE["mean"] > 0]  # b has no second bar
    figure, alt = charts.bars(table, "depth", "method", ylabel="share", names={0: "fine", 1: "coarse"})
    (ax,) = figure.axes
    first, second = ax.containers[1], ax.containers[3]  # each after its whiskers
    np.testing.assert_allclose([bar.get_height() for bar in first], [1, 0.5])
    assert np.isnan(second[1].get_height()) and second[0].get_x() > first[0].get_x()
    whiskers = ax.collections[0].get_segments()
    np.testing.assert_allclose(np.array(whiskers)[:, :, 1], [[1, 1], [0.25, 0.75]])
    assert alt == "Bars of share, with 95 % intervals. a: fine 100 %, coarse 50 %; b: fine 100 %."
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["fine", "coarse"]


@pytest.mark.parametrize("chart", [charts.lines, charts.bars])
def test_what_cannot_be_drawn_is_named(chart):
    with pytest.raises(ValueError, match="no column 'scale'; it has"):
        chart(TABLE, "scale", "method", ylabel="y")
    with pytest.raises(ValueError, match="nothing to draw"):
        chart(TABLE[:0], "depth", "method", ylabel="y")


def test_a_summary_can_be_drawn_as_it_is_and_the_global_style_stays():
    before = {name: value for name, value in matplotlib.rcParams.items() if name != "backend"}  # found when first used
    rows = [(m, d, v + i) for i, m in enumerate("ab") for d in (0, 1) for v in (0.1, 0.2, 0.6)]
    table = comparison.summary(pd.DataFrame(rows, columns=["method", "depth", "value"]), ["method", "depth"])
    for chart in (charts.lines, charts.bars):
        figure, alt = chart(table, "depth", "method", ylabel="y")
        figure.canvas.draw()
        assert figure.axes[0].get_ylabel() == "y" and "a: 0" in alt
    assert {name: matplotlib.rcParams[name] for name in before} == before


NETWORK = nn.Sequential(nn.Flatten(), nn.Linear(192, 3), nn.Tanh())


def axis():
    return Figure().add_subplot()


@pytest.fixture
def explained():
    frame = wam.Wavelet("haar", levels=2, ndim=2)
    return wam.integrated_gradients(NETWORK, torch.rand(2, 3, 8, 8), [1, 2], frame=frame, steps=4)


@pytest.mark.parametrize("scores", [False, True])
def test_profile_bars_are_the_values_of_the_explanation(explained, scores):
    e = explained
    values = e.scale_scores() if scores else e.scale_profile()
    ax = axis()
    text = charts.profile(ax, {"one": e, "other": e}, scores=scores)
    heights = [bar.get_height() for bar in ax.patches]
    np.testing.assert_allclose(heights, np.tile(values.mean(0), 2), rtol=1e-5)
    assert "one, mean of 2" in text and "other, mean of 2" in text
    text = charts.profile(axis(), e[1], scores=scores)
    last = values[1, -1].item()
    assert "mean" not in text and (f"level 1 {last:+.2f}" if scores else f"level 1 {100 * last:.0f} %") in text
    other = wam.saliency(NETWORK, torch.rand(2, 3, 8, 8), frame=wam.Pixel())
    with pytest.raises(ValueError, match="different scales"):
        charts.profile(axis(), {"a": e, "b": other})
