"""A folder of your own images: `train`, `val`, `test` of class folders, or class folders that are split 70/15/15.

The class of a file is the first folder below its split, or what `label_from` finds in its path. Hidden folders, files
outside class folders and files that are no images are left out and named.
"""

from pathlib import Path
from typing import Annotated, Literal

from datamodules.image_files import ImageFiles
from datamodules.sources.archives import MAX_RATIO, is_archive, unpacked
from datamodules.sources.folders import list_folder
from datamodules.sources.listing import Listing
from settings.errors import UserError


class Folder(ImageFiles):
    """Images of ``root``.

    Args:
        root: the folder, or a zip or tar file of one, which is unpacked below ``data_dir`` once.
        data_dir: what was found out about the files is remembered below it.
        channels: 3 reads every image as RGB, 1 as grey.
        check: how closely files are looked at before training; see `ImageFiles`.
        near_duplicates: name pictures of different splits that look alike; see `ImageFiles`.
        max_bad_files: how many files may be unreadable, as a number or a share below 1.0; see `ImageFiles`.
        test_fraction: share of each class for test, where the folder has no splits.
        scaled_decode: decode large JPEG files of training smaller; see `ImageFiles`.
        cache: folder that keeps decoded pictures; see `ImageFiles`.
        cache_side: short side at which it keeps them for training crops; see `ImageFiles`.
        max_unpack_ratio: how many times its own size an archive may unpack to; beyond it it is refused as a bomb.
        label_from: regular expression whose group `label`, else first group, is the class, for flat folders.
        group_by: regular expression that names what must stay in one split.
    """

    def __init__(
        self,
        *,
        root: Path | None = None,
        data_dir: Path = Path("data"),
        channels: Literal[1, 3] = 3,
        check: Literal["auto", "full", "quick", "off"] = "auto",
        near_duplicates: int | None = None,
        max_bad_files: int | float = 0.2,
        test_fraction: float = 0.15,
        scaled_decode: bool = True,
        cache: Path | None = None,
        cache_side: int | None = None,
        label_from: str | None = None,
        max_unpack_ratio: Annotated[float, "x > 0"] = MAX_RATIO,
        group_by: str | None = None,
    ) -> None:
        super().__init__(
            root=root,
            data_dir=data_dir,
            channels=channels,
            check=check,
            near_duplicates=near_duplicates,
            max_bad_files=max_bad_files,
            test_fraction=test_fraction,
            scaled_decode=scaled_decode,
            cache=cache,
            cache_side=cache_side,
            group_by=group_by,
        )
        self.label_from = label_from
        self.max_unpack_ratio = max_unpack_ratio

    def listed(self) -> Listing:
        """List the folder.

        Raises:
            UserError: there is no such folder, or no image in class folders.
        """
        if is_archive(self.folder):
            self.folder = unpacked(self.folder, self.data_dir / "unpacked", max_ratio=self.max_unpack_ratio)
        if not self.folder.is_dir():
            raise UserError(f"data.root={self.folder}: there is no such folder, zip or tar file")
        return list_folder(self.folder, self.label_from)
