"""VGG16, equal to ``tf.keras.applications.VGG16`` without top, and to torchvision's.

Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR
2015, configuration D.
"""

from __future__ import annotations

from torch import nn
from torchvision.models.vgg import make_layers


def vgg16() -> nn.Module:
    """Return the convolutional layers, with 512 output channels."""
    layers: nn.Module = make_layers(
        [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"]
    )
    return layers
