from __future__ import annotations

import io
import re

import pytest
from django.core.management import CommandError, call_command


def printed(*arguments):
    output = io.StringIO()
    call_command("callcache_sql", *arguments, stdout=output)
    return output.getvalue()


class TestCallcacheSql:
    def test_print(self):
        """The migration is printed whole, and nothing else."""
        sql = printed()
        assert sql.startswith("-- django_callcache: the remote store.")
        assert sql.rstrip().endswith("notify pgrst, 'reload schema';")

    def test_output(self, tmp_path):
        """It can be written to a file."""
        file = tmp_path / "remote.sql"
        assert printed("--output", str(file)) == f"Wrote {file}\n"
        assert file.read_text() == printed()

    def test_output__nowhere(self, tmp_path):
        """A place that cannot be written to is exit code 2."""
        with pytest.raises(CommandError) as caught:
            printed("--output", str(tmp_path / "missing" / "remote.sql"))
        assert caught.value.returncode == 2

    def test_supabase_migration(self, tmp_path):
        """It can be written where the Supabase CLI looks for migrations, under such a name."""
        printed("--supabase-migration", str(tmp_path / "supabase/migrations"))
        (file,) = (tmp_path / "supabase/migrations").iterdir()
        assert re.fullmatch(r"\d{14}_callcache\.sql", file.name)
        assert file.read_text() == printed()

    def test_supabase_migration__default_folder(self, tmp_path, monkeypatch):
        """Without a folder it is the one that the Supabase CLI uses."""
        monkeypatch.chdir(tmp_path)
        printed("--supabase-migration")
        assert len(list((tmp_path / "supabase/migrations").iterdir())) == 1
