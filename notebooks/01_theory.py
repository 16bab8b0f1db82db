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
# # 01 Theory: one gradient, every scale
#
# *Sections 3, 3.1, A.1 and C.1 of the paper, and the outlook of its project page.* The paper is [Kasmi et al.
# (2025)](../book/bibliography.md). WAM is its Wavelet Attribution Method, WAM-SG and WAM-IG the variants by SmoothGrad
# and by integrated gradients.
#
# A heatmap says **where** a network looked. This chapter builds, from nothing, the method that also says
# **what** it looked at: coarse shape, edges or fine grain. It needs a change of coordinates and the chain rule; the
# whole derivation fits on one sheet of paper.
#
# Three things you will see:
#
# 1. a photograph taken apart into scales, and put together again without loss;
# 2. equations 1 to 3 of the paper, derived, and checked to rounding error on a real network;
# 3. the score of a class, written as a sum with one term per scale.
#
# In all chapters, remarks in the text describe the default, *embedded* run. Terms and symbols are defined where they
# first appear, and in the [glossary](../book/glossary.md).
#
# <!-- cost -->

# %% tags=["parameters"]
profile: str = "embedded"  # embedded: EfficientNet-Lite0; paper: the paper's ResNet-18
wavelet: str = "haar"  # wavelet of the explanations of part II
levels: int = 5  # its levels, at 224 x 224 pixels
steps: list = [8, 16, 32]  # gradients of integrated gradients, increasing
samples: int = 16  # noisy copies of SmoothGrad
small_size: int = 96  # side of the image of the checks in double precision
check_steps: int = 6  # gradient evaluations there
rounds: int = 3  # interleaved rounds of the timing
timed: int = 8  # gradient evaluations in each timed run
seed: int = 0  # of every random draw

# %%
import copy
import itertools
import time

import matplotlib.pyplot as plt
import numpy as np
import pywt
import torch
from torch import nn

import wam
from wam import book, data, explorer, models, plots, quadrature, scoring
from wam.book import say

book.start(chapter="01_theory", profile=profile, seed=seed)


# %% tags=["hide-input"]
def percent(share, sign=""):
    return f"{100 * float(share):{sign}.0f} %"


# %% [markdown]
# ## Part I: scales
#
# ### A signal, two numbers at a time
#
# What is a scale? Take one row of pixels of a real photograph. It has a flat part (a dark coat), sharp edges (the
# coat's border, the legs of a tripod) and a texture (grass).

# %%
photographs = {photograph.name: photograph.image for photograph in data.photographs()}
camera = torch.from_numpy(np.asarray(photographs["camera"].convert("L")) / 255.0)
row = camera[400][None, None]  # (batch, channels, samples)
say(f"{row.shape[-1]} samples, from {row.min():.2f} (dark) to {row.max():.2f} (bright).")

# %% [markdown]
# The oldest wavelet, [Haar's (1910)](../book/bibliography.md), replaces every two neighbours by their average and
# their difference, up to a factor:
#
# $$ \begin{aligned} a_k &= \frac{x_{2k} + x_{2k+1}}{\sqrt 2}, \cr
#    d_k &= \frac{x_{2k} - x_{2k+1}}{\sqrt 2}. \end{aligned} \tag{1.1} $$
#
# Nothing is lost: $x_{2k} = (a_k + d_k)/\sqrt 2$ and $x_{2k+1} = (a_k - d_k)/\sqrt 2$. The $\sqrt 2$ keeps
# the energy, $a_k^2 + d_k^2 = x_{2k}^2 + x_{2k+1}^2$, so (1.1) is an orthogonal map.
#
# Now do the same to the averages, and again. The differences of round $j$ are the **details of level $j$**;
# what remains after $J$ rounds is the **approximation**. Each of these is a **scale**. That is a wavelet transform, in
# five lines (in the package: [`wam.Wavelet`](../book/api_explain.md)).


# %%
def haar(x, levels):
    details, average = {}, x
    for j in range(1, levels + 1):
        even, odd = average[..., 0::2], average[..., 1::2]
        average, details[j] = (even + odd) / 2**0.5, (even - odd) / 2**0.5
    return average, details


average, details = haar(row, levels=4)
z = wam.Wavelet("haar", levels=4, ndim=1).analysis(row)
worst = max((details[j] - z.bands[j, "detail"]).abs().max() for j in details)
worst = float(max(worst, (average - z.bands[4, "approx"]).abs().max()))
say(f"Largest difference between these lines and `wam.Wavelet`: **{worst:.1g}**.")

# %% tags=["hide-input"]
fig, axes = plt.subplots(6, 1, figsize=(6, 6), sharex=True)
axes[0].plot(row[0, 0], color="0.2", lw=1)
axes[0].set_ylabel("row")
for ax, scale, line in zip(axes[1:], reversed(z.scales), z.scalogram()[0, 0].flip(0)):
    ax.step(range(row.shape[-1]), line, lw=1, where="mid", color="C0" if scale != "approx" else "C1")
    ax.set_ylabel("approx." if scale == "approx" else f"level {scale}")
axes[-1].set(xlabel="pixel", xlim=(0, 511))
fig.align_ylabels()
shares = (100 * (z * z).scale_sums()[0] / (row**2).sum()).tolist()
listed = ", ".join(f"{scale} {share:.2f} %" for scale, share in zip(("approximation", "4", "3", "2", "1"), shares))
alt = f"A row of 512 pixels and its Haar coefficients. Share of the energy per scale: {listed}."
caption = "Row 400 of the photograph “camera” and its Haar coefficients, from fine to coarse."
book.figure(fig, alt, caption)

# %% [markdown]
# Grass lives in the fine levels. The legs of the tripod reach through all of them. The overall brightness is left in
# the approximation. So is the border of the coat: it happens to fall between two blocks of 16 pixels.
#
# ### Atoms: two matrices, not one
#
# What does one coefficient stand for? Taking apart is linear, and so is putting together. Write them as two matrices,
# the **analysis** $W$ and the **synthesis** $S$; the pair is a **frame**. A signal $x$ has the coefficients $z$:
#
# $$ \begin{aligned} z &= W x, \qquad S W = I, \cr
#    x &= S z = \sum_k z_k\, s_k. \end{aligned} \tag{1.2} $$
#
# The columns $s_k$ of $S$ are the **atoms**: the waves that the signal is a sum of. Each has a place and a
# scale. $z_k$ is how much of $s_k$ the signal holds.
#
# For Haar, on a length divisible by $2^J$, $W$ is a product of orthogonal maps, so $S = W^{-1} = W^\top$:
# the same atoms take the signal apart and put it together. Smoother wavelets, such as `db4` of [Daubechies
# (1988)](../book/bibliography.md), overlap their neighbours. At the border they keep a few more coefficients than
# there are samples, and how the signal is continued there changes $W$ but not $S$.


# %%
def matrices(frame, n):
    eye = torch.eye(n, dtype=torch.float64)[:, None]
    flat, spec = frame.analysis(eye).pack()
    units = torch.eye(flat.shape[-1], dtype=torch.float64)[:, None]
    return flat[:, 0].T, frame.synthesis(wam.Coefficients.unpack(units, spec))[:, 0].T


rows = []
for name in ("haar", "db4", "bior2.4"):
    W, S = matrices(wam.Wavelet(name, levels=3, ndim=1), n=96)
    errors = (S @ W - torch.eye(96), W @ S - torch.eye(len(W)), S.T - W)
    rows.append((name, 96, len(W), *(f"{e.abs().max():.1g}" for e in errors)))
title = "Size of the matrices, and the largest entry of three differences, without its sign:"
book.table(("wavelet", "samples", "coefficients", "SW - I", "WS - I", "Sᵀ - W"), rows, title)


# %%
def atom(name, level, n):
    """The atom in the middle of level `level`: the synthesis of a single coefficient."""
    frame = wam.Wavelet(name, levels=level, ndim=1, mode="zero")
    z = frame.analysis(torch.zeros(1, 1, n, dtype=torch.float64))
    z.bands[level, "detail"][..., z.bands[level, "detail"].shape[-1] // 2] = 1
    return frame.synthesis(z)


# %% tags=["hide-input", "gallery"]
fig, axes = plt.subplots(1, 3, figsize=(6, 2.6), width_ratios=(1, 1, 1.1))
for ax, name in zip(axes[:2], ("haar", "db4")):
    S = matrices(wam.Wavelet(name, levels=3, ndim=1), n=64)[1]
    ax.imshow(S, cmap="PuOr", vmin=-0.75, vmax=0.75, interpolation="nearest", aspect="auto")
    ax.set(title=f"S of {name}", xlabel="coefficient", ylabel="sample" if name == "haar" else "")
for i, name in enumerate(("haar", "db4", "bior2.4")):
    axes[2].plot(atom(name, level=5, n=512)[0, 0] * 3 - 2.3 * i, color=f"C{i}", lw=1.2)
    axes[2].text(10, 0.3 - 2.3 * i, name, color=f"C{i}")
axes[2].set(title="an atom", xlabel="sample", yticks=[])
alt = "The synthesis matrices of Haar and db4 with three levels: long coarse atoms on the left, short fine ones on "
alt += "the right, a diagonal per scale; and one atom each: Haar a square wave, db4 and bior2.4 smoother, longer waves."
caption = "Left: synthesis matrices of 64 samples; each column is an atom. Right: an atom of level 5 of three wavelets."
book.figure(fig, alt, caption)

# %% [markdown]
# Synthesis always undoes analysis ($SW = I$). For Haar the matrices are square and $S^\top = W$. For the
# others neither holds: $z = Wx$ is one of many ways to write $x$, and the transpose of $S$ is **not** the
# analysis (exercise 1). Remember $S^\top$: it is the only matrix that an explanation needs.
#
# ### A photograph, coarse to fine
#
# What does each scale hold of a photograph? An image is filtered along both axes, so a level has three orientations:
# *horizontal*, *vertical* and *diagonal* edges. In colour, every channel is a signal of its own. Because synthesis is
# linear, the image is the sum of what its scales contribute,
#
# $$ x = S z = \sum_{s} S z_s, \tag{1.3} $$
#
# where $z_s$ keeps scale $s$, the approximation or one of the levels $J$ to 1, and sets all else to zero
# ([`z.level(s)`](../book/api_explain.md)). This is the *multiresolution* of [Mallat (1989)](../book/bibliography.md).
# Move the slider from coarse to fine.

# %%
coffee = torch.from_numpy(np.asarray(photographs["coffee"]) / 255.0)[:, 100:484]
coffee = coffee.permute(2, 0, 1)[None]  # (batch, channels, height, width)
frame = wam.Wavelet("db4", levels=5, ndim=2)
z = frame.analysis(coffee)
parts = torch.cat([frame.synthesis(z.level(scale)) for scale in z.scales])
sums = parts.cumsum(0)
worst = (sums[-1] - coffee[0]).abs().max()
say(f"Largest difference between the sum of {len(parts)} parts and the photograph: **{worst:.1g}**.")

# %% tags=["hide-input"]
counts = z.map(torch.ones_like).scale_sums()[0]
used = (100 * counts.cumsum(0) / counts.sum()).tolist()
labels = ["the approximation" if scale == "approx" else f"level {scale}" for scale in z.scales]
missing = [100 * float((total - coffee[0]).norm() / coffee.norm()) for total in sums]
held = [100 * float(part.norm() / coffee.norm()) for part in parts]
alts = [
    f"Left: a cup of coffee up to {label}, {left:.1f} % of its norm still missing. Right: {label} alone, "
    + (f"details times three on grey, {share:.1f} % of the norm." if i else "a blurred cup.")
    for i, (label, left, share) in enumerate(zip(labels, missing, held))
]

# %% tags=["hide-input"]
figures = []
for scale, part, total, percentage in zip(z.scales, parts, sums, used):
    fig, axes = plt.subplots(1, 2, figsize=(6, 3.4))
    plots.image(axes[0], total.permute(1, 2, 0).numpy(), f"so far: {percentage:.1f} % of z")
    added = part if scale == "approx" else 0.5 + 3 * part
    plots.image(axes[1], added.permute(1, 2, 0).numpy(), "this scale adds")
    figures.append(fig)
caption = "Left: the sum so far, with its share of the coefficients. Right: what the scale adds; details times three, "
caption += "on mid-grey."
book.slider(figures, labels, alts, caption, "Up to")

# %% [markdown]
# The approximation holds the colours and a blurred shape. The levels sharpen the edges, the finest ones the grain of
# the wood.
#
# All coefficients fit into one picture, the **dyadic mosaic**. The approximation sits in the corner, and
# each finer level, with twice as many coefficients along each axis, wraps around it. Explanations come in the same
# layout.

# %%
fig, axes = plt.subplots(1, 2, figsize=(6, 3.4))
plots.image(axes[0], coffee[0].permute(1, 2, 0).numpy(), "photograph")
plots.mosaic(axes[1], z, title="its db4 coefficients")
flat = (z - z.level("approx")).pack()[0].flatten().abs().sort(descending=True).values
share = 100 * float((flat[: len(flat) // 20] ** 2).sum() / (flat**2).sum())
alt = "A cup of coffee and the dyadic mosaic of its db4 coefficients, five levels: the cup's edges at every scale."
caption = (
    "Vertical edges on the right, horizontal ones below, diagonal ones in the corner; every band scaled to itself."
)
book.figure(fig, alt, caption)
say(f"The largest 5 % of the details hold **{share:.0f} %** of the energy of all details.")

# %% [markdown]
# That is why wavelets compress photographs: nearly all of the details are nearly nothing.
#
# ### What a scale is, in frequency
#
# Which frequencies does a level hold? An *octave* is a doubling of frequency. If filters were ideal, level $j$ would
# hold exactly one octave, the frequencies $\nu$ (in cycles per sample) with
#
# $$ 2^{-(j+1)} < |\nu| \le 2^{-j}. \tag{1.4} $$
#
# Level 1 ends at half a cycle, the finest ripple that samples can carry. Section 3 of the paper says that level $j$
# covers "resolutions between $2^j$ and $2^{j-1}$ octaves". An octave being a ratio, we read this as (1.4) in another
# unit: between $2^{j-1}$ and $2^j$ *samples per half-wave*.
#
# Real filters have slopes. [`wam.Fourier`](../book/api_explain.md) sorts the frequencies into exactly the bands (1.4).
# So we place one atom of level $j$ in the middle of a long signal, and ask how much of its energy lies in its own
# octave.


# %%
octaves = wam.Fourier(levels=5, ndim=1)
own = {}
for name, level in itertools.product(("haar", "db4", "db20"), (1, 2, 3, 4)):
    energy = octaves.analysis(atom(name, level, n=4096)).map(torch.square)
    own[name, level] = float(energy.scale_sums()[0, -level] / energy.scale_sums().sum())

# %% tags=["hide-input"]
fig, axes = plt.subplots(3, 1, figsize=(6, 5), sharex=True, sharey=True)
for ax, name in zip(axes, ("haar", "db4", "db20")):
    for level in (1, 2, 3, 4):
        response = torch.fft.rfft(atom(name, level, n=4096)[0, 0]).abs()[1:] ** 2
        ax.axvspan(2.0 ** -(level + 1), 2.0**-level, color=f"C{level - 1}", alpha=0.15, lw=0)
        ax.plot(np.arange(1, 2049) / 4096, response / response.max(), color=f"C{level - 1}", lw=1.3)
        ax.text(2.0 ** -(level + 0.5), 1.08, f"{100 * own[name, level]:.0f} %", ha="center", color=f"C{level - 1}")
    ax.set(ylabel=name, ylim=(0, 1.3), yticks=[])
axes[0].set_xscale("log", base=2)
axes[0].set(xlim=(2**-7, 0.5), title="energy of one atom of levels 4, 3, 2, 1")
axes[-1].set_xlabel("cycles per sample")
listed = "; ".join(f"{name} level {level}: {100 * share:.0f} %" for (name, level), share in own.items())
alt = f"Spectra of atoms against ideal octaves. Share of an atom's energy in its own octave: {listed}."
book.figure(fig, alt, "Shaded: the ideal octaves (1.4). Above each: the share of the atom's energy inside its own.")

# %% [markdown]
# Compare each curve with the shaded octave of its colour. The longer the filter (top to bottom), the closer to the
# ideal. The price is a longer atom, which is less certain about *where*.
#
# These shares are what a level would hold of white noise. A photograph has most of its energy at low frequencies, and
# whatever leaks from there counts. So measure the parts $S z_s$ of (1.3) as well. In an image
# the ideal octave is a square ring, $2^{-(j+1)} < \max_i |\nu_i| \le 2^{-j}$ with $\nu_i$ the frequency along axis $i$.

# %%
octaves = wam.Fourier(levels=5, ndim=2)
leak = {}
for name in ("haar", "db4"):
    frame = wam.Wavelet(name, levels=5, ndim=2)
    z = frame.analysis(coffee)
    spectra = [
        octaves.analysis(frame.synthesis(z.level(scale))).map(torch.square).scale_sums()[0] for scale in z.scales
    ]
    leak[name] = torch.stack([energy / energy.sum() for energy in spectra])

# %% tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(6, 3.1), sharey=True)
ticks = ["approx.", *z.scales[1:]]
for ax, (name, share) in zip(axes, leak.items()):
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for i, j in itertools.product(range(6), range(6)):
        if share[i, j] >= 0.005:
            ax.text(j, i, f"{100 * share[i, j]:.0f}", ha="center", va="center", color="w" if share[i, j] > 0.7 else "k")
    ax.set_xticks(range(6), ticks, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(6), ticks)
    ax.set(title=name, xlabel="ideal octave", ylabel="wavelet scale" if name == "haar" else "")
listed = "; ".join(f"{name}: {', '.join(f'{100 * v:.0f}' for v in share.diagonal())}" for name, share in leak.items())
alt = f"Percent of each scale's energy in its own octave, coarse to fine. {listed}. Most of the rest is next to it."
book.figure(fig, alt, "The photograph: percent of the energy of each scale in every ideal octave (rows sum to 100).")

# %%
middle = {name: float(share.diagonal()[1:].mean()) for name, share in leak.items()}
say(
    f"On this photograph a detail level has on average **{percent(middle['haar'])}** (Haar) and "
    f"**{percent(middle['db4'])}** (db4) of its energy in its own octave."
)

# %% [markdown]
# Most of the rest is next door. A scale is an octave only roughly: say "around this octave", not "in it", above all
# for Haar.
#
# ### Discrete and continuous
#
# The paper introduces wavelets through the continuous transform. Is that another one? It compares the signal with
# *every* dilation $\lambda$ and *every* shift $b$ of one wave $\psi$ (the star is the complex conjugate):
#
# $$ \mathcal W(\lambda, b) = \int \frac{x(t)}{\sqrt\lambda}\,
#    \psi^*\Big(\frac{t - b}{\lambda}\Big) dt. \tag{1.5} $$
#
# The discrete transform is the same comparison on a grid: $\lambda = 2^j$, $b = 2^j k$. For Haar this is easy to
# check: slide the atom of level $j$ over the signal, and keep every $2^j$-th value.

# %%
z = wam.Wavelet("haar", levels=4, ndim=1).analysis(row)
worst = 0.0
for j in range(1, 5):
    wave = np.repeat([1.0, -1.0], 2 ** (j - 1)) / 2 ** (j / 2)
    every_shift = np.correlate(row[0, 0], wave, mode="valid")
    worst = max(worst, np.abs(every_shift[:: 2**j] - z.bands[j, "detail"][0, 0].numpy()).max())
say(f"Largest difference to the discrete transform, levels 1 to 4: **{worst:.1g}**.")

# %%
z = wam.Wavelet("db4", levels=6, ndim=1).analysis(row)
frequencies = 2.0 ** np.arange(-7, -1 + 1e-9, 1 / 8)  # eight per octave
padded = np.pad(row[0, 0].numpy(), 512, mode="reflect")
scales = pywt.central_frequency("cmor1.5-1.0") / frequencies
cwt, _ = pywt.cwt(padded, scales, "cmor1.5-1.0", method="fft")
cwt = np.abs(cwt[:, 512:1024])
redundancy = cwt.size / row.numel()

# %% tags=["hide-input"]
fig, axes = plt.subplots(3, 1, figsize=(6, 4.8), sharex=True, height_ratios=(0.7, 1, 1))
axes[0].plot(row[0, 0], color="0.2", lw=1)
axes[0].set(ylabel="row", yticks=[])
for ax, picture, name in zip(axes[1:], (z.scalogram()[0, 0, 1:].abs().numpy(), cwt), ("discrete", "continuous")):
    picture = np.sqrt(picture / np.percentile(picture, 99, axis=1, keepdims=True))
    ax.imshow(picture, aspect="auto", origin="lower", extent=(0, 512, -7, -1), vmin=0, vmax=1, interpolation="nearest")
    ax.set_yticks((-6.5, -5.5, -4.5, -3.5, -2.5, -1.5), (6, 5, 4, 3, 2, 1))
    ax.set(ylabel=f"{name}\nlevel")
axes[-1].set_xlabel("pixel")
alt = "The row, its discrete and its continuous transform: the same events at the same places and octaves."
caption = (
    f"The same row twice. Discrete (db4): {z.size} numbers for {row.numel()} pixels. Continuous (complex Morlet): "
    f"{cwt.size}, or {redundancy:.0f} per pixel. Magnitudes, each row scaled to itself."
)
book.figure(fig, alt, caption)

# %% [markdown]
# The continuous transform is the better *picture*: smooth, and it moves along with the signal. The discrete one is the
# better *coordinate system*: nearly as many numbers as samples, an exact inverse, a fast algorithm. An explanation
# needs coordinates, because it hands out shares of a score; with many numbers per pixel it could do so in many ways.
#
# ## Part II: attribution
#
# ### Equation 1: the gradient, in other coordinates
#
# Let $f_c(x)$ be the score of class $c$, its logit. How does it change with one coefficient? Raising $z_k$ by a small
# $\varepsilon$ adds $\varepsilon s_k$ to the input, so the score changes by $\varepsilon\, \langle \nabla f_c(x), s_k
# \rangle$. Collected for all $k$, that is the chain rule, with the **pullback** $S^\top$. The **attribution** $\gamma$
# is one number per coefficient (*Sa* for saliency):
#
# $$ \begin{aligned} \frac{\partial f_c(S z)}{\partial z} &= S^\top\, \nabla f_c(x), \cr
#    \gamma_{Sa}(z) &= \big| S^\top\, \nabla f_c(x) \big|. \end{aligned} \tag{paper, 1} $$
#
# In words: *compare the gradient image with each atom*. The attribution of a coefficient is large where a
# wave of its place, scale and orientation runs through the gradient. One gradient of the input serves every wavelet and
# every level. In code: [`wam.saliency`](../book/api_explain.md).
#
# The paper takes the absolute value here, and not in equations 2 and 3. `wam` always stores the signed value and calls
# `.abs()` where a figure or a ranking needs it.
#
# Is our pullback ([`frame.pullback`](../book/api_explain.md)) really the derivative? Automatic differentiation through
# the synthesis is the judge: first on an uneven function, for six wavelets, one to three dimensions, odd sizes and
# every way of continuing a signal at its border.


# %%
def direct(score, frame, x):
    """The derivative of z -> score(S z) at z = W x, by automatic differentiation."""
    flat, spec = frame.analysis(x).pack()
    flat.requires_grad_()
    value = score(frame.synthesis(wam.Coefficients.unpack(flat, spec)))
    return torch.autograd.grad(value.sum(), flat)[0]


# %%
def pulled(score, frame, x):
    """The same, as the pullback of one ordinary gradient at S W x (which is x, to rounding)."""
    x = frame.synthesis(frame.analysis(x)).clone().requires_grad_()
    gradient = torch.autograd.grad(score(x).sum(), x)[0]
    return frame.pullback(gradient).pack()[0]


def error(found, expected):
    return float((found - expected).abs().max() / expected.abs().max())


# %%
def uneven(x):
    return (x * x.roll(1, -1)).sin()


names = ("haar", "db4", "sym4", "coif1", "bior2.4", "rbio3.1")
shapes, errors = ((101,), (37, 50), (19, 20, 21)), []
for name, shape, mode in itertools.product(names, shapes, wam.frames.MODES):
    fit = wam.Wavelet(name, 1, len(shape)).max_levels(shape)
    frame = wam.Wavelet(name, min(3, fit), len(shape), mode)
    x = torch.randn(2, 1, *shape, dtype=torch.float64)
    errors.append(error(pulled(uneven, frame, x), direct(uneven, frame, x)))
pullback_error = max(errors)
say(f"{len(errors)} cases; worst relative error **{pullback_error:.1g}**.")

# %% [markdown]
# Then on a real network: MobileNetV2, in double precision, on a small copy of the cup of coffee. Nothing in the
# derivation used that $S$ is made of wavelets: any linear frame with $SW = I$ will do, as the paper's project page
# remarks of invertible ones. We take five: the pixels themselves, three wavelets, and the Fourier transform.

# %%
network = models.load("mobilenet_v2", dtype=torch.float64)
small = network.prepare([photographs["coffee"]])
small = nn.functional.interpolate(small, size=(small_size, small_size), mode="area")
target = int(network(small).argmax())
say(f"Class: *{network.categories[target]}*.")

# %%
frames = {"pixels": wam.Pixel(), "Fourier": wam.Fourier(levels=3, ndim=2)}
frames |= {name: wam.Wavelet(name, levels=3, ndim=2) for name in ("haar", "db4", "bior2.2")}


def score(x):
    return network(x)[:, target]


checks = {"pullback": {}}
for name, frame in frames.items():
    checks["pullback"][name] = error(pulled(score, frame, small), direct(score, frame, small))
worst = max(checks["pullback"].values())
say(f"Worst relative error in {len(frames)} frames: **{worst:.1g}**.")

# %% [markdown]
# ### Equation 2: the mean of gradients
#
# The gradient of a deep network is ragged: it changes sharply over distances that no eye can see. [Smilkov
# et al. (2017)](../book/bibliography.md) average it over $n$ noisy copies of the input. The noise $\delta_i$ is
# Gaussian; its standard deviation $\sigma$ is given as a share of the input's range, here a quarter.
#
# $$ \begin{aligned} \gamma_{Sg}(z) &= \frac1n \sum_{i=1}^n S^\top \nabla f_c(x + \delta_i), \cr
#    \delta_i &\sim \mathcal N(0, \sigma^2 I). \end{aligned} \tag{paper, 2} $$
#
# As written, each noisy copy needs a pullback of its own. But $S^\top$ is linear and **commutes with the mean**, so
# $n$ pullbacks become one:
#
# $$ \gamma_{Sg}(z) = S^\top \Big( \frac1n \sum_i \nabla f_c(x + \delta_i) \Big). \tag{1.6} $$
#
# WAM-SG is *SmoothGrad, pulled back once* ([`wam.smoothgrad`](../book/api_explain.md)). We check (1.6) against
# differentiation through the synthesis, and WAM-SG against SmoothGrad in pixels, pulled back.

# %%
frame = frames["db4"]
spread = 0.25 * (small.max() - small.min())
draws = [small + spread * torch.randn_like(small) for _ in range(4)]
left = torch.stack([direct(score, frame, x) for x in draws]).mean(0)
gradients = [scoring.gradient(network, x, torch.tensor([target]))[0] for x in draws]
right = frame.pullback(torch.stack(gradients).mean(0)).pack()[0]
on_pixels = wam.smoothgrad(network, small, frame=wam.Pixel(), samples=4)
once = frame.pullback(on_pixels.attributions.bands[0, "pixel"]).pack()[0]
both = wam.smoothgrad(network, small, frame=frame, samples=4).attributions.pack()[0]
mean_error = max(error(right, left), error(once, both))
say(f"Worst relative error of the two: **{mean_error:.1g}**.")

# %% [markdown]
# ### Equation 3: the gradient along a path
#
# A gradient says what an infinitesimal change does. To account for the *whole* score, [Sundararajan et al.
# (2017)](../book/bibliography.md) walk from a **baseline** $x_0$, which stands for "nothing", to the input and collect
# the gradient on the way. With $z_0 = W x_0$, and $\alpha$ for the place on the path:
#
# $$ \begin{aligned} &\gamma_{Ig}(z) = (z - z_0) \odot {} \cr
#    &\int_0^1 \frac{\partial f_c(S(z_0 + \alpha (z - z_0)))}{\partial z}\, d\alpha, \end{aligned} \tag{paper, 3} $$
#
# where $\odot$ multiplies coefficient by coefficient. Again the pullback moves out of the mean, which we call
# $\bar g$:
#
# $$ \begin{aligned} &\gamma_{Ig}(z) = (z - z_0) \odot S^\top \bar g, \cr
#    &\bar g = \int_0^1 \nabla f_c(x_0 + \alpha (x - x_0))\, d\alpha. \end{aligned} \tag{1.7} $$
#
# The straight path in coefficients *is* the straight path in pixels, because $S$ is linear. What remains
# outside is the product with $z - z_0$, and product and pullback do not commute: WAM-IG is **not** the
# pullback of integrated gradients in pixels. It is a new explanation, made from the same gradients
# ([`wam.integrated_gradients`](../book/api_explain.md)).
#
# **Completeness.** What do the attributions add up to? Move $S^\top$ to the other side of the inner product:
#
# $$ \begin{aligned} \sum_k \gamma_k &= \langle z - z_0,\, S^\top \bar g \rangle \cr
#    &= \langle S(z - z_0),\, \bar g \rangle \cr
#    &= \langle x - x_0,\, \bar g \rangle \cr
#    &= f_c(x) - f_c(x_0), \end{aligned} \tag{1.8} $$
#
# the last step being the fundamental theorem of calculus along the path. They add up to the change of the score, and
# the middle of (1.8) says that the sum is the same *in every frame*. With a few gradients in place of the integral the
# sum misses by some **gap**, in every frame the same one. (Below it is large, because only `check_steps` gradients are
# spent.)

# %%
integrated, totals, rows = {}, [], []
for name, frame in frames.items():
    e = integrated[name] = wam.integrated_gradients(network, small, target, frame=frame, steps=check_steps)
    totals.append(float(e.scale_scores().sum()))
    change, gap = float(e.score - e.baseline_score), float(e.completeness_gap)
    rows.append((name, e.attributions.size, f"{totals[-1]:.12f}", f"{change:.2f}", f"{gap:.2f}"))
book.table(("frame", "coefficients per channel", "sum of attributions", "f(x) - f(x₀)", "gap"), rows)
frame_error = np.ptp(totals) / abs(np.mean(totals))

# %% [markdown]
# ### The axioms, executed
#
# Which properties of integrated gradients survive the change of coordinates? The project page says that completeness,
# linearity and implementation invariance carry over to any linear invertible transform, and that WAM-IG is also
# *sensitive*. Each is one line of algebra, and each can be run.
#
# **Linearity.** The attribution of $2 f_a - 3 f_b$ is $2\gamma_a - 3\gamma_b$: gradients are linear in the
# function, and $S^\top$ is linear. (With *adaptive* nodes, which look at the score to place themselves, this
# holds only up to the error of the integral.)


# %%
def combined(x):
    output = network(x)
    return (2 * output[:, target] - 3 * output[:, other])[:, None]


other, checks["linearity"] = int(network(small).topk(2).indices[0, 1]), {}
for name, frame in frames.items():
    b = wam.integrated_gradients(network, small, other, frame=frame, steps=check_steps)
    e = wam.integrated_gradients(combined, small, 0, frame=frame, steps=check_steps)
    expected = integrated[name].attributions * 2 - b.attributions * 3
    checks["linearity"][name] = error(e.attributions.pack()[0], expected.pack()[0])

# %% [markdown]
# **Implementation invariance.** Two networks that compute the same function get the same attribution, because
# gradients depend on the function alone. Here is MobileNetV2 with every batch normalisation folded into the convolution
# before it: other layers, other weights, the same function.

# %%
folded = copy.deepcopy(network)
for block in [m for m in folded.modules() if isinstance(m, nn.Sequential)]:
    for i in range(1, len(block)):
        if isinstance(block[i], nn.BatchNorm2d) and isinstance(block[i - 1], nn.Conv2d):
            block[i - 1] = nn.utils.fusion.fuse_conv_bn_eval(block[i - 1], block[i])
            block[i] = nn.Identity()
removed = sum(isinstance(m, nn.BatchNorm2d) for m in network.modules())
left = sum(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
checks["implementation"] = {}
for name, frame in frames.items():
    e = wam.integrated_gradients(folded, small, target, frame=frame, steps=check_steps)
    checks["implementation"][name] = error(*(c.attributions.pack()[0] for c in (e, integrated[name])))
say(f"Batch normalisations: {removed} in one network, {left} in the other.")

# %% [markdown]
# **Sensitivity.** If input and baseline differ in one coefficient, and the scores differ, that coefficient
# gets a non-zero attribution. By completeness it even gets all of the difference, up to the gap, because every other
# factor $z - z_0$ vanishes. We take the photograph as the baseline and raise one coefficient in the middle: long
# wavelets have $W S = I$ only away from the border.

# %%
checks["sensitivity"], steps_taken = {}, []
for name, frame in frames.items():
    z = frame.analysis(small)
    key = list(z.bands)[min(1, len(z.bands) - 1)]
    moved = z.map(torch.clone)
    moved.bands[key][0, 1][tuple(n // 2 for n in z.bands[key].shape[2:])] += 4
    e = wam.integrated_gradients(
        network, frame.synthesis(moved), target, frame=frame, steps=check_steps, baseline=small
    )
    values = e.attributions.pack()[0].flatten()
    alone = values[values.abs().argmax()]
    checks["sensitivity"][name] = float((values.sum() - alone).abs() / alone.abs())
    steps_taken.append(f"{name} {float(e.score - e.baseline_score):+.2f} ({float(alone):+.2f})")
say("Change of the score (and what the one coefficient got): " + ", ".join(steps_taken) + ".")

# %%
rows = [(name, *(f"{values[name]:.1g}" for values in checks.values())) for name in frames]
title = "Relative errors of the pullback and of each axiom; for sensitivity, the share that all other coefficients get:"
book.table(("frame", *checks), rows, title)

# %% [markdown]
# In double precision this is zero, as far as a computer can tell. (The exact zeros of the pullback are no accident: the
# backward pass of a synthesis filter *is* the convolution that the pullback runs.)
#
# The counterpart of sensitivity, *dummy*, shows why the domain matters: what a network does not use gets nothing. Build
# a network that **cannot see level 1**: it removes the finest details, then looks.

# %%
haar_frame = frames["haar"]


def blind(x):
    z = haar_frame.analysis(x)
    return network(haar_frame.synthesis(z - z.level(1)))


in_wavelets = wam.saliency(blind, small, target, frame=haar_frame).attributions.abs()
in_pixels = wam.saliency(blind, small, target, frame=wam.Pixel()).attributions.pack()[0]
unseen = float(in_wavelets.scale_sums()[0, -1] / in_wavelets.scale_sums().sum())
lit = float((in_pixels.abs() > 1e-9 * in_pixels.abs().max()).double().mean())
say(f"Share of level 1: **{unseen:.1g}**. Share of pixels with a non-zero gradient: **{percent(lit)}**.")

# %% [markdown]
# In wavelets the blindness shows (exactly, because the scales of Haar are orthogonal). In pixels it does not: every
# pixel still matters, as a part of something coarser.
#
# ### How many gradients
#
# The integral in equation 3 is approximated by a few gradients. How many does it take, and at which **nodes**, the
# places on the path? From here on we explain the network of this profile, at its full resolution and in single
# precision, on two photographs.

# %%
device = "cuda" if torch.cuda.is_available() else "cpu"
model = models.load({"embedded": "efficientnet_lite0", "paper": "resnet18"}[profile], device)
names = ("coffee", "camera")
x = model.prepare([photographs[name] for name in names])
frame = wam.Wavelet(wavelet, levels=levels, ndim=2)
rules = [rule for rule in quadrature.RULES if rule != "geometric"]  # that one is for sounds: chapter 04
runs = {
    (rule, n): wam.integrated_gradients(model, x, frame=frame, steps=n, nodes=rule)
    for rule, n in itertools.product(rules, steps)
}
gaps = {key: (e.completeness_gap / (e.score - e.baseline_score).abs()).cpu() for key, e in runs.items()}
e = runs[rules[0], max(steps)]  # the default rule
classes = [model.categories[c] for c in e.target.tolist()]

# %%
alpha = torch.linspace(0, 1, 33) ** 2
with torch.no_grad():
    path = torch.stack([model(a * x).gather(1, e.target[:, None])[:, 0] for a in alpha]).cpu()
for name, label, line in zip(names, classes, path.T):
    share = line[alpha <= 0.25][-1] / line[-1]
    say(f"{name}: *{label}*, score {line[-1]:.2f}, {percent(share)} of it after a quarter of the path.")

# %%
rows = [(rule, *(f"{gaps[rule, n].mean():.3f}" for n in steps)) for rule in rules]
title = "The completeness gap as a share of the score's change, mean over the photographs:"
book.table(("nodes", *(f"{n} gradients" for n in steps)), rows, title)

# %% tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(6, 3.2))
for line, name, label in zip(path.T, names, classes):
    axes[0].plot(alpha, line, label=f"{name}: {label}")
axes[0].set(xlabel="α, from baseline to input", ylabel="score")
axes[0].legend(loc="lower right")
for rule in rules:
    axes[1].plot(steps, [gaps[rule, n].mean() for n in steps], marker="o", ms=4, label=rule)
axes[1].set(xlabel="gradient evaluations", ylabel="gap / score change", xscale="log", yscale="log", ylim=(1e-3, 2))
axes[1].set_xticks(steps, steps)
axes[1].minorticks_off()
axes[1].legend(fontsize=9, loc="lower left")
listed = "; ".join(f"{row[0]}: {', '.join(row[1:])}" for row in rows)
counts = ", ".join(map(str, steps))
alt = f"Left: the score along the path. Right: mean relative completeness gap, at {counts} gradients. {listed}."
book.figure(fig, alt, "Left: the score along the path to each photograph. Right: the mean gap that each rule leaves.")

# %% [markdown]
# The score climbs early, so equal steps waste their evaluations on the plateau. *Quadratic* nodes, midpoints in
# $\sqrt\alpha$, are denser near the baseline. *Adaptive* ones look at the score first (a sweep of forward passes, on
# top of the gradients counted here).
#
# Two photographs are an illustration, not a benchmark, and single gaps go up and down by luck. A rescaling could close
# the gap without improving a single attribution. So the default rule is chosen by the error of the attributions
# themselves, on more images ([performance](../book/performance.md)).
#
# ### The three equations on one photograph
#
# What do they look like, on the first of the two photographs?

# %% tags=["gallery"]
sa = wam.saliency(model, x, frame=frame)
sg = wam.smoothgrad(model, x, frame=frame, samples=samples)
rgb = model.display(x)
fig, axes = plt.subplots(2, 2, figsize=(6, 6.3))
plots.image(axes[0, 0], rgb[0], f"{names[0]}: {classes[0]}")
equations = {"eq. 1, gradient": sa, "eq. 2, WAM-SG": sg, "eq. 3, WAM-IG": e}
alt = f"The photograph ({classes[0]}) and three mosaics of attributions. Percent per scale, coarse to fine. "
for ax, (title, method) in zip(axes.flat[1:], equations.items()):
    plots.mosaic(ax, method.attributions, title=title)
    alt += f"{title}: {', '.join(f'{100 * share:.0f}' for share in method.scale_profile()[0])}. "
caption = f"Attributions in the {wavelet} domain with {levels} levels, absolute values, every band scaled to itself."
book.figure(fig, alt.strip(), caption)

# %% [markdown]
# The raw gradient is grainy. The mean over noisy copies gathers it into the region of the cup and the spoon,
# in the same place at every scale. Integrated gradients follow the edges, because they carry the factor $z$, which is
# large at edges. That factor draws the photograph into the explanation, whatever the network does (exercise 2);
# [chapter 02](02_images.ipynb) measures by how much.
#
# ### The score, scale by scale
#
# How much of the score comes from each scale? Pixels have no scales; wavelets do. Group the sum (1.8):
#
# $$ \begin{aligned} f_c(x) &= f_c(x_0) + \sum_{s} \Gamma_s \;(\pm\ \text{gap}), \cr
#    \Gamma_s &= \sum_{k \in s} \gamma_k. \end{aligned} \tag{1.9} $$
#
# The score *is* a sum with one term per scale ([`e.scale_scores()`](../book/api_explain.md)). Each term has a sign: a
# scale may speak against the class. A small gap does not bound the error of each term, because errors may cancel in the
# sum. So we also look at how far the rules for the nodes disagree.

# %%
contributions = e.scale_scores()[0].tolist()
start, end = float(e.baseline_score[0]), float(e.score[0])
gap = end - start - sum(contributions)
labels = ["baseline", *("approx." if s == "approx" else f"level {s}" for s in e.scales), "gap", "score"]
heights = [start, *contributions, gap, end]
bottoms = [0, *(start + np.cumsum([0, *contributions])), 0]
terms = ", ".join(f"{label} {height:+.2f}" for label, height in zip(labels, heights))
say(f"*{classes[0]}*: {terms}.")
by_rule = torch.stack([runs[rule, max(steps)].scale_scores()[0] for rule in rules])
largest = float((by_rule.amax(0) - by_rule.amin(0)).max())
say(f"Between the {len(rules)} rules, with {max(steps)} gradients each, a term differs by up to **{largest:.1f}**.")

# %% tags=["hide-input"]
fig, ax = plt.subplots(figsize=(6, 3.4))
colours = ["0.55", *("C0" if c > 0 else "C5" for c in contributions), "0.8", "0.25"]
ax.bar(labels, heights, bottom=bottoms, color=colours, edgecolor="0.2", lw=0.6, width=0.72)
tops = [max(b, b + h) for b, h in zip(bottoms, heights)]
for i, (top, height) in enumerate(zip(tops, heights)):
    ax.text(i, max(top, 0) + 0.02 * max(tops), f"{height:+.1f}".replace("-", "−"), ha="center", fontsize=10)
for i in range(len(heights) - 1):
    ax.plot([i + 0.36, i + 0.64], [bottoms[i] + heights[i]] * 2, color="0.4", lw=0.8)
ax.axhline(0, color="0.3", lw=0.8)
ax.use_sticky_edges = False  # room above and below the bars
ax.margins(y=0.08)
ax.tick_params(axis="x", rotation=40)
ax.set_ylabel(f"score of {classes[0]}")
alt = f"Waterfall of the score of {classes[0]} from the baseline to the photograph, one bar per scale: {terms}."
book.figure(fig, alt, f"WAM-IG of {names[0]}: what each scale adds to the score (blue) or takes from it (orange).")

# %% [markdown]
# Each bar begins where the one to its left ends.
#
# **The baseline is part of the question.** The inputs of a network are normalised, so the usual $x_0 = 0$ is a grey,
# not black: the middle of the range for EfficientNet-Lite0, ImageNet's mean colour for most other networks. On a path
# from black, what is black gets nothing ([Sturmfels et al., 2020](../book/bibliography.md)). Compare the signs in the
# two rows before you quote one of them.

# %%
black = wam.integrated_gradients(model, x, e.target, frame=frame, steps=max(steps), baseline=model.black)
rows = []
for name, run in (("grey (0)", e), ("black", black)):
    values = [run.baseline_score[0], *run.scale_scores()[0], run.completeness_gap[0], run.score[0]]
    rows.append((name, *(f"{float(value):.2f}" for value in values)))
book.table(("baseline", "f(x₀)", *labels[1:-2], "gap (absolute)", "score"), rows)

# %% [markdown]
# ### What it costs
#
# How much longer does an explanation take than its gradients? Equation 1 asks for one gradient of the *input*, equation
# 2 for $n$, equation 3 for one per node. Wavelets add one pullback at the end: a few short filters, once. The direct
# route, which differentiates through the synthesis, pays for the transform at every draw. The project page says that
# WAM "only requires a forward pass"; it needs the backward pass too.
#
# This timing is small; its runs alternate, so that a busy machine disturbs all alike. The careful one is on the
# [performance page](../book/performance.md).


# %%
def seconds(action):
    began = time.perf_counter()
    action()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


# %%
def bare(gradient=scoring.gradient):
    target = model(x).argmax(1)
    for i in range(timed):
        noisy = x + torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(i)).to(x)
        gradient(model, noisy, target)


def through(frame):
    bare(lambda f, y, target: direct(lambda u: f(u).gather(1, target[:, None]), frame, y))


# %%
actions = {"bare gradient loop": bare}
for name in ("haar", "db4"):
    other_frame = wam.Wavelet(name, levels=5, ndim=2)
    actions[f"WAM-SG, {name}"] = lambda f=other_frame: wam.smoothgrad(model, x, frame=f, samples=timed)
actions["through the synthesis, db4"] = lambda f=other_frame: through(f)
actions["forward passes alone"] = lambda: [scoring.predict(model, x, e.target, len(x)) for _ in range(timed)]
with scoring.frozen(model):
    times = {name: [] for name in actions}
    for _ in range(rounds + 1):
        for name, action in actions.items():
            times[name].append(seconds(action))
medians = {name: float(np.median(values[1:])) for name, values in times.items()}  # the first round warms up
ratio = {name: value / medians["bare gradient loop"] for name, value in medians.items()}
rows = [(name, f"{medians[name]:.2f}", f"{ratio[name]:.2f}") for name in actions]
book.table((f"{timed} evaluations of two images", "seconds", "against the bare loop"), rows)

# %% tags=["hide-input"]
extra = {name: percent(ratio[f"WAM-SG, {name}"] - 1, "+") for name in ("haar", "db4")}
say(f"Wavelets change the time of the bare loop by **{extra['haar']}** (Haar) and **{extra['db4']}** (db4).")

# %% [markdown]
# ## Where this comes from
#
# **Gradients as explanations.** [Baehrens et al. (2010)](../book/bibliography.md) and [Simonyan et al.
# (2014)](../book/bibliography.md) read the gradient of a class score as a map of importance. Smilkov et al. smooth it;
# Sundararajan et al. integrate it and state the axioms above. [Adebayo et al. (2018)](../book/bibliography.md) ask
# whether such maps depend on the network at all ([chapter 07](07_randomization.ipynb)). The tests of this package agree
# with Captum ([Kokhlikyan et al., 2020](../book/bibliography.md)), the reference implementation in PyTorch.
#
# **Perturbations.** Instead of differentiating one can remove: with random masks, as RISE ([Petsiuk et al.,
# 2018](../book/bibliography.md)), which also brought the insertion and deletion scores; or with learned ones
# ([Fong and Vedaldi, 2017](../book/bibliography.md)).
#
# **Other domains.** CartoonX ([Kolek et al., 2022](../book/bibliography.md)) and ShearletX ([Kolek et al.,
# 2023](../book/bibliography.md)) learn such masks on wavelet and shearlet coefficients: the nearest
# relatives of the paper, by optimisation rather than by gradient. [Muzellec et al.
# (2023)](../book/bibliography.md) filter what is too high in frequency out of gradients. WAM takes the gradient itself
# to wavelets, for images, sounds and volumes alike.
#
# **Wavelets.** [Mallat (2008)](../book/bibliography.md) is the book on them. PyWavelets ([Lee et al.,
# 2019](../book/bibliography.md)) and ptwt ([Wolter et al., 2024](../book/bibliography.md)) compute them here.
#
# ## Paper and here

# %% tags=["hide-input"]
worst = {axiom: float(max(values.values())) for axiom, values in checks.items()}
worst["pullback"] = max(worst["pullback"], pullback_error)
pairs = (matrices(wam.Wavelet(name, levels=3, ndim=1), 96) for name in ("haar", "db4", "bior2.4"))
undone = max(float((S @ W - torch.eye(96)).abs().max()) for W, S in pairs)
gap_share = float(gaps[rules[0], max(steps)].mean())
exact = {
    ("eq. 1", "the derivative of f(W⁻¹z)", "by automatic differentiation"): ("one pullback", worst["pullback"]),
    ("eq. 2", "the mean of such derivatives", "n of them"): ("one pullback of the mean", mean_error),
}
for axiom, key in (("linearity",) * 2, ("implementation invariance", "implementation"), ("sensitivity",) * 2):
    exact["project page", axiom, "claimed"] = (f"{len(frames)} frames", worst[key])


# %% tags=["hide-input"]
def verdict(error, full, partly=0):
    return "reproduced" if error < full else "partly" if error < partly else "not reproduced"


columns = ("where", "what", "paper", "here", "difference", "verdict")
rows = [(*key, how, f"{value:.1g} (relative)", verdict(value, 1e-10)) for key, (how, value) in exact.items()]
passes = 1 / ratio["forward passes alone"] - 1 / timed  # the bare loop predicts the classes, too
octave = ", ".join(f"{percent(middle[name])} ({label})" for name, label in (("haar", "Haar"), ("db4", "db4")))
octave = f"own octave: {octave} of a level's energy, one photograph"
outside = 1 - min(share for (name, _), share in own.items() if name == "db20")
complete = verdict(gap_share, 0.1, 1) if frame_error < 1e-10 else "not reproduced"

# %% tags=["hide-input"]
sums_agree = f"the same sum in {len(frames)} frames (to {frame_error:.1g})"
gap_text = f"gap {100 * gap_share:.1f} % of the score at {max(steps)} gradients"
one = f"one octave; outside it at most {percent(outside)} of a db20 atom"
both = f"forward and backward, {passes:.1f} forward passes' time"
ranges = ("C.1", "scales are dyadic frequency ranges", "correspond to them", octave, "ranges overlap")
rows += [
    ("section 3", "the transform is invertible", "stated", f"S W = I to {undone:.1g}", "", verdict(undone, 1e-6)),
    ("project page", "completeness", "claimed", sums_agree, gap_text, complete),
    ("section 3", "level j spans", "2ʲ to 2ʲ⁻¹ octaves", one, "wording", verdict(outside, 0, 0.5)),
    (*ranges, verdict(1 - min(middle.values()), 0.05, 0.5)),
    ("project page", "cost", "only a forward pass", both, "a backward pass, too", verdict(passes, 1.1)),
]
book.compare([dict(zip(columns, row)) for row in rows])

# %% [markdown]
# Does the choice of wavelet matter? Move the slider.

# %%
explorer.explore(model, data.photographs(), wavelets=("db4", "haar", "bior4.4"), vary="wavelet")

# %% [markdown]
# ## What to take away
#
# - A photograph is a sum of atoms, each with a place, a scale and an orientation: $x = Sz$.
# - The gradient in those coordinates is $S^\top \nabla f_c(x)$: the gradient image, compared with each atom.
#   It costs one gradient, whatever the wavelet.
# - SmoothGrad commutes with the pullback; integrated gradients do not, but their sum is the same in every
#   frame.
# - Completeness turns a score into a sum with one term per scale.
# - A scale is *about* an octave. Longer wavelets separate octaves better and places worse.
#
# ## Exercises
#
# **1. Weigh the borders.** For Haar, $S^\top = W$. For `db4` it is not, and someone explains a network with
# $W \nabla f_c$ instead of $S^\top \nabla f_c$. Where in the image is the result wrong, and for which way of
# continuing a signal at its border (`mode`) is it right?
#
# <details>
# <summary>Solution</summary>
#
# Away from the border the two agree, because `db4` is orthogonal. They differ for the atoms that reach over
# it: reflection continues the gradient beyond the image, but what an atom does out there does not change
# the score. With `mode="zero"` the gradient is continued by zeros, as it should be, and $S^\top = W$ to
# rounding:
#
# ```python
# for mode in ("reflect", "zero"):
#     W, S = matrices(wam.Wavelet("db4", levels=3, ndim=1, mode=mode), n=96)
#     print(mode, float((S.T - W).abs().max()))
# ```
#
# For a biorthogonal wavelet no mode helps: its analysis and synthesis atoms are different waves.
#
# </details>
# <br>
#
# **2. An explanation of nothing.** Explain an untrained network, `models.load("mobilenet_v2", pretrained=False)`, by
# WAM-IG and compare the order of $|\gamma|$ with that of $|z|$. Which axiom does the explanation violate?
#
# <details>
# <summary>Solution</summary>
#
# None. The axioms say how a score is shared out, not that the score is worth explaining.
#
# ```python
# untrained = models.load("mobilenet_v2", pretrained=False)
# y = untrained.prepare([photographs["coffee"]])
# nothing = wam.integrated_gradients(untrained, y, frame=frame, steps=16)
# a, b = nothing.attributions.abs().pack()[0].flatten(), nothing.coefficients.abs().pack()[0].flatten()
# print(torch.corrcoef(torch.stack([a.argsort().argsort(), b.argsort().argsort()]).float())[0, 1])
# ```
#
# The rank correlation is as high as for the trained network (leave out `pretrained=False`): much of what a WAM-IG
# mosaic shows is the photograph. Controls that take this into account come with [chapter 02](02_images.ipynb), and
# [chapter 08](08_evaluation.ipynb) is about little else.
#
# </details>
# <br>
#
# **Next:** [02 Images](02_images.ipynb), where two networks are explained on real photographs.
