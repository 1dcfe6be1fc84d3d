import torch

from reports.contact_sheet import Row, contact_sheet, label_text

NAMES = ("Coat", "Bag", "a $price$ of 5_000 in a very long name", "Boot")


def test_labels_by_hand():
    assert label_text(torch.tensor(1), NAMES) == "Bag"
    assert label_text(torch.tensor([0.29, 0.71, 0.0, 0.0]), NAMES) == "Bag 0.71\nCoat 0.29"
    assert label_text(torch.tensor([0.0, 0.0, 0.001, 0.999]), NAMES) == "Boot"
    assert label_text(torch.tensor([0.5, 0.3, 0.0, 0.2]), NAMES) == "Coat 0.50\nBag 0.30\nBoot 0.20"
    assert label_text(torch.tensor(2), NAMES) == "a $price$ of 5_00…"


def test_every_image_stands_over_its_label():
    images = torch.arange(3 * 3 * 4 * 4, dtype=torch.uint8).view(3, 3, 4, 4)
    mixed = torch.tensor([[0.6, 0.4, 0, 0], [0, 1.0, 0, 0], [0, 0, 0.5, 0.5]])
    rows = [Row("original", images, torch.tensor([0, 1, 2])), Row("step 0", images.flip(-1), mixed)]
    figure = contact_sheet(rows, NAMES, title="a $title$", notes="crop · " * 60)
    assert len(figure.axes) == 6
    for place, axes in enumerate(figure.axes):
        row = rows[place // 3]
        shown = torch.as_tensor(axes.images[0].get_array().data)
        assert torch.equal(shown, row.images[place % 3].permute(1, 2, 0))
        assert axes.texts[0].get_text() == label_text(row.targets[place % 3], NAMES)
    said = [text.get_text() for text in figure.texts]
    assert "a $title$" in said and "original" in said and "step 0" in said
    figure.canvas.draw()  # no label is read as a formula
    boxes = [axes.get_position() for axes in figure.axes]
    lowest_text = min(text.get_position()[1] for text in figure.texts if text.get_text().startswith("crop"))
    assert boxes[0].y1 < lowest_text  # the notes do not cover the images


def test_grey_images_keep_their_grey_levels():
    images = torch.full((2, 1, 4, 4), 100, dtype=torch.uint8)
    figure = contact_sheet([Row("original", images, torch.tensor([0, 1]))], NAMES, title="grey")
    assert figure.axes[0].images[0].get_clim() == (0, 255)  # not stretched to the image's own range
    assert figure.axes[0].images[0].get_array().shape == (4, 4)
