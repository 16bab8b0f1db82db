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
# # 07 Randomization: does an explanation notice when the network forgets?
#
# *Appendix B.3 of the paper; Figures 8, 9 and 21 to 23.*
#
# Take a trained network and replace its weights by random ones, a few layers at a time. It forgets everything it
# learned. An explanation of the network has to change on the way. If it does not, it shows something else: the input,
# or the architecture. This is the sanity check of Adebayo et al. ([2018](../book/bibliography.md)), and several
# well-known methods fail it. The check has its critics: Binder et al. ([2023](../book/bibliography.md)) argue that
# randomizing from the output leaves much of the signal as it was, and that the scores favour noisy explanations. So it
# is a test that a method can fail, not a ranking of methods.
#
# Three things you will see:
#
# 1. how fast WAM-SG and WAM-IG, the SmoothGrad and integrated-gradients variants of the method, lose their resemblance
#    to the original as the randomization deepens, from the output down and from the input up;
# 2. what a failed check looks like: one method that hardly notices for half of the way, and one that cannot notice;
# 3. why WAM-IG falls less than WAM-SG. The paper has one explanation. There is a rival, and the two can be told apart.
#
# <!-- cost -->

# %% tags=["parameters"]
profile: str = "embedded"  # embedded: from the package index; paper: the paper's ResNet-18
networks: list = []  # networks to randomize, the first one in both orders; none: all of the profile
n_images: int = 0  # images explained at every depth; 0: 18, and 1000 of the profile paper
stages: int = 10  # depths of the randomization of the first network
stages_of_others: int = 4  # and of the others
levels: int = 3  # of the Haar wavelet
samples: int = 2  # noisy copies of WAM-SG; means over images hardly depend on their number (exercise 3)
steps: int = 3  # gradients of WAM-IG
shown: list = [0, 13, 16, 17]  # images drawn, the first one at every depth
max_batch: int = 10  # images in one pass of a network
seed: int = 0  # of every random draw

# %%
from types import SimpleNamespace

import pandas as pd
import torch

# %%
import wam
from wam import baselines, book, charts, comparison, data, explorer, models, plots, randomization, sanity
from wam.agreement import Key, Reference
from wam.book import say, span
from wam.stages import stages as layer_stages

book.start(chapter="07_randomization", profile=profile, seed=seed)
device = "cuda" if torch.cuda.is_available() else "cpu"


# %% [markdown]
# ## Forgetting, stage by stage
#
# **What stands in for what.** The paper randomizes a ResNet-18 and averages over 1,000 validation images of ImageNet.
# The default build has MobileNetV2 and EfficientNet-Lite0 and 18 labelled photographs
# ([credits](../book/credits.md)). With `profile="paper"` the same cells run a ResNet-18 on ImageNet images that you
# supply.
#
# [`stages.stages`](../book/api_measure.md) groups the layers of any network into stages, ten by default, in the order
# in which they run on an input. [`sanity.cascade`](../book/api_measure.md) draws the weights of one stage after the
# other anew, in a copy, with each layer's own initialisation, and resets the statistics of batch normalisation. In
# evaluation mode such a normalisation then passes its input on, so a deep random network is almost constant, and its
# gradients are tiny. Ranks do not depend on their size; but it is a special random network.
#
# The paper describes the order twice, in opposite directions: "from the top to the bottom layers", as Adebayo et al.
# do it ("top-down" below), and "from the shallowest conv1 to the deepest fc" ("bottom-up"). Its text
# names the layers of Figure 8 from conv1 to fc, so we take it to show the second. We do both.

# %%
names = networks or {"embedded": ["mobilenet_v2", "efficientnet_lite0"], "paper": ["resnet18"]}[profile]
count = n_images or {"embedded": 18, "paper": 1000}[profile]
photographs = data.images(count) if profile == "embedded" else data.imagenet(n=count, seed=seed)
frame = wam.Wavelet("haar", levels, ndim=2)
shown = [i for i in shown if i < min(count, 2 * max_batch)]
nets = {}
for name in names:
    model = models.load(name, device)
    nets[name] = SimpleNamespace(model=model, x=model.prepare(photographs))
main, categories = nets[names[0]], model.categories

# %% tags=["hide-input"]
for net in nets.values():
    net.stages = stages if net is main else stages_of_others
    net.plan = layer_stages(net.model, net.x[:1], net.stages)
rows = []
for name, net in nets.items():
    first, second, *_, last = (stage.name for stage in net.plan)
    rows.append((name, len(net.plan), sum(len(s.layers) for s in net.plan), f"{first}; {second}; …; {last}"))
book.table(("network", "stages", "layers", "from the input to the output"), rows)

# %% [markdown]
# ## Eight explanations at every depth
#
# At every depth we explain the class that the *intact* network predicts, and compare with the explanation of the intact
# network. An explanation is one attribution $\gamma$ per wavelet coefficient of the image (or per pixel). We compare by
# Spearman's rank correlation of $|\gamma|$ over an image, averaged over the images. (The paper says "rank correlation
# (or Pearson correlation coefficient)", which are two things.) The paper does not say whether it
# compares $\gamma$ or $|\gamma|$. Its released code makes maps of $|\gamma|$, so we take that, and show the other one
# as well. The eight:
#
# - **WAM-SG**, the mean gradient over noisy copies of the image, and **WAM-IG**, the mean gradient along a path to the
#   image, multiplied by its coefficients $z$; **SmoothGrad** and **integrated gradients**, the same in pixels $x$.
# - **|z|**: the magnitude of the coefficients. No network is asked. It is the method that cannot notice.
# - **WAM-IG without z** and **integrated gradients without x**: the mean gradient along the path alone.
# - **Guided backpropagation**, in pixels, which Adebayo et al. found to fail.
#
# One run of SmoothGrad and one of integrated gradients give the first seven
# ([`randomization.Methods`](../book/api_measure.md)), because a mean gradient can be seen in any frame without another
# pass ([chapter 01](01_theory.ipynb)).

# %%
methods = randomization.Methods(frame, samples=samples, steps=steps, seed=seed, max_batch=max_batch)


def explain(network, x, target):
    """The seven of Methods, and guided backpropagation."""
    made = methods(network, x, target)
    made["guided backpropagation"] = baselines.guided_backpropagation(network, x, target, max_batch=max_batch)
    return made


def explain_few(network, x, target):
    """From the input up, and for other networks: what is drawn of them."""
    made = methods(network, x, target)
    return {method: made[method] for method in ("WAM-SG", "WAM-IG", "WAM-IG without z", "|z|")}


# %%
found, at_once = {}, 2 * max_batch
for name, net in nets.items():
    for order in ("top-down", "bottom-up") if net is main else ("top-down",):
        all_of_them = net is main and order == "top-down"
        options = {"order": order, "stages": net.stages, "seed": seed, "keep": shown if net is main else ()}
        how = explain if all_of_them else explain_few
        found[name, order] = randomization.run(net.model, net.x, how, max_batch=at_once, **options)

# %% [markdown]
# ## Figure 8: the fall
#
# Every curve starts at 1, the intact network compared with itself. Watch how much of the fall the first stage makes,
# and where the two methods end.


# %% tags=["hide-input", "gallery"]
def fall(test, which, kind="absolute", **options):
    """The chart of the mean correlation at every depth."""
    table = test.summary(kind=kind)
    table = table[table["method"].isin(which)]
    stage = dict(enumerate(test.stages))
    return charts.lines(table, "depth", "method", ylabel="rank correlation", names=stage, **options)


PAPER = ["WAM-SG", "WAM-IG"]
for (name, order), test in found.items():
    fig, alt = fall(test, PAPER, limits=(-0.1, 1.05))
    where = "from the output" if order == "top-down" else "from the input, as in Fig. 8 of the paper"
    book.figure(fig, alt, f"{name}, {where}: rank correlation with the intact network, {count} images, "
                f"95 % intervals over images; one draw of the weights.")  # fmt: skip

# %% tags=["hide-input"]
by_test = {key: test.summary().set_index(["depth", "method"]) for key, test in found.items()}
deepest = {key: len(test.stages) - 1 for key, test in found.items()}
rows = []
for key, table in by_test.items():
    for method in PAPER:
        one, end = table.loc[(1, method)], table.loc[(deepest[key], method)]
        rows.append((*key, method, f"{found[key].stages[1]}: {span(one)}", span(end)))
book.table(("network", "order", "method", "after the first stage", "after the last"), rows)

# %% tags=["hide-input"]
table = found[names[0], "top-down"].table
table = table[(table["statistic"] == "spearman") & (table["kind"] == "absolute") & (table["scale"] == "all")]
last = table[table["depth"] == deepest[names[0], "top-down"]]
slower = comparison.differences(last, "WAM-IG", "WAM-SG", "depth", inputs="input").iloc[0]


def later(test):
    """The last depth minus the first one with something randomized, image by image, for every method."""
    t = test.table
    t = t[(t["statistic"] == "spearman") & (t["kind"] == "absolute") & (t["scale"] == "all")]
    return comparison.differences(t, test.stages[-1], test.stages[1], "method", column="stage", inputs="input")


after = {order: later(found[names[0], order]).set_index("method") for order in ("top-down", "bottom-up")}

# %% tags=["hide-input"]
lost = {m: (1 - by_test[names[0], "top-down"].loc[(1, m), "mean"], 1 - by_test[names[0], "top-down"].loc[
    (deepest[names[0], "top-down"], m), "mean"]) for m in PAPER}  # fmt: skip
said = " and ".join(f"{100 * one / all_:.0f} % of the fall of {m}" for m, (one, all_) in lost.items())
text = f"From the output, the first stage alone makes {said}. "
text += f"With every layer of {names[0]} randomized, WAM-IG is {span(slower)} above WAM-SG, image by image"
text += ": as in the paper, **WAM-IG falls less**. " if slower["low"] > 0 else ". "
text += "Both orders end at the same network, so at the same points. From the input, the correlation after the last "
text += "stage minus that after the first is "
text += " and ".join(f"{span(after['bottom-up'].loc[m])} for {m}" for m in PAPER)
text += ": it falls no further." if (after["bottom-up"].loc[PAPER, "low"] >= 0).all() else "."
say(text)

# %% [markdown]
# Before asking why: this number compares the order of magnitudes. Whether a coefficient speaks for the class or against
# it does not count. Here is the same with signs.

# %% tags=["hide-input"]
key = names[0], "top-down"
fig, alt = fall(found[key], PAPER, kind="signed", limits=(-0.1, 1.05))
book.figure(fig, alt, f"{key[0]}, from the output: the rank correlation of the signed attributions.")
ends = found[key].summary(kind="signed").set_index(["depth", "method"]).loc[deepest[key]]
text = f"With signs, the end points are {span(ends.loc['WAM-SG'])} for WAM-SG and {span(ends.loc['WAM-IG'])} for WAM-IG"
if ends.loc[PAPER, "high"].max() < 0.1:
    text += ": nothing is left. What WAM-IG keeps is *where the large attributions are*, not what they say. "
    text += "A figure of $|\\gamma|$ shows only the former"
say(text + ".")

# %% [markdown]
# ## What a failed check looks like
#
# Do other methods fall? Here is the same test for methods in pixels, and for the magnitude, which cannot fall.

# %% tags=["hide-input"]
LINEUP = ["WAM-SG", "WAM-IG", "|z|", "SmoothGrad", "integrated gradients", "guided backpropagation"]
fig, alt = fall(found[key], LINEUP, limits=(-0.1, 1.05), height=4.6)
book.figure(fig, alt, f"{key[0]}, from the output: three rankings of wavelet coefficients and three of pixels.")

# %% tags=["hide-input"]
end = by_test[key].loc[deepest[key]]
half = by_test[key].loc[(deepest[key] + 1) // 2]
others = "; ".join(f"{method} {span(end.loc[method])}" for method in LINEUP)
text = f"At the end, with nothing learned left: {others}. **|z| stays at 1 by construction**: it never looked. "
guided = "guided backpropagation"
text += f"Guided backpropagation is at {by_test[key].loc[(1, guided), 'mean']:.2f} with the first stage randomized, "
text += f"and half-way at {half.loc[guided, 'mean']:.2f}"
text += ": most of its fall comes near the input." if half.loc[guided, "mean"] > 0.7 else "."
say(text)

# %%
intact = methods(main.model, main.x[:at_once], None)
alike = Reference(intact["WAM-IG"]).agreement(intact["|z|"])[Key("absolute", "all", "spearman")].tolist()
random_ig = last[(last["method"] == "WAM-IG") & (last["input"] < at_once)].assign(all=0)
pairs = pd.concat([random_ig, random_ig.assign(value=alike, method="|z|")])
nearer = comparison.differences(pairs, "|z|", "WAM-IG", "all", inputs="input").iloc[0]
alike = comparison.summary(pairs[pairs["method"] == "|z|"], "all").iloc[0]

# %% tags=["hide-input"]
text = "Yet |z| resembles WAM-IG: its rank correlation with the WAM-IG of the *intact* network is "
text += f"{span(alike)}. The WAM-IG of the network that knows nothing has {span(end.loc['WAM-IG'])}; "
text += f"|z| minus that is {span(nearer)}, image by image. "
if nearer["low"] > -0.05:
    near = "nearer to the explanation than" if nearer["low"] > 0 else "as near to the explanation as"
    text += f"A ranking that asks no network comes {near} one that asks a network that knows nothing. "
say(text + "So a high correlation is not a fault of the check: it says what much of the map is made of.")

# %% [markdown]
# ## Figures 9 and 21 to 23: what it looks like
#
# The mosaic shows the wavelet domain (coarse in the upper left corner), the heatmap where on the photograph the
# attributions are. Move the slider, and watch which of the two methods still draws the object when the network has no
# idea what it is.


# %%
def at_depth(depth, i):
    """Mosaics and heatmaps of one image at one depth."""
    e, net = found[key].kept[depth], main
    rgb = net.model.display(net.x[shown[i] : shown[i] + 1])[0]
    fig, axes = plots.panels(2, 3)
    plots.image(axes[0, 0], rgb, "image")
    plots.mosaic(axes[1, 0], e["|z|"].attributions, i, title="|z|")
    for row, method in enumerate(PAPER):
        plots.mosaic(axes[row, 1], e[method].attributions, i, title=method)
        plots.overlay(axes[row, 2], rgb, e[method][i].heatmap()[0], "heatmap")
    return fig


# %% tags=["hide-input", "gallery"]
labels = [f"{name}, and all after it" if d > 1 else name for d, name in enumerate(found[key].stages)]
hero = categories[photographs[shown[0]].label]
per_depth = by_test[key]["mean"]
alts = [
    f"A photograph ({hero}); mosaics and heatmaps of WAM-SG and WAM-IG. Randomized: {label if d else 'nothing'}. Mean "
    f"rank correlation over all images: WAM-SG {per_depth[d, 'WAM-SG']:.2f}, WAM-IG {per_depth[d, 'WAM-IG']:.2f}."
    for d, label in enumerate(labels)
]
figures = [at_depth(d, 0) for d in range(len(labels))]
book.slider(figures, labels, alts, f"Fig. 9, here: {key[0]}, randomized from the output.", "Randomized")


# %% tags=["hide-input"]
def strip(method, which, order):
    """Heatmaps of several images in rows, at a few depths in columns, with the image first."""
    test, depths = found[names[0], order], [0, 1, deepest[names[0], order]]
    fig, axes = plots.panels(len(which), 1 + len(depths), titles=[2] + [0] * (len(which) - 1))
    for row, (line, i) in enumerate(zip(axes, which)):
        rgb = main.model.display(main.x[shown[i] : shown[i] + 1])[0]
        plots.image(line[0], rgb, None if row else "image")
        for ax, d in zip(line[1:], depths):
            title = None if row else "intact" if not d else f"up to\n{test.stages[d]}"
            plots.overlay(ax, rgb, test.kept[d][method][i].heatmap()[0], title)
    return fig, [test.stages[d] for d in depths[1:]]


# %% tags=["hide-input"]
rest = list(range(1, len(shown))) or [0]
for method in PAPER:
    fig, at = strip(method, rest, "bottom-up")
    named = ", ".join(categories[photographs[shown[i]].label] for i in rest)
    alt = f"Heatmaps of {method} over photographs ({named}). In columns: intact, randomized up to {' and '.join(at)}."
    book.figure(fig, alt, f"Figs. 21 to 23, here: {method}, randomized from the input up to the stage named.")

# %% [markdown]
# With the first stage next to the input randomized, both methods show little but the border of the photograph. With all
# stages randomized, WAM-SG is an even grain, and WAM-IG draws the outlines of whatever is in the picture. The paper
# calls it "no longer informative"; to the eye an outline still looks informative.
#
# Compare the network with its forgetful copy yourself; each is explained for the class that it predicts:

# %%
forgetful = sanity.randomize(main.model, seed)
forgetful.name = f"{names[0]}, all random"
explorer.explore([main.model, forgetful], photographs[:20], vary="model")

# %% [markdown]
# ## Why WAM-IG falls less: two explanations, one experiment
#
# The paper's explanation: WAM-IG reflects the distribution of importance *between scales*, and even random networks
# have a *spectral bias*, a natural tendency to favour low frequencies (it cites Rahaman et al. and Yin et al.,
# [2019](../book/bibliography.md)). So trained and random networks agree on the scales.
#
# The rival is in the paper's equation 3 itself. With $f_c$ the score of the class, $z_0$ the coefficients of the
# baseline, and $z_\alpha = z_0 + \alpha (z - z_0)$ the path from there to the image,
#
# $$ \gamma_{Ig} = (z - z_0) \odot \int_0^1 \frac{\partial f_c}{\partial z}(z_\alpha) \, d\alpha. \tag{3} $$
#
# The factor $z - z_0$ belongs to the photograph (here $z_0 = 0$, so it is $z$), and no randomization touches it.
# Photographs have large coefficients at coarse scales and at edges, with any network. Adebayo et al. suspected the same
# of all methods that multiply by the input.
#
# The two make different predictions:
#
# | if it is the spectral bias | if it is the factor |
# | --- | --- |
# | gradients of random networks are denser at coarse scales | no claim about gradients |
# | *within* one scale WAM-IG falls as low as WAM-SG | it stays high within every scale |
# | leaving out the factor changes little | without it WAM-IG falls like WAM-SG |
#
# ### The scales of random networks
#
# First row: are the gradients of random networks denser at coarse scales? *WAM-IG without z* is their mean along the
# path.

# %% tags=["hide-input"]
share = found[key].summary("share", scale=None)
share = share[share["method"] == "WAM-IG without z"]
names_of = {"approx": "approx."} | {str(j): f"level {j}" for j in range(1, levels + 1)}
share = share.assign(scale=share["scale"].map(names_of))
fig, alt = charts.lines(
    share, "depth", "scale", ylabel="share of importance", names=dict(enumerate(found[key].stages)), height=4.2
)
caption = f"{key[0]}, from the output: how the gradient along the path of WAM-IG is distributed over the scales."
book.figure(fig, alt, caption)


# %%
def shares(test, method, depth):
    """The coarse share (approximation and coarsest level) of every image at one depth."""
    t = test.table
    t = t[(t["statistic"] == "share") & (t["method"] == method) & (t["depth"] == depth)]
    coarse = t[t["scale"].isin(["approx", str(levels)])].groupby("input")["value"].sum()
    return coarse.rename("value").reset_index().assign(state="random" if depth else "intact")


# %%
even, bias = 4 / 4**levels, {}  # the share of the coefficients that are in the two coarsest scales
for name in names:
    for method in ("WAM-IG without z", "WAM-IG", "|z|"):
        both = pd.concat([shares(found[name, "top-down"], method, d) for d in (0, deepest[name, "top-down"])])
        bias[name, method] = comparison.summary(both.assign(value=both["value"] / even), "state").set_index("state")

# %% tags=["hide-input"]
rows = [(*where, span(b.loc["intact"]), span(b.loc["random"])) for where, b in bias.items()]
title = f"The two coarsest of {levels + 1} scales have {100 * even:.3g} % of the coefficients. Their share of the "
title += "importance, divided by that; 1 is an even spread:"
book.table(("network", "of", "intact", "all random"), rows, title)
drawn = [b for (_, method), b in bias.items() if method == "WAM-IG without z"]
flat = all(b.loc["random", "low"] > 0.75 and b.loc["random", "high"] < 1.25 for b in drawn)
finer = all(b.loc["random", "high"] < b.loc["intact", "low"] for b in drawn)

# %% tags=["hide-input"]
times = {state: " and ".join(f"{b.loc[state, 'mean']:.1f}" for b in drawn) for state in ("intact", "random")}
text = f"In the two coarsest scales ({' and '.join(names)}) the gradient of a random network is {times['random']} "
text += f"times as dense as an even spread, that of the trained network {times['intact']} times. "
text += "**So random networks have next to no preference for coarse scales here**" if flat else (
    "So random networks do differ between scales")  # fmt: skip
text += "; training makes one. " if finer else ". "
text += f"With random weights, WAM-IG of {names[0]} is {bias[names[0], 'WAM-IG'].loc['random', 'mean']:.1f} times "
text += f"as dense there, which is the photographs' doing: |z| has {bias[names[0], '|z|'].loc['random', 'mean']:.1f}."
say(text)

# %% [markdown]
# ### Within one scale
#
# Second row: within a scale there is no distribution between scales to agree on. Does WAM-IG fall as low as WAM-SG
# there?

# %% tags=["hide-input"]
inner = found[key].summary(scale=None).set_index(["depth", "method", "scale"]).loc[deepest[key]]
columns = ["all", "approx", *map(str, range(levels, 0, -1))]
rows = [
    (method, *(span(inner.loc[(method, c)]) for c in columns)) for method in ("WAM-SG", "WAM-IG", "WAM-IG without z")
]
book.table(
    ("all random", "all scales", *(names_of[c] for c in columns[1:])),
    rows,
    f"{key[0]}, all of it random: the rank correlation within each scale.",
)

# %% tags=["hide-input"]
within = {c: inner.loc[("WAM-IG", c)] for c in columns[1:]}
everywhere = [found[n, "top-down"].summary(scale=None).query("method == 'WAM-IG' and depth > 0") for n in names]
lowest = min(t[t["depth"] == t["depth"].max()]["low"].min() for t in everywhere)
kept_within = sum(row["mean"] for row in within.values()) / len(within) / inner.loc[("WAM-IG", "all"), "mean"]
say(
    f"On average over the scales of {key[0]}, WAM-IG keeps {100 * kept_within:.0f} % of its correlation "
    f"within a scale. The lowest end of an interval, in any scale and network, is {lowest:.2f}."
)

# %% [markdown]
# ### Without the factor
#
# Third row: does WAM-IG fall like WAM-SG without its factor?
# [`explanation.path_gradient`](../book/api_explain.md) leaves the integral alone, without a pass of the network.

# %% tags=["hide-input"]
DIVIDED = ["WAM-SG", "WAM-IG", "WAM-IG without z", "integrated gradients without x", "integrated gradients"]
fig, alt = fall(found[key], DIVIDED, limits=(-0.1, 1.05), height=4.6)
book.figure(fig, alt, f"{key[0]}, from the output: WAM-IG and integrated gradients with and without their factor.")


# %%
def explained_by_factor(name):
    """How much of the distance between WAM-IG and WAM-SG goes with the factor, at the last depth, per image."""
    t = found[name, "top-down"].table
    t = t[(t["depth"] == t["depth"].max()) & (t["statistic"] == "spearman") & (t["kind"] == "absolute")]
    t = t[t["scale"] == "all"]
    pairs = (("WAM-IG", "WAM-SG"), ("WAM-IG without z", "WAM-SG"))
    return [comparison.differences(t, *pair, "depth", inputs="input").iloc[0] for pair in pairs]


# %% tags=["hide-input"]
gone = {name: explained_by_factor(name) for name in names}
rows = [(name, span(with_z), span(without), f"{100 * (1 - without['mean'] / with_z['mean']):.0f} %")
        for name, (with_z, without) in gone.items()]  # fmt: skip
head = ("network", "WAM-IG minus WAM-SG", "without z, minus WAM-SG", "goes with the factor")
book.table(head, rows, "With all weights random, image by image:")
part = [1 - without["mean"] / with_z["mean"] for with_z, without in gone.values()]
factor = all(abs(two["mean"]) < 0.2 * one["mean"] for one, two in gone.values()) and lowest > 0.1
say(
    "**With all weights random, the factor accounts for the difference.** Without it WAM-IG falls like WAM-SG. "
    "Its slow fall measures how much of the map is the photograph itself."
    if factor
    else f"The factor accounts for {100 * min(part):.0f} % or more of the difference; the rest is open."
)

# %% [markdown]
# Does WAM pass the check, then? WAM-SG does. For WAM-IG it depends on what one reads from it. Its signs are about the
# network. A picture of its magnitudes is to a large part a picture of the input, as for integrated gradients in pixels,
# where Adebayo et al. saw the same. Nothing here is wrong with equation 3: it answers what *this* coefficient
# contributed to the score, and a coefficient that is zero contributed nothing, whatever the network.
#
# ## A check for your own network
#
# A few lines give the curves of this page for any module ([`randomization.run`](../book/api_measure.md)):

# %%
net = torch.nn.Sequential(
    torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 15 * 15, 10)
)
test = randomization.run(net, torch.randn(4, 3, 32, 32), randomization.Methods(frame, samples=2, steps=2))
rows = [(row["stage"], span(row)) for _, row in test.summary().query("method == 'WAM-SG'").iterrows()]
title = "A network that was never trained; its layers with weights are called 0 and 3:"
book.table(("randomized", "WAM-SG: rank correlation"), rows, title)

# %% [markdown]
# With `folder=` the run is kept depth by depth and continues after an interruption; `order="independent"` randomizes
# one stage at a time; `stages=None` makes every layer a stage.
#
# ## Paper and here

# %% tags=["hide-input"]
sg, ig = (by_test[key].loc[(deepest[key], method)] for method in PAPER)
signs, without = ends.loc["WAM-IG"], [two for _, two in gone.values()]
more = [n for n in names if n != names[0]]
falls = {order: all(table.loc[PAPER, "high"] < 0) for order, table in after.items()}
levels_of = {m: (f"{by_test[key].loc[(1, m), 'mean']:.2f}", span(by_test[key].loc[(deepest[key], m)])) for m in PAPER}
curve = "; ".join(f"{m}: 1, {first}, {last_}" for m, (first, last_) in levels_of.items())
denser = ", ".join(f"{b.loc['random', 'mean']:.1f}" for b in drawn)
rows = [
    ("Fig. 8; B.3", "the correlation falls significantly as the randomization deepens", "a curve, ResNet-18",
     f"intact, first and last stage from the output: {curve}",
     "from the input all of the fall is at the first stage" if not falls["bottom-up"] else "from the input, too",
     "reproduced" if all(falls.values()) else "partly" if sg["high"] < 0.5 else "not reproduced"),
]  # fmt: skip

# %% tags=["hide-input"]
rows += [
    ("Fig. 8; B.3", "WAM-IG falls less than WAM-SG", "a curve", f"{names[0]}: by {span(slower)} at the end",
     ", ".join(f"{n}: {span(gone[n][0])}" for n in more) or "one network only",
     "reproduced" if all(one["low"] > 0 for one, _ in gone.values()) else "partly"),
    ("B.3", "because WAM-IG reflects the distribution between scales more", "argued",
     f"within single scales it keeps {100 * kept_within:.0f} % of its correlation",
     "so that distribution has a small part in it", "partly" if kept_within < 0.95 else "not reproduced"),
    ("B.3", "on which trained and random networks agree, since random ones favour low frequencies", "argued",
     f"random gradients at coarse scales: {denser} times an even spread; without z WAM-IG is at WAM-SG's level "
     f"({', '.join(map(span, without))})", "the factor z of eq. 3 accounts for it",
     "not reproduced" if factor and flat else "partly"),
]  # fmt: skip

# %% tags=["hide-input"]
rows += [
    ("Figs. 9, 21 to 23", "the explanation of a randomized network is no longer informative", "pictures",
     f"rank correlation that is left: WAM-SG {span(sg)}, WAM-IG {span(ig)}",
     f"|z|, which asks no network, has {span(alike)} with the intact WAM-IG",
     "reproduced" if ig["high"] < 0.5 else "partly"),
    ("4.1", "WAM passes the randomization test", "stated",
     f"WAM-SG {span(sg)}; WAM-IG by magnitude {span(ig)}, with signs {span(signs)}",
     "WAM-SG does; WAM-IG by its signs, hardly by its magnitudes" if ig["low"] > 0.5 else "both do",
     "reproduced" if ig["high"] < 0.5 else "partly"),
]  # fmt: skip
columns = ("where", "what", "paper", "here", "difference", "verdict")
book.compare([dict(zip(columns, row)) for row in rows])

# %% [markdown]
# ## What to take away
#
# - Randomize before you trust: an explanation that survives the loss of everything learned is about something else.
# - Put |z| into the same chart. It shows how much resemblance is to be had without a network.
# - WAM-SG passes. WAM-IG multiplies by the input, and its magnitudes keep most of their order without any training. Its
#   signs do not.
# - The slow fall of WAM-IG needs no spectral bias: it goes away with the factor $z$, and it is there within single
#   scales.
# - Which end one starts from matters for the curve, not for its last point. Say which.
#
# ## Exercises
#
# **1. One stage at a time.** Randomize single stages and leave the others as they were. Which stage matters most to
# WAM-SG?
#
# <details>
# <summary>Solution</summary>
#
# ```python
# methods = randomization.Methods(frame, samples=samples, steps=2, seed=seed, max_batch=max_batch)
# alone = randomization.run(main.model, main.x[:6], methods, order="independent", seed=seed)
# alone.summary().query("method == 'WAM-SG'").set_index("stage")["mean"].round(2)
# ```
#
# Any of them destroys most of the correlation: a network is a chain, and its gradient a product. The stage next to the
# input has the largest effect, since it filters what all gradients pass through last.
#
# </details>
#
# **2. Another seed.** The random weights are one draw. Repeat the last depth with five seeds. How much do the end
# points of Figure 8 move, beside their intervals over images?
#
# <details>
# <summary>Solution</summary>
#
# ```python
# x = main.x[:6]
# target = main.model(x).argmax(1)
# original = {m: Reference(e) for m, e in methods(main.model, x, target).items()}
# for s in range(5):
#     made = methods(sanity.randomize(main.model, s), x, target)
#     print(s, {m: round(float(original[m].agreement(made[m])[Key("absolute", "all", "spearman")].mean()), 2)
#               for m in ("WAM-SG", "WAM-IG")})
# ```
#
# Little. It is a second source of uncertainty, which intervals over images do not contain; here it is the
# smaller one.
#
# </details>
#
# **3. More gradients.** This page spends few gradients on an explanation. Do its end points move with more?
#
# <details>
# <summary>Solution</summary>
#
# ```python
# target, forgotten = main.model(main.x).argmax(1), sanity.randomize(main.model, seed)
# for n, k in ((samples, steps), (12, 16)):
#     many = randomization.Methods(frame, samples=n, steps=k, seed=seed, max_batch=max_batch)
#     one, two = many(main.model, main.x, target), many(forgotten, main.x, target)
#     for m in ("WAM-SG", "WAM-IG"):
#         print(n, k, m, float(Reference(one[m]).agreement(two[m])[Key("absolute", "all", "spearman")].mean()))
# ```
#
# Hardly. Single explanations do change with the number of gradients, their mean correlation does not.
#
# </details>
#
# **Next:** what numbers for faithfulness are worth: [chapter 08](08_evaluation.ipynb).
