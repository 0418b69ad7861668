"""What is kept of a run: one JSON object per frame, and the composed picture as a video.

object_records(...) -> list of dicts -> JsonlRecorder   flushed line by line, a kill loses no line written
composed picture                     -> VideoRecorder   named when it is finished
"""

from rtsearch.record.jsonl import Hits, JsonlRecorder, object_records
from rtsearch.record.picture import save_picture
from rtsearch.record.video import VideoRecorder

__all__ = ["Hits", "JsonlRecorder", "VideoRecorder", "object_records", "save_picture"]
