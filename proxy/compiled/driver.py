"""The compiler's own process: `python -P driver.py JOBS TARGET LIBRARY MODULE…`, started by `build.py`.

Translates the modules, whose sources are in the current folder, to C, and writes the shared library and an extension
module for each into TARGET; its own files go beside it. Says all kinds of things, and fails when any step does.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any, Final

#: mypyc needs the types as mypy sees them here, with pydantic's plugin; what it finds wrong elsewhere is `make
#: check`'s concern.
_CONFIG: Final = """\
[mypy]
plugins = pydantic.mypy
follow_imports = silent
ignore_missing_imports = True
"""


def main(arguments: list[str]) -> None:
    """Do all of it."""
    # First, as it brings distutils, which Python has had no more since 3.12.
    import_module("setuptools")
    ccompiler: Any = import_module("distutils.ccompiler")
    sysconfig: Any = import_module("distutils.sysconfig")
    mypycify: Any = import_module("mypyc.build").mypycify

    jobs, target, library, *modules = arguments
    work = Path(target).with_name("work")
    work.mkdir()
    config = work / "mypy.ini"
    config.write_text(_CONFIG)
    extensions: list[Any] = mypycify(
        [
            f"--config-file={config}",
            "--cache-dir=/dev/null",
            *(f"{module.replace('.', '/')}.py" for module in modules),
        ],
        # One C file a module, so that they can be compiled beside each other.
        multi_file=True,
        group_name=library.removesuffix("__mypyc"),
        # At -O2 the compiler takes half as long again, and no difference can be measured in what it makes.
        opt_level="1",
        debug_level="0",
        target_dir=str(work),
    )
    compiler: Any = ccompiler.new_compiler()
    sysconfig.customize_compiler(compiler)

    def compile_one(job: tuple[Any, str]) -> list[str]:
        extension, source = job
        made: list[str] = compiler.compile(
            [source],
            output_dir=str(work / "objects"),
            include_dirs=[*extension.include_dirs, sysconfig.get_python_inc()],
            extra_postargs=extension.extra_compile_args,
        )
        return made

    sources = [(extension, source) for extension in extensions for source in extension.sources]
    # The longest first: none of them shall be left over for one core at the end.
    sources.sort(key=lambda job: Path(job[1]).stat().st_size, reverse=True)
    with ThreadPoolExecutor(int(jobs)) as pool:
        objects = list(pool.map(compile_one, sources))
    for extension in extensions:
        mine = [
            made
            for (of, _), all_made in zip(sources, objects, strict=True)
            if of is extension
            for made in all_made
        ]
        file = Path(target) / (extension.name.replace(".", "/") + sysconfig.get_config_var("EXT_SUFFIX"))
        compiler.link_shared_object(mine, str(file))


if __name__ == "__main__":
    main(sys.argv[1:])
