"""MobileNetV2 of half width, equal to ``tf.keras.applications.MobileNetV2`` without top.

Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", CVPR 2018. It is
torchvision's network with TensorFlow's padding and Keras's constants of batch normalisation.
"""

from __future__ import annotations

from functools import partial

from torch import nn
from torchvision.models import MobileNetV2
from torchvision.ops import Conv2dNormActivation

from greencv_core.architectures.keras.layers import SameConv2d


def mobilenet_v2() -> nn.Module:
    """Return the convolutional layers, with 1280 output channels."""
    norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=1e-3)
    # The classifier is not used, so it is as small as possible.
    features: nn.Module = MobileNetV2(num_classes=1, width_mult=0.5, norm_layer=norm).features
    for block in features.modules():
        if isinstance(block, Conv2dNormActivation) and block[0].stride == (2, 2):
            conv = block[0]
            block[0] = SameConv2d(conv.in_channels, conv.out_channels, 3, groups=conv.groups)
    return features
