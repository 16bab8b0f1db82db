# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags,mystnb,nbmake,-all
#     formats: ipynb,py:percent
#     notebook_metadata_filter: kernelspec,jupytext,-jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% tags=["remove-cell"]
import sys

if "google.colab" in sys.modules:  # install what is missing; torch and numpy stay as Colab brings them
    import re
    import subprocess
    from importlib import metadata

    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "git+https://github.com/wam-book/wam"], check=True)
    stay = {"numpy", "torch", "torchaudio", "torchvision"}
    kept = [f"{d.name}=={d.version}" for d in metadata.distributions() if d.name in stay]
    needed = [r for r in metadata.requires("wam") if "extra" not in r and re.split(r"\W", r)[0] not in stay]
    subprocess.run([*pip, "-c", "/dev/stdin", *needed], input="\n".join(kept), text=True, check=True)

# %% [markdown]
# # 08 Evaluation: how faithful is an explanation, and what do the numbers mean?
#
# *Sections 3.3, 4.1, B.1 and B.2 of the paper; Tables 1, 3 and 4.*
#
# An explanation ranks the features of an input: this one matters most, that one least. If the ranking is true to the
# network, then taking the first features away should lower its score, and showing it nothing but the first features
# should raise it. That idea can be measured, and it carries the main claim of the paper: explanations in the wavelet
# domain are more faithful than explanations in pixels.
#
# This chapter repeats the measurement, and then measures the measurement. In short: WAM-IG, the variant with integrated
# gradients, is the most faithful of the paper's methods by either of two protocols; in the paper it is that or WAM-SG.
# But in its own domain, rankings that never saw a network come close to it or equal it, and so this lead is in large
# part the domain's.
#
# Three things you will see:
#
# 1. what insertion, deletion and $\mu$-fidelity do, on one photograph that you can take apart with a slider;
# 2. the paper's Tables 1, 3 and 4 beside ours, with intervals, by the paper's equations and by the released code;
# 3. **controls**: rankings that know nothing of the network, and how far they get.
#
# <!-- cost -->

# %% tags=["parameters"]
profile: str = "embedded"  # embedded: from the package index; paper: the paper's own
networks: list = []  # networks to evaluate; none: all of the profile
n_images: int = 0  # photographs evaluated in this run; 0: 2, or 1,000 of WAM_IMAGENET
steps: int = 32  # steps of the curves, of one photograph and in the tables
subsets: int = 64  # random subsets of mu-fidelity in the tables
samples: int = 25  # gradients of one explanation in the tables
wavelet: str = "haar"  # wavelet of WAM-SG and WAM-IG, as in the authors' code
levels: int = 3  # its levels, as in the authors' code
photograph: int = 17  # which photograph is taken apart with the slider
few: int = 4  # photographs on which conventions are changed one at a time
few_steps: int = 12  # steps of their curves, and gradients of each of their explanations
jobs: int = 2  # photographs evaluated at once, each in a process (on a GPU: 1)
folder: str = ""  # where finished photographs are kept; none: a temporary folder
max_batch: int = 16  # images in one pass of a network
seed: int = 0  # of every random draw

# %%
import tempfile
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.display import HTML, display
from scipy import stats

# %%
import wam
from wam import baselines, benchmark, book, comparison, controls, data, metrics, models, plots, released, tables
from wam.book import say, span
from wam.explanation import in_frame
from wam.explorer import explore

book.start(chapter="08_evaluation", profile=profile, seed=seed)

# %% [markdown]
# ## One photograph, taken apart
#
# The network gives the class of the photograph $x$ a probability $f(x)$. An explanation gives each of the photograph's
# features an attribution $\gamma$. Features are pixels, or the coefficients $z = W x$ of a wavelet transform $W$, per
# colour channel. Take the features in $K$ steps, those with the largest $|\gamma|$ first. Let $u_k$ be those that are
# taken after step $k$, and $-u_k$ the others. A feature that is absent has the value it has in the baseline $x_0$; here
# $x_0 = 0$, which is a grey ([chapter 01](01_theory.ipynb)). Then there are two things to do (numbers of equations are
# the paper's):
#
# $$ \mathrm{Insertion}(k) = f\big(x_{[x_{-u_k} = x_0]}\big), \tag{5} $$
#
# show the network only these features, and
#
# $$ \mathrm{Deletion}(k) = f\big(x_{[x_{u_k} = x_0]}\big), \tag{6} $$
#
# show it everything but them. One function computes both,
# [`wam.metrics.perturbation_curves`](../book/api_measure.md).
#
# We rank the wavelet coefficients of one photograph in four ways: by WAM-SG (SmoothGrad), by WAM-IG (integrated
# gradients), at random, and by $|z|$, the size of the coefficient itself. The last two do not look at the network.

# %%
names = networks or {"embedded": list(models.EMBEDDED), "paper": list(models.PAPER)}[profile]
count = n_images or {"embedded": 2, "paper": 1000}[profile]
files = data.images() if profile == "embedded" else data.imagenet(n=count, seed=seed)
device = "cuda" if torch.cuda.is_available() else "cpu"
model = models.load(names[0], device)
categories = model.categories


def prepared(i):
    """Photograph i as the network sees it, and its class."""
    return model.prepare([files[i]]), files.labels[i]


# %% tags=["hide-input"]
def recognised(order, wanted):
    """The first photographs, in this order, that the network classifies correctly."""
    found = []
    for i in order:
        x, label = prepared(i)
        with torch.no_grad():
            right = int(model(x).argmax()) == label
        found += [i] * right
        if len(found) == wanted:
            break
    return found


(i,) = recognised([photograph % len(files), *range(len(files))], 1)
x, label = prepared(i)

# %%
frame = wam.Wavelet(wavelet, levels, ndim=2)
options = {"frame": frame, "max_batch": max_batch}
rankings = {
    "WAM-SG": wam.smoothgrad(model, x, label, samples=samples, seed=seed, **options),
    "WAM-IG": wam.integrated_gradients(model, x, label, steps=samples, **options),
}
rankings["|z|"] = controls.magnitude(rankings["WAM-IG"])
rankings["random"] = controls.random(rankings["WAM-IG"], seed)
curves = {
    by: metrics.perturbation_curves(model, x, e, steps=steps, seed=seed, max_batch=max_batch)
    for by, e in rankings.items()
}

# %% tags=["hide-input", "gallery"]
fig, axes = plt.subplots(1, 2, sharey=True, figsize=(plots.WIDTH, 3.3))
for ax, kind in zip(axes, ("insertion", "deletion")):
    for (by, curve), style in zip(curves.items(), ("-", "-", "--", ":")):
        ax.plot(curve.fractions[0].cpu(), getattr(curve, kind)[0].cpu(), style, label=by)
    ax.set(title=kind, xlabel="share of coefficients", xlim=(0, 1), ylim=(-0.02, 1.02))
    ax.set(xticks=(0.2, 0.4, 0.6, 0.8))
    ax.grid()
axes[0].set_ylabel("probability of the class")
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
areas = [f"{by} {c.insertion_auc.item():.2f} and {c.deletion_auc.item():.2f}" for by, c in curves.items()]
alt = f"Two line plots of the probability of the class, for insertion and deletion. Areas below: {'; '.join(areas)}."
caption = f"Insertion and deletion of a {categories[label]} on {names[0]}, by four rankings of its coefficients."
book.figure(fig, alt, caption)

# %% [markdown]
# A good ranking rises early on the left and falls early on the right. To make one number of a curve, take the area
# below it. With $\Delta_k$, the width of a step,
#
# $$ \begin{aligned} \mathrm{Ins} &= \sum_{k=1}^{K} \mathrm{Insertion}(k)\, \Delta_k, \cr
#    \mathrm{Del} &= \sum_{k=1}^{K} \mathrm{Deletion}(k)\, \Delta_k \end{aligned} \tag{7} $$
#
# (`.insertion_auc` and `.deletion_auc`; we use the trapezoid rule, at the true share of features). *Faithfulness* is
# the difference (`.faithfulness`),
#
# $$ F = \mathrm{Ins} - \mathrm{Del}. \tag{4} $$
#
# It is at most 1. For a random ranking it is about 0: the two curves are then mirror images.

# %%
rows = []
for by, curve in curves.items():
    rows.append((by, *(f"{v.item():.3f}" for v in (curve.insertion_auc, curve.deletion_auc, curve.faithfulness))))
book.table(("ranking", "insertion ↑", "deletion ↓", "faithfulness ↑"), rows, "The areas, on this photograph:")

# %% [markdown]
# What was the network shown? The slider sets the share of coefficients that are in (above) or out (below). Left, they
# are ranked by WAM-IG; right, by $|z|$.

# %% tags=["hide-input"]
shares = [0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7]
seen = {}
for by in ("WAM-IG", "|z|"):
    for kind, inputs in zip(("in", "out"), metrics.perturbed(x, rankings[by], shares, seed=seed)):
        with torch.no_grad():
            probability = model(inputs.flatten(0, 1)).softmax(1)[:, label].tolist()
        seen[kind, by] = model.display(inputs.flatten(0, 1)), probability


def taken_apart(k):
    fig, axes = plots.panels(2, 2, titles=1)
    for ax, ((kind, by), (pictures, probability)) in zip(axes.flat, sorted(seen.items())):
        plots.image(ax, pictures[k], f"{by} {kind}: {probability[k]:.2f}")
    told = "; ".join(f"first {100 * shares[k]:.0f} % by {by} {kind}: {p[k]:.2f}" for (kind, by), (_, p) in seen.items())
    return fig, f"The photograph with coefficients put in or taken out. Probability of {categories[label]}, {told}."


# %% tags=["hide-input"]
figures, alts = zip(*(taken_apart(k) for k in range(len(shares))))
caption = f"What {names[0]} sees, and the probability it gives to {categories[label]}."
book.slider(figures, [f"{100 * share:.0f} %" for share in shares], alts, caption, label="Share of coefficients")

# %% [markdown]
# Coloured squares are places that one colour channel has and another has not. Apart from them, both columns draw the
# same picture from a small share of the coefficients, and empty it by taking them away. A photograph is compressible: a
# few of its coefficients *are* the picture. A ranking that takes those first does well in insertion and in deletion,
# whoever made it.
#
# The third metric, $\mu$-fidelity, needs no ranking. Draw random sets $u$ of $d$ features, and ask whether the
# attributions of a set predict by how much the probability falls when the set is absent:
#
# $$ \begin{aligned} \mu = \underset{|u| = d}{\mathrm{Corr}} \Big( &\sum_{i \in u} |\gamma_i|, \cr
#    &f(x) - f\big(x_{[x_u = x_0]}\big) \Big), \end{aligned} \tag{8} $$
#
# with the correlation of ranks. This is [`wam.metrics.mu_fidelity`](../book/api_measure.md).
#
# The explorer shows the explanations themselves, by one method after the other:

# %%
some = [files[j] for j in dict.fromkeys([i, *range(min(20, len(files)))])]
explore(model, some, wavelets=(wavelet, "db4", "sym8"), levels=levels, vary="method")

# %% [markdown]
# ## The benchmark
#
# **What stands in for what.** The paper evaluates ResNet-18, ConvNeXt, EfficientNet-B0 and DeiT on 1,000 photographs
# of ImageNet's validation set. The `embedded` profile has EfficientNet-Lite0 and MobileNetV2 and 20 photographs
# ([credits](../book/credits.md)). Beside EfficientNet-Lite0 we print the paper's column *EfficientNet*, the nearest
# relative; beside MobileNetV2, which has none in the paper, the column *Mean*. Do not expect equal numbers. What can be
# compared is the order of the methods, and the size of the gaps against their intervals. With `profile="paper"` the
# same cells run the paper's networks on ImageNet images that you supply.
#
# **Methods.** Six that attribute to pixels ([`wam.baselines`](../book/api_measure.md)), and WAM-SG and WAM-IG on
# wavelet coefficients. The class explained is the label; photographs that the network misclassifies are left out.
#
# **Controls** ([`wam.controls`](../book/api_measure.md), [`wam.sanity`](../book/api_measure.md)), in both domains:
# rankings that are *random*; by *magnitude*, $|z|$; by the same method on a *randomized network*, whose weights are all
# drawn anew; and *permuted*: the method's own attributions, shuffled among coefficients of nearly equal $|z|$. Among
# wavelets there is one more: *coarse first* ranks by scale alone, the approximation (the small blurred copy that is
# left when all levels are taken off) before level 3 before level 2 before level 1, and at random within a scale.
#
# **Protocols.** *Equations*: (4) to (8) as above. *Energy*: the same with another horizontal axis, explained below.
# *Released*: the conventions of the code that the authors published, rebuilt from a [description](../book/paper_map.md)
# of it. We have not run that code, and do not know which version of it printed the tables; where we write *as
# released*, read *as described*. Described are 64 steps for WAM and 128 for pixel methods, 128 subsets and 25 or 50
# samples; here all methods have the numbers of the parameters cell. Each photograph is a batch of its own. And $|z|$ is
# normalised as the released maps are: averaged over the channels, each band divided by its largest value, written
# $N(z)$; in pixels it is the distance from black.
#
# **Intervals** are 95 % percentile intervals of a bootstrap over photographs. *By the interval* means that it excludes
# zero. There are many of them, none is corrected for their number, and both networks see the same photographs: some
# exclude zero by chance, and one that touches zero decides nothing.
#
# One call does it all ([`benchmark.run`](../book/api_tables.md)). It writes every finished photograph to disk; stopped
# at any moment and called again, it continues.

# %% tags=["remove-stderr"]
settings = {"steps": steps, "subsets": subsets, "samples": samples, "wavelet": wavelet, "levels": levels}
settings |= {"device": device, "max_batch": max_batch, "seed": seed}
cases = tables.cases(names, files[:count])
table = benchmark.run(
    tables.evaluate,
    cases,
    settings,
    folder or tempfile.mkdtemp(prefix="wam-"),
    jobs=jobs if device == "cpu" else 1,
)
passes = table[table["metric"].isin(["gradient inputs", "forward inputs"])].groupby("metric")["value"].sum()
gradients, forwards = (int(passes.get(f"{kind} inputs", 0)) for kind in ("gradient", "forward"))
say(f"This run: {len(cases)} pair{'s' * (len(cases) > 1)} of network and photograph, **{forwards:,}** forward passes "
    f"and **{gradients:,}** gradients.")  # fmt: skip

# %% [markdown]
# That is too few photographs for a statement, and more would not fit into the time of a page. The tables below come
# from a run over all photographs that is stored with the package; in the `paper` profile they come from the run
# above. Where the two runs share photographs, we compare them.

# %% tags=["hide-input"]
here = {"settings": settings, "source": "this run"}
full, provenance = wam.records.stored() if profile == "embedded" else (table, here)
full = full[full["model"].isin(names)]
told = {}
for key, value in provenance.items():
    told[key] = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
images = full.drop_duplicates("case")
for name in names:
    mine = images[images["model"] == name]
    told[f"{name}: classified correctly"] = f"{int((mine['predicted'] == mine['label']).sum())} of {len(mine)}"
failures = full.dropna(subset="error").groupby("error").size()
told["failed rows"] = ", ".join(f"{n} of {error}" for error, n in failures.items()) or "none"
lines = "".join(f"<li>{key}: {value}</li>" for key, value in told.items())
display(HTML(f"<details><summary>The run behind the tables</summary><ul>{lines}</ul></details>"))

# %% tags=["hide-input"]
keys = ["case", "domain", "protocol", "method", "metric"]
both = table.merge(full, on=keys, suffixes=("", " stored")).dropna(subset=["method", "value", "value stored"])
both["gap"] = (both["value"] - both["value stored"]).abs()
gaps = both.groupby("metric", sort=False)["gap"].agg(["size", "median", "max"])
rows = [(metric, int(row["size"]), f"{row['median']:.1g}", f"{row['max']:.1g}") for metric, row in gaps.iterrows()]
head = ("metric", "values in both runs", "median difference", "largest")
book.table(head, rows, "This run against the run behind the tables, same photograph, method and protocol:")

# %% tags=["hide-input"]
other = {k: v for k, v in provenance["settings"].items() if settings.get(k) != v}
if other:
    change = ", ".join(f"{k} {settings.get(k)} here, {v} there" for k, v in other.items())
    text = f"The settings differ ({change}), so the differences show what a coarser or finer run would change."
else:
    agrees = float(both["gap"].max()) < 1e-3
    text = "The settings are the same, and so should the numbers be, up to the rounding of the machine. "
    text += "**They are.**" if agrees else "**They are not in every place**: see the largest difference."
say(text)

# %% [markdown]
# The same from a shell, and on as many processes as you have:
# `wam tables --models embedded --jobs 2 --out runs`.
#
# ## Table 1: faithfulness
#
# Rows are the paper's methods; Guided Backpropagation is in the table of its submission to ICLR 2025 only. The paper
# gives means without intervals. Ours have them, and with few photographs they are wide. Photographs that a network
# misclassifies are left out.

# %% tags=["hide-input"]
COLUMN = {"efficientnet_lite0": "EfficientNet", "mobilenet_v2": "Mean", "resnet18": "ResNet"}
COLUMN |= {"convnext_small": "ConvNext", "efficientnet_b0": "EfficientNet", "deit_tiny": "DeiT"}
COLUMN = {name: COLUMN.get(name, "Mean") for name in names}
METHODS = wam.records.paper(1)["method"].tolist()
WAM = ["WAM-IG", "WAM-SG"]
PIXEL = [method for method in METHODS if method not in WAM]
rows = full.dropna(subset=["method", "metric"])
values = rows.assign(method=rows["method"].replace("magnitude", "|z|"))


def pick(metric, protocol, methods, domain=None):
    """The values of some methods by one metric and protocol."""
    chosen = values[(values["metric"] == metric) & (values["protocol"] == protocol) & values["method"].isin(methods)]
    return chosen if domain is None else chosen[chosen["domain"] == domain]


# %% tags=["hide-input"]
def measured(metric, protocol, methods, domain=None):
    """Their means with intervals, per network."""
    return comparison.summary(pick(metric, protocol, methods, domain), ["model", "method"])


def printed(number):
    """The paper's table, in rows like ours, each network with the column that stands beside it."""
    wide = wam.records.paper(number).rename(columns={"ResNet-18": "ResNet"})
    wide = wide if "metric" in wide else wide.assign(metric={1: "faithfulness", 3: "mu-fidelity"}[number])
    parts = [wide[["metric", "method"]].assign(model=name, mean=wide[COLUMN[name]]) for name in names]
    return pd.concat(parts).assign(low=np.nan, high=np.nan)


# %% tags=["hide-input"]
def beside(number, metric, title):
    """The paper beside ours by both protocols, a table per network."""
    paper = printed(number)
    paper = paper[paper["metric"] == metric].set_index(["model", "method"])["mean"]
    ours = {p: measured(metric, p, METHODS).set_index(["model", "method"]) for p in ("released", "equations")}
    for name in names:
        lines = []
        for method in (method for method in METHODS if (name, method) in paper):
            cells = [span(part.loc[name, method]) if (name, method) in part.index else "–" for part in ours.values()]
            lines.append((method, f"{paper[name, method]:.3f}", *cells))
        head = ("method", f"paper, {COLUMN[name]}", "here, released", "here, equations")
        book.table(head, lines, f"Table {number}, {title}: **{name}**")


beside(1, "faithfulness", "faithfulness (higher is better)")

# %% tags=["hide-input"]
MARKS = {"paper": ("0.15", "D"), "released": (plots.COLOURS[5], "s"), "equations": (plots.COLOURS[0], "o")}
MARKS |= {"energy": (plots.COLOURS[2], "^")}


def panel(ax, name, series, order):
    for k, (title, part) in enumerate(series.items()):
        part, (colour, mark) = part[part["model"] == name].set_index("method").reindex(order), MARKS[title]
        at = np.arange(len(order)) + 0.24 * (k - (len(series) - 1) / 2)
        ax.hlines(at, part["low"].astype(float), part["high"].astype(float), color=colour)
        ax.plot(part["mean"], at, mark, color=colour, markersize=5, label=title)
    ax.axvline(0, color="0.3", linewidth=0.8)
    ax.set(title=name, yticks=range(len(order)), yticklabels=order, ylim=(len(order) - 0.5, -0.5))
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")


# %% tags=["hide-input"]
def dots(series, order, label):
    """A panel per network; every series has model, method, mean, low and high."""
    across, down = min(2, len(names)), -(-len(names) // 2)
    size = (plots.WIDTH, (1.1 + 0.36 * len(order)) * down)
    fig, axes = plt.subplots(down, across, sharey=True, sharex=True, squeeze=False, figsize=size)
    for ax, name in zip(axes.flat, names):
        panel(ax, name, series, order)
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    fig.supxlabel(label, fontsize=12)
    return fig


# %% tags=["hide-input"]
def spoken(series, order):
    """The same in words."""
    told = []
    for title, part in series.items():
        for name in names:
            mine = part[part["model"] == name].set_index("method")["mean"]
            listed = ", ".join(f"{method} {mine[method]:.2f}" for method in order if method in mine)
            told.append(f"{title}, {name}: {listed}")
    return "; ".join(told) + "."


# %% tags=["hide-input", "gallery"]
series = {"paper": printed(1)}
series |= {protocol: measured("faithfulness", protocol, METHODS) for protocol in ("released", "equations")}
fig = dots(series, METHODS, "faithfulness")
caption = "Table 1 as a picture. Diamonds: the paper's number in the column that stands beside the network (see above)."
book.figure(fig, f"Dot plot of faithfulness with intervals, a panel per network. {spoken(series, METHODS)}", caption)

# %% tags=["hide-input"]
rows, alike = [], {}
for protocol in ("released", "equations"):
    for name in names:
        pair = [part[part["model"] == name].set_index("method")["mean"] for part in (series["paper"], series[protocol])]
        pair = pd.concat(pair, axis=1).dropna()
        alike[protocol, name] = float(stats.spearmanr(pair.iloc[:, 0], pair.iloc[:, 1]).statistic)
        first = pair.iloc[:, 1].idxmax()
        rows.append((protocol, name, f"{alike[protocol, name]:.2f}", pair.iloc[:, 0].idxmax(), first))
head = ("protocol", "network", "rank correlation with the paper's column", "first in the paper", "first here")
book.table(head, rows, "Do the methods come in the same order?")

# %% tags=["hide-input"]
range_of = {p: [value for key, value in alike.items() if key[0] == p] for p in ("released", "equations")}
told = [f"{p} {', '.join(f'{value:.2f}' for value in found)}" for p, found in range_of.items()]
clear = min(range_of["released"]) > max(range_of["equations"])
text = "The order of the paper's table is that of the **released** conventions more than of the equations"
say(f"{text if clear else 'Neither protocol is clearly closer to the order of the table'}: {'; '.join(told)}.")

# %% [markdown]
# The sizes are not the paper's: ours are mostly larger, and as a multiple of the paper's more so for GradCAM than for
# WAM. Networks, photographs and numbers of steps differ, and we do not know which of them matters.
#
# "WAM for 2D signals outperforms competing baselines according to the Faithfulness metric" (section 4.1). To test that,
# we compare each WAM method with the pixel method that did best, on the same photographs. (Picking the best of six
# after the fact is a handicap for WAM, so where WAM is ahead it is so with some margin.)


# %% tags=["hide-input"]
def versus(method, metric, protocol, name):
    """How far a ranking of wavelet coefficients is ahead of the best pixel method: its name, and the interval."""
    rows = pd.concat([pick(metric, protocol, [method], "wavelet"), pick(metric, protocol, PIXEL)])
    rows, sign = rows[rows["model"] == name], -1 if metric == "deletion" else 1
    means = sign * rows[rows["method"] != method].groupby("method")["value"].mean()
    pair = (method, means.idxmax())[::sign]
    return means.idxmax(), comparison.differences(rows, *pair, "model").iloc[0]


# %% tags=["hide-input"]
def ahead(metric, protocols=("released", "equations")):
    """Every (protocol, network, WAM method), and whether the interval is above 0 (+1), below (-1), or neither."""
    found = {}
    for key in ((p, name, method) for p in protocols for name in names for method in WAM):
        _, row = versus(key[2], metric, key[0], key[1])
        found[key] = int(row["low"] > 0) - int(row["high"] < 0)
    return found


# %% tags=["hide-input"]
rows = []
words = {1: "ahead", 0: "not decided", -1: "behind"}
lead = {metric: ahead(metric) for metric in ("faithfulness", "insertion", "deletion", "mu-fidelity")}
for (protocol, name, method), sign in lead["faithfulness"].items():
    best, row = versus(method, "faithfulness", protocol, name)
    rows.append((protocol, name, method, best, span(row), words[sign]))
head = ("protocol", "network", "method", "best pixel method", "difference", "by the interval")
book.table(head, rows, "Faithfulness, WAM minus the best pixel method, paired:")
won = sum(sign > 0 for sign in lead["faithfulness"].values())
text = f"By the interval, WAM is ahead of the best pixel method in **{won} of {len(rows)}** comparisons"
text += ". **Section 4.1 stands.**" if won == len(rows) else "."
say(text)

# %% [markdown]
# ## Table 4: insertion and deletion

# %% tags=["hide-input"]
beside(4, "insertion", "insertion (higher is better)")
beside(4, "deletion", "deletion (lower is better)")
told = []
for metric in ("insertion", "deletion"):
    won = sum(sign > 0 for sign in lead[metric].values())
    lost = [f"{method} on {n}, {p}" for (p, n, method), sign in lead[metric].items() if sign < 0]
    told.append(f"in {metric} in **{won} of {len(lead[metric])}**" + f" (behind: {'; '.join(lost)})" * bool(lost))
say(f"WAM is ahead of the best pixel method, by the interval, {', and '.join(told)} comparisons.")

# %% [markdown]
# B.2 says more: WAM "systematically outperforms". The paper's own Table 4 has exceptions, and the poster exchanges two
# of its numbers (slips 12 and 8 of the [paper map](../book/paper_map.md)).
#
# Numbers of the two protocols cannot be compared with each other. As released, the area is divided by the peak of the
# curve and cannot fall below $1 / (K + 1)$, so it depends on the number of steps. And the images in between are
# stretched in contrast (*rescaled*, below).
#
# ## Table 3: $\mu$-fidelity

# %% tags=["hide-input"]
beside(3, "mu-fidelity", "$\\mu$-fidelity (higher is better, says the paper)")

# %% [markdown]
# The columns *released* and *equations* do not even measure the same quantity. A section of its own below says why, and
# why a value of 0.2 in the first says little.
#
# ## What does a ranking score that knows nothing?
#
# Taking away one per cent of the pixels leaves specks; taking away one per cent of the coefficients can remove the
# picture. So when WAM scores higher than a pixel method, two things are mixed: what the *explanation* knows, and what
# the *domain* makes easy. Controls in the same domain take them apart. How much of WAM-IG's score would $|z|$ have had
# by itself?

# %% tags=["hide-input"]
CONTROLS = ["|z|", "WAM-IG permuted", "WAM-SG permuted", "randomized network, IG", "randomized network, SG"]
CONTROLS += ["coarse first", "random"]
RANKED = [*WAM, *CONTROLS]
axis = {p: measured("faithfulness", p, RANKED, "wavelet") for p in ("released", "equations", "energy")}
series = {p: axis[p] for p in ("released", "equations")}
fig = dots(series, RANKED, "faithfulness, wavelet domain")
caption = "Two methods and seven controls, all ranking the same wavelet coefficients (as released, |z| is N(z)). "
caption += "Several controls stand beside the methods, or before them."
alt = "Dot plot of faithfulness in the wavelet domain, a panel per network; the tables below have the intervals. "
alt += spoken(series, RANKED)
book.figure(fig, alt, caption)


# %% tags=["hide-input"]
def paired(one, other, metric, protocol):
    """The paired difference of two rankings of wavelet coefficients: a row per network."""
    rows = pick(metric, protocol, [one, other], "wavelet")
    return comparison.differences(rows, one, other, "model").set_index("model")


rows, beats = [], {}
for protocol in ("released", "equations"):
    for control in ("|z|", "coarse first", "randomized network", "random"):
        for method in WAM:
            other = f"{control}, {method[-2:]}" if control == "randomized network" else control
            found = paired(method, other, "faithfulness", protocol)
            beats |= {(protocol, name, method, control): found.loc[name] for name in names}
            rows.append((protocol, f"{method} minus {other}", *(span(found.loc[name], 3) for name in names)))
book.table(("protocol", "difference in faithfulness", *names), rows, "The same photographs, paired:")


# %% tags=["hide-input"]
def portion(control, protocol, name):
    """The faithfulness of a control in per cent of WAM-IG's, with the bootstrap interval of the ratio."""
    wide = pick("faithfulness", protocol, ["WAM-IG", control], "wavelet")
    wide = wide[wide["model"] == name].pivot(index="input", columns="method", values="value")
    drawn = np.random.default_rng(seed).integers(0, len(wide), (comparison.RESAMPLES, len(wide)))
    one, other = (wide[method].to_numpy()[drawn].mean(1) for method in (control, "WAM-IG"))
    low, high = np.quantile(100 * one / other, [0.025, 0.975])
    return {"mean": 100 * wide[control].mean() / wide["WAM-IG"].mean(), "low": low, "high": high}


# %% tags=["hide-input"]
rows, share, idle, blind = [], {}, {}, ("|z|", "coarse first", "randomized network, IG")
for protocol in ("released", "equations"):
    for name in names:
        share |= {(control, protocol, name): portion(control, protocol, name) for control in blind}
        best, idle[protocol, name] = versus("|z|", "faithfulness", protocol, name)
        cells = [span(share[control, protocol, name], 0) for control in blind]
        rows.append((protocol, name, *cells, f"{best}: {span(idle[protocol, name])}"))
head = ("protocol", "network", *(f"{control}, % of WAM-IG" for control in blind), "|z| minus the best pixel method")
book.table(head, rows, "How far one gets in faithfulness without the network, or without what it has learned:")


# %% tags=["hide-input"]
def reaches(control, protocol):
    found = sorted(round(share[control, protocol, name]["mean"]) for name in names)
    return " to ".join(map(str, dict.fromkeys((found[0], found[-1])))) + " %"


reach = {(control, p): reaches(control, p) for control in blind for p in ("equations", "released")}
cheap = sum(row["low"] > 0 for row in idle.values())
text = f"By the equations, a ranking by size alone reaches **{reach['|z|', 'equations']}** of the faithfulness of "
text += f"WAM-IG, as released (then $N(z)$) {reach['|z|', 'released']}. A ranking by *scale* alone, which does not "
text += f"even look at the photograph, reaches {reach['coarse first', 'equations']} and, as released, "
text += f"**{reach['coarse first', 'released']}**; the network that has learned nothing "
text += f"{reach['randomized network, IG', 'equations']} and {reach['randomized network, IG', 'released']}. "

# %% tags=["hide-input"]
both = [(p, n) for p in ("released", "equations") for n in names]
text += f"Of {len(both)} comparisons with a control, by the interval: "
for method in WAM:
    parts = []
    for control in ("|z|", "coarse first"):
        signs = [beats[p, n, method, control] for p, n in both]
        above, below = sum(row["low"] > 0 for row in signs), sum(row["high"] < 0 for row in signs)
        parts.append(f"ahead of {control} in {above or 'none'} and behind it in {below or 'none'}")
    text += f"{method} is {', '.join(parts)}{'; ' if method != WAM[-1] else '. '}"
text += f"|z| itself is ahead of the best pixel method, which does know the network, in {cheap} of {len(idle)}."
say(text)

# %% [markdown]
# What follows from this, and what does not:
#
# - It does not say that WAM is wrong. WAM-IG multiplies by $z$ ([chapter 01](01_theory.ipynb)), so it *has to* resemble
#   $|z|$, and that factor belongs to integrated gradients in every domain.
# - It does say that a faithfulness score in the wavelet domain cannot be credited to the explanation before the score
#   of $|z|$ is known, and that a comparison with methods that rank pixels compares two domains first.
# - It is no slip of this paper. Insertion and deletion reward whoever removes the most signal with the fewest
#   features, wherever the signal is compressible.
#
# ## The other axis
#
# Would another axis be fairer? So far one step is a fixed *number* of coefficients. One could as well spend a fixed
# amount of *energy* per step, $\sum |z_i|^2$ over the coefficients of the step (`axis="energy"`). Then the largest
# coefficients cost the most.

# %% tags=["hide-input"]
rows, orders = [], {}
trio = ["WAM-IG", "WAM-SG", "|z|", "random"]
for protocol, title in (("equations", "number"), ("energy", "energy")):
    for name in names:
        part = axis[protocol][axis[protocol]["model"] == name].set_index("method")
        orders[title, name] = part.loc[trio, "mean"].sort_values(ascending=False).index.tolist()
        rows.append((title, name, *(span(part.loc[method]) for method in trio)))
book.table(("steps of equal", "network", *trio), rows, "Faithfulness by the equations, on both axes:")
say("In order, " + "; ".join(f"by {by}, {name}: {' > '.join(order)}" for (by, name), order in orders.items()) + ".")
known = {key: [m for m in order if m != "random"] for key, order in orders.items()}
turned = [name for name in names if known["energy", name] == known["number", name][::-1]]
say(f"Without *random*, the order is exactly reversed on **{len(turned)} of {len(names)}** networks.")

# %% [markdown]
# This does not make WAM-SG the better method: **neither axis is neutral, by construction.** Among all sets of equally
# many coefficients the largest ones carry the most energy, so a ranking by $|z|$ removes the most signal per step when
# steps count coefficients. Among all sets of equal energy they are the fewest, so the same ranking changes the fewest
# coefficients per step when steps count energy. The first axis favours magnitude, the second punishes it.
#
# The same controls exist among pixels, and there the methods keep more of a distance:

# %% tags=["hide-input"]
rows = []
order = ["Integrated Gradients", "SmoothGrad", "GradCAM", "GradCAM++", "Saliency", "Guided Backpropagation", "|z|"]
order += ["Integrated Gradients permuted", "randomized network, IG", "randomized network, SG", "random"]
parts = {p: measured("faithfulness", p, order, "pixel").set_index(["model", "method"]) for p in ("equations", "energy")}
for method in order:
    cells = [span(part.loc[name, method]) if (name, method) in part.index else "–"
             for name in names for part in parts.values()]  # fmt: skip
    rows.append((method.replace("|z|", "magnitude |x|"), *cells))
head = ("ranking of pixels", *(f"{name}, {title}" for name in names for title in ("number", "energy")))
book.table(head, rows, "Faithfulness among pixels, by the equations, on both axes:")

# %% [markdown]
# (Shares of energy mean something else among pixels, where a few bright ones do not carry the picture: compare along a
# column, not across domains.)
#
# ## What the attribution knows beyond magnitude
#
# No choice of axis tells that, but a control that is matched on both does: the *permuted* one, which shuffles the
# attributions within bins of nearly equal $|z|$ ([`controls.permuted`](../book/api_measure.md)). It takes as many
# coefficients as the original, and at every step as much energy, up to the width of the bins. What it has lost is
# *which* of several equally large coefficients matter. What the original scores above it is that knowledge.

# %%
beyond = {}
for protocol in ("equations", "energy", "released"):
    for method in WAM:
        found = paired(method, f"{method} permuted", "faithfulness", protocol).reset_index()
        beyond[protocol, method] = found.assign(method=f"{method} minus permuted")
series = {p: pd.concat([beyond[p, method] for method in WAM]) for p in ("released", "equations", "energy")}
order = [f"{method} minus permuted" for method in WAM]

# %% tags=["hide-input"]
fig = dots(series, order, "difference in faithfulness")
caption = "What is left when the control has the same |z| at every step: paired differences with 95 % intervals."
book.figure(fig, f"Dot plot of paired differences, a panel per network. {spoken(series, order)}", caption)

# %% tags=["hide-input"]
rows = []
for (protocol, method), part in beyond.items():
    part = part.set_index("model")
    rows.append((protocol, method, *(span(part.loc[name], 3) for name in names)))
book.table(("protocol", "method", *names), rows, "WAM minus WAM permuted within bins of equal |z|:")

# %% tags=["hide-input"]
sides = {method: [beyond[p, method] for p in ("equations", "energy")] for method in WAM}
size = {m: np.mean([part["mean"].mean() for part in parts]) for m, parts in sides.items()}
larger = max(size, key=size.get)
cases_of = {m: [row["low"] > 0 for (_, k), part in beyond.items() if k == m for _, row in part.iterrows()] for m in WAM}
text = "By the interval, the original is above its permutation in " + " and in ".join(
    f"**{sum(found)} of {len(found)}** cases for {method}" for method, found in cases_of.items()
)
text += f". The gain is larger for {larger} ({size[larger]:.2f} on average over networks and the two axes of the "
text += "equations, " + ", ".join(f"{size[m]:.2f} for {m}" for m in WAM if m != larger) + ")."
say(text)

# %% [markdown]
# By the equations both WAM methods know something beyond magnitude. As released the gain of WAM-SG is large and that of
# WAM-IG is not seen. How much of the gain is the network, this control does not say. Permuting forgets the *scale* as
# well as the place, and takes apart what lies together. So part of the gain may be a preference for scales or for
# connected outlines, which a network need not be asked for (*coarse first*, and the randomized network, show how much
# that can be).
#
# ## Two protocols, and what lies between them
#
# Does the order of the methods depend on the protocol? First the ranks, over all photographs: 1 is the best of eight.

# %% tags=["hide-input"]
ranked = pd.concat([pick("faithfulness", p, METHODS) for p in ("released", "equations")])
ranked = comparison.ranks(ranked, ["model", "protocol"])
cells = {(row["model"], row["protocol"], row["method"]): span(row, 1) for _, row in ranked.iterrows()}
columns = [(name, protocol) for name in names for protocol in ("released", "equations")]
rows = [(method, *(cells.get((*column, method), "–") for column in columns)) for method in METHODS]
book.table(("method", *map(", ".join, columns)), rows, "Mean rank by faithfulness, with 95 % interval:")

# %% [markdown]
# The two protocols differ in many conventions at once. To see which of them matter, we start from the equations and
# change **one at a time**, on a few photographs and the first network. A [`Protocol`](../book/api_measure.md) is a
# small object whose fields are these conventions:
#
# - *rescaled*: every masked image is stretched to its own darkest and brightest value and rounded to 8 bits;
# - *area over its peak*: the mean of the curve divided by its largest value;
# - *signed*: features are ranked by $\gamma$, not by $|\gamma|$; evidence against the class comes last;
# - *one mask*: $|\gamma|$ is summed over the colour channels, which then share one mask;
# - *channels averaged first*: the same, but $\gamma$ is averaged over the channels *before* the absolute value;
# - *black*, *blurred*: what an absent feature looks like, in place of the grey;
# - *released maps*: WAM's attributions as the released code makes them, every band divided by its largest value, over
#   the one photograph or over the batch.

# %%
chosen = recognised(range(len(files)), few)
x, target = torch.cat([prepared(i)[0] for i in chosen]), torch.tensor([files.labels[i] for i in chosen], device=device)
options = {"frame": wam.Pixel(), "max_batch": max_batch}
sg = wam.smoothgrad(model, x, target, samples=few_steps, seed=seed, **options)
ig = wam.integrated_gradients(model, x, target, steps=few_steps, **options)
wavelets = {"WAM-SG": in_frame(sg, frame), "WAM-IG": in_frame(ig, frame)}
cam = baselines.gradcam_plus_plus(model, x, target, max_batch=max_batch)
plain = {"SmoothGrad": sg, "Integrated Gradients": ig, "GradCAM++": cam}
plain |= wavelets | {"|z|": controls.magnitude(wavelets["WAM-IG"])}
changes = {
    "the equations": {}, "rescaled": {"rescale": True}, "signed": {"ranking": "signed"}, "one mask": {"tied": True},
    "black": {"baseline": "black"}, "blurred": {"baseline": "blur"},
}  # fmt: skip


# %%
def faithful(explanations, protocol, part=slice(None)):
    """The curves of some explanations of the chosen photographs."""
    given = {"steps": few_steps, "protocol": protocol, "seed": seed, "max_batch": max_batch}
    return {m: metrics.perturbation_curves(model, x[part], e, **given) for m, e in explanations.items()}


def averaged(e):
    """Over the colour channels; for |z|, the coefficients themselves are averaged, which have a sign."""
    c = e.coefficients if e.method == "magnitude" else e.attributions
    return replace(e, attributions=c.map(lambda band: band.mean(1, keepdim=True)))


trials = {title: faithful(plain, replace(wam.protocol.EQUATIONS, **change)) for title, change in changes.items()}
trials["area over its peak"] = {m: replace(curve, peak=True) for m, curve in trials["the equations"].items()}
trials["channels averaged first"] = faithful({m: averaged(e) for m, e in plain.items()}, wam.protocol.EQUATIONS)


# %%
def maps(part):
    """The attributions of the released code for these photographs, explained together."""
    options = {"frame": frame, "max_batch": max_batch}
    sg = released.smoothgrad(model, x[part], target[part], samples=few_steps, seed=seed, **options)
    ig = released.integrated_gradients(model, x[part], target[part], steps=max(2, few_steps), **options)
    return {"WAM-SG": sg, "WAM-IG": ig, "|z|": released.magnitude(ig)}


together, parts = maps(slice(None)), [slice(k, k + 1) for k in range(len(chosen))]
alone = [maps(part) for part in parts]
single = [faithful(made, wam.protocol.EQUATIONS, part) for made, part in zip(alone, parts)]
trials["released maps, alone"] = {m: [curves[m] for curves in single] for m in together}
trials["released maps, as a batch"] = faithful(together, wam.protocol.EQUATIONS)


# %%
def summed(e):
    """One attribution per place, with its sign: what the released metrics rank for pixel methods."""
    return replace(e, attributions=e.attributions.map(lambda band: band.sum(1, keepdim=True)))


LAST = ["all: the released code", "the same, pixels by |γ|"]
positive = {m: replace(e, attributions=e.attributions.abs()) for m, e in plain.items()}
for title, made in zip(LAST, (plain, positive)):
    trials[title] = faithful({m: summed(e) for m, e in made.items()} | together, wam.protocol.RELEASED)


# %% tags=["hide-input"]
def signed(value):
    """With its sign, in hundredths; zero has none to lose."""
    return f"{round(value, 2) + 0.0:+.2f}"


on_few = f"{len(chosen)} photograph{'s' * (len(chosen) > 1)}"

# %% tags=["hide-input"]
scores = {}
for title, found in trials.items():
    kept = {m: c if isinstance(c, list) else [c] for m, c in (trials["the equations"] | found).items()}
    scores[title] = {m: float(torch.cat([c.faithfulness for c in kept[m]]).mean()) for m in plain}
scores = pd.DataFrame(scores).T
places = scores.rank(axis=1, ascending=False)
agreement = scores.apply(lambda row: stats.kendalltau(row, scores.iloc[0]).statistic, axis=1)
pairs = len(plain) * (len(plain) - 1) // 2
swapped = ((1 - agreement) / 2 * pairs).round().astype(int)
rows = []
for title in scores.index:
    cells = [f"{signed(scores.loc[title, m])} ({places.loc[title, m]:.0f})" for m in plain]
    rows.append((title, *cells, f"{swapped[title]} of {pairs}"))
title = f"Faithfulness, and rank in brackets, on {on_few} and {names[0]}; one convention changed:"
book.table(("changed", *plain, "pairs in another order"), rows, title)

# %% tags=["hide-input"]
shift = (scores - scores.iloc[0]).abs().drop(index=["the equations", *LAST])
where = shift.stack().idxmax()
stable = [title for title in shift.index if swapped[title] == 0]
text = f"The largest single change is that of **{where[1]}** by *{where[0]}* "
text += f"({signed(scores.loc['the equations', where[1]])} to {signed(scores.loc[where[0], where[1]])}). "
text += f"No two methods change places by: {', '.join(stable)}. " if stable else ""
unstable = swapped.drop(index=["the equations", *LAST]).sort_values(ascending=False)
text += f"The most change places by *{unstable.index[0]}* ({unstable.iloc[0]} of {pairs} pairs)."
say(text)

# %% tags=["hide-input"]
top = places.idxmin(axis=1).value_counts()
told = ", ".join(f"{method} in {n} of {len(scores)} rows" for method, n in top.items())
two = ["SmoothGrad", "Integrated Gradients"]
before, after = (", ".join(f"{m} {signed(scores.loc[title, m])}" for m in two) for title in LAST)
best = scores.loc[LAST[1], ["WAM-SG", "WAM-IG"]].min() > scores.loc[LAST[1], [*two, "GradCAM++"]].max()
text = f"Ranked first: {told}. In the last two rows only the sign of the pixel methods differs: {before} when ranked "
text += f"with their sign, {after} by magnitude. With that, the WAM methods are "
text += f"{'still' if best else 'no longer'} both above the three pixel methods"
text += f", on {on_few}."
say(text)


# %% tags=["hide-input"]
def early(e, first=0.05):
    """The share of the approximation's coefficients that are among the first of a ranking."""
    c = e.attributions.abs()
    place = {key: torch.full_like(band, key[1] == "approx") for key, band in c.bands.items()}
    place = wam.Coefficients(place, c.shape).pack()[0].flatten(1)
    ranked = c.pack()[0].flatten(1)
    top = ranked.topk(round(first * ranked.shape[1]), dim=1).indices
    return 100 * float((place.gather(1, top).sum(1) / place.sum(1)).mean())


pair = {"the equations": wavelets["WAM-SG"], "released maps, as a batch": together["WAM-SG"]}
told = [f"by *{t}* {early(e):.0f} % (faithfulness {signed(scores.loc[t, 'WAM-SG'])})" for t, e in pair.items()]
say(f"The share of the approximation that is among WAM-SG's first 5 % of the coefficients: {', '.join(told)}.")

# %% [markdown]
# Dividing every band by its largest value can move the coarse bands forward, which have few coefficients and carry most
# of the picture. Where WAM-SG scores higher with the released maps than with its equation (eq. 2), part of the reason
# may be just that: a preference for the coarse, which needs no network (*coarse first* above).
#
# These are few photographs, and a difference of a few hundredths is nothing. Large ones are worth a second look: a
# convention that is rarely reported can move a method further than the methods lie apart.
#
# The sign is a convention that is not the same for all methods. The released maps of WAM are not negative: whatever
# matters, for or against the class, comes first. Attributions of pixel methods keep their sign there, so what speaks
# *against* the class comes last. These are answers to two questions, and a comparison should ask all methods the same
# one.
#
# ## What a $\mu$-fidelity of 0.2 says
#
# The released code prints, for every photograph, the mean of the rank correlation $\rho$ *and of its p-value* $p$; a
# statistics library returns the two together. A p-value is small when the correlation is clear, and for a ranking that
# knows nothing it is anywhere between 0 and 1, one half on average. So
#
# $$ \text{printed} = \frac{\rho + p}{2} \tag{8.1} $$
#
# is $\frac12 (0 + \frac12) = \frac14$ in expectation for a random ranking, and $\frac12 (1 + 0) = \frac12$ for a
# perfect one. In between it is not monotone. The figure simulates it: for a true correlation, with 128 subsets as
# released, the estimate $\rho$ scatters, and the printed number is averaged over many photographs.

# %%
n, draws = 128, 4000
true = np.linspace(-0.4, 0.95, 136)
noise = np.random.default_rng(seed).standard_normal(draws)
estimate = np.tanh(np.arctanh(true)[:, None] + noise / np.sqrt(n - 3))
t = np.abs(estimate) * np.sqrt((n - 2) / (1 - estimate**2))
p_value = 2 * stats.t.sf(t, n - 2)
expected = ((estimate + p_value) / 2).mean(1)
every = wam.records.paper(3).set_index("method").apply(pd.to_numeric)
low, high, none = every.min().min(), every.max().max(), int(np.abs(true).argmin())
lowest = none + int(expected[none:].argmin())  # of those that are not negative

# %% tags=["hide-input"]
fig, ax = plt.subplots(figsize=(plots.WIDTH, 4))
ax.axhspan(low, high, color="0.88", label="all values of the paper's Table 3")
ax.plot(true, expected, label="expected printed number, (ρ + p) / 2")
ax.plot(true, true, "--", color="0.5", label="the correlation itself")
ax.set(xlabel="true correlation", ylabel="number", xlim=(-0.4, 0.95), ylim=(-0.2, 0.6))
fig.legend(loc="outside upper left")
alt = f"The printed number against the true correlation: rising to {expected[none]:.2f} near no correlation, falling "
alt += f"to {expected[lowest]:.2f} at {true[lowest]:.2f}, then rising to {expected[-1]:.2f}. The paper's values, from "
alt += f"{low:.2f} to {high:.2f}, cut the curve several times."
book.figure(fig, alt, "What the released code prints, by what is true. Simulated, 128 subsets.")


# %% tags=["hide-input"]
def compatible(value, tolerance=0.005):
    """The ranges of true correlation that print this value in expectation."""
    near = np.flatnonzero(np.abs(expected - value) <= tolerance)
    runs = np.split(near, np.flatnonzero(np.diff(near) > 1) + 1) if len(near) else []
    return " or ".join(dict.fromkeys(f"{true[run].mean():.2f}" for run in runs)) or "none"


text = f"A ranking that knows nothing prints **{expected[none]:.2f}** in expectation. From there the number *falls*, "
text += f"to {expected[lowest]:.2f} at a correlation of {true[lowest]:.2f}, before it rises. If all photographs had "
text += f"one correlation, a printed 0.20 would mean about **{compatible(0.2)}**. They differ, so a mean over them "
text += f"cannot be turned back into a correlation at all. The values of Table 3 lie between {low:.3f} and {high:.3f}."
say(text)

# %% [markdown]
# And measured, with the controls, on our networks:

# %% tags=["hide-input"]
for name in names:
    rows = []
    for where, methods in (("pixel", [*PIXEL, "|z|", "random"]), ("wavelet", RANKED)):
        parts = [measured("mu-fidelity", p, methods, where) for p in ("released", "equations")]
        parts = [part.set_index(["model", "method"]) for part in parts]
        for method in methods:
            cells = [span(part.loc[name, method], 3) if (name, method) in part.index else "–" for part in parts]
            rows.append((where, "|x|" if (where, method) == ("pixel", "|z|") else method, *cells))
    head = ("domain", "ranking", "released, (ρ + p) / 2", "equations, ρ")
    book.table(head, rows, f"$\\mu$-fidelity of methods and controls: **{name}**")

# %% tags=["hide-input"]
chance, told, near = {}, [], []
for name in names:
    part = measured("mu-fidelity", "released", ["random"], "wavelet").set_index("model")
    chance[name] = part.loc[name]
    means = measured("mu-fidelity", "released", METHODS)
    means = means[means["model"] == name]
    near += means[(means["low"] <= 0.25) & (means["high"] >= 0.25)]["method"].tolist()
    told.append(f"{name} {span(chance[name], 3)}")
plain_mu = measured("mu-fidelity", "equations", [*METHODS, "random"])
clear = plain_mu[(plain_mu["low"] > 0) & (plain_mu["method"] != "random")]
text = f"Printed for a random ranking of coefficients: {'; '.join(told)}. Of {len(names) * len(METHODS)} values of "
text += f"methods, {len(near)} have an interval that contains 0.25, before rounding. By the equations, where "
text += f"the number is a correlation, {len(clear)} of {len(names) * len(METHODS)} are above zero by the interval, "
text += f"the largest mean is {plain_mu['mean'].max():.2f}."
say(text)

# %% [markdown]
# If Table 3 was printed in this way, its values cannot be read as "higher is better", and it cannot tell whether the
# methods are "in line" with each other (B.2). The repair is one line: print the correlation alone
# (`replace(wam.protocol.RELEASED, p_value=False)`), as in the columns *equations*. There the features are single
# coefficients, and a random fifth of all of them is a very even sample of the picture, so correlations are small; on
# both networks WAM-IG has the largest of all methods, with $|z|$ close behind.
#
# ## Integrated Gradients: does the protocol make insertion equal deletion?
#
# In the paper's Table 4, insertion and deletion of Integrated Gradients (in pixels) are equal to within 0.003 on all
# four networks ([slip 7](../book/paper_map.md)). Does the released protocol make it so?

# %% tags=["hide-input"]
rows, flat = [], {}
for protocol in ("released", "equations"):
    for method in ("Integrated Gradients", "random"):
        found = {m: measured(m, protocol, [method], "pixel") for m in ("insertion", "deletion", "faithfulness")}
        for name in names:
            cells = [part.set_index("model").loc[name] for part in found.values()]
            flat[protocol, method, name] = cells[2]
            rows.append((protocol, name, method, *(span(cell, 3) for cell in cells)))
head = ("protocol", "network", "ranking of pixels", "insertion", "deletion", "difference (faithfulness)")
book.table(head, rows, "Integrated Gradients in pixels, and a random ranking:")

# %% tags=["hide-input"]
told = {p: [flat[p, "Integrated Gradients", name] for name in names] for p in ("equations", "released")}
exact = [row["low"] <= 0 <= row["high"] for row in told["released"]]
close = max(abs(row["mean"]) for row in told["released"]) < 0.1
text = "**Yes.** " if all(exact) else "**Nearly.** " if close else "**No.** "
text += f"By the equations the difference is {', '.join(span(row) for row in told['equations'])}, as released "
text += f"{', '.join(span(row, 3) for row in told['released'])}. "
text += f"The interval contains zero on {sum(exact) or 'none'} of the {len(exact)} networks."

# %% tags=["hide-input"]
found = scores["Integrated Gradients"]
single = ", ".join(f"*{t}* {signed(v)}" for t, v in found[shift.index].items() if "maps" not in t)
pixels = summed(ig).attributions.bands[0, "pixel"]
turns = float((pixels[..., 1:] * pixels[..., :-1] < 0).double().mean())
alone = scores.loc[shift.index, "Integrated Gradients"].abs()
culprits = ", ".join(f"*{title}*" for title in alone.index[alone < 0.05]) or "none"
text += f" One convention at a time, on {on_few} and {names[0]}, from the table above: {single}; with none of them "
text += f"{signed(found['the equations'])}, with all {signed(found[LAST[0]])}. "
text += f"What alone brings it within 0.05 of zero: {culprits}. The signs of neighbouring pixels differ in "
text += f"{100 * turns:.0f} % of the pairs (50 % would be chance)."
say(text)

# %% [markdown]
# So it is the **baseline** more than the sign. Integrated gradients explain the difference to *their* baseline, the
# grey. The released curves fade to *black* instead: pixels that matter on the way from grey, the dark ones above
# all, are there already or still. (The sign might have done it: if neighbouring pixels differed in sign, the first half
# of a signed ranking would be a fine mesh of pixels, and the second half another. *Signed* in the list above is what it
# does alone.)
#
# ## What we would do
#
# Each recommendation comes with the number that speaks for it in this run.


# %% tags=["hide-input"]
def across(values, digits=2):
    return ", ".join(f"{name} {value:.{digits}f}" for name, value in values.items())


advice = [
    "**Print the controls in the same table**: random, the magnitude, the scale alone, a randomized network. Here |z| "
    f"has {reach['|z|', 'equations']} of WAM-IG's faithfulness by the equations, and *coarse first* "
    f"{reach['coarse first', 'released']} as released.",
    "**Compare methods within one domain**, or say that domains are compared. Here |z| among wavelets is ahead of the "
    f"best method among pixels in {cheap} of {len(idle)} comparisons.",
    "**Measure what is left beyond magnitude**, with a control that is matched in number and energy. "
    f"Here that leaves {', '.join(f'{size[m]:.2f} for {m}' for m in WAM)} (mean over networks and axes).",
]

# %% tags=["hide-input"]
width = measured("faithfulness", "equations", METHODS)
width = float((width["high"] - width["low"]).median())
advice += [
    "**Pair, and give intervals.** The median interval of Table 1 is "
    f"{width:.2f} wide here; differences on the same photographs are what decides.",
    "**State the protocol**: sign, channels, baseline, rescaling, area. "
    f"One of them alone turned {unstable.iloc[0]} of {pairs} pairs round, all together {swapped[LAST[0]]}.",
    "**Never average a p-value into a score**, and show what chance would give. "
    f"Here chance gives {across({name: row['mean'] for name, row in chance.items()})}.",
    "**Test a ranking against the absent state that it explains**: the baseline of the curves is that of the "
    "attribution. Here black in place of grey alone takes Integrated Gradients from "
    f"{' to '.join(signed(scores.loc[t, two[1]]) for t in ('the equations', 'black'))}.",
]

# %% tags=["hide-input"]
say("\n".join(f"{k}. {line}" for k, line in enumerate(advice, start=1)))

# %% [markdown]
# ## Paper and here


# %% tags=["hide-input"]
def judged(found):
    """By the released protocol, with which the tables were made: all ahead by the interval, some, or none."""
    signs = [sign for key, sign in found.items() if key[0] == "released"]
    return "reproduced" if all(s > 0 for s in signs) else "partly" if any(s > 0 for s in signs) else "not reproduced"


# %% tags=["hide-input"]
def table_rows(number, metric, verdict):
    """A row per network: WAM-IG and WAM-SG in the paper's table and here, and against the best pixel method."""
    paper = printed(number)
    paper = paper[paper["metric"] == metric].set_index(["model", "method"])["mean"]
    ours = {p: measured(metric, p, WAM).set_index(["model", "method"])["mean"] for p in ("released", "equations")}
    for n in names:
        theirs = f"{COLUMN[n]}: {' and '.join(f'{paper[n, m]:.3f}' for m in WAM)}"
        here = "; ".join(f"{p} {' and '.join(f'{part[n, m]:.2f}' for m in WAM)}" for p, part in ours.items())
        beaten = "; ".join(f"{p} {' and '.join(words[lead[metric][p, n, m]] for m in WAM)}" for p in ours)
        what = f"{metric.replace('mu', 'μ')} of {' and '.join(WAM)}, {n}"
        yield f"Table {number}", what, theirs, here, f"against the best pixel method: {beaten}", verdict


# %% tags=["hide-input"]
def counted(metric):
    told = []
    for protocol in ("released", "equations"):
        signs = [sign for key, sign in lead[metric].items() if key[0] == protocol]
        told.append(f"{protocol}: ahead in {signs.count(1)} of {len(signs)}, behind in {signs.count(-1)}")
    return f"against the best pixel method, {'; '.join(told)}"


# %% tags=["hide-input"]
knows = f"|z| has {reach['|z|', 'equations']} of WAM-IG's by the equations; coarse first "
knows += f"{reach['coarse first', 'released']} as released"
ordered = ", ".join(f"{p}, {n}: {value:.2f}" for (p, n), value in alike.items())
similar = all(alike["released", n] > 0.5 for n in names)
same = all(value > 0.8 for value in alike.values())
rows = [
    *table_rows(1, "faithfulness", "partly" if similar else "not reproduced"),
    ("Table 1", "the order of the methods", "one column", f"rank correlation: {ordered}",
     "other networks; the protocol decides", "reproduced" if same else "partly" if similar else "not reproduced"),
    ("4.1", "WAM outperforms the baselines in faithfulness", "on four networks", counted("faithfulness"), knows,
     judged(lead["faithfulness"])),
]  # fmt: skip


# %% tags=["hide-input"]
def gain(metric, protocol):
    """The mean lead of both WAM methods over the best pixel method."""
    return np.mean([versus(m, metric, p, n)[1]["mean"] for p, n, m in lead[metric] if p == protocol])


gains = {p: [gain(metric, p) for metric in ("insertion", "deletion")] for p in ("released", "equations")}
driven = [one > other for one, other in gains.values()]

# %% tags=["hide-input"]
rows += [
    *table_rows(4, "insertion", judged(lead["insertion"])),
    *table_rows(4, "deletion", judged(lead["deletion"])),
    ("B.2", "WAM systematically outperforms in insertion and deletion", "on four networks",
     f"insertion: {counted('insertion')}; deletion: {counted('deletion')}", knows,
     judged({(*key, metric): sign for metric in ("insertion", "deletion") for key, sign in lead[metric].items()})),
    ("4.1", "the results are mostly driven by insertion", "stated",
     "; ".join(f"{p}: mean lead in insertion {one:.2f}, in deletion {other:.2f}" for p, (one, other) in gains.items()),
     "over the best pixel method", ("not reproduced", "partly", "reproduced")[sum(driven)]),
]  # fmt: skip

# %% tags=["hide-input"]
flatness = ", ".join(f"{n} {span(flat['released', 'Integrated Gradients', n], 3)}" for n in names)
first = measured("mu-fidelity", "equations", METHODS).sort_values("mean").groupby("model").tail(1)
firsts = ", ".join(f"{row['model']}: {row['method']} {row['mean']:.2f}" for _, row in first.iterrows())

# %% tags=["hide-input"]
rows += [
    *table_rows(3, "mu-fidelity", "not testable here"),
    ("Table 3", "higher is better", "stated", f"as described: (ρ + p) / 2; a random ranking prints "
     f"{across({n: r['mean'] for n, r in chance.items()})}", "zero would be expected of one that knows nothing",
     "not reproduced" if all(r["low"] > 0 for r in chance.values()) else "partly"),
    ("B.2", "μ-fidelity is in line with other methods", "stated", f"by the equations, the largest is {firsts}",
     "the number described cannot tell good from chance", "not testable here"),
    ("Table 4", "Integrated Gradients: insertion equals deletion", "differ by at most 0.003",
     f"released, difference {flatness}", f"within 0.05 of zero by one convention alone: {culprits.replace('*', '')}",
     "reproduced" if all(exact) else "partly" if close else "not reproduced"),
]  # fmt: skip

# %% tags=["hide-input"]
known = ("|z|", "coarse first", "randomized network", "random")
network = [beats[p, n, "WAM-IG", control]["low"] > 0 for p, n in both for control in known]
rows += [
    ("3.3", "faithfulness is effective in evaluating attributions", "cited", f"WAM-IG above |z|, coarse first, a "
     f"randomized network and random in {sum(network)} of {len(network)}; {knows}",
     "controls that the paper does not have",
     "reproduced" if all(network) else "partly" if any(network) else "not reproduced"),
    ("A.2", "ResNet, ConvNeXt, EfficientNet, DeiT; 1,000 images", "four networks", f"{', '.join(names)}; "
     f"{len(images) // len(names)} images each, without those misclassified", "stand-ins",
     "not testable here" if profile == "embedded" else "partly"),
]  # fmt: skip
columns = ("where", "what", "paper", "here", "difference", "verdict")
book.compare([dict(zip(columns, row)) for row in rows])

# %% [markdown]
# ## What to take away
#
# - Insertion and deletion answer their question for the *pair* of explanation and domain. In a domain where few
#   coefficients carry the picture, size alone goes a long way.
# - An explanation has shown something about the network by as much as it beats the controls in its own domain, on the
#   same photographs, by an interval.
# - No score means anything without its protocol: axis, sign, channels, baseline, rescaling, normalisation.
# - A score that averages a p-value has no direction.
# - None of this says that the paper's idea is wrong. It says which number would show that it is right, and takes a
#   first step towards it.
#
# ## On a cluster
#
# The loop over photographs goes through joblib, which knows Dask. Connect, and wrap the call in one line. Nothing else
# changes, and an interrupted run continues here or there:
#
# ```python
# import joblib
# from dask.distributed import Client
#
# client = Client("tcp://scheduler:8786")  # the address of your scheduler; workers share the folder and have wam
# with joblib.parallel_config(backend="dask"):
#     table = benchmark.run(tables.evaluate, cases, settings, folder)
# ```
#
# Dask's [deployment pages](https://docs.dask.org/en/stable/deploying.html) say how to start a scheduler and workers on
# a batch system, on Kubernetes or in a cloud.
#
# ## Exercises
#
# **1. The laziest explanation.** *Coarse first* knows neither the network nor the photograph. Above it had three
# levels to sort by. How faithful is it with five, on the photographs `x`?
#
# <details>
# <summary>Solution</summary>
#
# ```python
# for levels in (1, 3, 5):
#     e = in_frame(ig, wam.Wavelet(wavelet, levels, ndim=2))
#     found = faithful({"coarse first": controls.coarse_first(e), "WAM-IG": e}, wam.protocol.EQUATIONS)
#     print(levels, {method: curves.faithfulness.mean().item() for method, curves in found.items()})
# ```
#
# A part of every faithfulness in the wavelet domain is that blurred photographs are still recognised, and that a blur
# takes few coefficients.
#
# </details>
#
# **2. How many photographs?** How many would be needed to decide whether WAM-IG is more faithful than $|z|$, by the
# equations, if the true difference is the one we saw?
#
# <details>
# <summary>Solution</summary>
#
# A 95 % interval of a mean of $n$ paired differences with standard deviation $s$ is about $\pm 2 s / \sqrt n$. It
# excludes zero in half of all repetitions for $n > (2 s / \text{mean})^2$, and in four of five with 2.8 in place of 2.
#
# ```python
# rows = pick("faithfulness", "equations", ["WAM-IG", "|z|"], "wavelet")
# wide = rows.pivot(index=["model", "input"], columns="method", values="value")
# for name, gap in (wide["WAM-IG"] - wide["|z|"]).groupby("model"):
#     print(name, "mean", gap.mean(), "needs", int(np.ceil((2.8 * gap.std() / gap.mean()) ** 2)), "photographs")
# ```
#
# The paper's 1,000 would decide differences far smaller than ours can. They would not make the control unnecessary.
#
# </details>
#
# **Next:** your turn. [Chapter 09](09_your_own.ipynb) explains a network and a file of your own. The verdicts of all
# chapters stand side by side in the [results ledger](../book/ledger.md).
