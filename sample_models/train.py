"""Train the nets of this folder on scikit-learn's digits and write them in every format.

Run ``python sample_models/train.py``: about a minute on one core. One seed and one
thread, so that the same versions of torch write the same weights again.
"""

# ruff: noqa: D103 - the names say it
import json
import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import nets  # beside this script: a reader elsewhere does not have its classes
import onnx
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

HERE = Path(__file__).parent


def main() -> None:
    """Train, save, print the accuracies that the README quotes."""
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)  # the exporter's notes on packages that are not needed
    torch.use_deterministic_algorithms(True)
    images, labels = digits()
    trained: dict[str, nn.Module] = {}
    for name, factory, epochs in (
        ("mlp", nets.Mlp, 20),
        ("cnn", nets.ResidualCnn, 15),
        ("lstm", nets.RowLstm, 40),
        ("transformer", nets.Transformer, 40),
    ):
        torch.manual_seed(0)
        trained[name], optimizer, accuracy = train_classifier(factory(), images, labels, epochs)
        print(f"{name}: {accuracy:.1%} of the held-out digits")
        if name == "cnn":
            save_checkpoint(trained[name], optimizer, epochs)
    torch.manual_seed(0)
    trained["critic"], accuracy = train_critic(nets.Critic(), images)
    print(f"critic: {accuracy:.1%} of the held-out digits and shuffles told apart")
    torch.manual_seed(0)
    trained["tokens"], loss = train_tokens(nets.TokenLstm(), images)
    print(f"tokens: {loss:.2f} nats a grey level (uniform: 2.83)")
    save_torch(trained)
    save_safetensors(trained)
    save_exports(trained, images)
    files = [path for path in HERE.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    for path in files:
        path.chmod(0o644)  # safetensors writes files for their owner alone
    print(f"{sum(path.stat().st_size for path in files)} bytes in {len(files)} files")


def digits() -> tuple[Tensor, Tensor]:
    """Return the 1797 images, scaled to [0, 1], and their labels, in a seeded order."""
    data = load_digits()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(0))
    images = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16
    return images[order], torch.tensor(data.target)[order]


def optimise(
    net: nn.Module, loss_of: Callable[[Tensor], Tensor], epochs: int, rate: float
) -> torch.optim.Optimizer:
    optimizer = torch.optim.Adam(net.parameters(), rate)
    for _ in range(epochs):
        for batch in torch.randperm(1500).split(50):
            optimizer.zero_grad()
            loss_of(batch).backward()
            optimizer.step()
    net.eval()
    return optimizer


def train_classifier(
    net: nn.Module, images: Tensor, labels: Tensor, epochs: int
) -> tuple[nn.Module, torch.optim.Optimizer, float]:
    def loss(batch: Tensor) -> Tensor:
        return functional.cross_entropy(net(images[batch]), labels[batch])

    optimizer = optimise(net, loss, epochs, rate=3e-3)
    with torch.no_grad():
        correct = net(images[1500:]).argmax(dim=1) == labels[1500:]
    return net, optimizer, correct.float().mean().item()


def train_critic(net: nn.Module, images: Tensor) -> tuple[nn.Module, float]:
    shuffled = images.flatten(2)[:, :, torch.randperm(64)].view_as(images)

    def loss(batch: Tensor) -> Tensor:  # the dual of the Wasserstein distance
        return net(shuffled[batch]).mean() - net(images[batch]).mean()

    optimise(net, loss, 4, rate=3e-3)
    with torch.no_grad():
        real, false = net(images[1500:]).flatten(), net(shuffled[1500:]).flatten()
    middle = (real.mean() + false.mean()) / 2
    return net, torch.cat([real > middle, false < middle]).float().mean().item()


def train_tokens(net: nn.Module, images: Tensor) -> tuple[nn.Module, float]:
    levels = (images.flatten(1) * 16).long()

    def loss_of(rows: Tensor) -> Tensor:
        return functional.cross_entropy(net(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())

    optimise(net, lambda batch: loss_of(levels[batch]), 4, rate=1e-2)
    with torch.no_grad():
        return net, loss_of(levels[1500:]).item()


def save_checkpoint(net: nn.Module, optimizer: torch.optim.Optimizer, epochs: int) -> None:
    """Write what a training loop writes: weights among bookkeeping, and optimizer state."""
    averaged = {name: value.clone() for name, value in net.state_dict().items()}
    checkpoint = {
        "epoch": epochs,
        "model": {f"module.{name}": value for name, value in net.state_dict().items()},
        "ema": averaged,
        "optimizer": optimizer.state_dict(),
        "args": {"learning_rate": 3e-3, "classes": [str(digit) for digit in range(10)]},
    }
    torch.save(checkpoint, HERE / "cnn_checkpoint.ckpt")


def save_torch(trained: dict[str, nn.Module]) -> None:
    for name in ("mlp", "cnn", "lstm", "transformer", "critic", "tokens"):
        torch.save(trained[name].state_dict(), HERE / f"{name}.pt")
    for name in ("cnn", "lstm"):  # torch refuses to pickle a module with parametrisations
        torch.save(trained[name], HERE / f"{name}_module.pt")
    legacy = HERE / "lstm_legacy.pth"
    torch.save(trained["lstm"].state_dict(), legacy, _use_new_zipfile_serialization=False)
    shards = split(trained["transformer"].state_dict())
    names = [f"pytorch_model-{i + 1:05}-of-{len(shards):05}.bin" for i in range(len(shards))]
    folder = HERE / "transformer_torch_shards"
    folder.mkdir(exist_ok=True)
    for file, shard in zip(names, shards, strict=True):
        torch.save(shard, folder / file)
    write_index(folder / "pytorch_model.bin.index.json", names, shards)


def save_safetensors(trained: dict[str, nn.Module]) -> None:
    state = trained["cnn"].state_dict()
    save_file(state, HERE / "cnn.safetensors")
    for dtype in (torch.float16, torch.bfloat16):
        half = {name: value.to(dtype) for name, value in trained["mlp"].state_dict().items()}
        save_file(half, HERE / f"mlp_{str(dtype).removeprefix('torch.')}.safetensors")
    for name in ("cnn", "transformer"):
        save_shards(trained[name].state_dict(), HERE / f"{name}_shards")


def save_shards(state: dict[str, Tensor], folder: Path) -> None:
    shards = split(state)
    names = [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
    folder.mkdir(exist_ok=True)
    for file, shard in zip(names, shards, strict=True):
        save_file(shard, folder / file)
    write_index(folder / "model.safetensors.index.json", names, shards)


def split(state: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    items = [(name, value.clone()) for name, value in state.items()]
    return [dict(items[: len(items) // 2]), dict(items[len(items) // 2 :])]


def write_index(path: Path, names: list[str], shards: list[dict[str, Tensor]]) -> None:
    homes = {key: file for file, shard in zip(names, shards, strict=True) for key in shard}
    total = sum(value.nbytes for shard in shards for value in shard.values())
    document = {"metadata": {"total_size": total}, "weight_map": homes}
    path.write_text(json.dumps(document, indent=2) + "\n")


def save_exports(trained: dict[str, nn.Module], images: Tensor) -> None:
    """Write TorchScript, ``.pt2`` and ONNX, without the paths of the machine that ran this."""
    example = images[:2].clone()  # of its own storage: a .pt2 holds the example's whole storage
    torch.jit.save(torch.jit.script(trained["cnn"]), HERE / "cnn.torchscript")
    torch.jit.save(torch.jit.trace(trained["lstm"], example), HERE / "lstm.torchscript")
    for name in ("cnn", "lstm"):
        drop_records(HERE / f"{name}.torchscript", ".debug_pkl")
    batch = torch.export.Dim("batch", min=1, max=4096)
    for name, shapes in (("cnn", {"image": {0: batch}}), ("transformer", None)):
        program = torch.export.export(trained[name], (example,), dynamic_shapes=shapes)
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)
        torch.export.save(program, HERE / f"{name}.pt2")
    for name in ("mlp", "cnn", "lstm", "transformer", "critic"):
        save_onnx(trained[name], example, HERE / f"{name}.onnx")
    # As traced: batch norm, transposed and parametrised weights still stand in the graph.
    for name in ("cnn", "transformer", "critic"):
        save_onnx(trained[name], example, HERE / f"{name}_plain.onnx", optimize=False)
    levels = torch.zeros((2, 64), dtype=torch.int64)
    save_onnx(trained["tokens"], levels, HERE / "tokens.onnx", "levels", optimize=False)
    data = HERE / "cnn_external.onnx.data"
    data.unlink(missing_ok=True)  # onnx does not overwrite it
    onnx.save(
        onnx.load(HERE / "cnn.onnx"), HERE / "cnn_external.onnx", save_as_external_data=True,
        location=data.name, size_threshold=256,
    )  # fmt: skip


def save_onnx(
    net: nn.Module, example: Tensor, path: Path, name: str = "image", optimize: bool = True
) -> None:
    """Export with a symbolic batch size, without torch's notes on where its sources lie."""
    program = torch.onnx.export(
        net, (example,), dynamo=True, input_names=[name], output_names=["scores"],
        dynamic_shapes=({0: "batch"},), optimize=optimize, verbose=False,
    )  # fmt: skip
    model = program.model_proto
    for holder in (model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output,
                   *model.graph.value_info, *model.graph.initializer):  # fmt: skip
        del holder.metadata_props[:]
    onnx.checker.check_model(model)
    onnx.save(model, path)


def drop_records(path: Path, suffix: str) -> None:
    """Rewrite a torch archive without the records of that suffix."""
    reader = torch._C.PyTorchFileReader(str(path))
    kept = {
        name: reader.get_record(name)
        for name in reader.get_all_records()
        if not name.endswith(suffix) and name not in {"version", ".data/serialization_id"}
    }
    del reader
    writer = torch._C.PyTorchFileWriter(str(path))
    for name, data in kept.items():
        writer.write_record(name, data, len(data))
    writer.write_end_of_file()


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # torch's own deprecation notes, not ours
    main()
