"""probes/probes.json: read back as it was written, older versions too, and refused where it is another file."""

import numpy as np
import pytest

from fsjax.evaluation.probes import ProbeRound, Probes
from fsjax.runtime.errors import InputError


def test_the_file_is_read_back_and_another_one_is_refused(tmp_path):
    of_classes = np.array([0.9, np.nan])
    limits = np.array([[0.8, 1], [np.nan] * 2])
    one = ProbeRound(0.3, True, 0.25, of_classes / 3, (6, 2), of_classes, of_classes, limits, (True, False), 6, 0.02)
    found = Probes(("a", "b"), (False, True), (one,), 0.02, {"corruptions": 0.5})
    content = found.to_json()
    again = Probes.from_json(content)
    assert again.rounds[0].used == (True, False) and np.isnan(again.rounds[0].psi[1]) and again.to_json() == content
    assert found.cost == 1.3 and content["version"] == 5
    rounds = [{name: value for name, value in content["rounds"][0].items() if name != "positions"}]
    version_4 = content | {"version": 4, "rounds": rounds}
    assert again.rounds[0].positions == (6, 2) and Probes.from_json(version_4).rounds[0].positions is None
    version_3 = {name: value for name, value in version_4.items() if name != "before"} | {"version": 3}
    assert again.before == {"corruptions": 0.5} and Probes.from_json(version_3).before is None
    version_2 = {
        **version_3,
        "version": 2,
        "rounds": [{name: value for name, value in rounds[0].items() if name not in ("end", "own")}],
    }
    assert Probes.from_json(version_2).cost is None
    content["rounds"][0]["psi"] = [2.0, None]
    with pytest.raises(InputError, match="psi"):
        Probes.from_json(content)
    with pytest.raises(InputError):
        Probes.from_json({"rounds": []})
