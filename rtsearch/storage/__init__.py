"""Reach object storage: buckets of S3, Google Cloud and Azure, through obstore (extra ``cloud``).

address    s3://BUCKET/KEY, and the folder of this machine that stands for it
store      reads, writes and lists the objects below an address
problems   words what servers refuse
cache      files that were fetched, bounded in bytes

A folder of the user's cache stands for each address, so that all code goes on working with paths:
``address_of`` says which address that is, and ``in_addresses`` puts the address back into messages.
"""

from rtsearch.storage.address import (
    Address,
    address_of,
    folder_name,
    in_addresses,
    is_server,
    library_folder,
    naming_addresses,
    photo_folder,
)
from rtsearch.storage.cache import CACHE
from rtsearch.storage.store import Entry, OtherBytesError, Store, Version, open_store

__all__ = [
    "CACHE",
    "Address",
    "Entry",
    "OtherBytesError",
    "Store",
    "Version",
    "address_of",
    "folder_name",
    "in_addresses",
    "is_server",
    "library_folder",
    "naming_addresses",
    "open_store",
    "photo_folder",
]
