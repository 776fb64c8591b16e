"""The configuration of a run of seconds."""

from configs import common


def small_config(**changes):
    config = common.base()
    config.data.image_size = 24
    config.data.synthetic.train_per_class = 16
    config.data.synthetic.test_per_class = 6
    config.model.name = "vit_nano_patch8"
    config.train.steps = 3
    config.train.batch_size = 16
    config.search.images_per_class = 4
    config.report.samples, config.report.attributions = 1, 0
    config.evaluate.grid = (0.3,)
    config.evaluate.pairs = 6
    for name, value in changes.items():
        *groups, field = name.split("__")
        group = config
        for part in groups:
            group = group[part]
        group[field] = value
    resamples = config.search.method == "removal" and not config.search.removal.compat
    config.search.resamples = 2 if resamples else 0
    return config
