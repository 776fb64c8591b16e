"""Stands in for Weights & Biases: the part of wandb 0.31's interface that fsjax calls; it keeps what it is given.

Signatures are those of the real package, with which fsjax was run offline; the file of that run held what this keeps.
"""

runs = []


class Error(Exception):
    pass


class Settings:
    def __init__(self, *, silent=False, console="auto"):
        pass


class Run:
    def __init__(self, **given):
        self.given, self.history, self.steps, self.summary, self.exit_code = given, [], {}, {}, None
        self.url = "https://example.org/run" if given["mode"] == "online" else None
        self.dir = given["dir"]

    def define_metric(self, name, step_metric=None, step_sync=None, hidden=None, summary=None, overwrite=None):
        self.steps[name] = step_metric

    def log(self, data, step=None, commit=None):
        assert step is None and self.exit_code is None
        self.history.append(data)

    def finish(self, exit_code=None):
        self.exit_code = exit_code


def init(allow_val_change=None, reinit=None, settings=None, **given):
    assert reinit == "create_new" and allow_val_change
    assert given.keys() <= {"entity", "project", "dir", "id", "name", "config", "mode", "resume"}
    runs.append(Run(**given))
    return runs[-1]
