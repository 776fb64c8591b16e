"""Fields and defaults that every experiment shares."""

from ml_collections import ConfigDict

from fsjax import search
from fsjax.runtime.errors import InputError

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


def base() -> ConfigDict:
    """A config with every shared field. Fields under `run` and `wandb` change how a run goes, never what it finds."""
    config = ConfigDict()
    config.arg = ""  # what stands behind the colon in --config=FILE:ARG, or its default
    config.seed = 0  # of all that is drawn at random: weights, order, augmentation, splits, images that are searched
    # Which stages to run, of fsjax/experiment/stages/, separated by commas; they run in the order of its __init__.py.
    config.stages = "train,search,evaluate,report"
    config.profile = False  # write a JAX trace of a few steps of each stage under <workdir>/profile/

    config.data = data = ConfigDict()
    data.source = "synthetic"  # synthetic, folder, arrays, tfds
    data.name = "syn1"  # synthetic: syn1..syn4; tfds: the builder's name
    data.root = ""  # folder, arrays: where the files are; tfds: its data_dir
    data.classes = ""  # '' = the source's own order; or 'n02690373=airliner,n02917=wagon': folders in index order
    data.train_split = "train"  # the source's name of it: for folder and arrays a folder or a part of the files' names
    data.test_split = "test"
    data.validation_share = 0.1  # of the training split, drawn by seed
    data.image_size = 32  # pixels of either side, as the model sees an image
    # 0 = both sides to image_size, as published for searches; else the shorter side becomes this many pixels and the
    # middle is cut out: torchvision's Resize(resize_shorter) + CenterCrop(image_size).
    data.resize_shorter = 0
    data.mean = ()  # of pixels in [0, 1], per channel; () = measured on the training images
    data.std = ()
    data.images = "{split}_images.npy"  # arrays: file of a split under root; '{split}.npz' has images and labels
    data.labels = "{split}_labels.npy"
    data.skip_undecodable = False  # leave out images that do not decode, instead of stopping
    # The only frequencies that the model sees of an image, trained and tested: '' = all, 'low:0.125' = up to so many
    # cycles per pixel, 'high:0.125' (without DC), 'band:0.1:0.3', or an .npy of bool: fsjax/data/frequencies.py
    data.frequencies = ""
    data.cache_gib = 4.0  # decoded images kept in memory, where a split fits into this
    # Of the generator: its own seed, and images of each class.
    data.synthetic = ConfigDict({"seed": 0, "train_per_class": 1500, "test_per_class": 250})

    config.model = model = ConfigDict()
    model.name = "resnet20"  # of fsjax/models/__init__.py
    # '' = trained here; or a file of PyTorch weights (.pt, .pth, .ckpt, .safetensors), or the workdir of another run
    model.weights = ""
    model.outputs = ""  # of such weights, those of the data's classes in index order: '404,436'; '' = the first ones

    config.train = train = ConfigDict()
    train.epochs = 0.0  # length of the training, in epochs or, where that is 0, in steps
    train.steps = 0
    train.batch_size = 128  # over all devices and processes
    train.optimizer = "sgd"  # sgd (Nesterov), adamw
    train.learning_rate = 0.1  # the highest of the schedule
    train.schedule = "cosine"  # cosine, plateau, constant
    train.warmup_steps = 0  # in which the rate rises from 0
    train.plateau_patience = 10  # validations without a better loss before the rate falls
    train.plateau_factor = 0.1
    train.momentum = 0.9  # of sgd
    train.weight_decay = 1e-4  # sgd: L2 in the gradient; adamw: decoupled
    # Of autoaugment, augmix and randaugment (on the host, fsjax[augment]), then of flip, crop, resized_crop, in order.
    train.augment = ""
    train.pad = 4  # pixels of zeros around an image before crop and resized_crop
    train.min_scale = 0.08  # smallest area of a resized_crop
    # Other classes' dominant frequencies as augmentation (fsjax/training/dfmx.py): '' = off, a workdir or file of maps.
    train.dfmx = ConfigDict({"maps": "", "share": 0.05, "probability": 0.3})
    train.stylised = ""  # folder <class>/ of images to train on beside the data's own: stylised copies
    train.precision = "float32"  # float32, bfloat16
    train.label_smoothing = 0.0  # share of the target that is spread over all classes
    # Of the weights and BatchNorm's statistics, over steps: this average, where it is above 0, is what is evaluated,
    # kept and searched.
    train.ema_decay = 0.0
    train.accumulate = 0  # parts of a batch that go through the model one after the other; 0 = the whole at once
    train.select = ""  # the weights that the run goes on with: '' = of the last step, best = by validation loss
    train.evaluators = "validation"  # of validation, dynamics: called every evaluate_every steps, 0 = once an epoch
    train.evaluate_every = 0

    config.search = search.options()  # fsjax/search/__init__.py, and each method's own fields in its file

    config.evaluate = evaluate = ConfigDict()
    evaluate.threshold = 0.6  # TPR on a map's frequencies above which a class is named
    evaluate.random_masks = 20  # a class, that the maps at report.share are held against; 0 = no controls at all
    evaluate.control_images = 100  # of each class, on which the controls are judged: the first ones; 0 = all
    # Shares of the plane at which TPR and FPR are measured beside search.shares, where maps have scores to be cut at
    # them; () = none. On the first grid_images of each class, 0 = all.
    evaluate.grid = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
    evaluate.grid_images = 100

    config.dynamics = dynamics = ConfigDict()
    # Copies of the test set that the evaluator dynamics sees, each by the radial bands 1 (lowest) to 4 that it keeps:
    # '1234,12,34'; '' = the original, every two bands and every single one.
    dynamics.keep = ""
    dynamics.images_per_class = 0  # of the test set, the first ones; 0 = all
    dynamics.seeds = ""  # of the stage dynamics: '0,1,2'

    config.adcs = adcs = ConfigDict()
    adcs.split = "train"  # images whose spectra are compared: train, which a model learns from, or test as published
    adcs.compat = False  # as the published code: amplitudes summed, grey of three channels, ties counted as less

    config.heat_map = heat_map = ConfigDict()
    heat_map.norm = 4.0  # L2, in each channel, of the wave that is added to pixels in [0, 1]
    heat_map.images_per_class = 40  # of the test set, drawn by seed; 0 = all

    # Out of distribution: sets 'MAPPING=ROOT,...' (a .yaml, or a name of fsjax/evaluation/ood/mappings), attacks on
    # the test images, such as 'fgsm:4/255,pgd:4/255:10', and how many images of each class (in each group of a set):
    # the first; 0 = all.
    config.ood = ConfigDict({"sets": "", "attacks": "", "images_per_class": 0})

    config.report = ConfigDict({"share": 0.05, "samples": 3})  # the share shown; filtered sample images a class

    # Weights & Biases (fsjax[wandb]), which gets what TensorBoard gets: '' = off, or a project; '' = the user's own
    # entity; online or offline.
    config.wandb = ConfigDict({"project": "", "entity": "", "mode": "online"})

    config.run = run = ConfigDict()
    run.log_every = 50  # steps between two lines of metrics
    run.checkpoint_every = 0  # steps between two checkpoints, 0 = once an epoch
    run.keep_checkpoints = 2
    # Memory of a device for a search's images, weights and one tile; 0 = tiles that fit a CPU's cache, or half of what
    # an accelerator has free.
    run.memory_mib = 0
    run.save_seconds = 30.0  # between two partial results of a search
    # Of several processes: how long the others are waited for at the start, and how long one may be silent.
    run.startup_seconds = 300
    run.heartbeat_seconds = 100
    return config


def dataset(name: str) -> ConfigDict:
    """The shared fields with a data set filled in: synthetic, cifar10, imagenet10 or imagenet1k."""
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
        # 1,000 random masks of 50,000 images: a quarter of what the maps at four shares take.
        config.evaluate.random_masks = 1
        # Each share of the grid would filter as many images by 1,000 maps as one of the maps' own shares does.
        config.evaluate.grid = ()
    elif name != "synthetic":
        raise InputError(f"--config: no data set {name!r}; expected synthetic, cifar10, imagenet10, imagenet1k")
    return config
