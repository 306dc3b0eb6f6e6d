"""A block of a decoder in PyTorch."""

from torch import nn
from torch.nn import functional


class Block(nn.Module):
    """Causal attention and a two-layer network; ``norm()`` makes a normalisation."""

    def __init__(self, width, heads, norm):
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_network = norm(), norm()
        self.queries_keys_values = nn.Linear(width, 3 * width, bias=False)
        self.mix = nn.Linear(width, width, bias=False)
        self.network_in, self.gelu = nn.Linear(width, 4 * width, bias=False), nn.GELU(approximate="tanh")
        self.network_out = nn.Linear(4 * width, width, bias=False)

    def forward(self, x):
        """Returns the vectors after this block."""
        rows, length, width = x.shape
        projected = self.queries_keys_values(self.norm_attention(x)).split(width, dim=2)
        heads = [part.view(rows, length, self.heads, width // self.heads).transpose(1, 2) for part in projected]
        mixed = functional.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + self.mix(mixed.transpose(1, 2).reshape(rows, length, width))
        return x + self.network_out(self.gelu(self.network_in(self.norm_network(x))))
