"""A SLURM cluster of one node on this machine: real daemons, loopback only, no accounting, nothing left behind.

Needs root and Debian's packages `slurm-wlm` and `munge`. It is a stand-in for a real cluster in three ways: GPUs are
countable names without a device, memory is watched by polling instead of cgroups, and there is no `sacct`.
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
PREFIX = "ddbias-slurm-"  # of state folders
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
DAEMONS = ("slurmd", "slurmctld", "munged")
SETTINGS = """\
ClusterName=ddbias
SlurmctldHost={node}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={state}/munge.sock
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SrunPortRange=60001-60100
StateSaveLocation={state}/controller
SlurmdSpoolDir={state}/spool
SlurmctldPidFile={state}/slurmctld.pid
SlurmdPidFile={state}/slurmd.pid
SlurmctldLogFile={state}/slurmctld.log
SlurmdLogFile={state}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
AccountingStorageType=accounting_storage/none
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
NodeName={node} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:{cpus} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE DefMemPerCPU=500 State=UP
PartitionName=gpu Nodes=ALL MaxTime=INFINITE DefMemPerCPU=500 State=UP
"""


def why_not():
    """Return why no cluster can be started here, in one line, or None."""
    search = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    missing = [program for program in PROGRAMS if shutil.which(program, path=search) is None]
    if missing:
        return f"no {', '.join(missing)} here (Debian: apt-get install --no-install-recommends slurm-wlm munge)"
    if os.geteuid() != 0:
        return "a SLURM of one's own needs root"
    if shlex.quote(sys.executable) != sys.executable:
        return f"jobs cannot start {sys.executable}, because of a space or another special character in its path"
    if os.path.lexists(CONFIG):
        return f"{CONFIG} belongs to a SLURM that is installed here"
    for name in ("slurmctld", "slurmd"):  # a munged may run: ours has a socket of its own
        if subprocess.run(["pgrep", "-x", name], stdout=subprocess.DEVNULL).returncode == 0:
            return f"{name} is running already"
    return None


def stop_leftover():
    """Stop a cluster that killed tests have left behind."""
    if CONFIG.is_symlink() and (state := Path(os.readlink(CONFIG)).parent).name.startswith(PREFIX):
        Cluster(state).stop()
        shutil.rmtree(state, ignore_errors=True)


class Cluster:
    """The daemons, their state folder, and what SLURM itself says about jobs."""

    def __init__(self, state):
        self.state = Path(state)
        self.environment = {}

    def start(self):
        """Start the daemons and wait until the node takes jobs."""
        for folder in ("controller", "spool", "bin"):
            (self.state / folder).mkdir(parents=True)
        self.state.chmod(0o755)
        node = socket.gethostname().split(".")[0]
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20 - 1024
        text = SETTINGS.format(node=node, state=self.state, cpus=os.cpu_count(), memory=memory)
        (self.state / "slurm.conf").write_text(text)
        # A countable GPU needs a device file; these are twins of /dev/null.
        for device in range(os.cpu_count()):
            os.mknod(self.state / f"gpu{device}", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        files = f"{self.state}/gpu[0-{os.cpu_count() - 1}]"
        (self.state / "gres.conf").write_text(f"NodeName={node} Name=gpu File={files}\n")
        CONFIG.parent.mkdir(exist_ok=True)
        CONFIG.symlink_to(self.state / "slurm.conf")
        (CONFIG.parent / "gres.conf").symlink_to(self.state / "gres.conf")
        key = self.state / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        self.environment = {"PATH": self._search_path()}
        self.start_daemon("munged")
        self.start_daemon("slurmctld")
        self.start_daemon("slurmd")
        self.wait_for_node()

    def _search_path(self):
        """Return a PATH without `sacct`, which Snakemake would ask where it is found, and then wait for ever."""
        hidden = ("sacct",)
        folders = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]
        for folder in ("/usr/bin", "/bin"):
            for program in Path(folder).iterdir():
                link = self.state / "bin" / program.name
                if program.name not in hidden and not os.path.lexists(link):
                    link.symlink_to(program)
        others = [f for f in os.environ["PATH"].split(os.pathsep) if f.rstrip("/") not in ("/usr/bin", "/bin")]
        others += [folder for folder in folders if folder not in ("/usr/bin", "/bin", *others)]
        return os.pathsep.join([str(self.state / "bin"), *others])

    def start_daemon(self, name):
        """Start one of the three daemons; it detaches itself."""
        command = [name]
        if name == "munged":
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
            for path in (CONFIG, CONFIG.parent / "gres.conf"):
                if path.is_symlink() and Path(os.readlink(path)).parent == self.state:
                    path.unlink()

    def wait_for_node(self):
        """Wait until the node takes jobs."""
        deadline = time.monotonic() + 30
        while "idle" not in self.command("sinfo", "-h", "-p", "main", "-o", "%T", check=False):
            if time.monotonic() > deadline:
                raise RuntimeError(f"SLURM did not come up; see {self.state}/slurmctld.log and slurmd.log")
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
        names = ("id", "state", "partition", "account", "cpus", "memory", "gres", "minutes", "run", "rule")
        lines = self.command("squeue", "-h", "-t", "all", "-o", "%i|%T|%P|%a|%C|%m|%b|%l|%j|%k").splitlines()
        found = [dict(zip(names, line.split("|"), strict=True)) for line in lines]
        for job in found:
            job["rule"] = job["rule"].removeprefix("rule_").split("_wildcards_")[0]
        return sorted(found, key=lambda job: [int(part) for part in job["id"].split("_")])
