"""Optimizer, schedule, and gradients that are clipped."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback
from small_classifiers import loader, trainer
from torchvision import models

from cxr_lightning.config import OptimConfig
from cxr_lightning.errors import ConfigError
from cxr_lightning.models.classifier import Classifier
from cxr_lightning.models.parameter_groups import parameter_groups
from cxr_lightning.models.schedules import warmup_cosine


def test_adam_runs_at_a_constant_rate(
    classifier: Callable[..., Classifier], tmp_path: Path
) -> None:
    fitted = trainer(tmp_path, max_epochs=2)
    fitted.fit(classifier("optim.lr=0.003", "optim.weight_decay=0.25"), loader(), loader())
    (optimizer,) = fitted.optimizers
    assert type(optimizer) is torch.optim.Adam
    assert optimizer.param_groups[0]["lr"] == 0.003
    assert optimizer.param_groups[0]["weight_decay"] == 0.25
    assert fitted.lr_scheduler_configs == []


def test_onecycle_is_as_long_as_the_run_and_steps_by_batch(
    classifier: Callable[..., Classifier], tmp_path: Path
) -> None:
    used: list[float] = []

    class Rates(Callback):
        def on_before_optimizer_step(self, *args: Any) -> None:
            used.append(args[2].param_groups[0]["lr"])

    fitted = trainer(tmp_path, max_epochs=5, callbacks=[Rates()])
    fitted.fit(classifier("optim=adamw_onecycle", "optim.lr=0.01"), loader(), loader())
    (config,) = fitted.lr_scheduler_configs
    assert config.scheduler.total_steps == 15  # 5 epochs of 3 batches: 4 + 4 + 3 images
    assert config.interval == "step"
    assert type(fitted.optimizers[0]) is torch.optim.AdamW
    # torch starts at max_lr / 25 and ends at that / 10^4; the peak is at 30% of the steps.
    assert len(used) == 15
    assert used[0] == pytest.approx(0.01 / 25)
    assert used[-1] == pytest.approx(0.01 / 25 / 1e4)
    assert 0.009 < max(used) <= 0.01
    assert used.index(max(used)) in (3, 4)


@pytest.mark.parametrize("choice", ["true", "false"])
def test_norms_and_biases_can_be_kept_from_weight_decay(
    choice: str, classifier: Callable[..., Classifier], tmp_path: Path
) -> None:
    words = ["optim=adamw_onecycle", "optim.weight_decay=0.5", "model=cnn5_bn"]
    fitted = trainer(tmp_path, max_epochs=1)
    model = classifier(*words, f"optim.decay_norms_and_biases={choice}")
    fitted.fit(model, loader(), loader())
    groups = fitted.optimizers[0].param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    by_name = {name: decay.pop(id(p)) for name, p in model.named_parameters()}
    assert decay == {}
    # Spared: scale and shift of three norms, two biases. Decayed: the weights of five layers.
    spared = {name for name, value in by_name.items() if value == 0}
    assert len(spared) == (8 if choice == "false" else 0)
    assert sorted(by_name.values()) == [0.0] * len(spared) + [0.5] * (13 - len(spared))
    for layer in ("hidden", "head"):
        assert by_name[f"network.backbone.{layer}.weight"] == 0.5
        assert (f"network.backbone.{layer}.bias" in spared) == (choice == "false")


@pytest.mark.parametrize(("monitor", "mode"), [("val/f1_macro", "max"), ("val/loss", "min")])
def test_a_plateau_is_watched_in_the_direction_of_its_metric(
    monitor: str, mode: str, classifier: Callable[..., Classifier], tmp_path: Path
) -> None:
    plateau = "{_target_: torch.optim.lr_scheduler.ReduceLROnPlateau, patience: 0}"
    fitted = trainer(tmp_path, max_epochs=1)
    words = [f"optim.scheduler={plateau}", f"optim.monitor={monitor}"]
    fitted.fit(classifier(*words), loader(), loader())
    (config,) = fitted.lr_scheduler_configs
    assert (config.monitor, config.scheduler.mode) == (monitor, mode)


def test_an_optimizer_argument_that_does_not_exist_is_a_sentence(
    classifier: Callable[..., Classifier], tmp_path: Path
) -> None:
    model = classifier("+optim.optimizer.momentum=0.9")
    with pytest.raises(ConfigError, match=r"`torch.optim.Adam` cannot be built.*momentum"):
        trainer(tmp_path, max_epochs=1).fit(model, loader(), loader())


def test_the_optimizer_is_fused_and_where_gradients_are_clipped_it_is_not(
    classifier: Callable[..., Classifier], tmp_path: Path
) -> None:
    norms: dict[bool, float] = {}

    class Norms(Callback):
        def on_before_zero_grad(self, *args: Any) -> None:
            grads = [p.grad for p in args[1].parameters() if p.grad is not None]
            if grads:
                norms[fused] = float(torch.stack([g.norm() for g in grads]).norm())

    for clip, fused in ((None, True), (0.001, False)):
        fitted = trainer(
            tmp_path,
            max_epochs=1,
            precision="bf16-mixed",
            gradient_clip_val=clip,
            callbacks=[Norms()],
        )
        fitted.fit(classifier(), loader(), loader())
        assert fitted.optimizers[0].defaults["fused"] is fused
    assert norms[False] == pytest.approx(0.001, rel=0.01)
    assert norms[True] > 0.01


def test_fused_adam_takes_the_same_steps(
    classifier: Callable[..., Classifier], tmp_path: Path
) -> None:
    weights = []
    for fused in ("true", "false"):
        model = classifier(f"optim.optimizer.fused={fused}")
        trainer(tmp_path, max_epochs=2).fit(model, loader(), loader())
        weights.append(classifier_weights(model))
    assert not torch.equal(weights[0], classifier_weights(classifier()))
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=1e-6)


def classifier_weights(model: Classifier) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_warmup_and_cosine_by_hand() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    schedule = warmup_cosine(optimizer, total_steps=10, warmup=0.4)
    rates = []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    # Four steps up, from 1/5 by fifths; then (1 + cos(π · i / 6)) / 2.
    climb = [0.2, 0.4, 0.6, 0.8]
    fall = [(1 + math.cos(math.pi * i / 6)) / 2 for i in range(6)]
    assert rates == pytest.approx(climb + fall)


@pytest.mark.parametrize(
    ("option", "kind"), [("adamw_cosine", torch.optim.AdamW), ("sgd_cosine", torch.optim.SGD)]
)
def test_cosine_recipes_are_as_long_as_the_run(
    option: str, kind: type, classifier: Callable[..., Classifier], tmp_path: Path
) -> None:
    fitted = trainer(tmp_path, max_epochs=2)
    fitted.fit(classifier(f"optim={option}"), loader(), loader())
    (optimizer,) = fitted.optimizers
    assert type(optimizer) is kind
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-9)  # all 6 steps are done
    if kind is torch.optim.SGD:
        assert optimizer.param_groups[0]["nesterov"]
    assert [g["weight_decay"] == 0 for g in optimizer.param_groups] == [False, True]


def test_layers_learn_slower_the_earlier_they_come(
    classifier: Callable[..., Classifier], tmp_path: Path
) -> None:
    module = classifier("model=cnn5_bn", "optim.layer_decay=0.5", "optim.lr=0.08")
    fitted = trainer(tmp_path, max_epochs=1)
    fitted.fit(module, loader(), loader())
    (optimizer,) = fitted.optimizers
    rate = {id(p): g["lr"] for g in optimizer.param_groups for p in g["params"]}
    backbone = module.network.backbone
    assert len(rate) == len(list(module.parameters()))
    # Five layers: three convolutions, each with its batch norm, and two fully connected ones.
    layers = [backbone.features[i] for i in (0, 4, 8)] + [backbone.hidden, backbone.head]
    found = [rate[id(layer.weight)] for layer in layers]
    assert found == pytest.approx([0.005, 0.01, 0.02, 0.04, 0.08])
    assert rate[id(backbone.features[1].bias)] == pytest.approx(0.005)
    assert rate[id(backbone.head.bias)] == pytest.approx(0.08)


def test_onecycle_keeps_the_ratio_of_the_layers(
    classifier: Callable[..., Classifier], tmp_path: Path
) -> None:
    words = ["model=cnn5_bn", "optim=adamw_onecycle", "optim.layer_decay=0.5", "optim.lr=0.08"]
    fitted = trainer(tmp_path, max_epochs=2)
    fitted.fit(classifier(*words), loader(), loader())
    (config,) = fitted.lr_scheduler_configs
    assert max(group["max_lr"] for group in fitted.optimizers[0].param_groups) == 0.08
    assert min(group["max_lr"] for group in fitted.optimizers[0].param_groups) == 0.005
    rates = config.scheduler.get_last_lr()
    assert max(rates) / min(rates) == pytest.approx(16)


@pytest.mark.parametrize(
    ("name", "n_layers", "of"),
    [
        ("resnet18", 6, {"conv1.weight": 5, "layer1.0.conv1.weight": 4, "fc.bias": 0}),
        (
            "vit_b_16",  # the patches, their positions, 12 blocks, the head
            15,
            {
                "class_token": 14,
                "conv_proj.weight": 14,
                "encoder.layers.encoder_layer_0.mlp.0.weight": 12,
                "encoder.layers.encoder_layer_11.mlp.0.weight": 1,
                "heads.head.weight": 0,
            },
        ),
        ("googlenet", 13, {"conv1.conv.weight": 12, "inception5b.branch4.1.conv.weight": 1}),
        ("densenet121", 9, {"features.conv0.weight": 8, "classifier.weight": 0}),
    ],
)
def test_layers_of_other_networks(name: str, n_layers: int, of: dict[str, int]) -> None:
    given = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    network = torch.nn.Module()
    network.backbone = models.get_model(name, weights=None, **given)
    optim = OptimConfig(lr=1.0, layer_decay=0.5, optimizer={"_target_": "torch.optim.SGD"})
    rate = {id(p): g.get("lr", 1.0) for g in parameter_groups(network, optim) for p in g["params"]}
    after = {n: round(-math.log2(rate[id(p)])) for n, p in network.backbone.named_parameters()}
    assert {name: after[name] for name in of} == of
    assert max(after.values()) == n_layers - 1
