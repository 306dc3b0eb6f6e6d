"""784-128-10 on MNIST in PyTorch: the quickstart loop, with the data in memory, which is faster than a DataLoader."""

import argparse
import json
import time

import numpy as np
import torch
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("data")
parser.add_argument("--seeds", type=int, default=1)
parser.add_argument("--device", default="cpu")
parser.add_argument("--fused", action="store_true", help="Adam as one kernel")
parser.add_argument("--graph", action="store_true", help="capture a whole step as a CUDA graph and replay it")
arguments = parser.parse_args()

with np.load(arguments.data) as file:
    x_train, y_train, x_test, y_test = (
        torch.from_numpy(file[name]) for name in ("x_train", "y_train", "x_test", "y_test")
    )
x_train, x_test, y_train, y_test = (
    array.to(arguments.device) for array in (x_train.float() / 255, x_test.float() / 255, y_train.long(), y_test.long())
)
torch.set_float32_matmul_precision("high")  # as XLA does on a GPU; a CPU is not affected


def wait():
    """Waits for the GPU to finish."""
    if arguments.device != "cpu":
        torch.cuda.synchronize()


def captured(step, batch):
    """Returns the step as a graph, which is replayed on the indices copied into its batch; three steps warm it up."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step(batch)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step(batch)

    def replay(examples):
        batch.copy_(examples)
        graph.replay()

    return replay


accuracy, later = [], []
for seed in range(arguments.seeds):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    model.to(arguments.device)
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=arguments.fused, capturable=arguments.graph)

    def eager(batch, model=model, loss_fn=loss_fn, optimizer=optimizer):
        """Takes a step on the examples with these indices."""
        loss = loss_fn(model(x_train[batch]), y_train[batch])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    step = captured(eager, torch.arange(32, device=arguments.device)) if arguments.graph else eager
    for epoch in range(5):
        wait()
        began = time.perf_counter()
        for batch in torch.randperm(len(x_train), device=arguments.device).split(32):
            step(batch)
        wait()
        if epoch:
            later.append(time.perf_counter() - began)
    with torch.no_grad():
        accuracy.append((model(x_test).argmax(1) == y_test).float().mean().item())
train_us = sum(later) / len(later) / len(x_train) * 1e6
print(json.dumps({"train_us": train_us, "accuracy": accuracy}))
