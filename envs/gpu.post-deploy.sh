#!/usr/bin/env bash
# Made by envs/derive.py from cpu.txt: the pins of the stages, into the active environment.
set -euo pipefail
pins="$(mktemp)"
trap 'rm -f "$pins"' EXIT
cat > "$pins" <<'PINS'
annotated-types==0.8.0
anyio==4.16.0
argparse-dataclass==2.0.0
attrs==26.1.0
certifi==2026.10.18
charset-normalizer==3.5.2
cloudpickle==3.1.2
colorama==0.4.6 ; sys_platform == 'win32'
conda-inject==1.3.2
configargparse==1.9.0
connection-pool==0.0.3
docutils==0.22.4
dpath==2.2.0
fastjsonschema==2.22.3
filelock==4.2.11
flatbuffers==25.12.19
gitdb==4.0.12
gitpython==3.2.1
greenlet==3.5.6 ; platform_machine == 'AMD64' or platform_machine == 'WIN32' or platform_machine == 'aarch64' or platform_machine == 'amd64' or platform_machine == 'ppc64le' or platform_machine == 'win32' or platform_machine == 'x86_64'
h11==0.16.0
httpcore==1.0.9
httpx==0.28.1
humanfriendly==10.0
idna==3.20
imageio==2.38.1
immutables==0.21
jinja2==3.1.6
joblib==1.6.0
jsonschema==4.26.0
jsonschema-specifications==2025.9.1
jupyter-core==5.9.1
lazy-loader==0.6
markdown-it-py==4.3.0
markupsafe==3.0.4
mdurl==0.1.2
ml-dtypes==0.5.4
narwhals==2.29.0
nbformat==5.11.1
networkx==3.6.1
ninja==1.13.2
nncf==3.4.0
numpy==1.26.4
onnx==1.17.0
onnxoptimizer==0.3.13 ; python_full_version < '3.12'
opencv-python-headless==4.11.0.86
openvino==2026.4.1
openvino-telemetry==2025.2.0
opt-einsum==3.3.0
packaging==25.0
paddle2onnx==2.1.0
paddleseg==2.8.0
pandas==2.3.3
pillow==13.0.0
platformdirs==4.14.7
polygraphy==0.53.6
prettytable==3.18.0
protobuf==7.36.2
psutil==7.2.2
pulp==3.3.2
pydantic==2.14.3
pydantic-core==2.50.4
pydot==4.0.1
pygments==2.21.0
pyparsing==3.3.3
pyreadline3==3.5.6 ; sys_platform == 'win32'
python-dateutil==4.0.0
pytz==2026.6
pyyaml==6.0.3
referencing==0.37.0
requests==2.34.2
rich==15.0.0
rpds-py==2026.9.1
safetensors==0.8.0
scikit-image==0.26.0
scikit-learn==1.9.1
scipy==1.17.1
setuptools==80.9.0
six==1.17.0
smart-open==7.7.1
smmap==5.0.3
snakemake-executor-plugin-slurm-jobstep==0.6.1
snakemake-interface-common==1.23.0
snakemake-interface-executor-plugins==9.4.0
snakemake-interface-logger-plugins==2.1.0
snakemake-interface-report-plugins==1.3.0
snakemake-interface-scheduler-plugins==2.0.2
snakemake-interface-storage-plugins==4.4.1
sqlalchemy==2.0.58
sqlmodel==0.0.37
tabulate==0.10.0
tenacity==9.2.1
threadpoolctl==3.8.0
throttler==1.2.3
tifffile==2026.3.3 ; python_full_version < '3.12'
tifffile==2026.11.8 ; python_full_version >= '3.12'
tqdm==4.70.1
traitlets==5.16.1
typing-extensions==4.16.0
typing-inspection==0.4.5
tzdata==2026.6
urllib3==2.8.0
wcwidth==0.9.4
wrapt==2.5.2
yte==1.9.4
onnxruntime-gpu==1.31.1
PINS
python -m pip install --no-input --no-deps --no-compile -r "$pins"
: "${PADDLE_INDEX:?set it to the package index of your CUDA version: see envs/gpu-paddle.txt}"
# Its CUDA libraries come with it, so here pip does follow requirements, held to the pins.
python -m pip install --no-input --no-compile -c "$pins" --index "$PADDLE_INDEX" paddlepaddle-gpu==3.2.2
packages="$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
python -m compileall -q -j 0 "$packages" > /dev/null || true
