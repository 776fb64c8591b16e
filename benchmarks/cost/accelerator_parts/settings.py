"""Settings of the accelerator benchmark: sizes for an accelerator, and toy sizes for two CPU cores."""

import dataclasses
import pathlib
from typing import Any

METHODS = ("removal", "learned", "hierarchical", "graft")
# A search in 'highest' takes several times as long on an accelerator: by default only exact removal.
IN_HIGHEST = ("removal",)


def _size(default: Any, help: str) -> Any:
    return dataclasses.field(default=default, metadata={"help": help})


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes of every part, by default for an accelerator; each is a flag."""

    model: str = _size("resnet18_cifar", "model that is trained and searched")
    image_size: int = _size(32, "pixels of its images")
    train_per_class: int = _size(1500, "training images of a class of the planted set, without --root")
    test_per_class: int = _size(250, "test images of a class of the planted set")
    # 30 epochs of CIFAR-10; the first 6 warm up.
    steps: int = _size(2930, "training steps")
    warmup_steps: int = _size(586, "steps of rising learning rate")
    batch_size: int = _size(512, "images of a training step")
    learning_rate: float = _size(0.4, "highest learning rate")
    train_precision: str = _size("bfloat16", "as config.train.precision; float32 is TF32 on NVIDIA's devices")
    images: int = _size(1000, "test images of a class that removal searches, at most")
    images_highest: int = _size(100, "the same, in 'highest'")
    gradient_images: int = _size(100, "images of a class that learned and graft search")
    hierarchical_images: int = _size(10, "images of a class that hierarchical searches")
    precision_images: int = _size(50, "images of a class on which precisions are compared")
    checked: int = _size(8, "masks and images whose losses are compared with the CPU's")
    # Fields of config.search, as (dotted name, value); no flag.
    search_options: tuple[tuple[str, Any], ...] = ()


TOY = Sizes(
    model="vit_nano_patch8",
    image_size=24,
    train_per_class=48,
    test_per_class=8,
    steps=6,
    warmup_steps=2,
    batch_size=32,
    images=8,
    images_highest=4,
    gradient_images=4,
    hierarchical_images=4,
    precision_images=4,
    checked=3,
    search_options=(
        ("patch", 4),
        ("shares", (0.4,)),
        ("learned.steps", 3),
        ("learned.restarts", 1),
        ("learned.batch", 4),
        ("learned.judged", 4),
        ("hierarchical.candidates", "8,8,8"),
        ("hierarchical.share", 0.4),
        ("graft.paths", 4),
        ("graft.steps", 2),
    ),
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """A call of the benchmark.

    Attributes:
      directory: folder of the trained model, partial results and rows.
      root: folder of the images, root/{train,test}/<class>/; '' = a planted set.
      sizes: sizes of the parts.
      methods: the measured searches.
      precisions: their precisions; () = all in TF32, and IN_HIGHEST also in 'highest'.
      peaks: TFLOP/s of one device in TF32, float32 and bfloat16; () = `comparisons.PEAKS`.
    """

    directory: pathlib.Path
    root: str = ""
    sizes: Sizes = dataclasses.field(default_factory=Sizes)
    methods: tuple[str, ...] = METHODS
    precisions: tuple[str, ...] = ()
    peaks: tuple[float, ...] = ()

    def searches(self) -> list[tuple[str, str]]:
        """Return the (method, precision) pairs that are measured."""
        if self.precisions:
            return [(method, precision) for method in self.methods for precision in self.precisions]
        in_highest = [(method, "highest") for method in self.methods if method in IN_HIGHEST]
        return [*((method, "tensorfloat32") for method in self.methods), *in_highest]

    def image_count(self, method: str, precision: str) -> int:
        """Return the most images of a class that a search takes."""
        if method == "hierarchical":
            return self.sizes.hierarchical_images
        if method in ("learned", "graft"):
            return self.sizes.gradient_images
        return self.sizes.images_highest if precision == "highest" else self.sizes.images
