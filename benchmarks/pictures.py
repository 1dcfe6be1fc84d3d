"""Real images for the benchmarks: random crops of the two photos that scikit-learn carries."""

import torch


def photo_crops(count: int, side: int, *, seed: int = 0) -> torch.Tensor:
    """Crops of random size and place, brought to ``side`` pixels: uint8 ``(count, 3, side, side)``."""
    from sklearn.datasets import load_sample_images
    from torchvision.transforms.v2 import functional as v2

    photos = [torch.from_numpy(photo.copy()).permute(2, 0, 1) for photo in load_sample_images().images]
    draws = torch.Generator().manual_seed(seed)
    crops = []
    for index in range(count):
        photo = photos[index % len(photos)]
        length = int(torch.randint(side, 400, (), generator=draws)) if side < 400 else side
        top, left = (int(torch.randint(0, limit - length + 1, (), generator=draws)) for limit in photo.shape[-2:])
        crops.append(v2.resized_crop(photo, top, left, length, length, [side, side], antialias=True))
    return torch.stack(crops)
