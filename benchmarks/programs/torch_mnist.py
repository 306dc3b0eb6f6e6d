"""784-128-10 on MNIST in PyTorch: its quickstart's loop, with the data in memory, which is faster than a DataLoader."""

import argparse
import json
import time

import numpy as np
import torch
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("data")
parser.add_argument("--seeds", type=int, default=1)
arguments = parser.parse_args()

with np.load(arguments.data) as file:
    x_train, y_train, x_test, y_test = (
        torch.from_numpy(file[name]) for name in ("x_train", "y_train", "x_test", "y_test")
    )
x_train, x_test, y_train, y_test = x_train.float() / 255, x_test.float() / 255, y_train.long(), y_test.long()

accuracy, later = [], []
for seed in range(arguments.seeds):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    loss_fn, optimizer = nn.CrossEntropyLoss(), torch.optim.Adam(model.parameters(), lr=1e-3)
    for epoch in range(5):
        began = time.perf_counter()
        for batch in torch.randperm(len(x_train)).split(32):
            loss = loss_fn(model(x_train[batch]), y_train[batch])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        if epoch:
            later.append(time.perf_counter() - began)
    with torch.no_grad():
        accuracy.append((model(x_test).argmax(1) == y_test).float().mean().item())
train_us = sum(later) / len(later) / len(x_train) * 1e6
print(json.dumps({"train_us": train_us, "accuracy": accuracy}))
