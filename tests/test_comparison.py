"""Means, differences and ranks against calculations by other means."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap, rankdata

from wam import comparison


def tidy(values, methods=("a", "b"), model="net"):
    rows = [(model, i, method, v) for i, row in enumerate(values) for method, v in zip(methods, row)]
    return pd.DataFrame(rows, columns=["model", "input", "method", "value"])


def test_intervals_are_those_of_the_normal_approximation():
    values = np.random.default_rng(1).normal(3, 2, 400)
    table = pd.DataFrame({"metric": "m", "value": values})
    (row,) = comparison.summary(table, "metric").itertuples()
    half = 1.96 * values.std() / 20
    assert row.mean == pytest.approx(values.mean()) and (row.n, row.dropped) == (400, 0)
    assert (row.low, row.high) == pytest.approx((row.mean - half, row.mean + half), abs=0.1 * half)
    (wide,) = comparison.summary(table, "metric", confidence=0.99).itertuples()
    assert wide.high - wide.low == pytest.approx(2 * 2.576 / 1.96 * half, rel=0.1)


def test_a_skewed_sample_has_the_percentile_interval():
    values = np.array([0.0, 0.0, 0.0, 0.0, 10.0])
    (row,) = comparison.summary(pd.DataFrame({"m": "m", "value": values}), ["m"]).itertuples()
    again = np.random.default_rng(7).choice(values, (20000, 5)).mean(1)
    assert (row.low, row.high) == tuple(np.quantile(again, [0.025, 0.975])) == (0.0, 6.0)


@pytest.mark.parametrize("n, seed, confidence", [(2, 0, 0.95), (37, 3, 0.9), (500, 1, 0.99)])
def test_intervals_are_those_of_scipy(n, seed, confidence):
    values = np.random.default_rng(n).exponential(size=n)
    row = comparison.summary(pd.DataFrame({"g": 0, "value": values}), "g", confidence=confidence, seed=seed).iloc[0]
    options = {"n_resamples": comparison.RESAMPLES, "confidence_level": confidence, "method": "percentile"}
    expected = bootstrap((values,), np.mean, rng=seed, **options).confidence_interval
    np.testing.assert_allclose(row[["low", "high"]].astype(float), expected, rtol=1e-12)


def test_intervals_repeat_and_groups_do_not_touch_each_other():
    table = tidy(np.random.default_rng(0).random((9, 2)))
    both, alone = comparison.summary(table, "method"), comparison.summary(table[table["method"] == "b"], "method")
    pd.testing.assert_frame_equal(both[1:].reset_index(drop=True), alone)
    assert (comparison.summary(table, "method", seed=1)["low"] != both["low"]).any()


def test_few_equal_and_missing_values():
    groups = {"one": [2.0], "equal": [1.5] * 4, "missing": [1.0, None, 1.0, float("nan")], "none": [None, None]}
    table = pd.DataFrame([(name, v) for name, values in groups.items() for v in values], columns=["g", "value"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = comparison.summary(table, "g").set_index("g")
    assert list(found.index) == list(groups)
    assert found.loc["one", "mean"] == 2.0 and found.loc[["one", "none"], ["low", "high"]].isna().all(axis=None)
    assert tuple(found.loc["equal"]) == (1.5, 1.5, 1.5, 4, 0) and tuple(found.loc["missing"]) == (1, 1, 1, 2, 2)
    assert np.isnan(found.loc["none", "mean"]) and tuple(found.loc["none", ["n", "dropped"]]) == (0, 2)


def test_differences_are_paired_and_signed():
    level = np.random.default_rng(0).normal(0, 100, 30)
    table = tidy(np.stack([level + 1, level, level * 0], 1), "abc").sample(frac=1, random_state=0)
    (row,) = comparison.differences(table, "a", "b", by="model").itertuples()
    assert (row.mean, row.low, row.high, row.n) == pytest.approx((1, 1, 1, 30))  # unpaired it would be +-50
    (row,) = comparison.differences(table, "b", "a", by=["model"]).itertuples()
    assert row.mean == pytest.approx(-1)


def test_differences_drop_inputs_that_lack_one():
    table = pd.concat([tidy([(3, 1), (np.nan, 1), (5, 1)]), tidy([(7, 1), (9, None)], model="other")])
    table = table[~((table["model"] == "net") & (table["input"] == 2) & (table["method"] == "b"))]
    found = comparison.differences(table, "a", "b", by="model").set_index("model")
    assert found[["mean", "n", "dropped"]].to_numpy().tolist() == [[2, 1, 2], [6, 1, 1]]
    pooled = comparison.differences(table.assign(all="all"), "a", "b", by="all")  # the same input of two models is two
    assert pooled[["mean", "n", "dropped"]].to_numpy().tolist() == [[4, 2, 3]]


def test_differences_of_what_is_not_there_or_there_twice():
    table = tidy([(1, 2)])
    with pytest.raises(ValueError, match=r"'c' is not in the column 'method', which has \['a', 'b'\]"):
        comparison.differences(table, "a", "c", by="model")
    with pytest.raises(ValueError, match="two values for .*add columns"):
        comparison.differences(pd.concat([table, table]), "a", "b", by="model")
    with pytest.raises(ValueError, match="no column 'metric'; it has model, input, method, value"):
        comparison.summary(table, ["model", "metric"])


def test_ranks_within_inputs():
    values = np.random.default_rng(0).random((20, 3)).round(1)  # with ties
    table = tidy(values, "abc")
    found = comparison.ranks(table, by="model")
    expected = rankdata(-values, axis=1).mean(0)
    assert list(found["method"]) == ["a", "b", "c"] and found["mean"].to_numpy() == pytest.approx(expected)
    assert (found["low"] <= found["mean"]).all() and (found["high"] >= found["mean"]).all()


def test_ranks_need_every_method():
    table = pd.concat([tidy([(1, 2), (None, 5), (4, 3)]), tidy([(1, 2, 3)], "abc", model="other")])
    found = comparison.ranks(table, by="model").set_index(["model", "method"])
    assert found.loc["net", "mean"].to_dict() == {"a": 1.5, "b": 1.5}
    assert set(found.loc["net", "n"]) == {2} and set(found.loc["net", "dropped"]) == {1}
    assert found.loc["other", "mean"].to_dict() == {"a": 3, "b": 2, "c": 1}
