"""Makes the Python modules beside the .proto files. Set-up, CI and image builds all call this one command:

python protos/generate.py
"""

from __future__ import annotations

import importlib.util
import sys
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).parent


def main() -> int:
    sources = sorted(str(path) for path in ROOT.glob("blocksync/v1/*.proto"))
    outputs = [f"--python_out={ROOT}", f"--grpc_python_out={ROOT}"]
    if importlib.util.find_spec("mypy_protobuf"):
        # Types are needed for type-checking only, so an image without the plugin does without.
        outputs += [f"--mypy_out=quiet:{ROOT}", f"--mypy_grpc_out=quiet:{ROOT}"]
        plugins = Path(sys.executable).parent
        outputs += [
            f"--plugin=protoc-gen-mypy={plugins / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={plugins / 'protoc-gen-mypy_grpc'}",
        ]
    well_known = resources.files("grpc_tools") / "_proto"
    return int(protoc.main(["protoc", f"--proto_path={ROOT}", f"--proto_path={well_known}", *outputs, *sources]))


if __name__ == "__main__":
    sys.exit(main())
