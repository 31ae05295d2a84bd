"""Multi-token prediction: what the further heads learn, and that only training knows of them."""

import copy

import pytest
import torch
import torch.nn.functional as F

from altgrad.model import GPT
from altgrad.model.future import later_targets
from altgrad.optim import parameter_roles
from tests.model.tiny import V, awake, tiny_config, tokens

TWO = {"mtp_heads": 2, "mtp_weight": 0.25}


def test_the_gradient_is_that_of_the_next_token_and_of_the_weighted_later_ones():
    model = awake(tiny_config(**TWO)).train()
    idx, targets = tokens(), tokens(seed=6)
    model(idx, targets)[1].backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    hidden = model.hidden(idx)

    def loss(head, places):
        ahead = targets.roll(-places, 1)[:, : targets.size(1) - places]
        logits = head(hidden)[:, : ahead.size(1)]
        return F.cross_entropy(logits.reshape(-1, V), ahead.reshape(-1))

    later = loss(model.mtp[0], 1) + loss(model.mtp[1], 2)
    (loss(model.lm_head, 0) + 0.25 * later).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, msg=name)


def test_the_loss_that_is_reported_is_the_next_tokens():
    model = awake(tiny_config(**TWO))
    idx, targets = tokens(), tokens(seed=6)
    evaluated = model(idx, targets)[1]
    assert torch.equal(model.train()(idx, targets)[1], evaluated)


def test_evaluation_and_other_reductions_do_not_reach_the_heads():
    model = awake(tiny_config(**TWO))
    idx, targets = tokens(), tokens(seed=6)
    model(idx, targets)[1].backward()
    assert model.mtp[0].lm_head.weight.grad is None
    model.train()(idx, targets, loss_reduction="none")[1].sum().backward()
    assert model.mtp[0].lm_head.weight.grad is None


def test_other_weights_start_and_answer_as_without_the_heads():
    def made(**changes):
        return GPT(tiny_config(**changes), torch.Generator().manual_seed(3)).eval()

    plain, with_heads = made(), made(**TWO)
    assert torch.equal(plain(tokens())[0], with_heads(tokens())[0])
    assert with_heads.num_parameters() == plain.num_parameters() + 2 * V * 16


def test_a_head_is_a_head_to_the_optimiser_also_where_the_first_one_is_tied():
    roles = parameter_roles(GPT(tiny_config(**TWO, tie_head=True)))
    assert roles["mtp.1.lm_head.weight"] == "head"
    assert "lm_head.weight" not in roles


def test_targets_left_out_stay_out_and_a_text_too_short_for_a_head_is_none_to_it():
    model = awake(tiny_config(**TWO)).train()
    idx = tokens(2, 2)
    targets = torch.tensor([[3, -1], [4, -1]])
    value = model(idx, targets)[1]
    value.backward()
    assert value.isfinite()
    assert not model.mtp[0].lm_head.weight.grad.any()
    assert model.mtp[1].lm_head.weight.grad is None


def test_nothing_is_foretold_of_another_document():
    targets = torch.tensor([[5, 6, 0, 7, 8]])
    assert later_targets(targets, 1, 0).tolist() == [[6, 0, -1, 8]]
    assert later_targets(targets, 2, 0).tolist() == [[0, -1, -1]]
    assert later_targets(targets, 2, None).tolist() == [[0, 7, 8]]


def test_a_deep_copy_and_a_state_dict_carry_the_heads():
    model = awake(tiny_config(**TWO))
    other = copy.deepcopy(model)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.mtp[1].lm_head.weight, model.mtp[1].lm_head.weight)


@pytest.mark.parametrize("changes", [{"mtp_heads": -1}, {"mtp_heads": 8}, {"mtp_weight": 0.0}])
def test_an_impossible_number_is_refused_by_name(changes):
    with pytest.raises(ValueError, match=f"model.{next(iter(changes))}="):
        tiny_config(**changes)
