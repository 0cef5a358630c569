"""Five small classifiers of handwritten digits (8 x 8 pixels), one per family of layers."""

# ruff: noqa: D102 - a forward does what its class says
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations


class Mlp(nn.Module):
    """Three linear layers with ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(64, 48),
            nn.ReLU(),
            nn.Linear(48, 32),
            nn.ReLU(),
            nn.Linear(32, 10),
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image)


class ResidualBlock(nn.Module):
    """``relu(x + bn(conv(relu(bn(conv(x))))))``, the shortcut 1 x 1 where widths differ."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        changes = stride != 1 or width_in != width
        self.shortcut = nn.Conv2d(width_in, width, 1, stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResidualCnn(nn.Module):
    """A stem, a depthwise convolution, two residual blocks, a pooled head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 12, 3, padding=1)
        self.depthwise = nn.Conv2d(12, 12, 3, padding=1, groups=12, padding_mode="circular")
        self.block1 = ResidualBlock(12, 12, 1)
        self.block2 = ResidualBlock(12, 24, 2)
        self.head = nn.Linear(24, 10)

    def forward(self, image: Tensor) -> Tensor:
        x = torch.relu(self.depthwise(torch.relu(self.stem(image))))
        return self.head(self.block2(self.block1(x)).mean(dim=(2, 3)))


class Critic(nn.Module):
    """Tells digits from shuffled pixels; each weight divided by its (reshaped) spectral norm.

    The last layer has the hook of ``torch.nn.utils.spectral_norm``, the others torch's newer
    parametrisation of the same name: a checkpoint stores the two differently.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = parametrizations.spectral_norm(nn.Conv2d(1, 16, 3, stride=2, padding=1))
        self.conv2 = parametrizations.spectral_norm(nn.Conv2d(16, 24, 3, stride=2, padding=1))
        self.hidden = parametrizations.weight_norm(nn.Linear(96, 32))
        self.score = nn.utils.spectral_norm(nn.Linear(32, 1))

    def forward(self, image: Tensor) -> Tensor:
        x = torch.relu(self.conv2(torch.relu(self.conv1(image))))
        return self.score(torch.relu(self.hidden(x.flatten(1))))


class RowLstm(nn.Module):
    """Reads the eight rows of a digit, both ways and then once more."""

    def __init__(self) -> None:
        super().__init__()
        self.both_ways = nn.LSTM(8, 16, batch_first=True, bidirectional=True)
        self.forwards = nn.LSTM(32, 24, batch_first=True)
        self.head = nn.Linear(24, 10)

    def forward(self, image: Tensor) -> Tensor:
        rows, _ = self.both_ways(image.squeeze(1))
        rows, _ = self.forwards(rows)
        return self.head(rows[:, -1])


class Transformer(nn.Module):
    """Two pre-norm encoder layers over the sixteen 2 x 2 patches of a digit."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 2, stride=2)
        self.position = nn.Parameter(torch.randn(16, width) * 0.1)
        layer = nn.TransformerEncoderLayer(
            width, 4, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.patches(image).flatten(2).transpose(1, 2) + self.position
        return self.head(self.norm(self.encoder(tokens)).mean(dim=1))


class TokenLstm(nn.Module):
    """Predicts each grey level of a digit from those before it; input and output tables are one.

    Small, and has what the classifiers lack: an embedding, and a tied weight.
    """

    def __init__(self, width: int = 20) -> None:
        super().__init__()
        self.embed = nn.Embedding(17, width)
        self.rnn = nn.GRU(width, width, batch_first=True)
        self.lm_head = nn.Linear(width, 17, bias=False)
        self.lm_head.weight = self.embed.weight

    def forward(self, levels: Tensor) -> Tensor:
        return self.lm_head(self.rnn(self.embed(levels))[0])
