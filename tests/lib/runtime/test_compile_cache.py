"""Where torch keeps what it compiles."""

import os
from pathlib import Path

import pytest
from ddbias.runtime import compile_cache as compile_cache_module


@pytest.fixture
def compile_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    (tmp_path / "study").mkdir()
    monkeypatch.chdir(tmp_path / "study")
    return compile_cache_module


def test_compiled_code_lies_beside_the_results(compile_cache, tmp_path):
    compile_cache.use()
    folder = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    assert folder.parent == tmp_path / "study/.snakemake/compiled"


def test_another_processor_has_another_part(compile_cache, monkeypatch):
    folders = []
    for name in ("one", "another", "one"):  # the second time: what a run told on another machine is not what a user set
        monkeypatch.setattr("ddbias.runtime.processor.describe", lambda name=name: name)
        compile_cache.use()
        folders.append(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    assert folders[0] == folders[2] != folders[1]


def test_the_users_own_place_is_kept(compile_cache, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "mine"))
    compile_cache.use()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "mine")


def test_not_in_a_folder_that_a_compiler_cannot_be_told(compile_cache, monkeypatch, tmp_path):
    (tmp_path / "a study").mkdir()
    monkeypatch.chdir(tmp_path / "a study")
    compile_cache.use()
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ
