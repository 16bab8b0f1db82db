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
# # 05 Volumes: which scale of a shape matters
#
# *Sections 3.2 and 4.2 and appendix C.4 of the paper; Figures 1 (shape row), 5 and 17 to 20; the volumes of the
# poster.*
#
# The method of the last chapters explains a network that looks at a *volume* by the same two lines of code: a wavelet
# transform works along any number of axes. On volumes the paper makes one claim in words, from pictures: coarse scales
# are the edges of a shape, fine scales gather at its centre. The poster adds a table.
#
# Three things you will see:
#
# 1. what the seven orientations of a three-dimensional transform are, on a box and on a digit, and which of them a
#    classifier of 3D digits relies on;
# 2. the claim turned into two distances, measured over hundreds of volumes, beside what a ranking without a network
#    and a network without training would show;
# 3. the poster's metrics with controls; and, as an outlook, a short film, explained as a volume whose first axis is
#    time.
#
# <!-- cost -->

# %% tags=["parameters"]
profile: str = "embedded"  # embedded: 3D digits made from MNIST; paper: the medical shapes of the poster
weights: str = ""  # of the profile paper: the file that wam.recipes.medmnist3d writes
medmnist: str = ""  # of the profile paper: the npz file of AdrenalMNIST3D; none: the package medmnist gets it
n_test: int = 0  # volumes and clips that accuracies are of; 0: all of the test set
n_volumes: int = 300  # volumes of the statistics, all of them classified correctly
n_curves: int = 50  # of them, in the table of faithfulness; the same number of every class
n_noise: int = 30  # of them, in the choice of the noise
noises: list = [0.02, 0.1, 0.4, 0.6, 1.0]  # candidates, as shares of the range, beside the default
levels: int = 3  # of the Haar wavelet
steps: int = 16  # gradients of WAM-IG
samples: int = 25  # noisy copies of WAM-SG
curve_steps: int = 16  # steps of the curves of insertion and deletion
n_clips: int = 150  # clips of the outlook that are explained
max_batch: int = 100  # volumes in one pass of the network
seed: int = 0  # of every random draw

# %%
import itertools
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from scipy.ndimage import distance_transform_edt

# %%
import wam
from wam import baselines, book, comparison, controls, cubes, data, metrics, models, plots, records, sanity, voxels
from wam.attribution import NOISE
from wam.book import say, span
from wam.explanation import in_frame
from wam.explorer import explore
from wam.gradients import noisy

book.start(chapter="05_voxels", profile=profile, seed=seed)
signed = partial(span, sign="+")
device = "cuda" if torch.cuda.is_available() else "cpu"

# %% [markdown]
# ## Digits made of cubes, and a network for them
#
# **What stands in for what.** The paper's pictures are of *3D MNIST*: digits as $16 \times 16 \times 16$ cubes, or
# *voxels*. The package index does not carry that set. Ours is made from MNIST by the same kind of recipe: give a digit
# a thickness, turn it a little about three axes, fill the cubes that it passes through
# ([`data.digits3d`](../book/api_data.md), [credits](../book/credits.md)). It is the same kind of volume, not the same
# volumes. The network has the architecture of the authors' released code; it was trained on 60,000 such digits for this
# book, and its weights come with the package.
#
# The poster's table is of the adrenal glands of AdrenalMNIST3D (Yang et al., [2023](../book/bibliography.md)) and of a
# network that is described nowhere, a "3D Former". With `profile="paper"` the same cells run on that set, with a
# three-dimensional ResNet-18 that you train by [`python -m wam.recipes medmnist3d OUT`](../book/api_training.md).


# %%
if profile == "embedded":
    model, held_out = models.load("digits3d", device), data.digits3d("test", n_test or None)
else:
    model = models.load("medmnist3d", device, weights=weights or None)
    held_out = data.medmnist3d("adrenalmnist3d", "test", file=medmnist or None, n=n_test or None)
categories = model.categories


def answers(network, inputs):
    """The logits of all inputs."""
    with torch.no_grad():
        return torch.cat([network(part) for part in inputs.split(max_batch)])


# %%
labels = held_out.labels.to(device)
guess = answers(model, model.prepare(held_out)).argmax(1)
right = (guess == labels).nonzero()[:, 0].tolist()
chosen = right[:n_volumes]
x, y = model.prepare(held_out[chosen]), labels[chosen]
examples = [int((y == c).nonzero()[0, 0]) for c in y.unique()]  # the first of every class
hero = examples[(len(examples) - 1) // 2]  # in most figures

# %% tags=["hide-input"]
accuracy, promised = len(right) / len(held_out), model.card.get("stored", {}).get("accuracy")
text = f"**{100 * accuracy:.2f} %** of {len(held_out):,} test volumes are classified correctly"
if promised and not n_test:
    same = round(accuracy, 4) == round(promised, 4)
    text += ", as the card of the weights says" if same else f"; the card of the weights says {100 * promised:.2f} %"
count = sum(p.numel() for p in model.parameters())
text += f". The network has {count:,} parameters. "
pairs = pd.Series([f"{categories[a]} is taken for {categories[b]}" for a, b in zip(labels, guess) if a != b], dtype=str)
if len(pairs):
    text += f"Its most frequent mistake, {pairs.value_counts().iloc[0]} of {len(pairs)}: {pairs.mode()[0]}. "
say(text + f"Below, we explain the class of the first {len(chosen)} that are right.")

# %% tags=["hide-input"]
wide = min(5, len(examples))
fig, axes = plots.panels(-(-len(examples) // wide), wide)
for ax, i in zip(axes.flat, examples):
    voxels.solid(ax, x[i].cpu(), title=categories[y[i]])
for ax in axes.flat[len(examples) :]:
    ax.remove()
alt = f"One shape of every class, drawn as shaded cubes: {', '.join(categories[y[i]] for i in examples)}."
filled = float((x > 0.5).float().mean())
caption = "The first volume of every class that is classified correctly. "
book.figure(fig, alt, caption + f"On average {100 * filled:.0f} % of the voxels are filled.")

# %% [markdown]
# ## A transform along three axes
#
# One level of the transform splits the volume along its depth, then its height, then its width, each time into a smooth
# half (*a*, for average) and a detail half (*d*). That makes $2^3 = 8$ bands, each with an eighth of the coefficients.
# The band *aaa*, a smaller copy of the volume, goes on to the next level. The other seven are the *orientations*: *daa*
# holds what changes along the depth only, *dda* along depth and height, *ddd* along all three.
#
# A box shows what each of them sees. A detail of the Haar wavelet is a difference of neighbours, in fixed pairs: 0 and
# 1, 2 and 3, and so on. The box begins and ends in the middle of a pair on every axis, so each of its faces leaves
# details that we can count.

# %%
box = torch.zeros(1, 1, 16, 16, 16)
box[..., 3:13, 5:11, 1:15] = 1
frame = wam.Wavelet("haar", levels, ndim=3)
finest = {letters: band for (level, letters), band in frame.analysis(box).bands.items() if level == 1}
finest.pop("approx", None)

# %% tags=["hide-input"]
fig, alt = cubes.bands(box[0], frame)
book.figure(fig, alt, "A box, and the blocks of voxels that have details at level 1, by axes; in %: share of energy.")
energy = {letters: float(band.double().square().sum()) for letters, band in finest.items()}
found = {letters: int((band.abs() > 1e-5).sum()) for letters, band in finest.items()}
where = {1: "on a face", 2: "along an edge", 3: "at a corner"}
touched = (6, 4, 8)  # pairs of voxels that the box touches along depth, height, width
expected = {w: int(np.prod([2 if c == "d" else touched[k] for k, c in enumerate(w)])) for w in found}

# %% tags=["hide-input"]
order = sorted(found, key=lambda letters: (letters.count("d"), letters[::-1]))
rows = [
    (w, where[w.count("d")], found[w], expected[w], f"{100 * energy[w] / sum(energy.values()):.1f} %") for w in order
]
head = ("band", "a detail is", "not zero, of 512", "by counting", "energy")
book.table(head, rows, "The seven orientations of the box at level 1:")
say(f"The counts {'agree' if found == expected else 'do not agree'}: two ends along every axis of details, times the "
    f"pairs that the box touches along the others. The {found['ddd']} details in *ddd* are its corners."
    )  # fmt: skip

# %% [markdown]
# A digit is not a box. It is turned, so that its faces are stairs, and every orientation gets a share.

# %% tags=["hide-input"]
fig, alt = cubes.bands(x[hero].cpu(), frame)
book.figure(fig, alt, f"The same for a shape of class {categories[y[hero]]}: the large details at level 1.")
z = frame.analysis(x)
flat = z.pack()[0].flatten(1)
empty = float((flat.abs() < 1e-5).float().mean())
kinds = float(np.mean([len(np.unique(row)) for row in flat.abs().cpu().numpy().round(4)]))
error = float((frame.synthesis(z) - x).abs().max())

# %% tags=["hide-input"]
text = f"Two facts matter below. First, **{100 * empty:.0f} % of the {flat.shape[1]:,} coefficients are zero**: where "
text += "a block of voxels is all full or all empty, there is no detail. Second, the others take few values, because "
text += f"voxels are 0 or 1: on average {kinds:.0f} different magnitudes per volume. "
say(text + f"Nothing is lost: put together again, the coefficients miss the volume by {error:.0e} at most.")

# %% [markdown]
# ## How much noise is right for a volume
#
# WAM-SG averages gradients at noisy copies. How noisy, the paper does not say; the authors' code takes a quarter of the
# range for images and a thousandth for sound. With too little noise the average is the gradient at one point. With too
# much the copies lose their class, and other copies give another explanation. For volumes we measure, by three
# questions to every candidate, a share of the range of the volume:
#
# - do the noisy copies keep their class?
# - do two independent sets of copies give the same mean gradient (cosine)?
# - how faithful is the explanation (insertion minus deletion, eq. 4, in steps of equal *number* or *energy*, which the
#   section on the poster's volumes explains)?

# %%
few, of_few = x[:n_noise], y[:n_noise]
default = NOISE[3]
seen_in = {"wavelets": frame, "voxels": wam.Pixel()}
STEP = {"count": "number", "energy": "energy"}  # what a step of a curve has equal amounts of: its name in tables


def draws(noise):
    """Two independent WAM-SG of the same volumes, in voxels."""
    options = {"frame": wam.Pixel(), "samples": samples, "noise": noise, "max_batch": max_batch}
    return [wam.smoothgrad(model, few, of_few, seed=seed + k, **options) for k in (0, 1)]


# %%
tried = []
for noise in sorted({*noises, default}):
    one, other = draws(noise)
    copies = noisy(few, noise, seed)
    kept = torch.stack([answers(model, copies(k)).argmax(1) == of_few for k in range(samples)]).float().mean(0)
    cosine = torch.nn.functional.cosine_similarity(one.gradient.flatten(1), other.gradient.flatten(1))
    row = {"kept": kept, "cosine": cosine}
    for domain, in_which in seen_in.items():
        for axis, step in STEP.items():
            options = {"steps": curve_steps, "axis": axis, "seed": seed, "max_batch": max_batch}
            curves = metrics.perturbation_curves(model, few, in_frame(one, in_which), **options)
            row[f"{domain}, {step}"] = curves.faithfulness
    row = {name: values.double().cpu().numpy() for name, values in row.items()}
    tried.append(pd.DataFrame(row).assign(noise=noise, input=range(len(few))))
tried = pd.concat(tried, ignore_index=True)

# %% tags=["hide-input"]
means = tried.groupby("noise").mean()
columns = [f"{domain}, {step}" for step in STEP.values() for domain in seen_in]
rows = [(f"{noise:g}{' (default)' if noise == default else ''}", f"{100 * m['kept']:.0f} %", f"{m['cosine']:.2f}",
         *(f"{m[c]:.2f}" for c in columns)) for noise, m in means.iterrows()]  # fmt: skip
head = ("noise", "copies keep class", "cosine", *columns)
title = f"WAM-SG with {samples} copies, {len(few)} volumes; the last columns are faithfulness, by "
book.table(head, rows, title + "what is ranked and how a step is measured:")

# %% tags=["hide-input"]
tops, within, best_of = {c: means[c].idxmax() for c in columns}, {}, []
for c in columns:
    part = tried.assign(method=tried["noise"].map("{:g}".format), all=0)
    pair = (f"{default:g}", f"{tops[c]:g}")
    if pair[0] != pair[1]:
        within[c] = comparison.differences(part, *pair, "all", c, inputs="input").iloc[0]
    best_of.append(f"{c}: {signed(within[c])} against {tops[c]:g}" if c in within else f"{c}: the best")
near = all(v["high"] >= 0 or v["mean"] > -0.02 for v in within.values())

# %% tags=["hide-input"]
safe = [noise for noise, m in means.iterrows() if m["kept"] >= 0.9]
text = f"Faithfulness at the default {default:g}, minus that of the best candidate: {'; '.join(best_of)}. "
text += f"The largest candidate at which nine tenths of the copies keep their class is {max(safe):g}. " if safe else ""
if near and safe and max(safe) == default:
    text += f"**So {default:g} is the default for volumes**, and no longer only because it is the one for images. "
    text += "It lies on a plateau: the exact value matters little."
else:
    text += f"So the default {default:g} {'is as good as the best here' if near else 'is not the best here'}."
say(text)

# %% [markdown]
# ## A digit, explained scale by scale
#
# Figures 5 and 17 to 19 of the paper show what matters in single digits, at coarse and at fine scales. We make the
# explanations of all volumes at once, as mean gradients, and look at them in any frame afterwards
# ([`in_frame`](../book/api_explain.md)), as in [chapter 02](02_images.ipynb). The baseline of WAM-IG is the empty
# volume.


# %%
def explained(network):
    """WAM-IG and WAM-SG of all volumes, for their class."""
    options = {"frame": wam.Pixel(), "max_batch": max_batch}
    ig = wam.integrated_gradients(network, x, y, steps=steps, **options)
    sg = wam.smoothgrad(network, x, y, samples=samples, seed=seed, **options)
    return {"WAM-IG": ig, "WAM-SG": sg}


made = explained(model)
untrained = explained(sanity.randomize(model, seed))
seen = {name: in_frame(e, frame) for name, e in made.items()}

# %% tags=["hide-input"]
ig = made["WAM-IG"]
gap = float((ig.completeness_gap / (ig.score - ig.baseline_score).abs()).median())
scores_of = seen["WAM-IG"].scale_scores().mean(0).tolist()
rise = float((ig.score - ig.baseline_score).mean())
names = [f"{wam.words.scale(s)}: {v:.1f}" for s, v in zip(seen["WAM-IG"].scales, scores_of)]
say(
    f"From the empty volume to the full one the logit changes by {rise:.1f} on average. That is the sum of the scales "
    f"({'; '.join(names)}), up to {100 * gap:.1f} % (median of {len(x)} volumes, {steps} gradients each)."
)

# %% tags=["hide-input", "gallery"]
fig, alt = voxels.explanation(seen["WAM-IG"], x.cpu(), hero, categories=categories)
book.figure(fig, alt, f"Fig. 5, here: a shape and what matters in it, WAM-IG, Haar, {levels} levels.")

# %% [markdown]
# Colours are drawn on the shape, as in the paper's figure. Yellow marks the voxels that hold half of what the coarse
# scales (approximation and level 3) put on the shape, blue those of the fine scales (levels 2 and 1), black both. But a
# coefficient of level 3 belongs to a block of $8 \times 8 \times 8$ voxels, an eighth of the cube, and our heatmaps
# spread it over that block. So much of a coarse map lies *beside* the shape, where nothing is drawn.

# %% tags=["hide-input"]
heats = {name: e.heatmap() for name, e in seen.items()}
on = {name: float((h * (x[:, 0] > 0.5)).sum((1, 2, 3)).div(h.sum((1, 2, 3))).mean()) for name, h in heats.items()}
each = seen["WAM-IG"].scale_heatmaps() * (x > 0.5)
each = (each.sum((2, 3, 4)) / seen["WAM-IG"].scale_heatmaps().sum((2, 3, 4))).mean(0).tolist()
parts = ", ".join(f"{wam.words.scale(s)} {100 * v:.0f} %" for s, v in zip(seen["WAM-IG"].scales, each))
say(
    f"Of the heatmap of all scales, {100 * on['WAM-IG']:.0f} % lies on the shape with WAM-IG and "
    f"{100 * on['WAM-SG']:.0f} % with WAM-SG; the shape fills {100 * filled:.0f} % of the cube. "
    f"Of the heatmap of each scale, WAM-IG: {parts}."
)

# %% tags=["hide-input"]
others = [i for i in examples if i != hero][-3:] or [hero]
pairs = [voxels.explanation(seen["WAM-IG"], x.cpu(), i, categories=categories) for i in others]
names = [str(categories[y[i]]) for i in others]
caption = "Figs. 17, 18 and 19, here: other classes, WAM-IG."
book.slider([fig for fig, _ in pairs], names, [alt for _, alt in pairs], caption, "Class")

# %% tags=["hide-input"]
caption = f"The {categories[y[hero]]} of Fig. 5 again, from all around: scales on the left, the heatmap on the right."
book.slider(*voxels.turning(seen["WAM-IG"], x.cpu(), hero, categories=categories), caption, "Seen from")

# %% tags=["hide-input"]
fig, alt = voxels.slices(seen["WAM-IG"], x.cpu(), hero, categories=categories)
book.figure(fig, alt, "The same, cut open where its heatmap is largest; what lies beside the shape is drawn, too.")

# %% tags=["hide-input"]
for name, e in seen.items():
    fig, alt = voxels.gallery([(e, x.cpu(), i) for i in examples], ("heatmap",) * wide, categories=categories)
    book.figure(fig, alt, f"Fig. 20, here: one heatmap of all scales, a volume of every class, {name}.")

# %% [markdown]
# Both methods mark much the same parts. And which orientations matter? Here is the share of every band, in the sizes
# $|z|$ of the coefficients, without a network, and in the sizes $|\gamma|$ of the attributions:

# %% tags=["hide-input"]
shown = {"|z|, the volumes themselves": seen["WAM-IG"].coefficients}
shown |= {f"|γ|, {name}": e.attributions for name, e in seen.items()}
fig, axes = plt.subplots(3, 1, figsize=(plots.WIDTH, 1.6 + 1.7 * levels))
said = []
for ax, (name, c) in zip(axes, shown.items()):
    said.append(f"{name}. {cubes.orientations(ax, c)}")
    ax.set_title(f"{name}; {ax.get_title(loc='left')}", loc="left")
book.figure(fig, " ".join(said), f"Share of every level and orientation, mean of {len(x)} volumes.")


# %%
def share_of(c, chosen):
    """The share of absolute values in the bands that are chosen by their letters, per volume."""
    sums = {key: band.abs().flatten(1).sum(1) for key, band in c.bands.items()}
    return (sum(v for (_, letters), v in sums.items() if chosen(letters)) / sum(sums.values())).double().cpu().numpy()


along = {name: [share_of(c, lambda w, k=k: w[k] == "d") for k in range(3)] for name, c in (
    shown | {"|γ|, randomized network, IG": in_frame(untrained["WAM-IG"], frame).attributions}
).items()}  # fmt: skip

# %% tags=["hide-input"]
rows = [(name.partition(", the")[0], *(f"{100 * v.mean():.0f} %" for v in values)) for name, values in along.items()]
title = "Share of the details along each axis; a detail along two axes counts for both:"
book.table(("share of", *(f"along {axis}" for axis in cubes.AXES)), rows, title)
kinds = list(along)
long = pd.DataFrame([(name, "depth", i, v) for name in kinds for i, v in enumerate(along[name][0])],
                    columns=["method", "axis", "input", "value"])  # fmt: skip
less = {k: comparison.differences(long, kinds[1], k, "axis", inputs="input").iloc[0] for k in (kinds[0], kinds[3])}
less = {name: 100 * row[["mean", "low", "high"]].astype(float) for name, row in less.items()}
text = f"The share along the depth in WAM-IG, minus that in the volumes: {signed(less[kinds[0]], 1)} points; "
text += f"minus that of the same network with random weights: {signed(less[kinds[3]], 1)}. "

# %% tags=["hide-input"]
if profile == "embedded" and all(row["high"] < 0 for row in less.values()):
    text += "**The network has learned to look less at the depth**, and rightly: a digit is written along height and "
    text += "width, and its thickness is the same for all. A heatmap of places does not say that."
say(text)

# %% [markdown]
# How few coefficients draw a volume, if they come in the order of WAM-IG? Move the slider.

# %%
explore(model, held_out[[chosen[i] for i in examples]], levels=levels)

# %% [markdown]
# ## Edges and centre, measured
#
# "Figure 5 highlights the significance of the edges at larger scales, whereas at smaller scales, the importance becomes
# increasingly concentrated at the center of the digit" (section 4.2). On the project page yellow is coarse, the edges,
# and blue is fine, the centre. A picture of one digit cannot decide that. Two distances can, averaged with the heatmap
# of a scale as weight:
#
# - the **distance to the surface** of the shape, from inside or outside, in voxels: small where a scale is about edges;
# - the **distance to the centre**, the centroid of the shape, in units of its radius of gyration (the root mean square
#   of that distance over the shape): small where a scale is about the centre.
#
# A heatmap spread evenly over the cube, and one spread evenly over the shape, are there to compare with.


# %%
def distances(volume):
    """Of every voxel: the distance to the surface, to the centroid in radii of gyration, and its empty neighbours."""
    solid, inner = volume > 0.5, (slice(1, -1),) * 3
    framed = np.pad(solid, 1)  # beyond the cube it is empty
    surface = np.where(solid, distance_transform_edt(framed)[inner], distance_transform_edt(~solid)) - 0.5
    bare = sum(~np.roll(framed, step, axis)[inner] for step in (-1, 1) for axis in range(3))
    place = np.moveaxis(np.indices(solid.shape), 0, -1)
    away = np.linalg.norm(place - place[solid].mean(0), axis=-1)
    return surface, away / np.sqrt((away[solid] ** 2).mean()), bare.astype(float)


surface, centre, bare = (torch.tensor(np.stack(d)) for d in zip(*map(distances, x[:, 0].cpu().numpy())))
solid = x[:, 0].cpu() > 0.5


# %%
def placed(heats, name, scales):
    """Mean distances under heatmaps (volumes, scales, ...), and the share within a voxel of the surface."""
    weights = heats.cpu().double()
    weights = weights / weights.sum((2, 3, 4), keepdim=True)
    values = {"surface": surface, "near": (surface < 1).double(), "centre": centre, "bare": bare}
    columns = {c: (weights * v[:, None]).sum((2, 3, 4)).flatten().numpy() for c, v in values.items()}
    index = pd.MultiIndex.from_product([range(len(heats)), scales], names=["input", "scale"])
    return pd.DataFrame(columns, index=index).reset_index().assign(method=name)


# %%
ends = pd.concat([placed(torch.ones_like(x), "cube", ["all"]), placed(solid[:, None], "shape", ["all"])])
ends = ends.groupby("method")[["surface", "near", "centre"]].mean()
ig, sg = seen["WAM-IG"], seen["WAM-SG"]
ranked = {"WAM-IG": ig, "WAM-SG": sg, "|z|": controls.magnitude(ig)}
ranked["permuted"] = controls.permuted(ig, bins=8, seed=seed)
ranked |= {f"randomized, {name[-2:]}": in_frame(e, frame) for name, e in untrained.items()}
scales = [str(s) for s in ig.scales]
table = pd.concat([placed(e.scale_heatmaps(), name, scales) for name, e in ranked.items()], ignore_index=True)
coarse, fine = str(levels), "1"

# %% [markdown]
# The controls ([`wam.controls`](../book/api_measure.md)): **|z|** takes the size of a coefficient for its importance,
# and asks no network. **Permuted** are the attributions of WAM-IG, exchanged among coefficients of nearly the same
# size, wherever these lie (in eight groups only, because there are so few different sizes). **Randomized** is the same
# network with all weights drawn anew, never trained.

# %% tags=["hide-input"]
thin = float((surface[solid] < 1).double().mean())
text = f"**Geometry first.** Of the voxels of the shapes, {100 * thin:.0f} % lie within one voxel of the surface. "
if thin > 0.8:
    text += "Strokes are a few voxels thick: *edge* and *middle of a stroke* are the same place at this resolution. So "
    text += "*centre* can only mean the centre of the whole shape. "
text += f"The whole cube is {ends.loc['cube', 'surface']:.2f} voxels away from the surface on average, and "
text += f"{ends.loc['cube', 'centre']:.2f} radii from the centre; the shape itself {ends.loc['shape', 'surface']:.2f} "
say(text + f"and {ends.loc['shape', 'centre']:.2f}.")

# %% tags=["hide-input"]
middle = {v: comparison.summary(table, ["method", "scale"], v).set_index(["method", "scale"])
          for v in ("surface", "near", "centre")}  # fmt: skip
styles = dict(zip(ranked, ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))))
alt = "Mean distance of the heatmap of every scale, coarse to fine. "
for v, m in itertools.product(("surface", "centre"), ranked):
    alt += f"To the {v}, {m}: {', '.join(f'{a:.2f}' for a in middle[v].loc[m].loc[scales, 'mean'])}. "


# %% tags=["hide-input"]
def by_scale(ax, v):
    """Mean distances per scale, with those of heatmaps that are even."""
    for method, style in styles.items():
        m = middle[v].loc[method].loc[scales]
        errors = (m["mean"] - m["low"], m["high"] - m["mean"])
        ax.errorbar(range(len(scales)), m["mean"], errors, linestyle=style, marker=".", label=method)
    for end, at, side in (("shape", 0, "left"), ("cube", len(scales) - 1, "right")):
        ax.axhline(ends.loc[end, v], color="0.5", linewidth=1)
        place = {"xytext": (0, 3), "textcoords": "offset points", "ha": side, "fontsize": 10}
        ax.annotate(f"even over the {end}", (at, ends.loc[end, v]), **place)
    ax.set_xticks(range(len(scales)), ["approx.", *scales[1:]])
    ax.set_xlabel("scale")


# %% tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(plots.WIDTH, 4.2))
for ax, v, name in zip(axes, ("surface", "centre"), ("to the surface, in voxels", "to the centre, in radii")):
    by_scale(ax, v)
    ax.set_title(name)
handles, names = axes[0].get_legend_handles_labels()
fig.legend(handles, names, loc="outside upper center", ncols=3)
caption = f"Where the heatmap of each scale lies, coarse to fine: means and 95 % intervals, {len(x)} volumes."
book.figure(fig, alt, caption)

# %% tags=["hide-input"]
rows = [(method, *(span(middle[v].loc[(method, s)]) for v in ("surface", "centre") for s in (coarse, fine)))
        for method in ranked]  # fmt: skip
rows += [
    (f"even over the {end}", *(f"{ends.loc[end, v]:.2f}" for v in ("surface", "centre") for _ in "ab"))
    for end in ends.index
]
head = ("heatmap", *(f"{v}, level {s}" for v in ("surface", "centre") for s in (coarse, fine)))
book.table(head, rows, "Mean distances of the coarsest and the finest details [95 %]:")


# %% tags=["hide-input"]
def between(scale, v, one, other):
    """The paired difference of two heatmaps at one scale."""
    return comparison.differences(table[table["scale"] == scale], one, other, "scale", v, inputs="input").iloc[0]


drop = {v: comparison.differences(table, coarse, fine, "method", v, column="scale", inputs="input").set_index("method")
        for v in ("surface", "centre")}  # fmt: skip

# %% tags=["hide-input"]
edge = drop["surface"].loc["WAM-IG"]
near = {s: middle["near"].loc[("WAM-IG", s), "mean"] for s in (coarse, fine)}
text = f"**The edges.** From level {coarse} to level 1 the heatmap of WAM-IG comes nearer to the surface by "
text += f"{span(edge)} voxels, that of |z| by {span(drop['surface'].loc['|z|'])}. "
if edge["low"] > 0:
    text += f"It is the *fine* scale that sits on the edges: {100 * near[fine]:.0f} % of it within one voxel of the "
    text += f"surface, of the coarse one {100 * near[coarse]:.0f} %. With Haar it has to be, whatever the network: a "
    text += "detail is exactly zero where its block is all full or all empty. What is left is at the surface, to "
    text += "within the size of the block."
say(text)

# %% tags=["hide-input"]
pull, blind, never = (drop["centre"].loc[m] for m in ("WAM-IG", "|z|", "randomized, IG"))
text = f"**The centre.** From level {coarse} to level 1 the heatmap of WAM-IG comes nearer to the centre by "
text += f"{span(pull)} radii. " + ("So far the claim is right. " if pull["low"] > 0 else "The claim is not confirmed. ")
text += f"But |z|, which knows no network, does so by {span(blind)}, and the network that was never trained by "
text += f"{span(never)}. At level 1 the trained network is nearer to the centre than |z| by "
gains = {m: between(fine, "centre", m, "WAM-IG") for m in ("|z|", "permuted", "randomized, IG")}
text += f"{signed(gains['|z|'])}, than the permuted one by {signed(gains['permuted'])}, than the untrained one by "
text += f"{signed(gains['randomized, IG'])}. WAM-SG comes nearer by {span(drop['centre'].loc['WAM-SG'])}, untrained by "
text += f"{span(drop['centre'].loc['randomized, SG'])}."
say(text)

# %% [markdown]
# **Another drawing.** What the authors drew as a coarse map is not described. If only the shape is coloured, the parts
# of a heatmap beside it do not count. So once more, on the shape alone. Nearly all of it is surface, so we count the
# empty ones among the six neighbours of a voxel: one in the middle of a face, two at an edge, three at a corner.

# %% tags=["hide-input"]
of_shape = [placed(e.scale_heatmaps().cpu() * solid[:, None], name, scales) for name, e in ranked.items()]
drawn = pd.concat(of_shape, ignore_index=True)
on_it = drawn.groupby(["method", "scale"])[["bare", "centre"]].mean()
turn = {v: comparison.differences(drawn, coarse, fine, "method", v, column="scale", inputs="input").set_index("method")
        for v in ("bare", "centre")}  # fmt: skip
even = placed(solid[:, None], "even", ["all"])[["bare", "centre"]].mean()
rows = []
for name in ranked:
    cells = [(*(f"{on_it.loc[(name, s), v]:.2f}" for s in (coarse, fine)), signed(turn[v].loc[name])) for v in turn]
    rows.append((name, *cells[0], *cells[1]))
rows.append(("even", *[f"{even['bare']:.2f}"] * 2, "0", *[f"{even['centre']:.2f}"] * 2, "0"))
titles = (f"level {coarse}", f"level {fine}", "difference [95 %]")
head = ("heatmap", *(f"{v}: {t}" for v in ("empty neighbours", "centre") for t in titles))
book.table(head, rows, "On the shape alone (differences: coarse minus fine):")


# %% tags=["hide-input"]
def those(v, names):
    """Of these heatmaps, the ones whose coarse value is the larger, by the interval."""
    found = [name.removeprefix("randomized, ") for name in names if turn[v].loc[name, "low"] > 0]
    return " and ".join(found) or "neither"


# %% tags=["hide-input"]
WAM, NEVER = ("WAM-IG", "WAM-SG"), ("randomized, IG", "randomized, SG")
text = "On the shape, the coarse heatmap is at more exposed voxels than the fine one with "
text += f"{those('bare', WAM)}, and the fine one is nearer to the centre with {those('centre', WAM)}. "
text += f"Without training, the coarse one is more exposed with {those('bare', NEVER)}, and the fine one nearer to the "
text += f"centre with {those('centre', NEVER)}. "
if profile == "embedded" and (turn["centre"].loc[list(NEVER), "low"] > 0).all():
    text += "A likely reason for the last: without padding, a convolution uses a voxel in the middle in more places "
    text += "than one at the border."
say(text)

# %% tags=["hide-input"]
rows = []
for wavelet, depth in (("haar", 2), ("db2", 2)):
    e = in_frame(made["WAM-IG"], wam.Wavelet(wavelet, depth, ndim=3))
    part = placed(e.scale_heatmaps(), wavelet, [str(s) for s in e.scales])
    size = {v: comparison.summary(part, ["scale"], v).set_index("scale") for v in ("surface", "centre")}
    rows.append((f"{wavelet}, {depth} levels", *(span(size[v].loc[s]) for v in size for s in (str(depth), "1"))))
head = ("WAM-IG", *(f"{v}, level {s}" for v in ("surface", "centre") for s in ("2", "1")))
book.table(head, rows, "Does it depend on the wavelet? Level 2 is the coarsest here:")

# %% tags=["hide-input"]
learned = float(1 - max(blind["mean"], never["mean"]) / pull["mean"])
both_ways = (turn["bare"]["low"] > 0) & (turn["centre"]["low"] > 0)
drawn_by = {who: [m for m in who if both_ways[m]] for who in (WAM, NEVER)}
text = f"**The answer.** Fine scales {'do' if pull['low'] > 0 else 'do not'} lie nearer to the centre than coarse "
text += "ones. "
if edge["high"] < 0:
    text += "Coarse scales do lie nearer to the surface. "
elif edge["low"] > 0:
    text += "But they lie nearer to the surface, too: of whole heatmaps, the half of the claim about edges holds with "
    text += "the names of the scales exchanged. "
text += "Drawn on the shape alone, the picture of the paper "
text += f"appears with {' and '.join(drawn_by[WAM])}. " if drawn_by[WAM] else "does not appear either. "

# %% tags=["hide-input"]
if pull["low"] > 0:
    part = {m: f"{100 * row['mean'] / pull['mean']:.0f} %" for m, row in (("|z|", blind), ("untrained", never))}
    text += f"How much of it has the network learned? |z|, without a network, shows {part['|z|']} of the difference in "
    text += f"distance to the centre, and a network without training {part['untrained']}. "
    if drawn_by[NEVER]:
        text += f"On the shape, the latter draws the picture of the paper, too ({' and '.join(drawn_by[NEVER])}). "
if pull["low"] > 0 and learned < 0.5:
    text += "**What there is of it comes mostly from wavelets, shapes and the architecture.** A coarse coefficient is "
    text += "spread over a large block, up to the empty corners of the cube; fine details exist only near the shape, "
    text += "which is in the middle. Neither says what matters to *this* network."
say(text)

# %% [markdown]
# ## The poster's volumes, with controls
#
# Does WAM rank features better than other methods, as the poster says, and better than controls? Features are put into
# an empty volume, or taken from the full one, the most important first (insertion and deletion, eqs. 4 to 7);
# *faithfulness* is the area under the first curve of the probability minus that under the second. As in
# [chapter 08](08_evaluation.ipynb), one engine runs all of it
# ([`metrics.perturbation_curves`](../book/api_measure.md)), by $|\gamma|$. Beside the controls above: **coarse first**
# knows the scale only, *random* nothing, and $|x|$ is $|z|$ in voxels.
#
# One choice matters much for volumes: what is a step? By the equations it is a *number* of features. But most features
# of a volume are exactly zero, and changing them changes nothing. A ranking wins that puts the few others first, in
# whatever order. So on a second axis every step changes the same share of the *energy*: for voxels of 0 and 1, of the
# filled ones. There the input itself, $|x|$, has nothing to rank by.

# %%
picked = [i for c in y.unique() for i in (y == c).nonzero()[: max(1, n_curves // len(y.unique())), 0].tolist()]
given, target = x[picked], y[picked]
part = {name: e[picked] for name, e in made.items()}
plain = wam.saliency(model, given, target, frame=wam.Pixel(), max_batch=max_batch)
cam = baselines.gradcam(model, given, target, max_batch=max_batch)
ig, sg = part["WAM-IG"], part["WAM-SG"]
in_voxels = {"Saliency": plain, "SmoothGrad": sg, "Integrated Gradients": ig, "GradCAM": cam}
in_voxels |= {"|x|": controls.magnitude(ig), "randomized, voxels": untrained["WAM-IG"][picked]}
in_voxels["random, voxels"] = controls.random(ig, seed)

# %%
both = {name: in_frame(e, frame) for name, e in part.items()}
in_wavelets = {"WAM-SG": both["WAM-SG"], "WAM-IG": both["WAM-IG"], "|z|": controls.magnitude(both["WAM-IG"])}
in_wavelets["permuted WAM-IG"] = controls.permuted(both["WAM-IG"], bins=8, seed=seed)
in_wavelets["randomized, wavelets"] = in_frame(untrained["WAM-IG"][picked], frame)
in_wavelets["coarse first"] = controls.coarse_first(both["WAM-IG"])
in_wavelets["random, wavelets"] = controls.random(both["WAM-IG"], seed)
rankings = in_voxels | in_wavelets


# %% [markdown]
# **Ties** are ordered at random. With so few different magnitudes that may matter, except among features that are zero.
# Where more than half of the others are in ties, we draw three times, and average.


# %%
def tied(e):
    """The share of the non-zero features whose attribution is also that of another feature."""
    gamma, size = (c.pack()[0].flatten(1) for c in (e.attributions.abs(), e.coefficients.abs()))
    shares = []
    for g, there in zip(gamma, size > 1e-5):
        _, which, count = g.unique(return_inverse=True, return_counts=True)
        shares.append(float((count[which] > 1)[there].float().mean()))
    return float(np.mean(shares))


# %%
def curves(e, axis, draw):
    options = {"steps": curve_steps, "axis": axis, "seed": draw, "max_batch": max_batch}
    c = metrics.perturbation_curves(model, given, e, **options)
    areas = {"insertion": c.insertion_auc, "deletion": c.deletion_auc, "faithfulness": c.faithfulness}
    rows = pd.DataFrame({name: area.cpu().numpy() for name, area in areas.items()})
    return rows.assign(input=range(len(given)), axis=axis, draw=draw)


# %%
in_ties = {name: tied(e) for name, e in rankings.items()}
repeated = [name for name, share in in_ties.items() if share > 0.5]
results = pd.concat([
    curves(e, axis, seed + k).assign(method=name)
    for name, e in rankings.items() for axis in ("count", "energy") for k in range(3 if name in repeated else 1)
], ignore_index=True)  # fmt: skip
METRICS = ["insertion", "deletion", "faithfulness"]
mean_of = results.groupby(["axis", "method", "input"], sort=False)[METRICS].mean().reset_index()
areas = {m: comparison.summary(mean_of, ["axis", "method"], m).set_index(["axis", "method"]) for m in METRICS}

# %% tags=["hide-input"]
spread = results[results["method"].isin(repeated)].groupby(["axis", "method", "input"])["faithfulness"].std()
spread = spread.groupby(["axis", "method"]).mean()
text = ", ".join(f"{name} {100 * in_ties[name]:.0f} %" for name in repeated) or "none"
text = f"Rankings in which more than half of the features that are not zero are in ties: {text}. "
text += f"The largest share of the others is {100 * max([v for v in in_ties.values() if v <= 0.5], default=0):.0f} %. "
if repeated:
    axis, worst = spread.idxmax()
    text += f"The faithfulness of one volume has a standard deviation over the draws of {spread.max():.2f} at most "
    text += f"({worst}, by {STEP[axis]}; mean over volumes); the median of these rankings is {spread.median():.3f}. "
    text += "The intervals of the tables are over volumes, not over draws."
say(text)

# %% tags=["hide-input"]
poster = records.paper("poster").set_index("method")[[f"volume_{m}" for m in METRICS]]
printed = {name: [f"{value:.3f}" for value in row] for name, row in zip(poster.index, poster.to_numpy())}
for axis, title in (("count", "**A step is a number of features** (eqs. 5 and 6), beside the poster"),
                    ("energy", "**A step is a share of the energy**")):  # fmt: skip
    rows = []
    for name in rankings:
        ours = [f"{areas[m].loc[(axis, name), 'mean']:.2f}" for m in METRICS[:2]]
        row = (name, *ours, span(areas["faithfulness"].loc[(axis, name)]))
        rows.append((*row, *printed.get(name, ["–"] * 3)) if axis == "count" else row)
    head = ("ranking", "insertion ↑", "deletion ↓", "faithfulness ↑ [95 %]")
    head += tuple(f"poster: {m}" for m in METRICS) if axis == "count" else ()
    book.table(head, rows, f"{title}; {len(given)} volumes:")

# %% tags=["hide-input"]
names = list(rankings)[::-1]
alt = "Faithfulness of every ranking by both axes; the table above has the numbers. " + "; ".join(
    f"{name} {areas['faithfulness'].loc[('count', name), 'mean']:.2f} and "
    f"{areas['faithfulness'].loc[('energy', name), 'mean']:.2f}" for name in rankings)  # fmt: skip
caption = "Methods (blue circles) and controls (grey squares), means and 95 % intervals. "
caption += "Above the line in voxels, below in wavelets."

# %% tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(plots.WIDTH, 5.2), sharey=True)
for ax, axis in zip(axes, ("count", "energy")):
    for k, name in enumerate(names):
        m = areas["faithfulness"].loc[(axis, name)]
        colour, mark = (plots.COLOURS[0], "o") if name in poster.index else ("0.45", "s")
        ax.errorbar(m["mean"], k, xerr=[[m["mean"] - m["low"]], [m["high"] - m["mean"]]], fmt=mark, color=colour)
    ax.axvline(0, color="0.3", linewidth=0.8)
    ax.axhline(len(in_wavelets) - 0.5, color="0.8", linewidth=0.8)
    ax.set(xlabel="faithfulness", title=f"step: {STEP[axis]}")
    ax.grid(axis="x")
axes[0].set_yticks(range(len(names)), names)
book.figure(fig, alt, caption)


# %% tags=["hide-input"]
def ahead(axis, one, other, metric="faithfulness"):
    """By how much `one` is better than `other`, paired over volumes."""
    return comparison.differences(mean_of[mean_of["axis"] == axis], one, other, "axis", metric, inputs="input").iloc[0]


def best(axis, names):
    return max(names, key=lambda name: areas["faithfulness"].loc[(axis, name), "mean"])


# %% tags=["hide-input"]
BLIND = {
    "voxels": [n for n in in_voxels if n not in poster.index],
    "wavelets": [n for n in in_wavelets if n not in poster.index],
}
METHODS = {"voxels": [n for n in in_voxels if n in poster.index], "wavelets": ["WAM-SG", "WAM-IG"]}
against = {}
for axis in ("count", "energy"):
    for domain, names in METHODS.items():
        pair = best(axis, names), best(axis, BLIND[domain])
        against[axis, domain] = (*pair, ahead(axis, *pair))

# %% tags=["hide-input"]
rows = [(STEP[axis], domain, f"{one} minus {other}", signed(row, 3))
        for (axis, domain), (one, other, row) in against.items()]  # fmt: skip
book.table(("step", "features", "best method minus best control", "[95 %]"), rows, "Do methods beat controls?")
wins = {axis: [d for d in METHODS if against[axis, d][2]["low"] > 0] for axis in ("count", "energy")}

# %% tags=["hide-input"]
reach = {key: f"{v:.2f}" for key, v in areas["faithfulness"]["mean"].items()}
text = f"Of the voxels {100 * float((given == 0).float().mean()):.0f} % are zero, and of the coefficients "
text += f"{100 * empty:.0f} %. So by number |x| reaches a faithfulness of {reach['count', '|x|']} and |z| of "
text += f"{reach['count', '|z|']}, without a network. By energy the same two reach {reach['energy', '|x|']} and "
text += f"{reach['energy', '|z|']}. "
if len(wins["energy"]) == 2:
    text += "**By energy, the best methods beat every control, in both domains**: these explanations know something "
    text += "that neither size nor an untrained network tells. "
    leads = " and ".join(f"{against['count', d][2]['mean']:+.3f}" for d in METHODS)
    text += f"By number their lead is {leads}."
say(text)

# %% tags=["hide-input"]
four = METHODS["voxels"]
pairs = {(axis, w, b): ahead(axis, w, b) for axis in ("count", "energy") for w in METHODS["wavelets"] for b in four}
rows = [(b, *(signed(pairs[axis, w, b], 3) for axis in ("count", "energy") for w in METHODS["wavelets"])) for b in four]
head = ("minus", *(f"{w}, {step}" for step in STEP.values() for w in METHODS["wavelets"]))
book.table(head, rows, "WAM minus the poster's baselines, faithfulness [95 %]:")

# %% tags=["hide-input"]
led = {axis: sum(v["low"] > 0 for k, v in pairs.items() if k[0] == axis) for axis in ("count", "energy")}
behind = {axis: sum(v["high"] < 0 for k, v in pairs.items() if k[0] == axis) for axis in ("count", "energy")}
text = "; ".join(f"by {STEP[k]} in {led[k]} of 8 pairs, and behind in {behind[k]}" for k in STEP)
text = f"By the interval, WAM is ahead of a baseline method of the poster {text}. A feature of one domain is not a "
text += "feature of the other, so the comparison across domains is the poster's question more than ours. "
if profile == "embedded":
    cells = model.network.features[:6](given[:1]).shape[2:]  # up to its layer
    text += f"GradCAM's map, of the last layer before the last pooling, has {' × '.join(map(str, cells))} cells here."
say(text)

# %% [markdown]
# **The poster's own numbers** look different: three of four baseline methods have negative faithfulness, and insertion
# and deletion differ by less than 0.1 in every row. We have no means to find out why. A network that is sure of a class
# when it sees *nothing* would look like this: with two classes, one of them frequent, a curve may never fall far.

# %% tags=["hide-input"]
nothing = answers(model, torch.zeros_like(x[:1])).softmax(1)[0].tolist()
text = f"Our network gives the empty volume probabilities between {min(nothing):.2f} and {max(nothing):.2f} for its "
text += f"{len(nothing)} classes. "
gaps = [areas["insertion"]["mean"]["count", n] - areas["deletion"]["mean"]["count", n] for n in poster.index]
text += f"Insertion minus deletion of the six methods is {min(gaps):.2f} to {max(gaps):.2f} here, on the poster "
text += f"{poster['volume_faithfulness'].min():.2f} to {poster['volume_faithfulness'].max():.2f}. "
top = poster["volume_insertion"]
text += f"(Bold on the poster marks the two best of a column; the insertion of {top.idxmax()}, {top.max():.3f}, would "
say(text + "be the best and is not bold. The [paper map](../book/paper_map.md) lists such slips.)")

# %% [markdown]
# ## Larger volumes
#
# Here is the digit four times as large along every axis. The network was not trained for this size, so do not trust its
# class. But it takes the volume, and the explanation works as before.

# %%
large = torch.nn.functional.interpolate(x[hero : hero + 1], scale_factor=4)
deep = wam.integrated_gradients(model, large, frame=wam.Wavelet("haar", levels + 2, ndim=3), steps=4)

# %% tags=["hide-input"]
fig, alt = voxels.slices(deep, large.cpu(), categories=categories)
size = " × ".join(map(str, large.shape[2:]))
book.figure(fig, alt, f"The same shape in {size} voxels, WAM-IG with {levels + 2} levels.")
shares = dict(zip(deep.scales, deep.scale_profile()[0].tolist()))
text = ", ".join(f"{wam.words.scale(s)} {100 * v:.1f} %" for s, v in shares.items())
truth = categories[y[hero]]
none = "empty" if shares[1] + shares[2] < 1e-4 else "nearly empty"
say(
    f"Of these {large[0, 0].numel():,} voxels the network says {categories[deep.target[0]]} (it is {truth}), "
    f"and that is what we explain. Shares: {text}. Levels 1 and 2 are {none}: a voxel was copied into a block of "
    "$4 \\times 4 \\times 4$, in which nothing changes. What was level 1 is now level 3."
)

# %% [markdown]
# ## Outlook: a film is a volume
#
# Video, says the paper at its end, is mathematically similar to voxels. A clip is a volume whose first axis is time.
# Ours are 16 frames of $16 \times 16$ pixels ([`data.moving_digits`](../book/api_data.md)): a digit moves, and comes
# back on the other side where it leaves the frame. *One* network answers two questions about a clip: *which digit* is
# it, and *where does it move*, left, right, up or down? A single frame shows the digit, and nothing of the motion. So
# the two explanations should differ in **change in time**: in the bands whose first letter is *d*.


# %%
watcher, clips = models.load("moving_digits", device), data.moving_digits("test", n_test or None)
film = watcher.prepare(clips)
truth = torch.stack([clips.labels // 4, clips.labels % 4], dim=1).to(device)


def replies(film):
    """The digit and the direction that the network sees."""
    logits = answers(watcher, film)
    return torch.stack([logits[:, :10].argmax(1), logits[:, 10:].argmax(1)], dim=1)


is_right = replies(film) == truth

# %%
some, asked = film[:400], truth[:400]
still = some[:, :, :1].expand_as(some).contiguous()
average = some.mean(2, keepdim=True).expand_as(some).contiguous()
backwards = torch.stack([asked[:, 0], asked[:, 1] ^ 1], dim=1)  # left is now right, up is now down
tests = {"as it is": (some, asked), "played backwards": (some.flip(2), backwards)}
tests |= {"its first frame, 16 times": (still, asked), "the mean of its frames, 16 times": (average, asked)}
checks = {name: (replies(inputs) == wanted).double().mean(0).tolist() for name, (inputs, wanted) in tests.items()}

# %% tags=["hide-input"]
rows = [(name, f"{100 * a:.0f} %", f"{100 * b:.0f} %{' (the opposite one)' if 'back' in name else ''}")
        for name, (a, b) in checks.items()]  # fmt: skip
book.table(("the clip", "digit right", "direction right"), rows, f"What the network sees in {len(some)} clips:")

# %% tags=["hide-input"]
a, b = is_right.double().mean(0).tolist()
text = f"In {len(film):,} test clips, {100 * a:.1f} % of the digits are right and {100 * b:.2f} % of the directions. "
(_, first), (mean_digit, blur) = (checks[name] for name in checks if "16 times" in name)
if first < 0.35:
    text += "From a single frame the direction is guessed, one in four: **it is only in the change in time**. "
if first + 0.1 < blur < 0.6:
    text += "The mean of all frames is a blur along the motion. It shows the axis, and not which way."
say(text)

# %%
both = is_right.all(1).nonzero()[:n_clips, 0]
film, asked = film[both], truth[both]
in_time = wam.Wavelet("haar", 4, ndim=3)
QUESTIONS = {"digit": asked[:, 0], "direction": 10 + asked[:, 1]}
replied = {}
for question, target in QUESTIONS.items():
    options = {"frame": in_time, "max_batch": max_batch}
    replied["WAM-IG", question] = wam.integrated_gradients(watcher, film, target, steps=steps, **options)
    replied["WAM-SG", question] = wam.smoothgrad(watcher, film, target, samples=steps, seed=seed, **options)
replied["|z|", "both"] = controls.magnitude(replied["WAM-IG", "digit"])

# %% tags=["hide-input", "gallery"]
frames, (clip,) = [0, 3, 6, 9, 12, 15], film[:1, 0].cpu()
fig, axes = plots.panels(3, len(frames))
for ax, t in zip(axes[0], frames):
    plots.image(ax, clip[t][..., None].numpy(), f"frame {t}")
for line, question in zip(axes[1:], QUESTIONS):
    heat = replied["WAM-IG", question].heatmap()[0].cpu()
    for ax, t in zip(line, frames):
        ax.imshow(heat[t], cmap="inferno", vmin=0, vmax=float(heat.max()))
        ax.set(xticks=[], yticks=[])
    line[0].set_title(question, loc="left")
names = [watcher.categories[int(target[0])] for target in QUESTIONS.values()]
alt = f"Six frames of a clip: the digit {names[0]}, moving {names[1]}; below, the heatmaps of WAM-IG for the digit and "
caption = f"The digit {names[0]}, moving {names[1]}. Below: WAM-IG, for its digit and for its direction; each row on "
book.figure(fig, alt + "for the direction, in the same frames.", caption + "one range.")


# %%
def rows_of(method, question, values):
    """A row per clip."""
    about = {"method": method, "question": question, "input": range(len(film))}
    return pd.DataFrame({"value": np.asarray(values, dtype=float), **about})


changing = [rows_of(*key, share_of(e.attributions, lambda w: w[0] == "d")) for key, e in replied.items()]
changing = pd.concat(changing, ignore_index=True)
share = comparison.summary(changing, ["method", "question"]).set_index(["method", "question"])
asking = changing[changing["question"] != "both"]
moved = comparison.differences(asking, "direction", "digit", "method", column="question", inputs="input")
moved = moved.set_index("method")

# %% tags=["hide-input"]
rows = []
for m in ("WAM-IG", "WAM-SG"):
    cells = [f"{100 * share.loc[(m, q), 'mean']:.1f} %" for q in QUESTIONS]
    rows.append((m, *cells, signed(100 * moved.loc[m, ["mean", "low", "high"]].astype(float), 1)))
rows.append(("|z|", *[f"{100 * share.loc[('|z|', 'both'), 'mean']:.1f} %"] * 2, "no network asked"))
head = ("method", "digit", "direction", "difference in points [95 %]")
book.table(head, rows, f"Share of the bands of change, mean of {len(film)} clips, by question:")
up = [m for m in ("WAM-IG", "WAM-SG") if moved.loc[m, "low"] > 0]
text = f"Asked for the direction, {' and '.join(up) or 'neither method'} put{'s' if len(up) < 2 else ''} more on bands "
text += "of change. " + ("The sign is as expected, the difference small." if up and moved["mean"].max() < 0.1 else "")
say(text)

# %% [markdown]
# These bands are a blunt instrument: one of level $j$ whose first letter is *a* averages over $2^j$ frames, and may
# still change from one average to the next. Two features give a sharper answer, the mean of all frames and the change
# around it. Integrated gradients divide the score among any features that sum to the input: the part of a feature is
# the mean gradient times the feature, summed over voxels.

# %%
still = film.mean(2, keepdim=True)
split = []
for question in QUESTIONS:
    e = replied["WAM-IG", question]
    part = (e.gradient * still).sum((1, 2, 3, 4)) / (e.score - e.baseline_score)
    split.append(rows_of("WAM-IG", question, (1 - part).cpu()))
split = pd.concat(split, ignore_index=True)

# %% tags=["hide-input"]
of_change = split.groupby("question")["value"].median()
wide = split.pivot(index="input", columns="question", values="value")
more = (wide["direction"] > wide["digit"]).astype(float).rename("value").reset_index().assign(all=0)
more = comparison.summary(more, "all").iloc[0]
text = f"The change gets {100 * of_change['direction']:.0f} % of the direction's score and "
text += f"{100 * of_change['digit']:.0f} % of the digit's (medians); it gets more of the direction's in "
text += f"{100 * more['mean']:.0f} % [{100 * more['low']:.0f}, {100 * more['high']:.0f}] of the clips. "
if more["low"] > 0.5:
    text += "**Two questions about the same clip get two explanations, and they differ as they should.** "
text += f"But do not read such a share as what a feature can do alone: the mean alone gets {100 * blur:.0f} % of the "
text += f"directions right (a guess: 25 %), and {100 * mean_digit:.0f} % of the digits."
say(text)

# %% tags=["hide-input"]
sideways = (asked[:, 1] < 2).cpu().numpy()
axis_of = {"dad": sideways, "dda": ~sideways}
rows, shows = [], [sideways.any() and not sideways.all()]
for name, e in (("WAM-IG, direction", replied["WAM-IG", "direction"]), ("|z|", replied["|z|", "both"])) * shows[0]:
    values = {w: share_of(e.attributions, lambda v, w=w: v == w) for w in axis_of}
    for w, what in (("dad", "time + width"), ("dda", "time + height")):
        rows.append((name, f"{w}, {what}", *(f"{100 * values[w][m].mean():.1f} %" for m in (sideways, ~sideways))))
    shows.append(all(values[letters][m].mean() > values[letters][~m].mean() for letters, m in axis_of.items()))
book.table(("share of", "band", "left or right", "up or down"), rows, "Do orientations show the axis of the motion?")
if all(shows):
    say("They do, and so does |z|: along which axis something moves is in the clip, before anybody is asked.")

# %% [markdown]
# ## Paper and here

# %% tags=["hide-input"]
whole = seen["WAM-IG"]
apart = float((whole.scale_heatmaps().sum(1) - whole.heatmap()).abs().max() / whole.heatmap().max())
rows = [
    ("Fig. 1, shape; 3.2", "one method explains shapes too", "a picture",
     f"the parts miss the change of the logit by {100 * gap:.1f} %", "median of WAM-IG; up to 5 % passes",
     "reproduced" if gap <= 0.05 else "partly"),
    ("Figs. 5, 17 to 20", "the importance of a volume is decomposed by scale", "pictures of 3D MNIST",
     f"{len(examples)} classes drawn; the maps of the scales sum to the heatmap up to {apart:.0e}",
     "volumes of the same kind, not the same; how theirs are drawn is not described",
     "reproduced" if apart <= 1e-4 else "partly"),
]  # fmt: skip

# %% tags=["hide-input"]
rows += [
    ("4.2, Fig. 5", "the edges matter at coarse scales", "pictures",
     f"distance to the surface, coarse minus fine: {signed(edge)} voxels; on the shape alone, empty neighbours: "
     + "; ".join(f"{m} {signed(turn['bare'].loc[m])}" for m in WAM), "|z|: " + " and ".join(
         signed(d.loc["|z|"]) for d in (drop["surface"], turn["bare"])) + "; untrained, on the shape: "
     + "; ".join(f"{m[-2:]} {signed(turn['bare'].loc[m])}" for m in NEVER),
     "reproduced" if edge["high"] < 0 else
     "partly" if drawn_by[WAM] else "not reproduced"),
    ("4.2, Fig. 5", "fine scales concentrate at the centre", "pictures",
     f"distance to the centre, coarse minus fine: {signed(pull)} radii",
     f"|z| {signed(blind)}, untrained {signed(never)}; reproduced if at least half of it is beyond both",
     "not reproduced" if pull["low"] <= 0 else "reproduced" if learned >= 0.5 else "partly"),
    ("4.2", "WAM is the first method to show such a decomposition on shapes", "stated", "–",
     "a matter of the literature", "not testable here"),
]  # fmt: skip

# %% tags=["hide-input"]
order = {axis: ", ".join(f"{n} {areas['faithfulness'].loc[(axis, n), 'mean']:.2f}" for n in poster.index)
         for axis in ("count", "energy")}  # fmt: skip
rows += [
    ("poster", "insertion, deletion and faithfulness of six methods on volumes",
     "; ".join(f"{n} " + ", ".join(f"{v:.3f}" for v in row) for n, row in zip(poster.index, poster.to_numpy())),
     f"faithfulness by number: {order['count']}", "another network" + ", other volumes" * (profile == "embedded"),
     "not testable here"),
    ("poster", "WAM-IG and WAM-SG are the two most faithful methods on volumes", ".098 and .070; the others to .009",
     f"ahead in {led['count']} of 8 pairs by number, {led['energy']} by energy; behind in {behind['count']} and "
     f"{behind['energy']}", "ahead and behind by the interval of paired differences",
     "reproduced" if led["count"] == 8 else "partly" if led["count"] > behind["count"] else "not reproduced"),
]  # fmt: skip

# %% tags=["hide-input"]
rows += [
    ("5", "it could be applied to videos", "future work", f"the change in time gets more of the direction's score than "
     f"of the digit's in {100 * more['mean']:.0f} % [{100 * more['low']:.0f}, {100 * more['high']:.0f}] of the clips",
     f"{len(film)} clips of moving digits, WAM-IG", "reproduced" if more["low"] > 0.5 else "partly"),
]  # fmt: skip
columns = ("where", "what", "paper", "here", "difference", "verdict")
book.compare([dict(zip(columns, row)) for row in rows])

# %% [markdown]
# ## What to take away
#
# - A volume needs no new method. A level has seven orientations, and they mean something: along which axes a shape, or
#   a film, changes. A network may have learned to care for one axis less.
# - Before you read a map by its place, ask where *any* map of that scale would lie. Haar details live on the surface,
#   and coarse blocks reach into empty corners, whatever the network.
# - Most features of a sparse volume are zero. Count steps by energy, or a ranking by size alone is level with the best.
# - For SmoothGrad on volumes a quarter of the range is a sound choice: it is on a plateau, and most copies keep their
#   class.
# - Print what an untrained network does beside every claim about a trained one.
# - Ask one network two questions about the same input. What differs between the answers is about the question.
#
# ## Exercises
#
# **1. Turn the digit.** Exchange two axes of a volume, and explain it again. What happens to the shares of the
# orientations if the network does not mind, and what does it tell you if they do not follow?
#
# <details>
# <summary>Solution</summary>
#
# ```python
# flipped = x[:50].transpose(2, 4).contiguous()  # depth and width change places
# e = wam.integrated_gradients(model, flipped, y[:50], frame=frame, steps=steps)
# print("still right:", float((answers(model, flipped).argmax(1) == y[:50]).float().mean()))
# for name, c in (("as it was", seen["WAM-IG"][:50].attributions), ("turned", e.attributions)):
#     print(name, [round(float(share_of(c, lambda w, k=k: w[k] == "d").mean()), 3) for k in range(3)])
# ```
#
# The *coefficients* follow exactly: the band *daa* of the one is *aad* of the other, transposed. The attributions
# follow only as far as the network treats the axes alike. Ours was trained on digits turned by no more than 34 degrees
# about each axis; a quarter turn is new to it, and it is wrong about many. The depth still has the smallest share,
# although the strokes now run along it: a habit of the network, not a property of the digit.
#
# </details>
#
# **2. The runner-up.** Every volume has a second choice, the class with the second largest logit. Explain it for both.
# At which scale do the two heatmaps resemble each other least?
#
# <details>
# <summary>Solution</summary>
#
# ```python
# second = answers(model, x[:100]).topk(2, dim=1).indices[:, 1]
# e = wam.integrated_gradients(model, x[:100], second, frame=frame, steps=steps, max_batch=max_batch)
# one, two = (a.scale_heatmaps().flatten(2) for a in (seen["WAM-IG"][:100], e))
# cosine = torch.nn.functional.cosine_similarity(one, two, dim=2).mean(0)
# print(dict(zip(e.scales, cosine.tolist())))
# ```
#
# In the approximation, and even there they are alike; the three levels of details resemble each other more. A heatmap
# is of $|\gamma|$: a feature that speaks *for* one class and *against* the other is bright in both. To see the
# difference, look at the signed attributions.
#
# </details>
#
# **Next:** from single inputs to whole data sets. [Chapter 06](06_robustness.ipynb) asks which scales a *network*
# relies on, and whether a robust one relies on others.
