"""MNIST: 60,000 training and 10,000 test images of handwritten digits, grey, 28 x 28 pixels, ten classes.

Source: Y. LeCun, C. Cortes and C. J. C. Burges, http://yann.lecun.com/exdb/mnist (1998), CC BY-SA 3.0; 12 MB packed.
LeNet-5 reaches 0.99.

The same four files in the same format as Fashion-MNIST, which was made to stand in for it: so it is read by that class.
They are looked for in `root` if one is given, else in `<data_dir>/mnist`; where they are missing, torchvision downloads
them.
"""

from datamodules.fashion_mnist import FashionMNIST


class MNIST(FashionMNIST):
    """60,000 training and 10,000 test images, uint8 ``(1, 28, 28)``."""

    class_names = tuple("0123456789")
    mean = (0.1307,)
    std = (0.3081,)
    title = "MNIST"
    folder_name = "mnist"
    torchvision_name = "MNIST"
    debian = None
