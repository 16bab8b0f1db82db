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
# # 09 Explain your own
#
# *One method for images, sounds and volumes: Figure 1 of the paper, with your model and your file in it.*
#
# The other chapters study what the explanations are worth. This one makes them: for a network of yours, or any that
# timm or Hugging Face publish, and for a photograph, a recording or a volume of yours. Three cells do it. The rest of
# the page says what goes into them, and how to see whether to believe what comes out.
#
# Three things you will see:
#
# 1. a whole explanation in three cells: figure, players, and files to keep;
# 2. how to hand over *any* network: by name, as an object with named inputs, or as a bare `nn.Module`;
# 3. two checks that an explanation should pass before anybody shows it.
#
# <!-- cost -->

# %% tags=["parameters"]
profile: str = "embedded"  # embedded: from the package index; paper: a network of the paper
model: str = ""  # a network: a name, any timm name, or hf:owner/name; none: that of the profile
file: str = ""  # a photograph, a recording (wav, flac, mp3, ...) or a volume (npy, npz) of yours; none: one of ours
method: str = "integrated_gradients"  # or smoothgrad, or saliency
wavelet: str = "db4"  # a discrete wavelet: haar, db4, sym8, bior4.4, ...
levels: int = 4  # its levels: how many octaves are told apart
steps: int = 64  # gradients of one explanation
top: float = 0.1  # share of the coefficients in the reconstruction
out: str = "explained"  # folder for what is saved
curve_steps: int = 16  # steps of the curves of the check
max_batch: int = 8  # inputs in one pass of the network
seed: int = 0  # of every random draw

# %% tags=["hide-input"]
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from captum.attr import IntegratedGradients

# %% tags=["hide-input"]
import wam
from wam import adapters, book, controls, data, explorer, inputs, metrics, models, report
from wam.book import say
from wam.captum import WaveletAttribution

book.start(chapter="09_your_own", profile=profile, seed=seed)
device = "cuda" if torch.cuda.is_available() else "cpu"
folder = Path(tempfile.mkdtemp()) if profile == "embedded" and not file else Path(out)

# %% [markdown]
# ## Three cells
#
# **One: the network.** A name is enough. To use a network or a file of your own, change the parameters above; on Colab
# drop the file into the pane at the left and write its name there.

# %%
network = models.load(model or {"embedded": "efficientnet_lite0", "paper": "resnet18"}[profile], device)

# %% [markdown]
# **Two: the explanation.** [`inputs.read`](../book/api_own.md) tells photographs, recordings and volumes apart.
# [`report.explain`](../book/api_own.md) prepares the input as the network wants it, explains the class that the network
# predicts (or `target="bull mastiff"`, any of its classes), and keeps its settings. Our photograph is of a cat that
# nobody has labelled.

# %%
example = inputs.read(file) if file else data.photographs()[2].image
settings = {"method": method, "steps": steps, "samples": steps, "top": top, "seed": seed, "max_batch": max_batch}
result = report.explain(network, example, wavelet=wavelet, levels=levels, **settings)

# %% [markdown]
# **Three: see it, and keep it.** The figure shows *where* (the heatmap) and *what* (the scales, and the input rebuilt
# from the most important of its wavelet coefficients, the share `top`).

# %% tags=["gallery"]
result.show()
for path in result.save(folder):
    print(path.name)

# %%
print(result)

# %% [markdown]
# The numbers are in `summary.json` as well, with every setting. From `attributions.safetensors`,
# [`wam.load`](../book/api_explain.md) gives back the signed attribution $\gamma$ of every coefficient, and with it
# every map, share and reconstruction. Other wavelets need no second run, because the gradient is linear in them
# ([chapter 01](01_theory.ipynb)):
#
# ```python
# e = wam.load("explained/attributions.safetensors")
# finer = wam.explanation.in_frame(e, wam.Wavelet("haar", levels=5, ndim=2))
# ```
#
# ## Should you believe it?
#
# Two questions that cost little. **Do the attributions add up?** Integrated gradients promise that the attributions of
# all coefficients sum to the change of the class score from the empty input to yours; what is missing is the
# *completeness gap*. A large one means too few `steps`. **Does the ranking beat one that asks no network?** Large
# coefficients matter to any network, so a ranking by $|z|$, the size of the coefficients, is a strong rival. An
# explanation that does not beat it tells about the input, not about the network. The table compares the two by
# *faithfulness*: the class's probability as coefficients are put in, most important first (insertion), minus that as
# they are taken out (deletion), on average over the share of them ([chapter 08](08_evaluation.ipynb)).

# %%
e, x = result.explanation, result.x.to(device)
rival = controls.magnitude(e)
options = {"steps": curve_steps, "max_batch": max_batch}
curves = {name: metrics.perturbation_curves(network, x, r, **options) for name, r in {"WAM": e, "|z|": rival}.items()}
rows = [(name, *(float(v[0]) for v in (c.insertion_auc, c.deletion_auc, c.faithfulness))) for name, c in curves.items()]
shown = [(name, *(f"{value:.3f}" for value in values)) for name, *values in rows]
book.table(("ranking", "insertion ↑", "deletion ↓", "faithfulness ↑"), shown)

# %% tags=["hide-input"]
ahead, gap = rows[0][3] - rows[1][3], 0.0 if e.completeness_gap is None else float(e.completeness_gap[0])
change = float(e.score[0]) - (0.0 if e.baseline_score is None else float(e.baseline_score[0]))
where = "ahead of" if ahead > 0 else "behind"
lines = f"Here the ranking of WAM is **{abs(ahead):.3f} {where}** $|z|$ in faithfulness. "
if e.completeness_gap is not None:
    lines += f"The attributions miss **{100 * gap / abs(change):.1f} %** of the change of the score, {change:.2f}."
say(lines)

# %% [markdown]
# One input proves nothing, in either direction. Chapter 08 does this over about twenty photographs, with intervals.
# [Chapter 07](07_randomization.ipynb) asks a third question, the hardest: does the explanation change when the network
# forgets what it learned?
#
# ## The same for a sound and for a volume
#
# Nothing changes but what you hand over. Sounds come with players, for the recording and for what its most important
# coefficients alone sound like.

# %% tags=["remove-stderr"]
listener = models.load("yamnet", device)
clip = data.recordings()[3].clip
heard = report.explain(listener, clip, **settings)
heard.show()

# %% [markdown]
# A volume is a file of numbers, `npy` or `npz`: three axes, or four with the channels first. This one is a handwritten
# digit given depth ([chapter 05](05_voxels.ipynb)).

# %%
volume_file = folder / "digit.npy"
np.save(volume_file, data.digits3d("test", 1).batch()[0, 0].numpy())
solid = models.load("digits3d", device)
seen = report.explain(solid, inputs.read(volume_file), **settings)
seen.show()

# %% [markdown]
# ## Any network
#
# | what you have | what you write |
# | --- | --- |
# | a name of [this book](../book/api_models.md) | `models.load("mobilenet_v2")` |
# | a name of [timm](https://huggingface.co/timm) | `models.load("vit_small_patch16_224.augreg_in1k")` |
# | an image or sound classifier on Hugging Face | `models.load("hf:google/vit-base-patch16-224")` |
# | a model and its processor, in memory | [`huggingface.classifier(model, processor)`](../book/api_own.md) |
# | an `nn.Module` | as it is, with `wam.integrated_gradients`; or [`adapters.wrap`](../book/api_own.md) |
#
# The first three bring their own preprocessing and class names. To a name that does not exist, the answer is the
# nearest ones that do:

# %%
try:
    models.load("efficientnet_lite")
except ValueError as error:
    print(str(error).partition(" Known models")[0])

# %% [markdown]
# **Named inputs, objects for answers.** Many networks do not take one tensor and return another. Below is one whose
# `forward` wants `pixel_values` by name and answers with an object, as the models of Hugging Face do; its weights are
# MobileNetV2's. `adapters.wrap` turns it into a classifier whose logits are those of the original.

# %%
trained = models.load("mobilenet_v2", device)


class Named(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, *, pixel_values):
        return {"logits": self.inner(pixel_values)}


# %%
scaling = {"mean": trained.mean.flatten().tolist(), "std": trained.std.flatten().tolist()}
how = {"ndim": 2, "argument": "pixel_values", "output": "logits", "prepare": trained.transform, **scaling}
wrapped = adapters.wrap(Named(trained.network), categories=trained.categories, **how)
x = wrapped.prepare(data.photographs()[2].image)
with torch.no_grad():
    print("largest difference of the logits:", float((wrapped(x) - trained(x)).abs().max()))

# %% [markdown]
# A network must be differentiable from the input that is explained to the logits. If NumPy makes the spectrogram of a
# recording, no gradient passes. The adapters rebuild that step in PyTorch where they know it, and say so where they do
# not.
#
# ## From a shell
#
# The same without a line of Python. `wam explain --help` has more ([all commands](../book/api_own.md)); `wam fetch`
# brings the weights and files of this book onto a machine before it goes offline.

# %%
photograph = folder / "cat.jpg"
data.photographs()[2].image.save(photograph, quality=95)
command = ["wam", "explain", photograph.name, "--model", "mobilenet_v2", "--method", "ig", "--top", f"{top}"]
command += ["--out", "cat"]
print("$", *command)
done = subprocess.run([sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True)
print(done.stdout or done.stderr)

# %% [markdown]
# ## In the tools you have
#
# **Captum.** [`wam.captum.WaveletAttribution`](../book/api_own.md) follows the conventions of Captum's own methods, so
# whatever calls `attribute(inputs, target=...)` can call it. In the frame of pixels it agrees with Captum's integrated
# gradients up to rounding:

# %%
cat, target = network.prepare(data.photographs()[2].image), int(result.explanation.target[0])
frame = wam.Wavelet(wavelet, levels=levels, ndim=2)
spread = WaveletAttribution(network, frame).attribute(cat, target=target, n_steps=8)
ours = WaveletAttribution(network, wam.Pixel()).attribute(cat, target=target, n_steps=8, nodes="gauss-legendre")
theirs = IntegratedGradients(network).attribute(cat, target=target, n_steps=8, method="gausslegendre")
print(f"wavelets: {tuple(spread.shape)}; pixels, largest difference: {float((ours - theirs).abs().max()):.1e}")

# %% [markdown]
# **An explorer of your own.** [`explorer.explore`](../book/api_figures.md) takes networks and examples.

# %%
explorer.explore(network, data.photographs())

# %% [markdown]
# ## When it does not work
#
# | what you see | what to do |
# | --- | --- |
# | out of memory | lower `max_batch`: it bounds how many inputs are in the network at once; results stay the same |
# | too many levels | each level halves the input; the message names the largest number for your size and wavelet |
# | output that is not `(batch, classes)` | wrap the network: `output="logits"`, or a function of what it returns |
# | a completeness gap of more than some per cent | more `steps`, or `nodes="geometric"` for networks with logarithms |
# | a gap as large as the score, of a network that normalises its own input | `method="smoothgrad"`, no path from 0 |
# | all attributions zero | the logit does not depend on the input: a `detach`, an integer, or a NumPy step on the way |
# | a heatmap that is nothing but edges | compare with $\lvert z\rvert$, and see [chapter 07](07_randomization.ipynb) |
# | several labels at once, sigmoids | explain one logit at a time, `target=`; for the percentages `exclusive=False` |
# | one logit, yes or no | as it is; to metrics say `output="sigmoid"` |
# | a network in half precision | `model.float()`: gradients of coefficients need 32 bits |
#
# ## Paper and here
#
# Figure 1 of the paper, and its project page, claim one method for every modality. What can be tested is that the same
# calls run on all three, and that in each the attributions add up to the change of the score.

# %% tags=["hide-input"]
parts = {"image": result, "sound": heard, "volume": seen}
gaps = {}
for name, one in parts.items():
    g = one.explanation
    if g.completeness_gap is not None:
        gaps[name] = float(g.completeness_gap[0] / (g.score[0] - g.baseline_score[0]).abs())
said = ", ".join(f"{name} {100 * value:.1f} %" for name, value in gaps.items()) or "no integrated gradients in this run"
kept = max(gaps.values(), default=1.0) <= 0.05

# %% tags=["hide-input"]
row = {"what": "one method for images, sounds and volumes", "paper": "stated", "here": f"gap of the parts: {said}"}
row |= {"difference": "one input each; up to 5 % passes", "verdict": "reproduced" if kept else "partly"}
book.compare([row], where="Fig. 1")

# %% [markdown]
# ## What to take away
#
# - Three calls make an explanation: load, explain, show. The same three serve pictures, sounds and volumes.
# - Any network that is differentiable from its input to its logits can be explained; an adapter says how to call it.
# - An explanation is a file: the signed attribution of every coefficient, from which everything else follows.
# - Before you show one, ask what a ranking without a network would have said.
#
# ## Exercises
#
# **1. Another class.** Explain the second most probable class of your photograph. Does a scale change its sign?
#
# <details>
# <summary>Solution</summary>
#
# ```python
# with torch.no_grad():
#     second = int(network(result.x).topk(2).indices[0, 1])
# rival = report.explain(network, example, target=second, wavelet=wavelet, levels=levels, **settings)
# for name, one in (("first", result), ("second", rival)):
#     print(name, dict(zip(one.explanation.scales, one.explanation.scale_scores()[0].tolist())))
# ```
#
# The signed sums per scale add up to the change of each logit. Where one is positive and the other negative, that
# scale decides between the two. Where none is, as here for two kinds of cat, the scales speak for both classes alike.
#
# </details>
#
# **2. A network that cannot see fine detail.** Blur the input inside the network and explain it again. What becomes of
# the finest scale?
#
# <details>
# <summary>Solution</summary>
#
# ```python
# from torchvision.transforms.functional import gaussian_blur
#
# blurred = wam.integrated_gradients(lambda x: network(gaussian_blur(x, 9, 3.0)), result.x,
#                                    frame=wam.Wavelet(wavelet, levels=levels, ndim=2), steps=steps)
# print(result.explanation.scale_profile()[0], blurred.scale_profile()[0], sep="\n")
# ```
#
# Its share falls to almost nothing: the gradient passes through the blur, which is its own adjoint. An explanation in
# wavelets shows what the network *can* use.
#
# </details>
#
# **Next:** take a chapter that is missing. [How to contribute](../book/contribute.md) says what one needs.
