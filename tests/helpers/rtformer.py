"""RTFormer, which asks for a size of batches when it is exported: a configuration, and an untrained checkpoint."""

import yaml
from conftest import ROOT

from segcert import modelconfig


def make(folder):
    """model.yml and model.pdparams in a folder; the folder."""
    import paddle

    from segcert.compute import components

    content = modelconfig.content(ROOT / "config/models/pp_humanseg_lite.yml")
    content.pop("_base_", None)
    content["model"] = {"type": "RTFormer", "num_classes": 2, "base_channels": 32}
    (folder / "model.yml").write_text(yaml.safe_dump(content))
    model = components.builder(components.load_config(str(folder / "model.yml"))).model
    paddle.save(model.state_dict(), str(folder / "model.pdparams"))
    return folder
