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
# # 02 Images: where, and at what scale
#
# *Sections 3.2, A.1, A.2 and C.4 of the paper; Figures 1 (image row), 2, 6 and 15.*
#
# SG and IG stand for WAM-SG and WAM-IG, the method by SmoothGrad and by integrated gradients ([chapter
# 01](01_theory.ipynb)). *The authors' code* is what was published with the paper.
#
# A network says *bald eagle*. Which part of the photograph made it say so, and was it the outline, the edges or the
# grain of the feathers? This chapter asks trained networks about real photographs, and then how far the answers can be
# trusted.
#
# Three things you will see:
#
# 1. explanations that name the place **and** the scale of what mattered, on two networks;
# 2. a claim of the paper turned into a measurement, and the reason for it: SG shows importance *within* scales, IG
#    *between* them;
# 3. where such pictures mislead: the share of them that the photograph alone would have drawn.
#
# <!-- cost -->

# %% tags=["parameters"]
profile: str = "embedded"  # embedded: from the package index; paper: the paper's own
networks: list = []  # networks to explain; none: all of the profile
n_images: int = 0  # photographs; 0: the 20 embedded ones, or 100 of WAM_IMAGENET
wavelet: str = "haar"  # wavelet of the explanations, as in the authors' code
levels: int = 3  # its levels, as in the authors' code
samples: int = 16  # noisy copies of SmoothGrad (the authors' code: 25)
steps: int = 24  # gradients of integrated gradients (the authors' code: 25)
shown: list = [17, 16, 4, 15]  # which of the photographs the figures show
max_batch: int = 4  # images in one pass of a network
seed: int = 0  # of every random draw

# %%
from dataclasses import replace
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import torch

import wam
from wam import book, charts, data, explorer, models, plots
from wam.book import say
from wam.explanation import in_frame

book.start(chapter="02_images", profile=profile, seed=seed)

# %% [markdown]
# ## Networks and photographs
#
# **What stands in for what.** The paper explains ResNet-18, ConvNeXt, EfficientNet-B0 and DeiT on ImageNet's validation
# set. The Python package index, from which the default build fetches everything, does not carry their weights. So two
# smaller ImageNet classifiers stand in, EfficientNet-Lite0 and MobileNetV2, on 20 labelled ImageNet photographs
# ([credits](../book/credits.md)). Networks and photographs are real, but not the paper's, and 20 are few: what is
# claimed below comes with an interval, the rest is illustration. With `profile="paper"` the same cells run the paper's
# networks on a folder of ImageNet that you supply.

# %%
names = networks or {"embedded": list(models.EMBEDDED), "paper": list(models.PAPER)}[profile]
count = n_images or {"embedded": 20, "paper": 100}[profile]
photographs = data.images(count) if profile == "embedded" else data.imagenet(n=count, seed=seed)
labels = torch.tensor([photograph.label for photograph in photographs])
device = "cuda" if torch.cuda.is_available() else "cpu"
nets = {}
for name in names:
    model = models.load(name, device)
    x = model.prepare(photographs)
    with torch.no_grad():
        probability = torch.cat([model(part).softmax(1) for part in x.split(max_batch)]).cpu()
    nets[name] = SimpleNamespace(model=model, x=x, probability=probability, guess=probability.argmax(1))
categories = model.categories

# %% tags=["hide-input"]
everyone = torch.stack([net.guess == labels for net in nets.values()])
first = nets[names[0]]
grid, wide = list(range(min(20, count))), min(5, count)
fig, axes = plots.panels(-(-len(grid) // wide), wide, titles=2)
for ax, i in zip(axes.flat, grid):
    marks = "".join("✓" if right else "✗" for right in everyone[:, i])
    plots.image(ax, first.model.display(first.x[i : i + 1])[0], f"{categories[labels[i]]}\n{marks}")
for ax in axes.flat[len(grid) :]:
    ax.remove()
caption = f"The photographs, as {names[0]} sees them. Marks: right or wrong, for {' and '.join(names)} in turn."
alt = f"{len(grid)} photographs with their labels: {', '.join(categories[labels[i]] for i in grid)}."
book.figure(fig, alt, caption)

# %%
rows = []
for name, net in nets.items():
    for i in (net.guess != labels).nonzero()[:10, 0].tolist():
        truth, top = net.probability[i, labels[i]], net.probability[i, net.guess[i]]
        said, meant = f"{categories[net.guess[i]]} {top:.2f}", f"{categories[labels[i]]} {truth:.2f}"
        rows.append((name, photographs[i].name, meant, said))
right = ", ".join(f"{name} {int(r.sum())} of {count}" for name, r in zip(names, everyone))
title = f"Right: {right}. The mistakes, with probabilities (at most ten per network):"
head = ("network", "photograph", "label", "prediction")
book.table(head, rows, title) if rows else say(f"Right: {right}.")

# %% [markdown]
# Statistics below are over the photographs that a network classifies correctly, and explain that class. The mistakes
# get a section of their own.
#
# ## Every gradient once
#
# What has to be computed? The three methods of the paper differ in where they take gradients of the class score $f_c$.
# Write $\bar g$ for their mean:
#
# - **raw** (eq. 1, [`wam.saliency`](../book/api_explain.md)): at the photograph $x$ alone;
# - **SG** (eq. 2, [`wam.smoothgrad`](../book/api_explain.md)): at noisy copies of it;
# - **IG** (eq. 3, [`wam.integrated_gradients`](../book/api_explain.md)): along the straight path from the baseline
#   $x_0 = 0$ to it.
#
# The wavelets come in only afterwards (chapter 01). With the analysis $z = W x$, the synthesis $x = S z$ and the
# pullback $S^\top$, the attributions of the coefficients $z$ are
#
# $$ \begin{aligned} \gamma_{\text{raw, SG}} &= S^\top \bar g, \cr
#    \gamma_{\text{IG}} &= z \odot S^\top \bar g. \end{aligned} \tag{2.1} $$
#
# So we run the networks once, in pixels ([`wam.Pixel`](../book/api_explain.md)), and have every wavelet and every level
# without another gradient.

# %%
passes = 0
for net in nets.values():
    net.right = (net.guess == labels).nonzero()[:, 0]
    x, target = net.x[net.right.to(device)], labels[net.right].to(device)
    options = {"frame": wam.Pixel(), "max_batch": max_batch}
    net.pixel = {
        "raw": wam.saliency(net.model, x, target, **options),
        "SG": wam.smoothgrad(net.model, x, target, samples=samples, seed=seed, **options),
        "IG": wam.integrated_gradients(net.model, x, target, steps=steps, **options),
    }
    passes += len(x) * (1 + samples + steps)
say(f"**{passes}** gradients, {passes // len(names)} per network on average.")

# %% [markdown]
# Every explanation keeps its $\bar g$ (`e.gradient`). By (2.1) another frame takes one pullback of it and, for IG, one
# product with the coefficients there: [`wam.explanation.in_frame`](../book/api_explain.md). Is that the same as the
# direct call?

# %%
frame = wam.Wavelet(wavelet, levels=levels, ndim=2)
for net in nets.values():
    net.wavelet = {method: in_frame(e, frame) for method, e in net.pixel.items()}
one = first.right[:1]
passes += steps
direct = wam.integrated_gradients(
    first.model, first.x[one.to(device)], labels[one].to(device), frame=frame, steps=steps, max_batch=max_batch
)
difference = (direct.attributions - first.wavelet["IG"][0].attributions).abs().pack()[0].sum()
relative = float(difference / direct.attributions.abs().pack()[0].sum())
say(f"Relative difference to `wam.integrated_gradients` in the {wavelet} frame itself: **{relative:.1g}**.")

# %% [markdown]
# ## From a photograph to its explanation
#
# The image row of the paper's Figure 1 goes from the photograph to its scales, and reads the mean gradient in two ways:
# as a mosaic of scales (**what**), and spread back onto the image (**where**).
#
# How to read a mosaic: the upper left corner is the approximation, a small blurred copy. Around it lie the levels,
# from coarse to fine, each with vertical edges on the right, horizontal ones below and diagonal ones in the corner.
# Every band is scaled to itself, so a mosaic shows *where* within each band. The shares *between* scales stand in
# Figure 2 and in a table below.

# %%
chosen = [i for i in shown if i < count and bool(everyone[:, i].all())] or everyone.all(0).nonzero()[:1, 0].tolist()


def place(net, i):
    """The position of photograph i among the correctly classified ones of a network."""
    return net.right.tolist().index(i)


first.rgb = first.model.display(first.x[first.right.to(device)])
hero = place(first, chosen[0])

# %% tags=["hide-input"]
sg = first.wavelet["SG"]
fig, axes = plots.panels(2, 2, titles=1)
plots.image(axes[0, 0], first.rgb[hero], f"photograph: {categories[int(sg.target[hero])]}")
plots.mosaic(axes[0, 1], sg.coefficients, hero, title="its coefficients |z|")
plots.mosaic(axes[1, 0], sg.attributions, hero, title="mean gradient, mosaic")
plots.overlay(axes[1, 1], first.rgb[hero], sg.heatmap()[hero], "mean gradient, on the image")
alt = "Four panels: the photograph, the mosaic of its coefficients, the mosaic of the mean gradient, "
alt += f"the mean gradient as a heatmap over the photograph. {plots.describe(sg, hero, categories)}"
book.figure(fig, alt, "Fig. 1, image row: from the photograph to WAM-SG.")

# %% [markdown]
# ## Figure 2: the scales, one by one
#
# Which scale saw what? The paper's Figure 2 adds a heatmap for **each scale** alone
# ([`e.scale_heatmaps()`](../book/api_explain.md)); together they add up to the whole. It also adds the
# **reconstruction**: keep the coefficients with the largest $|\gamma|$, set all others to zero, and transform back.

# %% tags=["gallery"]
ig = first.wavelet["IG"]
fig, alt = plots.explanation(ig, first.rgb, hero, fraction=0.1, categories=categories)
caption = f"Fig. 2 with WAM-IG on {names[0]}. Percentages: the share of all |γ| that lies in the scale."
book.figure(fig, alt, caption)

# %% [markdown]
# Here the finer levels trace the outline of the head, and the approximation spreads over the body and the wings.
#
# "What the model needs to see", the paper says of such reconstructions (appendix C.4, on Figure 15). So **show it to
# the network**. Does it still predict the same class? And would it with coefficients chosen by someone who knows
# nothing of the network? There are two such controls: the largest coefficients of the photograph itself, $|z|$, and
# random ones.


# %%
def percent(share, digits=0):
    return f"{100 * share:.{digits}f} %"


def interval(values, draws=4000):
    """Mean and 95 % bootstrap interval over photographs."""
    values = np.asarray(values)
    order = np.random.default_rng(seed).integers(0, len(values), (draws, len(values)))
    means = values[order].mean(1)
    return float(values.mean()), *map(float, np.quantile(means, [0.025, 0.975]))


# %%
def kept(net, e, fraction):
    """Per photograph, 1 if its class survives when only this fraction of the coefficients is kept, else 0."""
    with torch.no_grad():
        parts = [net.model(part).argmax(1) for part in e.reconstruct(fraction).split(max_batch)]
    return (torch.cat(parts) == e.target).double().cpu()


fractions, survival = (0.05, 0.1, 0.2), {}
for name, net in nets.items():
    e = net.wavelet["IG"]
    maps = {"|z|": e.coefficients, "random": e.coefficients.map(torch.rand_like)}
    net.controls = {label: replace(e, attributions=c) for label, c in maps.items()}
    for ranking, e in (net.wavelet | net.controls).items():
        survival[name, ranking] = [kept(net, e, fraction) for fraction in fractions]

# %%
rankings, rows = ["IG", "|z|", "random", "raw", "SG"], []
saved = {key: [float(alive.mean()) for alive in cases] for key, cases in survival.items()}
for name in names:
    for k, fraction in enumerate(fractions):
        cells = [percent(saved[name, ranking][k]) for ranking in rankings]
        rows.append((name, percent(fraction), *cells))
book.table(("network", "kept", *rankings), rows, "Share of photographs that keep their class:")

# %%
rows, leads = [], {}
for name in names:
    for k, fraction in enumerate(fractions):
        for rival in ("|z|", "random"):
            leads[name, rival, k] = interval(survival[name, "IG"][k] - survival[name, rival][k])
        mean, low, high = leads[name, "|z|", k]
        word = "ahead" if low > 0 else "behind" if high < 0 else "neither"
        points = book.span({"mean": mean, "low": low, "high": high}, 0, "+", 100)
        rows.append((name, percent(fraction), points, word))
head = ("network", "kept", "IG minus |z|, percentage points", "IG, by the interval")
book.table(head, rows, "The same photographs, with 95 % interval (bootstrap over photographs):")

# %% tags=["hide-input"]
ahead = [f"{n} at {percent(fractions[k])}" for (n, r, k), v in leads.items() if r == "|z|" and v[1] > 0]
behind = [f"{n} at {percent(fractions[k])}" for (n, r, k), v in leads.items() if r == "|z|" and v[2] < 0]
say(
    f"By the interval, WAM-IG beats the photograph's own coefficients in **{len(ahead) or 'none'}** of the {len(rows)} "
    "cases"
    f"{' (' * bool(ahead)}{', '.join(ahead)}{')' * bool(ahead)} and falls behind them in **{len(behind) or 'none'}**"
    f"{' (' * bool(behind)}{', '.join(behind)}{')' * bool(behind)}."
)  # fmt: skip

# %% [markdown]
# Read the column $|z|$ first. The largest coefficients of a photograph *are* the picture, so keeping enough of them
# keeps the class, whatever the network. An explanation has shown something about the **network** only by as much as it
# beats this column. A reconstruction that looks right to the eye is no evidence by itself.
#
# Look at the intervals, not at the points. With so few photographs a lead of two is within chance, and where few
# coefficients are kept, WAM-IG can do worse than the control.
#
# By raw gradients and SG few photographs survive, if any. That does not make them wrong: they say where a *change*
# would matter, and many such coefficients are nearly zero in the photograph. A reconstruction is not the way to show
# them.
#
# The coloured squares of the reconstruction are places that are kept in one colour channel and not in another; appendix
# C.2 of the paper explains its artefacts in the same way.
#
# ## Figure 6: raw, averaged, integrated
#
# What do averaging and integrating improve? The paper's Figure 6 puts the three methods side by side, in the wavelet
# domain. The last row is ours: the coefficients alone.

# %% tags=["hide-input"]
kinds = {"raw": "raw", "SG": "averaged", "IG": "integrated", "|z|": "no model: |z|"}
fig, axes = plots.panels(len(kinds) + 1, len(chosen), titles=1)
at = [place(first, i) for i in chosen]
for column, i in enumerate(at):
    plots.image(axes[0, column], first.rgb[i], categories[int(sg.target[i])])
alt = f"Columns: {', '.join(categories[int(c)] for c in sg.target[at])}. Rows: the photograph, then mosaics, with "
alt += "the share of all importance that lies in the approximation: "
for row, (method, title) in enumerate(kinds.items(), start=1):
    e = (first.wavelet | first.controls)[method]
    for column, i in enumerate(at):
        plots.mosaic(axes[row, column], e.attributions, i, title=title)
    share = e.scale_profile()[at, 0]
    alt += f"{title}, {percent(share.min(), 1)} to {percent(share.max(), 1)}; "
caption = f"Fig. 6 on {names[0]}: rows are methods, columns photographs; every band scaled to itself."
book.figure(fig, alt.removesuffix("; ") + ".", caption)

# %% [markdown]
# Raw gradients are grainy, and some objects drown in them. Averaging brings the object out in every band. Integration
# looks crisp, like an etching. So does the last row, which knows no network.
#
# We measure two things behind these impressions. **Repeatable**: add noise of one per cent of the range, which no eye
# sees, explain again (SG with fresh draws), and correlate the two explanations. **Etching**: the rank correlation of
# $|\gamma|$ with $|z|$ over all coefficients, or how far the photograph alone would have given the same order.


# %%
def correlation(a, b):
    a, b = (v.flatten(1).double() - v.flatten(1).double().mean(1, keepdim=True) for v in (a, b))
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))


def ranks(c):
    flat, spec = c.abs().pack()
    order = flat.flatten(1).argsort(1).argsort(1)
    return wam.Coefficients.unpack((order / order.shape[1]).view_as(flat), spec)


# %%
few = first.right[:6].to(device)
few_labels = labels[few.cpu()].to(device)
x = first.x[few]
x = x + 0.01 * (x.amax() - x.amin()) * torch.randn_like(x)
options = {"frame": wam.Pixel(), "max_batch": max_batch}
again = {
    "raw": wam.saliency(first.model, x, few_labels, **options),
    "SG": wam.smoothgrad(first.model, x, few_labels, samples=samples, seed=seed + 1, **options),
    "IG": wam.integrated_gradients(first.model, x, few_labels, steps=steps, **options),
}
passes += len(x) * (1 + samples + steps)

# %%
rows, repeated = [], {}
for method, e in again.items():
    before, after = first.wavelet[method][: len(few)], in_frame(e, frame)
    repeated[method] = correlation(before.heatmap(), after.heatmap()).cpu()
    signs = correlation(before.attributions.pack()[0], after.attributions.pack()[0]).mean()
    maps = [net.wavelet[method] for net in nets.values()]
    same = [correlation(ranks(m.attributions).pack()[0], ranks(m.coefficients).pack()[0]).mean() for m in maps]
    rows.append((method, f"{repeated[method].mean():.2f}", f"{signs:.2f}", *(f"{value:.2f}" for value in same)))
head = ("method", "heatmap repeats", "signed attributions repeat", *(f"ranked like |z|, {name}" for name in names))
book.table(head, rows, f"Correlations, mean over photographs (repeats: {len(few)} of them, {names[0]}):")

# %%
gains = {method: interval(repeated[method] - repeated["raw"]) for method in ("SG", "IG")}
told = []
for method, (mean, low, high) in gains.items():
    gain = repeated[method] - repeated["raw"]
    told.append(f"{method} {mean:+.2f} [{low:+.2f}, {high:+.2f}], from {gain.min():+.2f} to {gain.max():+.2f}")
title = "Gain of the heatmap over raw on the same photograph, with 95 % interval, and its extremes"
say(f"{title}: {'; '.join(told)}.")

# %% [markdown]
# The raw heatmap does fluctuate, as section 3.1 of the paper says. IG repeats better; how much SG gains depends on the
# photograph. But the signs of SG hardly repeat from one set of draws to the next: with this many copies its
# *magnitudes*, spread over the image, are a result, its single signs are not. And part of IG's lead may be the
# photograph's: what IG shares with $|z|$ hardly changes.
#
# ## Within scales, between scales
#
# Under Figure 6 the paper says: SG "highlights the important locations **within** scales", IG "the relative importance
# of **each scale**". (The poster: *intra-scale importance* and *inter-scale dependencies*.) Is it so? That is a
# question about variance, and variance can be taken apart.
#
# Let $v_k = |\gamma_k|$ be the importance of coefficient $k$, and let scale $s$ have $n_s$ of the $N$ coefficients,
# with mean $\mu_s$ and variance $\operatorname{var}_s$ of the importance. With $q_s = n_s / N$ and the overall mean
# $\mu$,
#
# $$ \begin{aligned} \underbrace{\frac1N \sum_k (v_k - \mu)^2}_{\text{total}}
#    &= \underbrace{\sum_s q_s (\mu_s - \mu)^2}_{\text{between scales, } B} \cr
#    &+ \underbrace{\sum_s q_s \operatorname{var}_s}_{\text{within scales, } V}, \cr
#    \eta^2 &= \frac{B}{B + V}. \end{aligned} \tag{2.2} $$
#
# $\eta^2$ is the part of the variance that knowing the *scale* of a coefficient explains; the rest is a matter of
# *place*. It does not depend on the units of $\gamma$, so no normalisation is hidden in it. Because it compares
# coefficients, not sums, fine scales gain nothing from having more of them.


# %%
def between(importance, equal=False):
    """eta squared of (2.2), one per sample; with equal=True every scale weighs the same, however many it has."""
    v = importance.to(torch.float64)
    n = v.map(torch.ones_like).scale_sums()
    mean, square = v.scale_sums() / n, (v * v).scale_sums() / n
    p = torch.full_like(n, 1 / n.shape[1]) if equal else n / n.sum(1, keepdim=True)
    grand = (p * mean).sum(1, keepdim=True)
    outside, inside = (p * (mean - grand) ** 2).sum(1), (p * (square - mean**2)).sum(1)
    return (outside / (outside + inside)).cpu()


# %%
methods, rows, claim = ("raw", "SG", "IG"), [], {}
for name, net in nets.items():
    eta = {method: between(net.wavelet[method].attributions.abs()) for method in methods}
    claim[name] = mean, low, high = interval(eta["IG"] - eta["SG"])
    higher = f"{int((eta['IG'] > eta['SG']).sum())} of {len(eta['IG'])}"
    values = [f"{eta[method].mean():.3f}" for method in methods]
    rows.append((name, *values, f"{mean:.3f} [{low:.3f}, {high:.3f}]", higher))
title = "Share of the variance between scales, $\\eta^2$; difference with 95 % interval (bootstrap over photographs):"
book.table(("network", *methods, "IG minus SG, same photograph", "IG higher in"), rows, title)

# %%
held = [name for name, (_, low, _) in claim.items() if low > 0]
holds = len(held) == len(names)
says = "**The claim holds.**" if holds else "**The claim does not hold on every network.**"
say(f"{says} The interval lies above zero on {len(held)} of {len(names)} networks.")

# %% [markdown]
# For SG nearly all variance is within scales; for IG a much larger part lies between them, though most still lies
# within. (Raw gradients are like SG in this, so it is not the smoothing.)
#
# Does the verdict hinge on how we measured? A few coefficients are far more important than the rest, and weigh a lot
# in a variance. So we measure again: with ranks; with logarithms (floored at a thousandth of the mean); with scales
# weighing equally; with every band divided by its maximum over the batch, as the authors' code does (to gradient and
# coefficients alike); with five levels; with a longer wavelet.


# %%
def logarithm(c):
    v = c.abs()
    floor = v.pack()[0].mean((1, 2)) / 1000
    return v.map(lambda band: torch.maximum(band, floor.view(-1, 1, 1, 1)).log())


def normalised(e):
    pulled = frame.pullback(e.gradient).abs().map(lambda band: band / band.max())
    z = frame.analysis(e.coefficients.bands[0, "pixel"]).abs().map(lambda band: band / band.max())
    return pulled if e.completeness_gap is None else pulled * z


# %%
checks = {
    "as in (2.2)": lambda e: between(in_frame(e, frame).attributions.abs()),
    "ranks": lambda e: between(ranks(in_frame(e, frame).attributions)),
    "logarithms": lambda e: between(logarithm(in_frame(e, frame).attributions)),
    "scales weigh equally": lambda e: between(in_frame(e, frame).attributions.abs(), equal=True),
    "bands divided by maximum": lambda e: between(normalised(e)),
}
for other in (wam.Wavelet("haar", 5, 2), wam.Wavelet("db4", 3, 2)):
    checks[f"{other.name}, {other.levels} levels"] = lambda e, f=other: between(in_frame(e, f).attributions.abs())
verdicts = {}
for check, measure in checks.items():
    for name, net in nets.items():
        verdicts[check, name] = interval(measure(net.pixel["IG"]) - measure(net.pixel["SG"]))

# %% tags=["hide-input"]
fig, ax = plt.subplots(figsize=(6, 3.6))
for j, name in enumerate(names):
    mean, low, high = np.array([verdicts[check, name] for check in checks]).T
    y = np.arange(len(checks)) + 0.24 * (j - (len(names) - 1) / 2)
    ax.errorbar(mean, y, xerr=(mean - low, high - mean), fmt="o", ms=5, color=f"C{j}", label=name)
ax.axvline(0, color="0.3", lw=0.8)
ax.set_yticks(range(len(checks)), checks)
ax.invert_yaxis()
ax.set_xlabel("$\\eta^2$ of IG minus $\\eta^2$ of SG")
ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
told = "; ".join(f"{check}, {name}: {m:.2f} [{lo:.2f}, {hi:.2f}]" for (check, name), (m, lo, hi) in verdicts.items())
caption = "Right of zero, the paper's statement holds. Dots: mean over photographs; bars: 95 % intervals."
book.figure(fig, f"Differences of eta squared between IG and SG. {told}.", caption)

# %%
held = sum(low > 0 for _, low, _ in verdicts.values())
smallest = min(verdicts.items(), key=lambda item: item[1][1])
say(
    f"The interval lies above zero in **{held} of {len(verdicts)}** cases; the lowest end of all is "
    f"{smallest[1][1]:.3f} ({smallest[0][0]}, {smallest[0][1]})."
)  # fmt: skip

# %% [markdown]
# The lowest end is where every band is divided by its maximum: that division removes what lies between bands.
#
# ### Why: the photograph decays, the gradient hardly does
#
# IG differs from SG in two ways: it averages along a path, and it multiplies by $z$. Which of them makes the
# difference? We take every mean gradient with and without the factor $z$, and $z$ without any gradient.

# %%
factors, profiles = {}, {}
for name, net in nets.items():
    z = net.wavelet["IG"].coefficients
    pulled = {method: frame.pullback(e.gradient) for method, e in net.pixel.items()}
    maps = {f"{method}, mean gradient": p for method, p in pulled.items()}
    maps |= {f"{method}, times z": p * z for method, p in pulled.items()} | {"|z| alone": z}
    for label, c in maps.items():
        v = c.abs()
        factors[name, label] = between(v)
        per_coefficient = v.scale_sums() / v.map(torch.ones_like).scale_sums()
        profiles[name, label] = (per_coefficient / v.pack()[0].mean((1, 2))[:, None]).cpu()

# %%
rows = []
for name in names:
    for kind in ("mean gradient", "times z"):
        values = [f"{factors[name, f'{method}, {kind}'].mean():.3f}" for method in methods]
        rows.append((name, kind, *values, f"{factors[name, '|z| alone'].mean():.3f}" if kind == "times z" else ""))
title = "$\\eta^2$, mean over photographs. The paper's SG is in the rows *mean gradient*, its IG in *times z*:"
book.table(("network", "", *methods, "|z| alone, no model"), rows, title)

# %% tags=["hide-input"]
short = {"SG, mean gradient": "SG", "IG, mean gradient": "IG without z", "IG, times z": "IG", "|z| alone": "|z| alone"}
ticks = ["approx." if scale == "approx" else str(scale) for scale in sg.scales]
fig, axes = plt.subplots(1, len(names), figsize=(6, 3.4), sharey=True, squeeze=False)
told = []
for ax, name in zip(axes[0], names):
    for label, legend in short.items():
        values = profiles[name, label].log().mean(0).exp()
        ax.plot(ticks, values, marker="o", ms=4, ls="--" if "|" in label else "-", label=legend)
        told.append(f"{name}, {legend}: " + ", ".join(f"{t} {v:.2g}" for t, v in zip(ticks, values.tolist())))
    ax.set(title=name, xlabel="level", yscale="log")
    ax.tick_params(axis="x", rotation=30)
axes[0, 0].set_ylabel("importance per coefficient\n(mean of all = 1)")
axes[0, -1].legend()
caption = "Importance of an average coefficient of each scale, coarse to fine (geometric mean over photographs)."
book.figure(fig, "Importance per coefficient. " + "; ".join(told) + ".", caption)

# %%
slopes = {legend: torch.cat([profiles[name, label] for name in names]) for label, legend in short.items()}
slopes = {legend: (v[:, 0] / v[:, -1]).log().mean().exp() for legend, v in slopes.items()}
told = ", ".join(f"{legend} **{slope:.{0 if slope > 9.95 else 1}f}**" for legend, slope in slopes.items())
say(f"A coefficient of the approximation against one of level 1, how many times as important: {told}.")

# %% [markdown]
# The gradient is rather flat: a coefficient of a coarse scale matters more than one of a fine scale only by the small
# factors above, and averaging along the path leaves it so. The photograph is steep: the magnitude of its coefficients
# falls from level to level, as is usual in natural images, and the factor $z$ hands this slope to the explanation.
#
# So the paper's statement is right, and it is mostly a statement about **photographs**. *Raw gradient times $z$* shows
# it as well as IG does, and by $\eta^2$ the coefficients $|z|$ alone, without any network, show more of it than
# either. What IG says about the network's use of scales is only its distance from the dashed line: the gradient's own
# slope.
#
# One caution: all this is *per coefficient*. Add up the importance of each scale, as the shares in this chapter's
# figures do, and the finest level, which holds three quarters of all coefficients, takes most of SG. That is a matter
# of counting, not of the network:

# %%
counts = sg.attributions.map(torch.ones_like).scale_sums()[0]
rows = [("number of coefficients", *map(percent, (counts / counts.sum()).tolist()))]
for name, net in nets.items():
    for method, e in (net.wavelet | {"|z|": net.controls["|z|"]}).items():
        rows.append((f"{name}, {method}", *map(percent, e.scale_profile().mean(0).tolist())))
book.table(("", *ticks), rows, "Share per scale, mean over photographs:")

# %% [markdown]
# ## What the baseline means
#
# How much does IG owe to where its path begins? The usual $x_0 = 0$ is a **grey** image ([chapter
# 01](01_theory.ipynb)); black is [`model.black`](../book/api_models.md). From another baseline the factor in (2.1) is
# $z - z_0$ with $z_0 = W x_0$, so the baseline decides which differences count. Dark things differ from grey, but not
# from black.

# %%
grey = first.wavelet["IG"][: len(few)]
black = wam.integrated_gradients(
    first.model, first.x[few], few_labels, frame=frame, steps=steps,
    baseline=first.model.black, max_batch=max_batch,
)  # fmt: skip
passes += len(few) * steps
fig, ax = plt.subplots(figsize=(6, 3.2))
alt = charts.profile(ax, {"grey (0)": grey, "black": black})
caption = f"WAM-IG of {len(few)} photographs on {names[0]} from two baselines: share of |γ| per scale."
book.figure(fig, alt, caption)

# %%
z0 = frame.analysis(first.model.black.expand_as(first.x[:1]))
rows = []
for label, e, d in (("grey (0)", grey, grey.coefficients), ("black", black, grey.coefficients - z0)):
    gap = (e.completeness_gap / (e.score - e.baseline_score).abs()).median()
    own = (d.abs().scale_sums() / d.abs().scale_sums().sum(1, keepdim=True)).mean(0)
    shares = (percent(share[0]) for share in (e.scale_profile().mean(0), own))
    rows.append((label, f"{e.baseline_score.abs().mean():.2f}", percent(gap, 1), *shares))
alike = correlation(grey.heatmap(), black.heatmap()).mean()
title = f"The two heatmaps correlate by {alike:.2f} on average. Gaps of completeness are shares of the score's change."
head = ("baseline", "mean |f(x₀)|", "median gap", "approximation's share of |γ|", "its share of |z - z₀|")
book.table(head, rows, title)

# %% [markdown]
# A constant has no details, so $z_0$ shifts the approximation alone. From black, nearly every pixel of a
# photograph differs a lot, so the approximation takes more of the explanation. Nor is black without content for the
# network: its scores there are further from zero than on grey. Neither choice is *the* neutral one
# ([Sturmfels et al., 2020](../book/bibliography.md)). Report which was used.
#
# ## What the sign says
#
# Equation 1 drops the sign, `wam` keeps it. What does it mean?
#
# - **SG**: *increasing* this coefficient would raise the score. The coefficient may be negative, or nearly zero; and
#   as measured above, the sign itself needs many draws.
# - **IG**: this coefficient, as it is, **added** to the score (positive) or took from it (negative).
#
# Only the second can be summed: over a scale it gives that scale's part of the change of the score, up to the gap
# ([chapter 01](01_theory.ipynb)).

# %%
fig, axes = plots.panels(1, 2, titles=1)
plots.mosaic(axes[0, 0], ig.attributions, hero, title="IG, absolute")
plots.mosaic(axes[0, 1], ig.attributions, hero, signed=True, title="IG, signed")
alt = f"{plots.describe(ig, hero, categories)} Left the absolute values, right with their signs, on a diverging map."
book.figure(fig, alt, "Left, how much; right, for (purple) or against (orange) the class.")

# %%
rows, signed, gaps = [], {}, {}
ten = fractions.index(0.1)
for name, net in nets.items():
    e = net.wavelet["IG"]
    positive, negative = (replace(e, attributions=(e.attributions * s).map(torch.relu)) for s in (1, -1))
    total = e.attributions.abs().scale_sums().sum(1)
    against = float((negative.attributions.scale_sums().sum(1) / total).mean())
    signed[name] = float(kept(net, positive, 0.1).mean())
    gaps[name] = float((e.completeness_gap / (e.score - e.baseline_score).abs()).median())
    shares = map(percent, (against, saved[name, "IG"][ten], signed[name]))
    rows.append((name, *shares, percent(gaps[name], 1)))
keeps = [f"class kept by top 10 % of {by}" for by in ("|γ|", "γ")]
title = "WAM-IG, for and against the class. Gaps of completeness are shares of the score's change."
book.table(("network", "negative part of the sum of |γ|", *keeps, "median gap"), rows, title)

# %% [markdown]
# Nearly as much speaks against the class as for it: the score is a small difference of large sums. Keeping only what
# speaks *for* the class mostly destroys it, presumably because positive and negative coefficients draw the picture
# together. A ranking by $\gamma$ is not one by $|\gamma|$, and a number that rests on a ranking has to say which.
#
# ## Wavelets and levels
#
# How much depends on the wavelet? All here but Haar have atoms that reach over the border, and so more coefficients
# than there are pixels (the figures leave out those beyond the border).

# %%
rows, reference = [], {}
for other in ("haar", "db4", "sym8", "bior4.4"):
    view = {m: in_frame(first.pixel[m], wam.Wavelet(other, 3, 2)) for m in ("SG", "IG")}
    maps = {m: e.heatmap() for m, e in view.items()}
    reference = reference or maps
    like = [f"{correlation(maps[m], reference[m]).mean():.2f}" for m in maps]
    c = view["IG"].attributions
    per_pixel = f"{c.size / first.x[0, 0].numel():.2f}"
    rows.append((other, per_pixel, *like, percent(kept(first, view["IG"], 0.1).mean())))
alike = [f"{method} heatmap like Haar's" for method in maps]
head = ("wavelet", "coefficients per pixel", *alike, "class kept by top 10 %, IG")
book.table(head, rows, f"Three levels, {names[0]}, mean over photographs:")

# %% [markdown]
# The heatmaps change somewhat, IG's more than SG's; the class survives about as often. Move the slider: the photograph
# and the network stay, the coordinates change, without another gradient. $J$ is the number of levels.

# %% tags=["hide-input"]
choices = [("haar", 1), ("haar", 2), ("haar", 3), ("haar", 5), ("db4", 3), ("sym8", 3), ("bior4.4", 3)]
settings = [(f"{w}, J = {j}", wam.Wavelet(w, j, 2)) for w, j in choices] + [("pixels", wam.Pixel())]


def compared(view):
    fig, axes = plots.panels(2, 3, titles=1)
    for column, method in enumerate(methods):
        e = in_frame(first.pixel[method][hero], view)
        if view == wam.Pixel():  # no scales: the photograph in place of a mosaic
            plots.image(axes[0, column], first.rgb[hero], f"photograph ({method})")
        else:
            plots.mosaic(axes[0, column], e.attributions, title=method)
        plots.overlay(axes[1, column], first.rgb[hero], e.heatmap()[0], "on the image")
    what = "Photographs" if view == wam.Pixel() else "Mosaics"
    return fig, f"{what} and heatmaps of raw gradients, SG and IG. The last: {plots.describe(e, 0, categories)}"


# %% tags=["hide-input"]
figures, alts = zip(*(compared(view) for _, view in settings))
caption = "Above: the attributions in the chosen frame, for pixels the photograph. Below: heatmaps over the image."
book.slider(figures, [label for label, _ in settings], alts, caption, label="Frame")

# %% [markdown]
# More levels split the approximation further and leave the finer levels as they are. A longer wavelet gives a softer
# heatmap, because each coefficient is spread over a longer atom: that softness is the wavelet's, not the network's. In
# pixels there are no scales to look at.
#
# ## Figure 15: more photographs, both networks
#
# Do two networks look at the same things? Columns as in the paper: the photograph, WAM-IG in the wavelet domain, the
# heatmap, and the reconstruction.

# %%
fraction = 0.1
rows, captions = [], []
for i in chosen:
    for name, net in nets.items():
        at = place(net, i)
        e = net.wavelet["IG"][at]
        rows.append((e, net.model.display(net.x[i : i + 1]), 0))
        captions.append(f"{categories[labels[i]]}, {name}")
fig, alt = plots.gallery(rows, fraction, categories=categories, labels=captions)
book.figure(fig, alt, "Fig. 15 with WAM-IG: every photograph on every network.")

# %%
common, told = everyone.all(0).nonzero()[:, 0].tolist(), []
pair = [nets[name] for name in names[:2]]
for method in ("SG", "IG", "|z|"):
    maps = [(net.wavelet | net.controls)[method].heatmap()[[place(net, i) for i in common]] for net in pair]
    mean, low, high = interval(correlation(maps[0], maps[-1]).cpu())
    told.append(f"{method} {mean:.2f} [{low:.2f}, {high:.2f}]")
head = f"Correlation of the heatmaps of {' and '.join(names[:2])} ({len(common)} photographs, 95 % interval): "
say(head + ", ".join(told) + ".")

# %% [markdown]
# IG's pictures of the two networks agree more than SG's. Before taking that as a sign of truth, look at $|z|$: the same
# photograph, prepared for two networks. Part of the agreement may be, again, the photograph.
#
# ## Where the pictures mislead
#
# Would an explanation betray a mistake? Here is one, explained twice: for the class that the network **predicts**, and
# for the class that is **true**.

# %%
wrong = (first.guess != labels).nonzero()[:, 0]
i = int(wrong[first.probability[wrong, labels[wrong]].argmin()]) if len(wrong) else chosen[0]
rival = first.guess[i] if len(wrong) else first.probability[i].topk(2).indices[1]
both, twice = torch.stack([rival, labels[i]]).to(device), first.x[[i, i]]
options = {"frame": frame, "max_batch": max_batch}
e = wam.integrated_gradients(first.model, twice, both, steps=steps, **options)
s = wam.smoothgrad(first.model, twice, both, samples=samples, seed=seed, **options)
passes += 2 * (steps + samples)

# %% tags=["gallery"]
rgb = first.model.display(twice)
about = [f"{categories[c]} {first.probability[i, c]:.2f}" for c in both.tolist()]
tags = [f"{method}: {label}" for method in ("IG", "SG") for label in about]
rows = [(e, rgb, 0), (e, rgb, 1), (s, rgb, 0), (s, rgb, 1)]
fig, alt = plots.gallery(rows, 0.1, categories=categories, labels=tags)
said, truth = (categories[c] for c in both.tolist())
caption = f"A photograph labelled {truth}, explained as {said} and as {truth}, by IG and by SG, on {names[0]}."
book.figure(fig, alt, caption)

# %%
told = []
for method, run in (("IG", e), ("SG", s)):
    where = float(correlation(run.heatmap()[:1], run.heatmap()[1:]))
    flat = run.attributions.pack()[0]
    told.append(f"{method}: heatmaps {where:.2f}, signed attributions {float(correlation(flat[:1], flat[1:])):.2f}")
say("Correlation between the two explanations. " + "; ".join(told) + ".")

# %% [markdown]
# On this photograph the two heatmaps look alike, and nothing in the first row betrays that the prediction is wrong. A
# heatmap says *where* the network is sensitive. Which class the evidence speaks for is in the sign, which the heatmap
# throws away. IG's signed attributions do differ between the classes, and we saw that they repeat. (SG's differ as
# well, but they hardly repeat, so that says little.)
#
# ## Try it
#
# How much of a photograph is needed before you recognise it, if its coefficients come in the order of WAM-IG?

# %%
some = [photographs[i] for i in range(min(20, count))]
explorer.explore([net.model for net in nets.values()], some, wavelets=(wavelet, "db4", "sym8"), levels=levels)

# %% [markdown]
# ## Differences from the authors' code
#
# Where does this chapter depart from the code behind the paper's figures, and why? (The [paper
# map](../book/paper_map.md) has the whole list.)
#
# - **Same**: Haar, three levels, reflection at the border; noise of a quarter of each image's range.
# - **Signed gradients per colour channel.** Their maps average the gradient over the channels, take the
#   absolute value, and average or integrate afterwards. Ours follow equations 2 and 3: mean first, sign kept.
# - **No normalisation.** Their maps divide every band by its maximum over the whole batch, so a map depends on
#   the images explained beside it, and bands can no longer be compared. IG's factor is an equally normalised $|z|$, so
#   completeness, which the project page claims, cannot hold. We normalise for display only. The claim of A.1 also holds
#   with that division (*bands divided by maximum*, above); with their average over channels and their early absolute
#   value we have not run it.
# - **What is ranked.** A reconstruction there keeps the same places in all colour channels, chosen from the normalised
#   map; here every coefficient of every channel is ranked on its own by $|\gamma|$, as we read appendix C.2.
# - **Numbers of gradients.** 25 noisy copies and 25 trapezoid nodes there; the parameters above here, with nodes that
#   are denser near the baseline.
#
# ## Paper and here


# %% tags=["hide-input"]
def each(values, digits=0):
    return ", ".join(f"{name} {percent(value, digits)}" for name, value in values.items())


def survives(k):
    """How often WAM-IG and the coefficients |z| keep the class, and by how many points WAM-IG leads."""
    ig, control = ({name: saved[name, by][k] for name in names} for by in ("IG", "|z|"))
    spans = {name: dict(zip(("mean", "low", "high"), leads[name, "|z|", k])) for name in names}
    lead = ", ".join(f"{name} {book.span(row, 0, '+', 100)}" for name, row in spans.items())
    kept_by = f"class kept by {percent(fractions[k])}, WAM-IG: {each(ig)}"
    return f"{kept_by}; |z|, no model: {each(control)}; difference in points: {lead}"


# %% tags=["hide-input"]
def judged(k):
    """By the intervals: is WAM-IG ahead of |z| on every network, or at least of random coefficients?"""
    ahead = {by: all(leads[name, by, k][1] > 0 for name in names) for by in ("|z|", "random")}
    return "reproduced" if ahead["|z|"] else "partly" if ahead["random"] else "not reproduced"


closed = all(abs(gap) <= 0.05 for gap in gaps.values())
steadier = all(low > 0 for _, low, _ in gains.values())
steady = " and ".join(method for method, (_, low, _) in gains.items() if low > 0) or "none"
repeats = ", ".join(f"{method} {values.mean():.2f}" for method, values in repeated.items())
spans = [f"{n} {mean:.2f} [{low:.2f}, {high:.2f}]" for n, (mean, low, high) in claim.items()]

# %% tags=["hide-input"]
rows = [
    ("Fig. 1, images", "decomposes the decision in wavelets", "a picture",
     f"parts sum to the score's change, median gap {each(gaps, 1)}",
     "the quadrature's gap; up to 5 % passes", "reproduced" if closed else "partly"),
    ("Fig. 2", "the reconstruction shows what is important", "a picture", survives(ten),
     "a control without a model", judged(ten)),
    ("Fig. 6", "smoothing and integrating improve on raw gradients", "a picture",
     f"heatmap repeats under 1 % noise: {repeats}", f"steadier by the interval: {steady}; not shown to be truer",
     "reproduced" if steadier else "partly"),
]  # fmt: skip

# %% tags=["hide-input"]
rows += [
    ("A.1, poster", "SG shows importance within scales, IG between", "stated",
     f"variance between scales, IG minus SG: {', '.join(spans)}",
     "due to the factor z, not to integrating", "reproduced" if holds else "not reproduced"),
    ("Fig. 15", "filtered images hold what the model must see", "a picture",
     survives(len(fractions) - 1), "a control without a model", judged(len(fractions) - 1)),
    ("A.2", "four networks, 1,000 ImageNet images", "ResNet, ConvNeXt, EfficientNet, DeiT",
     f"{', '.join(names)}; {count} images", "stand-ins",
     "not testable here" if profile == "embedded" else "partly"),
]  # fmt: skip
columns = ("where", "what", "paper", "here", "difference", "verdict")
book.compare([dict(zip(columns, row)) for row in rows])
say(f"The explanations that this page compares took **{passes}** gradients.")

# %% [markdown]
# ## What to take away
#
# - One set of gradients gives explanations in every wavelet and at every level; the coordinates are a choice made
#   afterwards.
# - A mosaic says what (scale, orientation), a heatmap says where; the sign says for or against, and is easily lost.
# - More of IG's variance than of SG's lies between scales in every way we measured it, and mostly far more; most of
#   IG's still lies within. The slope between scales comes mostly from the photograph, through the factor $z$.
# - A reconstruction that keeps its class proves little until it beats $|z|$, which knows no model.
# - In our example the heatmap of the mistake looks as plausible as the others.
#
# ## Exercises
#
# **1. In bits.** Variance is not the only way to divide. Let $p_s$ be the share of $|\gamma|$ in scale $s$. How many
# bits does the *scale* tell, $\sum_s p_s \log_2 (p_s / q_s)$, and how many the place within it? Does the verdict stand?
#
# <details>
# <summary>Solution</summary>
#
# Let $r_k = |\gamma_k| / \sum |\gamma|$. The total, $\sum_k r_k \log_2 (N r_k)$, is the information against a
# uniform map; by the chain rule it is the bits of the scale plus the bits of the place.
#
# ```python
# for name, net in nets.items():
#     for method, e in net.wavelet.items():
#         n = e.attributions.map(torch.ones_like).scale_sums()
#         share = e.scale_profile()
#         scale = (share * (share * n.sum(1, keepdim=True) / n).log2()).sum(1)
#         r = e.attributions.abs().pack()[0].flatten(1).double()
#         r = r / r.sum(1, keepdim=True)
#         total = torch.special.xlogy(r, r * r.shape[1]).sum(1) / np.log(2)
#         print(name, method, "scale", float(scale.mean()), "place", float((total - scale).mean()))
# ```
#
# It stands: SG spends almost all its bits on places, IG more than half on scales. Replace $q_s$ by equal shares, and
# it turns around, because the finest level holds most coefficients: then SG looks uneven. Say which reference you mean.
#
# </details>
#
# **2. Ask for the rival.** For the mistake above, explain the *difference* of two logits instead of one. What does the
# heatmap show that neither class showed alone?
#
# <details>
# <summary>Solution</summary>
#
# Any callable that returns `(batch, classes)` can be explained, so return the difference as the only class:
#
# ```python
# def contrast(x):
#     output = first.model(x)
#     return (output[:, both[0]] - output[:, both[1]])[:, None]
#
#
# c = wam.integrated_gradients(contrast, twice[:1], 0, frame=frame, steps=steps, max_batch=max_batch)
# title = " minus ".join(categories[k] for k in both.tolist())
# fig, alt = plots.explanation(c, rgb[:1], categories=[title])
# book.figure(fig, alt)
# ```
#
# What both classes share cancels: by linearity the attribution is the difference of the two. What remains is what
# speaks for one *against* the other.
#
# </details>
#
# **Next:** here we asked which coefficients matter. [Chapter 03](03_minimal_images.ipynb) asks how few are enough.
