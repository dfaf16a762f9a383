"""Runs on three hosts that share no files, over mutual TLS: `desk`, where runs are submitted and the Dask scheduler is, and
`alder` and `birch`, with a Dask worker each. The hosts are namespaces, so only root can make them."""
from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Command, Finished, query, states, wait_until
from host_clusters import COMM, SLOTS, Authority, Cluster, Hosts
from namespaces import Host, can_be_made

from firexlite import host
from firexlite.history import History

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]

LEASE_S = 3  # of a run, which its workers keep to
# Begins a service file whose bodies leave their traces in the folder of the host that they are on, and look there for what they
# wait for: on a worker, HOST_FOLDER says which that is.
NOTE = """
import os, socket, time
from firexlite import app

def here(name):
    return os.path.join(os.environ["HOST_FOLDER"], name)

def note(what):
    fd = os.open(here("effects"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{what}\\n".encode())
    os.close(fd)
"""


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    if not (shutil.which("openssl") and can_be_made()):
        pytest.skip("hosts are made by root, with the commands unshare, nsenter, ip and mount, and certified by openssl")
    hosts = Hosts(tmp_path_factory.getbasetemp())
    yield hosts
    hosts.close()


@pytest.fixture(scope="module")
def authority(hosts: Hosts, tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority") / "ours")


@pytest.fixture(scope="module")
def shared(hosts: Hosts, authority: Authority) -> Iterator[Cluster]:
    """One that no test breaks."""
    cluster = Cluster(hosts, 8786, authority)
    yield cluster
    cluster.close()


@pytest.fixture
def cluster(hosts: Hosts, authority: Authority) -> Iterator[Cluster]:
    """One whose cables are pulled."""
    cluster = Cluster(hosts, 8796, authority)
    yield cluster
    for one in hosts.workers:
        hosts.switch.plug(one.name)
    cluster.close()


@pytest.fixture
def firexlite(tmp_path: Path, hosts: Hosts, authority: Authority) -> Iterator[Command]:
    """Runs `firexlite` on the desk, with a certificate of its own."""
    for folder in ("work", "tmp", "certificates"):
        (tmp_path / folder).mkdir()
    command = Command(tmp_path / "home", tmp_path / "work",
                      *hosts.desk.words(sys.executable, "-m", "firexlite", folder=tmp_path / "work"))
    command.env |= {**authority.settings("client", tmp_path / "certificates"), "FIREXLITE_LEASE": str(LEASE_S),
                    "TMPDIR": str(tmp_path / "tmp")}
    yield command
    command.close()


@pytest.fixture
def effects(hosts: Hosts) -> Iterator[Callable[[Host], Counter]]:
    """Counts the lines that bodies wrote by `note` on a host."""

    def on(one: Host) -> Counter:
        path = one.folder / "effects"
        return Counter(path.read_text().splitlines()) if path.exists() else Counter()

    yield on
    for one in hosts.workers:
        for left in (one.folder / "effects", *one.folder.glob("go *")):
            left.unlink(missing_ok=True)


def attempts(firexlite: Command) -> list[tuple]:
    return query(firexlite.only_run(), "SELECT task, number, outcome, host FROM attempt ORDER BY task, number")


# --- what goes well ------------------------------------------------------------------------------------------------------

def test_200_tasks_run_on_two_hosts_that_have_none_of_our_files(firexlite, plugin, effects, hosts, shared):
    plugin("def doubled(number): return 2 * number", "helper_of_the_desk.py")
    file = plugin(NOTE + """
from helper_of_the_desk import doubled

@app.task(returns="twice")
def small(number):
    print(f"number {number} on {socket.gethostname()}")
    time.sleep(0.03)
    note(f"small {number}")
    return doubled(number)

@app.task(bind=True, returns="total")
def many(self, count):
    children = [self.enqueue_child(small.s(number=number)) for number in range(int(count))]
    self.wait_for_children()
    return sum(child.result["twice"] for child in children)
""")
    done = firexlite("submit", "--plugins", file, "--chain", "many", "--count", 200, "--executor", shared.executor)

    assert done.code == 0, done.err
    assert f"total  {2 * sum(range(200))}" in done.out
    run = firexlite.only_run()
    assert states(run) == {"succeeded": 201}
    made = [*map(effects, hosts.workers)]
    assert sum(made, Counter()) == {f"small {number}": 1 for number in range(200)}
    assert min(count.total() for count in made) >= 20, "one of both hosts had hardly anything to do"
    with History(run) as history:
        _, *of_children = history.attempts()
        for attempt in of_children:
            assert history.log(attempt)[0].endswith(f" on {attempt.host}\n")
    assert Counter(attempt.host for attempt in of_children) == {one.name: effects(one).total() for one in hosts.workers}
    for file in run.logs.glob("*@*.log"):
        assert {line.rpartition(" on ")[2] for line in file.read_text().splitlines()} <= {file.stem.partition("@")[2]}
    for one in hosts.workers:
        assert one.run("find", run.path, firexlite.folder, "-maxdepth", "0", fails=True) == "", "it saw our files"


def test_a_traceback_names_the_file_as_at_home_and_shows_its_line(firexlite, plugin, hosts, shared):
    failed = firexlite("submit", "--executor", shared.executor, "--chain", "weigh", "--plugins", plugin("""
from firexlite import app

@app.task(returns="mass")
def weigh():
    return read_scales("left")

def read_scales(which):
    raise RuntimeError(f"the {which} scales are broken")  # line 9
"""))
    assert failed.code == 1
    assert "at services.py:9 in read_scales" in failed.err

    told = firexlite("why", failed.firex_id)
    assert "services.py:9" in told.out, told.out
    assert 'raise RuntimeError(f"the {which} scales are broken")' in told.out
    [(problem,)] = query(firexlite.only_run(), "SELECT error FROM attempt")
    assert f'File \\"{firexlite.folder}/services.py\\", line 6, in weigh' in problem
    for one in hosts.workers:
        assert str(one.folder) not in problem


# --- a cable is pulled ---------------------------------------------------------------------------------------------------

SLOW = NOTE + """
@app.task(returns="slept")
def slow(number):
    note(f"began {number}")
    while not os.path.exists(here(f"go {number}")):
        time.sleep(0.01)
    note(f"ended {number}")
    return number

@app.task(bind=True, returns="all")
def several(self, count):
    note("parent")
    children = [self.enqueue_child(slow.s(number=number)) for number in range(int(count))]
    self.wait_for_children()
    return [child.result["slept"] for child in children]
"""


def go(one: Host, *numbers: int) -> None:
    for number in numbers:
        (one.folder / f"go {number}").touch()


@pytest.mark.parametrize("is_of_the_parent", [False, True], ids=[
    "of children, for a while", "of their parent too, until the run has ended"])
def test_what_ran_behind_a_pulled_cable_runs_again_elsewhere_and_what_it_said_late_is_dropped(
        firexlite, plugin, effects, hosts, cluster, is_of_the_parent):
    run, cut, rest, its, others = two_and_two(firexlite, plugin, effects, hosts, cluster, is_of_the_parent)
    bodies = cluster.bodies_on(cut)

    hosts.switch.pull(cut.name)
    go(cut, its[0])  # which ends there, and nobody hears of it
    wait_until(lambda: effects(cut)[f"ended {its[0]}"], what="late result")
    wait_until(lambda: [outcome for *_, outcome, place in attempts(firexlite) if place == cut.name]
               == ["lost"] * (SLOTS + is_of_the_parent), what="loss of all that was there")
    wait_until(lambda: all(host.start_time(pid) is None for pid in bodies), what="end of those that nobody hears")
    go(rest, others[0], *its)
    wait_until(lambda: all(effects(rest)[f"ended {number}"] for number in its), what="other attempts on the other host")
    if is_of_the_parent:
        ends_well(run, rest, others[1])
        assert cut.unsent() > 0
        plug_in(hosts, cut)
    else:
        assert cut.unsent() > 0
        plug_in(hosts, cut)
        ends_well(run, rest, others[1])

    ended = attempts(firexlite)
    assert Counter(task for task, _, outcome, _ in ended if outcome == "succeeded") == dict.fromkeys(range(1, 6), 1)
    assert Counter(outcome for *_, outcome, _ in ended) == {"succeeded": 5, "lost": SLOTS + is_of_the_parent}
    assert {place for *_, outcome, place in ended if outcome == "lost"} == {cut.name}
    assert effects(cut) == Counter(["parent"] * is_of_the_parent + [f"began {number}" for number in its] + [f"ended {its[0]}"])
    assert effects(rest) == Counter(["parent", *(f"{what} {number}" for what in ("began", "ended") for number in range(4))])


def test_a_host_that_was_silent_for_long_is_given_up_and_a_worker_that_is_started_there_has_tasks_again(
        firexlite, plugin, effects, hosts, cluster):
    run, cut, rest, its, others = two_and_two(firexlite, plugin, effects, hosts, cluster)
    hosts.switch.pull(cut.name)
    wait_until(lambda: "and given up" in (firexlite.only_run().logs / "run.log").read_text(), what="giving up")
    plug_in(hosts, cut)
    cluster.worker_on(cut).wait(60)  # on the way out it is still brought pilots that were sent before
    cluster.start_worker(cut)
    wait_until(lambda: sum(effects(one)[f"began {its[0]}"] for one in hosts.workers) == 2, 30, what="another attempt")
    go(cut, *its)
    go(rest, *its)

    ends_well(run, rest, *others)
    assert Counter(task for task, _, outcome, _ in attempts(firexlite) if outcome == "succeeded") == dict.fromkeys(
        range(1, 6), 1)


def two_and_two(firexlite: Command, plugin: Callable, effects: Callable[[Host], Counter], hosts: Hosts, cluster: Cluster,
                is_of_the_parent: bool = False) -> tuple[subprocess.Popen, Host, Host, list[int], list[int]]:
    """A run, with two children of a task on each host; one host on which the parent is or is not, the other, and the children
    of each."""
    run = firexlite.start("submit", "--plugins", plugin(SLOW), "--chain", "several", "--count", 4, "--executor",
                          cluster.executor)
    wait_until(lambda: sum(effects(one).total() for one in hosts.workers) == 5, what="four children of a parent")
    home = hosts.named(attempts(firexlite)[0][-1])
    one = home if is_of_the_parent else hosts.other(home)
    other = hosts.other(one)
    its, others = ([number for number in range(4) if effects(place)[f"began {number}"]] for place in (one, other))
    assert len(its) == len(others) == SLOTS
    return run, one, other, its, others


def plug_in(hosts: Hosts, one: Host) -> None:
    """And wait until all that it had to say has been heard or refused."""
    hosts.switch.plug(one.name)
    wait_until(lambda: not one.unsent(), 30, what="end of what was on the way")


def ends_well(run: subprocess.Popen, rest: Host, *last: int) -> None:
    go(rest, *last)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 0, err
    assert "all  [0, 1, 2, 3]" in out


# --- strangers -----------------------------------------------------------------------------------------------------------

PLAIN = "from firexlite import app\n@app.task(returns='here')\ndef where():\n    import os\n    return os.uname().nodename\n"


def refused_on(firexlite: Command, plugin: Callable, executor: str, *words: str, **env: str) -> str:
    """The sentence by which a submission is refused, before anything is created."""
    done: Finished = firexlite("submit", "--plugins", plugin(PLAIN), "--chain", "where", "--executor", executor, *words, **env)
    assert (done.code, done.out) == (2, ""), done.err
    assert not firexlite.runs()
    [sentence] = done.err.splitlines()
    return sentence


def without_certificate(firexlite: Command) -> None:
    for name in [name for name in firexlite.env if name.startswith(COMM)]:
        del firexlite.env[name]


def test_who_has_no_certificate_is_refused(firexlite, plugin, shared):
    assert refused_on(firexlite, plugin, shared.executor, **{f"{COMM}TLS__CLIENT__KEY": "/nowhere"}) == (
        "firexlite: '/nowhere', which Dask's configuration names as distributed.comm.tls.client.key, cannot be read")

    without_certificate(firexlite)
    assert refused_on(firexlite, plugin, shared.executor) == (
        f"firexlite: {shared.address} needs a certificate of ours, and Dask's configuration does not name it: "
        "distributed.comm.tls.ca-file, distributed.comm.tls.client.cert")


@pytest.mark.parametrize("they_trust, reason", [
    ("another", "its certificate is not trusted here: "),
    ("ours", "it hung up, as it does on a certificate that another authority has signed; ")],
    ids=["which does not trust theirs either", "which trusts theirs"])
def test_who_has_a_certificate_of_another_authority_is_refused(firexlite, plugin, tmp_path, shared, they_trust, reason):
    ours = firexlite.env[f"{COMM}TLS__CA_FILE"]
    (tmp_path / "foreign").mkdir()
    foreign = Authority(tmp_path / "another").settings("client", tmp_path / "foreign")
    if they_trust == "ours":
        foreign[f"{COMM}TLS__CA_FILE"] = ours

    sentence = refused_on(firexlite, plugin, shared.executor, **foreign)

    assert sentence.startswith(f"firexlite: the Dask scheduler {shared.address} cannot be used: {reason}")
    assert sentence.endswith("; Dask's configuration names, below distributed.comm.tls, the authority that both sides trust, "
                             "and our certificate")


# Says things to a port, as one without a certificate can, and prints what comes back; then it keeps its connections open.
STRANGER = """
import asyncio, socket, ssl, sys
from distributed.comm import connect
address, held = (sys.argv[1], int(sys.argv[2])), []
def got(stream):
    try:
        return stream.recv(1000)
    except (ssl.SSLError, ConnectionError):
        return b""
for said in (b"", b"GET / HTTP/1.1\\r\\n\\r\\n", b"\\0" * 10000, bytes(range(256)) * 40):
    plain = socket.create_connection(address, timeout=10)
    plain.sendall(said)
    if said:
        print("plain", got(plain))
    held.append(plain)
async def as_dask(context):
    comm = await connect("tls://%s:%d" % address, timeout=10, ssl_context=context, require_encryption=True)
    await comm.write({"pilot": "of no run"})
    return await comm.read()
for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    try:
        print("dask", asyncio.run(as_dask(context)))
    except (OSError, asyncio.TimeoutError) as error:
        print("dask", b"")
print("done", flush=True)
sys.stdin.read()
"""


def test_strangers_at_the_port_of_a_run_get_nothing_and_hurt_nothing(firexlite, plugin, effects, hosts, shared):
    before = hosts.desk.listens_at()
    run = firexlite.start("submit", "--plugins", plugin(SLOW), "--chain", "several", "--count", 2, "--executor",
                          shared.executor)
    wait_until(lambda: sum(effects(one).total() for one in hosts.workers) == 3, what="two children of a parent")
    [port] = hosts.desk.listens_at() - before
    stranger = subprocess.Popen(hosts.birch.words(sys.executable, "-c", STRANGER, hosts.desk.address, port),
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert stranger.stdout is not None
    try:
        told = [*iter(stranger.stdout.readline, "done\n")]
        for one in hosts.workers:
            go(one, 0, 1)
        out, err = run.communicate(timeout=60)  # while connections of theirs are open
    finally:
        stranger.communicate(timeout=60)
    assert told == ["plain b''\n"] * 3 + ["dask b''\n"] * 2
    assert run.returncode == 0 and "firexlite:" not in err, err
    assert "all  [0, 1]" in out
    assert {outcome for _, _, outcome, _ in attempts(firexlite)} == {"succeeded"}


# --- without TLS -----------------------------------------------------------------------------------------------------------

def test_a_cluster_without_tls_is_used_only_if_that_is_said(firexlite, plugin, hosts):
    cluster = Cluster(hosts, 8806, None)
    try:
        address = cluster.address.replace("tcp:", "tls:")
        assert refused_on(firexlite, plugin, f"dask:{address}") == (
            f"firexlite: the Dask scheduler {address} cannot be used: what answers there does not speak TLS")
        assert "cannot be used: RuntimeError: encryption required by Dask configuration" in refused_on(
            firexlite, plugin, cluster.executor, "--insecure")

        without_certificate(firexlite)
        assert refused_on(firexlite, plugin, cluster.executor) == (
            f"firexlite: the connection to {cluster.address} would be neither encrypted nor checked, and whoever can reach a "
            "Dask cluster can have it run code; set it up with TLS (dask:tls://...), or say --insecure where the network is "
            "trusted")

        done = firexlite("submit", "--plugins", plugin(PLAIN), "--chain", "where", "--executor", cluster.executor, "--insecure")
        assert done.code == 0, done.err
        assert "here  alder" in done.out or "here  birch" in done.out
    finally:
        cluster.close()
