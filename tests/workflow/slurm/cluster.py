"""A SLURM cluster of one or two nodes on this machine: real daemons, loopback only, nothing left behind.

Needs root and Debian's packages `slurm-wlm` and `munge`. It is a stand-in for a real cluster in three ways: GPUs are
countable names without a device, memory is watched by polling instead of cgroups, and there is no `sacct`. Accounting,
where it is asked for, is `slurmdbd` on a MariaDB of its own (`slurmdbd`, `mariadb-server-core`, `mariadb-client-core`).
"""

import os
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

CONFIG = Path("/etc/slurm/slurm.conf")  # SLURM_CONF would not reach the step inside a job
CONFIGS = ("slurm.conf", "gres.conf", "slurmdbd.conf")
PREFIX = "ddbias-slurm-"  # of state folders
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
ACCOUNTING = ("slurmdbd", "mariadbd", "mariadb-install-db", "my_print_defaults", "sacct", "sacctmgr")
NODES = ("node1", "node2")
DAEMONS = (*NODES, "slurmctld", "slurmdbd", "mariadbd", "munged")  # in the order in which they end
SETTINGS = """\
ClusterName=ddbias
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={state}/munge.sock
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SrunPortRange=60001-60100
StateSaveLocation={state}/controller
SlurmdSpoolDir={state}/spool/%n
SlurmctldPidFile={state}/slurmctld.pid
SlurmdPidFile={state}/%n.pid
SlurmctldLogFile={state}/slurmctld.log
SlurmdLogFile={state}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
AccountingStorageType=accounting_storage/{storage}
AccountingStoragePass=socket={state}/munge.sock
JobCompType=jobcomp/filetxt
JobCompLoc={state}/finished.log
MpiDefault=none
ReturnToService=2
MinJobAge=7200
KillWait=30
SlurmctldTimeout=30
SlurmdTimeout=30
InactiveLimit=0
GresTypes=gpu
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE DefMemPerCPU=500 State=UP
PartitionName=gpu Nodes=ALL MaxTime=INFINITE DefMemPerCPU=500 State=UP
"""
NODE = """\
NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory={memory} Gres=gpu:{cpus}
"""
DATABASE = """\
AuthType=auth/munge
AuthInfo=socket={state}/munge.sock
DbdHost=localhost
CommunicationParameters=NoInAddrAny
SlurmUser=root
PidFile={state}/slurmdbd.pid
LogFile={state}/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
"""
SEARCH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def missing_programs(wanted):
    """Return the names of those programs that are not installed."""
    return ", ".join(program for program in wanted if shutil.which(program, path=SEARCH) is None)


def why_not():
    """Return why no cluster can be started here, in one line, or None."""
    if missing := missing_programs(PROGRAMS):
        return f"no {missing} here (Debian: apt-get install --no-install-recommends slurm-wlm munge)"
    if os.geteuid() != 0:
        return "a SLURM of one's own needs root"
    if shlex.quote(sys.executable) != sys.executable:
        return f"jobs cannot start {sys.executable}, because of a space or another special character in its path"
    if os.path.lexists(CONFIG):
        return f"{CONFIG} belongs to a SLURM that is installed here"
    for name in ("slurmctld", "slurmd", "slurmdbd"):  # a munged may run: ours has a socket of its own
        if subprocess.run(["pgrep", "-x", name], stdout=subprocess.DEVNULL).returncode == 0:
            return f"{name} is running already"
    return None


def why_no_accounting():
    """Return why there can be no accounting on a cluster here, in one line, or None."""
    if missing := missing_programs(ACCOUNTING):
        return f"no {missing} here (Debian: apt-get install slurmdbd mariadb-{{server,client}}-core)"
    return None


def stop_leftover():
    """Stop a cluster that killed tests have left behind."""
    if CONFIG.is_symlink() and (state := Path(os.readlink(CONFIG)).parent).name.startswith(PREFIX):
        Cluster(state).stop()
        shutil.rmtree(state, ignore_errors=True)


class Cluster:
    """The daemons, their state folder, and what SLURM itself says about jobs."""

    def __init__(self, state, nodes=1, accounting=False):
        self.state = Path(state)
        self.nodes = NODES[:nodes]
        self.accounting = accounting
        self.environment = {}

    def start(self):
        """Start the daemons and wait until the nodes take jobs."""
        for folder in ("controller", "spool", "bin"):
            (self.state / folder).mkdir(parents=True)
        self.state.chmod(0o755)
        self.write_configuration()
        key = self.state / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        self.environment = {"PATH": self._search_path()}
        self.start_daemon("munged")
        if self.accounting:
            self.start_accounting()
        for name in ("slurmctld", *self.nodes):
            self.start_daemon(name)
        wanted = ["idle"] * len(self.nodes)
        self.wait_for(lambda: self.command("sinfo", "-hN", "-p", "main", "-o", "%T", check=False).split() == wanted)

    def write_configuration(self):
        """Write SLURM's files and link them to where it looks; the nodes share out processors and memory."""
        host = socket.gethostname().split(".")[0]
        cpus = max(1, os.cpu_count() // len(self.nodes))
        memory = (os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20 - 1024) // len(self.nodes)
        text = SETTINGS.format(host=host, state=self.state, storage="slurmdbd" if self.accounting else "none")
        resources = ""
        for number, node in enumerate(self.nodes):
            text += NODE.format(node=node, host=host, port=60101 + number, cpus=cpus, memory=memory)
            # A countable GPU needs a device file; these are twins of /dev/null.
            for device in range(cpus):
                os.mknod(self.state / f"{node}-gpu{device}", stat.S_IFCHR | 0o600, os.makedev(1, 3))
            resources += f"NodeName={node} Name=gpu File={self.state}/{node}-gpu[0-{cpus - 1}]\n"
        texts = {"slurm.conf": text, "gres.conf": resources}
        if self.accounting:
            texts["slurmdbd.conf"] = DATABASE.format(state=self.state)
        CONFIG.parent.mkdir(exist_ok=True)
        for name, content in texts.items():
            (self.state / name).write_text(content)
            (self.state / name).chmod(0o600)  # as slurmdbd wants it
            (CONFIG.parent / name).symlink_to(self.state / name)

    def start_accounting(self):
        """Start a MariaDB without a port and `slurmdbd` on it, and tell it of the cluster, its account and its user."""
        folder, end = self.state / "database", self.state / "mariadb.sock"
        self.environment["MYSQL_UNIX_PORT"] = str(end)
        options = ("--no-defaults", f"--datadir={folder}", "--user=root")
        with (self.state / "install.log").open("w") as log:
            subprocess.run(
                ["mariadb-install-db", *options, "--skip-test-db"], check=True, env=self._all(), stdout=log, timeout=120
            )
        self.start_daemon("mariadbd", *options, f"--socket={end}", "--skip-networking")
        self.wait_for(end.exists)
        self.start_daemon("slurmdbd")
        self.wait_for(lambda: self.command("sacctmgr", "-n", "show", "user", check=False))
        for words in ("cluster ddbias", "account lab", "user root account=lab"):
            self.command("sacctmgr", "-i", "add", *words.split())

    def _search_path(self):
        """Return a PATH; without accounting one without `sacct`, which Snakemake would ask, and then wait for ever."""
        hidden = () if self.accounting else ("sacct",)
        folders = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]
        for folder in ("/usr/bin", "/bin"):
            for program in Path(folder).iterdir():
                link = self.state / "bin" / program.name
                if program.name not in hidden and not os.path.lexists(link):
                    link.symlink_to(program)
        others = [f for f in os.environ["PATH"].split(os.pathsep) if f.rstrip("/") not in ("/usr/bin", "/bin")]
        others += [folder for folder in folders if folder not in ("/usr/bin", "/bin", *others)]
        return os.pathsep.join([str(self.state / "bin"), *others])

    def start_daemon(self, name, *options):
        """Start a daemon, that of a node by the name of the node; it detaches itself."""
        command = [name, *options]
        if name in NODES:
            command = ["slurmd", "-N", name]
        elif name == "mariadbd":  # the only one that would not
            command = ["setsid", "--fork", *command, f"--pid-file={self.state}/{name}.pid"]
            command.append(f"--log-error={self.state}/{name}.log")
        elif name == "munged":
            options = {"key-file": "munge.key", "socket": "munge.sock", "pid-file": "munged.pid"}
            options |= {"log-file": "munged.log", "seed-file": "munged.seed"}
            command += [f"--{option}={self.state / file}" for option, file in options.items()]
        # Their input and output closed: a daemon would hold a pipe of the tests open.
        subprocess.run(
            command, check=True, env=self._all(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=30
        )

    def stop_daemon(self, name, how=signal.SIGTERM):
        """End a daemon and wait until it is gone."""
        path = self.state / f"{name}.pid"
        if not path.exists() or not path.read_text().strip():
            return
        pid = int(path.read_text())
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                os.kill(pid, how)
            except ProcessLookupError:
                return
            how = 0
            time.sleep(0.1)
        os.kill(pid, signal.SIGKILL)

    def stop(self):
        """End all jobs and daemons and take the configuration away."""
        try:
            if (self.state / "slurmctld.pid").exists():
                self.command("scancel", "--user=root", check=False)
                deadline = time.monotonic() + 40
                while time.monotonic() < deadline and self.command("squeue", "-h", check=False):
                    time.sleep(0.2)
        finally:
            for name in DAEMONS:
                self.stop_daemon(name)
            for path in (CONFIG.parent / name for name in CONFIGS):
                if path.is_symlink() and Path(os.readlink(path)).parent == self.state:
                    path.unlink()

    def wait_for(self, condition):
        """Wait until `condition()` is true."""
        deadline = time.monotonic() + 30
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError(f"SLURM did not come up; see {self.state}/*.log")
            time.sleep(0.1)

    def _all(self):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))}
        return kept | self.environment

    def command(self, *words, check=True):
        """Run one of SLURM's commands and return what it prints."""
        done = subprocess.run(words, env=self._all(), capture_output=True, text=True, timeout=60)
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def jobs(self):
        """Return every job that SLURM knows, newest last: a dict of id, state, rule, and what it asked for."""
        names = ("id", "state", "partition", "account", "cpus", "memory", "gres", "minutes", "node", "run", "rule")
        lines = self.command("squeue", "-h", "-t", "all", "-o", "%i|%T|%P|%a|%C|%m|%b|%l|%N|%j|%k").splitlines()
        found = [dict(zip(names, line.split("|"), strict=True)) for line in lines]
        for job in found:
            job["rule"] = job["rule"].removeprefix("rule_").split("_wildcards_")[0]
        return sorted(found, key=lambda job: [int(part) for part in job["id"].split("_")])
