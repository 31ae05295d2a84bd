import torch
from torch import nn

from altgrad.model.lookup import Lookup, table_gradient


def test_the_gradient_sums_every_occurrence_of_a_row():
    idx = torch.tensor([[3, 0, 3], [1, 3, 0]])
    grad = torch.randn(2, 3, 5)
    one_hot = nn.functional.one_hot(idx, 4).float()
    expected = torch.einsum("btv,btc->vc", one_hot, grad)
    torch.testing.assert_close(table_gradient(grad, idx, 4), expected)


def test_the_operator_keeps_the_contract_of_custom_operators():
    idx, grad = torch.tensor([[3, 0, 3]]), torch.randn(1, 3, 5)
    torch.library.opcheck(table_gradient, (grad, idx, 4))


def test_compiled_it_gives_the_values_and_gradients_of_an_embedding():
    lookup, idx = Lookup(7, 4), torch.randint(7, (3, 8))
    compiled = torch.compile(lookup, backend="aot_eager", fullgraph=True)
    weights = torch.randn(3, 8, 4)
    (compiled(idx) * weights).sum().backward()
    plain = lookup.weight.detach().requires_grad_()
    expected = nn.functional.embedding(idx, plain)
    (expected * weights).sum().backward()
    assert torch.equal(compiled(idx), expected)
    torch.testing.assert_close(lookup.weight.grad, plain.grad)
