"""Analysis by a cluster, where no Ray is needed: the share of a worker, its network, its refusals."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path

import pytest

from rtsearch import __version__
from rtsearch._util import cpu
from rtsearch.config import Settings
from rtsearch.errors import ClusterError, ModelError
from rtsearch.jobs.cluster.networks import kept_network, network_files, with_networks
from rtsearch.jobs.cluster.photos import Share
from rtsearch.jobs.cluster.worker import Order, look_at_batch
from rtsearch.models import ModelSpec
from rtsearch.pipeline import open_pipeline

CONTENT = b"a network"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def test_shards_and_a_database_exclude_each_other(cli, blob_index):
    refused = cli("cluster", "serve", blob_index.library.folder, "--set", "search.backend=postgres")
    assert refused.complaint.startswith("rtsearch: search.backend=postgres: cluster serve searches shards")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cpu, "_share", 0)


@pytest.mark.parametrize(
    ("nodes", "engine", "share"),
    [
        ([{"CPU": 16.0}, {"CPU": 8.0}], "auto", Share(2, 0)),
        ([{"CPU": 16.0}, {"CPU": 1.0}], "auto", Share(1, 0)),
        ([{"memory": 1.0}, {"CPU": 4.0}], "auto", Share(2, 0)),  # a head that works for nobody
        ([], "auto", Share(2, 0)),  # its machines are still to come
        ([{"CPU": 16.0, "GPU": 2.0}, {"CPU": 8.0}], "auto", Share(8, 1)),
        ([{"CPU": 2.0, "GPU": 4.0}], "auto", Share(1, 1)),
        ([{"CPU": 16.0, "GPU": 2.0}], "none", Share(2, 0)),
    ],
)
def test_the_share_of_a_worker(nodes, engine, share):
    assert Share.of(nodes, engine) == share


def test_a_worker_keeps_to_its_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))
    cpu.share_cores(3)
    assert (cpu.usable_cores(), cpu.network_threads()) == (3, 3)
    cpu.share_cores(100)
    assert cpu.usable_cores() <= 8


def test_a_network_is_fetched_once():
    fetched = []

    def fetch() -> bytes:
        fetched.append(CONTENT)
        return CONTENT

    path = kept_network(SHA256, fetch)
    assert kept_network(SHA256, fetch) == path
    assert (path.read_bytes(), len(fetched)) == (CONTENT, 1)


def test_a_damaged_network_is_fetched_again():
    path = kept_network(SHA256, lambda: CONTENT)
    path.write_bytes(CONTENT[:-1])
    assert kept_network(SHA256, lambda: CONTENT).read_bytes() == CONTENT


def test_a_network_that_arrives_damaged_is_refused(tmp_path):
    with pytest.raises(ClusterError, match="damaged"):
        kept_network(SHA256, lambda: CONTENT[:-1])
    assert list(tmp_path.rglob("*.onnx")) == []


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "cache").touch()
    with pytest.raises(ClusterError, match=r"cannot keep the network in .*cache"):
        kept_network(SHA256, lambda: CONTENT)


def test_the_network_that_is_open_is_the_one_that_is_sent(model, tmp_path, monkeypatch):
    monkeypatch.setenv("RTSEARCH_ENGINES", str(tmp_path))
    shutil.copy(model, tmp_path / model.name)
    with open_pipeline(Settings()) as pipeline:
        sent = network_files(Settings(), pipeline.spec.sha256)
    assert [network.sha256 for network in sent] == [hashlib.sha256(model.read_bytes()).hexdigest()]
    path = kept_network(sent[0].sha256, lambda: sent[0].content)
    with open_pipeline(with_networks(Settings(), [path])) as there:
        assert there.feature_space == pipeline.feature_space
    with pytest.raises(ModelError, match="has changed"):
        network_files(Settings(), "0" * 64)


def test_the_embedder_is_sent_too(model):
    settings = Settings.model_validate({"describe": {"embedder": str(model)}})
    sent = network_files(settings, ModelSpec.read(model).sha256)
    assert [network.content for network in sent] == [model.read_bytes()] * 2
    assert with_networks(settings, [Path("/a"), Path("/b")]).describe.embedder == "/b"


def order(root: Path, version: str = __version__) -> Order:
    return Order(version=version, root=str(root), settings="{}", fingerprint="", networks=(), cores=1)


def test_a_worker_of_another_version_says_so(tmp_path):
    with pytest.raises(ClusterError, match=rf"has rtsearch {__version__}, the analysis is of 0\.0\.9"):
        look_at_batch(order(tmp_path, "0.0.9"), [("a.jpg", 1, 1, "")])


def test_a_worker_that_does_not_see_the_photos_names_them(tmp_path):
    with pytest.raises(ClusterError, match=rf"does not see {tmp_path}/gone/a\.jpg"):
        look_at_batch(order(tmp_path / "gone"), [("a.jpg", 1, 1, "")])


def test_without_ray_the_way_out_is_named(cli, photos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert (
        "pip install 'rtsearch[ray]'" in cli("analyze", photos, tmp_path / "x.lib", "--ray", "auto").complaint
    )
    assert not (tmp_path / "x.lib").exists()
