"""VGG16, as ``tf.keras.applications.VGG16`` has it without its top; so has torchvision.

Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR
2015, configuration D.
"""

from __future__ import annotations

from torch import nn
from torchvision.models.vgg import make_layers


def vgg16() -> nn.Module:
    """Return the convolutional layers, to 512 channels."""
    layers: nn.Module = make_layers(
        [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"]
    )
    return layers
