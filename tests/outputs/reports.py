"""Three fixed reports that every output is tested on: clean, failing, full of holes."""

from datetime import date

from specaudit.policy import Allowance, Gates, LayerLimit, Policy, Verdict, judge
from specaudit.report import (
    Factor,
    Geometry,
    Measurement,
    ModelInfo,
    NetworkBound,
    Norm,
    Product,
    Report,
    Run,
    Settings,
    Skipped,
    Spectrum,
    Unbounded,
)

RUN = Run("2025-01-02T03:04:05Z", 0.84, "cpu", 2)
ASSUMES = "the layers act one after another and nothing between them stretches"
GEOMETRY = Geometry((1, 1), (1, 1, 1, 1), (1, 1), 1, (32, 32))


def layer(name, lower, upper, status="certified", *, of=None, **fields):
    method = fields.pop("method", "lanczos")
    extra = {
        key: fields.pop(key)
        for key in ("estimate", "failure_probability", "reason")
        if key in fields
    }
    fields = {"kind": "linear", "shape": (64, 64), "dtype": "float32"} | fields
    return Measurement(name=name, norm=Norm(lower, upper, status, method, of, **extra), **fields)


def convolution(name, node, shape, operator, reshaped, **fields):
    return layer(
        name,
        *operator,
        of="operator",
        method="symbol",
        kind="convolution",
        node=node,
        shape=shape,
        geometry=GEOMETRY,
        reshaped_norm=Norm(*reshaped, "certified", "lanczos", "reshaped"),
        operator_norm=Norm(*operator, "certified", "symbol", "operator"),
        op="Conv",
        **fields,
    )


def clean():
    layers = (
        convolution("conv1.weight", "/conv1/Conv", (16, 3, 3, 3), (0.981, 0.9812), (0.61, 0.6101)),
        convolution("conv2.weight", "/conv2/Conv", (32, 16, 3, 3), (1.0, 1.0), (0.7, 0.70001)),
        layer(
            "head.weight",
            0.99999,
            0.999991,
            node="/head/Gemm",
            shape=(10, 128),
            op="Gemm",
            spectrum=Spectrum((0.9999904, 0.8, 0.31), (-2.0, -1.0, -0.5, 0.0), (1, 4, 5), 91.0),
        ),
    )
    network = NetworkBound(
        "certified",
        0.9812,
        -0.0082,
        0.42,
        "graph",
        ("/conv1/Conv", "/relu/Relu", "/conv2/Conv", "/head/Gemm"),
        factors=(
            Factor("/conv1/Conv", "Conv", -0.00824, "conv"),
            Factor("/relu/Relu", "Relu", 0.0, "relu"),
            Factor("/conv2/Conv", "Conv", 0.0, "conv"),
            Factor("/head/Gemm", "Gemm", -0.0000039, "gemm"),
        ),
        contributors=(Factor("/conv2/Conv", "Conv", 0.0, "conv"),),
    )
    return Report(
        ModelInfo("models/critic.onnx", "ab" * 32, "onnx", 10272, 17),
        Settings(input_shapes={"x": (1, 3, 32, 32)}),
        layers,
        (Skipped("bn.running_mean", (16,), "running statistics, not a weight"),),
        Product(0.98121, -0.00823, "certified", 3, ASSUMES),
        network,
        RUN,
    )


def failing():
    layers = (
        convolution(
            "stem.conv.weight",
            "/stem/Conv",
            (64, 3, 7, 7),
            (4.182031, 4.182035),
            (2.910001, 2.910002),
        ),
        convolution(
            "block.conv.weight", "/block/Conv", (64, 64, 3, 3), (11.25, 11.2501), (3.1, 3.10001)
        ),
        layer(
            "block.fc1.weight",
            2.9999999,
            3.0000004,
            node="/block/fc1/MatMul",
            shape=(256, 64),
            op="MatMul",
        ),
        layer(
            "block.fc2.weight",
            0.71,
            0.7100001,
            node="/block/fc2/MatMul",
            shape=(64, 256),
            op="MatMul",
        ),
        layer(
            "head.fc.weight",
            0.99999999999,
            1.0000000000001,
            node="/head/Gemm",
            shape=(10, 64),
            op="Gemm",
        ),
    )
    network = NetworkBound(
        "certified",
        100.212,
        2.00093,
        6.94,
        "graph",
        ("/stem/Conv", "/block/Conv", "/block/fc1/MatMul", "/block/fc2/MatMul", "/head/Gemm"),
        factors=(
            Factor("/stem/Conv", "Conv", 0.62138, "conv"),
            Factor("/block/Conv", "Conv", 1.05116, "conv"),
            Factor("/block/fc1/MatMul", "MatMul", 0.47713, "matmul"),
            Factor("/block/fc2/MatMul", "MatMul", -0.14874, "matmul"),
            Factor("/head/Gemm", "Gemm", 0.00001, "gemm"),
        ),
        contributors=(
            Factor("/block/Conv", "Conv", 1.05116, "conv"),
            Factor("/stem/Conv", "Conv", 0.62138, "conv"),
        ),
        assumptions=("batch is one sample",),
    )
    return Report(
        ModelInfo("models/backbone.onnx", "cd" * 32, "onnx", 1730000, 17),
        Settings(),
        layers,
        (),
        Product(100.213, 2.00094, "certified", 5, ASSUMES),
        network,
        RUN,
    )


def holes():
    layers = (
        layer("wte.weight", 41.2, 41.3, kind="embedding", shape=(50257, 768)),
        layer(
            "attn.qkv.weight",
            8.3,
            None,
            "estimate",
            estimate=8.41,
            failure_probability=1e-9,
            shape=(2304, 768),
        ),
        layer(
            "attn.out.weight",
            None,
            None,
            "non_finite",
            shape=(768, 768),
            reason="3 entries are NaN",
        ),
        layer(
            "mlp.up.weight",
            1e-160,
            1.0000001e-160,
            shape=(3072, 768),
            notes=("tied with mlp.gate.weight",),
        ),
        layer("mlp.down.weight", 0.0, 0.0, shape=(768, 3072)),
        layer("big.weight", 12.0, None, "unbounded", shape=(90000, 90000)),
    )
    network = NetworkBound(
        "unbounded",
        unbounded=(
            Unbounded("/attn/MatMul_2", "MatMul", "product of two activations", "B"),
            Unbounded("/out/ArgMax", "ArgMax", "discontinuous", "D"),
        ),
        unmodelled=(Unbounded("/custom/Foo", "acme.Foo", "no rule for this operation"),),
        reason="2 operations have no finite constant",
    )
    return Report(
        ModelInfo(
            "models/transformer.onnx", "ef" * 32, "onnx", 124000000, 18, ("weights are float16",)
        ),
        Settings(input_range={"x": (0.0, 1.0)}),
        layers,
        (
            Skipped("pos_ids", (1, 512), "integer index table, not a weight"),
            Skipped("token_type_ids", (1, 512), "integer index table, not a weight"),
            Skipped("rotary.inv_freq", (32,), "a table of constants, not a weight"),
            Skipped("experts.packed", (8, 4096), "a packing that is not known", False),
        ),
        Product(None, 264.30711, "estimate", 4, ASSUMES),
        network,
        RUN,
    )


POLICY = Policy(
    gates=Gates(max_lipschitz=25.0),
    layers=(
        LayerLimit(match="**", max_norm=3.0),
        LayerLimit(
            match=["head.**", r"re:^onnx::MatMul_\d+$"], op=["Gemm", "MatMul"], max_norm=1.0
        ),
    ),
    allow=(
        Allowance("SA201", "frozen stem, bounded downstream", "stem.conv.*", date(2027, 3, 1)),
        Allowance("SA201", "was due", "block.conv.*", date(2025, 1, 1)),
    ),
    path="specaudit.toml",
    lines={
        "gates": 3,
        "gates.max-lipschitz": 4,
        "layers.0": 7,
        "layers.0.max-norm": 9,
        "layers.1": 10,
        "layers.1.max-norm": 13,
        "allow.0": 15,
        "allow.1": 20,
    },
)


def pairs() -> dict[str, tuple[Report, Verdict]]:
    today = date(2026, 1, 1)
    return {
        "clean": (
            clean(),
            judge(clean(), Policy(layers=(LayerLimit(max_norm=1.0, flag="--max-norm"),))),
        ),
        "failing": (failing(), judge(failing(), POLICY, today=today)),
        "holes": (holes(), judge(holes(), Policy())),
    }


def hostile(name: str) -> tuple[Report, Verdict]:
    """The failing report with `name` wherever a model can put a name."""
    layers = (
        layer(name, 4.0, 4.1, node=name, shape=(4, 4), op=name, notes=(name,), tensors=(name,)),
        layer(name + "2", 4.0, None, "unbounded", reason=name, shape=(4, 4)),
    )
    network = NetworkBound(
        "unbounded",
        path=(name, name),
        unbounded=(Unbounded(name, name, name, "B"),),
        unmodelled=(Unbounded(name, name, name),),
        reason=name,
        factors=(Factor(name, name, 0.5, "x"),),
        contributors=(Factor(name, name, 0.5, "x"),),
        assumptions=(name,),
    )
    report = Report(
        ModelInfo(f"models/{name}", "00" * 32, "onnx", 1, 17, (name,)),
        Settings(input_shapes={name: (1,)}),
        layers,
        (Skipped(name, (1,), name), Skipped(name, (2,), name, False)),
        Product(None, None, "unbounded", 2, ASSUMES),
        network,
        RUN,
    )
    return report, judge(report, POLICY, today=date(2026, 1, 1))
