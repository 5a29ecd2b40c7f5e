"""`python -m tests.jobs.two_nodes PHOTOGRAPHS SHARDS`: embed on a local cluster of two nodes and kill one of them.

Prints the output of the command as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ |= {"RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}

from ray.cluster_utils import Cluster


def main(photographs: str, shards: str) -> None:
    memory = 80 << 20
    head = {"num_cpus": 1, "object_store_memory": memory, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    other = cluster.add_node(num_cpus=1, object_store_memory=memory)
    command = [sys.executable, "-m", "edgefr", "embed", photographs, "-o", shards, "--ray", cluster.address]
    command += ["--shard", "10", "--model", "fake", "--detector", "spot", "--json"]
    job = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while job.poll() is None and len(list(Path(shards).glob("part-*"))) < 6:
        time.sleep(0.02)
    cluster.remove_node(other, allow_graceful=False)
    there = len(list(Path(shards).glob("part-*")))
    out, err = job.communicate()
    cluster.shutdown()
    json.dump({"code": job.returncode, "out": out, "err": err, "shards_at_kill": there}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
