"""Networks, augmentation, the training loop, the device and its precision."""
