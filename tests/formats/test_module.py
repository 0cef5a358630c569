"""Live modules: their tensors, and the graph that torch exports over them."""

import numpy as np
import pytest
import torch
from torch import nn

import specaudit
from specaudit.errors import ModelError, UnsupportedModel
from specaudit.formats import module, tracing


class Net(nn.Module):
    """Tied weights, a skip, dropout, batch norm: what the mode of a module decides about."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(6, 5)
        self.norm = nn.BatchNorm1d(5)
        self.drop = nn.Dropout(0.5)
        self.mixed = nn.Linear(5, 5)
        self.again = nn.Linear(5, 5)
        self.again.weight = self.mixed.weight
        self.head = nn.Linear(5, 3)

    def forward(self, x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        h = self.drop(torch.relu(self.norm(self.stem(x))))
        h = h + self.again(torch.relu(self.mixed(h)))
        return self.head(h)


@pytest.fixture(scope="module")
def net() -> Net:
    torch.manual_seed(2)
    made = Net()
    made(torch.randn(32, 6))  # running statistics that are not the initial ones
    return made


@pytest.fixture(scope="module")
def report(net: Net) -> specaudit.Report:
    return specaudit.audit(net, example_inputs=torch.zeros(2, 6))


def test_without_example_inputs_there_is_no_graph(net: Net) -> None:
    model = module.load(net)
    assert model.graph is None
    assert {weight.name for weight in model.weights} == set(net.state_dict())
    for weight in model.weights:
        assert (weight.read() == net.state_dict()[weight.name].numpy()).all()


def test_findings_speak_the_names_of_the_parameters(report: specaudit.Report) -> None:
    names = {layer.name for layer in report.layers}
    assert {"stem.weight", "mixed.weight", "head.weight"} <= names
    assert names <= {"stem.weight", "norm.weight", "mixed.weight", "head.weight"}
    assert not [skipped for skipped in report.skipped if not skipped.covered]


def test_the_bound_holds_the_slopes_of_the_module(net: Net, report: specaudit.Report) -> None:
    upper, lower = report.network.upper, report.network.lower
    assert upper is not None
    assert lower is not None
    net.eval()
    double = Net().double()
    double.load_state_dict(net.state_dict())
    double.eval()
    steepest = 0.0
    generator = torch.Generator().manual_seed(5)
    for _ in range(200):
        x = torch.randn(6, generator=generator, dtype=torch.float64)
        jacobian = torch.autograd.functional.jacobian(lambda v: double(v[None])[0], x)
        steepest = max(steepest, float(torch.linalg.matrix_norm(jacobian, 2)))
    assert steepest <= upper * (1 + 1e-9)
    assert 0.8 * steepest <= lower <= upper


def test_a_module_keeps_the_mode_that_it_is_in(net: Net) -> None:
    net.train()
    net.drop.eval()
    model = module.load(net, (torch.zeros(2, 6),))
    assert net.training
    assert net.stem.training
    assert not net.drop.training
    assert model.graph is not None
    assert "Dropout" not in {node.op for node in model.graph.nodes}
    assert any("evaluation mode" in note for note in model.notes)


def test_inputs_by_keyword(net: Net) -> None:
    model = module.load(net, {"x": torch.zeros(1, 6)})
    assert model.graph is not None
    assert [value.name for value in model.graph.inputs] == ["x"]


def test_the_graph_reads_the_weights_that_the_report_names(net: Net) -> None:
    model = module.load(net, torch.zeros(1, 6))
    assert model.graph is not None
    listed = {id(weight) for weight in model.weights}
    assert all(id(weight) in listed for weight in model.graph.constants.values())
    assert model.graph.constants["stem.weight"].source is not None
    assert (model.graph.constants["head.bias"].read() == net.head.bias.detach().numpy()).all()


def test_what_cannot_be_traced_is_an_error_with_its_cause(net: Net) -> None:
    with pytest.raises(UnsupportedModel, match=r"cannot export .*(reduction dim|shape)"):
        module.load(net, torch.zeros(1, 7))


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) if x.sum() > 0 else x


def test_a_branch_on_data_is_refused_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelError, match="cannot export") as problem:
        module.load(Branching(), torch.ones(1, 3))
    assert "\x1b" not in problem.value.message
    assert "\n" not in problem.value.message
    assert capsys.readouterr().out == ""


def test_the_names_of_inputs_are_those_of_forward(net: Net) -> None:
    assert tracing.parameters_of(net) == ("x", "scale")


def test_half_precision_is_read_as_it_is() -> None:
    linear = nn.Linear(4, 3).to(torch.bfloat16)
    found = {weight.name: weight for weight in module.load(linear).weights}
    assert found["weight"].dtype == "bfloat16"
    expected = linear.weight.detach().float().numpy()
    assert (found["weight"].read().astype(np.float32) == expected).all()
