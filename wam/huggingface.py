"""Image and audio classifiers of Hugging Face, as the package wants them; needs ``transformers``."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor, nn

from wam.adapters import Adapter
from wam.assets import AssetError
from wam.front_ends import FilterBank, Standardised
from wam.image_models import OFFLINE, ImageClassifier
from wam.sound_models import SoundClassifier

__all__ = ["classifier"]


def classifier(
    model: str | nn.Module, processor: Any = None, *, pretrained: bool = True
) -> ImageClassifier | SoundClassifier:
    r"""An image or audio classifier of Hugging Face, in eval mode; needs ``transformers``.

    - Images: resizing, cropping and normalisation are the image processor's. Mean and standard deviation are measured
      by showing it single colours, so that ``display`` undoes whatever it does, a swap of red and blue included.
    - Sounds, models of waveforms (wav2vec 2.0, HuBERT, WavLM, ...): the input is the waveform itself. Where their
      extractor normalises, :class:`wam.front_ends.Standardised` does it inside the model.
    - Sounds, Audio Spectrogram Transformers: the input is the waveform, and :class:`wam.front_ends.FilterBank` inside
      the model is what their extractor computes. What is longer than its ``max_length`` frames is not heard.

    Its classes exclude each other unless its configuration says ``"multi_label_classification"``.

    Parameters
    ----------
    model
        The name of a repository, ``"owner/name"``; a folder; or a model object of ``transformers`` with a
        classification head, whose parts are shared, not copied.
    processor
        Its image processor or feature extractor (or a processor that holds one). Needed with a model object.
    pretrained
        ``False``, with a name: random weights; configuration and processor are downloaded all the same.

    Raises
    ------
    ImportError
        ``transformers`` is not installed.
    ValueError
        The model is neither an image nor an audio classifier; its classification head is not trained; its images have
        other channels than three; or it hears through a front end that is not differentiable here. The message says
        what to do.
    wam.assets.AssetError
        It could not be downloaded.

    Notes
    -----
    A model that divides each sound by its standard deviation hears no loudness: its score is the same along the whole
    path of integrated gradients from silence, and jumps at the very end. No rule of nodes finds that, and
    ``completeness_gap`` says so. Take quiet noise as the baseline, ``0.01 * torch.randn_like(x)``, or SmoothGrad.

    Examples
    --------
    >>> from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor
    >>> from wam import huggingface
    >>> config = ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
    ...                    image_size=32, patch_size=8, id2label={0: "cat", 1: "dog"})
    >>> model = huggingface.classifier(
    ...     ViTForImageClassification(config), ViTImageProcessor(size={"height": 32, "width": 32}))
    >>> model.categories, model(model.prepare(Image.new("RGB", (60, 40)))).shape
    (('cat', 'dog'), torch.Size([1, 2]))
    """
    name, trained = model, pretrained
    if isinstance(model, str):
        model, processor = _from_hub(model, processor, pretrained)
    elif processor is None:
        raise ValueError(
            f"give the processor of {type(model).__name__} too, classifier(model, processor): "
            "AutoImageProcessor.from_pretrained(name) for images, AutoFeatureExtractor.from_pretrained(name) for sounds"
        )
    else:
        name = getattr(model, "name_or_path", "") or type(model).__name__
    for part in ("image_processor", "feature_extractor"):
        processor = getattr(processor, part, processor)
    heard = {"Wav2Vec2FeatureExtractor": _waveform, "ASTFeatureExtractor": _spectrogram}
    extractor, argument = type(processor).__name__, model.main_input_name
    categories = [model.config.id2label[i] for i in range(model.config.num_labels)]
    categories = [re.sub(r"^LABEL_(\d+)$", r"class \1", str(label)) for label in categories]
    if argument == "pixel_values":
        if (channels := getattr(model.config, "num_channels", 3)) != 3:
            raise ValueError(
                f"{name} takes images of {channels} channel{'s' * (channels != 1)}, not of three. For one channel call "
                "adapters.wrap(model, ndim=2, channels=1, input_size=(height, width), mean=[...], std=[...], "
                "argument='pixel_values') with the normalisation of its training"
            )
        transform, order, mean, std, size = _shown(processor)
        network = Adapter(model, argument, "logits", lambda x: x[:, order])
        found = ImageClassifier(name, network, transform, mean, std, size, trained, categories)
    elif extractor in heard:
        front_end, minimum = heard[extractor](processor, model.config)
        network = Adapter(model, argument, "logits", lambda x: x[:, 0])
        found = SoundClassifier(name, front_end, network, processor.sampling_rate, minimum, categories, trained)
    else:
        raise ValueError(
            f"{name} takes {argument!r} made by {extractor}, which computes outside of PyTorch's gradients; there is a "
            f"differentiable front end for {' and '.join(heard)}. Write this one as a module from waveforms "
            "(batch, 1, n), and give nn.Sequential(front_end, adapters.Adapter(model, "
            f"{argument!r}, 'logits')) to adapters.wrap(..., ndim=1, rate=...)"
        )
    found.exclusive = model.config.problem_type != "multi_label_classification"
    return found.to(model.device, model.dtype).eval()


def _from_hub(name: str, processor: Any, pretrained: bool) -> tuple[nn.Module, Any]:
    """The model and the processor of a repository or a folder."""
    try:
        import transformers as hub
    except ImportError as error:
        raise ImportError(
            "models of Hugging Face need transformers, which cannot be imported: "
            f"{error}; pip install 'wam[huggingface]'"
        ) from error
    kinds = (
        (hub.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING, hub.AutoModelForImageClassification, hub.AutoImageProcessor),
        (hub.MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING, hub.AutoModelForAudioClassification, hub.AutoFeatureExtractor),
    )
    try:
        config = hub.AutoConfig.from_pretrained(name)
        fitting = [kind[1:] for kind in kinds if type(config) in kind[0]]
        if not fitting:
            raise ValueError(
                f"{name} is a {config.model_type!r} model, for which transformers {hub.__version__} has neither an "
                "image nor an audio classifier: name one of these, or make your own module of it for adapters.wrap"
            )
        auto, processors = fitting[0]
        processor = processor or processors.from_pretrained(name)
        if not pretrained:
            return auto.from_config(config), processor
        model, info = auto.from_pretrained(name, config=config, output_loading_info=True)
    except OSError as error:
        reason = " ".join(str(error).split())
        raise AssetError(
            f"could not get {name} from Hugging Face: {reason} Check the name, owner/name or a folder. The weights "
            f"are another thing. {OFFLINE}"
        ) from error
    if untrained := sorted(k for k in info["missing_keys"] if not k.startswith(f"{model.base_model_prefix}.")):
        raise ValueError(
            f"{name} holds no trained classifier: {', '.join(untrained[:4])} would be random. Name a model that was "
            "fine-tuned for classification, or take pretrained=False"
        )
    return model, processor


def _shown(processor: Any) -> tuple[Callable, list[int], np.ndarray, np.ndarray, tuple[int, int]]:
    """What an image processor does to an image, in RGB, and its normalisation, measured with single colours."""

    def given(image: Image.Image) -> Tensor:
        values = processor(images=image, return_tensors="pt")["pixel_values"][0]
        if values.ndim != 3 or len(values) != 3:
            raise ValueError(
                f"{type(processor).__name__} makes pixel_values of shape {tuple(values.shape)} of an image, not "
                "(3, height, width): write the preparation as prepare= of adapters.wrap"
            )
        return values

    seen = {name: given(Image.new("RGB", (512, 512), name)) for name in ("black", "white", "red", "lime", "blue")}
    _, height, width = seen["black"].shape
    colour = {name: values[:, height // 2, width // 2].double() for name, values in seen.items()}
    place = [int((colour[name] - colour["black"]).abs().argmax()) for name in ("red", "lime", "blue")]
    if sorted(place) != [0, 1, 2]:
        raise ValueError(f"{type(processor).__name__} mixes the colours: write the preparation for adapters.wrap")
    std = 1 / (colour["white"] - colour["black"])[place]
    mean = -colour["black"][place] * std
    order = [place.index(i) for i in range(3)]
    return (lambda image: given(image)[place]), order, mean.float().numpy(), std.float().numpy(), (height, width)


def _waveform(extractor: Any, config: Any) -> tuple[Standardised, int]:
    """The front end of a model of waveforms, and the least number of samples, of which its convolutions leave one."""
    minimum = getattr(config, "squeeze_factor", 1)
    for kernel, stride in reversed(list(zip(config.conv_kernel, config.conv_stride))):
        minimum = (minimum - 1) * stride + kernel
    return Standardised(extractor.sampling_rate, minimum, extractor.do_normalize), minimum


def _spectrogram(extractor: Any, config: Any) -> tuple[FilterBank, int]:
    """The front end of an Audio Spectrogram Transformer, and the samples of one window."""
    normalisation = {"mean": extractor.mean, "std": extractor.std} if extractor.do_normalize else {}
    bank = FilterBank(extractor.sampling_rate, extractor.num_mel_bins, extractor.max_length, **normalisation)
    return bank, bank.minimum
