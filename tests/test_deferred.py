"""Modules that are imported at their first use: the stages work without them, and whoever uses one gets it."""

import subprocess
import sys


def python(root, code: str) -> str:
    start = f"import sys\nsys.path.insert(0, {str(root / 'scripts')!r})\n"
    start += "from segcert.stage.deferred import defer\ndefer()\n"
    done = subprocess.run(
        [sys.executable, "-c", start + code], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_worker_does_not_wait_for_what_its_supervisor_imports(root):
    scripts = sorted(path.stem for path in (root / "scripts").glob("*.py") if "entry.run(" in path.read_text())
    assert len(scripts) == 9
    unwanted = ("segcert.stage.supervisor", "segcert.stage.leases", "psutil", "filelock", "paddle", "numpy")
    code = f"import {', '.join(scripts)}\nprint([n for n in {unwanted} if n in sys.modules])"
    assert python(root, code) == "[]"


def test_paddleseg_is_imported_without_what_it_hardly_uses(root):
    unwanted = ("sklearn.base", "pandas", "setuptools")
    code = f"import segcert.compute.components\nprint([n for n in {unwanted} if n in sys.modules])"
    assert python(root, code) == "[]"


def test_what_is_used_is_the_module_itself(root):
    code = """
import segcert.compute.components, numpy as np
from paddleseg.utils import metrics
from paddleseg.models.losses import maskformer_loss
print(metrics.skmetrics.roc_auc_score([0, 1, 1], [0.1, 0.2, 0.9]))
print(maskformer_loss.linear_sum_assignment(np.array([[4, 1], [2, 3]]))[1].tolist())
from sklearn.linear_model import LogisticRegression
import scipy.optimize, sklearn.metrics
print(scipy.optimize.__name__, scipy.optimize.minimize.__name__, sklearn.metrics.f1_score.__name__)
import paddle
from paddle.utils.cpp_extension import CppExtension
print(CppExtension.__name__, hasattr(paddle.utils.cpp_extension, "no such thing"))
"""
    assert python(root, code).splitlines() == [
        "1.0",
        "[1, 0]",
        "scipy.optimize minimize f1_score",
        "CppExtension False",
    ]


def test_asking_where_a_module_is_from_imports_nothing(root):
    code = "import inspect\nprint(hasattr(sys.modules['sklearn'], '__file__'), 'sklearn.base' in sys.modules)"
    assert python(root, code) == "False False"


def test_what_is_imported_already_stays(root):
    code = "import sklearn.metrics as own\ndefer()\nimport sklearn.metrics as again\nprint(own is again)"
    assert python(root, code) == "True"
