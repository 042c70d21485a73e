"""`import torch` means kkori where that was asked for, and only there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(program: str, **environment: str) -> subprocess.CompletedProcess:
    """Run a program in a fresh process, for imports cannot be undone in this one."""
    import os

    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment}, timeout=60,
    )  # fmt: skip


def printed(program: str, **environment: str) -> str:
    done = run(program, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


INSTALL = "import kkori; kkori.install_as_torch()\n"


def test_torch_is_kkori():
    assert printed(INSTALL + """
import torch, torch.nn, torch.nn.functional as F, torch.utils.data
from torch import nn, optim, Tensor
from torch.optim.lr_scheduler import StepLR
from torch.nn.modules.linear import Linear
import torch.serialization, torch.version, torch.autograd
print(torch is kkori, nn is kkori.nn, F is kkori.nn.functional, Linear is nn.Linear)
print(torch.utils.data is kkori.utils.data, StepLR is kkori.optim.lr_scheduler.StepLR)
print(torch.__name__, torch.__spec__.name, nn.__spec__.name, torch.version.cuda)
""") == "True True True True\nTrue True\nkkori kkori kkori.nn None\n"


def test_version_checks_pass():
    assert printed(INSTALL + """
import torch
print(torch.__version__ >= "1.8", torch.__version__ >= (2, 9), torch.__version__ < "2.14")
print(torch.__version__.startswith("2.13.0"), torch.__version__ == "2.13.0" + torch.__version__[6:])
print(torch.__version__.split("+")[0].split("."), isinstance(torch.__version__, str))
""").splitlines() == ["True True True", "True True", "['2', '13', '0'] True"]


def test_what_kkori_lacks_is_a_missing_module():
    assert printed(INSTALL + """
import importlib.util
print(importlib.util.find_spec("torch.no_such_part"))
for name in ("torch.no_such_part", "torchvision.models.resnet", "torch.tensor"):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        print(str(error).split(";")[0])
import torch
print(torch.tensor([1]))
""").splitlines() == ["None", "No module named 'torch.no_such_part'",
                      "No module named 'torchvision.models'", "No module named 'torch.tensor'",
                      "tensor([1])"]  # fmt: skip


def test_installing_twice_and_undoing():
    assert printed(INSTALL + """
import sys
kkori.install_as_torch()
import torch, torchvision, safetensors.torch
from kkori.shims import installed, uninstall_as_torch
print(installed(), len(sys.meta_path))
uninstall_as_torch()
uninstall_as_torch()
print(installed(), len(sys.meta_path), [n for n in sys.modules if n.partition(".")[0] in
      ("torch", "torchvision", "safetensors", "fastai")])
""").splitlines()[1].startswith("False") is True


@pytest.mark.parametrize("name", ["torch", "torchvision", "fastai", "safetensors"])
def test_a_real_module_that_is_there_already_is_refused(name, tmp_path):
    (tmp_path / f"{name}.py").write_text("")
    done = run(f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nimport {name}\n" + INSTALL)
    assert done.returncode == 1
    assert f"cannot stand in for {name}: the real {name} is already imported" in done.stderr
    assert "before anything imports" in done.stderr


@pytest.mark.oracle
def test_the_real_torch_is_refused():
    pytest.importorskip("torch", reason="needs PyTorch")
    done = run("import torch\n" + INSTALL)
    assert "RuntimeError: cannot stand in for torch" in done.stderr


def test_safetensors_under_its_own_name():
    assert printed(INSTALL + """
import torch
from safetensors import safe_open, SafetensorError
from safetensors.torch import load, save
print(load(save({"x": torch.ones(2)})))
""") == "{'x': tensor([1., 1.])}\n"


def test_torchvision_under_its_own_name():
    pytest.importorskip("PIL", reason="needs the `vision` extra")
    assert printed(INSTALL + """
import torchvision, torchvision.transforms.functional
from torchvision import datasets, io, transforms, utils
print(torchvision is kkori.vision, torchvision.io.read_image is kkori.vision.io.read_image)
""") == "True True\n"


def test_names_are_found_by_their_longest_row():
    from kkori.shims import target_of

    assert target_of("torch") == "kkori"
    assert target_of("torch.optim.lr_scheduler") == "kkori.optim.lr_scheduler"
    assert target_of("torch.serialization") == "kkori.io.serialization"
    assert target_of("torchvision.io") == "kkori.vision.io"
    assert target_of("fastai.data.all") == "kkori.shims.fastai.data.all"
