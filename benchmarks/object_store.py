"""An S3 server on this machine, moto's emulation in a process of its own, that holds the files of a folder.

    with object_store(folder) as endpoint, s3_at(endpoint):
        loader = gpuaug.DataLoader(f"s3://{BUCKET}/train-{{000..003}}.tar", policy)

Its own work takes about 2 ms of a core a request, so rates above some hundred requests a second are moto's, not gpuaug's.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

BUCKET = "shards"

ROOT = Path(__file__).parent.parent

ACCOUNT = {"key": "testing", "secret": "testing"}


@contextlib.contextmanager
def object_store(folder: Path) -> Iterator[str]:
    """Serve the files of a folder as objects of `BUCKET`, and yield the server's address, `http://127.0.0.1:PORT`."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.object_store", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            endpoint = server.stdout.readline().strip()
            if not endpoint:
                raise RuntimeError("the S3 server did not start; pip install 'moto[server,s3]' s3fs")
            yield endpoint
        finally:
            server.kill()


@contextlib.contextmanager
def s3_at(endpoint: str) -> Iterator[None]:
    """Let `s3://` mean the server at this address, here and in processes that are started meanwhile."""
    from fsspec.config import conf

    settings = {"endpoint_url": endpoint, **ACCOUNT}
    before = {name: os.environ.get(variable(name)) for name in settings}
    kept = conf.get("s3")
    conf["s3"] = settings
    os.environ.update({variable(name): value for name, value in settings.items()})
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(variable(name), None)
            if value is not None:
                os.environ[variable(name)] = value
        conf.pop("s3")
        if kept is not None:
            conf["s3"] = kept


def variable(setting: str) -> str:
    """The environment variable from which fsspec takes a setting."""
    return f"FSSPEC_S3_{setting.upper()}"


def serve(folder: Path) -> None:
    """Serve a folder until standard input ends, which it does when the process that started this one is gone."""
    import logging

    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=ACCOUNT["key"],
        aws_secret_access_key=ACCOUNT["secret"],
    )
    client.create_bucket(Bucket=BUCKET)
    for path in sorted(folder.iterdir()):
        client.put_object(Bucket=BUCKET, Key=path.name, Body=path.read_bytes(), ACL="public-read")  # for readers by plain HTTP
    print(endpoint, flush=True)
    sys.stdin.read()
    threading.Timer(1.0, os._exit, [0]).start()
    server.stop()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
