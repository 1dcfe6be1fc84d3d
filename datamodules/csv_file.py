"""Images that a CSV file lists: columns file and label, and split if the file says it, known by their names.

Paths are relative to the CSV's folder. Without a split column the images are split 70/15/15 as folders are.
"""

from pathlib import Path
from typing import ClassVar, Literal

from datamodules.image_files import ImageFiles
from datamodules.sources.listing import Listing
from datamodules.sources.tables import list_csv
from settings.errors import UserError


class CsvFile(ImageFiles):
    """Images of the CSV file ``root``; a column `labels` with `a|b` gives each image a set of labels.

    Args:
        root: the file.
        data_dir: what was found out about the files is remembered below it.
        channels: 3 reads every image as RGB, 1 as grey.
        check: how closely files are looked at before training; see `ImageFiles`.
        near_duplicates: name pictures of different splits that look alike; see `ImageFiles`.
        max_bad_files: how many files may be unreadable, as a number or a share below 1.0; see `ImageFiles`.
        test_fraction: share of each class for test, where there is no split column.
        scaled_decode: decode large JPEG files of training smaller; see `ImageFiles`.
        cache: folder that keeps decoded pictures; see `ImageFiles`.
        cache_side: short side at which it keeps them for training crops; see `ImageFiles`.
        group_by: regular expression that names what must stay in one split.
    """

    targets: ClassVar[tuple[str, ...]] = ("labels", "multilabels")

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
        self.file, self.folder = self.folder, self.folder.parent

    def listed(self) -> Listing:
        """List the file.

        Raises:
            UserError: there is no such file, or lines that cannot be understood.
        """
        if not self.file.is_file():
            raise UserError(
                f"data.root={self.root}: must be a CSV file with the columns file,label or file,label,split"
            )
        return list_csv(self.file, several=self.target == "multilabels")
