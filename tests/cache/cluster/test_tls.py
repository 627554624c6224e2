"""A cluster whose nodes ask for a password and speak TLS: near copies, outbox and loop included."""

from __future__ import annotations

import pytest

from django_callcache.exceptions import RedisMisconfigured
from testproject.parts.redis_cluster import RedisCluster
from tests.cache.cluster.everything import RULES, call_everything, do_the_rest
from tests.tls import certificate, program_with_tls
from tests.topology import WholeCluster

pytestmark = [pytest.mark.usefixtures("hurried_links"), pytest.mark.django_db]


@pytest.fixture(scope="module")
def trusted(tmp_path_factory):
    """A certificate, and its key."""
    return certificate(tmp_path_factory.mktemp("tls"), "127.0.0.1")


@pytest.fixture(scope="module")
def cluster(trusted):
    """Nodes with a password, which speak TLS to clients and to one another."""
    with RedisCluster(password="secret", certificate=trusted, program=program_with_tls()) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def session_redis(cluster, trusted):
    """A client with the password, over TLS."""
    with WholeCluster(
        host="127.0.0.1",
        port=cluster.port(cluster.nodes[0]),
        password="secret",
        ssl=True,
        ssl_ca_certs=str(trusted[0]),
    ) as client:
        yield client


class TestTls:
    @pytest.fixture
    def make_trusting(self, make_near, cluster, trusted):
        """Make the cache that knows the password and the certificate."""
        pool = {"CONNECTION_POOL_KWARGS": {"ssl_ca_certs": str(trusted[0])}}
        return lambda: make_near(location=cluster.url, RULES=RULES, django_redis=pool)

    async def test_calls(self, face_of, make_trusting, redis_client):
        """The password and the certificate go to every node that is found, whatever asks it."""
        await call_everything(face_of(make_trusting()), redis_client)

    def test_behind_the_calls(self, make_trusting):
        """Outbox, loop, locks and rotation find the nodes too."""
        do_the_rest(make_trusting())

    @pytest.mark.parametrize("stranger", ["without the password", "without trust"])
    async def test_strangers__refused(self, face_of, make_cache, cluster, trusted, stranger):
        """Without the password, or without trust, the fault is the configuration's, and is raised."""
        pool = {"CONNECTION_POOL_KWARGS": {"ssl_ca_certs": str(trusted[0])}}
        url, stated = cluster.url.replace(":secret@", ":wrong@"), pool
        if stranger == "without trust":
            url, stated = cluster.url, {}
        face = face_of(make_cache(url, DEADLINE=10, django_redis=stated))
        with pytest.raises(RedisMisconfigured):
            await face.get("a")
