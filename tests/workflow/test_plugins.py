"""A distiller from a file outside the checkout, from the study file to the table."""

import shutil
from pathlib import Path

import pytest
import yaml

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/plugins/pixel_moments.py"
AGAIN = {"distill": 1, "evaluate": 1, "make_table": 1, "write_report": 1}


def with_plugin(checkout, **options):
    """Write a study of the example plug-in, which lies beside the checkout, and of a built-in control."""
    shutil.copy(EXAMPLE, checkout.folder.parent / "my method.py")
    study = yaml.safe_load((checkout / checkout.study()).read_text())
    del study["grid"][2]  # the control `whole`
    study["grid"][0] |= {"distillers": ["mine"], "debias": ["uniform"]}
    study["grid"][1] |= {"evaluations": ["convnet"]}
    study["distillers"]["mine"] = {"kind": "pixel_moments", "iterations": {"quick": 3}, **options}
    return checkout.study(plugins=["../my method.py"], grid=study["grid"], distillers=study["distillers"], figures={})


@pytest.mark.thorough
def test_a_plug_in_outside_the_checkout_runs_to_the_table_and_an_edit_reruns_its_cells(checkout):
    config = with_plugin(checkout, second=0.3)
    status, output = checkout.run(config)
    assert status == 0, output
    table = (checkout / "results/tiny/quick/tables/main.csv").read_text()
    assert ",mine,uniform," in table
    assert ",random,uniform," in table
    assert checkout.planned(config) == {}
    with open(checkout.folder.parent / "my method.py", "a") as file:
        file.write("# a remark\n")
    assert checkout.planned(config) == {}
    with open(checkout.folder.parent / "my method.py", "a") as file:
        file.write("EDITED = 1\n")
    assert checkout.planned(config) == AGAIN
    broken = (checkout.folder.parent / "my method.py").read_text().replace("import torch\n", "import torhc\n")
    (checkout.folder.parent / "my method.py").write_text(broken)
    status, output = checkout.run(config)
    assert status == 1
    assert "please report" not in output  # the log that is shown ends with whose mistake it is, after the traceback
    said = "plug-in ../my method.py, line 3: ModuleNotFoundError: No module named 'torhc'"
    assert f"ddbias: {said}" in output


def test_a_plug_in_that_is_not_there_is_one_line(checkout):
    config = with_plugin(checkout)
    (checkout.folder.parent / "my method.py").unlink()
    status, output = checkout.run(config)
    assert status == 1
    said = "no such file or folder; paths are relative to the working directory"
    assert output.splitlines()[-1] == f"ddbias: tiny.yaml: plug-in ../my method.py: {said}"
