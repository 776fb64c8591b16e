"""Compare fsjax.from_torch with PyTorch on architectures of torchvision and timm, at their own image sizes.

  python benchmarks/parity/any_torch.py --out=any_torch.jsonl         # all below, 30 to 60 minutes on one core
  python benchmarks/parity/any_torch.py --models=timm/convnext_tiny,torchvision/swin_t

Weights are random. What initialisation leaves constant is drawn as well (BatchNorm, heads at 0, layer scales at 1e-6):
else whole parts of some networks would not show in their logits. Prints a JSON line a model: the largest difference of
logits from PyTorch's, the spread of the logits (the largest standard deviation of one over the images), and how many
operators and folded BatchNorms the graph has; or why the model was refused. Where the difference is above 1e-4,
`rounding` is how far PyTorch's own float32 logits are from its float64. The last line sums up. Exit status 1 if a
difference is above 1e-4 and twice the rounding.

With --out, lines are also kept in a file, and the same command goes on after the last.
"""

import json
import pathlib
import sys
import time

import jax
import numpy as np
import timm
import torch
import torchvision
from absl import app, flags

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.common import rows as row_file
from fsjax import from_torch
from fsjax.models.pytorch.graph import export_graph
from fsjax.runtime.errors import InputError

ARCHITECTURES = {
    "torchvision": (
        "alexnet convnext_tiny densenet121 efficientnet_b0 efficientnet_v2_s googlenet inception_v3 maxvit_t "
        "mnasnet0_5 mobilenet_v2 mobilenet_v3_small regnet_x_400mf regnet_y_400mf resnet18 resnet152 "
        "resnext50_32x4d shufflenet_v2_x0_5 squeezenet1_0 swin_t swin_v2_t vgg11_bn vit_b_16 wide_resnet50_2"
    ),
    "timm": (
        "bat_resnext26ts beit_base_patch16_224 botnet26t_256 cait_xxs24_224 coat_lite_tiny coatnet_nano_rw_224 "
        "convit_tiny convmixer_768_32 convnext_tiny convnextv2_atto crossvit_tiny_240 cspresnet50 "
        "deit3_small_patch16_224 dla34 dpn68 edgenext_xx_small efficientformer_l1 efficientvit_b0 "
        "eva02_tiny_patch14_224 fastvit_t8 focalnet_tiny_srf gcvit_xxtiny ghostnet_100 hardcorenas_a "
        "hrnet_w18_small inception_v4 lambda_resnet26t lcnet_050 levit_128s maxvit_nano_rw_256 mixer_s32_224 "
        "mobilenetv4_conv_small mobileone_s0 mobilevit_xxs mvitv2_tiny nest_tiny nf_resnet50 nfnet_f0 pit_ti_224 "
        "poolformer_s12 pvt_v2_b0 regnetx_002 repvgg_a0 res2net50_26w_4s resmlp_12_224 resnest14d resnetaa50 "
        "resnetblur50 resnetv2_50 rexnet_100 selecsls42b sequencer2d_s seresnet50 swin_tiny_patch4_window7_224 "
        "tf_efficientnet_b0 tiny_vit_5m_224 tinynet_e tnt_s_patch16_224 tresnet_m twins_svt_small vgg11_bn "
        "visformer_tiny vit_base_patch16_clip_224 vit_small_patch14_dinov2 volo_d1_224 vovnet39a xception41 "
        "xcit_nano_12_p16_224"
    ),
}

MODELS = flags.DEFINE_list("models", [], "LIBRARY/NAME ...; none = all.")
OUT = flags.DEFINE_string("out", None, "A file of lines, begun or not: models that it has are not run again.")

IMAGES = 3
TOLERANCE = 1e-4


def main(_: list[str]) -> None:
    listed = [f"{library}/{name}" for library, names in ARCHITECTURES.items() for name in names.split()]
    file = pathlib.Path(OUT.value) if OUT.value else None
    rows = row_file.begun(file)
    for name in MODELS.value or listed:
        if name in [row["model"] for row in rows]:
            continue
        started = time.monotonic()
        module, images = made(name)
        family = type(module).__module__.rpartition(".")[2]
        rows.append({"model": name, "family": family, **compared(module, images)})
        rows[-1]["seconds"] = round(time.monotonic() - started)
        row_file.add(None, rows[-1:])
        if file:
            row_file.add(file, rows[-1:])
        jax.clear_caches()
    print(json.dumps(summary(rows)))
    sys.exit(
        any(row["difference"] > max(TOLERANCE, 2 * row.get("rounding", 0)) for row in rows if "refused" not in row)
    )


def summary(rows: list[dict]) -> dict:
    converted = [row for row in rows if "refused" not in row]
    return {
        "models": len(rows),
        "converted": len(converted),
        "families": len({row["family"] for row in converted}),
        "refused": [row["model"] for row in rows if "refused" in row],
        "largest_difference": max(row["difference"] for row in converted),
        "largest_difference_over_spread": max(row["difference"] / row["spread"] for row in converted),
        "smallest_spread": min(row["spread"] for row in converted),
    }


def made(name: str) -> tuple[torch.nn.Module, torch.Tensor]:
    """Return a model in evaluation mode, whose every parameter shows in its logits, and images of its size."""
    torch.manual_seed(0)
    library, _, model = name.partition("/")
    if library == "torchvision":
        module, size = torchvision.models.get_model(model, weights=None), 299 if model == "inception_v3" else 224
    else:
        module = timm.create_model(model)
        size = module.default_cfg["input_size"][-1]
    images = torch.randn(IMAGES, 3, size, size)
    with torch.no_grad():
        draw_constants(module.eval())
        draw_statistics(module, images)
    return module, images


def draw_constants(module: torch.nn.Module) -> None:
    for parameter in module.parameters():
        first = parameter.flatten()[0].item()
        if not (parameter == first).all():
            continue
        if abs(first) >= 0.1:
            parameter.mul_(torch.rand_like(parameter) + 0.5)
        else:
            inputs = parameter.numel() / (parameter.shape[0] if parameter.ndim else 1)
            parameter.normal_(0, min(0.1, inputs**-0.5))


def draw_statistics(module: torch.nn.Module, images: torch.Tensor) -> None:
    """Set the statistics of BatchNorms near the statistics of their inputs, so that logits stay of order 1."""

    def draw(norm: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        variance, mean = torch.var_mean(inputs[0], [0, *range(2, inputs[0].ndim)])
        variance = variance.clamp(min=0.1 * variance.mean())
        norm.running_mean.copy_(mean + 0.1 * variance.sqrt() * torch.randn_like(mean))
        norm.running_var.copy_(variance * (torch.rand_like(mean) + 0.5))

    norms = [part for part in module.modules() if isinstance(part, torch.nn.modules.batchnorm._BatchNorm)]
    hooks = [norm.register_forward_pre_hook(draw) for norm in norms if norm.running_mean is not None]
    module(images)
    for hook in hooks:
        hook.remove()


def compared(module: torch.nn.Module, images: torch.Tensor) -> dict:
    """Return how far the logits of images are from PyTorch's, or why the module was refused."""
    size = images.shape[-1]
    try:
        model = from_torch(module, images[:1])
    except InputError as error:
        return {"size": size, "refused": str(error)}
    with torch.no_grad():
        expected = module(images).numpy()
    with jax.default_matmul_precision("highest"):
        logits = np.asarray(jax.jit(model.apply)(model.params, np.moveaxis(images.numpy(), 1, -1)))
    operators = [step.operator for step in export_graph(module, images[:1]).steps]
    row = {
        "size": size,
        "difference": float(np.abs(logits - expected).max()),
        "spread": float(expected.std(0).max()),
        "operators": len(operators),
        "folded": operators.count("folded"),
    }
    if row["difference"] > TOLERANCE:
        with torch.no_grad():
            row["rounding"] = float(np.abs(module.double()(images.double()).numpy() - expected).max())
    return row


if __name__ == "__main__":
    app.run(main)
