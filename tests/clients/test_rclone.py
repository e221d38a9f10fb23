"""rclone, by the configuration of docs/clients/rclone.md."""

from __future__ import annotations

from tests.clients.conftest import Person, clear, same

CONFIG = """
[wio]
type = s3
provider = Minio
endpoint = {endpoint}
region = us-east-1
env_auth = true
"""


def test_rclone(jane: Person, bucket: str) -> None:
    (jane.home / "rclone.conf").write_text(CONFIG.format(endpoint=jane.endpoint))

    def rclone(*words: str, stdin: bytes = b"", code: int | None = 0) -> str:
        return jane.run("rclone", "--config", "rclone.conf", *words, stdin=stdin, code=code)

    there = f"wio:{bucket}"
    assert bucket in rclone("lsd", "wio:")
    rclone("sync", "tree", f"{there}/tree")
    rclone("check", "tree", f"{there}/tree")
    rclone("copy", f"{there}/tree", "back")
    same(jane.home / "tree", jane.home / "back")
    assert sorted(line.split(maxsplit=1)[1] for line in rclone("ls", there).splitlines()) == [
        "tree/a.txt", "tree/people.csv", "tree/sub/big.bin", "tree/sub/ü +x&y.txt",
    ]  # fmt: skip
    assert rclone("cat", f"{there}/tree/a.txt") == "hello\n"
    rclone("rcat", f"{there}/r.txt", stdin=b"by rcat")
    rclone("copyto", f"{there}/r.txt", f"{there}/r2.txt")
    rclone("moveto", f"{there}/r2.txt", f"{there}/moved/r3.txt")
    assert rclone("cat", f"{there}/moved/r3.txt") == "by rcat"
    assert "Total objects: 6" in rclone("size", there)
    assert "b1946ac92492d2347c6235b4d2611184" in rclone("hashsum", "md5", f"{there}/tree")
    clear(jane.home / "none")
    rclone("sync", "none", f"{there}/moved")
    rclone("mkdir", "wio:made-by-rclone")
    rclone("rmdir", "wio:made-by-rclone")
    rclone("delete", f"{there}/tree", "--include", "*.csv")
    assert "people.csv" not in rclone("ls", there)
    rclone("purge", f"{there}/tree")
    assert rclone("lsf", there).split() == ["r.txt"]
