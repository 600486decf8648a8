"""Data, model and predictions over a remote: pushed from one clone, pulled into another."""

import getpass
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.helpers import GUIDE, Repo, free_port, lacks, stages_run

pytestmark = pytest.mark.slow
SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
SECRET = "not-to-be-seen"


@pytest.fixture
def folder(tmp_path):
    """A remote in a folder: its address, and no credentials."""
    (tmp_path / "store").mkdir()
    return str(tmp_path / "store"), {}


@pytest.fixture
def s3():
    """A bucket of a server on this machine that speaks S3."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    given = {"endpointurl": f"http://{host}:{port}", "access_key_id": "us"}
    given |= {"secret_access_key": SECRET, "region": "us-east-1"}
    client = boto3.client(
        "s3",
        endpoint_url=given["endpointurl"],
        aws_access_key_id="us",
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
    )
    client.create_bucket(Bucket="store")
    yield "s3://store/k49", given
    server.stop()


@pytest.fixture
def sshd(tmp_path):
    """The port of an SSH server on this machine, and the private key that it lets in."""
    if SSHD is None:
        lacks("SSH server", "openssh-server")
    folder = tmp_path / "ssh"
    folder.mkdir(mode=0o700)
    for name in ("host", "user"):
        key = ("-q", "-t", "ed25519", "-N", "", "-f", folder / name)
        subprocess.run(["ssh-keygen", *key], check=True)
    port = free_port()
    options = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "user.pub",
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "Subsystem": "sftp internal-sftp",
    }
    (folder / "config").write_text("".join(f"{k} {v}\n" for k, v in options.items()))
    if os.geteuid() == 0:  # where a root sshd keeps nothing, but insists on
        Path("/run/sshd").mkdir(exist_ok=True)
    server = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "config"], stderr=subprocess.PIPE)
    wait_for(port, server)
    yield port, folder
    server.terminate()
    server.wait(10)


def wait_for(port, server):
    """Until something listens on a port of this machine."""
    for _ in range(100):
        assert server.poll() is None, server.stderr.read()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(f"nothing listens on {port}")


@pytest.fixture
def ssh(sshd, tmp_path):
    """A remote over SSH."""
    port, keys = sshd
    (tmp_path / "store").mkdir()
    return f"ssh://{getpass.getuser()}@127.0.0.1:{port}{tmp_path}/store", {
        "keyfile": str(keys / "user"),
        "allow_agent": "false",
    }


def give(repo, credentials):
    for key, value in credentials.items():
        repo.dvc("remote", "modify", "--local", "store", key, value)


@pytest.mark.parametrize("kind", ["folder", "s3", "ssh"])
def test_clone_pulls_what_was_pushed_and_runs_nothing(fresh, tmp_path, request, kind):
    address, credentials = request.getfixturevalue(kind)
    fresh.dvc("remote", "add", "--default", "store", address)
    give(fresh, credentials)
    fresh.dvc("push")
    fresh.commit("a remote")
    assert address in fresh.read(".dvc/config")
    committed = fresh.git("log", "--patch", "-1").stdout
    assert not [key for key in credentials if key in committed], "secrets in git"

    fresh.git("clone", "--quiet", fresh.path, tmp_path / "clone")
    clone = Repo(tmp_path / "clone")
    give(clone, credentials)
    clone.dvc("pull")
    assert not stages_run(clone.dvc("repro").stdout)
    assert not clone.git("status", "--porcelain").stdout
    before, after = fresh.contents(), clone.contents()
    assert before.keys() == after.keys()
    assert not [name for name in before if before[name] != after[name]]

    # the model alone, by its name, from the repository's address: no cache, no clone
    fresh.git("tag", "--annotate", "--message", "The first", "k49@v1.0.0")
    shutil.rmtree(fresh.path / ".dvc/cache")
    reader = Repo(tmp_path)
    config = ("--config", fresh.path / ".dvc/config.local") if credentials else ()
    reader.dvc("artifacts", "get", fresh.path, "k49", "--out", "given.keras", *config)
    assert (tmp_path / "given.keras").read_bytes() == before["models/model.keras"]


def test_remote_that_is_not_there_says_so(fresh, tmp_path):
    fresh.dvc("remote", "add", "--default", "store", "s3://store/k49")
    give(fresh, {"endpointurl": "http://127.0.0.1:9", "access_key_id": "us"})
    give(fresh, {"secret_access_key": SECRET})
    failed = fresh.dvc("push", check=False)
    assert failed.returncode != 0
    assert "Traceback" not in failed.stdout
    assert SECRET not in failed.stdout


def test_tunnel_verifies_the_host(sshd, tmp_path):
    """The guide's way round: DVC itself takes any host key; OpenSSH's tunnel doesn't."""
    assert re.search(r"ssh -N -L \d+:localhost:22", GUIDE)
    port, keys = sshd
    (tmp_path / "nobody").touch()
    host = (keys / "host.pub").read_text()
    (tmp_path / "known").write_text(f"[127.0.0.1]:{port} {host}")
    here = free_port()

    def tunnel(known):
        options = {"UserKnownHostsFile": known, "StrictHostKeyChecking": "yes"}
        given = [f"-o{key}={value}" for key, value in options.items()]
        target = ["-p", str(port), "-i", keys / "user", f"{getpass.getuser()}@127.0.0.1"]
        forward = ["-N", "-L", f"{here}:127.0.0.1:{port}"]
        return subprocess.Popen(["ssh", *given, *forward, *target], stderr=subprocess.PIPE)

    refused = tunnel(tmp_path / "nobody")
    assert refused.wait(20) != 0
    assert b"Host key verification failed" in refused.stderr.read()
    opened = tunnel(tmp_path / "known")
    wait_for(here, opened)
    opened.terminate()
    opened.wait(10)
