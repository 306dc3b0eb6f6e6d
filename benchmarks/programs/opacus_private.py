"""The private training of ``private.py`` in Opacus, as in its MNIST example, with the data in memory."""

import argparse
import json
import statistics
import time
import warnings

import numpy as np
import torch
from opacus import PrivacyEngine
from torch import nn
from torch_block import Block

warnings.filterwarnings("ignore")
BATCH = {"mlp": 256, "cnn": 256, "decoder": 64}
LAYERS, HEADS, WIDTH, CONTEXT = 4, 4, 128, 64

parser = argparse.ArgumentParser()
parser.add_argument("work", choices=tuple(BATCH))
parser.add_argument("data")
parser.add_argument("--mode", choices=("hooks", "functorch", "ghost"), default="hooks")
parser.add_argument("--sampling", choices=("poisson", "shuffled"), default="poisson")
parser.add_argument("--steps", type=int, default=100)
arguments = parser.parse_args()


class Decoder(nn.Module):
    """The decoder of ``torch_decoder.py``, with an untied output layer and norms with biases, as Opacus requires."""

    def __init__(self, n_tokens):
        super().__init__()
        self.embedding, self.positions = nn.Embedding(n_tokens, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks, self.norm = (
            nn.Sequential(*(Block(WIDTH, HEADS, lambda: nn.LayerNorm(WIDTH)) for _ in range(LAYERS))),
            nn.LayerNorm(WIDTH),
        )
        self.logits = nn.Linear(WIDTH, n_tokens, bias=False)

    def forward(self, tokens):
        """Returns the logits of the next character at every position, with the axis of characters second."""
        x = self.embedding(tokens) + self.positions(torch.arange(CONTEXT).expand(len(tokens), CONTEXT))
        return self.logits(self.norm(self.blocks(x))).transpose(1, 2)


def read():
    """Returns inputs, targets and the model."""
    with np.load(arguments.data) as file:
        if arguments.work == "decoder":
            stream = torch.from_numpy(file["train"].astype(np.int64))
            n = (len(stream) - 1) // CONTEXT * CONTEXT
            return stream[:n].view(-1, CONTEXT), stream[1 : n + 1].view(-1, CONTEXT), Decoder(int(file["n_tokens"]))
        inputs, targets = torch.from_numpy(file["x_train"]).float() / 255, torch.from_numpy(file["y_train"]).long()
    if arguments.work == "mlp":
        return inputs, targets, nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    layers = (nn.Conv2d(1, 16, 8, 2, padding=3), nn.ReLU(), nn.MaxPool2d(2, 1), nn.Conv2d(16, 32, 4, 2), nn.ReLU())
    ends = (nn.MaxPool2d(2, 1), nn.Flatten(), nn.Linear(32 * 4 * 4, 32), nn.ReLU(), nn.Linear(32, 10))
    return inputs[:, None], targets, nn.Sequential(*layers, *ends)


class Rows(torch.utils.data.TensorDataset):
    """Rows of tensors in memory, gathered by batch: faster than one by one."""

    def __getitems__(self, indices):
        """Returns the rows as one pair of tensors."""
        return tuple(tensor[torch.tensor(indices, dtype=torch.long)] for tensor in self.tensors)


def as_read(rows):
    """Returns the rows of a batch, which are gathered already."""
    return rows


torch.manual_seed(0)
inputs, targets, model = read()
batch_size, criterion = BATCH[arguments.work], nn.CrossEntropyLoss()
loader = torch.utils.data.DataLoader(Rows(inputs, targets), batch_size=batch_size, shuffle=True, collate_fn=as_read)
made = PrivacyEngine(accountant="rdp").make_private(
    module=model,
    optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
    criterion=criterion,
    data_loader=loader,
    noise_multiplier=1.0,
    max_grad_norm=1.0,
    poisson_sampling=arguments.sampling == "poisson",
    grad_sample_mode=arguments.mode,
)
model, optimizer, loader = made[0], made[1], made[-1]
if arguments.mode == "ghost":
    criterion = made[2]

taken, seen = [], 0
while len(taken) < arguments.steps:
    began = time.perf_counter()
    for x, y in loader:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
        taken.append(time.perf_counter() - began)
        seen += len(x)
        if len(taken) == arguments.steps:
            break
        began = time.perf_counter()

seconds = statistics.median(taken[len(taken) // 10 :])  # the first steps warm up
with torch.no_grad():
    accuracy = float((model(inputs[:1000]).argmax(1) == targets[:1000]).float().mean())
print(
    json.dumps(
        {
            "step_ms": seconds * 1e3,
            "examples_per_second": batch_size / seconds,
            "examples_per_step": seen / len(taken),
            "accuracy": accuracy,
        }
    )
)
