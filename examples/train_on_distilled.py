"""Train a network on a distilled set: ``python examples/train_on_distilled.py results/.../seed0`` from the checkout."""

import sys

import torch
from ddbias import load_distilled

torch.manual_seed(0)  # of the network's first weights; the order of the batches has a seed of its own
distilled = load_distilled(sys.argv[1])  # the folder of a set, or a distilled.safetensors of an export
channels, classes = distilled.images.shape[1], len(distilled.meta["label_names"])
convolution = torch.nn.Conv2d(channels, 64, 3, padding=1)
pooled = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten())
network = torch.nn.Sequential(convolution, torch.nn.ReLU(), pooled, torch.nn.Linear(64 * 16, classes))
optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
for epoch in range(40):
    for images, labels in distilled.dataloader(batch_size=64, seed=epoch):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
images, labels = distilled.tensors()
print(f"{(network(images).argmax(1) == labels).float().mean():.0%} of {len(labels)} distilled images learned")
