"""PyTorch's forms of our models, their arrays as ours, and random ones: what comparisons with PyTorch stand on."""

import numpy as np
import torch
import torchvision


def torch_resnet(name):
    """torchvision's model of this name with 10 classes, or its CIFAR form made from it; the same weights every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return _torch_resnet(name)


def _torch_resnet(name):
    if name == "resnet20":
        return TorchResNet20()
    model = getattr(torchvision.models, name.split("_")[0])(num_classes=10)
    if name.endswith("_cifar"):
        model.conv1 = torch.nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
        model.maxpool = torch.nn.Identity()
    return model


class TorchResNet20(torch.nn.Module):
    """ResNet-20 of He et al., section 4.2, with projections (option B), from torchvision's blocks."""

    def __init__(self):
        super().__init__()
        block = torchvision.models.resnet.BasicBlock
        self.conv1 = torch.nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(16)
        self.layer1 = torch.nn.Sequential(block(16, 16), block(16, 16), block(16, 16))
        for i, width in ((2, 32), (3, 64)):
            project = torch.nn.Sequential(
                torch.nn.Conv2d(width // 2, width, 1, stride=2, bias=False), torch.nn.BatchNorm2d(width)
            )
            first = block(width // 2, width, stride=2, downsample=project)
            setattr(self, f"layer{i}", torch.nn.Sequential(first, block(width, width), block(width, width)))
        self.fc = torch.nn.Linear(64, 10)
        for module in self.modules():
            if isinstance(module, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(torch.relu(self.bn1(self.conv1(x))))))
        return self.fc(x.mean(dim=(2, 3)))


@torch.no_grad()
def randomise(model):
    """Random BatchNorm and LayerNorm, biases and embeddings: at their initial values an error in them would not show.

    Some variances are small, so that the epsilons show.
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
        elif parameter.ndim == 2:
            parameter.copy_(uniform(parameter, -0.3, 0.3))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.copy_(10 ** uniform(module.running_var, -3, 0))
            module.running_mean.copy_(uniform(module.running_mean, -0.3, 0.3))
            module.weight.copy_(uniform(module.weight, 0.5, 1.0) * module.running_var.sqrt())


def from_torch(model):
    """The model's arrays as our variables: names agree but for the last part, and the output axis comes last."""
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
