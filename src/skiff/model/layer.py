"""layer.toml as types: the reference page in docs/ is generated from these descriptions."""

from __future__ import annotations

from typing import Annotated

import msgspec

# Patterns end in \Z: before `$` there may be a line break.
Doc = msgspec.Meta

# A package's name (Debian Policy 5.6.1); in lists that grow with `-` or `-?` before it, to take it away.
_Package = Annotated[str, Doc(pattern=r"^(-[?]?)?[a-z0-9][a-z0-9.+-]*\Z")]
_Group = Annotated[str, Doc(pattern=r"^[a-z_][a-z0-9_-]{0,30}\Z")]
# A word with a line break would end the line in a bootloader's file.
_Word = Annotated[str, Doc(pattern=r"^.+\Z")]


class DebianBase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A base image that the device makes of Debian packages, where no registry can be reached.

    The build resolves the packages from the same signed lists as its own, and writes them down: the image
    carries the list, not the packages.
    """

    path: Annotated[
        str,
        Doc(
            description="File of the image that the list is written to: `…/base.lock` beside a Dockerfile.",
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9._-]+)*\Z",
        ),
    ]
    packages: Annotated[
        tuple[Annotated[str, Doc(pattern=r"^[a-z0-9][a-z0-9.+-]+\Z")], ...],
        Doc(description="Packages in it, besides the essential ones and apt, with what they depend on."),
    ] = ()


class DebianPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the `debian` builder takes from the archive."""

    packages: Annotated[
        tuple[_Package, ...],
        Doc(description="Packages to unpack, with what they depend on.", examples=[["iproute2"]]),
    ] = ()
    packages_for: Annotated[
        dict[str, tuple[_Package, ...]], Doc(description='Further packages for one CPU: `arm64 = ["…"]`.')
    ] = {}
    provided: Annotated[
        tuple[_Package, ...],
        Doc(
            description=(
                "Packages that are never unpacked, though others depend on them: the image "
                "does their job another way."
            )
        ),
    ] = ()
    keep: Annotated[
        dict[str, tuple[str, ...]],
        Doc(
            description=(
                "For a package, the only paths taken from it (globs without leading slash; "
                "`**` crosses folders). Shared libraries that a kept program needs always "
                "come along. A build tells which of them match nothing."
            )
        ),
    ] = {}
    base: Annotated[
        tuple[DebianBase, ...], Doc(description="Base images that the device can make of packages.")
    ] = ()


class TrimPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is left out of the tree after all packages are unpacked."""

    drop: Annotated[tuple[str, ...], Doc(description="Path globs that are removed, if there.")] = ()
    keep: Annotated[
        tuple[str, ...],
        Doc(
            description=(
                "Path globs that stay although a `drop` or the removal of unneeded libraries "
                "would take them (libraries loaded by dlopen, for example)."
            )
        ),
    ] = ()
    exports: Annotated[
        tuple[str, ...],
        Doc(
            description=(
                "Path globs of programs from which the names are removed that they offer to plug-ins: "
                "of some Go programs these are a tenth."
            )
        ),
    ] = ()
    lines: Annotated[
        tuple[str, ...],
        Doc(
            description=(
                "Path globs of programs in Go from which the line numbers are removed that a panic "
                "prints behind the names of functions."
            )
        ),
    ] = ()


class UserEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A system user, with a group of the same name and number."""

    name: Annotated[str, Doc(description="Log-in name.", pattern=r"^[a-z_][a-z0-9_-]{0,30}\Z")]
    uid: Annotated[int, Doc(description="User and group number.", ge=0, le=65534)]
    home: Annotated[str, Doc(description="Home folder.")] = "/nonexistent"
    shell: Annotated[str, Doc(description="Log-in shell.")] = "/usr/sbin/nologin"
    groups: Annotated[tuple[str, ...], Doc(description="Further groups.")] = ()


class TreePart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Additions to the tree that need no file in `rootfs/`."""

    programs: Annotated[
        tuple[str, ...], Doc(description="Programs that must be there and executable, or the build fails.")
    ] = ()
    dirs: Annotated[
        dict[str, Annotated[str, Doc(pattern=r"^[0-7]{3,4}\Z")]],
        Doc(description='Folders and their octal mode: `"/mnt/persist" = "0755"`.'),
    ] = {}
    links: Annotated[
        dict[str, Annotated[str, Doc(pattern=r"^.+\Z")]], Doc(description="Symbolic links and their target.")
    ] = {}
    applets: Annotated[
        tuple[str, ...],
        Doc(description="Paths that become links to busybox, unless a package brings a program there."),
    ] = ()
    early: Annotated[
        tuple[str, ...],
        Doc(
            description=(
                "Path globs of programs and kernel modules that boot needs before SSH answers. They and the "
                "libraries they load lie unpacked in RAM: faster to start, at the price of "
                "their unpacked size."
            )
        ),
    ] = ()
    bytecode: Annotated[
        tuple[str, ...],
        Doc(
            description=(
                "Path globs of Python's modules (`*.py`) that are compiled when the image is built; only the "
                "bytecode (`*.pyc`) is in the image. Programs start sooner, and nothing of it is made anew, "
                "and kept in RAM, at each boot. Not for modules that are run by the path of their file."
            )
        ),
    ] = ()
    groups: Annotated[
        dict[_Group, Annotated[int, Doc(ge=0, le=65534)]],
        Doc(description="System groups and their number."),
    ] = {}
    users: Annotated[tuple[UserEntry, ...], Doc(description="System users.")] = ()


class KernelPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The kernel, and which of its modules travel along."""

    package: Annotated[dict[str, str], Doc(description="Debian kernel package for each CPU.")] = {}
    # Unset is not no: a later layer's `false` counts.
    source: Annotated[
        bool | msgspec.UnsetType,
        Doc(
            description=(
                "Whether the `debian` builder compiles the kernel, from the text in `linux-source-6.12` and "
                "with `kernel/*.config` of all layers, instead of taking it from `package`."
            )
        ),
    ] = msgspec.UNSET
    base: Annotated[
        str,
        Doc(
            description=(
                "What a compiled kernel has where no layer sets anything: a target of its own make. "
                "`allnoconfig`: nothing else; `alldefconfig`: defaults; `defconfig`, which is taken when no "
                "layer says: most boards of the CPU."
            ),
            pattern=r"^([a-z0-9_]*config)?\Z",
        ),
    ] = ""
    modules: Annotated[
        tuple[str, ...],
        Doc(
            description=(
                "Modules in the image, by name or by glob over the path below `kernel/` "
                "(`drivers/net/usb/*`). What they depend on comes along; a name that the "
                "kernel has built in is fine. A leading `?` marks one that may be missing."
            )
        ),
    ] = ()
    boot: Annotated[
        tuple[str, ...],
        Doc(description="Modules that `/init` loads before the root file system is there, in this order."),
    ] = ()
    load: Annotated[
        tuple[str, ...],
        Doc(description="Modules loaded by name at boot, besides those that the hardware asks for."),
    ] = ()
    firmware_optional: Annotated[
        tuple[str, ...],
        Doc(description="Modules that do without the firmware they name: no warning when none is there."),
    ] = ()
    cmdline: Annotated[tuple[_Word, ...], Doc(description="Words for the kernel's command line.")] = ()
    cmdline_for: Annotated[
        dict[str, tuple[_Word, ...]], Doc(description='Further words for one CPU: `arm64 = ["…"]`.')
    ] = {}


class DevicePart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the device presents itself."""

    hostname: Annotated[
        str,
        Doc(
            description="Host name, unless persist holds another.",
            pattern=r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?\Z",
        ),
    ] = ""
    engine: Annotated[
        str, Doc(description="Container engine: `docker` or `podman`.", pattern=r"^(docker|podman)?\Z")
    ] = ""
    python: Annotated[
        tuple[Annotated[str, Doc(pattern=r"^(-\??)?[a-z][a-z0-9_]*\Z")], ...],
        Doc(
            description=(
                "Parts of Skiff's own Python for the device that go to "
                "`/usr/lib/skiff/python/skiff_device/`. The layer brings Python itself."
            ),
            examples=[["core"]],
        ),
    ] = ()


class SizePart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How large the layer may make an image, and what an image's size is traded for."""

    compressor: Annotated[
        str,
        Doc(
            description=(
                "What programs are compressed with. `xz`, the default, makes the smallest image; with `zstd` "
                "it is larger, and slow CPUs start large programs sooner. `zstd:3` packs all at level 3 "
                "(1 to 19), which takes a fraction of the time, and makes it larger still. Budgets hold for "
                "`xz`."
            ),
            pattern=r"^(xz|zstd(:([1-9]|1[0-9]))?)?\Z",
        ),
    ] = ""

    budget: Annotated[
        dict[str, Annotated[float, Doc(ge=0)]],
        Doc(
            description=(
                "For each CPU the MB that this layer may add to kernel and initramfs, compressed: its files, "
                "the packages and modules it names, what these need that no layer before it does, and the "
                "kernel when it chooses another than `base`. A build that is more than a tenth above "
                "fails, and names what weighs most. It holds for the `debian` builder: `amd64 = 9.5`."
            )
        ),
    ] = {}


class QemuPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How `skiff run` starts this image."""

    memory: Annotated[int, Doc(description="Memory of the virtual machine, in MiB.", ge=0)] = 0
    cpus: Annotated[int, Doc(description="Virtual CPUs.", ge=0)] = 0
    machine: Annotated[dict[str, str], Doc(description="QEMU machine for each CPU.")] = {}


class RawPiece(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A piece of a bootloader that the board reads by its place, not from a file system."""

    name: Annotated[str, Doc(description="What messages call it.", pattern=r"^[a-z0-9][a-z0-9._-]*\Z")]
    sector: Annotated[int, Doc(description="Where it is written: sectors of 512 bytes.", ge=0)]
    file: Annotated[str, Doc(description="A file of the layer's own folder with its bytes.")] = ""
    url: Annotated[
        str, Doc(description="Where its bytes are fetched from.", pattern=r"^(https?://.*)?\Z")
    ] = ""
    sha256: Annotated[
        str, Doc(description="Checksum of what `url` gives.", pattern=r"^([0-9a-f]{64})?\Z")
    ] = ""
    skip: Annotated[int, Doc(description="Bytes at the start of the source that are left out.", ge=0)] = 0
    length: Annotated[int, Doc(description="Bytes that are taken; 0 means all that follow.", ge=0)] = 0
    limit: Annotated[int, Doc(description="Most bytes that there is room for; 0 means no limit.", ge=0)] = 0
    optional: Annotated[
        bool, Doc(description="Whether the image is made without it, with a notice, when it cannot be had.")
    ] = False
    uboot: Annotated[str, Doc(description="A file that compiling U-Boot gives: see `[uboot]`.")] = ""
    blob: Annotated[
        str,
        Doc(
            description=(
                "A file of the user's, looked for in the workspace's `blobs/` (or the folder that "
                "`SKIFF_BLOBS` names) before anything else. It must have the `sha256`, when there is one."
            ),
            pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]*)?\Z",
        ),
    ] = ""


class BootFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A further file of the boot partition, for boards whose first stage reads from there."""

    name: Annotated[
        str, Doc(description="Its path there.", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9._-]+)*\Z")
    ]
    file: Annotated[str, Doc(description="A file of the layer's own folder.")] = ""
    package: Annotated[str, Doc(description="Debian package that holds it.")] = ""
    path: Annotated[str, Doc(description="Where in the package, without leading slash.")] = ""
    uboot: Annotated[str, Doc(description="A file that compiling U-Boot gives: see `[uboot]`.")] = ""
    dtb: Annotated[str, Doc(description="One of `disk.dtbs`.")] = ""


class LoadPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where U-Boot loads to: addresses in the board's memory. Without them it takes its own, unchecked."""

    kernel: Annotated[int, Doc(description="Of the kernel.", ge=0)] = 0
    initramfs: Annotated[int, Doc(description="Of the initramfs.", ge=0)] = 0
    dtb: Annotated[int, Doc(description="Of the device tree.", ge=0)] = 0
    unpack: Annotated[
        int,
        Doc(description="Where a compressed kernel is unpacked, before it is moved to its address.", ge=0),
    ] = 0
    script: Annotated[
        int,
        Doc(description="Of its scripts, which take 256 KiB: U-Boot's own `scriptaddr`.", ge=0),
    ] = 0
    end: Annotated[
        int,
        Doc(description="First address that must stay free: below it ends all that is loaded.", ge=0),
    ] = 0


class DiskPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The disk image that `skiff disk` makes, and what starts it."""

    table: Annotated[str, Doc(description="Partition table: `gpt` or `dos`.", pattern=r"^(gpt|dos)?\Z")] = ""
    start: Annotated[int, Doc(description="Start of the boot partition, in MiB. 0: 16.", ge=0, le=1024)] = 0
    size: Annotated[
        int,
        Doc(description="Size of the boot partition, in MiB; each slot gets half. 0: 512.", ge=0, le=16384),
    ] = 0
    loader: Annotated[
        dict[str, Annotated[str, Doc(pattern=r"^(uefi|uboot|none)\Z")]],
        Doc(
            description=(
                "For each CPU what starts the kernel: `uefi` (systemd-boot), `uboot` (a script that "
                'U-Boot finds), or `none` (the files alone): `amd64 = "uefi"`.'
            )
        ),
    ] = {}
    dtbs: Annotated[
        tuple[str, ...],
        Doc(
            description="Device trees of the kernel package that come along.",
            examples=[["rockchip/rk3568-odroid-m1.dtb"]],
        ),
    ] = ()
    load: Annotated[dict[str, LoadPart], Doc(description="For each CPU where U-Boot loads to.")] = {}
    raw: Annotated[tuple[RawPiece, ...], Doc(description="Pieces written beside the partitions.")] = ()
    files: Annotated[tuple[BootFile, ...], Doc(description="Further files of the boot partition.")] = ()


class UbootInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file that compiling U-Boot needs besides its source: out of a package, or of the vendor."""

    name: Annotated[
        str, Doc(description="Variable of `make` that names the file: `BL31`.", pattern=r"^[A-Z][A-Z0-9_]*\Z")
    ]
    package: Annotated[str, Doc(description="Debian package that holds it.")] = ""
    path: Annotated[str, Doc(description="Where in the package, without leading slash.")] = ""
    url: Annotated[str, Doc(description="Where it is fetched from.", pattern=r"^(https?://.*)?\Z")] = ""
    sha256: Annotated[
        str, Doc(description="Checksum of what `url` gives.", pattern=r"^([0-9a-f]{64})?\Z")
    ] = ""
    blob: Annotated[
        str,
        Doc(
            description="A file of the user's, as in `[[disk.raw]]`.",
            pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]*)?\Z",
        ),
    ] = ""


class UbootPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """U-Boot for a board, compiled from Debian's source package when a disk image needs it.

    Settings in `uboot/*.config` of any layer (Kconfig lines) are laid over the defconfig.
    """

    defconfig: Annotated[
        str,
        Doc(
            description='Name in U-Boot\'s `configs/`, without `_defconfig`: `"odroid-c4"`.',
            pattern=r"^[A-Za-z0-9._-]*\Z",
        ),
    ] = ""
    target: Annotated[str, Doc(description="What `make` is told to make.", pattern=r"^[A-Za-z0-9._-]*\Z")] = (
        ""
    )
    files: Annotated[
        tuple[str, ...],
        Doc(description="Files that are kept of what it made; `[[disk.raw]]` can name them."),
    ] = ()
    input: Annotated[tuple[UbootInput, ...], Doc(description="Files it needs besides its source.")] = ()


class BuildrootSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another source for a package of Buildroot's: a folder, or a version of one's own."""

    folder: Annotated[
        str,
        Doc(
            description=(
                "A folder with the unpacked source, absolute or below the layer's own "
                "(Buildroot's `<PKG>_OVERRIDE_SRCDIR`). Buildroot's patches are not applied to it."
            )
        ),
    ] = ""
    version: Annotated[str, Doc(description="Version instead of Buildroot's.")] = ""
    file: Annotated[
        str,
        Doc(
            description="Name of the source archive, when it is not the package's own for that version.",
            pattern=r"^([A-Za-z0-9][A-Za-z0-9._+~-]*)?\Z",
        ),
    ] = ""
    url: Annotated[str, Doc(description="Folder the archive is fetched from.")] = ""
    sha256: Annotated[str, Doc(description="Checksum of the archive.", pattern=r"^([0-9a-f]{64})?\Z")] = ""


class BuildrootPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the `buildroot` builder is told, besides fragments in `buildroot/`, `kernel/` and `busybox/`."""

    toolchain: Annotated[
        str,
        Doc(
            description=(
                "`debian`: Debian's cross compiler of this machine, as an external toolchain. Others are set "
                "by fragments (`BR2_TOOLCHAIN_EXTERNAL…`)."
            ),
            pattern=r"^(debian)?\Z",
        ),
    ] = ""
    source: Annotated[
        dict[str, BuildrootSource], Doc(description="For a package of Buildroot's, another source.")
    ] = {}
    variables: Annotated[
        dict[str, Annotated[str, Doc(pattern=r"^[^\n]*\Z")]],
        Doc(description='Variables of its make that overrule a package\'s own: `RSYNC_AUTORECONF = "NO"`.'),
    ] = {}
    links: Annotated[
        dict[str, str],
        Doc(description="Links instead of those in `tree.links`, where Buildroot's packages lie elsewhere."),
    ] = {}


class LayerFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole layer.toml."""

    description: Annotated[str, Doc(description="One line, shown by `skiff layers`.", pattern=r"^.+\Z")]
    requires: Annotated[
        tuple[str, ...], Doc(description="Layers that come before this one, and are added when missing.")
    ] = ()
    requires_one: Annotated[
        tuple[str, ...],
        Doc(
            description="Layers of which one has to be there, by its name; which one is for the user to say."
        ),
    ] = ()
    conflicts: Annotated[tuple[str, ...], Doc(description="Layers that cannot be in the same recipe.")] = ()
    arch: Annotated[
        tuple[str, ...],
        Doc(description="CPUs this layer is for (`amd64`, `arm64`, `armhf`, `riscv64`); empty means all."),
    ] = ()
    listed: Annotated[bool, Doc(description="Whether `skiff layers` shows it without `--all`.")] = True
    debian: DebianPart = DebianPart()
    trim: TrimPart = TrimPart()
    tree: TreePart = TreePart()
    kernel: KernelPart = KernelPart()
    size: SizePart = SizePart()
    device: DevicePart = DevicePart()
    qemu: QemuPart = QemuPart()
    disk: DiskPart = DiskPart()
    uboot: UbootPart = UbootPart()
    buildroot: BuildrootPart = BuildrootPart()
