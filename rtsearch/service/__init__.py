"""A library behind an address: a server answers for it, and whoever searches needs none of its files.

    client   RemoteLibrary, RemoteIndex -> Connection -> HTTP
    server   HTTP (``web.vectors``) -> Answers -> an index of this machine, or shards of it on several

address     http://HOST:PORT
ray_name    ray://HOST/NAME, which leads to such an address
connection  ask a server, and look for one that went away
remote_library, remote_index  what a client has of a library and its index; opening opens both
facts       all that a picture or a record says of a row
protocol    bytes of questions and answers
answers     answer for a library
shards      part the rows of an index, ask all parts, and merge what they find
shard_line, shard_server, shard_protocol  ask a part that another process holds
"""

from rtsearch.service.answers import Answers, StateGoneError
from rtsearch.service.opening import open_remote
from rtsearch.service.remote_index import RemoteIndex
from rtsearch.service.remote_library import RemoteLibrary
from rtsearch.service.shards import NoShardError

__all__ = ["Answers", "NoShardError", "RemoteIndex", "RemoteLibrary", "StateGoneError", "open_remote"]
