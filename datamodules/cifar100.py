"""CIFAR-100: 50,000 training and 10,000 test images, RGB, 32 x 32 pixels, a hundred classes of 600 images.

Source and licence as CIFAR-10, whose class reads it too; 170 MB packed. A ResNet-20 reaches 0.67 to 0.69.
"""

from datamodules.cifar10 import CIFAR10

NAMES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""


class CIFAR100(CIFAR10):
    """50,000 training and 10,000 test images, uint8 ``(3, 32, 32)``; the fine labels."""

    class_names: tuple[str, ...] = tuple(NAMES.split())
    mean = (0.5071, 0.4865, 0.4409)
    std = (0.2673, 0.2564, 0.2762)
    title = "CIFAR-100"
    folder_name = "cifar100"
    torchvision_name = "CIFAR100"
