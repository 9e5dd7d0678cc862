"""Which networks, how they are built, and how random weights are made to matter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

SIDES = (64, 96, 128, 160)
"""Tried in this order, then the network's own."""
OWN_SIDE = {"resnet18", "mobilenet_v2", "squeezenet1_1", "timm/convnext_atto", "timm/efficientnet_b0"}
"""Run at the size they are made for."""
FRAMES = (8, 16)
MOST_PARAMETERS = 150_000_000
"""Several copies of a network are in memory at once: two siblings of others are left out."""
NOT_CNN = ("maxvit", "swin", "vit")
VIDEO = ("mc3_18", "r2plus1d_18", "r3d_18", "s3d")

TIMM = """
    bat_resnext26ts eca_resnet33ts gcresnet33ts gernet_s mobileone_s0 regnetz_b16 regnetz_b16_evos repvgg_a0
    resnet32ts resnet50_clip_gap resnext26ts seresnet33ts convmixer_768_32 convnext_atto convnext_atto_rms
    convnextv2_atto cs3darknet_focus_s cspdarknet53 cspresnet50 cspresnext50 darknet17 darknetaa53 sedarknet21
    cspnext_tiny densenet121 densenetblur121d dla34 dla60_res2net dpn48b efficientnet_b0 efficientnet_b0_gn
    efficientnetv2_rw_t fbnetc_100 gc_efficientnetv2_rw_t mixnet_s tf_mixnet_s mnasnet_050 mobilenet_edgetpu_v2_xs
    mobilenetv1_100 mobilenetv2_035 mobilenetv4_conv_small tf_mobilenetv3_small_minimal_100 semnasnet_050
    spnasnet_100 tinynet_e tf_efficientnet_lite0 tf_efficientnetv2_b0 fasternet_t0 fastvit_t8 focalnet_tiny_srf
    ghostnet_050 ghostnetv2_100 ghostnetv3_050 hardcorenas_a hgnet_tiny hgnetv2_b0 hrnet_w18_small
    inception_next_atto inception_resnet_v2 inception_v3 inception_v4 lcnet_035 lcnetv2_small mambaout_femto
    convformer_s18 poolformer_s12 poolformerv2_s12 fbnetv3_b mobilenetv3_small_050 mobilenetv3_rw nasnetalarge
    dm_nfnet_f0 eca_nfnet_l0 nf_regnet_b0 nf_resnet50 nfnet_l0 pnasnet5large rdnet_tiny regnetv_040 regnetx_002
    regnety_002 regnetz_005 repghostnet_050 repvit_m0_9 res2net50_14w_8s res2next50 resnest14d ecaresnet26t
    ecaresnext26t_32x4d resnet10t resnet18d resnetaa34d resnetblur18 resnetrs50 resnext50_32x4d seresnet18
    seresnext26d_32x4d seresnetaa50d wide_resnet50_2 resnetv2_18 resnetv2_50x1_bit rexnet_100 rexnetr_100 selecsls42
    legacy_seresnet18 legacy_seresnext26_32x4d legacy_senet154 skresnet18 skresnext50_32x4d starnet_s1 tresnet_m
    vgg11 vgg11_bn vovnet39a ese_vovnet19b_dw eca_vovnet39b legacy_xception xception41
"""
"""The smallest of each family that is made of convolutions."""

HYBRID = """
    botnet26t_256 caformer_s18 csatv2 edgenext_xx_small efficientformer_l1 efficientformerv2_s0 efficientvim_m1
    efficientvit_b0 efficientvit_m0 halonet26t lambda_resnet26t levit_conv_128s lowformer_b0 mobilenetv5_base
    mobilevit_xxs mobilevitv2_050 nextvit_small shvit_s1 swiftformer_xs test_coatnet test_maxvit visformer_tiny
"""
"""Convolutions and attention mixed: beyond what is promised, and good for finding faults."""


@dataclass(frozen=True)
class Sample:
    """A network in eval mode, with the shape of one sample it takes."""

    module: nn.Module
    shape: tuple[int, ...]


def names(source: str) -> list[str]:
    """``torchvision``, ``timm`` or ``hybrid``: names that ``build`` knows, small ones first."""
    if source == "torchvision":
        import torchvision

        known = torchvision.models.list_models(module=torchvision.models)
        wanted = [*(name for name in known if not name.startswith(NOT_CNN)), *VIDEO]
        sizes = {name: torchvision.models.get_model_weights(name).DEFAULT.meta["num_params"] for name in wanted}
        return sorted((name for name in wanted if sizes[name] <= MOST_PARAMETERS), key=lambda name: sizes[name])
    return [f"timm/{name}" for name in (TIMM if source == "timm" else HYBRID).split()]


def build(name: str) -> Sample:
    """The network with calibrated random weights, at the smallest size it takes."""
    torch.manual_seed(0)
    module, own = _timm(name.removeprefix("timm/")) if name.startswith("timm/") else _torchvision(name)
    randomise(module)
    shape = own if name in OWN_SIDE else next(_fitting(module, own))
    calibrate(module, shape)
    return Sample(module.eval(), shape)


def _torchvision(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    import torchvision

    extra = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    module = torchvision.models.get_model(name, weights=None, **extra)
    if name in VIDEO:
        return module, (3, 16, 224, 224)
    return module, (3, 299, 299) if name == "inception_v3" else (3, 224, 224)


def _timm(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    import timm

    module = timm.create_model(name, pretrained=False)
    return module, tuple(module.default_cfg["input_size"])


def _fitting(module: nn.Module, own: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Shapes on which the network runs, in eval mode as in training."""
    frames: Sequence[tuple[int, ...]] = [(frames,) for frames in FRAMES] if len(own) == 4 else [()]
    candidates = [(own[0], *time, side, side) for time in frames for side in SIDES]
    for shape in [*candidates, own]:
        try:
            with torch.no_grad():
                module.eval()(torch.randn(2, *shape))
                module.train()(torch.randn(2, *shape))
        except Exception as error:
            if shape == own:
                raise RuntimeError(f"the network does not run on {own}: {error}") from error
            continue
        yield shape


@torch.no_grad()
def randomise(module: nn.Module) -> None:
    """Kaiming weights, normalisations that scale and shift, and no branch scaled to nothing."""
    for part in module.modules():
        if isinstance(part, _ConvNd | nn.Linear):
            nn.init.kaiming_normal_(part.weight)
            if part.bias is not None:
                nn.init.normal_(part.bias, 0, 0.1)
        elif isinstance(part, _BatchNorm | nn.GroupNorm | nn.LayerNorm):
            for name, low, high in (("weight", 0.5, 1.5), ("bias", -0.3, 0.3)):
                if isinstance(value := getattr(part, name, None), Tensor):
                    nn.init.uniform_(value, low, high)
    for name, parameter in module.named_parameters():  # scales of branches start near 0 in many networks
        if not name.endswith("bias") and parameter.numel() and float(parameter.abs().max()) < 0.01:
            parameter.uniform_(0.4, 0.8)


@torch.no_grad()
def calibrate(module: nn.Module, shape: tuple[int, ...], batches: int = 2, size: int = 4) -> None:
    """Measure the statistics of every BatchNorm, so that outputs depend on inputs."""
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    module.train()
    for _ in range(batches if norms else 0):
        module(torch.randn(size, *shape))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
