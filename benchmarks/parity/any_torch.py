"""Compare fsjax.from_torch with PyTorch on architectures of torchvision and timm, at their own image sizes.

  python benchmarks/parity/any_torch.py                               # all below, one after the other
  python benchmarks/parity/any_torch.py --models=timm/convnext_tiny,torchvision/swin_t

Weights are random; the statistics of BatchNorms are drawn, so that they are not those of a new network. Prints a JSON
line a model: the largest difference of logits from PyTorch's, the spread of the logits (standard deviation), and how
many operators and folded BatchNorms the graph has; or why the model was refused.
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

from fsjax import from_torch
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
        "resnetblur50 resnetv2_50 rexnet_100 selecsls42b seresnet50 swin_tiny_patch4_window7_224 "
        "tf_efficientnet_b0 tiny_vit_5m_224 tinynet_e tnt_s_patch16_224 tresnet_m twins_svt_small vgg11_bn "
        "visformer_tiny vit_base_patch16_clip_224 vit_small_patch14_dinov2 volo_d1_224 vovnet39a xception41 "
        "xcit_nano_12_p16_224"
    ),
}

MODELS = flags.DEFINE_list("models", [], "LIBRARY/NAME ...; none = all.")


def main(_: list[str]) -> None:
    listed = [f"{library}/{name}" for library, names in ARCHITECTURES.items() for name in names.split()]
    for name in MODELS.value or listed:
        started = time.monotonic()
        row = {"model": name, **compared(*made(name)), "seconds": round(time.monotonic() - started)}
        print(json.dumps(row), flush=True)


def made(name: str) -> tuple[torch.nn.Module, int]:
    """Return a model in evaluation mode with perturbed statistics, and its image size."""
    torch.manual_seed(0)
    library, _, model = name.partition("/")
    if library == "torchvision":
        module, size = torchvision.models.get_model(model, weights=None), 299 if model == "inception_v3" else 224
    else:
        module = timm.create_model(model)
        size = module.default_cfg["input_size"][-1]
    for key, buffer in module.named_buffers():
        if key.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        elif key.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return module.eval(), size


def compared(module: torch.nn.Module, size: int) -> dict:
    """Return how far the logits of two images are from PyTorch's, or why the module was refused."""
    images = torch.randn(2, 3, size, size)
    try:
        model = from_torch(module, torch.zeros(1, 3, size, size))
    except InputError as error:
        return {"size": size, "refused": str(error)}
    with torch.no_grad():
        expected = module(images).numpy()
    with jax.default_matmul_precision("highest"):
        logits = np.asarray(jax.jit(model.apply)(model.params, np.moveaxis(images.numpy(), 1, -1)))
    operators = [step.operator for step in model.steps]
    return {
        "size": size,
        "difference": float(np.abs(logits - expected).max()),
        "spread": float(expected.std()),
        "operators": len(operators),
        "folded": operators.count("folded"),
    }


if __name__ == "__main__":
    app.run(main)
