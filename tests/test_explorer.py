"""Explorers of images, sounds and volumes: driven as a reader drives them, and as a page shows them."""

import asyncio
import io
import re
import threading
from datetime import UTC, datetime
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
import torch
from ipywidgets import Box
from nbclient import NotebookClient
from PIL import Image

import wam
from test_book import Page
from wam import attribution, book, data, explorer, inputs, models, source, words
from wam.clips import Clip
from wam.explorer import SHARES, explore
from wam.methods import METHODS

SOUND = "yamnet"


@pytest.fixture(autouse=True)
def live(monkeypatch):
    monkeypatch.delenv("WAM_LEDGER", raising=False)
    monkeypatch.setattr(explorer.Explorer, "PAUSE", 0.02)


@pytest.fixture(scope="module")
def digits():
    return data.digits3d("test", 4)


@pytest.fixture(scope="module")
def clips():
    return {s.name: s.clip.mono().resample(16000).fit(1) for s in data.recordings()[:2]}


def counted(*names):
    """Models, and a list of every input that they see; 'stop' in it is raised at the evaluation after as many."""
    seen, found = [], [models.load(name) for name in names]
    for model in found:
        model.register_forward_pre_hook(lambda module, args: seen.extend(module.name for _ in args[0]))
    return found, seen


def alert(e):
    found = re.fullmatch('<span role="alert">(.*)</span>', e.status.value)
    return found and found[1].replace("&#x27;", "'")


def alts(e):
    return [image["alt"] for image in Page(e.picture.value).all("img")]


def test_one_gradient_serves_every_wavelet_level_and_share(digits):
    networks, seen = counted("digits3d", "moving_digits")
    e = explore(networks, digits, levels=2, evaluations=5)
    assert len(seen) == 7 == e.bar.max == e.bar.value  # the class, the baseline, five gradients
    assert "integrated gradients, haar, 2 levels" in alts(e)[0] and "top 10 %" in alts(e)[0]
    assert re.search(r"[\d.]+ s, 7 evaluations", e.status.value)
    before = e.picture.value
    for setting, value in {"share kept": 0.5, "levels": 1, "wavelet": "db2"}.items():
        e.controls[setting].value = value
        assert e.picture.value != before and "no evaluation" in e.status.value and e.bar.value == e.bar.max
        before = e.picture.value
    assert len(seen) == 7 and "db2, 1 level." in alts(e)[0] and "top 50 %" in alts(e)[0]
    for method, cost in zip(METHODS, (0, 6, 1)):
        seen.clear()
        e.controls["method"].value = method
        assert len(seen) == cost and e.bar.value == e.bar.max == (cost or 7)
        assert f"{words.method(method)}, db2" in alts(e)[0]
    seen.clear()
    e.controls["example"].value = 2
    e.controls["model"].value = 1
    assert seen == ["digits3d", "moving_digits"]
    seen.clear()
    e.controls["model"].value = 0
    e.controls["example"].value = 0
    assert not seen and all(parameter.requires_grad for parameter in networks[0].parameters())


@pytest.mark.parametrize("method", METHODS)
def test_explains_as_the_package_does(digits, method):
    (network,), _ = counted("digits3d")
    _, found, x = source.Source(network, digits, 4).explained(0, 1, "db2", 2, method)
    options = {"integrated_gradients": {"steps": 4}, "smoothgrad": {"samples": 4}, "saliency": {}}[method]
    direct = getattr(attribution, method)(
        network, network.prepare(digits[1:2]), frame=wam.Wavelet("db2", 2, 3), **options
    )
    assert (
        torch.allclose(found.attributions.pack()[0], direct.attributions.pack()[0], atol=1e-5)
        and found.target == direct.target
    )
    assert torch.equal(x, digits[1:2].batch())


def test_images(monkeypatch):
    networks, seen = counted("mobilenet_v2", "efficientnet_lite0")
    e = explore(networks, data.images()[:2], evaluations=2)
    (alt,) = alts(e)
    assert "bull mastiff: integrated gradients, db4, 3 levels" in alt and "top 10 %" in alt
    assert "Share of the attribution per scale" in Page(e.picture.value).text["figcaption"]
    e.controls["model"].value = 1
    assert seen == ["mobilenet_v2"] * 4 + ["efficientnet_lite0"] * 4
    assert [name for name, _ in e.controls["example"].options] == ["bull mastiff", "folding chair"]


def test_small_pictures_and_tensors():
    (network,), _ = counted("lenet5")
    digits = data.mnist("test", 2)
    e = explore(network, {"a seven": digits.batch()[:1]}, wavelets=["haar"], levels=2, evaluations=2)
    assert alts(e)[0].startswith("7: integrated gradients") and e.controls["example"].label == "a seven"
    alike = explore(network, digits, wavelets=["haar"], levels=2, evaluations=2)
    assert alts(alike) == alts(e)


def test_sounds_have_players_of_one_level(clips):
    (network,), _ = counted(SOUND)
    e = explore(network, clips, evaluations=2)
    page = Page(e.picture.value)
    players = page.all("audio")
    assert [p["aria-label"].partition(",")[0] for p in players] == ["the sound", "top 10 %"]
    assert len({p["aria-label"].partition(",")[2] for p in players}) == 1, "of the same RMS"
    assert "sym8, 3 levels" in alts(e)[0] and "lines around parts" in alts(e)[0]
    _, found, _ = source.Source(network, clips, 2).explained(0, 0, "sym8", 3, "integrated_gradients")
    assert found.settings["nodes"] == "geometric"


def test_every_share_can_be_chosen_and_comes_back_as_it_was(digits):
    (network,), _ = counted("digits3d")
    slider = explore(network, digits, levels=1, evaluations=1).controls["share kept"]
    assert slider.value == 0.1 and slider.label == "10 %"
    for index, (label, value) in enumerate(slider.options, start=1):  # by index, as a front end sends it
        assert label == f"{index} %" and value == index / 100
    assert index == 100


def test_settings_that_do_not_fit_run_no_model_and_are_explained(digits):
    (network,), seen = counted("digits3d")
    e = explore(network, digits, levels=2, evaluations=2)
    seen.clear()
    e.controls["levels"].value = 8
    assert "8 levels of haar do not fit" in alert(e) and "at most 4 do" in alert(e) and not e.picture.value
    e.controls["levels"].value = 2
    e.controls["wavelet"].value = "db22<"
    assert alert(e).startswith("unknown discrete wavelet 'db22&lt;'; did you mean 'db22'") and not e.picture.value
    e.controls["wavelet"].value = " db2 "
    assert not alert(e) and alts(e) and not seen


def test_interrupts_and_broken_models_leave_it_usable(digits):
    (network,), _ = counted("digits3d")
    trouble = [KeyboardInterrupt(), RuntimeError("a <bad> day")]
    hook = network.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(trouble[0]))
    e = explore(network, digits, levels=2, evaluations=2)
    assert alert(e).startswith("interrupted") and e.bar.value == 0
    del trouble[0]
    e.controls["example"].value = 1
    assert alert(e) == "RuntimeError: a &lt;bad&gt; day"
    hook.remove()
    e.controls["example"].value = 0
    assert alts(e) and e.bar.value == e.bar.max


def test_quick_changes_run_one_explanation_the_last(digits):
    (network,), seen = counted("digits3d")
    e = explore(network, digits, levels=2, evaluations=3)
    seen.clear()
    calls, explained = [], e._source.explained
    e._source.explained = lambda *setting: (calls.append(setting), explained(*setting))[1]
    e.PAUSE = 0.5  # longer than this loop is ever kept waiting

    async def drag():
        for example in (1, 2, 3):
            e.controls["example"].value = example
            for share in (0.2, 0.3, 0.4):
                e.controls["share kept"].value = share
                await asyncio.sleep(0.001)
        assert not seen and "top 10 %" in alts(e)[0], "nothing yet"
        await e._task
        await asyncio.sleep(0.6)
        assert len(calls) == 1

    asyncio.run(drag())
    assert len(seen) == 5 == e.bar.value == e.bar.max and "top 40 %" in alts(e)[0]
    _, direct, _ = e._source.explained(0, 3, "haar", 2, "integrated_gradients")
    assert len(seen) == 5 and f"Score {direct.score.item():.2f}" in alts(e)[0]


def test_a_newer_setting_stops_what_runs(digits):
    (network,), seen = counted("digits3d")
    e = explore(network, digits, levels=2, evaluations=400)
    seen.clear()
    free, bars = threading.Event(), []
    hold = network.register_forward_pre_hook(lambda *_: None if len(seen) != 10 or free.wait(60) else None)

    async def choose():
        e.controls["example"].value = 1
        while len(seen) < 10:
            await asyncio.sleep(0.01)
        bars.append(e.bar.value)  # the loop is free, and the bar has moved
        e.controls["method"].value = "saliency"
        free.set()
        await e._task

    asyncio.run(choose())
    hold.remove()
    assert 9 <= bars[0] <= 10 and len(seen) == 11, "ten of the old, and one of the new"
    assert "saliency" in alts(e)[0] and e.bar.value == 1 and "1 evaluation of" in e.status.value


def test_interrupts_in_a_loop_leave_it_usable(digits):
    (network,), _ = counted("digits3d")
    e = explore(network, digits, levels=2, evaluations=2)

    async def choose():
        hook = network.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        e.controls["example"].value = 1
        await e._task
        assert alert(e).startswith("interrupted")
        hook.remove()
        e.controls["levels"].value = 1
        await e._task
        assert alts(e) and not alert(e)

    asyncio.run(choose())


def upload(e, name, content):
    file = {"name": name, "type": "", "size": len(content), "content": memoryview(content)}
    e.controls["file"].value = [file | {"last_modified": datetime.now(UTC)}]


def saved(values):
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def test_a_file_of_your_own(digits, monkeypatch):
    (network,), seen = counted("digits3d")
    e = explore(network, digits[:2], levels=2, evaluations=2)
    seen.clear()
    whole = saved(digits.batch()[3, 0].numpy())
    upload(e, "../own.npy", whole)
    monkeypatch.setattr(inputs, "VOXELS", 16**3)
    assert e.controls["example"].label == "own.npy" and len(seen) == 4 and alts(e)
    assert f"Score {network(digits.batch()[3:]).max():.2f}" in alts(e)[0]
    before = e.controls["example"].options
    for name, content, message in (
        ("nothing.npy", b"", "nothing.npy is empty"),
        ("half.npy", whole[:300], "half.npy: it is cut off"),
        (
            "huge.npy",
            saved(np.zeros((17, 17, 17))),
            r"huge.npy: its shape is \(17, 17, 17\), 4913 values; the limit is",
        ),
        ("photograph.png", png(), "photograph.png is a kind of image; choose one of volume"),
        ("words.txt", b"nothing of the kind", "words.txt: it is of no kind that is read here"),
    ):
        upload(e, name, content)
        assert re.match(message, alert(e)) and "/tmp" not in alert(e), alert(e)
    assert e.controls["example"].options == before and len(seen) == 5
    e.controls["share kept"].value = 0.2
    assert alts(e)


def png():
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)).save(file, "png")
    return file.getvalue()


def test_a_photograph_and_a_recording_of_your_own(clips, tmp_path):
    (network, listener), seen = counted("lenet5", SOUND)
    e = explore(network, data.mnist("test", 1), wavelets=["haar"], levels=2, evaluations=1)
    upload(e, "photograph.png", png())
    assert alts(e) and e._source.explained(0, 1, "haar", 2, "integrated_gradients")[2].shape == (1, 1, 28, 28)
    e = explore(listener, clips, evaluations=1)
    stereo = Clip(torch.stack([torch.sin(torch.arange(22050 * 3) * 0.1)] * 2) / 2, 22050)
    upload(e, "tone.wav", stereo.write(tmp_path / "tone.wav").read_bytes())
    assert alts(e) and e.controls["example"].label == "tone.wav"
    _, _, x = e._source.explained(0, 2, "haar", 1, "integrated_gradients")
    assert x.shape == (1, 1, 48000), "mono, at the rate of the model"


@pytest.fixture
def shown(monkeypatch):
    outputs = []
    monkeypatch.setattr(book, "display", lambda output: outputs.append(output.data))
    monkeypatch.setenv("WAM_LEDGER", "somewhere")
    return outputs


@pytest.mark.parametrize(
    "vary, positions",
    [
        ("share kept", ["top 1 %", "top 10 %", "top 30 %"]),
        ("method", [words.method(name) for name in METHODS]),
        ("levels", ["1 level", "2 levels"]),
        ("wavelet", ["haar", "db2"]),
        ("example", ["7", "2", "1", "0"]),
        ("model", ["digits3d", "moving_digits"]),
    ],
)
def test_a_static_page_has_a_slider_in_its_place(shown, digits, vary, positions):
    networks, seen = counted("digits3d", "moving_digits")
    assert explore(networks, digits, wavelets=("haar", "db2"), levels=2, evaluations=2, vary=vary) is None
    (html,) = shown
    page = Page(html)
    (control,) = page.all("input")
    assert control["type"] == "range" and int(control["max"]) == len(positions) - 1 and "oninput" in control
    assert control["aria-label"] == vary.capitalize() and control["aria-valuetext"] == positions[0]
    images = [image["alt"] for image in page.all("img")]
    assert len(set(images)) == len(positions) and all(re.match(r"\w+: ", alt) for alt in images)
    assert len(seen) == {"method": 4 + 3 + 1, "example": 16, "model": 8}.get(vary, 4)
    fixed = {"model": "digits3d", "example": "7", "wavelet": "haar", "levels": "2 levels", "share kept": "top 10 %"}
    caption = page.text["figcaption"].replace("\N{NO-BREAK SPACE}", " ")
    assert [value for name, value in fixed.items() if value not in caption] in ([], [fixed.get(vary)])
    assert "Colab and Jupyter" in page.text["figcaption"]


def test_static_images_and_sounds_are_light(shown, clips):
    networks, _ = counted("mobilenet_v2", SOUND)
    explore(networks[0], data.images()[:1], evaluations=1)
    explore(networks[1], {name: clip.resample(16000).fit(5) for name, clip in clips.items()}, levels=5, evaluations=1)
    for html in shown:
        assert len(Page(html).all("img")) == len(SHARES) and len(html) < 250_000
    assert "bull mastiff" in shown[0] and "<audio" not in shown[1]


def test_what_cannot_be_explored_is_refused(digits):
    (volume, picture), _ = counted("digits3d", "lenet5")
    with pytest.raises(ValueError, match=r"of one dimension.*\{'digits3d': 3, 'lenet5': 2\}"):
        explore([volume, picture], digits)
    with pytest.raises(ValueError, match="at least one; got {}"):
        explore([], digits)
    with pytest.raises(ValueError, match="needs examples"):
        explore(volume, [])
    with pytest.raises(ValueError, match="unknown vary 'share'; did you mean 'share kept'"):
        explore(volume, digits, vary="share")


def test_controls_say_what_they_are(digits):
    e = explore(models.load("digits3d"), digits, levels=1, evaluations=1)
    controls = next(child for child in e.widget.children if isinstance(child, Box))
    assert [c.description for c in controls.children][-1] == "volume of your own"
    assert all(c.description for c in controls.children)


def test_upload_as_colab_gives_it(digits):
    """Colab has ipywidgets 7, whose uploads are a dict by name."""
    e = explore(models.load("digits3d"), digits, levels=1, evaluations=1)
    content = saved(np.zeros((10, 10, 10), np.float32))
    e._uploaded(SimpleNamespace(new={"mine.npy": {"metadata": {"name": "mine.npy"}, "content": content}}))
    assert e.controls["example"].label == "mine.npy"


CELLS = """
from wam import data, explorer, models
model, seen = models.load("digits3d"), []
model.register_forward_pre_hook(lambda *_: seen.append(1))
e = explorer.explore(model, data.digits3d("test", 3), levels=2, evaluations=4)
e
----
print(e.controls["example"].comm.comm_id, len(seen))
----
print(len(seen), e.controls["example"].value, e.status.value, "2 levels" in e.picture.value)
"""


def test_in_a_kernel():
    """As in Colab and Jupyter: the widget is shown, and messages of a browser drive it."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in CELLS.split("----")])
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", allow_errors=False)

    async def drive():
        async with client.async_setup_kernel():
            for i in (0, 1):
                await client.async_execute_cell(notebook.cells[i], i)
            comm, before = notebook.cells[1].outputs[0].text.split()
            for index in (1, 2, 1, 2):
                change = {"comm_id": comm, "data": {"method": "update", "state": {"index": index}, "buffer_paths": []}}
                client.kc.shell_channel.send(client.kc.session.msg("comm_msg", change))
            for _ in range(100):
                await asyncio.sleep(0.3)
                await client.async_execute_cell(notebook.cells[2], 2)
                if not notebook.cells[2].outputs[0].text.startswith(before + " "):
                    await asyncio.sleep(2)
                    break
            await client.async_execute_cell(notebook.cells[2], 2)
            client.set_widgets_metadata()

    asyncio.run(drive())
    assert notebook.cells[1].outputs[0].text.split()[1] == "6"
    said = notebook.cells[2].outputs[0].text
    assert said.startswith("12 2 ") and "6 evaluations of the model" in said and "True" in said, said
    (view,) = notebook.cells[0].outputs
    model_id = view.data["application/vnd.jupyter.widget-view+json"]["model_id"]
    states = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    assert states[model_id]["model_name"] == "VBoxModel"
    shown = [s["state"]["value"] for s in states.values() if s["model_name"] == "HTMLModel"]
    assert any("<img" in value for value in shown) and any("6 evaluations" in value for value in shown)
