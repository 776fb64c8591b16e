"""PyTorch versions of our models, conversion of their arrays, and random weights, for comparisons with PyTorch."""

import jax
import numpy as np
import timm
import torch
import torchvision
from torchvision.models import vgg

_VGG_LAYERS = {
    "vgg11": "A",
    "vgg13": "B",
    "vgg16": "D",
    "vgg19": "E",
}  # the columns of Simonyan and Zisserman's table 1
_VITS = {  # (width, depth, heads, MLP ratio)
    "nano": (16, 1, 2, 2),
    "micro": (64, 4, 4, 2),
    "tiny": (192, 12, 3, 4),
    "small": (384, 12, 6, 4),
    "base": (768, 12, 12, 4),
    "large": (1024, 24, 16, 4),
}


def torch_model(name, size):
    """Return (the PyTorch version of our model, its source), with 10 classes and the same weights every time.

    Args:
      name: a key of fsjax.models.MODELS.
      size: height and width of the images; only a ViT's arrays depend on it.
    """
    family, *rest = name.split("_")
    if "resne" in name:
        plain = name.removesuffix("_imagenet")
        return torch_resnet(name), "torchvision's blocks" if plain == name else f"torchvision {plain}"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if family == "vit":
            return _torch_vit(size, name, *rest)
        return TorchVGG(vgg.cfgs[_VGG_LAYERS[family]]), "torchvision's features"


def timm_name(name):
    """Return timm's name of our ViT, with or without class token; None if timm has none for 224 pixels."""
    published = name.removesuffix("_gap") + "_224"
    return published if published in timm.list_models() else None


def _torch_vit(size, name, scale, patch, *pool):
    options = {"img_size": size, "num_classes": 10}
    if pool:
        options |= {"class_token": False, "global_pool": "avg", "fc_norm": True}
    if timm_name(name):
        return timm.create_model(timm_name(name), **options), f"timm {timm_name(name)}"
    width, depth, heads, mlp_ratio = _VITS[scale]
    options |= {"patch_size": int(patch.removeprefix("patch")), "embed_dim": width, "depth": depth}
    return timm.models.VisionTransformer(num_heads=heads, mlp_ratio=mlp_ratio, **options), "timm VisionTransformer"


def torch_resnet(name):
    """Return torchvision's model with 10 classes, or the CIFAR version made from it; the same weights every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return _torch_resnet(name)


def _torch_resnet(name):
    if name in ("resnet20", "resnet8"):
        return TorchResNet(3 if name == "resnet20" else 1)
    source = name.removesuffix("_imagenet").removesuffix("_cifar")
    model = getattr(torchvision.models, source)(num_classes=10)
    if name.endswith("_cifar"):
        model.conv1 = torch.nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
        model.maxpool = torch.nn.Identity()
    return model


class TorchResNet(torch.nn.Module):
    """The narrow ResNet of He et al., section 4.2, with projections (option B), from torchvision's blocks.

    Args:
      depth: blocks of each of the three stages; 3 makes ResNet-20, 1 ResNet-8.
    """

    def __init__(self, depth):
        super().__init__()
        block = torchvision.models.resnet.BasicBlock
        self.conv1 = torch.nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(16)
        self.layer1 = torch.nn.Sequential(*(block(16, 16) for _ in range(depth)))
        for i, width in ((2, 32), (3, 64)):
            project = torch.nn.Sequential(
                torch.nn.Conv2d(width // 2, width, 1, stride=2, bias=False), torch.nn.BatchNorm2d(width)
            )
            first = block(width // 2, width, stride=2, downsample=project)
            setattr(self, f"layer{i}", torch.nn.Sequential(first, *(block(width, width) for _ in range(depth - 1))))
        self.fc = torch.nn.Linear(64, 10)
        for module in self.modules():
            if isinstance(module, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(torch.relu(self.bn1(self.conv1(x))))))
        return self.fc(x.mean(dim=(2, 3)))


class TorchVGG(torch.nn.Module):
    """The VGG of the frequency-shortcut papers: an average over all positions and one linear layer, at any size."""

    def __init__(self, layers):
        super().__init__()
        self.features = vgg.make_layers(layers, batch_norm=True)
        self.classifier = torch.nn.Linear(layers[-2], 10)

    def forward(self, x):
        return self.classifier(self.features(x).mean(dim=(2, 3)))


def torch_logits_and_gradients(model, images, direction):
    """Return logits, and the gradients of their product with `direction` by the images, in evaluation mode and float64.

    Args:
      model: any of the above; stays in float64.
      images: [n, H, W, 3].
      direction: [n, 10].

    Returns:
      (logits [n, 10], gradients [n, H, W, 3]) float64.
    """
    model.double().eval().requires_grad_(False)
    pixels = torch.from_numpy(np.array(images, np.float64)).requires_grad_()
    logits = model(pixels.permute(0, 3, 1, 2))
    (logits * torch.from_numpy(np.array(direction, np.float64))).sum().backward()
    return logits.detach().numpy(), pixels.grad.numpy()


def random_images(count, size):
    """Return noise over coarse blocks of colour, [count, size, size, 3]; the blocks make the images differ clearly."""
    noise, blocks = (jax.random.normal(jax.random.key(7 + i), (count, n, n, 3)) for i, n in enumerate((size, 4)))
    block = np.arange(size) * 4 // size
    return noise + 3 * blocks[:, block][:, :, block]


@torch.no_grad()
def randomise(model):
    """Randomise BatchNorm and LayerNorm, biases and embeddings; their initial values would hide errors.

    Some variances are small, so that a wrong epsilon is visible. The other weights keep an image's variance through a
    linear map and a ReLU, so logits are neither all equal nor huge.
    """
    generator = torch.Generator().manual_seed(3)

    def uniform(like, low, high):
        return torch.empty_like(like).uniform_(low, high, generator=generator)

    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter += uniform(parameter, -0.1, 0.1)
        elif "norm" in name:
            parameter.copy_(uniform(parameter, 0.5, 1.5))
        elif name in ("cls_token", "pos_embed") or name.startswith("patch_embed"):
            parameter.copy_(uniform(parameter, -0.01, 0.01))
        elif parameter.ndim > 1:
            bound = min(0.3, (6 / parameter[0].numel()) ** 0.5)
            parameter.copy_(uniform(parameter, -bound, bound))
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            # Residual branches are summed, so they are scaled lower; in a sequence there is only one branch.
            low, high = (0.8, 1.3) if name.startswith("features.") else (0.5, 1.0)
            module.running_var.copy_(10 ** uniform(module.running_var, -3, 0))
            module.running_mean.copy_(uniform(module.running_mean, -0.3, 0.3))
            if module.affine:
                module.weight.copy_(uniform(module.weight, low, high) * module.running_var.sqrt())


def from_torch(model):
    """Return the model's arrays as our variables: only the last part of a name differs, and the output axis is last."""
    variables = {"params": {}, "batch_stats": {}}
    for name, tensor in model.state_dict().items():
        *path, last = name.split(".")
        if last == "num_batches_tracked":
            continue
        array = tensor.numpy().astype(np.float32)
        if last == "weight":
            last = {1: "scale", 2: "kernel", 4: "kernel"}[array.ndim]
            array = {1: array, 2: array.T, 4: array.transpose(2, 3, 1, 0) if array.ndim == 4 else None}[array.ndim]
        node = variables["batch_stats" if last.startswith("running_") else "params"]
        for part in path:
            node = node.setdefault(part, {})
        node[last.removeprefix("running_")] = array
    return variables
