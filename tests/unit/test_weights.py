import hashlib
from pathlib import Path

import huggingface_hub
import pytest

from deployments import weights
from deployments.errors import WeightsNotFound
from deployments.weights import Kind, resolve_weights

# Private names are used to put small packages in the place of the real ones.
Packaged = weights._Packaged  # pyright: ignore[reportPrivateUsage]
InParts = weights._InParts  # pyright: ignore[reportPrivateUsage]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of importable packages: 'gv_parts' with two parts and a file beside them."""
    data = tmp_path / "site" / "gv_parts" / "data"
    data.mkdir(parents=True)
    (data / "part1").write_bytes(b"first ")
    (data / "part2").write_bytes(b"second")
    (data / "config.json").write_text("{}")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return data


def _in_parts(beside: tuple[str, ...] = (), content: bytes = b"first second") -> InParts:
    return InParts(
        "--extra multilingual",
        "folder/model.bin" if beside else "model.gguf",
        ("gv_parts/data/part1", "gv_parts/data/part2"),
        hashlib.sha256(content).hexdigest(),
        beside,
    )


def _offer(monkeypatch: pytest.MonkeyPatch, kind: Kind, source: "Packaged | InParts") -> None:
    monkeypatch.setattr(weights, "_EMBEDDED", {(kind, "small"): source})


def _reason(reference: str, kind: Kind) -> str:
    with pytest.raises(WeightsNotFound) as caught:
        resolve_weights("llm.model", reference, kind)
    assert caught.value.key == "llm.model"
    assert caught.value.reference == reference
    return caught.value.reason


def test_a_file_on_disk_is_taken_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.touch()
    assert resolve_weights("llm.model", str(file), "gguf") == file


def test_a_path_in_the_home_folder_is_found(home: Path) -> None:
    home.mkdir()
    (home / "model.gguf").touch()
    assert resolve_weights("llm.model", "~/model.gguf", "gguf") == home / "model.gguf"


def test_a_whisper_folder_on_disk_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "model.bin").touch()
    assert resolve_weights("stt.model", str(tmp_path), "whisper") == tmp_path


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("folder", "gguf", "a file is needed"),
        ("folder", "whisper", "no 'model.bin'"),
        ("file.onnx", "whisper", "folder is needed"),
        ("file.onnx", "piper", "'file.onnx.json' is not beside it"),
        ("nothing.gguf", "gguf", "no such file"),
    ],
)
def test_a_wrong_path_is_explained(name: str, kind: Kind, reason: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.onnx").touch()
    assert reason in _reason(str(tmp_path / name), kind)


@pytest.mark.parametrize(
    ("reference", "kind", "reason"),
    [
        ("embedded/smollm", "gguf", "'embedded/smollm2-135m-instruct'"),
        ("embedded/joe", "gguf", "'embedded/gemma-3-270m'"),
        ("embedded/joe", "openaudio", "none"),
        ("models/model.gguf", "gguf", "'owner/repository/file.gguf'"),
        ("gemma", "gguf", "'owner/repository/file.gguf'"),
        ("larg-v3", "whisper", "large-v3-turbo"),
        ("joe", "piper", "local .onnx file"),
        ("", "gguf", "a file is needed"),
        ("a\0b", "gguf", "not on disk"),
        ("./nothing", "gguf", "no such file"),
        ("x" * 5000, "gguf", "no usable path"),
    ],
)
def test_a_typo_is_answered_with_what_is_possible(reference: str, kind: Kind, reason: str) -> None:
    assert reason in _reason(reference, kind)


def test_an_embedded_file_is_found_in_its_package(
    packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _offer(monkeypatch, "gguf", Packaged("--extra embedded", "gv_parts/data/part1"))
    assert resolve_weights("llm.model", "embedded/small", "gguf") == packages / "part1"


def test_a_package_that_is_not_installed_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _offer(monkeypatch, "gguf", Packaged("--extra piper", "gv_absent_package/voice.onnx"))
    reason = _reason("embedded/small", "gguf")
    assert "'gv-absent-package'" in reason
    assert "--extra piper" in reason


@pytest.mark.usefixtures("packages")
def test_parts_are_joined_once_and_then_reused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _offer(monkeypatch, "gguf", _in_parts())
    path = resolve_weights("llm.model", "embedded/small", "gguf")
    assert path == home / ".cache" / "gemmavoice-serve" / "models" / "model.gguf"
    assert path.read_bytes() == b"first second"
    before = path.stat()
    assert resolve_weights("llm.model", "embedded/small", "gguf") == path
    assert path.stat().st_ino == before.st_ino
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.usefixtures("packages", "home")
def test_a_damaged_joined_file_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    _offer(monkeypatch, "gguf", _in_parts())
    path = resolve_weights("llm.model", "embedded/small", "gguf")
    path.write_bytes(b"first")
    resolve_weights("llm.model", "embedded/small", "gguf")
    assert path.read_bytes() == b"first second"


@pytest.mark.usefixtures("packages")
def test_parts_with_a_wrong_hash_are_refused_and_leave_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _offer(monkeypatch, "gguf", _in_parts(content=b"something else"))
    assert "SHA-256" in _reason("embedded/small", "gguf")
    assert [path for path in home.rglob("*") if path.is_file()] == []


@pytest.mark.usefixtures("packages", "home")
def test_a_joined_model_has_its_other_files_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _offer(monkeypatch, "whisper", _in_parts(beside=("gv_parts/data/config.json",)))
    folder = resolve_weights("stt.model", "embedded/small", "whisper")
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.bin"]


@pytest.mark.usefixtures("packages")
def test_a_cache_that_cannot_be_written_is_explained(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _offer(monkeypatch, "gguf", _in_parts())
    home.mkdir()
    (home / ".cache").touch()
    assert "cannot be joined" in _reason("embedded/small", "gguf")


def test_a_gguf_reference_is_fetched_from_its_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []
    (tmp_path / "model.gguf").touch()

    def download(repository: str, file: str) -> str:
        asked.append((repository, file))
        return str(tmp_path / "model.gguf")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    path = resolve_weights("llm.model", "owner/repo-GGUF/sub/model.Q4_0.gguf", "gguf")
    assert path == tmp_path / "model.gguf"
    assert asked == [("owner/repo-GGUF", "sub/model.Q4_0.gguf")]


@pytest.mark.parametrize(
    ("reference", "kind", "repository"),
    [
        ("large-v3-turbo", "whisper", "mobiuslabsgmbh/faster-whisper-large-v3-turbo"),
        ("owner/whisper", "whisper", "owner/whisper"),
        ("fishaudio/openaudio-s1-mini", "openaudio", "fishaudio/openaudio-s1-mini"),
    ],
)
def test_a_whole_repository_is_fetched(
    reference: str,
    kind: Kind,
    repository: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    (tmp_path / "model.bin").touch()

    def download(repo_id: str, allow_patterns: list[str] | None) -> str:
        assert allow_patterns is None or "model.bin" in allow_patterns
        asked.append(repo_id)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert resolve_weights("stt.model", reference, kind) == tmp_path
    assert asked == [repository]


def test_a_hub_that_does_not_answer_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(repository: str, file: str) -> str:
        raise ConnectionError("offline mode\nis enabled")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert "offline mode is enabled" in _reason("owner/repo/model.gguf", "gguf")
