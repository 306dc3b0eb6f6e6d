"""Encrypted states: no array is stored in clear text, and only the key decrypts them."""

import hashlib
import json
import os

import jax
import numpy as np
import pytest

from jaxresearch.data.files import tfds as kept
from jaxresearch.records import CheckpointError, Checkpoints
from jaxresearch.records.encryption import Cipher, DecryptionError, read_key


def state(step):
    """Returns a small state with a scalar, an empty array and a typed key."""
    return {
        "step": np.int32(step),
        "none": np.zeros((0, 2)),
        "key": jax.random.key(step),
        "kernel": np.arange(6.0).reshape(2, 3),
    }


def test_an_encrypted_state_is_restored_and_never_in_clear_text(tmp_path):
    cipher = Cipher(os.urandom(32))
    marked = {**state(3), "kernel": np.frombuffer(b"a secret weight!" * 64, np.float32)}
    Checkpoints(tmp_path, cipher=cipher).write(3, marked)
    found = Checkpoints(tmp_path, cipher=cipher).restore(marked)
    assert found.step == 3 and found.state.pop("key") == marked.pop("key")
    for name, array in marked.items():
        np.testing.assert_array_equal(found.state[name], array)
        assert found.state[name].dtype == array.dtype and found.state[name].shape == array.shape
    contents = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert contents and not any(b"a secret weight!" in content for content in contents)
    clear = tmp_path / "clear"
    clear.mkdir()
    path = Checkpoints(clear).write(3, {"kernel": np.arange(4.0)})
    assert json.loads((path / "manifest.json").read_text())["manifest"]["sealed"] is False


def test_a_wrong_or_missing_key_sets_no_checkpoint_aside(tmp_path):
    Checkpoints(tmp_path, cipher=Cipher(bytes(32))).write(3, state(3))
    with pytest.raises(CheckpointError, match="step 3 was encrypted with another key. Pass the key it was saved with."):
        Checkpoints(tmp_path, cipher=Cipher(os.urandom(32))).restore(state(3))
    with pytest.raises(CheckpointError, match="step 3 is encrypted. Pass its key: --encrypt-with KEYFILE"):
        Checkpoints(tmp_path).restore(state(3))
    assert Checkpoints(tmp_path).steps() == [3] and not (tmp_path / "quarantine").exists()


def test_every_bit_of_encrypted_content_counts():
    cipher = Cipher(os.urandom(32))
    content = cipher.encrypt(b"weights", name="a")
    assert cipher.decrypt(content, name="a") == b"weights" and cipher.encrypt(b"weights", name="a") != content
    for bit in range(8 * len(content)):
        altered = bytearray(content)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DecryptionError):
            cipher.decrypt(bytes(altered), name="a")
    for wrong, name in ((cipher, "b"), (Cipher(os.urandom(32)), "a")):
        with pytest.raises(DecryptionError, match="^[ab] was altered, or encrypted with another key.$"):
            wrong.decrypt(content, name=name)
    with pytest.raises(DecryptionError):
        cipher.decrypt(b"", name="a")


@pytest.fixture
def encrypted(tmp_path, monkeypatch):
    """An encrypted cache of a decoded set, in parts of 500 bytes: its folder, cipher, arrays and card."""
    monkeypatch.setattr(kept, "_PART", 500)
    folder, cipher = tmp_path / "flowers-1.0.0-sealed", Cipher(os.urandom(32))
    inputs = np.frombuffer(b"a secret flower!" * 64, np.uint8).reshape(64, 16)
    part = {"inputs": inputs, "targets": np.zeros(64, np.int32)}
    folder.mkdir()
    entries = []
    for name in ("train", "test"):
        for key, values in part.items():
            file, content = f"{name}-{key}.npy", kept._npy(values)
            kept._put(folder, file, content, of=folder.name, cipher=cipher)
            entries.append({"part": name, "key": key, "file": file, "sha256": hashlib.sha256(content).hexdigest()})
    manifest = json.dumps({"class_names": ["rosa"], "arrays": entries}).encode()
    kept._put(folder, "manifest.json", manifest, of=folder.name, cipher=cipher)
    return folder, cipher, part


def stored(folder, cipher):
    """Returns the parts and the manifest of a kept set."""
    manifest = kept._manifest(folder, cipher)
    return kept._stored(folder, manifest, cipher), manifest


def test_an_encrypted_set_is_restored_and_never_in_clear_text(encrypted):
    folder, cipher, part = encrypted
    parts, manifest = stored(folder, cipher)
    assert manifest["class_names"] == ["rosa"]
    for name in ("train", "test"):
        for key, values in part.items():
            np.testing.assert_array_equal(parts[name][key], values)
    files = [path for path in folder.parent.rglob("*") if path.is_file()]
    assert len([path for path in files if path.name.startswith("train-inputs.npy-")]) == 3
    for secret in (b"a secret flower!", b"NUMPY", b"rosa"):
        assert files and not any(secret in path.read_bytes() for path in files)


def test_every_byte_of_an_encrypted_set_counts(encrypted):
    folder, cipher, _ = encrypted
    for path in folder.iterdir():
        whole = path.read_bytes()
        for place in {0, 11, 12, len(whole) // 2, len(whole) - 1}:
            altered = bytearray(whole)
            altered[place] ^= 1
            path.write_bytes(altered)
            with pytest.raises(
                ValueError,
                match=f"{path.name} could not be decrypted: it was altered, or encrypted with another key. Pass",
            ):
                stored(folder, cipher)
        path.write_bytes(whole)
    stored(folder, cipher)


def test_an_encrypted_set_is_bound_to_its_key_name_and_parts(encrypted):
    folder, cipher, _ = encrypted
    with pytest.raises(ValueError, match="manifest.json-0.sealed could not be decrypted") as caught:
        stored(folder, Cipher(os.urandom(32)))
    assert "\n" not in str(caught.value)
    other = folder.rename(folder.with_name("roses-1.0.0-sealed"))
    with pytest.raises(ValueError, match="manifest.json-0.sealed could not be decrypted"):
        stored(other, cipher)
    other.rename(folder)
    first, second, last = (folder / f"train-inputs.npy-{number}.sealed" for number in range(3))
    one, two, three = (path.read_bytes() for path in (first, second, last))
    first.write_bytes(two), second.write_bytes(one)
    with pytest.raises(ValueError, match="train-inputs.npy-0.sealed could not be decrypted"):
        stored(folder, cipher)
    first.write_bytes(one), second.write_bytes(two), last.unlink()
    with pytest.raises(ValueError, match="train-inputs.npy must have SHA-256 .*, got .*Delete"):
        stored(folder, cipher)
    last.write_bytes(three)
    stored(folder, cipher)


def test_a_key_file_is_checked(tmp_path):
    (tmp_path / "short").write_bytes(b"x" * 31)
    with pytest.raises(ValueError, match="must name a file of 32 bytes, got .*short with 31. Create one: head -c 32"):
        read_key(tmp_path / "short")
    with pytest.raises(ValueError, match="encrypt_with must name a readable key file, got .*none"):
        read_key(tmp_path / "none")


def test_a_run_is_kept_encrypted_and_resumes_with_its_key_alone(command, tmp_path):
    key, directory = tmp_path / "key", tmp_path / "run"
    key.write_bytes(os.urandom(32))
    words = ["run", "house_prices", "--smoke", "--save-every", "0", "--directory", directory, "--encrypt-with", key]
    bad = command(*words[:-1], tmp_path / "none")
    assert bad.returncode == 2 and len(bad.stderr.splitlines()) == 1 and not directory.exists()
    done = command(*words)
    assert done.returncode == 0, done.stderr
    assert list(directory.glob("checkpoints/*/arrays/*.sealed")) and command("verify", directory).returncode == 0
    (directory / "result.json").unlink()  # as if killed at the end
    clear = command(*words[:-2])
    assert clear.returncode == 2 and "these settings differ: --encrypt-with" in clear.stderr  # it stays encrypted
    key.write_bytes(os.urandom(32))
    other = command("resume", directory)
    assert other.returncode == 2 and "was encrypted with another key. Pass the key it was saved with." in other.stderr
    assert len(other.stderr.splitlines()) == 1 and not (directory / "quarantine").exists()
