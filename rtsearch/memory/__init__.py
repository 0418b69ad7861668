"""Remember the objects that a run sees, and search them while it goes on.

    tracks -> Gatherer -> entries -> LiveMemory ─┬─> open hour, in memory  ──> searched, shown
                                                 └─> writer thread: hours on the disk -> blocks, mapped

folder      folder of a memory: its owner's alone; names of its hours
entry       what is kept of a track: crop, vector, path, times
gatherer    tracks of one source -> entries
hours       hours on the disk, a library each; hour_names: which one an entry goes to
block       closed hours as they are searched: tree and columns, mapped into memory
open_rows   entries that are not in a block yet
recall      all of them as one search; opening: what is on the disk; mixed_index: together with a library
keeper      the thread that writes hours, closes and drops them; live_memory: the side of the run
learning    projection of a memory without a library
forgetting  removes entries; seeing: finds when something like an object was seen
"""
