"""Image classifiers by name: torchvision, timm, and the five networks of the original paper."""
