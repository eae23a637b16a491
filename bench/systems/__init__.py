"""The systems that are compared: how each is started, where it listens, how it is asked."""

from systems.base import HttpSystem, System, check_programs, version_of
from systems.etcd import Etcd
from systems.redis import Redis
from systems.ringkeep_cluster import Ringkeep
from systems.zookeeper import ZooKeeper

__all__ = ["Etcd", "HttpSystem", "Redis", "Ringkeep", "System", "ZooKeeper", "check_programs", "version_of"]
