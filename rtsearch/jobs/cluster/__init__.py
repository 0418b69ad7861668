"""Analyse and search on the machines of a Ray cluster, while this one keeps the library.

    driver   todo -> batches of names -> tasks, at most two per worker -> PhotoJobs in order -> LibraryWriter
    worker   names -> PhotoPipeline -> objects and crops

connection  start Ray, or connect to a cluster
photos      hand batches out and take what comes back, in order
worker      look at one batch in a process of the cluster
networks    bring the network to that process

shards      parts of an index in processes of the cluster, and what is done when one dies
replica     search one part in such a process
search      answer for a library with them, and turn to its new versions

A task depends on its batch alone. So Ray may give it to another worker when one dies, and to machines that
join later; only the driver writes, so the library is the same as one that was made without a cluster.
"""

from rtsearch.jobs.cluster.connection import connected
from rtsearch.jobs.cluster.photos import ClusterPhotos

__all__ = ["ClusterPhotos", "connected"]
