"""Fields and defaults that every experiment shares."""

from ml_collections import ConfigDict

from fsjax import search
from fsjax.data.source import IMAGE_SIZES
from fsjax.evaluation import evaluate
from fsjax.runtime import config_fields
from fsjax.runtime.errors import InputError
from fsjax.runtime.random_streams import SEEDS
from fsjax.training import ways

# Mean and standard deviation of pixels in [0, 1] that the published experiments normalise with.
CIFAR10 = ((0.4914, 0.482158, 0.446531), (0.247032, 0.243485, 0.261588))
IMAGENET10 = ((0.479838, 0.470448, 0.429404), (0.258143, 0.252662, 0.272406))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

# The ten classes of Wang et al., in the published index order.
IMAGENET10_CLASSES = (
    "n02690373=airliner,n02814533=wagon,n01833805=humming bird,n02123597=Siamese cat,n02403003=ox,"
    "n02099601=golden retriever,n01644900=tailed frog,n02391049=zebra,n03095699=container ship,"
    "n04467665=trailer truck"
)

# Name: (default, help). Fields of `run` and `wandb` never change results.
FIELDS: config_fields.Table = {
    "arg": ("", "ARG of --config=FILE:ARG, or its default"),
    "seed": (0, "seed of all random draws: weights, order, augmentation, splits, searched images", SEEDS),
    "stages": (
        "train,search,evaluate,report",
        "stages to run, separated by commas; they run in the order of fsjax/experiment/stages/__init__.py",
    ),
    "profile": (False, "write a JAX trace of a few steps of each stage under WORKDIR/profile/"),
    "data": {
        "source": ("synthetic", "synthetic, folder, arrays, jpeg, tfds, huggingface"),
        "name": (
            "syn1",
            "synthetic: demo, synthetic, biased, syn1 to syn4; tfds: name of the builder; huggingface without root: "
            "'OWNER/SET' or 'OWNER/SET:CONFIG' on the hub",
        ),
        "root": (
            "",
            "folder, arrays, jpeg: folder of the files; tfds: data_dir; huggingface: a folder from save_to_disk, or a "
            "file or folder of parquet",
        ),
        "classes": (
            "",
            "folders in index order, as 'n02690373=airliner,n02917=wagon'; '' = the source's order; imagenet = all, "
            "which have ImageNet's ids (wnids)",
        ),
        "train_split": ("train", "the source's name of the split; folder, arrays: a folder or part of file names"),
        "test_split": ("test", "the source's name of the split"),
        "validation_share": (0.1, "share of the training split for validation, drawn by seed", "[0, 1)"),
        "image_size": (32, "height and width of the model's images, in pixels", IMAGE_SIZES),
        "resize_shorter": (
            0,
            "0 = resize both sides to image_size, as published for searches; else resize the shorter side to this many "
            "pixels and cut out the middle: torchvision's Resize(resize_shorter) + CenterCrop(image_size)",
        ),
        "interpolation": ("bilinear", "bilinear, bicubic: how images are resized"),
        "mean": ((), "mean of pixels in [0, 1], per channel; () = measure it on the training images", "[0, 1]"),
        "std": ((), "standard deviation of pixels in [0, 1], per channel; () = measure it as well", "(0, 1]"),
        "images": ("{split}_images.npy", "arrays: file under root; '{split}.npz' has images and labels"),
        "labels": ("{split}_labels.npy", "arrays: file under root"),
        "huggingface": {
            "image": ("", "huggingface: column of images; '' = the column of type Image, if there is one"),
            "label": ("", "huggingface: column of labels, numbers or strings; '' = the column of type ClassLabel"),
        },
        "quality": (75, "jpeg: quality of JPEG of the class `fake`", "[1, 95]"),
        "skip_undecodable": (False, "leave out images that do not decode, instead of stopping"),
        "frequencies": (
            "",
            "frequencies of the images that the model is trained and tested on: '' = all, 'low:0.125' = up to 0.125 "
            "cycles per pixel, 'high:0.125' (without DC), 'band:0.1:0.3', or an .npy file of bool",
        ),
        "cache_gib": (4.0, "keep the decoded images of a split in memory if they need at most this many GiB"),
        "synthetic": {
            "seed": (0, "seed of the generator, beside the experiment's seed"),
            "train_per_class": (1500, "training images per class"),
            "test_per_class": (250, "test images per class"),
        },
    },
    "model": {
        "name": (
            "resnet20",
            "a name of fsjax/models/__init__.py; with model.weights also of torchvision or timm: timm/convnext_tiny",
        ),
        "weights": (
            "",
            "'' = train; or PyTorch weights (.pt, .pth, .ckpt, .safetensors), a model file (.fsjax), which also names "
            "the model, or the workdir of another run",
        ),
        "check": ("", ".npz of a few images, as the weights see them, and PyTorch's logits for them; '' = unchecked"),
        "outputs": (
            "",
            "output of each class, in index order: '404,436', or several as their logsumexp: '895|404,436'; '' = the "
            "first outputs in order; imagenet = of ImageNet's 1,000, by the folder's id (wnid)",
        ),
    },
    "train": {
        "epochs": (0.0, "length of the training in epochs; 0 = use train.steps"),
        "steps": (0, "length of the training in steps, where train.epochs is 0"),
        "until": (1.0, "share of the training after which it stops; the schedule still spans all of it", "(0, 1]"),
        "batch_size": (128, "images per step, over all devices and processes", "[1, inf)"),
        "optimizer": ("sgd", "sgd (Nesterov), adamw"),
        "learning_rate": (0.1, "highest learning rate of the schedule"),
        "schedule": ("cosine", "cosine, plateau, constant"),
        "warmup_steps": (0, "steps during which the learning rate rises from 0"),
        "plateau_patience": (10, "validations without a lower loss before the learning rate falls"),
        "plateau_factor": (0.1, "factor by which the learning rate falls", "(0, 1)"),
        "momentum": (0.9, "momentum of sgd", "[0, 1)"),
        "weight_decay": (1e-4, "sgd: L2 in the gradient; adamw: decoupled"),
        "augment": (
            "",
            "some of autoaugment, augmix, randaugment (on the host, fsjax[augment]), then of flip, crop, resized_crop, "
            "in this order, separated by commas",
        ),
        "pad": (4, "width of the zero border around an image before crop and resized_crop, in pixels"),
        "min_scale": (0.08, "smallest area of a resized_crop, as a share of the image", "(0, 1]"),
        **ways.FIELDS,
        "precision": ("float32", "float32, bfloat16"),
        "label_smoothing": (0.0, "share of the target that is spread over all classes", "[0, 1)"),
        "evaluators": ("validation", "some of validation, dynamics, separated by commas"),
        "evaluate_every": (0, "steps between two evaluations; 0 = once an epoch"),
    },
    "search": search.FIELDS,
    "evaluate": evaluate.FIELDS,
    "dynamics": {
        "keep": (
            "",
            "copies of the test set, each with the radial bands it keeps, 1 (lowest) to 4: '1234,12,34'; '' = the "
            "original, every two bands and every single band",
        ),
        "images_per_class": (0, "test images per class, in order; 0 = all"),
        "seeds": ("", "seeds of the trainings: '0,1,2'"),
    },
    "adcs": {
        "split": ("train", "split whose spectra are compared: train, which a model learns from, or test, as published"),
        "compat": (False, "as the published code: amplitudes summed, grey from three channels, ties counted as less"),
    },
    "heat_map": {
        "norm": (4.0, "L2 norm per channel of the wave added to pixels in [0, 1]", "(0, inf)"),
        "images_per_class": (40, "test images per class, drawn by seed; 0 = all"),
    },
    "ood": {
        "sets": (
            "",
            "out-of-distribution sets 'MAPPING=ROOT,...'; MAPPING is a .yaml file or a name in "
            "fsjax/evaluation/ood/mappings",
        ),
        "attacks": ("", "attacks on the test images, such as 'fgsm:4/255,pgd:4/255:10'"),
        "corruptions": (
            "",
            "corruptions of the test images, each in five severities: some of noise, blur, contrast, jpeg, fog, or all",
        ),
        "images_per_class": (0, "images per class in each group of a set, in order; 0 = all"),
        "random_masks": (10, "random control masks of each kind, beside the trivial ones; 0 = no control masks at all"),
    },
    "report": {
        "first_look": ("", "the call for the full answer, which --quick sets: results are a first look"),
        "share": (0.05, "share of the plane that the report shows"),
        "samples": (3, "filtered sample images per class"),
        "attributions": (2, "test images per class, at most 24 in all, whose deciding frequencies are shown; 0 = none"),
    },
    "export": {
        "lightning": (False, "also write the weights as a Lightning checkpoint, which the published scripts load"),
    },
    "wandb": {
        "project": ("", "project on Weights & Biases (fsjax[wandb]) that gets everything TensorBoard gets; '' = off"),
        "entity": ("", "'' = the user's own entity"),
        "mode": ("online", "online, offline"),
    },
    "run": {
        "log_every": (50, "steps between two lines of metrics", "[1, inf)"),
        "checkpoint_every": (0, "steps between two checkpoints; 0 = once an epoch"),
        "keep_checkpoints": (2, "number of checkpoints to keep", "[1, inf)"),
        "memory_mib": (
            0,
            "memory of a device for a search's images, weights and one tile; 0 = tiles that fit a CPU's cache, or half "
            "of an accelerator's free memory",
        ),
        "save_seconds": (30.0, "seconds between two partial results of a search"),
        "startup_seconds": (300, "several processes: seconds to wait for the others at the start", "[1, inf)"),
        "heartbeat_seconds": (100, "several processes: seconds of silence after which one counts as lost", "[1, inf)"),
    },
}


def base() -> ConfigDict:
    """Return a config with every shared field."""
    return config_fields.config(FIELDS)


def dataset(name: str) -> ConfigDict:
    """Return the config of a data set: demo, synthetic, cifar10, imagenet10 or imagenet1k."""
    config = base()
    config.arg = name
    data = config.data
    if name == "cifar10":
        data.source, data.name = "tfds", "cifar10"
        data.mean, data.std = CIFAR10
    elif name == "imagenet10":
        data.source, data.classes, data.test_split = "folder", IMAGENET10_CLASSES, "val"
        data.mean, data.std = IMAGENET10
        data.image_size = 224
    elif name == "imagenet1k":
        data.source, data.test_split = "folder", "val"
        data.mean, data.std = IMAGENET
        data.image_size = 224
        config.search.patch = 8
        config.search.images_per_class = 50
    elif name == "demo":
        data.name = "demo"
    elif name != "synthetic":
        expected = "demo, synthetic, cifar10, imagenet10, imagenet1k"
        raise InputError(f"--config: got the data set {name!r}; expected {expected}")
    return config
