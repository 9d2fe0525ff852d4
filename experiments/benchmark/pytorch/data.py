"""The published program's loading of training batches: a DataLoader, augmentation with
Pillow, normalisation on the host.
"""

import numpy as np
import torch
from PIL import Image

from experiments.benchmark.data import examples, resize_range, whole_jittered
from experiments.benchmark.side import Side, cores
from hfpl_jax.data.example import decode_image
from hfpl_jax.data.transforms.train_crop import random_flip, random_overlap

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Crops(torch.utils.data.Dataset):
    """Normalised crops [3, crop, crop], channels first. The draws are ours, in their
    order; what is done with them is the original's.
    """

    def __init__(self, crop: int, length: int):
        self._crop, self._examples, self._length = crop, examples(), length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.one(np.random.default_rng(), index)

    def one(self, random: np.random.Generator, index: int) -> torch.Tensor:
        example, crop = self._examples[index % len(self._examples)], self._crop
        image = Image.fromarray(decode_image(example.image, example.file_name))
        low, high = resize_range(crop)
        target = int(random.integers(low, high, endpoint=True))
        width, height = image.size
        size = (
            (round(width * target / height), target)
            if width < height
            else (target, round(height * target / width))
        )
        image = whole_jittered(
            random, random_flip(random, np.asarray(image.resize(size, Image.Resampling.BICUBIC)))
        )
        normalized = np.empty(image.shape, np.float32)
        for channel in range(3):
            normalized[..., channel] = (image[..., channel] / 255.0 - MEAN[channel]) / STD[channel]
        read_rows, write_rows = random_overlap(random, image.shape[0], crop)
        read_columns, write_columns = random_overlap(random, image.shape[1], crop)
        container = np.zeros((crop, crop, 3), np.float32)
        container[write_rows, write_columns] = normalized[read_rows, read_columns]
        return torch.from_numpy(np.ascontiguousarray(container.transpose(2, 0, 1)))


def input_pipeline(batches: int, batch: int, crop: int) -> Side:
    """A worker process a core, kept from run to run; a run is an epoch."""
    torch.multiprocessing.set_sharing_strategy("file_system")
    data = Crops(crop, batch * batches)
    loader = torch.utils.data.DataLoader(
        data,
        batch_size=batch,
        num_workers=cores(),
        multiprocessing_context="spawn",
        persistent_workers=True,
    )

    def numbers(_) -> dict[str, np.ndarray]:
        return {"crop": data.one(np.random.default_rng(0), 0).numpy().transpose(1, 2, 0)}

    return Side(lambda: list(loader), numbers, images=batches * batch)
