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
# # 04 Sound: noise, overlap, and what a classifier hears
#
# *Sections 3.2, 4.1 and 4.2 and appendices A.2, B.2 and C.3 of the paper; Tables 2 and 5; Figures 1 (sound row), 4, 7,
# 14, 24 and 25.*
#
# A network listens to five seconds of sound and says *dog*. Which part of the sound made it say so? The paper answers
# with wavelet coefficients, and makes the answer audible: keep the most important ones, transform back, listen. In
# noise, and under a second sound, the result is said to be nearly clean. Here you can listen too. But hearing is easily
# led, so every player comes with numbers, and every number with what would have been found without asking the network.
#
# Three things you will see, and hear:
#
# 1. how a wavelet transform takes a sound apart, by pitch and time, and which octaves a classifier relies on;
# 2. what is left of a recording in noise, or under another one, when only the important coefficients are kept. And
#    whether that is the animal, or whatever is loud;
# 3. the paper's Tables 2 and 5, with controls: how faithful the explanations are, on the waveform and on the
#    spectrogram.
#
# <!-- cost -->

# %% tags=["parameters"]
profile: str = "embedded"  # embedded: from the package index; paper: the paper's own
weights: str = ""  # of the profile paper: the file that wam.recipes.esc50 writes
esc50: str = ""  # of the profile paper: the folder of ESC-50; none: WAM_ESC50
n_clips: int = 0  # clips in the tables; 0: all, 10 or the 400 of fold 1
n_listen: int = 8  # clips of the experiments that are listened to, of distinct classes
seconds: float = 5.0  # length of every clip
wavelet: str = "sym8"  # wavelet of what is listened to
levels: int = 5  # its levels
steps: int = 16  # gradients of one explanation (the authors' code: 25); mixtures: half for WAM-IG, an eighth for WAM-SG
fractions: list = [0.05, 0.2]  # shares of the coefficients that are kept
gains: list = [0.2, 1.0, 3.0]  # of the second sound in a mixture (the authors' code: 0.2)
curve_steps: int = 8  # steps of the curves in the tables (the authors' code: 64 and 128)
descent: int = 60  # steps towards a minimal sound
max_batch: int = 16  # clips in one pass of the network
seed: int = 0  # of every random draw

# %%
from dataclasses import replace
from functools import lru_cache

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

# %%
import wam
from wam import audio, baselines, book, charts, comparison, controls, data, metrics, models, plots, records, released
from wam.book import say
from wam.explanation import in_frame
from wam.explorer import explore
from wam.minimal import optimise
from wam.player import players
from wam.protocol import Protocol
from wam.quadrature import fixed
from wam.spectrograms import comparison as spectra
from wam.spectrograms import importance, scalogram, spectrogram

book.start(chapter="04_audio", profile=profile, seed=seed)


# %% [markdown]
# ## Ten recordings and a listener
#
# **What stands in for what.** The paper explains the network of Kumar et al. ([2018](../book/bibliography.md)) on the
# 400 clips of the first fold of ESC-50 (Piczak, [2015](../book/bibliography.md)). Nobody publishes weights of that
# network, and ESC-50 may not be passed on for every purpose. So the `embedded` profile listens with YAMNet, Google's
# classifier of 521 kinds of sound, to ten recordings of animals by Joseph Sardin ([credits](../book/credits.md)). Both
# are real, but ten clips are a demonstration: what is claimed of them comes with an interval, and the intervals are
# wide. With `profile="paper"` the same cells run the network of Kumar et al., after a training that this package
# provides ([`wam.recipes`](../book/api_training.md)), on ESC-50, which you supply.
#
# Every clip is made mono, brought to the rate of the network, cut to the stretch with the most energy (or repeated),
# and, as in the authors' code, divided by its largest magnitude. YAMNet takes anything from 0.975 s on.

# %% tags=["remove-stderr"]
device = "cuda" if torch.cuda.is_available() else "cpu"
if profile == "embedded":
    files, everything = data.recordings(), models.load("yamnet", device)
    listener = everything.only(files.categories)
else:
    files = data.esc50(esc50 or None, folds=(1,))
    everything = listener = models.load("kumar_esc50", device, weights=weights or None)
sounds, rate, categories = list(files[:n_clips] if n_clips else files), listener.rate, listener.categories
clips = [sound.clip.mono().resample(rate).fit(seconds).normalised() for sound in sounds]
called = [s.name if profile == "embedded" else categories[s.label] for s in sounds]
labels = torch.tensor([sound.label for sound in sounds], device=device)
x = listener.prepare(clips)


# %% [markdown]
# **Which question is asked.** The classes of AudioSet, on which YAMNet was trained, are a hierarchy: a dog is also an
# *Animal*, and the general names often score higher. "The prediction does not alter" would then mean little. So we ask
# YAMNet for ten classes only, one for each recording ([`everything.only(...)`](../book/api_models.md)), and call the
# largest of them the prediction.
#
# **Which output is read.** Both networks end in sigmoids, one for each class: classes do not exclude each other, and
# probabilities do not sum to 1. We explain the *logit* $f$, the number before the sigmoid. Where a table says
# *probability*, it is the sigmoid.


# %%
def scores(model, inputs):
    """The logits of all inputs."""
    with torch.no_grad():
        return torch.cat([model(part) for part in inputs.split(max_batch)])


# %%
def of(values):
    """How many of them are true, as text."""
    values = np.asarray(values, dtype=float)
    return f"{int(values.sum())} of {len(values)}"


whole = scores(everything, x)
columns = torch.tensor([everything.index(name) for name in categories], device=device)
logits = whole[:, columns]
guess = logits.argmax(1)
right = (guess == labels).nonzero()[:, 0].tolist()

# %% tags=["hide-input"]
rows = []
for i in range(min(12, len(sounds))):
    best, score = int(whole[i].argmax()), logits[i, labels[i]]
    rank = 1 + int((whole[i] > score).sum())
    said = f"{everything.categories[best]} {whole[i, best].sigmoid():.2f}"
    mine = f"{categories[guess[i]]} {logits[i, guess[i]].sigmoid():.2f}{'' if i in right else ' ✗'}"
    rows.append((called[i], f"{sounds[i].clip.seconds:.1f} s", said, rank, f"{score.sigmoid():.2f}", mine))

# %% tags=["hide-input"]
total = len(everything.categories)
head = ("clip", "recorded", f"best of all {total}", f"rank of the label among {total}", "its probability",
        f"best of the {len(categories)}")  # fmt: skip
book.table(head, rows, f"What the network ({listener.name}) hears (sigmoids; ✗ marks a mistake):")

# %% tags=["hide-input"]
seen = {}
for i in right:
    seen.setdefault(int(labels[i]), i)
listen = tuple(list(seen.values())[:n_listen])
wrong = [i for i in range(len(sounds)) if i not in right][:4]
hero = next((i for i in listen if called[i] == "dog"), listen[0])  # in most figures
first = whole.argmax(1) == columns[labels]
text = f"**{len(right)} of {len(sounds)}** are right among their {len(categories)} classes"
text += f", {int(first.sum())} of {len(sounds)} among all {total}." if total > len(categories) else "."
text += "".join(f" The {called[i]} is called {categories[guess[i]]}." for i in wrong)
say(text + " The experiments below are about those that are right; the mistakes have a place of their own.")

# %% [markdown]
# By its own title, the pig is imitated with the mouth, which may excuse the network. The cat is a real one.
#
# Every clip has the same peak, as the network gets it. Decibels (dB) are $10 \log_{10}$ of a ratio of powers: −20 dB is
# a tenth of the amplitude. The level beside a player is the root mean square (RMS), relative to full scale. The players
# hold MP3 where it is as loud as the samples within 0.1 dB, with an error at least 15 dB below them.

# %% tags=["hide-input"]
said = dict.fromkeys([hero, listen[-1], *wrong[:2]])
players({called[i]: clips[i].samples for i in list(said)[:4]}, rate, "Four of the clips, as the network hears them.")

# %% [markdown]
# **How long may a clip be?** As long as one gradient of it fits into memory: explanations average many gradients, but
# with `max_batch=1` they hold one at a time.


# %% tags=["hide-input"]
def activations(inputs):
    """Megabytes that autograd keeps of one pass of one clip until its gradient is taken."""
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = listener(inputs.clone().requires_grad_())  # it holds them until they are counted
    return sum(kept.values()) / 1e6 * len(output)


# %% tags=["hide-input"]
minute = listener.prepare(clips[hero].fit(60.0))
say(f"A minute of sound holds **{activations(minute):.0f} MB** per gradient in {listener.name}, {seconds:g} seconds "
    f"{activations(x[hero : hero + 1]):.0f} MB; the clip itself has {minute.nbytes / 1e6:.1f} MB. "
    "A whole process needs more than that; `benchmarks/memory.py` records the peaks.")  # fmt: skip

# %% [markdown]
# ## How the wavelet transform hears
#
# What do wavelets show that the network's own picture of a sound does not? Most networks look at a *spectrogram*. It
# cuts time into windows of one length, 25 ms in YAMNet, and measures frequency in each: one sharpness in time, one in
# frequency, for all of the sound. A *mel* spectrogram sums the frequencies into bands as wide as those of the ear. The
# network reads its logarithm; what computes it is the *front end*.
#
# A wavelet transform makes another trade for every octave. Level $j$ holds, ideally, the octave from $r / 2^{j+1}$ to
# $r / 2^j$ at $r$ samples per second, with one coefficient every $2^j$ samples; what lies below the last level is the
# approximation. High notes get sharp times, low notes sharp pitches. Drawn with one row per octave, this is a
# *scalogram*. Two synthetic sounds, the only ones on this page, show it: a click, one sample long, and a tone of 600
# Hz.

# %%
frame = wam.Wavelet(wavelet, levels, ndim=1)
octaves = audio.octaves(frame, rate)
time = torch.arange(rate // 2, dtype=torch.float64) / rate
click = (torch.arange(len(time)) == len(time) // 2).double()
tone = 0.5 * torch.sin(2 * torch.pi * 600 * time)
synthetic = {"a click": click[None, None], "a tone of 600 Hz": tone[None, None]}
pieces = {name: frame.analysis(signal) for name, signal in synthetic.items()}

# %% tags=["hide-input"]
fig, axes = plt.subplots(2, 2, figsize=(plots.WIDTH, 4.4))
for line, (name, signal) in zip(axes, synthetic.items()):
    spectrogram(line[0], signal[0], rate, title=f"{name}: spectrogram")
    scalogram(line[1], pieces[name], rate, title="scalogram")
for ax in axes[0]:
    ax.set_xlabel("")
alt = "Four panels. A click: a vertical line of one width in the spectrogram; in the scalogram a wedge, narrow at high "
alt += "and wide at low frequencies. A tone: one horizontal line in the spectrogram; in the scalogram its row is "
alt += "brightest, and its neighbours are lit too."
caption = f"Two synthetic sounds: spectrogram (windows of 32 ms) and scalogram ({wavelet}, {levels} levels); 70 dB."
book.figure(fig, alt, caption)

# %% tags=["hide-input"]
energy = pieces["a click"].scalogram()[0, 0].square()
energy = energy / energy.sum(1, keepdim=True)
width = 2000 * ((energy * time**2).sum(1) - (energy * time).sum(1) ** 2).clamp(min=0).sqrt()
shares = {}
for name, other in ((wavelet, frame), ("haar", wam.Wavelet("haar", levels, ndim=1))):
    power = other.analysis(synthetic["a tone of 600 Hz"]).map(torch.square).scale_sums()[0]
    shares[name] = power / power.sum()
hz = {scale: f"{low:.0f} to {high:.0f} Hz" for scale, (low, high) in octaves.items()}
rows = []
for k, scale in enumerate(octaves):
    rows.append((hz[scale], f"{width[k]:.1f} ms", *(f"{100 * share[k]:.1f} %" for share in shares.values())))
head = ("octave", "width of the click", *(f"share of the tone, {name}" for name in shares))
book.table(head, rows, "How sharp (width: two standard deviations of the energy in time):")
home = next(k for k, (low, high) in enumerate(octaves.values()) if low <= 600 < high)

# %% tags=["hide-input"]
say(f"From the finest level of details to the coarsest, {list(hz.values())[1]}, the click widens from "
    f"{width[-1]:.1f} to {width[1]:.1f} ms. Of the tone, {100 * shares[wavelet][home]:.0f} % lies in its own octave "
    f"with {wavelet}, and "
    f"{100 * shares['haar'][home]:.0f} % with the Haar wavelet: **short wavelets leak into their neighbours**. The "
    "authors use Haar; where we listen, we use the longer one, and say what difference it makes.")  # fmt: skip

# %% [markdown]
# Now a real sound. What the octaves contribute adds up to the sound itself ([`audio.bands`](../book/api_figures.md)).
# Hear them one by one, amplified by *one* factor, so that what is faint here is faint in the recording.

# %% tags=["hide-input"]
z = frame.analysis(x[hero : hero + 1])
fig, axes = plt.subplots(2, 1, figsize=(plots.WIDTH, 4.6), sharex=True)
spectrogram(axes[0], x[hero].cpu(), rate, title=f"{called[hero]}: spectrogram")
scalogram(axes[1], z, rate, title=f"scalogram, {wavelet}")
axes[0].set_xlabel("")
alt = f"Two panels over time: the spectrogram and the scalogram of the {called[hero]}. The same events stand one below "
alt += "the other; in the scalogram they are sharp in the upper rows and blurred in the lower ones."
book.figure(fig, alt, f"One clip, two pictures: the {called[hero]}.")
parts = [part.cpu() for part in audio.levelled(list(audio.bands(z, frame)[0]))]
players(dict(zip(hz.values(), parts)), rate, f"The {called[hero]}, octave by octave, true to their levels.")

# %% [markdown]
# ## The path from silence
#
# Where on its path should an explanation take its gradients? WAM-IG averages the gradient of $f$ along the straight
# path from the baseline to the sound $x$ (eq. 3, [chapter 01](01_theory.ipynb)). The baseline is silence, so the path
# $\alpha x$, with $\alpha$ from 0 to 1, is the sound being turned up. But a network with a logarithm inside hears
# *decibels*, $20 \log_{10} \alpha$. From −80 dB to 0, half of the way is done when $\alpha$ reaches 0.01, and evenly
# spaced $\alpha$ hardly look there.

# %%
loudness = torch.linspace(-80, 0, 41)
some = list(listen[:4])
path = [scores(listener, x[i : i + 1] * 10 ** (loudness / 20).to(x)[:, None, None])[:, labels[i]].cpu() for i in some]

# %% tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(plots.WIDTH, 3.4), sharey=True)
for i, curve, style in zip(some, path, ("-", "--", "-.", ":")):
    axes[0].plot(10 ** (loudness / 20), curve, style, label=called[i])
    axes[1].plot(loudness, curve, style)
base = axes[0].get_ylim()[0]
for k, rule in enumerate(("quadratic", "geometric")):
    nodes = fixed(rule, steps).alpha
    for ax, at in zip(axes, (nodes, 20 * nodes.log10())):
        ax.plot(at, torch.full_like(at, base - 0.6 - 0.9 * k), "|", color=plots.COLOURS[4 + k], label=f"{rule} nodes")
axes[0].set(xlabel="α", ylabel="logit of the class")
axes[1].set(xlabel="α in dB", xlim=(-82, 2))
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
alt = "Logits of four clips while they are turned up. Over alpha, on the left, everything happens in a jump at 0; over "
alt += "decibels, on the right, most of the rise lies between -80 and -20 dB. Ticks below: where two rules evaluate."
book.figure(fig, alt, f"The path from silence, and {steps} nodes of two rules on it.")

# %% [markdown]
# So we take the gradients at equal steps of decibels: `nodes="geometric"` ([`wam.quadrature`](../book/api_explain.md)).
# Completeness tells what that is worth: attributions should sum to $f(x) - f(0)$. The next cell makes the explanations
# of this chapter, on samples (`wam.Pixel()`), to be seen in any wavelet, as in [chapter 02](02_images.ipynb). The same
# passes explain the spectrogram, the `layer` between the front end and the rest.


# %%
heard = {"clean": x}


@lru_cache(maxsize=2)
def explained(condition, which):
    """WAM-IG and WAM-SG of these clips, on samples, and at the spectrogram as their layer."""
    part, target = heard[condition][list(which)], labels[list(which)]
    options = {"frame": wam.Pixel(), "layer": "front_end", "max_batch": max_batch}
    ig = wam.integrated_gradients(listener, part, target, steps=steps, nodes="geometric", **options)
    sg = wam.smoothgrad(listener, part, target, samples=steps, seed=seed, **options)
    return {"WAM-IG": ig, "WAM-SG": sg}


def seen_in(frame, made):
    return {name: in_frame(e, frame) for name, e in made.items()}


# %%
made = explained("clean", listen)
usual = wam.integrated_gradients(
    listener, x[list(listen)], labels[list(listen)], frame=wam.Pixel(), steps=steps, max_batch=max_batch
)


def missing(e):
    """The completeness gap as a share of the change of the score, per clip."""
    return (e.completeness_gap / (e.score - e.baseline_score).abs()).cpu().numpy()


gaps = {rule: missing(e) for rule, e in (("quadratic", usual), ("geometric", made["WAM-IG"]))}

# %% tags=["hide-input"]
median = {rule: float(np.median(gap)) for rule, gap in gaps.items()}
text = f"With {steps} nodes the sum misses $f(x) - f(0)$ by {100 * median['quadratic']:.0f} % (median of {len(listen)} "
text += f"clips) by the package's usual rule, and by **{100 * median['geometric']:.0f} %** in equal steps of decibels "
text += f"(worst clip: {100 * gaps['quadratic'].max():.0f} % and {100 * gaps['geometric'].max():.0f} %). "
if median["geometric"] < median["quadratic"]:
    text += "Walking the path in decibels is our choice, not the paper's; the authors' code takes "
    text += "25 equally spaced α, of which only the first, silence itself, lies below −28 dB."
say(text)

# %% [markdown]
# ## WAM of a sound
#
# Figure 1 of the paper has a row for sound. This is ours: the coefficients $z$ of the clip, and their attributions
# $\gamma$ by integrated gradients (WAM-IG) and by SmoothGrad (WAM-SG). Which moments does each point to?

# %% tags=["hide-input", "gallery"]
in_wavelets = seen_in(frame, made)
k = listen.index(hero)
shows = {"coefficients |z|": in_wavelets["WAM-IG"].coefficients}
shows |= {f"|γ|, {name}": e.attributions for name, e in in_wavelets.items()}
fig, axes = plt.subplots(3, 1, figsize=(plots.WIDTH, 6.2), sharex=True)
for ax, (title, c) in zip(axes, shows.items()):
    scalogram(ax, c, rate, k, title=title)
    ax.set_xlabel("seconds" if ax is axes[-1] else "")
alt = f"Three scalograms of the {called[hero]}: coefficients, attributions of WAM-IG, attributions of WAM-SG. "
alt += f"{plots.describe(in_wavelets['WAM-IG'], k, categories)}"
book.figure(fig, alt, f"Fig. 1, sound row: the {called[hero]}, explained for {categories[labels[hero]]}.")

# %% [markdown]
# WAM-IG lights up with the sound, WAM-SG almost everywhere; a section below asks why.
#
# Which octaves does the network rely on? The share of $|\gamma|$ says how importance is spread. By integrated gradients
# the signed sums over the octaves add up to $f(x) - f(0)$, so that one can say what each contributes
# ([`e.scale_scores()`](../book/api_explain.md)).

# %% tags=["hide-input"]
fig, axes = plt.subplots(2, 1, figsize=(plots.WIDTH, 5.8), sharex=True)
alt = charts.profile(axes[0], in_wavelets) + " "
alt += charts.profile(axes[1], {"WAM-IG": in_wavelets["WAM-IG"]}, scores=True)
short = [f"{low / 1000:.2g}–{high / 1000:.2g}" for low, high in octaves.values()]
axes[1].set_xticks(range(len(short)), short)
axes[1].set(xlabel="octave in kHz", ylabel="contribution in logits")
axes[0].set_ylabel("share of |γ|")
book.figure(
    fig,
    alt,
    f"Importance by octave, means and the {len(listen)} clips. Below, signed: they sum to f(x) − f(0), up to the gap.",
)

# %% tags=["hide-input"]
contributions = in_wavelets["WAM-IG"].scale_scores().cpu().numpy()
strong = np.asarray(list(octaves), dtype=object)[contributions.argmax(1)]
tops = {scale: int(sum(s == scale for s in strong)) for scale in octaves}
best = max(tops, key=tops.get)
others = ", ".join(f"{called[i]}: {hz[s]}" for i, s in zip(listen, strong) if s != best)
text = f"The octave that contributes most is {hz[best]} in {tops[best]} of {len(listen)} clips"
say(text + f"; in the others it is another ({others})." * bool(others) + "." * (not others))

# %% [markdown]
# **Where the network errs.** Does an explanation give a mistake away? We explain the mistakes for the class that the
# network predicts *and* for the true one.

# %%
rivals = [(i, int(c)) for i in wrong for c in (guess[i], labels[i])]
if rivals:
    which, classes = zip(*rivals)
    options = {"steps": steps, "nodes": "geometric", "max_batch": max_batch}
    e = wam.integrated_gradients(listener, x[list(which)], torch.tensor(classes, device=device), frame=frame, **options)
    one = e.attributions.pack()[0].flatten(1)
    cosine = torch.nn.functional.cosine_similarity
    signed, sizes = (cosine(v[::2], v[1::2]).tolist() for v in (one, one.abs()))

# %% tags=["hide-input"]
if rivals:
    rows = []
    rise = (e.score - e.baseline_score).tolist()
    for (i, c), score, gap, by_octave in zip(rivals, rise, missing(e), e.scale_scores().tolist()):
        role = "prediction" if c == guess[i] else "truth"
        cells = (f"{score:.2f}", f"{100 * gap:.0f} %", *(f"{value:+.1f}" for value in by_octave))
        rows.append((called[i], f"{categories[c]} ({role})", *cells))
    book.table(
        ("clip", "class", "f(x) − f(0)", "gap", *hz.values()), rows, "What the octaves contribute to two classes:"
    )
    text = "Cosine between the two explanations of one clip: " + "; ".join(
        f"{called[i]} {a:.2f}, of magnitudes alone {b:.2f}" for i, a, b in zip(wrong, signed, sizes)
    )  # fmt: skip
    text += ". Both classes look at much the same coefficients, and weigh them differently" * (min(sizes) > 0.5)
    say(text + ". Nothing in such an explanation tells whether its class is the right one.")

# %% [markdown]
# ### At the spectrogram
#
# Table 5 of the paper explains the network at its mel-spectrogram $h(x)$, by the gradient that the same pass leaves
# there. Two roads lead to such numbers, and only one of them adds up. The path of the sound, $\alpha x$, is not
# straight at the spectrogram, because of the logarithm. Along the curve that it does take, integrated gradients are
#
# $$ \gamma_h = \int_0^1 \frac{\partial f}{\partial h} \odot \frac{d\,h(\alpha x)}{d \alpha} \, d\alpha, \tag{4.1} $$
#
# the *conductance* of Dhamdhere et al. ([2019](../book/bibliography.md)), and sum to $f(x) - f(0)$ again. The
# authors' code multiplies the mean gradient by the spectrogram, as if the path were straight and began at 0. A
# spectrogram of 0 is not silence: it is the logarithm of 1.


# %%
theirs = wam.Wavelet("haar", 3, ndim=1)


@lru_cache(maxsize=2)
def as_released(condition, which):
    """The maps of the authors' code, in their frame; at the spectrogram as their layer."""
    part, target = heard[condition][list(which)], labels[list(which)]
    options = {"frame": theirs, "layer": "front_end", "max_batch": max_batch}
    ig = released.integrated_gradients(listener, part, target, steps=steps, **options)
    sg = released.smoothgrad(listener, part, target, samples=steps, seed=seed, **options)
    return {"WAM-IG": ig, "WAM-SG": sg}


# %% tags=["hide-input"]
ig, straight = made["WAM-IG"], as_released("clean", listen)["WAM-IG"].layer
change = (ig.score - ig.baseline_score).tolist()
sums = [e.attributions.scale_sums().sum(1).cpu() for e in (ig, ig.layer, straight)]
sums[2] = sums[2] / (steps - 1)  # a mean, as their sum has spacing 1
rows = [(called[i], *(f"{v:.2f}" for v in (c, *s))) for i, c, *s in zip(listen, change, *(s.tolist() for s in sums))]
head = ("clip", "f(x) − f(0)", "sum on the waveform", "sum at the spectrogram (4.1)", "mean gradient × spectrogram")
book.table(head, rows, "Do attributions add up?")
misses = [float(np.median(np.abs(s.numpy() - change) / np.abs(change))) for s in sums]
say(f"Median miss: {100 * misses[0]:.0f} % on the waveform, {100 * misses[1]:.0f} % at the spectrogram by (4.1), "
    f"{100 * misses[2]:.0f} % by the product, with the authors' evenly spaced α.")  # fmt: skip

# %% tags=["hide-input"]
layer = made["WAM-IG"].layer[k]
fig, axes = plt.subplots(2, 1, figsize=(plots.WIDTH, 5), sharex=True)
mel, gamma = (c.bands[0, "pixel"][0, 0].T.cpu() for c in (layer.coefficients, layer.attributions))
top = float(gamma.abs().quantile(0.995))
for ax, picture, how in ((axes[0], mel, {}), (axes[1], gamma, {"cmap": "PuOr", "vmin": -top, "vmax": top})):
    extent = (0, mel.shape[1] * listener.front_end.hop / rate, 0, len(mel))
    ax.imshow(picture, origin="lower", aspect="auto", extent=extent, **how)
    ax.set(ylabel="mel band", xlim=(0, seconds))
axes[0].set_title(f"{called[hero]}: log-mel spectrogram", loc="left")
axes[1].set_title("its attributions, by (4.1): for (violet), against (orange)", loc="left")
axes[1].set_xlabel("seconds")
alt = f"The log-mel spectrogram of the {called[hero]}, and below it the signed attributions of its cells, with a sum "
alt += f"of {float(gamma.sum()):.2f}; the score changes by {change[k]:.2f}."
book.figure(fig, alt, "The same explanation, from the same passes, at the spectrogram.")

# %% [markdown]
# To try it: one sound with more and more of its coefficients, in the order of WAM-IG. Live, you hear it too.

# %%
named = {called[i]: clips[i] for i in [hero, *range(len(clips[:20]))]}
explore(listener, named, wavelets=(wavelet, "haar", "db4"), levels=levels, evaluations=steps)

# %% [markdown]
# ## In noise
#
# In the paper's Figures 4 and 7 white noise is added, of the same power as the sound (0 dB). "The models prediction
# does not alter", the top coefficients are put together again, and the result is to be listened to. Does the animal
# come back?
#
# First, for which clips does the prediction not alter?

# %%
noisy = [audio.add_noise(clip, 0.0, seed=seed + i) for i, clip in enumerate(clips)]
heard["noise"] = listener.prepare(noisy)
in_noise = scores(listener, heard["noise"])
rounded = [audio.add_noise(clip, 0.0, seed=seed + i, int16=True) for i, clip in enumerate(clips)]
in_16_bits = scores(listener, listener.prepare(rounded)).argmax(1)
holds = in_noise.argmax(1) == labels
held = tuple(i for i in listen if holds[i]) or listen[:1]

# %% tags=["hide-input"]
rows = []
for i in listen:
    before, after = (float(f[i, labels[i]].sigmoid()) for f in (logits, in_noise))
    rows.append((called[i], f"{before:.2f}", f"{after:.2f}", categories[int(in_noise[i].argmax())]))
book.table(("clip", "probability, clean", "in noise", "prediction in noise"), rows, "White noise at 0 dB:")
same = int((in_16_bits == in_noise.argmax(1)).sum())
lost = [called[i] for i in listen if not holds[i]]
down = sum(float(in_noise[i, labels[i]]) < float(logits[i, labels[i]]) for i in held)
say(f"The prediction does not alter for **{sum(bool(holds[i]) for i in listen)} of {len(listen)}** clips"
    + f" (it alters for: {', '.join(lost)})" * bool(lost)
    + f"; its probability falls for {down} of those {len(held)}. Clipping to 16 bits, as Figure 7 does, changes the "
    f"prediction of {len(clips) - same or 'none'} of the {len(clips)}. Below, only the {len(held)} whose "
    "prediction holds count.")  # fmt: skip

# %% [markdown]
# The *interpretation* keeps the coefficients with the largest $|\gamma|$ and transforms back
# ([`audio.interpretation`](../book/api_figures.md)). Because we made the mixture, we have the clean clip, and can say
# how close the interpretation comes to it:
#
# - **SNR**, $10 \log_{10}$ of the power of the clean clip over that of the difference to it. But *silence* has an SNR
#   of 0 dB, which is that of the mixture: a mask that keeps next to nothing does not look worse;
# - **SI-SDR** (Le Roux et al., [2019](../book/bibliography.md)), the same after the best change of level. This is the
#   one to trust.
#
# It is compared with others who choose as many coefficients. **|z|** takes the largest ones and asks no network: the
# simplest wavelet denoising, with a fixed share in place of a threshold. **Random** takes any. The **oracle** knows the
# clean clip, and takes those that bring the sound nearest to it ([`controls.oracle`](../book/api_measure.md)): about
# the best SNR that a mask of 0 and 1 can reach. The **mel mask** is no wavelet at all: the top share of the cells of
# the spectrogram, by (4.1), as a filter ([`FrontEnd.filter`](../book/api_models.md)).


# %%
def with_controls(made, target):
    ig = made["WAM-IG"]
    blind = {"|z|": controls.magnitude(ig), "random": controls.random(ig, seed)}
    return made | blind | {"oracle": controls.oracle(ig, target)}


# %% tags=["hide-input"]
def judged(kept, which, mixture):
    """How close the kept part is to the clean clip, and whether its class is still heard."""
    target, got = x[list(which)], scores(listener, kept)
    columns = {"SNR": audio.snr(kept, target), "SI-SDR": audio.snr(kept, target, scale_invariant=True)}
    columns["gain"] = columns["SI-SDR"] - audio.snr(mixture, target, scale_invariant=True)
    columns["class"] = (got.argmax(1) == labels[list(which)]).double()
    columns["probability"] = got.gather(1, labels[list(which)][:, None])[:, 0].sigmoid()
    columns = {name: values.double().cpu().numpy() for name, values in columns.items()}
    return pd.DataFrame(columns).assign(input=[called[i] for i in which])


# %%
mixture, target = heard["noise"][list(held)], x[list(held)]
ranked = with_controls(seen_in(frame, explained("noise", held)), target)
grid = sorted({*fractions, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7})
denoised = []
for share in grid:
    kept = {name: audio.interpretation(e, fraction=share) for name, e in ranked.items()}
    if share in fractions and hasattr(listener.front_end, "filter"):
        at_mel = audio.mask(explained("noise", held)["WAM-IG"].layer, fraction=share).bands[0, "pixel"]
        kept["mel mask"] = listener.front_end.filter(mixture, at_mel)
    denoised += [judged(part, held, mixture).assign(ranking=name, kept=share) for name, part in kept.items()]
denoised = pd.concat(denoised, ignore_index=True)

# %% tags=["hide-input"]
everyone = ("WAM-IG", "WAM-SG", "mel mask", "|z|", "random", "oracle")
order = [name for name in everyone if name in set(denoised["ranking"])]


def spans(table, by, value, digits=1):
    """Means with 95 % intervals as text, by the column or columns of `by`."""
    rows = comparison.summary(table, by, value).set_index(by)[["mean", "low", "high"]].round(digits) + 0.0
    return {key: "{:.{d}f} [{:.{d}f}, {:.{d}f}]".format(*row, d=digits) for key, *row in rows.itertuples()}


# %% tags=["hide-input"]
gain, plain = (spans(denoised, ["kept", "ranking"], value) for value in ("gain", "SNR"))
alive = denoised.groupby(["kept", "ranking"])["class"]
for share in fractions:
    rows = [(name, gain[share, name], plain[share, name], of(alive.get_group((share, name)))) for name in order]
    title = f"Kept: {100 * share:g} % of the coefficients (or cells); {len(held)} clips, mean [95 % interval]"
    book.table(("ranking", "SI-SDR, gain in dB", "SNR in dB", "class kept"), rows, title)

# %% tags=["hide-input"]
curves = denoised.groupby(["ranking", "kept"])[["gain", "class"]].mean()
best = ", ".join(f"{name} {curves.loc[name]['gain'].max():.1f} dB" for name in order)
alt = f"Two line plots over the share of coefficients kept. Gain of SI-SDR, largest value of each ranking: {best}. "
alt += "And the share of clips whose class is kept."

# %% tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(plots.WIDTH, 3.6))
for name, style in zip([name for name in order if name != "mel mask"], ("-", "-", "--", ":", "-.")):
    for ax, column in zip(axes, ("gain", "class")):
        ax.plot(curves.loc[name].index, curves.loc[name][column], style, marker=".", label=name)
for ax, title in zip(axes, ("gain of SI-SDR in dB", "share that keeps its class")):
    ax.set(xscale="log", xlabel="share of coefficients kept", title=title)
    ax.set_xticks([0.01, 0.1, 0.5], ["1 %", "10 %", "50 %"])
    ax.minorticks_off()
    ax.grid()
axes[0].axhline(0, color="0.3", linewidth=0.8)
axes[0].set_ylim(max(-12, axes[0].get_ylim()[0]), None)
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
book.figure(fig, alt, f"What is kept of sounds in noise at 0 dB, {len(held)} clips.")

# %% tags=["hide-input"]
each = denoised.set_index(["input", "ranking", "kept"])["gain"]
shown = [(name, share) for name in ("WAM-IG", "|z|", "oracle") for share in fractions]
rows = [(called[i], *(f"{each[called[i], name, share]:.1f}" for name, share in shown)) for i in held]
head = ("clip", *(f"{name}, {100 * share:g} %" for name, share in shown))
book.table(head, rows, "Clip by clip, gain of SI-SDR in dB:")

# %% tags=["hide-input"]
few, many = min(fractions), max(fractions)
versus = {}
for share in fractions:
    part = denoised[denoised["kept"] == share]
    for rival in ("|z|", "random"):
        row = comparison.differences(part, "WAM-IG", rival, "kept", "gain", column="ranking", inputs="input").iloc[0]
        versus[share, rival] = (row["mean"], row["low"], row["high"])
word = {share: "ahead of" if v[1] > 0 else "behind" if v[2] < 0 else "not to be told from"
        for share, v in ((s, versus[s, "|z|"]) for s in fractions)}  # fmt: skip

# %% tags=["hide-input"]
peaks = denoised.groupby(["ranking", "input"])["gain"].max().groupby("ranking").mean()
text = "As a denoiser, by SI-SDR, WAM-IG is " + ", and ".join(
    f"at {100 * s:g} % **{word[s]} |z|** ({v[0]:+.1f} dB [{v[1]:+.1f}, {v[2]:+.1f}])"
    for s, v in ((s, versus[s, "|z|"]) for s in fractions)
)  # fmt: skip
text += f". With the best share for every clip, WAM-IG gains {peaks['WAM-IG']:.1f} dB, |z| {peaks['|z|']:.1f} dB, "
text += f"WAM-SG {peaks['WAM-SG']:.1f} dB; the oracle {peaks['oracle']:.1f} dB. "
less = "That is less than “virtually eliminate noise” (Figure 4) suggests; with these clips and this network we cannot "
say(text + ("The noise is virtually eliminated." if peaks["WAM-IG"] >= 10 else less + "confirm it."))

# %% tags=["hide-input"]
classes = {(s, n): alive.get_group((s, n)) for s in fractions for n in order}
heard_in = {(share, name): of(classes[share, name]) for share, name in classes}
text = f"Is the class still heard in the interpretation? With {100 * many:g} % by WAM-IG in {heard_in[many, 'WAM-IG']} "
text += f"(|z|: {heard_in[many, '|z|']}, random: {heard_in[many, 'random']}), with {100 * few:g} % in "
text += f"{heard_in[few, 'WAM-IG']} (|z|: {heard_in[few, '|z|']}). "

# %% tags=["hide-input"]
part = denoised[denoised["kept"] == many]
surer = {}
for rival in ("|z|", "random"):
    both = comparison.differences(part, "WAM-IG", rival, "kept", "probability", column="ranking", inputs="input")
    surer[rival] = tuple(both.iloc[0][["mean", "low", "high"]])
text += f"Its probability with {100 * many:g} %, WAM-IG minus the control: " + ", ".join(
    f"{name} {m:+.2f} [{low:+.2f}, {high:+.2f}]" for name, (m, low, high) in surer.items()
)
text += ". The network judges a choice of its own here, " + (
    "and prefers it." if surer["|z|"][1] > 0 else "and still does not clearly prefer it to |z|."
)
say(text)

# %% [markdown]
# Now listen. The sounds are at their true relative levels. Inside the green lines the interpretation is most of what is
# heard of the mixture ([`importance`](../book/api_figures.md)): do they follow the animal?

# %%
i = int(np.argmax([each[called[i], "WAM-IG", many] for i in held]))  # the clip with the largest gain
part = audio.interpretation(ranked["WAM-IG"], fraction=many)[i]
rival = audio.interpretation(ranked["|z|"], fraction=few)[i]
best = audio.interpretation(ranked["oracle"], fraction=many)[i]
titles = ("clean", "in noise, 0 dB", f"interpretation, top {100 * many:g} %", "removed")
titles += (f"|z|, top {100 * few:g} %", f"oracle, top {100 * many:g} %")
every = [s.cpu() for s in (target[i], mixture[i], part, mixture[i] - part, rival, best)]
every = dict(zip(titles, audio.levelled(every)))
marked = {"in noise, 0 dB": importance(ranked["WAM-IG"], rate, i, fraction=many).cpu()}

# %% tags=["hide-input", "gallery"]
fig, alt = spectra({title: every[title] for title in titles[:4]}, rate, marked)
name = called[held[i]]
book.figure(fig, alt, f"Fig. 4, here with the {name}, the clip with the largest gain: interpretation by WAM-IG.")
caption = f"The {name}, true relative levels. Last: without a network, at its better share; and what is possible."
players(every, rate, caption)

# %% [markdown]
# ## Under another sound
#
# White noise sounds like nothing else. Figures 14, 24 and 25 mix two sounds that both mean something: the target plus
# 0.2 times a second, *corrupting* clip. "It almost entirely filters out corruption audio", says appendix C.3.
#
# But at a gain of 0.2 the second sound is 14 dB quieter, if both were equally loud: keep what is loud, and you keep the
# target. **Does the explanation find the target, or just the loud part?** We make every ordered pair of the clips at
# three gains, up to one at which the target is the quieter of the two. Again only mixtures count whose prediction is
# still the target.


# %%
def mixed(pairs, gain):
    return listener.prepare([audio.overlap(clips[a], clips[b], gain) for a, b in pairs])


pairs = [(a, b) for a in listen for b in listen if a != b]
trusted = {}
for gain in gains:
    heard_as = scores(listener, mixed(pairs, gain)).argmax(1)
    trusted[gain] = [pair for pair, c in zip(pairs, heard_as) if c == labels[pair[0]]]
rows = []
for gain in gains:
    level = [10 * np.log10(float(x[a].square().sum() / (gain * x[b]).square().sum())) for a, b in trusted[gain]]
    rows.append((f"{gain:g}", f"{len(trusted[gain])} of {len(pairs)}", f"{np.median(level):.1f} dB" if level else "–"))
head = ("gain of the second clip", "the target is still predicted", "there, target over second clip (median)")
book.table(head, rows, "Mixtures:")

# %% [markdown]
# A mask $m$ on coefficients is linear: what it lets through of a mixture is what it lets through of the target $x_a$
# plus what it lets through of the other sound $x_b$. So we send both through the *same* mask. With the analysis $W$ and
# the synthesis $S$, its *selectivity* is
#
# $$ 10 \log_{10}
#    \frac{\lVert S(m \odot W x_a) \rVert^2 / \lVert x_a \rVert^2}
#         {\lVert S(m \odot W x_b) \rVert^2 / \lVert x_b \rVert^2} \tag{4.2} $$
#
# in decibels ([`audio.passed`](../book/api_figures.md)). At 0 dB the mask passes equal shares of both: it does not tell
# them apart. Two controls ask no network: **|z|** takes what is loud, and **1/|z|** what is faint. And one question
# only a method with a network can answer: in the *same* mixture, ask for the **other** class. If the explanation is
# about the class, the selectivity must move.


# %% tags=["hide-input"]
def selectivity(ranked, parts, pairs, gain):
    """A row per ranking and pair, for the smallest share that is kept."""
    rows = []
    for name, e in ranked.items():
        gains = audio.mask(e, fraction=few)
        both = [audio.passed(gains, part, e.frame).double().clamp(min=1e-9).tolist() for part in parts]
        kept, mixture = (e.frame.synthesis(c) for c in (gains * e.coefficients, e.coefficients))
        nearer = [audio.snr(sound, parts[0], scale_invariant=True) for sound in (kept, mixture)]
        for (a, b), own, other, won in zip(pairs, *both, (nearer[0] - nearer[1]).tolist()):
            rows.append((gain, name, called[a], called[b], own, other, 10 * np.log10(own / other), won))
    columns = ["gain", "ranking", "target", "second", "own", "other", "selectivity", "nearer"]
    return pd.DataFrame(rows, columns=columns)


# %%
def asked(pairs, gain):
    """All rankings of these mixtures; from gain 1 on, also for the class of the second clip."""
    first, second = ([pair[k] for pair in pairs] for k in (0, 1))
    inputs, parts, ranked = mixed(pairs, gain), (x[first], gain * x[second]), {}
    options = {"frame": frame, "max_batch": max_batch}
    for ending, target in (("", first), (", other class", second))[: 1 + (gain >= 1)]:
        given = (listener, inputs, labels[target])
        ranked["WAM-IG" + ending] = wam.integrated_gradients(*given, steps=-(-steps // 2), nodes="geometric", **options)
        ranked["WAM-SG" + ending] = wam.smoothgrad(*given, samples=-(-steps // 8), seed=seed, **options)
    z = ranked["WAM-IG"].coefficients
    faint = replace(ranked["WAM-IG"], attributions=z.map(lambda band: 1 / band.abs().clamp_min(1e-6)))
    return selectivity(with_controls(ranked, parts[0]) | {"1/|z|": faint}, parts, pairs, gain)


# %%
overlaps = pd.concat([asked(pairs, gain) for gain, pairs in trusted.items() if pairs], ignore_index=True)

# %% [markdown]
# Pairs share clips: dozens of pairs are not dozens of experiments. So the intervals average over the pairs of one
# target, and resample the targets. They are still a lower bound on the uncertainty, because targets share their second
# clips, and few clips make a bootstrap too narrow. At the highest gain only the easiest mixtures count. WAM-SG has few
# noisy copies here (`steps`); with its tiny noise, more of them change little.

# %% tags=["hide-input"]
per_target = overlaps.groupby(["gain", "ranking", "target"], sort=False)["selectivity"].mean().reset_index()
selective = comparison.summary(per_target, ["gain", "ranking"], "selectivity").set_index(["gain", "ranking"])
NAMES = ["WAM-IG", "WAM-IG, other class", "WAM-SG", "WAM-SG, other class", "|z|", "random", "oracle", "1/|z|"]
used = [gain for gain in gains if trusted[gain]]


# %% tags=["hide-input"]
def cell(gain, name):
    if (gain, name) not in selective.index:
        return "–"
    mean, low, high = selective.loc[(gain, name), ["mean", "low", "high"]].round(1) + 0.0
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]"


rows = [(name, *(cell(gain, name) for gain in used)) for name in NAMES]
head = ("ranking", *(f"gain {gain:g}" for gain in used))
book.table(head, rows, f"Selectivity in dB at the top {100 * few:g} % (mean over targets [95 % interval]):")

# %% tags=["hide-input"]
fig, ax = plt.subplots(figsize=(plots.WIDTH, 3.8))
for n, name in enumerate(NAMES):
    at = [k for k, gain in enumerate(used) if (gain, name) in selective.index]
    part = selective.loc[[(used[k], name) for k in at]]
    off = (part["mean"] - part["low"]).clip(lower=0), (part["high"] - part["mean"]).clip(lower=0)
    style = {"fmt": "oosDPv*^"[n], "color": plots.COLOURS[(n // 2 if n < 4 else n - 2) % len(plots.COLOURS)]}
    style["mfc"] = "white" if name.endswith("other class") else None
    ax.errorbar(np.array(at) + (n - 3.5) * 0.1, part["mean"], off, label=name, **style)
ax.axhline(0, color="0.3", linewidth=0.8)
ax.set(xticks=range(len(used)), xticklabels=[f"gain {gain:g}" for gain in used], ylabel="selectivity in dB")
ax.grid(axis="y")
fig.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=3)
means = [f"{name} " + ", ".join(cell(gain, name) for gain in used) for name in NAMES]
alt = "Points with intervals: the selectivity of eight rankings, gain by gain. " + "; ".join(means) + "."
book.figure(fig, alt, "Above 0: the mask lets more of the target through than of the other.")

# %% tags=["hide-input"]
moved, above, fainter, shifted = {}, {}, {}, {}
paired = {("WAM-IG", "WAM-IG, other class"): moved, ("WAM-IG", "|z|"): above}
paired |= {("WAM-SG", "WAM-SG, other class"): shifted, ("WAM-SG", "1/|z|"): fainter}
for gain in used:
    part = per_target[per_target["gain"] == gain]
    for (one, rival), into in paired.items():
        if rival in set(part["ranking"]):
            both = comparison.differences(part, one, rival, "gain", "selectivity", column="ranking", inputs="target")
            into[gain] = tuple(both.iloc[0][["mean", "low", "high"]])


# %% tags=["hide-input"]
def listed(differences):
    return ", ".join(
        f"{m:+.1f} dB [{low:+.1f}, {high:+.1f}] at gain {g:g}" for g, (m, low, high) in differences.items()
    )


quiet, loud = max(used), min(used)
ig = {gain: selective.loc[gain, "WAM-IG"] for gain in used}
sg = {gain: selective.loc[gain, "WAM-SG"] for gain in used}

# %% tags=["hide-input"]
text = f"Where the target is the louder one (gain {loud:g}), the selectivity of WAM-IG is {ig[loud]['mean']:.1f} dB, "
text += "and that of |z|, which knows no network, "
text += f"{selective.loc[loud, '|z|']['mean']:.1f} dB. At gain {quiet:g} they are {ig[quiet]['mean']:.1f} dB and "
text += f"{selective.loc[quiet, '|z|']['mean']:.1f} dB. WAM-IG minus |z|: {listed(above)}. "

# %% tags=["hide-input"]
if quiet > 1:
    text += "Where the target is the quieter one, " + (
        "the mask still favours it. " if ig[quiet]["low"] > 0 else
        "**the mask favours the other: it finds the loud part.** " if ig[quiet]["high"] < 0 else
        "**the mask no longer tells them apart: its preference went with the level.** ")  # fmt: skip
depends = bool(moved) and all(low > 0 for _, low, _ in moved.values())
if moved:
    text += f"But the question matters. Own class minus other class, in the same mixture: {listed(moved)}. "
    text += "**The explanation does depend on the class, by that much.** " if depends else "That is not decided. "
    text += "(The oracle, which aims at the smallest error and bounds no selectivity, is at "
    text += f"{selective.loc[quiet, 'oracle']['mean']:.0f} dB at gain {quiet:g}.)"
say(text)

# %% [markdown]
# And SmoothGrad? It leans the other way, and a likely reason is the logarithm in the front end. A gradient is large
# where a small change has a large effect, and that is where the sound is *faint*: the derivative of $\log a$ is
# $1 / a$. Multiplied by $z$, as integrated gradients do, this should at least cancel. If so, within one octave the
# attributions of SG should be large where coefficients are small, and those of IG should not. The table correlates
# their mean magnitudes in windows of 20 ms.


# %% tags=["hide-input"]
def levels_of(c):
    """Log of the mean magnitude in windows of 20 ms, per octave, centred: (clips, octaves, windows)."""
    level = torch.nn.functional.avg_pool1d(c.abs().scalogram()[:, 0].double(), round(0.02 * rate)).clamp_min(1e-12)
    return level.log() - level.log().mean(2, keepdim=True)


rows, slopes = [], {}
for name, e in in_wavelets.items():
    pair = levels_of(e.attributions), levels_of(e.coefficients)
    slopes[name] = torch.nn.functional.cosine_similarity(*pair, dim=2).mean(0).tolist()
    rows.append((name, *(f"{value:+.2f}" for value in slopes[name])))
book.table(("", *hz.values()), rows, "Correlation of the levels of |γ| and of |z| within an octave (mean over clips):")
lets = overlaps.groupby(["gain", "ranking"])[["own", "other", "nearer"]].median()


# %% tags=["hide-input"]
def through(gain, name):
    if (gain, name) not in lets.index:
        return "–"
    own, other, nearer = lets.loc[gain, name]
    return " / ".join(f"{100 * v:.2g} %" if v > 1e-4 else "< 0.01 %" for v in (own, other)) + f"; {nearer:+.1f} dB"


# %% tags=["hide-input"]
rows = [(name, *(through(gain, name) for gain in used)) for name in NAMES]
title = f"Top {100 * few:g} %: energy let through of target / second clip; gain of SI-SDR over the mixture; medians:"
book.table(("ranking", *(f"gain {gain:g}" for gain in used)), rows, title)
text = f"At gain {quiet:g} the selectivity of WAM-SG is {sg[quiet]['mean']:.1f} dB, at gain {loud:g} "
text += f"{sg[loud]['mean']:.1f} dB. "
if np.mean(slopes["WAM-SG"]) < 0 < np.mean(slopes["WAM-IG"]) and sg[quiet]["mean"] > sg[loud]["mean"]:
    text += "**WAM-SG leans towards what is faint**, if weakly within an octave; WAM-IG goes with the level. "
    text += f"1/|z|, which knows no network, does so too ({selective.loc[quiet, '1/|z|']['mean']:.1f} dB and "
    text += f"{selective.loc[loud, '1/|z|']['mean']:.1f} dB). WAM-IG goes with the level. "
text += f"WAM-SG minus 1/|z|: {listed(fainter)}; own class minus other class: {listed(shifted) or '–'}. "
sure = [g for g, (_, low, _) in shifted.items() if low > 0]
text += f"By the intervals it depends on the class at gain {' and '.join(f'{g:g}' for g in sure)}. " if sure else ""
text += "But of the target, too, its mask lets through little: "
text += f"{100 * lets.loc[quiet, 'WAM-SG']['own']:.2g} % of the energy at gain {quiet:g}."
say(text)

# %% [markdown]
# The paper's own pairs, to be heard; then a slider over one mixture for every target.


# %%
def animal(name):
    return next((i for i in range(len(called)) if called[i] == name), None)


theirs_too = [(animal(a), animal(b)) for a, b in (("dog", "cat"), ("dog", "rooster"), ("crow", "chirping_birds"))]
theirs_too = [pair for pair in theirs_too if None not in pair] or pairs[:2]
inputs = mixed(theirs_too, gains[0])
target = labels[[a for a, _ in theirs_too]]
kind = {"frame": frame, "steps": steps, "nodes": "geometric", "max_batch": max_batch}
both = wam.integrated_gradients(listener, inputs, target, **kind)
still = scores(listener, inputs).argmax(1) == target
kept = audio.interpretation(both, fraction=few)

# %% tags=["hide-input"]
for k, (a, b) in enumerate(theirs_too):
    three = audio.levelled([s.cpu() for s in (inputs[k], kept[k], inputs[k] - kept[k])])
    names = f"{called[a]} and {called[b]}", f"interpretation, top {100 * few:g} %", "removed"
    three = dict(zip(names, three))
    marked = {names[0]: importance(both, rate, k, fraction=few).cpu()}
    fig, alt = spectra(three, rate, marked)
    parts = x[[a]], gains[0] * x[[b]]
    gate = audio.mask(both[k], fraction=few)
    own, other = (100 * float(audio.passed(gate, part, frame)) for part in parts)
    text = f"{names[0]}, gain {gains[0]:g}: the prediction {'holds' if still[k] else 'alters'}; "
    text += f"the mask passes {own:.0f} % of the {called[a]} and {other:.0f} % of the {called[b]}."
    book.figure(fig, alt, text[0].upper() + text[1:])
    players(three, rate, "The three sounds at their true relative levels.")

# %% tags=["hide-input"]
table = overlaps[(overlaps["gain"] == quiet) & (overlaps["ranking"] == "WAM-IG")]
names = table.loc[table["selectivity"].idxmax(), ["target", "second"]]
a, b = (next(i for i in listen if called[i] == name) for name in names)
asked_for = torch.stack([labels[a], labels[b]])
two = wam.integrated_gradients(listener, mixed([(a, b)], quiet).expand(2, -1, -1), asked_for, **kind)
heard_two = [c.cpu() for c in audio.interpretation(two, fraction=few)]
names = f"{called[a]} under {called[b]}, gain {quiet:g}", f"asked for {called[a]}", f"asked for {called[b]}"
three = dict(zip(names, audio.levelled([mixed([(a, b)], quiet)[0].cpu(), *heard_two])))
players(three, rate, f"One mixture, two questions: the pair at gain {quiet:g} where WAM-IG is most selective.")

# %% tags=["hide-input"]
equal = min(used, key=lambda gain: abs(gain - 1))
one_each = list({a: (a, b) for a, b in reversed(trusted[equal])}.values())[:6]
inputs = mixed(one_each, equal)
e = wam.integrated_gradients(listener, inputs, labels[[a for a, _ in one_each]], **kind | {"steps": -(-steps // 2)})
kept, figures, said, alts = audio.interpretation(e, fraction=few), [], [], []
for k, (a, b) in enumerate(one_each):
    three = {called[a]: x[a], f"{called[a]} and {called[b]}": inputs[k], "interpretation": kept[k]}
    three = {name: sound.cpu() for name, sound in three.items()}
    marks = {f"{called[a]} and {called[b]}": importance(e, rate, k, fraction=few).cpu()}
    fig, alt = spectra(three, rate, marks)
    figures, said, alts = [*figures, fig], [*said, f"{called[a]} under {called[b]}"], [*alts, alt]
caption = f"Target, mixture at gain {equal:g} with what WAM-IG keeps, interpretation (top {100 * few:g} %)."
book.slider(figures, said, alts, caption, label="Mixture")

# %% [markdown]
# ## Listenable?
#
# The paper names a limit itself: "the greedy extraction of important coefficients is unsuitable for generating
# listenable explanations". A coefficient that is there, with a neighbour that is not, rings. What sounds better? Two
# remedies are known from the denoising of sound: longer wavelets, and soft masks, whose gain rises with $|\gamma|$ from
# 0 to 1 (`soft=True`). The authors' own rule keeps what exceeds a share of the largest of its *band*, so that every
# octave keeps something. They apply it to gradients, and so do we, with two thresholds, since theirs is not stated. The
# other masks are of one WAM-IG; |z| asks no network.

# %%
ours, gradients = explained("noise", held)["WAM-IG"], as_released("noise", held)["WAM-SG"]
mixture, kinds = heard["noise"][list(held)], (theirs, frame, wam.Wavelet("db10", 7, ndim=1))
rules = {}
for other in kinds:
    e = in_frame(ours, other)
    rules[f"{other.name}, {other.levels} levels, hard"] = e, {"fraction": many}
    rules[f"{other.name}, {other.levels} levels, soft"] = e, {"fraction": many, "soft": True}
blind = f"|z|, {wavelet}, soft"
rules[blind] = controls.magnitude(in_frame(ours, frame)), {"fraction": many, "soft": True}
for share in (0.2, 0.02):
    rules[f"authors' rule: gradients, {share:g} of each band"] = gradients, {"threshold": share}

# %%
listenable, results = {}, []
for name, (e, rule) in rules.items():
    listenable[name] = audio.interpretation(e, **rule)
    level = audio.mask(e, **rule).pack()[0].flatten(1).mean(1).cpu().numpy()
    results.append(judged(listenable[name], held, mixture).assign(rule=name, open=level))
results = pd.concat(results, ignore_index=True)

# %% tags=["hide-input"]
gain, chance = spans(results, "rule", "gain"), spans(results, "rule", "probability", 2)
alive, opened = results.groupby("rule")["class"], results.groupby("rule")["open"].mean()
rows = [(name, f"{opened[name]:.2f}", gain[name], of(alive.get_group(name)), chance[name]) for name in rules]
head = ("mask", "mean gain of the mask", "SI-SDR, gain in dB", "class kept", "probability")
book.table(head, rows, f"Masks on {len(held)} clips in noise, by WAM-IG if not said otherwise, mean [95 % interval]:")


# %% tags=["hide-input"]
def minus(one, other):
    table = results.assign(all=0)
    found = comparison.differences(table, one, other, "all", "gain", column="rule", inputs="input").iloc[0]
    return "{:+.1f} dB [{:+.1f}, {:+.1f}]".format(*found[["mean", "low", "high"]])


hard = [name for name in rules if name.endswith("hard")]
softer = [f"{name.removesuffix(', hard')} {minus(name.replace('hard', 'soft'), name)}" for name in hard]
means = results.groupby("rule")["gain"].mean()
best = means.drop(blind).idxmax()
say(f"Soft minus hard: {', '.join(softer)}. The longest wavelet minus the shortest, hard: {minus(hard[-1], hard[0])}. "
    f"Of the masks that ask the network, *{best}* has the highest mean; its mean minus that of *{blind}*, which asks "
    f"none: {minus(best, blind)}. Which of them you would rather listen to is for your ears to say. These players "
    "have the same RMS, because here it is the quality that is compared, not the level.")  # fmt: skip

# %% tags=["hide-input"]
i = held.index(hero) if hero in held else i
chosen = dict.fromkeys([hard[0], hard[1], hard[1].replace("hard", "soft"), blind])
matched = audio.levelled([listenable[name][i].cpu() for name in chosen], match=True)
players(dict(zip(chosen, matched)), rate, f"The {called[held[i]]} in noise, interpreted; all of the same RMS.")

# %% [markdown]
# ## The smallest sound that is still a dog
#
# How little of a sound does a network need? The optimised masks of [chapter 03](03_minimal_images.ipynb) work on sound
# too ([`wam.minimal.optimise`](../book/api_reduce.md)): few coefficients, the same logit. Their `alpha` is not the
# $\alpha$ of the path; it weighs the size of the mask.

# %%
one, own, alpha = x[hero : hero + 1], int(labels[hero]), 1000.0
options = {"output": "sigmoid", "max_batch": max_batch}
found = optimise(listener, one, own, frame, alpha, descent, **options)
sparse = found.inputs()[0]
largest = controls.magnitude(found.explanation()).reconstruct(1 - float(found.sparsity[0, 0, -1]))
absent = next(c for c in range(own + 1, own + len(categories)) if c % len(categories) != own) % len(categories)
lie = optimise(listener, one, absent, frame, alpha, descent, objective="score", **options).inputs()[0]
versions = {"the clip": one, "minimal": sparse, "removed": one - sparse, "as many, by |z|": largest}
versions["made for another class"] = lie


# %%
def shaken(sound):
    """The same sound, 5 ms later; with noise at 40 dB; as a 16-bit file."""
    noise = torch.randn(sound.shape, generator=torch.Generator().manual_seed(seed)).to(sound)
    yield torch.roll(sound, round(0.005 * rate), -1)
    yield sound + noise * sound.square().mean().sqrt() / 100
    yield (sound * 32768).round() / 32768


# %% tags=["hide-input"]
rows, robust = [], {}
for name, sound in versions.items():
    got = scores(everything, torch.cat([sound, *shaken(sound)]))
    mine = got[:, columns]
    robust[name] = (mine.argmax(1) == own).tolist()
    level = round(10 * np.log10(float(sound.square().mean() / one.square().mean())), 1) + 0.0
    top = int(mine[0].argmax())
    cells = (f"{level:.1f} dB", f"{mine[0, own].sigmoid():.2f}", f"{categories[top]} {mine[0, top].sigmoid():.2f}")
    top = everything.categories[int(got[0].argmax())]
    rows.append((name, *cells, top, ", ".join(categories[c] for c in mine[1:].argmax(1).tolist())))
head = ("sound", "level", f"probability of {categories[own]}", "prediction", f"best of all {total}", "changed")
title = f"The {called[hero]}, reduced (changed: the prediction 5 ms later, with noise at 40 dB, in 16 bits):"
book.table(head, rows, title)

# %% tags=["hide-input"]
gone, near = float(found.sparsity[0, 0, -1]), float(audio.snr(sparse, one, scale_invariant=True))
text = f"**{100 * gone:.1f} %** of the coefficients are gone; the logit went from {found.score[0, 0, 0]:.2f} to "
text += f"{found.score[0, 0, -1]:.2f}. What is left has an SI-SDR of {near:.1f} dB against the clip: "
text += "hardly the same sound. " if near < 3 else "mostly the same sound. "
text += "The network still hears the class after the three small changes. " if all(robust["minimal"]) else (
    "Small changes that no ear would mind are too much for it. ")  # fmt: skip
text += "**What was removed is heard as the same class too**: the minimal sound is sufficient, not necessary. " * (
    robust["removed"][0])  # fmt: skip
told = categories[absent]
fooled = int(scores(listener, lie).argmax()) == absent
text += f"And a minimal sound of *{told}*, which is not in the clip, " + ("can be made as well" if fooled else
    "could not be made in as many steps")  # fmt: skip
say(text + ": as with the photographs, such a sound shows what *satisfies* the network." * fooled + "." * (not fooled))

# %% tags=["hide-input"]
pick = ["the clip", "minimal", "removed"]
three = dict(zip(pick, audio.levelled([versions[name][0].cpu() for name in pick])))
fig, alt = spectra(three, rate)
book.figure(fig, alt, f"The {called[hero]}, its minimal sound (α = {alpha:g}), and what was removed.")
players(three, rate, "The three sounds at their true relative levels.")

# %% [markdown]
# ## Tables 2 and 5
#
# Are WAM's explanations more faithful than others, and than a ranking that knows nothing? The paper's tables of sound
# hold five numbers per method. *Insertion* and *deletion* are the areas below the probability as coefficients are put
# in, or taken away, by decreasing attribution, and *faithfulness* is their difference (eqs. 4 to 7, [chapter
# 08](08_evaluation.ipynb)). Two are of sound only. With $f_c$ the logit of class $c$ and the mask $m_\gamma$ that keeps
# the top half of the coefficients (or cells), they are
#
# $$ \mathrm{FF} = \mathrm{median}_x \; f_c(x) - f_c\big(x \odot (1 - m_\gamma)\big), \tag{9} $$
#
# *faithfulness on spectra*: how far the logit falls when the explained half is removed; and
#
# $$ \text{Fid-In} = \mathrm{mean}_x \; I\big[\hat c(x) = \hat c(x \odot m_\gamma)\big], \tag{10} $$
#
# *input fidelity*, with $\hat c$ the predicted class and $I$ one where the statement holds, else zero: how often the
# explained half alone is classified as the whole. FF is read off the middle of the deletion curve; below we check that
# [`metrics.faithfulness_on_spectra`](../book/api_measure.md) gives the same.
#
# Two domains are ranked. WAM ranks the coefficients of the *waveform* (Table 2), with Haar and three levels, as the
# authors do for images; for sounds, the paper does not say. The baseline methods rank the cells of the *spectrogram*,
# with the network behind the front end as their model, and so does WAM in Table 5, by the passes above. What is absent
# is silence: 0 on the waveform; at the spectrogram, its own spectrogram, which is far from 0. The controls are $|z|$
# and *random*, as above, and on the waveform *coarse first*, which knows the scale of a coefficient and nothing else.


# %%
def at_spectrogram(target, made):
    """The paper's baselines, with the spectrogram as input of the network, and WAM there."""
    mel = made["WAM-IG"].layer.coefficients.bands[0, "pixel"]
    options = {"frame": wam.Pixel(), "max_batch": max_batch}
    ig = wam.integrated_gradients(listener.network, mel, target, baseline=silence, steps=steps, **options)
    rankings = {"Integrated Gradients": ig}
    rankings["GradCAM"] = baselines.gradcam(listener.network, mel, target, max_batch=max_batch)
    rankings["Saliency"] = wam.saliency(listener.network, mel, target, **options)
    rankings["SmoothGrad"] = wam.smoothgrad(listener.network, mel, target, samples=steps, seed=seed, **options)
    rankings |= {name: e.layer for name, e in made.items()}
    return mel, rankings, {"|z|": controls.magnitude(ig, silence), "random": controls.random(ig, seed)}


with torch.no_grad():
    silence = listener.front_end(torch.zeros_like(x[:1]))


# %% tags=["hide-input"]
def rated(model, inputs, e, domain, protocol):
    """The five numbers of one ranking, per clip; all probabilities are sigmoids."""
    options = {"protocol": protocol, "seed": seed, "max_batch": max_batch}
    options |= {"protocol": Protocol(baseline=silence)} if (domain, protocol) == ("spectrogram", "equations") else {}
    curves = metrics.perturbation_curves(model, inputs, e, steps=curve_steps, output="logit", **options)
    area = replace(curves, insertion=curves.insertion.sigmoid(), deletion=curves.deletion.sigmoid())
    fall = (area if protocol == "released-sound" else curves).deletion
    columns = {"insertion": area.insertion_auc, "deletion": area.deletion_auc, "faithfulness": area.faithfulness}
    columns["FF"] = fall[:, 0] - fall[:, curve_steps // 2]  # the top half is gone: eq. 9
    columns["Fid-In"] = metrics.input_fidelity(model, inputs, e, **options)
    columns = {name: values.double().cpu().numpy() for name, values in columns.items()}
    return pd.DataFrame(columns).assign(domain=domain, protocol=protocol)


# %%
def evaluated(condition, which):
    """All rows of these clips, by the equations and as released."""
    inputs, made, old = heard[condition][list(which)], explained(condition, which), as_released(condition, which)
    mel, rankings, blind = at_spectrogram(labels[list(which)], made)
    waves = seen_in(theirs, made)
    extra = {"|z|": controls.magnitude(waves["WAM-IG"]), "random": controls.random(waves["WAM-IG"], seed)}
    extra["coarse first"] = controls.coarse_first(waves["WAM-IG"])
    todo = [("waveform", "equations", waves | extra), ("spectrogram", "equations", rankings | blind)]
    todo += [("waveform", "released-sound", old | {"|z|": released.magnitude(old["WAM-IG"])})]
    todo += [("spectrogram", "released-sound", rankings | {name: e.layer for name, e in old.items()})]
    for domain, protocol, several in todo:
        model, given = (listener, inputs) if domain == "waveform" else (listener.network, mel)
        for name, e in several.items():
            about = {"method": name, "who": f"{name}, {domain}", "condition": condition, "input": list(which)}
            yield rated(model, given, e, domain, protocol).assign(**about)


# %%
counted = {"clean": right, "noise": [i for i in right if holds[i]]}
parts = []
for condition, which in counted.items():
    for start in range(0, len(which), max_batch):
        parts += evaluated(condition, tuple(which[start : start + max_batch]))
results = pd.concat(parts, ignore_index=True)

# %% tags=["hide-input"]
METRICS = ("insertion", "deletion", "faithfulness", "FF", "Fid-In")
PROTOCOLS = {"equations": "by the equations", "released-sound": "as released"}
text = f"{len(counted['clean'])} clean, {len(counted['noise'])} in noise"
features = explained("clean", tuple(right[:max_batch]))["WAM-IG"]
features = [c.pack()[0][0].numel() for c in (features.coefficients, features.layer.coefficients)]
say(f"Clips that the network classifies correctly, of {len(clips)}: **{text}**. Features per clip: {features[0]:,} "
    f"on the waveform, {features[1]:,} at the spectrogram. *The top half* and *a step of a curve* are not the same "
    "thing in the two domains: compare numbers with their own controls, not across domains.")  # fmt: skip

# %% tags=["hide-input"]
e = seen_in(theirs, explained("clean", listen))["WAM-IG"]
direct = metrics.faithfulness_on_spectra(listener, x[list(listen)], e, seed=seed, max_batch=max_batch)
mine = results[(results["who"] == "WAM-IG, waveform") & (results["condition"] == "clean")]
mine = mine[mine["protocol"] == "equations"].set_index("input").loc[list(listen), "FF"]
say(f"FF of WAM-IG, median of {len(listen)} clips: {np.median(direct.cpu()):.3f} by `metrics.faithfulness_on_spectra`, "
    f"{mine.median():.3f} from the curves.")  # fmt: skip

# %% tags=["hide-input"]
keys = ["protocol", "domain", "method", "condition"]
summary = {metric: comparison.summary(results, keys, metric).set_index(keys) for metric in METRICS}
fell = results.groupby(keys)["FF"].median()


def number(metric, *key):
    if key not in summary[metric].index:
        return "–"
    row = summary[metric].loc[key]
    if metric == "faithfulness":
        return book.span(row)
    return f"{fell[key] if metric == 'FF' else row['mean']:.2f}"


# %% tags=["hide-input"]
two, five = (records.paper(k).set_index("method") for k in (2, 5))
COLUMNS = dict(zip(METRICS, ("insertion", "deletion", "faithfulness", "ff", "fid_in")))


# %% tags=["hide-input"]
def printed(domain, method):
    """The paper's numbers, clean / in noise."""
    table = two if domain == "waveform" else five
    if method not in table.index:
        return ["–"] * 3
    pair = ((table.loc[method, f"{COLUMNS[m]}_{c}"] for c in ("esc50", "wn")) for m in METRICS[2:])
    return [" / ".join(f"{value:.3f}" for value in both) for both in pair]


# %% tags=["hide-input"]
places = {"waveform": "on the waveform (Table 2)", "spectrogram": "at the spectrogram (Table 5)"}
for protocol, domain in ((p, d) for p in PROTOCOLS for d in places):
    rows, unit = [], "logits" if protocol == "equations" else "probability"
    for method in dict.fromkeys(key[2] for key in summary["FF"].index if key[:2] == (protocol, domain)):
        ours = [" / ".join(number(m, protocol, domain, method, c) for c in counted) for m in METRICS]
        rows.append((method, *ours, *printed(domain, method)))
    head = ("method", "insertion ↑", "deletion ↓", "faithfulness ↑ [95 %]", "FF ↑", "Fid-In ↑",
            "paper: faithfulness", "paper: FF", "paper: Fid-In")  # fmt: skip
    title = f"{PROTOCOLS[protocol].capitalize()}, {places[domain]}; clean / in noise; FF in {unit}:"
    book.table(head, rows, title)

# %% [markdown]
# The paper's columns are of another network and of 400 other clips; they stand here for their *order*, not their size.
# *As released*, areas are divided by the largest value of their curve, the ranking is signed, FF is a drop of the
# probability, and a cell that is absent from the spectrogram is 0 ([chapter 08](08_evaluation.ipynb) on the two
# protocols). Where the probability is small, as in noise, the drop is nearly the probability itself, whatever was
# removed. The explanations of the four baseline methods are ours in both; controls at the spectrogram are by the
# equations only.


# %% tags=["hide-input"]
def ahead(metric, protocol, one, other):
    """By how much, paired over clean clips, with 95 % interval; positive is better for `one`."""
    part = results[(results["protocol"] == protocol) & (results["condition"] == "clean")]
    found = comparison.differences(part, one, other, "protocol", metric, column="who", inputs="input").iloc[0]
    mean, low, high = found[["mean", "low", "high"]]
    return (-mean, -high, -low) if metric == "deletion" else (mean, low, high)


def as_text(lead):
    return book.span(dict(zip(("mean", "low", "high"), lead)), sign="+")


# %% tags=["hide-input"]
def best_of(metric, protocol, names, domain):
    """The method of these with the best mean (FF: median) on clean clips."""
    table = fell if metric == "FF" else summary[metric]["mean"]
    table = table.xs((protocol, domain, "clean"), level=("protocol", "domain", "condition"))
    table = table.loc[[name for name in names if name in table.index]]
    return f"{table.idxmin() if metric == 'deletion' else table.idxmax()}, {domain}"


# %% tags=["hide-input"]
OURS, OTHERS = ("WAM-SG", "WAM-IG"), ("Integrated Gradients", "GradCAM", "Saliency", "SmoothGrad")
leads, rows = {}, []
for metric in METRICS:
    cells = []
    for protocol in PROTOCOLS:
        ours, other = best_of(metric, protocol, OURS, "waveform"), best_of(metric, protocol, OTHERS, "spectrogram")
        leads[protocol, metric] = ahead(metric, protocol, ours, other)
        pair = " minus ".join(name.partition(",")[0] for name in (ours, other))
        cells.append(f"{pair}: {as_text(leads[protocol, metric])}")
    rows.append((metric, *cells))
title = "The best WAM on the waveform against the best baseline at the spectrogram (clean; mean of the "
title += "paired differences, for FF too; positive: WAM is better):"
book.table(("metric", *PROTOCOLS.values()), rows, title)
won = {p: [m for m in METRICS if leads[p, m][1] > 0] for p in PROTOCOLS}
CLAIMED = {"FF", "Fid-In", "insertion"}

# %% tags=["hide-input"]
cells, against = {metric: [] for metric in METRICS}, {}
cases = {("equations", "waveform"): ("|z|", "random", "coarse first"), ("released-sound", "waveform"): ("|z|",)}
cases |= {("equations", "spectrogram"): ("|z|", "random")}
for (protocol, domain), blind in cases.items():
    for metric in METRICS:
        method = best_of(metric, protocol, OURS + OTHERS, domain)
        control = best_of(metric, protocol, blind, domain)
        against[protocol, domain, metric] = lead = ahead(metric, protocol, method, control)
        pair = " minus ".join(name.partition(",")[0] for name in (method, control))
        cells[metric].append(f"{pair}: {as_text(lead)}")
head = ("metric", *(f"{domain}, {PROTOCOLS[protocol]}" for protocol, domain in cases))
book.table(head, [(metric, *row) for metric, row in cells.items()], "The best method against the best control (clean; "
           "mean of the paired differences, for FF too):")  # fmt: skip

# %% tags=["hide-input"]
text = "; ".join(f"{PROTOCOLS[p]} in {len(w)} of 5 ({', '.join(w) or 'none'})" for p, w in won.items())
text = f"The paper compares across the domains. So compared, WAM on the waveform is ahead by the interval: {text}. "
wins, losses = (sum(v[k] * sign > 0 for v in against.values()) for k, sign in ((1, 1), (2, -1)))
text += f"**Against the best control of its own domain, the best method is ahead in {wins or 'none'} of {len(against)} "
text += f"cases, behind in {losses}, undecided in the rest.** "
lucky = fell.xs(("equations", "spectrogram", "clean"), level=("protocol", "domain", "condition"))
if lucky["random"] >= lucky.drop("random").max():
    text += f"At the spectrogram a *random* half does the most damage, {lucky['random']:.1f} logits: a high FF does "
    text += "not show that the right half was found. "
mel = explained("clean", tuple(right[:max_batch]))["WAM-IG"].layer.coefficients.bands[0, "pixel"]
share = float((mel < 0).double().mean())
say(text + f"Of the cells of a spectrogram, {100 * share:.0f} % lie below 0, the value that stands for *absent* as "
    "released: setting such a cell to 0 makes it louder.")  # fmt: skip

# %% [markdown]
# The paper's own text and tables disagree in several places here: on who is ahead in faithfulness on spectra (Tables 2
# and 5), on who is in line in deletion (2) and input fidelity (5), and on the faithfulness of Integrated Gradients. The
# [paper map](../book/paper_map.md) has the numbers (6, 10 and 11).
#
# ## Paper and here

# %% tags=["hide-input"]
five_wam = five.loc[["WAM-SG", "WAM-IG"], "ff_esc50"].max()
top = {share: versus[share, "|z|"] for share in fractions}
counts = {c: len(w) for c, w in counted.items()}
gain = spans(denoised, ["kept", "ranking"], "gain")
kept_by = [f"{100 * s:g} %: WAM-IG {gain[s, 'WAM-IG']} dB, |z| {gain[s, '|z|']} dB" for s in fractions]

# %% tags=["hide-input"]
rows = [
    ("Fig. 1, sound; 3.2", "one method explains the waveform and the spectrogram", "a picture",
     f"sums miss the score's change by {100 * misses[0]:.0f} % on the waveform, {100 * misses[1]:.0f} % at the "
     "spectrogram, in the same passes", "medians; (4.1) in place of gradient × spectrogram; up to 5 % passes",
     "reproduced" if max(misses[:2]) <= 0.05 else "partly"),
    ("Fig. 4, 4.2", "the prediction does not alter under white noise at 0 dB", "a picture",
     f"{counts['noise']} of {counts['clean']} clips", f"another network ({listener.name}), other clips",
     "reproduced" if counts["noise"] == counts["clean"] else "partly" if counts["noise"] else "not reproduced"),
    ("Fig. 4", "important coefficients virtually eliminate noise", "a picture",
     f"gain of SI-SDR at {' and '.join(kept_by)}; best share: WAM-IG {peaks['WAM-IG']:.1f} dB, "
     f"|z| {peaks['|z|']:.1f} dB, oracle {peaks['oracle']:.1f} dB", "bar: 10 dB; |z| asks no network",
     "reproduced" if peaks["WAM-IG"] >= 10 else "partly" if any(v[1] > 0 for v in top.values()) else "not reproduced"),
]  # fmt: skip

# %% tags=["hide-input"]
emphasised = {n: classes[many, n].mean() for n in ("WAM-IG", "|z|", "random")}
rows += [
    ("Fig. 4", "the interpretation emphasises key parts of the target", "a picture",
     f"class kept by {100 * many:g} %: WAM-IG {of(classes[many, 'WAM-IG'])}, |z| {of(classes[many, '|z|'])}, "
     f"random {of(classes[many, 'random'])}", "in noise; the network judges its own choice",
     "reproduced" if surer["|z|"][1] > 0 and emphasised["WAM-IG"] > 0.5 else
     "partly" if surer["random"][1] > 0 and emphasised["WAM-IG"] > 0.5 else "not reproduced"),
    ("Figs. 14, 24, 25", "the prediction does not alter under a second sound", "three pairs",
     "; ".join(f"gain {g:g}: {len(trusted[g])} of {len(pairs)}" for g in gains), "every ordered pair",
     "reproduced" if len(trusted[gains[0]]) == len(pairs) else "partly"),
    ("Figs. 14, 24, 25", "the interpretation almost entirely filters out the second sound", "pictures",
     "selectivity " + "; ".join(f"gain {g:g}: WAM-IG {cell(g, 'WAM-IG')} dB, |z| {cell(g, '|z|')} dB" for g in used),
     "almost entirely: 10 dB at least", "reproduced" if ig[used[0]]["mean"] >= 10 else
     "partly" if ig[used[0]]["low"] > 0 and above[used[0]][1] > 0 else "not reproduced"),
]  # fmt: skip

# %% tags=["hide-input"]
shift = {m: float((two[f"{COLUMNS[m]}_wn"] - two[f"{COLUMNS[m]}_esc50"]).abs().max()) for m in METRICS}
same = results[(results["protocol"] == "released-sound") & results["input"].isin(counted["noise"])]
moves = same.groupby(["who", "condition"])["faithfulness"].mean().unstack("condition")
moves = float((moves["noise"] - moves["clean"]).abs().max()) if counts["noise"] else np.nan

# %% tags=["hide-input"]
rows += [
    ("C.3", "the model still relies on the target", "stated", f"own class minus other class in the same mixture: "
     f"{listed(moved) or '–'}", "selectivity of WAM-IG",
     "partly" if depends else "not testable here" if not moved else "not reproduced"),
    ("4.1, Table 2", "WAM is ahead in faithfulness on spectra, input fidelity and insertion",
     "stated of the three; by its table insertion and Fid-In",
     "; ".join(f"{PROTOCOLS[p]}: {', '.join(m for m in w if m in CLAIMED) or 'none of them'}" for p, w in won.items()),
     f"ahead by the interval; {counts['clean']} clips, another network; ahead of controls in {wins or 'none'} of "
     f"{len(against)} cases",
     "reproduced" if set(won["released-sound"]) >= CLAIMED else
     "partly" if CLAIMED & set(won["released-sound"]) else "not reproduced"),
    ("Table 2", "white noise hardly changes the scores", f"faithfulness by at most {shift['faithfulness']:.3f}",
     f"by at most {moves:.2f}", "as released; only clips that keep their class",
     "reproduced" if moves <= 0.05 else "partly" if moves <= 0.1 else "not reproduced"),
]  # fmt: skip

# %% tags=["hide-input"]
powers = [float(audio.snr(mixed.samples[None], clip.samples[None])) for mixed, clip in zip(rounded, clips)]
slips = pd.concat({(number, c): t[f"faithfulness_{c}"] - t[f"insertion_{c}"] + t[f"deletion_{c}"]
                   for number, t in ((2, two), (5, five)) for c in ("esc50", "wn")}).abs()  # fmt: skip
unmoved = int((in_16_bits == in_noise.argmax(1)).sum())
exact = int((slips < 0.0016).sum())  # three numbers, each rounded to 0.001
rows += [
    ("Fig. 7", "the pseudo-code adds noise at 0 dB", "stated",
     f"in 16 bits, {len(clips)} clips: {min(powers):.2f} to {max(powers):.2f} dB; prediction as without rounding in "
     f"{unmoved} of {len(clips)}", "the noise is drawn here",
     "reproduced" if max(map(abs, powers)) < 0.1 else "partly"),
    ("eq. 4; Tables 2, 5", "the printed faithfulness is insertion minus deletion", "defined so",
     f"true of {exact} of {len(slips)} printed values; largest difference {slips.max():.3f}, {slips.idxmax()[2]}",
     "about the paper's tables, no network asked", "reproduced" if exact == len(slips) else "partly"),
]  # fmt: skip

# %% tags=["hide-input"]
others = ("faithfulness", "deletion")
text = "; ".join(f"{PROTOCOLS[p]}, {m} {leads[p, m][0]:+.2f} [{leads[p, m][1]:+.2f}, {leads[p, m][2]:+.2f}]"
                 for p in PROTOCOLS for m in others)  # fmt: skip
level = sum(leads["released-sound", m][2] >= 0 for m in others)
rows += [
    ("4.1, Table 2", "in faithfulness and deletion WAM is in line with the baselines", "stated",
     f"the best WAM against the best baseline, positive is better: {text}", "in line: not behind, as released",
     ("not reproduced", "partly", "reproduced")[level]),
    ("4.2", "optimised masks generalise to other modalities", "stated",
     f"a {called[hero]}: {100 * gone:.1f} % of the coefficients gone, logit from {found.score[0, 0, 0]:.2f} to "
     f"{found.score[0, 0, -1]:.2f}; still so heard after {sum(robust['minimal'][1:])} of 3 changes that no ear would "
     "mind", "one clip", "reproduced" if gone > 0.5 and all(robust["minimal"]) else "partly"),
]  # fmt: skip

# %% tags=["hide-input"]
halves = {p: fell.xs((p, "spectrogram", "clean"), level=("protocol", "domain", "condition")) for p in PROTOCOLS}
ranks = {p: (v[list(OURS)].max(), v[list(OTHERS)].max()) for p, v in halves.items()}
chance = {d: fell["equations", d, "random", "clean"] for d in ("waveform", "spectrogram")}
text = "; ".join(f"{PROTOCOLS[p]}: WAM {one:.2f}, the best baseline {other:.2f}" for p, (one, other) in ranks.items())
first = sum(one > other for one, other in ranks.values())
rows += [
    ("B.2, Table 5", "at the spectrogram WAM leads in faithfulness on spectra", f"its table: {five_wam:.3f} against "
     f"{five['ff_esc50'].max():.3f}", text, "medians", ("not reproduced", "partly", "reproduced")[first]),
    ("B.2, eq. 9", "a positive faithfulness on spectra means that an interpretation is faithful", "stated",
     "; ".join(f"a random half of the {d}: {value:.2f} logits" for d, value in chance.items()),
     "medians; a random half knows nothing", "not reproduced" if max(chance.values()) > 0 else "reproduced"),
]  # fmt: skip

# %% tags=["hide-input"]
pairs_of = {p: [best_of("Fid-In", p, names, "spectrogram") for names in (OURS, OTHERS)] for p in PROTOCOLS}
stays = {p: ahead("Fid-In", p, *both) for p, both in pairs_of.items()}
text = "; ".join(f"{PROTOCOLS[p]}, {' minus '.join(name.partition(',')[0] for name in both)}: {as_text(stays[p])}"
                 for p, both in pairs_of.items())  # fmt: skip
low, high = five.loc[list(OURS), "fid_in_esc50"].max(), five.loc[list(OTHERS), "fid_in_esc50"].min()
rows += [
    ("B.2, Table 5", "at the spectrogram WAM is in line in input fidelity",
     f"its table: {low:.3f} at most, the others {high:.3f} at least", text, "in line: not behind, as released",
     "reproduced" if stays["released-sound"][2] >= 0 else "not reproduced"),
]  # fmt: skip

# %% tags=["hide-input"]
at_mel = summary["faithfulness"].loc["released-sound"]["mean"].xs("clean", level="condition")
mel_text = ", ".join(
    f"{n} {at_mel['spectrogram', n]:.2f} (waveform {at_mel['waveform', n]:.2f})" for n in ("WAM-SG", "WAM-IG")
)
drop = sum(at_mel["waveform", n] > at_mel["spectrogram", n] for n in ("WAM-SG", "WAM-IG"))

# %% tags=["hide-input"]
rows += [
    ("Table 5", "WAM is less faithful at the spectrogram than on the waveform", ".009 and .000 against .197 and .176",
     mel_text, "as released, clean", ("not reproduced", "partly", "reproduced")[drop]),
    ("Tables 2, 5", "400 clips of ESC-50, the network of Kumar et al.",
     "; ".join(f"{m}: " + ", ".join(f"{COLUMNS[k]} {two.loc[m, f'{COLUMNS[k]}_esc50']:.3f}" for k in METRICS)
               for m in OURS).replace("ff", "FF").replace("fid_in", "Fid-In"),
     f"{listener.name}, {len(clips)} clips", "the profile paper fills these rows",
     "not testable here" if profile == "embedded" else "partly"),
    ("5, limitations", "greedy extraction is unsuitable for listenable explanations", "stated",
     f"soft minus hard masks: {', '.join(softer)}", "by SI-SDR, in noise; the players let you judge",
     "not testable here"),
]  # fmt: skip
columns = ("where", "what", "paper", "here", "difference", "verdict")
book.compare([dict(zip(columns, row)) for row in rows])

# %% [markdown]
# ## What to take away
#
# - A classifier behind a logarithm hears decibels. Walk from silence in decibels: `nodes="geometric"`.
# - Ask among classes of which only one can be right. A network that may answer *Animal* can keep its answer when the
#   dog is gone.
# - A cleaner sound proves little. Silence has an SNR of 0 dB, and the largest coefficients, which no network chose, are
#   the denoiser to beat. In noise, on average over these clips, no explanation beats them by SI-SDR.
# - To tell the target from the loud part, make the target the quiet one; to tell the class from the sound, ask the same
#   mixture for the other class.
# - Gradients through a logarithm lean to what is faint, integrated gradients to what is loud. How much of either is
#   about the class, only the other question tells.
# - Numbers of waveforms and of spectrograms do not compare. Each domain needs its own controls.
#
# ## Exercises
#
# **1. White, pink.** White noise has most of its power in the highest octave, where there is little animal. Make the
# noise *pink*, with equal power in every octave, and repeat the experiment. Do the denoisers still work?
#
# <details>
# <summary>Solution</summary>
#
# White noise through the frame becomes pink when every level is multiplied so that its total power is the same:
#
# ```python
# noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)).to(x)
# z = frame.analysis(noise)
# pink = frame.synthesis(z.map(lambda band: band / band.square().sum((1, 2), keepdim=True).sqrt()))
# pink = pink * (x.square().sum((1, 2), keepdim=True) / pink.square().sum((1, 2), keepdim=True)).sqrt()
# same = scores(listener, x + pink).argmax(1) == labels
# which = [i for i in listen if same[i]]
# e = wam.integrated_gradients(listener, (x + pink)[which], labels[which], frame=frame, steps=steps, nodes="geometric")
# for name, ranking in with_controls({"WAM-IG": e}, x[which]).items():
#     kept = audio.interpretation(ranking, fraction=many)
#     print(name, judged(kept, which, (x + pink)[which])["gain"].mean())
# ```
#
# |z| and WAM-IG now lose much of their gain: where noise and sound share their octaves, size alone tells little. The
# oracle shows that there is still something to be found.
#
# </details>
#
# **2. In two ears.** All frames, methods and metrics take several channels. Explain a *stereo* sound: how important is
# the left channel, and how important the right one?
#
# <details>
# <summary>Solution</summary>
#
# The network is mono, so put the mean of the channels in front of it, inside the function that is explained:
#
# ```python
# def mono(x):
#     return listener(x.mean(1, keepdim=True))
#
#
# k = next(k for k, sound in enumerate(sounds) if sound.clip.channels == 2)
# clip = sounds[k].clip.resample(rate).fit(seconds).normalised()
# stereo = clip.samples[None].to(x)
# e = wam.integrated_gradients(mono, stereo, int(labels[k]), frame=frame, steps=steps, nodes="geometric")
# print(called[k], e.attributions.pack()[0].sum(2))
# ```
#
# The sums of the two channels add up to $f(x) - f(0)$. Equal channels get equal shares; move the animal to one side, by
# a factor on the other channel, and its share follows.
#
# </details>
#
# **Next:** sounds have one dimension and photographs two. [Chapter 05](05_voxels.ipynb) takes the third.
