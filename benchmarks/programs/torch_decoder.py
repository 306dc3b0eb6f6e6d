"""A character-level transformer in PyTorch, in nanoGPT's CPU configuration."""

import argparse
import json
import math
import statistics
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch_block import Block

WARM_UP = 100
SIZES = {  # layers, heads, width, context, batch, vocabulary size (0: the characters of the text), rate
    "cpu": (4, 4, 128, 64, 12, 0, 1e-3),  # nanoGPT's CPU configuration
    "gpu": (6, 6, 384, 256, 64, 0, 1e-3),  # its GPU configuration
    "gpt2": (12, 12, 768, 1024, 16, 50_304, 6e-4),  # GPT-2 small, 124 million parameters
}

parser = argparse.ArgumentParser()
parser.add_argument("data")
parser.add_argument("--steps", type=int, default=2000)
parser.add_argument("--chunk", type=int, default=100)
parser.add_argument("--size", choices=tuple(SIZES), default="cpu")
parser.add_argument("--bfloat16", action="store_true")
parser.add_argument("--device", default="cpu")
parser.add_argument("--compiled", action="store_true", help="use torch.compile")
arguments = parser.parse_args()
LAYERS, HEADS, WIDTH, CONTEXT, BATCH, N_TOKENS, RATE = SIZES[arguments.size]
CHUNK = arguments.chunk
torch.set_float32_matmul_precision("high")  # as XLA does on a GPU; a CPU is not affected

with np.load(arguments.data) as file:
    train, validation = (
        torch.from_numpy(file[part].astype(np.int64)).to(arguments.device) for part in ("train", "validation")
    )
    n_tokens = N_TOKENS or int(file["n_tokens"])


class Normalised(nn.Module):
    """Layer normalisation without a bias."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x):
        """Returns vectors of mean 0 and variance 1, scaled."""
        return functional.layer_norm(x, (WIDTH,), self.weight, eps=1e-6)


class Decoder(nn.Module):
    """Embeddings, blocks, and logits from the tied embedding."""

    def __init__(self):
        super().__init__()
        self.embedding, self.positions = nn.Embedding(n_tokens, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks, self.norm = nn.ModuleList(Block(WIDTH, HEADS, Normalised) for _ in range(LAYERS)), Normalised()
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                last = name.endswith(("mix.weight", "network_out.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * LAYERS) if last else 0.02)

    def forward(self, tokens):
        """Returns the logits of the next character at every position."""
        x = self.embedding(tokens) + self.positions(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            x = block(x)
        return functional.linear(self.norm(x), self.embedding.weight)


def learning_rate(step):
    """Returns the learning rate of a step: a linear warm-up, then a cosine decay to a tenth."""
    if step < WARM_UP:
        return RATE * (step + 1) / (WARM_UP + 1)
    decayed = (step - WARM_UP) / max(arguments.steps - WARM_UP, 1)
    return RATE * (0.1 + 0.45 * (1 + math.cos(math.pi * min(decayed, 1))))


def windows(stream, starts):
    """Returns windows of a stream of characters, and the same windows shifted by one character."""
    return (
        torch.stack([stream[start : start + CONTEXT] for start in starts]),
        torch.stack([stream[start + 1 : start + 1 + CONTEXT] for start in starts]),
    )


def loss_of(inputs, targets, predict):
    """Returns the mean cross entropy of the next characters, in nats."""
    with torch.autocast(arguments.device.split(":")[0], torch.bfloat16, enabled=arguments.bfloat16):
        return functional.cross_entropy(predict(inputs).flatten(0, 1), targets.flatten())


def wait():
    """Waits for the GPU to finish."""
    if arguments.device != "cpu":
        torch.cuda.synchronize()


torch.manual_seed(0)
model = Decoder().to(arguments.device)
predict = torch.compile(model) if arguments.compiled else model
matrices, vectors = ([p for p in model.parameters() if (p.dim() > 1) is wide] for wide in (True, False))
groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), fused=True)

losses, taken = [], []
for step in range(arguments.steps):
    if step % CHUNK == 0:
        wait()
        began = time.perf_counter()
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(step)
    loss = loss_of(*windows(train, torch.randint(len(train) - CONTEXT, (BATCH,))), predict)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    losses.append(loss.detach())
    if step % CHUNK == CHUNK - 1:
        wait()
        taken.append(time.perf_counter() - began)

losses = [loss.item() for loss in losses]
with torch.no_grad():
    starts = torch.arange(0, len(validation) - CONTEXT, CONTEXT)[:2000]
    held_out = statistics.fmean(loss_of(*windows(validation, part), model).item() for part in starts.split(20))
seconds = statistics.median(taken) / CHUNK
print(
    json.dumps(
        {
            "step_ms": seconds * 1e3,
            "tokens_per_second": BATCH * CONTEXT / seconds,
            "train_loss": statistics.fmean(losses[-100:]),
            "validation_loss": held_out,
            "losses": losses[49::50],
        }
    )
)
